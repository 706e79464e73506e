"""A fuzzer of `crnn.from_onnx`: whatever a file holds, it is read or refused.

    python tests/fuzz/onnx_loader.py graph --inputs 1000000
    python tests/fuzz/onnx_loader.py bytes --inputs 1000000 --seed 1

Inputs are good models in which operators, names, attributes, shapes and constants (or, for "bytes",
bytes) are changed at random. One that raises anything but what a user would be told, or takes
longer than a second, is kept as ``fuzz-LOADER``, and ends the run. The memory of the process is
bounded. Of the models that are read, one in ten is made a network, too.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from fuzzing import change_bytes, main
from onnx_models import OPEN, cell_weights, info, model, node, onnx

import crnn
from crnn.exchange import onnx_writing
from crnn.exchange.onnx_folding import FOLDS
from crnn.exchange.onnx_graph import MAKERS
from crnn.exchange.onnx_moves import MOVES
from crnn.exchange.onnx_reading import describe

I, H = 2, 3  # noqa: E741
OPS = sorted({*FOLDS, *MAKERS, *MOVES, "If", "Conv", "F", ""})
NUMBERS = [0, 1, 2, 3, -1, -2, 12, 64, 1000003, 2**31 - 1, 2**31, 2**40, 2**62, -2**63, 2**63 - 1]
ATTRIBUTES = {
    "axis": NUMBERS, "axes": [[0], [1], [-1], [0, 1], [7], []], "perm": [[1, 0, 2], [0, 2, 1, 3]],
    "to": [1, 7, 9, 10, 11, 16, 99], "hidden_size": NUMBERS, "layout": [0, 1, 2],
    "direction": ["forward", "reverse", "bidirectional", "x"], "clip": [0.0, 1.0, -1.0],
    "activations": [["Tanh"], ["Sigmoid", "Tanh"], ["HardSigmoid", "Tanh", "Tanh"]],
    "linear_before_reset": [0, 1], "input_forget": [0, 1], "alpha": [0.2, 1.0], "transB": [0, 1],
    "starts": [[0], [1], [-1]], "ends": [[1], [2**31 - 1]], "split": [[1, 1], [3]],
    "keepdims": [0, 1], "allowzero": [0, 1], "start": NUMBERS, "end": NUMBERS,
}


def examples():
    """Return some models, each with other nodes."""
    rng = np.random.default_rng(0)
    constants = {"one": np.array([1]), "last": np.array([-1]), "merge": np.array([0, 0, -1]),
                 "zero": np.array([0]), "end": np.array([99]), "V": np.ones((2 * H, 2), np.float32)}
    function = onnx.helper.make_function(
        "", "F", ["a"], ["b"], [node("Relu", "a", "b")], [onnx.helper.make_opsetid("", 14)])
    both = {"hidden_size": H, "direction": "bidirectional"}
    rows = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]), node("Shape", "xt", "s"),
        node("Gather", "s one", "n"), node("Concat", "one n one", "k", axis=0),
        node("ConstantOfShape", "k", "h0"), node("Expand", "h0 k", "h1"),
        node("LSTM", "xt W R B", "Y Yh Yc", **both), node("Transpose", "Y", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t merge", "h"), node("Slice", "h last end zero", "l"),
        node("Squeeze", "l zero", "q"), node("MatMul", "h V", "p"), node("F", "p", "r"),
        node("Softmax", "r", "y", axis=-1)]
    first = model(rows, {"x": ["B", "T", I]}, {"y": info("y", None)},
                  cell_weights(rng, "LSTM", I, H, 2) | constants, functions=[function])
    two = [
        node("GRU", "x W R B", "Y Yh", hidden_size=H), node("Squeeze", "Y one", "a"),
        node("GRU", "x W R B", "Z Zh", hidden_size=H, direction="reverse"),
        node("Squeeze", "Z one", "b"), node("Concat", "a b", "h", axis=2),
        node("Split", "h", "c d", axis=2), node("Unsqueeze", "V zero", "u"),
        node("Squeeze", "u zero", "v"), node("MatMul", "h v", "p"), node("Add", "p one1", "y")]
    second = model(two, {"x": [*OPEN, I]}, {"y": info("y", None)},
                   cell_weights(rng, "GRU", I, H) | constants | {"one1": np.ones(2, np.float32)})
    net = crnn.Sequential(4, [
        crnn.layers.Embedding(I), crnn.layers.LSTM(H, bidirectional=True), crnn.layers.RNN(2),
        crnn.layers.Dense(2, "tanh")], seed=0, learn_state=True, last=True)
    return [first, second, onnx_writing.model(net.description())]


EXAMPLES = examples()


def changed(rng):
    """Return the bytes of a model in which something is changed."""
    proto = onnx.ModelProto()
    proto.CopyFrom(rng.choice(EXAMPLES))
    for _ in range(rng.choice((1, 1, 2, 5))):
        rng.choice((change_node, change_constant, change_attribute, change_graph))(proto, rng)
    return proto.SerializeToString()


def change_node(proto, rng):
    """Give a node another operator, or other inputs."""
    each = rng.choice(proto.graph.node)
    if rng.random() < 0.4:
        each.op_type = rng.choice(OPS)
    elif each.input:
        names = [name for one in proto.graph.node for name in (*one.input, *one.output)]
        each.input[rng.randrange(len(each.input))] = rng.choice(names)


def change_constant(proto, rng):
    """Give a constant other numbers, another shape or another kind."""
    each = rng.choice(proto.graph.initializer)
    way = rng.randrange(4)
    if way == 0 and each.dims:
        each.dims[rng.randrange(len(each.dims))] = rng.choice(NUMBERS)
    elif way == 1:
        each.data_type = rng.randrange(20)
    elif way == 2:
        numbers = [rng.choice(NUMBERS) for _ in range(rng.randrange(5))]
        each.CopyFrom(onnx.numpy_helper.from_array(np.array(numbers, np.int64), each.name))
    else:
        each.raw_data = change_bytes(each.raw_data, rng)


def change_attribute(proto, rng):
    """Give a node another attribute, or another value of it."""
    each, name = rng.choice(proto.graph.node), rng.choice(sorted(ATTRIBUTES))
    kept = [one for one in each.attribute if one.name != name]
    del each.attribute[:]
    each.attribute.extend(kept)
    kind = name if rng.random() < 0.9 else rng.choice(sorted(ATTRIBUTES))
    value = rng.choice(ATTRIBUTES[kind])
    each.attribute.append(onnx.helper.make_attribute(
        name, value, attr_type=onnx.AttributeProto.INTS if value == [] else None))


def change_graph(proto, rng):
    """Double, drop or move a node, or change what goes in or out."""
    nodes, way = proto.graph.node, rng.randrange(5)
    place = rng.randrange(len(nodes))
    if way == 0:
        nodes.append(nodes[place])
        nodes[-1].output[0] = f"n{len(nodes)}"
    elif way == 1:
        del nodes[place]
        if not nodes:
            nodes.append(node("Identity", "x", "y"))
    elif way == 2:
        proto.graph.output[0].name = rng.choice(nodes).output[0]
    elif way == 3:
        dims = proto.graph.input[0].type.tensor_type.shape.dim
        dims[rng.randrange(len(dims))].dim_value = rng.choice(NUMBERS)
    else:
        proto.opset_import[0].version = rng.randrange(5, 25)


def changed_bytes(rng):
    return change_bytes(rng.choice(EXAMPLES).SerializeToString(), rng)


if __name__ == "__main__":
    main({"graph": (describe, changed), "bytes": (describe, changed_bytes)})
