# The readout and the loss of its outputs, in the manner of a layer's passes (layer.pyx).

cdef enum Loss:
    SOFTMAX, SIGMOID, MSE

LOSSES = {"softmax": SOFTMAX, "sigmoid": SIGMOID, "mse": MSE}


cdef class Readout:
    """The readout, and the loss of its outputs; see ``crnn.reference.Readout``."""

    cdef Py_ssize_t batch, hidden, outputs
    cdef Py_ssize_t readout_start            # in the flat vector
    cdef bint is_float
    cdef Loss loss_kind
    cdef double scale
    cdef list held
    cdef object weights
    cdef void *states                        # (T + 1, B, H), the initial one first
    cdef void *y                             # (steps, B, O): outputs, or their gradient
    cdef void *W_hy                          # NULL without a readout
    cdef void *b_y
    cdef double *losses                      # (T, B)
    cdef void *targets                       # (T, B) or (T, B, O)
    cdef const unsigned char *valid          # (T, B)
    cdef void *dh                            # (steps of a block, B, H)
    cdef void *W_hy_T
    cdef void *dW_hy
    cdef void *db_y

    def __init__(self, weights, states, y):
        self.weights = weights
        self.batch, self.hidden = cnp.PyArray_DIM(states, 1), cnp.PyArray_DIM(states, 2)
        self.outputs, self.readout_start = cnp.PyArray_DIM(y, 2), weights.readout_start
        self.is_float = cnp.PyArray_TYPE(states) == cnp.NPY_FLOAT
        self.states, self.y = data(states), data(y)
        self.held = [states, y]
        if weights.has_readout:
            W_hy, b_y = weights.packed("W_hy"), weights.parameters["b_y"]
            self.W_hy, self.b_y = data(W_hy), data(b_y)
            self.held += [W_hy, b_y]

    def prepare_loss(self, str loss, losses, targets, valid, double scale):
        """Say which loss, where its values go, and what is wanted of the outputs."""
        self.loss_kind, self.scale = LOSSES[loss], scale
        self.losses, self.targets = <double *> data(losses), data(targets)
        self.valid = <const unsigned char *> data(valid)
        self.held += [losses, targets, valid]

    def prepare_backward(self, dh, gradient):
        """Say where gradients lie: of the states, and of the parameters."""
        self.dh = data(dh)
        self.held += [dh, gradient]
        if self.W_hy != NULL:
            W_hy_T = self.weights.packed("W_hy", True)
            self.W_hy_T = data(W_hy_T)
            self.held.append(W_hy_T)
        self.point_gradients(gradient)

    cdef void point_gradients(self, gradient) noexcept:
        if gradient is None:    # it will be said later
            return
        self.dW_hy = shifted(data(gradient), self.readout_start, self.is_float)
        self.db_y = shifted(self.dW_hy, self.hidden * self.outputs, self.is_float)

    def forward(self, Py_ssize_t at, Py_ssize_t y_at, Py_ssize_t count,
                Py_ssize_t first, Py_ssize_t last):
        """Fill y[y_at : y_at + count] with the outputs of states[at + 1 : at + 1 + count]."""
        with nogil:
            if self.is_float:
                self.run_forward[float](<float *> self.y, at, y_at, count, first, last)
            else:
                self.run_forward[double](<double *> self.y, at, y_at, count, first, last)

    cdef void run_forward(
        self, real *y, Py_ssize_t at, Py_ssize_t y_at, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef const real *h = <real *> self.states + (at + 1) * self.batch * self.hidden
        y = y + y_at * self.batch * self.outputs
        if self.W_hy == NULL:
            self.copy(y, h, count, first, last)
        else:
            linear_steps(y, h, <real *> self.W_hy, <real *> self.b_y, count, self.batch,
                         first, last, self.hidden, self.outputs)

    cdef void copy(
        self, real *to, const real *rows, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        # without a readout outputs are states, and so are their gradients
        cdef Py_ssize_t t, shift
        for t in range(count):
            shift = (t * self.batch + first) * self.hidden
            memcpy(to + shift, rows + shift, (last - first) * self.hidden * sizeof(real))

    def loss(self, Py_ssize_t y_at, Py_ssize_t start, Py_ssize_t count,
             Py_ssize_t first, Py_ssize_t last):
        """Turn y[y_at:] into its gradient, with the targets and for the losses from start on."""
        with nogil:
            if self.is_float:
                self.run_loss[float](<float *> self.y, y_at, start, count, first, last)
            else:
                self.run_loss[double](<double *> self.y, y_at, start, count, first, last)

    cdef void run_loss(
        self, real *y, Py_ssize_t y_at, Py_ssize_t start, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef Py_ssize_t t
        y = y + (y_at * self.batch + first) * self.outputs
        if last - first == self.batch:
            self.rows_loss(y, start * self.batch, count * self.batch)
            return
        for t in range(count):
            self.rows_loss(y + t * self.batch * self.outputs, (start + t) * self.batch + first,
                           last - first)

    cdef void rows_loss(self, real *y, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
        # of some rows that follow each other
        cdef Py_ssize_t r = 0, n
        while r < rows:
            n = 1
            if self.loss_kind == SOFTMAX:
                n = min(SOFTMAX_ROWS, rows - r)
                softmax_rows(y + r * self.outputs, self.losses + row + r,
                             <const Py_ssize_t *> self.targets + row + r, self.scale, n,
                             self.outputs)
            else:
                self.losses[row + r] = self.row_loss(y + r * self.outputs, row + r)
            r += n

    cdef double row_loss(self, real *y, Py_ssize_t row) noexcept nogil:
        cdef Py_ssize_t n = self.outputs
        if not self.valid[row]:
            return no_loss(y, n)
        if self.loss_kind == SIGMOID:
            return sigmoid_row(y, <const real *> self.targets + row * n, self.scale, n)
        return squared_error_row(y, <const real *> self.targets + row * n, self.scale, n)

    def backward(self, Py_ssize_t y_at, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last):
        """Fill dh[:count] from the gradient of the outputs, y[y_at:]."""
        with nogil:
            if self.is_float:
                self.run_backward[float](<float *> self.y, y_at, count, first, last)
            else:
                self.run_backward[double](<double *> self.y, y_at, count, first, last)

    cdef void run_backward(
        self, const real *dy, Py_ssize_t y_at, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        dy = dy + y_at * self.batch * self.outputs
        if self.W_hy == NULL:
            self.copy(<real *> self.dh, dy, count, first, last)
        else:
            linear_steps(<real *> self.dh, dy, <real *> self.W_hy_T, <real *> NULL, count,
                         self.batch, first, last, self.outputs, self.hidden)

    def gradients(self, Py_ssize_t at, Py_ssize_t y_at, Py_ssize_t count,
                  Py_ssize_t first, Py_ssize_t last):
        """Add rows first to last - 1 of the gradient of W_hy, and such a share of b_y's."""
        with nogil:
            if self.is_float:
                self.run_gradients[float](<float *> self.y, at, y_at, count, first, last)
            else:
                self.run_gradients[double](<double *> self.y, at, y_at, count, first, last)

    cdef void run_gradients(
        self, const real *dy, Py_ssize_t at, Py_ssize_t y_at, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef Py_ssize_t rows = count * self.batch, n = self.outputs, H = self.hidden
        cdef Py_ssize_t j = n * first // H, outputs = n * last // H - j
        if self.W_hy == NULL:
            return
        dy = dy + y_at * self.batch * n
        add_outer_products(
            <real *> self.dW_hy + first * n, n,
            <real *> self.states + (at + 1) * self.batch * H + first, H, dy, n, rows, last - first,
            n)
        add_rows(<real *> self.db_y + j, dy + j, n, rows, outputs)
