"""What outputs mean: probabilities and classes."""

import numpy as np

from crnn.base import checks
from crnn.base.losses import LOSSES

PROBABILITIES = ("softmax", "sigmoid")  # the losses after which outputs are logits


def other_loss(metadata, loss):
    """Return what to add where targets do not fit a loss: which one a network was trained with."""
    trained = metadata.get("loss", loss)
    is_other = trained != loss and trained in LOSSES
    return f"; the network was trained with loss={trained!r}" * is_other


def softmax(y, axis=-1):
    """Return exp(y) / sum(exp(y)), the probabilities of classes given their outputs.

    The largest output is subtracted first, so that nothing overflows.

    Parameters
    ----------
    y : array_like
    axis : int
        Along it are the classes.

    Returns
    -------
    ndarray
        In the shape of y and its dtype, or float64 if that is of integers.

    Raises
    ------
    TypeError, ValueError
        If y is no array of numbers, or has no such axis.

    Examples
    --------
    >>> import crnn
    >>> crnn.softmax([0.0, 0.0, 1000.0, 1000.0])
    array([0. , 0. , 0.5, 0.5])
    """
    y = checks.plain_array(y, "y")
    axis = checks.whole_number(axis, "axis", -y.ndim, y.ndim - 1)
    if y.dtype.kind not in "fc":
        y = y.astype(float)
    if not y.shape[axis]:
        return y.copy()
    powers = np.exp(y - y.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def sigmoid(y):
    """Return 1 / (1 + exp(-y)); of -y where y is below 0, so that nothing overflows."""
    power = np.exp(-np.abs(y))
    return np.where(y < 0, power, 1) / (1 + power)


def probabilities(y, loss):
    """Return the probabilities that outputs stand for after training with a loss."""
    return softmax(y) if loss == "softmax" else sigmoid(y)


def predictions(y, loss, name="y", limit=0.0):
    """Return classes, or 0 and 1, where outputs are above a limit, or the outputs themselves.

    Raises
    ------
    ValueError
        If an output is NaN, for which no class is the right one; ``name`` is what y is called.
    """
    wrong = np.isnan(y).any(-1)
    if wrong.any():
        place = [int(each) for each in np.unravel_index(wrong.argmax(), wrong.shape)]
        raise ValueError(
            f"the outputs y, _ = net(x) are NaN, the first at {name}{place or ''}, and stand for"
            " nothing: look for NaN in x, there or before, or in the network's parameters"
        )
    if loss == "softmax":
        return y.argmax(-1)
    return (y > limit).astype(np.intp) if loss == "sigmoid" else y


def replaced(result, where, value):
    """Return a result (..., O), or without O, with a value where a mask (...) is true."""
    if not where.any():
        return result
    mask = where[..., None] if result.ndim > where.ndim else where
    return np.where(mask, np.array(value, result.dtype), result)[()]
