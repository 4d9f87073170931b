import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmx_ray.errors import DataError
from pmx_ray.portfolio.kelly import MAX_POSITION_FRAC, kelly_fraction, shrunk, stake_frac

rates = st.floats(0.0, 1.0)
ratios = st.floats(0.05, 20.0)


@pytest.mark.parametrize(
    ("p", "b", "expected"),
    [
        (0.55, 1.2, 0.175),  # 0.55 - 0.45 / 1.2 = 0.55 - 0.375
        (0.5, 2.0, 0.25),  # 0.5 - 0.5 / 2
        (0.5, 1.0, 0.0),  # a fair coin at even odds
        (0.25, 3.0, 0.0),  # break-even: 1 / (1 + 3)
        (0.4, 1.0, -0.2),  # 0.4 - 0.6
        (0.0, 1.0, -1.0),
        (0.6, np.inf, 0.6),
        (1.0, 0.5, 1.0),
    ],
)
def test_kelly_by_hand(p, b, expected):  # proves A18
    assert kelly_fraction(p, b) == pytest.approx(expected, abs=1e-15)


@given(rates.filter(lambda p: 0.02 < p < 0.98), ratios)
def test_kelly_when_it_pays_then_no_other_stake_grows_faster(p, b):  # proves A18
    f = kelly_fraction(p, b)
    if f <= 0.0:
        return
    stakes = np.linspace(0.0, 0.999, 1000)

    def growth(stake):
        return p * np.log1p(b * stake) + (1.0 - p) * np.log1p(-stake)

    assert growth(f) >= growth(stakes).max() - 1e-12  # rounding of two logarithms


@pytest.mark.parametrize(("p", "b"), [(-0.1, 1), (1.1, 1), (np.nan, 1), (0.5, 0), (0.5, np.nan)])
def test_kelly_when_a_number_is_outside_then_error(p, b):
    with pytest.raises(DataError, match=r"must (lie|be)"):
        kelly_fraction(p, b)


@given(rates.filter(lambda p: 0.02 < p < 0.98), ratios, st.floats(0.01, 1.0))
def test_kelly_when_a_loss_takes_a_part_of_the_stake_then_below_the_fastest_growth(p, b, loss):
    # proves A18
    f = kelly_fraction(p, b)
    if f <= 0.0:
        return
    fastest = f / loss

    def growth(stake):
        return p * np.log1p(stake * b * loss) + (1.0 - p) * np.log1p(-stake * loss)

    beside = np.array([0.98 * fastest, min(1.02 * fastest, (fastest + 1.0 / loss) / 2.0)])
    assert (growth(beside) <= growth(fastest) + 1e-12).all()
    assert f <= fastest


def test_shrunk_by_hand():
    assert shrunk(0.175, n_effective=100, prior_trades=100) == 0.0875
    assert shrunk(0.175, n_effective=25, prior_trades=100) == pytest.approx(0.035)
    assert shrunk(0.175, n_effective=1.5, prior_trades=100) == pytest.approx(0.175 * 1.5 / 101.5)
    assert shrunk(0.175, n_effective=0, prior_trades=0) == 0.0
    with pytest.raises(DataError, match="both must be >= 0"):
        shrunk(0.1, n_effective=-1, prior_trades=0)


@given(rates, ratios, st.integers(1, 10_000), st.integers(0, 1000))
def test_shrunk_is_kelly_of_the_win_rate_pooled_with_break_even_trades(p, b, n, prior):
    pooled = (n * p + prior / (1.0 + b)) / (n + prior)
    own = shrunk(kelly_fraction(p, b), n_effective=n, prior_trades=prior)
    assert own == pytest.approx(kelly_fraction(min(pooled, 1.0), b), abs=1e-9)


def test_stake_by_hand():
    # 0.0875 * 0.6 * 0.25
    stake = stake_frac(0.0875, confidence=0.6, fraction=0.25, cap_frac=0.02)
    assert stake == pytest.approx(0.013125, abs=1e-15)
    assert stake_frac(0.0875, confidence=0.6, fraction=0.5, cap_frac=0.02) == 0.02
    assert stake_frac(-0.2, confidence=1.0, fraction=1.0, cap_frac=0.02) == 0.0


@given(st.floats(-2.0, 1.0), rates, rates, st.floats(0.0, MAX_POSITION_FRAC))
def test_stake_lies_between_nothing_and_the_cap_and_rises_with_confidence(kelly, c, fraction, cap):
    stake = stake_frac(kelly, confidence=c, fraction=fraction, cap_frac=cap)
    surer = stake_frac(kelly, confidence=min(c + 0.1, 1.0), fraction=fraction, cap_frac=cap)
    assert 0.0 <= stake <= surer <= cap <= 0.02


@pytest.mark.parametrize(
    "changed",
    [{"confidence": 1.1}, {"confidence": np.nan}, {"fraction": -0.1}, {"cap_frac": 0.021}],
)
def test_stake_when_a_number_is_outside_then_error(changed):
    with pytest.raises(DataError, match="must lie between 0 and"):
        stake_frac(0.1, **{"confidence": 0.5, "fraction": 0.5, "cap_frac": 0.02, **changed})
    with pytest.raises(DataError, match="kelly was NaN"):
        stake_frac(np.nan, confidence=0.5, fraction=0.5, cap_frac=0.02)
