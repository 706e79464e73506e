"""A layer and its readout on one side's classes, whose methods are run one by one.

Most formulas of a network have no function of their own in a build: the methods of `RNNLayer` and
`Readout` run them, and here is what the tests need to run those. Only here is it said which steps,
sequences and rows or columns each method is told.
"""

from typing import NamedTuple

import numpy as np
from builds import normal

from crnn.parameters import Layout, Parameters, parameter_shapes
from crnn.weights import Weights


class Given(NamedTuple):
    """What both sides are given."""

    parameters: Parameters
    arrays: dict  # see `Pass`
    nonlinearity: str
    loss: str
    scale: float = 0.37


class Pass:
    """A layer and its readout, and memory of their own for all that they read and write.

    Attributes
    ----------
    arrays : dict of str to ndarray or None
        x, lengths, targets, valid: what they read. states (T + 1, B, H), y (T, B, O), losses
        (T, B), dh (T, B, H), dstate (B, H), dx (T, B, I) and gradient: what they write.
    ends : dict of str to int
        Where the last range of a method ends: of sequences, but for the gradients of parameters.
    """

    def __init__(self, functions, given):
        copies = {name: None if a is None else a.copy() for name, a in given.arrays.items()}
        weights = Weights(functions, given.parameters)
        layer = functions.RNNLayer(
            weights, given.nonlinearity, copies["x"], copies["states"], copies["lengths"])
        readout = functions.Readout(weights, copies["states"], copies["y"])
        readout.prepare_loss(
            given.loss, copies["losses"], copies["targets"], copies["valid"], given.scale)
        layer.prepare_backward(
            copies["dh"], copies["dstate"], copies["dx"], copies["gradient"])
        readout.prepare_backward(copies["dh"], copies["gradient"])
        self.arrays, self._rooms = copies, {"layer": layer, "readout": readout}
        self._views = weights.views
        self.steps, batch, outputs = copies["y"].shape
        self.ends = dict.fromkeys(METHODS, batch) | {
            "layer.gradients": weights.hidden_size, "readout.gradients": outputs}

    def run(self, method, start=0, count=None, first=0, last=None):
        """Run a method over a block of steps; dh is that of the block, all else of all steps."""
        room, name = method.split(".")
        starts = [start] * METHODS[method]
        last = self.ends[method] if last is None else last
        getattr(self._rooms[room], name)(
            *starts, self.steps if count is None else count, first, last)

    def __getitem__(self, name):
        return self.arrays[name]

    def gradients(self):
        """Return the gradients of the parameters by name."""
        return self._views(self["gradient"])


METHODS = {  # and how many arguments say where a block starts, in the arrays that it is in
    "layer.forward": 2,
    "layer.backward": 1,
    "layer.gradients": 1,
    "readout.forward": 2,
    "readout.loss": 2,
    "readout.backward": 1,
    "readout.gradients": 2,
}


def unset(dtype, *shape):
    return np.full(shape, np.nan, dtype)


def recurrent_weights(rng, dtype, hidden):
    W = rng.standard_normal((hidden, hidden))
    return (0.9 * W / np.linalg.norm(W, ord=2)).astype(dtype)


def some_lengths(rng, ragged, steps, batch):
    """Return lengths of 0, of all steps and between, as far as the batch has room."""
    if not ragged:
        return None
    lengths = rng.integers(0, steps + 1, batch)
    lengths[: min(batch, 2)] = (steps, 0)[: min(batch, 2)]
    return lengths.astype(np.intp)


def random_parameters(rng, dtype, inputs, hidden, outputs, *, recurrent=True):
    """Return random parameters whose recurrent weights neither die out nor explode, or are 0."""
    layout = Layout(parameter_shapes(inputs, hidden, outputs))
    found = Parameters(layout, rng.uniform(-0.5, 0.5, layout.size).astype(dtype))
    found["W_hh_l0"] = (
        recurrent_weights(rng, dtype, hidden) if recurrent else np.zeros((hidden, hidden), dtype)
    )
    return found


def targets_of(rng, loss, dtype, shape, lengths=None):
    """Return the targets and which of them count, as a readout takes them."""
    steps, batch, outputs = shape
    valid = np.ones((steps, batch), bool)
    if lengths is not None:
        valid = np.arange(steps)[:, None] < lengths
    if loss == "softmax":
        classes = rng.integers(-1, outputs, (steps, batch))
        return np.where(valid, classes, -1).astype(np.intp), None
    return rng.random(shape).astype(dtype), valid & (rng.random((steps, batch)) < 0.8)


def given_at_random(
    rng, dtype, sizes, *, nonlinearity="tanh", tokens=False, ragged=False, readout=True,
    loss="softmax", size=5, recurrent=True,
):
    """Return parameters, and memory as it may be before any of the methods; y has some size."""
    steps, batch, inputs, hidden, outputs = sizes
    own = random_parameters(rng, dtype, inputs, hidden, outputs if readout else None,
                            recurrent=recurrent)
    shape = steps, batch, outputs if readout else hidden
    lengths = some_lengths(rng, ragged, steps, batch)
    targets, valid = targets_of(rng, loss, dtype, shape, lengths)
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    states = normal(rng, dtype, steps + 1, batch, hidden)
    dh = normal(rng, dtype, steps, batch, hidden)
    if ragged:
        dh[np.arange(steps)[:, None] >= lengths] = 0
    arrays = {
        "x": x,
        "lengths": lengths,
        "targets": targets,
        "valid": valid,
        "states": np.tanh(states) if nonlinearity == "tanh" else np.maximum(states, 0),
        "y": size * normal(rng, dtype, *shape),
        "losses": unset("float64", steps, batch),
        "dh": dh,
        "dstate": normal(rng, dtype, batch, hidden),
        "dx": None if tokens else unset(dtype, *x.shape),
        "gradient": normal(rng, dtype, own.layout.size),
    }
    return Given(own, arrays, nonlinearity, loss)


def loss_of(functions, loss, y, targets, valid=None, scale=1.0):
    """Return the losses of outputs (T, B, O); y becomes their gradient times scale."""
    steps, batch, outputs = y.shape
    layout = Layout(parameter_shapes(1, 1, outputs))
    weights = Weights(functions, Parameters(layout, np.zeros(layout.size, y.dtype)))
    losses, states = unset("float64", steps, batch), np.zeros((steps + 1, batch, 1), y.dtype)
    readout = functions.Readout(weights, states, y)
    readout.prepare_loss(loss, losses, targets, valid, scale)
    readout.loss(0, 0, steps, 0, batch)
    return losses
