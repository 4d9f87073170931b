"""What a search chose, frozen in a file that a sweep takes, and every trial beside it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pmx_ray.backtest.tuned import TUNED, TunedSpecs
from pmx_ray.errors import DataError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import FolderStore
from pmx_ray.lake.blocks import to_parquet
from pmx_ray.provenance import ENGINE_VERSION
from tune_jobs.contest import Contest
from tune_jobs.history import Past, State
from tune_jobs.job import Search
from tune_jobs.study import FIT_S, LABEL, WHY, TuningStudy

TRIALS = "trials.parquet"

MOST_CHOSEN = 8
"""Specs of a front that are frozen: its two ends, and others evenly between them."""

TRIALS_SCHEMA = pa.schema(
    [
        pa.field("number", pa.int32(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("params", pa.string(), nullable=False),
        pa.field("loss", pa.float64()),
        pa.field("fit_s", pa.float64(), nullable=False),
        pa.field("rung_losses", pa.list_(pa.float64()), nullable=False),
        pa.field("why", pa.string(), nullable=False),
    ]
)
"""One row a trial; ``loss`` up to the last rung it saw, ``params`` as JSON."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A configuration that the later folds evaluate, with its loss on the tuning folds."""

    spec: ForecasterSpec
    tuning_loss: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice, and what is evaluated beside it: the default first, then trials by rank."""

    tuned: TunedSpecs
    compared: tuple[Compared, ...]


def best_first(past: Sequence[Past]) -> list[Past]:
    """Return the complete trials, the lowest loss first; of equal ones the earlier."""
    complete = [p for p in past if p.state is State.COMPLETE]
    return sorted(complete, key=lambda p: (p.values[0], p.number))


def chosen(past: Sequence[Past]) -> list[Past]:
    """Return the best trial, or the front of several objectives, the lowest loss first.

    Raises
    ------
    DataError
        If no trial is complete.
    """
    ordered = best_first(past)
    if not ordered:
        raise DataError(
            "no trial was completed: every configuration failed or was stopped; see trials.parquet"
        )
    if len(ordered[0].values) == 1:
        return ordered[:1]
    front = [p for p in ordered if not any(_dominates(other, p) for other in ordered)]
    places = np.linspace(0, len(front) - 1, min(len(front), MOST_CHOSEN)).round().astype(int)
    return [front[k] for k in places]


def _dominates(left: Past, right: Past) -> bool:
    pairs = list(zip(left.values, right.values, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def freeze(search: Search, study: TuningStudy, contest: Contest) -> Choice:
    """Write ``trials.parquet`` and ``specs.yaml``, and return what was chosen."""
    past, store = study.past(), FolderStore(search.folder)
    store.replace(TRIALS, to_parquet(trials_table(study, past)))
    best, default = chosen(past), search.space.default
    default_loss = _default_loss(search, contest, past)
    tuned = TunedSpecs(
        study=search.study_name,
        tuned_until=search.panel.sessions[-1].item(),
        n_trials=len(past),
        forecasters=tuple(written(search.space.spec(p.params)) for p in best),
        default=written(default),
        tuning_loss=best[0].values[0],
        default_tuning_loss=default_loss,
        loss=search.settings.loss,
        tune_id=search.tune_id,
        panel_sha256=search.panel.sha256,
        engine=ENGINE_VERSION,
        seed=search.settings.seed,
    )
    store.replace(TUNED, tuned.as_yaml().encode())
    return Choice(tuned, _compared(search, default_loss, past))


def _default_loss(search: Search, contest: Contest, past: Sequence[Past]) -> float | None:
    """Return the default's loss on the tuning folds; None where it fails on too many cells."""
    if past[0].state is State.COMPLETE and past[0].params == search.space.stored(
        search.space.default
    ):
        return past[0].values[0]
    score = contest.whole(search.space.default)
    usable = score.failed_frac <= search.settings.max_failed_frac and np.isfinite(score.loss)
    return score.loss if usable else None


def written(spec: ForecasterSpec) -> dict[str, Any]:
    """Return a spec as a settings file has it, every parameter with it."""
    return {"name": spec.name, **dict(spec.params)}


def trials_table(study: TuningStudy, past: Sequence[Past]) -> pa.Table:
    """Return every trial of a study as a row of ``TRIALS_SCHEMA``."""
    facts = study.facts()
    rows = [
        {
            "number": p.number,
            "state": p.state.value,
            "label": facts[p.number].get(LABEL, ""),
            "params": json.dumps(dict(p.params), sort_keys=True),
            "loss": p.rungs[-1] if p.rungs and np.isfinite(p.rungs[-1]) else None,
            "fit_s": facts[p.number].get(FIT_S, 0.0),
            "rung_losses": list(p.rungs),
            "why": facts[p.number].get(WHY, ""),
        }
        for p in past
    ]
    return pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)


def _compared(
    search: Search, default_loss: float | None, past: Sequence[Past]
) -> tuple[Compared, ...]:
    """Return the default, and complete trials evenly by rank, the best and the worst among them."""
    ordered = best_first(past)
    n = min(search.settings.compared, len(ordered))
    places = np.unique(np.linspace(0, max(len(ordered) - 1, 0), n).round().astype(int))
    ranked = [ordered[k] for k in places]
    specs = {
        spec.id: Compared(spec, loss)
        for spec, loss in (
            (search.space.default, default_loss),
            *((search.space.spec(p.params), p.values[0]) for p in ranked),
        )
    }
    return tuple(specs.values())
