"""Memory: how much the passes hold, whose it is, and that nothing costs nothing."""

import tracemalloc
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import small_network
from small_network import B, H, I, O, equal

import crnn
from crnn.engine import plans
from crnn.kernels import pool

T = 7
net, x, state = small_network.net, small_network.x, small_network.state
LENGTHS = np.array([3, 7, 0, 5])
FLOAT, CLASS = 4, 8  # bytes of a number and of a token
CHECKS = 24 + 2  # of a token, its target and its loss; and where blocks begin, which is little


# --- how much ------------------------------------------------------------------------------------


def peak(action):
    """The largest number of bytes that a call holds at once beyond those held before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# Hidden states, outputs or inputs are by far the largest, so that a stray copy of them would show.
NETS = {"hidden": (8, 256, 4), "outputs": (8, 16, 256), "inputs": (256, 16, 4),
        "no-readout": (8, 128, None)}
COMPILED = partial(crnn.RNN, backend="compiled")  # the reference holds what it needs
EACH = {"floats": False, "tokens": True}


@contextmanager
def one_thread():
    before = pool.set_thresholds(multiplications=np.inf)
    try:
        yield
    finally:
        pool.set_thresholds(*before)


def growth(sizes, is_tokens, action, dtype="float32", make=COMPILED):
    """Bytes per time step and sequence: how a peak grows from 500 steps to 1000.

    Of sequences with many blocks; what is held for one block does not grow.
    """
    inputs, hidden, outputs = sizes
    net = make(inputs, hidden, outputs, seed=0, dtype=dtype)
    peaks = []
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(plans, "BLOCK_NUMBERS", 64 * B * max(hidden, outputs or 0))
        patch.setattr(plans, "SPARE_BYTES", 0)
        for steps in (10, 500, 1000):  # the first makes what is made only once
            shape = (steps, B) if is_tokens else (steps, B, inputs)
            x = np.zeros(shape, np.intp if is_tokens else dtype)
            targets = np.zeros((steps, B), np.intp)
            peaks.append(peak(lambda x=x, targets=targets: action(net, x, targets)))
    return (peaks[2] - peaks[1]) / (500 * B)


def check(grown, wanted, extra=2):
    assert wanted - 2 <= grown <= wanted + extra


every_net = pytest.mark.parametrize("sizes", NETS.values(), ids=NETS)
floats_and_tokens = pytest.mark.parametrize("is_tokens", EACH.values(), ids=EACH)


@pytest.mark.no_backend
@every_net
@floats_and_tokens
def test_inference_holds_outputs_only(sizes, is_tokens):
    grown = growth(sizes, is_tokens, lambda net, x, targets: net(x))
    copied = CLASS if is_tokens else 0  # tokens are checked, and must not change after that
    check(grown, FLOAT * (sizes[2] or sizes[1]) + copied)


@pytest.mark.no_backend
@every_net
@floats_and_tokens
def test_a_loss_holds_its_targets_only(sizes, is_tokens):
    grown = growth(sizes, is_tokens, lambda net, x, targets: net.loss(x, targets))
    check(grown, 0, CHECKS)


@pytest.mark.no_backend
@every_net
@floats_and_tokens
def test_training_holds_hidden_states_and_the_gradient_of_x(sizes, is_tokens):
    grown = growth(sizes, is_tokens, lambda net, x, targets: net.loss_and_gradients(x, targets))
    check(grown, FLOAT * (sizes[1] + (0 if is_tokens else sizes[0])), CHECKS)


@pytest.mark.no_backend
@every_net
@floats_and_tokens
def test_forward_holds_states_outputs_and_a_copy_of_x(sizes, is_tokens):
    inputs, hidden, outputs = sizes
    grown = growth(sizes, is_tokens, lambda net, x, targets: net.forward(x))
    copied = CLASS if is_tokens else FLOAT * inputs
    check(grown, FLOAT * (hidden + (outputs or hidden)) + copied)


@pytest.mark.no_backend
@every_net
@floats_and_tokens
def test_backward_holds_the_gradient_of_x_only(sizes, is_tokens):
    def backward(net, x, targets):
        y, _, cache = net.forward(x)
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        net.backward(cache, y)
        peaks.append(tracemalloc.get_traced_memory()[1] - held)

    peaks = []
    growth(sizes, is_tokens, backward)
    check((peaks[2] - peaks[1]) / (500 * B), 0 if is_tokens else FLOAT * sizes[0])


DEEP = {"GRU": (crnn.GRU, 5, 2), "LSTM": (crnn.LSTM, 6, 2), "RNN": (crnn.RNN, 1, 3)}


@pytest.mark.no_backend
@pytest.mark.parametrize("sizes", [(8, 64, 4), (8, 64, None)], ids=["readout", "bare"])
@pytest.mark.parametrize(("cell", "kept", "layers"), DEEP.values(), ids=DEEP)
def test_gates_and_layers(sizes, cell, kept, layers):
    """They cost inference nothing, and training what their documentation says."""
    deep, one = (
        partial(cell, num_layers=n, backend="compiled") for n in (layers, 1))
    grown = growth(sizes, True, lambda net, x, targets: net(x), make=deep)
    check(grown, FLOAT * (sizes[2] or sizes[1]) + CLASS)
    grown = growth(sizes, True, lambda net, x, targets: net.loss(x, targets), make=deep)
    check(grown, 0, CHECKS)
    grown = growth(
        sizes, True, lambda net, x, targets: net.loss_and_gradients(x, targets), make=one)
    check(grown, FLOAT * kept * sizes[1], CHECKS)


@pytest.mark.no_backend
@floats_and_tokens
def test_lengths_cost_no_states(is_tokens):
    def run(net, x, targets):
        lengths = np.full(B, len(x))
        net(x, lengths=lengths)
        net.loss(x, targets, lengths=lengths)

    copied = 0 if is_tokens else 8  # what lies beyond the end is silenced in a copy
    assert growth((8, 256, 4), is_tokens, run) <= FLOAT * (4 + copied) + CHECKS


@pytest.mark.no_backend
def test_float64_takes_twice_as_much():
    def train(net, x, targets):
        net.loss_and_gradients(x, targets)

    check(growth((8, 256, 4), False, train, "float64"), 2 * FLOAT * (256 + 8), CHECKS)


@pytest.mark.no_backend
def test_training_keeps_its_memory_for_the_next_pass_unless_it_is_much(monkeypatch):
    def kept(bytes_kept):
        monkeypatch.setattr(plans, "SPARE_BYTES", bytes_kept)
        net = crnn.RNN(8, 256, 4, seed=0, backend="compiled")
        x, targets = np.zeros((1000, B), int), np.zeros((1000, B), int)
        return [peak(partial(net.loss_and_gradients, x, targets)) for _ in range(2)]

    first, second = kept(2**25)
    assert second < first / 2
    first, second = kept(2**10)
    assert second > first * 0.9


@pytest.mark.no_backend
def test_many_to_one_holds_no_outputs():
    def train(net, x, targets):
        net.loss_and_gradients(x, targets[-1])

    check(growth((8, 16, 256), True, train), FLOAT * 16 + CLASS, CLASS)


@pytest.mark.no_backend
@pytest.mark.parametrize("train", [False, True], ids=["loss", "training"])
@pytest.mark.parametrize("sizes", [(4, 16, 2048), (4, 256, 16), (4, 3, 1024)], ids=str)
def test_a_block_is_small(sizes, train):
    """Its states, outputs and gradients, be they ever so many for a single step."""
    net, steps = COMPILED(*sizes, seed=0), 2000
    x = np.full((steps, B), 2, np.intp)
    pass_ = net.loss_and_gradients if train else net.loss
    held = FLOAT * B * steps * sizes[1] * train
    held += FLOAT * 4 * net.num_parameters + B * steps * CHECKS
    assert peak(lambda: pass_(x, x)) <= held + 2**24


# --- whose ---------------------------------------------------------------------------------------


def test_a_cache_is_good_for_its_network_as_it_was(net, x):
    y, _, cache = net.forward(x)
    vector = net.backward(cache, y).vector.copy()
    equal(net.backward(cache, y).vector, vector)  # as often as one likes
    for other in (net.copy(), crnn.RNN(I, H, O, dtype="float64")):
        with pytest.raises(ValueError, match="call forward again"):
            other.backward(cache, y)
    net.parameters["b_y"] = [0, 0]
    with pytest.raises(ValueError, match="call forward again"):
        net.backward(cache, y)
    cache = net.forward(x)[2]
    net.vector = net.vector
    with pytest.raises(ValueError, match="call forward again"):
        net.backward(cache, y)
    for wrong in (None, y, (cache,), net):
        with pytest.raises(TypeError, match="what forward returned"):
            net.backward(wrong, y)


@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("victim", ["x", "state", "lengths", "y", "last", "dy", "dstate"])
def test_a_cache_does_not_hold_the_callers_arrays(net, x, state, rng, tokens, victim):
    inputs = rng.integers(0, I, (T, B)) if tokens else x
    lengths = LENGTHS.astype(np.intp)
    y, last, cache = net.forward(inputs, state, lengths=lengths)
    dy, dstate = rng.standard_normal(y.shape), rng.standard_normal(last.shape)
    first = net.backward(cache, dy, dstate)
    vector, own_state = first.vector.copy(), first.state.copy()
    arrays = {"x": inputs, "state": state, "lengths": lengths, "y": y, "last": last,
              "dy": dy, "dstate": dstate}
    kept = arrays[victim].copy()
    arrays[victim][...] = 1
    equal(first.vector, vector)
    equal(first.state, own_state)
    if victim in ("dy", "dstate"):
        arrays[victim][...] = kept
    equal(net.backward(cache, dy, dstate).vector, vector)


@pytest.mark.parametrize("outputs", [None, O])
def test_results_are_the_callers_own(x, state, rng, outputs):
    classes = rng.integers(0, O, (T, B))
    net = crnn.RNN(I, H, outputs, dtype="float64", seed=3)
    net.state = state

    def results():
        y, last, cache = net.forward(x, state)
        grads = net.backward(cache, y, last)
        _, fused, fused_last = net.loss_and_gradients(x, classes, state)
        return [y, last, *net(x, state), grads.vector, grads.x, grads.state, fused.vector,
                fused.x, fused.state, fused_last, net.loss(x, classes, state)[1], net.state,
                net.stream(B).step(x[0])]

    first = results()
    kept = [each.copy() for each in first]
    for n, each in enumerate(first):
        assert each.flags.writeable
        assert not any(np.shares_memory(each, other) for other in first[:n])
        each[...] = 99
    for each, old in zip(results(), kept, strict=True):
        equal(each, old)
    step = net.step(x[0])
    net.step(x[1], out=np.empty_like(step))
    kept = step.copy()
    net.step(x[2])
    equal(step, kept)


# --- nothing -------------------------------------------------------------------------------------


NOTHING = pytest.mark.parametrize(("steps", "batch"), [(0, B), (0, None), (T, 0), (0, 0)])
KINDS = pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])


def nothing(steps, batch, tokens):
    each = () if batch is None else (batch,)
    x = np.zeros((steps, *each), int) if tokens else np.zeros((steps, *each, I))
    return each, x, np.ones((1, *each, H), np.float32)


@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("has_lengths", [False, True], ids=["full", "lengths"])
@KINDS
@NOTHING
def test_no_steps_and_no_sequences_cost_nothing(steps, batch, tokens, has_lengths, outputs):
    net = crnn.RNN(I, H, outputs, seed=1)
    each, x, state = nothing(steps, batch, tokens)
    lengths = np.zeros(each, int) if has_lengths else None
    y, last = net(x, state, lengths=lengths)
    assert y.shape == (steps, *each, outputs or H)
    equal(last, state)
    for loss, classes in (("softmax", ()), ("sigmoid", (outputs or H,)), ("mse", (outputs or H,))):
        for shape in ((steps, *each, *classes), (*each, *classes)):
            rest = (x, np.zeros(shape, int), state)
            value, last = net.loss(*rest, loss=loss, lengths=lengths)
            fused, gradients, fused_last = net.loss_and_gradients(*rest, loss=loss, lengths=lengths)
            assert (value, fused, type(value), type(fused)) == (0.0, 0.0, float, float)
            equal(last, state)
            equal(fused_last, state)
            assert not gradients.vector.any()
            assert not gradients.state.any()
            assert tokens or gradients.x.shape == x.shape


@KINDS
@NOTHING
def test_backward_through_nothing(steps, batch, tokens):
    net = crnn.RNN(I, H, O, seed=1)
    _, x, state = nothing(steps, batch, tokens)
    y, last, cache = net.forward(x, state)
    gradients = net.backward(cache, np.ones_like(y), 2 * state)
    equal(last, state)
    equal(gradients.state, 2 * state)
    assert not gradients.vector.any()


def test_a_step_of_no_sequences(backend):
    stream = crnn.RNN(I, H, O).stream(batch_size=0)
    assert stream.step(np.ones((0, I))).shape == (0, O)
    assert stream.step(np.ones(0, int)).shape == (0, O)
    assert stream.state.shape == (1, 0, H)
