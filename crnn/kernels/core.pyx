"""Compiled twins of the functions in ``crnn/reference.py``: same names, arguments and results.

``baseline.pyx``, ``avx2.pyx`` and ``avx512.pyx`` each include this file and are compiled with
different flags; ``crnn/_dispatch.py`` imports the best one that the processor can run. The rooms:

- ``products.pyx``  sums of products over memory: every matrix product of the package
- ``tanh.pyx``      tanh, ReLU and their derivatives
- ``linear.pyx``    input projection, token lookup, readout, and their gradients
- ``rnn.pyx``       the vanilla cell: step, forward over T, backward over T
- ``losses.pyx``    softmax, sigmoid and squared-error losses
- ``stepper.pyx``   one time step of a whole network, for streams

A ``def`` is the edge: it takes typed memoryviews, once, and releases the GIL. What is below it is
``noexcept nogil``, works on rows in place and neither allocates, checks nor raises. Shapes were
checked by the caller (``crnn/checks.py``). There, pointers to rows stand in for slices of
memoryviews: taking a slice counts references, once a time step, with the GIL released.
"""

cimport numpy as cnp

import numpy as np

cnp.import_array()

ctypedef fused real:
    float
    double

include "products.pyx"
include "tanh.pyx"
include "linear.pyx"
include "rnn.pyx"
include "losses.pyx"
include "stepper.pyx"
