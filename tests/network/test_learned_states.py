"""Initial states that are parameters: the same as a state that is given, and gradients of it."""

import copy
import json
import pickle

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import (
    CELLS,
    B,
    H,
    I,
    O,
    T,
    arrays,
    build,
    check_close,
    different,
    draw,
    each_cell,
    everything,
    floats_or_tokens,
    full_or_ragged,
    identity,
    like,
    relative_error,
)

import crnn
from crnn.files import container

CLASSES = [crnn.RNN, crnn.GRU, crnn.LSTM]
WIDTHS = (6, 3)

each_class = pytest.mark.parametrize("cell", CLASSES, ids=lambda cell: cell.__name__)
each_shape = pytest.mark.parametrize(
    ("layers", "both"), [(1, False), (2, False), (2, True)], ids=["one", "two", "two, both"])
one_or_many = pytest.mark.parametrize("batched", [False, True], ids=["one sequence", "batch"])


def initial_state(net, batch=B):
    """Return what net has learned as a state of a batch, or of one sequence for None."""
    suffixes = [f"_l{k}{end}" for k in range(net.num_layers)
                for end in ("", "_reverse")[: 1 + net.bidirectional]]
    parts = []
    for name in ("h_0", "c_0")[: 1 + isinstance(net, crnn.LSTM)]:
        rows = [net.parameters[name + suffix] for suffix in suffixes]
        if batch is not None:
            rows = [np.repeat(row[None], batch, 0) for row in rows]
        parts.append(np.array(rows) if isinstance(net.hidden_size, int) else rows)
    return parts[0] if len(parts) == 1 else tuple(parts)


def summed(state):
    """Return the gradients of initial states, added up over the batch, as one vector."""
    return np.concatenate([np.ravel(each.sum(axis=0)) for part in arrays(state) for each in part])


def learned(grads, net):
    """Return the gradients of learned states, h of all layers and directions, and then c."""
    return np.concatenate([grads.parameters[name] for start in ("h_0", "c_0")
                           for name in net.parameters if name.startswith(start)])


def assert_same_states(ours, theirs):
    for one, other in zip(arrays(ours), arrays(theirs), strict=True):
        assert type(one) is type(other)
        for mine, each in zip(one, other, strict=True):
            assert identity(mine) == identity(each)


# --- parameters ----------------------------------------------------------------------------------


@each_class
def test_names_shapes_and_order(cell):
    net = cell(I, WIDTHS, O, bidirectional=True, learn_state=True, seed=0)
    shapes = {name: view.shape for name, view in net.parameters.items()}
    names = list(shapes)
    states = ["h_0", "c_0"][: 1 + (cell is crnn.LSTM)]
    for suffix, size in {"_l0": 6, "_l0_reverse": 6, "_l1": 3, "_l1_reverse": 3}.items():
        own = [name for name in names if name.endswith(suffix)]
        assert own[-len(states):] == [name + suffix for name in states]
        assert {shapes[name + suffix] for name in states} == {(size,)}
    assert names[-2:] == ["W_hy", "b_y"]
    assert net.learn_state is True
    assert cell(I, H).learn_state is False
    assert "learn_state=True" in repr(net)
    assert "learn_state" not in repr(cell(I, H))


@each_class
@pytest.mark.parametrize("init", ["uniform", "orthogonal", "identity"])
def test_they_begin_as_zeros_and_change_no_other_parameter(cell, init):
    net, plain = (cell(I, WIDTHS, O, init=init, seed=3, dropout=0.4, learn_state=learn_state)
                  for learn_state in (True, False))
    for name, view in net.parameters.items():
        if name.startswith(("h_0", "c_0")):
            assert not view.any()
        else:
            assert identity(view) == identity(plain.parameters[name])
    assert net.dropout_state == plain.dropout_state


@pytest.mark.parametrize("value", [1, None, "yes", 0.5])
def test_what_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(TypeError, match="True or False is wanted"):
        crnn.RNN(I, H, O, learn_state=value)


# --- values and gradients ------------------------------------------------------------------------


@each_cell
@each_shape
@full_or_ragged
@floats_or_tokens
def test_no_state_is_the_learned_one(rng, cell, layers, both, lengths, tokens):
    net = build(cell, layers, both, learn_state=True)
    data = draw(rng, net, tokens=tokens, lengths=lengths)
    given = everything(net, data._replace(state=initial_state(net)))
    none = everything(net, data._replace(state=None))
    names = [name for name in given if "h_0" in name or "c_0" in name]
    assert len(names) == 3 * layers * (1 + both) * (1 + (cell == "LSTM"))
    assert set(different(given, none)) == set(names)
    assert not any(given[name].any() for name in names)  # of a state that was given, nothing
    for what in ("backward", "every step", "last step"):
        for state in ("h", "c")[: 1 + (cell == "LSTM")]:
            found = np.concatenate([none[name] for name in names if name.startswith(what)
                                    and f", {state}_0" in name])
            wanted = none[f"{what}, state {state}"].sum(axis=1).ravel()
            assert np.abs(wanted).max() > 1e-3
            assert relative_error(found, wanted) < 1e-13


@each_class
@one_or_many
def test_widths_that_differ(rng, cell, batched):
    net = cell(I, WIDTHS, O, bidirectional=True, learn_state=True, seed=0, dtype="float64")
    net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
    if not batched:
        x, targets = x[:, 0], targets[:, 0]
    state = initial_state(net, B if batched else None)
    y, last = net(x)
    wanted, also = net(x, state)
    assert identity(y) == identity(wanted)
    assert_same_states(last, also)
    loss, grads, _ = net.loss_and_gradients(x, targets, loss="mse")
    wanted, others, _ = net.loss_and_gradients(x, targets, state, loss="mse")
    assert loss == wanted
    assert_same_states(grads.state, others.state)
    total = others.state if batched else like(
        others.state, [[each[None] for each in part] for part in arrays(others.state)])
    assert relative_error(learned(grads, net), summed(total)) < 1e-13
    assert not learned(others, net).any()


@each_cell
@pytest.mark.parametrize("state", [None, "given"])
@full_or_ragged
def test_gradients_are_those_of_complex_steps(rng, cell, state, lengths):
    net = build(cell, 2, True, learn_state=True)
    data = draw(rng, net, lengths=lengths)
    errors = crnn.gradcheck(net, data.x, data.targets, state and data.state, lengths=lengths,
                            max_entries=10)
    assert [name for name in errors if name.startswith("h_0")] == [
        "h_0_l0", "h_0_l0_reverse", "h_0_l1", "h_0_l1_reverse"]
    np.testing.assert_array_less(list(errors.values()), 1e-11)


@each_cell
@each_shape
@pytest.mark.no_backend
def test_backends_agree(rng, cell, layers, both):
    ours, theirs = (build(cell, layers, both, learn_state=True, backend=backend)
                    for backend in ("compiled", "reference"))
    data = draw(rng, ours, lengths=cells.LENGTHS)._replace(state=None)
    check_close(everything(ours, data), everything(theirs, data), 1e-12)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_gradients_are_pytorchs(rng, kind):
    """Of a state that is one row, expanded over the batch."""
    torch = pytest.importorskip("torch")
    net = build(kind, learn_state=True, sizes=(I, H, None))
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    _, grads, _ = net.loss_and_gradients(x, targets, loss="mse")
    wanted = {name: torch.tensor(np.array(view), requires_grad=True)
              for name, view in net.parameters.items()}
    W_xh, W_hh, b_h = (wanted[name + "_l0"] for name in ("W_xh", "W_hh", "b_h"))
    h = wanted["h_0_l0"].expand(B, H)
    c = wanted["c_0_l0"].expand(B, H) if kind == "LSTM" else None
    outputs = []
    for step in torch.tensor(x):
        a, recurrent = (step @ W_xh + b_h).split(H, 1), (h @ W_hh).split(H, 1)
        if kind == "LSTM":
            i, f, g, o = (one + other for one, other in zip(a, recurrent, strict=True))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        else:
            r, z = ((one + other).sigmoid() for one, other in zip(a[:2], recurrent, strict=False))
            h = (1 - z) * (a[2] + r * (recurrent[2] + wanted["b_hn_l0"])).tanh() + z * h
        outputs.append(h)
    torch.nn.functional.mse_loss(torch.stack(outputs), torch.tensor(targets)).backward()
    check_close(grads.parameters, {name: each.grad.numpy() for name, each in wanted.items()}, 1e-12)


def test_float32_gradients_of_a_large_batch(rng):
    narrow = crnn.GRU(2, 4, 1, learn_state=True, seed=0)
    wide = crnn.GRU(2, 4, 1, learn_state=True, seed=0, dtype="float64")
    wide.vector = narrow.vector = rng.uniform(0.1, 0.5, narrow.num_parameters).astype(np.float32)
    x = rng.standard_normal((1, 200_000, 2)).astype(np.float32)
    targets = np.ones((1, 200_000, 1), np.float32)  # all gradients have the same sign
    found, wanted = (learned(net.loss_and_gradients(x, targets, loss="mse")[1], net)
                     for net in (narrow, wide))
    assert relative_error(found, wanted) < 2e-6


@each_class
def test_no_sequences_and_no_steps(cell):
    net = build(cell.__name__, learn_state=True)
    for shape in ((0, B, I), (T, 0, I)):
        y, last = net(np.zeros(shape))
        assert y.shape == (*shape[:2], O)
        assert_same_states(last, initial_state(net, shape[1]))
        _, grads, _ = net.loss_and_gradients(np.zeros(shape), np.zeros(shape[:2], int))
        assert not learned(grads, net).any()


@each_cell
def test_it_follows_a_change_of_parameters(rng, cell):
    """A plan that was used before takes the new ones."""
    net = build(cell, learn_state=True)
    data = draw(rng, net)._replace(state=None)
    everything(net, data)
    net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
    fresh = build(cell, learn_state=True)
    fresh.vector = net.vector
    assert different(everything(net, data), everything(fresh, data)) == []


def test_gradient_flow_begins_there_too(rng):
    net = build("LSTM", 2, learn_state=True)
    data = draw(rng, net)
    flow = crnn.gradient_flow(net, data.x, data.targets)
    given = crnn.gradient_flow(net, data.x, data.targets, initial_state(net))
    assert [identity(each) for each in flow] == [identity(each) for each in given]


# --- steps ---------------------------------------------------------------------------------------


@each_cell
@one_or_many
def test_steps_begin_there(rng, cell, batched):
    net = build(cell, 2, learn_state=True)
    x = rng.standard_normal((T, B, I) if batched else (T, I))
    y, last = net(x)
    stream = net.stream(B if batched else None)
    assert_same_states(stream.state, initial_state(net, B if batched else None))
    for _ in range(2):
        steps = np.stack([stream.step(each) for each in x])
        assert relative_error(steps, y) < 1e-14
        for mine, each in zip(arrays(stream.state), arrays(last), strict=True):
            assert relative_error(mine, each) < 1e-14
        stream.reset(B if batched else None)
    assert relative_error(net.step(x[0]), y[0]) < 1e-14  # a batch comes to the initial state


@each_class
def test_a_stream_that_has_not_moved_follows_the_parameters(rng, cell):
    net = build(cell.__name__, 2, learn_state=True)
    x = rng.standard_normal((2, B, I))
    moved, fresh, other = net.stream(B), net.stream(B), net.stream(B)
    moved.step(x[0])
    kept = moved.state
    assert fresh.is_at_start
    assert not moved.is_at_start
    net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
    assert_same_states(fresh.state, initial_state(net))
    wanted, _ = net(x[1:])
    assert relative_error(other.step(x[1]), wanted[0]) < 1e-14  # without a look at its state
    assert_same_states(moved.state, kept)
    assert relative_error(moved.step(x[1]), net(x[1:], kept)[0][0]) < 1e-14


@each_class
def test_some_sequences_go_back(rng, cell):
    net = build(cell.__name__, 2, learn_state=True)
    stream, x = net.stream(B), rng.standard_normal((2, B, I))
    stream.step(x[0])
    wanted = [part.copy() for part in arrays(stream.state)]
    for part, initial in zip(wanted, arrays(initial_state(net)), strict=True):
        part[:, [0, 3]] = initial[:, [0, 3]]
    stream.reset(rows=[0, 3])
    assert_same_states(stream.state, like(stream.state, wanted))
    assert relative_error(stream.step(x[1]), net(x[1:], like(stream.state, wanted))[0][0]) < 1e-14


# --- copies and files ----------------------------------------------------------------------------


@each_cell
def test_copies_and_files(rng, tmp_path, cell):
    net = build(cell, 2, learn_state=True)
    data = draw(rng, net)._replace(state=None)
    net.save(tmp_path / "net")
    copies = [net.copy(), copy.copy(net), pickle.loads(pickle.dumps(net)),
              crnn.load(tmp_path / "net")]
    for each in copies:
        assert each.config() == net.config()
        assert each.config()["learn_state"] is True
        assert different(everything(each, data), everything(net, data)) == []
        each.vector = np.zeros(net.num_parameters)
        assert not any(part.any() for part in arrays(each.state))  # it has not moved
    assert_same_states(net.state, initial_state(net, None))


@one_or_many
def test_a_copy_keeps_its_state_and_its_batch(rng, batched):
    net = build("LSTM", learn_state=True)
    net.reset(B if batched else None)
    assert_same_states(net.copy().state, initial_state(net, B if batched else None))
    net.step(rng.standard_normal((B, I) if batched else I))
    again = net.copy()
    assert_same_states(again.state, net.state)
    again.vector = np.zeros(net.num_parameters)
    assert_same_states(again.state, net.state)


@each_class
def test_older_files_have_none(tmp_path, cell):
    net = cell(I, H, O, seed=0)
    net.save(tmp_path / "new")
    tensors, metadata = container.read(tmp_path / "new")
    config = json.loads(metadata["config"])
    assert config.pop("learn_state") is False
    container.write(tmp_path / "old", tensors, {"config": json.dumps(config)})
    again = crnn.load(tmp_path / "old")
    assert again.config() == net.config()
    assert identity(again.vector) == identity(net.vector)


def test_a_file_with_the_states_of_another_network_is_refused(tmp_path):
    crnn.GRU(I, H, O, learn_state=True).save(tmp_path / "net")
    tensors, metadata = container.read(tmp_path / "net")
    del tensors["h_0_l0"]
    container.write(tmp_path / "net", tensors, metadata)
    with pytest.raises(crnn.FormatError, match=r"missing \['h_0_l0'\]"):
        crnn.load(tmp_path / "net")


# --- training ------------------------------------------------------------------------------------


@each_class
def test_fit_trains_them(cell):
    """Only the state can say which target the first step has: all inputs are the same."""
    x, targets = np.ones((3, B, 1)), np.repeat([[1.0], [-1.0], [0.5]], B, 1)[:, :, None]
    net = cell(1, 8, 1, learn_state=True, seed=0)
    before = {name: np.array(view) for name, view in net.parameters.items()}
    history = crnn.fit(net, (x, targets), crnn.Adam(0.05), epochs=100, loss="mse")
    assert history["loss"][-1] < 1e-2
    assert all((before[name] != view).any() for name, view in net.parameters.items())
    assert crnn.evaluate(net, (x, targets), loss="mse") < 1e-2


@pytest.mark.parametrize("cell", CELLS)
def test_only_the_first_chunk_of_a_batch_has_a_gradient_of_them(rng, cell):
    net = build(cell, 2, learn_state=True)
    twin = net.copy()
    x, targets = rng.standard_normal((T, B, I)), rng.integers(0, O, (T, B))
    crnn.fit(net, (x, targets), crnn.SGD(0.5), epochs=1, truncation=3)
    optimizer, state = crnn.SGD(0.5), None
    for chunk in (slice(0, 3), slice(3, None)):
        before = learned_values(twin)
        _, grads, state = twin.loss_and_gradients(x[chunk], targets[chunk], state)
        optimizer.step(twin, grads)
        assert (learned_values(twin) != before).any() == (chunk.start == 0)
    assert identity(net.vector) == identity(twin.vector)


def learned_values(net):
    return np.concatenate([np.ravel(view) for name, view in net.parameters.items()
                           if name.startswith(("h_0", "c_0"))])


def test_training_goes_on_with_the_same_bits(rng, tmp_path):
    data = rng.standard_normal((8, B, I)).astype(np.float32), rng.integers(0, O, (8, B))
    nets = [crnn.LSTM(I, H, O, learn_state=True, dropout=0.2, num_layers=2, seed=0)
            for _ in range(2)]
    options = {"truncation": 3, "checkpoint": tmp_path / "checkpoint"}
    crnn.fit(nets[0], data, crnn.Adam(0.01), epochs=4, **options)
    crnn.fit(nets[1], data, crnn.Adam(0.01), epochs=2, **options)
    other = crnn.LSTM(I, H, O, learn_state=True, dropout=0.2, num_layers=2, seed=9)
    crnn.fit(other, data, crnn.Adam(0.01), epochs=4, **options, resume=True)
    assert identity(other.vector) == identity(nets[0].vector)
