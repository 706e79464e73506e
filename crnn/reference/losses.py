"""Losses of the outputs of single steps, and their gradients.

Each function returns the loss of every step and sequence, a sum over its targets, in double
precision; and the gradient of scale times the sum of all losses with respect to y, in y's own
precision.

``weights`` (T, B), or (T, B, n) with one for each of n targets of a step, multiply losses and their
gradients. A target of weight 0 is missing: whatever it is, loss and gradient are 0. For None all
weights are 1. y is (T, B, O) everywhere; n is O, unless several outputs say something of one
target: then these are blocks side by side, ``np.split(y, blocks, axis=2)``, of n outputs each.
"""

import numpy as np

from crnn.reference.precision import wide


def softmax_loss(y, targets, weights=None, scale=1.0):
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
    weights : ndarray (T, B), optional
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    weights = np.ones(targets.shape) if weights is None else weights
    counts = (targets >= 0) & (weights != 0)
    logits, chosen, weight = y[counts], targets[counts], weights[counts]  # (n, O), (n,) and (n,)
    each = np.arange(len(logits))
    logits = logits - _largest(logits)  # p stays the same, and exp cannot overflow
    exponentials = np.exp(logits)
    total = exponentials.sum(axis=1)
    loss = np.log(total) - logits[each, chosen]
    scale = (scale * weight).astype(y.real.dtype)
    gradient = scale[:, None] * exponentials / total[:, None]
    gradient[each, chosen] -= scale
    return _spread(weight * loss, counts), _spread(gradient, counts, y.dtype)


def sigmoid_loss(y, targets, weights=None, scale=1.0):
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
    weights : ndarray (T, B) or (T, B, O), optional
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    counts, weight = _counted(targets, weights)
    logits, wanted = wide(y[counts]), targets[counts]
    positive = logits.real > 0
    small = np.exp(np.where(positive, -logits, logits))  # exp(-|y|) cannot overflow
    loss = np.where(positive, logits, 0) - logits * wanted + np.log1p(small)
    p = np.where(positive, 1, small) / (1 + small)
    gradient = scale * weight * (p - wanted)
    return _step_losses(weight * loss, counts), _spread(gradient, counts, y.dtype)


def mse_loss(y, targets, weights=None, scale=1.0):
    """Squared error: L = (y - target)**2 and dL/dy = 2 * (y - target).

    Parameters
    ----------
    y, targets : ndarray (T, B, O)
    weights : ndarray (T, B) or (T, B, O), optional
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    counts, weight = _counted(targets, weights)
    error = wide(y[counts]) - targets[counts]
    gradient = scale * weight * 2 * error
    return _step_losses(weight * error * error, counts), _spread(gradient, counts, y.dtype)


def mae_loss(y, targets, weights=None, scale=1.0):
    """Absolute error: L = abs(y - target) and dL/dy = sign(y - target), 0 where they are equal.

    Parameters
    ----------
    y, targets : ndarray (T, B, O)
    weights : ndarray (T, B) or (T, B, O), optional
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    counts, weight = _counted(targets, weights)
    error = wide(y[counts]) - targets[counts]
    sign = np.sign(error.real)
    gradient = scale * weight * sign
    return _step_losses(weight * sign * error, counts), _spread(gradient, counts, y.dtype)


def huber_loss(y, targets, weights=None, scale=1.0, delta=1.0):
    """Squared error near the target, absolute error far from it (Huber 1964).

    ::

        e = y - target
        L = e**2 / 2                        dL/dy = e                       where abs(e) <= delta
        L = delta * (abs(e) - delta / 2)    dL/dy = delta * sign(e)         elsewhere

    Parameters
    ----------
    y, targets : ndarray (T, B, O)
    weights : ndarray (T, B) or (T, B, O), optional
    scale : float
    delta : float
        Above 0.

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, O)
    """
    counts, weight = _counted(targets, weights)
    error = wide(y[counts]) - targets[counts]
    sign = np.sign(error.real)
    is_far = sign * error.real > delta
    loss = np.where(is_far, delta * (sign * error - delta / 2), error * error / 2)
    gradient = scale * weight * np.where(is_far, delta * sign, error)
    return _step_losses(weight * loss, counts), _spread(gradient, counts, y.dtype)


def quantile_loss(y, targets, weights=None, scale=1.0, levels=(0.1, 0.5, 0.9)):
    """Pinball loss of several quantiles of each target at once (Koenker & Bassett 1978).

    Block k of the outputs says below which number the target is with a probability of level k::

        e = target - y
        L = level * e           dL/dy = -level          where e > 0
        L = (level - 1) * e     dL/dy = 1 - level       where e < 0, and 0 where e is 0

    Parameters
    ----------
    y : ndarray (T, B, Q * n)
        A block of n outputs for each of Q levels.
    targets : ndarray (T, B, n)
    weights : ndarray (T, B) or (T, B, n), optional
    scale : float
    levels : sequence of float
        Between 0 and 1.

    Returns
    -------
    losses : ndarray (T, B)
        Sums over the levels, too.
    dy : ndarray (T, B, Q * n)
    """
    counts, weight = _counted(targets, weights)
    losses, dy = 0, []
    for level, block in zip(levels, np.split(y, len(levels), axis=2), strict=True):
        error = targets[counts] - wide(block[counts])
        sign = np.sign(error.real)
        slope = np.where(sign > 0, level, (1 - level) * sign)
        losses = losses + _step_losses(weight * slope * error, counts)
        dy.append(_spread(scale * weight * -slope, counts, y.dtype))
    return losses, np.concatenate(dy, axis=2)


def gaussian_loss(y, targets, weights=None, scale=1.0):
    """Negative log-likelihood of a normal distribution, less the constant log(2 * pi) / 2.

    The first half of the outputs are its means, the second one the logarithms of its variances::

        z = (mean - target) / exp(log_variance / 2)
        L = (log_variance + z**2) / 2
        dL/dmean = z / exp(log_variance / 2)        dL/dlog_variance = (1 - z**2) / 2

    A log_variance of less than -1400 or so makes the loss infinite, or NaN where the mean is the
    target, as exp overflows.

    Parameters
    ----------
    y : ndarray (T, B, 2 * n)
    targets : ndarray (T, B, n)
    weights : ndarray (T, B) or (T, B, n), optional
    scale : float

    Returns
    -------
    losses : ndarray (T, B)
    dy : ndarray (T, B, 2 * n)
    """
    counts, weight = _counted(targets, weights)
    mean, log_variance = (wide(half[counts]) for half in np.split(y, 2, axis=2))
    inverse = np.exp(-log_variance / 2)  # of the standard deviation
    z = (mean - targets[counts]) * inverse
    loss = (log_variance + z * z) / 2
    gradients = scale * weight * z * inverse, scale * weight * (1 - z * z) / 2
    dy = np.concatenate([_spread(each, counts, y.dtype) for each in gradients], axis=2)
    return _step_losses(weight * loss, counts), dy


LOSSES = {
    "softmax": softmax_loss, "sigmoid": sigmoid_loss, "mse": mse_loss, "mae": mae_loss,
    "huber": huber_loss, "quantile": quantile_loss, "gaussian": gaussian_loss,
}


def _counted(targets, weights):
    """Return which targets count (T, B, n), and the weights of those, one after the other."""
    weights = np.ones(targets.shape[:2]) if weights is None else weights
    if weights.ndim == 2:
        weights = np.repeat(weights[:, :, None], targets.shape[2], axis=2)
    return weights != 0, weights[weights != 0]


def _step_losses(losses, counts):
    """Return losses (T, B), sums over what counts of each step."""
    return _spread(losses, counts).sum(axis=2)


def _spread(values, counts, dtype=None):
    """Return zeros, but for the values where something counts; in double precision."""
    dtype = np.result_type(values.dtype, np.float64) if dtype is None else dtype
    spread = np.zeros((*counts.shape, *values.shape[1:]), dtype)
    spread[counts] = values
    return spread


def _largest(logits):
    # p does not depend on this number, so it is a constant and needs no derivative
    return logits.real.max(axis=1, keepdims=True) if logits.size else 0
