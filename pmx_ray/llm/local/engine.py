"""llama.cpp with a bounded queue before it: who waits, who is refused, who has gone away."""

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from pmx_ray.errors import EngineError
from pmx_ray.llm.local.weights import Weights

N_CONTEXT = 2048
"""Tokens of prompt and answer together."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more of an answer.

    Attributes
    ----------
    text : str
        What was written.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an answer.

    Attributes
    ----------
    done_reason : str
        ``stop``, or ``length`` where it was cut off.
    prompt_tokens, output_tokens : int
        Read and written.
    prompt_s, output_s : float
        Seconds that took.
    """

    done_reason: str
    prompt_tokens: int
    output_tokens: int
    prompt_s: float
    output_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no answer.

    Attributes
    ----------
    status : int
        HTTP status that says whose fault it is.
    message : str
        Why.
    """

    status: int
    message: str


Event: TypeAlias = Piece | Ended | Refused


class BusyError(Exception):
    """As many requests wait as may."""


class Job:
    """A request on its way through the queue."""

    def __init__(self) -> None:
        self._gone = threading.Event()
        self._future: Future[None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._gone.is_set()

    def cancel(self) -> None:
        """Leave the queue, or stop writing at the next token."""
        self._gone.set()
        if self._future is not None:
            self._future.cancel()

    def _watch(self, future: Future[None]) -> None:
        self._future = future


class Engine:
    """A loaded model that answers several callers at once.

    Parameters
    ----------
    weights : Weights
        The model.
    n_parallel : int
        Answers written at the same time. Neighbours share a batch, which may change an answer.
    max_waiting : int
        Requests that may wait for a turn; more are refused.
    n_threads : int
        Threads of the computation.

    Raises
    ------
    EngineError
        If the package xllamacpp is not installed or the model cannot be loaded.
    """

    def __init__(
        self, weights: Weights, *, n_parallel: int = 2, max_waiting: int = 64, n_threads: int = 2
    ) -> None:
        self.weights = weights
        self._server = _loaded(weights, n_parallel=n_parallel, n_threads=n_threads)
        self._turns = ThreadPoolExecutor(n_parallel, thread_name_prefix="answer")
        self._places = threading.BoundedSemaphore(n_parallel + max_waiting)
        self._closing = threading.Event()

    def submit(self, request: Mapping[str, object], emit: Callable[[Event], None]) -> Job:
        """Queue a request; ``emit`` gets its events from another thread, ``Piece`` by ``Piece``.

        The last event is ``Ended`` or ``Refused``, unless the job is cancelled.

        Parameters
        ----------
        request : mapping
            Body of llama.cpp's chat completions.
        emit : callable
            Must return soon and raise nothing.

        Raises
        ------
        BusyError
            If too many wait.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        job = Job()
        try:
            future = self._turns.submit(self._answer, dict(request), job, emit)
        except RuntimeError:  # closed
            self._places.release()
            raise BusyError from None
        future.add_done_callback(lambda _: self._places.release())
        job._watch(future)
        return job

    def close(self) -> None:
        """Stop writing and answer nobody else."""
        self._closing.set()
        self._turns.shutdown(wait=True, cancel_futures=True)

    def _answer(self, request: dict[str, object], job: Job, emit: Callable[[Event], None]) -> None:
        done_reason = "stop"
        ended: Event | None = None

        def hear(chunk: dict[str, Any]) -> bool:
            nonlocal done_reason, ended
            if "error" in chunk:
                ended = _refusal(chunk["error"])
            for choice in chunk.get("choices", ()):
                done_reason = choice.get("finish_reason") or done_reason
                text = choice.get("delta", {}).get("content")
                if text:
                    emit(Piece(text))
            if "usage" in chunk:
                ended = _end(chunk, done_reason)
            return job.cancelled or self._closing.is_set()

        if job.cancelled:
            return
        try:
            self._server.handle_chat_completions(request, hear)
        except (ValueError, TypeError, RuntimeError) as error:
            ended = Refused(400, " ".join(str(error).split())[:300])
        emit(ended or Refused(503, "the server stopped writing"))


def _loaded(weights: Weights, *, n_parallel: int, n_threads: int) -> Any:
    # Without this, threads that wait spin, and a busy machine writes 1 token a second, not 50.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        import xllamacpp  # noqa: PLC0415 - after the line above, and only in this process
    except ImportError:
        raise EngineError(
            "the package xllamacpp is not installed; install requirements-llm.lock without "
            "dependencies"
        ) from None
    params = xllamacpp.CommonParams()
    params.model.path = str(weights.path)
    params.n_parallel = n_parallel
    params.n_ctx = N_CONTEXT * n_parallel
    params.cpuparams.n_threads = n_threads
    params.cpuparams_batch.n_threads = n_threads
    params.cache_ram_mib = 0  # no answer depends on the one before it
    params.verbosity = 0
    # The library opens a port of its own on the loopback address; nobody knows the key to it.
    params.api_keys = [secrets.token_hex(32)]
    params.ui = params.endpoint_slots = params.endpoint_props = False
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"{weights.path}: model cannot be loaded: {error}") from None


def _end(chunk: Mapping[str, Any], done_reason: str) -> Ended:
    usage, timings = chunk["usage"], chunk.get("timings", {})
    return Ended(
        done_reason=done_reason,
        prompt_tokens=int(usage["prompt_tokens"]),
        output_tokens=int(usage["completion_tokens"]),
        prompt_s=float(timings.get("prompt_ms", 0.0)) / 1e3,
        output_s=float(timings.get("predicted_ms", 0.0)) / 1e3,
    )


def _refusal(error: object) -> Refused:
    if not isinstance(error, Mapping):
        return Refused(500, str(error)[:300])
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Refused(status, str(error.get("message", "the model did not answer"))[:300])
