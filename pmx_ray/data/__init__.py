"""Prices: the exchange calendar, the panel, its sources, the quality gate and the simulator."""
