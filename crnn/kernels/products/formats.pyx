# In which format a packed weight is: as numbers of the build (panels.pyx) or, of a compressed
# network, in bfloat16 (bf16.pyx). The dtype of its array says so to Python. What lies between
# packing and products hands on one pointer, whatever the format: addresses of numbers are multiples
# of 4, and to that of a compressed weight its format is added.

from libc.stdint cimport uintptr_t

cdef enum Format:
    REAL, BF16
    FORMATS = 4     # there is room for


cdef inline const real *weight(object packed) noexcept:
    # where a packed weight lies, with its format; NULL of None
    if packed is None:
        return NULL
    if REAL_IS_FLOAT and cnp.PyArray_TYPE(<cnp.ndarray> packed) == cnp.NPY_UINT32:
        return <const real *> (<char *> cnp.PyArray_DATA(<cnp.ndarray> packed) + BF16)
    return pointer(packed)


cdef inline bint is_compressed(const real *W) noexcept nogil:
    return REAL_IS_FLOAT and <uintptr_t> W % FORMATS != REAL


cdef outlined_void compressed_product(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # product of a W that is_compressed
    product_bf16(y, y_row, start, start_row, x, x_row,
                 <const uint32_t *> (<const char *> W - BF16), rows, inputs, outputs, from_last)


cdef void pack_weight(const real *packed, const real[:, :] W) noexcept nogil:
    # packed = W (inputs, outputs), in the format that packed has
    cdef Py_ssize_t row = W.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t column = W.strides[1] // <Py_ssize_t> sizeof(real)
    if W.shape[0] == 0 or W.shape[1] == 0:
        return
    if is_compressed(packed):
        pack_bf16(<uint32_t *> (<const char *> packed - BF16), &W[0, 0], row, column, W.shape[0],
                  W.shape[1])
    else:
        pack_panels(<real *> packed, &W[0, 0], row, column, W.shape[0], W.shape[1])


def pack(packed, const real[:, :] W not None):
    """Pack W (inputs, outputs) into panels; packed has a multiple of 16 columns.

    Its dtype is the format: that of the build, or of a float32 build uint32 for words of bfloat16,
    two in each, of which it then has a multiple of 16 for every 32 columns or fewer.
    """
    cdef const real *to = weight(packed)
    with nogil:
        pack_weight(to, W)


def repack(
    packed, const real[:, :] W not None, cnp.int64_t[::1] stamp not None,
    const cnp.int64_t[::1] changes not None,
):
    """Pack W again if parameters have changed since the stamp, how often they had by then.

    Two threads would write into each other's copy, so only one packs at a time. The lock is taken
    and left in compiled code, where no interrupt can leave it locked.
    """
    cdef const real *to = weight(packed)
    cdef cnp.int64_t latest
    with nogil:
        lock_packing()
        latest = changes[0]
        if stamp[0] != latest:
            pack_weight(to, W)
            stamp[0] = latest   # from before packing: of what changes meanwhile, nothing is missed
        unlock_packing()
