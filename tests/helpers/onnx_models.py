"""ONNX models, made node by node, and what ONNX Runtime computes of them."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OPEN = ("T", "B")  # sizes that models leave open


def info(name, shape, dtype=np.float32):
    """Return what an input or output is."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    """Return an initialiser; floats as float32."""
    array = np.asarray(array)
    array = array.astype(np.float32) if array.dtype.kind == "f" else array
    return onnx.numpy_helper.from_array(np.array(array, order="C"), name)


def node(op, inputs, outputs, **attributes):
    """Return a node that is named as its operator and first output."""
    outputs = outputs.split()
    name = f"{op}_{next(filter(None, outputs))}"
    return onnx.helper.make_node(op, inputs.split(" "), outputs, name=name, **attributes)


def model(nodes, inputs, outputs, constants, opset=14, functions=(), imports=()):
    """Return a ModelProto; inputs and outputs by name, with shapes or finished infos."""
    def infos(these):
        return [info(name, each) if isinstance(each, (list, tuple)) else each
                for name, each in these.items()]

    graph = onnx.helper.make_graph(
        list(nodes), "graph", infos(inputs), infos(outputs),
        [constant(name, each) for name, each in constants.items()])
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset), *imports], ir_version=8,
        functions=list(functions))


def cell_weights(rng, op, inputs, hidden, directions=1, peepholes=False):
    """Return random W, R, B and, where asked for, P of an RNN, GRU or LSTM node."""
    width = GATES[op] * hidden
    shapes = {"W": (directions, width, inputs), "R": (directions, width, hidden),
              "B": (directions, 2 * width)}
    if peepholes:
        shapes["P"] = (directions, 3 * hidden)
    return {name: rng.normal(size=shape).astype(np.float32) * 0.7
            for name, shape in shapes.items()}


def run(proto, feeds):
    """Return all outputs of a model by their names, as ONNX Runtime computes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def arrays_of(state):
    """Return the arrays of a state in the order of the inputs that `to_onnx` makes of them."""
    if isinstance(state, (tuple, list)):
        return [array for each in state for array in arrays_of(each)]
    return [state]
