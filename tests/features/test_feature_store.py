"""The feature store: same bits as computed, named by content, mended when torn."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from pmx_ray import provenance
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.features import store as module
from pmx_ray.features.cross_section import CrossSection
from pmx_ray.features.matrix import FeatureMatrix, feature_matrix
from pmx_ray.features.moments import RollingMoment
from pmx_ray.features.returns import ReturnLag
from pmx_ray.features.store import COLUMNS_KEY, features_id, stored_features
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import BlockStore, known_blocks, open_store
from pmx_ray.lake.blocks import block_key, receipt_key

CLOSE = 30.0 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.01, (3, 90)), axis=1))
PANEL = Panel("XNYS", ("A", "B", "C"), calendar_sessions("XNYS")[9000:9090], CLOSE)
SPECS = ("monday", ReturnLag(lags=(0, 4)), RollingMoment(window=10, publication_lag=2))
BUCKET = "pmx-features"


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    started.stop()


@pytest.fixture(params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BlockStore:
    if request.param == "folder":
        return open_store(str(tmp_path / "lake"))
    for name, value in request.getfixturevalue("server").items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
    client.create_bucket(Bucket=BUCKET)
    return open_store(f"s3://{BUCKET}/{tmp_path.name.replace('_', '-')}")


@pytest.fixture
def folder(tmp_path: Path) -> BlockStore:
    return open_store(str(tmp_path / "lake"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list that grows with each spec that is computed and not read."""
    seen: list[str] = []

    def counted(specs, panel):
        seen.extend(spec if isinstance(spec, str) else spec.kind for spec in specs)
        return feature_matrix(specs, panel)

    monkeypatch.setattr(module, "feature_matrix", counted)
    return seen


def same(one: FeatureMatrix, other: FeatureMatrix) -> bool:
    return (
        one.values.tobytes() == other.values.tobytes()
        and one.columns == other.columns
        and one.tickers == other.tickers
        and one.sessions.tolist() == other.sessions.tolist()
    )


def test_stored_when_asked_twice_then_computed_once_with_the_bits_of_the_matrix(store, computed):
    # proves M1
    first, second = (stored_features(store, PANEL, SPECS) for _ in range(2))
    assert computed == ["monday", "return_lag", "rolling_moment"]
    plain = feature_matrix(SPECS, PANEL)
    assert same(first, plain)
    assert same(second, plain)


def test_stored_when_a_spec_is_added_then_only_its_columns_are_computed(folder, computed):
    stored_features(folder, PANEL, SPECS[:2])
    computed.clear()
    more = (CrossSection(factors=("first_component",), window=10), *SPECS[:2])
    assert same(stored_features(folder, PANEL, more), feature_matrix(more, PANEL))
    assert computed == ["cross_section"]


@pytest.mark.parametrize("harm", ["torn", "missing", "no receipt", "torn receipt"])
def test_stored_when_a_block_is_damaged_then_computed_again_and_mended(folder, computed, harm):
    stored_features(folder, PANEL, SPECS)
    name = features_id(PANEL.sha256, SPECS[1])
    if harm == "torn":
        folder.replace(block_key(name), folder.get(block_key(name))[:-200])
    elif harm == "missing":
        folder.delete(block_key(name))
    elif harm == "no receipt":
        folder.delete(receipt_key(name))
    else:
        folder.replace(receipt_key(name), b"{")
    computed.clear()
    assert same(stored_features(folder, PANEL, SPECS), feature_matrix(SPECS, PANEL))
    assert computed == ["return_lag"]
    computed.clear()
    stored_features(folder, PANEL, SPECS)
    assert computed == []


@pytest.mark.parametrize(
    "other",
    [
        (PANEL.window(0, 89), SPECS[1]),
        (PANEL.select(["A", "B"]), SPECS[1]),
        (replace(PANEL, groups=("x", "x", "y")), SPECS[1]),
        (PANEL, ReturnLag(lags=(0, 5))),
        (PANEL, ReturnLag(lags=(0, 4), publication_lag=2)),
    ],
    ids=["shorter", "fewer tickers", "groups", "other lags", "other publication lag"],
)
def test_id_when_panel_or_spec_differs_then_another(other):
    panel, spec = other
    assert features_id(panel.sha256, spec) != features_id(PANEL.sha256, SPECS[1])


@pytest.mark.parametrize("version", ["ENGINE_VERSION", "FEATURES_VERSION"])
def test_id_when_a_version_moves_then_another(monkeypatch, version):
    before = features_id(PANEL.sha256, SPECS[1])
    monkeypatch.setattr(module, version, "next")
    assert features_id(PANEL.sha256, SPECS[1]) != before


@pytest.mark.parametrize(
    ("raw", "computes_features"),
    [
        ({"name": "boosting"}, True),
        ({"name": "sarimax", "engine": "reference", "exog": ["monday"]}, True),
        ({"name": "ensemble", "members": [{"name": "drift"}, {"name": "boosting"}]}, True),
        ({"name": "sarimax", "engine": "reference"}, False),
        ({"name": "sarimax"}, False),
        ({"name": "garch"}, False),
    ],
)
def test_libraries_when_features_move_then_those_of_who_computes_them(
    monkeypatch, raw, computes_features
):
    before = ForecasterSpec.parse(raw)
    seen = before.libraries
    monkeypatch.setattr(provenance, "FEATURES_VERSION", "next")
    assert (ForecasterSpec.parse(raw).libraries != seen) == computes_features
    assert ForecasterSpec.parse(raw).id == before.id


def test_block_when_opened_by_any_reader_then_it_says_when_values_were_out(folder):
    stored_features(folder, PANEL, SPECS)
    name = features_id(PANEL.sha256, SPECS[2])
    table = pq.ParquetFile(pa.BufferReader(folder.get(block_key(name)))).read()
    head = json.loads(table.schema.metadata[COLUMNS_KEY])
    assert [(c["name"], c["publication_lag"], c["warm_up"]) for c in head["columns"]] == [
        ("return_mean_10", 2, 10),
        ("return_std_10", 2, 10),
    ]
    assert head["panel"] == PANEL.sha256
    assert head["spec"]["window"] == 10
    assert table.num_rows == 3 * 90
    assert table.column_names == ["ticker", "session", "return_mean_10", "return_std_10"]


def test_stored_when_many_ask_at_once_then_one_block_each_and_same_bits(folder):
    with ThreadPoolExecutor(4) as pool:
        asked = pool.map(lambda _: stored_features(folder, PANEL, SPECS), range(8))
        assert len({matrix.values.tobytes() for matrix in asked}) == 1
    assert len(known_blocks(folder)) == len(SPECS)


def test_stored_when_two_columns_clash_then_nothing_is_written(folder):
    with pytest.raises(SettingsError, match="there twice"):
        stored_features(folder, PANEL, ("monday", "monday"))
    assert known_blocks(folder) == set()
