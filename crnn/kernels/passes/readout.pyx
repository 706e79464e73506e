# The readout over sequences, and the loss of its outputs, in the manner of a layer (direction.pyx).
# Without a readout, outputs are the states of the top layer, and so are their gradients.


cdef class Readout:
    """The readout, and the loss of its outputs.

    Parameters
    ----------
    weights : PackedWeights
    steps : int
        T, or 1 where only the last outputs count.
    h : ndarray (T, B, n), or of a block
        What it reads.
    y : ndarray (T, B, O), or of a block
        The outputs, or their gradient.
    activation : str
        Its function f; see `FUNCTIONS`.
    is_training : bool
    """

    cdef Py_ssize_t steps, batch, inputs, outputs
    cdef Py_ssize_t vector_start            # in the flat vector
    cdef bint has_weights
    cdef Function function
    cdef Loss rule
    cdef list held
    cdef const real *W_hy                   # packed
    cdef const real *W_hy_T
    cdef const real *b_y
    cdef const real[:, :, ::1] h
    cdef real[:, :, ::1] y
    # (block, B, O): f(h @ W_hy + b_y), and the gradient of h @ W_hy + b_y; None where y has both
    cdef real[:, :, ::1] kept
    cdef real[:, :, ::1] da
    cdef double[:, ::1] losses              # (T, B)
    cdef const Py_ssize_t[:, ::1] classes   # (T, B): the targets of softmax
    cdef const real[:, :, ::1] targets      # (T, B, n): those of the others
    cdef const double *weights              # (T, weights_batch, 1 or n), or NULL
    cdef Py_ssize_t weights_batch, weights_each
    cdef const Py_ssize_t *lengths          # (B,), or NULL
    cdef real[:, :, ::1] dh                 # (T or block, B, n)

    def __init__(self, weights, Py_ssize_t steps, h, y, str activation, bint is_training):
        self.steps, self.h, self.y, self.lengths = steps, h, y, NULL
        self.kept = self.da = None
        self.batch, self.inputs, self.outputs = h.shape[1], h.shape[2], y.shape[2]
        self.function = FUNCTIONS[activation]
        self.has_weights, self.vector_start = weights.has_readout, weights.readout_start
        if self.has_weights:
            self.held = [weights.packed("W_hy"), weights.parameters["b_y"]]
            self.W_hy = weight(self.held[0])
            self.b_y = pointer(self.held[1])
            if is_training:
                self.held.append(weights.packed("W_hy", True))
                self.W_hy_T = weight(self.held[2])

    def set_y(self, y):
        """Have outputs written to, or their gradient read from, another y of the same shape."""
        self.y = y

    def prepare_loss(self, str loss, Py_ssize_t blocks, losses, classes, targets):
        """Say which loss, where its values go, and where its targets lie: classes or others."""
        self.rule.kind, self.losses = LOSSES[loss], losses
        self.rule.blocks, self.rule.n = blocks, self.outputs // blocks
        self.classes, self.targets, self.weights = classes, targets, NULL

    def prepare_backward(self, dh, kept, da):
        """Say where the gradient of what it reads lies; see the attributes for the others."""
        self.dh, self.kept, self.da = dh, kept, da

    cdef real *y_at(self, Py_ssize_t start) noexcept nogil:
        return &self.y[row_of(self.y.shape[0], self.steps, start), 0, 0]

    cdef inline real *kept_at(self, Py_ssize_t start) noexcept nogil:
        return &self.kept[row_of(self.kept.shape[0], self.steps, start), 0, 0]

    cdef inline real *da_at(self, Py_ssize_t start) noexcept nogil:
        return &self.da[row_of(self.da.shape[0], self.steps, start), 0, 0]

    cdef void forward(self, Span span) noexcept nogil:
        # y = f(h @ W_hy + b_y)
        cdef real *y = self.y_at(span.start)
        if self.kept is None:
            self.read(y, span)
        else:
            self.read(self.kept_at(span.start), span)
            copy_steps(y, self.kept_at(span.start), self.batch, span, self.outputs)

    cdef void read(self, real *to, Span span) noexcept nogil:
        cdef const real *h = &self.h[row_of(self.h.shape[0], self.steps, span.start), 0, 0]
        if not self.has_weights:
            copy_steps(to, h, self.batch, span, self.inputs)
            return
        linear_steps(to, h, self.W_hy, self.b_y, self.lengths, self.batch, span, self.inputs,
                     self.outputs)
        if self.function != LINEAR:
            self.apply_steps(to, span)

    cdef void apply_steps(self, real *to, Span span) noexcept nogil:
        # to = f(to), of sequences that go on
        cdef Py_ssize_t t, whole = whole_steps(self.lengths, self.batch, span)
        apply_to_rows(to, whole * self.batch, self.outputs, self.function)
        for t in range(whole, span.count):
            apply_to_rows(to + (t * self.batch + span.first) * self.outputs,
                          going_on(self.lengths, span, t), self.outputs, self.function)

    cdef void add_input(self, const real *x, Span span) noexcept nogil:
        # y = y + x (T, B, O)
        cdef Py_ssize_t _t, n = (span.last - span.first) * self.outputs
        cdef real *y = self.y_at(span.start) + span.first * self.outputs
        x = x + (span.start * self.batch + span.first) * self.outputs
        for _t in range(span.count):
            add_scaled(y, 1, x, n)
            y, x = y + self.batch * self.outputs, x + self.batch * self.outputs

    cdef void add_gradient_to(self, real *dx, Py_ssize_t batch, Span span) noexcept nogil:
        # dx (T, batch, O) = dx + dy, of all steps
        cdef Py_ssize_t t, n = (span.last - span.first) * self.outputs
        for t in range(span.count):
            add_scaled(dx + (t * batch + span.first) * self.outputs, 1,
                       &self.y[t, span.first, 0], n)

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

    cdef void backward(self, Span span, bint is_kept) noexcept nogil:
        # dh = da @ W_hy.T, where y is dy; is_kept: forward has left what it kept
        cdef real *dh = &self.dh[row_of(self.dh.shape[0], self.steps, span.start), 0, 0]
        cdef real *da = self.y_at(span.start)
        if self.kept is not None:
            if not is_kept:
                self.read(self.kept_at(span.start), span)
            da = self.da_at(span.start)
            copy_steps(da, self.y_at(span.start), self.batch, span, self.outputs)
            self.back_through_function(da, self.kept_at(span.start), span)
        if not self.has_weights:
            copy_steps(dh, da, self.batch, span, self.inputs)
        else:
            linear_steps(dh, da, self.W_hy_T, <real *> NULL, self.lengths, self.batch, span,
                         self.outputs, self.inputs)

    cdef void back_through_function(
        self, real *da, const real *kept, Span span
    ) noexcept nogil:
        # da = da * f'; as it is, 0, where a sequence is over
        cdef Py_ssize_t t, b, at, n = self.outputs
        for t in range(span.count):
            for b in range(span.first, span.last):
                at = (t * self.batch + b) * n
                if self.lengths == NULL or span.start + t < self.lengths[b]:
                    multiply_rows_by_slope(da + at, kept + at, 1, n, self.function)

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
        cdef Py_ssize_t at = row_in(self.h.shape[0], self.batch, span.start)
        cdef const real *h = &self.h[0, 0, 0] + at * self.inputs
        cdef const real *da = self.da_of_row(span.start)
        cdef real *dW_hy = vector + self.vector_start
        add_outer_products(dW_hy + i * n, n, h + i, self.inputs, da, n, span.count, span.last - i,
                           n)
        add_rows(dW_hy + self.inputs * n + j, da + j, n, span.count, outputs)

    cdef const real *da_of_row(self, Py_ssize_t row) noexcept nogil:
        if self.kept is not None:
            return &self.da[0, 0, 0] + row_in(self.da.shape[0], self.batch, row) * self.outputs
        return &self.y[0, 0, 0] + row_in(self.y.shape[0], self.batch, row) * self.outputs

    cdef void move_partial(self, Span span, const Sums *sums) noexcept nogil:
        cdef Py_ssize_t n = self.outputs, i = span.first, at = self.vector_start
        cdef Py_ssize_t j = n * i // self.inputs, outputs = n * span.last // self.inputs - j
        move_sums(sums, at + i * n, (span.last - i) * n)
        move_sums(sums, at + self.inputs * n + j, outputs)
