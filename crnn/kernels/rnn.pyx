# The vanilla cell, h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh) (Elman 1990).

cdef outlined_void rnn_step(
    real *h, const real *before, const real *W_hh, Py_ssize_t rows, Py_ssize_t H, bint relu,
    bint from_last,
) noexcept nogil:
    # h (rows, H) = f(h + before @ packed W_hh); h comes in holding x @ W_xh + b_h
    add_product(h, H, before, H, W_hh, rows, H, H, from_last)
    activate(h, rows * H, relu)


cdef void rnn_step_backward(
    real *dh, real *dstate, const real *h, const real *W_hh_T, const Py_ssize_t *lengths,
    Py_ssize_t t, Py_ssize_t rows, Py_ssize_t H, bint relu, bint from_last,
) noexcept nogil:
    # dh (rows, H) = (dh + dstate) * f'(a), the gradient of the pre-activation; dstate (rows, H)
    # goes from h_t to h_{t-1}
    cdef Py_ssize_t b
    if lengths == NULL:
        back_through_activation(dh, dstate, h, rows * H, relu)
    else:
        for b in range(rows):
            if is_over(lengths, b, t):
                memset(dh + b * H, 0, H * sizeof(real))
            else:
                back_through_activation(dh + b * H, dstate + b * H, h + b * H, H, relu)
    add_product(dstate, H, dh, H, W_hh_T, rows, H, H, from_last)
