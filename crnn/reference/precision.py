"""Double precision: for sums over many rows, and for losses.

Added up one after the other in float32, a million numbers of a kind lose two digits of their sum.
"""

import numpy as np


def wide(x):
    """Return an array in double precision, real or complex.

    Examples
    --------
    >>> ones = np.ones((3, 2), np.float32)
    >>> wide(ones).sum(axis=0).dtype, wide(ones * 1j).dtype
    (dtype('float64'), dtype('complex128'))
    """
    return x.astype(np.result_type(x.dtype, np.float64), copy=False)
