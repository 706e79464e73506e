# The products that other rooms may use: product, add_product, linear_rows, linear_sparse_rows,
# lookup_rows, add_outer_products, add_sparse_outer_products, add_rows, add_linked_rows. Weights are
# packed (panels.pyx). Tokens stand for one-hot rows: their product with W is a row of W.


cdef inline void product_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (outputs,) = start + x (inputs,) @ packed W (inputs, outputs); see product. A small step
    # spends most of its time on getting to its few panels.
    if outputs <= FULL_WIDTH:
        any_panel_row(y, start, x, W, inputs, outputs, level_of(inputs * outputs))
    else:
        panels_row(y, start, x, W, inputs, outputs, from_last)


cdef inline void product(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # y (rows, outputs) = start + x (rows, inputs) @ packed W (inputs, outputs), of one input at
    # least; rows lie y_row, start_row and x_row numbers apart. start is y, or one row for all, with
    # a start_row of 0. Panels are taken from the first to the last or, with from_last, the other
    # way.
    if is_compressed(W):
        compressed_product(y, y_row, start, start_row, x, x_row, W, rows, inputs, outputs,
                           from_last)
    elif rows == 1:
        product_row(y, start, x, W, inputs, outputs, from_last)
    else:
        panels_rows(y, y_row, start, start_row, x, x_row, W, rows, inputs, outputs, from_last)


cdef inline void add_product(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (rows, outputs) += x (rows, inputs) @ packed W (inputs, outputs); see product
    product(y, y_row, y, y_row, x, x_row, W, rows, inputs, outputs, from_last)


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
        product(y, outputs, b, 0, x, inputs, W, 1, inputs, outputs, from_last)
    else:
        linear_many_rows(y, x, W, b, rows, inputs, outputs, from_last)


cdef inline void linear_sparse_row(
    real *y, const real *x, const real *W, const real *packed, const real *b, Py_ssize_t inputs,
    Py_ssize_t outputs,
) noexcept nogil:
    # y (outputs,) = x (inputs,) @ W (inputs, outputs) + b, with the sums of linear_rows; packed is
    # read if x is not mostly zeros
    cdef real values[LISTED]
    cdef Py_ssize_t which[LISTED]
    cdef Py_ssize_t half, listed, at, halves = 2 if level_of(inputs * outputs) == L1 else 1
    cdef Py_ssize_t n = inputs // halves
    for half in range(halves):
        at = half * n
        listed = list_others(values, which, x + at, 1, n)
        if listed == TOO_MANY:
            product(y, outputs, b, 0, x, inputs, packed, 1, inputs, outputs, False)
            return
        listed_row(y, y if half else b, values, which, listed, W + at * outputs, outputs, outputs)
    if n * halves < inputs:
        add_scaled(y, x[inputs - 1], W + (inputs - 1) * outputs, outputs)


cdef void linear_sparse_rows(
    real *y, const real *x, const real *W, const real *packed, const real *b, Py_ssize_t rows,
    Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # as linear_rows, of an x that is mostly zeros: W lies as it is
    cdef Py_ssize_t r
    for r in range(rows):
        linear_sparse_row(y + r * outputs, x + r * inputs, W, packed, b, inputs, outputs)


cdef outlined_void lookup_rows(
    real *y, const Py_ssize_t *tokens, const real *W, const real *b,
    Py_ssize_t rows, Py_ssize_t outputs,
) noexcept nogil:
    # y (rows, outputs) = W[tokens] + b, or no b
    cdef Py_ssize_t r, j
    cdef const real *row
    for r in range(rows):
        row = W + tokens[r] * outputs
        if b == NULL:
            memcpy(y + r * outputs, row, outputs * sizeof(real))
            continue
        for j in range(outputs):
            y[r * outputs + j] = b[j] + row[j]


cdef void add_outer_products(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const real *dy, Py_ssize_t dy_row,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # dW (inputs, outputs) += x (rows, inputs).T @ dy (rows, outputs), some rows at a time: dy is
    # what is packed, unless it is one panel as it lies, and rows are what is summed over; those of
    # which dy is 0, as where a sequence is over, would add nothing
    cdef char memory[(GRADIENT_STEPS * (GRADIENT_PANELS * PANEL_VECTORS + 1) + 1) * VECTOR_BYTES]
    cdef real *packed = <real *> (memory + VECTOR_BYTES - <size_t> &memory[0] % VECTOR_BYTES)
    cdef const real *panel
    cdef Py_ssize_t which[GRADIENT_STEPS]
    cdef Py_ssize_t r, steps, some, width, columns, j = 0
    while j < outputs:
        width = gradient_width(outputs - j)
        columns = min(width, outputs - j)
        r = 0
        while r < rows:
            steps = min(GRADIENT_STEPS, rows - r)
            panel = dy + r * dy_row
            some = list_rows(which, panel + j, dy_row, steps, columns)
            if some < steps or panel_width(outputs) != dy_row or dy_row != outputs:
                gather_panels(packed, panel + j, dy_row, which, some, outputs - j, width)
                panel = packed
            if some:
                add_panel_gradients(dW + j, dW_row, x + r * x_row, x_row, which, panel, some,
                                    inputs, outputs - j, width)
            r += steps
        j += width


cdef void add_sparse_outer_products(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const real *dy, Py_ssize_t dy_row,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # what add_outer_products adds, with its sums, of an x that is mostly zeros
    cdef real values[LISTED]
    cdef Py_ssize_t which[LISTED]
    cdef Py_ssize_t i, steps, listed, r = 0
    while r < rows:
        steps = min(GRADIENT_STEPS, rows - r)
        for i in range(inputs):
            listed = list_others(values, which, x + r * x_row + i, x_row, steps)
            if listed:
                listed_row(dW + i * dW_row, dW + i * dW_row, values, which, listed, dy + r * dy_row,
                           dy_row, outputs)
        r += steps


cdef void add_rows(
    real *total, const real *x, Py_ssize_t x_row, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    # total (n,) += x (rows, n).sum(axis=0), some rows and columns at a time: one after the other, a
    # million numbers of a kind would lose two digits of their sum in float32
    cdef real some[GRADIENT_COLUMNS]
    cdef Py_ssize_t r, start, stop, columns, j = 0
    while j < n:
        columns = min(GRADIENT_COLUMNS, n - j)
        start = 0
        while start < rows:
            stop = min(start + GRADIENT_STEPS, rows)
            copy(some, x + start * x_row + j, columns)
            for r in range(start + 1, stop):
                add_scaled(some, 1, x + r * x_row + j, columns)
            add_scaled(total + j, 1, some, columns)
            start = stop
        j += columns


cdef void add_linked_rows(
    real *total, const real *x, Py_ssize_t x_row, Py_ssize_t first, const Py_ssize_t *following,
    Py_ssize_t n,
) noexcept nogil:
    # total (n,) += x[first] + x[following[first]] + ..., up to a row that none is following (a
    # negative one), in the manner of add_rows
    cdef real some[GRADIENT_COLUMNS]
    cdef Py_ssize_t r, added, columns, j = 0
    while j < n:
        columns = min(GRADIENT_COLUMNS, n - j)
        r = first
        while r >= 0:
            copy(some, x + r * x_row + j, columns)
            r, added = following[r], 1
            while r >= 0 and added < GRADIENT_STEPS:
                add_scaled(some, 1, x + r * x_row + j, columns)
                r, added = following[r], added + 1
            add_scaled(total + j, 1, some, columns)
        j += columns


def fold(
    real[:, ::1] rows not None, const real[:, ::1] table not None, packed,
    const real[::1] b not None, cnp.int64_t[::1] stamp not None, cnp.int64_t change,
):
    """Multiply a table: rows (n, outputs) = table (n, inputs) @ packed W + b.

    As `repack` only one thread at a time does, and leaves what another has done since: the stamp is
    how often parameters had changed by then.
    """
    cdef const real *W = weight(packed)
    with nogil:
        lock_packing()
        if stamp[0] < change:
            linear_rows(&rows[0, 0], &table[0, 0], W, &b[0], rows.shape[0], table.shape[1],
                        rows.shape[1], False)
            stamp[0] = change
        unlock_packing()


def linear(tuple arrays, tokens, bint from_last):
    # for tests: y (n, outputs) = x (n, inputs) @ W + b (outputs,), of arrays (y, packed W, b, x),
    # and W of an x that is mostly zeros; with tokens (n,), W[tokens] + b, of arrays (y, W, b)
    cdef real *p[5]
    cdef Py_ssize_t n = arrays[0].shape[0], outputs = arrays[0].shape[1]
    cdef const real *W = weight(arrays[1])
    all_numbers(p, (*arrays[:1], None, *arrays[2:]))
    if len(arrays) == 5:
        linear_sparse_rows(p[0], p[3], p[4], W, p[2], n, arrays[3].shape[1], outputs)
    elif tokens is None:
        linear_rows(p[0], p[3], W, p[2], n, arrays[3].shape[1], outputs, from_last)
    else:
        lookup_rows(p[0], indices(tokens), W, p[2], n, outputs)


def linear_gradients(tuple arrays, bint x_is_sparse=False):
    # for tests: dW (inputs, outputs) += x.T @ dy and db (outputs,) += dy.sum(axis=0), of arrays
    # (dW, db, x, dy)
    cdef real *p[4]
    cdef Py_ssize_t n = len(arrays[2]), inputs = arrays[2].shape[1], outputs = arrays[3].shape[1]
    all_numbers(p, arrays)
    if x_is_sparse:
        add_sparse_outer_products(p[0], outputs, p[2], inputs, p[3], outputs, n, inputs, outputs)
    else:
        add_outer_products(p[0], outputs, p[2], inputs, p[3], outputs, n, inputs, outputs)
    add_rows(p[1], p[3], outputs, n, outputs)
