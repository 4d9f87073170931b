"""Probes and the worlds they are made in, on values made by hand."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import walk

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.leaks.audit import Oracle, audit, sample
from pmx_ray.leaks.choosing import contest, outcomes
from pmx_ray.leaks.probes import PROBES, canary, shuffle
from pmx_ray.leaks.stages import FeatureStage, Kind, Outputs, exogenous_stage
from pmx_ray.leaks.tosses import Toss, disjoint, tossed
from pmx_ray.leaks.worlds import overwrite_after, plant_canary, shuffle_target


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def torn() -> Panel:
    """Return prices with every field, a gap and a late listing."""
    whole = walk("ABC", 240)
    close = whole.close.copy()
    close[0, 50:53] = np.nan
    close[1, :30] = np.nan
    fields = {"open": close * 1.01, "high": close * 1.02, "low": close * 0.99, "volume": close * 9}
    return Panel("XNYS", whole.tickers, whole.sessions, close, gap=np.isnan(close), **fields)


def test_overwrite_when_applied_then_only_the_future_changes(torn: Panel) -> None:
    noisy = overwrite_after(torn, 100, rng=rng())
    assert noisy.window(0, 101).sha256 == torn.window(0, 101).sha256
    for name in ("close", "open", "high", "low", "volume"):
        assert (getattr(noisy, name)[:, 101:] != getattr(torn, name)[:, 101:]).all()


def test_shuffle_when_applied_then_sizes_and_gaps_stay_and_signs_are_drawn(torn: Panel) -> None:
    drawn = shuffle_target(torn, rng=rng()).panel
    before, after = torn.log_returns(), drawn.log_returns()
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=1e-9, atol=1e-14)
    flipped = (np.sign(after) != np.sign(before))[~np.isnan(before)].mean()
    assert 0.4 < flipped < 0.6
    np.testing.assert_allclose(drawn.open / drawn.close, torn.open / torn.close)
    np.testing.assert_array_equal(drawn.volume, torn.volume)


def test_canary_when_planted_then_a_session_tells_its_own_return_and_no_other(torn: Panel) -> None:
    fair = plant_canary(torn, rng=rng())
    returns, told = fair.panel.log_returns(), np.log(fair.panel.volume[:, 1:] / 1e6) / 50.0
    known = ~np.isnan(returns)
    np.testing.assert_allclose(told[known], returns[known])
    large = fair.sizes[:, 1:] > 0
    assert large.mean() == pytest.approx(0.5, abs=0.07)  # three standard errors of 720 coins
    assert np.median(np.abs(returns)[known & large]) > 3 * np.median(
        np.abs(returns)[known & ~large]
    )
    np.testing.assert_array_equal(np.isnan(fair.panel.close), np.isnan(torn.close))
    next_day = np.corrcoef(told[2, :-1], returns[2, 1:])[0, 1]
    assert abs(next_day) < 0.2  # three standard errors of 240 sessions


def test_hits_when_counted_then_against_the_mean_of_earlier_statements() -> None:
    statement = np.array([[1.0, np.nan], [3.0, 5.0], [1.5, -1.0]])
    outcome = np.array([[0.2, 0.1], [-0.1, 0.3], [-0.2, 0.0]])
    # Against zero, column 1: 1, 3 and 1.5 say up of up, down, down: one hit, two misses.
    # Column 2: no statement, 5 of up, a hit; the outcome 0 is not counted.
    # Against the mean: 1 above 0 and up, 3 above 1 and down, 1.5 below 2 and down; 5 above 0, up.
    assert tossed(statement, outcome) == Toss(to_zero=0.0, to_mean=2.0, n=5)


def test_tosses_when_added_then_the_further_reading_scores() -> None:
    total = Toss(1.0, -8.0, 9) + Toss(2.0, -1.0, 0)
    assert (total.furthest, total.score) == (9.0, 3.0)


def test_hits_when_nothing_is_stated_then_nothing_is_counted() -> None:
    assert tossed(np.full((3, 2), np.nan), np.ones((3, 2))) == Toss(0.0, 0.0, 0)


def test_disjoint_when_steps_overlap_then_folds_are_left_out() -> None:
    assert disjoint(np.array([10, 12, 15, 16, 20, 40]), 5).tolist() == [0, 2, 4, 5]


def test_outcomes_when_the_panel_ends_first_then_nan(panel: Panel) -> None:
    found = outcomes(panel, np.array([100, 238]), 2)
    assert found[0, 1] == np.log(panel.close[1, 102]) - np.log(panel.close[1, 100])
    assert np.isnan(found[1]).all()


def test_contest_when_cut_then_only_open_outcomes_are_missing(panel: Panel, plan: FoldPlan) -> None:
    forecasts, table = contest(panel, plan)
    cut_forecasts, cut = contest(panel.window(0, int(plan.cutoff[5]) + 1), plan[:6])
    np.testing.assert_array_equal(cut_forecasts, forecasts[:6])
    np.testing.assert_array_equal(cut.losses[:5], table.losses[:5])
    assert np.isnan(cut.losses[5]).all()
    assert len(table.before(5).cutoff) == 5  # cutoffs stand six sessions apart, the step is 1


def test_probes_when_the_stage_is_an_oracle_then_each_catches_it(
    panel: Panel, plan: FoldPlan
) -> None:
    probed = audit([Oracle()], panel, plan, rng=rng()).probed
    assert tuple(p.probe for p in probed if p.findings) == PROBES


def test_foresight_when_a_stage_is_honest_then_scores_stay_within_the_bound(
    panel: Panel, plan: FoldPlan
) -> None:
    def scores() -> Iterator[float]:
        for seed in range(150):
            fair = shuffle_target(panel, rng=rng(seed)).panel
            statement = np.diff(np.log(fair.close), axis=1)[:, plan.cutoff - 1].T  # last return
            toss = tossed(statement, outcomes(fair, plan.cutoff, 1))
            yield abs(toss.to_zero) / np.sqrt(toss.n)
            yield abs(toss.to_mean) / np.sqrt(toss.n)

    found = np.array(list(scores()))
    assert found.max() < 4.5
    # A fair coin passes 1.96 in 5 % of draws, 15 of 300; 30 is four standard errors above.
    assert (found > 1.96).sum() < 30


def test_audit_when_the_plan_is_combinatorial_then_refused(panel: Panel) -> None:
    settings = FoldSettings(kind="combinatorial", input_size=30, steps=(1,))
    plan = build_folds(panel.sessions, settings)
    with pytest.raises(SettingsError, match="combinatorial"):
        audit([], panel, plan, rng=rng())


def test_audit_when_the_future_holds_no_price_then_says_it_is_blind(panel: Panel) -> None:
    close = panel.close.copy()
    close[:, 110:] = np.nan
    dead = Panel(panel.calendar, panel.tickers, panel.sessions, close)
    plan = build_folds(panel.sessions, FoldSettings(input_size=130, step_size=6, steps=(1,)))
    with pytest.raises(DataError, match="blind here"):
        audit([], dead, plan, rng=rng())


@dataclass(frozen=True)
class Given:
    """A stage whose outputs are a function of panel and plan."""

    name: str
    values: object
    kind: Kind = "forecaster"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        values: FloatArray = self.values(panel, plan)
        return Outputs(values, plan.cutoff, panel.tickers)


def at_cutoff(panel: Panel, plan: FoldPlan) -> FloatArray:
    return panel.close[:, plan.cutoff].T[..., None].copy()


def test_audit_when_bits_depend_on_the_slice_alone_then_not_a_leak(
    panel: Panel, plan: FoldPlan
) -> None:
    stage = Given("sliced", lambda p, f: at_cutoff(p, f) * (1.0 + 1e-16 * len(f)) + len(f))
    assert audit([stage], panel, plan, rng=rng()).findings == ()


def test_audit_when_a_stage_does_not_repeat_itself_then_that_is_what_is_said(
    panel: Panel, plan: FoldPlan
) -> None:
    draws = rng()
    stage = Given("dice", lambda p, f: at_cutoff(p, f) + draws.normal())
    audited = audit([stage], panel, plan, rng=rng())
    (finding,) = audited.findings
    assert finding.probe == "repeat"
    assert str(finding).startswith("forecaster dice: the same call twice gives other numbers")


def test_audit_when_one_ticker_leaks_then_it_and_its_cutoff_are_named(
    panel: Panel, plan: FoldPlan
) -> None:
    def leaky(p: Panel, f: FoldPlan) -> FloatArray:
        values = at_cutoff(p, f)
        values[:, 1, 0] += p.close[1, -1]
        return values

    audited = audit([Given("one", leaky)], panel, plan, rng=rng(), n_cutoffs=2)
    assert {finding.column for finding in audited.findings} == {"B"}
    first = panel.sessions[plan.cutoff[0]]
    assert str(audited.findings[0]) == (
        f"forecaster one: the output of B at {first} changes when the sessions after {first} "
        "are cut off"
    )
    facts = audited.facts()
    assert facts.n_probes == audited.n_probes > 0
    assert facts.findings[0] == str(audited.findings[0])


def test_audit_when_nothing_can_be_compared_then_no_probe_is_counted(
    panel: Panel, plan: FoldPlan
) -> None:
    stage = Given("empty", lambda p, f: np.full_like(at_cutoff(p, f), np.nan))
    assert audit([stage], panel, plan, rng=rng()).facts().n_probes == 0


def test_audit_when_columns_vanish_with_the_future_then_refused(
    panel: Panel, plan: FoldPlan
) -> None:
    stage = Given("shrinking", lambda p, f: at_cutoff(p, f)[:, : 3 if p.n_sessions == 240 else 2])
    with pytest.raises(DataError, match="same rows and columns"):
        audit([stage], panel, plan, rng=rng())


def test_foresight_when_a_feature_shouts_with_the_wrong_sign_then_caught_too(
    panel: Panel, plan: FoldPlan
) -> None:
    ahead = FeatureStage("minus", lambda p: -np.diff(p.close, axis=1, append=1.0))
    for probe in (shuffle, canary):
        (finding,) = probe(ahead, panel, plan, rng=rng()).findings
        assert "direction at step 1 knows coins before they fall" in finding.sentence


@pytest.mark.parametrize("name", ["monday", "abs_return_lagged"])
def test_audit_when_a_registered_feature_is_used_as_forecasters_do_then_passes(
    panel: Panel, plan: FoldPlan, name: str
) -> None:
    assert audit([exogenous_stage(name, n_ahead=5)], panel, plan, rng=rng()).findings == ()


def test_audit_when_a_feature_claims_to_be_known_in_advance_then_caught(
    panel: Panel, plan: FoldPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmx_ray.features import exogenous  # noqa: PLC0415

    hasty = exogenous.Feature("hasty", 0, "no lag", exogenous.abs_return)
    monkeypatch.setattr(exogenous, "FEATURES", {"hasty": hasty})
    audited = audit([exogenous_stage("hasty", n_ahead=5)], panel, plan, rng=rng())
    assert {finding.probe for finding in audited.findings} >= {"truncate", "overwrite"}


def test_sample_when_taken_then_folds_and_tickers_are_spread(panel: Panel, plan: FoldPlan) -> None:
    few, folds = sample(panel, plan, n_folds=6, n_tickers=2)
    assert few.tickers == ("A", "C")
    assert folds.cutoff.tolist() == plan.cutoff[::4].tolist()
