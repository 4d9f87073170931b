"""One model server for the tests of the package, and questions to ask it."""

from collections.abc import Iterator
from datetime import date

import numpy as np
import pytest
from model_server import running_model

from pmx_ray.llm.question import Question


@pytest.fixture(scope="session")
def model_host() -> Iterator[str]:
    """Address of a server with the real model."""
    with running_model() as server:
        yield server.host


@pytest.fixture(scope="session")
def questions() -> tuple[Question, ...]:
    """Four tickers, 20 prices each."""
    rng = np.random.default_rng(4)
    days = tuple(date(2022, 3, day) for day in range(1, 21))
    return tuple(
        Question(
            ticker=ticker,
            sessions=days,
            closes=tuple(float(x) for x in 80 * np.exp(np.cumsum(rng.normal(0, 0.015, 20)))),
            step=5,
        )
        for ticker in ("KO", "AMD", "BAC", "XOM")
    )
