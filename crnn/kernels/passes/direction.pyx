# A layer, in one direction, over sequences: forward, back through time, and the gradients of its
# parameters. A layer without a state goes the same way, but for what concerns states. An object
# holds its arrays from pass to pass; each method is told which time steps and which sequences to
# work on, so that different sequences may be for different threads.
#
# Some arrays have room for all T steps, others for a block of them, which begins at their first row
# (`row_of`). With a tape, what every step leaves is kept for the way back.

cdef struct Span:
    Py_ssize_t start, count     # time steps; of gradients of parameters, rows of (T * B, n)
    Py_ssize_t first, last      # sequences; of gradients of parameters, hidden units

# Gradients of parameters are sums over all T * B rows, taken from the last to the first. Of more
# than PARTIAL_ROWS, those from one multiple of it to the next are a partial sum, which is then
# added to the total: a single sum of a million rows would lose two digits in float32.
cdef struct Sums:               # flat vectors
    real *partial
    real *total                 # or where partial is, if that is all there is


cdef enum:                      # in place of a token's first row
    NO_ROW = -1
    NO_ROW_BUT_SUM = -2         # that of the rows before waits in a partial sum


cdef inline Py_ssize_t row_of(Py_ssize_t rows, Py_ssize_t steps, Py_ssize_t start) noexcept nogil:
    # where a span that begins at `start` lies in an array of so many rows, for all steps or for a
    # block, or some, in turn
    return start if rows >= steps else start % rows


cdef inline Py_ssize_t row_in(Py_ssize_t steps, Py_ssize_t batch, Py_ssize_t row) noexcept nogil:
    # where a row of (T * B, n) lies in an array (steps * B, n), for all steps or a block
    return row % (steps * batch)


cdef inline bint is_whole(const Sums *sums, Py_ssize_t row) noexcept nogil:
    # whether a partial sum, now of all rows from this one on, is to be added to the total
    return sums.partial != sums.total and row % PARTIAL_ROWS == 0


cdef outlined_void move_sums(const Sums *sums, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    # add n partial sums to their totals, and begin with 0 again
    add_scaled(sums.total + start, 1, sums.partial + start, n)
    memset(sums.partial + start, 0, n * sizeof(real))


cdef inline void copy_states(
    real *to, const real *states, Span span, Py_ssize_t H
) noexcept nogil:
    # to[first:last] = states[first:last], both (B, H)
    memcpy(to + span.first * H, states + span.first * H,
           (span.last - span.first) * H * sizeof(real))


cdef inline Py_ssize_t going_on(
    const Py_ssize_t *lengths, Span span, Py_ssize_t t
) noexcept nogil:
    # how many sequences step t of the span has, up to the last one that is not over: those after it
    # cost nothing any more
    cdef Py_ssize_t last = span.last
    while lengths != NULL and last > span.first and lengths[last - 1] <= span.start + t:
        last -= 1
    return last - span.first


cdef inline Py_ssize_t whole_steps(
    const Py_ssize_t *lengths, Py_ssize_t batch, Span span
) noexcept nogil:
    # how many steps of the span have, one after the other, all sequences of the batch
    if span.last - span.first < batch:
        return 0
    if lengths == NULL or batch == 0:
        return span.count
    return max(0, min(span.count, lengths[batch - 1] - span.start))


cdef void linear_steps(
    real *y, const real *x, const real *W, const real *b, const Py_ssize_t *lengths,
    Py_ssize_t batch, Span span, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # y = x @ W + b of the span's steps, where both are (steps, batch, n), of its sequences that go
    # on; what is of others stays
    cdef Py_ssize_t t, at, whole = whole_steps(lengths, batch, span)
    linear_rows(y, x, W, b, whole * batch, inputs, outputs, False)
    for t in range(whole, span.count):
        at = t * batch + span.first
        linear_rows(y + at * outputs, x + at * inputs, W, b, going_on(lengths, span, t), inputs,
                    outputs, False)


cdef void copy_steps(
    real *y, const real *x, Py_ssize_t batch, Span span, Py_ssize_t n
) noexcept nogil:
    # y = x of the span's steps, where both are (steps, batch, n), of its sequences
    cdef Py_ssize_t t, at
    for t in range(span.count):
        at = (t * batch + span.first) * n
        memcpy(y + at, x + at, (span.last - span.first) * n * sizeof(real))


cdef class Direction:
    """One layer in one direction, over sequences of one shape.

    Parameters
    ----------
    weights : PackedLayer
    steps : int
        T.
    x : ndarray (T, B, I), or of a block; or tokens (T, B)
    states : ndarray (T + 1, B, H), or of a block
        The state before each step, and after the last; without a state, what it puts out, after a
        first row.
    saved, gates : ndarray or None
        What the cell leaves besides: with a tape (T + 1, B, H) and (T, B, G * H), else (2, B, H)
        and (some steps, B, G * H). None, where the cell has none.
    has_tape : bool
    """

    cdef Kind kind
    cdef Py_ssize_t steps, batch, inputs, hidden, width
    cdef Py_ssize_t vector_start            # of its parameters, in the flat vector
    cdef object weights
    cdef list held                          # keeps alive what pointers point to
    cdef const real *W_xh                   # NULL, as all weights, where there is none
    cdef const real *packed_W_xh            # NULL for tokens
    cdef const real *W_xh_T
    cdef const real *b_h
    cdef CellWeights cell
    cdef const real[:, :, ::1] x            # (T or block, B, I), or None
    cdef const Py_ssize_t[:, ::1] tokens    # (T, B), or None
    cdef bint has_tokens, has_tape
    cdef bint is_sparse                     # whether most of x is 0
    cdef const Py_ssize_t *lengths          # (B,), or NULL
    cdef real[:, :, ::1] states             # (T or block + 1, B, H)
    cdef real[:, :, ::1] saved              # (T + 1 or 2, B, H), or None
    cdef real[:, :, ::1] gates              # (T or some, B, G * H); None: those are the states
    cdef real[:, :, ::1] dh                 # (T or block, B, H): what reaches the outputs
    cdef real[:, ::1] dstate                # (B, H): the gradient of the state, from step to step,
    cdef real[:, ::1] dc                    # or None; (B, H), or None
    cdef real[:, :, ::1] da                 # (block, B, G * H); None: dh is turned into it
    cdef real[:, :, ::1] dsaved             # (block, B, H), or None
    cdef real[:, :, ::1] dx                 # (T, B, I), or None
    cdef bint wants_x
    cdef Py_ssize_t[::1] first_rows         # (I,): of each token, or NO_ROW, ...; or None

    def __init__(self, weights, Py_ssize_t steps, x, states, saved, gates, bint has_tape):
        self.weights, self.kind, self.vector_start = weights, kind_of(weights.kind), weights.start
        self.steps, self.inputs = steps, weights.input_size
        self.batch, self.hidden = states.shape[1], states.shape[2]
        self.width = self.kind.gates * self.hidden
        self.has_tokens, self.has_tape, self.lengths = x.ndim == 2, has_tape, NULL
        self.is_sparse = False
        if self.has_tokens:
            self.tokens = x
        else:
            self.x = x
        self.states, self.saved, self.gates = states, saved, gates
        self.held = []
        self.W_xh = self.hold(weights.W_xh)
        self.packed_W_xh = NULL if self.has_tokens else self.hold(weights.packed("W_xh"))
        self.b_h = self.hold(weights.b_h)
        self.cell.W_hh, self.cell.W_hn = (
            self.hold(weights.packed("W_hh")), self.hold(weights.packed("W_hn")))
        self.cell.b_hn, self.cell.W_ch = self.hold(weights.b_hn), self.hold(weights.W_ch)
        self.cell.W_hh_T = self.cell.W_hn_T = self.W_xh_T = NULL

    def prepare_backward(self, dh, dstate, dc, da, dsaved, dx, first_rows):
        """Say where gradients lie, see the attributes, and have weights packed for the way back."""
        self.first_rows = first_rows
        if first_rows is not None:
            self.first_rows[:] = NO_ROW
        self.dh, self.dstate, self.dc, self.da, self.dsaved = dh, dstate, dc, da, dsaved
        self.dx, self.wants_x = dx, dx is not None
        self.cell.W_hh_T = self.hold(self.weights.packed("W_hh", True))
        self.cell.W_hn_T = self.hold(self.weights.packed("W_hn", True))
        if self.wants_x:
            self.W_xh_T = self.hold(self.weights.packed("W_xh", True))

    cdef const real *hold(self, array) except? NULL:
        if array is None:
            return NULL
        self.held.append(array)
        return weight(array)

    # --- forward --------------------------------------------------------------------------------

    # of a layer that has a state

    cdef void begin(self, const real *h, const real *c, Span span) noexcept nogil:
        # take the initial states (B, H) of some sequences
        copy_states(&self.states[0, 0, 0], h, span, self.hidden)
        if self.kind.has_c:
            copy_states(&self.saved[0, 0, 0], c, span, self.hidden)

    cdef void end(self, real *h, real *c, Py_ssize_t row, Span span) noexcept nogil:
        # give the states in a row
        copy_states(h, &self.states[row, 0, 0], span, self.hidden)
        if self.kind.has_c:
            copy_states(c, &self.saved[row, 0, 0], span, self.hidden)

    cdef void carry(self, Span span) noexcept nogil:
        # begin the next block where this one ended, without a tape
        if not self.kind.has_state:
            return
        copy_states(&self.states[0, 0, 0], &self.states[span.count, 0, 0], span, self.hidden)
        if self.kind.has_c and span.count % 2:
            copy_states(&self.saved[0, 0, 0], &self.saved[1, 0, 0], span, self.hidden)

    cdef void forward(self, Span span, Pulse *pulse) noexcept nogil:
        # states[1:] from x and states[:-1], some steps at a time
        cdef Py_ssize_t at = row_of(self.states.shape[0] - 1, self.steps, span.start)
        cdef Py_ssize_t done = 0, rows = span.last - span.first
        cdef Py_ssize_t together = min(PROJECTED_ROWS, PROJECTED_NUMBERS // self.width)
        cdef Py_ssize_t x_at = span.start
        cdef Span some = span
        if not self.has_tokens:
            x_at = row_of(self.x.shape[0], self.steps, span.start)
        together = max(together, MIN_PROJECTED_ROWS) // max(1, rows)
        if self.kind.has_gates:
            together = min(together, self.gates.shape[0])
        together = max(1, together)
        while done < span.count and not must_stop(pulse):
            some.start, some.count = span.start + done, min(together, span.count - done)
            self.project(some, x_at + done, self.gates_at(at + done))
            self.recur(some, at + done, self.gates_at(at + done))
            done += some.count

    cdef void project_block(self, Span span) noexcept nogil:
        # the first half of what forward does with a block
        cdef Py_ssize_t x_at = span.start
        if not self.has_tokens:
            x_at = row_of(self.x.shape[0], self.steps, span.start)
        self.project(span, x_at, self.block_gates(span))

    cdef void recur_block(self, Span span) noexcept nogil:
        # and the second half; where blocks lie in turn, the first one goes on from the last one
        cdef Py_ssize_t rows = self.states.shape[0] - 1
        cdef Py_ssize_t at = row_of(rows, self.steps, span.start)
        if at < span.start and at == 0:
            copy_states(&self.states[0, 0, 0], &self.states[rows, 0, 0], span, self.hidden)
        self.recur(span, at, self.block_gates(span))

    cdef real *block_gates(self, Span span) noexcept nogil:
        # where the pre-activations of a block are
        cdef Py_ssize_t rows = self.states.shape[0] - 1
        if not self.kind.has_gates:
            return &self.states[row_of(rows, self.steps, span.start) + 1, 0, 0]
        return &self.gates[row_of(self.gates.shape[0], self.steps, span.start), 0, 0]

    cdef real *gates_at(self, Py_ssize_t at) noexcept nogil:
        # where the pre-activations of the step at `at` begin
        if not self.kind.has_gates:
            return &self.states[at + 1, 0, 0]
        return &self.gates[at if self.has_tape else 0, 0, 0]

    cdef void project(self, Span span, Py_ssize_t x_at, real *gates) noexcept nogil:
        # gates = x[x_at:] @ W_xh + b_h, of all steps at once; or x itself, where there is no W_xh
        cdef Py_ssize_t t, rows, b = span.first
        if not self.kind.has_weights:
            copy_steps(gates, &self.x[x_at, 0, 0], self.batch, span, self.inputs)
            return
        if not (self.has_tokens or self.is_sparse and not is_compressed(self.packed_W_xh)):
            linear_steps(gates, &self.x[x_at, 0, 0], self.packed_W_xh, self.b_h, self.lengths,
                         self.batch, span, self.inputs, self.width)
            return
        gates = gates + b * self.width
        for t in range(span.count):
            rows = going_on(self.lengths, span, t)
            if self.has_tokens:
                lookup_rows(gates, &self.tokens[x_at + t, b], self.W_xh, self.b_h, rows, self.width)
            else:
                linear_sparse_rows(gates, &self.x[x_at + t, b, 0], self.W_xh, self.packed_W_xh,
                                   self.b_h, rows, self.inputs, self.width)
            gates = gates + self.batch * self.width

    cdef void recur(self, Span span, Py_ssize_t at, real *gates) noexcept nogil:
        # h_t from gates and h_{t-1}, step after step
        cdef Py_ssize_t t, now, b = span.first
        cdef StepTape step
        cdef Rows rows = self.rows_of(span)
        step.saved = NULL
        step.saved_before = NULL
        for t in range(span.count):
            step.h, step.before = &self.states[at + t + 1, b, 0], &self.states[at + t, b, 0]
            step.gates = gates + (t * self.batch + b) * self.width
            if self.kind.has_gates:
                now = at + t if self.has_tape else (at + t) % 2
                step.saved_before = &self.saved[now, b, 0]
                step.saved = &self.saved[now + 1 if self.has_tape else 1 - now, b, 0]
            rows.t, rows.from_last = span.start + t, (at + t) % 2
            rows.n = going_on(self.lengths, span, t)
            if rows.n:
                cell_step(&step, &self.cell, &rows, &self.kind)
            if rows.lengths != NULL and self.kind.has_state:
                rows.n = span.last - b
                self.keep_finished_states(&step, &rows)

    cdef Rows rows_of(self, Span span) noexcept nogil:
        cdef Rows rows
        rows.n, rows.H, rows.t, rows.from_last = span.last - span.first, self.hidden, 0, False
        rows.lengths = NULL if self.lengths == NULL else self.lengths + span.first
        return rows

    cdef void keep_finished_states(self, const StepTape *step, const Rows *rows) noexcept nogil:
        keep_finished(step.h, step.before, rows)
        if self.kind.has_c:
            keep_finished(step.saved, step.saved_before, rows)
        elif self.kind.separate_candidate:
            zero_finished(step.saved, rows)

    # --- back -----------------------------------------------------------------------------------

    cdef void begin_back(self, const real *dh, const real *dc, Span span) noexcept nogil:
        # take the gradients of the last states
        copy_states(&self.dstate[0, 0], dh, span, self.hidden)
        if self.kind.has_c:
            copy_states(&self.dc[0, 0], dc, span, self.hidden)

    cdef void end_back(self, real *dh, real *dc, Span span) noexcept nogil:
        # give those of the initial states
        copy_states(dh, &self.dstate[0, 0], span, self.hidden)
        if self.kind.has_c:
            copy_states(dc, &self.dc[0, 0], span, self.hidden)

    cdef real *da_of(self, Py_ssize_t start) noexcept nogil:
        # where the gradients of the pre-activations of a block begin
        if self.kind.has_gates:
            return &self.da[0, 0, 0]
        return &self.dh[row_of(self.dh.shape[0], self.steps, start), 0, 0]

    cdef void backward(self, Span span) noexcept nogil:
        # da from dh, step before step, over a block; and dx = da @ W_xh.T
        cdef Py_ssize_t i, t, at = row_of(self.dh.shape[0], self.steps, span.start)
        cdef Py_ssize_t b = span.first
        cdef real *da = self.da_of(span.start)
        cdef StepTape step
        cdef StepGradients d
        cdef Rows rows = self.rows_of(span)
        step.saved = NULL
        step.saved_before = NULL
        d.dsaved = NULL
        d.dc = NULL
        d.dstate = &self.dstate[b, 0] if self.kind.has_state else NULL
        if self.kind.has_c:
            d.dc = &self.dc[b, 0]
        for i in range(span.count - 1, -1, -1):
            t = span.start + i
            step.h, step.before = &self.states[t + 1, b, 0], &self.states[t, b, 0]
            step.gates = &self.states[t + 1, b, 0]
            if self.kind.has_gates:
                step.saved, step.saved_before = &self.saved[t + 1, b, 0], &self.saved[t, b, 0]
                step.gates = &self.gates[t, b, 0]
            if self.kind.separate_candidate:
                d.dsaved = &self.dsaved[i, b, 0]
            d.da, d.dh = da + (i * self.batch + b) * self.width, &self.dh[at + i, b, 0]
            rows.t, rows.from_last, rows.n = t, i % 2, going_on(self.lengths, span, i)
            if rows.n:
                cell_step_backward(&d, &step, &self.cell, &rows, &self.kind)
            self.zero_over(&d, &rows, span)
        if self.wants_x and self.kind.has_weights:
            linear_steps(&self.dx[span.start, 0, 0], da, self.W_xh_T, <real *> NULL, self.lengths,
                         self.batch, span, self.width, self.inputs)
        elif self.wants_x:
            copy_steps(&self.dx[span.start, 0, 0], da, self.batch, span, self.inputs)

    cdef void zero_over(
        self, const StepGradients *d, const Rows *rows, Span span
    ) noexcept nogil:
        # the gradients of sequences of the span that follow the rows, and are over
        cdef Py_ssize_t first = span.first + rows.n, n = span.last - first
        if n == 0:
            return
        memset(d.da + rows.n * self.width, 0, n * self.width * sizeof(real))
        if self.kind.separate_candidate:
            memset(d.dsaved + rows.n * self.hidden, 0, n * self.hidden * sizeof(real))
        if self.wants_x:
            memset(&self.dx[rows.t, first, 0], 0, n * self.inputs * sizeof(real))

    # --- gradients of parameters ------------------------------------------------------------------
    # A part of them: of W_hh rows first to last - 1, of the others an equal share

    cdef void add_gradients(self, Span span, const Sums *sums) noexcept nogil:
        # of some rows
        if not self.kind.has_weights:
            return
        self.gradients(span, sums)
        if is_whole(sums, span.start):
            span.count = min(PARTIAL_ROWS, self.steps * self.batch - span.start)
            self.move_partial(span, sums)

    cdef void gradients(self, Span span, const Sums *sums) noexcept nogil:
        cdef Py_ssize_t H = self.hidden, G = self.kind.gates, rows = span.count
        cdef Py_ssize_t i = span.first, n = span.last - i
        cdef Py_ssize_t together = self.width - H if self.kind.separate_candidate else self.width
        cdef const real *da = self.da_of_row(span.start)
        cdef const real *before = &self.states[0, 0, 0] + span.start * H + i
        cdef real *dW_hh = sums.partial + self.recurrent_start()
        cdef real *db_h = sums.partial + self.bias_start()
        if self.kind.has_state:
            add_outer_products(dW_hh + i * self.width, self.width, before, H, da, self.width, rows,
                               n, together)
        if self.kind.separate_candidate:
            self.candidate_gradients(dW_hh + i * self.width + together, db_h + self.width, before,
                                     da + together, span)
        self.input_gradients(sums, da, span)
        if self.kind.has_bias:
            add_rows(db_h + G * i, da + G * i, self.width, rows, G * n)
        if self.kind.options.peepholes:
            add_peephole_gradients(
                db_h + self.width, da, &self.saved[0, 0, 0] + span.start * H,
                &self.saved[1, 0, 0] + span.start * H, rows, H, i, span.last)

    cdef inline Py_ssize_t recurrent_start(self) noexcept nogil:
        # where W_hh begins in the flat vector, after W_xh
        return self.vector_start + self.inputs * self.width

    cdef inline Py_ssize_t bias_start(self) noexcept nogil:
        # where b_h and b_hn or W_ch begin in it, after W_hh, where there is one
        return self.recurrent_start() + self.kind.has_state * self.hidden * self.width

    cdef const real *da_of_row(self, Py_ssize_t row) noexcept nogil:
        if self.kind.has_gates:
            return &self.da[0, 0, 0] + row_in(self.da.shape[0], self.batch, row) * self.width
        return &self.dh[0, 0, 0] + row_in(self.dh.shape[0], self.batch, row) * self.width

    cdef void candidate_gradients(
        self, real *dW_hn, real *db_hn, const real *before, const real *dn, Span span
    ) noexcept nogil:
        # those of W_hn (H, H), the last columns of W_hh, and of b_hn
        cdef Py_ssize_t H = self.hidden, rows = span.count
        cdef Py_ssize_t i = span.first, n = span.last - i
        cdef Py_ssize_t at = row_in(self.dsaved.shape[0], self.batch, span.start)
        cdef const real *dsaved = &self.dsaved[0, 0, 0] + at * H
        if self.kind.reset_after:
            add_outer_products(dW_hn, self.width, before, H, dsaved, H, rows, n, H)
            add_rows(db_hn + i, dsaved + i, H, rows, n)
        else:
            add_outer_products(dW_hn, self.width, &self.saved[1, 0, 0] + span.start * H + i, H, dn,
                               self.width, rows, n, H)

    cdef void input_gradients(self, const Sums *sums, const real *da, Span span) noexcept nogil:
        cdef Py_ssize_t done = 0, inputs = self.inputs, width = self.width
        cdef Py_ssize_t i = inputs * span.first // self.hidden
        cdef Py_ssize_t last = inputs * span.last // self.hidden
        cdef real *dW_xh = sums.partial + self.vector_start + i * width
        cdef const real *x
        if not self.has_tokens:
            x = &self.x[0, 0, 0] + span.start * inputs + i
            if self.is_sparse:
                add_sparse_outer_products(dW_xh, width, x, inputs, da, width, span.count, last - i,
                                          width)
            else:
                add_outer_products(dW_xh, width, x, inputs, da, width, span.count, last - i, width)
            return
        while done < span.count:
            self.token_gradients(sums, da + done * self.width,
                                 &self.tokens[0, 0] + span.start + done,
                                 min(LINKED_ROWS, span.count - done), i, last)
            done += LINKED_ROWS

    cdef void token_gradients(
        self, const Sums *sums, const real *da, const Py_ssize_t *tokens, Py_ssize_t rows,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        # dW_xh[tokens] += da, of tokens first to last - 1: rows of the same token are linked, from
        # its first on, and added up together. A single row goes to the total at once: of many
        # tokens most are rare, and their partial sums would have to be fetched as well.
        cdef Py_ssize_t following[LINKED_ROWS]
        cdef Py_ssize_t *first_rows = &self.first_rows[0]
        cdef Py_ssize_t r, token, at, width = self.width
        for r in range(rows - 1, -1, -1):
            token = tokens[r]
            if first <= token < last:
                following[r], first_rows[token] = first_rows[token], r
        for r in range(rows):
            token = tokens[r]
            if not first <= token < last or first_rows[token] != r:
                continue
            at = self.vector_start + token * width
            if following[r] < 0:
                add_scaled(sums.total + at, 1, da + r * width, width)
                first_rows[token] = following[r]
            else:
                add_linked_rows(sums.partial + at, da, width, r, following, width)
                first_rows[token] = NO_ROW_BUT_SUM

    cdef void move_partial(self, Span span, const Sums *sums) noexcept nogil:
        # of tokens' rows, of which there may be many, those of the tokens in a span of rows
        cdef Py_ssize_t r, token, H = self.hidden, G = self.kind.gates, width = self.width
        cdef Py_ssize_t i = span.first, n = span.last - i, at = self.bias_start()
        cdef Py_ssize_t first = self.inputs * i // H, last = self.inputs * span.last // H
        cdef const Py_ssize_t *tokens
        if self.kind.has_state:
            move_sums(sums, self.recurrent_start() + i * width, n * width)
        if self.kind.has_bias:
            move_sums(sums, at + G * i, G * n)
        if self.kind.reset_after:
            move_sums(sums, at + width + i, n)
        if self.kind.options.peepholes:
            for r in range(3):
                move_sums(sums, at + width + r * H + i, n)
        if not self.has_tokens:
            move_sums(sums, self.vector_start + first * width, (last - first) * width)
            return
        tokens = &self.tokens[0, 0]
        for r in range(span.start, span.start + span.count):
            token = tokens[r]
            if first <= token < last and self.first_rows[token] == NO_ROW_BUT_SUM:
                move_sums(sums, self.vector_start + token * width, width)
                self.first_rows[token] = NO_ROW
