"""How a text of CUDA C is put together and launched; CuPy's side of it is written down here."""

from types import SimpleNamespace

import numpy as np
import pytest

from pmx_ray.kernels.cuda.program import launcher, text_with


class Module:
    """CuPy's RawModule as its documentation has it, of kernels that note how they were called."""

    def __init__(self, *, code, options):
        self.code, self.options, self.launched = code, options, []

    def get_function(self, name):
        return lambda grid, block, arguments: self.launched.append((name, grid, block, arguments))


@pytest.fixture
def made():
    return []


@pytest.fixture
def launch(made):
    cupy = SimpleNamespace(RawModule=lambda **given: made.append(Module(**given)) or made[-1])
    return launcher(cupy, "the text", options=["--std=c++14"])


@pytest.mark.parametrize(("n_threads", "n_blocks"), [(1, 1), (128, 1), (129, 2), (1000, 8)])
def test_launch_when_threads_fill_no_block_then_one_more(made, launch, n_threads, n_blocks):
    launch("fit", n_threads, 7)
    (module,) = made
    assert (module.code, module.options) == ("the text", ("--std=c++14",))
    ((name, grid, block, _),) = module.launched
    assert (name, grid, block) == ("fit", (n_blocks,), (128,))


def test_launch_when_there_is_nothing_to_do_then_no_kernel(made, launch):
    launch("fit", 0, 7)
    assert made[0].launched == []


def test_launch_when_given_numbers_then_of_the_kernel_s_width(made, launch):
    # A plain int would go as 32 bits where the kernel reads a long long.
    values = np.ones(3)
    launch("fit", 3, 7, values)
    (number, array) = made[0].launched[0][3]
    assert type(number) is np.int64
    assert array is values


def test_text_when_numbers_are_given_then_all_their_digits_stand_before_it():
    text = text_with({"N": 3, "TINY": 0.1 + 0.2}, "arma.cu")
    assert text.startswith("#define N 3\n#define TINY 0.30000000000000004\n")
    assert "climb" in text
