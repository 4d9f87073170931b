"""What may be evaluated, compared and shown, and how a damaged artefact is mended."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pmx_ray import provenance as versions
from pmx_ray.backtest import sweep as folder_of
from pmx_ray.backtest.comparison import Comparison
from pmx_ray.backtest.executor import Settled, run_in_process
from pmx_ray.backtest.outcome import compare_sweep, evaluate_sweep, evaluated
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.errors import DataError
from pmx_ray.lake import BlockStore, open_store
from pmx_ray.report.page import write_page

SETTINGS = SweepSettings.model_validate(
    {
        "name": "small",
        "panel": {
            "source": "simulated", "kind": "garch", "n_tickers": 2, "n_sessions": 160, "seed": 4,
        },
        "folds": {"input_size": 90, "step_size": 10, "refit_every": 2},
        "forecasters": [{"name": "drift"}],
        "evaluation": {"n_resamples": 100},
        "execution": {"folds_per_block": 2},
    }
)  # fmt: skip

AGAIN = {verb: f"pmx {verb}" for verb in ("plan", "run", "evaluate", "compare")}


class Site:
    """A sweep that was run, its lake, and the verbs as the command calls them."""

    def __init__(self, root: Path) -> None:
        self.store: BlockStore = open_store(str(root / "lake"))
        first = folder_of.prepare(
            SETTINGS, root=root, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC)
        )
        self.folder = first.folder
        folder_of.save(first)
        self.run()

    @property
    def sweep(self) -> Sweep:
        return folder_of.load(self.folder)

    @property
    def lines(self) -> list[str]:
        return (self.folder / "receipts.jsonl").read_text().splitlines(keepends=True)

    def run(self, *, lost: str | None = None) -> None:
        """Compute what the lake lacks; ``lost`` quarantines the first block for that reason."""
        sweep = self.sweep
        plan, receipts = folder_of.outline(sweep, self.store)
        settled = [Settled(block, receipts[block.id]) for block in plan.done]
        settled += run_in_process(sweep.panel, sweep.plan, plan.todo, store=self.store)
        if lost is not None:
            settled[0] = Settled(settled[0].block, None, lost)
        folder_of.save_receipts(sweep, settled)

    def evaluate(self) -> str:
        return str(evaluate_sweep(self.sweep, self.store).provenance["forecast_sha256"])

    def compare(self) -> Comparison:
        return compare_sweep(self.sweep, self.store)

    def change_settings(self, **sections: object) -> None:
        document = SETTINGS.model_dump(mode="json")
        for section, value in sections.items():
            old = document[section]
            document[section] = {**old, **value} if isinstance(value, dict) else value
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(document))

    def bytes(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(verb: str, action: Callable[[], object]) -> str:
    """Demand one line that names the verb to run."""
    with pytest.raises(DataError, match=AGAIN[verb]) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_evaluate_when_the_settings_changed_since_the_run_then_refused_until_run(
    site: Site,
) -> None:
    before = site.evaluate()
    site.change_settings(folds={"step_size": 5}, seed=5)
    assert "belongs to sweep" in refused("run", site.evaluate)
    refused("run", lambda: evaluated(site.sweep))
    site.run()
    assert site.evaluate() != before


def test_evaluate_when_a_library_changed_since_the_run_then_refused_until_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "library_version", lambda name: f"{name} of tomorrow")
    assert "library versions of now" in refused("run", site.evaluate)
    site.run()
    site.evaluate()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: [], "is damaged"),
        (lambda lines: lines[:1], "has 0 blocks of random_walk for fold 0"),
        (lambda lines: lines[1:], "is damaged"),
        (lambda lines: lines[:-1], "has 0 blocks of drift for fold "),
        (lambda lines: [*lines, lines[-1]], "has 2 blocks of drift for fold "),
        (lambda lines: [*lines[:-1], lines[-1][:40]], "is damaged"),
        (lambda lines: [*lines, "[]\n"], "is damaged"),
        (lambda lines: [*lines, "\xff\n"], "is damaged"),
        (lambda lines: [line.replace('"sha256": "', '"sha256": "?') for line in lines], "damaged"),
        (lambda lines: [line.replace('"scopes": [[', '"scopes": [["Z", ') for line in lines],
         "outside the sweep's"),
    ],
    ids=["empty", "head alone", "no head", "block short", "block twice",
         "torn", "a list", "not text", "bad hash", "other ticker"],
)  # fmt: skip
def test_evaluate_when_the_receipts_are_not_whole_then_refused(
    site: Site, damage: Callable[[list[str]], list[str]], said: str
) -> None:
    text = "".join(damage(site.lines))
    (site.folder / "receipts.jsonl").write_bytes(text.encode("latin-1"))
    assert said in refused("run", site.evaluate)
    site.run()
    site.evaluate()


def test_evaluate_when_the_receipts_lack_a_spec_then_refused(site: Site) -> None:
    (drift,) = [spec.id for spec in site.sweep.specs if spec.name == "drift"]
    kept = [line for line in site.lines if drift not in line]
    (site.folder / "receipts.jsonl").write_text("".join(kept))
    assert "has 0 blocks of drift" in refused("run", site.evaluate)


def test_verbs_when_the_receipts_changed_since_then_refused_until_evaluated(site: Site) -> None:
    site.run(lost="given up after 3 attempts: killed")
    site.evaluate()
    partial = site.compare()
    write_page(site.folder)
    site.run()
    assert "receipts" in refused("evaluate", site.compare)
    refused("evaluate", lambda: write_page(site.folder))
    refused("evaluate", lambda: evaluated(site.sweep))
    site.evaluate()
    whole = site.compare()
    assert whole.differences[0].n_cells > partial.differences[0].n_cells
    assert json.loads(write_page(site.folder).with_name("provenance.json").read_text())[
        "n_quarantined_blocks"
    ] == 0  # fmt: skip


def test_compare_when_the_comparison_is_of_another_evaluation_then_made_anew(site: Site) -> None:
    site.evaluate()
    right = site.compare()
    replace(right, key="0" * 64, differences=()).save(site.folder)
    assert "of another evaluation" in refused("compare", lambda: write_page(site.folder))
    assert site.compare() == right
    assert Comparison.load(site.folder) == right


@pytest.mark.parametrize("damage", ["deleted", "cut", "emptied", "list"])
@pytest.mark.parametrize("name", ["leaderboard.parquet", "evaluation.json", "provenance.json"])
def test_evaluate_when_its_artefact_is_damaged_then_others_say_so_and_it_is_made_anew(
    site: Site, name: str, damage: str
) -> None:
    site.evaluate()
    before = site.bytes()
    spoil(site.folder / name, damage)
    refused("evaluate", lambda: evaluated(site.sweep))
    refused("evaluate", site.compare)
    refused("evaluate", lambda: write_page(site.folder))
    site.evaluate()
    assert site.bytes() == before


@pytest.mark.parametrize("damage", ["cut", "emptied", "list", "deleted"])
def test_compare_when_its_artefact_is_damaged_then_made_anew(site: Site, damage: str) -> None:
    site.evaluate()
    right = site.compare()
    spoil(site.folder / "comparison.json", damage)
    if damage != "deleted":  # a page without a comparison is a page
        refused("compare", lambda: write_page(site.folder))
    assert site.compare() == right
    assert Comparison.load(site.folder) == right


@pytest.mark.parametrize("lost", ["differences", "baseline"])
def test_load_when_a_document_lacks_a_field_then_named(site: Site, lost: str) -> None:
    site.evaluate()
    site.compare()
    name, verb = {
        "differences": ("comparison.json", "compare"), "baseline": ("evaluation.json", "evaluate"),
    }[lost]  # fmt: skip
    document = json.loads((site.folder / name).read_text())
    del document[lost]
    (site.folder / name).write_text(json.dumps(document))
    load = {"compare": Comparison.load, "evaluate": lambda _: evaluated(site.sweep)}[verb]
    assert lost in refused(verb, lambda: load(site.folder))


def spoil(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    path.unlink()
    if damage != "deleted":
        path.write_bytes({"cut": whole[: len(whole) // 2], "emptied": b"", "list": b"[]"}[damage])


@pytest.mark.parametrize(
    "change",
    [
        {"accepted_failures": ["no_price"]},
        {"execution": {"workers": 7}},
        {"lake": "/elsewhere"},
    ],
)
def test_evaluate_when_only_words_of_the_settings_changed_then_told_and_not_recomputed(
    site: Site, change: dict[str, object]
) -> None:
    site.evaluate()
    comparison = site.compare()
    write_page(site.folder)
    site.change_settings(**change)
    assert "settings or its quality report" in refused("evaluate", lambda: write_page(site.folder))
    assert_told_and_reused(site)
    assert evaluated(site.sweep)[1]["settings"] == site.sweep.settings.as_yaml()
    assert site.compare() == comparison


def test_evaluate_when_the_quality_report_changed_then_told_and_not_recomputed(site: Site) -> None:
    site.evaluate()
    write_page(site.folder)
    path = site.folder / "quality.json"
    quality = json.loads(path.read_text())
    quality["quarantined"] = [{"ticker": "Z"}]
    path.write_text(json.dumps(quality))
    assert_told_and_reused(site)
    assert evaluated(site.sweep)[1]["quality"]["quarantined"] == [{"ticker": "Z"}]


def assert_told_and_reused(site: Site) -> None:
    outcome = evaluate_sweep(site.sweep, open_store(str(site.folder / "no-lake")))
    assert outcome.reused
    assert not (site.folder / "report.html").exists()
    written = json.loads((site.folder / "provenance.json").read_text())
    assert written == json.loads(json.dumps(outcome.provenance))
    write_page(site.folder)
    assert evaluate_sweep(site.sweep, site.store).reused
    assert (site.folder / "report.html").exists()


def test_evaluate_when_a_lost_block_s_error_varies_then_the_same_hash(site: Site) -> None:
    hashes = []
    for pid in (71, 4242):
        reason = f"given up after 3 attempts: ActorDiedError: worker pid={pid} at 0x{pid:x} died"
        site.run(lost=reason)
        hashes.append(site.evaluate())
        assert any(reason in line for line in site.lines)  # whole, for a person to read
        failures = pq.read_table(site.folder / "failures.parquet")
        assert set(failures["reason"].to_pylist()) == {
            "given up after 3 attempts; receipts.jsonl holds the error"
        }
    assert hashes[0] == hashes[1]
    assert evaluate_sweep(site.sweep, site.store).reused
