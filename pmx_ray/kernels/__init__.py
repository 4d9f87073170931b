"""Numerical cores: arrays in, arrays out; each fast form has a plain twin in its test."""
