"""Every cell, also those that PyTorch has not, against ONNX Runtime, in float32.

ONNX orders the gates of a GRU z, r, h and those of an LSTM i, o, f, c.
"""

import numpy as np
import pytest
from builds import OTHER_LAYERS
from cell_networks import CELLS as PLAIN
from cell_networks import (
    B,
    H,
    I,
    T,
    arrays,
    build,
    check_close,
    draw_input,
    draw_state,
    named,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

OPERATORS = 14  # the version of the operators
BLOCKS = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}
FUNCTIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "hard_sigmoid": "HardSigmoid",
             "hard_sigmoid_0.2": "HardSigmoid"}
LENGTHS = np.array([2, 5, 1, 3])
each_cell = pytest.mark.parametrize("cell", [*PLAIN, *OTHER_LAYERS])
one_way_or_both = pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])


def onnx_weights(net):
    """Return W, R and B, and P where there are peepholes, the directions on the first axis."""
    kind, H = kind_of(net), net.hidden_size
    order = np.concatenate([np.arange(H) + block * H for block in BLOCKS[kind.cell]])
    found = []
    for end in ("", "_reverse")[: 1 + net.bidirectional]:
        p = net.parameters
        second = np.zeros(len(order), np.float32)
        if f"b_hn_l0{end}" in p:
            second[2 * H :] = p[f"b_hn_l0{end}"]  # the candidate's is last in both orders
        both_biases = np.concatenate([p[f"b_h_l0{end}"][order], second])
        own = [p[f"W_xh_l0{end}"].T[order], p[f"W_hh_l0{end}"].T[order], both_biases]
        if kind.peepholes:
            own.append(p[f"W_ch_l0{end}"][[0, 2, 1]].reshape(-1))  # i, f, o
        found.append(own)
    return dict(zip("WRBP", map(np.stack, zip(*found, strict=True)), strict=False))


def kind_of(net):
    return net.engine.layers[0].kind


def attributes(net):
    kind = kind_of(net)
    candidate, gate = FUNCTIONS[kind.nonlinearity], FUNCTIONS[kind.gate_activation]
    functions = {"RNN": [candidate], "GRU": [gate, candidate],
                 "LSTM": [gate, candidate, candidate]}[kind.cell]
    found = {
        "hidden_size": net.hidden_size,
        "direction": "bidirectional" if net.bidirectional else "forward",
        "activations": functions * (1 + net.bidirectional),
    }
    if kind.cell == "GRU":
        found["linear_before_reset"] = int(kind.reset_after)
    if kind.gate_activation == "hard_sigmoid":  # by default it is the other one
        found["activation_alpha"] = [1 / 6] * (1 + net.bidirectional)
    if kind.clip:
        found["clip"] = kind.clip
    if kind.coupled:
        found["input_forget"] = 1
    return found


def run_onnx(net, x, state, lengths):
    """Return outputs (T, B, D * H) and last states of a model of one node."""
    helper, kind = onnx.helper, kind_of(net).cell
    feeds = {"X": x, **onnx_weights(net)}
    if lengths is not None:
        feeds["sequence_lens"] = lengths.astype(np.int32)
    if state is not None:
        feeds |= dict(zip(("initial_h", "initial_c"), arrays(state), strict=False))
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    order = order[: 8 if kind == "LSTM" else 6]
    results = ["Y", "Y_h", "Y_c"][: 1 + len(arrays(net(x)[1]))]
    node = helper.make_node(
        kind, [name if name in feeds else "" for name in order], results, **attributes(net))
    types = {np.dtype(np.float32): onnx.TensorProto.FLOAT,
             np.dtype(np.int32): onnx.TensorProto.INT32}
    last = (1 + net.bidirectional, x.shape[1], net.hidden_size)
    shapes = {"Y": (len(x), last[0], *last[1:]), "Y_h": last, "Y_c": last}
    graph = helper.make_graph(
        [node], "one layer",
        [helper.make_tensor_value_info(n, types[a.dtype], a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shapes[n]) for n in results])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPERATORS)],
                              ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y, *last = session.run(None, feeds)
    return np.concatenate(np.moveaxis(y, 1, 0), axis=2), last


@each_cell
@one_way_or_both
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no state"])
def test_outputs_and_last_states(backend, rng, cell, both, lengths, with_state):
    net = build(cell, 1, both, sizes=(I, H, None), dtype="float32", backend=backend)
    x, state = draw_input(rng, net), draw_state(rng, net, B) if with_state else None
    y, last = net(x, state, lengths=lengths)
    wanted, wanted_last = run_onnx(net, x, state, lengths)
    assert wanted.shape == (T, B, H * (1 + both))
    theirs = {"y": wanted} | dict(zip(named("last", last), wanted_last, strict=True))
    check_close({"y": y} | named("last", last), theirs, 1e-5)


@each_cell
def test_layers_one_upon_another(backend, rng, cell):
    """Two models, the second of which reads what the first puts out."""
    net = build(cell, 2, True, sizes=(I, H, None), dtype="float32", backend=backend)
    x, state = draw_input(rng, net), draw_state(rng, net, B)
    y, _ = net(x, state, lengths=LENGTHS)
    wanted = x
    for layer in range(2):
        single = build(cell, 1, True, sizes=(wanted.shape[2], H, None), dtype="float32")
        for name in single.parameters:
            single.parameters[name] = net.parameters[name.replace("_l0", f"_l{layer}")]
        part = [each[2 * layer : 2 * layer + 2] for each in arrays(state)]
        initial = tuple(part) if isinstance(state, tuple) else part[0]
        wanted, _ = run_onnx(single, wanted, initial, LENGTHS)
    check_close({"y": y}, {"y": wanted}, 1e-5)


@pytest.mark.parametrize("cell", ["GRU", "GRU, reset before"])
def test_the_other_form_of_a_gru_would_be_seen(rng, cell):
    net = build(cell, 1, False, sizes=(I, H, None), dtype="float32")
    other = build("GRU, reset before" if cell == "GRU" else "GRU", 1, False, sizes=(I, H, None),
                  dtype="float32")
    for name in other.parameters.keys() & net.parameters.keys():
        other.parameters[name] = net.parameters[name]
    x, state = draw_input(rng, net), draw_state(rng, net, B)
    y, _ = run_onnx(other, x, state, None)
    with pytest.raises(AssertionError, match="y"):
        check_close({"y": net(x, state)[0]}, {"y": y}, 1e-3)
