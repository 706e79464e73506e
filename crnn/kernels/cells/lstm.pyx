# Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), gates in
# the order i, f, g, o:
#
#     c_t = f * c_{t-1} + i * g               i, f, o = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)
#     h_t = o * tanh(c_t)                     g = tanh(the same, its own columns)

cdef inline inlined_void lstm_units(
    real *h, real *c, real *gates, const real *c_before, Py_ssize_t row, Py_ssize_t n
) noexcept nogil:
    # h and c (n,) of n neighbouring units, through registers: n is known to the compiler. The gates
    # lie `row` apart and come in before their activations.
    cdef Py_ssize_t j
    cdef real i[UNITS]
    cdef real f[UNITS]
    cdef real g[UNITS]
    cdef real o[UNITS]
    cdef real cell[UNITS]
    cdef real state[UNITS]
    copy(i, gates, n)
    copy(f, gates + row, n)
    copy(g, gates + 2 * row, n)
    copy(o, gates + 3 * row, n)
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
    copy(gates + row, f, n)
    copy(gates + 2 * row, g, n)
    copy(gates + 3 * row, o, n)


cdef inline inlined_void lstm_rows_by(
    const StepTape *tape, const Rows *rows, Py_ssize_t n
) noexcept nogil:
    # lstm_units of all units of all rows, n at a time
    cdef Py_ssize_t b, j, at, H = rows.H
    cdef real edge[4 * UNITS]
    cdef Units units
    cdef real *gates = tape.gates
    for b in range(rows.n):
        if H % n:
            copy_gates(edge, n, gates + H - n, H, 4, n)
        j = 0
        while j < H:
            units = units_from(j, gates, edge, H, n)
            j, at = units.first + n, b * H + units.first
            lstm_units(tape.h + at, tape.saved + at, units.gates, tape.saved_before + at,
                       units.row, n)
        if H % n:
            copy_gates(gates + H - n, H, edge, n, 4, n)
        gates = gates + 4 * H


cdef void lstm_step(
    const StepTape *tape, const CellWeights *weights, const Rows *rows
) noexcept nogil:
    # h and c, which is saved, (n, H); gates (n, 4H) come in holding x @ W_xh + b_h. Then a vector
    # of units at a time, or half a vector if there are not so many.
    cdef Py_ssize_t H = rows.H
    add_product(tape.gates, 4 * H, tape.before, H, weights.W_hh, rows.n, H, 4 * H, rows.from_last)
    if H >= VECTOR:
        lstm_rows_by(tape, rows, VECTOR)
    elif H >= VECTOR // 2:
        lstm_rows_by(tape, rows, VECTOR // 2)
    else:
        lstm_rows_by(tape, rows, 1)


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
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows
) noexcept nogil:
    # da (n, 4H) of the gates; dstate and dc (n, H) go from t to t - 1
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        if is_over(rows, b):
            memset(d.da + b * 4 * H, 0, 4 * H * sizeof(real))
        else:
            lstm_row_backward(
                d.da + b * 4 * H, d.dh + b * H, d.dstate + b * H, d.dc + b * H, tape.saved + b * H,
                tape.saved_before + b * H, tape.gates + b * 4 * H, H)
    add_product(d.dstate, H, d.da, 4 * H, weights.W_hh_T, rows.n, 4 * H, H, rows.from_last)
