import numpy as np
import pytest
from pydantic import ValidationError

from pmx_ray.backtest.track_record import TrackRecord


def test_record_by_hand():  # proves A18
    # gains 3 % and 1 %, mean 2 %; losses 2 % and 0.5 %, mean 1.25 %; a 0 is a trade without a gain
    returns = np.array([0.03, -0.02, 0.01, -0.005, 0.0])
    record = TrackRecord.of(returns, np.array([0, 0, 1, 2, 9]), step=1)
    assert (record.n_trades, record.win_rate_frac) == (5, 0.4)
    assert record.payoff_ratio == pytest.approx(1.6)
    assert record.n_effective == 4.0  # two are of one cutoff


def test_record_when_tickers_and_horizons_overlap_then_worth_few_trades():  # proves A18
    # 20 tickers at 30 cutoffs on end, held for 20 sessions: three halves of one bet on the market
    cutoffs = np.repeat(np.arange(30), 20)
    returns = np.where(cutoffs % 2 == 0, 0.01, -0.01)
    record = TrackRecord.of(returns, cutoffs, step=20)
    assert (record.n_trades, record.n_effective) == (600, 1.5)
    assert TrackRecord.of(returns, 20 * cutoffs, step=20).n_effective == 30.0


@pytest.mark.parametrize(
    ("returns", "rate"), [([], 0.0), ([0.01, 0.02], 1.0), ([-0.01], 0.0), ([0.0], 0.0)]
)
def test_record_when_gains_or_losses_are_missing_then_no_payoff_ratio(returns, rate):
    n = len(returns)
    record = TrackRecord.of(np.array(returns, dtype=float), np.arange(n), step=1)
    assert record == TrackRecord(n_trades=n, n_effective=n, win_rate_frac=rate, payoff_ratio=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_trades", -1), ("win_rate_frac", 1.5), ("win_rate_frac", np.nan), ("payoff_ratio", 0.0),
        ("payoff_ratio", np.inf), ("n_effective", -1.0), ("n_effective", 1.01),
    ],
)  # fmt: skip
def test_record_when_a_number_is_outside_then_error(field, value):
    sound = {"n_trades": 1, "n_effective": 1.0, "win_rate_frac": 0.5, "payoff_ratio": 1.0}
    with pytest.raises(ValidationError, match="TrackRecord"):
        TrackRecord(**{**sound, field: value})
