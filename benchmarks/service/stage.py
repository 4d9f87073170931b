"""A service to measure: a sweep, a champion put in service by override, tokens, and the address."""

import functools
import io
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pmx_ray.remote.token import use_token

ROOT = Path(__file__).resolve().parents[2]

SWEEP: Mapping[str, Any] = {
    "name": "stage",
    "panel": {"source": "bundled", "name": "us_equities", "start": "2016-01-04"},
    "folds": {"input_size": 500, "step_size": 40, "steps": [1, 5, 20], "start": "2020-06-01"},
    "forecasters": [
        {"name": "random_walk"},
        {"name": "drift"},
        {"name": "ewma_variance"},
        {"name": "samossa"},
    ],
    "evaluation": {"n_resamples": 200},
    "seed": 7,
}
"""Small: 16 folds of four forecasters."""


N_READERS = 8


@dataclass(frozen=True, slots=True)
class Staged:
    """A folder from which a service can start.

    Attributes
    ----------
    home : Path
        Sweep folders, ledger, models, tokens.
    readers : tuple of str
        Tokens that read.
    admin : str
        Token for changes.
    """

    home: Path
    readers: tuple[str, ...]
    admin: str


def stage(home: Path, *, challenger: str = "samossa", step: int = 20) -> Staged:
    """Run a small sweep, certify, and put the challenger in service by override.

    Raises
    ------
    RuntimeError
        If a command ends with another code than it should; its output is in the message.
    """
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "stage.yaml"
    settings.write_text(yaml.safe_dump(dict(SWEEP)))
    pmx(home, "sweep", str(settings), "--address", "in-process")
    (folder,) = home.glob("stage-*")
    pmx(
        home, "certify", str(folder), "--challenger", challenger, "--step", str(step), accept=(0, 1)
    )
    why = "a service to measure; no money rests on it"
    pmx(
        home, "promote", str(folder / "decision.json"),
        "--approved-by", "bench", "--override", why,
    )  # fmt: skip
    readers = tuple(
        pmx(home, "token", f"reader{n}", "--scope", "read").strip() for n in range(N_READERS)
    )
    admin = pmx(home, "token", "admin", "--scope", "admin").strip()
    return Staged(home, readers, admin)


def pmx(home: Path, *words: str, accept: tuple[int, ...] = (0,)) -> str:
    """Run `pmx` in this process with ``home`` as its folder; return what it printed.

    Raises
    ------
    RuntimeError
        If it ends with another code.
    """
    from pmx_ray.cli import main  # noqa: PLC0415

    said, complained = io.StringIO(), io.StringIO()
    before, home_before = sys.argv, os.environ.get("PMX_HOME")
    sys.argv, os.environ["PMX_HOME"] = ["pmx", *words], str(home)
    code: object = 0
    try:
        with redirect_stdout(said), redirect_stderr(complained):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
        if home_before is None:
            del os.environ["PMX_HOME"]
        else:
            os.environ["PMX_HOME"] = home_before
    if code not in accept:
        raise RuntimeError(f"pmx {' '.join(words)} ended with {code}: {complained.getvalue()}")
    return said.getvalue()


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve_config(port: int, **args: object) -> dict[str, Any]:
    """Return the service's config with a port and settings of its own."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "serve.yaml").read_text())
    document["http_options"]["port"] = port
    document["applications"][0]["args"] |= {
        "prices": {"source": "bundled", "name": "us_equities", "start": "2016-01-04"},
        **args,
    }
    return document


@contextmanager
def serving(staged: Staged, *, port: int, dashboard: bool = False, **args: object) -> Iterator[str]:
    """Hold a running service on a cluster of this process's own; give its address."""
    use_token(None)
    from serve_apps.launch import Launch  # noqa: PLC0415 - imports Ray, so after the token

    document = serve_config(port, root=str(staged.home), **args)
    launch = Launch(document, port=None, where="stage")
    say = functools.partial(print, file=sys.stderr)
    with launch.running(None, say=say, dashboard=dashboard) as url:
        yield url
