"""The flags for programs that speak OpenFeature."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from pmx_ray.errors import SettingsError
from pmx_ray.signals.flag_source import FlagView
from pmx_ray.signals.flags import FlagValues, bucket, check_flag
from pmx_ray.signals.router import ROLLOUT_SALT
from pmx_ray.signals.types import FlagStatus

TIME_SERIES = "time_series"
"""Flag that no one sets: whether ``time_series_pct`` takes in the ticker it is asked about."""

T = TypeVar("T")


class FlagProvider(AbstractProvider):
    """Answers OpenFeature clients with the flags that count.

    Booleans by their names, ``time_series_pct`` as an integer, and ``time_series`` as a boolean
    for the ticker in the context's targeting key: the same hash as the router's. An answer carries
    the version and status of the flags as metadata, and the reason STALE where they are not live.

    Parameters
    ----------
    view : callable
        Returns the flags as they are known now; called once an evaluation.

    Notes
    -----
    A flag that does not exist is FLAG_NOT_FOUND, one asked for as another type TYPE_MISMATCH; an
    OpenFeature client then gives its caller the default with that error code.
    """

    def __init__(self, view: Callable[[], FlagView]) -> None:
        super().__init__()
        self._view = view

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata(name="pmx-ray ledger")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: ARG002 - OpenFeature's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Return a boolean flag, or ``time_series`` for a ticker.

        Raises
        ------
        FlagNotFoundError, TypeMismatchError, TargetingKeyMissingError
            If there is no such flag, it is no boolean, or no ticker is named.
        """
        view = self._view()
        if flag_key == TIME_SERIES:
            ticker = evaluation_context.targeting_key if evaluation_context else None
            if not ticker:
                raise TargetingKeyMissingError(f"flag '{TIME_SERIES}' needs a ticker to target")
            share = view.effective.time_series_pct
            return _details(view, bucket(ticker, salt=ROLLOUT_SALT) < share, Reason.SPLIT)
        value = _known(view.effective, flag_key)
        if not isinstance(value, bool):
            raise TypeMismatchError(f"flag '{flag_key}' is {value!r}, no boolean")
        return _details(view, value, Reason.STATIC)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,  # noqa: ARG002 - OpenFeature's signature
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[int]:
        """Return an integer flag.

        Raises
        ------
        FlagNotFoundError, TypeMismatchError
            If there is no such flag, or it is a boolean.
        """
        view = self._view()
        value = _known(view.effective, flag_key)
        if isinstance(value, bool):  # which Python counts among the integers
            raise TypeMismatchError(f"flag '{flag_key}' is {value!r}, no integer")
        return _details(view, value, Reason.STATIC)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,  # noqa: ARG002 - OpenFeature's signature
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[str]:
        """Refuse: no flag is text."""
        raise self._mismatch(flag_key, "text")

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,  # noqa: ARG002 - OpenFeature's signature
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[float]:
        """Refuse: no flag is a fraction."""
        raise self._mismatch(flag_key, "fraction")

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Refuse: no flag is an object."""
        raise self._mismatch(flag_key, "object")

    def _mismatch(self, flag_key: str, wanted: str) -> TypeMismatchError:
        value = _known(self._view().effective, flag_key)
        return TypeMismatchError(f"flag '{flag_key}' is {value!r}, no {wanted}")


def _known(values: FlagValues, flag_key: str) -> bool | int:
    try:
        check_flag(flag_key)
    except SettingsError as error:
        raise FlagNotFoundError(str(error)) from None
    value: bool | int = getattr(values, flag_key)
    return value


def _details(view: FlagView, value: T, reason: Reason) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(
        value=value,
        reason=reason if view.status is FlagStatus.LIVE else Reason.STALE,
        flag_metadata={"version": view.version, "status": view.status.value},
    )
