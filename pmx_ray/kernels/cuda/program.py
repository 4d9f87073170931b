"""A text of CUDA C as a program: the project's numbers in front, compiled by CuPy, and launched."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

THREADS = 128
"""Threads of a block."""

Launch: TypeAlias = Callable[..., None]
"""Runs the kernel of a name in so many threads: ``launch(name, n_threads, *arguments)``."""


def text_with(numbers: Mapping[str, object], file: str) -> str:
    """Return a text of this folder behind a definition of each number."""
    defined = "".join(f"#define {name} {value!r}\n" for name, value in numbers.items())
    return defined + Path(__file__).with_name(file).read_text(encoding="utf-8")


def launcher(cupy: ModuleType, text: str, *, options: Sequence[str]) -> Launch:
    """Return what launches the kernels of a text; it is compiled on the first launch.

    Parameters
    ----------
    cupy : module
        CuPy; see ``kernels.devices.card``.
    text : str
        CUDA C.
    options : sequence of str
        What NVRTC compiles it with.
    """
    compiler: Any = cupy
    module = compiler.RawModule(code=text, options=tuple(options))

    def launch(name: str, n_threads: int, *arguments: object) -> None:
        if n_threads == 0:
            return
        typed = tuple(np.int64(a) if isinstance(a, int) else a for a in arguments)
        n_blocks = -(-n_threads // THREADS)
        module.get_function(name)((n_blocks,), (THREADS,), typed)

    return launch
