"""The only door to a language model: Ollama's client, with limits, retries and a breaker."""

import time
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import httpx
import ollama
import stamina

from pmx_ray.clock import Clock, utc_now
from pmx_ray.errors import LlmError, SettingsError
from pmx_ray.llm.answer import ANSWER_SCHEMA
from pmx_ray.llm.asking import Asking
from pmx_ray.llm.breaker import Breaker, Phase, admit, failed, succeeded, unspent
from pmx_ray.llm.deadline import DeadlineTransport
from pmx_ray.llm.prompts import worded
from pmx_ray.llm.question import Question
from pmx_ray.llm.recording import Exchange
from pmx_ray.llm.settings import LlmSettings

T = TypeVar("T")

_BUSY = {408, 425, 429, 500, 502, 503, 504}


class _UnavailableError(LlmError):
    """Nobody answered; asking again can help."""


class _SilentError(LlmError):
    """Nobody answered in time, or not in the protocol; asking again would cost as much."""


class LlmClient:
    """A connection to one server; threads may share it.

    Parameters
    ----------
    settings : LlmSettings
        Where it is and how long to wait.
    now_s : callable
        Seconds of a clock that never goes back, for the breaker.
    clock : callable
        Time that exchanges carry.

    Raises
    ------
    SettingsError
        If the host is no address.
    """

    def __init__(
        self,
        settings: LlmSettings,
        *,
        now_s: Callable[[], float] = time.monotonic,
        clock: Clock = utc_now,
    ) -> None:
        self._settings, self._now_s, self._clock = settings, now_s, clock
        self._breaker, self._lock, self._last = Breaker(), Lock(), ""
        limits = httpx.Limits(max_connections=2 * settings.n_parallel + 2)
        try:
            # No proxy and no redirect: a model is one's own host, and prices go nowhere else.
            self._ollama = ollama.Client(
                host=settings.host,
                timeout=httpx.Timeout(settings.timeout_s, connect=settings.connect_timeout_s),
                transport=DeadlineTransport(
                    httpx.HTTPTransport(limits=limits), limit_s=settings.timeout_s
                ),
                trust_env=False,
                follow_redirects=False,
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise SettingsError(
                f"host was {settings.host!r} ({error}); write it as http://127.0.0.1:11434"
            ) from None

    @property
    def breaker(self) -> Breaker:
        """How the circuit stands."""
        with self._lock:
            return self._breaker

    def digest(self, model: str) -> str:
        """Return the digest of a model as the server lists it.

        An open circuit refuses this call too, but no listing closes one: a server that lists its
        models may still answer no question.

        Raises
        ------
        LlmError
            If the server has no such model, or does not answer.
        """
        models = self._called(self._ollama.list, proves=False).models
        digests = {row.model: row.digest for row in models if row.model and row.digest}
        if model not in digests:
            known = ", ".join(sorted(digests)) or "none"
            raise LlmError(
                f"{self._settings.host} has no model '{model}'; it has {known}: pull it there, or "
                "name another"
            )
        return digests[model]

    def ask(self, asking: Asking, question: Question) -> Exchange:
        """Put a question to the model and return what it wrote, usable or not.

        Raises
        ------
        LlmError
            If the server does not answer in time, refuses, or speaks something else; or if the
            circuit is open, after failures before this one.
        """
        started_s = time.perf_counter()
        reply = self._called(
            lambda: self._ollama.chat(
                asking.model,
                messages=worded(question, style=asking.style).messages(),
                format=dict(ANSWER_SCHEMA),
                options=asking.options(),
                stream=False,
            ),
            proves=True,
        )
        return Exchange(
            key=asking.key(question),
            model=asking.model,
            digest=asking.digest,
            style=asking.style.value,
            ticker=question.ticker,
            cutoff=question.cutoff,
            step=question.step,
            text=reply.message.content or "",
            done_reason=(reply.done_reason or "")[:40] if reply.done else "unfinished",
            prompt_tokens=max(reply.prompt_eval_count or 0, 0),
            output_tokens=max(reply.eval_count or 0, 0),
            seconds=round(time.perf_counter() - started_s, 6),
            recorded_at=self._clock(),
        )

    def close(self) -> None:
        """Close the connections."""
        self._ollama.close()  # type: ignore[no-untyped-call]

    def _called(self, call: Callable[[], T], *, proves: bool) -> T:
        """Return what a call gives, past the breaker and with retries.

        ``proves`` says whether an answer shows that questions are answered.
        """
        settings = self._settings
        for attempt in stamina.retry_context(
            on=_UnavailableError,
            attempts=settings.attempts,
            timeout=settings.timeout_s,
            wait_initial=0.2,
            wait_max=2.0,
        ):
            with attempt:
                trial = self._admitted()
                try:
                    given = self._translated(call)
                except (_UnavailableError, _SilentError) as error:
                    with self._lock:
                        self._last = str(error)
                        self._breaker = failed(self._breaker, settings.breaker, now_s=self._now_s())
                    raise
                except LlmError:  # the server answered: it refuses this call, not every call
                    self._answered(trial, proves=proves)
                    raise
                self._answered(trial, proves=proves)
                return given
        raise AssertionError("a retry context ends with a value or an error")

    def _answered(self, trial: Breaker, *, proves: bool) -> None:
        with self._lock:
            breaker = self._breaker
            self._breaker = succeeded(breaker) if proves else unspent(breaker, trial)

    def _admitted(self) -> Breaker:
        with self._lock:
            self._breaker, may = admit(self._breaker, self._settings.breaker, now_s=self._now_s())
            breaker, last = self._breaker, self._last
        if not may:
            waits = "one call is trying" if breaker.phase is Phase.HALF_OPEN else "none is asked"
            raise LlmError(
                f"{self._settings.host} failed {breaker.n_failures} times in a row; {waits} until "
                f"{self._settings.breaker.cool_down_s:g} s have passed. The last time: {last}"
            )
        return breaker

    def _translated(self, call: Callable[[], T]) -> T:
        host, limit_s = self._settings.host, self._settings.timeout_s
        try:
            return call()
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _UnavailableError(
                f"{host} cannot be reached ({type(error).__name__}); start a server there, e.g. "
                "`pmx llm serve`"
            ) from None
        except httpx.TimeoutException:
            raise _SilentError(f"{host} did not answer within {limit_s:g} s") from None
        except httpx.RemoteProtocolError as error:
            raise _SilentError(f"{host} does not speak the protocol: {error}") from None
        except httpx.TransportError as error:
            raise _UnavailableError(f"{host} broke off: {type(error).__name__}") from None
        except ollama.ResponseError as error:
            text = " ".join(error.error.split())[:200]
            kind = _UnavailableError if error.status_code in _BUSY else LlmError
            raise kind(f"{host} answered with status {error.status_code}: {text}") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            detail = " ".join(str(error).split())[:120]
            raise _SilentError(
                f"{host} does not speak the protocol ({type(error).__name__}: {detail})"
            ) from None
