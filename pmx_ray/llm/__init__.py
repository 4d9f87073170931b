"""A large language model as a forecaster among others: asked politely, recorded, replayed."""
