"""The compiled kernels: whole passes over packed weights, with the formulas of ``crnn/reference/``.

It is built once for each instruction set and dtype: ``baseline_float.pyx``, ``avx512_double.pyx``
and so on say what ``real`` is, include this file, and are compiled with different flags (setup.py);
``crnn/base/backends.py`` imports the best one that the processor can run. The rooms:

- ``tuning.pxi``       what was found by measuring, in one table
- ``pointers.pyx``     where arrays lie
- ``products/``        every matrix product of the package
    - ``panels.pyx``       how weights lie in memory for products, and packing
    - ``micro.pyx``        the innermost loops, whose sums stay in registers
    - ``loops.pyx``        what walks panels: some rows, a single row, gradients of weights
    - ``bf16.pyx``         products with weights in bfloat16
    - ``int8.pyx``         products of whole numbers, which weights and rows are rounded to
    - ``formats.pyx``      in which format a packed weight is
    - ``products.pyx``     the products that other rooms may use
- ``cells/``           what a network does at one time step
    - ``activations.pyx``  tanh, ReLU, sigmoid and their derivatives, exp
    - ``rows.pyx``         the arrays that a step works on
    - ``rnn.pyx``, ``gru.pyx``, ``lstm.pyx``  each cell: a step forward, a step back
    - ``softmax.pyx``      sums over rows, softmax
    - ``dense.pyx``        layers without a state, and the functions of the readout
    - ``table.pyx``        which of them runs
- ``optimizers.pyx``   updates of the parameter vector, norms of gradients
- ``passes/``          what a network does with whole sequences, and for streams
    - ``losses.pyx``       softmax, sigmoid and squared-error losses
    - ``direction.pyx``    a layer in one direction, for some sequences of a batch at a time
    - ``readout.pyx``      the readout and the loss, in the same manner
    - ``layer.pyx``        a layer in its one or two directions
    - ``arguments.pyx``    what a pass is given and what it gives
    - ``pass.pyx``         all layers and the readout, phase by phase
    - ``waves.pyx``        how threads share a pass over few sequences, block by block
    - ``schedules.pyx``    how threads share the phases
    - ``stepper.pyx``      time steps of a whole network, for streams
    - ``together.pyx``     a time step of many streams at once
    - ``sampling.pyx``     texts that a network writes

A file uses only what those before it define. What does not depend on ``real`` is in modules of its
own: ``cpu.pyx``, ``memory.pyx``, and ``pool.pyx``, the threads.

A ``def`` is the edge: it takes typed memoryviews, once, and releases the GIL. What is below it is
``noexcept nogil``, works on rows in place and neither allocates, checks nor raises. Shapes were
checked by the caller (``crnn/base/``). Below the edge, pointers to rows stand in for slices of
memoryviews: taking a slice counts references, once a time step, with the GIL released.
"""

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from cpython.pycapsule cimport PyCapsule_New

from crnn.kernels cimport (
    REAL_TIME,
    CHANGED,
    REFUSED,
    STEPPED,
    RealTime,
)
from crnn.kernels.pool cimport (
    ALL_BLOCKS,
    Pulse,
    Strand,
    Strands,
    Task,
    Walker,
    claim,
    end_block,
    is_last_to_leave,
    lock_packing,
    must_stop,
    reset_strands,
    run_tasks,
    take_block,
    threads_for,
    unclaim,
    unlock_packing,
)

from crnn.kernels.cpu import has_bf16, has_vnni
from crnn.kernels.memory import aligned_empty, aligned_zeros

cnp.import_array()

cdef extern from *:
    """
    /* a * b + c, with one rounding where the build has it. The compiler is told not to fuse such
       sums by itself (-ffp-contract=off): it does in one loop and not in the next, and bits would
       depend on which. */
    #ifdef __FMA__
    #define HAS_FMA 1
    #define MULTIPLY_ADD_FLOAT(a, b, c) __builtin_fmaf((a), (b), (c))
    #define MULTIPLY_ADD_DOUBLE(a, b, c) __builtin_fma((a), (b), (c))
    #else
    #define HAS_FMA 0
    #define MULTIPLY_ADD_FLOAT(a, b, c) ((a) * (b) + (c))
    #define MULTIPLY_ADD_DOUBLE(a, b, c) ((a) * (b) + (c))
    #endif
    #if REAL_IS_FLOAT               /* setup.py says so of a build */
    #define MULTIPLY_ADD MULTIPLY_ADD_FLOAT
    #else
    #define MULTIPLY_ADD MULTIPLY_ADD_DOUBLE
    #endif
    /* A width that the compiler knows is what keeps sums in registers: these must be inlined. */
    #if defined(__GNUC__)
    #define INLINED_VOID __attribute__((always_inline)) void
    /* Inlined, a path that is seldom taken has its caller save registers on every path. Nor is it
       to be there again for each constant that somebody calls it with (gcc). */
    #if defined(__clang__)
    #define OUTLINED_VOID __attribute__((noinline)) void
    #else
    #define OUTLINED_VOID __attribute__((noinline, noclone)) void
    #endif
    #else
    #define INLINED_VOID void
    #define OUTLINED_VOID void
    #endif
    """
    ctypedef void inlined_void "INLINED_VOID"
    ctypedef void outlined_void "OUTLINED_VOID"
    enum:
        HAS_FMA
        REAL_IS_FLOAT
    float multiply_add_float "MULTIPLY_ADD_FLOAT"(float a, float b, float c) noexcept nogil
    double multiply_add_double "MULTIPLY_ADD_DOUBLE"(double a, double b, double c) noexcept nogil
    real multiply_add "MULTIPLY_ADD"(real a, real b, real c) noexcept nogil

cdef int REAL_TYPE = cnp.NPY_FLOAT if REAL_IS_FLOAT else cnp.NPY_DOUBLE
cdef object REAL_NAME = cnp.PyArray_DescrFromType(REAL_TYPE)


include "tuning.pxi"
include "pointers.pyx"
include "products/panels.pyx"
include "products/micro.pyx"
include "products/loops.pyx"
include "products/bf16.pyx"
include "products/int8.pyx"
include "products/formats.pyx"
include "products/products.pyx"
include "cells/activations.pyx"
include "cells/rows.pyx"
include "cells/rnn.pyx"
include "cells/gru.pyx"
include "cells/lstm.pyx"
include "cells/softmax.pyx"
include "cells/dense.pyx"
include "cells/table.pyx"
include "optimizers.pyx"
include "passes/losses.pyx"
include "passes/direction.pyx"
include "passes/readout.pyx"
include "passes/layer.pyx"
include "passes/arguments.pyx"
include "passes/pass.pyx"
include "passes/waves.pyx"
include "passes/schedules.pyx"
include "passes/stepper.pyx"
include "passes/together.pyx"
include "passes/sampling.pyx"
