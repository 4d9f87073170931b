"""`pmx cells` and `pmx rerun` as a person uses them, on a sweep with planted failures."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pmx_command import SETTINGS, Pmx, long_form
from rich.console import Console

from pmx_ray.backtest.executor import Settled
from pmx_ray.backtest.sweep import load
from pmx_ray.cli import steps
from pmx_ray.cli.progress import Progress

PLUGIN = """
from pathlib import Path
from typing import ClassVar

import numpy as np
from odd_forecasters import Fixed, NoSettings, Odd

from pmx_ray.forecasters.registry import register


def level(ticker, last):
    broken = Path("broken").exists() and Path("broken").read_text()
    if broken and ticker == "B" and last >= np.datetime64(broken):
        raise ZeroDivisionError("planted <script>window.owned=1</script>")
    if Path("no_memory").exists() and ticker == (Path("no_memory").read_text() or "C"):
        raise MemoryError("planted")
    return 0.001 if Path("other").exists() else 0.0


@register("frail", settings=NoSettings, version="1", summary="fails as files say")
class Frail(Odd):
    def fit(self, history, *, rng):
        return Fixed(level(history.tickers[0], history.sessions[-1]))
"""

PLANTED = {
    **SETTINGS,
    "forecasters": [{"name": "drift"}, {"name": "frail"}],
    "plugins": ["frail_plugin"],
    "execution": {"tickers_per_block": 1, "folds_per_block": 4},
}
HERE = ("--address", "in-process")


@pytest.fixture
def frail(pmx: Pmx, monkeypatch: pytest.MonkeyPatch) -> Pmx:
    """Return the command beside a plugin that raises on B and has no memory for C."""
    monkeypatch.syspath_prepend(str(pmx.folder))
    for name in [name for name in sys.modules if name == "frail_plugin"]:
        del sys.modules[name]
    (pmx.folder / "frail_plugin.py").write_text(PLUGIN)
    pmx.write(PLANTED, long_form())
    (pmx.folder / "broken").write_text("2015-01-01")
    (pmx.folder / "no_memory").touch()
    return pmx


def lake_files(pmx: Pmx) -> dict[str, tuple[bytes, int]]:
    """Return bytes and time of change of every block and receipt in the lake."""
    lake = pmx.folder / "runs" / "lake"
    return {
        str(path.relative_to(lake)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted((lake / "blocks").rglob("*.*"))
    }


def frail_blocks(pmx: Pmx, ticker: str) -> set[str]:
    """Return the ids of the blocks of the frail forecaster for a ticker."""
    lines = (pmx.sweep / "receipts.jsonl").read_text().splitlines()[1:]
    rows = [json.loads(line) for line in lines]
    specs = {
        spec["id"]: spec["label"] for spec in json.loads((pmx.sweep / "specs.json").read_text())
    }
    return {
        row["block"]
        for row in rows
        if specs[row["spec"]] == "frail" and row["scopes"] == [[ticker]]
    }


def changed(before: dict[str, tuple[bytes, int]], after: dict[str, tuple[bytes, int]]) -> set[str]:
    """Return the ids of the blocks whose files are new, or were written again."""
    keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return {key.rpartition("/")[2].partition(".")[0] for key in keys}


def event(out: str, name: str) -> dict[str, object]:
    (found,) = [row for row in map(json.loads, out.splitlines()) if row["event"] == name]
    return found


def run(pmx: Pmx) -> None:
    pmx("plan", "sweep.yaml")
    pmx("run", str(pmx.sweep), *HERE, code=3)


def test_cells_when_planned_run_and_over_then_the_page_follows(frail: Pmx) -> None:
    frail("plan", "sweep.yaml")
    assert "cells: 99 waiting" in frail("cells", str(frail.sweep))
    frail("run", str(frail.sweep), *HERE, code=3)
    told = event(frail("cells", str(frail.sweep), "--json"), "cells")
    assert told["states"] == {"done": 77, "error": 11, "quarantined": 11}
    assert (told["failed"], told["over"]) == (22, True)
    page = frail.sweep / "cells.html"
    first = page.read_bytes()
    frail("cells", str(frail.sweep), "--watch")  # over: it writes once and ends
    assert page.read_bytes() == first
    frail("cells", str(frail.sweep), "--out", "shown/Cells of mine.html")
    assert (frail.folder / "shown" / "Cells of mine.html").read_bytes() == first


def test_cells_when_watched_then_written_until_every_cell_is_over(
    frail: Pmx, monkeypatch: pytest.MonkeyPatch
) -> None:
    frail("plan", "sweep.yaml")
    page, seen = frail.sweep / "cells.html", []

    def meanwhile(seconds: float) -> None:
        seen.append(page.read_text())
        assert len(seen) < 3
        if len(seen) == 2:
            compute_all(frail.sweep)

    monkeypatch.setattr("pmx_ray.cli.cells.time.sleep", meanwhile)
    out = frail("cells", str(frail.sweep), "--watch", "--json")
    states = [row["states"] for row in map(json.loads, out.splitlines())]
    assert states == [{"waiting": 99}, {"done": 77, "error": 11, "quarantined": 11}]
    assert all('"refresh":5' in text for text in seen)
    assert '"refresh":0' in page.read_text()


def compute_all(folder: Path) -> None:
    """Do what `pmx run` does, in another process as it were."""
    ready = load(folder)
    steps.run_step(
        steps.Voice(Console(quiet=True)), ready, steps.open_lake(ready), address="in-process"
    )


def test_cells_when_evaluated_as_well_then_no_artefact_differs(frail: Pmx) -> None:
    run(frail)
    frail("evaluate", str(frail.sweep), code=3)
    before = {p.name: p.read_bytes() for p in frail.sweep.iterdir()}
    frail("cells", str(frail.sweep))
    after = {p.name: p.read_bytes() for p in frail.sweep.iterdir() if p.name != "cells.html"}
    assert after == before


def test_rerun_when_the_cause_is_mended_then_those_blocks_alone_change(frail: Pmx) -> None:
    run(frail)
    before = lake_files(frail)
    (frail.folder / "broken").unlink()
    out = frail("rerun", str(frail.sweep), *HERE, "--json", code=3)
    told = event(out, "rerun")
    assert told == {
        "event": "rerun", "blocks": 6, "replaced": 3, "failed_before": 22, "mended": 11,
        "otherwise": 0, "same": 11, "moved": 0,
    }  # fmt: skip
    after = lake_files(frail)
    assert changed(before, after) == frail_blocks(frail, "B")
    (frail.folder / "no_memory").unlink()
    assert event(frail("rerun", str(frail.sweep), *HERE, "--json"), "rerun")["mended"] == 11
    assert changed(after, lake_files(frail)) == frail_blocks(frail, "C")
    assert not list((frail.folder / "runs" / "lake" / "attempts").rglob("*.json"))
    assert "no cell failed" in frail("rerun", str(frail.sweep), *HERE)


def test_rerun_when_all_is_mended_then_the_sweep_is_as_if_nothing_had_failed(frail: Pmx) -> None:
    run(frail)
    frail("evaluate", str(frail.sweep), code=3)
    for name in ("broken", "no_memory"):
        (frail.folder / name).unlink()
    out = frail("rerun", str(frail.sweep), *HERE)
    assert f"next: pmx evaluate {frail.sweep} && pmx compare" in out
    frail("report", str(frail.sweep), code=2)  # it knows that its results are older
    assert "its receipts or the release changed since it was evaluated" in frail.err
    frail("evaluate", str(frail.sweep))
    mended = json.loads((frail.sweep / "provenance.json").read_text())
    frail("sweep", "sweep.yaml", *HERE, "--out", "fresh")
    (fresh,) = (frail.folder / "fresh").glob("mine-*")
    whole = json.loads((fresh / "provenance.json").read_text())
    assert mended["forecast_sha256"] == whole["forecast_sha256"]
    assert (mended["n_failed"], mended["n_quarantined_blocks"]) == (0, 0)


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what makes a run end as by a kill once it has settled so many blocks; 0: no more."""
    watch, after = Progress.watch, [0]

    def until(self: Progress, settled: Iterator[Settled]) -> Iterator[Settled]:
        for n, row in enumerate(watch(self, settled), 1):
            if n == after[0]:
                raise SystemExit(9)
            yield row

    monkeypatch.setattr(Progress, "watch", until)
    return lambda n: after.__setitem__(0, n)


def results(pmx: Pmx) -> dict[str, bytes]:
    """Return the bytes of every block in the lake."""
    return {key: data for key, (data, _) in lake_files(pmx).items() if key.endswith(".parquet")}


def test_rerun_when_it_was_stopped_midway_then_repeated_it_ends_as_one_that_was_not(
    frail: Pmx, stops: Callable[[int], None]
) -> None:
    run(frail)
    for name in ("broken", "no_memory"):
        (frail.folder / name).unlink()
    for n_done in (1, 3, 1):  # 5 of the 6 blocks, B's error cells and C's quarantine among them
        before = lake_files(frail)
        stops(n_done)
        frail("rerun", str(frail.sweep), *HERE, code=9)
        assert len(changed(before, lake_files(frail))) == n_done
        failed = event(frail("cells", str(frail.sweep), "--json"), "cells")["failed"]
        assert 0 < failed < 22
    stops(0)
    out = frail("rerun", str(frail.sweep), *HERE, "--json")
    assert event(out, "found")["found"] == 5
    frail("evaluate", str(frail.sweep))
    after = results(frail)
    frail("sweep", "sweep.yaml", *HERE, "--out", "fresh")
    fresh = frail.folder / "fresh" / "lake" / "blocks"
    assert after == {f"blocks/{p.relative_to(fresh)}": p.read_bytes() for p in fresh.rglob("*.p*")}


def test_rerun_when_it_was_stopped_after_the_last_block_then_repeated_it_takes_them(
    frail: Pmx, stops: Callable[[int], None]
) -> None:
    run(frail)
    for name in ("broken", "no_memory"):
        (frail.folder / name).unlink()
    stops(6)
    frail("rerun", str(frail.sweep), *HERE, code=9)
    before = lake_files(frail)
    out = frail("rerun", str(frail.sweep), *HERE, "--json")
    assert (event(out, "found")["found"], event(out, "rerun")["blocks"]) == (6, 0)
    assert "pmx evaluate" in str(event(out, "next")["commands"])
    assert lake_files(frail) == before
    frail("evaluate", str(frail.sweep))


def test_rerun_when_a_block_was_torn_then_it_is_computed_again(frail: Pmx) -> None:
    run(frail)
    before = lake_files(frail)
    torn = min(frail_blocks(frail, "B"))
    path = frail.folder / "runs" / "lake" / "blocks" / torn[:2] / f"{torn}.parquet"
    path.write_bytes(path.read_bytes()[:-1])  # the disk was full between a block and its receipt
    out = frail("rerun", str(frail.sweep), *HERE, "--status", "error", "--json", code=3)
    assert event(out, "rerun")["blocks"] == 3
    assert results(frail) == {k: v for k, (v, _) in before.items() if k.endswith(".parquet")}


def test_rerun_when_nothing_was_mended_then_no_byte_in_the_lake_changes(frail: Pmx) -> None:
    run(frail)
    before = lake_files(frail)
    told = event(frail("rerun", str(frail.sweep), *HERE, "--json", code=3), "rerun")
    assert (told["same"], told["replaced"], told["mended"]) == (22, 0, 0)
    assert lake_files(frail) == before


@pytest.mark.parametrize(
    ("words", "blocks"),
    [
        (("--status", "error"), 3),
        (("--status", "quarantined"), 3),
        (("--status", "error", "--status", "quarantined"), 6),
        (("--ticker", "C"), 3),
        (("--ticker", "A"), 0),
        (("--spec", "frail", "--ticker", "B"), 3),
        (("--spec", "drift"), 0),
    ],
)
def test_rerun_when_cells_are_named_then_only_their_blocks(
    frail: Pmx, words: tuple[str, ...], blocks: int
) -> None:
    run(frail)
    (frail.folder / "broken").unlink()
    (frail.folder / "no_memory").unlink()
    left = 22 - 11 * blocks // 3
    code = 3 if blocks and left else 0
    told = event(frail("rerun", str(frail.sweep), *HERE, *words, "--json", code=code), "rerun")
    assert told["blocks"] == blocks
    assert event(frail("cells", str(frail.sweep), "--json"), "cells")["failed"] == left


def test_rerun_when_failures_are_accepted_then_only_if_named(frail: Pmx) -> None:
    frail.write({**PLANTED, "accepted_failures": ["error", "quarantined"]}, long_form())
    frail("plan", "sweep.yaml")
    frail("run", str(frail.sweep), *HERE)
    assert "no cell failed that is asked for" in frail("rerun", str(frail.sweep), *HERE)
    out = frail("rerun", str(frail.sweep), *HERE, "--status", "error", "--json")
    assert event(out, "rerun")["blocks"] == 3


def test_rerun_when_the_forecaster_changed_otherwise_then_it_says_so(frail: Pmx) -> None:
    one_block = {"tickers_per_block": 1, "folds_per_block": 99}
    frail.write({**PLANTED, "execution": one_block}, long_form())
    (frail.folder / "broken").write_text("2015-07-20")  # B fails in the later of its folds
    run(frail)
    (frail.folder / "broken").unlink()
    (frail.folder / "other").touch()
    out = frail("rerun", str(frail.sweep), *HERE, "--status", "error", "--json", code=3)
    told = event(out, "rerun")
    assert told["blocks"] == 1
    assert told["mended"] > 0
    assert told["moved"] == event(out, "moved")["moved"] == 11 - told["mended"]


def test_rerun_when_a_block_has_no_memory_now_then_its_good_cells_stay(frail: Pmx) -> None:
    one_block = {"tickers_per_block": 1, "folds_per_block": 99}
    frail.write({**PLANTED, "execution": one_block}, long_form())
    (frail.folder / "broken").write_text("2015-07-20")  # B fails in the later of its folds
    run(frail)
    before = event(frail("cells", str(frail.sweep), "--json"), "cells")["states"]
    (frail.folder / "broken").unlink()
    (frail.folder / "no_memory").write_text("B")
    out = frail("rerun", str(frail.sweep), *HERE, "--json", code=3)
    told = event(out, "rerun")
    after = event(frail("cells", str(frail.sweep), "--json"), "cells")["states"]
    assert 0 < before["error"] < 11
    assert after == {"done": before["done"] + 11, "error": before["error"]}
    assert (told["mended"], told["same"], told["moved"]) == (11, before["error"], 0)
    assert (told["blocks"], told["replaced"]) == (2, 1)
    assert event(out, "not_computed")["reason"] == "given up after 1 attempt: MemoryError: planted"
    assert "moved" not in {row["event"] for row in map(json.loads, out.splitlines())}
    frail("evaluate", str(frail.sweep), code=3)
    (frail.folder / "no_memory").unlink()
    told = event(frail("rerun", str(frail.sweep), *HERE, "--json"), "rerun")
    assert (told["mended"], told["moved"]) == (before["error"], 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ticker", "Z"), "--ticker was 'Z'; it must be one of A, B, C"),
        (("--spec", "garch"), "--spec was 'garch'; it must be one of drift, frail, random_walk"),
        (("--status", "ok"), "--status was 'ok'; it must be one of constant, error"),
    ],
)
def test_rerun_when_a_name_is_unknown_then_the_known_ones(
    frail: Pmx, words: tuple[str, ...], message: str
) -> None:
    run(frail)
    frail("rerun", str(frail.sweep), *words, code=2)
    assert message in frail.err


def test_rerun_when_not_run_then_the_error_names_the_verb(frail: Pmx) -> None:
    frail("plan", "sweep.yaml")
    frail("rerun", str(frail.sweep), code=2)
    assert f"run it with: pmx run {frail.sweep}" in frail.err
