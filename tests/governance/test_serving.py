"""The forecast of today: the bits of the evaluation, on the terms of the evaluation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from served import FORECASTERS, decided, evaluated_sweep, registered, registry_of

from pmx_ray.backtest.cells import collect
from pmx_ray.backtest.outcome import evaluated
from pmx_ray.backtest.sweep import Sweep, frame_parts, load_settled
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, RegistryError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.decision import Outcome
from pmx_ray.governance.registration import register
from pmx_ray.governance.registry import LoadedModel
from pmx_ray.governance.serving import forecast_now
from pmx_ray.governance.terms import SERVICE, terms_of
from pmx_ray.lake import open_store

LABELS = [ForecasterSpec.parse(entry).label for entry in FORECASTERS]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return evaluated_sweep(tmp_path_factory.mktemp("rolling"))


@pytest.fixture(scope="module")
def expanding(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return evaluated_sweep(tmp_path_factory.mktemp("expanding"), kind="expanding", purge=4)


def folded(sweep: Sweep, label: str, fold: int, step: int) -> tuple[bytes, bytes, list[str]]:
    """Return mean, variance and, of failures, the tickers that the sweep's own blocks hold."""
    (run,) = frame_parts(sweep, load_settled(sweep), open_store(sweep.lake_url))
    cells = collect(run)
    (spec,) = [spec for spec in cells.specs if spec.label == label]
    at = fold, slice(None), sweep.plan.steps.index(step)
    failed = [t for t, no in zip(cells.axes.tickers, spec.failed[at], strict=True) if no]
    return spec.mean[at].tobytes(), spec.variance[at].tobytes(), failed


def until(sweep: Sweep, fold: int, *, first: int = 0) -> Panel:
    return sweep.panel.window(first, int(sweep.plan.cutoff[fold]) + 1)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("step", [1, 5])
def test_forecast_now_when_a_sweep_refits_there_then_the_same_bytes(
    sweep: Sweep, label: str, step: int
) -> None:
    model = registered(sweep, label, step=step).challenger
    for fold in np.flatnonzero(sweep.plan.refit).tolist():
        now = forecast_now(until(sweep, fold), model)
        found = now.mean.tobytes(), now.variance.tobytes(), sorted(now.reasons)
        assert found == folded(sweep, label, fold, step)
        assert not np.isnan(now.mean).all()
        assert (now.step, now.changed) == (step, ())
        assert np.datetime64(now.cutoff) == sweep.panel.sessions[sweep.plan.cutoff[fold]]


@pytest.mark.parametrize("label", LABELS)
def test_forecast_now_when_windows_expand_with_a_purge_then_the_same_bytes(
    expanding: Sweep, label: str
) -> None:
    now = forecast_now(until(expanding, 3), registered(expanding, label).challenger)
    found = now.mean.tobytes(), now.variance.tobytes(), sorted(now.reasons)
    assert found == folded(expanding, label, 3, 5)


def test_forecast_now_when_older_prices_are_cut_off_then_the_same_bytes(sweep: Sweep) -> None:
    model = registered(sweep, "nested(n_trials=2)").challenger
    first = int(sweep.plan.train_start[3])
    assert first > 0
    cut, whole = (forecast_now(until(sweep, 3, first=k), model) for k in (first, 0))
    assert cut.mean.tobytes() == whole.mean.tobytes()


def test_forecast_now_when_the_fold_extends_an_older_fit_then_other_bytes(sweep: Sweep) -> None:
    assert not sweep.plan.refit[4]
    now = forecast_now(until(sweep, 4), registered(sweep, "samossa").challenger)
    assert now.mean.tobytes() != folded(sweep, "samossa", 4, 5)[0]


def test_forecast_now_when_some_tickers_are_asked_for_then_theirs_alone_unchanged(
    sweep: Sweep,
) -> None:
    model = registered(sweep, "sarimax(order=1-0-0)").challenger
    some, all_of_them = (
        forecast_now(until(sweep, 3).select(tickers), model) for tickers in ("AC", "ABC")
    )
    assert some.tickers == ("A", "C")
    assert some.mean.tobytes() == all_of_them.mean[[0, 2]].tobytes()


def test_forecast_now_when_a_ticker_has_no_prices_then_its_reason(sweep: Sweep) -> None:
    panel = until(sweep, 3)
    close = panel.close.copy()
    close[1] = np.nan
    now = forecast_now(replace(panel, close=close), registered(sweep, "samossa").challenger)
    assert np.isnan(now.mean).tolist() == [False, True, False]
    assert now.status[1] != "ok"
    assert set(now.reasons) == {"B"}


def test_forecast_now_when_a_ticker_was_never_evaluated_then_refused_by_name(
    sweep: Sweep,
) -> None:
    panel = until(sweep, 3)
    other = replace(panel, tickers=("A", "B", "ZZ"))
    with pytest.raises(DataError, match="drift was never evaluated on ZZ; serve the 3"):
        forecast_now(other, registered(sweep, "drift").challenger)


def test_forecast_now_when_one_of_a_joint_fit_is_missing_then_refused_by_name(
    sweep: Sweep,
) -> None:
    label = next(label for label in LABELS if label.startswith("boosting"))
    with pytest.raises(DataError, match="fits B jointly with others"):
        forecast_now(until(sweep, 3).select("AC"), registered(sweep, label).challenger)


def test_forecast_now_when_prices_are_short_or_of_another_calendar_then_refused(
    sweep: Sweep, expanding: Sweep
) -> None:
    model = registered(sweep, "drift").challenger
    with pytest.raises(DataError, match="hold 209 sessions; the model needs 210"):
        forecast_now(sweep.panel.window(0, 209), model)
    with pytest.raises(DataError, match="on calendar XLON; drift was evaluated on XNYS"):
        forecast_now(replace(until(sweep, 3), calendar="XLON"), model)
    with pytest.raises(DataError, match=f"every session from {sweep.panel.sessions[0]} on"):
        forecast_now(until(expanding, 3, first=1), registered(expanding, "drift").challenger)


def altered(model: LoadedModel, **changes: object) -> LoadedModel:
    return replace(model, version=replace(model.version, **changes))


def test_forecast_now_when_the_forecaster_changed_since_then_refused(sweep: Sweep) -> None:
    model = registered(sweep, "drift").challenger
    with pytest.raises(RegistryError, match="was evaluated as 0123, and drift"):
        forecast_now(until(sweep, 3), altered(model, spec_id="0123"))
    with pytest.raises(RegistryError, match="unknown forecaster 'drifd'"):
        forecast_now(until(sweep, 3), altered(model, name="drifd"))


def test_forecast_now_when_a_library_changed_since_then_it_says_so(sweep: Sweep) -> None:
    model = registered(sweep, "drift").challenger
    older = altered(model, engine_version="0", libraries={**model.version.libraries, "abc": "1.0"})
    assert forecast_now(until(sweep, 3), older).changed == (
        "abc was 1.0 when it was evaluated and is absent",
        f"engine was 0 when it was evaluated and is {model.version.engine_version}",
    )


@pytest.mark.parametrize("label", LABELS)
def test_terms_when_registered_then_those_of_the_evaluation(sweep: Sweep, label: str) -> None:
    terms = terms_of(registered(sweep, label).challenger)
    (row,) = [
        row
        for row in evaluated(sweep)[0].leaderboard.to_pylist()
        if (row["label"], row["step"]) == (label, 5)
    ]
    record = terms.record
    assert record.n_trades == row["n_trades"]
    # three tickers at a cutoff, and cutoffs 12 sessions apart, so that trades do not overlap
    assert record.n_trades / 3 <= record.n_effective <= len(sweep.plan.cutoff)
    if record.payoff_ratio is not None:
        won = record.win_rate_frac / (1.0 - record.win_rate_frac)
        assert record.payoff_ratio * won == pytest.approx(row["profit_factor"], rel=1e-12)
    assert (terms.seed, terms.input_size, terms.tickers) == (11, 210, ("A", "B", "C"))
    assert terms.rule == sweep.settings.evaluation.rule


def test_terms_when_a_fallback_is_registered_then_it_has_its_own(sweep: Sweep) -> None:
    models = registered(sweep, "samossa")
    assert terms_of(models.fallback).record.n_trades == 0
    assert terms_of(models.challenger).record.n_trades > 0
    assert forecast_now(until(sweep, 3), models.fallback).mean.tolist() == [0.0, 0.0, 0.0]


def test_terms_when_registered_again_then_the_same_version(sweep: Sweep) -> None:
    again = register(registry_of(sweep.folder.parent), sweep, decided(sweep, "drift"))
    assert again == registered(sweep, "drift")


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "carries no service.json"), ({SERVICE: b"{"}, "certify and promote it again"),
     ({SERVICE: b"[]"}, "certify and promote it again"),
     ({SERVICE: json.dumps({"step": 0}).encode()}, "certify and promote it again")],
)  # fmt: skip
def test_terms_when_missing_or_broken_then_refused(
    sweep: Sweep, files: dict[str, bytes], said: str
) -> None:
    model = replace(registered(sweep, "drift").challenger, files=files)
    with pytest.raises(RegistryError, match=f"model {model.id[:12]} .drift.*{said}"):
        terms_of(model)


def test_terms_when_of_before_trades_were_weighed_then_told_to_promote_again(sweep: Sweep) -> None:
    model = registered(sweep, "drift").challenger
    terms = json.loads(model.files[SERVICE])
    del terms["record"]["n_effective"]
    older = replace(model, files={SERVICE: json.dumps(terms).encode()})
    with pytest.raises(RegistryError, match=r"record.n_effective.*certify and promote it again"):
        terms_of(older)


def test_register_when_folds_are_combinatorial_then_refused(tmp_path: Path) -> None:
    sweep = evaluated_sweep(
        tmp_path, forecasters=({"name": "drift"},),
        kind="combinatorial", refit_every=1, input_size=30, n_groups=3, n_test_groups=1,
    )  # fmt: skip
    with pytest.raises(DataError, match="combinatorial folds, which train on both sides"):
        registered(sweep, "drift")


def test_register_when_the_decision_names_no_fallback_then_refused(sweep: Sweep) -> None:
    held = replace(decided(sweep, "drift"), outcome=Outcome.HOLD, fallback="", fallback_label="")
    with pytest.raises(DataError, match="names no fallback"):
        register(registry_of(sweep.folder.parent), sweep, held)


def test_register_when_the_fallback_is_the_challenger_then_refused(sweep: Sweep) -> None:
    held = decided(sweep, "drift", outcome=Outcome.HOLD, fallback="drift")
    with pytest.raises(DataError, match="names drift as its own fallback"):
        register(registry_of(sweep.folder.parent), sweep, held)
