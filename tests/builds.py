"""Networks on a build of the kernels, or on functions of one's own: what several tests share."""

import importlib

import pytest

import crnn
from crnn.base import backends
from crnn.kernels import cpu
from crnn.network import network
from crnn.network.cells import GRU, LSTM, RNN

INSTRUCTION_SETS = cpu.instruction_sets()
DTYPES = ["float32", "float64"]
NONLINEARITIES = ["tanh", "relu"]
LOSSES = ["softmax", "sigmoid", "mse"]
KINDS = {  # every formula of a cell
    "rnn-tanh": RNN._kind_of({"nonlinearity": "tanh"}),
    "rnn-relu": RNN._kind_of({"nonlinearity": "relu"}),
    "gru-after-tanh": GRU._kind_of({"candidate": "tanh", "reset_after": True}),
    "gru-after-relu": GRU._kind_of({"candidate": "relu", "reset_after": True}),
    "gru-before-tanh": GRU._kind_of({"candidate": "tanh", "reset_after": False}),
    "gru-before-relu": GRU._kind_of({"candidate": "relu", "reset_after": False}),
    "lstm": LSTM._kind_of({}),
}
GATED = [name for name, kind in KINDS.items() if kind.keeps]

each_instruction_set = pytest.mark.parametrize("isa", INSTRUCTION_SETS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_nonlinearity = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
each_kind = pytest.mark.parametrize("kind", KINDS)
needs_avx512 = pytest.mark.skipif("avx512" not in INSTRUCTION_SETS, reason="no AVX-512 here")


def kernels_of(isa, dtype):
    """Return one build's functions for one dtype, as a network gets them."""
    module = importlib.import_module(f"crnn.kernels.{isa}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "compiled_module", lambda: module)
        return backends.kernels.__wrapped__("compiled", dtype)


def network_on(functions, *sizes, cell="RNN", **options):
    """Return a network that runs on these functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "kernels", lambda backend, dtype: functions)
        return getattr(crnn, cell)(*sizes, **options)


def network_of(kind, *sizes, **options):
    """Return a network of one of the KINDS."""
    kind = KINDS[kind]
    own = {
        "RNN": {"nonlinearity": kind.nonlinearity},
        "GRU": {"candidate": kind.nonlinearity, "reset_after": kind.reset_after},
        "LSTM": {},
    }
    return getattr(crnn, kind.cell)(*sizes, **own[kind.cell], **options)


def parts_of(state):
    """Return the arrays of a network's state, of which an LSTM has two."""
    return list(state) if isinstance(state, tuple) else [state]


def state_of(arrays):
    """Return a network's state of its arrays."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def normal(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)
