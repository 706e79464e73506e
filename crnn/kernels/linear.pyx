# y = x @ W + b over any number of rows: the input projection of all time steps, and the readout.
# Tokens stand for one-hot rows: their product with W is a row of W. Arrays are (T, B, n).

cdef enum:
    ROWS_TOGETHER = 128
    NUMBERS_TOGETHER = 65536


cdef outlined_void linear_many_rows(
    real *y, const real *x, const real *W, const real *b,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # so many rows at a time that they stay in the cache from one panel of W to the next, but not so
    # few that reading W takes longer than the product
    cdef Py_ssize_t n, done = 0, block = ROWS_TOGETHER
    if rows > ROWS_TOGETHER:
        block = max(block, NUMBERS_TOGETHER // max(inputs, outputs))
    while done < rows:
        n = min(block, rows - done)
        if b == NULL:
            memset(y, 0, n * outputs * sizeof(real))
            add_product(y, outputs, x, inputs, W, n, inputs, outputs, from_last)
        else:
            product(y, outputs, b, 0, x, inputs, W, n, inputs, outputs, from_last)
        y, x, done = y + n * outputs, x + n * inputs, done + n


cdef inline void linear_rows(
    real *y, const real *x, const real *W, const real *b,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (rows, outputs) = x (rows, inputs) @ packed W (inputs, outputs) + b (outputs,), or no b
    if rows == 1 and b != NULL:
        product_row(y, b, x, W, inputs, outputs, from_last)
    else:
        linear_many_rows(y, x, W, b, rows, inputs, outputs, from_last)


cdef outlined_void lookup_rows(
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
