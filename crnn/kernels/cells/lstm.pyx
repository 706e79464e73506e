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


# --- with other activations, clipped pre-activations, peepholes and coupled gates -----------------
#
#     a_i += W_ci * c_{t-1}       a_f += W_cf * c_{t-1}       a_o += W_co * c_t       W_ch (3, H)
#
# (Gers & Schmidhuber 2000); of coupled gates f = 1 - i.

cdef inline void lstm_row_by_options(
    real *h, real *c, real *gates, const real *c_before, const real *W_ch, Py_ssize_t H,
    const Options *options,
) noexcept nogil:
    # h and c (H,) of a row; the gates (4H,) come in before their activations
    cdef Py_ssize_t j
    cdef real *i = gates
    cdef real *f = gates + H
    cdef real *g = gates + 2 * H
    cdef real *o = gates + 3 * H
    if options.peepholes:
        add_multiplied(i, W_ch, c_before, H)
        add_multiplied(f, W_ch + H, c_before, H)
    apply_activation(i, 2 * H, &options.gate)
    apply_activation(g, H, &options.candidate)
    if options.coupled:
        for j in range(H):
            f[j] = <real> 1 - i[j]
    for j in range(H):
        c[j] = multiply_add(f[j], c_before[j], i[j] * g[j])
        h[j] = c[j]
    if options.peepholes:
        add_multiplied(o, W_ch + 2 * H, c, H)
    apply_activation(o, H, &options.gate)
    apply_function(h, H, options.candidate.function)
    for j in range(H):
        h[j] = o[j] * h[j]


cdef void lstm_step_by_options(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, const Options *options
) noexcept nogil:
    # as lstm_step
    cdef Py_ssize_t b, H = rows.H
    add_product(tape.gates, 4 * H, tape.before, H, weights.W_hh, rows.n, H, 4 * H, rows.from_last)
    for b in range(rows.n):
        lstm_row_by_options(tape.h + b * H, tape.saved + b * H, tape.gates + b * 4 * H,
                            tape.saved_before + b * H, weights.W_ch, H, options)


cdef inline void lstm_row_backward_by_options(
    real *da, real *dh, real *dstate, real *dc, const real *c, const real *c_before,
    const real *gates, const real *W_ch, Py_ssize_t H, const Options *options,
) noexcept nogil:
    # as lstm_row_backward
    cdef Py_ssize_t j
    cdef const real *i = gates
    cdef const real *f = gates + H
    cdef const real *g = gates + 2 * H
    cdef const real *o = gates + 3 * H
    cdef real *df = da + H
    cdef real *dg = da + 2 * H
    cdef real *do = da + 3 * H
    take_state_gradient(dh, dstate, H)
    memcpy(do, c, H * sizeof(real))
    apply_function(do, H, options.candidate.function)
    multiply(df, dh, o, H)                  # room for what reaches c through h
    multiply_by_slope(df, do, H, options.candidate.function)
    for j in range(H):
        dc[j] = dc[j] + df[j]
        do[j] = dh[j] * do[j]
    multiply_by_activation_slope(do, o, H, &options.gate)
    if options.peepholes:
        add_multiplied(dc, do, W_ch + 2 * H, H)
    for j in range(H):
        da[j] = dc[j] * g[j]
        df[j] = dc[j] * c_before[j]
        dg[j] = dc[j] * i[j]
        dc[j] = dc[j] * f[j]
    if options.coupled:                     # df reaches i, as f = 1 - i
        for j in range(H):
            da[j] = da[j] - df[j]
            df[j] = 0
    multiply_by_activation_slope(da, i, 2 * H, &options.gate)
    multiply_by_activation_slope(dg, g, H, &options.candidate)
    if options.peepholes:
        add_multiplied(dc, da, W_ch, H)
        add_multiplied(dc, df, W_ch + H, H)


cdef void lstm_step_backward_by_options(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    const Options *options,
) noexcept nogil:
    # as lstm_step_backward
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        if is_over(rows, b):
            memset(d.da + b * 4 * H, 0, 4 * H * sizeof(real))
        else:
            lstm_row_backward_by_options(
                d.da + b * 4 * H, d.dh + b * H, d.dstate + b * H, d.dc + b * H, tape.saved + b * H,
                tape.saved_before + b * H, tape.gates + b * 4 * H, weights.W_ch, H, options)
    add_product(d.dstate, H, d.da, 4 * H, weights.W_hh_T, rows.n, 4 * H, H, rows.from_last)


cdef void add_row_products(
    real *total, const real *a, Py_ssize_t a_row, const real *b, Py_ssize_t b_row, Py_ssize_t rows,
    Py_ssize_t n,
) noexcept nogil:
    # total (n,) += (a * b).sum(axis=0), both (rows, n), in the manner of add_rows
    cdef real some[GRADIENT_COLUMNS]
    cdef Py_ssize_t r, start, stop, columns, j = 0
    while j < n:
        columns = min(GRADIENT_COLUMNS, n - j)
        start = 0
        while start < rows:
            stop = min(start + GRADIENT_STEPS, rows)
            multiply(some, a + start * a_row + j, b + start * b_row + j, columns)
            for r in range(start + 1, stop):
                add_multiplied(some, a + r * a_row + j, b + r * b_row + j, columns)
            add_scaled(total + j, 1, some, columns)
            start = stop
        j += columns


cdef void add_peephole_gradients(
    real *dW_ch, const real *da, const real *c_before, const real *c, Py_ssize_t rows,
    Py_ssize_t H, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    # dW_ch (3, H), of units first to last - 1, += the sums over rows (rows, n) of da_i * c_before,
    # da_f * c_before and da_o * c
    cdef Py_ssize_t n = last - first
    dW_ch, da, c_before, c = dW_ch + first, da + first, c_before + first, c + first
    add_row_products(dW_ch, da, 4 * H, c_before, H, rows, n)
    add_row_products(dW_ch + H, da + H, 4 * H, c_before, H, rows, n)
    add_row_products(dW_ch + 2 * H, da + 3 * H, 4 * H, c, H, rows, n)
