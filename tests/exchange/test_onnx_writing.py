"""`net.to_onnx`: the same numbers in ONNX Runtime, and the same network back."""

import os

import numpy as np
import pytest
from onnx_models import arrays_of, onnx, onnxruntime, run

import crnn
from crnn import layers

T, B, I = 4, 3, 5  # noqa: E741
NETWORKS = {
    "RNN": [layers.RNN(7, nonlinearity="relu"), layers.Dense(3)],
    "GRU, two layers": [layers.GRU(7), layers.GRU(7), layers.Dense(3, "softmax")],
    "GRU, reset before": [
        layers.GRU(7, reset_after=False, candidate="relu", bidirectional=True), layers.Dense(3)],
    "LSTM, both directions, three layers": [layers.LSTM(7, bidirectional=True)] * 3,
    "unequal widths": [layers.LSTM(7), layers.Dropout(0.5), layers.LSTM(6), layers.Dense(2)],
    "unequal cells": [
        layers.Dense(4, "tanh"), layers.LSTM(7, bidirectional=True), layers.GRU(6),
        layers.Activation("relu"), layers.RNN(3), layers.Dense(4, "hard_sigmoid"),
        layers.Dense(2, "sigmoid")],
    "an embedding": [layers.Embedding(6), layers.LSTM(7, bidirectional=True), layers.Dense(3)],
}


def built(given, rng=None, **options):
    """Return a network with random parameters."""
    rng = np.random.default_rng(4) if rng is None else rng
    net = crnn.Sequential(I, given, seed=1, **options)
    for name, each in net.parameters.items():
        net.parameters[name] = rng.normal(size=each.shape) * 0.5
    return net


def drawn(net, rng):
    """Return an input and a state that is not zero."""
    shape = (B, T) if net.batch_first else (T, B)
    if isinstance(getattr(net, "layers", [None])[0], layers.Embedding):
        x = rng.integers(0, I, shape)
    else:
        x = rng.normal(size=(*shape, I)).astype(np.float32)
    return x, random_like(net(x)[1], rng)


def random_like(state, rng):
    if isinstance(state, (tuple, list)):
        return type(state)(random_like(each, rng) for each in state)
    return rng.normal(size=state.shape).astype(state.dtype) * np.float32(0.5)


def written(net, tmp_path, **options):
    path = tmp_path / "net.onnx"
    net.to_onnx(path, **options)
    return path, onnx.load(path)


def check_same_numbers(net, proto, x, state):
    names = [each.name for each in proto.graph.input]
    given = [] if state is None else arrays_of(state)
    theirs = run(proto, dict(zip(names, [x, *given], strict=True)))
    y, last = net(x, state)
    for ours, wanted in zip([y, *arrays_of(last)], theirs.values(), strict=True):
        assert ours.shape == wanted.shape
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-6)


def check_same_network(net, again):
    assert again.input_size == net.input_size
    assert again.layers == tuple(
        each for each in net.layers if not isinstance(each, layers.Dropout))
    for option in ("skip", "last", "batch_first"):
        assert getattr(again, option) == getattr(net, option)
    assert list(again.parameters) == list(net.parameters)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again.vector, net.vector.astype(np.float32))


@pytest.mark.parametrize("last", [False, True], ids=["all", "last"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back(rng, tmp_path, name, last, batch_first):
    net = built(NETWORKS[name], last=last, batch_first=batch_first)
    path, proto = written(net, tmp_path)
    onnx.checker.check_model(proto, full_check=True)
    check_same_numbers(net, proto, *drawn(net, rng))
    check_same_network(net, crnn.from_onnx(path))


@pytest.mark.parametrize("opset", [14, 22])
def test_the_skip(rng, tmp_path, opset):
    net = built([layers.LSTM(7), layers.Dense(I)], skip=True, batch_first=True)
    path, proto = written(net, tmp_path, opset=opset)
    assert proto.opset_import[0].version == opset
    check_same_numbers(net, proto, *drawn(net, rng))
    check_same_network(net, crnn.from_onnx(path))


@pytest.mark.parametrize("given", [[layers.GRU(7)] * 2, [layers.LSTM(7, bidirectional=True)]])
def test_learned_states_are_in_the_file(rng, tmp_path, given):
    net = built(given, learn_state=True)
    path, proto = written(net, tmp_path)
    assert [each.name for each in proto.graph.input] == ["x"]
    x, state = drawn(net, rng)
    check_same_numbers(net, proto, x, None)
    check_same_network(net, crnn.from_onnx(path))
    proto = written(net, tmp_path, state=True)[1]
    check_same_numbers(net, proto, x, state)


def test_states_that_are_no_inputs_begin_as_zeros(rng, tmp_path):
    net = built(NETWORKS["unequal cells"])
    proto = written(net, tmp_path, state=False)[1]
    assert [each.name for each in proto.graph.input] == ["x"]
    check_same_numbers(net, proto, drawn(net, rng)[0], None)


def test_short_forms_too(rng, tmp_path):
    net = crnn.LSTM(I, 7, 3, num_layers=2, bidirectional=True, dtype="float64", seed=0)
    path, proto = written(net, tmp_path)
    assert [each.name for each in proto.graph.input] == ["x", "h_0", "c_0"]
    assert [each.name for each in proto.graph.output] == ["y", "h_n", "c_n"]
    x, state = drawn(net, rng)
    y, _ = net(x, state)
    theirs = run(proto, {"x": x, "h_0": state[0].astype("f4"), "c_0": state[1].astype("f4")})["y"]
    np.testing.assert_allclose(y, theirs, rtol=0, atol=2e-6)
    again = crnn.from_onnx(path)
    np.testing.assert_array_equal(again.vector, net.vector.astype(np.float32))


def test_step_by_step_the_states_go_on(rng, tmp_path):
    net = built([layers.LSTM(7), layers.Dense(3)])
    _, proto = written(net, tmp_path)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x, state = drawn(net, rng)
    y, _ = net(x, state)
    for each, wanted in zip(x, y, strict=True):
        feeds = {"x": each[None], "h_0": state[0], "c_0": state[1]}
        step, *state = session.run(None, feeds)
        np.testing.assert_allclose(step[0], wanted, rtol=0, atol=2e-6)


def test_another_length_and_batch(rng, tmp_path):
    net = built([layers.GRU(7), layers.Dense(3)])
    _, proto = written(net, tmp_path)
    for steps, batch in ((1, 1), (9, 2)):
        x = rng.normal(size=(steps, batch, I)).astype(np.float32)
        check_same_numbers(net, proto, x, np.zeros((1, batch, 7), np.float32))


@pytest.mark.no_backend
@pytest.mark.parametrize("given", [
    [layers.Masking(), layers.LSTM(3)], [layers.Embedding(3, mask_zero=True), layers.LSTM(3)]])
def test_masks_are_refused(given):
    from crnn.exchange import onnx_writing
    from crnn.exchange.description import Description

    with pytest.raises(ValueError, match="no nodes for"):
        onnx_writing.model(Description(I, given, {}))


@pytest.mark.no_backend
@pytest.mark.parametrize("opset", [13, 23, 14.5, "14", True])
def test_other_operator_sets_are_refused(tmp_path, opset):
    net = crnn.GRU(2, 3, seed=0)
    with pytest.raises(ValueError, match="from 14 to 22"):
        net.to_onnx(tmp_path / "net.onnx", opset=opset)
    assert os.listdir(tmp_path) == []


@pytest.mark.no_backend
def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        crnn.GRU(2, 3, seed=0).to_onnx(tmp_path / "nowhere" / "net.onnx")
