"""A layer and its readout on one side's classes, whose methods are run one by one.

Most formulas of a network have no function of their own in a build: the methods of `Layer` and
`Readout` run them, and here is what the tests need to run those. Only here is it said which steps,
sequences and rows each method is told.
"""

import functools
from typing import NamedTuple

import numpy as np
from builds import KINDS, normal

from crnn.base.kinds import Kind, parameter_shapes
from crnn.engine.packing import Weights
from crnn.network.parameters import Layout, Parameters


class Given(NamedTuple):
    """What both sides are given."""

    parameters: Parameters
    arrays: dict  # see `Pass`
    kind: Kind
    loss: str
    scale: float = 0.37


class Pass:
    """A layer and its readout, and memory of their own for all that they read and write.

    Attributes
    ----------
    arrays : dict of str to ndarray or None
        x, lengths, targets, valid: what they read. states and kept (T + 1, B, H), gates
        (T, B, blocks * H), y (T, B, O), losses (T, B), dh and dkept (T, B, H), dstate and dc
        (B, H), da (T, B, blocks * H), dx (T, B, I) and gradient: what they write.
    ends : dict of str to int
        Where the last range of a method ends: of sequences, but for the gradients of parameters,
        of which it is of hidden units.
    """

    def __init__(self, functions, given):
        copies = {name: None if a is None else a.copy() for name, a in given.arrays.items()}
        weights = Weights(functions, given.parameters, given.kind)
        layer = functions.Layer(weights.layers[0], *(copies[name] for name in FORTH))
        readout = functions.Readout(weights, copies["states"], copies["y"])
        readout.prepare_loss(
            given.loss, copies["losses"], copies["targets"], copies["valid"], given.scale)
        layer.prepare_backward(*(copies[name] for name in BACK))
        readout.prepare_backward(copies["dh"], copies["gradient"])
        self.arrays, self._rooms = copies, {"layer": layer, "readout": readout}
        self._views = weights.views
        self.steps, batch, _ = copies["y"].shape
        self.ends = dict.fromkeys(METHODS, batch) | {
            "layer.gradients": weights.hidden_size, "readout.gradients": weights.hidden_size}

    def run(self, method, start=0, count=None, first=0, last=None, *, dh_at=0):
        """Run a method over a block of steps.

        da and dkept are those of the block. So is dh, unless dh_at says where the block lies in
        that of all steps; all else is of all steps.
        """
        room, name = method.split(".")
        starts = [dh_at if each == "dh_at" else start for each in METHODS[method]]
        last = self.ends[method] if last is None else last
        getattr(self._rooms[room], name)(
            *starts, self.steps if count is None else count, first, last)

    def __getitem__(self, name):
        return self.arrays[name]

    def gradients(self):
        """Return the gradients of the parameters by name."""
        return self._views(self["gradient"])


FORTH = ("x", "states", "kept", "gates", "lengths")
BACK = ("dh", "dstate", "dc", "da", "dkept", "dx", "gradient")
METHODS = {  # and the arguments that say where a block starts, in the arrays that it is in
    "layer.forward": ("start", "x_at", "at"),
    "layer.backward": ("start", "dh_at"),
    "layer.gradients": ("start", "dh_at"),
    "readout.forward": ("at", "y_at"),
    "readout.loss": ("y_at", "start"),
    "readout.backward": ("y_at",),
    "readout.gradients": ("at", "y_at"),
}


def unset(dtype, *shape):
    return np.full(shape, np.nan, dtype)


@functools.cache
def recurrent_weights(hidden, blocks=1):
    """Return weights (H, blocks * H) of norm 0.9, the same each time: the norm takes long."""
    W = np.random.default_rng((hidden, blocks)).standard_normal((hidden, blocks * hidden))
    return 0.9 * W / np.linalg.norm(W, ord=2)


def some_lengths(rng, ragged, steps, batch):
    """Return lengths of 0, of all steps and between, as far as the batch has room."""
    if not ragged:
        return None
    lengths = rng.integers(0, steps + 1, batch)
    lengths[: min(batch, 2)] = (steps, 0)[: min(batch, 2)]
    return lengths.astype(np.intp)


def random_parameters(
    rng, dtype, kind, inputs, hidden, outputs, *, recurrent=True, layers=1, directions=1
):
    """Return random parameters whose recurrent weights neither die out nor explode, or are 0."""
    layout = Layout(parameter_shapes(kind, inputs, hidden, outputs, layers, directions))
    found = Parameters(layout, rng.uniform(-0.5, 0.5, layout.size).astype(dtype))
    for name, shape in layout.shapes.items():
        if name.startswith("W_hh"):
            found[name] = recurrent_weights(hidden, kind.blocks) if recurrent else np.zeros(shape)
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


def states_at_random(rng, dtype, kind, steps, batch, hidden):
    """Return states, kept and gates such as a layer's forward pass leaves them."""
    shape = steps + 1, batch, hidden
    states = normal(rng, dtype, *shape)
    is_relu = kind.nonlinearity == "relu"
    states = np.maximum(states, 0) if is_relu and not kind.keeps else np.tanh(states)
    if not kind.keeps:
        return states, None, None
    gates = rng.uniform(0.05, 0.95, (steps, batch, kind.blocks, hidden)).astype(dtype)
    candidate = normal(rng, dtype, steps, batch, hidden)
    gates[:, :, 2] = np.maximum(candidate, 0) if is_relu else np.tanh(candidate)
    return states, normal(rng, dtype, *shape), gates.reshape(steps, batch, -1)


def back_at_random(rng, dtype, kind, steps, batch, hidden, over):
    """Return dh, dstate, dc, da and dkept as they may be before a layer's way back or after it."""
    dh, dkept = normal(rng, dtype, 2, steps, batch, hidden)
    da = normal(rng, dtype, steps, batch, kind.blocks * hidden)
    for array in (dh, dkept, da):
        array[over] = 0
    return {
        "dh": dh,
        "dstate": normal(rng, dtype, batch, hidden),
        "dc": normal(rng, dtype, batch, hidden) if kind.states == 2 else None,
        "da": da if kind.keeps else None,
        "dkept": dkept if kind.cell == "GRU" else None,
    }


def given_at_random(
    rng, dtype, sizes, *, kind="rnn-tanh", tokens=False, ragged=False, readout=True,
    loss="softmax", size=5, recurrent=True,
):
    """Return parameters, and memory as it may be before any of the methods; y has some size."""
    (steps, batch, inputs, hidden, outputs), kind = sizes, KINDS[kind]
    own = random_parameters(rng, dtype, kind, inputs, hidden, outputs if readout else None,
                            recurrent=recurrent)
    shape = steps, batch, outputs if readout else hidden
    lengths = some_lengths(rng, ragged, steps, batch)
    over = np.zeros((steps, batch), bool)
    if ragged:
        over = np.arange(steps)[:, None] >= lengths
    targets, valid = targets_of(rng, loss, dtype, shape, lengths)
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    states, kept, gates = states_at_random(rng, dtype, kind, steps, batch, hidden)
    arrays = {
        "x": x,
        "lengths": lengths,
        "targets": targets,
        "valid": valid,
        "states": states,
        "kept": kept,
        "gates": gates,
        "y": size * normal(rng, dtype, *shape),
        "losses": unset("float64", steps, batch),
        **back_at_random(rng, dtype, kind, steps, batch, hidden, over),
        "dx": None if tokens else unset(dtype, *x.shape),
        "gradient": normal(rng, dtype, own.layout.size),
    }
    return Given(own, arrays, kind, loss)


def loss_of(functions, loss, y, targets, valid=None, scale=1.0):
    """Return the losses of outputs (T, B, O); y becomes their gradient times scale."""
    (steps, batch, outputs), kind = y.shape, KINDS["rnn-tanh"]
    layout = Layout(parameter_shapes(kind, 1, 1, outputs))
    weights = Weights(functions, Parameters(layout, np.zeros(layout.size, y.dtype)), kind)
    losses, states = unset("float64", steps, batch), np.zeros((steps + 1, batch, 1), y.dtype)
    readout = functions.Readout(weights, states, y)
    readout.prepare_loss(loss, losses, targets, valid, scale)
    readout.loss(0, 0, steps, 0, batch)
    return losses
