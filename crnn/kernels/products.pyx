# Every matrix product of the package: y += x @ W, with the loop over outputs innermost, so that it
# runs along memory and vectorises without reordering any sum. The sum over inputs is taken in the
# order of the inputs, whatever the number of rows: any split of a batch gives the same bits.

cdef enum:
    BLOCK_ROWS = 16         # y[block] stays in the nearest cache while W passes by
    BLOCK_OUTPUTS = 512


cdef inline void add_four(
    real *y, const real *x, Py_ssize_t x_step, const real *W, Py_ssize_t W_step, Py_ssize_t n
) noexcept nogil:
    # y (n,) += x[:4] @ W[:4]: y is loaded and stored once for four inputs
    cdef Py_ssize_t j
    cdef real x0 = x[0]
    cdef real x1 = x[x_step]
    cdef real x2 = x[2 * x_step]
    cdef real x3 = x[3 * x_step]
    cdef const real *W1 = W + W_step
    cdef const real *W2 = W1 + W_step
    cdef const real *W3 = W2 + W_step
    for j in range(n):
        y[j] = y[j] + x0 * W[j] + x1 * W1[j] + x2 * W2[j] + x3 * W3[j]


cdef inline void add_four_to_two(
    real *y, real *z, const real *x, const real *u, Py_ssize_t x_step,
    const real *W, Py_ssize_t W_step, Py_ssize_t n,
) noexcept nogil:
    # y (n,) += x[:4] @ W[:4] and z (n,) += u[:4] @ W[:4]: W is loaded once for two rows
    cdef Py_ssize_t j
    cdef real w0, w1, w2, w3
    cdef real x0 = x[0], u0 = u[0]
    cdef real x1 = x[x_step], u1 = u[x_step]
    cdef real x2 = x[2 * x_step], u2 = u[2 * x_step]
    cdef real x3 = x[3 * x_step], u3 = u[3 * x_step]
    cdef const real *W1 = W + W_step
    cdef const real *W2 = W1 + W_step
    cdef const real *W3 = W2 + W_step
    for j in range(n):
        w0, w1, w2, w3 = W[j], W1[j], W2[j], W3[j]
        y[j] = y[j] + x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3
        z[j] = z[j] + u0 * w0 + u1 * w1 + u2 * w2 + u3 * w3


cdef inline void add_scaled(real *y, real x, const real *W, Py_ssize_t n) noexcept nogil:
    # y (n,) += x * W (n,)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = y[j] + x * W[j]


cdef inline void add_block(
    real *y, const real *x, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    Py_ssize_t x_row, Py_ssize_t x_step, Py_ssize_t width,
) noexcept nogil:
    # y[:, :outputs] += x @ W[:, :outputs], where y and W are `width` wide
    cdef Py_ssize_t i, r
    for i in range(0, inputs - 3, 4):
        for r in range(0, rows - 1, 2):
            add_four_to_two(y + r * width, y + (r + 1) * width,
                            x + r * x_row + i * x_step, x + (r + 1) * x_row + i * x_step, x_step,
                            W + i * width, width, outputs)
        if rows % 2:
            r = rows - 1
            add_four(y + r * width, x + r * x_row + i * x_step, x_step,
                     W + i * width, width, outputs)
    for i in range(inputs - inputs % 4, inputs):
        for r in range(rows):
            add_scaled(y + r * width, x[r * x_row + i * x_step], W + i * width, outputs)


cdef void add_strided_product(
    real *y, const real *x, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    Py_ssize_t x_row, Py_ssize_t x_step,
) noexcept nogil:
    # y += x @ W in blocks; x[r, i] lies at x[r * x_row + i * x_step]
    cdef Py_ssize_t r, j = 0
    while j < outputs:
        r = 0
        while r < rows:
            add_block(y + r * outputs + j, x + r * x_row, W + j, min(BLOCK_ROWS, rows - r), inputs,
                      min(BLOCK_OUTPUTS, outputs - j), x_row, x_step, outputs)
            r += BLOCK_ROWS
        j += BLOCK_OUTPUTS


cdef inline void add_product(
    real *y, const real *x, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs
) noexcept nogil:
    # y (rows, outputs) += x (rows, inputs) @ W (inputs, outputs)
    add_strided_product(y, x, W, rows, inputs, outputs, inputs, 1)


cdef inline void add_outer_products(
    real *dW, const real *x, const real *dy, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs
) noexcept nogil:
    # dW (inputs, outputs) += x (rows, inputs).T @ dy (rows, outputs)
    add_strided_product(dW, x, dy, inputs, rows, outputs, 1, inputs)
