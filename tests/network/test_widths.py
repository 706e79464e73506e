"""Layers of different widths: the same as networks of one layer, one upon another."""

import copy
import json
import pickle

import numpy as np
import pytest
from builds import parts_of

import crnn
from crnn import cli
from crnn.files import container

T, B, I, O = 7, 3, 4, 2  # noqa: E741
CELLS = [crnn.RNN, crnn.GRU, crnn.LSTM]
WIDTHS = [(6, 3), (3, 5), (5, 9, 2)]

each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
each_widths = pytest.mark.parametrize("widths", WIDTHS, ids=str)
each_direction = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])


def network(cell, widths, **options):
    return cell(I, widths, O, **({"seed": 0, "dtype": "float64"} | options))


def flat(state):
    """Return all arrays of a state of layers of different widths."""
    return [each for part in parts_of(state) for each in part]


def state_for(net, rng, batch=(B,)):
    """Return a random state in the public form."""
    directions = 1 + net.bidirectional
    parts = [
        [rng.standard_normal((*batch, H)) for H in net.hidden_size for _ in range(directions)]
        for _ in range(2 if isinstance(net, crnn.LSTM) else 1)
    ]
    return tuple(parts) if len(parts) > 1 else parts[0]


def assert_same_states(found, wanted, tolerance=0):
    assert type(found) is type(wanted)
    assert all(isinstance(part, list) for part in parts_of(found))
    for one, other in zip(flat(found), flat(wanted), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# --- what the sizes are ---------------------------------------------------------------------------


@each_cell
def test_sizes_and_shapes(cell):
    net = network(cell, (6, 3), bidirectional=True)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[cell.__name__]
    shapes = {name: view.shape for name, view in net.parameters.items()}
    assert (net.hidden_size, net.num_layers) == ((6, 3), 2)
    assert shapes["W_xh_l0"] == shapes["W_xh_l0_reverse"] == (I, gates * 6)
    assert shapes["W_xh_l1"] == shapes["W_xh_l1_reverse"] == (2 * 6, gates * 3)
    assert shapes["W_hh_l1"] == (3, gates * 3)
    assert shapes["W_hy"] == (2 * 3, O)
    bare = cell(I, [6, 3], seed=0)
    assert (bare.hidden_size, bare(np.ones((T, B, I)))[0].shape) == ((6, 3), (T, B, 3))


@each_cell
@pytest.mark.parametrize("init", ["uniform", "orthogonal", "identity"])
def test_equal_widths_are_one_number(cell, init):
    net = cell(I, (5, 5), O, seed=3, init=init)
    again = cell(I, 5, O, num_layers=2, seed=3, init=init)
    assert (net.hidden_size, net.num_layers, repr(net)) == (5, 2, repr(again))
    assert net.config() == again.config()
    assert net.vector.tobytes() == again.vector.tobytes()
    assert cell(I, (5,), O).hidden_size == 5
    assert parts_of(net.state)[0].shape == (2, 5)


@each_cell
def test_initial_parameters_have_the_bounds_of_their_own_layer(cell):
    net = cell(I, (400, 16), 100, seed=0, dtype="float64")
    bounds = {"_l0": 1 / 20, "_l1": 1 / 4, "W_hy": 1 / 4, "b_y": 1 / 4}
    for name, view in net.parameters.items():
        bound = next(each for end, each in bounds.items() if name.endswith(end))
        view = view.copy()
        if cell is crnn.LSTM and name.startswith("b_h"):
            H = len(view) // 4
            assert (view[H : 2 * H] == 1).all()
            view[H : 2 * H] = bound
        assert 0.9 * bound < np.abs(view).max() <= bound
    for init, wanted in (("identity", np.eye), ("orthogonal", None)):
        for name, view in cell(I, (6, 3), O, init=init).parameters.items():
            if name.startswith("W_hh"):
                for gate in np.split(view, view.shape[1] // len(view), axis=1):
                    product = gate if wanted else gate @ gate.T
                    np.testing.assert_allclose(product, np.eye(len(view)), atol=1e-6)


REFUSED = [
    ({"hidden_size": ()}, ValueError, "hidden_size has 0 widths"),
    ({"hidden_size": (4,) * 1001}, ValueError, "1 to 1000"),
    ({"hidden_size": (4, 0)}, ValueError, r"hidden_size\[1\] must be at least 1"),
    ({"hidden_size": (4, 2.0)}, TypeError, r"hidden_size\[1\]"),
    ({"hidden_size": (4, True)}, TypeError, r"hidden_size\[1\]"),
    ({"hidden_size": ("4", 2)}, TypeError, r"hidden_size\[0\]"),
    ({"hidden_size": (4, (2, 3))}, TypeError, r"hidden_size\[1\]"),
    ({"hidden_size": "42"}, TypeError, "hidden_size"),
    ({"hidden_size": np.array([4, 2])}, TypeError, "hidden_size"),
    ({"hidden_size": (4, 2), "num_layers": 3}, ValueError, "leave out num_layers"),
    ({"hidden_size": (4, 4), "num_layers": 3}, ValueError, "leave out num_layers"),
]


@pytest.mark.parametrize(("options", "error", "match"), REFUSED)
def test_widths_that_make_no_sense_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        crnn.RNN(**({"input_size": I, "output_size": O} | options))


# --- what it computes -----------------------------------------------------------------------------


def layer_alone(net, number):
    """Return one layer of a network as a network without a readout."""
    options = {name: value for name, value in net.config().items()
               if name not in ("cell", "num_layers", "output_size")}
    directions = 1 + net.bidirectional
    inputs = net.hidden_size[number - 1] * directions if number else net.input_size
    options |= {"input_size": inputs, "hidden_size": net.hidden_size[number]}
    alone = type(net)(**options, backend=net.backend)
    for name in alone.parameters:
        alone.parameters[name] = net.parameters[name.replace("_l0", f"_l{number}")]
    return alone


@each_cell
@each_widths
@each_direction
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "lengths"])
def test_layers_one_upon_another(rng, cell, widths, bidirectional, tokens, ragged):
    net = network(cell, widths, bidirectional=bidirectional)
    x = rng.integers(0, I, (T, B)) if tokens else rng.standard_normal((T, B, I))
    lengths, state = [T, 0, 4] if ragged else None, state_for(net, rng)
    directions = 1 + bidirectional
    y, last = net(x, state, lengths=lengths)
    through, ends = x, [[] for _ in parts_of(state)]
    for number in range(len(widths)):
        rows = slice(number * directions, (number + 1) * directions)
        own = [np.stack(part[rows]) for part in parts_of(state)]
        own = tuple(own) if len(own) > 1 else own[0]
        through, end = layer_alone(net, number)(through, own, lengths=lengths)
        for part, found in zip(ends, parts_of(end), strict=True):
            part += list(found)
    wanted = through @ net.parameters["W_hy"] + net.parameters["b_y"]
    if ragged:
        wanted[np.arange(T)[:, None] >= lengths] = 0
    np.testing.assert_allclose(y, wanted, rtol=1e-13, atol=1e-13)
    assert_same_states(last, tuple(ends) if len(ends) > 1 else ends[0], 1e-13)


@each_cell
@each_widths
@each_direction
@pytest.mark.parametrize("data", ["floats", "tokens", "lengths", "last only", "one sequence"])
def test_gradients(rng, cell, widths, bidirectional, data):
    net = network(cell, widths, bidirectional=bidirectional)
    batch = () if data == "one sequence" else (B,)
    x = rng.integers(0, I, (T, B)) if data == "tokens" else rng.standard_normal((T, *batch, I))
    targets = rng.integers(0, O, batch if data == "last only" else (T, *batch))
    state, lengths = state_for(net, rng, batch), [T, 0, 4] if data == "lengths" else None
    errors = crnn.gradcheck(net, x, targets, state, lengths=lengths, max_entries=15)
    assert max(errors.values()) < 1e-11
    _, gradients, last = net.loss_and_gradients(x, targets, state, lengths=lengths)
    assert_same_states(last, net(x, state, lengths=lengths)[1], 1e-14)
    for one, other in zip(flat(gradients.state), flat(state), strict=True):
        assert one.shape == other.shape


@each_cell
@each_direction
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_forward_and_backward_are_the_training_pass(rng, cell, bidirectional, dropout):
    net = network(cell, (6, 3), bidirectional=bidirectional, dropout=dropout)
    x, targets, state = rng.standard_normal((T, B, I)), rng.random((T, B, O)), state_for(net, rng)
    before = net.dropout_state
    value, wanted, last = net.loss_and_gradients(x, targets, state, loss="mse", reduction="sum")
    net.dropout_state = before
    y, again, cache = net.forward(x, state)
    np.testing.assert_allclose(((y - targets) ** 2).sum(), value, rtol=1e-13)
    assert_same_states(again, last, 1e-14)
    found = net.backward(cache, 2 * (y - targets))
    np.testing.assert_allclose(found.vector, wanted.vector, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.x, wanted.x, rtol=1e-11, atol=1e-13)
    assert_same_states(found.state, wanted.state, 1e-11)
    dstate = state_for(net, rng)
    other = net.backward(cache, np.zeros_like(y), dstate)
    assert all(each.any() for each in flat(other.state))


@each_cell
@each_direction
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_backends(rng, cell, bidirectional, dtype, backend):
    options = {"bidirectional": bidirectional, "dtype": dtype}
    twin = network(cell, (5, 9, 2), backend="reference", **options)
    net = network(cell, (5, 9, 2), **options)
    x, targets = rng.standard_normal((T, B, I)).astype(dtype), rng.integers(0, O, (T, B))
    state = state_for(net, rng)
    state = tuple([each.astype(dtype) for each in part] for part in parts_of(state))
    state = state if len(state) > 1 else state[0]
    tolerance = {"float32": 1e-5, "float64": 1e-13}[dtype]
    value, gradients, last = net.loss_and_gradients(x, targets, state)
    wanted, twins, last_wanted = twin.loss_and_gradients(x, targets, state)
    assert abs(value - wanted) < tolerance
    np.testing.assert_allclose(gradients.vector, twins.vector, rtol=0, atol=tolerance)
    assert_same_states(last, last_wanted, tolerance)
    assert_same_states(gradients.state, twins.state, tolerance)


# --- states and steps -----------------------------------------------------------------------------


@each_cell
@each_widths
@pytest.mark.parametrize("batch", [(), (B,)], ids=["one", "batch"])
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
def test_steps_are_the_sequence(rng, cell, widths, batch, tokens, backend):
    net = network(cell, widths)
    x = rng.integers(0, I, (T, *batch)) if tokens else rng.standard_normal((T, *batch, I))
    state, stream = state_for(net, rng, batch), net.stream()
    y, last = net(x, state)
    net.state = stream.state = state
    assert_same_states(net.state, state)
    tolerance = 0 if backend == "compiled" else 1e-14
    for t in range(T):
        for each in (net, stream):
            np.testing.assert_allclose(each.step(x[t]), y[t], rtol=tolerance, atol=tolerance)
    assert_same_states(net.state, last, tolerance)
    half, middle = net(x[:4], state)
    again, last_again = net(x[4:], middle)
    np.testing.assert_allclose(np.concatenate([half, again]), y, rtol=tolerance, atol=tolerance)
    assert_same_states(last_again, last, tolerance)
    net.reset(5)
    assert [each.shape for each in flat(net.state)] == [(5, each.shape[-1]) for each in flat(last)]
    assert not any(each.any() for each in flat(net.state))


@each_cell
def test_the_first_batch_may_come_to_a_zero_state(rng, cell):
    net = network(cell, (6, 3))
    _, last = net(rng.standard_normal((1, B, I)))
    assert [each.shape[-1] for each in flat(net.state)] == [each.shape[-1] for each in flat(last)]
    net.step(rng.standard_normal((B, I)))
    assert [each.shape for each in flat(net.state)] == [each.shape for each in flat(last)]


def test_what_comes_out_is_the_callers_own(rng):
    net = network(crnn.LSTM, (6, 3))
    x, state = rng.standard_normal((T, B, I)), state_for(net, rng)
    kept = copy.deepcopy(state)
    net.state = state
    _, last = net(x, state)
    for each in (*flat(state), *flat(net.state)):
        each.fill(9)
    assert_same_states(net.state, kept)
    wanted = copy.deepcopy(last)
    net(x, last)
    assert_same_states(last, wanted)


@each_cell
@each_direction
@pytest.mark.parametrize("widths", [(5,), (6, 3)], ids=str)
@pytest.mark.parametrize("batch", [(), (B,)], ids=["one", "batch"])
def test_results_share_no_memory(rng, cell, bidirectional, widths, batch):
    net = cell(I, widths, seed=0, dtype="float64", bidirectional=bidirectional)
    x = rng.standard_normal((T, *batch, I))
    (y, last), (again, end, cache) = net(x), net.forward(x)
    gradients = net.backward(cache, y, last)
    wanted = gradients.vector.copy()
    for results in ((y, last), (again, end), (gradients.x, gradients.state)):
        arrays = [each for part in (results[0], *parts_of(results[1]))
                  for each in (part if isinstance(part, list) else [part])]
        for k, one in enumerate(arrays):
            assert not any(np.may_share_memory(one, other) for other in arrays[:k])
            one.fill(9)
    y, last = net(x)
    np.testing.assert_array_equal(net.backward(cache, y, last).vector, wanted)


@each_cell
def test_a_list_is_taken_where_widths_are_equal(rng, cell):
    net = network(cell, 5, num_layers=2)
    x, state = rng.standard_normal((T, B, I)), [rng.standard_normal((2, B, 5)) for _ in range(2)]
    state = state[: len(parts_of(net.state))]
    lists = [list(part) for part in state]
    y, last = net(x, tuple(state) if len(state) > 1 else state[0])
    again, last_again = net(x, tuple(lists) if len(lists) > 1 else lists[0])
    np.testing.assert_array_equal(y, again)
    for one, other in zip(parts_of(last), parts_of(last_again), strict=True):
        np.testing.assert_array_equal(one, other)


BAD_STATES = [
    (np.zeros((2, B, 6)), TypeError, r"a list of 2 arrays, of widths \[6, 3\]"),
    ([np.zeros((B, 6))], ValueError, r"state has 1 arrays; 2, of widths \[6, 3\]"),
    ([np.zeros((B, 6)), np.zeros((B, 6))], ValueError, r"state\[1\] has shape"),
    ([np.zeros(6), np.zeros(3)], ValueError, r"state\[0\] has shape"),
    ([np.zeros((B, 6)), np.zeros((2, 3))], ValueError, r"state\[1\] has shape"),
    ([np.zeros((B, 6)), None], TypeError, r"state\[1\] is None"),
    (tuple(np.zeros((B, H)) for H in (6, 3)), TypeError, "state is a tuple"),
    (7, TypeError, "state is a int"),
]


@pytest.mark.parametrize(("state", "error", "match"), BAD_STATES)
def test_states_that_do_not_fit_are_refused(rng, state, error, match):
    net, x = network(crnn.RNN, (6, 3)), rng.standard_normal((T, B, I))
    with pytest.raises(error, match=match):
        net(x, state)
    if state is not BAD_STATES[3][0]:  # which is one of one sequence
        with pytest.raises(error):
            net.state = state


def test_a_state_of_an_lstm_that_does_not_fit_is_refused(rng):
    net, x = network(crnn.LSTM, (6, 3)), rng.standard_normal((T, B, I))
    h, c = state_for(net, rng)
    for bad in (h, (h,), (h, np.zeros((2, B, 6)))):
        with pytest.raises((TypeError, ValueError), match="state"):
            net(x, bad)
    with pytest.raises(ValueError, match=r"c of state\[1\] has shape"):
        net(x, (h, [c[0], c[0]]))
    before = net.state
    for bad in ((h, [c[0], c[0]]), (h, [each[0] for each in c]), h):
        with pytest.raises((TypeError, ValueError)):
            net.state = bad
        assert_same_states(net.state, before)


# --- copies and files -----------------------------------------------------------------------------


@each_cell
@each_direction
def test_copies_and_files(rng, tmp_path, cell, bidirectional, backend):
    net = network(cell, (6, 3), bidirectional=bidirectional, dropout=0.3)
    path, x = tmp_path / "net", rng.standard_normal((T, B, I))
    if not bidirectional:
        net.step(x[0])
    net.save(path)
    assert json.loads(container.read(path)[1]["config"])["hidden_size"] == [6, 3]
    made = eval(repr(net))
    made.vector = net.vector
    loaded = crnn.load(path)
    for each in (net.copy(), pickle.loads(pickle.dumps(net)), loaded, made,
                 crnn.load(path, backend="reference")):
        assert (each.hidden_size, each.num_layers, each.config()) == ((6, 3), 2, net.config())
        assert each.vector.tobytes() == net.vector.tobytes()
        if each.backend == backend:
            np.testing.assert_array_equal(each(x)[0], net(x)[0])
    if not bidirectional:
        assert_same_states(net.copy().state, net.state)
        assert_same_states(pickle.loads(pickle.dumps(net)).state, net.state)
        assert not any(each.any() for each in flat(loaded.state))
    again = tmp_path / "again"
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("change", [
    {"hidden_size": [6, 4]}, {"hidden_size": [6]}, {"hidden_size": 6}, {"hidden_size": []},
    {"hidden_size": [6, 3, 3]}, {"hidden_size": [6, 3.0]}, {"hidden_size": [6, True]},
    {"hidden_size": [6, 2**62]}, {"hidden_size": [[6, 3]]}, {"num_layers": 1}, {"num_layers": 3},
], ids=str)
def test_a_file_with_other_widths_is_refused(tmp_path, change):
    net, path = network(crnn.RNN, (6, 3)), tmp_path / "net"
    config = json.dumps(net.config() | change)
    container.write(path, dict(net.parameters), {"config": config})
    with pytest.raises(crnn.FormatError):
        crnn.load(path)


def train(path, cell, stop=None, **options):
    rng = np.random.default_rng(1)
    data = [(rng.integers(0, I, (9, B)), rng.integers(0, O, (9, B))) for _ in range(3)]
    net, optimizer = network(cell, (6, 3), dropout=0.2), crnn.Adam(0.01)
    history = crnn.fit(
        net, data, optimizer, epochs=3, truncation=4, validation=data[0], patience=2, seed=2,
        checkpoint=path, callbacks=[lambda event: event.update == stop], **options,
    )
    return net, history


@each_cell
@pytest.mark.parametrize("stop", [1, 5, 9, 14])
def test_training_goes_on_from_a_checkpoint(tmp_path, cell, stop):
    path = tmp_path / "checkpoint"
    wanted, history = train(None, cell)
    train(path, cell, stop)
    net, again = train(path, cell, resume=True)
    assert net.vector.tobytes() == wanted.vector.tobytes()
    assert again.rows == history.rows


@pytest.mark.parametrize("change", [
    {"state.0": None}, {"state_c.1": None}, {"state.1": np.zeros((B, 4))},
    {"state.0": np.zeros((B + 1, 6))}, {"state_c.0": np.zeros((B, 6), np.float32)},
    {"state.2": np.zeros((B, 3))}, {"state": np.zeros((2, B, 6))}, {"state.0": np.zeros(6)},
], ids=str)
def test_a_checkpoint_whose_state_does_not_fit_is_refused(tmp_path, change):
    path = tmp_path / "checkpoint"
    train(path, crnn.LSTM, 1)
    tensors, metadata = container.read(path)
    assert {"state.0", "state.1", "state_c.0", "state_c.1"} <= set(tensors)
    tensors = {name: each for name, each in (tensors | change).items() if each is not None}
    own = {name: text for name, text in metadata.items() if name not in ("format", "sha256")}
    container.write(path, tensors, own)
    with pytest.raises(crnn.FormatError, match="fit"):
        train(path, crnn.LSTM, resume=True)


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path):
    """Options of a short training."""
    (tmp_path / "text").write_text("abcab" * 60)
    return ["train", str(tmp_path / "text"), "-o", str(tmp_path / "model"), "--epochs", "1",
            "--batch-size", "4", "--truncation", "16", "--sample-length", "0"]


def test_the_command_line_takes_widths(tmp_path, words, capsys):
    assert cli.main([*words, "--hidden", "8,4", "--cell", "gru", "--dropout", "0.1"]) == 0
    assert crnn.load(tmp_path / "model").hidden_size == (8, 4)
    assert cli.main(["info", str(tmp_path / "model")]) == 0
    assert "2 layers of 8, 4 hidden units" in capsys.readouterr().out
    assert cli.main([*words, "--hidden", "8,4", "--cell", "gru", "--dropout", "0.1", "--resume",
                     "--epochs", "2"]) == 0


def test_the_command_line_takes_equal_widths_and_steps(tmp_path, words):
    words = ["--steps" if word == "--truncation" else word for word in words]
    assert cli.main([*words, "--hidden", "4,4", "--layers", "2"]) == 0
    net = crnn.load(tmp_path / "model")
    assert (net.hidden_size, net.num_layers) == (4, 2)


@pytest.mark.no_backend
def test_widths_and_layers_that_disagree_are_refused(words, capsys):
    assert cli.main([*words, "--hidden", "8,4", "--layers", "3"]) == 1
    assert "leave out --layers" in capsys.readouterr().err


@pytest.mark.no_backend
@pytest.mark.parametrize("value", ["", "8,", ",8", "8,0", "8;4", "8,4.5", ",".join(["4"] * 1001)])
def test_widths_that_are_none_are_refused(value, words, capsys):
    with pytest.raises(SystemExit):
        cli.main([*words, "--hidden", value])
    assert "--hidden" in capsys.readouterr().err
