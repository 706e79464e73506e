"""Networks of every cell, in layers and directions, and what goes into them."""

import dataclasses
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from builds import OTHER_LAYERS

import crnn
from crnn.engine import compiled

T, B, I, H, O = 5, 4, 3, 6, 7  # noqa: E741
LENGTHS = np.array([2, 5, 0, 3])
CELLS = {
    "RNN": (crnn.RNN, {}),
    "RNN, relu": (crnn.RNN, {"nonlinearity": "relu"}),
    "GRU": (crnn.GRU, {}),
    "GRU, relu": (crnn.GRU, {"candidate": "relu"}),
    "GRU, reset before": (crnn.GRU, {"reset_after": False}),
    "GRU, reset before, relu": (crnn.GRU, {"reset_after": False, "candidate": "relu"}),
    "LSTM": (crnn.LSTM, {}),
}
GATED = ("GRU", "GRU, reset before", "LSTM")
SHAPES = [(1, False), (2, False), (3, False), (1, True), (2, True), (3, True)]

each_cell = pytest.mark.parametrize("cell", CELLS)
each_other_cell = pytest.mark.parametrize("cell", OTHER_LAYERS)
each_gated_cell = pytest.mark.parametrize("cell", GATED)
each_shape = pytest.mark.parametrize(
    ("layers", "both"), SHAPES, ids=[f"{n} layers{', both' * b}" for n, b in SHAPES])
each_depth = pytest.mark.parametrize("layers", [1, 2, 3], ids="{} layers".format)
full_or_ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
floats_or_tokens = pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])


def build(cell, layers=1, both=False, *, sizes=(I, H, O), seed=3, functions=None, **options):
    """Return a network in double precision whose parameters are of a fair size.

    ``functions`` are those of one build of the kernels, to run on instead of a backend's.
    """
    network_class, own = CELLS[cell] if cell in CELLS else (partial(stacked, cell), {})
    options = {"dtype": "float64", "num_layers": layers, "bidirectional": both} | own | options
    with pytest.MonkeyPatch.context() as patch:
        if functions is not None:
            patch.setattr(compiled, "kernels", lambda backend, dtype: functions)
        net = network_class(*sizes, seed=seed, **options)
    bound = min(0.7, 2 / np.sqrt(sizes[1]))
    net.vector = np.random.default_rng(seed).uniform(-bound, bound, net.num_parameters)
    return net


def stacked(cell, input_size, hidden_size, output_size, *, num_layers, bidirectional, **options):
    """Return a `crnn.Sequential` of equal layers, one of OTHER_LAYERS, as the short forms make."""
    layer = dataclasses.replace(
        OTHER_LAYERS[cell], size=hidden_size, bidirectional=bidirectional)
    readout = [] if output_size is None else [crnn.layers.Dense(output_size)]
    return crnn.Sequential(input_size, [layer] * num_layers + readout, **options)


def arrays(state):
    """Return the arrays of a state: h, and of an LSTM c."""
    return list(state) if isinstance(state, tuple) else [state]


def like(state, values):
    """Return arrays as a state of the same kind."""
    return tuple(values) if isinstance(state, tuple) else values[0]


def draw_state(rng, net, batch=B):
    """Return a state that is not zero; one sequence's for None."""
    rows = net.num_layers * (1 + net.bidirectional)
    shape = (rows, net.hidden_size) if batch is None else (rows, batch, net.hidden_size)
    count = net.engine.layers[0].kind.num_states
    values = [rng.standard_normal(shape).astype(net.dtype) for _ in range(count)]
    return values[0] if count == 1 else tuple(values)


def draw_input(rng, net, *, tokens=False, shape=(T, B)):
    if tokens:
        return rng.integers(0, net.input_size, shape)
    return rng.standard_normal((*shape, net.input_size)).astype(net.dtype)


def outputs_of(net):
    return net.output_size or net.hidden_size * (1 + net.bidirectional)


class Data(NamedTuple):
    """What goes into a network, forward and back."""

    x: np.ndarray
    state: object
    lengths: np.ndarray | None
    targets: np.ndarray
    dy: np.ndarray
    dstate: object

    def part(self, sequences):
        """Return what belongs to some sequences, a slice."""

        def cut(state):
            return like(state, [each[:, sequences] for each in arrays(state)])

        lengths = None if self.lengths is None else self.lengths[sequences]
        return Data(self.x[:, sequences], cut(self.state), lengths, self.targets[:, sequences],
                    self.dy[:, sequences], cut(self.dstate))


def draw(rng, net, *, tokens=False, lengths=None, shape=(T, B)):
    """Return data for a network, with classes for targets, some of which are none."""
    dy = rng.standard_normal((*shape, outputs_of(net))).astype(net.dtype)
    return Data(draw_input(rng, net, tokens=tokens, shape=shape), draw_state(rng, net, shape[1]),
                lengths, rng.integers(-1, outputs_of(net), shape), dy,
                draw_state(rng, net, shape[1]))


def named(what, state):
    """Return the arrays of a state by name."""
    return {f"{what} {name}": each for name, each in zip("hc", arrays(state), strict=False)}


def gradients_by_name(what, grads):
    found = dict(grads.parameters) | named("state", grads.state)
    if grads.x is not None:
        found["x"] = grads.x
    return {f"{what}, {name}": array for name, array in found.items()}


def everything(net, data):
    """Return all that a network computes, by name."""
    rest = {"lengths": data.lengths}
    y, last = net(data.x, data.state, **rest)
    found = {"y": y, "last y": net(data.x, data.state, **rest, last=True)[0]} | named("last", last)
    y, last, cache = net.forward(data.x, data.state, **rest)
    found |= {"y with tape": y} | named("last with tape", last)
    found |= gradients_by_name("backward", net.backward(cache, data.dy, data.dstate))
    ends = np.maximum(data.targets, 0)[-1] if len(data.x) else np.zeros(data.x.shape[1:2], int)
    losses = {"every step": data.targets, "last step": ends}
    for what, targets in losses.items():
        found[what], last = net.loss(data.x, targets, data.state, **rest)
        found |= named(f"{what}, last", last)
        loss, grads, last = net.loss_and_gradients(data.x, targets, data.state, **rest)
        found |= {f"{what} in training": loss} | named(f"{what} in training, last", last)
        found |= gradients_by_name(what, grads)
    return found


def different(ours, theirs):
    """Return the names of results that have not the same type, shape and bits."""
    assert ours.keys() == theirs.keys()
    return [name for name in ours if identity(ours[name]) != identity(theirs[name])]


def identity(result):
    array = np.asarray(result)
    return type(result), array.dtype, array.shape, array.tobytes()


def relative_error(actual, expected):
    """Return the largest difference, divided by the largest expected entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    largest = np.abs(expected).max(initial=0)
    difference = np.abs(actual - expected).max(initial=0)
    return difference / largest if largest else difference


def check_close(ours, theirs, rtol):
    """Compare results by name."""
    assert ours.keys() == theirs.keys()
    errors = {name: relative_error(ours[name], theirs[name]) for name in ours}
    assert {name: error for name, error in errors.items() if not error <= rtol} == {}
