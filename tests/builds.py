"""Networks on a build of the kernels, or on functions of one's own: what several tests share."""

import importlib

import pytest

import crnn
from crnn import _dispatch, network
from crnn.kernels import cpu

INSTRUCTION_SETS = cpu.instruction_sets()
DTYPES = ["float32", "float64"]
NONLINEARITIES = ["tanh", "relu"]
LOSSES = ["softmax", "sigmoid", "mse"]

each_instruction_set = pytest.mark.parametrize("isa", INSTRUCTION_SETS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_nonlinearity = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
needs_avx512 = pytest.mark.skipif("avx512" not in INSTRUCTION_SETS, reason="no AVX-512 here")


def kernels_of(isa, dtype):
    """Return one build's functions for one dtype, as a network gets them."""
    module = importlib.import_module(f"crnn.kernels.{isa}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_dispatch, "compiled_module", lambda: module)
        return _dispatch.kernels.__wrapped__("compiled", dtype)


def network_on(functions, *sizes, **options):
    """Return a network that runs on these functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "kernels", lambda backend, dtype: functions)
        return crnn.RNN(*sizes, **options)


def normal(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)
