# The gated recurrent unit (Cho et al. 2014), gates in the order r, z, n:
#
#     h_t = (1 - z) * n + z * h_{t-1}         r, z = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)
#
# in two forms, where f is tanh or ReLU. Reset after the product:
# n = f(x @ W_xn + b_n + r * q), where q = h_{t-1} @ W_hn + b_hn is saved for the way back. Reset
# before it: n = f(x @ W_xn + b_n + s @ W_hn), where s = r * h_{t-1} is saved. The columns of W_hh
# for r and z are one packed matrix, those for n another, W_hn.

cdef inline inlined_void gru_units(
    real *h, real *gates, const real *q, const real *before, Py_ssize_t row, Py_ssize_t n,
    bint reset_after, bint relu,
) noexcept nogil:
    # h (n,) = (1 - z) * candidate + z * before, of n neighbouring units, through registers: n and
    # the options are known to the compiler. The gates lie `row` apart and come in before their
    # activations, but r after it unless reset_after.
    cdef Py_ssize_t j
    cdef real r[UNITS]
    cdef real z[UNITS]
    cdef real candidate[UNITS]
    cdef real state[UNITS]
    copy(candidate, gates + 2 * row, n)
    if reset_after:
        copy(r, gates, n)
        sigmoid(r, n)
        add_multiplied(candidate, r, q, n)
        copy(gates, r, n)
    activate(candidate, n, relu)
    copy(z, gates + row, n)
    sigmoid(z, n)
    for j in range(n):
        if relu:            # of which a candidate may be so large that before is lost beside it
            state[j] = multiply_add(z[j], before[j], (<real> 1 - z[j]) * candidate[j])
        else:
            state[j] = multiply_add(z[j], before[j] - candidate[j], candidate[j])
    copy(h, state, n)
    copy(gates + row, z, n)
    copy(gates + 2 * row, candidate, n)


cdef inline inlined_void gru_rows_by(
    const StepTape *tape, const Rows *rows, Py_ssize_t n, bint reset_after, bint relu
) noexcept nogil:
    # gru_units of all units of all rows, n at a time
    cdef Py_ssize_t b, j, at, H = rows.H
    cdef real edge[3 * UNITS]
    cdef Units units
    cdef real *gates = tape.gates
    for b in range(rows.n):
        if H % n:
            copy_gates(edge, n, gates + H - n, H, 3, n)
        j = 0
        while j < H:
            units = units_from(j, gates, edge, H, n)
            j, at = units.first + n, b * H + units.first
            gru_units(tape.h + at, units.gates, tape.saved + at, tape.before + at, units.row, n,
                      reset_after, relu)
        if H % n:
            copy_gates(gates + H - n, H, edge, n, 3, n)
        gates = gates + 3 * H


cdef inline inlined_void gru_rows(
    const StepTape *tape, const Rows *rows, bint reset_after, bint relu
) noexcept nogil:
    # a vector of units at a time, or half a vector if there are not so many
    if rows.H >= VECTOR:
        gru_rows_by(tape, rows, VECTOR, reset_after, relu)
    elif rows.H >= VECTOR // 2:
        gru_rows_by(tape, rows, VECTOR // 2, reset_after, relu)
    else:
        gru_rows_by(tape, rows, 1, reset_after, relu)


cdef inline void reset_products(
    const StepTape *tape, const CellWeights *weights, const Rows *rows
) noexcept nogil:
    # saved (n, H) = sigmoid(r) * before, of r, the first of the gates (n, 3H), whose candidate
    # += saved @ W_hn
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        sigmoid(tape.gates + b * 3 * H, H)
        multiply(tape.saved + b * H, tape.gates + b * 3 * H, tape.before + b * H, H)
    add_product(tape.gates + 2 * H, 3 * H, tape.saved, H, weights.W_hn, rows.n, H, H,
                rows.from_last)


cdef inline inlined_void state_products(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, bint reset_after
) noexcept nogil:
    # gates for r and z += before @ W_hh; with reset_after, saved = before @ W_hn + b_hn
    cdef Py_ssize_t turn, n = rows.n, H = rows.H
    for turn in range(2):   # the columns for r and z come before W_hn; from the last, after it
        if turn == rows.from_last:
            add_product(tape.gates, 3 * H, tape.before, H, weights.W_hh, n, H, 2 * H,
                        rows.from_last)
        elif reset_after:
            linear_rows(tape.saved, tape.before, weights.W_hn, weights.b_hn, n, H, H,
                        rows.from_last)


cdef void gru_step(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, bint reset_after, bint relu
) noexcept nogil:
    # h and saved (n, H); gates (n, 3H) come in holding x @ W_xh + b_h
    state_products(tape, weights, rows, reset_after)
    if not reset_after:
        reset_products(tape, weights, rows)
    if reset_after and relu:
        gru_rows(tape, rows, True, True)
    elif reset_after:
        gru_rows(tape, rows, True, False)
    elif relu:
        gru_rows(tape, rows, False, True)
    else:
        gru_rows(tape, rows, False, False)


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


cdef inline void reset_gradient(
    real *dr, const real *dproduct, const real *factor, const real *r, Py_ssize_t n
) noexcept nogil:
    # dr (n,), before the sigmoid, of the product r * factor
    cdef Py_ssize_t j
    for j in range(n):
        dr[j] = dproduct[j] * factor[j] * sigmoid_slope(r[j])


cdef inline void back_through_reset(
    const StepGradients *d, const StepTape *tape, Py_ssize_t b, Py_ssize_t H, bint reset_after
) noexcept nogil:
    # the gradient of r, before its activation, in row b of da (n, 3H); with reset_after, that of
    # saved, else what of it reaches h_{t-1}
    cdef real *dr = d.da + b * 3 * H
    cdef const real *r = tape.gates + b * 3 * H
    if reset_after:
        multiply(d.dsaved + b * H, dr + 2 * H, r, H)
        reset_gradient(dr, dr + 2 * H, tape.saved + b * H, r, H)
    else:
        add_multiplied(d.dstate + b * H, d.dsaved + b * H, r, H)
        reset_gradient(dr, d.dsaved + b * H, tape.before + b * H, r, H)


cdef inline inlined_void reset_gradients(
    const StepGradients *d, const CellWeights *weights, const Rows *rows
) noexcept nogil:
    # dsaved (n, H) = dn @ W_hn.T
    cdef Py_ssize_t n = rows.n, H = rows.H
    memset(d.dsaved, 0, n * H * sizeof(real))
    add_product(d.dsaved, H, d.da + 2 * H, 3 * H, weights.W_hn_T, n, H, H, rows.from_last)


cdef inline inlined_void state_gradients(
    const StepGradients *d, const CellWeights *weights, const Rows *rows, bint reset_after
) noexcept nogil:
    # dstate (n, H) += what reaches h_{t-1} through products
    cdef Py_ssize_t n = rows.n, H = rows.H
    if reset_after:
        add_product(d.dstate, H, d.dsaved, H, weights.W_hn_T, n, H, H, rows.from_last)
    add_product(d.dstate, H, d.da, 3 * H, weights.W_hh_T, n, 2 * H, H, rows.from_last)


cdef void gru_step_backward(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    bint reset_after, bint relu,
) noexcept nogil:
    # da (n, 3H) of the gates and dsaved (n, H); dstate (n, H) goes from h_t to h_{t-1}
    cdef Py_ssize_t b, n = rows.n, H = rows.H
    for b in range(n):
        if is_over(rows, b):
            memset(d.da + b * 3 * H, 0, 3 * H * sizeof(real))
        else:
            gru_row_backward(d.da + b * 3 * H, d.dh + b * H, d.dstate + b * H,
                             tape.gates + b * 3 * H, tape.before + b * H, H, relu)
    if not reset_after:
        reset_gradients(d, weights, rows)
    for b in range(n):
        if is_over(rows, b):
            memset(d.dsaved + b * H, 0, H * sizeof(real))
        else:
            back_through_reset(d, tape, b, H, reset_after)
    state_gradients(d, weights, rows, reset_after)


# --- with other gates and clipped pre-activations -------------------------------------------------

cdef void gru_step_by_options(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, const Options *options
) noexcept nogil:
    # as gru_step
    cdef Py_ssize_t b, H = rows.H
    cdef real *gates
    state_products(tape, weights, rows, options.reset_after)
    for b in range(rows.n):
        gates = tape.gates + b * 3 * H
        apply_activation(gates, 2 * H, &options.gate)
        if options.reset_after:
            add_multiplied(gates + 2 * H, gates, tape.saved + b * H, H)
        else:
            multiply(tape.saved + b * H, gates, tape.before + b * H, H)
    if not options.reset_after:
        add_product(tape.gates + 2 * H, 3 * H, tape.saved, H, weights.W_hn, rows.n, H, H,
                    rows.from_last)
    for b in range(rows.n):
        gates = tape.gates + b * 3 * H
        apply_activation(gates + 2 * H, H, &options.candidate)
        mix(tape.h + b * H, gates + H, tape.before + b * H, gates + 2 * H, H)


cdef inline void mix(
    real *h, const real *z, const real *before, const real *candidate, Py_ssize_t n
) noexcept nogil:
    # h (n,) = z * before + (1 - z) * candidate
    cdef Py_ssize_t j
    for j in range(n):
        h[j] = multiply_add(z[j], before[j], (<real> 1 - z[j]) * candidate[j])


cdef inline void gru_row_backward_by_options(
    real *da, real *dh, real *dstate, const real *gates, const real *before, Py_ssize_t H,
    const Options *options,
) noexcept nogil:
    # as gru_row_backward
    cdef Py_ssize_t j
    cdef const real *z = gates + H
    cdef const real *n = gates + 2 * H
    for j in range(H):
        dh[j] = dh[j] + dstate[j]
        dstate[j] = dh[j] * z[j]
        da[H + j] = dh[j] * (before[j] - n[j])
        da[2 * H + j] = dh[j] * (<real> 1 - z[j])
    multiply_by_activation_slope(da + H, z, H, &options.gate)
    multiply_by_activation_slope(da + 2 * H, n, H, &options.candidate)


cdef inline void back_through_reset_by_options(
    const StepGradients *d, const StepTape *tape, Py_ssize_t b, Py_ssize_t H, const Options *options
) noexcept nogil:
    # as back_through_reset
    cdef real *dr = d.da + b * 3 * H
    cdef const real *r = tape.gates + b * 3 * H
    if options.reset_after:
        multiply(d.dsaved + b * H, dr + 2 * H, r, H)
        multiply(dr, dr + 2 * H, tape.saved + b * H, H)
    else:
        add_multiplied(d.dstate + b * H, d.dsaved + b * H, r, H)
        multiply(dr, d.dsaved + b * H, tape.before + b * H, H)
    multiply_by_activation_slope(dr, r, H, &options.gate)


cdef void gru_step_backward_by_options(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    const Options *options,
) noexcept nogil:
    # as gru_step_backward
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        if is_over(rows, b):
            memset(d.da + b * 3 * H, 0, 3 * H * sizeof(real))
        else:
            gru_row_backward_by_options(d.da + b * 3 * H, d.dh + b * H, d.dstate + b * H,
                                        tape.gates + b * 3 * H, tape.before + b * H, H, options)
    if not options.reset_after:
        reset_gradients(d, weights, rows)
    for b in range(rows.n):
        if is_over(rows, b):
            memset(d.dsaved + b * H, 0, H * sizeof(real))
        else:
            back_through_reset_by_options(d, tape, b, H, options)
    state_gradients(d, weights, rows, options.reset_after)
