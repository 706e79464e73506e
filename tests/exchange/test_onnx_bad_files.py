"""ONNX files that are damaged, or lie: refused in one line, at once, and in little memory."""

import os
import tracemalloc

import numpy as np
import pytest
from onnx_models import OPEN, cell_weights, constant, info, model, node, onnx

import crnn

pytestmark = pytest.mark.no_backend
I, H = 2, 3  # noqa: E741
BIG = 2**31


def lstm(x="x", **options):
    return node("LSTM", f"{x} W R B", "Y Y_h", **{"hidden_size": H, **options})


def good(rng, nodes=None, more=None, opset=14):
    constants = cell_weights(rng, "LSTM", I, H) | {"one": np.array([1])} | (more or {})
    nodes = [lstm(), node("Squeeze", "Y one", "y")] if nodes is None else nodes
    return model(nodes, {"x": [*OPEN, I]}, {"y": info("y", None)}, constants, opset)


def refused(source, match, **options):
    with pytest.raises(crnn.FormatError, match=match) as caught:
        crnn.from_onnx(source, **options)
    assert str(caught.value).isprintable()


def made_or_refused(source):
    """Return whether it is a network; if not, in one line that can be shown."""
    try:
        crnn.from_onnx(source)
    except crnn.FormatError as error:
        return False if str(error).isprintable() else str(error)
    return True


def test_a_file_that_is_cut_off(rng, tmp_path):
    data = good(rng).SerializeToString()
    whole = crnn.from_onnx(data).vector
    path = tmp_path / "cut.onnx"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            net = crnn.from_onnx(path)
        except crnn.FormatError:
            continue
        np.testing.assert_array_equal(net.vector, whole)  # what is cut off says who wrote it


def test_bits_that_are_flipped_are_refused_or_make_a_network(rng):
    data = good(rng).SerializeToString()
    for place in range(0, len(data) * 8, 5):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        assert made_or_refused(bytes(flipped)) in (True, False)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "there is no graph"), (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    (b"PK\x03\x04" + bytes(99), "a zip archive"), (b"Once upon a time", "a text"),
    (bytes(range(256)), "not an ONNX model"), (b"\x08\x07", "there is no graph")])
def test_a_file_that_is_none(tmp_path, content, message):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    refused(path, message)


def test_files_that_are_no_regular_ones(tmp_path):
    with pytest.raises(FileNotFoundError):
        crnn.from_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(IsADirectoryError):
        crnn.from_onnx(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        refused(tmp_path / "fifo", "is a FIFO")
        refused("/dev/zero", "is a character device")


@pytest.mark.parametrize("source", [None, 3, ["x"], object()])
def test_what_is_no_model(source):
    with pytest.raises(TypeError, match="a path, bytes or an onnx"):
        crnn.from_onnx(source)


def outside(tensor, place):
    """Have a tensor say that its data are in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    return tensor


def in_another_file(rng, where, place):
    proto = good(rng)
    tensor = outside(constant("T", np.zeros(3)), place)
    if where == "initializer":
        proto.graph.initializer.append(tensor)
    elif where == "sparse":
        sparse = proto.graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
    elif where == "sparse indices":
        sparse = proto.graph.sparse_initializer.add()
        sparse.indices.CopyFrom(tensor)
    elif where == "Constant":
        proto.graph.node.append(node("Constant", "", "t", value=tensor))
    elif where == "a branch":
        branch = onnx.helper.make_graph([node("Identity", "x", "b")], "b", [], [], [tensor])
        proto.graph.node.append(node("If", "one", "t", then_branch=branch, else_branch=branch))
    elif where == "a function":
        proto.functions.append(onnx.helper.make_function(
            "mine", "F", [], ["t"], [node("Constant", "", "t", value=tensor)], []))
    elif where == "W":
        outside(proto.graph.initializer[0], place)
    return proto


@pytest.mark.parametrize("where", ["initializer", "sparse", "sparse indices", "Constant",
                                   "a branch", "a function", "W"])
@pytest.mark.parametrize("place", [
    "weights.bin", "../weights.bin", "/etc/passwd", "link.bin", "folder/link/weights.bin",
    "hard.bin", "", "weights.bin\x00/../x"])
def test_data_in_another_file_are_refused(rng, tmp_path, monkeypatch, where, place):
    """Whatever the other file is: none is opened."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(999))
    os.link("weights.bin", "hard.bin")
    os.symlink("weights.bin", "link.bin")
    data = in_another_file(rng, where, place).SerializeToString()
    (tmp_path / "net.onnx").write_bytes(data)
    refused("net.onnx", "are in another file")


def test_tensors_whose_shapes_lie(rng):
    for dims in ([1, 12, 3], [1, 12, -2], [2**40, 2**40], [2**62, 4], [1, 12], [BIG, BIG, BIG]):
        proto = good(rng)
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        refused(proto, "the tensor 'W' has the shape")


ORDERS = {
    "a circle": ([lstm("b"), node("Squeeze", "Y one", "a"), node("Identity", "a", "b"),
                  node("Identity", "a", "y")], "reads 'b', which no node before"),
    "out of order": ([node("Squeeze", "Y one", "y"), lstm()], "reads 'Y', which no node before"),
    "itself": ([lstm("Y"), node("Squeeze", "Y one", "y")], "reads 'Y', which no node before"),
    "twice": ([lstm(), node("Squeeze", "Y one", "y"), node("Relu", "Y", "y")], "'y' is put out tw"),
    "nothing": ([lstm()], "nothing gives 'y'"),
}


@pytest.mark.parametrize("case", ORDERS)
def test_graphs_that_are_none(rng, case):
    nodes, message = ORDERS[case]
    refused(good(rng, nodes), message)


def functions(count, calls):
    """Return functions, each of which calls the next so many times."""
    made = []
    for number in range(count):
        inner = [node(f"F{number + 1}", "a", f"b{call}", domain="mine") for call in range(calls)]
        inner.append(node("Identity", "a", "b"))
        made.append(onnx.helper.make_function("mine", f"F{number}", ["a"], ["b"], inner, []))
    return made


@pytest.mark.parametrize(("count", "calls"), [(100_000, 1), (15, 30)])
def test_functions_in_each_other(rng, count, calls):
    proto = good(rng, [lstm(), node("F0", "Y", "a", domain="mine"), node("Relu", "a", "y")])
    proto.functions.extend(functions(count, calls))
    refused(proto, "more than 16 deep|called too often")


def test_a_function_that_calls_itself(rng):
    proto = good(rng, [lstm(), node("F", "Y", "y", domain="mine")])
    proto.functions.append(onnx.helper.make_function(
        "mine", "F", ["a"], ["b"], [node("F", "a", "b", domain="mine")], []))
    refused(proto, "more than 16 deep")


def test_graphs_in_each_other(rng):
    proto = good(rng)
    graph = onnx.helper.make_graph([node("Identity", "x", "b")], "b", [], [info("b", None)])
    for depth in range(30):
        name = f"if{depth}"
        graph = onnx.helper.make_graph(
            [node("If", "one", name, then_branch=graph, else_branch=graph.__class__())],
            name, [], [info(name, None)])
    proto.graph.node.extend(graph.node)
    refused(proto, "more than 16 deep")
    data = b""
    for _ in range(2000):  # a graph in a node's attribute in a graph ...
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + onnx_length(len(data)) + data
    refused(b"\x08\x08\x3a" + onnx_length(len(data)) + data, "not an ONNX model|more than 16 deep")


def onnx_length(number):
    """Return a length as protobuf writes it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


HUGE = {
    "weights that repeat": [
        node("ConstantOfShape", "shape", "W2"),
        node("LSTM", "x W2 W2", "Y Y_h", hidden_size=2**18), node("Identity", "Y", "y")],
    "a table that repeats": [
        node("ConstantOfShape", "flat", "table"), lstm(), node("MatMul", "Y table", "y")],
    "concatenations": [
        node("Concat", "W W", "c0", axis=0),
        *(node("Concat", f"c{number} c{number}", f"c{number + 1}", axis=0) for number in range(40)),
        node("LSTM", "x c40 R", "Y Y_h"), node("Identity", "Y", "y")],
    "copies beside each other": [
        lstm(), node("Squeeze", "Y one", "c0"),
        *(node("Concat", f"c{number} c{number}", f"c{number + 1}", axis=2) for number in range(40)),
        node("MatMul", "c40 V", "y")],
    "a range": [
        node("Range", "zero big step", "r"), lstm(), node("Add", "Y r", "y")],
    "a product": [
        node("ConstantOfShape", "big1", "o"), node("ReduceProd", "o", "p"), lstm(),
        node("Add", "Y p", "y")],
    "features that are picked": [
        node("ConstantOfShape", "wide", "U"), node("MatMul", "x U", "u"),
        node("Slice", "u one1 end last", "v"), node("MatMul", "v U2", "w"),
        lstm("w"), node("Identity", "Y", "y")],
}
SHAPES = {
    "shape": np.array([1, 2**20, 2**18]), "flat": np.array([H, 2**40]), "zero": np.array(0),
    "big": np.array(2**50), "step": np.array(1), "V": np.ones((H, 1), np.float32),
    "big1": np.array([2**50]), "wide": np.array([I, 2**33]), "one1": np.array([1]),
    "end": np.array([2**62]), "last": np.array([-1]), "U2": np.ones((2, 2), np.float32),
}


@pytest.mark.parametrize("case", HUGE)
def test_little_files_take_little_memory(rng, case):
    proto = good(rng, HUGE[case], SHAPES)
    tracemalloc.start()
    try:
        refused(proto, "not in crnn|LSTM|MatMul|Add")
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_long_rows_of_nodes_take_no_time(rng):
    for op, rest, options in (("Relu", "", {}), ("Unsqueeze", " zero0", {}),
                              ("Transpose", "", {})):
        nodes = [lstm(), node("Identity", "Y", "a0")]
        nodes += [node(op, f"a{number}{rest}", f"a{number + 1}", **options)
                  for number in range(20_000)]
        nodes.append(node("Softsign", "a20000", "y"))
        refused(good(rng, nodes, {"zero0": np.array([0])}), "layers=")


def test_names_of_a_file_are_shown_as_they_can_be(rng):
    name = "a\x1b[2J\n\u202e"
    proto = good(rng, [lstm(), onnx.helper.make_node("Elu", ["Y"], ["y"], name=name)])
    refused(proto, "Elu")


@pytest.mark.parametrize(("opset", "message"), [(6, "operator set is 6"), (None, "set is None")])
def test_operator_sets_before_today_s(rng, opset, message):
    proto = good(rng)
    if opset is None:
        del proto.opset_import[:]
    else:
        proto.opset_import[0].version = opset
    refused(proto, message)


ATTRIBUTES = {
    "hidden_size": [-1, 0, 2**62, 2.5, "a", [1]], "direction": ["up", 3, ""],
    "activations": [["Tanh"], ["a"] * 3, 5, [1.0]], "clip": ["x", float("nan"), -1.0],
    "layout": [2, -1, "a"], "activation_alpha": ["a", 3], "input_forget": ["x"],
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_of_other_kinds_and_values(rng, name):
    for value in ATTRIBUTES[name]:
        proto = good(rng, [lstm(**{name: value}), node("Squeeze", "Y one", "y")])
        # the last two may be anything: they are of activations that are not there, or a flag
        assert made_or_refused(proto) is False or name in ("activation_alpha", "input_forget")


def test_without_the_package_it_says_what_to_install(rng, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    for call in (lambda: crnn.from_onnx("x"),
                 lambda: crnn.GRU(2, 3, seed=0).to_onnx(tmp_path / "x.onnx")):
        with pytest.raises(ImportError, match=r"pip install 'crnn\[onnx\]'"):
            call()
