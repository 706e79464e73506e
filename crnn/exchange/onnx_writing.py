"""Descriptions of networks as ONNX models."""

from dataclasses import replace

import numpy as np

from crnn import layers as kinds
from crnn._version import __version__
from crnn.exchange.onnx_files import package
from crnn.files import disk

OPSETS = range(14, 23)  # since 14 the nodes are as they are written here; 22 is their newest
ORDERS = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}  # crnn's blocks as ONNX's
PEEPHOLES = (0, 2, 1)
FUNCTIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax",
             "hard_sigmoid": "HardSigmoid", "hard_sigmoid_0.2": "HardSigmoid"}
ALPHAS = {"hard_sigmoid": 1 / 6, "hard_sigmoid_0.2": 0.2}  # with a beta of 0.5


def write(path, description, opset=14, state=None):
    """Write a network as an ONNX model in float32, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    description : Description
    opset : int
    state : bool, optional
        Whether what layers begin with are inputs; by default they are, unless they are learned.

    Raises
    ------
    ValueError
        If ONNX cannot hold the network.
    OSError, FormatError
        As `disk.write_bytes`.
    """
    disk.write_bytes(path, model(description, opset, state).SerializeToString())


def model(description, opset=14, state=None):
    """Return the message, an onnx.ModelProto; see `write`."""
    if isinstance(opset, bool) or opset not in OPSETS:
        raise ValueError(f"opset is {opset!r}; from {OPSETS[0]} to {OPSETS[-1]} is wanted")
    _refuse_masks(description)
    description = replace(description, layers=[
        each for each in description.layers if not isinstance(each, kinds.Dropout)])
    onnx = package()
    is_given = not description.learn_state if state is None else state
    graph = _Graph(onnx.helper)
    x = _input(graph, description)
    states = _States(graph, description, is_given)
    y = _layers(graph, description, x, states)
    _put_out(graph, description, y)
    states.put_out()
    versions = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(
        graph.message(), opset_imports=versions, producer_name="crnn",
        producer_version=__version__, ir_version=onnx.helper.find_min_ir_version_for(versions))


def _refuse_masks(description):
    for layer in description.layers:
        if isinstance(layer, kinds.Masking) or getattr(layer, "mask_zero", False):
            raise ValueError(
                f"ONNX has no nodes for {layer}, over whose masked steps states stay and outputs"
                " are repeated; write a network without it, and give it whole sequences"
            )


class _Graph:
    """A graph to which nodes, constants, inputs and outputs are added by their names."""

    def __init__(self, helper):
        self._helper = helper
        self._nodes, self._constants, self._inputs, self._outputs = [], [], [], []

    def constant(self, name, array):
        """Add a constant, floats or whole numbers, and return its name."""
        dtype = np.float32 if np.asarray(array).dtype.kind == "f" else np.int64
        array = np.array(array, dtype, order="C")
        self._constants.append(self._helper.make_tensor(
            name, self._kind(dtype), array.shape, array.tobytes(), raw=True))
        return name

    def node(self, op, inputs, outputs, **attributes):
        """Add a node and return its outputs, a name or a list of names."""
        names = [outputs] if isinstance(outputs, str) else outputs
        name = next(filter(None, names))
        self._nodes.append(self._helper.make_node(op, inputs, names, name=name, **attributes))
        return outputs

    def take_in(self, name, shape, dtype=np.float32):
        """Add an input and return its name; sizes that are open have names."""
        self._inputs.append(
            self._helper.make_tensor_value_info(name, self._kind(dtype), shape))
        return name

    def put_out(self, name, shape):
        """Add an output."""
        self._outputs.append(
            self._helper.make_tensor_value_info(name, self._kind(np.float32), shape))

    def message(self):
        """Return the GraphProto."""
        return self._helper.make_graph(
            self._nodes, "crnn", self._inputs, self._outputs, self._constants)

    def _kind(self, dtype):
        return self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class _States:
    """What recurrent layers begin and end with: inputs and outputs, or constants and outputs.

    Where all layers have the same cell and width they are h_0, h_n, c_0 and c_n (L * D, B, H).
    Otherwise each layer and direction has its own (B, H): h_0_l0, h_0_l0_reverse and so on.
    """

    def __init__(self, graph, description, is_given):
        self._graph, self._parameters = graph, description.parameters
        self._is_given, self._learned = is_given, description.learn_state
        recurrent = [each for each in description.layers if each.kind.has_state]
        self._is_stacked = len(
            {(type(each), each.size, each.bidirectional) for each in recurrent}) == 1
        self._first, self._count = recurrent[0], len(recurrent)
        self._ends = {"h": [], "c": []}
        self._pieces = {}
        if is_given:
            for state in max((each.kind.state_names for each in recurrent), key=len):
                self._take_in(state, description.layers)

    def _take_in(self, state, layers):
        """Take in one state of all layers, and note the names of each layer's."""
        if self._is_stacked:
            self._pieces[state] = iter(self._split(state))
            return
        for number, layer in enumerate(layers):
            if layer.kind.has_state and state in layer.kind.state_names:
                for end in _suffixes(layer, number):
                    self._graph.take_in(f"{state}{end}", ["batch", layer.size])

    def _split(self, state):
        D = 1 + self._first.bidirectional
        self._graph.take_in(state, [D * self._count, "batch", self._first.size])
        if self._count == 1:
            return [state]
        sizes = self._graph.constant(f"{state}_sizes", [D] * self._count)
        return self._graph.node(
            "Split", [state, sizes], [f"{state}_{place}" for place in range(self._count)], axis=0)

    def before(self, layer, suffixes, x):
        """Return the names of what a layer begins with, (D, B, H); "" for zeros."""
        return [self._one_before(state, suffixes, x) for state in layer.kind.state_names]

    def _one_before(self, state, suffixes, x):
        if state in self._pieces:
            return next(self._pieces[state])
        name = f"{state}{suffixes[0]}"
        if self._is_given:
            axes = self._graph.constant(f"{name}_axes", [0])
            return self._joined([
                self._graph.node("Unsqueeze", [f"{state}{end}", axes], f"{state}{end}_direction")
                for end in suffixes], f"{name}_directions")
        return self._own(state, name, suffixes, x) if self._learned else ""

    def _own(self, state, name, suffixes, x):
        """Return the learned states (D, 1, H) for each sequence of the batch."""
        graph = self._graph
        own = graph.constant(name, np.stack(
            [self._parameters[f"{state}{end}"] for end in suffixes])[:, None])
        place, one = graph.constant(f"{name}_place", [1]), graph.constant(f"{name}_one", [1])
        sizes = graph.node("Shape", [x], f"{name}_shape")
        batch = graph.node("Gather", [sizes, place], f"{name}_batch")
        sizes = graph.node("Concat", [one, batch, one], f"{name}_sizes", axis=0)
        return graph.node("Expand", [own, sizes], f"{name}_all")

    def _joined(self, names, output):
        return names[0] if len(names) == 1 else self._graph.node("Concat", names, output, axis=0)

    def after(self, layer, suffixes, ends):
        """Note the names of what a layer ends with."""
        for letter, name in zip("hc", ends, strict=False):
            self._ends[letter].append((layer, suffixes, name))

    def put_out(self):
        """Put out what all layers end with."""
        for letter, ends in self._ends.items():
            if ends and self._is_stacked:
                joined = self._joined([name for _, _, name in ends], f"{letter}_all")
                self._graph.node("Identity", [joined], f"{letter}_n")
                rows = len(ends) * (1 + self._first.bidirectional)
                self._graph.put_out(f"{letter}_n", [rows, "batch", self._first.size])
            elif ends:
                for each in ends:
                    self._put_out_apart(letter, *each)

    def _put_out_apart(self, letter, layer, suffixes, name):
        for place, end in enumerate(suffixes):
            output = f"{letter}_n{end}"
            index = self._graph.constant(f"{output}_place", np.int64(place))
            self._graph.node("Gather", [name, index], output, axis=0)
            self._graph.put_out(output, ["batch", layer.size])


def _input(graph, description):
    """Take in x, and return what lies with time first."""
    tokens = isinstance(description.layers[0], kinds.Embedding)
    axes = ["batch", "time"] if description.batch_first else ["time", "batch"]
    shape = axes if tokens else [*axes, description.input_size]
    x = graph.take_in("x", shape, np.int64 if tokens else np.float32)
    return _swapped(graph, x, "x_by_time", len(shape)) if description.batch_first else x


def _swapped(graph, x, output, rank=3):
    """Exchange time and batch."""
    return graph.node("Transpose", [x], output, perm=[1, 0, 2][:rank])


def _layers(graph, description, x, states):
    """Add all layers, and return what the highest puts out."""
    layers, parameters = description.layers, description.parameters
    top = max(number for number, layer in enumerate(layers) if layer.kind.has_state)
    below = x
    for number, layer in enumerate(layers):
        end = f"_l{number}"
        if layer.kind.has_state:
            below = _recurrent(graph, layer, number, below, parameters, states,
                               description.last and number == top)
        elif isinstance(layer, kinds.Embedding):
            table = graph.constant(f"W_xh{end}", parameters[f"W_xh{end}"])
            below = graph.node("Gather", [table, below], f"rows{end}")
        elif isinstance(layer, kinds.Activation):
            below = _activation(graph, layer.activation, below, f"outputs{end}")
        elif number == len(layers) - 1:
            below = _dense(graph, layer, ("W_hy", "b_y"), below, parameters, "outputs")
        else:
            names = f"W_xh{end}", f"b_h{end}"
            below = _dense(graph, layer, names, below, parameters, f"outputs{end}")
    return graph.node("Add", [below, x], "skip") if description.skip else below


def _dense(graph, layer, names, x, parameters, output):
    W, b = (graph.constant(name, parameters[name]) for name in names)
    product = graph.node("MatMul", [x, W], f"{output}_product")
    y = graph.node("Add", [product, b], f"{output}_linear")
    return y if layer.activation == "linear" else _activation(graph, layer.activation, y, output)


def _activation(graph, name, x, output):
    attributes = {"alpha": ALPHAS[name], "beta": 0.5} if name in ALPHAS else {}
    if name == "softmax":
        attributes = {"axis": -1}
    return graph.node(FUNCTIONS[name], [x], output, **attributes)


def _suffixes(layer, number):
    """Return the ends of crnn's names of a layer's parameters, one for each direction."""
    return [f"_l{number}{end}" for end in ("", "_reverse")[: 1 + layer.bidirectional]]


def _recurrent(graph, layer, number, x, parameters, states, reads_last):
    """Add an RNN, GRU or LSTM, and return its outputs (T, B, D * H) or last ones (B, D * H)."""
    suffixes = _suffixes(layer, number)
    end = suffixes[0]
    constants = _weights(graph, layer, suffixes, parameters)
    initial = [*states.before(layer, suffixes, x), "", ""][:2]
    op = type(layer).__name__
    inputs = [x, *constants[:3], "", *initial, *constants[3:]]
    while not inputs[-1]:
        inputs.pop()
    outputs = [f"Y{end}", *(f"{each}_end{end}" for each in "hc"[: layer.kind.num_states])]
    Y, *ends = graph.node(op, inputs, outputs, **_attributes(layer))
    states.after(layer, suffixes, ends)
    if reads_last:
        by_batch = graph.node("Transpose", [ends[0]], f"last{end}", perm=[1, 0, 2])
        shape = graph.constant(f"last{end}_shape", [0, len(suffixes) * layer.size])
        return graph.node("Reshape", [by_batch, shape], f"outputs{end}")
    by_batch = graph.node("Transpose", [Y], f"steps{end}", perm=[0, 2, 1, 3])
    shape = graph.constant(f"steps{end}_shape", [0, 0, len(suffixes) * layer.size])
    return graph.node("Reshape", [by_batch, shape], f"outputs{end}")


def _weights(graph, layer, suffixes, parameters):
    """Add W, R, B and, with peepholes, P, and return their names."""
    op, H = type(layer).__name__, layer.size
    rows = np.concatenate([np.arange(H) + H * block for block in ORDERS[op]])
    found = {"W": [], "R": [], "B": [], "P": []}
    for end in suffixes:
        found["W"].append(parameters[f"W_xh{end}"].T[rows])
        found["R"].append(parameters[f"W_hh{end}"].T[rows])
        of_state = np.zeros(len(rows))
        if f"b_hn{end}" in parameters:
            of_state[2 * H :] = parameters[f"b_hn{end}"]
        found["B"].append(np.concatenate([parameters[f"b_h{end}"][rows], of_state]))
        if f"W_ch{end}" in parameters:
            found["P"].append(parameters[f"W_ch{end}"][list(PEEPHOLES)].reshape(-1))
    return [graph.constant(f"{name}{suffixes[0]}", np.stack(each))
            for name, each in found.items() if each]


def _attributes(layer):
    """Return the attributes of an RNN, GRU or LSTM node."""
    kind = layer.kind
    names = [kind.nonlinearity]
    if kind.has_gates:
        names = [kind.gate_activation, *names, *names[: kind.has_c]]
    names *= 1 + layer.bidirectional
    found = {
        "hidden_size": layer.size,
        "direction": "bidirectional" if layer.bidirectional else "forward",
        "activations": [FUNCTIONS[each] for each in names],
    }
    if any(each in ALPHAS for each in names):
        alphas = [ALPHAS[each] for each in names if each in ALPHAS]
        found |= {"activation_alpha": alphas, "activation_beta": [0.5] * len(alphas)}
    if kind.clip:
        found["clip"] = kind.clip
    if kind.cell == "GRU":
        found["linear_before_reset"] = int(kind.reset_after)
    if kind.coupled:
        found["input_forget"] = 1
    return found


def _put_out(graph, description, y):
    shape = ["batch"] if description.last else ["time", "batch"]
    if description.batch_first and not description.last:
        y, shape = _swapped(graph, y, "y_by_batch"), shape[::-1]
    size = [layer.size * (1 + getattr(layer, "bidirectional", False))
            for layer in description.layers if hasattr(layer, "size")][-1]
    graph.node("Identity", [y], "y")
    graph.put_out("y", [*shape, size])
