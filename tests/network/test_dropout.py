"""Dropout: where it is on, what it zeroes, that it can be repeated, and its gradients."""

import copy
import pickle

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import (
    B,
    H,
    T,
    arrays,
    build,
    check_close,
    different,
    draw,
    gradients_by_name,
    like,
    named,
)

import crnn
from crnn.engine import plans

P = 0.3
STEP = 1e-30

each_cell = pytest.mark.parametrize("cell", ["RNN", "GRU", "GRU, reset before", "LSTM"])
one_way_or_both = pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])


def mask_network(layers, both=False, p=P, **options):
    """Return a network whose outputs are the products of what dropout multiplies with."""
    net = crnn.RNN(1, H, num_layers=layers, bidirectional=both, nonlinearity="relu", dropout=p,
                   **options)
    net.vector = np.zeros(net.num_parameters)
    for name in net.parameters:
        if name.startswith("b_h_l0"):
            net.parameters[name] = np.ones(H)
        elif name.startswith("W_xh") and "_l0" not in name:
            rows = H if name.endswith("_reverse") else 0  # the second half comes from the second
            net.parameters[name] = np.eye(len(net.parameters[name]), H, -rows)
    return net


def passes(net, data):
    """Return what the two training passes compute, from where the generator is."""
    y, last, cache = net.forward(data.x, data.state, lengths=data.lengths)
    found = {"y": y} | named("last", last)
    found |= gradients_by_name("backward", net.backward(cache, data.dy, data.dstate))
    loss, grads, last = net.loss_and_gradients(
        data.x, data.targets, data.state, lengths=data.lengths)
    found |= {"loss": loss} | named("training last", last)
    return found | gradients_by_name("training", grads)


# --- where it is on ------------------------------------------------------------------------------


@each_cell
@one_way_or_both
def test_calls_and_losses_and_steps_have_none(backend, rng, cell, both):
    net, plain = (build(cell, 3, both, dropout=p, backend=backend) for p in (P, 0.0))
    data, before = draw(rng, net), net.dropout_state

    def results(net):
        y, last = net(data.x, data.state)
        loss, after = net.loss(data.x, data.targets, data.state)
        found = {"y": y, "loss": loss} | named("last", last) | named("after", after)
        if not both:
            net.reset(B)
            found["step"] = np.array([net.step(each) for each in data.x])
            stream = net.stream(B)
            found["stream"] = np.array([stream.step(each) for each in data.x])
        return found

    assert different(results(net), results(plain)) == []
    assert net.dropout_state == before
    assert crnn.gradcheck(net, data.x, data.targets, data.state, max_entries=3)["x"] < 1e-11
    assert net.dropout_state == before


@each_cell
@one_way_or_both
def test_training_passes_have_it(backend, rng, cell, both):
    net, plain = (build(cell, 2, both, dropout=p, backend=backend) for p in (P, 0.0))
    data = draw(rng, net)
    for act in (lambda net: net.forward(data.x, data.state)[0],
                lambda net: net.loss_and_gradients(data.x, data.targets, data.state)[0]):
        before = net.dropout_state
        assert not np.allclose(act(net), act(plain))
        assert net.dropout_state != before
        assert plain.dropout_state == plain.copy().dropout_state


@each_cell
@one_way_or_both
def test_the_top_layer_and_states_have_none(backend, rng, cell, both):
    net, plain = (build(cell, 1, both, dropout=p, backend=backend) for p in (P, 0.0))
    data, before = draw(rng, net), net.dropout_state
    assert different(passes(net, data), passes(plain, data)) == []
    assert net.dropout_state == before
    net, plain = (build(cell, 2, both, dropout=p, backend=backend) for p in (P, 0.0))
    data, first = draw(rng, net), slice(0, 1 + both)
    for ours, theirs in zip(arrays(net.forward(data.x, data.state)[1]),
                            arrays(plain(data.x, data.state)[1]), strict=True):
        assert (ours[first] == theirs[first]).all()
        assert not np.allclose(ours[1 + both :], theirs[1 + both :])


# --- what it zeroes ------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@one_way_or_both
def test_share_and_scale(backend, p, both):
    net = mask_network(2, both, p, seed=1, dtype="float64", backend=backend)
    mask = net.forward(np.zeros((200, 20, 1)))[0]
    assert set(np.unique(mask)) == {0.0, 1 / (1 - p)}
    deviation = np.sqrt(p * (1 - p) / mask.size)
    assert abs((mask == 0).mean() - p) < 5 * deviation
    for axis in range(3):  # no unit, sequence or step is treated unlike the others
        others = tuple({0, 1, 2} - {axis})
        deviations = np.sqrt(p * (1 - p) * mask.shape[axis] / mask.size)
        assert (abs((mask == 0).mean(axis=others) - p) < 6 * deviations).all()
    assert (net(np.zeros((3, 1)))[0] == 1).all()


def test_every_layer_and_every_pass_has_its_own(backend):
    net = mask_network(3, seed=1, dtype="float64", backend=backend)
    x = np.zeros((300, 10, 1))
    first, second = (net.forward(x)[0] for _ in range(2))
    kept = (1 - P) ** 2
    assert abs((first != 0).mean() - kept) < 5 * np.sqrt(kept * (1 - kept) / first.size)
    both_kept = ((first != 0) & (second != 0)).mean()
    assert abs(both_kept - kept**2) < 5 * np.sqrt(kept**2 / first.size)


def test_none_is_zeroed_by_accident(backend):
    net = mask_network(2, p=1e-9, seed=1, dtype="float64", backend=backend)
    np.testing.assert_allclose(net.forward(np.zeros((50, 4, 1)))[0], 1, rtol=1e-8)


# --- that it can be repeated ---------------------------------------------------------------------


@each_cell
@one_way_or_both
@pytest.mark.parametrize("lengths", [None, cells.LENGTHS], ids=["full", "lengths"])
def test_both_backends_choose_the_same(rng, cell, both, lengths):
    ours, theirs = (
        build(cell, 3, both, dropout=P, backend=each) for each in ("compiled", "reference"))
    assert ours.dropout_state == theirs.dropout_state
    data = draw(rng, ours, lengths=lengths)
    for _ in range(2):
        check_close(passes(ours, data), passes(theirs, data), 1e-12)
    assert ours.dropout_state == theirs.dropout_state


@each_cell
def test_a_seed_says_what_is_chosen(backend, rng, cell):
    one, same, other = (
        build(cell, 2, dropout=P, seed=seed, backend=backend) for seed in (1, 1, 2))
    data = draw(rng, one)
    other.vector = one.vector
    first = passes(one, data)
    assert different(first, passes(same, data)) == []
    assert "y" in different(first, passes(other, data))
    assert "y" in different(first, passes(one, data))


@each_cell
@one_way_or_both
def test_copies_go_on_alike(backend, rng, cell, both):
    net = build(cell, 2, both, dropout=P, backend=backend)
    data = draw(rng, net)
    passes(net, data)
    twins = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    wanted = passes(net, data)
    for twin in twins:
        assert twin.dropout == P
        assert different(passes(twin, data), wanted) == []
        assert twin.dropout_state == net.dropout_state


def test_the_generator_is_put_back(backend, rng):
    net = build("LSTM", 2, dropout=P, backend=backend)
    data, start = draw(rng, net), net.dropout_state
    first = passes(net, data)
    net.dropout_state = start
    assert different(passes(net, data), first) == []
    for wrong in (None, 3, {}, {"bit_generator": "MT19937"}, start | {"bit_generator": "none"},
                  start | {"state": {"state": 2**200, "inc": 1}}, start | {"uinteger": -1},
                  start | {"state": {"state": 1}}):
        before = net.dropout_state
        with pytest.raises((TypeError, ValueError), match="dropout_state"):
            net.dropout_state = wrong
        assert net.dropout_state == before


def test_a_file_keeps_the_share(backend, tmp_path, rng):
    net = build("GRU", 2, dropout=P, backend=backend)
    net.save(tmp_path / "net")
    loaded = crnn.load(tmp_path / "net")
    assert loaded.dropout == P
    assert loaded.config() == net.config()
    assert f"dropout={P}" in repr(loaded)


# --- gradients -----------------------------------------------------------------------------------


@each_cell
@one_way_or_both
@pytest.mark.parametrize("fused", [False, True], ids=["backward", "loss_and_gradients"])
def test_gradients_through_what_is_left(backend, rng, cell, both, fused):
    """Against complex steps of a twin whose generator is put back before each pass."""
    net = build(cell, 3, both, dropout=P, backend=backend)
    config = net.config() | {"dtype": "complex128", "backend": "reference"}
    del config["cell"]
    twin, data, start = type(net)(**config), draw(rng, net, lengths=cells.LENGTHS), None
    start, rest = net.dropout_state, {"lengths": cells.LENGTHS}
    if fused:
        grads = net.loss_and_gradients(data.x, data.targets, data.state, **rest)[1]
    else:
        grads = net.backward(net.forward(data.x, data.state, **rest)[2], data.dy, data.dstate)

    def value(point):
        for name in twin.parameters:
            twin.parameters[name] = point[name]
        twin.dropout_state = start
        state = like(data.state, [point[name] for name in states])
        if fused:
            return twin.loss_and_gradients(point["x"], data.targets, state, **rest)[0]
        y, last, _ = twin.forward(point["x"], state, **rest)
        ends = zip(arrays(data.dstate), arrays(last), strict=True)
        return (data.dy * y).sum() + sum((d * each).sum() for d, each in ends)

    states = named("state", data.state)
    point = {name: np.array(each) for name, each in net.parameters.items()}
    point |= states | {"x": data.x}
    ours = dict(grads.parameters) | named("state", grads.state) | {"x": grads.x}
    for name, array in point.items():
        direction = rng.standard_normal(array.shape)
        exact = value(point | {name: array + 1j * STEP * direction}).imag / STEP
        products = direction * ours[name]
        assert abs(products.sum() - exact) <= 1e-11 * np.abs(products).sum(), name


@pytest.mark.usefixtures("small_work_is_split")
@each_cell
@one_way_or_both
def test_threads_and_blocks_do_not_change_what_is_chosen(backend, rng, monkeypatch, cell, both):
    net = build(cell, 3, both, dropout=P, seed=5)
    data, start = cells.draw(rng, net, shape=(T, 23)), net.dropout_state

    def own():  # what belongs to single sequences: sums may be in another order
        net.dropout_state = start
        net.engine.free_memory()
        y, last, cache = net.forward(data.x, data.state)
        back = net.backward(cache, data.dy, data.dstate)
        loss, grads, end = net.loss_and_gradients(data.x, data.targets, data.state)
        states = [each for state in (last, back.state, grads.state, end) for each in arrays(state)]
        return {str(n): each for n, each in enumerate([y, loss, back.x, grads.x, *states])}

    crnn.set_num_threads(1)
    one = own()
    for n in (1, 2, 3):
        crnn.set_num_threads(n)
        for changed in ({"BLOCK_NUMBERS": 2 * 23 * 4 * H}, {"GROUP_WORK": 1}):
            with monkeypatch.context() as patch:
                for name, value in changed.items():
                    patch.setattr(plans, name, value)
                assert different(own(), one) == []


def test_no_steps_and_no_sequences(backend):
    net = build("LSTM", 2, dropout=P, backend=backend)
    for shape in ((0, B), (T, 0)):
        data = cells.draw(np.random.default_rng(1), net, shape=shape)
        if shape[0]:
            assert not passes(net, data)["backward, W_hh_l0"].any()
        y, _, cache = net.forward(data.x, data.state)
        assert y.shape == (*shape, cells.O)
        assert not net.backward(cache, data.dy).vector.any()
