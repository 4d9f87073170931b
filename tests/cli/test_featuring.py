"""`pmx features` as a person uses it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pmx_command import Pmx

EXAMPLE = Path(__file__).parents[2] / "configs" / "features" / "us_equities.yaml"
PANEL = {"source": "file", "path": "prices.csv"}
FEATURES = ["monday", {"kind": "return_lag", "lags": [0, 2]}, {"kind": "volatility", "window": 150}]


@pytest.fixture
def features(pmx: Pmx) -> Pmx:
    """Return the command beside features.yaml: the prices of three tickers, four columns."""
    write(pmx, features=FEATURES)
    return pmx


def write(pmx: Pmx, **settings: object) -> None:
    text = yaml.safe_dump({"panel": PANEL, **settings})
    (pmx.folder / "features.yaml").write_text(text)


def rows(pmx: Pmx, *words: str) -> list[dict[str, object]]:
    lines = pmx("features", "features.yaml", *words, "--json").splitlines()
    return [json.loads(line) for line in lines]


# proves M1
def test_features_when_asked_twice_then_computed_and_then_cached(features: Pmx) -> None:
    first = features("features", "features.yaml")
    assert first.count("computed") == 4
    assert "0 of 3 blocks were in the lake" in first
    second = features("features", "features.yaml")
    assert second.count("cached") == 4
    assert "computed" not in second
    assert "all 3 blocks were in the lake" in second
    assert second.split("│")[1:5] == first.split("│")[1:5]


def test_features_when_printed_then_each_column_says_when_and_how_far_it_is_known(
    features: Pmx,
) -> None:
    *columns, total = rows(features)
    assert [
        (row["column"], row["publication_lag"], row["warm_up"], row["known_frac"])
        for row in columns
    ] == [
        # 200 sessions without a gap: what is unknown is the warm-up.
        ("monday", 0, 0, 1.0),
        ("return_lag_0", 1, 1, 199 / 200),
        ("return_lag_2", 1, 3, 197 / 200),
        ("realized_volatility_150", 1, 150, 50 / 200),
    ]
    prices = pd.read_csv(features.folder / "prices.csv").pivot(
        index="date", columns="ticker", values="close"
    )
    returns = np.diff(np.log(prices.to_numpy()), axis=0)
    assert [columns[1][key] for key in ("min", "mean", "max")] == pytest.approx(
        [returns.min(), returns.mean(), returns.max()]
    )
    assert len({row["block_id"] for row in columns}) == 3
    assert columns[1]["block_id"] == columns[2]["block_id"]
    assert {key: total[key] for key in ("columns", "tickers", "sessions", "blocks", "cached")} == {
        "columns": 4,
        "tickers": 3,
        "sessions": 200,
        "blocks": 3,
        "cached": 0,
    }


def test_features_when_a_window_is_longer_than_the_panel_then_no_figures(pmx: Pmx) -> None:
    write(pmx, features=[{"kind": "volatility", "window": 250}])
    (line,) = (line for line in pmx("features", "features.yaml").splitlines() if "volat" in line)
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[3:8] == ["250", "0.0%", "-", "-", "-"]
    assert rows(pmx)[0]["mean"] is None


def test_features_when_a_block_is_torn_then_that_one_is_computed_again(features: Pmx) -> None:
    before = rows(features)
    (path,) = (features.folder / "runs" / "lake").rglob(f"{before[0]['block_id']}.parquet")
    path.write_bytes(b"torn")
    again = rows(features)
    assert [row["cached"] for row in again[:-1]] == [False, True, True, True]
    for key in ("min", "mean", "max", "block_id"):
        assert [row[key] for row in again[:-1]] == [row[key] for row in before[:-1]]


@pytest.mark.parametrize(
    ("words", "lake"),
    [
        ((), "runs/lake"),  # where `pmx sweep` keeps its blocks
        (("--out", "elsewhere"), "elsewhere/lake"),
        (("--set", "lake=mine"), "mine"),
    ],
)
def test_features_when_computed_then_kept_in_the_lake(
    features: Pmx, words: tuple[str, ...], lake: str
) -> None:
    assert rows(features, *words)[-1]["lake"] == str(features.folder / lake)
    assert len(list((features.folder / lake).rglob("*.parquet"))) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ["munday"]}, "features.0: unknown feature 'munday'; did you mean 'monday'?"),
        ({"features": [{"kind": "volatilty"}]}, "'volatilty'; did you mean 'volatility'?"),
        ({"features": [{"kind": "volatility", "windw": 9}]}, "windw'; did you mean 'window'?"),
        ({"feature": ["monday"]}, "unknown key 'feature'; did you mean 'features'?"),
        ({"features": []}, "features: Tuple should have at least 1 item"),
        ({"features": ["monday", "monday"]}, "monday"),
        ({"features": [{"kind": "volatility", "estimators": ["parkinson"]}]}, "has no high"),
        ({"features": ["monday"], "lake": "gs://bucket"}, "lake address gs:... is not known"),
    ],
)
def test_features_when_settings_are_wrong_then_one_line_and_exit_2(
    pmx: Pmx, settings: dict[str, object], message: str
) -> None:
    write(pmx, **settings)
    pmx("features", "features.yaml", code=2)
    assert message in pmx.err
    assert pmx.err.count("\n") == 1
    assert not (pmx.folder / "runs").exists()


def test_features_when_the_file_is_misspelt_then_the_near_one_is_named(features: Pmx) -> None:
    features("features", "feature.yaml", code=2)
    assert "did you mean 'features.yaml'?" in features.err


def test_example_when_run_on_its_panel_then_every_column_has_values(pmx: Pmx) -> None:
    short = "panel={source: bundled, name: us_equities, tickers: [AAPL, KO], start: 2018-01-02}"
    *columns, total = [
        json.loads(line)
        for line in pmx("features", str(EXAMPLE), "--set", short, "--json").splitlines()
    ]
    assert total["columns"] == len(columns) == 16
    assert min(row["known_frac"] for row in columns) > 0.5
