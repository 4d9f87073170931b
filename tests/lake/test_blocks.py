"""Blocks and receipts: the same table gives the same bytes, and damage is found and mended."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import CorruptBlockError, LakeError, MissingValueError
from pmx_ray.lake import (
    BlockStore,
    FolderStore,
    Receipt,
    find_receipts,
    known_blocks,
    load_receipts,
    read_block,
    verify,
    write_block,
)
from pmx_ray.lake.blocks import block_key, from_parquet, receipt_key, to_parquet

ID = "ab" + "0" * 30
SCHEMA = pa.schema(
    [
        pa.field("ticker", pa.string(), nullable=False),
        pa.field("step", pa.int16(), nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("refit", pa.bool_(), nullable=False),
    ],
    metadata={"pmx_schema": "1"},
)


def table(seed: int = 0) -> pa.Table:
    rows = 50
    return pa.table(
        {
            "ticker": [f"T{n % 3}" for n in range(rows)],
            "step": pa.array([1 + n % 20 for n in range(rows)], pa.int16()),
            "mean": [None if n % 7 == 0 else (n + seed) / 3 for n in range(rows)],
            "refit": [n % 5 == 0 for n in range(rows)],
        },
        schema=SCHEMA,
    )


def put(store: BlockStore, block_id: str = ID, *, seed: int = 0, attempt: int = 1) -> Receipt:
    return write_block(
        store, block_id, table(seed), failed=8, seconds=0.25, node="head", attempt=attempt
    )


def test_write_block_when_read_back_then_same_table(store: BlockStore) -> None:
    receipt = put(store)
    assert receipt == Receipt(
        block_id=ID,
        path=f"blocks/ab/{ID}.parquet",
        rows=50,
        failed=8,
        sha256=hashlib.sha256(store.get(f"blocks/ab/{ID}.parquet")).hexdigest(),
        seconds=0.25,
        node="head",
        attempt=1,
    )
    assert read_block(store, receipt, SCHEMA).equals(table(), check_metadata=True)
    assert verify(store, receipt)
    assert find_receipts(store) == {ID: receipt}


def test_write_block_when_written_again_then_first_receipt_stands(store: BlockStore) -> None:
    first = put(store, attempt=1)
    assert put(store, attempt=2) == first
    assert find_receipts(store) == {ID: first}


def test_write_block_when_receipt_was_lost_to_a_kill_then_resumed(store: BlockStore) -> None:
    # A kill between the block and its receipt: the block is not known, and is written again.
    store.put_new(block_key(ID), to_parquet(table()))
    assert known_blocks(store) == set()
    receipt = put(store, attempt=2)
    assert receipt.attempt == 2
    assert known_blocks(store) == {ID}


@pytest.mark.parametrize("damage", ["flipped", "torn", "empty"])
def test_read_block_when_bytes_differ_then_error_names_block_and_mended(
    store: BlockStore, damage: str
) -> None:
    receipt = put(store)
    data = store.get(receipt.path)
    flipped = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    bad = {"flipped": flipped, "torn": data[: len(data) // 2], "empty": b""}[damage]
    store.replace(receipt.path, bad)

    assert not verify(store, receipt)
    with pytest.raises(CorruptBlockError) as caught:
        read_block(store, receipt, SCHEMA)
    for part in (ID, store.url, "run the sweep again"):
        assert part in str(caught.value)

    assert put(store, attempt=2) == receipt
    assert verify(store, receipt)
    assert store.get(receipt.path) == data


def test_write_block_when_table_changed_then_block_and_receipt_replaced(store: BlockStore) -> None:
    old = put(store, seed=0)
    new = put(store, seed=1)
    assert new.sha256 != old.sha256
    assert find_receipts(store) == {ID: new}
    assert read_block(store, new, SCHEMA).equals(table(1))
    assert not verify(store, old)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"block_id": "ab"}'])
def test_write_block_when_receipt_damaged_then_replaced(tmp_path: Path, text: bytes) -> None:
    store = FolderStore(tmp_path)
    receipt = put(store)
    store.replace(receipt_key(ID), text)
    assert find_receipts(store) == {}
    assert put(store) == receipt
    assert find_receipts(store) == {ID: receipt}


def test_receipts_when_block_deleted_then_not_known(store: BlockStore) -> None:
    kept, lost = put(store, "aa" * 8), put(store, "bb" * 8)
    store.delete(lost.path)
    assert known_blocks(store) == {"aa" * 8}
    assert not verify(store, lost)
    assert find_receipts(store) == {"aa" * 8: kept}
    with pytest.raises(MissingValueError):
        read_block(store, lost, SCHEMA)


def test_load_receipts_when_many_asked_then_those_there(store: BlockStore) -> None:
    ids = [f"{n:016x}" for n in range(40)]
    wrote = {block_id: put(store, block_id) for block_id in ids[:30]}
    assert load_receipts(store, ids, workers=8) == wrote
    assert load_receipts(store, []) == {}
    assert list(load_receipts(store, reversed(ids))) == ids[:30]


def test_known_blocks_when_strangers_lie_about_then_ignored(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    receipt = put(store)
    for ending in ("json", "parquet"):
        store.put_new(f"blocks/ab/notes.{ending}", b"x")
        store.put_new(f"blocks/cd/{ID}.{ending}", b"x")  # in the wrong folder
    store.put_new(f"blocks/ab/{ID[:-1]}1.json", b"x")  # no block
    assert known_blocks(store) == {receipt.block_id}


def test_load_receipts_when_receipt_is_of_another_block_then_left_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    receipt = put(store)
    other = "ab" + "1" * 30
    store.replace(receipt_key(other), receipt.to_json())
    assert load_receipts(store, [ID, other]) == {ID: receipt}


def test_read_block_when_schema_version_differs_then_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    receipt = put(store)
    with pytest.raises(LakeError, match="another version"):
        read_block(store, receipt, SCHEMA.with_metadata({"pmx_schema": "2"}))
    with pytest.raises(LakeError, match="another version"):
        read_block(store, receipt, SCHEMA.remove(2))


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 50), max_size=5),
    values=st.lists(
        st.none() | st.floats(allow_nan=True, allow_infinity=True), min_size=50, max_size=50
    ),
)
def test_to_parquet_when_chunked_anyhow_then_same_bytes(
    cuts: list[int], values: list[float | None]
) -> None:
    whole = table().set_column(2, SCHEMA.field("mean"), pa.array(values, pa.float64()))
    edges = [0, *sorted(cuts), 50]
    parts = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    assert to_parquet(pa.concat_tables(parts)) == to_parquet(whole)


def test_to_parquet_when_made_by_pandas_then_its_metadata_left_out() -> None:
    frame = pd.DataFrame({"mean": [1.0, 2.0]})
    made = pa.Table.from_pandas(frame)
    assert b"pandas" in made.schema.metadata
    stored = pq.read_schema(pa.BufferReader(to_parquet(made)))
    assert b"pandas" not in (stored.metadata or {})
    assert to_parquet(made) == to_parquet(pa.table({"mean": [1.0, 2.0]}))


def test_to_parquet_when_no_rows_then_schema_kept() -> None:
    data = to_parquet(SCHEMA.empty_table())
    assert from_parquet(data).schema.equals(SCHEMA, check_metadata=True)


COUNT_THREADS = """
import os, sys
from pathlib import Path
from pmx_ray.lake.blocks import from_parquet
data = Path(sys.argv[1]).read_bytes()
before = len(os.listdir("/proc/self/task"))
rows = from_parquet(data).num_rows
print(rows, len(os.listdir("/proc/self/task")) - before)
"""


def test_from_parquet_when_it_has_read_then_no_thread_is_left_that_holds_the_bytes(
    tmp_path: Path,
) -> None:
    (tmp_path / "block.parquet").write_bytes(to_parquet(table()))
    ended = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, str(tmp_path / "block.parquet")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.split() == ["50", "0"]


hex_digits = st.text("0123456789abcdef", min_size=8, max_size=64)


@settings(max_examples=50, deadline=None)
@given(
    block_id=hex_digits,
    failed=st.integers(0, 10**6),
    more=st.integers(0, 10**6),
    seconds=st.floats(0, 1e9),
    node=st.text(max_size=30),
    attempt=st.integers(1, 1000),
)
def test_receipt_when_written_as_json_then_read_back_the_same(
    block_id: str, failed: int, more: int, seconds: float, node: str, attempt: int
) -> None:
    receipt = Receipt(
        block_id=block_id,
        path=block_key(block_id),
        rows=failed + more,
        failed=failed,
        sha256="0" * 64,
        seconds=seconds,
        node=node,
        attempt=attempt,
    )
    assert Receipt.from_json(receipt.to_json()) == receipt


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block_id", "AB" * 16),
        ("block_id", "../../etc"),
        ("path", "blocks/ab/other.parquet"),
        ("rows", 7),
        ("rows", "50"),
        ("rows", True),
        ("failed", -1),
        ("failed", None),
        ("sha256", "12"),
        ("seconds", float("inf")),
        ("seconds", -1.0),
        ("node", 3),
        ("attempt", 0),
        ("attempt", 1.5),
        ("extra", 1),
    ],
)
def test_receipt_when_a_field_is_wrong_then_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    values = json.loads(put(FolderStore(tmp_path)).to_json())
    values[field] = value
    with pytest.raises(LakeError):
        Receipt.from_json(json.dumps(values).encode())


def test_receipt_when_replaced_badly_then_refused(tmp_path: Path) -> None:
    receipt = put(FolderStore(tmp_path))
    with pytest.raises(LakeError, match="failed was 51; it must be 0 to 50"):
        replace(receipt, failed=51)
