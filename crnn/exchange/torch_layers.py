"""Layers of crnn's with their arrays, from the modules of a network of PyTorch's.

PyTorch has the same order of gates as crnn, with weights transposed and two biases, which add up
but for a GRU's candidate.
"""

from dataclasses import dataclass, field

import numpy as np

from crnn import layers
from crnn.base import checks
from crnn.exchange.torch_parts import as_array, shape_of

CLASSES = {"RNN": layers.RNN, "GRU": layers.GRU, "LSTM": layers.LSTM}


@dataclass
class Step:
    """A layer, and its arrays by crnn's names without the number of the layer."""

    layer: object
    arrays: dict = field(default_factory=dict)


def floats(part, origin):
    """Return the arrays of a part as floats, by their names within it."""
    try:
        return {own: as_array(each, f"{part.name}.{own}" if part.name else own)
                for own, each in part.arrays.items()}
    except ValueError as error:
        raise origin.refused(f"cannot be read: {error}") from None


def add_steps(steps, part, arrays, activation, nonlinearity, origin):
    """Add the layers that a part is to steps.

    Parameters
    ----------
    steps : list of Step
    part : Part
    arrays : dict of str to ndarray
    activation : str or None
        What is applied after the part, where it was said.
    nonlinearity : str or None
        Of an RNN, where it was said.
    origin : Source
    """
    if part.kind == "Dropout":
        if steps and part.share and not isinstance(steps[-1].layer, layers.Dropout):
            steps.append(Step(layers.Dropout(part.share)))
        return
    if part.is_recurrent:
        steps += recurrent_steps(part, arrays, nonlinearity, origin)
    elif part.kind == "Linear":
        bias = arrays.get("bias", np.zeros(part.outputs))
        steps.append(Step(layers.Dense(part.outputs), {"W_xh": arrays["weight"].T, "b_h": bias}))
    elif part.kind == "Embedding":
        steps.append(Step(layers.Embedding(part.outputs), {"W_xh": arrays["weight"]}))
    else:
        activation = part.nonlinearity
    if activation not in (None, "linear"):
        _activate(steps, activation)


def _activate(steps, activation):
    """Have the last layer's outputs go through an activation."""
    layer = steps[-1].layer if steps else None
    if isinstance(layer, layers.Dense) and layer.activation == "linear":
        steps[-1].layer = layers.Dense(layer.size, activation)
    else:
        steps.append(Step(layers.Activation(activation)))


def recurrent_steps(part, arrays, nonlinearity, origin):
    """Return the layers of a recurrent module, with the dropout between them."""
    options = {"bidirectional": len(part.suffixes[0]) == 2}
    if part.kind == "RNN":
        options["nonlinearity"] = _nonlinearity(part, nonlinearity, origin)
    layer = CLASSES[part.kind](part.outputs // len(part.suffixes[0]), **options)
    steps = []
    for suffixes in part.suffixes:
        if steps and part.share:
            steps.append(Step(layers.Dropout(part.share)))
        found = {}
        for suffix, end in zip(suffixes, ("", "_reverse"), strict=False):
            found |= {name + end: each for name, each in cell(part.kind, arrays, suffix).items()}
        steps.append(Step(layer, found))
    return steps


def _nonlinearity(part, said, origin):
    known = part.nonlinearity or said
    if known is None:
        raise origin.unclear(f"does not say which function {part} has: say nonlinearity='tanh',"
                             " which is PyTorch's default, or 'relu'")
    if said is not None and said != known:
        raise ValueError(f"nonlinearity is {said!r}, but that of {part} is {known!r}")
    return checks.choice(known, "nonlinearity", ("tanh", "relu"))


def cell(kind, arrays, suffix):
    """Return what a layer has in one direction, by crnn's names without number and direction."""
    W_ih, W_hh = arrays[f"weight_ih{suffix}"], arrays[f"weight_hh{suffix}"]
    zeros = np.zeros(len(W_hh), W_hh.dtype)
    first, second = (arrays.get(f"bias_{each}{suffix}", zeros).astype(np.float64)
                     for each in ("ih", "hh"))
    found = {"W_xh": W_ih.T, "W_hh": W_hh.T}
    if kind == "GRU":
        H = W_hh.shape[1]
        found["b_hn"], second[2 * H :] = second[2 * H :].copy(), 0
    return found | {"b_h": first + second}


def add_states(steps, states, origin):
    """Give recurrent layers what they begin with.

    Parameters
    ----------
    steps : list of Step
    states : tuple of str or array
        h, and of LSTMs c: (L * D, 1, H) or (L * D, H), or the name of an array that is.
    origin : Source
    """
    own = [step for step in steps if isinstance(step.layer, tuple(CLASSES.values()))]
    layer = own[0].layer
    if any(step.layer != layer for step in own):
        raise ValueError("initial_state is for layers of one kind and width")
    names = layer.kind.state_names
    if len(states) != len(names):
        raise ValueError(f"initial_state has {len(states)} arrays; {len(names)} are wanted, for"
                         f" {' and '.join(name[0] for name in names)}")
    ends = ("", "_reverse")[: 1 + layer.bidirectional]
    shape = (len(own) * len(ends), layer.size)
    for name, state in zip(names, states, strict=True):
        rows = iter(_state(state, shape, origin))
        for step in own:
            step.arrays |= {name + end: next(rows) for end in ends}


def _state(state, shape, origin):
    """Return an initial state, (L * D, H)."""
    what = "initial_state"
    if isinstance(state, str):
        if state not in origin.tensors:
            raise ValueError(f"initial_state has the name {state!r}, and there is no such array")
        what, state = repr(state), origin.tensors[state]
    elif not hasattr(state, "shape"):
        raise TypeError(f"initial_state has a {type(state).__name__}; arrays, or names of arrays,"
                        " are wanted")
    rows, H = shape
    allowed = [shape, (rows, 1, H), *([(H,)] if rows == 1 else [])]
    if shape_of(state) not in allowed:
        raise ValueError(f"{what} has the shape {shape_of(state)}; {(rows, 1, H)} is wanted, one"
                         " state for all sequences")
    try:
        return as_array(state, what).reshape(shape)
    except ValueError as error:
        raise origin.refused(f"cannot be read: {error}") from None
