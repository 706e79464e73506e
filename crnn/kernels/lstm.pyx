# Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), gates in
# the order i, f, g, o:
#
#     c_t = f * c_{t-1} + i * g               i, f, o = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)
#     h_t = o * tanh(c_t)                     g = tanh(the same, its own columns)

cdef void lstm_step(
    real *h, real *c, real *gates, const real *before, const real *c_before, const real *W_hh,
    Py_ssize_t rows, Py_ssize_t H, bint from_last,
) noexcept nogil:
    # h (rows, H), c (rows, H); gates (rows, 4H) come in holding x @ W_xh + b_h
    add_product(gates, 4 * H, before, H, W_hh, rows, H, 4 * H, from_last)
    take_rows(h, c, gates, before, c_before, rows, H, 4, LSTM, False, False)


cdef inline inlined_void lstm_units(
    real *h, real *c, real *gates, const real *c_before, Py_ssize_t H, Py_ssize_t n
) noexcept nogil:
    # for take_units: h and c (n,), where gates lie H apart and come in before their activations
    cdef Py_ssize_t j
    cdef real i[UNITS]
    cdef real f[UNITS]
    cdef real g[UNITS]
    cdef real o[UNITS]
    cdef real cell[UNITS]
    cdef real state[UNITS]
    copy(i, gates, n)
    copy(f, gates + H, n)
    copy(g, gates + 2 * H, n)
    copy(o, gates + 3 * H, n)
    sigmoid(i, n)
    sigmoid(f, n)
    activate(g, n, False)
    sigmoid(o, n)
    for j in range(n):
        cell[j] = multiply_add(f[j], c_before[j], i[j] * g[j])
    copy(state, cell, n)
    activate(state, n, False)
    for j in range(n):
        state[j] = state[j] * o[j]
    copy(h, state, n)
    copy(c, cell, n)
    copy(gates, i, n)
    copy(gates + H, f, n)
    copy(gates + 2 * H, g, n)
    copy(gates + 3 * H, o, n)


cdef inline void lstm_row_backward(
    real *da, real *dh, real *dstate, real *dc, const real *c, const real *c_before,
    const real *gates, Py_ssize_t H,
) noexcept nogil:
    # da (4H,) of the gates, before their activations; dc (H,) goes from c_t to c_{t-1}; dstate = 0
    cdef Py_ssize_t j
    cdef const real *i = gates
    cdef const real *f = gates + H
    cdef const real *g = gates + 2 * H
    cdef const real *o = gates + 3 * H
    cdef real *do = da + 3 * H
    for j in range(H):
        do[j] = c[j]
    activate(do, H, False)                  # tanh(c)
    for j in range(H):
        dh[j] = dh[j] + dstate[j]
        dstate[j] = 0
    for j in range(H):
        dc[j] = multiply_add(dh[j] * o[j], tanh_slope(do[j]), dc[j])
        do[j] = dh[j] * do[j] * sigmoid_slope(o[j])
    for j in range(H):
        da[j] = dc[j] * g[j] * sigmoid_slope(i[j])
        da[2 * H + j] = dc[j] * i[j] * tanh_slope(g[j])
    for j in range(H):
        da[H + j] = dc[j] * c_before[j] * sigmoid_slope(f[j])
        dc[j] = dc[j] * f[j]


cdef void lstm_step_backward(
    real *da, real *dh, real *dstate, real *dc, const real *c, const real *c_before,
    const real *gates, const real *W_hh_T, const Py_ssize_t *lengths, Py_ssize_t t,
    Py_ssize_t rows, Py_ssize_t H, bint from_last,
) noexcept nogil:
    # da (rows, 4H) of the gates; dstate and dc (rows, H) go from t to t - 1
    cdef Py_ssize_t b
    for b in range(rows):
        if is_over(lengths, b, t):
            memset(da + b * 4 * H, 0, 4 * H * sizeof(real))
        else:
            lstm_row_backward(da + b * 4 * H, dh + b * H, dstate + b * H, dc + b * H, c + b * H,
                              c_before + b * H, gates + b * 4 * H, H)
    add_product(dstate, H, da, 4 * H, W_hh_T, rows, 4 * H, H, from_last)
