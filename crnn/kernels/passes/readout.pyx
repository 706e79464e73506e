# The readout over sequences, and the loss of its outputs, in the manner of a layer (direction.pyx).
# Without a readout, outputs are the states of the top layer, and so are their gradients.


cdef class Readout:
    """The readout, and the loss of its outputs.

    Parameters
    ----------
    weights : PackedWeights
    steps : int
        T, or 1 where only the last outputs count.
    states : ndarray (T + 1, B, D * H), or of a block
        What it reads, after a first row.
    y : ndarray (T, B, O), or of a block
        The outputs, or their gradient.
    is_training : bool
    """

    cdef Py_ssize_t steps, batch, inputs, outputs
    cdef Py_ssize_t vector_start            # in the flat vector
    cdef bint has_weights
    cdef Loss rule
    cdef list held
    cdef const real *W_hy                   # packed
    cdef const real *W_hy_T
    cdef const real *b_y
    cdef real[:, :, ::1] states
    cdef real[:, :, ::1] y
    cdef double[:, ::1] losses              # (T, B)
    cdef const Py_ssize_t[:, ::1] classes   # (T, B): the targets of softmax
    cdef const real[:, :, ::1] targets      # (T, B, n): those of the others
    cdef const double *weights              # (T, weights_batch, 1 or n), or NULL
    cdef Py_ssize_t weights_batch, weights_each
    cdef const Py_ssize_t *lengths          # (B,), or NULL
    cdef real[:, :, ::1] dh                 # (T or block, B, D * H)

    def __init__(self, weights, Py_ssize_t steps, states, y, bint is_training):
        self.steps, self.states, self.y, self.lengths = steps, states, y, NULL
        self.batch, self.inputs, self.outputs = states.shape[1], states.shape[2], y.shape[2]
        self.has_weights, self.vector_start = weights.has_readout, weights.readout_start
        if self.has_weights:
            self.held = [weights.packed("W_hy"), weights.parameters["b_y"]]
            self.W_hy = pointer(self.held[0])
            self.b_y = pointer(self.held[1])
            if is_training:
                self.held.append(weights.packed("W_hy", True))
                self.W_hy_T = pointer(self.held[2])

    def set_y(self, y):
        """Have outputs written to, or their gradient read from, another y of the same shape."""
        self.y = y

    def prepare_loss(self, str loss, Py_ssize_t blocks, losses, classes, targets):
        """Say which loss, where its values go, and where its targets lie: classes or others."""
        self.rule.kind, self.losses = LOSSES[loss], losses
        self.rule.blocks, self.rule.n = blocks, self.outputs // blocks
        self.classes, self.targets, self.weights = classes, targets, NULL

    def prepare_backward(self, dh):
        """Say where the gradient of what it reads lies."""
        self.dh = dh

    cdef real *y_at(self, Py_ssize_t start) noexcept nogil:
        return &self.y[row_of(self.y.shape[0], self.steps, start), 0, 0]

    cdef void forward(self, Span span) noexcept nogil:
        # y = states[1:] @ W_hy + b_y
        cdef Py_ssize_t at = row_of(self.states.shape[0] - 1, self.steps, span.start)
        cdef const real *h = &self.states[at + 1, 0, 0]
        if not self.has_weights:
            self.copy(self.y_at(span.start), h, span)
        else:
            linear_steps(self.y_at(span.start), h, self.W_hy, self.b_y, self.lengths, self.batch,
                         span, self.inputs, self.outputs)

    cdef void copy(self, real *to, const real *rows, Span span) noexcept nogil:
        cdef Py_ssize_t t, shift
        for t in range(span.count):
            shift = (t * self.batch + span.first) * self.inputs
            memcpy(to + shift, rows + shift, (span.last - span.first) * self.inputs * sizeof(real))

    cdef void loss(self, Span span) noexcept nogil:
        # losses of y, which becomes its gradient
        cdef Py_ssize_t t, n, at, whole = whole_steps(self.lengths, self.batch, span)
        cdef real *y = self.y_at(span.start)
        self.rows_loss(y, span.start * self.batch, whole * self.batch)
        for t in range(whole, span.count):
            n, at = going_on(self.lengths, span, t), t * self.batch + span.first
            self.rows_loss(y + at * self.outputs, span.start * self.batch + at, n)
            at += n
            self.no_losses(y + at * self.outputs, span.start * self.batch + at,
                           span.last - span.first - n)

    cdef void no_losses(self, real *y, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
        # of rows that are over
        memset(&self.losses[0, 0] + row, 0, rows * sizeof(double))
        memset(y, 0, rows * self.outputs * sizeof(real))

    cdef void rows_loss(self, real *y, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
        # of some rows that follow each other
        cdef Py_ssize_t r = 0, k, n
        cdef double *losses = &self.losses[0, 0] + row
        cdef double weights[SOFTMAX_ROWS]
        while r < rows:
            n = 1
            if self.rule.kind == SOFTMAX:
                n = min(SOFTMAX_ROWS, rows - r)
                for k in range(n):
                    weights[k] = 1 if self.weights == NULL else self.weights_at(row + r + k)[0]
                softmax_rows(y + r * self.outputs, losses + r, &self.classes[0, 0] + row + r,
                             weights, self.rule.scale, n, self.outputs)
            else:
                losses[r] = self.row_loss(y + r * self.outputs, row + r)
            r += n

    cdef double row_loss(self, real *y, Py_ssize_t row) noexcept nogil:
        cdef const real *targets = &self.targets[0, 0, 0] + row * self.rule.n
        cdef double weight = 1
        if self.weights != NULL:
            if self.weights_each > 1:
                return weighted_row(&self.rule, y, targets, self.weights_at(row))
            weight = self.weights_at(row)[0]
        if weight == 0:
            return no_loss(y, self.outputs)
        return loss_of_targets(&self.rule, y, targets, weight, self.rule.n)

    cdef inline const double *weights_at(self, Py_ssize_t row) noexcept nogil:
        # of a row of these sequences, some of the batch that weights are of
        cdef Py_ssize_t t = row // self.batch, b = row % self.batch
        return self.weights + (t * self.weights_batch + b) * self.weights_each

    cdef void backward(self, Span span) noexcept nogil:
        # dh = dy @ W_hy.T, where y is dy
        cdef real *dh = &self.dh[row_of(self.dh.shape[0], self.steps, span.start), 0, 0]
        if not self.has_weights:
            self.copy(dh, self.y_at(span.start), span)
        else:
            linear_steps(dh, self.y_at(span.start), self.W_hy_T, <real *> NULL, self.lengths,
                         self.batch, span, self.outputs, self.inputs)

    # --- gradients of parameters ------------------------------------------------------------------
    # a part of them: of W_hy rows first to last - 1, of b_y such a share

    cdef void add_gradients(self, Span span, const Sums *sums) noexcept nogil:
        # of some rows
        if not self.has_weights:
            return
        self.gradients(span, sums.partial)
        if is_whole(sums, span.start):
            self.move_partial(span, sums)

    cdef void gradients(self, Span span, real *vector) noexcept nogil:
        cdef Py_ssize_t n = self.outputs, i = span.first
        cdef Py_ssize_t j = n * i // self.inputs, outputs = n * span.last // self.inputs - j
        cdef Py_ssize_t at = row_in(self.states.shape[0] - 1, self.batch, span.start)
        cdef const real *h = &self.states[1, 0, 0] + at * self.inputs
        cdef const real *dy = &self.y[0, 0, 0]
        cdef real *dW_hy = vector + self.vector_start
        dy = dy + row_in(self.y.shape[0], self.batch, span.start) * n
        add_outer_products(dW_hy + i * n, n, h + i, self.inputs, dy, n, span.count, span.last - i,
                           n)
        add_rows(dW_hy + self.inputs * n + j, dy + j, n, span.count, outputs)

    cdef void move_partial(self, Span span, const Sums *sums) noexcept nogil:
        cdef Py_ssize_t n = self.outputs, i = span.first, at = self.vector_start
        cdef Py_ssize_t j = n * i // self.inputs, outputs = n * span.last // self.inputs - j
        move_sums(sums, at + i * n, (span.last - i) * n)
        move_sums(sums, at + self.inputs * n + j, outputs)
