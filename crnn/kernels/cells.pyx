# The table of cells: which formulas run. A cell is two functions over some sequences of the batch,
# one step forward and one step back, in a file of its own; a gated one has a third, for take_units.
# What they find in memory, at each step:
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

from libc.string cimport memcpy

cdef enum Cell:
    RNN, GRU, LSTM

CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}

include "rnn.pyx"
include "gru.pyx"
include "lstm.pyx"

cdef enum:
    MOST_BLOCKS = 4

cdef struct Kind:
    Cell cell
    Py_ssize_t blocks, states
    bint keeps, apart       # see crnn/base/kinds.py
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


cdef inline inlined_void take_units(
    real *h, real *kept, real *gates, const real *before, const real *kept_before, Py_ssize_t H,
    Py_ssize_t n, Cell cell, bint reset_after, bint relu,
) noexcept nogil:
    # some n neighbours of a row, from the products on, through registers: n, the cell and its
    # options are known to the compiler
    if cell == GRU:
        gru_units(h, gates, kept, before, H, n, reset_after, relu)
    else:
        lstm_units(h, kept, gates, kept_before, H, n)


cdef inline inlined_void take_rows_by(
    real *h, real *kept, real *gates, const real *before, const real *kept_before, Py_ssize_t rows,
    Py_ssize_t H, Py_ssize_t n, Py_ssize_t blocks, Cell cell, bint reset_after, bint relu,
) noexcept nogil:
    # n units at a time, the last of which are some of those before them too: their gates, as they
    # were, wait elsewhere
    cdef Py_ssize_t _r, j, row
    cdef real edge[MOST_BLOCKS * UNITS]
    cdef real *some
    for _r in range(rows):
        if H % n:
            copy_blocks(edge, n, gates + H - n, H, blocks, n)
        j = 0
        while j < H:
            some, row = gates + j, H
            if j + n > H:
                some, row, j = edge, n, H - n
            take_units(h + j, kept + j, some, before + j, kept_before + j, row, n, cell,
                       reset_after, relu)
            j += n
        if H % n:
            copy_blocks(gates + H - n, H, edge, n, blocks, n)
        h, kept, gates = h + H, kept + H, gates + blocks * H
        before, kept_before = before + H, kept_before + H


cdef inline inlined_void take_rows(
    real *h, real *kept, real *gates, const real *before, const real *kept_before, Py_ssize_t rows,
    Py_ssize_t H, Py_ssize_t blocks, Cell cell, bint reset_after, bint relu,
) noexcept nogil:
    # all units of rows, a vector of them at a time, or half a vector if there are not so many
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t> sizeof(real)
    if H >= lanes:
        take_rows_by(h, kept, gates, before, kept_before, rows, H, lanes, blocks, cell,
                     reset_after, relu)
    elif H >= lanes // 2:
        take_rows_by(h, kept, gates, before, kept_before, rows, H, lanes // 2, blocks, cell,
                     reset_after, relu)
    else:
        take_rows_by(h, kept, gates, before, kept_before, rows, H, 1, blocks, cell, reset_after,
                     relu)


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
