# The cell of a layer without a state, h_t = f(x_t @ W_xh + b_h), and functions f of whole rows,
# which are the readout's, too. Their slopes are written in terms of y = f(a).

cdef outlined_void apply_to_rows(
    real *y, Py_ssize_t rows, Py_ssize_t n, Function function
) noexcept nogil:
    # y (rows, n) = f(y)
    cdef Py_ssize_t r
    if function != SOFTMAX_OF_ROW:
        apply_function(y, rows * n, function)
        return
    for r in range(rows):
        softmax_row(y + r * n, n)


cdef outlined_void multiply_rows_by_slope(
    real *d, const real *y, Py_ssize_t rows, Py_ssize_t n, Function function
) noexcept nogil:
    # d (rows, n) *= f'(a)
    cdef Py_ssize_t r
    if function != SOFTMAX_OF_ROW:
        multiply_by_slope(d, y, rows * n, function)
        return
    for r in range(rows):
        softmax_row_backward(d + r * n, y + r * n, n)


cdef inline void dense_step(
    const StepTape *tape, const Rows *rows, Function function
) noexcept nogil:
    # h (n, H) = f(h); h comes in holding x @ W_xh + b_h
    apply_to_rows(tape.h, rows.n, rows.H, function)


cdef void dense_step_backward(
    const StepGradients *d, const StepTape *tape, const Rows *rows, Function function
) noexcept nogil:
    # dh (n, H) *= f'(a), the gradient of the pre-activation; 0 where a sequence is over
    cdef Py_ssize_t b, H = rows.H
    if rows.lengths == NULL:
        multiply_rows_by_slope(d.dh, tape.h, rows.n, H, function)
        return
    for b in range(rows.n):
        if is_over(rows, b):
            memset(d.dh + b * H, 0, H * sizeof(real))
        else:
            multiply_rows_by_slope(d.dh + b * H, tape.h + b * H, 1, H, function)
