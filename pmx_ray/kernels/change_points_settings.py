"""Settings of the change point detector, light enough for every plan of folds to import."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pmx_ray.config import Settings

MIN_HELD_OUT = 5
"""Fewest blocks that a new block is ranked among."""


class ChangeSettings(Settings):
    """How changes of a panel are detected; see ``kernels.change_points``.

    Attributes
    ----------
    input : str
        What is watched: ``log_volatility``, the log of each ticker's absolute return;
        ``log_return``; or ``log_price``, less its mean over the last sessions. A variance that
        doubles shows some three times sooner in returns, see docs/change_points.md.
    window : int
        Sessions of a block, L.
    n_pages : int
        Blocks of a base window, K: the first half fits the subspace, new blocks are first ranked
        among the others. The base window takes L K sessions.
    run_length : int
        Sessions from the end of a base window to a false alarm, on average, where nothing changes.
    allowance : float
        What a block's normal score must exceed on average to count as a change: half the shift
        that is looked for, in standard deviations.
    """

    input: Literal["log_volatility", "log_return", "log_price"] = "log_volatility"
    window: int = Field(default=10, ge=2, le=1000)
    n_pages: int = Field(default=24, ge=2 * MIN_HELD_OUT, le=1000)
    run_length: int = Field(default=1000, ge=10, le=1_000_000)
    allowance: float = Field(default=0.5, gt=0.0, le=2.0)

    @model_validator(mode="after")
    def _several_blocks(self) -> Self:
        if not 5 * self.window <= self.run_length <= 2000 * self.window:
            raise ValueError(
                f"run_length was {self.run_length}; it must be 5 to 2000 blocks of window "
                f"({self.window}) sessions"
            )
        return self

    @property
    def base_size(self) -> int:
        """Sessions of a base window, L K."""
        return self.window * self.n_pages
