"""statsforecast in an environment of its own, since it needs a pandas older than ours.

The environment is made on demand from ``benchmarks/peers.lock``, and its side of the benchmark
runs as a child process on the same core: one JSON document a line in, one out.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from benchmarks.fits.windows import ROOT
from pmx_ray._typing import FloatArray

LOCK = ROOT / "benchmarks" / "peers.lock"
PLACE = ROOT / ".venv" / "peers"
"""Inside the folder that version control, linters and uploads pass over already."""

SIDE = Path(__file__).with_name("peer_side.py")

INSTALL_S = 600
"""Seconds an installation may take."""


class Statsforecast:
    """The child process that holds statsforecast and the windows.

    Parameters
    ----------
    child : Popen
        Speaks JSON, a document a line.
    """

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def ask(self, **request: object) -> Mapping[str, object]:
        """Return what the child answers.

        Raises
        ------
        RuntimeError
            If it has ended; its last words are on standard error.
        """
        to, back = _open(self._child.stdin), _open(self._child.stdout)
        to.write(json.dumps(request) + "\n")
        to.flush()
        line = back.readline()
        if not line:
            raise RuntimeError("the statsforecast process ended; see its message above")
        answer: dict[str, object] = json.loads(line)
        return answer


@contextmanager
def statsforecast(levels: FloatArray) -> Iterator[Statsforecast | None]:
    """Give a process that fits windows of ``levels``, (W, T); None where none can be had."""
    python = environment()
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "levels.npy", levels)
        child = subprocess.Popen(
            [str(python), "-P", str(SIDE), f"{folder}/levels.npy"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield Statsforecast(child)
        finally:
            child.stdin.close() if child.stdin else None
            child.wait(timeout=60)


def reported_seconds(peer: Statsforecast | None, **request: object) -> float:
    """Return the processor seconds the child says it took; NaN without a child."""
    return float("nan") if peer is None else cast("float", peer.ask(**request)["cpu_s"])


def environment() -> Path | None:
    """Return the interpreter that has statsforecast; make it where it is not there or is stale."""
    python = PLACE / "bin" / "python"
    seal, lock = PLACE / "lock.sha256", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if seal.is_file() and seal.read_text(encoding="ascii") == lock:
        return python
    try:
        print(f"making {PLACE} from {LOCK.name}", file=sys.stderr)
        venv.create(PLACE, clear=True, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check",
             "--require-hashes", "-r", LOCK],
            check=True, timeout=INSTALL_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no environment for statsforecast: {error}", file=sys.stderr)
        return None
    seal.write_text(lock, encoding="ascii")
    return python


def _open(stream: "IO[str] | None") -> "IO[str]":
    if stream is None:
        raise RuntimeError("the statsforecast process has no pipe")
    return stream
