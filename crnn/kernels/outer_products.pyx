# Gradients of weights, dW += x.T @ dy: products in which time steps are what is summed over, some
# of them at a time, never in halves.

cdef enum:
    GRADIENT_STEPS = 64     # rows of x and dy whose outer products are added up together
    GRADIENT_INPUTS = 16    # columns of x that are copied together


cdef inline void add_panel_gradients(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const real *dy,
    Py_ssize_t steps, Py_ssize_t inputs, Py_ssize_t columns,
) noexcept nogil:
    # dW (inputs, columns) += x (steps, inputs).T @ packed dy (steps, columns). Some columns of x
    # are copied together: apart, at a power of two, they would push each other out of the cache.
    # Of a large dW, what sums will be added to is asked for before them.
    cdef real few[GRADIENT_STEPS * GRADIENT_INPUTS]
    cdef bint large = is_large(dW, inputs * dW_row)
    cdef Py_ssize_t r, n, i = 0
    while i < inputs:
        n = min(GRADIENT_INPUTS, inputs - i)
        if large:
            for r in range(n):
                ask_for(dW + (i + r) * dW_row, min(columns, panel_width(dy, columns)))
        copy_rows(few, GRADIENT_INPUTS, x + i, x_row, steps, n)
        any_panel(dW + i * dW_row, dW_row, dW + i * dW_row, dW_row, few, 1, GRADIENT_INPUTS, dy, n,
                  steps, columns, False)
        i += n


cdef void add_outer_products(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const real *dy, Py_ssize_t dy_row,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # dW (inputs, outputs) += x (rows, inputs).T @ dy (rows, outputs), some rows at a time: dy is
    # what is packed, unless it is one panel as it lies, and rows are what is summed over
    cdef char memory[(GRADIENT_STEPS * (PANEL_VECTORS + 1) + 1) * VECTOR_BYTES]
    cdef real *packed = <real *> (memory + VECTOR_BYTES - <size_t> &memory[0] % VECTOR_BYTES)
    cdef const real *panel
    cdef Py_ssize_t r, steps, width, j = 0
    while j < outputs:
        width = panel_width(packed, outputs - j)
        r = 0
        while r < rows:
            steps = min(GRADIENT_STEPS, rows - r)
            panel = dy + r * dy_row
            if width != dy_row or width != outputs:
                pack_panel(packed, panel + j, dy_row, 1, steps, min(width, outputs - j), width)
                panel = packed
            add_panel_gradients(dW + j, dW_row, x + r * x_row, x_row, panel, steps, inputs,
                                outputs - j)
            r += steps
        j += width
