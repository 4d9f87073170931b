"""How much of the capital a signal deserves."""
