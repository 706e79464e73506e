"""RNN, GRU and LSTM nodes of ONNX as recurrent layers of crnn.

ONNX has the gates of a GRU in the order z, r, h, those of an LSTM as i, o, f, c and its peepholes
as i, o, f; and two biases, of the input's side and of the state's.
"""

import numpy as np

from crnn import layers
from crnn.exchange.onnx_folding import compact
from crnn.exchange.onnx_values import (
    ALL,
    BLOCKS,
    CELL,
    COLUMNS,
    FINAL,
    Atom,
    Inexpressible,
    Part,
    Signal,
    Stage,
    Unknown,
    core,
    resolved,
    signal_of,
    with_features,
)
from crnn.files.disk import FormatError

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
ORDERS = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}  # ONNX's blocks as crnn's
PEEPHOLES = (0, 2, 1)
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
STATES = ("tanh", "relu")
HARD = {1 / 6: "hard_sigmoid", 0.2: "hard_sigmoid_0.2"}  # by alpha, with a beta of 0.5


def hard_sigmoid(alpha, beta):
    """Return crnn's name of a HardSigmoid, clip(alpha * a + beta, 0, 1).

    Raises
    ------
    Inexpressible
    """
    found = [name for each, name in HARD.items() if abs(alpha / each - 1) < 1e-6]
    if not found or beta != 0.5:
        raise Inexpressible(f"a HardSigmoid with alpha {alpha:g} and beta {beta:g} is not in crnn")
    return found[0]


def recurrent(node, *inputs):
    """Return what an RNN, GRU or LSTM puts out: Y, Y_h and, of an LSTM, Y_c.

    Raises
    ------
    Inexpressible
        If crnn has no such cell.
    FormatError
        If the shapes of the weights do not fit together.
    """
    given = dict(zip(INPUTS, inputs, strict=False))
    directions, batch_first = _directions(node), _layout(node) == 1
    weights, H, input_size = _weights(node, given, len(directions))
    layer = _layer(node, H, directions, "P" in weights)
    x, time, batch = _read_input(node, given["X"], input_size, batch_first)
    source = with_features(x, input_size)
    below, when, columns = resolved(source)
    if when != ALL:
        raise Inexpressible(f"it reads only {when} of the layer below")
    stage = Stage(
        layer, (1 + layer.bidirectional) * H, (node.name,), below, time=time, batch=batch,
        lone_reverse=directions == ("_reverse",), batch_first=batch_first)
    for number, end in enumerate(directions):
        found = _direction(node.op, weights, number, layer)
        found["W_xh"] = scattered(found["W_xh"], columns, below.width, node.spend)
        stage.weights |= {name + end: each for name, each in found.items()}
    if stage.lone_reverse:
        stage.weights = _zeros_like(stage.weights) | stage.weights
    _read_lengths(given.get("sequence_lens"), stage, source)
    for name, state in (("initial_h", "h_0"), ("initial_c", "c_0")):
        _read_state(name, state, given.get(name), stage, directions)
    return _outputs(node, stage, directions)


def scattered(matrix, columns, width, spend):
    """Return a matrix (width, n) that multiplies some columns of the input, and others by 0."""
    if columns is None:
        return matrix
    spend(width * matrix.shape[1] * matrix.itemsize)
    wide = np.zeros((width, matrix.shape[1]), matrix.dtype)
    np.add.at(wide, columns, matrix)
    return wide


def _directions(node):
    """Return the ends of crnn's names for the node's directions."""
    direction = node.attributes.get("direction", "forward")
    found = {"forward": ("",), "reverse": ("_reverse",), "bidirectional": ("", "_reverse")}
    if direction not in found:
        raise FormatError(f"{node}: the direction {direction!r} does not exist")
    return found[direction]


def _layout(node):
    layout = node.attributes.get("layout", 0)
    if layout not in (0, 1):
        raise FormatError(f"{node}: the layout {layout!r} does not exist")
    return layout


def _weights(node, given, directions):
    """Return W, R, B and P, checked against each other, and the sizes H and I."""
    found = {}
    for name in "WRBP":
        value = given.get(name)
        if value is None and name in "BP":
            continue
        if not isinstance(value, np.ndarray):
            reason = getattr(value, "reason", "an input of the graph")
            raise Inexpressible(f"its {name} is no constant in the file ({reason})")
        if value.dtype.kind != "f":
            raise FormatError(f"{node}: {name} holds {value.dtype} numbers")
        node.spend(value.nbytes)  # what repeats takes its memory from here on
        found[name] = value
    G = len(ORDERS[node.op])
    shapes = {name: each.shape for name, each in found.items()}
    H = node.attributes.get("hidden_size", shapes["R"][-1] if shapes["R"] else 0)
    input_size = shapes["W"][-1] if shapes["W"] else 0
    wanted = {"W": (directions, G * H, input_size), "R": (directions, G * H, H),
              "B": (directions, 2 * G * H), "P": (directions, 3 * H)}
    for name, shape in shapes.items():
        if shape != wanted[name] or 0 in shape:
            raise FormatError(
                f"{node}: {name} has the shape {shape}, and with hidden_size {H} and"
                f" {directions} directions {wanted[name]} is wanted")
    return found, H, input_size


def _layer(node, H, directions, peepholes):
    """Return the layer of `crnn.layers`."""
    functions = _functions(node, len(directions))
    clip = node.attributes.get("clip")
    options = {"clip": float(clip) if clip else None, "bidirectional": directions != ("",)}
    if functions[-1] not in STATES or (node.op != "RNN" and functions[0] in STATES):
        raise Inexpressible(f"with the activations {', '.join(functions)} it is not in crnn")
    if node.op == "RNN":
        return layers.RNN(H, nonlinearity=functions[0], **options)
    if node.op == "GRU":
        before = node.attributes.get("linear_before_reset", 0)
        return layers.GRU(H, reset_after=bool(before), candidate=functions[1],
                          gate_activation=functions[0], **options)
    if functions[1] != functions[2]:
        raise Inexpressible(
            f"its activations are {functions[1]} for the candidate and {functions[2]} for the cell,"
            " and crnn has the same for both")
    return layers.LSTM(
        H, nonlinearity=functions[1], gate_activation=functions[0], peepholes=peepholes,
        coupled=bool(node.attributes.get("input_forget", 0)), **options)


def _functions(node, directions):
    """Return crnn's names of a cell's activations, which are the same in each direction."""
    count = len(DEFAULTS[node.op])
    names = list(node.attributes.get("activations") or DEFAULTS[node.op] * directions)
    if len(names) != count * directions:
        raise FormatError(f"{node}: {len(names)} activations, and {count * directions} are wanted")
    alphas = iter(node.attributes.get("activation_alpha", ()))
    betas = iter(node.attributes.get("activation_beta", ()))
    found = []
    for name in names:
        if name.lower() == "hardsigmoid":
            found.append(hard_sigmoid(next(alphas, 0.2), next(betas, 0.5)))
        elif name.lower() in ("sigmoid", *STATES):
            found.append(name.lower())
        else:
            raise Inexpressible(f"the activation {name} is not in crnn")
    if found[:count] * directions != found:
        raise Inexpressible("the activations of its two directions differ")
    return tuple(found[:count])


def _read_input(node, x, input_size, batch_first):
    """Return what a node reads, and which of its axes are time and batch."""
    if isinstance(x, Unknown):  # what follows can still be had on its own
        outside = Stage(None, input_size, (f"what {node} reads",), foreign=x.reason)
        time, batch, columns = Atom(2), Atom(2), Atom(input_size, COLUMNS)
        axes = ((batch,), (time,)) if batch_first else ((time,), (batch,))
        x = Signal((*axes, (columns,)), (Part(outside, 0, input_size),), outside)
    if not isinstance(x, Signal):
        raise Inexpressible("what it reads is a constant")
    if len(x.axes) != 3:
        raise Inexpressible(f"what it reads has {len(x.axes)} axes, and 3 are wanted")
    time, batch = x.axes[:2][::-1] if batch_first else x.axes[:2]
    if len(core(time)) > 1 or len(core(batch)) > 1:
        raise Inexpressible("what it reads has several axes in the place of time or batch")
    return x, time, batch


def _direction(op, weights, number, layer):
    """Return the weights of one direction by crnn's names."""
    H = layer.size
    rows = np.concatenate([np.arange(H) + H * block for block in ORDERS[op]])
    W, R = weights["W"][number], weights["R"][number]
    both = weights["B"][number] if "B" in weights else np.zeros(2 * len(W), W.dtype)
    of_input, of_state = both[: len(W)][rows], both[len(W) :][rows]
    found = {"W_xh": W[rows].T, "W_hh": R[rows].T, "b_h": of_input + of_state}
    if op == "GRU" and layer.reset_after:
        found["b_h"][2 * H :] = of_input[2 * H :]
        found["b_hn"] = of_state[2 * H :]
    if "P" in weights:
        found["W_ch"] = weights["P"][number].reshape(3, H)[list(PEEPHOLES)]
    return found


def _zeros_like(weights):
    """Return zeros for the first direction of a layer that has only the second."""
    return {name.removesuffix("_reverse"): np.zeros_like(each) for name, each in weights.items()}


def _read_lengths(lengths, stage, source):
    if lengths is None:
        return
    if isinstance(lengths, np.ndarray):
        steps = source.shape[1 if stage.batch_first else 0]
        if not (compact(lengths) == steps).all():
            stage.lengths = "constants"
            stage.problems += ("sequence_lens are constants, which are for the call to say",)
    elif _is_given(lengths):
        stage.lengths = _words(lengths)
    else:
        stage.lengths = "computed"
        stage.problems += (f"sequence_lens are computed ({lengths.reason})",)


def _read_state(name, state, value, stage, directions):
    """Note what a layer begins with, if that is no input of the graph."""
    if value is None or _is_given(value):
        return
    if not isinstance(value, np.ndarray):
        reason = getattr(value, "reason", "by the layers below")
        stage.problems += (f"{name} is computed ({reason})",)
        return
    if stage.batch_first:
        value = value.swapaxes(0, 1)
    if value.ndim != 3 or value.shape[::2] != (len(directions), stage.layer.size):
        raise FormatError(f"{stage.names[0]}: {name} has the shape {value.shape}")
    first = value[:, 0]
    if value.strides[1] != 0 and (value != value[:, :1]).any():
        stage.problems += (f"{name} is a constant that differs between sequences of the batch",)
    elif first.any():
        stage.weights |= {state + end: each
                          for end, each in zip(directions, first, strict=True)}


def _is_given(value):
    """Whether a tensor is an input of the graph, or laid out from one."""
    return (isinstance(value, Signal) and not value.parts) or (
        isinstance(value, Unknown) and value.is_moved_input)


def _words(value):
    return value.stage.names[0] if isinstance(value, Signal) else "an input"


def _outputs(node, stage, directions):
    H = stage.layer.size
    blocks = (Atom(len(directions), BLOCKS),)
    columns = (Atom(H, COLUMNS),)
    starts = range(stage.lone_reverse * H, stage.width, H)
    found = []
    for when in (ALL, FINAL, CELL)[: 3 if node.op == "LSTM" else 2]:
        parts = [Part(stage, start, start + H, when) for start in starts]
        if stage.batch_first:
            axes = (stage.batch, stage.time, blocks, columns)
        else:
            axes = (stage.time, blocks, stage.batch, columns)
        if when != ALL:
            axes = tuple(each for each in axes if each is not stage.time)
        found.append(signal_of(axes, parts))
    return found
