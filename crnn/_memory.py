"""Arrays that start where a cache line does."""

import math

import numpy as np

from crnn.kernels.memory import address

CACHE_LINE = 64  # bytes


def aligned_empty(shape, dtype):
    """Return an uninitialised C-contiguous array that starts on a cache line.

    NumPy aligns to 16 bytes, so that a vector load of 32 or 64 bytes often touches two cache
    lines; products over such arrays take up to half as long again.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    try:
        memory = np.empty(size + CACHE_LINE, np.uint8)
    except ValueError:  # what NumPy says beyond the address space
        raise MemoryError(f"an array of shape {tuple(shape)} does not fit in memory") from None
    return np.ndarray(shape, dtype, memory, -address(memory) % CACHE_LINE)


def aligned_zeros(shape, dtype):
    """Return `aligned_empty` filled with zeros."""
    array = aligned_empty(shape, dtype)
    array.fill(0)
    return array
