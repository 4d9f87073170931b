"""Questions in, advice out: cached, in parallel, and one ticker's failure is nobody else's."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from threading import Event
from typing import Self

from pmx_ray.errors import LlmError
from pmx_ray.llm.answer import LLMRiskAssessment
from pmx_ray.llm.asking import Asking
from pmx_ray.llm.cache import AnswerCache
from pmx_ray.llm.client import LlmClient
from pmx_ray.llm.question import Question
from pmx_ray.llm.recording import Exchange, Recorder
from pmx_ray.llm.settings import LlmSettings, UseCase


@dataclass(frozen=True, slots=True)
class Advice:
    """A usable answer.

    Attributes
    ----------
    question : Question
        What was asked.
    assessment : LLMRiskAssessment
        What was said.
    exchange : Exchange
        The call behind it, with the model's name and digest.
    cached : bool
        Whether the call was made earlier, for the same question.
    """

    question: Question
    assessment: LLMRiskAssessment
    exchange: Exchange
    cached: bool


@dataclass(frozen=True, slots=True)
class LlmFailure:
    """A question without a usable answer.

    Attributes
    ----------
    question : Question
        What was asked.
    reason : str
        Why there is no advice.
    exchange : Exchange, optional
        The call whose answer was unusable; None where there was no answer.
    cached : bool
        Whether that call was made earlier, for the same question.
    """

    question: Question
    reason: str
    exchange: Exchange | None = None
    cached: bool = False


class Adviser:
    """A language model asked for its opinion; threads may share one.

    Unusable answers are kept as failures of their question: they are recorded, and not cached.

    Parameters
    ----------
    client : LlmClient
        Connection to the server.
    settings : LlmSettings
        How it is asked.
    use : UseCase
        What the answers are for; it chooses the model.
    recorder : Recorder, optional
        Gets every exchange, and answers what it holds already. It stays the caller's to close.
    """

    def __init__(
        self,
        client: LlmClient,
        settings: LlmSettings,
        *,
        use: UseCase = UseCase.SIGNAL,
        recorder: Recorder | None = None,
    ) -> None:
        self._client, self._settings, self._recorder = client, settings, recorder
        self._model = settings.model_of(use)
        self._cache = AnswerCache(n_entries=settings.cache_entries, ttl_s=settings.cache_ttl_s)

    @classmethod
    def of(
        cls,
        settings: LlmSettings,
        *,
        use: UseCase = UseCase.SIGNAL,
        recorder: Recorder | None = None,
    ) -> Self:
        """Return an adviser with a client of its own."""
        return cls(LlmClient(settings), settings, use=use, recorder=recorder)

    @property
    def client(self) -> LlmClient:
        """Connection to the server."""
        return self._client

    def asking(self) -> Asking:
        """Return who would be asked now, and how: a name may have moved to other weights.

        Raises
        ------
        LlmError
            If the server does not answer or has no such model.
        """
        digest = self._client.digest(self._model)
        return self._settings.asking(model=self._model, digest=digest)

    def ask(self, question: Question) -> Advice:
        """Return the model's advice.

        Raises
        ------
        LlmError
            If there is none; the message says why.
        """
        (answer,) = self.ask_many([question])
        if isinstance(answer, LlmFailure):
            raise LlmError(answer.reason)
        return answer

    def ask_many(
        self, questions: Iterable[Question], *, within_s: float | None = None
    ) -> tuple[Advice | LlmFailure, ...]:
        """Return the advice on each question, in their order.

        Parameters
        ----------
        questions : iterable of Question
            Asked ``n_parallel`` at a time.
        within_s : float, optional
            Seconds after which what is not answered has failed. Calls on their way are left to
            end by themselves.
        """
        asked: Sequence[Question] = tuple(questions)
        if not asked:
            return ()
        try:
            asking = self.asking()
        except LlmError as error:
            return tuple(LlmFailure(question, str(error)) for question in asked)
        late = Event()
        pool = ThreadPoolExecutor(self._settings.n_parallel, thread_name_prefix="llm")
        futures = [pool.submit(self._answer, asking, question, late) for question in asked]
        try:
            wait_for(futures, timeout=within_s)
        finally:
            late.set()
            pool.shutdown(wait=False, cancel_futures=True)
        return tuple(
            future.result()
            if future.done() and not future.cancelled()
            else LlmFailure(question, f"no answer within {within_s:g} s")
            for question, future in zip(asked, futures, strict=True)
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _answer(self, asking: Asking, question: Question, late: Event) -> Advice | LlmFailure:
        if late.is_set():
            return LlmFailure(question, "no answer in time")
        key = asking.key(question)
        recorder = self._recorder
        kept = self._cache.get(key)
        if kept is None and recorder is not None:
            kept = recorder.replay(key)
        try:
            exchange = kept if kept is not None else self._client.ask(asking, question)
            if recorder is not None and kept is None:
                recorder.append(exchange)
        except LlmError as error:
            return LlmFailure(question, str(error))
        try:
            assessment = exchange.assessment()
        except LlmError as error:
            return LlmFailure(question, str(error), exchange, cached=kept is not None)
        self._cache.put(exchange)
        return Advice(question, assessment, exchange, cached=kept is not None)
