"""Arguments that a plan takes as they are: lengths, last targets, other shapes.

The same arguments as lists are checked and converted, and must give the same bits.
"""

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import H, I, O, build, different
from crnn.kernels.memory import aligned_empty

import crnn
from crnn.base.losses import Loss
from crnn.engine import compiled

T, B = 6, 5
LENGTHS = {
    "none": None, "some": [4, 6, 0, 1, 5], "falling": [6, 5, 5, 2, 0], "full": [T] * B,
}
LOSSES = ["softmax", "sigmoid", "mse", "mae", crnn.Huber(0.3), crnn.Quantile(0.2), "gaussian"]
SHAPES = [(1, False), (2, False), (2, True)]

pytestmark = pytest.mark.no_backend
each_shape = pytest.mark.parametrize(("layers", "both"), SHAPES)
each_lengths = pytest.mark.parametrize("lengths", LENGTHS)


@pytest.fixture
def taken(monkeypatch):
    """Have arguments refused that a plan does not take as they are, when it is called."""

    def refuse(*given, **options):
        raise AssertionError("they were checked")

    return lambda: monkeypatch.setattr(compiled, "checked_sequence", refuse)


def draw(rng, net, loss, *, tokens=False, last=False, shape=(T, B)):
    """Return x and targets, of numbers from 0 to 1, in which some classes are none."""
    x = cells.draw_input(rng, net, tokens=tokens, shape=shape)
    outputs = cells.outputs_of(net)
    shape = shape[1:] if last else shape
    if loss == "softmax":
        return x, rng.integers(0 if last else -1, outputs, shape)
    blocks = loss.blocks if isinstance(loss, Loss) else 1 + (
        loss == "gaussian")
    return x, rng.random((*shape, outputs // blocks)).astype(net.dtype)


def answers(net, x, targets, state, **options):
    """Return what losses and their gradients are."""
    value, last = net.loss(x, targets, state, **options)
    again, grads, end = net.loss_and_gradients(x, targets, state, **options)
    found = {"loss": value, "in training": again}
    return found | cells.named("last", last) | cells.named("end", end) | (
        cells.gradients_by_name("gradient", grads))


def outputs(net, x, state, dy, **options):
    """Return what calls give, and a pass forward and back."""
    found = {}
    for last in (False, True):
        y, end = net(x, state, last=last, **options)
        found |= {f"y {last}": y} | cells.named(f"end {last}", end)
    y, end, cache = net.forward(x, state, **options)
    found |= {"y forward": y} | cells.named("end forward", end)
    return found | cells.gradients_by_name("back", net.backward(cache, dy))


def as_lists(lengths):
    return {} if lengths is None else {"lengths": lengths}


def as_arrays(lengths):
    return {} if lengths is None else {"lengths": np.array(lengths)}


@each_shape
@each_lengths
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("cell", cells.GATED)
def test_calls_take_lengths_as_they_are(cell, layers, both, tokens, lengths, rng, taken):
    net, lengths = build(cell, layers, both), LENGTHS[lengths]
    data = cells.draw(rng, net, tokens=tokens, shape=(T, B))
    wanted = outputs(net, data.x, data.state, data.dy, **as_lists(lengths))
    taken()
    if lengths is not None and not tokens:
        for b, length in enumerate(lengths):
            data.x[length:, b] = np.nan
    found = outputs(net, data.x, data.state, data.dy, **as_arrays(lengths))
    assert not different(wanted, found)


@each_lengths
@pytest.mark.parametrize("last", [False, True], ids=["every", "last"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
def test_losses_take_lengths_and_last_targets_as_they_are(
    layers, both, loss, reduction, last, lengths, rng, taken
):
    net, lengths = build("LSTM", layers, both, sizes=(I, H, 6)), LENGTHS[lengths]
    if isinstance(loss, crnn.Quantile):
        loss = crnn.Quantile(0.2, 0.7)
    x, targets = draw(rng, net, loss, last=last)
    state, options = cells.draw_state(rng, net, B), {"loss": loss, "reduction": reduction}
    wanted = answers(net, x, targets, state, **options, **as_lists(lengths))
    reference = build("LSTM", layers, both, sizes=(I, H, 6), backend="reference")
    cells.check_close(wanted, answers(
        reference, x, targets, state, **options, **as_lists(lengths)), 1e-10)
    taken()
    if isinstance(loss, crnn.Huber):
        options["loss"] = crnn.Huber(0.3)  # another one that is equal
    found = answers(net, x, targets, state, **options, **as_arrays(lengths))
    assert not different(wanted, found)


def test_what_is_beyond_lengths_may_be_anything(rng, taken):
    net, lengths = build("GRU", 2), np.array(LENGTHS["some"])
    beyond = np.arange(T)[:, None] >= lengths
    for loss in ("softmax", "mse"):
        x, targets = draw(rng, net, loss)
        wanted = answers(net, x, targets, None, loss=loss, lengths=lengths)
        x[beyond] = np.inf
        targets[beyond] = 0 if loss == "softmax" else np.nan
        before = x.copy(), targets.copy()
        assert not different(wanted, answers(net, x, targets, None, loss=loss, lengths=lengths))
        for mine, each in zip(before, (x, targets), strict=True):
            np.testing.assert_array_equal(mine, each)
    taken()
    assert not different(wanted, answers(net, x, targets, None, loss=loss, lengths=lengths))


def test_lengths_are_copied(rng, taken):
    net, lengths = build("LSTM", 2, True), np.array(LENGTHS["some"])
    data = cells.draw(rng, net, shape=(T, B))
    wanted = outputs(net, data.x, data.state, data.dy, lengths=lengths)
    taken()
    _, _, cache = net.forward(data.x, data.state, lengths=lengths)
    lengths[:] = T
    found = cells.gradients_by_name("back", net.backward(cache, data.dy))
    assert not different({name: wanted[name] for name in found}, found)


@pytest.mark.parametrize("kind", ["calls", "losses"])
def test_other_shapes_find_their_plans(kind, rng, taken):
    net, shapes = build("GRU", 2), [(T, B), (T - 1, B), (T, B + 1), (1, 1)]
    many = [cells.draw(rng, net, shape=shape, tokens=tokens)
            for shape in shapes for tokens in (False, True)]

    def ask(data):
        if kind == "calls":
            return outputs(net, data.x, data.state, data.dy)
        return answers(net, data.x, data.targets, data.state) | {
            "last": net.loss(data.x, np.abs(data.targets[-1]))[0],
            "one": net.loss_and_gradients(data.x[:, 0].copy(), data.targets[:, 0].copy())[0]}

    wanted = [ask(data) for data in many]
    taken()
    for which in (*range(len(many)), *rng.integers(0, len(many), 30)):
        assert not different(wanted[which], ask(many[which]))


@pytest.mark.parametrize("bad", [
    np.array([1, 2, 3, 4, T + 1]), np.array([1, 2, -1, 4, 5]), np.array([1, 2, 3, 4]),
    np.array([1.0, 2, 3, 4, 5]), np.array(3),
])
def test_lengths_that_do_not_fit_are_refused_after_some_that_do(bad, rng):
    net, good = build("GRU", 2), np.array(LENGTHS["some"])
    data = cells.draw(rng, net, shape=(T, B))

    def ask(lengths):
        rest = {"lengths": lengths}
        found = outputs(net, data.x, data.state, data.dy, **rest)
        return found | answers(net, data.x, data.targets, data.state, **rest)

    wanted = ask(good)
    passes = (
        lambda: net(data.x, lengths=bad), lambda: net.forward(data.x, lengths=bad),
        lambda: net.loss(data.x, data.targets, lengths=bad),
        lambda: net.loss_and_gradients(data.x, data.targets, lengths=bad))
    for ask_wrongly in passes:
        with pytest.raises((TypeError, ValueError), match="lengths"):
            ask_wrongly()
    assert not different(wanted, ask(good))


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_a_batch_without_steps_has_no_last_target(loss, rng):
    net = build("LSTM", 1, sizes=(I, H, O))
    x, targets = draw(rng, net, loss, last=True, shape=(0, B))
    for _ in range(2):
        value, grads, _ = net.loss_and_gradients(x, targets, loss=loss)
        assert (value, np.abs(grads.vector).max()) == (0, 0)


def test_a_batch_of_no_sequences(rng, backend):
    net = build("LSTM", 2)
    x, targets, none = np.zeros((T, 0, I)), np.zeros((T, 0), int), np.zeros(0, int)
    for _ in range(2):
        assert net(x, lengths=none)[0].shape == (T, 0, O)
        assert net.loss_and_gradients(x, targets, lengths=none)[0] == 0
        assert net.loss_and_gradients(x, none, lengths=none)[0] == 0


def test_memory_beyond_a_plan_is_not_read(rng, backend):
    """Targets for the last step that lie before others are taken alone."""
    net = build("GRU", 1)
    x, last = draw(rng, net, "mse", last=True)
    room = aligned_empty((B + 1, O), net.dtype)
    room[:B], room[B:] = last, np.nan
    for _ in range(2):
        assert net.loss(x, room[:B], loss="mse")[0] == net.loss(x, last, loss="mse")[0]
