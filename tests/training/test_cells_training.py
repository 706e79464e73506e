"""Training of gated cells, layers and both directions, with dropout: stopping and going on."""

import functools
import json

import numpy as np
import pytest

import crnn
from crnn.files import container

I, H, O = 3, 5, 4  # noqa: E741
TRUNCATION, UPDATES, EPOCHS = 3, 7, 3  # updates of an epoch: 3 for 7 steps, 2 for 5, 2 for 6
CELLS = {
    "GRU": lambda **options: crnn.GRU(I, H, O, num_layers=2, dropout=0.4, **options),
    "GRU, reset before": lambda **options: crnn.GRU(
        I, H, O, num_layers=2, dropout=0.4, reset_after=False, **options),
    "LSTM": lambda **options: crnn.LSTM(I, H, O, num_layers=2, dropout=0.4, **options),
}
BOTH = {
    "RNN": lambda **options: crnn.RNN(
        I, H, O, num_layers=2, bidirectional=True, dropout=0.4, **options),
    "LSTM": lambda **options: crnn.LSTM(
        I, H, O, num_layers=2, bidirectional=True, dropout=0.4, **options),
}
each_cell = pytest.mark.parametrize("cell", CELLS)


def batches(seed):
    """Three batches of different lengths, one of them padded, one a single sequence."""
    rng = np.random.default_rng(seed)
    one = rng.standard_normal((6, I)), rng.integers(0, O, 6)
    return [
        (rng.standard_normal((7, 2, I)), rng.integers(0, O, (7, 2))),
        (rng.standard_normal((5, 3, I)), rng.integers(0, O, (5, 3)), [5, 1, 3]),
        one,
    ]


def train(path, make, *, stop=None, seed=0, **options):
    """Fit with everything switched on; stop after some update; return the network and history."""
    settings = {
        "data": batches(1), "epochs": EPOCHS, "truncation": TRUNCATION, "clip_norm": 0.5,
        "validation": batches(2), "patience": 3, "checkpoint": path, "seed": 5,
        "callbacks": [lambda event: event.kind == "update" and event.update == stop],
    }
    net, optimizer = make(seed=seed), crnn.Adam(0.02)
    return net, optimizer, crnn.fit(net, optimizer=optimizer, **(settings | options))


@functools.cache
def never_stopped(backend, cell):
    return train(None, CELLS[cell])


def assert_same(found, wanted):
    (net, optimizer, history), (other, others_optimizer, others_history) = found, wanted
    assert np.array_equal(net.vector, other.vector)
    assert net.dropout_state == other.dropout_state
    slots, others = optimizer.state(), others_optimizer.state()
    assert all(np.array_equal(slots[name], others[name]) for name in slots)
    assert history.rows == others_history.rows


@each_cell
@pytest.mark.parametrize("update", [1, 2, 4, 5, 7, 8, 12, 16, 20])
def test_stopped_at_an_update(backend, tmp_path, cell, update):
    """The state between two chunks of a batch and the generator of dropout go on."""
    path = tmp_path / "checkpoint"
    assert train(path, CELLS[cell], stop=update)[1].steps == update
    assert_same(train(path, CELLS[cell], seed=8, resume=True), never_stopped(backend, cell))


@each_cell
def test_stopped_after_every_update(backend, tmp_path, cell):
    path = tmp_path / "checkpoint"
    for update in range(1, EPOCHS * UPDATES + 1):
        found = train(path, CELLS[cell], stop=update, resume=update > 1)
    assert_same(train(path, CELLS[cell], resume=True), never_stopped(backend, cell))
    assert found[1].steps == EPOCHS * UPDATES


@pytest.mark.parametrize("cell", BOTH)
def test_both_directions_with_whole_sequences(backend, tmp_path, cell):
    whole = {"truncation": None}
    wanted = train(None, BOTH[cell], **whole)
    path = tmp_path / "checkpoint"
    train(path, BOTH[cell], stop=5, **whole)
    assert_same(train(path, BOTH[cell], seed=8, resume=True, **whole), wanted)


@pytest.mark.parametrize("cell", BOTH)
def test_both_directions_take_no_cut_sequences(backend, tmp_path, cell):
    net = BOTH[cell](seed=0)
    before = net.vector.copy()
    with pytest.raises(ValueError, match=r"direction.*leave out truncation"):
        crnn.fit(net, batches(1), crnn.SGD(0.1), epochs=1, truncation=3)
    with pytest.raises(ValueError, match="leave out truncation"):
        crnn.evaluate(net, batches(1), truncation=3)
    assert (net.vector == before).all()
    crnn.fit(net, batches(1), crnn.SGD(0.1), epochs=1, truncation=7)


@each_cell
def test_fit_is_a_loop_by_hand(backend, cell):
    nets = [CELLS[cell](seed=0) for _ in range(2)]
    optimizers = [crnn.SGD(0.3, momentum=0.9) for _ in range(2)]
    x, targets, *_ = batches(1)[0]
    crnn.fit(nets[0], (x, targets), optimizers[0], epochs=3, truncation=3, clip_norm=0.5)
    for _ in range(3):
        state = None
        for start in (0, 3, 6):
            part = slice(start, start + 3)
            _, grads, state = nets[1].loss_and_gradients(x[part], targets[part], state)
            grads.clip_norm(0.5)
            optimizers[1].step(nets[1], grads)
    assert np.array_equal(nets[0].vector, nets[1].vector)
    assert nets[0].dropout_state == nets[1].dropout_state


@pytest.mark.no_backend
@each_cell
def test_it_learns_what_came_some_steps_ago(cell):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, I, (40, 16))
    targets = np.where(np.arange(40)[:, None] < 2, -1, np.roll(tokens, 2, axis=0))
    options = CELLS[cell](seed=0).config() | {"hidden_size": 16, "output_size": I, "dropout": 0.1}
    net = crnn.GRU if "GRU" in cell else crnn.LSTM
    del options["cell"]
    net = net(**options, seed=0, backend="compiled")
    crnn.fit(net, (tokens, targets), crnn.Adam(0.02), epochs=150, clip_norm=1.0)
    assert crnn.evaluate(net, (tokens, targets)) < 0.1 < np.log(I)


# --- checkpoints that are refused ----------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in the middle of a batch."""
    for stop in (1, 2, 3):
        path = tmp_path / "checkpoint"
        train(path, CELLS["LSTM"], stop=stop)
        if "state" in container.read(path)[0]:
            return path
    raise AssertionError("no checkpoint is in the middle of a batch")


def refuse(path, kind, match, make=CELLS["LSTM"]):
    net, optimizer = make(seed=8), crnn.Adam(0.02)
    before, start = net.vector.copy(), net.dropout_state
    with pytest.raises(kind, match=match):
        crnn.fit(net, batches(1), optimizer, epochs=EPOCHS, truncation=TRUNCATION, clip_norm=0.5,
                 validation=batches(2), patience=3, checkpoint=path, seed=5, resume=True)
    assert (net.vector == before).all()
    assert net.dropout_state == start
    assert optimizer.steps == 0


OTHERS = {
    "cell": (CELLS["GRU"], "cell was 'LSTM' and is 'GRU'"),
    "directions": (BOTH["LSTM"], "bidirectional|leave out truncation"),
    "layers": (lambda seed: crnn.LSTM(I, H, O, num_layers=3, dropout=0.4, seed=seed),
               "num_layers was 2 and is 3"),
    "dropout": (lambda seed: crnn.LSTM(I, H, O, num_layers=2, dropout=0.5, seed=seed),
                "dropout was 0.4 and is 0.5"),
}


@pytest.mark.parametrize(("make", "match"), OTHERS.values(), ids=OTHERS)
def test_another_network(checkpoint, make, match):
    refuse(checkpoint, ValueError, match, make)


@pytest.mark.parametrize("changes", [
    {"state": None}, {"state_c": None}, {"state": np.zeros((1, 2, H), np.float32)},
    {"state_c": np.zeros((2, 9, H), np.float32)}, {"state": np.zeros((2, 2, H))},
    {"state_d": np.zeros((2, 2, H), np.float32)},
], ids=["no h", "no c", "one layer", "another batch", "another dtype", "three arrays"])
def test_a_state_that_does_not_fit(checkpoint, changes):
    tensors, metadata = container.read(checkpoint)
    tensors = {name: each for name, each in (tensors | changes).items() if each is not None}
    container.write(checkpoint, tensors, metadata)
    refuse(checkpoint, crnn.FormatError, "checkpoint")


@pytest.mark.parametrize("change", [
    lambda old: None, lambda old: [], lambda old: {}, lambda old: 3,
    lambda old: old | {"bit_generator": "MT19937"}, lambda old: old | {"uinteger": -1},
    lambda old: old | {"state": {"state": 2**200, "inc": 1}}, lambda old: old | {"state": None},
    lambda old: old | {"state": {"state": "a", "inc": "b"}},
], ids=["none", "list", "empty", "number", "another", "below 0", "large", "no state", "text"])
def test_a_bad_state_of_dropout(checkpoint, change):
    tensors, metadata = container.read(checkpoint)
    account = json.loads(metadata["training"])
    account["progress"]["dropout"] = change(account["progress"]["dropout"])
    container.write(checkpoint, tensors, metadata | {"training": json.dumps(account)})
    refuse(checkpoint, crnn.FormatError, "checkpoint")


def test_the_data_are_what_the_tests_are_about():
    assert sum(-(-len(x) // TRUNCATION) for x, *_ in batches(1)) == UPDATES
