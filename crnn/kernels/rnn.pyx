# The vanilla cell, h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h) (Elman 1990), and backpropagation
# through time (Werbos 1990). A sequence of the batch that is over (t >= lengths[b]) keeps its
# state; lengths is NULL when none ends early.

cdef inline void rnn_step(
    real *h, const real *previous, const real *W_hh,
    Py_ssize_t batch, Py_ssize_t hidden, bint relu,
) noexcept nogil:
    # h (batch, hidden) = f(h + previous @ packed W_hh); h comes in holding x @ W_xh + b_h
    add_product(h, previous, W_hh, batch, hidden, hidden)
    activate(h, batch * hidden, relu)


cdef inline void keep_finished(
    real *h, const real *previous, const Py_ssize_t *lengths, Py_ssize_t t,
    Py_ssize_t batch, Py_ssize_t hidden,
) noexcept nogil:
    # h[lengths <= t] = previous[lengths <= t]
    cdef Py_ssize_t b
    for b in range(batch):
        if lengths[b] <= t:
            memcpy(h + b * hidden, previous + b * hidden, hidden * sizeof(real))


cdef inline void rnn_step_backward(
    real *dh, real *dstate, const real *h, const real *W_hh_T, const Py_ssize_t *lengths,
    Py_ssize_t t, Py_ssize_t batch, Py_ssize_t hidden, bint relu,
) noexcept nogil:
    # dh (batch, hidden) = (dh + dstate) * f'(a), the gradient of the pre-activation;
    # dstate (batch, hidden) = dh @ packed W_hh.T. Of a finished sequence, dh = 0 and dstate stays.
    cdef Py_ssize_t b
    if lengths == NULL:
        back_through_activation(dh, dstate, h, batch * hidden, relu)
    else:
        for b in range(batch):
            if lengths[b] <= t:
                memset(dh + b * hidden, 0, hidden * sizeof(real))
            else:
                back_through_activation(dh + b * hidden, dstate + b * hidden, h + b * hidden,
                                        hidden, relu)
    add_product(dstate, dh, W_hh_T, batch, hidden, hidden)
