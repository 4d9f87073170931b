"""Exogenous features of a session: what a forecaster may know beside the price."""
