"""Compiled twins of what is in ``crnn/reference/``: same names, arguments and results.

``baseline.pyx``, ``avx2.pyx`` and ``avx512.pyx`` each include this file and are compiled with
different flags; ``crnn/base/backends.py`` imports the best one that the processor can run. The rooms:

- ``panels.pyx``       how weights lie in memory for products
- ``products.pyx``, ``row_products.pyx``, ``long_panels.pyx``, ``outer_products.pyx``  every matrix
  product of the package
- ``activations.pyx``  tanh, ReLU, sigmoid and their derivatives, exp
- ``linear.pyx``       products plus a bias, token lookup
- ``cells.pyx``        the table of cells; includes each cell's file, ``rnn.pyx``, ``gru.pyx``,
  ``lstm.pyx``: a step forward, a step back
- ``losses.pyx``       softmax, sigmoid and squared-error losses
- ``optimizers.pyx``   updates of the parameter vector, norms of gradients
- ``layer.pyx``        a layer over whole sequences, for some sequences of a batch at a time
- ``readout.pyx``      the readout and the loss, in the same manner
- ``trainer.pyx``      training passes of small networks, a group of sequences a call
- ``runner.pyx``       inference of a small network, in one call
- ``stepper.pyx``      one time step of a whole network, for streams

A ``def`` is the edge: it takes typed memoryviews, once, and releases the GIL. What is below it is
``noexcept nogil``, works on rows in place and neither allocates, checks nor raises. Shapes were
checked by the caller (``crnn/base/checks.py``). There, pointers to rows stand in for slices of
memoryviews: taking a slice counts references, once a time step, with the GIL released.
"""

cimport numpy as cnp

import numpy as np

cnp.import_array()

ctypedef fused real:
    float
    double

cdef extern from *:
    """
    /* a * b + c, with one rounding where the build has it. The compiler is told not to fuse such
       sums by itself (-ffp-contract=off): it does in one loop and not in the next, and bits would
       depend on which. */
    #ifdef __FMA__
    #define FUSED 1
    #define MULTIPLY_ADD_FLOAT(a, b, c) __builtin_fmaf((a), (b), (c))
    #define MULTIPLY_ADD_DOUBLE(a, b, c) __builtin_fma((a), (b), (c))
    #else
    #define FUSED 0
    #define MULTIPLY_ADD_FLOAT(a, b, c) ((a) * (b) + (c))
    #define MULTIPLY_ADD_DOUBLE(a, b, c) ((a) * (b) + (c))
    #endif
    """
    enum:
        FUSED
    float MULTIPLY_ADD_FLOAT(float a, float b, float c) noexcept nogil
    double MULTIPLY_ADD_DOUBLE(double a, double b, double c) noexcept nogil


cdef inline real multiply_add(real a, real b, real c) noexcept nogil:
    if real is float:
        return MULTIPLY_ADD_FLOAT(a, b, c)
    else:
        return MULTIPLY_ADD_DOUBLE(a, b, c)


include "panels.pyx"
include "products.pyx"
include "row_products.pyx"
include "long_panels.pyx"
include "outer_products.pyx"
include "activations.pyx"
include "linear.pyx"
include "cells.pyx"
include "losses.pyx"
include "optimizers.pyx"
include "layer.pyx"
include "readout.pyx"
include "stepper.pyx"
include "trainer.pyx"
include "runner.pyx"
