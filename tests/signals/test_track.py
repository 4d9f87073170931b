import numpy as np
import pytest

from pmx_ray.errors import DataError
from pmx_ray.signals.track import TrackRecord


def test_track_of_returns_by_hand():
    # gains 3 % and 1 %, mean 2 %; losses 2 % and 0.5 %, mean 1.25 %; a 0 is a trade without a gain
    record = TrackRecord.of(np.array([[0.03, -0.02, np.nan], [0.01, -0.005, 0.0]]))
    assert (record.n_trades, record.win_rate_frac) == (5, 0.4)
    assert record.payoff_ratio == pytest.approx(1.6)
    assert record.kelly == pytest.approx(0.4 - 0.6 / 1.6)  # 0.025


@pytest.mark.parametrize(
    ("returns", "n", "rate"),
    [([], 0, 0.0), ([np.nan], 0, 0.0), ([0.01, 0.02], 2, 1.0), ([-0.01], 1, 0.0), ([0.0], 1, 0.0)],
)
def test_track_when_gains_or_losses_are_missing_then_no_payoff_ratio(returns, n, rate):
    record = TrackRecord.of(np.array(returns, dtype=float))
    assert record == TrackRecord(n, rate, None)
    assert record.kelly is None


@pytest.mark.parametrize(
    "values", [(-1, 0.5, 1.0), (1, 1.5, 1.0), (1, np.nan, 1.0), (1, 0.5, 0.0), (1, 0.5, np.inf)]
)
def test_track_when_a_number_is_outside_then_error(values):
    with pytest.raises(DataError, match="must be"):
        TrackRecord(*values)
