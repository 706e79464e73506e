"""Losses of the outputs of single steps, and their gradients.

Each function returns the loss of every step and sequence, a sum over the O outputs, in double
precision; and the gradient of scale times the sum of all losses with respect to y, in y's own
precision. Steps that do not count have loss 0 and gradient 0.
"""

import numpy as np


def softmax_loss(y, targets, scale=1.0):
    """Negative log-likelihood of one class a step: -log p[target], where p = softmax(y).

    ::

        p_k = exp(y_k) / sum over j of exp(y_j)
        dL/dy_k = p_k - (1 if k is the target, else 0)

    Parameters
    ----------
    y : ndarray (T, B, O)
        Logits.
    targets : ndarray of int (T, B)
        -1 means no target here.
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    valid = targets >= 0
    logits, chosen = y[valid], targets[valid]  # (n, O) and (n,)
    each = np.arange(len(logits))
    logits = logits - _largest(logits)  # p stays the same, and exp cannot overflow
    exponentials = np.exp(logits)
    total = exponentials.sum(axis=1)
    loss = np.log(total) - logits[each, chosen]
    gradient = scale * exponentials / total[:, None]
    gradient[each, chosen] -= scale
    return _spread(loss, valid), _spread(gradient, valid, y.dtype)


def sigmoid_loss(y, targets, valid, scale=1.0):
    """Binary cross-entropy of each output on its own, where p = sigmoid(y).

    ::

        L = -target * log p - (1 - target) * log(1 - p) = log(1 + exp(y)) - y * target
        dL/dy = p - target

    Parameters
    ----------
    y : ndarray (T, B, O)
        Logits.
    targets : ndarray (T, B, O)
        Between 0 and 1.
    valid : ndarray of bool (T, B)
        Steps that count.
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    logits, wanted = _wide(y[valid]), targets[valid]
    positive = logits.real > 0
    small = np.exp(np.where(positive, -logits, logits))  # exp(-|y|) cannot overflow
    loss = np.where(positive, logits, 0) - logits * wanted + np.log1p(small)
    p = np.where(positive, 1, small) / (1 + small)
    return _spread(loss.sum(axis=1), valid), _spread(scale * (p - wanted), valid, y.dtype)


def mse_loss(y, targets, valid, scale=1.0):
    """Squared error: L = (y - target)**2 and dL/dy = 2 * (y - target).

    Parameters
    ----------
    y, targets : ndarray (T, B, O)
    valid : ndarray of bool (T, B)
        Steps that count.
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    error = _wide(y[valid]) - targets[valid]
    loss = (error * error).sum(axis=1)
    return _spread(loss, valid), _spread(scale * 2 * error, valid, y.dtype)


LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss, "mse": mse_loss}


def _spread(values, valid, dtype=None):
    """Return zeros (T, B, ...), but for the values where a step counts; in double precision."""
    dtype = np.result_type(values.dtype, np.float64) if dtype is None else dtype
    spread = np.zeros((*valid.shape, *values.shape[1:]), dtype)
    spread[valid] = values
    return spread


def _wide(y):
    return y.astype(np.result_type(y.dtype, np.float64))


def _largest(logits):
    # p does not depend on this number, so it is a constant and needs no derivative
    return logits.real.max(axis=1, keepdims=True) if logits.size else 0
