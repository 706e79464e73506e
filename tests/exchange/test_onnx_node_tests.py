"""The tests of RNN, GRU and LSTM nodes that come with the package onnx, through `from_onnx`.

Their weights are inputs of the graph, with the numbers beside the model; here they are made
constants of the model first, as in files that people train.
"""

import importlib

import numpy as np
import pytest
from onnx_models import onnx

import crnn

CONSTANTS = {"W", "R", "B", "P", "sequence_lens", "initial_h", "initial_c"}


def cases():
    """Return the cases of the package by their names."""
    node_tests = importlib.import_module("onnx.backend.test.case.node")
    for op in ("rnn", "gru", "lstm"):
        importlib.import_module(f"onnx.backend.test.case.node.{op}")
    return {each.name: each for each in node_tests._NodeTestCases
            if each.model.graph.node[0].op_type in ("RNN", "GRU", "LSTM")}


CASES = cases()


def with_constants(case):
    """Return the model with all inputs but x as constants, x, and the outputs by their names."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (inputs, outputs), = case.data_sets
    names = [each.name for each in model.graph.input]
    x = None
    for name, array in zip(names, inputs, strict=True):
        if name in CONSTANTS:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        else:
            x = array
    for each in [each for each in model.graph.input if each.name in CONSTANTS]:
        model.graph.input.remove(each)
    return model, x, dict(zip([each.name for each in model.graph.output], outputs, strict=True))


@pytest.mark.no_backend
def test_there_are_eighteen():
    assert len(CASES) >= 18


@pytest.mark.parametrize("name", CASES)
def test_a_case(name):
    model, x, wanted = with_constants(CASES[name])
    net = crnn.from_onnx(model)
    y, state = net(x)
    h = state[0] if isinstance(state, tuple) else state
    if "reverse" in name:  # the first direction is not the file's
        h = h[1:]
    h = h.swapaxes(0, 1) if net.batch_first else h  # layout 1 has states (B, D, H)
    np.testing.assert_allclose(h, wanted["Y_h"], rtol=1e-3, atol=1e-7)
    if "Y" in wanted:
        theirs = wanted["Y"]  # (T, D, B, H), or with layout 1 (B, T, D, H)
        theirs = np.concatenate([*np.moveaxis(theirs, 2 if net.batch_first else 1, 0)], axis=2)
        np.testing.assert_allclose(y, theirs, rtol=1e-3, atol=1e-7)
    else:
        assert net.last
        np.testing.assert_allclose(y, np.concatenate([*h], axis=1), rtol=1e-6)
