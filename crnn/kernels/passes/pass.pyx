# All layers of a network and its readout over some sequences, and the phases of a pass over them. A
# schedule (schedules.pyx) decides which thread does which part of a phase.

cdef enum PhaseKind:
    INFER           # all layers and the readout, block by block, without a tape
    FORWARD         # all layers, with a tape
    READ            # the readout over a block; in training the loss, and back to what it read
    READ_LAST       # the layers above the recurrent ones, too, for each sequence's last outputs
    ADD_READ        # a part of the gradients of the readout over a block
    BACK            # back through time over a block, of a layer in one direction
    ADD             # a part of the gradients of its parameters (and readout: `reads_by_block`)
    SEND            # the gradient of the input, to where the caller wants it

PHASES = {
    "infer": INFER, "forward": FORWARD, "read": READ, "read_last": READ_LAST,
    "add_read": ADD_READ, "back": BACK, "add": ADD, "send": SEND,
}

cdef struct Phase:
    PhaseKind kind
    int layer, way              # of BACK and ADD: the layer, from the input up, and its direction
    Py_ssize_t start            # the first time step of the block


cdef inline void share(
    Span *span, Py_ssize_t size, Py_ssize_t multiple, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    # a part of `size` sequences or units: all parts but the last are whole multiples
    cdef Py_ssize_t groups = (size + multiple - 1) // multiple
    span.first = min(size, part * groups // parts * multiple)
    span.last = min(size, (part + 1) * groups // parts * multiple)


cdef class Pass:
    """All layers over sequences of one shape, and the phases of a pass over them.

    Parameters
    ----------
    layers : list of Layer
    readout : Readout
    body : int
        How many layers see all steps; those above, of which only each sequence's last outputs are
        wanted, have a single one.
    phase_count, phases : int, iterable of tuple
        So many (name, layer, way, start); see `PHASES`.
    block : int
        Time steps of a block.
    read, dread : ndarray (1, B, D * H), or None
        The last outputs of the body and their gradient, where nothing else of it is wanted.
    skips, reads, has_loss, goes_back : bool
        Whether outputs have x added.
        Whether READ computes outputs (else they are states, or their gradient is given), then
        losses and their gradient, and then what reaches the layers.
    multiplications : float
        About how many there are on the way forward.
    """

    cdef Py_ssize_t steps, batch, block, depth, body, phase_count
    cdef Py_ssize_t *parts
    cdef list held
    cdef void **layers              # Layer, which `held` keeps alive
    cdef Phase *phases
    cdef Readout readout
    cdef Layer top                  # of the body
    cdef bint by_layers             # whether some layer has two directions
    cdef bint last_only, skips, reads, has_loss, goes_back, sends
    cdef real[:, :, ::1] read
    cdef real[:, :, ::1] dread
    cdef const Py_ssize_t *lengths
    cdef Sums sums                  # where gradients of parameters are added
    cdef double multiplications
    cdef void *whole                # PassArguments, whose sequences from `shift` on these are
    cdef Py_ssize_t shift
    cdef object wave                # Wave, once threads have shared a sequence

    def __cinit__(self, list layers, body, readout, Py_ssize_t phase_count, *rest):
        self.layers = <void **> PyMem_Calloc(len(layers), sizeof(void *))
        self.phases = <Phase *> PyMem_Calloc(max(1, phase_count), sizeof(Phase))
        self.parts = <Py_ssize_t *> PyMem_Calloc(max(1, phase_count), sizeof(Py_ssize_t))
        if self.layers == NULL or self.phases == NULL or self.parts == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.layers)
        PyMem_Free(self.phases)
        PyMem_Free(self.parts)

    def __init__(self, list layers, Py_ssize_t body, Readout readout not None,
                 Py_ssize_t phase_count, phases, Py_ssize_t block, read, dread, bint skips,
                 bint reads, bint has_loss, bint goes_back, double multiplications):
        cdef Py_ssize_t k
        cdef Phase *phase = self.phases
        self.held, self.readout, self.block = layers, readout, block
        self.depth, self.body, self.phase_count = len(layers), body, phase_count
        self.by_layers = False
        for k in range(self.depth):
            self.layers[k] = <void *> (<Layer?> layers[k])
            self.by_layers |= (<Layer> layers[k]).both
        self.top = layers[body - 1]
        self.steps, self.batch = self.top.steps, self.top.batch
        self.sends = False
        self.last_only, self.read, self.dread = read is not None, read, dread
        self.skips, self.reads, self.has_loss, self.goes_back = skips, reads, has_loss, goes_back
        self.multiplications = multiplications
        for name, phase.layer, phase.way, phase.start in phases:
            phase.kind = PHASES[name]
            self.sends |= phase.kind == SEND
            phase += 1

    # --- schedules --------------------------------------------------------------------------------

    cdef Py_ssize_t parts_of(self, const Phase *phase, Py_ssize_t threads) noexcept nogil:
        # how many parts a phase has for so many threads
        cdef Py_ssize_t size = self.batch, multiple = SHARED_SEQUENCES
        if phase.kind == READ_LAST:
            return 1
        if phase.kind == ADD:
            size, multiple = (<Layer> self.layers[phase.layer]).hidden, SHARED_UNITS
        elif phase.kind == ADD_READ:
            size, multiple = self.readout.inputs, SHARED_UNITS
        return max(1, min(threads, (size + multiple - 1) // multiple))

    cdef void run_part(
        self, const Phase *phase, Py_ssize_t part, Py_ssize_t parts, Pulse *pulse
    ) noexcept nogil:
        cdef Span span
        span.start, span.count = phase.start, min(self.block, self.steps_of(phase) - phase.start)
        if phase.kind == ADD:
            share(&span, (<Layer> self.layers[phase.layer]).hidden, SHARED_UNITS, part, parts)
            self.add_gradients(phase, span)
        elif phase.kind == ADD_READ:
            share(&span, self.readout.inputs, SHARED_UNITS, part, parts)
            self.add_gradients(phase, span)
        else:
            share(&span, self.batch, SHARED_SEQUENCES, part, parts)
            self.run_sequences(phase, span, pulse)

    cdef inline Py_ssize_t steps_of(self, const Phase *phase) noexcept nogil:
        # how many time steps what a phase works on has
        if phase.kind == BACK or phase.kind == ADD:
            return (<Layer> self.layers[phase.layer]).steps
        return self.readout.steps if phase.kind == ADD_READ else self.steps

    cdef void run_sequences(
        self, const Phase *phase, Span span, Pulse *pulse
    ) noexcept nogil:
        if phase.kind == INFER:
            self.infer(span, pulse)
        elif phase.kind == FORWARD:
            self.forward(span, pulse)
        elif phase.kind == READ:
            self.read_span(span)
        elif phase.kind == READ_LAST:
            self.read_last(span, pulse)
        elif phase.kind == BACK:
            self.back(<Layer> self.layers[phase.layer], phase, span)
        else:
            self.send(span)

    def new_y(self):
        """Return where outputs are to go; where they are states, those of steps from 1 on."""
        cdef Layer bottom = <Layer> self.layers[0]
        if self.reads:
            y = aligned_empty((self.readout.steps, self.batch, self.readout.outputs), REAL_NAME)
            self.readout.y = y
            return y
        y = aligned_empty((self.steps + 1, self.batch, bottom.hidden), REAL_NAME)
        bottom.ahead.states = y
        return y[1:]

    cdef read_from(self, PassArguments whole):
        # where it takes a whole batch, floats are read where they lie
        cdef Layer bottom = <Layer> self.layers[0]
        if whole.tokens is None:
            bottom.x = bottom.ahead.x = whole.x
        if self.has_loss and whole.classes is None:
            self.readout.targets = whole.targets
        if self.goes_back and bottom.ahead.wants_x and not self.sends:
            bottom.ahead.dx = whole.dx

    cdef let_go(self):
        # hold nothing any more that belongs to the caller
        cdef Layer bottom = <Layer> self.layers[0]
        bottom.x = bottom.ahead.x = None
        if not self.sends:
            bottom.ahead.dx = None
        if self.has_loss:
            self.readout.targets = None
        elif self.reads or self.goes_back:
            self.readout.y = None
        else:
            bottom.ahead.states = None

    cdef void start(
        self, PassArguments whole, Py_ssize_t shift, Sums sums
    ) noexcept nogil:
        # take the arguments, of which these are the sequences from `shift` on
        cdef Py_ssize_t k
        self.whole, self.shift, self.sums = <void *> whole, shift, sums
        self.lengths = NULL if whole.lengths == NULL else whole.lengths + shift
        whole.weigh(self.readout, shift)
        self.readout.lengths = NULL if self.last_only else self.lengths
        (<Layer> self.layers[0]).ahead.is_sparse = whole.x_is_sparse
        if (<Layer> self.layers[0]).both:
            (<Layer> self.layers[0]).reverse.is_sparse = whole.x_is_sparse
        for k in range(self.depth):
            (<Layer> self.layers[k]).follow(self.lengths if k < self.body else NULL,
                                            whole.masks[k], whole.batch, shift)

    # --- states -----------------------------------------------------------------------------------

    # where the states of direction k lie, and their gradients; of c only where there is one

    cdef inline real *h(self, Py_ssize_t k) noexcept nogil:
        return (<PassArguments> self.whole).h(k, self.shift)

    cdef inline real *c(self, Py_ssize_t k) noexcept nogil:
        return (<PassArguments> self.whole).c(k, self.shift)

    cdef inline real *dh(self, Py_ssize_t k) noexcept nogil:
        return (<PassArguments> self.whole).dh(k, self.shift)

    cdef inline real *dc(self, Py_ssize_t k) noexcept nogil:
        return (<PassArguments> self.whole).dc(k, self.shift)

    cdef void begin(self, Layer layer, bint way, Span span) noexcept nogil:
        # give a layer its initial states in one direction
        cdef Py_ssize_t k = layer.state + way
        if not layer.ahead.kind.has_state:
            return
        if way:
            layer.reverse.begin(self.h(k), self.c(k), span)
        else:
            layer.ahead.begin(self.h(k), self.c(k), span)

    cdef void end(self, Layer layer, bint way, Py_ssize_t row, Span span) noexcept nogil:
        # take its last states in one direction, which lie in a row
        cdef Py_ssize_t k = layer.state + way
        if not layer.ahead.kind.has_state:
            return
        if way:
            layer.reverse.end(self.h(k), self.c(k), row, span)
        else:
            layer.ahead.end(self.h(k), self.c(k), row, span)

    # --- without a tape ---------------------------------------------------------------------------

    cdef void infer(self, Span span, Pulse *pulse) noexcept nogil:
        if self.by_layers:
            self.infer_by_layers(span, pulse)
        else:
            self.infer_by_blocks(span, pulse)
        self.conclude(span, pulse)

    cdef void conclude(self, Span span, Pulse *pulse) noexcept nogil:
        # when the body has seen all steps
        if self.last_only:
            self.read_last(span, pulse)
        if not self.reads:
            span.start, span.count = 0, self.steps
            self.silence(&self.top.ahead.states[1, 0, 0], self.top.hidden, span)

    cdef void infer_by_blocks(self, Span span, Pulse *pulse) noexcept nogil:
        # all layers and the readout, block after block
        cdef Py_ssize_t k
        span.start = 0
        for k in range(self.body):
            self.begin(<Layer> self.layers[k], 0, span)
        while span.start < self.steps and not must_stop(pulse):
            span.count = min(self.block, self.steps - span.start)
            for k in range(self.body):
                (<Layer> self.layers[k]).ahead.forward(span, pulse)
            if not self.last_only:
                self.read_span(span)
            for k in range(self.body):
                (<Layer> self.layers[k]).ahead.carry(span)
            span.start += span.count
        for k in range(self.body):
            self.end(<Layer> self.layers[k], 0, 0, span)

    cdef void infer_by_layers(self, Span span, Pulse *pulse) noexcept nogil:
        # layer after layer, as one in two directions needs all outputs of the one below
        cdef Py_ssize_t k
        for k in range(self.body):
            self.infer_way(<Layer> self.layers[k], 0, span, pulse)
            if (<Layer> self.layers[k]).both:
                (<Layer> self.layers[k]).turn_input(span.first, span.last)
                self.infer_way(<Layer> self.layers[k], 1, span, pulse)
        span.start = 0
        while span.start < self.steps and not self.last_only and not must_stop(pulse):
            span.count = min(self.block, self.steps - span.start)
            self.read_span(span)
            span.start += span.count

    cdef void infer_way(self, Layer layer, bint way, Span span, Pulse *pulse) noexcept nogil:
        # a layer in one direction, whose states are of a block, or of all steps if it has no other
        self.begin(layer, way, span)
        span.start = 0
        while span.start < self.steps and not must_stop(pulse):
            if way:
                span.count = self.infer_block(layer, layer.reverse, way, span, pulse)
            else:
                span.count = self.infer_block(layer, layer.ahead, way, span, pulse)
            span.start += span.count
        self.end(layer, way, 0, span)

    cdef Py_ssize_t infer_block(
        self, Layer layer, Direction direction, bint way, Span span, Pulse *pulse
    ) noexcept nogil:
        # returns how many steps it has
        span.count = min(direction.states.shape[0] - 1, self.steps - span.start)
        direction.forward(span, pulse)
        if layer.both:
            layer.join(direction, way, span)
        direction.carry(span)
        return span.count

    cdef void silence(self, real *y, Py_ssize_t width, Span span) noexcept nogil:
        # y (T, B, width) = 0 where a sequence is over
        cdef Py_ssize_t t, b
        if self.lengths == NULL and self.steps:
            return
        for b in range(span.first, span.last):
            for t in range(max(span.start, self.length(b)), span.start + span.count):
                memset(y + (t * self.batch + b) * width, 0, width * sizeof(real))

    # --- with a tape ------------------------------------------------------------------------------

    cdef void forward(self, Span span, Pulse *pulse) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.body):
            self.begin(<Layer> self.layers[k], 0, span)
            if (<Layer> self.layers[k]).both:
                self.begin(<Layer> self.layers[k], 1, span)
        for k in range(self.body):
            (<Layer> self.layers[k]).forward(span.first, span.last, pulse)
        for k in range(self.body):
            self.end(<Layer> self.layers[k], 0, self.steps, span)
            if (<Layer> self.layers[k]).both:
                self.end(<Layer> self.layers[k], 1, self.steps, span)

    cdef void read_span(self, Span span) noexcept nogil:
        if self.reads:
            self.readout.forward(span)
            if self.skips:
                self.readout.add_input(&(<Layer> self.layers[0]).x[0, 0, 0], span)
        if self.has_loss:
            self.readout.loss(span)
        elif self.reads:
            self.silence(&self.readout.y[0, 0, 0], self.readout.outputs, span)
        if self.goes_back:
            self.readout.backward(span, self.reads)

    cdef void read_last(self, Span span, Pulse *pulse) noexcept nogil:
        # what only sees each sequence's last outputs
        cdef Py_ssize_t b, k
        for b in range(span.first, span.last):
            if self.length(b):
                self.gather(&self.read[0, b, 0], b)
            else:
                memset(&self.read[0, b, 0], 0, self.read.shape[2] * sizeof(real))
        for k in range(self.body, self.depth):
            (<Layer> self.layers[k]).forward(span.first, span.last, pulse)
        span.start, span.count = 0, 1
        self.read_span(span)

    cdef void gather(self, real *to, Py_ssize_t b) noexcept nogil:
        # a sequence's last outputs: those of the last step of each direction's own way
        cdef Py_ssize_t H = self.top.hidden, last = self.length(b) - 1
        if self.top.both:
            memcpy(to, self.top.put_out(last, b), H * sizeof(real))
            memcpy(to + H, self.top.put_out(0, b) + H, H * sizeof(real))
        elif self.top.ahead.has_tape or self.by_layers:
            memcpy(to, self.top.put_out(last, b), H * sizeof(real))
        else:                   # where the last state was carried to
            memcpy(to, &self.top.outputs[0, b, 0], H * sizeof(real))

    cdef inline Py_ssize_t length(self, Py_ssize_t b) noexcept nogil:
        return self.steps if self.lengths == NULL else self.lengths[b]

    cdef inline bint reads_by_block(self, const Phase *phase) noexcept nogil:
        # whether the readout goes with this layer, block by block on the way back
        return (phase.layer == self.depth - 1 and not self.last_only
                and not (<Layer> self.layers[phase.layer]).both)

    cdef inline bint is_gathered(self, Py_ssize_t k) noexcept nogil:
        # whether of a layer's outputs only each sequence's last ones count
        return self.last_only and k == self.body - 1

    cdef void back(self, Layer layer, const Phase *phase, Span span) noexcept nogil:
        if phase.way:
            self.back_direction(layer, layer.reverse, phase, span)
            return
        if span.start + span.count == layer.steps:
            self.bring_down(layer, phase.layer, span)
        self.back_direction(layer, layer.ahead, phase, span)

    cdef void back_direction(
        self, Layer layer, Direction direction, const Phase *phase, Span span
    ) noexcept nogil:
        cdef Py_ssize_t k = layer.state + phase.way
        cdef bint has_state = direction.kind.has_state
        if has_state and span.start + span.count == layer.steps:
            direction.begin_back(self.dh(k), self.dc(k), span)
        if self.reads_by_block(phase):
            self.read_span(span)
        if not layer.both:
            if self.is_gathered(phase.layer):
                self.spread_last(span)
            layer.drop_gradient(span)
        direction.backward(span)
        if has_state and span.start == 0:
            direction.end_back(self.dh(k), self.dc(k), span)

    cdef void bring_down(self, Layer layer, Py_ssize_t k, Span span) noexcept nogil:
        # what reaches all outputs of a layer from above, where it does not lie there already; in
        # two directions it is dropped and split at once, in one block by block
        if k < self.depth - 1 and not self.is_gathered(k):
            if (<Layer> self.layers[k + 1]).both:
                (<Layer> self.layers[k + 1]).input_gradient(
                    &layer.dh[0, 0, 0], self.batch, span.first, span.last)
        if layer.both:
            span.start, span.count = 0, self.steps
            if self.is_gathered(k):
                self.spread_last(span)
            layer.drop_gradient(span)
            layer.split(span.first, span.last)

    cdef void spread_last(self, Span span) noexcept nogil:
        # what reaches the outputs of a span, where only each sequence's last outputs have a target
        cdef Py_ssize_t b, t, width = self.top.outputs.shape[2], H = self.top.hidden
        cdef Py_ssize_t at = row_of(self.top.dh.shape[0], self.steps, span.start)
        for t in range(span.count):
            memset(&self.top.dh[at + t, span.first, 0], 0,
                   (span.last - span.first) * width * sizeof(real))
        for b in range(span.first, span.last):
            t = max(1, self.length(b)) - 1 - span.start
            if 0 <= t < span.count:
                memcpy(&self.top.dh[at + t, b, 0], &self.dread[0, b, 0], H * sizeof(real))
            if self.top.both:       # of both directions, all steps are one span
                memcpy(&self.top.dh[0, b, H], &self.dread[0, b, H], H * sizeof(real))

    cdef void add_gradients(self, const Phase *phase, Span span) noexcept nogil:
        # a part of those of a block, so many rows at a time, from the last on; see Sums
        cdef Py_ssize_t first = span.start * self.batch, last = first + span.count * self.batch
        while first < last:
            span.start = max(first, (last - 1) // PARTIAL_ROWS * PARTIAL_ROWS)
            span.count = last - span.start
            self.add_gradients_of_rows(phase, span)
            last = span.start

    cdef void add_gradients_of_rows(self, const Phase *phase, Span span) noexcept nogil:
        if phase.kind == ADD and phase.way:
            (<Layer> self.layers[phase.layer]).reverse.add_gradients(span, &self.sums)
        elif phase.kind == ADD:
            (<Layer> self.layers[phase.layer]).ahead.add_gradients(span, &self.sums)
        if phase.kind == ADD_READ or self.reads_by_block(phase):
            self.readout.add_gradients(span, &self.sums)

    cdef void send(self, Span span) noexcept nogil:
        cdef Py_ssize_t batch = (<PassArguments> self.whole).batch
        cdef real *dx = &(<PassArguments> self.whole).dx[0, self.shift, 0]
        (<Layer> self.layers[0]).input_gradient(dx, batch, span.first, span.last)
        if self.skips:
            span.start, span.count = 0, self.steps
            self.readout.add_gradient_to(dx, batch, span)
