"""Nodes of ONNX that are dense layers, activations, tables of tokens, or the skip."""

import numpy as np

from crnn import layers
from crnn.exchange.onnx_cells import hard_sigmoid, scattered
from crnn.exchange.onnx_values import (
    ALL,
    COLUMNS,
    Atom,
    Inexpressible,
    Part,
    Signal,
    Stage,
    core,
    resolved,
    signal_of,
    with_features,
)


def product(node, x, W):
    """Return x @ W as a dense layer without a bias."""
    return _dense(node, x, _matrix(node, W), None)


def general_product(node, x, W, bias=None):
    """Return a Gemm, alpha * x @ W + beta * bias, as a dense layer."""
    if node.attributes.get("transA"):
        raise Inexpressible("it transposes what layers put out")
    W = _matrix(node, W)
    W = W.T if node.attributes.get("transB") else W
    alpha, beta = (W.dtype.type(node.attributes.get(name, 1)) for name in ("alpha", "beta"))
    return _dense(node, x, W if alpha == 1 else alpha * W, bias, beta)


def _matrix(node, W):
    if not isinstance(W, np.ndarray):
        raise Inexpressible("it multiplies two things that depend on the input")
    if W.ndim != 2 or W.dtype.kind != "f" or 0 in W.shape:
        raise Inexpressible(f"it multiplies by {W.dtype} numbers of the shape {W.shape}")
    node.spend(W.nbytes)
    return W


def _dense(node, x, W, bias, beta=1):
    if not isinstance(x, Signal):
        raise Inexpressible("it multiplies a constant by what layers put out")
    x = with_features(x, W.shape[0])
    below, when, columns = resolved(x)
    size = W.shape[1]
    weights = {"W_xh": scattered(W, columns, below.width, node.spend)}
    weights["b_h"] = np.zeros(size, W.dtype) if bias is None else beta * _bias(bias, size)
    stage = Stage(layers.Dense(size), size, (node.name,), below, weights, below.time, below.batch,
                  biased=bias is not None)
    return _in_place(x, stage, when)


def _bias(bias, size):
    """Return what is added to all rows of a product as a vector."""
    if not isinstance(bias, np.ndarray) or bias.dtype.kind != "f":
        raise Inexpressible("it adds something that is no constant in the file")
    if bias.size not in (1, size) or (bias.size > 1 and bias.shape[-1] != size):
        raise Inexpressible(f"it adds numbers of the shape {bias.shape} to {size} features")
    return np.broadcast_to(bias.reshape(-1), size)


def _in_place(x, stage, when):
    """Return what a stage puts out in the place of the features that it reads."""
    return signal_of((*x.axes[:-1], (Atom(stage.width, COLUMNS),)),
                     [Part(stage, 0, stage.width, when)])


def add(node, a, b):
    """Return a dense layer with its bias, or what a layer puts out plus the network's input."""
    if isinstance(a, Signal) and isinstance(b, Signal):
        return _skip(node, a, b)
    x, bias = (a, b) if isinstance(a, Signal) else (b, a)
    if not x.parts:
        raise Inexpressible("it adds a constant to the input")
    x = with_features(x)
    below, when, columns = resolved(x)
    plain = isinstance(below.layer, layers.Dense) and below.layer.activation == "linear"
    if not plain or below.biased or columns is not None:
        raise Inexpressible("it adds a constant where there is no product before it")
    weights = {**below.weights, "b_h": _bias(bias, below.width)}
    return _in_place(x, _instead(below, node, below.layer, weights), when)


def _instead(below, node, layer, weights=None):
    """Return a stage in the place of another, of which this node is a part."""
    return Stage(
        layer, below.width, (*below.names, node.name), below.source, weights or below.weights,
        below.time, below.batch, biased=True)


def _skip(node, a, b):
    if not a.parts:
        a, b = b, a
    if not a.parts or b.parts:
        raise Inexpressible("it adds two things that depend on the input, of which none is it")
    a = with_features(a)
    below, when, columns = resolved(a)
    b = with_features(b, below.width)
    chain = below.chain()
    alike = [core(each) for each in a.axes[:-1]] == [core(each) for each in b.axes[:-1]]
    if when != ALL or columns is not None or chain[0] is not b.stage or not alike:
        raise Inexpressible("it adds an input that lies otherwise, or is not the network's")
    stage = Stage(None, below.width, (node.name,), below, {}, below.time, below.batch, skips=True)
    return _in_place(a, stage, when)


def activation(node, x):
    """Return a function of each number, or of each step's features: of a product, with it."""
    name = NAMES.get(node.op)
    if node.op == "HardSigmoid":
        name = hard_sigmoid(node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5))
    if name == "softmax" or not x.parts:
        x = with_features(x)
    below, when, columns = resolved(x)
    if name == "softmax":
        _check_softmax(node, x)
        if columns is not None:
            below, columns = chosen(below, columns, (node.name,), node.spend), None
    plain = isinstance(below.layer, layers.Dense) and below.layer.activation == "linear"
    if plain:
        stage = _instead(below, node, layers.Dense(below.width, name))
    else:
        stage = Stage(layers.Activation(name), below.width, (node.name,), below, {}, below.time,
                      below.batch)
    if columns is None and name == "softmax":
        return _in_place(x, stage, when)
    return signal_of(x.axes, [Part(stage, each.start, each.stop, each.when) for each in x.parts])


def _check_softmax(node, x):
    rank = len(x.axes)
    axis = node.attributes.get("axis", 1 if node.opset < 13 else -1) % rank
    wanted = [core(each) for each in x.axes[axis:]]
    if node.opset >= 13:
        wanted = wanted[:1]
    if [each for each in wanted if each] != [core(x.axes[-1])]:
        raise Inexpressible("it is not over the features")


def chosen(below, columns, names, spend):
    """Return a dense layer that lets some columns of a stage through, as they are."""
    dtype = next((each.dtype for one in below.chain()[::-1]
                           for each in one.weights.values()), np.dtype(np.float32))
    spend(len(columns) ** 2 * dtype.itemsize)
    W = scattered(np.eye(len(columns), dtype=dtype), columns, below.width, spend)
    return Stage(layers.Dense(len(columns)), len(columns), names, below,
                 {"W_xh": W, "b_h": np.zeros(len(columns), dtype)}, below.time, below.batch,
                 biased=True)


def table(node, rows, tokens):
    """Return a Gather of a table's rows by tokens as an embedding."""
    if node.attributes.get("axis", 0) != 0 or rows.ndim != 2 or rows.dtype.kind != "f":
        raise Inexpressible("it takes numbers by what depends on the input, from no table")
    if tokens.parts:
        raise Inexpressible("its tokens are what layers put out")
    node.spend(rows.nbytes)
    size = rows.shape[1]
    stage = Stage(layers.Embedding(size), size, (node.name,), tokens.stage, {"W_xh": rows})
    return signal_of((*tokens.axes, (Atom(size, COLUMNS),)), [Part(stage, 0, size)])


def one_hot(node, tokens, depth, values):
    """Return a OneHot of an input, which tokens mean to crnn."""
    alike = all(isinstance(each, np.ndarray) for each in (depth, values)) and (
        values.shape == (2,) and values.tolist() == [0, 1] and not tokens.parts)
    if not alike or node.attributes.get("axis", -1) not in (-1, len(tokens.axes)):
        raise Inexpressible("it is not what tokens mean to crnn")
    size = tokens.stage.width = int(depth.reshape(-1)[0])
    return signal_of((*tokens.axes, (Atom(size, COLUMNS),)), [Part(tokens.stage, 0, size)])


NAMES = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softmax": "softmax"}
