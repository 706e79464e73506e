# The gated recurrent unit (Cho et al. 2014), gates in the order r, z, n:
#
#     h_t = (1 - z) * n + z * h_{t-1}         r, z = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)
#
# in two forms, where f is tanh or ReLU. Reset after the product:
# n = f(x @ W_xn + b_n + r * q), where q = h_{t-1} @ W_hn + b_hn is kept for the way back. Reset
# before it: n = f(x @ W_xn + b_n + s @ W_hn), where s = r * h_{t-1} is kept. The columns of W_hh
# for r and z are one packed matrix, those for n another, W_hn.

cdef void gru_step(
    real *h, real *kept, real *gates, const real *before, const real *W_hh, const real *W_hn,
    const real *b_hn, Py_ssize_t rows, Py_ssize_t H, bint reset_after, bint relu,
    bint from_last,
) noexcept nogil:
    # h (rows, H), kept (rows, H); gates (rows, 3H) come in holding x @ W_xh + b_h
    cdef Py_ssize_t r, turn
    for turn in range(2):   # the columns for r and z come before W_hn; from the last, after it
        if turn == from_last:
            add_product(gates, 3 * H, before, H, W_hh, rows, H, 2 * H, from_last)
        elif reset_after:
            linear_rows(kept, before, W_hn, b_hn, rows, H, H, from_last)
    if not reset_after:
        for r in range(rows):
            sigmoid(gates + r * 3 * H, H)
            multiply(kept + r * H, gates + r * 3 * H, before + r * H, H)
        add_product(gates + 2 * H, 3 * H, kept, H, W_hn, rows, H, H, from_last)
    if reset_after and relu:
        take_rows(h, kept, gates, before, before, rows, H, 3, GRU, True, True)
    elif reset_after:
        take_rows(h, kept, gates, before, before, rows, H, 3, GRU, True, False)
    elif relu:
        take_rows(h, kept, gates, before, before, rows, H, 3, GRU, False, True)
    else:
        take_rows(h, kept, gates, before, before, rows, H, 3, GRU, False, False)


cdef inline inlined_void gru_units(
    real *h, real *gates, const real *q, const real *before, Py_ssize_t H, Py_ssize_t n,
    bint reset_after, bint relu,
) noexcept nogil:
    # for take_units: h (n,) = (1 - z) * candidate + z * before, where gates lie H apart and come in
    # before their activations, but r after it unless reset_after
    cdef Py_ssize_t j
    cdef real r[UNITS]
    cdef real z[UNITS]
    cdef real candidate[UNITS]
    cdef real state[UNITS]
    copy(candidate, gates + 2 * H, n)
    if reset_after:
        copy(r, gates, n)
        sigmoid(r, n)
        add_multiplied(candidate, r, q, n)
        copy(gates, r, n)
    activate(candidate, n, relu)
    copy(z, gates + H, n)
    sigmoid(z, n)
    for j in range(n):
        if relu:            # of which a candidate may be so large that before is lost beside it
            state[j] = multiply_add(z[j], before[j], (<real> 1 - z[j]) * candidate[j])
        else:
            state[j] = multiply_add(z[j], before[j] - candidate[j], candidate[j])
    copy(h, state, n)
    copy(gates + H, z, n)
    copy(gates + 2 * H, candidate, n)


cdef inline void gru_row_backward(
    real *da, real *dh, real *dstate, const real *gates, const real *before, Py_ssize_t H, bint relu
) noexcept nogil:
    # dh (H,) += dstate; dz and dn of da (3H,), before their activations; dstate = dh * z
    cdef Py_ssize_t j
    cdef real *dz = da + H
    cdef real *dn = da + 2 * H
    cdef const real *z = gates + H
    cdef const real *n = gates + 2 * H
    for j in range(H):
        dh[j] = dh[j] + dstate[j]
        dstate[j] = dh[j] * z[j]
    for j in range(H):
        dz[j] = dh[j] * (before[j] - n[j]) * sigmoid_slope(z[j])
    for j in range(H):
        dn[j] = dh[j] * (<real> 1 - z[j]) * activation_slope(n[j], relu)


cdef void gru_step_backward(
    real *da, real *dkept, real *dh, real *dstate, const real *before, const real *kept,
    const real *gates, const real *W_hh_T, const real *W_hn_T, const Py_ssize_t *lengths,
    Py_ssize_t t, Py_ssize_t rows, Py_ssize_t H, bint reset_after, bint relu, bint from_last,
) noexcept nogil:
    # da (rows, 3H) of the gates and dkept (rows, H); dstate (rows, H) goes from h_t to h_{t-1}
    cdef Py_ssize_t b
    for b in range(rows):
        if is_over(lengths, b, t):
            memset(da + b * 3 * H, 0, 3 * H * sizeof(real))
        else:
            gru_row_backward(da + b * 3 * H, dh + b * H, dstate + b * H, gates + b * 3 * H,
                             before + b * H, H, relu)
    if not reset_after:
        memset(dkept, 0, rows * H * sizeof(real))
        add_product(dkept, H, da + 2 * H, 3 * H, W_hn_T, rows, H, H, from_last)
    for b in range(rows):
        if is_over(lengths, b, t):
            memset(dkept + b * H, 0, H * sizeof(real))
        elif reset_after:
            multiply(dkept + b * H, da + (b * 3 + 2) * H, gates + b * 3 * H, H)
            reset_gradient(da + b * 3 * H, da + (b * 3 + 2) * H, kept + b * H, gates + b * 3 * H, H)
        else:
            add_multiplied(dstate + b * H, dkept + b * H, gates + b * 3 * H, H)
            reset_gradient(da + b * 3 * H, dkept + b * H, before + b * H, gates + b * 3 * H, H)
    if reset_after:
        add_product(dstate, H, dkept, H, W_hn_T, rows, H, H, from_last)
    add_product(dstate, H, da, 3 * H, W_hh_T, rows, 2 * H, H, from_last)


cdef inline void reset_gradient(
    real *dr, const real *dproduct, const real *factor, const real *r, Py_ssize_t n
) noexcept nogil:
    # dr (n,), before the sigmoid, of the product r * factor
    cdef Py_ssize_t j
    for j in range(n):
        dr[j] = dproduct[j] * factor[j] * sigmoid_slope(r[j])
