"""Stretches between changes as regimes of the comparison."""

import numpy as np

from pmx_ray.backtest.regime_table import regimes_of
from pmx_ray.data.panel import Panel
from pmx_ray.stats.regimes import segments


def panel_of(n_sessions: int) -> Panel:
    close = 100.0 * np.exp(np.random.default_rng(0).normal(0.0, 0.01, (2, n_sessions)))
    sessions = np.datetime64("2010-01-01") + np.arange(n_sessions)
    return Panel("24/7", ("A", "B"), sessions, close)


def test_segments_when_alarms_are_given_then_each_begins_at_its_alarm() -> None:
    assert segments(np.array([3, 5]), 7).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert segments(np.zeros(0, np.int64), 3).tolist() == [0, 0, 0]


# proves M3
def test_segments_when_sessions_are_added_then_the_earlier_stand() -> None:
    alarms = np.array([3, 5])
    for seen in range(1, 8):
        part = segments(alarms[alarms < seen], seen)
        assert part.tolist() == segments(alarms, 7)[:seen].tolist()


def test_regimes_when_changes_are_known_then_stretches_tile_the_sessions() -> None:
    panel = panel_of(200)
    plain, changed = regimes_of(panel), regimes_of(panel, alarms=np.array([50, 120]))
    assert list(changed)[: len(plain)] == list(plain)
    added = {name: days for name, days in changed.items() if name not in plain}
    assert list(added) == ["since_2010-01-01", "since_2010-02-20", "since_2010-05-01"]
    assert np.concatenate(list(added.values())).tolist() == panel.sessions.tolist()
