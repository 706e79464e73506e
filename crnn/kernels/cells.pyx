# The table of cells: which formulas run. A cell is two functions over some sequences of the batch,
# one step forward and one step back, in a file of its own. What they find in memory, at each step:
#
#     gates (rows, blocks * H)    x_t @ W_xh + b_h on the way in, what the way back needs on the way
#                                 out; of the vanilla cell, h itself
#     kept (rows, H)              an LSTM's c; of a GRU what multiplies W_hn, or its product
#     da (rows, blocks * H)       gradients of the pre-activations; of the vanilla cell, dh itself
#     dkept (rows, H)             of a GRU, the gradient of its product with W_hn, or of the state
#                                 that was reset
#     dc (rows, H)                of an LSTM, the gradient of c
#
# A sequence of the batch that is over (t >= lengths[b]) keeps its state, and has no gradient but
# that of its state; lengths is NULL when none ends early.

include "rnn.pyx"
include "gru.pyx"
include "lstm.pyx"

cdef enum Cell:
    RNN, GRU, LSTM

CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}

cdef struct Kind:
    Cell cell
    Py_ssize_t blocks, states
    bint keeps, apart       # see crnn/kinds.py
    bint relu
    bint reset_after


cdef Kind kind_of(weights):
    cdef Kind kind
    kind.cell, kind.blocks = CELLS[weights.kind.cell], weights.kind.blocks
    kind.states, kind.keeps = weights.kind.states, weights.kind.keeps
    kind.apart = weights.kind.apart
    kind.relu = weights.kind.nonlinearity == "relu"
    kind.reset_after = weights.kind.reset_after
    return kind


cdef inline bint is_over(const Py_ssize_t *lengths, Py_ssize_t b, Py_ssize_t t) noexcept nogil:
    return lengths != NULL and lengths[b] <= t


cdef inline void keep_finished(
    real *state, const real *before, const Py_ssize_t *lengths, Py_ssize_t t,
    Py_ssize_t rows, Py_ssize_t H,
) noexcept nogil:
    # state[lengths <= t] = before[lengths <= t]
    cdef Py_ssize_t b
    for b in range(rows):
        if is_over(lengths, b, t):
            memcpy(state + b * H, before + b * H, H * sizeof(real))


cdef inline void zero_finished(
    real *kept, const Py_ssize_t *lengths, Py_ssize_t t, Py_ssize_t rows, Py_ssize_t H
) noexcept nogil:
    # kept[lengths <= t] = 0
    cdef Py_ssize_t b
    for b in range(rows):
        if is_over(lengths, b, t):
            memset(kept + b * H, 0, H * sizeof(real))


cdef inline void cell_step(
    real *h, real *kept, real *gates, const real *before, const real *kept_before,
    const real *W_hh, const real *W_hn, const real *b_hn, Py_ssize_t rows, Py_ssize_t H,
    const Kind *kind, bint from_last,
) noexcept nogil:
    if kind.cell == RNN:
        rnn_step(h, before, W_hh, rows, H, kind.relu, from_last)
    elif kind.cell == GRU:
        gru_step(h, kept, gates, before, W_hh, W_hn, b_hn, rows, H, kind.reset_after, kind.relu,
                 from_last)
    else:
        lstm_step(h, kept, gates, before, kept_before, W_hh, rows, H, from_last)


cdef inline void cell_step_backward(
    real *da, real *dkept, real *dh, real *dstate, real *dc, const real *h, const real *before,
    const real *kept, const real *kept_before, const real *gates, const real *W_hh_T,
    const real *W_hn_T, const Py_ssize_t *lengths, Py_ssize_t t, Py_ssize_t rows, Py_ssize_t H,
    const Kind *kind, bint from_last,
) noexcept nogil:
    if kind.cell == RNN:
        rnn_step_backward(dh, dstate, h, W_hh_T, lengths, t, rows, H, kind.relu, from_last)
    elif kind.cell == GRU:
        gru_step_backward(da, dkept, dh, dstate, before, kept, gates, W_hh_T, W_hn_T, lengths, t,
                          rows, H, kind.reset_after, kind.relu, from_last)
    else:
        lstm_step_backward(da, dh, dstate, dc, kept, kept_before, gates, W_hh_T, lengths, t, rows,
                           H, from_last)
