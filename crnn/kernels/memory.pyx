"""Memory, and questions about it, that come up in every call: NumPy takes microseconds for them.

The questions are about objects that lend C-contiguous memory.
"""

cimport numpy as cnp
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memset

import numpy as np

cnp.import_array()

include "tuning.pxi"

cdef enum:
    MOST_AXES = 8

cdef cnp.npy_intp LARGEST = np.iinfo(np.intp).max - CACHE_LINE      # size in bytes

TUNING = {                  # what Python shares of the kernels' numbers
    "UNITS": UNITS,
    "L1_BYTES": L1_BYTES,
    "PROJECTED_NUMBERS": PROJECTED_NUMBERS,
    "MIN_PROJECTED_ROWS": MIN_PROJECTED_ROWS,
    "SHARED_SEQUENCES": SHARED_SEQUENCES,
    "SHARED_STEPS": SHARED_STEPS,
    "PARTIAL_ROWS": PARTIAL_ROWS,
    "WHOLE_INPUTS": WHOLE_INPUTS,
    "FOLDED_NUMBERS": FOLDED_NUMBERS,
    "FOLDED_INPUTS": FOLDED_INPUTS,
    "FEW_FOLDED_NUMBERS": FEW_FOLDED_NUMBERS,
}


def aligned_empty(shape, dtype):
    """Return an uninitialized C-contiguous array, of 8 axes at most, that starts on a cache line.

    NumPy aligns to 16 bytes, so that a vector load of 32 or 64 bytes often touches two cache
    lines; products over such arrays take up to half as long again.
    """
    cdef cnp.npy_intp lengths[MOST_AXES]
    cdef cnp.dtype described = dtype if isinstance(dtype, cnp.dtype) else np.dtype(dtype)
    cdef cnp.npy_intp size = described.itemsize
    cdef cnp.ndarray memory, array
    cdef tuple sizes = tuple(shape)
    cdef int axis, axes = len(sizes)
    cdef char *start
    if axes > MOST_AXES:
        raise ValueError(f"{axes} axes; {MOST_AXES} at most are wanted")
    try:
        for axis in range(axes):
            lengths[axis] = sizes[axis]
            if lengths[axis] > 0 and size > LARGEST // lengths[axis]:
                raise OverflowError()
            size *= lengths[axis]
        size += CACHE_LINE
        memory = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, False)
    except (OverflowError, ValueError):     # what is said beyond the address space
        raise MemoryError(f"an array of shape {sizes} does not fit in memory") from None
    start = <char *> cnp.PyArray_DATA(memory)
    start = start + (-<size_t> start) % CACHE_LINE
    array = cnp.PyArray_SimpleNewFromData(axes, lengths, described.type_num, start)
    cnp.set_array_base(array, memory)
    return array


def aligned_zeros(shape, dtype):
    """Return `aligned_empty` filled with zeros."""
    cdef cnp.ndarray array = aligned_empty(shape, dtype)
    memset(cnp.PyArray_DATA(array), 0, cnp.PyArray_NBYTES(array))
    return array


def count_between(object numbers, Py_ssize_t low, Py_ssize_t high):
    """How many of these numbers, intp, are at least low and below high."""
    cdef Py_buffer view
    cdef Py_ssize_t i, n, count = 0
    PyObject_GetBuffer(numbers, &view, PyBUF_SIMPLE)
    n = view.len // <Py_ssize_t> sizeof(Py_ssize_t)
    for i in range(n):
        count += low <= (<const Py_ssize_t *> view.buf)[i] < high
    PyBuffer_Release(&view)
    return count
