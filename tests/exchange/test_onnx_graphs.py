"""What exporters write around recurrent nodes: followed to the same numbers, or refused by name."""

import numpy as np
import pytest
from onnx_models import OPEN, cell_weights, constant, info, model, node, onnx, run

import crnn
from crnn import layers

T, B, I, H, O = 5, 4, 3, 6, 2  # noqa: E741
BACK = {"perm": [1, 0, 2]}  # exchanges time and batch
BOTH = {"hidden_size": H, "direction": "bidirectional"}


def weights(rng, prefix="", op="LSTM", inputs=I, directions=1):
    """Return W, R and B by names that begin with a prefix."""
    found = cell_weights(rng, op, inputs, H, directions)
    return {prefix + name: each for name, each in found.items()}


def dense(rng, inputs=H):
    """Return V and b of a dense layer, and places and shapes that nodes read."""
    return {
        "V": rng.normal(size=(inputs, O)).astype(np.float32),
        "b": rng.normal(size=O).astype(np.float32), "minus_one": np.array(-1),
        "zero": np.array([0]), "one": np.array([1]), "end": np.array([2**63 - 1]),
        "last": np.array([-1]), "merge": np.array([0, 0, -1]), "rows": np.array([-1, H]),
    }


def lstm(x="x", outputs="Y Y_h", prefix="", op="LSTM", **options):
    return node(op, f"{x} {prefix}W {prefix}R {prefix}B", outputs,
                **{"hidden_size": H, **options})


def batch_first_all(rng):
    return [
        node("Transpose", "x", "xt", **BACK), lstm("xt"), node("Squeeze", "Y one", "h"),
        node("Transpose", "h", "hb", **BACK), node("MatMul", "hb V", "p"),
        node("Add", "b p", "a"), node("Softmax", "a", "y", axis=-1),
    ], weights(rng) | dense(rng)


def batch_first_last(rng):
    return [
        node("Transpose", "x", "xt", **BACK), lstm("xt"), node("Squeeze", "Y_h zero", "h"),
        node("Gemm", "h V b", "p", alpha=0.5, beta=2.0), node("Sigmoid", "p", "y"),
    ], weights(rng) | dense(rng)


def last_by_gather(rng):
    return [lstm(), node("Squeeze", "Y one", "h"), node("Gather", "h minus_one", "l", axis=0),
            node("MatMul", "l V", "p"), node("Relu", "p", "y")], weights(rng) | dense(rng)


def last_by_slice(rng):
    return [lstm(), node("Squeeze", "Y one", "h"), node("Slice", "h last end zero", "s"),
            node("Squeeze", "s zero", "l"), node("MatMul", "l V", "y")], weights(rng) | dense(rng)


def last_by_the_shape(rng):
    return [
        lstm(), node("Squeeze", "Y one", "h"), node("Shape", "h", "size"),
        node("Gather", "size zero", "steps", axis=0), node("Sub", "steps one", "at"),
        node("Gather", "h at", "s", axis=0), node("Squeeze", "s zero", "l"),
        node("MatMul", "l V", "y"),
    ], weights(rng) | dense(rng)


def both_directions(rng):
    return [
        lstm(**BOTH), node("Transpose", "Y", "Yt", perm=[0, 2, 1, 3]),
        node("Reshape", "Yt merge", "h"), node("MatMul", "h V", "y"),
    ], weights(rng, directions=2) | dense(rng, 2 * H)


def both_last(rng):
    return [
        lstm(**BOTH), node("Transpose", "Y_h", "l", perm=[1, 0, 2]),
        node("Flatten", "l", "h", axis=1), node("MatMul", "h V", "y"),
    ], weights(rng, directions=2) | dense(rng, 2 * H)


def both_last_taken_apart(rng):
    return [
        lstm(**BOTH), node("Split", "Y_h", "f1 r1", axis=0), node("Squeeze", "f1 zero", "f"),
        node("Squeeze", "r1 zero", "r"), node("Concat", "r f", "h", axis=1),
        node("MatMul", "h V", "y"),
    ], weights(rng, directions=2) | dense(rng, 2 * H)


def both_last_of_all_steps(rng):
    """The first direction's last step, and the second's first."""
    return [
        lstm(**BOTH), node("Transpose", "Y", "Yt", perm=[0, 2, 1, 3]),
        node("Reshape", "Yt merge", "h"), node("Gather", "h minus_one", "at_end", axis=0),
        node("Gather", "h at_zero", "at_start", axis=0),
        node("Slice", "at_end zero half one", "f"), node("Slice", "at_start half end one", "r"),
        node("Concat", "f r", "both", axis=-1), node("MatMul", "both V", "y"),
    ], weights(rng, directions=2) | dense(rng, 2 * H) | {
        "half": np.array([H]), "at_zero": np.array(0)}


def two_nodes(rng):
    return [
        node("Transpose", "x", "xt", **BACK), lstm("xt", "fY fY_h", "f", hidden_size=H),
        lstm("xt", "rY rY_h", "r", direction="reverse"), node("Squeeze", "fY one", "fh"),
        node("Squeeze", "rY one", "rh"), node("Concat", "fh rh", "h", axis=2),
        node("Transpose", "h", "hb", **BACK), node("MatMul", "hb V", "y"),
    ], weights(rng, "f") | weights(rng, "r") | dense(rng, 2 * H)


def a_reverse_alone(rng):
    return [
        lstm(direction="reverse"), node("Squeeze", "Y one", "h"),
        lstm("h", "Z Z_h", "next", op="GRU"), node("Squeeze", "Z one", "g"),
        node("MatMul", "g V", "y"),
    ], weights(rng) | weights(rng, "next", "GRU", H) | dense(rng)


def a_reverse_that_is_put_out(rng):
    return [lstm(direction="reverse"), node("Squeeze", "Y one", "h"), node("Relu", "h", "y")], (
        weights(rng) | dense(rng))


def two_layers_with_state_zeros(rng):
    """Zeros for each sequence of the batch, cut in two."""
    return [
        node("Shape", "x", "size"), node("Gather", "size one", "batch", axis=0),
        node("Concat", "two batch units", "state", axis=0),
        node("ConstantOfShape", "state", "zeros"), node("Split", "zeros", "h0 h1", axis=0),
        node("LSTM", "x W R B  h0 h0", "Y Y_h", hidden_size=H), node("Squeeze", "Y one", "h"),
        node("LSTM", "h nW nR nB  h1 h1", "Z Z_h", hidden_size=H),
        node("Concat", "Y_h Z_h", "ends", axis=0), node("Gather", "ends minus_one", "l", axis=0),
        node("MatMul", "l V", "y"),
    ], weights(rng) | weights(rng, "n", inputs=H) | dense(rng) | {
        "two": np.array([2]), "units": np.array([H])}


def steps_and_sequences_in_one_axis(rng):
    return [
        lstm(), node("Squeeze", "Y one", "h"), node("Shape", "h", "size"),
        node("Slice", "size zero two", "lead"), node("Reshape", "h rows", "flat"),
        node("Gemm", "flat V b", "p"), node("Concat", "lead width", "shape", axis=0),
        node("Reshape", "p shape", "y"),
    ], weights(rng) | dense(rng) | {"two": np.array([2]), "width": np.array([O])}


def weights_behind_nodes(rng):
    found = weights(rng)
    W, R = found.pop("W"), found.pop("R")
    return [
        node("Concat", "W1 W2", "Wc", axis=0), node("Unsqueeze", "Wc zero", "W"),
        node("Transpose", "Rt", "Rs", perm=[1, 0]), node("Slice", "Rs zero rows4 zero", "Rc"),
        node("Unsqueeze", "Rc zero", "R"), lstm(), node("Squeeze", "Y one", "y"),
    ], found | dense(rng) | {
        "W1": W[0, :7], "W2": W[0, 7:], "rows4": np.array([4 * H]),
        "Rt": np.concatenate([R[0], R[0]]).T}


def weights_as_integers(rng):
    found = weights(rng)
    scale = np.float32(0.01)
    found["Wq"] = np.round(found.pop("W") / scale).astype(np.int8)
    return [node("DequantizeLinear", "Wq scale", "W"), lstm(), node("Squeeze", "Y one", "y")], (
        found | dense(rng) | {"scale": scale})


def a_dense_layer_first(rng):
    return [
        node("MatMul", "x U", "u"), node("Tanh", "u", "t"), lstm("t"),
        node("Dropout", "Y", "d"), node("Squeeze", "d one", "y"),
    ], weights(rng, inputs=7) | dense(rng) | {"U": rng.normal(size=(I, 7)).astype(np.float32)}


def a_skip(rng):
    return [
        lstm(), node("Squeeze", "Y one", "h"), node("MatMul", "h V3", "p"),
        node("Add", "p b3", "a"), node("Add", "x a", "y"),
    ], weights(rng) | dense(rng) | {
        "V3": rng.normal(size=(H, I)).astype(np.float32), "b3": np.ones(I, np.float32)}


def an_if_that_is_known(rng):
    def branch(W):
        return onnx.helper.make_graph(
            [node("MatMul", f"h {W}", f"by_{W}")], W, [], [info(f"by_{W}", [*OPEN, O])])

    return [
        lstm(), node("Squeeze", "Y one", "h"), node("Shape", "h", "size"),
        node("Gather", "size minus_one", "width"), node("Equal", "width wanted", "is_wide"),
        node("If", "is_wide", "y", then_branch=branch("V"), else_branch=branch("U")),
    ], weights(rng) | dense(rng) | {"wanted": np.array(H), "U": np.ones((H, O), np.float32)}


FOLLOWED = {each.__name__: each for each in (
    batch_first_all, batch_first_last, last_by_gather, last_by_slice, last_by_the_shape,
    both_directions, both_last, both_last_taken_apart, both_last_of_all_steps, two_nodes,
    a_reverse_alone, a_reverse_that_is_put_out, two_layers_with_state_zeros,
    steps_and_sequences_in_one_axis, weights_behind_nodes, weights_as_integers,
    a_dense_layer_first, a_skip, an_if_that_is_known)}


def graph(make, rng, sizes=OPEN, opset=14):
    nodes, constants = make(rng)
    used = {name for each in nodes for name in each.input} | {"U", "V"}
    constants = {name: each for name, each in constants.items() if name in used}
    return model(nodes, {"x": [*sizes, I]}, {"y": info("y", None)}, constants, opset)


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("fixed", [False, True], ids=["open sizes", "fixed sizes"])
def test_a_graph_is_followed(rng, name, fixed):
    proto = graph(FOLLOWED[name], rng, (T, B) if fixed else OPEN)
    net = crnn.from_onnx(proto)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    wanted = run(proto, {"x": x})["y"]
    y, _ = net(x)
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=0, atol=5e-6)
    assert net.batch_first == name.startswith(("batch_first", "two_nodes"))
    assert net.last == ("last" in name or "two_layers" in name)


def test_old_operators_have_axes_as_attributes(rng):
    nodes = [
        lstm(), node("Squeeze", "Y", "h", axes=[1]),
        node("Slice", "h", "s", axes=[0], starts=[-1], ends=[2**31 - 1]),
        node("Unsqueeze", "s", "u", axes=[0]), node("Squeeze", "u", "l", axes=[0, 1]),
        node("MatMul", "l V", "p"), node("Softmax", "p", "y", axis=1)]
    constants = weights(rng) | {"V": dense(rng)["V"]}
    proto = model(nodes, {"x": [*OPEN, I]}, {"y": ["B", O]}, constants, opset=7)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    net = crnn.from_onnx(proto)
    assert net.last
    np.testing.assert_allclose(net(x)[0], run(proto, {"x": x})["y"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("way", ["Gather", "OneHot"])
def test_tokens(rng, way):
    tokens = rng.integers(0, I, (B, T))
    if way == "Gather":
        first, table = node("Gather", "table tt", "e"), {
            "table": rng.normal(size=(I, 7)).astype(np.float32)}
    else:
        first = node("OneHot", "tt depth values", "e")
        table = {"depth": np.array(I), "values": np.array([0, 1], np.float32)}
    nodes = [node("Transpose", "x", "tt", perm=[1, 0]), first, lstm("e"),
             node("Squeeze", "Y_h zero", "h"), node("MatMul", "h V", "y")]
    constants = weights(rng, inputs=7 if way == "Gather" else I) | table | {
        "zero": np.array([0]), "V": dense(rng)["V"]}
    proto = model(nodes, {"x": info("x", ["B", "T"], np.int64)}, {"y": ["B", O]}, constants)
    net = crnn.from_onnx(proto)
    assert (net.batch_first, net.last, net.input_size) == (True, True, I)
    np.testing.assert_allclose(net(tokens)[0], run(proto, {"x": tokens})["y"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("place", [-1, 2])
def test_a_single_feature_that_is_squeezed(rng, place):
    """Outputs (T, B), which crnn has as (T, B, 1)."""
    nodes = [lstm(), node("Squeeze", "Y one", "h"), node("MatMul", "h V", "p"),
             node("Squeeze", "p place", "s"), node("Sigmoid", "s", "y")]
    constants = weights(rng) | {"V": rng.normal(size=(H, 1)), "one": np.array([1]),
                                "place": np.array([place])}
    proto = model(nodes, {"x": [*OPEN, I]}, {"y": OPEN}, constants)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    net = crnn.from_onnx(proto)
    assert net.layers == (layers.LSTM(H), layers.Dense(1, "sigmoid"))
    np.testing.assert_allclose(
        net(x)[0][:, :, 0], run(proto, {"x": x})["y"], rtol=0, atol=5e-6)


def test_lengths_that_are_the_whole_length(rng):
    """As the exporter of TensorFlow writes them: one number, once for each sequence."""
    nodes = [
        node("Shape", "x", "size"), node("Slice", "size zero one zero", "steps"),
        node("Slice", "size one two zero", "batch"), node("Tile", "steps batch", "all"),
        node("Cast", "all", "lens", to=6),
        node("LSTM", "x W R B lens", "Y Y_h", hidden_size=H), node("Squeeze", "Y one", "y")]
    constants = weights(rng) | {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    proto = model(nodes, {"x": [*OPEN, I]}, {"y": [*OPEN, H]}, constants)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    np.testing.assert_allclose(
        crnn.from_onnx(proto)(x)[0], run(proto, {"x": x})["y"], rtol=0, atol=5e-6)


def test_one_sequence_without_a_batch(rng):
    nodes = [node("Unsqueeze", "x one", "xb"), lstm("xb"), node("Squeeze", "Y two", "y")]
    constants = weights(rng) | {"one": np.array([1]), "two": np.array([1, 2])}
    proto = model(nodes, {"x": ["T", I]}, {"y": ["T", H]}, constants)
    x = rng.normal(size=(T, I)).astype(np.float32)
    np.testing.assert_allclose(
        crnn.from_onnx(proto)(x)[0], run(proto, {"x": x})["y"], rtol=0, atol=5e-6)


def test_states_stacked_over_layers_are_given_in_a_call(rng):
    nodes = [
        node("Split", "h0", "h1 h2", axis=0), node("Slice", "c0 zero one zero", "c1"),
        node("Slice", "c0 one end zero", "c2"), node("LSTM", "x W R B  h1 c1", "Y Yh Yc",
                                                     hidden_size=H),
        node("Squeeze", "Y one", "h"),
        node("LSTM", "h nW nR nB  h2 c2", "Z Zh Zc", hidden_size=H), node("Squeeze", "Z one", "y"),
        node("Concat", "Yh Zh", "hn", axis=0), node("Concat", "Yc Zc", "cn", axis=0)]
    constants = {**weights(rng), **weights(rng, "n", inputs=H), **dense(rng)}
    constants = {name: each for name, each in constants.items()
                 if name in {one for each in nodes for one in each.input}}
    shape = [2, "B", H]
    proto = model(nodes, {"x": [*OPEN, I], "h0": shape, "c0": shape},
                  {"y": [*OPEN, H], "hn": shape, "cn": shape}, constants)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    h, c = (rng.normal(size=(2, B, H)).astype(np.float32) for _ in range(2))
    wanted = run(proto, {"x": x, "h0": h, "c0": c})
    y, (h_n, c_n) = crnn.from_onnx(proto)(x, (h, c))
    for ours, name in ((y, "y"), (h_n, "hn"), (c_n, "cn")):
        np.testing.assert_allclose(ours, wanted[name], rtol=0, atol=5e-6)


def test_functions_of_the_model_are_followed(rng):
    helper = onnx.helper
    function = helper.make_function(
        "mine", "Layer", ["a", "V", "b"], ["out"],
        [node("MatMul", "a V", "p"), node("Add", "p b", "out")],
        [helper.make_opsetid("", 14)])
    nodes = [lstm(), node("Squeeze", "Y one", "h"),
             node("Layer", "h V b", "q", domain="mine"), node("Relu", "q", "y")]
    constants = weights(rng) | {name: dense(rng)[name] for name in ("V", "b", "one")}
    proto = model(nodes, {"x": [*OPEN, I]}, {"y": [*OPEN, O]}, constants,
                  functions=[function], imports=[helper.make_opsetid("mine", 1)])
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    np.testing.assert_allclose(
        crnn.from_onnx(proto)(x)[0], run(proto, {"x": x})["y"], rtol=0, atol=5e-6)


def among_others(rng):
    """A convolution before a GRU, and an attention above a dense layer."""
    nodes = [
        node("Conv", "x K", "k"), node("Transpose", "k", "kt", perm=[2, 0, 1]),
        lstm("kt", op="GRU"), node("Squeeze", "Y one", "h"), node("MatMul", "h V", "p"),
        node("Add", "p b", "a"), node("Tanh", "a", "t"), node("ReduceMean", "t", "y", axes=[0])]
    constants = weights(rng, op="GRU") | {
        **{name: dense(rng)[name] for name in ("V", "b", "one")},
        "K": rng.normal(size=(I, 2, 3)).astype(np.float32)}
    return model(nodes, {"x": ["B", 2, "T"]}, {"y": info("y", None)}, constants), constants


@pytest.mark.parametrize("names", [["GRU_Y"], ["GRU_Y", "MatMul_p"], ["GRU_Y", "Tanh_t"]])
def test_chosen_nodes_become_the_network(rng, names):
    proto, constants = among_others(rng)
    with pytest.raises(crnn.FormatError, match=r"ReduceMean 'ReduceMean_y'.*\['GRU_Y'\]"):
        crnn.from_onnx(proto)
    net = crnn.from_onnx(proto, layers=names)
    kinds = {1: [layers.GRU(H, reset_after=False)]}.get(len(names), [
        layers.GRU(H, reset_after=False),
        layers.Dense(O, "tanh" if "Tanh_t" in names else "linear")])
    assert list(net.layers) == kinds
    assert (net.input_size, net.batch_first, net.last) == (I, False, False)
    if len(names) == 2:
        np.testing.assert_array_equal(net.parameters["W_hy"], constants["V"])
        np.testing.assert_array_equal(net.parameters["b_y"], constants["b"])


@pytest.mark.no_backend
def test_what_is_chosen_has_to_be_there_and_in_a_row(rng):
    proto, _ = among_others(rng)
    with pytest.raises(crnn.FormatError, match=r"layers has 'lstm', and .* GRU 'GRU_Y', MatMul"):
        crnn.from_onnx(proto, layers=["lstm"])
    with pytest.raises(TypeError, match="a list of names"):
        crnn.from_onnx(proto, layers="GRU_Y")
    with pytest.raises(crnn.FormatError, match="no recurrent layer"):
        crnn.from_onnx(proto, layers=["MatMul_p"])


def in_two_branches(rng):
    """An If that depends on the input, with other weights in each branch."""
    def branch(prefix):
        constants = weights(rng, prefix)
        return onnx.helper.make_graph(
            [lstm(prefix=prefix, outputs=f"{prefix}Y {prefix}Yh")], prefix, [],
            [info(f"{prefix}Y", None)], [constant(*each) for each in constants.items()])

    nodes = [node("If", "rate", "Y", then_branch=branch("a"), else_branch=branch("b")),
             node("Squeeze", "Y one", "y")]
    return model(nodes, {"rate": info("rate", [], bool), "x": [*OPEN, I]},
                 {"y": info("y", None)}, {"one": np.array([1])})


def test_a_branch_is_chosen_by_its_node(rng):
    proto = in_two_branches(rng)
    with pytest.raises(crnn.FormatError, match="If 'If_Y': which branch"):
        crnn.from_onnx(proto)
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    for name, rate in (("LSTM_aY", True), ("LSTM_bY", False)):
        wanted = run(proto, {"x": x, "rate": np.array(rate)})["y"]
        y, _ = crnn.from_onnx(proto, layers=[name])(x)
        np.testing.assert_allclose(y, wanted, rtol=0, atol=5e-6)


REFUSED = {
    "the last step of both directions": (lambda rng: ([
        lstm(**BOTH), node("Transpose", "Y", "Yt", perm=[0, 2, 1, 3]),
        node("Reshape", "Yt merge", "h"), node("Gather", "h minus_one", "l", axis=0),
        node("MatMul", "l V", "y"),
    ], weights(rng, directions=2) | dense(rng, 2 * H)), "the output 'y': it reads the last"),
    "directions mixed up": (lambda rng: ([
        lstm(**BOTH), node("Reshape", "Y merge4", "y"),
    ], weights(rng, directions=2) | {"merge4": np.array([0, -1, 2 * H])}), "Reshape 'Reshape_y'"),
    "the mean of the steps": (lambda rng: ([
        lstm(), node("ReduceMean", "Y", "y", axes=[0]),
    ], weights(rng)), "ReduceMean 'ReduceMean_y': ReduceMean is not in crnn"),
    "a step in the middle": (lambda rng: ([
        lstm(), node("Gather", "Y two", "y", axis=0),
    ], weights(rng) | {"two": np.array(2)}), "Gather 'Gather_y': it takes some steps only"),
    "steps backwards": (lambda rng: ([
        lstm(), node("Slice", "Y last start zero last", "y"),
    ], weights(rng) | dense(rng) | {"start": np.array([-(2**63)])}), "Slice 'Slice_y'.*order"),
    "two layers beside each other": (lambda rng: ([
        lstm(), node("Squeeze", "Y one", "h"), lstm("h", "Z Z_h", "n"),
        node("Squeeze", "Z one", "g"), node("Concat", "h g", "y", axis=2),
    ], weights(rng) | weights(rng, "n", inputs=H) | dense(rng)), "several layers beside each"),
    "a residual": (lambda rng: ([
        lstm(), node("Squeeze", "Y one", "h"), lstm("h", "Z Z_h", "n"),
        node("Squeeze", "Z one", "g"), node("Add", "h g", "y"),
    ], weights(rng) | weights(rng, "n", inputs=H) | dense(rng)), "Add 'Add_y': it adds two"),
    "another activation": (lambda rng: ([
        lstm(), node("LeakyRelu", "Y", "y"),
    ], weights(rng)), "LeakyRelu 'LeakyRelu_y'"),
    "a softmax over time": (lambda rng: ([
        lstm(), node("Squeeze", "Y one", "h"), node("Softmax", "h", "y", axis=0),
    ], weights(rng) | dense(rng)), "Softmax 'Softmax_y': it is not over the features"),
    "a state that is computed": (lambda rng: ([
        lstm(), node("Squeeze", "Y one", "h"),
        node("LSTM", "h nW nR nB  Y_h", "y", hidden_size=H),
    ], weights(rng) | weights(rng, "n", inputs=H) | dense(rng)), "LSTM_y.*initial_h is computed"),
    "a table of what layers put out": (lambda rng: ([
        lstm(), node("Cast", "Y", "k", to=7), node("Gather", "V k", "y"),
    ], weights(rng) | dense(rng)), "Gather 'Gather_y': its tokens"),
    "a bias of the length": (lambda rng: ([
        lstm(), node("Squeeze", "Y one", "h"), node("Shape", "h", "s"),
        node("Gather", "s zero", "n"), node("Cast", "n", "c", to=1), node("MatMul", "h V", "p"),
        node("Add", "p c", "y"),
    ], weights(rng) | dense(rng)), "depend on how long or how many"),
}


@pytest.mark.no_backend
@pytest.mark.parametrize("name", REFUSED)
def test_what_crnn_cannot_express_is_refused_by_name(rng, name):
    make, message = REFUSED[name]
    with pytest.raises(crnn.FormatError, match=message):
        crnn.from_onnx(graph(make, rng))


@pytest.mark.no_backend
def test_layers_that_were_unrolled_are_named(rng):
    nodes = [node("MatMul", "x V", "a"), node("Sigmoid", "a", "s"), node("Tanh", "a", "t"),
             node("Mul", "s t", "y")]
    proto = model(nodes, {"x": [*OPEN, I]}, {"y": info("y", None)},
                  {"V": np.ones((I, 2), np.float32)})
    with pytest.raises(crnn.FormatError, match=r"no RNN, GRU or LSTM node.*unrolled.*1 MatMul"):
        crnn.from_onnx(proto)


@pytest.mark.no_backend
def test_two_heads_are_refused_and_one_can_be_chosen(rng):
    nodes = [lstm(), node("Squeeze", "Y one", "h"), node("MatMul", "h V", "y"),
             node("MatMul", "h U", "z")]
    constants = weights(rng) | {"V": dense(rng)["V"], "one": np.array([1]),
                                "U": np.ones((H, 3), np.float32)}
    proto = model(nodes, {"x": [*OPEN, I]}, {"y": info("y", None), "z": info("z", None)}, constants)
    with pytest.raises(crnn.FormatError, match="'y' and 'z' come from different layers"):
        crnn.from_onnx(proto)
    assert crnn.from_onnx(proto, layers=["LSTM_Y", "MatMul_z"]).output_size == 3


@pytest.mark.no_backend
def test_what_is_left_out_is_said(rng):
    from crnn.exchange.onnx_reading import describe

    proto, _ = among_others(rng)
    assert describe(proto, ["GRU_Y"]).left_out == [
        "Conv 'Conv_k'", "MatMul 'MatMul_p'", "Add 'Add_a'", "Tanh 'Tanh_t'",
        "ReduceMean 'ReduceMean_y'"]


def test_an_input_with_its_features_before_the_last_axis_is_named(rng):
    nodes = [node("Transpose", "x", "xt", perm=[2, 0, 1]), lstm("xt"),
             node("Squeeze", "Y one", "h"), node("MatMul", "h V", "y")]
    graph = model(nodes, {"x": ["B", I, "T"]}, {"y": ["T", "B", O]}, weights(rng) | dense(rng))
    net = crnn.from_onnx(graph)
    assert "features are the last one" in net.metadata["left_out"]
    x = rng.standard_normal((B, I, T)).astype(np.float32)
    y = net(np.moveaxis(x, 1, -1))[0]
    np.testing.assert_allclose(
        np.swapaxes(y, 0, 1) if net.batch_first else y, run(graph, {"x": x})["y"], atol=2e-6)
