from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_cases import CUTOFF, market, panel, signal

from pmx_ray.errors import DataError
from pmx_ray.signals.market import MarketContext
from pmx_ray.signals.offers import LAYERS
from pmx_ray.signals.quality import SignalQuality
from pmx_ray.signals.settings import SignalSettings, ValidatorSettings
from pmx_ray.signals.types import Source
from pmx_ray.signals.validator import (
    check_correlation,
    check_costs,
    check_regime,
    check_sizing,
    check_statistics,
    validate,
)
from pmx_ray.taxonomy import Action, RiskLevel

BUY, SELL, HOLD = Action.BUY, Action.SELL, Action.HOLD
ALTERNATING = np.tile([0.01, -0.01], 100)  # standard deviation 0.01 * sqrt(200 / 199) = 0.010025


def of(returns=ALTERNATING, **changed):
    return market({"AAPL": returns}, **changed)


def quality(n_hits, n_sided, high, n_effective=30.0):
    return SignalQuality(
        n_sessions=30, n_signals=n_sided, n_judged=n_sided, n_passed=n_sided, passed_frac=1.0,
        passed_interval=(0.9, 1.0), n_traded=n_sided, n_cutoffs=30, n_sided=n_sided, n_hits=n_hits,
        n_effective=n_effective, hit_rate_frac=n_hits / n_sided, hit_rate_interval=(0.1, high),
        net_return=0.0, net_return_interval=None, n_unknown=0,
    )  # fmt: skip


def test_validate_when_sound_then_five_layers_pass_in_order():  # proves A7
    found = validate(signal(), of(regime="bull"))
    assert tuple(check.layer for check in found) == LAYERS
    assert all(check.passed for check in found)


@pytest.mark.parametrize(
    ("changed", "context", "layer"),
    [
        ({"expected_return": 0.05}, of(), "statistics"),
        ({"risk_level": RiskLevel.EXTREME}, of(), "regime"),
        ({"position_frac": 0.05}, of(), "sizing"),
        (
            {},
            market({"AAPL": ALTERNATING, "MSFT": ALTERNATING}, positions={"MSFT": 0.02}),
            "correlation",
        ),
        ({"expected_return": 0.0039}, of(), "costs"),
    ],
)
def test_validate_when_one_thing_is_wrong_then_that_layer_alone_fails(changed, context, layer):
    # proves A7
    found = validate(signal(**changed), context)
    assert [check.layer for check in found if not check.passed] == [layer]


def test_validate_when_the_market_ends_on_another_day_then_error():
    for day in (date(2026, 4, 1), date(2026, 3, 30)):
        with pytest.raises(DataError, match="give the market up to the cutoff"):
            validate(signal(), of(cutoff=day))


@pytest.mark.parametrize(
    ("returns", "changed", "passed", "value", "limit"),
    [
        (ALTERNATING[:125], {}, False, 125, 126),
        (np.append(ALTERNATING[:125], np.nan), {}, False, 125, 126),
        (ALTERNATING[:126], {}, True, 0.02 / 0.010025, 4),
        (ALTERNATING, {"expected_return": 0.0301}, False, 0.0301 / 0.010025, 3),
        (ALTERNATING, {"expected_return": 0.0301, "step": 4}, True, 0.02005 / 0.02, 4),
        (ALTERNATING, {"volatility": 0.0402}, False, 0.0402 / 0.010025, 4),
        (ALTERNATING, {"volatility": 0.0025}, False, 0.010025 / 0.0025, 4),
        (np.zeros(200), {}, False, None, 3),
    ],
)
def test_statistics_by_hand(returns, changed, passed, value, limit):  # proves A7
    check = check_statistics(signal(**changed), of(returns))
    assert (check.layer, check.passed, check.limit) == ("statistics", passed, limit)
    assert check.value == (None if value is None else pytest.approx(value, rel=3e-3))


@pytest.mark.parametrize(
    ("past", "action", "passed"),
    [
        (quality(30, 100, 0.49), BUY, False),
        (quality(42, 100, 0.52), BUY, True),  # may be chance
        (quality(0, 600, 0.4, 5.9), BUY, True),  # 600, worth too few to say
        (quality(0, 600, 0.4, 6.0), BUY, False),
        (quality(30, 100, 0.49), HOLD, True),  # nothing to lose
    ],
)
def test_statistics_when_past_signals_were_wrong_then_refused(past, action, passed):  # proves A7
    context = of(quality={Source.CHAMPION: past})
    assert check_statistics(signal(action=action), context).passed is passed
    assert check_statistics(signal(Source.LLM, action), context).passed  # another model's past


def test_statistics_when_the_ticker_is_unknown_then_refused():
    check = check_statistics(signal(ticker="MSFT"), of())
    assert (check.passed, check.value) == (False, 0)


RISING_TURMOIL = np.append(ALTERNATING[:180], ALTERNATING[:20] * 5)


@pytest.mark.parametrize(
    ("returns", "regime", "changed", "passed"),
    [
        (RISING_TURMOIL, "sideways", {}, False),
        (RISING_TURMOIL[::-1], "sideways", {}, True),  # over
        (ALTERNATING, "bear", {"confidence": 0.549}, False),
        (ALTERNATING, "bear", {"confidence": 0.55}, True),
        (ALTERNATING, "bull", {"confidence": 0.1}, True),
        (ALTERNATING, "", {"confidence": 0.1}, True),
        (ALTERNATING, "bull", {"action": SELL, "confidence": 0.5}, False),
        (ALTERNATING, "bear", {"action": SELL, "confidence": 0.5}, True),
        (ALTERNATING, "bear", {"action": HOLD, "risk_level": RiskLevel.EXTREME}, True),
        (ALTERNATING[:10], "sideways", {}, False),  # too few to say how it moves
    ],
)
def test_regime_by_hand(returns, regime, changed, passed):  # proves A7
    assert check_regime(signal(**changed), of(returns, regime=regime)).passed is passed


@pytest.mark.parametrize(
    ("size", "volatility", "step", "passed", "value"),
    [
        (0.0201, 0.01, 1, False, 0.0201),  # above the cap
        (0.02, 0.0314, 1, True, 0.009969),  # 0.02 * 0.0314 * sqrt(252) = 0.99692 %
        (0.02, 0.0316, 1, False, 0.010033),
        (0.02, 0.0316, 5, True, 0.004487),  # the same width over a week is calmer
        (0.0, 9.0, 1, True, None),
    ],
)
def test_sizing_by_hand(size, volatility, step, passed, value):  # proves A7
    for action in (BUY, SELL):
        check = check_sizing(
            signal(action=action, size=size, volatility=volatility, step=step), of()
        )
        assert check.passed is passed
        assert check.value == (None if value is None else pytest.approx(value, abs=1e-6))


def test_correlation_by_hand():  # proves A7
    # deviations 1 0 -1 and 1 -1 0: covariance 1, squares 2 and 2
    limits = ValidatorSettings(correlation_sessions=3, min_correlation_sessions=3)
    columns = {"AAPL": np.array([0.02, 0.01, 0.0]), "MSFT": np.array([0.03, 0.01, 0.02])}
    context = market(columns, positions={"MSFT": 0.01}, settings=SignalSettings(validator=limits))
    assert check_correlation(signal(), context).value == pytest.approx(0.5)
    assert check_correlation(signal(action=SELL), context).value == pytest.approx(-0.5)


RNG = np.random.default_rng(7)
NOISE = RNG.normal(size=200) / 100


@pytest.mark.parametrize(
    ("action", "columns", "positions", "passed"),
    [
        (BUY, {"MSFT": ALTERNATING}, {"MSFT": 0.01}, False),  # the same bet
        (BUY, {"MSFT": ALTERNATING}, {"MSFT": -0.01}, True),  # against it
        (SELL, {"MSFT": ALTERNATING}, {"MSFT": -0.01}, False),
        (SELL, {"MSFT": ALTERNATING}, {"MSFT": 0.01}, True),  # a hedge
        (BUY, {"MSFT": NOISE}, {"MSFT": 0.01}, True),
        (BUY, {"MSFT": ALTERNATING, "KO": NOISE}, {"MSFT": 0.001, "KO": 0.02}, True),
        (BUY, {"MSFT": ALTERNATING, "KO": NOISE}, {"MSFT": 0.02, "KO": 0.001}, False),
        (BUY, {"MSFT": ALTERNATING}, {}, True),
        (BUY, {"MSFT": ALTERNATING}, {"AAPL": 0.02, "MSFT": 0.0}, True),  # itself is no other
        (BUY, {"MSFT": np.full(200, np.nan)}, {"MSFT": 0.01}, False),  # not known
        (BUY, {"MSFT": np.zeros(200)}, {"MSFT": 0.01}, False),  # nothing to measure
        (BUY, {}, {"GONE": 0.01}, False),
        (HOLD, {"MSFT": ALTERNATING}, {"MSFT": 0.01}, True),
    ],
)
def test_correlation_with_what_is_held(action, columns, positions, passed):  # proves A7
    context = market({"AAPL": ALTERNATING, **columns}, positions=positions)
    assert check_correlation(signal(action=action), context).passed is passed


@pytest.mark.parametrize(
    ("action", "expected", "passed", "value"),
    [
        (BUY, 0.01, True, 60.0),  # 100 bp less 40 bp
        (SELL, -0.01, True, 60.0),
        (BUY, 0.0039, False, -1.0),
        (BUY, -0.01, False, -140.0),  # bought against its own forecast
        (HOLD, 0.0, True, None),
    ],
)
def test_costs_by_hand(action, expected, passed, value):  # proves A7, A16
    check = check_costs(signal(action=action, expected_return=expected), of())
    assert check.passed is passed
    assert check.value == (None if value is None else pytest.approx(value))


def test_costs_when_more_must_be_left_then_refused():
    asking = SignalSettings(validator=ValidatorSettings(min_net_edge_bps=61.0))
    check = check_costs(signal(), of(settings=asking))
    assert (check.passed, check.limit) == (False, 61.0)
    assert check.sentence == (
        "Of the expected return 60.00 basis points are left after a round trip at 40; at least "
        "61.00 are asked for. Not met."
    )


@settings(max_examples=60)
@given(
    st.sampled_from(Action), st.floats(-1.0, 1.0), st.floats(1e-6, 2.0), st.floats(0.0, 0.05),
    st.sampled_from(RiskLevel), st.integers(0, 200), st.floats(-0.1, 0.1),
)  # fmt: skip
def test_validate_of_any_signal_in_any_market(action, mean, width, size, level, n, held):
    # proves A7
    columns = {"AAPL": NOISE[:n], "MSFT": ALTERNATING[:n]}
    context = market(columns, positions={"MSFT": held}, regime="bear")
    made = signal(
        action=action, expected_return=mean, volatility=width, size=size, risk_level=level
    )
    found = validate(made, context)
    assert tuple(check.layer for check in found) == LAYERS
    assert all(check.sentence.endswith(".") for check in found)
    # a figure beyond its limit never passes, and a layer without a figure passes only if idle
    assert all(check.value is not None or check.passed == (check.limit is None) for check in found)
    if action is HOLD:
        assert all(check.passed for check in found[1:])
    # the same signal, only smaller, is never refused for it
    if size:
        smaller = made.model_copy(update={"position_frac": made.position_frac / 2})
        again = validate(smaller, context)
        assert all(now.passed for was, now in zip(found, again, strict=True) if was.passed)


def test_context_of_a_panel_holds_its_last_sessions():
    closes = 100.0 * np.exp(np.cumsum(np.full(200, 0.001)))
    made = MarketContext.of(
        panel({"AAPL": closes, "MSFT": closes[::-1] ** 0.1}),
        SignalSettings(validator=ValidatorSettings(history_sessions=150)),
    )
    assert made.cutoff == date(2026, 7, 19)  # the 200th day of the year
    assert made.log_returns.shape == (150, 2)
    np.testing.assert_allclose(made.returns_of("AAPL"), 0.001, rtol=1e-9)
    assert made.regime == "bull"  # 0.1 % a session against 0.01 %, always
    assert np.isnan(made.returns_of("KO")).all()


def test_context_of_few_sessions_has_no_regime():
    made = MarketContext.of(panel({"AAPL": [100.0]}), SignalSettings())
    assert (made.log_returns.shape, made.regime) == ((0, 1), "")
    assert not validate(signal(cutoff=date(2026, 1, 1)), made)[0].passed


def test_context_when_wrong_then_error():
    with pytest.raises(DataError, match="must be sessions x 2 tickers"):
        MarketContext(CUTOFF, ("AAPL", "MSFT"), np.zeros((5, 3)))
    with pytest.raises(DataError, match="position in AAPL is nan"):
        replace(of(), positions={"AAPL": np.nan})
    with pytest.raises(DataError, match="holds no session"):
        MarketContext.of(panel({"AAPL": []}), SignalSettings())
