"""A layer without a state: the same map at each step, y_t = f(x_t @ W + b).

On the way back, from the gradient dy_t of what it puts out::

    da_t = dy_t * f'                        of softmax: y_t * (dy_t - sum over units of dy_t * y_t)
    dW = sum of x_t.T @ da_t                db = sum of da_t                dx_t = da_t @ W.T

Without W it is f alone; without b, and with tokens for x, it is a table with a row for each token.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.activations import FUNCTIONS
from crnn.reference.precision import wide
from crnn.reference.products import product, product_gradient


class Tape(NamedTuple):
    """What the way back needs of a pass."""

    x: np.ndarray
    y: np.ndarray


def forward(x, W, b, activation):
    """Return y (T, B, O) and the `Tape`.

    Parameters
    ----------
    x : ndarray (T, B, I), or tokens (T, B)
    W : ndarray (I, O) or None
    b : ndarray (O,) or None
    activation : str
        See `activated`.
    """
    a = x if W is None else product(x, W)
    y = activated(a if b is None else a + b, activation)
    return y, Tape(x, y)


def backward(dy, tape, W, activation):
    """Return the gradients of x, W and b; None for tokens, and for the W that is not there."""
    da = activated_backward(dy, tape.y, activation)
    if W is None:
        return da, None, None
    dW, db = product_gradient(tape.x, da, W), wide(da).sum(axis=(0, 1))
    return None if tape.x.ndim == 2 else da @ W.T, dW, db


def activated(a, activation):
    """Return f(a), where f is "linear", "softmax" or one of `crnn.reference.activation`.

    Examples
    --------
    >>> activated(np.array([[0.0, 0.0], [1000.0, 0.0]]), "softmax")
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    if activation == "linear":
        return a
    if activation == "softmax":
        powers = np.exp(a - a.real.max(axis=-1, keepdims=True))  # nothing overflows
        return powers / powers.sum(axis=-1, keepdims=True)
    return FUNCTIONS[activation][0](a)


def activated_backward(dy, y, activation):
    """Return the gradient of a, given that of y = `activated` (a)."""
    if activation == "linear":
        return dy
    if activation == "softmax":
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    return dy * FUNCTIONS[activation][1](y)
