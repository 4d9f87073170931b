"""Every call of a language model, kept and replayed: its answers are not reproducible.

A recording is a file of JSON lines, one exchange each, in the order they were made. It only grows.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Self

from pydantic import AwareDatetime, Field, ValidationError

from pmx_ray.config import Settings
from pmx_ray.errors import LlmError
from pmx_ray.llm.answer import LLMRiskAssessment, parse_answer
from pmx_ray.provenance import canonical_json


class Exchange(Settings):
    """One question put to a model and what it wrote.

    Attributes
    ----------
    key : str
        ``Asking.key`` of the question.
    model, digest : str
        Who answered.
    style : str
        Wording of the question.
    ticker : str
        Whom it was about; empty where that was hidden.
    cutoff : date, optional
        Last session seen; None where that was hidden.
    step : int
        Sessions ahead.
    text : str
        The answer as it came.
    done_reason : str
        Why the model stopped writing.
    prompt_tokens, output_tokens : int
        As the server counted them.
    seconds : float
        From request to answer.
    recorded_at : datetime
        When the answer came, UTC.
    """

    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    model: str
    digest: str
    style: str
    ticker: str
    cutoff: date | None
    step: int = Field(ge=1)
    text: str
    done_reason: str
    prompt_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0)
    recorded_at: AwareDatetime

    def assessment(self) -> LLMRiskAssessment:
        """Return what the answer says.

        Raises
        ------
        LlmError
            If it cannot be used; see ``parse_answer``.
        """
        return parse_answer(self.text, done_reason=self.done_reason)


class Recording:
    """Exchanges read from a file, looked up by key; it never changes.

    Parameters
    ----------
    exchanges : mapping of str to Exchange
        By key.
    sha256 : str
        Of the file's bytes.
    """

    def __init__(self, exchanges: Mapping[str, Exchange], *, sha256: str) -> None:
        self._exchanges = MappingProxyType(dict(exchanges))
        self.sha256 = sha256

    @classmethod
    def load(cls, path: Path, *, sha256: str | None = None) -> Self:
        """Return the recording in a file.

        Parameters
        ----------
        path : Path
            A file of JSON lines.
        sha256 : str, optional
            What its bytes must hash to.

        Raises
        ------
        LlmError
            If it cannot be read, hashes to something else, or a line of it is no exchange.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LlmError(f"{path}: recording cannot be read: {error.strerror}") from None
        found = hashlib.sha256(data).hexdigest()
        if sha256 is not None and found != sha256:
            raise LlmError(
                f"{path}: recording hashes to {found[:12]} and {sha256[:12]} was named; name the "
                "hash of the recording that is meant"
            )
        if data and not data.endswith(b"\n"):
            raise LlmError(f"{path}: last line is not whole; open it with a Recorder to mend it")
        return cls(_read(data, path), sha256=found)

    def replay(self, key: str) -> Exchange | None:
        """Return the exchange of a key, or None if that question was never asked."""
        return self._exchanges.get(key)

    def __len__(self) -> int:
        return len(self._exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._exchanges.values())


class Recorder:
    """Appends exchanges to a file; each is on the disk when ``append`` returns.

    Threads may share one; a second process is refused while one writes. A last line that a crash
    left unfinished is cut off. Use it as a context manager.

    Parameters
    ----------
    path : Path
        A file of JSON lines; made if absent, with its folder.

    Raises
    ------
    LlmError
        If the file cannot be opened, another process writes it, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b")
        except OSError as error:
            raise LlmError(f"{path}: recording cannot be opened: {error.strerror}") from None
        try:
            self._exchanges = self._taken_over()
        except BaseException:
            self._file.close()
            raise

    def _taken_over(self) -> dict[str, Exchange]:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LlmError(f"{self._path}: another process is recording into this file") from None
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        exchanges = _read(whole, self._path)
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        return exchanges

    def append(self, exchange: Exchange) -> bool:
        """Keep an exchange unless one of its key is there; return True if it was kept.

        Raises
        ------
        LlmError
            If it cannot be written.
        """
        line = canonical_json(exchange.model_dump(mode="json")) + b"\n"
        with self._lock:
            if exchange.key in self._exchanges:
                return False
            try:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
            except (OSError, ValueError) as error:
                with contextlib.suppress(OSError):
                    self._file.close()  # nothing may follow half a line
                raise LlmError(f"{self._path}: recording cannot be written: {error}") from None
            self._exchanges[exchange.key] = exchange
            return True

    def replay(self, key: str) -> Exchange | None:
        """Return the exchange of a key, or None if that question was never asked."""
        with self._lock:
            return self._exchanges.get(key)

    def __len__(self) -> int:
        with self._lock:
            return len(self._exchanges)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read(data: bytes, path: Path) -> dict[str, Exchange]:
    exchanges: dict[str, Exchange] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            exchange = Exchange.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            detail = f"{where}: {first['msg']}" if where else first["msg"]
            raise LlmError(f"{path}, line {number}: not an exchange ({detail})") from None
        if exchange.key in exchanges:
            raise LlmError(f"{path}, line {number}: key {exchange.key[:12]} is there already")
        exchanges[exchange.key] = exchange
    return exchanges
