"""What every cell promises: shapes, edges, errors, options, initial values, files and copies."""


import numpy as np
import pytest
from cell_networks import (
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
    draw_input,
    draw_state,
    each_cell,
    each_shape,
    everything,
    floats_or_tokens,
    like,
    named,
)

import crnn

LENGTHS = np.array([3, 0, 5, 1])
one_way_or_both = pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])


def outcome(net, data):
    """All that a network computes and all that it holds."""
    found = everything(net, data) | {"vector": net.vector.copy()}
    return found if net.bidirectional else found | named("own state", net.state)


# --- shapes and edges ----------------------------------------------------------------------------


@each_cell
@each_shape
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_shapes(backend, rng, cell, layers, both, readout):
    net = build(cell, layers, both, sizes=(I, H, O if readout else None), dtype="float32")
    D, count = 1 + both, 2 if cell == "LSTM" else 1
    width, states = O if readout else D * H, [(layers * D, B, H)] * count
    y, last = net(draw_input(rng, net))
    assert (y.shape, [each.shape for each in arrays(last)]) == ((T, B, width), states)
    assert isinstance(last, tuple) == (cell == "LSTM")
    blocks = {"RNN": 1, "GRU": 3, "LSTM": 4}[type(net).__name__]
    names = []
    for layer in range(layers):
        for end in ("", "_reverse")[:D]:
            inputs, suffix = D * H if layer else I, f"_l{layer}{end}"
            wanted = {"W_xh": (inputs, blocks * H), "W_hh": (H, blocks * H), "b_h": (blocks * H,)}
            if getattr(net, "reset_after", False):
                wanted["b_hn"] = (H,)
            for name, shape in wanted.items():
                assert net.parameters[name + suffix].shape == shape
            names += [name + suffix for name in wanted]
    names += ["W_hy", "b_y"] if readout else []
    assert list(net.parameters) == names
    loss, grads, last = net.loss_and_gradients(draw_input(rng, net), np.zeros((T, B), int))
    assert type(loss) is float
    assert [each.shape for each in arrays(grads.state)] == states
    assert {each.dtype for each in (*arrays(last), grads.vector, y)} == {np.dtype(np.float32)}


@each_cell
@each_shape
@floats_or_tokens
def test_one_sequence_is_a_batch_of_one(backend, rng, cell, layers, both, tokens):
    net = build(cell, layers, both)
    data = draw(rng, net, tokens=tokens)

    def cut(state):
        return like(state, [each[:, 0] for each in arrays(state)])

    one = data._replace(
        x=data.x[:, 0], state=cut(data.state), targets=data.targets[:, 0], dy=data.dy[:, 0],
        dstate=cut(data.dstate))
    ours, theirs = everything(net, one), everything(net, data.part(slice(0, 1)))
    theirs = {name: np.reshape(value, np.shape(ours[name])) for name, value in theirs.items()}
    check_close(ours, theirs, 1e-12)
    shape = layers * (1 + both), H
    assert {ours[name].shape for name in named("last", one.state)} == {shape}


@each_cell
@each_shape
def test_lengths_are_each_sequence_on_its_own(backend, rng, cell, layers, both):
    net = build(cell, layers, both)
    data = draw(rng, net, lengths=LENGTHS)
    x = data.x.copy()
    for b, n in enumerate(LENGTHS):
        x[n:, b] = np.nan  # what lies beyond the end reaches nothing
    y, last, cache = net.forward(x, data.state, lengths=LENGTHS)
    grads = net.backward(cache, data.dy, data.dstate)
    total = np.zeros(net.num_parameters)
    for b, n in enumerate(LENGTHS):
        one = data.part(slice(b, b + 1))
        alone, alone_last, cache = net.forward(x[:n, b : b + 1], one.state)
        each = net.backward(cache, one.dy[:n], one.dstate)
        ours = {"y": y[:n, b : b + 1], "x": grads.x[:n, b : b + 1]}
        ours |= named("last", last) | named("state", grads.state)
        ours = {k: v if k in "yx" else v[:, b : b + 1] for k, v in ours.items()}
        theirs = {"y": alone, "x": each.x} | named("last", alone_last) | named("state", each.state)
        check_close(ours, theirs, 1e-12)
        assert not y[n:, b].any()
        assert not grads.x[n:, b].any()
        total += each.vector
    check_close({"vector": grads.vector}, {"vector": total}, 1e-12)


@each_cell
@each_shape
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_many_to_one_reads_the_last_outputs(backend, rng, cell, layers, both, lengths):
    net = build(cell, layers, both)
    data, ends = draw(rng, net), np.full(B, T) if lengths is None else lengths
    targets, rest = rng.integers(0, O, B), {"lengths": lengths, "reduction": "sum"}
    y, _ = net(data.x, data.state, lengths=lengths, last=True)
    wanted = 0
    for b, n in enumerate(ends):
        if n:
            wanted += np.log(np.exp(y[b]).sum()) - y[b, targets[b]]
    value, grads, _ = net.loss_and_gradients(data.x, targets, data.state, **rest)
    check_close({"loss": value}, {"loss": wanted}, 1e-12)
    check_close({"loss": net.loss(data.x, targets, data.state, **rest)[0]}, {"loss": wanted}, 1e-12)
    if both:  # these are not the outputs of any step
        return
    sparse = np.where(np.arange(T)[:, None] == ends - 1, targets, -1)
    _, every, _ = net.loss_and_gradients(data.x, sparse, data.state, **rest)
    names = named("state", grads.state) | {"vector": grads.vector, "x": grads.x}
    check_close(
        names, named("state", every.state) | {"vector": every.vector, "x": every.x}, 1e-12)


@each_cell
@each_shape
@floats_or_tokens
def test_no_steps_and_no_sequences(backend, rng, cell, layers, both, tokens):
    net = build(cell, layers, both)
    for shape in ((0, 4), (5, 0), (0, 0), (1, 1)):
        for lengths in (None, np.zeros(shape[1], int)):
            data = draw(rng, net, shape=shape, tokens=tokens, lengths=lengths)
            found = everything(net, data)
            assert found["y"].shape == (*shape, O)
            if not shape[0] or lengths is not None:  # nothing happens to any state
                for ours, given in (("last", data.state), ("backward, state", data.dstate)):
                    for part, each in zip("hc", arrays(given), strict=False):
                        assert (found[f"{ours} {part}"] == each).all()
                assert found["every step"] == found["every step in training"] == 0
                assert not found["every step, W_hh_l0"].any()
    y, last = net(draw_input(rng, net, tokens=tokens, shape=(0,)))
    assert y.shape == (0, O)
    assert not any(each.any() for each in arrays(last))


@each_cell
@each_shape
def test_sizes_of_one(backend, rng, cell, layers, both):
    ours, theirs = (
        build(cell, layers, both, sizes=(1, 1, 1), backend=each)
        for each in ("compiled", "reference"))
    data = draw(rng, ours, shape=(3, 1))
    found = everything(ours, data)
    check_close(found, everything(theirs, data), 1e-12)
    assert np.isfinite(found["backward, W_hh_l0"]).all()


# --- states --------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize("layers", [1, 2])
def test_the_own_state_and_streams(backend, rng, cell, layers):
    net = build(cell, layers)
    x, state = draw_input(rng, net), draw_state(rng, net)
    net.state = state
    for ours, given in zip(arrays(net.state), arrays(state), strict=True):
        assert (ours == given).all()
        ours[...] = 0  # a copy
    stream = net.stream(B)
    assert not any(each.any() for each in arrays(stream.state))
    stream.state = state
    steps = np.array([net.step(each) for each in x])
    check_close({"y": steps}, {"y": net(x, state)[0]}, 1e-13)
    assert (np.array([stream.step(each) for each in x]) == steps).all()
    check_close(named("last", net.state), named("last", net(x, state)[1]), 1e-13)
    net.reset()
    assert all(each.shape == (layers, H) and not each.any() for each in arrays(net.state))
    assert net.step(x[0]).shape == (B, O)
    assert all(each.shape == (layers, B, H) for each in arrays(net.state))


@each_cell
def test_both_directions_have_no_steps(backend, rng, cell):
    net = build(cell, 1, True)
    x, state = draw_input(rng, net), draw_state(rng, net)
    for act in (lambda: net.step(x[0]), lambda: net.state, lambda: net.reset(),
                lambda: net.reset(2), lambda: net.stream(), lambda: setattr(net, "state", state)):
        with pytest.raises(ValueError, match="bidirectional network has no steps"):
            act()


def h_and_c(rng, *shapes):
    return tuple(rng.standard_normal(shape) for shape in shapes)


S = (2, B, H)
WRONG_STATES = {
    "an array": (lambda rng: h_and_c(rng, S)[0], TypeError, "ndarray"),
    "one array for two": (lambda rng: np.stack(h_and_c(rng, S, S)), TypeError, "ndarray"),
    "a tuple of one": (lambda rng: h_and_c(rng, S), TypeError, "tuple of 1"),
    "a tuple of three": (lambda rng: h_and_c(rng, S, S, S), TypeError, "tuple of 3"),
    "a dict": (lambda rng: dict(zip("hc", h_and_c(rng, S, S), strict=True)), TypeError, "dict"),
    "a number": (lambda rng: 0, TypeError, "int"),
    "no c": (lambda rng: (*h_and_c(rng, S), None), TypeError, "c of "),
    "one layer of h": (lambda rng: h_and_c(rng, (1, B, H), S), ValueError, "h of "),
    "one layer of c": (lambda rng: h_and_c(rng, S, (1, B, H)), ValueError, "c of "),
    "another batch of c": (lambda rng: h_and_c(rng, S, (2, B + 1, H)), ValueError, "c of "),
    "one sequence": (lambda rng: h_and_c(rng, (2, H), S), ValueError, " of "),
    "complex": (lambda rng: (h_and_c(rng, S)[0], 1j * h_and_c(rng, S)[0]), TypeError, "c of "),
}


@pytest.mark.parametrize(("make", "kind", "match"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_state_of_the_wrong_kind_for_an_lstm(backend, rng, make, kind, match):
    net = build("LSTM", 2)
    data, wrong = draw(rng, net), make(rng)
    net.state = data.state
    before, stream = outcome(net, data), net.stream(B)
    cache = net.forward(data.x, data.state)[2]
    for name, act in {
        "state": lambda: net(data.x, wrong), "state ": lambda: net.forward(data.x, wrong),
        "state  ": lambda: net.loss(data.x, data.targets, wrong),
        "state   ": lambda: net.loss_and_gradients(data.x, data.targets, wrong),
        "state    ": lambda: net.loss_and_gradients(np.zeros((T, B), int), data.targets, wrong),
        "dstate": lambda: net.backward(cache, data.dy, wrong),
        "state     ": lambda: setattr(net, "state", wrong),
        "state      ": lambda: setattr(stream, "state", wrong),
    }.items():
        with pytest.raises(kind, match=match) as error:
            act()
        assert name.strip() in str(error.value)
        if kind is TypeError and "tuple" in match:
            assert "(h, c)" in str(error.value)
    assert different(outcome(net, data), before) == []
    assert not any(each.any() for each in arrays(stream.state))


@pytest.mark.parametrize("cell", ["RNN", "GRU"])
def test_a_tuple_for_a_cell_of_one_state(backend, rng, cell):
    net = build(cell, 2)
    data = draw(rng, net)
    before = outcome(net, data)
    one = data.state[:, 0]  # a tuple of these has the shape of a batch's states
    for act in (lambda: net(data.x, (data.state, data.state)),
                lambda: net(data.x[:, :2], (one, one)),
                lambda: setattr(net, "state", (one, one))):
        with pytest.raises(TypeError, match="state is a tuple; only an LSTM's is"):
            act()
    assert different(outcome(net, data), before) == []


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("held", "candidate"), [(1e-4, 3e3), (-1e38, 3e38)])
def test_an_update_gate_of_one_holds_a_state_whatever_relu_puts_out(
    backend, reset_after, dtype, held, candidate
):
    net = crnn.GRU(1, 19, candidate="relu", reset_after=reset_after, dtype=dtype, seed=0)
    net.vector = np.zeros(net.num_parameters)
    net.parameters["W_xh_l0"] = np.repeat([0, 0, 1], 19)[None]
    net.parameters["b_h_l0"] = np.repeat([0, 40, 0], 19)  # of r, of z, of the candidate
    state = np.full((1, 19), held, dtype)
    y, last = net(np.full((5, 1), candidate, dtype), state)
    assert (y == state).all()
    assert (last == state).all()


# --- options -------------------------------------------------------------------------------------


REFUSED = [
    ("GRU", {"reset_after": "yes"}, TypeError, "reset_after is 'yes'; True or False"),
    ("GRU", {"reset_after": 1}, TypeError, "reset_after is 1"),
    ("GRU", {"reset_after": None}, TypeError, "reset_after is None"),
    ("GRU", {"candidate": "sigmoid"}, ValueError, "candidate is 'sigmoid'.*'tanh', 'relu'"),
    ("GRU", {"candidate": None}, TypeError, "candidate is None"),
    ("GRU", {"nonlinearity": "tanh"}, TypeError, "nonlinearity"),
    ("GRU", {"forget_bias": 1.0}, TypeError, "forget_bias"),
    ("LSTM", {"forget_bias": np.nan}, ValueError, "forget_bias is nan; wanted a finite number"),
    ("LSTM", {"forget_bias": np.inf}, ValueError, "forget_bias is inf"),
    ("LSTM", {"forget_bias": 10**400}, ValueError, "forget_bias is inf"),
    ("LSTM", {"forget_bias": "1"}, TypeError, "forget_bias is '1'"),
    ("LSTM", {"forget_bias": None}, TypeError, "forget_bias is None"),
    ("LSTM", {"forget_bias": True}, TypeError, "forget_bias is True"),
    ("LSTM", {"nonlinearity": "relu"}, TypeError, "nonlinearity"),
    ("LSTM", {"reset_after": True}, TypeError, "reset_after"),
    *((cell, options, kind, match) for cell in ("GRU", "LSTM") for options, kind, match in [
        ({"num_layers": 0}, ValueError, "num_layers must be at least 1, got 0"),
        ({"num_layers": -1}, ValueError, "num_layers"),
        ({"num_layers": 1001}, ValueError, "num_layers must be at most 1000, got 1001"),
        ({"num_layers": 2**40}, ValueError, "num_layers must be at most 1000, got 1099511627776"),
        ({"num_layers": 2.0}, TypeError, "num_layers must be a whole number, got 2.0"),
        ({"num_layers": True}, TypeError, "num_layers"),
        ({"num_layers": None}, TypeError, "num_layers"),
        ({"bidirectional": 1}, TypeError, "bidirectional is 1; True or False"),
        ({"bidirectional": "no"}, TypeError, "bidirectional is 'no'"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0; wanted a number from 0 to below 1"),
        ({"dropout": -0.1}, ValueError, "dropout is -0.1"),
        ({"dropout": np.nan}, ValueError, "dropout is nan"),
        ({"dropout": "0.5"}, TypeError, "dropout is '0.5'"),
        ({"dropout": None}, TypeError, "dropout is None"),
        ({"dropout": True}, TypeError, "dropout is True"),
        ({"hidden_size": 2**40}, (ValueError, MemoryError), "does not fit in memory"),
    ]),
]


@pytest.mark.parametrize(
    ("cell", "options", "kind", "match"),
    [pytest.param(*case, id=f"{case[0]}, {case[1]}"[:60]) for case in REFUSED],
)
def test_an_option_that_makes_no_sense(backend, cell, options, kind, match):
    with pytest.raises(kind, match=match):
        getattr(crnn, cell)(**({"input_size": I, "hidden_size": H, "output_size": O} | options))
