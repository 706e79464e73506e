"""What outputs mean: probabilities and classes."""

import numpy as np

from crnn.base import checks


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
