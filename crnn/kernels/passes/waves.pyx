# A wave: how threads share a pass forward over few sequences. Each direction of a layer is two
# strands, one that computes x @ W_xh + b_h and one that goes from step to step; the readout is
# another. All are cut into the same blocks of time steps, and a block is ready as soon as what it
# reads is there: while one thread is at some step of a layer, another is at an earlier one of the
# layer above. Where an array has no room for all steps, blocks lie in it in turn, and a block waits
# until whoever reads what it would overwrite is done (`add_room`).

cdef enum Errand:
    PROJECT, RECUR, READ_BLOCK

cdef struct Place:              # what a strand does, for which layer and direction
    Errand errand
    Py_ssize_t layer
    bint way

cdef double LEAST_GAIN = 1.15   # of two threads; below that, the pass is not shared


cdef bint is_wave(Pass work) noexcept nogil:
    # whether a pass goes forward, over so few sequences that threads do not share those
    return (work.phase_count > 0 and work.phases[0].kind in (INFER, FORWARD)
            and 0 < work.batch <= SHARED_SEQUENCES and work.steps > 1)


cdef inline bint in_turn(Py_ssize_t rows, Py_ssize_t steps, Py_ssize_t some) noexcept nogil:
    # whether an array of so many rows has room for all steps, or in turn for blocks of some steps
    # (an even number of them, as an LSTM's c has two rows)
    return rows >= steps or (rows % some == 0 and rows % 2 == 0 and rows >= 2 * some)


cdef inline bint reads_blocks(Pass work) noexcept nogil:
    # whether the readout is a part of the wave
    return work.phases[0].kind == INFER and work.reads and not work.last_only


cdef class Wave:
    """The strands of a pass.

    Parameters
    ----------
    work : Pass
    """

    cdef Strands strands
    cdef Place *places              # what each strand does
    cdef Py_ssize_t steps           # of a block
    cdef Py_ssize_t useful          # so many threads at most find something to do

    def __cinit__(self, Pass work not None):
        cdef Py_ssize_t most = 4 * work.body + 1
        self.strands.all = <Strand *> PyMem_Calloc(most, sizeof(Strand))
        self.places = <Place *> PyMem_Calloc(most, sizeof(Place))
        if self.strands.all == NULL or self.places == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.strands.all)
        PyMem_Free(self.places)

    def __init__(self, Pass work not None):
        cdef Py_ssize_t k
        self.steps = SHARED_STEPS
        while self.steps > LEAST_SHARED_STEPS and self.steps * SHARED_BLOCKS > work.steps:
            self.steps //= 2
        while self.steps > 1 and not self.has_room(work):
            self.steps //= 2
        self.strands.blocks = (work.steps + self.steps - 1) // self.steps
        for k in range(work.body):
            self.add_direction(work, k, 0)
            if (<Layer> work.layers[k]).both:
                self.add_direction(work, k, 1)
        if reads_blocks(work):
            self.add_reading(work)
        self.add_room(work)
        self.useful = self.count_useful(work) if self.has_room(work) else 1

    # --- which strands there are, and what they need ----------------------------------------------

    cdef inline Direction direction_of(self, Pass work, Py_ssize_t k):
        # the one that strand k is of
        if self.places[k].way:
            return (<Layer> work.layers[self.places[k].layer]).reverse
        return (<Layer> work.layers[self.places[k].layer]).ahead

    cdef bint has_room(self, Pass work):
        # whether all arrays have room for blocks
        cdef Py_ssize_t k, T = work.steps, n = self.steps
        cdef bint fits = not reads_blocks(work) or in_turn(work.readout.y.shape[0], T, n)
        for k in range(work.body):
            fits &= has_room_for_blocks((<Layer> work.layers[k]).ahead, n)
            if (<Layer> work.layers[k]).both:
                fits &= has_room_for_blocks((<Layer> work.layers[k]).reverse, n)
        return fits

    cdef Strand *add(self, Errand errand, Py_ssize_t layer, bint way):
        cdef Strand *strand = &self.strands.all[self.strands.count]
        cdef Place *place = &self.places[self.strands.count]
        place.errand, place.layer, place.way = errand, layer, way
        strand.in_order, strand.place = True, 2 * layer + (errand != PROJECT)
        # what computes the gates, or the outputs, that it reads
        strand.home = self.strands.count
        if errand == RECUR:
            strand.home -= 1
        elif errand == READ_BLOCK:
            strand.home -= 2
        self.strands.count += 1
        return strand

    cdef add_direction(self, Pass work, Py_ssize_t layer, bint way):
        cdef Strand *strand = self.add(PROJECT, layer, way)
        self.add_needs(strand, work, layer - 1, way)
        strand = self.add(RECUR, layer, way)
        add_need(strand, self.strands.count - 2, 1)

    cdef add_reading(self, Pass work):
        # of two directions, outputs are there at the end, and blocks are read in any order
        cdef Strand *strand = self.add(READ_BLOCK, work.body, 0)
        self.add_needs(strand, work, work.body - 1, False)
        strand.in_order = not work.top.both or work.readout.y.shape[0] < work.steps

    cdef add_needs(self, Strand *strand, Pass work, Py_ssize_t layer, bint whole):
        # those of a strand that reads what a layer puts out, and perhaps its end first
        cdef Py_ssize_t k
        for k in range(self.strands.count):
            if self.places[k].errand == RECUR and self.places[k].layer == layer:
                whole |= (<Layer> work.layers[layer]).both
                add_need(strand, k, ALL_BLOCKS if whole else 1)

    cdef add_room(self, Pass work):
        # a block of gates, or of states, is not written before the one in its place was read
        cdef Py_ssize_t k, reader, rows, blocks
        cdef Direction direction
        for k in range(self.strands.count):
            if self.places[k].errand != PROJECT:
                continue
            direction = self.direction_of(work, k)
            rows = direction.states.shape[0] - 1
            blocks = rows // self.steps
            if direction.kind.has_gates and direction.gates.shape[0] < work.steps:
                add_need(&self.strands.all[k], k + 1, 1 - direction.gates.shape[0] // self.steps)
            elif not direction.kind.has_gates and rows < work.steps:
                # the last state of the block before is read, too
                add_need(&self.strands.all[k], k + 1, 2 - blocks)
            reader = k + 2      # of what the layer puts out: it was added after its two strands
            if (rows < work.steps and reader < self.strands.count
                    and not (<Layer> work.layers[self.places[k].layer]).both):
                add_need(&self.strands.all[k], reader, 1 - blocks)

    cdef Py_ssize_t count_useful(self, Pass work):
        # how many threads at most find something to do; 1, where two would gain little
        cdef Py_ssize_t k, useful = 0
        cdef double all_cost = 0, time = 0, cost, longest = 0
        cdef double[2] ways = [0, 0]
        for k in range(self.strands.count):
            cost = self.cost_of(work, k)
            all_cost += cost
            # what needs all of the strands before begins when they are over
            if k > 0 and self.waits_for_all(k) and not self.places[k].way:
                time += self.time_of(longest, ways)
                longest = ways[0] = ways[1] = 0
            ways[self.places[k].way] += cost
            if self.strands.all[k].in_order:
                longest = max(longest, cost)
        time += self.time_of(longest, ways)
        if all_cost < LEAST_GAIN * time:
            return 1
        for k in range(self.strands.count):     # less than a 16th of the work is worth no thread
            useful += 16 * self.cost_of(work, k) >= all_cost
        return max(2, useful)

    cdef double time_of(self, double longest, const double *ways):
        # of strands that two threads take at once: the first block goes through all of a way before
        # there is another to share
        cdef double shared = max(longest, (ways[0] + ways[1]) / 2)
        return shared + (max(shared, ways[0], ways[1]) - shared) / self.strands.blocks

    cdef bint waits_for_all(self, Py_ssize_t k):
        return self.strands.all[k].needs[0].ahead == ALL_BLOCKS

    cdef double cost_of(self, Pass work, Py_ssize_t k):
        # about how long a step of a strand takes, as multiplications
        cdef Direction direction
        if self.places[k].errand == READ_BLOCK:
            return work.readout.has_weights * <double> work.readout.inputs * work.readout.outputs
        direction = self.direction_of(work, k)
        if self.places[k].errand == RECUR:
            return direction.kind.has_state * SLOWER_ALONE * <double> (
                direction.hidden * direction.width)
        return (direction.kind.has_weights and not direction.has_tokens) * <double> (
            direction.inputs * direction.width)

    # --- a pass -----------------------------------------------------------------------------------

    cdef void begin(self, Pass work) noexcept nogil:
        # before the first phase
        cdef Py_ssize_t k
        cdef Span span = whole_span(work)
        reset_strands(&self.strands)
        for k in range(work.body):
            work.begin(<Layer> work.layers[k], 0, span)
            if (<Layer> work.layers[k]).both:
                work.begin(<Layer> work.layers[k], 1, span)

    cdef void walk(
        self, Pass work, Py_ssize_t thread, Py_ssize_t threads, Pulse *pulse
    ) noexcept nogil:
        # one thread's part of the first phase
        cdef Walker walker
        walker.thread = thread
        while take_block(&self.strands, &walker, pulse):
            self.run_block(work, &self.places[walker.strand], walker.block)
            end_block(&self.strands, &walker)
        if is_last_to_leave(&self.strands, threads) and not must_stop(pulse):
            self.end(work, pulse)

    cdef void run_block(self, Pass work, const Place *place, Py_ssize_t block) noexcept nogil:
        cdef Span span = whole_span(work)
        span.start = block * self.steps
        span.count = min(self.steps, work.steps - span.start)
        if place.errand == READ_BLOCK:
            work.read_span(span)
        elif place.way:
            self.run_direction(<Layer> work.layers[place.layer],
                               (<Layer> work.layers[place.layer]).reverse, place, span)
        else:
            self.run_direction(<Layer> work.layers[place.layer],
                               (<Layer> work.layers[place.layer]).ahead, place, span)

    cdef void run_direction(
        self, Layer layer, Direction direction, const Place *place, Span span
    ) noexcept nogil:
        if place.errand == RECUR:
            direction.recur_block(span)
            layer.put_out_block(direction, place.way, span)
            return
        if place.way:
            layer.turn_block(span)
        direction.project_block(span)

    cdef void end(self, Pass work, Pulse *pulse) noexcept nogil:
        # when all blocks are over
        cdef Py_ssize_t k
        cdef Span span = whole_span(work)
        for k in range(work.body):
            end_direction(work, <Layer> work.layers[k], (<Layer> work.layers[k]).ahead, 0, span)
            if (<Layer> work.layers[k]).both:
                end_direction(work, <Layer> work.layers[k], (<Layer> work.layers[k]).reverse, 1,
                              span)
        if work.phases[0].kind == INFER:
            work.conclude(span, pulse)


cdef bint has_room_for_blocks(Direction direction, Py_ssize_t steps):
    cdef bint fits = in_turn(direction.states.shape[0] - 1, direction.steps, steps)
    if direction.kind.has_gates:
        fits &= in_turn(direction.gates.shape[0], direction.steps, steps)
    return fits


cdef void add_need(Strand *strand, Py_ssize_t other, Py_ssize_t ahead) noexcept nogil:
    strand.needs[strand.need_count].strand = other
    strand.needs[strand.need_count].ahead = ahead
    strand.need_count += 1


cdef inline Span whole_span(Pass work) noexcept nogil:
    cdef Span span
    span.start, span.count, span.first, span.last = 0, work.steps, 0, work.batch
    return span


cdef void end_direction(
    Pass work, Layer layer, Direction direction, bint way, Span span
) noexcept nogil:
    # take its last states; without a tape they are carried to row 0, as after a block
    cdef Py_ssize_t rows = direction.states.shape[0] - 1
    if direction.has_tape:
        work.end(layer, way, work.steps, span)
        return
    span.count = row_of(rows, work.steps, work.steps - 1) + 1
    direction.carry(span)
    work.end(layer, way, 0, span)
