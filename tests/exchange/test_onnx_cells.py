"""RNN, GRU and LSTM nodes of ONNX, with each of their options, against ONNX Runtime."""

import numpy as np
import pytest
from onnx_models import OPEN, cell_weights, constant, info, model, node, onnx, run

import crnn

T, B, I, H = 5, 4, 3, 6  # noqa: E741
LENGTHS = np.array([2, 5, 1, 3], np.int32)
CELLS = {
    "RNN": ("RNN", {}),
    "RNN, relu": ("RNN", {"activations": ["Relu"]}),
    "RNN, clip": ("RNN", {"clip": 0.6}),
    "GRU": ("GRU", {}),
    "GRU, linear before reset": ("GRU", {"linear_before_reset": 1}),
    "GRU, relu": ("GRU", {"activations": ["Sigmoid", "Relu"], "linear_before_reset": 1}),
    "GRU, clip": ("GRU", {"clip": 0.6}),
    "GRU, hard": ("GRU", {"activations": ["HardSigmoid", "Tanh"]}),
    "LSTM": ("LSTM", {}),
    "LSTM, relu": ("LSTM", {"activations": ["Sigmoid", "Relu", "Relu"]}),
    "LSTM, peepholes": ("LSTM", {"peepholes": True}),
    "LSTM, clip": ("LSTM", {"clip": 0.6}),
    "LSTM, coupled": ("LSTM", {"input_forget": 1}),
    "LSTM, all": ("LSTM", {"input_forget": 1, "peepholes": True, "clip": 0.9}),
    "LSTM, hard": ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
    "LSTM, hard as Keras 3": ("LSTM", {
        "activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [1 / 6],
        "activation_beta": [0.5]}),
}
DIRECTIONS = ("forward", "reverse", "bidirectional")


def one_node(rng, op, options, direction, lengths=False, states=()):
    """Return a model of one node that puts out Y and the last states, and its weights."""
    options = dict(options)
    D = 1 + (direction == "bidirectional")
    weights = cell_weights(rng, op, I, H, D, options.pop("peepholes", False))
    if "activations" in options:
        options["activations"] = options["activations"] * D
    for name in ("activation_alpha", "activation_beta"):
        if name in options:
            options[name] = options[name] * D
    inputs = {"x": [*OPEN, I]}
    if lengths:
        inputs["lens"] = info("lens", ["B"], np.int32)
    inputs |= {name: [D, "B", H] for name in states}
    named = ["x", "W", "R", "B", "lens" if lengths else "", *states, "P"]
    if "P" not in weights:
        named.pop()
    elif op == "LSTM" and not states:
        named[5:5] = ["", ""]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    made = node(op, " ".join(named).rstrip(), " ".join(outputs), hidden_size=H,
                direction=direction, **options)
    shapes = {"Y": ["T", D, "B", H], "Y_h": [D, "B", H], "Y_c": [D, "B", H]}
    return model([made], inputs, {name: shapes[name] for name in outputs}, weights)


def drawn(rng, op, D):
    """Return x and states that are not zero."""
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    states = {name: rng.normal(size=(D, B, H)).astype(np.float32) * 0.5
              for name in ("h0", "c0")[: 2 if op == "LSTM" else 1]}
    return x, states


def state_of(arrays, direction):
    """Return arrays as the state of a network, which has both directions for a reverse one."""
    if direction == "reverse":
        arrays = [np.concatenate([np.zeros_like(each), each]) for each in arrays]
    return tuple(arrays) if len(arrays) == 2 else arrays[0]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("padded", [False, True], ids=["full", "lengths"])
def test_outputs_and_last_states(rng, cell, direction, padded):
    op, options = CELLS[cell]
    x, states = drawn(rng, op, 1 + (direction == "bidirectional"))
    proto = one_node(rng, op, options, direction, padded, tuple(states))
    feeds = {"x": x, **states} | ({"lens": LENGTHS} if padded else {})
    wanted = run(proto, feeds)
    net = crnn.from_onnx(proto)
    y, last = net(x, state_of([*states.values()], direction), lengths=LENGTHS if padded else None)
    np.testing.assert_allclose(y, np.concatenate([*np.moveaxis(wanted["Y"], 1, 0)], 2),
                               rtol=0, atol=2e-6)
    for ours, name in zip(last if op == "LSTM" else [last], ["Y_h", "Y_c"], strict=False):
        ours = ours[1:] if direction == "reverse" else ours
        np.testing.assert_allclose(ours, wanted[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_initial_states_that_are_constants(rng, cell, direction):
    D = 1 + (direction == "bidirectional")
    x, states = drawn(rng, cell, D)
    proto = one_node(rng, cell, {}, direction, states=tuple(states))
    del proto.graph.input[1:]
    proto.graph.initializer.extend(
        constant(name, np.repeat(each[:, :1], B, axis=1)) for name, each in states.items())
    net = crnn.from_onnx(proto)
    wanted = run(proto, {"x": x})["Y"]
    np.testing.assert_allclose(net(x)[0], np.concatenate([*np.moveaxis(wanted, 1, 0)], 2),
                               rtol=0, atol=2e-6)
    assert net.parameters["h_0_l0" + ("_reverse" if direction == "reverse" else "")].any()


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_the_batch_first(rng, op):
    """ONNX Runtime does not run layout=1, so the same node with time first is the measure."""
    proto = one_node(rng, op, {}, "bidirectional")
    x, _ = drawn(rng, op, 2)
    wanted = run(proto, {"x": x})["Y"]
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("layout", 1))
    del proto.graph.output[:]
    proto.graph.output.append(info("Y", ["B", "T", 2, H]))
    net = crnn.from_onnx(proto)
    y, _ = net(x.swapaxes(0, 1))
    assert y.shape == (B, T, 2 * H)
    np.testing.assert_allclose(y.swapaxes(0, 1), np.concatenate([*np.moveaxis(wanted, 1, 0)], 2),
                               rtol=0, atol=2e-6)


def test_a_network_of_float64_weights_is_one(rng):
    proto = one_node(rng, "LSTM", {}, "forward")
    for each in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(each).astype(np.float64)
        each.CopyFrom(onnx.numpy_helper.from_array(array, each.name))
    assert crnn.from_onnx(proto).dtype == np.float64
    assert crnn.from_onnx(proto, dtype="float32").dtype == np.float32


REFUSED = {
    "Elu": ("RNN", {"activations": ["Elu"]}, "the activation Elu is not in crnn"),
    "sigmoid state": ("RNN", {"activations": ["Sigmoid"]}, "activations sigmoid it is not"),
    "tanh gates": ("GRU", {"activations": ["Tanh", "Tanh"]}, "activations tanh, tanh it is not"),
    "two functions": ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "tanh for the cand"),
    "another hard sigmoid": ("LSTM", {
        "activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.3]},
        "HardSigmoid with alpha 0.3 and beta 0.5"),
}


@pytest.mark.no_backend
@pytest.mark.parametrize("case", REFUSED)
def test_cells_that_crnn_has_not_are_refused_by_name(rng, case):
    op, options, message = REFUSED[case]
    proto = one_node(rng, op, options, "forward")
    with pytest.raises(crnn.FormatError, match=message) as caught:
        crnn.from_onnx(proto)
    assert f"{op}_Y" in str(caught.value)


WRONG = {  # inputs of the node, and shapes that do not fit H = 6, I = 3 and one direction
    "W": (1, 24, 4, 1), "R": (1, 24, 5), "B": (1, 24), "P": (1, 12), "h0": (2, 4, 6),
    "hidden_size": (1, 24, 3), "W for two": (2, 24, 3),
}


@pytest.mark.no_backend
@pytest.mark.parametrize("case", WRONG)
def test_weights_that_do_not_fit_are_refused(rng, case):
    proto = one_node(rng, "LSTM", {"peepholes": True}, "forward", states=("h0", "c0"))
    name = case.split()[0]
    if name == "hidden_size":
        for each in proto.graph.node[0].attribute:
            if each.name == name:
                each.i = 7
    else:
        tensors = {each.name: each for each in proto.graph.initializer}
        array = np.zeros(WRONG[case], np.float32)
        if name in tensors:
            tensors[name].CopyFrom(constant(name, array))
        else:
            proto.graph.initializer.append(constant(name, array))
    with pytest.raises(crnn.FormatError, match="has the shape"):
        crnn.from_onnx(proto)
