# The table of cells: which formulas run. A cell is two functions over some sequences of the batch
# at one time step, one forward and one back, in a file of its own (rnn.pyx, gru.pyx, lstm.pyx, and
# dense.pyx of a layer without a state). What they work on is in rows.pyx. Two more functions run
# the same cell where it has options that a plain one has not: hard sigmoids, clipped arguments,
# peepholes, coupled gates, ReLU in an LSTM.

cdef enum Cell:
    RNN, GRU, LSTM, RNN_BY_OPTIONS, GRU_BY_OPTIONS, LSTM_BY_OPTIONS, DENSE

CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM, "Dense": DENSE}
BY_OPTIONS = {"RNN": RNN_BY_OPTIONS, "GRU": GRU_BY_OPTIONS, "LSTM": LSTM_BY_OPTIONS}
PLAIN = {"RNN": ("tanh", "relu"), "GRU": ("tanh", "relu"), "LSTM": ("tanh",),
         "Dense": tuple(FUNCTIONS)}

cdef struct Kind:               # see crnn/base/layers.py
    Cell cell
    Py_ssize_t gates            # of H columns in W_xh
    bint has_state
    bint has_weights            # W_xh
    bint has_bias
    bint has_c
    bint has_gates
    bint separate_candidate
    bint relu
    bint reset_after
    Options options


cdef Kind kind_of(named):
    # of a CellKind of Python's
    cdef Kind kind
    kind.cell, kind.gates = (CELLS if is_plain(named) else BY_OPTIONS)[named.cell], named.gates
    kind.has_state, kind.has_c, kind.has_gates = named.has_state, named.has_c, named.has_gates
    kind.has_weights, kind.has_bias = named.has_weights, named.has_bias
    kind.separate_candidate, kind.reset_after = named.separate_candidate, named.reset_after
    kind.relu, kind.options = named.nonlinearity == "relu", options_of(named)
    return kind


cdef bint is_plain(named):
    return (named.nonlinearity in PLAIN[named.cell] and named.gate_activation == "sigmoid"
            and not (named.clip or named.peepholes or named.coupled))


cdef Options options_of(named):
    cdef Options options
    options.gate = activation_of(named.gate_activation, named.clip)
    options.candidate = activation_of(named.nonlinearity, named.clip)
    options.reset_after = named.reset_after
    options.peepholes, options.coupled = named.peepholes, named.coupled
    return options


cdef inline void cell_step(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, const Kind *kind
) noexcept nogil:
    if kind.cell == RNN:
        rnn_step(tape, weights, rows, kind.relu)
    elif kind.cell == GRU:
        gru_step(tape, weights, rows, kind.reset_after, kind.relu)
    elif kind.cell == LSTM:
        lstm_step(tape, weights, rows)
    else:
        step_by_options(tape, weights, rows, kind)


cdef outlined_void step_by_options(
    const StepTape *tape, const CellWeights *weights, const Rows *rows, const Kind *kind
) noexcept nogil:
    if kind.cell == RNN_BY_OPTIONS:
        rnn_step_by_options(tape, weights, rows, &kind.options)
    elif kind.cell == GRU_BY_OPTIONS:
        gru_step_by_options(tape, weights, rows, &kind.options)
    elif kind.cell == LSTM_BY_OPTIONS:
        lstm_step_by_options(tape, weights, rows, &kind.options)
    else:
        dense_step(tape, rows, kind.options.candidate.function)


cdef inline void cell_step_backward(
    const StepGradients *d, const StepTape *tape, const CellWeights *weights, const Rows *rows,
    const Kind *kind,
) noexcept nogil:
    if kind.cell == RNN:
        rnn_step_backward(d, tape, weights, rows, kind.relu)
    elif kind.cell == GRU:
        gru_step_backward(d, tape, weights, rows, kind.reset_after, kind.relu)
    elif kind.cell == LSTM:
        lstm_step_backward(d, tape, weights, rows)
    elif kind.cell == RNN_BY_OPTIONS:
        rnn_step_backward_by_options(d, tape, weights, rows, &kind.options)
    elif kind.cell == GRU_BY_OPTIONS:
        gru_step_backward_by_options(d, tape, weights, rows, &kind.options)
    elif kind.cell == LSTM_BY_OPTIONS:
        lstm_step_backward_by_options(d, tape, weights, rows, &kind.options)
    else:
        dense_step_backward(d, tape, rows, kind.options.candidate.function)


def step(kind, tuple arrays, tuple gradients, lengths, Py_ssize_t t, bint from_last):
    # for tests: a step of arrays (h, before, saved, saved_before, gates, W_hh, W_hn, b_hn, W_ch,
    # W_hh_T, W_hn_T), weights packed but W_ch; with gradients (da, dsaved, dh, dstate, dc) a step
    # back
    cdef Kind own = kind_of(kind)
    cdef real *p[11]
    cdef real *g[5]
    cdef StepTape tape
    cdef CellWeights weights
    cdef StepGradients d
    cdef Rows rows
    all_numbers(p, arrays)
    tape.h, tape.before, tape.saved, tape.saved_before, tape.gates = p[0], p[1], p[2], p[3], p[4]
    weights.W_hh, weights.W_hn, weights.b_hn, weights.W_ch = p[5], p[6], p[7], p[8]
    weights.W_hh_T, weights.W_hn_T = p[9], p[10]
    rows.n, rows.H, rows.t, rows.from_last = len(arrays[0]), arrays[0].shape[1], t, from_last
    rows.lengths = indices(lengths)
    if gradients is None:
        cell_step(&tape, &weights, &rows, &own)
        return
    all_numbers(g, gradients)
    d.da, d.dsaved, d.dh, d.dstate, d.dc = g[0], g[1], g[2], g[3], g[4]
    cell_step_backward(&d, &tape, &weights, &rows, &own)
