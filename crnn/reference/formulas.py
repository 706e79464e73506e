"""The formulas of a network: one layer, the readout, losses, and their gradients."""

import numpy as np

__all__ = [
    "activation",
    "bias_gradients",
    "linear",
    "linear_gradients",
    "lookup",
    "lookup_gradients",
    "mse_loss",
    "pack",
    "product",
    "sigmoid_loss",
    "softmax_loss",
]


# --- the activation ------------------------------------------------------------------------------


def activation(a, nonlinearity):
    """Replace ``a`` by tanh(a), max(a, 0) for ``"relu"``, or 1 / (1 + exp(-a)) for ``"sigmoid"``.

    Parameters
    ----------
    a : ndarray
        Pre-activations; overwritten. The compiled twin takes one axis.
    nonlinearity : {"tanh", "relu", "sigmoid"}

    Examples
    --------
    >>> a = np.array([-1.0, 0.0, 1.0])
    >>> activation(a, "relu")
    >>> a
    array([0., 0., 1.])
    """
    if nonlinearity == "relu":
        a[a.real < 0] = 0  # NaN is not below zero: it stays
    elif nonlinearity == "sigmoid":
        positive = a.real > 0
        small = np.exp(np.where(positive, -a, a))  # exp(-|a|) cannot overflow
        a[...] = np.where(positive, 1, small) / (1 + small)
    else:
        np.tanh(a, out=a)


def slope(h, nonlinearity):
    """Return f'(a) in terms of h = f(a)."""
    return (h.real > 0).astype(h.dtype) if nonlinearity == "relu" else 1 - h * h


# --- input projection and readout ----------------------------------------------------------------


def pack(packed, W):
    """Copy a weight into the order in which it is multiplied with.

    Here that is its own order; the compiled twin cuts it into panels.

    Parameters
    ----------
    packed : ndarray (inputs, at least outputs)
        Overwritten. The compiled twin needs a multiple of 16 columns.
    W : ndarray (inputs, outputs)
        Or the transpose of a weight.
    """
    packed[:, : W.shape[1]] = W


def product(x, packed, outputs):
    """Return x (..., inputs) @ W (inputs, outputs), W packed."""
    return x @ packed[:, :outputs]


def linear(y, x, W, b=None):
    """Set y = x @ W + b: the input projection (x, W_xh, b_h) or the readout (h, W_hy, b_y).

    With W transposed and no b it is also the way back, from the gradient of y to that of x.

    Parameters
    ----------
    y : ndarray (T, B, outputs)
        Overwritten.
    x : ndarray (T, B, inputs)
    W : ndarray
        (inputs, outputs), packed.
    b : ndarray (outputs,), optional
    """
    y[...] = product(x, W, y.shape[-1])
    if b is not None:
        y += b


def linear_gradients(dW, x, dy):
    """Add the gradient of the weight of `linear`.

    Parameters
    ----------
    dW : ndarray (inputs, outputs)
        x.T @ dy is added to it.
    x : ndarray (R, inputs)
    dy : ndarray (R, outputs)
    """
    dW += x.T @ dy


def bias_gradients(db, dy):
    """Add the gradient of a bias: the sum of dy (R, outputs) over rows to db (outputs,)."""
    db += dy.sum(axis=0)


def lookup(y, tokens, W, b):
    """Set y = one_hot(tokens) @ W + b, which is a row of W for each token.

    Parameters
    ----------
    y : ndarray (T, B, outputs)
        Overwritten.
    tokens : ndarray of intp (T, B)
        Each in [0, inputs).
    W : ndarray (inputs, outputs)
        Not packed.
    b : ndarray (outputs,)
    """
    y[...] = W[tokens]
    y += b


def lookup_gradients(dW, tokens, dy):
    """Add the gradient of the weight of `lookup`: a row of dy belongs to one row of W.

    Parameters
    ----------
    dW : ndarray (inputs, outputs)
        Added to.
    tokens : ndarray of intp (R,)
    dy : ndarray (R, outputs)
    """
    np.add.at(dW, tokens, dy)


# --- losses --------------------------------------------------------------------------------------
# Each fills in the losses of single steps, 0 for those that do not count, and overwrites y with
# scale * dL/dy: the outputs and their gradients are never needed at the same time.


def softmax_loss(losses, y, targets, scale):
    """Negative log-likelihood of one class a step: -log softmax(y)[target].

    Parameters
    ----------
    losses : ndarray of float64 (T, B)
        Overwritten; complex, where y is.
    y : ndarray (T, B, O)
        Logits; overwritten with scale * (softmax(y) - one_hot(target)).
    targets : ndarray of intp (T, B)
        -1 means no target here: no loss and no gradient.
    scale : float
    """
    valid = targets >= 0
    rows, chosen = y[valid], targets[valid]
    each = np.arange(len(rows))
    rows = rows - _largest(rows)
    exponentials = np.exp(rows)
    total = exponentials.sum(axis=1)
    gradient = scale * exponentials / total[:, None]
    gradient[each, chosen] -= scale
    _fill(losses, y, valid, np.log(total) - rows[each, chosen], gradient)


def sigmoid_loss(losses, y, targets, valid, scale):
    """Binary cross-entropy of each output on its own: log(1 + exp(y)) - y * target.

    Parameters
    ----------
    losses : ndarray of float64 (T, B)
        Overwritten with the sum over outputs.
    y : ndarray (T, B, O)
        Logits; overwritten with scale * (sigmoid(y) - target).
    targets : ndarray (T, B, O)
        Between 0 and 1.
    valid : ndarray of bool (T, B)
        Steps that count.
    scale : float
    """
    z = y[valid].astype(_wide(y))
    positive = z.real > 0
    small = np.exp(np.where(positive, -z, z))  # exp(-|z|) cannot overflow
    loss = np.where(positive, z, 0) - z * targets[valid] + np.log1p(small)
    sigmoid = np.where(positive, 1, small) / (1 + small)
    _fill(losses, y, valid, loss.sum(axis=1), scale * (sigmoid - targets[valid]))


def mse_loss(losses, y, targets, valid, scale):
    """Squared error: (y - target)**2.

    Parameters
    ----------
    losses : ndarray of float64 (T, B)
        Overwritten with the sum over outputs.
    y : ndarray (T, B, O)
        Overwritten with scale * 2 * (y - target).
    targets : ndarray (T, B, O)
    valid : ndarray of bool (T, B)
        Steps that count.
    scale : float
    """
    error = y[valid].astype(_wide(y)) - targets[valid]
    _fill(losses, y, valid, (error * error).sum(axis=1), scale * 2 * error)


def _fill(losses, y, valid, loss, gradient):
    losses[...] = 0
    losses[valid] = loss
    y[...] = 0
    y[valid] = gradient


def _largest(rows):
    # a constant of each row: any value near the largest does, so its own derivative may be dropped
    return rows.real.max(axis=1, keepdims=True) if rows.size else 0


def _wide(y):
    return np.result_type(y.dtype, np.float64)
