# One time step of many streams of one network at once: their states are gathered into batches,
# which threads share. A step puts states where its streams' next ones go, so that these have all
# moved on when the last one is done, or none.

cdef enum:
    TOGETHER = 64               # sequences of a batch

cdef class Together:
    """Steps of many streams at once.

    Parameters
    ----------
    weights : PackedWeights
        Of their network.
    """

    cdef object weights
    cdef list lanes             # Steppers of a batch, one for each thread
    cdef void **lane_places     # where they are
    cdef Py_ssize_t lane_count  # how many
    cdef list streams           # Steppers, that a step is of
    cdef void **places          # where they are
    cdef Py_ssize_t count       # how many
    cdef Py_ssize_t each        # sequences of a stream
    cdef Py_ssize_t batch       # streams of a batch
    cdef const real *x          # (streams, B, I), or NULL
    cdef const Py_ssize_t *tokens
    cdef real *y                # (streams, B, O)

    def __cinit__(self, weights):
        self.places = self.lane_places = NULL

    def __dealloc__(self):
        PyMem_Free(self.places)
        PyMem_Free(self.lane_places)

    def __init__(self, weights):
        self.weights, self.lanes, self.each = weights, [], -1

    def step(self, list streams not None, x, y):
        """Step all streams, at least one; return -1, or the number of the first that cannot.

        Which is one of another network or batch size than the first, or at work: in another thread,
        or as it was there before. x and y are ready for the loop: one stream's after the other's.
        """
        cdef Py_ssize_t k, claimed = 0
        cdef bint floats = x.dtype.kind == "f"
        self.take(streams, floats)
        self.x, self.tokens = pointer(x) if floats else NULL, indices(x)
        self.y = pointer(y)
        try:
            claimed = self.claim()
            if claimed == self.count:
                self.run()
        finally:
            for k in range(claimed):
                (<Stepper> self.places[k]).is_busy = False
            self.streams = None
        return -1 if claimed == self.count else claimed

    cdef int take(self, list streams, bint floats) except -1:
        cdef Py_ssize_t threads, each = (<Stepper?> streams[0]).batch_size
        cdef Stepper lane
        self.streams, self.count = streams, len(streams)
        put_places(&self.places, streams)
        if each != self.each:
            self.lanes, self.each, self.batch = [], each, max(1, TOGETHER // max(1, each))
        threads = threads_for(self.weights.work(not floats) * <double> (self.count * each))
        while len(self.lanes) < max(1, min(threads, self.batches())):
            lane = Stepper(self.weights, None)
            lane.reset(self.batch * each)
            self.lanes.append(lane)
        put_places(&self.lane_places, self.lanes)
        for lane in self.lanes:
            while not lane.is_fresh(floats):
                lane.pack(floats)
        return 0

    cdef Py_ssize_t batches(self) noexcept nogil:
        return (self.count + self.batch - 1) // self.batch

    cdef Py_ssize_t claim(self) noexcept:
        # has streams be at work; returns how many, up to the first that cannot
        cdef Py_ssize_t k
        cdef Stepper stream, first = <Stepper> self.places[0]
        for k in range(self.count):
            stream = <Stepper> self.places[k]
            if (stream.is_busy or stream.weights is not self.weights
                    or stream.batched != first.batched or stream.batch_size != self.each):
                return k
            stream.is_busy = True
            if stream.is_at_start:      # learned states may have changed
                stream.begin()
        return self.count

    cdef int run(self) except -1:
        cdef Py_ssize_t k
        self.lane_count = len(self.lanes)
        run_tasks(<Task> run_together, <void *> self, &self.lane_count, 1, self.lane_count)
        for k in range(self.count):
            (<Stepper> self.places[k]).turn()
        return 0

    cdef void run_lane(self, Py_ssize_t lane, Pulse *pulse) noexcept nogil:
        # batches lane, lane + lanes, ...
        cdef Py_ssize_t batch = lane
        while batch < self.batches() and not must_stop(pulse):
            self.run_batch(<Stepper> self.lane_places[lane], batch * self.batch)
            batch += self.lane_count

    cdef void run_batch(self, Stepper lane, Py_ssize_t first) noexcept nogil:
        # of the streams from the first one on
        cdef Py_ssize_t n = min(self.batch, self.count - first), row = first * self.each
        cdef const real *x = NULL
        if self.x != NULL:
            x = self.x + row * lane.inputs
        self.copy_states(lane, first, n, False)
        lane.batch_size = n * self.each
        lane.run(self.y + row * lane.outputs, x, self.tokens + row)
        self.copy_states(lane, first, n, True)

    cdef void copy_states(
        self, Stepper lane, Py_ssize_t first, Py_ssize_t n, bint back
    ) noexcept nogil:
        # of n streams to the batch, or from there to where their next ones go
        cdef Py_ssize_t k, i, s, numbers
        cdef real *own
        for k in range(lane.depth):
            numbers = self.each * lane.layers[k].hidden
            for i in range(lane.layers[k].states):
                for s in range(n):
                    if back:
                        own = (<Stepper> self.places[first + s]).next_of(k, i)
                        copy(own, lane.next_of(k, i) + s * numbers, numbers)
                    else:
                        own = (<Stepper> self.places[first + s]).now_of(k, i)
                        copy(lane.now_of(k, i) + s * numbers, own, numbers)


cdef int put_places(void ***places, list objects) except -1:
    # where they are, which the list keeps
    cdef Py_ssize_t k
    cdef void **found = <void **> PyMem_Realloc(places[0], len(objects) * sizeof(void *))
    if found == NULL:
        raise MemoryError()
    places[0] = found
    for k in range(len(objects)):
        found[k] = <void *> (<Stepper?> objects[k])
    return 0


cdef void run_together(
    Together together, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse
) noexcept nogil:
    together.run_lane(part, pulse)
