"""Bugs planted one by one in copies of what reads and writes PyTorch's networks.

They would be silent: a network comes out, but another one. What the copies give is held against
PyTorch's formulas, written down here step by step, so that PyTorch is not needed.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch_archives as forge
from copies import COPY, Bug, fails, imported, planted

import crnn
from crnn.exchange.description import Description
from crnn.network.foreign import network_of

pytestmark = pytest.mark.no_backend

FOLDER = Path(crnn.__file__).parent / "exchange"
NAMES = ("torch", "torch_arrays", "torch_choice", "torch_files", "torch_layers", "torch_modules",
         "torch_parts", "torch_sources", "pickles", "safetensors_files", "tensors")
SOURCES = {"exchange": ""} | {
    f"exchange/{name}": (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in NAMES}
T, B, I, H, O = 5, 3, 4, 6, 2  # noqa: E741
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def step(x, state, W_ih, W_hh, b_ih, b_hh):
    """One step, as the documentation of nn.RNN, nn.GRU and nn.LSTM has it."""
    own, of_h = x @ W_ih.T + b_ih, state[0] @ W_hh.T + b_hh
    if len(W_hh) == H:
        return (np.tanh(own + of_h),)
    own, of_h = np.split(own, len(W_hh) // H, axis=1), np.split(of_h, len(W_hh) // H, axis=1)
    if len(own) == 3:
        r, z = (sigmoid(own[k] + of_h[k]) for k in range(2))
        n = np.tanh(own[2] + r * of_h[2])
        return ((1 - z) * n + z * state[0],)
    i, f, g, o = (own[k] + of_h[k] for k in range(4))
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def run(arrays, x, states, layers=2, both=True):
    """Return the outputs of a module and the last states, given (L * D, B, H)."""
    last = []
    for layer in range(layers):
        outputs = []
        for direction in range(1 + both):
            suffix = f"_l{layer}" + "_reverse" * direction
            weights = [arrays[f"{stem}{suffix}"]
                       for stem in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            state = tuple(each[2 * layer + direction] for each in states)
            found = np.empty((T, B, H))
            for t in range(T)[:: -1 if direction else 1]:
                state = step(x[t], state, *weights)
                found[t] = state[0]
            outputs.append(found)
            last.append(state)
        x = np.concatenate(outputs, axis=2)
    return x, [np.stack(each) for each in zip(*last, strict=True)]


def state_dict(rng, cell):
    """Return random arrays of a bidirectional module of two layers, and of a Linear."""
    G, arrays = GATES[cell], {}
    for layer in range(2):
        for end in ("", "_reverse"):
            suffix = f"_l{layer}{end}"
            arrays |= {
                f"weight_ih{suffix}": rng.standard_normal((G * H, 2 * H if layer else I)),
                f"weight_hh{suffix}": rng.standard_normal((G * H, H)),
                f"bias_ih{suffix}": rng.standard_normal(G * H),
                f"bias_hh{suffix}": rng.standard_normal(G * H),
            }
    return {f"rec.{name}": each for name, each in arrays.items()} | {
        "fc.weight": rng.standard_normal((O, 2 * H)), "fc.bias": rng.standard_normal(O)}


def read(copies, *arguments, **options):
    return network_of(copies("torch").read(*arguments, **options), "float64", "reference")


def check_cells(copies):
    """Outputs, last states, and the last outputs, of each cell in two layers and directions."""
    rng = np.random.default_rng(1)
    for cell in GATES:
        arrays = state_dict(rng, cell)
        options = {"nonlinearity": "tanh"} if cell == "RNN" else {}
        rec = {name[4:]: each for name, each in arrays.items() if name.startswith("rec.")}
        x = rng.standard_normal((T, B, I))
        states = [rng.standard_normal((4, B, H)) for _ in range(1 + (cell == "LSTM"))]
        h, last = run(rec, x, states)
        net = read(copies, arrays, **options)
        y, found = net(x, tuple(states) if cell == "LSTM" else states[0])
        np.testing.assert_allclose(y, h @ arrays["fc.weight"].T + arrays["fc.bias"], atol=1e-12)
        for ours, wanted in zip(found if cell == "LSTM" else [found], last, strict=True):
            np.testing.assert_allclose(ours, wanted, atol=1e-12)
        net = read(copies, arrays, last=True, **options)
        y = net(x, tuple(states) if cell == "LSTM" else states[0])[0]
        ends = np.concatenate([h[-1, :, :H], h[0, :, H:]], axis=1)
        np.testing.assert_allclose(y, ends @ arrays["fc.weight"].T + arrays["fc.bias"], atol=1e-12)


def check_initial_states(copies):
    """States that are learned, by name, with the row of each layer and direction."""
    rng = np.random.default_rng(2)
    arrays = state_dict(rng, "LSTM")
    states = {"h0": rng.standard_normal((4, 1, H)), "c0": rng.standard_normal((4, 1, H))}
    rec = {name[4:]: each for name, each in arrays.items() if name.startswith("rec.")}
    x = rng.standard_normal((T, B, I))
    h, _ = run(rec, x, [np.repeat(each, B, axis=1) for each in states.values()])
    net = read(copies, arrays | states, initial_state=("h0", "c0"))
    wanted = h @ arrays["fc.weight"].T + arrays["fc.bias"]
    np.testing.assert_allclose(net(x)[0], wanted, atol=1e-12)
    again = copies("torch_arrays").state_dict(net.description(), ["rec", "fc"], ("h0", "c0"))
    for name, each in states.items():
        np.testing.assert_array_equal(again[name], each)


def check_back(copies):
    """What is written computes the same."""
    rng = np.random.default_rng(3)
    for cell in GATES:
        net = getattr(crnn, cell)(I, H, O, num_layers=2, bidirectional=True, dtype="float64",
                                  seed=rng, backend="reference")
        net.vector = rng.standard_normal(net.num_parameters)
        arrays = copies("torch_arrays").state_dict(net.description(), ["rec", "fc"])
        rec = {name[4:]: each for name, each in arrays.items() if name.startswith("rec.")}
        x = rng.standard_normal((T, B, I))
        h, _ = run(rec, x, [np.zeros((4, B, H))] * (1 + (cell == "LSTM")))
        wanted = h @ arrays["fc.weight"].T + arrays["fc.bias"]
        np.testing.assert_allclose(net(x)[0], wanted, atol=1e-12)
    for options in ({"reset_after": False}, {"candidate": "relu"}):
        layer = crnn.layers.GRU(H, **options)
        with pytest.raises(ValueError, match="PyTorch's"):
            copies("torch_arrays").state_dict(Description(I, [layer], {}))


def check_files(copies):
    """A tensor that begins within its storage and goes through it in another order."""
    module = copies("torch_files")
    storage = np.arange(12, dtype="f4")
    wanted = storage[2:].reshape(5, 2).T[:, :4]
    value = forge.entries([("a", forge.tensor("0", (2, 4), count=12, offset=2, strides=(1, 2)))])
    for order, kind in (("<", b"little"), (">", b"big")):
        content = forge.archive(value, {"0": storage.astype(f"{order}f4").tobytes()},
                                more=[("archive/byteorder", kind)])
        np.testing.assert_array_equal(module._archive(content)["a"].array(), wanted)
    halves = (wanted[0].astype("f4").view("u4") >> 16).astype("u2")
    value = forge.entries([("a", forge.tensor("0", (4,), kind="BFloat16"))])
    found = module._archive(forge.archive(value, {"0": halves.tobytes()}))["a"].array()
    np.testing.assert_array_equal(found, wanted[0])


def check_asking(copies):
    """What is not said is asked for, and what is said is heard."""
    rng = np.random.default_rng(4)

    def matrix(*shape):
        return rng.standard_normal(shape)

    lstm = {"lstm.weight_ih_l0": matrix(24, 2), "lstm.weight_hh_l0": matrix(24, H)}
    first = {"fc.weight": matrix(2, H), "fc.bias": matrix(2)}
    hidden = {"in.weight": matrix(H, H), "in.bias": matrix(H)}
    alike = {f"{name}.{own}": each for name in ("out", "top")
             for own, each in (("bias", matrix(H)), ("weight", matrix(H, H)))}
    relu = {"activations": {"out": "relu", "top": "relu"}}
    for source, options in (
        (dict(sorted({**lstm, **first}.items())), {}),
        (dict(sorted({**lstm, **alike}.items())), relu), ({**lstm, **hidden, **first}, {}),
        ({"a.weight_ih_l0": matrix(H, 2), "a.weight_hh_l0": matrix(H, H)}, {}),
        ({**lstm, "h0": matrix(1, 1, H)}, {}), ({**lstm, **first}, {"layers": ["fc", "lstm", "x"]}),
        ({**lstm, "norm.weight": matrix(H)}, {}),
    ):
        with pytest.raises(ValueError):
            read(copies, source, **options)
    net = read(copies, {**lstm, **hidden, **first}, activations={"in": "relu", "lstm": "tanh"})
    layers = crnn.layers
    assert net.layers == (layers.LSTM(H), layers.Activation("tanh"), layers.Dense(H, "relu"),
                          layers.Dense(2))
    assert len(read(copies, {**lstm, **alike}, **relu).layers) == 3
    net = read(copies, {"emb.weight": matrix(9, 2), **lstm, **first})
    assert net.layers == (layers.Embedding(2), layers.LSTM(H), layers.Dense(2))


CHECKS = {"c": check_cells, "i": check_initial_states, "b": check_back, "f": check_files,
          "a": check_asking}
BUGS = [
    Bug("gates in another order", "torch_layers", '"W_hh": W_hh.T}',
        '"W_hh": np.roll(W_hh, W_hh.shape[1], axis=0).T}', "c"),
    Bug("one of two biases", "torch_layers", '"b_h": first + second', '"b_h": first', "c"),
    Bug("the candidate's bias twice", "torch_layers", "second[2 * H :].copy(), 0",
        "second[2 * H :].copy(), second[2 * H :]", "c"),
    Bug("directions swapped", "torch_layers", 'zip(suffixes, ("", "_reverse"), strict=False)',
        'zip(suffixes, ("", "_reverse")[::-1], strict=False)', "c"),
    Bug("another step is the last", "torch", "last=last,", "last=False,", "c"),
    Bug("the readout's bias dropped", "torch_layers", '"b_h": bias}', '"b_h": 0 * bias}', "c"),
    Bug("rows of states in another order", "torch_layers", "iter(_state(state, shape, origin))",
        "iter(_state(state, shape, origin)[::-1])", "i"),
    Bug("h for c", "torch_layers", "zip(names, states, strict=True)",
        "zip(names, states[::-1], strict=True)", "i"),
    Bug("rows are written in another order", "torch_arrays", "for end, _ in recurrent for suffix",
        "for end, _ in recurrent[::-1] for suffix", "i"),
    Bug("the candidate's bias is not written", "torch_arrays", "if isinstance(layer, layers.GRU):",
        "if False:", "b"),
    Bug("one direction is written", "torch_arrays",
        '    for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:',
        '    for suffix in ("",):', "b"),
    Bug("anything is written", "torch_arrays", "if getattr(layer, each.name) != each.default:",
        "if False:", "b"),
    Bug("the offset is not heeded", "torch_files", "flat = flat[self.offset :]", "pass", "f"),
    Bug("strides are not heeded", "torch_files",
        "np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)",
        "flat[: count].reshape(self.shape)", "f"),
    Bug("the order of bytes is not heeded", "torch_files", 'memory.order = ">"\n    return _load',
        "pass\n    return _load", "f"),
    Bug("halves of another kind", "tensors", "<< 16", "<< 15", "f"),
    Bug("sorted names are an order", "torch_choice",
        "list(origin.tensors) != sorted(origin.tensors) and ", "", "a"),
    Bug("nothing is between two Linear modules", "torch_choice",
        "    _check_activations_are_said(parts, origin, activations or {})\n", "", "a"),
    Bug("tanh is taken for granted", "torch_layers", "part.nonlinearity or said",
        'part.nonlinearity or said or "tanh"', "a"),
    Bug("arrays are dropped", "torch_choice",
        "if part.trouble or part.kind not in KINDS]", "if False]", "a"),
    Bug("an embedding is transposed", "torch_choice",
        "return as_table if is_table", "return as_linear if is_table", "a"),
]


def copies():
    """Return what imports a copy by its name."""
    return lambda name: importlib.import_module(f"{COPY}.exchange.{name}")


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check):
    with imported(SOURCES):
        check(copies())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug):
    sources = planted(bug, "exchange", SOURCES)
    for letter in bug.caught_by:
        assert fails(CHECKS[letter], copies, sources), (
            f"{bug.name} escaped {CHECKS[letter].__name__}")
