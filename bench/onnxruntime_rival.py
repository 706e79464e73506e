"""ONNX Runtime on a graph built by hand: the RNN operator, or for a step products and a tanh."""

import itertools

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rivals import Rival, threads

VERSION = onnxruntime.__version__
FORMAT = {"opset_imports": [helper.make_opsetid("", 14)], "ir_version": 8}


def step(problem):
    """The RNN operator or its parts, in plain runs or with memory bound to it."""
    if problem.net.dtype != np.float32:  # the operator knows no other
        return []
    x, H = problem.x, problem.net.hidden_size
    operator = _rnn(problem.net, x.reshape(1, 1, -1).shape, (1, 1, H))
    parts = _parts(problem.net, (1, len(x)), (1, H))
    return [
        rival
        for name, session in (("RNN", operator), ("Gemm, Tanh", parts))
        for rival in (_step_run(name, session, x), _step_bound(name, session, x))
    ]


def sequence(problem):
    if problem.net.dtype != np.float32:
        return []
    x, (T, B, _), H = problem.x, problem.x.shape, problem.net.hidden_size
    h, state, y = np.zeros((1, B, H), x.dtype), np.empty((1, B, H), x.dtype), _empty(T, 1, B, H)
    session = _rnn(problem.net, x.shape, h.shape, y.shape)
    run = Rival(
        "run", "run(None, {'x': x, 'h': h})", {"run": session.run, "x": x, "h": h},
        _sequence_results,
    )
    binding = _bound(session, {"x": x, "h": h}, {"state": state, "y": y})
    bound = Rival(
        "run_with_iobinding", "run(binding)",
        {"run": session.run_with_iobinding, "binding": binding},
        lambda _: _sequence_results((state, y)),
    )
    return [run, bound]


def _sequence_results(value):
    state, y = value
    return {"y": y[:, 0], "state": state}


def _step_run(name, session, x):
    x_input, h_input = session.get_inputs()
    x, h = x.reshape(x_input.shape), np.zeros(h_input.shape, x.dtype)

    def step(x):
        nonlocal h
        (h,) = session.run(None, {"x": x, "h": h})
        return h

    return Rival(f"{name}, run", "step(x)", {"step": step, "x": x}, _step_results)


def _step_bound(name, session, x):
    """The state goes to and fro between two arrays, each bound as input and as output."""
    h, other = np.zeros((2, *session.get_inputs()[1].shape), x.dtype)
    turns = itertools.cycle([
        (_bound(session, {"x": x, "h": h}, {"state": other}), other),
        (_bound(session, {"x": x, "h": other}, {"state": h}), h),
    ])
    run = session.run_with_iobinding

    def step():
        binding, state = next(turns)
        run(binding)
        return state

    return Rival(f"{name}, run_with_iobinding", "step()", {"step": step}, _step_results)


def _step_results(h):
    return {"y": h.reshape(-1)}


# --- graphs and sessions -------------------------------------------------------------------------


def _rnn(net, x, h, y=None):
    """Return a session of the RNN operator, for these shapes; with all states if y is given."""
    W, R, b = (net.parameters[f"{name}_l0"].T for name in ("W_xh", "W_hh", "b_h"))
    weights = {"W": W[None], "R": R[None], "B": np.concatenate([b, np.zeros_like(b)])[None]}
    node = helper.make_node(
        "RNN", [*("x", "W", "R", "B"), "", "h"], ["y" if y else "", "state"],
        hidden_size=net.hidden_size, activations=["Tanh"],
    )
    return _session([node], weights, {"x": x, "h": h}, {"state": h} | ({"y": y} if y else {}))


def _parts(net, x, h):
    """Return a session of a step's products and tanh."""
    weights = {name: net.parameters[f"{name}_l0"] for name in ("W_xh", "W_hh", "b_h")}
    nodes = [
        helper.make_node("Gemm", ["x", "W_xh", "b_h"], ["from_x"]),
        helper.make_node("Gemm", ["h", "W_hh", "from_x"], ["a"]),
        helper.make_node("Tanh", ["a"], ["state"]),
    ]
    return _session(nodes, weights, {"x": x, "h": h}, {"state": h})


def _session(nodes, weights, inputs, outputs):
    """Return a session for a graph; inputs and outputs map names to shapes."""
    def described(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in shapes.items()]

    constants = [
        numpy_helper.from_array(np.ascontiguousarray(array), name)
        for name, array in weights.items()
    ]
    graph = helper.make_graph(nodes, "rnn", described(inputs), described(outputs), constants)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    model = helper.make_model(graph, **FORMAT).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _bound(session, inputs, outputs):
    """Return a binding of a session's inputs and outputs to arrays, which must stay."""
    binding = session.io_binding()
    shapes = {each.name: each.shape for each in session.get_inputs()}
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, shapes[name], array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return binding


def _empty(*shape):
    return np.empty(shape, np.float32)
