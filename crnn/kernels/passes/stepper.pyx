# One time step of a whole network, with everything that it touches held between calls: what a
# stream runs. Pointers are held rather than memoryviews, which cost as much to acquire as a whole
# step of a small network.

cimport cython

cdef struct StepLayer:
    Py_ssize_t inputs, hidden
    const real *W_xh            # as it is, to look tokens up
    const real *W_xh_packed     # NULL in the first layer before the first input of floats
    const real *b_h
    CellWeights cell
    StepTape tapes[2]           # of steps from the first of two states to the second, and back
    Kind kind


@cython.final
cdef class Stepper:
    """One time step at a time on a state of its own: what a `crnn.Stream` runs."""

    cdef readonly Py_ssize_t batch_size
    cdef readonly bint batched
    cdef readonly bint is_at_start           # as `reset` left it, without states
    cdef Py_ssize_t inputs, outputs, depth
    cdef object weights                      # keeps alive what the pointers point to
    cdef const cnp.int64_t *changes          # how often parameters have changed
    cdef cnp.int64_t change                  # of the packed weights in use
    cdef StepLayer *layers                   # from the input up
    cdef const real *W_hy                    # packed; NULL without a readout
    cdef const real *b_y
    cdef list arrays                         # of each layer h, saved (2, B, H) and gates (B, G*H)
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
        self.changes = <const cnp.int64_t *> cnp.PyArray_DATA(weights.changes)
        self.inputs, self.outputs = weights.input_size, weights.output_size
        for k in range(self.depth):
            layer = weights.layers[k]
            self.layers[k].kind = kind_of(layer.kind)
            self.layers[k].inputs, self.layers[k].hidden = layer.input_size, layer.hidden_size
            self.layers[k].W_xh, self.layers[k].b_h = pointer(layer.W_xh), pointer(layer.b_h)
            self.layers[k].cell.b_hn = pointer(layer.b_hn)
            self.layers[k].cell.W_ch = pointer(layer.W_ch)
        self.b_y = pointer(weights.parameters["b_y"]) if weights.has_readout else NULL
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
        cdef bint floats = self.is_array(x, REAL_TYPE, self.inputs)
        while not self.is_fresh(floats):
            self.pack(floats)
            floats = self.is_array(x, REAL_TYPE, self.inputs)
        return floats

    cdef bint pack(self, bint floats) except -1:
        cdef cnp.int64_t change = self.changes[0]
        cdef Py_ssize_t k
        for k in range(self.depth):
            packed = self.weights.layers[k].packed
            self.layers[k].cell.W_hh = pointer(packed("W_hh"))
            self.layers[k].cell.W_hn = pointer(packed("W_hn"))
            if k or floats or self.layers[k].W_xh_packed != NULL:
                self.layers[k].W_xh_packed = pointer(packed("W_xh"))
        if self.b_y != NULL:
            self.W_hy = pointer(self.weights.packed("W_hy"))
        if self.is_at_start:
            self.follow()
        self.change = change
        return True

    def reset(self, batch_size, states=None):
        """Begin anew, from states, which are copied and have the form of `state`, or without.

        One sequence for None, else ``batch_size`` of them.
        """
        cdef Py_ssize_t k
        rows = 1 if batch_size is None else batch_size
        arrays = [self.new_arrays(&self.layers[k], rows) for k in range(self.depth)]
        for own, given in zip(arrays, states or self.learned()):
            for array, value in zip(own, given):
                array[0] = value
        # nothing has changed if memory runs out before, and from here on nothing can fail
        self.arrays = arrays
        self.batched, self.batch_size, self.now = batch_size is not None, rows, False
        self.is_at_start = states is None
        for k in range(self.depth):
            self.point_states(k, 0)
            self.point_states(k, 1)

    cdef list learned(self):
        # for each layer the initial states, arrays (H,); empty where they are zeros
        return [each.values() for each in self.weights.initial_states or ()]

    cdef int follow(self) except -1:
        # has a state that no step has moved yet follow learned ones, which may have changed
        for own, rows in zip(self.arrays, self.learned()):
            for array, row in zip(own, rows):
                array[0] = row
        return 0

    cdef list new_arrays(self, const StepLayer *layer, rows):
        cdef tuple shape = (2, rows, layer.hidden)
        cdef object dtype = self.weights.dtype
        if not layer.kind.has_gates:
            return [aligned_zeros(shape, dtype), None, None]
        return [aligned_zeros(shape, dtype), aligned_zeros(shape, dtype),
                aligned_zeros((rows, layer.kind.gates * layer.hidden), dtype)]

    cdef void point_states(self, Py_ssize_t k, bint now) noexcept:
        # of layer k, from those of its two states that are `now` to the other ones
        cdef StepLayer *layer = &self.layers[k]
        cdef Py_ssize_t size = self.batch_size * layer.hidden
        cdef StepTape *tape = &layer.tapes[now]
        h, saved, gates = self.arrays[k]
        tape.before, tape.h = pointer(h) + now * size, pointer(h) + (not now) * size
        tape.saved, tape.saved_before, tape.gates = NULL, NULL, tape.h
        if layer.kind.has_gates:
            tape.saved_before = pointer(saved) + now * size
            tape.saved, tape.gates = pointer(saved) + (not now) * size, pointer(gates)

    @property
    def state(self):
        """Copies of the states: for each layer h, and of an LSTM c, in a list."""
        if self.is_at_start:
            self.follow()
        return [[each[int(self.now)].copy() for each in self.states_of(k)]
                for k in range(self.depth)]

    cdef list states_of(self, Py_ssize_t k):
        return self.arrays[k][: 2 if self.layers[k].kind.has_c else 1]

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
        tokens = indices(a)
        for b in range(self.batch_size):
            if not 0 <= tokens[b] < self.inputs:
                return False
        return True

    cdef inline bint takes(self, object x, object out, bint floats) noexcept:
        # whether the loop can take these as they are; floats: x is_array of them
        if not (floats or self.is_tokens(x)):
            return False
        return out is None or (
            self.is_array(out, REAL_TYPE, self.outputs)
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out) and self.are_apart(x, out, floats))

    cdef inline bint are_apart(self, object x, object out, bint floats) noexcept:
        cdef Py_ssize_t x_bytes = sizeof(Py_ssize_t), out_bytes = self.outputs * sizeof(real)
        cdef char *x_start = <char *> cnp.PyArray_DATA(<cnp.ndarray> x)
        cdef char *out_start = <char *> cnp.PyArray_DATA(<cnp.ndarray> out)
        if floats:
            x_bytes = self.inputs * sizeof(real)
        return (x_start + self.batch_size * x_bytes <= out_start
                or out_start + self.batch_size * out_bytes <= x_start)

    cdef object new_output(self):
        cdef cnp.npy_intp[2] shape
        shape[0] = self.batch_size
        shape[1] = self.outputs
        if self.batched:
            return cnp.PyArray_SimpleNew(2, shape, REAL_TYPE)
        return cnp.PyArray_SimpleNew(1, &shape[1], REAL_TYPE)

    def step(self, x, out=None):
        """One time step; what is not ready for the loop goes through ``prepare`` first."""
        cdef bint floats = self.is_array(x, REAL_TYPE, self.inputs)
        if not self.is_fresh(floats):
            floats = self.refresh(x)
        if not self.takes(x, out, floats):
            x, out = self.prepare(self, x, out)
            floats = self.refresh(x)
            if not self.takes(x, out, floats):
                raise RuntimeError("the stream was changed while x was being converted")
        if out is None:
            out = self.new_output()
        self.run(pointer(out), pointer(x) if floats else NULL, indices(x))
        self.now, self.is_at_start = not self.now, False
        return out

    cdef void run(self, real *y, const real *x, const Py_ssize_t *tokens) noexcept:
        # from x or, if it is NULL, from tokens
        cdef Py_ssize_t _k, width
        cdef bint now = self.now
        cdef Rows rows
        cdef StepLayer *layer = self.layers
        cdef const StepTape *tape = NULL
        rows.n, rows.lengths, rows.t, rows.from_last = self.batch_size, NULL, 0, now
        for _k in range(self.depth):
            tape, rows.H, width = &layer.tapes[now], layer.hidden, layer.kind.gates * layer.hidden
            if x == NULL:
                lookup_rows(tape.gates, tokens, layer.W_xh, layer.b_h, rows.n, width)
            else:
                linear_rows(tape.gates, x, layer.W_xh_packed, layer.b_h, rows.n, layer.inputs,
                            width, False)
            cell_step(tape, &layer.cell, &rows, &layer.kind)
            x, layer = tape.h, layer + 1
        if self.W_hy != NULL:
            linear_rows(y, x, self.W_hy, self.b_y, rows.n, rows.H, self.outputs, False)
        else:
            memcpy(y, x, rows.n * rows.H * sizeof(real))
