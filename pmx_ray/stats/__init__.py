"""Losses of forecasts and measures of return series: one pure function each."""
