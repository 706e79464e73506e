"""Weights of fewer bits, and what is computed with them.

bfloat16 is the upper half of a float32. A number is rounded to the nearest one, or of two that are
as near to the one whose last bit is 0; below 2^-50 to 0. So is each number of a weight, and of x
when it is multiplied with one; sums are those of floats.

int8 is a whole number q from -127 to 127 with a scale. Each column of a weight has a scale of its
own, and each row of x at each time step, the largest number without its sign divided by 127::

    W[:, j] = q[:, j] * scale[j]        x[i] = x_q[i] * x_scale[i]
    x @ W = (x_q @ q) * (x_scale[:, None] * scale)

The sums are of whole numbers and exact. A weight's scale is rounded up to 16 bits, so that each
q * scale is a float32 without an error, which gives the same q and scale again.
"""

import numpy as np

LARGEST = 127
SMALLEST = np.float32(2.0**-100)  # what is all smaller counts as zeros: nothing is denormal
SMALLEST_BFLOAT16 = np.float32(2.0**-50)


def to_bfloat16(numbers):
    """Return a float32 array, rounded to numbers of bfloat16.

    Examples
    --------
    >>> to_bfloat16(np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8], np.float32)).tolist()
    [1.0, 1.0, 1.015625]
    """
    numbers = np.asarray(numbers, np.float32)
    bits = np.where(np.abs(numbers) < SMALLEST_BFLOAT16, np.float32(0), numbers).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = (rounded & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(numbers), np.float32(np.nan), rounded)


def to_int8(W):
    """Return q (inputs, outputs) and the scales (outputs,) of a float32 weight.

    Examples
    --------
    >>> q, scale = to_int8(np.array([[1.0, 0.0], [-127.0, 0.0]], np.float32))
    >>> q.tolist(), scale.tolist()
    ([[1, 0], [-127, 0]], [1.0, 0.0])
    """
    scale = _scale(W, 0)
    bits = (scale.view(np.uint32) + np.uint32(0xFF)) & np.uint32(0xFFFFFF00)
    scale = np.where(np.isfinite(scale), bits.view(np.float32), scale)
    return _whole_numbers(W, scale), scale


def rows_to_int8(x):
    """Return x_q and the scales of the rows of a float32 x (..., inputs).

    A row with a NaN or an infinity has the scale NaN.
    """
    scale = _scale(x, -1)
    return _whole_numbers(x, scale[..., None]), scale


def _scale(numbers, axis):
    most = np.abs(numbers).max(axis=axis, initial=0)
    scale = np.where(most < SMALLEST, np.float32(0), most / np.float32(LARGEST))
    return np.where(np.isfinite(most), scale, np.float32(np.nan))


def _whole_numbers(numbers, scale):
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.rint(numbers * (np.float32(1) / scale))
    return np.where(scale > 0, q, 0).astype(np.int8)


def int8_product(x, W):
    """Return x @ W of whole numbers, for x (..., inputs) and W (inputs, outputs)."""
    (x_q, x_scale), (q, scale) = rows_to_int8(x), to_int8(W)
    sums = x_q.astype(np.float64) @ q.astype(np.float64)  # exact, as whole numbers below 2**53
    return sums.astype(np.float32) * (x_scale[..., None] * scale)


def bfloat16_product(x, W):
    """Return x @ W of an x that is rounded, and a W that is."""
    return to_bfloat16(x) @ W


class CompressedWeight(np.ndarray):
    """A weight with which ``x @ W`` is its `product`; so it is with some of its columns."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [each.view(np.ndarray) if isinstance(each, CompressedWeight) else each
                 for each in inputs]
        if ufunc is np.matmul and isinstance(inputs[1], CompressedWeight):
            return inputs[1].product(*plain)
        return getattr(ufunc, method)(*plain, **options)


class Bfloat16Weight(CompressedWeight):
    """A weight for `bfloat16_product`."""

    product = staticmethod(bfloat16_product)


class Int8Weight(CompressedWeight):
    """A weight for `int8_product`."""

    product = staticmethod(int8_product)


WEIGHTS = {"bf16": Bfloat16Weight, "int8": Int8Weight}
