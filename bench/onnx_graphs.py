"""Networks as ONNX graphs, for those who run them: of operators RNN, GRU, LSTM, or of their parts.

Graphs are built by hand, and for fixed shapes, so that nothing is in them that need not be.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from rivals import Rival, layers

FORMAT = {"opset_imports": [helper.make_opsetid("", 14)], "ir_version": 8}
GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}  # crnn's blocks in ONNX's order
ATTRIBUTES = {"RNN": {"activations": ["Tanh"]}, "GRU": {"linear_before_reset": 1}, "LSTM": {}}


def state_names(kind):
    return ("h", "c") if kind == "LSTM" else ("h",)


def step_model(net, B=1):
    """Return the model of a step of sequences: x, h (and c) to h_last (and c_last)."""
    kind = type(net).__name__
    states = dict.fromkeys(state_names(kind), (1, B, net.hidden_size))
    last = {f"{name}_last": shape for name, shape in states.items()}
    node, weights = _operator(kind, layers(net)[0], "x", 0, initial=[*states], outputs=["", *last])
    return _model([node], weights, {"x": (1, B, net.input_size)} | states, last)


def step_models(net):
    """Return models of a step of one sequence by name: of the operator, and of its parts."""
    kind = type(net).__name__
    return {kind: step_model(net), f"{kind} of products": _parts(net)}


def sequence_model(problem):
    """Return the model of a task "sequence": x (and lengths) to h_last (and c_last) and y."""
    net, kind, (T, B, _) = problem.net, problem.kind, problem.x.shape
    H, states, weights, nodes, source = net.hidden_size, state_names(kind), {}, [], "x"
    stack = layers(net)
    D, unequal = len(stack[0]), problem.lengths is not None
    for number, layer in enumerate(stack):
        names = {name: f"{name}_{number if len(stack) > 1 else 'last'}" for name in states}
        read = number == len(stack) - 1 and net.output_size is not None  # but for its last state
        names = {"y": "" if read else f"y_{number}"} | names
        node, own = _operator(kind, layer, source, number, "lengths" if unequal else "",
                              ["zeros"] * len(states), [*names.values()])
        nodes.append(node)
        weights |= own
        if read:
            break
        if D == 2:
            nodes.append(helper.make_node("Transpose", [names["y"]], [f"t_{number}"],
                                          perm=[0, 2, 1, 3]))
        source, weights["shape"] = f"out_{number}", np.array([T, B, D * H])
        nodes.append(helper.make_node(
            "Reshape", [f"t_{number}" if D == 2 else names["y"], "shape"], [source]))
    # not every runtime takes an LSTM without its first state
    weights["zeros"] = np.zeros((D, B, H), np.float32)
    last = {}
    for name in states:
        last[f"{name}_last"] = len(stack) * D, B, H
        parts = [f"{name}_{number}" for number in range(len(stack))]
        if len(stack) > 1:
            nodes.append(helper.make_node("Concat", parts, [f"{name}_last"], axis=0))
    if net.output_size is None:
        nodes.append(helper.make_node("Identity", [source], ["y"]))
        outputs = last | {"y": (T, B, D * H)}
    else:
        weights |= {"W_hy": net.parameters["W_hy"], "b_y": net.parameters["b_y"],
                    "rows": np.array([B, H])}
        nodes.append(helper.make_node("Reshape", [names["h"], "rows"], ["read"]))
        nodes.append(helper.make_node("Gemm", ["read", "W_hy", "b_y"], ["y"]))
        outputs = last | {"y": (B, net.output_size)}
    lengths = {"lengths": (B,)} if unequal else {}
    return _model(nodes, weights, {"x": problem.x.shape}, outputs, lengths)


def streams_rival(problem, form, before, run):
    """Return a rival that keeps all streams' states, and takes some from there and puts them back.

    Parameters
    ----------
    problem : tasks.Problem
    form : str
    before : list of ndarray
        Where the states of those that take a step are to be put, each (1, B, H).
    run : callable
        Takes the step and returns the states after it, of the same shapes.
    """
    number, chosen = problem.settings
    kept = [np.zeros((number, problem.net.hidden_size), np.float32) for _ in before]

    def step():
        for states, place in zip(kept, before, strict=True):
            np.take(states, chosen, axis=0, out=place[0], mode="clip")  # "raise" goes by a buffer
        after = run()
        for states, now in zip(kept, after, strict=True):
            states[chosen] = now[0]
        return after

    return Rival(form, "step()", {"step": step}, lambda after: {"y": after[0][0]})


def _operator(kind, layer, source, number, lengths="", initial=(), outputs=()):
    """Return the node of a layer, and its weights."""
    blocks, H = GATES[kind], len(layer[0].W_hh)

    def in_order(array):  # (..., G H) to (G H, ...)
        parts = np.split(array, len(blocks), axis=-1)
        return np.concatenate([parts[block] for block in blocks], axis=-1).T

    def biases(direction):
        second = np.zeros_like(direction.b_h)
        if direction.b_hn is not None:
            second[2 * H :] = direction.b_hn
        return np.concatenate([in_order(direction.b_h), in_order(second)])

    weights = {
        f"W_{number}": np.stack([in_order(each.W_xh) for each in layer]),
        f"R_{number}": np.stack([in_order(each.W_hh) for each in layer]),
        f"B_{number}": np.stack([biases(each) for each in layer]),
    }
    attributes = {name: value * len(layer) if name == "activations" else value
                  for name, value in ATTRIBUTES[kind].items()}
    node = helper.make_node(
        kind, [source, *weights, lengths, *initial], [*outputs], hidden_size=H,
        direction="bidirectional" if len(layer) == 2 else "forward", **attributes,
    )
    return node, weights


def _parts(net):
    """Return the model of a step by products and what comes after them."""
    kind = type(net).__name__
    states = state_names(kind)
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
    return _model(nodes, weights, {"x": (1, net.input_size)} | shapes, last)


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


def _model(nodes, weights, inputs, outputs, whole_numbers=()):
    """Return a model, serialized; inputs and outputs map names to shapes."""
    def described(shapes, kind=TensorProto.FLOAT):
        return [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]

    constants = [
        numpy_helper.from_array(np.ascontiguousarray(array), name)
        for name, array in weights.items()
    ]
    arguments = described(inputs) + described(dict(whole_numbers), TensorProto.INT32)
    graph = helper.make_graph(nodes, "rnn", arguments, described(outputs), constants)
    return helper.make_model(graph, **FORMAT).SerializeToString()
