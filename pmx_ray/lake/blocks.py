"""Blocks and their receipts: how they are named, written, found and checked.

A block is a table that a task computed; its id is a pure function of everything that went into it.
It lies at ``blocks/ab/<id>.parquet`` with its receipt at ``blocks/ab/<id>.json``, where ``ab`` are
the first two digits of the id. The receipt is written last, so a receipt implies a whole block.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pmx_ray.errors import CorruptBlockError, LakeError, MissingValueError
from pmx_ray.lake.store import BlockStore, check_key
from pmx_ray.provenance import canonical_json

BLOCKS = "blocks/"
"""Prefix of every block and receipt."""

ROW_GROUP = 1 << 20
"""Rows of a Parquet row group; part of what makes the same table the same bytes."""

READERS = 32
"""Receipts read at once: on S3 each is a round trip, and nothing else."""

_ID = re.compile(r"[0-9a-f]{8,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a task returns instead of data: where the block is and what it must hash to.

    Attributes
    ----------
    block_id : str
        8 to 64 hexadecimal digits.
    path : str
        Key of the Parquet value in the store.
    rows, failed : int
        Rows of the block, and how many of them have a status other than ``ok``.
    sha256 : str
        Of the Parquet bytes.
    seconds : float
        Wall time the task took, less what compiling kernels took of it.
    node : str
        Where it ran.
    attempt : int
        Which try this was; 1 is the first.

    Raises
    ------
    LakeError
        If a field is out of its range.
    """

    block_id: str
    path: str
    rows: int
    failed: int
    sha256: str
    seconds: float
    node: str
    attempt: int

    def __post_init__(self) -> None:
        if self.path != block_key(self.block_id):
            raise LakeError(
                f"receipt of block {self.block_id} points to {self.path[:80]!r}; it must point to "
                f"{block_key(self.block_id)}"
            )
        if not _SHA256.fullmatch(self.sha256):
            raise LakeError(f"sha256 was {self.sha256[:80]!r}; it must be 64 hexadecimal digits")
        if not 0 <= self.failed <= self.rows:
            raise LakeError(f"failed was {self.failed}; it must be 0 to {self.rows}, the rows")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise LakeError(f"seconds was {self.seconds}; it must be finite and >= 0")
        if self.attempt < 1:
            raise LakeError(f"attempt was {self.attempt}; it must be >= 1")

    def to_json(self) -> bytes:
        """Return the receipt as one line of JSON with sorted keys."""
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Receipt":
        """Return the receipt that ``to_json`` wrote.

        Raises
        ------
        LakeError
            If the text is not a receipt.
        """
        try:
            values = json.loads(text)
        except ValueError as error:  # also UnicodeDecodeError
            raise LakeError(f"a receipt is not JSON: {error}") from None
        return cls(**_typed(values))


def _typed(values: object) -> dict[str, Any]:
    """Return ``values`` if it has the fields of a receipt, each of its type."""
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(Receipt)}:
        raise LakeError("a receipt has other fields; it was not written by this version")
    for field in fields(Receipt):
        value = values[field.name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        right = {"int": whole, "float": whole or isinstance(value, float)}
        if not right.get(_type_name(field.type), isinstance(value, str)):
            raise LakeError(f"a receipt's {field.name} was {value!r}, of the wrong type")
    return values


def _type_name(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")


def block_key(block_id: str) -> str:
    """Return the key of a block's Parquet value.

    Raises
    ------
    LakeError
        If the id is not 8 to 64 hexadecimal digits in lower case.

    Examples
    --------
    >>> block_key("ab12cd34")
    'blocks/ab/ab12cd34.parquet'
    """
    return _key(block_id, "parquet")


def receipt_key(block_id: str) -> str:
    """Return the key of a block's receipt.

    Raises
    ------
    LakeError
        As ``block_key``.
    """
    return _key(block_id, "json")


def _key(block_id: str, ending: str) -> str:
    if not _ID.fullmatch(block_id):
        raise LakeError(f"block id was {block_id[:80]!r}; it must be 8 to 64 digits of 0-9 and a-f")
    return check_key(f"{BLOCKS}{block_id[:2]}/{block_id}.{ending}")


def to_parquet(table: pa.Table) -> bytes:
    """Return the Parquet bytes of ``table``: the same rows give the same bytes.

    Chunks do not matter, and pandas' own metadata is left out.
    """
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"pandas"}
    plain = table.replace_schema_metadata(metadata or None)
    sink = pa.BufferOutputStream()
    pq.write_table(
        plain,
        sink,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        write_statistics=True,
        row_group_size=ROW_GROUP,
        data_page_version="1.0",
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def write_block(
    store: BlockStore,
    block_id: str,
    table: pa.Table,
    *,
    failed: int,
    seconds: float,
    node: str,
    attempt: int,
) -> Receipt:
    """Write a block and then its receipt, and return the receipt that stands in the store.

    A block that is already there with the same bytes is left alone, with its first receipt; one
    with other bytes (corrupt, or of another library version) is replaced.

    Parameters
    ----------
    store : BlockStore
        Where to.
    block_id : str
        8 to 64 hexadecimal digits.
    table : pyarrow.Table
        The block.
    failed : int
        Rows whose status is not ``ok``.
    seconds : float
        Wall time the task took, less what compiling kernels took of it.
    node : str
        Where it ran.
    attempt : int
        Which try this was, from 1.

    Raises
    ------
    LakeError
        If the store cannot be written.
    """
    data = to_parquet(table)
    receipt = Receipt(
        block_id=block_id,
        path=block_key(block_id),
        rows=table.num_rows,
        failed=failed,
        sha256=_sha256(data),
        seconds=seconds,
        node=node,
        attempt=attempt,
    )
    if not store.put_new(receipt.path, data) and store.get(receipt.path) != data:
        store.replace(receipt.path, data)
    key = receipt_key(block_id)
    if store.put_new(key, receipt.to_json()):
        return receipt
    standing = _receipt(store, block_id)
    if standing is not None and standing.sha256 == receipt.sha256:
        return standing
    store.replace(key, receipt.to_json())
    return receipt


def read_block(store: BlockStore, receipt: Receipt, schema: pa.Schema) -> pa.Table:
    """Return the table of a block, checked against its receipt.

    Raises
    ------
    CorruptBlockError
        If the bytes do not hash to what the receipt says.
    LakeError
        If the block is missing, or has other columns than ``schema``.
    """
    data = store.get(receipt.path)
    where = f"block {receipt.block_id} at {store.url}/{receipt.path}"
    if _sha256(data) != receipt.sha256:
        raise CorruptBlockError(
            f"{where} hashes to {_sha256(data)[:12]}; its receipt says {receipt.sha256[:12]}; "
            "run the sweep again, which computes the block anew"
        )
    table = from_parquet(data)
    if not table.schema.equals(schema, check_metadata=True):
        raise LakeError(
            f"{where} has the columns {table.schema.names} under schema {table.schema.metadata}; "
            "another version of the program wrote it; use a new folder for this version's blocks"
        )
    return table


def from_parquet(data: bytes) -> pa.Table:
    """Return the table in the bytes of a block, read by the calling thread alone.

    Arrow's own threads let go of the bytes some time after the read has returned, for which they
    need the interpreter; where it is ending by then, they end the whole process with SIGABRT.
    """
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def verify(store: BlockStore, receipt: Receipt) -> bool:
    """Return whether the block is there and hashes to what its receipt says; reads all of it."""
    try:
        return _sha256(store.get(receipt.path)) == receipt.sha256
    except MissingValueError:
        return False


def known_blocks(store: BlockStore) -> set[str]:
    """Return the ids that have both a block and a receipt, from one listing and no reads."""
    blocks: set[str] = set()
    receipts: set[str] = set()
    for key in store.keys(BLOCKS):
        name, _, ending = key.rpartition("/")[2].partition(".")
        if _ID.fullmatch(name) and key == f"{BLOCKS}{name[:2]}/{name}.{ending}":
            {"parquet": blocks, "json": receipts}.get(ending, set()).add(name)
    return blocks & receipts


def load_receipts(
    store: BlockStore, ids: Iterable[str], *, workers: int = READERS
) -> dict[str, Receipt]:
    """Return the receipt of each id, read ``workers`` at a time, in the order of the ids.

    An id whose receipt is missing or is not a receipt is left out: its block counts as not there.

    Raises
    ------
    LakeError
        If the store cannot be read.
    """
    wanted = sorted(set(ids))
    with ThreadPoolExecutor(max_workers=max(1, min(workers, len(wanted)))) as pool:
        found = pool.map(lambda block_id: _receipt(store, block_id), wanted)
        return {receipt.block_id: receipt for receipt in found if receipt is not None}


def find_receipts(store: BlockStore) -> dict[str, Receipt]:
    """Return the receipt of every block in the store, by block id.

    One listing and then one small read a block, ``READERS`` at a time. To resume, prefer
    ``known_blocks`` and ``load_receipts`` of the ids the plan needs.

    Raises
    ------
    LakeError
        If the store cannot be read.
    """
    return load_receipts(store, known_blocks(store))


def _receipt(store: BlockStore, block_id: str) -> Receipt | None:
    """Return the receipt of a block, or None where it is missing or damaged."""
    try:
        text = store.get(receipt_key(block_id))
    except MissingValueError:
        return None
    try:
        receipt = Receipt.from_json(text)
    except LakeError:
        return None
    return receipt if receipt.block_id == block_id else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
