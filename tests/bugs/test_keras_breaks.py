"""Bugs planted one by one in copies of what reads Keras's models: the checks must catch every one.

They are faults that would be silent: all shapes are right, and the network answers something else.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py")

from copies import COPY, Bug, imported, planted
from keras_h5 import gru, layer, lstm, write

import crnn
from crnn.layers import GRU, LSTM, Dense

pytestmark = pytest.mark.no_backend
FOLDER = Path(crnn.__file__).parent / "exchange"
SOURCES = {"exchange": ""} | {
    f"exchange/{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.glob("*.py"))
    if path.stem.startswith(("keras", "hdf5", "description"))
}
T, B, INPUTS, H, OUTPUTS = 6, 3, 4, 4, 4  # of one size, so that what is exchanged fits, too
RNG = np.random.default_rng(0)
X = RNG.normal(size=(T, B, INPUTS))


def drawn(*shapes):
    return [RNG.normal(scale=0.5, size=shape) for shape in shapes]


KERNELS = {"LSTM": drawn((INPUTS, 4 * H), (H, 4 * H), (4 * H,)),
           "back": drawn((INPUTS, 4 * H), (H, 4 * H), (4 * H,)),
           "GRU": drawn((INPUTS, 3 * H), (H, 3 * H), (2, 3 * H)),
           "GRU before": drawn((INPUTS, 3 * H), (H, 3 * H), (3 * H,)),
           "Dense": drawn((H, OUTPUTS), (OUTPUTS,)),
           "BatchNormalization": [*drawn((H,), (H,), (H,)), abs(drawn((H,))[0]) + 0.5]}


def same(described, wanted):
    """Check what the network of a description answers."""
    net = crnn.Sequential(described.input_size, described.layers, last=described.last,
                          dtype="float64", backend="reference")
    for name, array in described.parameters.items():
        net.parameters[name] = array
    np.testing.assert_allclose(net(X)[0], wanted, rtol=0, atol=1e-13)


def check_gates(keras, path):
    """Gates and biases of a GRU and an LSTM."""
    same(keras.from_arrays(KERNELS["LSTM"], [LSTM(H)]), lstm(X, *KERNELS["LSTM"]))
    same(keras.from_arrays(KERNELS["GRU"], [GRU(H)]), gru(X, *KERNELS["GRU"], reset_after=True))
    same(keras.from_arrays(KERNELS["GRU before"], [GRU(H, reset_after=False)]),
         gru(X, *KERNELS["GRU before"], reset_after=False))


def check_back(keras, path):
    """Arrays that are given back."""
    for arrays, layers in (
        (KERNELS["GRU"] + KERNELS["Dense"], [GRU(H), Dense(OUTPUTS)]),
        (KERNELS["LSTM"] + KERNELS["back"], [LSTM(H, bidirectional=True)]),
    ):
        described = keras.from_arrays(arrays, layers)
        again = keras.from_arrays(keras.to_arrays(described), described.layers)
        for each, array in described.parameters.items():
            np.testing.assert_array_equal(again.parameters[each], array)


def check_directions(keras, path):
    """Which direction is which, and the last outputs of each."""
    there, back = lstm(X, *KERNELS["LSTM"]), lstm(X[::-1], *KERNELS["back"])[::-1]
    for returned in (True, False):
        inner = {"class_name": "LSTM", "config": layer(
            "LSTM", units=H, return_sequences=returned)[1]}
        write(path, [layer("Bidirectional", KERNELS["LSTM"] + KERNELS["back"],
                           merge_mode="concat", layer=inner)])
        wanted = [there, back] if returned else [there[-1], back[0]]
        same(keras.from_file(path), np.concatenate(wanted, axis=-1))


def check_last(keras, path):
    """The last outputs where the file says so, with the readout's activation."""
    write(path, [layer("GRU", KERNELS["GRU"], units=H, reset_after=True, return_sequences=False),
                 layer("Dense", KERNELS["Dense"], units=OUTPUTS),
                 layer("Activation", activation="tanh")])
    W, b = KERNELS["Dense"]
    wanted = np.tanh(gru(X, *KERNELS["GRU"], reset_after=True)[-1] @ W + b)
    same(keras.from_file(path), wanted)


def check_normalization(keras, path):
    """A batch normalisation below and above a layer."""
    gamma, beta, mean, variance = KERNELS["BatchNormalization"]
    W, b = KERNELS["Dense"]

    def normalized(x):
        return gamma * (x - mean) / np.sqrt(variance + 0.01) + beta

    usual = layer("BatchNormalization", KERNELS["BatchNormalization"], axis=-1, scale=True,
                  center=True, epsilon=0.01)
    write(path, [usual, layer("LSTM", KERNELS["LSTM"], units=H),
                 layer("Dense", KERNELS["Dense"], units=OUTPUTS), usual])
    same(keras.from_file(path), normalized(lstm(normalized(X), *KERNELS["LSTM"]) @ W + b))


def check_cudnn(keras, path):
    """What lies in another order in a CuDNN layer."""
    kernel, recurrent, bias = KERNELS["LSTM"]
    blocks = [[each.T for each in np.split(array, 4, axis=1)] for array in (kernel, recurrent)]
    arrays = [np.hstack([each.ravel().reshape(each.T.shape) for each in of_gates])
              for of_gates in blocks]
    write(path, [layer("CuDNNLSTM", [*arrays, np.concatenate([bias - 1, 0 * bias + 1])], units=H)])
    same(keras.from_file(path), lstm(X, *KERNELS["LSTM"]))


def check_hard(keras, path):
    """The hard sigmoid of each version, with ReLU for tanh."""
    for version, slope in (("2.2.4", 0.2), ("3.0.0", 1 / 6)):
        write(path, [layer("LSTM", KERNELS["LSTM"], units=H, activation="relu",
                           recurrent_activation="hard_sigmoid")], version)
        wanted = lstm(X, *KERNELS["LSTM"], tanh=lambda a: np.maximum(a, 0),
                      sigmoid=lambda a, slope=slope: np.clip(slope * a + 0.5, 0, 1))
        same(keras.from_file(path), wanted)


CHECKS = {"g": check_gates, "b": check_back, "d": check_directions, "l": check_last,
          "n": check_normalization, "c": check_cudnn, "h": check_hard}


BUGS = [
    Bug("z stays before r", "keras_orders", "[second, first, candidate]",
        "[first, second, candidate]", "g"),
    Bug("the candidate comes first", "keras_orders", "[second, first, candidate]",
        "[candidate, second, first]", "g"),
    Bug("the state's bias is lost", "keras_orders", "        bias[:gates] += both[1, :gates]\n", "",
        "g"),
    Bug("rows of the bias are exchanged", "keras_orders", "else bias\n        bias, gates",
        "else bias[::-1]\n        bias, gates", "g"),
    Bug("the candidate's biases are one", "keras_orders", "bias[:gates] += both[1, :gates]",
        "bias += both[1]", "g"),
    Bug("kernels are exchanged", "keras_orders", '"W_xh": swapped(kernel), "W_hh": swapped(rec',
        '"W_xh": swapped(recurrent[:len(kernel)]), "W_hh": swapped(rec', "g"),
    Bug("directions are exchanged", "keras_orders", "in enumerate((\"\", \"_reverse\")[",
        "in enumerate((\"_reverse\", \"\")[", "d"),
    Bug("gates are given back as they are", "keras_orders",
        "arrays = [swapped(each) for each in arrays]", "arrays = list(arrays)", "b"),
    Bug("a bias is given back in the wrong row", "keras_orders", "np.stack([arrays[2], second])",
        "np.stack([second, arrays[2]])", "b"),
    Bug("CuDNN's numbers stay where they are", "keras_orders",
        "gate.reshape(layer.size, -1).T for", "gate for", "c"),
    Bug("CuDNN's second bias is lost", "keras_orders", "else both[0] + both[1]", "else both[0]",
        "c"),
    Bug("all outputs for the last ones", "keras_chain",
        'self._last = not keras_layers.flag(own, "return_sequences")', "pass", "dl"),
    Bug("an activation is lost", "keras_chain", "self._layers[-1] = Dense(below.size, f)", "pass",
        "l"),
    Bug("hard sigmoids are exchanged", "keras_layers",
        '{2: "hard_sigmoid_0.2", 3: "hard_sigmoid"}', '{3: "hard_sigmoid_0.2", 2: "hard_sigmoid"}',
        "h"),
    Bug("a sigmoid for a hard one", "keras_layers", "gate_activation=gate, bidirectional=bidirec"
        "tional)\n    # what", "bidirectional=bidirectional)\n    # what", "h"),
    Bug("tanh for ReLU", "keras_layers", "LSTM(size, nonlinearity=f,", "LSTM(size,", "h"),
    Bug("the mean is added", "keras_normalization", "summands - mean * factors",
        "summands + mean * factors", "n"),
    Bug("a variance for a deviation", "keras_normalization", "factors / np.sqrt(variance)",
        "factors / variance", "n"),
    Bug("gamma for beta", "keras_normalization", "rest.pop(0) if keras_layers.flag(layer, \"scale",
        "rest.pop(1) if keras_layers.flag(layer, \"scale", "n"),
    Bug("summands above are not multiplied", "keras_normalization",
        "self.summands @ W_xh.astype(float)", "self.summands.sum()", "n"),
    Bug("factors below scale the inputs", "keras_normalization", "(W_xh * self.factors)",
        "(W_xh * self.factors[:, None])", "n"),
]


def copy():
    """Return the copy that can be imported now."""
    return importlib.import_module(f"{COPY}.exchange.keras")


@pytest.mark.parametrize("check", CHECKS.values())
def test_unbroken_copy_passes(tmp_path, check):
    with imported(SOURCES):
        check(copy(), tmp_path / "model.h5")


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(tmp_path, bug):
    with imported(planted(bug, "exchange", SOURCES)):
        for letter in bug.caught_by:
            with pytest.raises(AssertionError):
                CHECKS[letter](copy(), tmp_path / "model.h5")
