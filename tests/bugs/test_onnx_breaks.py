"""Bugs planted one by one in copies of what reads and writes ONNX models.

They would be silent: a network comes out, but another one. What the copies give is held against
ONNX Runtime.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
from copies import COPY, Bug, fails, imported, planted
from onnx_models import OPEN, arrays_of, cell_weights, info, model, node, run

import crnn
from crnn import layers
from crnn.network.foreign import network_of

pytestmark = pytest.mark.no_backend

FOLDER = Path(crnn.__file__).parent / "exchange"
SOURCES = {"exchange": ""} | {
    f"exchange/{path.stem}": path.read_text(encoding="utf-8") for path in FOLDER.glob("onnx_*.py")}
T, B, I, H, O = 5, 4, 3, 6, 2  # noqa: E741
LENGTHS = np.array([2, 5, 1, 3], np.int32)


def read(copies, proto, names=None):
    """Return the network of a model, on the textbook."""
    return network_of(copies("onnx_reading").describe(proto, names), None, "reference")


def close(ours, theirs):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)


def drawn(seed):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(T, B, I)).astype(np.float32)


def check_cells(copies):
    """A node of each kind, with its options, in both directions, begun with constants."""
    rng, x = drawn(0)
    for op, options, peepholes in (
        ("RNN", {}, False), ("GRU", {"linear_before_reset": 1}, False), ("GRU", {}, False),
        ("LSTM", {"clip": 0.7, "input_forget": 1}, True),
        ("LSTM", {"activations": ["HardSigmoid", "Relu", "Relu"] * 2,
                  "activation_alpha": [1 / 6] * 2}, False),
    ):
        weights = cell_weights(rng, op, I, H, 2, peepholes)
        states = {"h": np.repeat(rng.normal(size=(2, 1, H)), B, axis=1)}
        if op == "LSTM":
            states["c"] = np.repeat(rng.normal(size=(2, 1, H)), B, axis=1)
        inputs = f"x W R B lens {' '.join(states)}{' P' * peepholes}"
        proto = model(
            [node(op, inputs, "Y", hidden_size=H, direction="bidirectional", **options),
             node("Transpose", "Y", "t", perm=[0, 2, 1, 3]), node("Reshape", "t shape", "y")],
            {"x": [*OPEN, I], "lens": info("lens", ["B"], np.int32)}, {"y": info("y", None)},
            weights | states | {"shape": np.array([0, 0, -1])})
        y, _ = read(copies, proto)(x, lengths=LENGTHS)
        close(y, run(proto, {"x": x, "lens": LENGTHS})["y"])


def check_last(copies):
    """The last steps of nodes in both directions, as they lie and of each direction."""
    rng, x = drawn(1)
    constants = cell_weights(rng, "LSTM", I, H, 2) | {
        "V": rng.normal(size=(2 * H, O)), "shape": np.array([0, 0, -1]), "start": np.array(0),
        "end": np.array(-1), "none": np.array([0]), "half": np.array([H]), "all": np.array([99]),
        "last": np.array([-1])}
    begin = [node("LSTM", "x W R B", "Y Y_h", hidden_size=H, direction="bidirectional"),
             node("Transpose", "Y", "t", perm=[0, 2, 1, 3]), node("Reshape", "t shape", "s")]
    swapped = [
        node("Gather", "s end", "at_end"), node("Gather", "s start", "at_start"),
        node("Slice", "at_end none half last", "f"), node("Slice", "at_start half all last", "r"),
        node("Concat", "r f", "both", axis=1), node("MatMul", "both V", "y")]
    as_they_lie = [node("Gather", "s end", "at_end"), node("MatMul", "at_end V", "y")]
    for nodes in (swapped, as_they_lie):
        used = {name for each in begin + nodes for name in each.input}
        proto = model(begin + nodes, {"x": [*OPEN, I]}, {"y": info("y", None)},
                      {name: each for name, each in constants.items() if name in used})
        if nodes is swapped:
            close(read(copies, proto)(x)[0], run(proto, {"x": x})["y"])
        else:
            with pytest.raises(crnn.FormatError, match="it reads the last step"):
                read(copies, proto)


def check_dense(copies):
    """Gemm and its factors, what is not over the features, and the batch first."""
    rng, x = drawn(2)
    constants = cell_weights(rng, "GRU", I, H) | {
        "V": rng.normal(size=(O, H)), "b": rng.normal(size=O), "one": np.array([0])}
    nodes = [node("Transpose", "x", "xt", perm=[1, 0, 2]),
             node("GRU", "xt W R B", "Y Y_h", hidden_size=H), node("Squeeze", "Y_h one", "h"),
             node("Gemm", "h V b", "p", alpha=0.5, beta=2.0, transB=1)]
    for top, is_right in ((node("Softmax", "p", "y", axis=1), True),
                          (node("Softmax", "p", "y", axis=0), False)):
        proto = model([*nodes, top], {"x": ["B", "T", I]}, {"y": info("y", None)}, constants)
        if is_right:
            close(read(copies, proto)(x)[0], run(proto, {"x": x})["y"])
        else:
            with pytest.raises(crnn.FormatError, match="not over the features"):
                read(copies, proto)


def check_written(copies):
    """Networks of all cells, begun with states that are not zero."""
    rng, x = drawn(3)
    for given, options in (
        ([layers.LSTM(H, peepholes=True, clip=0.8), layers.Dense(O, "hard_sigmoid")], {}),
        ([layers.GRU(H, bidirectional=True), layers.GRU(H, bidirectional=True)], {"last": True}),
        ([layers.GRU(H, reset_after=False, gate_activation="hard_sigmoid_0.2"), layers.LSTM(4),
          layers.Dense(I)], {"skip": True}),
        ([layers.LSTM(H, coupled=True), layers.LSTM(H, coupled=True)], {"learn_state": True}),
    ):
        net = crnn.Sequential(I, given, seed=0, backend="reference", **options)
        for name, each in net.parameters.items():
            net.parameters[name] = rng.normal(size=each.shape)
        proto = copies("onnx_writing").model(net.description())
        state = None
        if not options.get("learn_state"):
            state = random_like(net(x)[1], rng)
        names = [each.name for each in proto.graph.input]
        feeds = dict(zip(names, [x, *arrays_of(state if state is not None else ())], strict=True))
        y, last = net(x, state)
        for ours, theirs in zip([y, *arrays_of(last)], run(proto, feeds).values(), strict=True):
            close(ours, theirs)


def random_like(state, rng):
    if isinstance(state, (tuple, list)):
        return type(state)(random_like(each, rng) for each in state)
    return rng.normal(size=state.shape).astype(np.float32)


CHECKS = {"c": check_cells, "l": check_last, "d": check_dense, "w": check_written}
BUGS = [
    Bug("gates of an LSTM in another order", "onnx_cells", '"LSTM": (0, 2, 3, 1)',
        '"LSTM": (0, 3, 2, 1)', "c"),
    Bug("gates of a GRU in another order", "onnx_cells", '"GRU": (1, 0, 2)', '"GRU": (0, 1, 2)',
        "c"),
    Bug("peepholes in another order", "onnx_cells", "PEEPHOLES = (0, 2, 1)",
        "PEEPHOLES = (0, 1, 2)", "c"),
    Bug("one of two biases", "onnx_cells", "of_input + of_state", "of_input + 0", "c"),
    Bug("the candidate's bias twice", "onnx_cells",
        'found["b_h"][2 * H :] = of_input[2 * H :]', "pass", "c"),
    Bug("the weights of one direction for both", "onnx_cells",
        'weights["W"][number], weights["R"][number]', 'weights["W"][0], weights["R"][number]', "c"),
    Bug("the reset is where it was not", "onnx_cells", "reset_after=bool(before)",
        "reset_after=True", "c"),
    Bug("another hard sigmoid", "onnx_cells", "next(alphas, 0.2)", "0.2", "c"),
    Bug("gates that are not coupled", "onnx_cells",
        'coupled=bool(node.attributes.get("input_forget", 0))', "coupled=False", "c"),
    Bug("the clip is forgotten", "onnx_cells", "float(clip) if clip else None", "None", "c"),
    Bug("states of the other direction", "onnx_cells",
        "in zip(directions, first, strict=True)", "in zip(directions, first[::-1], strict=True)",
        "c"),
    Bug("lengths are forgotten where steps end", "onnx_values",
        "part.when == own and not below.lengths", "part.when in (own, END)", "l"),
    Bug("features out of their order", "onnx_values",
        "return np.concatenate([np.arange(each.start, each.stop) for each in parts])",
        "return None", "l"),
    Bug("rows go elsewhere", "onnx_cells", "np.add.at(wide, columns, matrix)",
        "np.add.at(wide, columns[::-1], matrix)", "l"),
    Bug("a Gemm that is not transposed", "onnx_stateless",
        'node.attributes.get("transB")', "(W.shape[0] == W.shape[1])", "d"),
    Bug("a factor is forgotten", "onnx_stateless", "beta * _bias(bias, size)",
        "_bias(bias, size)", "d"),
    Bug("any softmax", "onnx_stateless",
        "if [each for each in wanted if each] != [core(x.axes[-1])]:", "if False:", "d"),
    Bug("time is taken for the batch", "onnx_reading",
        "if len(atoms) == 3 and atoms[0] in recurrent.batch:\n        return True",
        "if len(atoms) == 3 and atoms[0] in recurrent.batch:\n        return False", "d"),
    Bug("all steps for the last", "onnx_reading", "return stage, when == FINAL, left_out",
        "return stage, False, left_out", "ld"),
    Bug("gates are written in another order", "onnx_writing", '"LSTM": (0, 3, 1, 2)',
        '"LSTM": (0, 2, 3, 1)', "w"),
    Bug("a GRU's gates are written as they are", "onnx_writing", '"GRU": (1, 0, 2)',
        '"GRU": (0, 1, 2)', "w"),
    Bug("peepholes are written in another order", "onnx_writing", "PEEPHOLES = (0, 2, 1)",
        "PEEPHOLES = (0, 1, 2)", "w"),
    Bug("the candidate's bias is not written", "onnx_writing",
        'of_state[2 * H :] = parameters[f"b_hn{end}"]', "pass", "w"),
    Bug("one direction is written twice", "onnx_writing", 'parameters[f"W_hh{end}"].T[rows]',
        'parameters[f"W_hh{suffixes[0]}"].T[rows]', "w"),
    Bug("the reset is written where it was not", "onnx_writing", "int(kind.reset_after)", "1", "w"),
    Bug("coupled gates are not written", "onnx_writing", "if kind.coupled:", "if False:", "w"),
    Bug("the clip is not written", "onnx_writing", "if kind.clip:", "if False:", "w"),
    Bug("another hard sigmoid is written", "onnx_writing", '"hard_sigmoid": 1 / 6',
        '"hard_sigmoid": 0.2', "w"),
    Bug("the last outputs are mixed up", "onnx_writing",
        '"Transpose", [ends[0]], f"last{end}", perm=[1, 0, 2]',
        '"Identity", [ends[0]], f"last{end}"',
        "w"),
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
