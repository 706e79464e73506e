# Time steps of a whole network, with everything that they touch held between calls: what a stream
# runs. Pointers are held rather than memoryviews, which cost as much to acquire as a whole step of
# a small network.

cimport cython

cdef enum:
    LOOKED_WORK = 100000    # multiplications between looks for signals: some microseconds

cdef struct StepLayer:
    Py_ssize_t inputs, hidden
    const real *W_xh            # as it is, or with a table folded into it, to look tokens up; NULL
    #                             where there is none
    const real *W_xh_packed     # NULL in the first layer before the first input of floats
    const real *b_h             # NULL where W_xh has it
    CellWeights cell
    StepTape tapes[2]           # of steps from the first of two states to the second, and back
    Py_ssize_t states           # arrays of the state: h, and of an LSTM c
    const real *initial[2]      # (H,): learned ones of these to begin with, or NULL for zeros
    real *kept[2]               # (B, H): what they were when a block began
    Kind kind

cdef struct Block:              # of steps, one after the other
    const real *x               # (T, B, I), or NULL
    const Py_ssize_t *tokens    # (T, B)
    real *y                     # (T, B, O)
    Py_ssize_t steps


cdef inline Py_ssize_t steps_in(object a, bint of_block) noexcept:
    return cnp.PyArray_DIM(<cnp.ndarray> a, 0) if of_block else 1


cdef inline void begin_row(real *state, const real *initial, Py_ssize_t H) noexcept nogil:
    # state (H,) = initial, or 0
    if initial == NULL:
        memset(state, 0, H * sizeof(real))
    else:
        memcpy(state, initial, H * sizeof(real))


cdef outlined_void finish(
    real *y, const real *x, Py_ssize_t rows, Py_ssize_t n, Function function
) noexcept nogil:
    # y (rows, n) = f(y) + x, or without an x
    apply_to_rows(y, rows, n, function)
    if x != NULL:
        add_scaled(y, 1, x, rows * n)


@cython.final
cdef class Stepper:
    """One time step at a time on a state of its own: what a `crnn.Stream` runs."""

    cdef readonly Py_ssize_t batch_size
    cdef readonly bint batched
    cdef readonly bint is_at_start           # as `reset` left it, without states
    cdef readonly bint is_busy               # whether a thread is at work on it without the GIL
    cdef Py_ssize_t inputs, outputs, depth
    cdef object weights                      # keeps alive what the pointers point to
    cdef const cnp.int64_t *changes          # how often parameters have changed
    cdef cnp.int64_t change                  # of the packed weights in use
    cdef StepLayer *layers                   # from the input up
    cdef const real *W_hy                    # packed; NULL without a readout
    cdef const real *b_y
    cdef Function function                   # of the readout
    cdef bint skips                          # whether outputs have x added, so that it is floats
    cdef bint has_more                       # whether there is more to do after the readout
    cdef bint is_table                       # whether the first layer takes tokens only
    cdef Py_ssize_t bottom                   # the layer that reads x: the second one, if the table
    #                                          below it is folded into it
    cdef object folded                       # keeps alive what it then looks up
    cdef Py_ssize_t unfolded                 # tokens to be read before that; -1: there is no more
    #                                          to wait for
    cdef list arrays                         # of each layer h, saved (3, B, H) and gates (B, G*H)
    cdef object tokens                       # (B,): those of one step of a block
    cdef Py_ssize_t *own_tokens              # where they lie
    cdef bint now                            # which of the first two are the states
    cdef Block block                         # that runs
    cdef double work                         # multiplications of a step of one sequence
    cdef RealTime handle
    cdef object prepare

    def __cinit__(self, weights, *rest):
        self.depth = len(weights.layers)
        self.layers = <StepLayer *> PyMem_Calloc(self.depth, sizeof(StepLayer))
        if self.layers == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.layers)

    def __init__(self, weights, prepare, bint of_logits=False):
        cdef Py_ssize_t k
        learned = iter(weights.initial_states or ())
        self.weights, self.change, self.work = weights, -1, weights.work(False)
        self.changes = <const cnp.int64_t *> cnp.PyArray_DATA(weights.changes)
        self.inputs, self.outputs = weights.input_size, weights.output_size
        for k in range(self.depth):
            layer = weights.layers[k]
            self.layers[k].kind = kind_of(layer.kind)
            self.layers[k].inputs, self.layers[k].hidden = layer.input_size, layer.hidden_size
            self.layers[k].W_xh, self.layers[k].b_h = pointer(layer.W_xh), pointer(layer.b_h)
            self.layers[k].cell.b_hn = pointer(layer.b_hn)
            self.layers[k].cell.W_ch = pointer(layer.W_ch)
            self.layers[k].states = layer.kind.num_states
            for i, row in enumerate(next(learned, {}).values() if layer.kind.has_state else ()):
                self.layers[k].initial[i] = pointer(row)
        self.b_y = pointer(weights.parameters["b_y"]) if weights.has_readout else NULL
        self.function, self.skips = FUNCTIONS[weights.activation], weights.skips
        if of_logits:
            self.function = LINEAR
        self.has_more = self.skips or self.function != LINEAR
        self.is_table = not weights.takes_floats
        self.bottom, self.unfolded = 0, -1
        self.prepare = prepare
        self.reset(None)

    cdef inline bint is_fresh(self, bint floats) noexcept nogil:
        # whether the packed weights that a step needs are those of the parameters, and no other
        # thread is at work
        return self.change == self.changes[0] and self.unfolded and not (
            self.is_busy or floats and self.layers[0].W_xh_packed == NULL)

    cdef bint refresh(self, object x, bint of_block) except -1:
        # looks for packed weights again; returns whether x is an array of floats. Others may change
        # parameters, and the state, while it packs: it is done when it finds nothing to do, and
        # what it returns holds then.
        cdef bint floats = self.is_array(x, REAL_TYPE, self.inputs, of_block)
        while not self.is_fresh(floats):
            self.pack(floats)
            floats = self.is_array(x, REAL_TYPE, self.inputs, of_block)
        return floats

    cdef int check_free(self) except -1:
        if self.is_busy:
            raise RuntimeError("another thread is at work on this stream; each thread needs a"
                               " stream of its own, from net.stream()")
        return 0

    cdef int expect(self, Py_ssize_t tokens) except -1:
        # has a table be folded at once if so many are to be read
        if self.change != self.changes[0] and self.weights.can_fold:
            self.unfolded = self.inputs     # they are counted anew
        if 0 < self.unfolded <= tokens:
            self.unfolded = 0
        return 0

    cdef bint pack(self, bint floats) except -1:
        cdef cnp.int64_t change = self.changes[0]
        cdef Py_ssize_t k
        self.check_free()
        for k in range(self.depth):
            packed = self.weights.layers[k].packed
            self.layers[k].cell.W_hh = weight(packed("W_hh"))
            self.layers[k].cell.W_hn = weight(packed("W_hn"))
            if self.layers[k].kind.has_weights and (
                    k or floats or self.layers[k].W_xh_packed != NULL):
                self.layers[k].W_xh_packed = weight(packed("W_xh"))
        if self.b_y != NULL:
            self.W_hy = weight(self.weights.packed("W_hy"))
        if self.weights.can_fold:
            self.fold()
        if self.is_at_start:
            self.begin()
        self.change = change
        return True

    cdef int fold(self) except -1:
        # has the second layer look tokens up, if that is worth it now; whoever steps without the
        # GIL cannot do so later
        cdef bint at_once = self.unfolded == 0 or self.handle.stepper != NULL
        folded = self.weights.folded(self.inputs if at_once else 0)
        self.bottom, self.unfolded = folded is not None, self.inputs if folded is None else -1
        layer = self.weights.layers[1] if folded is None else folded.layers[0]
        self.layers[1].W_xh, self.layers[1].b_h = pointer(layer.W_xh), pointer(layer.b_h)
        self.folded = folded
        return 0

    def reset(self, batch_size, states=None):
        """Begin anew, from states, which are copied and have the form of `state`, or without.

        One sequence for None, else ``batch_size`` of them.
        """
        cdef Py_ssize_t k
        self.check_free()
        rows = 1 if batch_size is None else batch_size
        arrays = [self.new_arrays(&self.layers[k], rows) for k in range(self.depth)]
        tokens = aligned_zeros((rows,), "intp")
        for own, given in zip(self.states_in(arrays), states or ()):
            for array, value in zip(own, given):
                array[0] = value
        # nothing has changed if memory runs out before, and from here on nothing can fail
        self.arrays, self.tokens, self.own_tokens = arrays, tokens, indices(tokens)
        self.batched, self.batch_size, self.now = batch_size is not None, rows, False
        self.is_at_start = states is None
        for k in range(self.depth):
            self.point_states(k, 0)
            self.point_states(k, 1)
        if self.is_at_start:
            self.begin()

    cdef void begin(self) noexcept nogil:
        # has the states be what a sequence begins with: zeros, or what has been learned
        cdef Py_ssize_t k, i, b, H
        for k in range(self.depth):
            H = self.layers[k].hidden
            for i in range(self.layers[k].states):
                for b in range(self.batch_size):
                    begin_row(self.now_of(k, i) + b * H, self.layers[k].initial[i], H)

    cdef inline real *now_of(self, Py_ssize_t k, Py_ssize_t i) noexcept nogil:
        # h or, for i = 1, c of layer k, (B, H)
        cdef const StepTape *tape = &self.layers[k].tapes[self.now]
        return <real *> (tape.saved_before if i else tape.before)

    cdef inline real *next_of(self, Py_ssize_t k, Py_ssize_t i) noexcept nogil:
        # where a step puts the same
        cdef const StepTape *tape = &self.layers[k].tapes[self.now]
        return tape.saved if i else tape.h

    cdef list new_arrays(self, const StepLayer *layer, rows):
        cdef tuple shape = (3, rows, layer.hidden)
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
        layer.kept[0] = pointer(h) + 2 * size
        layer.kept[1] = pointer(saved) + 2 * size if layer.kind.has_c else NULL

    @property
    def state(self):
        """Copies of the states: for each layer that has one h, and of an LSTM c, in a list."""
        self.check_free()
        if self.is_at_start:
            self.begin()
        return [[each[int(self.now)].copy() for each in own]
                for own in self.states_in(self.arrays)]

    cdef list states_in(self, list arrays):
        # those of each layer that are its state
        return [own[: self.layers[k].states] for k, own in enumerate(arrays)
                if self.layers[k].states]

    # --- what is ready is taken: of_block says that there is an axis for steps, before all others

    cdef inline bint is_array(
        self, object a, int type_number, Py_ssize_t columns, bint of_block
    ) noexcept:
        # an aligned, C-contiguous native array of this type with one row of `columns` (or, for
        # columns = 0, one number) for each sequence
        cdef int axes = of_block + self.batched + (columns > 0)
        if not is_ready(a, type_number):
            return False
        if cnp.PyArray_NDIM(<cnp.ndarray> a) != axes:
            return False
        if self.batched and cnp.PyArray_DIM(<cnp.ndarray> a, of_block) != self.batch_size:
            return False
        return columns == 0 or cnp.PyArray_DIM(<cnp.ndarray> a, axes - 1) == columns

    cdef bint is_tokens(self, object a, bint of_block) noexcept:
        if self.skips or not self.is_array(a, cnp.NPY_INTP, 0, of_block):
            return False
        return self.are_known(indices(a), self.batch_size * steps_in(a, of_block))

    cdef bint are_known(self, const Py_ssize_t *tokens, Py_ssize_t n) noexcept nogil:
        # whether all n tokens are in range
        cdef Py_ssize_t i
        for i in range(n):
            if not 0 <= tokens[i] < self.inputs:
                return False
        return True

    cdef inline bint takes(self, object x, object out, bint floats, bint of_block) noexcept:
        # whether the loop can take these as they are; floats: x is_array of them
        if self.is_table if floats else not self.is_tokens(x, of_block):
            return False
        return out is None or (
            self.is_array(out, REAL_TYPE, self.outputs, of_block)
            and steps_in(out, of_block) == steps_in(x, of_block)
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out)
            and self.are_apart(x, out, floats, steps_in(x, of_block)))

    cdef inline bint are_apart(
        self, object x, object out, bint floats, Py_ssize_t steps
    ) noexcept:
        cdef Py_ssize_t x_bytes = sizeof(Py_ssize_t), out_bytes = self.outputs * sizeof(real)
        cdef char *x_start = <char *> cnp.PyArray_DATA(<cnp.ndarray> x)
        cdef char *out_start = <char *> cnp.PyArray_DATA(<cnp.ndarray> out)
        if floats:
            x_bytes = self.inputs * sizeof(real)
        return (x_start + steps * self.batch_size * x_bytes <= out_start
                or out_start + steps * self.batch_size * out_bytes <= x_start)

    cdef inline object new_output(self, Py_ssize_t steps, bint of_block):
        cdef cnp.npy_intp[3] shape
        cdef int axes = 0
        if of_block:
            shape[axes] = steps
            axes += 1
        if self.batched:
            shape[axes] = self.batch_size
            axes += 1
        shape[axes] = self.outputs
        return cnp.PyArray_SimpleNew(axes + 1, shape, REAL_TYPE)

    def step(self, x, out=None):
        """One time step; what is not ready for the loop goes through ``prepare`` first."""
        return self.advance(x, out, False)

    def run_block(self, x, out=None):
        """Time steps one after the other, without the GIL: all, or none if a signal interrupts."""
        return self.advance(x, out, True)

    cdef inline object advance(self, object x, object out, bint of_block):
        cdef bint floats = self.is_array(x, REAL_TYPE, self.inputs, of_block)
        if of_block and self.is_array(x, cnp.NPY_INTP, 0, True):
            self.expect(steps_in(x, True) * self.batch_size)
        if not self.is_fresh(floats):
            floats = self.refresh(x, of_block)
        if not self.takes(x, out, floats, of_block):
            x, out = self.prepare(self, x, out, of_block)
            floats = self.refresh(x, of_block)
            if not self.takes(x, out, floats, of_block):
                raise RuntimeError("the stream was changed while x was being converted")
        if out is None:
            out = self.new_output(steps_in(x, of_block), of_block)
        if of_block:
            self.block.x, self.block.tokens = pointer(x) if floats else NULL, indices(x)
            self.block.y, self.block.steps = pointer(out), steps_in(x, True)
            self.run_steps()
        else:
            self.run(pointer(out), pointer(x) if floats else NULL, indices(x))
            self.turn()
        return out

    cdef int run_steps(self) except -1:
        # all of the block
        cdef Py_ssize_t one = 1
        cdef bint was_at_start = self.is_at_start
        self.keep(False)
        self.is_busy = True
        try:
            run_tasks(<Task> run_block_part, <void *> self, &one, 1, 1)
        except BaseException:
            self.keep(True)
            self.is_at_start = was_at_start
            raise
        finally:
            self.is_busy = False
        return 0

    cdef void keep(self, bint back) noexcept nogil:
        # copies the states to where they are kept, or back
        cdef Py_ssize_t k, i, size
        for k in range(self.depth):
            size = self.batch_size * self.layers[k].hidden * sizeof(real)
            for i in range(self.layers[k].states):
                if back:
                    memcpy(self.now_of(k, i), self.layers[k].kept[i], size)
                else:
                    memcpy(self.layers[k].kept[i], self.now_of(k, i), size)

    cdef void run_part(self, Pulse *pulse) noexcept nogil:
        cdef Py_ssize_t t, n = self.batch_size
        cdef Py_ssize_t every = max(1, <Py_ssize_t> (LOOKED_WORK / (1 + n * self.work)))
        cdef const real *x = self.block.x
        for t in range(self.block.steps):
            if t % every == 0 and must_stop(pulse):
                return
            if x == NULL:
                self.take_tokens(self.block.tokens + t * n)
            self.run(self.block.y + t * n * self.outputs, x, self.own_tokens)
            self.turn()
            if x != NULL:
                x += n * self.inputs

    cdef inline void turn(self) noexcept nogil:
        # has the states be those that a step has left
        self.now, self.is_at_start = not self.now, False

    # --- for those who hold no GIL: see crnn/kernels/__init__.pxd

    def real_time(self):
        """Return a capsule with this stream's `RealTime`, which holds as long as the stream."""
        self.check_free()
        self.handle.stepper, self.unfolded = <void *> self, min(self.unfolded, 0)
        while not self.is_fresh(True):
            self.pack(True)
        self.handle.inputs, self.handle.outputs = self.inputs, self.outputs
        self.handle.rows, self.handle.number_size = self.batch_size, sizeof(real)
        self.handle.step, self.handle.reset = step_in_real_time, reset_in_real_time
        return PyCapsule_New(&self.handle, REAL_TIME, NULL)

    cdef bint is_as_before(self, const RealTime *net) noexcept nogil:
        return self.is_fresh(True) and self.batch_size == net.rows

    cdef void take_tokens(self, const Py_ssize_t *tokens) noexcept nogil:
        # they were in range, but somebody may have changed them since
        cdef Py_ssize_t b
        for b in range(self.batch_size):
            self.own_tokens[b] = min(max(tokens[b], 0), self.inputs - 1)

    cdef void run(self, real *y, const real *x, const Py_ssize_t *tokens) noexcept nogil:
        # from x or, if it is NULL, from tokens
        cdef Py_ssize_t _k, width
        cdef bint now = self.now
        cdef const real *first = x
        cdef Rows rows
        cdef StepLayer *layer = self.layers + self.bottom
        cdef const StepTape *tape = NULL
        rows.n, rows.lengths, rows.t, rows.from_last = self.batch_size, NULL, 0, now
        if self.unfolded > 0:
            self.unfolded = max(0, self.unfolded - self.batch_size)
        for _k in range(self.bottom, self.depth):
            tape, rows.H, width = &layer.tapes[now], layer.hidden, layer.kind.gates * layer.hidden
            if x == NULL:
                lookup_rows(tape.gates, tokens, layer.W_xh, layer.b_h, rows.n, width)
            elif layer.W_xh == NULL:
                memcpy(tape.gates, x, rows.n * width * sizeof(real))
            else:
                linear_rows(tape.gates, x, layer.W_xh_packed, layer.b_h, rows.n, layer.inputs,
                            width, False)
            cell_step(tape, &layer.cell, &rows, &layer.kind)
            x, layer = tape.h, layer + 1
        if self.W_hy != NULL:
            linear_rows(y, x, self.W_hy, self.b_y, rows.n, rows.H, self.outputs, False)
        else:
            memcpy(y, x, rows.n * rows.H * sizeof(real))
        if self.has_more:
            finish(y, first if self.skips else NULL, rows.n, self.outputs, self.function)


cdef int step_in_real_time(
    const RealTime *net, const void *x, const Py_ssize_t *tokens, void *y
) noexcept nogil:
    # on one of a stream's handles, from tokens if x is NULL
    if not (<Stepper> net.stepper).is_as_before(net):
        return CHANGED
    if x == NULL and not (<Stepper> net.stepper).are_known(tokens, net.rows):
        return REFUSED
    if (<Stepper> net.stepper).skips if x == NULL else (<Stepper> net.stepper).is_table:
        return REFUSED
    (<Stepper> net.stepper).run(<real *> y, <const real *> x, tokens)
    (<Stepper> net.stepper).turn()
    return STEPPED


cdef int reset_in_real_time(const RealTime *net) noexcept nogil:
    if not (<Stepper> net.stepper).is_as_before(net):
        return CHANGED
    (<Stepper> net.stepper).is_at_start = True
    (<Stepper> net.stepper).begin()
    return STEPPED


cdef void run_block_part(
    Stepper stepper, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse
) noexcept nogil:
    stepper.run_part(pulse)
