# The vanilla cell, h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh) (Elman 1990).

cdef outlined_void rnn_step(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, bint relu
) noexcept nogil:
    # h (n, H) = f(h + before @ W_hh); h comes in holding x @ W_xh + b_h
    cdef Py_ssize_t n = rows.n, H = rows.H
    cdef real *h = tape.h
    add_product(h, H, tape.before, H, weights.W_hh, n, H, H, rows.from_last)
    activate(h, n * H, relu)


cdef void rnn_step_backward(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    bint relu,
) noexcept nogil:
    # dh (n, H) = (dh + dstate) * f'(a), the gradient of the pre-activation;
    # dstate (n, H) = dh @ W_hh.T, or as it was where a sequence is over
    cdef Py_ssize_t b, H = rows.H
    if rows.lengths == NULL:
        back_through_activation(d.dh, d.dstate, tape.h, rows.n * H, relu)
    else:
        for b in range(rows.n):
            if is_over(rows, b):
                memset(d.dh + b * H, 0, H * sizeof(real))
            else:
                back_through_activation(d.dh + b * H, d.dstate + b * H, tape.h + b * H, H, relu)
    add_product(d.dstate, H, d.dh, H, weights.W_hh_T, rows.n, H, H, rows.from_last)


# --- with clipped pre-activations -----------------------------------------------------------------

cdef void rnn_step_by_options(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, const Options *options
) noexcept nogil:
    # as rnn_step
    cdef Py_ssize_t n = rows.n, H = rows.H
    add_product(tape.h, H, tape.before, H, weights.W_hh, n, H, H, rows.from_last)
    apply_activation(tape.h, n * H, &options.candidate)


cdef void rnn_step_backward_by_options(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    const Options *options,
) noexcept nogil:
    # as rnn_step_backward
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        if is_over(rows, b):
            memset(d.dh + b * H, 0, H * sizeof(real))
        else:
            take_state_gradient(d.dh + b * H, d.dstate + b * H, H)
            multiply_by_activation_slope(d.dh + b * H, tape.h + b * H, H, &options.candidate)
    add_product(d.dstate, H, d.dh, H, weights.W_hh_T, rows.n, H, H, rows.from_last)
