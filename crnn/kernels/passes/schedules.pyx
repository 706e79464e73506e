# How threads share a pass. By phases: the parts of one phase after the other, with a barrier
# between phases. Threads share the sequences of the batch or, of few, the steps on the way forward
# (waves.pyx); and for gradients of weights, which are sums over all sequences, rows of the weights.
# By groups: each thread takes groups of sequences, all phases of one group after the other, so that
# what a group leaves on its way forward is still in L2 on its way back, and no thread waits for
# another. Gradients are added up over the groups of a lane, and then over lanes. Lanes and groups
# depend on shapes alone, so that no sum depends on how many threads there are.

def run_by_phases(Pass work not None, PassArguments whole not None, vector, partial):
    """Run a pass of the whole batch; gradients are added to the vector, or None.

    Partial sums of them are where ``partial`` is zeros as the vector; None: there are none.
    """
    cdef Sums sums
    cdef Py_ssize_t k, widest = 1, threads
    cdef bint shares_steps = is_wave(work)
    threads = threads_for(work.multiplications * (SLOWER_ALONE if shares_steps else 1))
    work.read_from(whole)
    sums.total = pointer(vector)
    sums.partial = sums.total if partial is None else pointer(partial)
    work.start(whole, 0, sums)
    for k in range(work.phase_count):
        work.parts[k] = work.parts_of(&work.phases[k], threads)
        widest = max(widest, work.parts[k])
    if shares_steps and threads > 1:
        if work.wave is None:
            work.wave = Wave(work)
        work.parts[0] = min(threads, (<Wave> work.wave).useful)
        widest = max(widest, work.parts[0])
        (<Wave> work.wave).begin(work)
    run_tasks(<Task> run_phase_part, <void *> work, work.parts, work.phase_count, widest)
    work.let_go()
    whole.let_go()


def infer_by_phases(Pass work not None, PassArguments whole not None):
    """Run a pass without a tape; return the outputs (T, B, O) and the last states."""
    y = work.new_y()
    run_by_phases(work, whole, None, None)
    return y, whole.public()


cdef void run_phase_part(
    Pass work, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse
) noexcept nogil:
    if phase == 0 and work.parts[0] > 1 and is_wave(work):
        (<Wave> work.wave).walk(work, part, work.parts[0], pulse)
    else:
        work.run_part(&work.phases[phase], part, work.parts[phase], pulse)


cdef class Group:
    """Some sequences of a batch: a pass over them, and copies of what it reads and leaves.

    Parameters
    ----------
    work : Pass
    x, classes, targets, losses : ndarray or None
        Of these sequences, as the arrays of `PassArguments` of the batch.
    """

    cdef Pass work
    cdef Py_ssize_t size
    cdef Py_ssize_t is_busy
    cdef real[:, :, ::1] x
    cdef Py_ssize_t[:, ::1] tokens
    cdef Py_ssize_t[:, ::1] classes
    cdef real[:, :, ::1] targets
    cdef double[:, ::1] losses

    def __init__(self, Pass work not None, x, classes, targets, losses):
        self.work, self.size, self.is_busy = work, work.batch, 0
        if x.ndim == 2:
            self.tokens = x
        else:
            self.x = x
        self.classes, self.targets, self.losses = classes, targets, losses

    cdef void run(
        self, PassArguments whole, Py_ssize_t first, Sums sums, Pulse *pulse
    ) noexcept nogil:
        # all phases for the sequences from the first one on
        cdef Py_ssize_t k
        self.work.start(whole, first, sums)
        self.take(whole, first)
        for k in range(self.work.phase_count):
            if must_stop(pulse):
                return
            self.work.run_part(&self.work.phases[k], 0, 1, pulse)
        copy_columns(<char *> &whole.losses[0, first], <const char *> &self.losses[0, 0],
                     self.losses.shape[0], whole.batch, self.size, self.size, sizeof(double))

    cdef void take(self, PassArguments whole, Py_ssize_t first) noexcept nogil:
        cdef Py_ssize_t n = self.size, B = whole.batch, T = whole.steps, size
        if whole.tokens is not None:
            copy_columns(<char *> &self.tokens[0, 0], <const char *> &whole.tokens[0, first], T, n,
                         B, n, sizeof(Py_ssize_t))
        else:
            size = whole.inputs * sizeof(real)
            copy_columns(<char *> &self.x[0, 0, 0], <const char *> &whole.x[0, first, 0], T, n, B,
                         n, size)
        T = self.losses.shape[0]
        if whole.classes is not None:
            copy_columns(<char *> &self.classes[0, 0], <const char *> &whole.classes[0, first], T,
                         n, B, n, sizeof(Py_ssize_t))
            return
        size = self.targets.shape[2] * sizeof(real)
        copy_columns(<char *> &self.targets[0, 0, 0], <const char *> &whole.targets[0, first, 0],
                     T, n, B, n, size)


cdef void copy_columns(
    char *to, const char *columns, Py_ssize_t rows, Py_ssize_t to_width, Py_ssize_t width,
    Py_ssize_t n, Py_ssize_t size,
) noexcept nogil:
    # to[:, :n] = columns[:, :n], n entries of some size in each row
    cdef Py_ssize_t r
    if to_width == n and width == n:
        memcpy(to, columns, rows * n * size)
        return
    for r in range(rows):
        memcpy(to + r * to_width * size, columns + r * width * size, n * size)


cdef class Lanes:
    """Training by groups: which groups there are, and which lane takes which.

    Parameters
    ----------
    groups : list of tuple of int
        (first, last) sequences of each.
    lanes : list of tuple of int
        (first, last) groups of each lane, which one thread takes in turn.
    sums : ndarray (lanes - 1, num_parameters)
        Where lanes but the first add up gradients.
    partials : ndarray of zeros (lanes, num_parameters), or None
        Where lanes of more than PARTIAL_ROWS rows have partial sums of them.
    """

    cdef list pool
    cdef void **members             # Group, which `pool` keeps alive
    cdef Py_ssize_t member_count, group_count, lane_count, threads
    cdef Py_ssize_t *firsts         # of the groups, and where the last one ends
    cdef Py_ssize_t *lane_firsts    # of the lanes, and where the last one ends
    cdef real[:, ::1] sums
    cdef real[:, ::1] partials
    cdef real *vector
    cdef PassArguments whole

    def __cinit__(self, list groups, list lanes, *rest):
        self.members = NULL
        self.firsts = <Py_ssize_t *> PyMem_Calloc(len(groups) + 1, sizeof(Py_ssize_t))
        self.lane_firsts = <Py_ssize_t *> PyMem_Calloc(len(lanes) + 1, sizeof(Py_ssize_t))
        if self.firsts == NULL or self.lane_firsts == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.members)
        PyMem_Free(self.firsts)
        PyMem_Free(self.lane_firsts)

    def __init__(self, list groups, list lanes, sums, partials):
        cdef Py_ssize_t k
        self.group_count, self.lane_count = len(groups), len(lanes)
        self.sums, self.partials = sums, partials
        for k in range(len(groups)):
            self.firsts[k], self.firsts[k + 1] = groups[k]
        for k in range(len(lanes)):
            self.lane_firsts[k], self.lane_firsts[k + 1] = lanes[k]
        self.pool = []

    def add(self, Group group not None):
        """Add a group's memory: of each size there must be as many as threads may want."""
        cdef Py_ssize_t k
        self.pool.append(group)
        PyMem_Free(self.members)
        self.member_count = 0
        self.members = <void **> PyMem_Calloc(len(self.pool), sizeof(void *))
        if self.members == NULL:
            raise MemoryError()
        for k in range(len(self.pool)):
            self.members[k] = <void *> (<Group> self.pool[k])
        self.member_count = len(self.pool)

    def run(self, PassArguments whole not None, vector, Py_ssize_t threads):
        """Run a training pass; gradients are added to the vector."""
        cdef Py_ssize_t parts[2]
        self.whole, self.vector = whole, pointer(vector)
        self.threads = max(1, min(threads, self.lane_count))
        parts[0], parts[1] = self.lane_count, self.threads if self.lane_count > 1 else 0
        run_tasks(<Task> run_lane_part, <void *> self, parts, 2, self.threads)
        whole.let_go()

    cdef void run_lane(self, Py_ssize_t lane, Pulse *pulse) noexcept nogil:
        # a group of many rows has partial sums of its own
        cdef Py_ssize_t k, rows, together = 0, last = self.lane_firsts[lane + 1] - 1
        cdef Sums sums, of_group
        sums.total = self.vector
        if lane:
            sums.total = &self.sums[lane - 1, 0]
            memset(sums.total, 0, self.sums.shape[1] * sizeof(real))
        sums.partial = sums.total if self.partials is None else &self.partials[lane, 0]
        for k in range(self.lane_firsts[lane], last + 1):
            rows = (self.firsts[k + 1] - self.firsts[k]) * self.whole.steps
            together += rows
            of_group.partial = sums.partial
            of_group.total = sums.total if rows > PARTIAL_ROWS else sums.partial
            self.run_group(k, of_group, pulse)
            if sums.partial != sums.total and (together >= PARTIAL_ROWS or k == last):
                move_sums(&sums, 0, self.sums.shape[1])
                together = 0

    cdef void run_group(self, Py_ssize_t group, Sums sums, Pulse *pulse) noexcept nogil:
        # in the arrays of a free group of this size
        cdef Py_ssize_t k = 0, first = self.firsts[group], size = self.firsts[group + 1] - first
        while ((<Group> self.members[k]).size != size
               or not claim(&(<Group> self.members[k]).is_busy)):
            k = (k + 1) % self.member_count
        (<Group> self.members[k]).run(self.whole, first, sums, pulse)
        unclaim(&(<Group> self.members[k]).is_busy)

    cdef void add_lanes(self, Py_ssize_t part) noexcept nogil:
        # vector += sums, lane after lane, a part of it
        cdef Py_ssize_t lane, n = self.sums.shape[1]
        cdef Span span
        share(&span, n, SHARED_UNITS, part, self.threads)
        for lane in range(self.lane_count - 1):
            add_two(self.vector + span.first, self.vector + span.first,
                    &self.sums[lane, span.first], span.last - span.first)


cdef void run_lane_part(
    Lanes lanes, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse
) noexcept nogil:
    if phase == 0:
        lanes.run_lane(part, pulse)
    else:
        lanes.add_lanes(part)
