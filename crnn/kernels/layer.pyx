# The passes of a recurrent layer, in one direction, over whole sequences. An object is made for a
# call: it holds where everything lies, so that each of its methods is told only which steps (some
# `count` of them) and which sequences (first to last - 1) to work on, and runs without the GIL.
# Methods for other sequences may run in other threads at the same time.

cdef enum:
    PROJECTED_ROWS = 256         # of gates that are filled by a product with x before the loop
    PROJECTED_NUMBERS = 32768    # and no more than so many numbers,
    LEAST_PROJECTED_ROWS = 128   # but so many rows, as W_xh is read anew each time


cdef inline void *data(object a) noexcept:
    return NULL if a is None else cnp.PyArray_DATA(<cnp.ndarray> a)


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
        linear_rows(y, x, W, b, steps * batch, inputs, outputs, False)
    else:
        for t in range(steps):
            linear_rows(y + (t * batch + first) * outputs, x + (t * batch + first) * inputs, W, b,
                        last - first, inputs, outputs, False)


cdef class Layer:
    """A layer over one sequence; see ``crnn.reference.Layer``."""

    cdef Kind kind
    cdef Py_ssize_t batch, inputs, hidden, start
    cdef bint is_float
    cdef list held                           # keeps alive what the pointers point to
    cdef object weights
    cdef void *x                             # (T, B, I), or NULL
    cdef const Py_ssize_t *tokens            # (T, B), where x is NULL
    cdef const Py_ssize_t *lengths           # (B,), or NULL
    cdef void *states                        # (T + 1, B, H), the initial one first
    cdef bint tapes                          # else kept has room for two steps, gates for some
    cdef Py_ssize_t gate_steps
    cdef void *kept                          # (T + 1, B, H), or NULL
    cdef void *gates                         # (T, B, blocks * H); of the vanilla cell, its states
    cdef void *W_xh                          # packed, but not for tokens
    cdef void *W_hh
    cdef void *W_hn                          # or NULL
    cdef void *b_h
    cdef void *b_hn                          # or NULL
    cdef void *dh                            # (steps, B, H)
    cdef void *dstate                        # (B, H)
    cdef void *dc                            # (B, H), or NULL
    cdef void *da                            # (steps of a block, B, blocks * H), or NULL: dh
    cdef void *dkept                         # (steps of a block, B, H), or NULL
    cdef void *dx                            # (T, B, I), or NULL
    cdef void *W_xh_T
    cdef void *W_hh_T
    cdef void *W_hn_T
    cdef void *dW_xh
    cdef void *dW_hh
    cdef void *db_h
    cdef void *db_hn

    def __init__(self, weights, x, states, kept, gates, lengths):
        self.weights, self.kind, self.start = weights, kind_of(weights), weights.start
        self.batch, self.hidden = cnp.PyArray_DIM(states, 1), cnp.PyArray_DIM(states, 2)
        self.inputs = weights.input_size
        self.is_float = cnp.PyArray_TYPE(states) == cnp.NPY_FLOAT
        W_hh, W_hn = weights.packed("W_hh"), weights.packed("W_hn")
        if cnp.PyArray_NDIM(x) == 2:
            W_xh = weights.W_xh
            self.tokens = <const Py_ssize_t *> data(x)
        else:
            W_xh = weights.packed("W_xh")
            self.x = data(x)
        self.lengths, self.states = <const Py_ssize_t *> data(lengths), data(states)
        self.kept, self.gates, self.tapes = data(kept), data(gates), True
        if gates is None:
            self.gates = shifted(self.states, self.batch * self.hidden, self.is_float)
            self.gate_steps = cnp.PyArray_DIM(states, 0) - 1
        else:
            self.gate_steps = cnp.PyArray_DIM(gates, 0)
            self.tapes = cnp.PyArray_DIM(kept, 0) == cnp.PyArray_DIM(states, 0)
        self.W_xh, self.W_hh, self.W_hn = data(W_xh), data(W_hh), data(W_hn)
        self.b_h, self.b_hn = data(weights.b_h), data(weights.b_hn)
        self.held = [x, states, kept, gates, lengths, W_xh, W_hh, W_hn, weights.b_h, weights.b_hn]

    def prepare_backward(self, dh, dstate, dc, da, dkept, dx, gradient):
        """Say where gradients lie."""
        W_hh_T, W_hn_T = self.weights.packed("W_hh", True), self.weights.packed("W_hn", True)
        W_xh_T = None if dx is None else self.weights.packed("W_xh", True)
        self.dh, self.dstate, self.dc, self.dx = data(dh), data(dstate), data(dc), data(dx)
        self.da, self.dkept = data(da), data(dkept)
        self.W_xh_T, self.W_hh_T, self.W_hn_T = data(W_xh_T), data(W_hh_T), data(W_hn_T)
        self.held += [dh, dstate, dc, da, dkept, dx, W_hh_T, W_hn_T, W_xh_T, gradient]
        self.point_gradients(gradient)

    cdef void point_gradients(self, gradient) noexcept:
        cdef Py_ssize_t width = self.kind.blocks * self.hidden
        if gradient is None:    # it will be said later
            return
        self.dW_xh = shifted(data(gradient), self.start, self.is_float)
        self.dW_hh = shifted(self.dW_xh, self.inputs * width, self.is_float)
        self.db_h = shifted(self.dW_hh, self.hidden * width, self.is_float)
        self.db_hn = shifted(self.db_h, width, self.is_float)

    def forward(self, Py_ssize_t start, Py_ssize_t x_at, Py_ssize_t at, Py_ssize_t count,
                Py_ssize_t first, Py_ssize_t last):
        """Fill states[at + 1 : at + 1 + count] from x[x_at:] and states[at]."""
        with nogil:
            if self.is_float:
                self.run_forward[float](<float *> self.states, start, x_at, at, count, first, last)
            else:
                self.run_forward[double](<double *> self.states, start, x_at, at, count, first,
                                         last)

    cdef void run_forward(
        self, real *states, Py_ssize_t start, Py_ssize_t x_at, Py_ssize_t at, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef Py_ssize_t t, now, stop, done = 0, rows = last - first, H = self.hidden
        cdef Py_ssize_t width = self.kind.blocks * H, size = self.batch * H, shift = first * H
        cdef Py_ssize_t steps, together = min(PROJECTED_ROWS, PROJECTED_NUMBERS // width)
        cdef const Py_ssize_t *lengths = self.lengths
        cdef real *gates
        cdef real *h
        cdef real *kept = NULL
        cdef real *kept_before = NULL
        if lengths != NULL:
            lengths = lengths + first
        steps = max(together, LEAST_PROJECTED_ROWS) // max(1, rows)
        steps = max(1, min(steps, self.gate_steps))
        while done < count:
            stop = min(done + steps, count)
            gates = <real *> self.gates + ((at + done) * self.batch * width if self.tapes else 0)
            self.project(gates, x_at + done, stop - done, first, last)
            gates = gates + first * width
            for t in range(done, stop):
                h = states + (at + t + 1) * size + shift
                if self.kept != NULL:
                    now = at + t if self.tapes else (at + t) % 2
                    kept_before = <real *> self.kept + now * size + shift
                    kept = kept_before + (-size if now and not self.tapes else size)
                cell_step(h, kept, gates, h - size, kept_before, <real *> self.W_hh,
                          <real *> self.W_hn, <real *> self.b_hn, rows, H, &self.kind, t % 2)
                gates = gates + self.batch * width
                if lengths != NULL:
                    keep_finished(h, h - size, lengths, start + t, rows, H)
                    if self.kind.states == 2:
                        keep_finished(kept, kept_before, lengths, start + t, rows, H)
                    elif self.kind.apart:
                        zero_finished(kept, lengths, start + t, rows, H)
            done = stop

    cdef void project(
        self, real *gates, Py_ssize_t x_at, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        # gates (count, batch, width) = x[x_at : x_at + count] @ W_xh + b_h, of some sequences
        cdef Py_ssize_t t, row, width = self.kind.blocks * self.hidden
        if self.tokens == NULL:
            linear_steps(gates, <real *> self.x + x_at * self.batch * self.inputs,
                         <real *> self.W_xh, <real *> self.b_h, count, self.batch, first, last,
                         self.inputs, width)
            return
        for t in range(count):
            row = t * self.batch + first
            lookup_rows(gates + row * width, self.tokens + x_at * self.batch + row,
                        <real *> self.W_xh, <real *> self.b_h, last - first, width)

    def backward(self, Py_ssize_t start, Py_ssize_t dh_at, Py_ssize_t count,
                 Py_ssize_t first, Py_ssize_t last):
        """Go back over a block, whose states' gradients are dh[dh_at : dh_at + count]."""
        with nogil:
            if self.is_float:
                self.run_backward[float](<float *> self.dh, start, dh_at, count, first, last)
            else:
                self.run_backward[double](<double *> self.dh, start, dh_at, count, first, last)

    cdef void run_backward(
        self, real *dh, Py_ssize_t start, Py_ssize_t dh_at, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef Py_ssize_t t, row, H = self.hidden, width = self.kind.blocks * H
        cdef Py_ssize_t size = self.batch * H, shift = first * H
        cdef const Py_ssize_t *lengths = self.lengths
        cdef real *h = <real *> self.states + size
        cdef real *kept = NULL
        cdef real *kept_before = NULL
        cdef real *dkept = NULL
        cdef real *dc = NULL
        cdef real *da = self.pre_activations(dh, dh_at)
        dh = dh + dh_at * size
        if lengths != NULL:
            lengths = lengths + first
        if self.dc != NULL:
            dc = <real *> self.dc + shift
        for t in range(count - 1, -1, -1):
            row = (start + t) * self.batch + first
            if self.kept != NULL:
                kept_before = <real *> self.kept + row * H
                kept = kept_before + size
            if self.dkept != NULL:
                dkept = <real *> self.dkept + t * size + shift
            cell_step_backward(
                da + (t * self.batch + first) * width, dkept, dh + t * size + shift,
                <real *> self.dstate + shift, dc, h + row * H, h + row * H - size, kept,
                kept_before, <real *> self.gates + row * width, <real *> self.W_hh_T,
                <real *> self.W_hn_T, lengths, start + t, last - first, H, &self.kind,
                t % 2)
        if self.dx != NULL:
            linear_steps(<real *> self.dx + start * self.batch * self.inputs, da,
                         <real *> self.W_xh_T, <real *> NULL, count, self.batch, first, last,
                         width, self.inputs)

    cdef real *pre_activations(self, real *dh, Py_ssize_t dh_at) noexcept nogil:
        # where the gradients of a block's pre-activations begin
        return dh + dh_at * self.batch * self.hidden if self.da == NULL else <real *> self.da

    def gradients(self, Py_ssize_t start, Py_ssize_t dh_at, Py_ssize_t count,
                  Py_ssize_t first, Py_ssize_t last):
        """Add a part of the gradients of the parameters over a block.

        Of W_hh the rows from first to last - 1, of the others as large a share, wherever it lies.
        """
        with nogil:
            if self.is_float:
                self.run_gradients[float](<float *> self.dh, start, dh_at, count, first, last)
            else:
                self.run_gradients[double](<double *> self.dh, start, dh_at, count, first, last)

    cdef void run_gradients(
        self, real *dh, Py_ssize_t start, Py_ssize_t dh_at, Py_ssize_t count,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        cdef Py_ssize_t rows = count * self.batch, row = start * self.batch, H = self.hidden
        cdef Py_ssize_t blocks = self.kind.blocks, width = blocks * H
        cdef const real *da = self.pre_activations(dh, dh_at)
        cdef real *dW_hh = <real *> self.dW_hh + first * width
        cdef const real *before = <real *> self.states + row * H + first
        cdef Py_ssize_t together = width - H if self.kind.apart else width
        add_outer_products(dW_hh, width, before, H, da, width, rows, last - first, together)
        if self.kind.apart:
            self.apart_gradients(dW_hh + together, before, da + together, row, rows, first, last)
        self.input_gradients(da, row, rows, first, last)
        add_rows(<real *> self.db_h + blocks * first, da + blocks * first, width, rows,
                 blocks * (last - first))

    cdef void apart_gradients(
        self, real *dW_hn, const real *before, const real *dn, Py_ssize_t row, Py_ssize_t rows,
        Py_ssize_t first, Py_ssize_t last,
    ) noexcept nogil:
        # those of W_hn (H, H), the last columns of W_hh, and of b_hn
        cdef Py_ssize_t H = self.hidden, width = self.kind.blocks * H
        cdef const real *dkept = <real *> self.dkept
        cdef const real *reset = <real *> self.kept + (self.batch + row) * H + first
        if self.kind.reset_after:
            add_outer_products(dW_hn, width, before, H, dkept, H, rows, last - first, H)
            add_rows(<real *> self.db_hn + first, dkept + first, H, rows, last - first)
        else:
            add_outer_products(dW_hn, width, reset, H, dn, width, rows, last - first, H)

    cdef void input_gradients(
        self, const real *da, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        cdef Py_ssize_t r, H = self.hidden, width = self.kind.blocks * H
        cdef Py_ssize_t i = self.inputs * first // H, inputs = self.inputs * last // H - i
        cdef Py_ssize_t j = self.kind.blocks * first, columns = self.kind.blocks * last - j
        cdef real *dW_xh = <real *> self.dW_xh
        if self.tokens == NULL:
            add_outer_products(dW_xh + i * width, width,
                               <real *> self.x + row * self.inputs + i, self.inputs, da, width,
                               rows, inputs, width)
            return
        for r in range(rows):
            add_scaled(dW_xh + self.tokens[row + r] * width + j, 1, da + r * width + j, columns)
