"""What a language model is asked: where one price will go."""

from datetime import date
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from pmx_ray.config import Settings

MAX_SESSIONS = 250
"""More prices than this do not fit a small model's context."""

Price = Annotated[float, Field(gt=0)]


class Question(Settings):
    """One price series up to a cutoff, and how far ahead to look.

    Attributes
    ----------
    ticker : str
        Whose prices they are; empty to hide it from the model.
    sessions : tuple of date, optional
        Session of each price, increasing; the last is the cutoff. None to hide them.
    closes : tuple of float
        Closing prices, oldest first, > 0; 2 to 250 of them. The model sees no other price.
    step : int
        Sessions ahead, >= 1.

    Examples
    --------
    >>> Question(ticker="KO", closes=(100.0, 101.0, 99.99), step=5).moves_bp
    (100, -100)
    """

    ticker: str = Field(default="", max_length=16)
    sessions: tuple[date, ...] | None = None
    closes: tuple[Price, ...] = Field(min_length=2, max_length=MAX_SESSIONS)
    step: int = Field(ge=1)

    @model_validator(mode="after")
    def _sessions_match(self) -> Self:
        days = self.sessions
        if days is None:
            return self
        if len(days) != len(self.closes):
            raise ValueError(f"there are {len(self.closes)} closes and {len(days)} sessions")
        if any(later <= earlier for earlier, later in pairwise(days)):
            raise ValueError("sessions must increase")
        return self

    @property
    def cutoff(self) -> date | None:
        """Last session seen, or None where sessions are hidden."""
        return self.sessions[-1] if self.sessions else None

    @property
    def moves_bp(self) -> tuple[int, ...]:
        """Simple return of each session after the first, in whole basis points."""
        pairs = pairwise(self.closes)
        return tuple(round((after / before - 1.0) * 1e4) for before, after in pairs)

    @property
    def subject(self) -> str:
        """Ticker and cutoff as far as they are shown, for messages."""
        return " ".join(filter(None, (self.ticker or "a hidden ticker", str(self.cutoff or ""))))
