# In which format a packed weight is: as numbers of the build (panels.pyx) or, of a compressed
# network, in bfloat16 (bf16.pyx) or as whole numbers (int8.pyx). The dtype of its array says so to
# Python. What lies between packing and products hands on one pointer, whatever the format:
# addresses of numbers are multiples of 4, and to that of a compressed weight its format is added.

from libc.stdint cimport uintptr_t

cdef enum Format:
    REAL, BF16, INT8
    FORMATS = 4     # there is room for


cdef inline const real *weight(object packed) noexcept:
    # where a packed weight lies, with its format; NULL of None
    if packed is None:
        return NULL
    if REAL_IS_FLOAT and cnp.PyArray_TYPE(<cnp.ndarray> packed) == cnp.NPY_UINT32:
        return <const real *> (<char *> cnp.PyArray_DATA(<cnp.ndarray> packed) + BF16)
    if REAL_IS_FLOAT and cnp.PyArray_TYPE(<cnp.ndarray> packed) == cnp.NPY_INT8:
        return <const real *> (<char *> cnp.PyArray_DATA(<cnp.ndarray> packed) + INT8)
    return pointer(packed)


cdef inline Format format_of(const real *W) noexcept nogil:
    return <Format> (<uintptr_t> W % FORMATS) if REAL_IS_FLOAT else REAL


cdef inline bint is_compressed(const real *W) noexcept nogil:
    return format_of(W) != REAL


cdef outlined_void compressed_product(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # product of a W that is_compressed
    if format_of(W) == BF16:
        product_bf16(y, y_row, start, start_row, x, x_row,
                     <const uint32_t *> (<const char *> W - BF16), rows, inputs, outputs, from_last)
    else:
        product_int8(y, y_row, start, start_row, x, x_row,
                     <const int8_t *> (<const char *> W - INT8), rows, inputs, outputs, from_last)


cdef void pack_weight(
    const real *packed, const real *W, Py_ssize_t row, Py_ssize_t column, Py_ssize_t inputs,
    Py_ssize_t outputs,
) noexcept nogil:
    # packed = W (inputs, outputs), in the format that packed has; see pack_panel
    if inputs == 0 or outputs == 0:
        return
    if format_of(packed) == BF16:
        pack_bf16(<uint32_t *> (<const char *> packed - BF16), W, row, column, inputs, outputs)
    elif format_of(packed) == INT8:
        pack_int8(<int8_t *> (<const char *> packed - INT8), W, row, column, inputs, outputs)
    else:
        pack_panels(<real *> packed, W, row, column, inputs, outputs)


def pack(packed, const real[:, :] W not None):
    """Pack W (inputs, outputs) into panels; packed has a multiple of 16 columns.

    Its dtype is the format: that of the build, or of a float32 build one of two. It is uint32 for
    bfloat16, two inputs in a word, with a row for every 2 inputs or fewer; and int8 for whole
    numbers: a row for scales and one for every 4 inputs or fewer, each of 64 bytes for every 16
    columns or fewer.
    """
    cdef Py_ssize_t size = sizeof(real)
    pack_weight(weight(packed), &W[0, 0], W.strides[0] // size, W.strides[1] // size, W.shape[0],
                W.shape[1])


def repack(
    packed, cnp.ndarray W not None, cnp.ndarray stamp not None, cnp.ndarray changes not None,
):
    """Pack W again if parameters have changed since the stamp, how often they had by then.

    Two threads would write into each other's copy, so only one packs at a time. The lock is taken
    and left in compiled code, where no interrupt can leave it locked. All are arrays of the
    network's own, of the right types: memoryviews of them would take longer than to pack a few
    units.
    """
    cdef const real *to = weight(packed)
    cdef const real *weights = pointer(W)
    cdef Py_ssize_t size = sizeof(real), inputs = W.shape[0], outputs = W.shape[1]
    cdef Py_ssize_t row = W.strides[0] // size, column = W.strides[1] // size
    cdef cnp.int64_t *done = <cnp.int64_t *> cnp.PyArray_DATA(stamp)
    cdef const cnp.int64_t *wanted = <const cnp.int64_t *> cnp.PyArray_DATA(changes)
    cdef cnp.int64_t latest
    with nogil:
        lock_packing()
        latest = wanted[0]
        if done[0] != latest:
            pack_weight(to, weights, row, column, inputs, outputs)
            done[0] = latest    # from before packing: of what changes meanwhile, nothing is missed
        unlock_packing()
