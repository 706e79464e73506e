# One time step of a whole network, with everything that it touches held between calls: what a
# stream runs. Pointers are held rather than memoryviews, of which a class would need two of each
# (float and double) and which cost as much to acquire as a whole step of a small network.

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free

cdef struct StepLayer:      # pointers to float or double
    Py_ssize_t inputs
    void *W_xh              # as it is, to look tokens up
    void *W_xh_packed       # NULL in the first layer before the first input that is not a token
    void *W_hh
    void *W_hn
    void *b_h
    void *b_hn
    void *h[2]              # (B, H): the states before and after, or the other way round
    void *kept[2]           # the same of what a cell keeps, or NULL


cdef inline bint is_ready(object a, int type_number) noexcept:
    # an aligned, C-contiguous native array of this type
    return (type(a) is cnp.ndarray and cnp.PyArray_TYPE(<cnp.ndarray> a) == type_number
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> a))


cdef object zeros(shape, dtype):
    try:
        return np.zeros(shape, dtype)
    except ValueError:      # what NumPy says beyond the address space
        raise MemoryError(f"an array of shape {shape} does not fit in memory") from None


@cython.final
cdef class Stepper:
    """One time step at a time on a state of its own; see ``crnn.reference.Stepper``."""

    cdef readonly Py_ssize_t batch_size
    cdef readonly bint batched
    cdef Py_ssize_t inputs, hidden, outputs, depth
    cdef int type_number
    cdef Kind kind
    cdef object weights                      # keeps alive what the pointers point to
    cdef const cnp.int64_t *changes          # how often parameters have changed
    cdef cnp.int64_t change                  # of the packed weights in use
    cdef StepLayer *layers                   # from the input up
    cdef void *W_hy                          # packed; NULL without a readout
    cdef void *b_y
    cdef object h                            # (2, layers, B, H)
    cdef object kept                         # (2, layers, B, H), or None
    cdef object gates                        # (B, blocks * H), or None
    cdef void *gate_numbers                  # theirs, or NULL
    cdef bint now                            # which of the two are the states
    cdef object prepare

    def __cinit__(self, weights, prepare):
        self.depth = len(weights.layers)
        self.layers = <StepLayer *> PyMem_Calloc(self.depth, sizeof(StepLayer))
        if self.layers == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.layers)

    def __init__(self, weights, prepare):
        cdef Py_ssize_t k
        self.weights, self.change = weights, -1
        self.changes = <const cnp.int64_t *> data(weights.changes)
        self.kind = kind_of(weights)
        self.inputs, self.hidden, self.outputs = (
            weights.input_size, weights.hidden_size, weights.output_size)
        self.type_number = cnp.PyArray_TYPE(weights.layers[0].b_h)
        for k in range(self.depth):
            layer = weights.layers[k]
            self.layers[k].inputs = layer.input_size
            self.layers[k].W_xh, self.layers[k].b_h = data(layer.W_xh), data(layer.b_h)
            self.layers[k].b_hn = data(layer.b_hn)
        self.b_y = data(weights.parameters["b_y"]) if weights.has_readout else NULL
        self.prepare = prepare
        self.reset(None)

    cdef inline bint is_fresh(self, bint floats) noexcept:
        # whether the packed weights that a step needs are those of the parameters
        return self.change == self.changes[0] and not (
            floats and self.layers[0].W_xh_packed == NULL)

    cdef bint refresh(self, object x) except -1:
        # looks for packed weights again; returns whether x is an array of floats. Others may change
        # parameters, and the state, while it packs: it is done when it finds nothing to do, and
        # what it returns holds then.
        cdef bint floats = self.is_array(x, self.type_number, self.inputs)
        while not self.is_fresh(floats):
            self.pack(floats)
            floats = self.is_array(x, self.type_number, self.inputs)
        return floats

    cdef bint pack(self, bint floats) except -1:
        cdef cnp.int64_t change = self.changes[0]
        cdef Py_ssize_t k
        for k in range(self.depth):
            packed = self.weights.layers[k].packed
            self.layers[k].W_hh, self.layers[k].W_hn = data(packed("W_hh")), data(packed("W_hn"))
            if k or floats or self.layers[k].W_xh_packed != NULL:
                self.layers[k].W_xh_packed = data(packed("W_xh"))
        if self.b_y != NULL:
            self.W_hy = data(self.weights.packed("W_hy"))
        self.change = change
        return True

    def reset(self, batch_size):
        """Zero the state; one sequence for None, else ``batch_size`` of them."""
        cdef Py_ssize_t k, i, at
        cdef bint is_float = self.type_number == cnp.NPY_FLOAT
        rows = 1 if batch_size is None else batch_size
        shape = 2, self.depth, rows, self.hidden
        h, kept, gates = zeros(shape, self.weights.dtype), None, None
        if self.kind.keeps:
            kept = zeros(shape, self.weights.dtype)
            gates = zeros((rows, self.kind.blocks * self.hidden), self.weights.dtype)
        # nothing has changed if memory runs out before, and from here on nothing can fail
        self.h, self.kept, self.gates = h, kept, gates
        self.batched, self.batch_size, self.now = batch_size is not None, rows, False
        self.gate_numbers = data(gates)
        for k in range(self.depth):
            for i in range(2):
                at = (i * self.depth + k) * self.batch_size * self.hidden
                self.layers[k].h[i] = shifted(data(h), at, is_float)
                self.layers[k].kept[i] = NULL if kept is None else shifted(
                    data(kept), at, is_float)

    @property
    def state(self):
        """Copies of the states, each ``(layers, batch_size, H)``: h, and of an LSTM c."""
        arrays = [self.h, self.kept] if self.kind.states == 2 else [self.h]
        return [each[int(self.now)].copy() for each in arrays]

    @state.setter
    def state(self, values):
        for array, value in zip((self.h, self.kept), values):
            array[int(self.now)] = value

    cdef inline bint is_array(self, object a, int type_number, Py_ssize_t columns) noexcept:
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

    cdef inline bint takes(self, object x, object out, bint floats) noexcept:
        # whether the loop can take these as they are; floats: x is_array of them
        if not (floats or self.is_tokens(x)):
            return False
        return out is None or (
            self.is_array(out, self.type_number, self.outputs)
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out) and self.are_apart(x, out, floats))

    cdef inline bint are_apart(self, object x, object out, bint floats) noexcept:
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
        if not self.is_fresh(floats):
            floats = self.refresh(x)
        if not self.takes(x, out, floats):
            x, out = self.prepare(self, x, out)
            floats = self.refresh(x)
            if not self.takes(x, out, floats):
                raise RuntimeError("the stream was changed while x was being converted")
        if out is None:
            out = self.new_output()
        if self.type_number == cnp.NPY_FLOAT:
            self.run[float](<float *> data(out), <float *> (data(x) if floats else NULL),
                            <Py_ssize_t *> data(x))
        else:
            self.run[double](<double *> data(out), <double *> (data(x) if floats else NULL),
                             <Py_ssize_t *> data(x))
        self.now = not self.now
        return out

    cdef void run(self, real *y, const real *x, const Py_ssize_t *tokens) noexcept:
        # from x or, if it is NULL, from tokens
        cdef Py_ssize_t _k, rows = self.batch_size, H = self.hidden, width = self.kind.blocks * H
        cdef bint now = self.now
        cdef real *gates = <real *> self.gate_numbers
        cdef real *h = NULL
        cdef StepLayer *layer = self.layers
        for _k in range(self.depth):
            h = <real *> layer.h[not now]
            if not self.kind.keeps:
                gates = h
            if x == NULL:
                lookup_rows(gates, tokens, <real *> layer.W_xh, <real *> layer.b_h, rows, width)
            else:
                linear_rows(gates, x, <real *> layer.W_xh_packed, <real *> layer.b_h, rows,
                            layer.inputs, width, False)
            cell_step(h, <real *> layer.kept[not now], gates, <real *> layer.h[now],
                      <real *> layer.kept[now], <real *> layer.W_hh, <real *> layer.W_hn,
                      <real *> layer.b_hn, rows, H, &self.kind, now)
            x, layer = h, layer + 1
        if self.W_hy != NULL:
            linear_rows(y, h, <real *> self.W_hy, <real *> self.b_y, rows, H, self.outputs, False)
        else:
            memcpy(y, h, rows * H * sizeof(real))
