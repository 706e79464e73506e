"""What runs the functions over sequences, compiled against NumPy: passes, steps, whole networks."""

import itertools

import numpy as np
import pytest
from builds import (
    LOSSES,
    NONLINEARITIES,
    each_dtype,
    each_instruction_set,
    each_nonlinearity,
    kernels_of,
)
from test_twins import assert_close, normal, recurrent_weights, some_lengths, tolerance, unset

import crnn
from crnn import reference
from crnn.parameters import Layout, Parameters, parameter_shapes
from crnn.weights import Weights

pytestmark = pytest.mark.no_backend

with_or_without_readout = pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])


def parameters(rng, dtype, inputs, hidden, outputs):
    """Return random parameters whose recurrent weights neither die out nor explode."""
    layout = Layout(parameter_shapes(inputs, hidden, outputs))
    found = Parameters(layout, rng.uniform(-0.5, 0.5, layout.size).astype(dtype))
    found["W_hh_l0"] = recurrent_weights(rng, dtype, hidden)
    return found


def assert_all_close(ours, theirs, rtol):
    assert ours.keys() == theirs.keys()
    for name, twin in theirs.items():
        assert_close(ours[name], twin, rtol, name)


def network_tolerance(dtype, sizes):
    steps, batch, *others = sizes
    return tolerance(dtype, max(steps * batch, *filter(None, others)), steps)


# --- RNNLayer and Readout ------------------------------------------------------------------------


def targets_of(rng, loss, dtype, steps, batch, outputs, lengths):
    """Return the targets and which of them count, as a readout takes them."""
    valid = np.ones((steps, batch), bool)
    if lengths is not None:
        valid = np.arange(steps)[:, None] < lengths
    if loss == "softmax":
        classes = rng.integers(-1, outputs, (steps, batch))
        return np.where(valid, classes, -1).astype(np.intp), None
    return rng.random((steps, batch, outputs)).astype(dtype), valid


class Pass:
    """A pass forward and back on one side's classes, part by part, and all that it fills in."""

    def __init__(self, functions, own, given, gradient):
        self.steps, self.batch = given["x"].shape[:2]
        self.weights, dtype = Weights(functions, own), own["b_h_l0"].dtype
        hidden, outputs = self.weights.hidden_size, self.weights.output_size
        shape = self.steps, self.batch
        self.states, self.dh = unset(dtype, self.steps + 1, self.batch, hidden), unset(
            dtype, *shape, hidden)
        self.states[0] = given["h0"]
        self.y, self.losses = unset(dtype, *shape, outputs), unset("float64", *shape)
        self.dstate, self.gradient = given["dstate"].copy(), gradient.copy()
        self.dx = None if given["x"].ndim == 2 else unset(dtype, *given["x"].shape)
        self.layer = functions.RNNLayer(
            self.weights, given["nonlinearity"], given["x"], self.states, given["lengths"])
        self.readout = functions.Readout(self.weights, self.states, self.y)
        self.readout.prepare_loss(
            given["loss"], self.losses, given["targets"], given["valid"], 0.37)
        self.layer.prepare_backward(self.dh, self.dstate, self.dx, self.gradient)
        self.readout.prepare_backward(self.dh, self.gradient)

    def forward(self, blocks, parts):
        """Fill in states, outputs, then losses and the gradient of the outputs."""
        for first, last in parts:
            for start, count in blocks:
                self.layer.forward(start, start, count, first, last)
                self.readout.forward(start, start, count, first, last)
        outputs = self.y.copy()
        for first, last in parts:
            for start, count in blocks:
                self.readout.loss(start, start, count, first, last)
        return {"states": self.states, "y": outputs, "losses": self.losses, "dy": self.y.copy()}

    def backward(self, blocks, parts, columns, output_columns):
        """Fill in gradients; dh has room for all steps and is filled from its beginning."""
        for start, count in reversed(blocks):
            for first, last in parts:
                self.readout.backward(start, count, first, last)
                self.layer.backward(start, count, first, last)
            for first, last in columns:
                self.layer.gradients(start, count, first, last)
            for first, last in output_columns:
                self.readout.gradients(start, start, count, first, last)
        found = {"dh": self.dh[: blocks[0][1]], "dstate": self.dstate, "vector": self.gradient}
        return found if self.dx is None else found | {"dx": self.dx}


def cut(size, *bounds):
    """Return ``(first, last)`` of parts between these bounds, as far as they are below size."""
    ends = [0, *(bound for bound in bounds if bound < size), size]
    return list(itertools.pairwise(ends))


def blocks_of(steps, length):
    return [(start, min(length, steps - start)) for start in range(0, steps, length)]


SIZES = [(7, 9, 5, 33, 17), (3, 17, 33, 65, 1), (5, 7, 1, 17, 257), (1, 33, 17, 1, 3)]
SIZES += [(4, 3, 65, 129, 33), (33, 1, 3, 31, 65), (17, 8, 3, 16, 16)]


@each_instruction_set
@each_dtype
@with_or_without_readout
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_passes_equal_their_twins(rng, isa, dtype, sizes, tokens, ragged, readout):
    """The whole at once, and sequences, columns and blocks of steps one after the other."""
    steps, batch, inputs, hidden, outputs = sizes
    own = parameters(rng, dtype, inputs, hidden, outputs if readout else None)
    outputs = outputs if readout else hidden
    lengths = some_lengths(rng, ragged, steps, batch)
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    loss, nonlinearity = str(rng.choice(LOSSES)), str(rng.choice(NONLINEARITIES))
    targets, valid = targets_of(rng, loss, dtype, steps, batch, outputs, lengths)
    given = {"x": x, "h0": normal(rng, dtype, batch, hidden), "lengths": lengths,
             "dstate": normal(rng, dtype, batch, hidden), "nonlinearity": nonlinearity,
             "loss": loss, "targets": targets, "valid": valid}
    gradient = normal(rng, dtype, sum(own[name].size for name in own))
    whole = [(0, steps)], [(0, batch)], [(0, hidden)], [(0, outputs)]
    divided = (blocks_of(steps, 3), cut(batch, 1, 4, 8), cut(hidden, 16, 48), cut(outputs, 16, 32))
    for blocks, parts, *columns in (whole, divided):
        sides = [Pass(side, own, given, gradient)
                 for side in (kernels_of(isa, dtype), reference)]
        ours, theirs = (
            side.forward(blocks, parts) | side.backward(blocks, parts, *columns)
            for side in sides
        )
        assert_all_close(ours, theirs, network_tolerance(dtype, sizes))


# --- Stepper -------------------------------------------------------------------------------------


@each_instruction_set
@each_dtype
@each_nonlinearity
@pytest.mark.parametrize("batch", [None, *range(1, 10), 33])
@pytest.mark.parametrize("inputs", ["floats", "tokens"])
@with_or_without_readout
def test_stepper_equals_its_twin(rng, isa, dtype, nonlinearity, batch, inputs, readout):
    own = parameters(rng, dtype, 5, 33, 17 if readout else None)

    def prepare(stepper, x, out):
        return np.asarray(x), out

    steppers = [
        functions.Stepper(Weights(functions, own), nonlinearity, prepare)
        for functions in (kernels_of(isa, dtype), reference)
    ]
    each = () if batch is None else (batch,)
    state = normal(rng, dtype, batch or 1, 33)
    for stepper in steppers:
        stepper.reset(batch)
        assert not stepper.state.any()
        stepper.state = state
    for step in range(1, 5):
        x = rng.integers(0, 5, each) if inputs == "tokens" else normal(rng, dtype, *each, 5)
        out = np.empty((*each, 17 if readout else 33), dtype) if step % 2 else None
        ours, theirs = (stepper.step(x, out).copy() for stepper in steppers)
        assert_close(ours, theirs, tolerance(dtype, 33, step), "y")
        assert_close(*(s.state for s in steppers), tolerance(dtype, 33, step), "state")
        assert {(s.batch_size, s.batched) for s in steppers} == {(batch or 1, batch is not None)}


# --- the whole class -----------------------------------------------------------------------------


def networks(rng, dtype, sizes, nonlinearity):
    """Return equal networks on the two backends, with recurrent weights of norm 0.9."""
    pair = [
        crnn.RNN(*sizes, nonlinearity=nonlinearity, dtype=dtype, backend=backend)
        for backend in ("compiled", "reference")
    ]
    pair[0].vector = rng.uniform(-0.5, 0.5, pair[0].num_parameters)
    pair[0].parameters["W_hh_l0"] = recurrent_weights(rng, dtype, sizes[1])
    pair[1].vector = pair[0].vector
    return pair


def data(rng, dtype, sizes, *, tokens=False, ragged=False, batched=True):
    steps, batch, inputs, hidden = sizes
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    state, lengths = normal(rng, dtype, 1, batch, hidden), some_lengths(rng, ragged, steps, batch)
    return (x, state, lengths) if batched else (x[:, 0], state[:, 0], None)


WHOLE = [
    pytest.param((7, 3, 5, 33, 17), {}, id="floats"),
    pytest.param((7, 3, 5, 33, 17), {"tokens": True}, id="tokens"),
    pytest.param((7, 3, 5, 33, 17), {"ragged": True}, id="lengths"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True, "tokens": True}, id="tokens-lengths"),
    pytest.param((7, 1, 5, 33, 17), {"batched": False}, id="unbatched"),
    pytest.param((1, 3, 5, 17, 2), {}, id="one-step"),
    pytest.param((5, 3, 2, 17, None), {"ragged": True}, id="bare"),
    pytest.param((131, 3, 2, 17, 5), {"ragged": True}, id="long"),
]
each_data = pytest.mark.parametrize(("sizes", "kind"), WHOLE)


def gradients_by_name(grads):
    found = dict(grads.parameters) | {"state": grads.state}
    return found if grads.x is None else found | {"x": grads.x}


@each_dtype
@each_nonlinearity
@each_data
def test_network_equals_the_twin(rng, dtype, nonlinearity, sizes, kind):
    x, state, lengths = data(rng, dtype, sizes[:4], **kind)
    pair = networks(rng, dtype, sizes[2:], nonlinearity)
    dstate, dy, results = normal(rng, dtype, *state.shape), None, []
    for net in pair:
        y, last, cache = net.forward(x, state, lengths=lengths)
        dy = normal(rng, dtype, *y.shape) if dy is None else dy
        net.state = state
        again, last_again = net(x, state, lengths=lengths)
        found = {"y": y, "last": last, "y again": again, "last again": last_again}
        for t, each in enumerate(x[:9]):
            found |= {f"step {t}": net.step(each), f"state {t}": net.state}
        results.append(found | gradients_by_name(net.backward(cache, dy, dstate)))
    assert_all_close(*results, network_tolerance(dtype, sizes))


@each_dtype
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@each_data
def test_network_losses_equal_the_twin(rng, dtype, loss, reduction, last_only, sizes, kind):
    x, state, lengths = data(rng, dtype, sizes[:4], **kind)
    pair = networks(rng, dtype, sizes[2:], str(rng.choice(NONLINEARITIES)))
    y, _ = pair[0](x, state)
    y = y[0] if last_only else y
    targets = rng.integers(0, y.shape[-1], y.shape[:-1]) if loss == "softmax" else y + 0.5
    options = {"loss": loss, "reduction": reduction, "lengths": lengths}
    results = []
    for net in pair:
        value, last = net.loss(x, targets, state, **options)
        found = {"loss": value, "last": last}
        for time in range(3):  # some memory is kept from the second time on
            again, grads, last = net.loss_and_gradients(x, targets, state, **options)
            assert type(value) is type(again) is float
            found |= {f"loss {time}": again, f"last {time}": last}
            found |= {f"{name} {time}": each for name, each in gradients_by_name(grads).items()}
        results.append(found)
    assert_all_close(*results, network_tolerance(dtype, sizes))
