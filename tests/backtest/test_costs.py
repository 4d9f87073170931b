import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.backtest.costs import Costs, CostSettings
from pmx_ray.config import parse
from pmx_ray.errors import SettingsError


def test_round_trip_when_default_then_forty_basis_points():
    # Settled reading 5: 0.1 % slippage and 0.1 % cost a side. proves A15, A16
    assert CostSettings().build().round_trip_frac == pytest.approx(0.0040)


@pytest.mark.parametrize(("side", "expected"), [("BUY", 100.1), ("SELL", 99.9)])
def test_fill_price_when_traded_then_adverse(side, expected):  # proves A15
    assert CostSettings().build().fill_price(100.0, side=side) == pytest.approx(expected)


@pytest.mark.parametrize("value", [5000.0, -5000.0])
def test_fee_when_either_way_then_a_tenth_of_a_percent(value):  # proves A16
    assert CostSettings().build().fee(value) == pytest.approx(5.0)


@given(slippage=st.floats(0, 0.05), fee=st.floats(0, 0.05), price=st.floats(0.01, 1e5))
@settings(max_examples=50, deadline=None)
def test_round_trip_when_traded_at_an_unchanged_price_then_what_the_fills_lose(
    slippage, fee, price
):
    costs = Costs(slippage, fee)
    paid, received = (costs.fill_price(price, side=side) for side in ("BUY", "SELL"))
    lost = (paid + costs.fee(paid)) - (received - costs.fee(received))
    assert lost / price == pytest.approx(costs.round_trip_frac, abs=1e-9)


@pytest.mark.parametrize(
    ("position", "gross", "expected"),
    [(1.0, 0.03, 0.026), (-1.0, 0.03, -0.034), (-0.5, -0.02, 0.008), (0.0, 0.5, 0.0)],
)
def test_net_return_when_by_hand_then_known_value(position, gross, expected):
    net = CostSettings().build().net_return(np.array([position]), np.array([gross]))
    assert net == pytest.approx([expected])


def test_settings_when_negative_then_refused():
    with pytest.raises(SettingsError, match="fee_bps"):
        parse(CostSettings, {"fee_bps": -1}, where="costs")
