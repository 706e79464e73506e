"""Networks on a build of the kernels, or on functions of one's own: what several tests share."""

import importlib

import numpy as np
import pytest

import crnn
from crnn import layers
from crnn.base import backends
from crnn.engine import compiled
from crnn.kernels import cpu
from crnn.network.configuration import cell_kind

INSTRUCTION_SETS = cpu.instruction_sets()
DTYPES = ["float32", "float64"]
NONLINEARITIES = ["tanh", "relu"]
LOSSES = ["softmax", "sigmoid", "mse"]
KINDS = {  # every formula of a plain cell
    "rnn-tanh": cell_kind("RNN", {"nonlinearity": "tanh"}),
    "rnn-relu": cell_kind("RNN", {"nonlinearity": "relu"}),
    "gru-after-tanh": cell_kind("GRU", {"candidate": "tanh", "reset_after": True}),
    "gru-after-relu": cell_kind("GRU", {"candidate": "relu", "reset_after": True}),
    "gru-before-tanh": cell_kind("GRU", {"candidate": "tanh", "reset_after": False}),
    "gru-before-relu": cell_kind("GRU", {"candidate": "relu", "reset_after": False}),
    "lstm": cell_kind("LSTM", {}),
}
OTHER_LAYERS = {  # cells with options that only a list of layers can say
    "rnn-tanh-clip": layers.RNN(1, clip=0.5),
    "rnn-relu-clip": layers.RNN(1, nonlinearity="relu", clip=0.5),
    "gru-after-hard": layers.GRU(1, gate_activation="hard_sigmoid"),
    "gru-before-hard": layers.GRU(1, reset_after=False, gate_activation="hard_sigmoid_0.2"),
    "gru-after-clip": layers.GRU(1, candidate="relu", clip=0.7),
    "gru-before-clip": layers.GRU(
        1, reset_after=False, candidate="relu", gate_activation="hard_sigmoid", clip=1.5),
    "lstm-relu": layers.LSTM(1, nonlinearity="relu"),
    "lstm-hard": layers.LSTM(1, gate_activation="hard_sigmoid"),
    "lstm-hard-0.2": layers.LSTM(1, gate_activation="hard_sigmoid_0.2"),
    "lstm-clip": layers.LSTM(1, clip=0.7),
    "lstm-peepholes": layers.LSTM(1, peepholes=True),
    "lstm-coupled": layers.LSTM(1, coupled=True),
    "lstm-peepholes-clip": layers.LSTM(
        1, peepholes=True, clip=0.9, gate_activation="hard_sigmoid_0.2"),
    "lstm-all": layers.LSTM(
        1, peepholes=True, coupled=True, clip=1.2, nonlinearity="relu",
        gate_activation="hard_sigmoid"),
}
OTHER_KINDS = {name: layer.kind for name, layer in OTHER_LAYERS.items()}
GATED = [name for name, kind in KINDS.items() if kind.has_gates]

each_instruction_set = pytest.mark.parametrize("isa", INSTRUCTION_SETS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_nonlinearity = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
each_kind = pytest.mark.parametrize("kind", KINDS)
needs_avx512 = pytest.mark.skipif("avx512" not in INSTRUCTION_SETS, reason="no AVX-512 here")


def kernels_of(isa, dtype):
    """Return one build's functions for one dtype, as a network gets them."""
    return importlib.import_module(f"crnn.kernels.{isa}_{backends.C_TYPES[np.dtype(dtype)]}")


def network_on(functions, *sizes, cell="RNN", **options):
    """Return a network that runs on these functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "kernels", lambda backend, dtype: functions)
        return getattr(crnn, cell)(*sizes, **options)


def network_of(kind, *sizes, functions=None, **options):
    """Return a network of one of the KINDS; on these functions, if there are any."""
    kind = KINDS[kind]
    options |= {
        "RNN": {"nonlinearity": kind.nonlinearity},
        "GRU": {"candidate": kind.nonlinearity, "reset_after": kind.reset_after},
        "LSTM": {},
    }[kind.cell]
    if functions is None:
        return getattr(crnn, kind.cell)(*sizes, **options)
    return network_on(functions, *sizes, cell=kind.cell, backend="compiled", **options)


def parts_of(state):
    """Return the arrays of a network's state, of which an LSTM has two."""
    return list(state) if isinstance(state, tuple) else [state]


def state_of(arrays):
    """Return a network's state of its arrays."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def normal(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)
