"""From forecasts to signals that people can act on and audit: sizing, checks, flags, routing."""

from pmx_ray.signals.types import (
    BookEntry,
    Candidate,
    FlagStatus,
    LayerCheck,
    ModelRef,
    Signal,
    SignalBook,
    SignalBundle,
    Source,
)

__all__ = [
    "BookEntry",
    "Candidate",
    "FlagStatus",
    "LayerCheck",
    "ModelRef",
    "Signal",
    "SignalBook",
    "SignalBundle",
    "Source",
]
