"""Arrays as Keras's ``get_weights`` gives them: in, and out again."""

import numpy as np
import pytest
from keras_h5 import gru, lstm

import crnn
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding

T, B, H = 7, 3, 5
INPUTS, OUTPUTS = 4, 2


@pytest.fixture
def drawn(rng):
    def draw(*shapes, dtype=float):
        return [rng.normal(scale=0.5, size=shape).astype(dtype) for shape in shapes]

    return draw


def test_arrays_of_several_layers(rng, drawn):
    of_lstm = drawn((INPUTS, 4 * H), (H, 4 * H), (4 * H,))
    of_gru = drawn((H, 9), (3, 9), (2, 9))
    W, b = drawn((3, OUTPUTS), (OUTPUTS,))
    net = crnn.from_keras(
        [*of_lstm, *of_gru, W, b], layers=[LSTM(H), Dropout(0.5), GRU(3), Dense(OUTPUTS)])
    assert (net.dtype, net.batch_first, net.last) == (np.float64, True, False)
    x = rng.normal(size=(B, T, INPUTS))
    wanted = gru(lstm(x.swapaxes(0, 1), *of_lstm), *of_gru, reset_after=True) @ W + b
    np.testing.assert_allclose(net(x)[0].swapaxes(0, 1), wanted, rtol=0, atol=1e-14)
    last = crnn.from_keras([*of_lstm, *of_gru, W, b], last=True, batch_first=False,
                           layers=[LSTM(H), GRU(3), Dense(OUTPUTS)])
    np.testing.assert_allclose(last(x.swapaxes(0, 1).copy())[0], wanted[-1], rtol=0, atol=1e-14)


def test_a_gru_that_resets_before_the_product(rng, drawn):
    arrays = drawn((INPUTS, 3 * H), (H, 3 * H), (3 * H,))
    net = crnn.from_keras(arrays, layers=[GRU(H, reset_after=False, candidate="relu")])
    x = rng.normal(size=(B, T, INPUTS))
    wanted = gru(x.swapaxes(0, 1), *arrays, reset_after=False, tanh=lambda a: np.maximum(a, 0))
    np.testing.assert_allclose(net(x)[0].swapaxes(0, 1), wanted, rtol=0, atol=1e-13)


def test_arrays_without_biases(drawn):
    arrays = drawn((INPUTS, 4 * H), (H, 4 * H), (H, OUTPUTS), dtype=np.float32)
    net = crnn.from_keras(arrays, layers=[LSTM(H), Dense(OUTPUTS)])
    assert net.dtype == np.float32
    assert not net.parameters["b_h_l0"].any()
    assert not net.parameters["b_y"].any()


NETWORKS = {
    "rnn": crnn.RNN(3, 5, 2, num_layers=2, seed=0),
    "gru": crnn.GRU(3, (5, 4), bidirectional=True, dropout=0.5, seed=0),
    "gru before": crnn.GRU(3, 5, reset_after=False, candidate="relu", dtype="float64", seed=0),
    "lstm": crnn.LSTM(3, 5, 2, num_layers=3, bidirectional=True, seed=0),
    "others": crnn.Sequential(
        9, [Embedding(4), RNN(3, nonlinearity="relu"), Activation("relu"), Dense(6, "tanh"),
            Dropout(0.1), LSTM(2, bidirectional=True), GRU(3), Dense(1, "sigmoid")], seed=0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back(name):
    net = NETWORKS[name]
    described = net.description()
    again = crnn.from_keras(net.to_keras(), layers=described.layers, batch_first=False)
    assert again.dtype == net.dtype
    assert list(again.parameters) == list(net.parameters)
    np.testing.assert_array_equal(again.vector, net.vector)


def test_the_arrays_are_copies():
    net = crnn.RNN(3, 5, 2, seed=0)
    before = net.vector.copy()
    for array in net.to_keras():
        array[...] = 0
    np.testing.assert_array_equal(net.vector, before)


def test_the_order_of_gates_and_biases():
    net = crnn.GRU(1, 1, dtype="float64", seed=0)
    net.parameters["W_xh_l0"] = [[1, 2, 3]]  # r, z, n
    net.parameters["W_hh_l0"] = [[4, 5, 6]]
    net.parameters["b_h_l0"], net.parameters["b_hn_l0"] = [7, 8, 9], [10]
    kernel, recurrent, bias = net.to_keras()
    assert kernel.tolist() == [[2, 1, 3]]  # z, r, h
    assert recurrent.tolist() == [[5, 4, 6]]
    assert bias.tolist() == [[8, 7, 9], [0, 0, 10]]


@pytest.mark.parametrize(("layer", "options", "words"), [
    (LSTM(5, peepholes=True), {}, r"layers\[0\] has peepholes"),
    (LSTM(5, coupled=True), {}, "coupled"),
    (RNN(5, clip=2.0), {}, "clip"),
    (GRU(5), {"learn_state": True}, "learned initial states"),
])
def test_what_keras_has_not_is_refused(layer, options, words):
    net = crnn.Sequential(3, [layer], backend="reference", **options)
    with pytest.raises(ValueError, match=words):
        net.to_keras()


def test_a_skip_is_refused():
    net = crnn.Sequential(2, [GRU(5), Dense(2)], skip=True)
    with pytest.raises(ValueError, match="adds its input"):
        net.to_keras()


def test_mistakes(drawn):
    arrays = drawn((INPUTS, 4 * H), (H, 4 * H), (4 * H,), (H, OUTPUTS), (OUTPUTS,))
    layers = [LSTM(H), Dense(OUTPUTS)]
    for given, wanted, kind, words in (
        (arrays[:-1], layers, ValueError, "4 arrays; these layers have 5, or 3 if none has a bias"),
        (arrays, [GRU(H), Dense(OUTPUTS)], ValueError, r"model\[0\] has shape \(4, 20\); \(4, "),
        (arrays, [LSTM(H), Dense(3)], ValueError, r"model\[3\].*layers\[1\].*reads 5 features"),
        (arrays, None, TypeError, "layers is None; what the arrays are of is wanted"),
        (arrays, ["lstm"], TypeError, r"layers\[0\] is 'lstm'; a layer such as"),
        (arrays, [LSTM], TypeError, r"layers\[0\]"),
        ([each.astype(np.int8) for each in arrays], layers, TypeError, "divide quantised"),
        ([None, *arrays[1:]], layers, TypeError, r"model\[0\] is None"),
        ([], layers, ValueError, "0 arrays"),
        (arrays[0], layers, TypeError, "a path, a model of Keras's or a list"),
        (3, None, TypeError, "a path, a model of Keras's or a list"),
    ):
        with pytest.raises(kind, match=words):
            crnn.from_keras(given, layers=wanted)
    with pytest.raises(ValueError, match="dtype is float16"):
        crnn.from_keras(arrays, layers=layers, dtype="float16")
