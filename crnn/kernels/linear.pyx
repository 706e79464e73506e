# y = x @ W + b over any number of rows: the input projection of all time steps, and the readout.
# Tokens stand for one-hot rows: their product with W is a row of W. Arrays are (T, B, n).

from libc.string cimport memcpy

cdef enum:
    ROWS_TOGETHER = 32
    NUMBERS_TOGETHER = 65536


cdef inline void fill_rows(real *y, const real *b, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    # y (rows, n) = b (n,), or 0 without b
    cdef Py_ssize_t r
    if b == NULL:
        memset(y, 0, rows * n * sizeof(real))
        return
    for r in range(rows):
        memcpy(y + r * n, b, n * sizeof(real))


cdef inline void linear_rows(
    real *y, const real *x, const real *W, const real *b,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # y (rows, outputs) = x (rows, inputs) @ packed W (inputs, outputs) + b (outputs,), or no b;
    # so many rows at a time that they stay in the cache from one panel of W to the next
    cdef Py_ssize_t n, start = 0, block = ROWS_TOGETHER
    if rows > ROWS_TOGETHER:
        block = max(block, NUMBERS_TOGETHER // max(inputs, outputs))
    while start < rows:
        n = min(block, rows - start)
        fill_rows(y + start * outputs, b, n, outputs)
        add_product(y + start * outputs, x + start * inputs, W, n, inputs, outputs)
        start += n


cdef inline void lookup_rows(
    real *y, const Py_ssize_t *tokens, const real *W, const real *b,
    Py_ssize_t rows, Py_ssize_t outputs,
) noexcept nogil:
    # y (rows, outputs) = W[tokens] + b
    cdef Py_ssize_t r, j
    cdef const real *row
    for r in range(rows):
        row = W + tokens[r] * outputs
        for j in range(outputs):
            y[r * outputs + j] = b[j] + row[j]


cdef inline void add_rows(
    real *total, const real *x, Py_ssize_t x_row, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    # total (n,) += x (rows, n).sum(axis=0)
    cdef Py_ssize_t r
    for r in range(rows):
        add_scaled(total, 1, x + r * x_row, n)


def linear(
    real[:, :, ::1] y not None, const real[:, :, ::1] x not None,
    const real[:, ::1] W not None, const real[::1] b=None,
):
    cdef Py_ssize_t t, steps = y.shape[0], batch = y.shape[1]
    cdef Py_ssize_t inputs = x.shape[2], outputs = y.shape[2]
    cdef const real *bias = NULL
    if not (steps and batch):
        return
    if b is not None:
        bias = &b[0]
    with nogil:
        if (y.strides[0] == batch * outputs * <Py_ssize_t> sizeof(real)
                and x.strides[0] == batch * inputs * <Py_ssize_t> sizeof(real)):
            batch, steps = batch * steps, 1         # all time steps lie together
        for t in range(steps):
            linear_rows(&y[t, 0, 0], &x[t, 0, 0], &W[0, 0], bias, batch, inputs, outputs)


def linear_gradients(
    real[:, ::1] dW not None, real[::1] db, const real[:, ::1] x not None,
    const real[:, ::1] dy not None,
):
    cdef Py_ssize_t rows = dy.shape[0], inputs = dW.shape[0], outputs = dW.shape[1]
    cdef Py_ssize_t size = sizeof(real)
    if not (rows and outputs):
        return
    with nogil:
        add_outer_products(&dW[0, 0], dW.strides[0] // size, &x[0, 0], x.strides[0] // size,
                           &dy[0, 0], dy.strides[0] // size, rows, inputs, outputs)
        if db is not None:
            add_rows(&db[0], &dy[0, 0], dy.strides[0] // size, rows, outputs)


def lookup(
    real[:, :, ::1] y not None, const Py_ssize_t[:, ::1] tokens not None,
    const real[:, ::1] W not None, const real[::1] b not None,
):
    cdef Py_ssize_t t, batch = y.shape[1], outputs = y.shape[2]
    if not batch:
        return
    with nogil:
        for t in range(y.shape[0]):
            lookup_rows(&y[t, 0, 0], &tokens[t, 0], &W[0, 0], &b[0], batch, outputs)


def lookup_gradients(
    real[:, ::1] dW not None, real[::1] db not None, const Py_ssize_t[::1] tokens not None,
    const real[:, ::1] dy not None,
):
    cdef Py_ssize_t r, rows = dy.shape[0], outputs = dy.shape[1]
    if not (rows and outputs):
        return
    with nogil:
        for r in range(rows):
            add_scaled(&dW[tokens[r], 0], 1, &dy[r, 0], outputs)
        add_rows(&db[0], &dy[0, 0], dy.strides[0] // <Py_ssize_t> sizeof(real), rows, outputs)
