# y = x @ W + b over any number of rows: the input projection of all time steps, and the readout.
# Tokens stand for one-hot rows: their product with W is a row of W.

from libc.string cimport memcpy, memset


cdef inline void fill_rows(real *y, const real *b, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    # y (rows, n) = b (n,)
    cdef Py_ssize_t r
    for r in range(rows):
        memcpy(y + r * n, b, n * sizeof(real))


cdef inline void linear_rows(
    real *y, const real *x, const real *W, const real *b,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # y (rows, outputs) = x (rows, inputs) @ W (inputs, outputs) + b (outputs,)
    fill_rows(y, b, rows, outputs)
    add_product(y, x, W, rows, inputs, outputs)


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
    real *total, const real *x, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    # total (n,) += x (rows, n).sum(axis=0)
    cdef Py_ssize_t r
    for r in range(rows):
        add_scaled(total, 1, x + r * n, n)


def linear(
    real[:, ::1] y not None, const real[:, ::1] x not None,
    const real[:, ::1] W not None, const real[::1] b not None,
):
    cdef Py_ssize_t rows = y.shape[0], outputs = y.shape[1], inputs = x.shape[1]
    if rows:
        with nogil:
            linear_rows(&y[0, 0], &x[0, 0], &W[0, 0], &b[0], rows, inputs, outputs)


def linear_backward(
    real[:, ::1] dx not None, real[:, ::1] dW not None, real[::1] db not None,
    const real[:, ::1] dy not None, const real[:, ::1] x not None, const real[:, ::1] W_T not None,
):
    cdef Py_ssize_t rows = dy.shape[0], outputs = dy.shape[1], inputs = x.shape[1]
    if not rows:
        return
    with nogil:
        add_outer_products(&dW[0, 0], &x[0, 0], &dy[0, 0], rows, inputs, outputs)
        add_rows(&db[0], &dy[0, 0], rows, outputs)
        memset(&dx[0, 0], 0, rows * inputs * sizeof(real))
        add_product(&dx[0, 0], &dy[0, 0], &W_T[0, 0], rows, outputs, inputs)


def lookup(
    real[:, ::1] y not None, const Py_ssize_t[::1] tokens not None,
    const real[:, ::1] W not None, const real[::1] b not None,
):
    cdef Py_ssize_t rows = y.shape[0], outputs = y.shape[1]
    if rows:
        with nogil:
            lookup_rows(&y[0, 0], &tokens[0], &W[0, 0], &b[0], rows, outputs)


def lookup_backward(
    real[:, ::1] dW not None, real[::1] db not None,
    const real[:, ::1] dy not None, const Py_ssize_t[::1] tokens not None,
):
    cdef Py_ssize_t r, rows = dy.shape[0], outputs = dy.shape[1]
    if not rows:
        return
    with nogil:
        for r in range(rows):
            add_scaled(&dW[tokens[r], 0], 1, &dy[r, 0], outputs)
        add_rows(&db[0], &dy[0, 0], rows, outputs)
