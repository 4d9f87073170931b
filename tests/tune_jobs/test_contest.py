"""What a configuration is scored on: the tuning folds, as a sweep would, and nothing later."""

import numpy as np
import pytest
from tune_cases import WRITTEN, contest_of, ledger_in, prepared, searched, tune_settings

from pmx_ray.clock import utc_now
from pmx_ray.data.rows import long_rows
from pmx_ray.data.sources import load_panel
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.folds import build_folds, partition
from pmx_ray.forecasters.registry import ForecasterSpec
from tune_jobs.contest import open_contest, relative_loss


def test_relative_loss_when_by_hand_then_the_mean_over_steps():
    own, base = np.array([[1.0, 3.0], [1.0, 5.0]]), np.array([[2.0, 4.0], [2.0, 6.0]])
    assert relative_loss(own, base) == pytest.approx((2 / 4 + 8 / 10) / 2)


def test_relative_loss_when_the_walk_has_none_then_nan():
    assert np.isnan(relative_loss(np.zeros((2, 1)), np.zeros((2, 1))))


def test_whole_when_scored_then_mean_squares_by_hand(tmp_path):
    folds = {**WRITTEN["folds"], "refit_every": 1}
    search = prepared(tmp_path, folds=folds)
    contest = contest_of(search)
    drift = ForecasterSpec.parse({"name": "drift"})
    score = contest.whole(drift)
    plan, log = search.plan, np.log(search.panel.close)
    errors = np.zeros((len(plan), 2))
    squares = np.zeros((len(plan), 2))
    for f, cutoff in enumerate(plan.cutoff):
        fitted = slice(int(plan.train_start[f]), int(plan.train_stop[f]))
        for h, step in enumerate(plan.steps):
            actual = log[:, cutoff + step] - log[:, cutoff]
            slope = np.diff(log[:, fitted], axis=1).mean(axis=1)
            errors[f, h] = ((actual - step * slope) ** 2).sum()
            squares[f, h] = (actual**2).sum()
    assert score.fold.tolist() == list(range(len(plan)))
    np.testing.assert_allclose(score.own, errors, rtol=1e-9)
    np.testing.assert_allclose(score.base, squares, rtol=1e-9)
    assert score.loss == pytest.approx((errors.sum(axis=0) / squares.sum(axis=0)).mean())
    assert (score.n_failed, score.n_cells) == (0, len(plan) * 3 * 2)


def test_partition_when_cut_then_no_session_after_the_last_scored_one(tmp_path):
    search = prepared(tmp_path)
    settings = tune_settings()
    assert search.panel.sessions[-1] <= np.datetime64(settings.folds.tuning_end)
    assert search.plan.last_read == search.panel.n_sessions - 1
    whole, _ = load_panel(settings.panel, clock=utc_now)
    plan = build_folds(whole.sessions, settings.folds)
    _, later = partition(plan, whole.sessions, settings.folds.tuning_end)
    assert whole.sessions[later.cutoff[0]] >= search.panel.sessions[-1]


def test_search_when_later_sessions_are_noise_then_the_same_study(tmp_path):
    # proves D2: nothing of the evaluation partition reaches a trial, nor the gate before it
    real = long_rows(load_panel(tune_settings().panel, clock=utc_now)[0])
    later = real["date"] > "2001-05-31"
    noise = real.copy()
    rng = np.random.default_rng(1)
    noise.loc[later, "close"] *= np.exp(0.02 * rng.standard_normal(later.sum()))
    split = later & (noise["ticker"] == "SIM00001") & (noise["date"] > "2001-07-10")
    noise.loc[split, "close"] /= 10.0  # the gate leaves this ticker out of the whole panel
    studies = []
    for name, rows in (("real", real), ("noise", noise)):
        folder = tmp_path / name
        folder.mkdir()
        rows.to_csv(folder / "prices.csv", index=False)
        search = prepared(folder, panel={"source": "file", "path": str(folder / "prices.csv")})
        with ledger_in(folder) as ledger:
            studies.append((search.panel.sha256, searched(search, ledger)))
    assert studies[0] == studies[1]
    assert len(studies[0][1]) == 12
    whole, _ = load_panel(search.settings.panel, clock=utc_now)
    assert whole.n_tickers == 2


def test_open_contest_when_the_walk_has_no_forecast_early_then_those_folds_are_left_out(tmp_path):
    search = prepared(tmp_path)
    close = search.panel.close.copy()
    close[:, :180] = np.nan
    panel = type(search.panel)(
        search.panel.calendar, search.panel.tickers, search.panel.sessions, close
    )
    contest = open_contest(panel, search.plan, search.settings)
    left = [run for rung in contest.rungs for run in rung]
    assert 0 < len(left) < 9
    assert np.isfinite(contest.whole(search.space.default).loss)


def test_tune_id_when_more_trials_are_asked_for_then_the_same_study(tmp_path):
    search = prepared(tmp_path)
    for changes, same in (
        ({"n_trials": 99}, True),
        ({"compared": 5}, True),
        ({"execution": {"workers": 2}}, True),
        ({"seed": 6}, False),
        ({"loss": "crps"}, False),
        ({"lag": 5}, False),
        ({"search": {"ar_order": {"low": 0, "high": 3}}}, False),
        ({"forecaster": {"name": "samossa"}}, False),
    ):
        assert (prepared(tmp_path, **changes).tune_id == search.tune_id) is same, changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": {"input_size": 100}}, "tuning_end is missing"),
        ({"folds": {"kind": "combinatorial", "tuning_end": "2001-05-31"}}, "combinatorial"),
        ({"objectives": ["fit_s"]}, "must be"),
        ({"objectives": ["fit_s", "loss"]}, r"must be \[loss\] or \[loss, fit_s\]"),
        ({"forecaster": {}}, "needs a name"),
        ({"forecaster": {"name": "samosa"}}, "did you mean 'samossa'"),
        ({"forecaster": {"name": "samossa", "ranks": 1}}, "did you mean 'rank'"),
        ({"evaluation": {"baseline": "drift"}}, "measures against the random_walk"),
        ({"n_trails": 5}, "did you mean 'n_trials'"),
    ],
)
def test_settings_when_wrong_then_error_says_what(changes, message):
    with pytest.raises(SettingsError, match=message):
        tune_settings(**changes).space()


def test_open_contest_when_the_walk_has_no_forecast_then_refused(tmp_path):
    search = prepared(tmp_path)
    empty = np.full_like(search.panel.close, np.nan)
    panel = type(search.panel)(
        search.panel.calendar, search.panel.tickers, search.panel.sessions, empty
    )
    with pytest.raises(DataError, match="no forecast on any tuning fold"):
        open_contest(panel, search.plan, search.settings)
