# What every cell's step shares: the arrays it works on, a shape a line, and the rows that are over.
# A row is a sequence of the batch, at one time step. A sequence that is over (t >= its length)
# keeps its state, and has no gradient but that of its state.

from libc.string cimport memcpy

cdef struct CellWeights:        # of one layer in one direction, packed (panels.pyx)
    const real *W_hh            # (H, G*H); of a separate candidate without its columns
    const real *W_hn            # (H, H): the columns of a separate candidate, or NULL
    const real *b_hn            # (H,), or NULL
    const real *W_ch            # (3, H) as it is: peepholes, or NULL
    const real *W_hh_T          # W_hh transposed, for the way back, or NULL
    const real *W_hn_T          # W_hn transposed, for the way back, or NULL

cdef struct Options:            # of a cell that is not a plain one; see crnn/base/layers.py
    Activation gate, candidate  # the vanilla cell has the latter only
    bint reset_after
    bint peepholes
    bint coupled

cdef struct Rows:               # some sequences at one time step
    Py_ssize_t n, H
    const Py_ssize_t *lengths   # (n,), or NULL: none ends early
    Py_ssize_t t
    bint from_last              # which way products go through panels

# The tape of some rows at one time step. An LSTM saves c; a GRU what multiplies W_hn, or its
# product with h_{t-1}. The gates are x_t @ W_xh + b_h on the way in and what the way back needs on
# the way out; those of the vanilla cell are h itself.
cdef struct StepTape:
    real *h                     # (n, H)
    const real *before          # (n, H): h_{t-1}
    real *saved                 # (n, H), or NULL
    const real *saved_before    # (n, H), or NULL
    real *gates                 # (n, G*H)

cdef struct StepGradients:      # of some rows at one time step
    real *da                    # (n, G*H): of the pre-activations; of the vanilla cell dh itself
    real *dsaved                # (n, H), or NULL: of a GRU's saved
    real *dh                    # (n, H): what reaches h from above; overwritten
    real *dstate                # (n, H): comes in from h_t, goes out to h_{t-1}
    real *dc                    # (n, H), or NULL: of an LSTM, from c_t to c_{t-1}

cdef struct Units:              # some n neighbours in a row of gates
    real *gates                 # (G, n)
    Py_ssize_t row              # how far its rows lie apart
    Py_ssize_t first            # which unit is the first of them


cdef inline bint is_over(const Rows *rows, Py_ssize_t b) noexcept nogil:
    return rows.lengths != NULL and rows.lengths[b] <= rows.t


cdef inline void keep_finished(real *state, const real *before, const Rows *rows) noexcept nogil:
    # state[lengths <= t] = before[lengths <= t], both (n, H)
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        if is_over(rows, b):
            memcpy(state + b * H, before + b * H, H * sizeof(real))


cdef inline void zero_finished(real *saved, const Rows *rows) noexcept nogil:
    # saved[lengths <= t] = 0, (n, H)
    cdef Py_ssize_t b, H = rows.H
    for b in range(rows.n):
        if is_over(rows, b):
            memset(saved + b * H, 0, H * sizeof(real))


cdef inline inlined_void copy_gates(
    real *to, Py_ssize_t to_row, const real *gates, Py_ssize_t row, Py_ssize_t G, Py_ssize_t n
) noexcept nogil:
    # to[:G, :n] = gates[:G, :n]
    cdef Py_ssize_t g
    for g in range(G):
        copy(to + g * to_row, gates + g * row, n)


cdef inline Units units_from(
    Py_ssize_t j, real *gates, real *edge, Py_ssize_t H, Py_ssize_t n
) noexcept nogil:
    # the n units from j on of gates (G, H) or, where there are fewer, the last n of them, of which
    # some have been worked on before: their gates, as they were, wait in edge (G, n)
    cdef Units units
    units.gates, units.row, units.first = gates + j, H, j
    if j + n > H:
        units.gates, units.row, units.first = edge, n, H - n
    return units
