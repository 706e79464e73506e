"""Questions about memory that come up in every call, and whose answer NumPy takes microseconds for.

All take objects that lend C-contiguous memory.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer


def address(object memory):
    """Where the first byte is."""
    cdef Py_buffer view
    PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return <size_t> view.buf


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


def total(object numbers):
    """Return the sum of these numbers, float64, in their order."""
    cdef Py_buffer view
    cdef Py_ssize_t i, n
    cdef double sum = 0
    PyObject_GetBuffer(numbers, &view, PyBUF_SIMPLE)
    n = view.len // <Py_ssize_t> sizeof(double)
    for i in range(n):
        sum += (<const double *> view.buf)[i]
    PyBuffer_Release(&view)
    return sum
