"""The gradient of x only where it is asked for: everything else keeps its bits."""

import numpy as np
import pytest
from cell_networks import (
    H,
    I,
    O,
    arrays,
    build,
    different,
    draw,
    each_cell,
    each_shape,
    floats_or_tokens,
    full_or_ragged,
    gradients_by_name,
    named,
)

import crnn

T, B = 6, 5
SKIPPING = {"skip": True, "dtype": "float64", "seed": 0}
NETWORKS = {
    "batch first": lambda: build("LSTM", 2, True, batch_first=True),
    "dropout": lambda: build("GRU", 3, dropout=0.4),
    "learned states": lambda: build("LSTM", 2, learn_state=True),
    "dense": lambda: crnn.Sequential(
        I, [crnn.layers.Dense(H, "tanh"), crnn.layers.GRU(H), crnn.layers.Dense(O)],
        dtype="float64"),
    "skip": lambda: crnn.Sequential(
        I, [crnn.layers.LSTM(H), crnn.layers.Dense(I)], **SKIPPING),
    "mask": lambda: crnn.Sequential(
        I, [crnn.layers.Masking(0.0), crnn.layers.GRU(H), crnn.layers.Dense(O)], dtype="float64"),
}


def trained(net, x, targets, *rest, **options):
    loss, grads, last = net.loss_and_gradients(x, targets, *rest, **options)
    return {"loss": loss} | named("last", last) | gradients_by_name("training", grads)


def gone_back(net, x, dy, *rest, state=None, lengths=None, **options):
    _, _, cache = net.forward(x, state, lengths=lengths)
    return gradients_by_name("backward", net.backward(cache, dy, *rest, **options))


def without_x(found):
    return {name: each for name, each in found.items() if not name.endswith(", x")}


@each_cell
@each_shape
@floats_or_tokens
@full_or_ragged
def test_all_other_results_keep_their_bits(cell, layers, both, tokens, lengths, rng):
    net = build(cell, layers, both)
    data = draw(rng, net, tokens=tokens, lengths=lengths, shape=(5, 4))
    rest = {"lengths": lengths}
    for targets in (data.targets, np.maximum(data.targets, 0)[-1]):
        whole = trained(net, data.x, targets, data.state, **rest)
        assert ("training, x" in whole) != tokens
        part = trained(net, data.x, targets, data.state, wants_x=False, **rest)
        assert not different(without_x(whole), part)
    whole = gone_back(net, data.x, data.dy, data.dstate, state=data.state, **rest)
    assert ("backward, x" in whole) != tokens
    part = gone_back(net, data.x, data.dy, data.dstate, state=data.state, wants_x=False, **rest)
    assert not different(without_x(whole), part)
    assert not different(whole, gone_back(
        net, data.x, data.dy, data.dstate, state=data.state, wants_x=True, **rest))


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_of_all_kinds_leave_it_out(kind, rng):
    whole, part = NETWORKS[kind](), NETWORKS[kind]()
    part.vector = whole.vector
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, whole.output_size))
    x[2:4, 1] = 0
    if whole.batch_first:
        x, targets = np.ascontiguousarray(x.swapaxes(0, 1)), targets.swapaxes(0, 1)
    for _ in range(2):  # with new dropout masks, the same in both
        found = trained(whole, x, targets, loss="mse")
        assert not different(without_x(found), trained(part, x, targets, loss="mse", wants_x=False))
        found = gone_back(whole, x, targets)
        assert not different(without_x(found), gone_back(part, x, targets, wants_x=False))


def test_lists_leave_it_out(rng):
    net = build("GRU", 2, True)
    x, dy = ([rng.standard_normal((n, width)) for n in (3, 1, 4)] for width in (I, O))
    found = trained(net, x, dy, loss="mse")
    assert [each.shape for each in found.pop("training, x")] == [(3, I), (1, I), (4, I)]
    assert not different(found, trained(net, x, dy, loss="mse", wants_x=False))
    found = gone_back(net, x, dy)
    assert not different(without_x(found), gone_back(net, x, dy, wants_x=False))


@each_cell
def test_groups_leave_it_out(cell, rng):
    net = build(cell, 2, sizes=(40, 48, 10), dtype="float32")
    x, targets = rng.standard_normal((20, 64, 40)), rng.integers(0, 10, (20, 64))
    found = trained(net, x, targets)
    assert not different(without_x(found), trained(net, x, targets, wants_x=False))


@pytest.mark.parametrize("wants_x", [None, 1, "yes"])
def test_anything_but_true_or_false_is_refused(wants_x, rng):
    net = build("LSTM", 2, dropout=0.5)
    data = draw(rng, net, shape=(T, B))
    _, _, cache = net.forward(data.x)
    before = net.dropout_state
    with pytest.raises(TypeError, match=r"wants_x is .*True or False is wanted"):
        net.loss_and_gradients(data.x, data.targets, wants_x=wants_x)
    with pytest.raises(TypeError, match=r"wants_x is .*True or False is wanted"):
        net.backward(cache, data.dy, wants_x=wants_x)
    assert net.dropout_state == before


def test_a_training_does_not_ask_for_it(monkeypatch, rng):
    found, step = [], crnn.SGD.step
    monkeypatch.setattr(
        crnn.SGD, "step", lambda *given: (found.append(given[2].x), step(*given))[1])
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
    for loss in ("mse", lambda y, targets: (np.sum(y**2).item(), 2 * y)):
        crnn.fit(build("RNN", 2), (x, targets), crnn.SGD(0.01), epochs=1, loss=loss)
    assert found == [None, None]


def test_several_ways_back_over_one_pass(rng):
    net = build("GRU", 2)
    data = draw(rng, net, shape=(T, B))
    _, _, cache = net.forward(data.x, data.state)
    for wants_x in (True, False, False, True, True, False):
        grads = net.backward(cache, data.dy, wants_x=wants_x)
        assert (grads.x is not None) == wants_x
        assert len(arrays(grads.state)) == 1
