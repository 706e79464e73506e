# The table of cells: which formulas run. A cell is two functions over some sequences of the batch
# at one time step, one forward and one back, in a file of its own (rnn.pyx, gru.pyx, lstm.pyx).
# What they work on is in rows.pyx.

cdef enum Cell:
    RNN, GRU, LSTM

CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}

cdef struct Kind:               # see crnn/base/layers.py
    Cell cell
    Py_ssize_t gates            # of H columns in W_xh
    bint has_c
    bint has_gates
    bint separate_candidate
    bint relu
    bint reset_after


cdef Kind kind_of(named):
    # of a CellKind of Python's
    cdef Kind kind
    kind.cell, kind.gates = CELLS[named.cell], named.gates
    kind.has_c, kind.has_gates = named.has_c, named.has_gates
    kind.separate_candidate, kind.reset_after = named.separate_candidate, named.reset_after
    kind.relu = named.nonlinearity == "relu"
    return kind


cdef inline void cell_step(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, const Kind *kind
) noexcept nogil:
    if kind.cell == RNN:
        rnn_step(tape, weights, rows, kind.relu)
    elif kind.cell == GRU:
        gru_step(tape, weights, rows, kind.reset_after, kind.relu)
    else:
        lstm_step(tape, weights, rows)


cdef inline void cell_step_backward(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    const Kind *kind,
) noexcept nogil:
    if kind.cell == RNN:
        rnn_step_backward(d, tape, weights, rows, kind.relu)
    elif kind.cell == GRU:
        gru_step_backward(d, tape, weights, rows, kind.reset_after, kind.relu)
    else:
        lstm_step_backward(d, tape, weights, rows)


def step(kind, tuple arrays, tuple gradients, lengths, Py_ssize_t t, bint from_last):
    # for tests: a step of arrays (h, before, saved, saved_before, gates, W_hh, W_hn, b_hn, W_hh_T,
    # W_hn_T), weights packed; with gradients (da, dsaved, dh, dstate, dc) a step back
    cdef Kind own = kind_of(kind)
    cdef real *p[10]
    cdef real *g[5]
    cdef StepTape tape
    cdef CellWeights weights
    cdef StepGradients d
    cdef Rows rows
    all_numbers(p, arrays)
    tape.h, tape.before, tape.saved, tape.saved_before, tape.gates = p[0], p[1], p[2], p[3], p[4]
    weights.W_hh, weights.W_hn, weights.b_hn = p[5], p[6], p[7]
    weights.W_hh_T, weights.W_hn_T = p[8], p[9]
    rows.n, rows.H, rows.t, rows.from_last = len(arrays[0]), arrays[0].shape[1], t, from_last
    rows.lengths = indices(lengths)
    if gradients is None:
        cell_step(&tape, &weights, &rows, &own)
        return
    all_numbers(g, gradients)
    d.da, d.dsaved, d.dh, d.dstate, d.dc = g[0], g[1], g[2], g[3], g[4]
    cell_step_backward(&d, &tape, &weights, &rows, &own)
