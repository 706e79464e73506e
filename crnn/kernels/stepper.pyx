# One time step of a whole network, with everything that it touches held between calls: what a
# stream runs. Pointers are held rather than memoryviews, of which a class would need two of each
# (float and double) and which cost as much to acquire as a whole step of a small network.

cdef void network_step(
    real *y, real *h, const real *previous, const real *x, const Py_ssize_t *tokens,
    const real *W_xh, const real *W_hh, const real *b_h, const real *W_hy, const real *b_y,
    Py_ssize_t batch, Py_ssize_t inputs, Py_ssize_t hidden, Py_ssize_t outputs, bint relu,
) noexcept nogil:
    # h (batch, hidden) = f(x @ W_xh + b_h + previous @ W_hh); y (batch, outputs) = h @ W_hy + b_y.
    # Tokens, where there are any, stand for x; without a readout (W_hy is NULL) y is h. Weights are
    # packed, but for the W_xh in which tokens are looked up.
    if tokens != NULL:
        lookup_rows(h, tokens, W_xh, b_h, batch, hidden)
    else:
        linear_rows(h, x, W_xh, b_h, batch, inputs, hidden)
    rnn_step(h, previous, W_hh, batch, hidden, relu)
    if W_hy != NULL:
        linear_rows(y, h, W_hy, b_y, batch, hidden, outputs)
    else:
        memcpy(y, h, batch * hidden * sizeof(real))


cdef class Stepper:
    """One time step at a time on a state of its own; see ``crnn.reference.Stepper``."""

    cdef readonly Py_ssize_t batch_size
    cdef readonly bint batched
    cdef Py_ssize_t inputs, hidden, outputs
    cdef int type_number
    cdef bint relu
    cdef object weights                      # keeps alive what the pointers point to
    cdef cnp.ndarray changes
    cdef cnp.int64_t change                  # of the packed weights in use
    cdef void *W_xh
    cdef void *W_xh_packed                   # NULL before the first input that is not a token
    cdef void *W_hh
    cdef void *b_h
    cdef void *W_hy
    cdef void *b_y
    cdef cnp.ndarray h
    cdef cnp.ndarray h_next
    cdef object prepare

    def __init__(self, weights, str nonlinearity, prepare):
        parameters = weights.parameters
        self.weights, self.changes, self.change = weights, weights.changes, -1
        self.inputs, self.hidden = parameters["W_xh_l0"].shape
        self.type_number = cnp.PyArray_TYPE(parameters["W_xh_l0"])
        self.relu = nonlinearity == "relu"
        self.W_xh, self.W_xh_packed = data(parameters["W_xh_l0"]), NULL
        self.b_h = data(parameters["b_h_l0"])
        self.outputs, self.W_hy, self.b_y = self.hidden, NULL, NULL
        if "W_hy" in parameters:
            self.outputs, self.b_y = parameters["W_hy"].shape[1], data(parameters["b_y"])
        self.prepare = prepare
        self.reset(None)

    cdef bint is_stale(self, bint floats) noexcept:
        return (self.change != (<cnp.int64_t *> data(self.changes))[0]
                or (floats and self.W_xh_packed == NULL))

    cdef bint refresh(self, bint floats) except False:
        # look for packed weights again, where parameters have changed since the last step
        cdef cnp.int64_t change = (<cnp.int64_t *> data(self.changes))[0]
        packed = self.weights.packed
        self.W_hh = data(packed("W_hh_l0"))
        if self.b_y != NULL:
            self.W_hy = data(packed("W_hy"))
        if floats or self.W_xh_packed != NULL:
            self.W_xh_packed = data(packed("W_xh_l0"))
        self.change = change
        return True

    def reset(self, batch_size):
        """Zero the state; one sequence for None, else ``batch_size`` of them."""
        rows = 1 if batch_size is None else batch_size
        h = np.zeros((rows, self.hidden), self.weights.dtype)
        self.h, self.h_next = h, np.zeros_like(h)  # nothing has changed if memory runs out
        self.batched, self.batch_size = batch_size is not None, rows

    @property
    def state(self):
        """A copy of the hidden states, ``(batch_size, H)``."""
        return self.h.copy()

    @state.setter
    def state(self, value):
        self.h[...] = value

    cdef bint is_array(self, object a, int type_number, Py_ssize_t columns) noexcept:
        # an aligned, C-contiguous native array of this type with one row of `columns` (or, for
        # columns = 0, one number) for each sequence
        cdef int axes = self.batched + (columns > 0)
        if not is_ready(a, type_number):
            return False
        if cnp.PyArray_NDIM(<cnp.ndarray> a) != axes:
            return False
        if self.batched and cnp.PyArray_DIM(<cnp.ndarray> a, 0) != self.batch_size:
            return False
        return columns == 0 or cnp.PyArray_DIM(<cnp.ndarray> a, axes - 1) == columns

    cdef bint is_tokens(self, object a) noexcept:
        cdef Py_ssize_t b
        cdef const Py_ssize_t *tokens
        if not self.is_array(a, cnp.NPY_INTP, 0):
            return False
        tokens = <const Py_ssize_t *> data(a)
        for b in range(self.batch_size):
            if not 0 <= tokens[b] < self.inputs:
                return False
        return True

    cdef bint takes(self, object x, object out, bint floats) noexcept:
        # whether the loop can take these as they are; floats: x is_array of them
        if not (floats or self.is_tokens(x)):
            return False
        return out is None or (
            self.is_array(out, self.type_number, self.outputs)
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out) and self.are_apart(x, out, floats))

    cdef bint are_apart(self, object x, object out, bint floats) noexcept:
        cdef Py_ssize_t x_bytes = sizeof(Py_ssize_t), out_bytes = sizeof(double)
        cdef char *x_start = <char *> data(x)
        cdef char *out_start = <char *> data(out)
        if self.type_number == cnp.NPY_FLOAT:
            out_bytes = sizeof(float)
        if floats:
            x_bytes = self.inputs * out_bytes
        return (x_start + self.batch_size * x_bytes <= out_start
                or out_start + self.batch_size * self.outputs * out_bytes <= x_start)

    cdef object new_output(self):
        cdef cnp.npy_intp[2] shape
        shape[0] = self.batch_size
        shape[1] = self.outputs
        if self.batched:
            return cnp.PyArray_SimpleNew(2, shape, self.type_number)
        return cnp.PyArray_SimpleNew(1, &shape[1], self.type_number)

    def step(self, x, out=None):
        """One time step; what is not ready for the loop goes through ``prepare`` first."""
        cdef bint floats = self.is_array(x, self.type_number, self.inputs)
        if self.is_stale(floats):       # before the checks: meanwhile the state may be changed
            self.refresh(floats)
        if not self.takes(x, out, floats):
            x, out = self.prepare(self, x, out)
            floats = self.is_array(x, self.type_number, self.inputs)
            if self.is_stale(floats):
                self.refresh(floats)
            if not self.takes(x, out, floats):
                raise RuntimeError("the stream was changed while x was being converted")
        if out is None:
            out = self.new_output()
        if self.type_number == cnp.NPY_FLOAT:
            self.run[float](<float *> data(out), x, floats)
        else:
            self.run[double](<double *> data(out), x, floats)
        self.h, self.h_next = self.h_next, self.h
        return out

    cdef void run(self, real *y, cnp.ndarray x, bint floats) noexcept:
        network_step(
            y, <real *> data(self.h_next), <real *> data(self.h),
            <real *> data(x) if floats else NULL, NULL if floats else <Py_ssize_t *> data(x),
            <real *> (self.W_xh_packed if floats else self.W_xh), <real *> self.W_hh,
            <real *> self.b_h,
            <real *> self.W_hy, <real *> self.b_y,
            self.batch_size, self.inputs, self.hidden, self.outputs, self.relu)
