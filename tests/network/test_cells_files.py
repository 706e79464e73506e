"""Initial values of every cell, its copies and its files."""

import copy
import json
import pickle

import numpy as np
import pytest
from cell_networks import (
    CELLS,
    B,
    H,
    I,
    O,
    arrays,
    build,
    different,
    draw,
    draw_state,
    each_cell,
    each_gated_cell,
    each_shape,
    everything,
    identity,
)

import crnn
from crnn.files import container

CLASSES = {"RNN": (crnn.RNN, 1), "GRU": (crnn.GRU, 3), "LSTM": (crnn.LSTM, 4)}
each_class = pytest.mark.parametrize(("network_class", "blocks"), CLASSES.values(), ids=CLASSES)
OPTIONS = {"num_layers": 2, "bidirectional": True}


# --- initial values ------------------------------------------------------------------------------


@each_class
def test_both_backends_begin_alike(network_class, blocks):
    for init in ("uniform", "orthogonal", "identity"):
        nets = [
            network_class(I, H, O, **OPTIONS, init=init, seed=4, backend=backend, dtype=dtype)
            for backend in ("compiled", "reference") for dtype in ("float64", "float32")
        ]
        wide, narrow, *others = [net.vector for net in nets]
        assert identity(wide.astype(np.float32)) == identity(narrow)
        assert [identity(each) for each in others] == [identity(wide), identity(narrow)]
        assert (network_class(I, H, O, **OPTIONS, seed=5).vector != narrow).any()


@each_class
def test_uniform_is_pytorchs(backend, network_class, blocks):
    net = network_class(I, 25, O, **OPTIONS, seed=0, dtype="float64",
                        **({"forget_bias": 0.1} if network_class is crnn.LSTM else {}))
    assert 0.19 < np.abs(net.vector).max() <= 0.2
    assert abs(net.vector.mean()) < 0.01


@each_class
@pytest.mark.parametrize("init", ["orthogonal", "identity"])
def test_recurrent_weights_begin_gate_by_gate(backend, network_class, blocks, init):
    net = network_class(I, H, O, **OPTIONS, init=init, seed=0, dtype="float64")
    gates = []
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        W_hh = net.parameters["W_hh" + suffix]
        assert W_hh.shape == (H, blocks * H)
        for gate in np.split(W_hh, blocks, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(H), atol=1e-14)
            assert init == "orthogonal" or (gate == np.eye(H)).all()
            gates.append(gate)
        rest = [n for n in net.parameters if n.endswith(suffix) and n.startswith("b_")]
        for name in rest if init == "identity" else ():
            forget = slice(H, 2 * H) if network_class is crnn.LSTM else slice(0)
            assert (net.parameters[name][forget] == 1).all()
            assert not np.delete(net.parameters[name], forget).any()
    distinct = {gate.tobytes() for gate in gates}
    assert len(distinct) == (len(gates) if init == "orthogonal" else 1)


@pytest.mark.parametrize("forget_bias", [1.0, 0, -2.5, np.float32(0.5)])
@pytest.mark.parametrize("init", ["uniform", "orthogonal", "identity"])
def test_the_forget_gate_begins_with_its_bias(backend, forget_bias, init):
    net = crnn.LSTM(I, H, O, **OPTIONS, forget_bias=forget_bias, init=init, seed=0)
    other = crnn.LSTM(I, H, O, **OPTIONS, forget_bias=3, init=init, seed=0)
    for name, value in net.parameters.items():
        if name.startswith("b_h"):
            assert (value[H : 2 * H] == forget_bias).all()
            keep = np.delete(np.arange(4 * H), np.arange(H, 2 * H))
            assert (value[keep] == other.parameters[name][keep]).all()
            assert init == "identity" or (value[keep] != 0).all()
        else:
            assert (value == other.parameters[name]).all()
    assert (crnn.LSTM(I, H, seed=0).parameters["b_h_l0"][H : 2 * H] == 1).all()


# --- what it says of itself ----------------------------------------------------------------------


@each_cell
@each_shape
def test_a_network_says_what_it_is(backend, cell, layers, both):
    net = build(cell, layers, both, dropout=0.25)
    network_class, own = CELLS[cell]
    for name, value in (own | {"num_layers": layers, "bidirectional": both, "dropout": 0.25,
                               "input_size": I, "hidden_size": H, "output_size": O}).items():
        assert getattr(net, name) == net.config()[name] == value
        with pytest.raises(AttributeError):
            setattr(net, name, value)
    again = eval(repr(net), {"crnn": crnn})
    assert type(again) is network_class
    assert again.config() == net.config()
    assert json.loads(json.dumps(net.config())) == net.config()


# --- copies and files ----------------------------------------------------------------------------


@each_cell
@each_shape
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_and_files(backend, rng, tmp_path, cell, layers, both, dtype):
    net = build(cell, layers, both, dtype=dtype, dropout=0.25)
    data = draw(rng, net)
    if not both:
        net.state = draw_state(rng, net)
    net.save(tmp_path / "net")
    twins = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    loaded, start = crnn.load(tmp_path / "net"), net.dropout_state
    wanted = everything(net, data)
    for twin in (*twins, loaded):
        assert type(twin) is type(net)
        assert twin.config() == net.config()
        assert twin.backend == backend
        twin.dropout_state = start
        assert different(everything(twin, data), wanted) == []
        if not both:
            states = zip(arrays(twin.state), arrays(net.state), strict=True)
            assert all((a == (b if twin is not loaded else 0)).all() for a, b in states)
        twin.vector = np.zeros(net.num_parameters)
    assert net.vector.any()


@each_gated_cell
def test_the_other_backend_loads_it(rng, tmp_path, backend, cell):
    net = build(cell, 2, True, dtype="float32")
    net.save(tmp_path / "net")
    for other in ("compiled", "reference"):
        loaded = crnn.load(tmp_path / "net", backend=other)
        assert (loaded.backend, loaded.vector.tobytes()) == (other, net.vector.tobytes())


def parts_of(net, path):
    net.save(path)
    tensors, metadata = container.read(path)
    return tensors, json.loads(metadata["config"])


def forge(path, tensors, config):
    container.write(path, tensors, {"config": json.dumps(config)})


def test_files_that_are_older_than_layers(backend, tmp_path):
    net = build("RNN", dtype="float32")
    tensors, config = parts_of(net, tmp_path / "net")
    old = {name: config[name] for name in (
        "cell", "input_size", "hidden_size", "output_size", "nonlinearity", "dtype")}
    forge(tmp_path / "old", tensors, old)
    loaded = crnn.load(tmp_path / "old")
    assert loaded.config() == net.config()
    assert (loaded.vector == net.vector).all()


NONE = object()
WRONG = {
    "GRU": [
        ("cell", "RNN"), ("cell", "LSTM"), ("cell", "gru"), ("reset_after", False),
        ("reset_after", "yes"), ("reset_after", 1), ("reset_after", None), ("reset_after", NONE),
        ("candidate", "sigmoid"), ("candidate", None), ("candidate", []), ("candidate", NONE),
        ("nonlinearity", "tanh"), ("forget_bias", 1.0),
    ],
    "LSTM": [
        ("cell", "RNN"), ("cell", "GRU"), ("cell", "LSTM "), ("forget_bias", 1.0),
        ("reset_after", True), ("candidate", "tanh"), ("nonlinearity", "tanh"),
    ],
}
EVERY = [
    ("num_layers", 1), ("num_layers", 3), ("num_layers", 0), ("num_layers", -2),
    ("num_layers", 2.0), ("num_layers", "2"), ("num_layers", None), ("num_layers", 2**62),
    ("num_layers", [2]), ("num_layers", NONE), ("bidirectional", False), ("bidirectional", 1),
    ("bidirectional", 7), ("bidirectional", "yes"), ("bidirectional", None),
    ("bidirectional", NONE), ("dropout", 1.0), ("dropout", -0.5), ("dropout", "0.5"),
    ("dropout", None), ("dropout", True), ("dropout", 1e400), ("hidden_size", H + 1),
    ("hidden_size", 2**40), ("output_size", None), ("init", "uniform"), ("seed", 1),
]


@pytest.mark.parametrize(("cell", "name", "value"), [
    pytest.param(cell, name, value, id=f"{cell}, {name}={'none' if value is NONE else value!r}")
    for cell, own in WRONG.items() for name, value in own + EVERY
])
def test_a_file_with_wrong_options(tmp_path, backend, cell, name, value):
    tensors, config = parts_of(build(cell, 2, True, dtype="float32"), tmp_path / "net")
    config[name] = value
    if value is NONE:
        del config[name]
    forge(tmp_path / "forged", tensors, config)
    with pytest.raises(crnn.FormatError, match="forged"):
        crnn.load(tmp_path / "forged")


@each_gated_cell
def test_a_file_with_wrong_tensors(tmp_path, backend, cell):
    tensors, config = parts_of(build(cell, 2, True, dtype="float32"), tmp_path / "net")
    for name in tensors:
        others = {key: value for key, value in tensors.items() if key != name}
        for wrong in (others, others | {name: tensors[name][..., :-1].copy()},
                      others | {name: tensors[name].astype(np.float64)},
                      tensors | {name + "_reverse_reverse": tensors[name]}):
            forge(tmp_path / "forged", wrong, config)
            with pytest.raises(crnn.FormatError, match="forged"):
                crnn.load(tmp_path / "forged")
    forge(tmp_path / "good", tensors, config)
    assert crnn.load(tmp_path / "good")(np.zeros((2, B, I)))[0].shape == (2, B, O)
