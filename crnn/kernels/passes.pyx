# The passes of one layer and of the readout over whole sequences. An object is made for a call: it
# holds where everything lies, so that each of its methods is told only which steps (some `count` of
# them) and which sequences (first to last - 1) or columns to work on, and runs without the GIL.
# Methods for other sequences, or other columns, may run in other threads at the same time.

cdef enum:
    PROJECTED_ROWS = 256    # of h that are filled by a product with x before the loop over time

cdef enum Loss:
    SOFTMAX, SIGMOID, MSE

LOSSES = {"softmax": SOFTMAX, "sigmoid": SIGMOID, "mse": MSE}


cdef inline void *data(object a) noexcept:
    return NULL if a is None else cnp.PyArray_DATA(<cnp.ndarray> a)


cdef inline bint is_ready(object a, int type_number) noexcept:
    # an aligned, C-contiguous native array of this type
    return (type(a) is cnp.ndarray and cnp.PyArray_TYPE(<cnp.ndarray> a) == type_number
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> a))


cdef inline void *shifted(void *p, Py_ssize_t n, bint is_float) noexcept nogil:
    # the address of p[n]
    return <char *> p + n * <Py_ssize_t> (sizeof(float) if is_float else sizeof(double))


cdef inline void linear_steps(
    real *y, const real *x, const real *W, const real *b, Py_ssize_t steps, Py_ssize_t batch,
    Py_ssize_t first, Py_ssize_t last, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # y[:, first:last] = x[:, first:last] @ W + b, where y is (steps, batch, outputs)
    cdef Py_ssize_t t
    if last - first == batch:
        linear_rows(y, x, W, b, steps * batch, inputs, outputs)
    else:
        for t in range(steps):
            linear_rows(y + (t * batch + first) * outputs, x + (t * batch + first) * inputs, W, b,
                        last - first, inputs, outputs)


cdef class RNNLayer:
    """A vanilla layer over one sequence; see ``crnn.reference.RNNLayer``."""

    cdef Py_ssize_t batch, inputs, hidden
    cdef bint is_float, relu
    cdef list held                           # keeps alive what the pointers point to
    cdef object weights
    cdef void *x                             # (T, B, I), or NULL
    cdef const Py_ssize_t *tokens            # (T, B), where x is NULL
    cdef const Py_ssize_t *lengths           # (B,), or NULL
    cdef void *states                        # (T + 1, B, H), the initial one first
    cdef void *W_xh                          # packed, but not for tokens
    cdef void *W_hh
    cdef void *b_h
    cdef void *dh                            # (steps of a block, B, H)
    cdef void *dstate                        # (B, H)
    cdef void *dx                            # (T, B, I), or NULL
    cdef void *W_xh_T
    cdef void *W_hh_T
    cdef void *dW_xh
    cdef void *dW_hh
    cdef void *db_h

    def __init__(self, weights, str nonlinearity, x, states, lengths):
        self.weights, self.relu = weights, nonlinearity == "relu"
        self.batch, self.hidden = cnp.PyArray_DIM(states, 1), cnp.PyArray_DIM(states, 2)
        self.inputs = weights.input_size
        self.is_float = cnp.PyArray_TYPE(states) == cnp.NPY_FLOAT
        W_hh, b_h = weights.packed("W_hh_l0"), weights.parameters["b_h_l0"]
        if cnp.PyArray_NDIM(x) == 2:
            W_xh = weights.parameters["W_xh_l0"]
            self.tokens = <const Py_ssize_t *> data(x)
        else:
            W_xh = weights.packed("W_xh_l0")
            self.x = data(x)
        self.lengths, self.states = <const Py_ssize_t *> data(lengths), data(states)
        self.W_xh, self.W_hh, self.b_h = data(W_xh), data(W_hh), data(b_h)
        self.held = [x, states, lengths, W_xh, W_hh, b_h]

    def prepare_backward(self, dh, dstate, dx, gradient):
        """Say where gradients lie: of states, of the initial one, of x or None, of parameters."""
        W_hh_T = self.weights.packed("W_hh_l0", True)
        W_xh_T = None if dx is None else self.weights.packed("W_xh_l0", True)
        self.dh, self.dstate, self.dx = data(dh), data(dstate), data(dx)
        self.W_xh_T, self.W_hh_T = data(W_xh_T), data(W_hh_T)
        self.held += [dh, dstate, dx, W_hh_T, W_xh_T, gradient]
        self.point_gradients(gradient)

    cdef void point_gradients(self, gradient) noexcept:
        cdef Py_ssize_t size = self.inputs * self.hidden
        self.dW_xh = data(gradient)
        self.dW_hh = shifted(self.dW_xh, size, self.is_float)
        self.db_h = shifted(self.dW_hh, self.hidden * self.hidden, self.is_float)

    def forward(self, Py_ssize_t start, Py_ssize_t at, Py_ssize_t count,
                Py_ssize_t first, Py_ssize_t last):
        """Fill states[at + 1 : at + 1 + count] from x[start:] and states[at]."""
        with nogil:
            if self.is_float:
                self.run_forward[float](<float *> self.states, start, at, count, first, last)
            else:
                self.run_forward[double](<double *> self.states, start, at, count, first, last)

    cdef void run_forward(
        self, real *states, Py_ssize_t start, Py_ssize_t at, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef Py_ssize_t t, stop, size = self.batch * self.hidden, rows = last - first
        cdef Py_ssize_t steps = max(1, PROJECTED_ROWS // max(1, rows)), done = 0
        cdef real *h
        while done < count:
            stop = min(done + steps, count)
            self.project(states + (at + 1 + done) * size, start + done, stop - done, first, last)
            for t in range(done, stop):
                h = states + (at + 1 + t) * size + first * self.hidden
                rnn_step(h, h - size, <real *> self.W_hh, rows, self.hidden, self.relu)
                if self.lengths != NULL:
                    keep_finished(h, h - size, self.lengths + first, start + t, rows, self.hidden)
            done = stop

    cdef void project(
        self, real *h, Py_ssize_t start, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        # h (count, batch, hidden) = x[start : start + count] @ W_xh + b_h, of some sequences
        cdef Py_ssize_t t, row
        if self.tokens == NULL:
            linear_steps(h, <real *> self.x + start * self.batch * self.inputs,
                         <real *> self.W_xh, <real *> self.b_h, count, self.batch, first, last,
                         self.inputs, self.hidden)
            return
        for t in range(count):
            row = t * self.batch + first
            lookup_rows(h + row * self.hidden, self.tokens + start * self.batch + row,
                        <real *> self.W_xh, <real *> self.b_h, last - first, self.hidden)

    def backward(self, Py_ssize_t start, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last):
        """Turn dh[:count], of the states from start on, into gradients of the pre-activations."""
        with nogil:
            if self.is_float:
                self.run_backward[float](<float *> self.dh, start, count, first, last)
            else:
                self.run_backward[double](<double *> self.dh, start, count, first, last)

    cdef void run_backward(
        self, real *dh, Py_ssize_t start, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        cdef Py_ssize_t t, size = self.batch * self.hidden, shift = first * self.hidden
        cdef real *h = <real *> self.states + (start + 1) * size + shift
        cdef const Py_ssize_t *lengths = NULL if self.lengths == NULL else self.lengths + first
        for t in range(count - 1, -1, -1):
            rnn_step_backward(dh + t * size + shift, <real *> self.dstate + shift, h + t * size,
                              <real *> self.W_hh_T, lengths, start + t, last - first, self.hidden,
                              self.relu)
        if self.dx != NULL:
            linear_steps(<real *> self.dx + start * self.batch * self.inputs, dh,
                         <real *> self.W_xh_T, <real *> NULL, count, self.batch, first, last,
                         self.hidden, self.inputs)

    def gradients(self, Py_ssize_t start, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last):
        """Add columns first to last - 1 of the gradients of W_xh, W_hh and b_h over a block."""
        with nogil:
            if self.is_float:
                self.run_gradients[float](<float *> self.dh, start, count, first, last)
            else:
                self.run_gradients[double](<double *> self.dh, start, count, first, last)

    cdef void run_gradients(
        self, const real *da, Py_ssize_t start, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        cdef Py_ssize_t r, rows = count * self.batch, columns = last - first, H = self.hidden
        cdef Py_ssize_t row = start * self.batch
        cdef real *dW_xh = <real *> self.dW_xh + first
        add_outer_products(<real *> self.dW_hh + first, H, <real *> self.states + row * H, H,
                           da + first, H, rows, H, columns)
        if self.tokens == NULL:
            add_outer_products(dW_xh, H, <real *> self.x + row * self.inputs, self.inputs,
                               da + first, H, rows, self.inputs, columns)
        else:
            for r in range(rows):
                add_scaled(dW_xh + self.tokens[row + r] * H, 1, da + r * H + first, columns)
        add_rows(<real *> self.db_h + first, da + first, H, rows, columns)


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
        cdef Py_ssize_t t, b, row
        for t in range(count):
            for b in range(first, last):
                row = (start + t) * self.batch + b
                self.losses[row] = self.row_loss(
                    y + ((y_at + t) * self.batch + b) * self.outputs, row)

    cdef double row_loss(self, real *y, Py_ssize_t row) noexcept nogil:
        cdef Py_ssize_t n = self.outputs, target
        if self.loss_kind == SOFTMAX:
            target = (<const Py_ssize_t *> self.targets)[row]
            return softmax_row(y, target, self.scale, n) if target >= 0 else no_loss(y, n)
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
        """Add columns first to last - 1 of the gradients of W_hy and b_y over a block."""
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
        if self.W_hy == NULL:
            return
        dy = dy + y_at * self.batch * n + first
        add_outer_products(
            <real *> self.dW_hy + first, n, <real *> self.states + (at + 1) * self.batch * H, H,
            dy, n, rows, H, last - first)
        add_rows(<real *> self.db_y + first, dy, n, rows, last - first)
