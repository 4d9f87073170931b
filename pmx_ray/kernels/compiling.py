"""How a kernel is compiled: once, for float64, without the interpreter's lock, kept on disk."""

import gc
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core import event
from numba.extending import register_jitable

OF_LOOPS, OF_LANES = 2, 1
"""LLVM's level of optimisation for plain loops, and for kernels written in lanes. Lanes are vectors
as they are written: higher levels find nothing more in them, and cost a tenth of the compile time
each. Nor does level 3 find anything in our loops; at level 1 they are a quarter slower."""

P = ParamSpec("P")
R = TypeVar("R")

_levels: dict[object, int] = {}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` compiled by numba on its first call, and from then on from the cache.

    Division by zero gives inf, as in NumPy. The cache is a folder a version of the kernels, in
    ``NUMBA_CACHE_DIR`` or the user's cache folder; processes share it. It starts as a copy of what
    ``PMX_KERNELS`` holds of the version, if anything. Where no folder can be written, every process
    compiles for itself.
    """
    return _compiled(function, OF_LOOPS)


def compiled_lanes(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function``, which is written in lanes, compiled as ``compiled`` does."""
    return _compiled(function, OF_LANES)


def _compiled(function: Callable[P, R], level: int) -> Callable[P, R]:
    _levels[function] = level
    folder = _folder()
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder or before)  # read once, while the function is wrapped
    try:
        wrap: Any = numba.njit(nogil=True, error_model="numpy", cache=folder is not None)
        return cast("Callable[P, R]", wrap(function))
    finally:
        settings.CACHE_DIR = before


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function``, for kernels to call and never the interpreter.

    It is compiled into each kernel that calls it, without an entry or a cache file of its own.
    """
    register: Any = register_jitable(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
    return cast("Callable[P, R]", register(function))


class _Thrift(event.Listener):
    """While a kernel of ours is compiled, hold the garbage collector, use its level, and time it.

    Compiling makes millions of small objects, nearly all of which live on: passing over them time
    and again is a twentieth of it. numba holds its compiler lock around both calls, so that no two
    threads are in here.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._collecting = False
        self._level: Any = None
        self._started = 0.0
        self.seconds = 0.0

    def on_start(self, started: event.Event) -> None:
        if self._depth == 0:
            level = _levels.get(started.data["dispatcher"].py_func)
            if level is None:  # another's function
                return
            settings: Any = numba.config
            self._collecting, self._level = gc.isenabled(), settings.OPT
            gc.disable()
            settings.OPT = type(self._level)(level)
            self._started = time.perf_counter()
        self._depth += 1

    def on_end(self, _ended: event.Event) -> None:
        if self._depth == 0:
            return
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._started
            settings: Any = numba.config
            settings.OPT = self._level
            if self._collecting:
                gc.enable()


_thrift = _Thrift()
_register: Any = event.register
_register("numba:compile", _thrift)


def seconds_compiling() -> float:
    """Return the seconds that this process has spent compiling kernels so far, on the wall."""
    return _thrift.seconds


@cache
def _folder() -> Path | None:
    """Return the cache of these very sources.

    numba looks at the file of the outermost function alone, and would keep what was compiled from
    an older version of a file that it calls into.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()
    root = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(root) if root else _user_cache() / "pmx-ray"
    folder = base / f"kernels-{digest[:16]}"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        _bring(folder)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _bring(folder: Path) -> None:
    """Copy what was compiled beforehand from these sources, as an image holds it, if anything was.

    numba takes a cache only where it may write, and an image is read-only.
    """
    made = os.environ.get("PMX_KERNELS")
    if not made or folder.exists() or not (Path(made) / folder.name).is_dir():
        return
    part = Path(tempfile.mkdtemp(prefix=".kernels-", dir=folder.parent))
    shutil.copytree(Path(made) / folder.name, part, dirs_exist_ok=True)
    try:
        part.chmod(0o700)
        part.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(part, ignore_errors=True)


def _user_cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else Path.home() / ".cache"
