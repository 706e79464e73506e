# One layer of a network in its one or two directions, over whole sequences. The second direction is
# a layer over sequences turned round, each within its own length; what it puts out is turned back
# and laid beside the first one's. What goes from layer to layer may be dropped out.

cdef inline Py_ssize_t turned(Py_ssize_t t, const Py_ssize_t *lengths, Py_ssize_t b,
                              Py_ssize_t steps) noexcept nogil:
    # where step t of a sequence lies when the sequence is turned round; what is beyond stays
    cdef Py_ssize_t length = steps if lengths == NULL else lengths[b]
    return length - 1 - t if t < length else t


cdef class Layer:
    """A layer in one direction, or in two.

    Parameters
    ----------
    ahead : Direction
    reverse : Direction or None
        The second direction.
    outputs : ndarray (T + 1, B, D * H), or of a block
        Of one direction its states. With two all steps, also without a tape.
    state : int
        Which of all directions that have a state is its first one.
    """

    cdef Direction ahead, reverse           # reverse is None in one direction
    cdef bint both
    cdef Py_ssize_t steps, batch, hidden, state
    cdef const Py_ssize_t *lengths
    cdef real[:, :, ::1] outputs
    cdef const real[:, :, ::1] x            # (T, B, I), or None
    cdef real[:, :, ::1] turned_x
    cdef const Py_ssize_t[:, ::1] tokens    # (T, B), or None
    cdef Py_ssize_t[:, ::1] turned_tokens
    cdef const unsigned char *mask          # (T, mask_batch, D * H): what dropout leaves, or NULL
    cdef Py_ssize_t mask_batch
    cdef real mask_scale
    cdef real[:, :, ::1] dropped            # (T, B, D * H): outputs after dropout
    cdef real[:, :, ::1] dh                 # (T, B, D * H): what reaches the outputs

    def __init__(self, Direction ahead not None, Direction reverse, outputs, Py_ssize_t state):
        self.ahead, self.reverse, self.both = ahead, reverse, reverse is not None
        self.steps, self.batch, self.hidden = ahead.steps, ahead.batch, ahead.hidden
        self.outputs, self.state, self.mask, self.lengths = outputs, state, NULL, NULL

    def set_x(self, x):
        """Take an input (T, B, I), or tokens (T, B)."""
        if x.ndim == 2:
            self.ahead.tokens = self.tokens = x
        else:
            self.ahead.x = self.x = x

    def prepare_both(self, turned_x):
        """Say where the input lies, turned round."""
        if turned_x.ndim == 2:
            self.turned_tokens = self.reverse.tokens = turned_x
        else:
            self.turned_x = self.reverse.x = turned_x

    def prepare_dropout(self, dropped, double scale):
        self.dropped, self.mask_scale = dropped, <real> scale

    def prepare_backward(self, dh):
        self.dh = dh

    cdef void follow(
        self, const Py_ssize_t *lengths, const unsigned char *masks, Py_ssize_t batch,
        Py_ssize_t shift,
    ) noexcept nogil:
        # take the lengths, and the masks (T, batch, D * H), where these sequences begin at `shift`
        self.lengths = self.ahead.lengths = lengths
        if self.both:
            self.reverse.lengths = lengths
        self.mask, self.mask_batch = NULL, batch
        if masks != NULL:
            self.mask = masks + shift * self.outputs.shape[2]

    cdef void forward(self, Py_ssize_t first, Py_ssize_t last, Pulse *pulse) noexcept nogil:
        # all steps, with a tape
        cdef Span span
        span.start, span.count, span.first, span.last = 0, self.steps, first, last
        self.ahead.forward(span, pulse)
        if self.both:
            self.turn_input(first, last)
            self.reverse.forward(span, pulse)
            self.join(self.ahead, 0, span)
            self.join(self.reverse, 1, span)
        if self.mask != NULL:
            self.drop(first, last)

    cdef void turn_input(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef Py_ssize_t t, b
        for t in range(self.steps):
            for b in range(first, last):
                self.turn_step(t, turned(t, self.lengths, b, self.steps), b)

    cdef void turn_block(self, Span span) noexcept nogil:
        # the steps of a span of the turned input
        cdef Py_ssize_t t, b
        for t in range(span.start, span.start + span.count):
            for b in range(span.first, span.last):
                self.turn_step(turned(t, self.lengths, b, self.steps), t, b)

    cdef inline void turn_step(self, Py_ssize_t t, Py_ssize_t to, Py_ssize_t b) noexcept nogil:
        if self.ahead.has_tokens:
            self.turned_tokens[to, b] = self.tokens[t, b]
        else:
            memcpy(&self.turned_x[to, b, 0], &self.x[t, b, 0],
                   self.ahead.inputs * sizeof(real))

    cdef void join(self, Direction direction, bint way, Span span) noexcept nogil:
        # outputs[1:], in the columns of one direction, from its states of a span
        cdef Py_ssize_t i, t, b, H = self.hidden
        cdef Py_ssize_t at = row_of(direction.states.shape[0] - 1, self.steps, span.start)
        for i in range(span.count):
            for b in range(span.first, span.last):
                t = span.start + i
                if way:
                    t = turned(t, self.lengths, b, self.steps)
                memcpy(&self.outputs[t + 1, b, way * H], &direction.states[at + i + 1, b, 0],
                       H * sizeof(real))

    cdef void drop(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        # dropped = outputs[1:] * mask * scale
        cdef Py_ssize_t t, b, width = self.outputs.shape[2]
        for t in range(self.steps):
            for b in range(first, last):
                masked(&self.dropped[t, b, 0], &self.outputs[t + 1, b, 0],
                       self.mask + (t * self.mask_batch + b) * width, self.mask_scale, width)

    cdef void put_out_block(self, Direction direction, bint way, Span span) noexcept nogil:
        # what one direction puts out of a span; also after dropout
        cdef Py_ssize_t i, t, b, H = self.hidden, width = self.outputs.shape[2]
        if self.both:
            self.join(direction, way, span)
        if self.mask == NULL:
            return
        for i in range(span.start, span.start + span.count):
            for b in range(span.first, span.last):
                t = turned(i, self.lengths, b, self.steps) if way else i
                masked(&self.dropped[t, b, way * H], &self.outputs[t + 1, b, way * H],
                       self.mask + (t * self.mask_batch + b) * width + way * H, self.mask_scale, H)

    cdef inline const real *put_out(self, Py_ssize_t t, Py_ssize_t b) noexcept nogil:
        # where a step's outputs lie, after dropout
        if self.mask != NULL:
            return &self.dropped[t, b, 0]
        return &self.outputs[t + 1, b, 0]

    cdef void split(self, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        # what reaches the states of each direction, from what reaches the outputs
        cdef Py_ssize_t t, b, H = self.hidden
        for t in range(self.steps):
            for b in range(first, last):
                memcpy(&self.ahead.dh[t, b, 0], &self.dh[t, b, 0], H * sizeof(real))
                memcpy(&self.reverse.dh[turned(t, self.lengths, b, self.steps), b, 0],
                       &self.dh[t, b, H], H * sizeof(real))

    cdef void input_gradient(
        self, real *dx, Py_ssize_t batch, Py_ssize_t first, Py_ssize_t last
    ) noexcept nogil:
        # dx (T, batch, I), the sum of both directions
        cdef Py_ssize_t t, b, at, n = self.ahead.inputs
        cdef real *to
        for t in range(self.steps):
            for b in range(first, last):
                to = dx + (t * batch + b) * n
                if self.both:
                    at = turned(t, self.lengths, b, self.steps)
                    add_two(to, &self.ahead.dx[t, b, 0], &self.reverse.dx[at, b, 0], n)
                else:
                    memcpy(to, &self.ahead.dx[t, b, 0], n * sizeof(real))

    cdef void drop_gradient(self, Span span) noexcept nogil:
        # dh = dh * mask * scale, of the steps of a span
        cdef Py_ssize_t t, b, width = self.outputs.shape[2]
        cdef Py_ssize_t at = row_of(self.dh.shape[0], self.steps, span.start)
        if self.mask == NULL:
            return
        for t in range(span.count):
            for b in range(span.first, span.last):
                masked(&self.dh[at + t, b, 0], &self.dh[at + t, b, 0],
                       self.mask + ((span.start + t) * self.mask_batch + b) * width,
                       self.mask_scale, width)


cdef inline void masked(
    real *y, const real *x, const unsigned char *mask, real scale, Py_ssize_t n
) noexcept nogil:
    # y (n,) = x * mask * scale
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = x[j] * <real> mask[j] * scale


cdef inline void add_two(real *y, const real *a, const real *b, Py_ssize_t n) noexcept nogil:
    # y (n,) = a + b
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = a[j] + b[j]
