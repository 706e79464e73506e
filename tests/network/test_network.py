"""The class RNN: what it says of itself, its parameters, its gradients, its copies and files."""

import copy
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import small_network
from small_network import B, H, I, O, close, equal

import crnn
from crnn.files import container

T = 7
net, x = small_network.net, small_network.x
state, classes = small_network.state, small_network.classes
SHAPES = {"W_xh_l0": (I, H), "W_hh_l0": (H, H), "b_h_l0": (H,), "W_hy": (H, O), "b_y": (O,)}
no_backend = pytest.mark.no_backend


# --- what it is ----------------------------------------------------------------------------------


def test_every_test_runs_on_both_backends(request):
    assert crnn.RNN(I, H).backend == request.node.callspec.params["backend"]  # without asking


def test_attributes_say_what_was_asked_for(backend):
    net = crnn.RNN(np.int8(3), 5, output_size=2, nonlinearity="relu", dtype=np.float64)
    wanted = (3, 5, 2, "relu", np.dtype("float64"), backend)
    names = ("input_size", "hidden_size", "output_size", "nonlinearity", "dtype", "backend")
    assert tuple(getattr(net, name) for name in names) == wanted
    assert type(net.input_size) is int
    assert repr(net) == (
        f"crnn.RNN(3, 5, 2, nonlinearity='relu', dtype='float64', backend='{backend}')"
    )
    for name in (*names, "num_parameters", "parameters"):
        with pytest.raises(AttributeError):
            setattr(net, name, getattr(net, name))
    assert crnn.RNN(3, 5).output_size is None
    assert crnn.RNN(3, 5).dtype == np.float32


SIZES = [(0, ValueError, "0"), (-1, ValueError, "-1"), (True, TypeError, "True"),
         ("8", TypeError, "'8'"), (8.0, TypeError, "8.0"), (np.array([8]), TypeError, "[8]")]
REFUSED = [
    *(({name: size}, kind, name, text)
      for name in ("input_size", "hidden_size", "output_size") for size, kind, text in SIZES),
    ({"hidden_size": None}, TypeError, "hidden_size", "None"),
    ({"hidden_size": 2**24}, MemoryError),
    ({"hidden_size": 2**40}, (ValueError, MemoryError)),
    ({"nonlinearity": "sin"}, ValueError, "'sin'", "'relu'"),
    ({"nonlinearity": None}, TypeError, "None", "'relu'"),
    ({"init": "zeros"}, ValueError, "'zeros'", "'orthogonal'"),
    ({"dtype": "float16"}, ValueError, "float16", "float64"),
    ({"dtype": int}, ValueError, "int64", "float32"),
    ({"dtype": None}, ValueError, "None", "float32"),
    ({"dtype": "nonsense"}, ValueError, "nonsense", "float32"),
    ({"dtype": "complex128", "backend": "compiled"}, ValueError, "complex128", "'reference'"),
    ({"backend": "gpu"}, ValueError, "backend", "'gpu'", "'compiled'"),
    ({"backend": 3}, TypeError, "backend", "3"),
    ({"dtype": 3}, TypeError, "dtype", "3"),
    ({"seed": -1}, ValueError),
    ({"seed": "a"}, TypeError),
    *(({"num_layers": size}, kind, "num_layers", text) for size, kind, text in SIZES),
    ({"num_layers": None}, TypeError, "num_layers", "None"),
    ({"bidirectional": 1}, TypeError, "bidirectional", "1"),
    ({"bidirectional": None}, TypeError, "bidirectional", "None"),
    ({"bidirectional": "yes"}, TypeError, "bidirectional", "'yes'"),
    *(({"dropout": value}, ValueError, "dropout", text)
      for value, text in ((1.0, "1.0"), (1, "1"), (-0.1, "-0.1"), (np.nan, "nan"), (np.inf, "inf"),
                          (10**400, "inf"))),
    *(({"dropout": value}, TypeError, "dropout", text)
      for value, text in ((None, "None"), ("0.5", "'0.5'"), (True, "True"), (0.5j, "0.5j"))),
    ({"reset_after": True}, TypeError, "reset_after"),
    ({"forget_bias": 1.0}, TypeError, "forget_bias"),
]


@pytest.mark.parametrize(("arguments", "kind", "fragments"),
                         [pytest.param(a, k, f, id=str(a)) for a, k, *f in REFUSED])
def test_a_constructor_argument_that_makes_no_sense_is_refused(arguments, kind, fragments):
    with pytest.raises(kind) as error:
        crnn.RNN(**({"input_size": I, "hidden_size": H, "output_size": O} | arguments))
    for fragment in fragments:
        assert fragment in str(error.value)


def test_options_are_keywords(backend):
    with pytest.raises(TypeError):
        crnn.RNN(I, H, O, "tanh")
    with pytest.raises(TypeError):
        crnn.RNN(I, H, O)(np.zeros((T, I)), None, T)


@no_backend
def test_the_environment_chooses_the_backend(monkeypatch):
    for value, chosen in ((None, "compiled"), ("", "compiled"), ("reference", "reference")):
        monkeypatch.delenv("CRNN_BACKEND", raising=False)
        if value is not None:
            monkeypatch.setenv("CRNN_BACKEND", value)
        assert crnn.RNN(I, H).backend == chosen
    assert crnn.RNN(I, H, backend="compiled").backend == "compiled"
    monkeypatch.setenv("CRNN_BACKEND", "gpu")
    with pytest.raises(ValueError, match="CRNN_BACKEND is 'gpu'; it can be 'compiled'"):
        crnn.RNN(I, H)


@no_backend
def test_build_info():
    info = crnn.build_info()
    assert list(info) == ["version", "compiler", "instruction_set", "available", "python", "numpy",
                          "machine"]
    assert all(isinstance(value, str) and value for value in info.values())
    assert info["version"] == crnn.__version__
    assert info["instruction_set"] in info["available"].split(", ")


@no_backend
def test_the_environment_chooses_the_instruction_set():
    def run(name):
        code = "import crnn; print(crnn.build_info()['instruction_set'])"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              env=os.environ | {"CRNN_ISA": name}, check=False)

    assert run("baseline").stdout.strip() == "baseline"
    assert "CRNN_ISA is 'mmx'; this processor can run" in run("mmx").stderr


# --- parameters ----------------------------------------------------------------------------------


def test_parameters_are_named_views_of_one_vector(net):
    assert {name: view.shape for name, view in net.parameters.items()} == SHAPES
    assert list(net.parameters) == list(SHAPES)  # their order too
    assert net.num_parameters == len(net.vector) == sum(v.size for v in net.parameters.values())
    equal(np.concatenate([view.ravel() for view in net.parameters.values()]), net.vector)
    assert all(np.shares_memory(view, net.vector) for view in net.parameters.values())
    assert list(crnn.RNN(I, H).parameters) == list(SHAPES)[:3]
    assert all(name in repr(net.parameters) for name in SHAPES)


def test_the_vector_starts_on_a_cache_line(backend):
    nets = [crnn.RNN(I, size, dtype=dtype) for size in range(1, 9)
            for dtype in ("float32", "float64")]
    assert [net.vector.ctypes.data % 64 for net in nets] == [0] * len(nets)


def test_views_are_read_only(net):
    before = net.vector.copy()
    for view in (net.vector, *net.parameters.values()):
        for each in (view, view[:1], view.view(np.uint8)):
            with pytest.raises(ValueError, match="read-only"):
                each[...] = 0
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                each.flags.writeable = True
        with pytest.raises(TypeError, match="read-only"):
            memoryview(view).cast("B")[0] = 0
    with pytest.raises((TypeError, AttributeError)):
        del net.parameters["b_y"]
    equal(net.vector, before)


@pytest.mark.parametrize("way", ["vector", "parameters"])
def test_everything_uses_assigned_values(net, x, way):
    streams = [net.stream(B), copy.deepcopy(net), net]
    views = dict(net.parameters)
    streams[1].reset(B)
    net.step(x[0])
    net.reset(B)
    source = crnn.RNN(I, H, O, dtype="float64", seed=4)
    if way == "vector":
        net.vector = source.vector
    else:
        for name, value in source.parameters.items():
            net.parameters[name] = value.tolist()
    equal(net.vector, source.vector)
    for name, view in source.parameters.items():
        equal(views[name], view)
    equal(net(x)[0], source(x)[0])
    wanted = source.stream(B).step(x[0])
    equal(streams[0].step(x[0]), wanted)
    assert not np.allclose(streams[1].step(x[0]), wanted)  # a copy goes its own way
    equal(streams[2].step(x[0]), wanted)


def test_assignment_copies(net):
    vector, b = np.arange(net.num_parameters) / 8, np.arange(H) / 8
    net.vector = vector
    net.parameters["b_h_l0"] = b
    expected = net.vector.copy()
    vector[:], b[:] = 9, 9
    equal(net.vector, expected)
    net.vector = net.vector[::-1]  # its own memory
    equal(net.vector, expected[::-1].copy())
    W = net.parameters["W_hh_l0"].copy()
    net.parameters["W_hh_l0"] = net.parameters["W_hh_l0"].T
    equal(net.parameters["W_hh_l0"], W.T)


# --- initial parameters --------------------------------------------------------------------------


@no_backend
@pytest.mark.parametrize("init", ["uniform", "orthogonal", "identity"])
def test_a_seed_means_the_same_everywhere(init):
    def vector(seed=11, **options):
        return crnn.RNN(I, H, O, init=init, seed=seed, **options).vector

    wanted = vector(dtype="float64", backend="compiled")
    equal(vector(dtype="float64", backend="reference"), wanted)
    equal(vector(dtype="float32", backend="compiled"), wanted.astype(np.float32))
    equal(vector(dtype="float32", backend="reference"), wanted.astype(np.float32))
    equal(vector(np.random.default_rng(11), dtype="float64"), wanted)
    assert not np.array_equal(vector(12, dtype="float64"), wanted)
    assert not np.array_equal(vector(None), vector(None))


@no_backend
def test_initial_values():
    def parameters(init):
        return crnn.RNN(40, 50, 30, init=init, dtype="float64", seed=0).parameters

    for name, view in parameters("uniform").items():
        assert 0.9 / 50**0.5 < abs(view).max() <= 1 / 50**0.5, name
        assert abs(view.mean()) < 0.5 / 50**0.5, name
    W = parameters("orthogonal")["W_hh_l0"]
    close(W.T @ W, np.eye(50))
    assert np.abs(W).max() < 0.9  # no permutation
    identity = parameters("identity")
    equal(identity["W_hh_l0"], np.eye(50))
    equal(identity["b_h_l0"], np.zeros(50))
    assert abs(identity["W_xh_l0"]).max() > 0
    assert abs(identity["b_y"]).max() > 0


# --- gradients -----------------------------------------------------------------------------------


@pytest.fixture
def grads(net, x, classes):
    return net.loss_and_gradients(x, classes, reduction="sum")[1]


def test_gradients_are_named_views_of_one_vector(net, grads, x):
    assert {name: view.shape for name, view in grads.parameters.items()} == SHAPES
    assert (grads.x.shape, grads.state.shape) == (x.shape, (1, B, H))
    assert {each.dtype for each in (grads.vector, grads.x, grads.state)} == {net.dtype}
    grads.parameters["b_y"][...] = 7
    equal(grads.vector[-O:], np.full(O, 7.0))


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_clip_norm_is_its_formula(grads, factor):
    norm, before, others = np.linalg.norm(grads.vector), grads.vector.copy(), grads.x.copy()
    assert grads.norm() == pytest.approx(norm, rel=1e-14)
    assert grads.clip_norm(factor * norm) == pytest.approx(norm, rel=1e-14)
    scale = min(1, factor * norm / (norm + 1e-6))
    np.testing.assert_allclose(grads.vector, before * scale, rtol=1e-13)
    assert (scale < 1) == (factor <= 1)  # the 1e-6 shows
    equal(grads.x, others)


@no_backend
def test_clip_norm_is_pytorchs_and_leaves_what_is_not_finite():
    grads = crnn.RNN(I, H, dtype="float64", seed=0).loss_and_gradients(np.ones((T, I)), 0)[1]
    size = grads.vector.size
    grads.vector[:] = 3e-6 / size**0.5
    grads.clip_norm(1e-6)  # small enough for the 1e-6 to count
    np.testing.assert_allclose(grads.vector, 0.75e-6 / size**0.5, rtol=1e-12)
    for bad in (np.nan, np.inf):
        grads.vector[:] = 1
        grads.vector[0] = bad
        before = grads.vector.copy()
        assert not np.isfinite(grads.clip_norm(1.0))
        equal(grads.vector, before)


def test_clip_value_is_numpys_clip(grads):
    wanted = np.clip(grads.vector, -0.1, 0.1)
    assert (abs(grads.vector) > 0.1).any()
    grads.clip_value(0.1)
    equal(grads.vector, wanted)


@pytest.mark.parametrize(("bad", "kind"), [(0, ValueError), (-1.0, ValueError),
                                           (np.nan, ValueError), (np.inf, ValueError),
                                           ("1", TypeError), (None, TypeError), (True, TypeError)])
@pytest.mark.parametrize(("way", "name"), [("clip_norm", "max_norm"), ("clip_value", "limit")])
def test_a_limit_is_a_number_above_0(grads, way, name, bad, kind):
    before = grads.vector.copy()
    with pytest.raises(kind, match=f"{name} is .*wanted"):
        getattr(grads, way)(bad)
    equal(grads.vector, before)


# --- copies and files ----------------------------------------------------------------------------

OTHER = {"compiled": "reference", "reference": "compiled"}
COPIES = {"copy": lambda net: net.copy(), "deepcopy": copy.deepcopy, "copy.copy": copy.copy,
          **{f"pickle-{n}": lambda net, n=n: pickle.loads(pickle.dumps(net, n)) for n in range(6)}}


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"nonlinearity": "relu"}], ids=str)
@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_equal_and_independent(
    x, state, way, outputs, options, backend, monkeypatch
):
    net = crnn.RNN(I, H, outputs, seed=5, **options)
    monkeypatch.setenv("CRNN_BACKEND", OTHER[backend])  # a copy does not ask again
    for old_state in (state, state[:, 0]):
        net.state = old_state
        twin = COPIES[way](net)
        assert (repr(twin), twin.backend) == (repr(net), backend)
        equal(twin.vector, net.vector)
        equal(twin.state, net.state)
        step = x[0] if old_state is state else x[0, 0]
        equal(twin.step(step), net.step(step))
        before = net.vector.copy(), net.state
        twin.step(step)
        twin.vector = -net.vector
        equal(net.vector, before[0])
        equal(net.state, before[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_file_brings_the_network_back(tmp_path, x, backend, dtype, outputs, nonlinearity):
    net = crnn.RNN(I, H, outputs, nonlinearity=nonlinearity, dtype=dtype, seed=5)
    path = tmp_path / "net.crnn"
    for key in ("config", "training", "vocabulary", "format", "sha256"):
        with pytest.raises(ValueError, match=f"key '{key}' is .*own; use another"):
            net.save(path, {key: "not mine"})
    net.save(path, {"note": "mine"})
    assert container.read(path)[1]["note"] == "mine"
    loaded = crnn.load(str(path))
    assert repr(loaded) == repr(net)
    equal(loaded.vector, net.vector)
    equal(loaded(x)[0], net(x)[0])
    for other in ("compiled", "reference"):
        chosen = crnn.load(path, backend=other)
        assert chosen.backend == other
        equal(chosen.vector, net.vector)
    with pytest.raises(ValueError, match="backend is 'gpu'"):
        crnn.load(path, backend="gpu")
    with pytest.raises(FileNotFoundError):
        crnn.load(tmp_path / "none")


TENSORS = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
CONFIG = {"cell": "RNN", "input_size": I, "hidden_size": H, "output_size": O,
          "nonlinearity": "tanh", "dtype": "float32"}
FORGED = {
    "no-config": ({}, None), "no-json": ({}, "RNN(3, 5, 2)"), "list": ({}, "[]"),
    "number": ({}, "5"), "nan": ({}, '{"cell": "RNN", "input_size": NaN}'),
    "missing-tensor": ({"b_y": None}, {}), "unknown-tensor": ({"b_z": np.ones(2)}, {}),
    "wrong-shape": ({"b_y": np.ones(O + 1, np.float32)}, {}),
    "transposed": ({"W_xh_l0": np.ones((H, I), np.float32)}, {}),
    "wrong-dtype": ({"b_y": np.ones(O)}, {}),
    "empty": ({"W_hy": np.ones((H, 0), np.float32), "b_y": np.ones(0, np.float32)},
              {"output_size": 0}),
    **{f"{key}={value!r}": ({}, {key: value}) for key, value in [
        *(("cell", v) for v in (None, [], {}, 1, "LSTM9", "rnn", "__init__", ...)),
        *(("input_size", v) for v in (0, -3, 4, 3.0, "3", None, [3], 2**70, ...)),
        *(("hidden_size", v) for v in (5.0, 2**40, True, ...)),
        *(("output_size", v) for v in (None, 3, "2", ...)),
        *(("nonlinearity", v) for v in ("sin", None, 3, [], ...)),
        *(("dtype", v) for v in ("float64", "float16", "int32", None, [], "O", ...)),
        *(("num_layers", v) for v in (0, 2, 2**40, 1.0, True, "1", None, [])),
        *(("bidirectional", v) for v in (True, 1, 0, None, "no", [])),
        *(("dropout", v) for v in (1.0, 1, -0.5, 1e400, None, "0", True, [])),
        ("reset_after", True), ("candidate", "tanh"), ("forget_bias", 1.0),
        ("init", "orthogonal"), ("seed", 1), ("seed", "a"), ("seed", -1),
        ("backend", "reference"), ("self", 1), ("lr", 0.1),
    ]},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_file_that_is_no_network_is_a_format_error(tmp_path, case):
    tensors, changes = FORGED[case]
    tensors = {k: v for k, v in (TENSORS | tensors).items() if v is not None}
    config = changes
    if isinstance(changes, dict):
        config = json.dumps({k: v for k, v in (CONFIG | changes).items() if v is not ...})
    path = tmp_path / "forged.crnn"
    container.write(path, tensors, {} if config is None else {"config": config})
    with pytest.raises(crnn.FormatError, match=r"forged\.crnn"):
        crnn.load(path)


def test_the_unforged_file_is_good(tmp_path):
    container.write(tmp_path / "good", TENSORS, {"config": json.dumps(CONFIG)})
    assert (crnn.load(tmp_path / "good").vector == 1).all()


@pytest.mark.parametrize(("name", "remedy"), [
    ("fit", r"crnn\.fit\(net, \(x, targets\), crnn\.Adam\(0\.001\), epochs=10\)"),
    ("evaluate", r"crnn\.evaluate\(net, \(x, targets\)\)"),
    ("weights", "no attribute 'weights'"),
])
def test_what_is_no_method_is_said_to_be_elsewhere(net, name, remedy):
    assert not hasattr(net, name)
    with pytest.raises(AttributeError, match=remedy) as caught:
        getattr(net, name)
    assert (caught.value.name, caught.value.obj) == (name, net)


def test_an_error_of_a_property_is_not_hidden():
    with pytest.raises(ValueError, match="a bidirectional network has no steps"):
        crnn.RNN(I, H, O, bidirectional=True).state  # noqa: B018
