"""A network's steps for other people's Cython: without the GIL, Python objects or allocation.

    from crnn.kernels cimport RealTime, real_time, step_floats

    cdef RealTime net = real_time(stream)       # with the GIL; the stream is to be kept
    with nogil:
        step_floats(&net, &x[0], &y[0])

A stream, from ``net.stream()``, owns its state and keeps the network; a `RealTime` is some pointers
into it, which hold as long as somebody keeps the stream. One thread at a time works on a stream, be
it with these functions or with the methods of Python. It needs nothing but this file to compile
against, and no NumPy.

What a step returns says whether it was made. If not, nothing has happened:

- ``CHANGED``: the network's parameters have changed, or the stream has another batch size
  (by ``reset``, ``state`` or ``load``), or serves another thread. Call `real_time` again, with the
  GIL.
- ``REFUSED``: x or y are not of the network's dtype, a token is out of range, or the
  network takes no tokens, or no floats.

Parameters that change during a step, in another thread, may be read in part, as in all of crnn.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer

cdef extern from *:
    """
    #define CRNN_REAL_TIME "crnn.kernels.RealTime 1"
    """
    const char *REAL_TIME "CRNN_REAL_TIME"      # the capsule's name; 1 stands for the struct below

cdef enum:
    STEPPED = 0
    CHANGED = 1
    REFUSED = 2

cdef struct RealTime:
    Py_ssize_t inputs, outputs
    Py_ssize_t rows             # B; 1 of a stream of one sequence
    Py_ssize_t number_size      # bytes of a number: 4 for float32, 8 for float64
    void *stepper
    int (*step)(
        const RealTime *net, const void *x, const Py_ssize_t *tokens, void *y
    ) noexcept nogil
    int (*reset)(const RealTime *net) noexcept nogil

ctypedef fused Number:
    float
    double


cdef inline RealTime real_time(object stream) except *:
    # of a stream of the compiled backend; its parameters are looked at, and packed if need be
    return (<RealTime *> PyCapsule_GetPointer(stream.real_time(), REAL_TIME))[0]


cdef inline int step_floats(const RealTime *net, const Number *x, Number *y) noexcept nogil:
    # y (rows, outputs) of x (rows, inputs), which do not overlap
    return net.step(net, x, NULL, y) if net.number_size == sizeof(Number) else REFUSED


cdef inline int step_tokens(const RealTime *net, const Py_ssize_t *x, Number *y) noexcept nogil:
    # y (rows, outputs) of tokens (rows,)
    return net.step(net, NULL, x, y) if net.number_size == sizeof(Number) else REFUSED


cdef inline int reset_state(const RealTime *net) noexcept nogil:
    # has the state go back to what a sequence begins with
    return net.reset(net)
