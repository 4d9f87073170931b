"""What a sweep came to, block by block, and how it differs from what it must be."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pmx_ray.backtest.receipts import RECEIPTS
from pmx_ray.errors import ClusterError, MissingValueError
from pmx_ray.lake import BlockStore, known_blocks
from pmx_ray.lake.blocks import block_key


@dataclass(frozen=True, slots=True)
class Block:
    """A block as ``receipts.jsonl`` has it.

    Attributes
    ----------
    id : str
        Of the block.
    label : str
        Forecaster and tickers, for people.
    sha256 : str, optional
        Of its bytes by its receipt; None where it was quarantined.
    attempt : int
        Which try wrote it; 0 where it was quarantined.
    reason : str, optional
        Why it was quarantined.
    """

    id: str
    label: str
    sha256: str | None
    attempt: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished sweep.

    Attributes
    ----------
    forecast_sha256 : str
        Of all forecasts, as ``provenance.json`` has it.
    leaderboard_sha256 : str
        Of the bytes of ``leaderboard.parquet``.
    blocks : tuple of Block
        Every line of ``receipts.jsonl``, in its order.
    stored : mapping of str to str
        SHA-256 of the bytes of each block that the lake holds with a receipt.
    """

    forecast_sha256: str
    leaderboard_sha256: str
    blocks: tuple[Block, ...]
    stored: Mapping[str, str]

    @property
    def quarantined(self) -> tuple[Block, ...]:
        """Blocks that were given up."""
        return tuple(block for block in self.blocks if block.sha256 is None)

    @property
    def n_retries(self) -> int:
        """Tries beyond the first, of the blocks that were written."""
        return sum(block.attempt - 1 for block in self.blocks if block.sha256 is not None)


def sweep_folder(out: Path) -> Path:
    """Return the one sweep folder under ``out``.

    Raises
    ------
    ClusterError
        If there is none, or several.
    """
    found = [path.parent for path in out.glob("*/settings.yaml")]
    if len(found) != 1:
        raise ClusterError(f"{out} holds {len(found)} sweep folders; a drill makes one")
    return found[0]


def read_outcome(folder: Path, store: BlockStore) -> Outcome:
    """Return what a sweep came to; every block of the lake is read.

    Parameters
    ----------
    folder : Path
        The sweep's.
    store : BlockStore
        Its lake, which holds nothing else.

    Raises
    ------
    ClusterError
        If a file that a finished sweep has is not there.
    """
    try:
        provenance = json.loads((folder / "provenance.json").read_bytes())
        leaderboard = (folder / "leaderboard.parquet").read_bytes()
        rows = [json.loads(line) for line in (folder / RECEIPTS).read_bytes().splitlines()[1:]]
        documents = json.loads((folder / "specs.json").read_bytes())
    except FileNotFoundError as error:
        raise ClusterError(f"the sweep did not come to its end: no {error.filename}") from None
    specs = {document["id"]: document["label"] for document in documents}
    return Outcome(
        forecast_sha256=provenance["forecast_sha256"],
        leaderboard_sha256=hashlib.sha256(leaderboard).hexdigest(),
        blocks=tuple(_block(row, specs) for row in rows),
        stored=_stored(store),
    )


def _block(row: Mapping[str, object], specs: Mapping[str, str]) -> Block:
    receipt, scopes = row["receipt"], row["scopes"]
    names = " ".join(ticker for scope in scopes for ticker in scope)  # type: ignore[attr-defined]
    label = f"{specs[str(row['spec'])]} {names} folds {row['first']} to {row['stop']}"
    if not isinstance(receipt, dict):
        return Block(str(row["block"]), label, None, 0, str(row["reason"]))
    return Block(str(row["block"]), label, receipt["sha256"], receipt["attempt"])


def _stored(store: BlockStore) -> dict[str, str]:
    found = {}
    for block_id in known_blocks(store):
        try:
            found[block_id] = hashlib.sha256(store.get(block_key(block_id))).hexdigest()
        except MissingValueError:
            found[block_id] = "gone"
    return found


def differences(
    expected: Outcome, found: Outcome, *, may_be_given_up: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return in words how a sweep differs from what it must be; none where every byte is right.

    Parameters
    ----------
    expected : Outcome
        Of the same sweep in one process and without harm.
    found : Outcome
        Of the run in which something was broken.
    may_be_given_up : sequence of str
        Ids of the blocks that must be quarantined, and no others. Forecasts and leaderboard then
        hold other rows than expected, and are not compared as a whole.
    """
    wanted = {block.id: block for block in expected.blocks}
    times = Counter(block.id for block in found.blocks)
    said = [f"block {wanted[name].label} is lost" for name in wanted if name not in times]
    said += [f"block {name[:12]} is not of this sweep" for name in times if name not in wanted]
    said += [f"block {name[:12]} is there {n} times" for name, n in times.items() if n > 1]
    for block in found.blocks:
        said += _of_block(block, wanted.get(block.id), found.stored, block.id in may_be_given_up)
    strays = set(found.stored) - set(times)
    said += [f"the lake holds block {name[:12]}, which is not of this sweep" for name in strays]
    if not may_be_given_up:
        if found.forecast_sha256 != expected.forecast_sha256:
            said.append(
                f"forecasts hash to {found.forecast_sha256[:16]}; in one process they hash to "
                f"{expected.forecast_sha256[:16]}"
            )
        if found.leaderboard_sha256 != expected.leaderboard_sha256:
            said.append("leaderboard.parquet has other bytes than in one process")
    return tuple(said)


def _of_block(
    block: Block, wanted: Block | None, stored: Mapping[str, str], given_up: bool
) -> list[str]:
    if given_up:
        return [] if block.sha256 is None else [f"block {block.label} was not given up"]
    if block.sha256 is None:
        return [f"block {block.label} was {block.reason}"]
    said = []
    if wanted is not None and block.sha256 != wanted.sha256:
        said.append(f"block {block.label} has other bytes than in one process")
    if stored.get(block.id) != block.sha256:
        said.append(f"block {block.label} in the lake does not match its receipt")
    return said
