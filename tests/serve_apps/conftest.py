"""A service per test, untouched by the environment it runs in."""

import pytest
from serve_cases import service


@pytest.fixture(autouse=True)
def _nothing_named_outside(monkeypatch):
    for name in (
        "PMX_HOME",
        "PMX_API_TOKENS",
        "PMX_LEDGER_URL",
        "PMX_MODELS_URL",
        "PMX_SIGNING_KEY",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served(tmp_path):
    """Return a started service with its book; it looks at the ledger when told."""
    with service(tmp_path) as started:
        yield started


@pytest.fixture
def bare(tmp_path):
    """Return a started service that has no book yet."""
    with service(tmp_path, books=()) as started:
        yield started
