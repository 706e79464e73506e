"""ONNX Runtime on graphs built by hand: operators RNN, GRU, LSTM, or for a step their parts."""

import itertools

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rivals import Rival, sequence_results, threads

VERSION = onnxruntime.__version__
FORMAT = {"opset_imports": [helper.make_opsetid("", 14)], "ir_version": 8}
GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}  # crnn's blocks in ONNX's order
ATTRIBUTES = {"RNN": {"activations": ["Tanh"]}, "GRU": {"linear_before_reset": 1}, "LSTM": {}}


def step(problem):
    """The kind's operator or its parts, in plain runs or with memory bound to it."""
    if problem.net.dtype != np.float32:  # the operator knows no other
        return []
    x, kind = problem.x, problem.kind
    operator = _operator(problem, x.reshape(1, 1, -1).shape)
    parts = _parts(problem)
    return [
        rival
        for name, session in ((kind, operator), (f"{kind} of products", parts))
        for rival in (_step_run(name, session, x), _step_bound(name, session, x))
    ]


def sequence(problem):
    if problem.net.dtype != np.float32:
        return []
    x, (T, B, _), H = problem.x, problem.x.shape, problem.net.hidden_size
    y, session = _empty(T, 1, B, H), _operator(problem, x.shape, (T, 1, B, H))
    inputs, states = {"x": x}, {}
    for name in _states(problem.kind):
        inputs[name], states[f"{name}_last"] = np.zeros((1, B, H), x.dtype), _empty(1, B, H)
    run = Rival(
        "run", "run(None, inputs)", {"run": session.run, "inputs": inputs}, _sequence_results
    )
    binding = _bound(session, inputs, states | {"y": y})
    bound = Rival(
        "run_with_iobinding", "run(binding)",
        {"run": session.run_with_iobinding, "binding": binding},
        lambda _: _sequence_results((*states.values(), y)),
    )
    return [run, bound]


def _sequence_results(value):
    *state, y = value
    return sequence_results((y[:, 0], tuple(state)))


def _step_run(name, session, x):
    x_input, *state_inputs = session.get_inputs()
    inputs = {"x": x.reshape(x_input.shape)}
    inputs |= {each.name: np.zeros(each.shape, x.dtype) for each in state_inputs}
    names = [each.name for each in state_inputs]

    if len(names) == 1:
        def step(x):
            (inputs["h"],) = state = session.run(None, inputs)
            return state
    else:
        def step(x):
            inputs["h"], inputs["c"] = state = session.run(None, inputs)
            return state

    return Rival(f"{name}, run", "step(x)", {"step": step, "x": inputs["x"]}, _step_results)


def _step_bound(name, session, x):
    """The state goes to and fro between two arrays, each bound as input and as output."""
    shapes = {each.name: each.shape for each in session.get_inputs()[1:]}
    here, there = (
        {each: np.zeros(shape, np.float32) for each, shape in shapes.items()} for _ in range(2)
    )
    turns = itertools.cycle([
        (_bound(session, {"x": x, **a}, {f"{each}_last": b[each] for each in b}), [*b.values()])
        for a, b in ((here, there), (there, here))  # a binding does not keep its arrays
    ])
    run = session.run_with_iobinding

    def step():
        binding, state = next(turns)
        run(binding)
        return state

    return Rival(f"{name}, run_with_iobinding", "step()", {"step": step}, _step_results)


def _step_results(state):
    return {"y": state[0].reshape(-1)}


# --- graphs and sessions -------------------------------------------------------------------------


def _states(kind):
    return ("h", "c") if kind == "LSTM" else ("h",)


def _operator(problem, x, y=None):
    """Return a session of the kind's operator, for these shapes; with all states if y is given."""
    net, kind, states = problem.net, problem.kind, _states(problem.kind)
    H, blocks = net.hidden_size, GATES[kind]
    zeros = np.zeros(len(blocks) * H, net.dtype)
    if kind == "GRU":
        zeros[2 * H :] = net.parameters["b_hn_l0"]

    def in_order(array):  # (..., G H) to (1, G H, ...)
        parts = np.split(array, len(blocks), axis=-1)
        return np.concatenate([parts[block] for block in blocks], axis=-1).T[None]

    W, R, b = (in_order(net.parameters[f"{name}_l0"]) for name in ("W_xh", "W_hh", "b_h"))
    weights = {"W": W, "R": R, "B": np.concatenate([b, in_order(zeros)], axis=1)}
    shapes = {name: (1, x[1], H) for name in states}
    last = {f"{name}_last": shape for name, shape in shapes.items()}
    node = helper.make_node(
        kind, [*("x", "W", "R", "B"), "", *states], ["y" if y else "", *last], hidden_size=H,
        **ATTRIBUTES[kind],
    )
    return _session([node], weights, {"x": x} | shapes, last | ({"y": y} if y else {}))


def _parts(problem):
    """Return a session of a step's products and of what comes after them."""
    net, kind, states = problem.net, problem.kind, _states(problem.kind)
    weights = {
        name.removesuffix("_l0"): array for name, array in net.parameters.items()
        if name.endswith("_l0")
    }
    nodes = [
        helper.make_node(operator, inputs.split(), outputs.split(), **AXIS.get(operator, {}))
        for operator, inputs, outputs in PARTS[kind]
    ]
    shapes = dict.fromkeys(states, (1, net.hidden_size))
    last = {f"{name}_last": shape for name, shape in shapes.items()}
    return _session(nodes, weights, {"x": (1, len(problem.x))} | shapes, last)


AXIS = {"Split": {"axis": 1}}
PARTS = {  # operator, inputs, outputs
    "RNN": [
        ("Gemm", "x W_xh b_h", "from_x"),
        ("Gemm", "h W_hh from_x", "a"),
        ("Tanh", "a", "h_last"),
    ],
    "GRU": [
        ("Gemm", "x W_xh b_h", "from_x"),
        ("MatMul", "h W_hh", "from_h"),
        ("Split", "from_x", "x_r x_z x_n"),
        ("Split", "from_h", "h_r h_z h_n"),
        ("Add", "x_r h_r", "a_r"), ("Sigmoid", "a_r", "r"),
        ("Add", "x_z h_z", "a_z"), ("Sigmoid", "a_z", "z"),
        ("Add", "h_n b_hn", "q"), ("Mul", "r q", "r_q"),
        ("Add", "x_n r_q", "a_n"), ("Tanh", "a_n", "n"),
        ("Sub", "h n", "less"), ("Mul", "z less", "of_h"), ("Add", "n of_h", "h_last"),
    ],
    "LSTM": [
        ("Gemm", "x W_xh b_h", "from_x"),
        ("Gemm", "h W_hh from_x", "a"),
        ("Split", "a", "a_i a_f a_g a_o"),
        ("Sigmoid", "a_i", "i"), ("Sigmoid", "a_f", "f"),
        ("Tanh", "a_g", "g"), ("Sigmoid", "a_o", "o"),
        ("Mul", "f c", "f_c"), ("Mul", "i g", "i_g"), ("Add", "f_c i_g", "c_last"),
        ("Tanh", "c_last", "tanh_c"), ("Mul", "o tanh_c", "h_last"),
    ],
}


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
