# Training passes of small networks, in memory that is kept: there, what a general pass has to make
# and ask before it starts takes longer than the pass itself. They have no formula of their own, but
# run the methods of a layer and a readout, for one group of sequences after the other, so that what
# a group leaves on its way forward is still in the cache on its way back.

cdef cnp.int64_t refreshed(weights, cnp.ndarray changes, cnp.int64_t change) except -1:
    # packs weights again if parameters have changed; returns how often they had before it did
    cdef cnp.int64_t latest = (<cnp.int64_t *> data(changes))[0]
    if change != latest:
        weights.refresh()
    return latest


cdef void copy_columns(
    cnp.ndarray part, cnp.ndarray whole, Py_ssize_t first, bint back
) noexcept:
    # part (T, n, ...) = whole[:, first : first + n] or, with back, the other way round
    cdef Py_ssize_t t, steps = cnp.PyArray_DIM(part, 0), row = cnp.PyArray_NBYTES(part) // steps
    cdef Py_ssize_t whole_row = cnp.PyArray_NBYTES(whole) // steps
    cdef char *here = <char *> cnp.PyArray_DATA(part)
    cdef char *there = <char *> cnp.PyArray_DATA(whole) + row // cnp.PyArray_DIM(part, 1) * first
    if row == whole_row:        # it is the whole
        row, steps = row * steps, 1
    for t in range(steps):
        if back:
            memcpy(there + t * whole_row, here + t * row, row)
        else:
            memcpy(here + t * row, there + t * whole_row, row)


cdef list those_of(arrays):
    return [each for each in arrays if each is not None]


cdef class Trainer:
    """The arguments and the results of a training pass, or of many over tokens of one shape.

    Parameters
    ----------
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    x : ndarray (T, B, I), or tokens (T, B)
    targets, valid, losses : ndarray
        As `Readout.prepare_loss` takes them; losses are filled in.
    dx : ndarray (T, B, I) or None
        Filled in.
    lengths : ndarray of intp (B,) or None
    ends, gradients : list of ndarray (B, H), or (1, B, H)
        h and maybe c, the initial ones and, after the pass, the last ones; and the gradients of the
        initial ones.
    scale : float
        What losses are multiplied with.
    """

    cdef object weights
    cdef cnp.ndarray changes
    cdef list given, returned, ends, gradients
    cdef object lengths
    cdef cnp.int64_t change
    cdef Py_ssize_t steps, batch, hidden
    cdef double scale
    cdef bint batched

    def __init__(self, weights, x, targets, valid, losses, dx, lengths, ends, gradients, scale):
        self.weights, self.changes, self.change = weights, weights.changes, -1
        self.given, self.returned = those_of((x, targets, valid)), those_of((losses, dx))
        self.lengths, self.ends, self.gradients, self.scale = lengths, ends, gradients, scale
        self.steps, self.batch = losses.shape
        self.hidden = weights.hidden_size

    def take(self, x, targets, state):
        """Copy arguments into the arrays that it was made with; return False where they are wrong.

        Who knows what to say of such ones, or how to convert them, is the general pass.

        Parameters
        ----------
        x, targets : object
            Wanted: intp (T, B) or (T,), each in range.
        state : object
            Wanted: None, or a list or tuple of one for each of the cell's states, (1, B, H) or
            (1, H) of the weights' dtype.
        """
        cdef int axes
        if not self.take_numbers(self.given[0], x, self.weights.input_size):
            return False
        if not self.take_numbers(self.given[1], targets, self.weights.output_size):
            return False
        axes = cnp.PyArray_NDIM(<cnp.ndarray> x)
        if cnp.PyArray_NDIM(<cnp.ndarray> targets) != axes or not self.take_state(state, axes + 1):
            return False
        self.batched = axes == 2
        self.change = refreshed(self.weights, self.changes, self.change)
        return True

    def results(self):
        """Return the loss, the last states, and the gradients of the initial ones: copies."""
        shape = [1, self.batch, self.hidden] if self.batched else [1, self.hidden]
        return (self.reduced_loss(),
                [each.reshape(shape).copy() for each in self.ends],
                [each.reshape(shape).copy() for each in self.gradients])

    cdef bint take_numbers(self, cnp.ndarray own, object given, Py_ssize_t limit) noexcept:
        # copies them, and looks whether the copy has only what is in range
        cdef Py_ssize_t i, n = self.steps * self.batch, outside = 0
        cdef Py_ssize_t *numbers = <Py_ssize_t *> data(own)
        if not is_ready(given, cnp.NPY_INTP):
            return False
        if cnp.PyArray_NDIM(<cnp.ndarray> given) == 2:
            if cnp.PyArray_DIM(<cnp.ndarray> given, 1) != self.batch:
                return False
        elif cnp.PyArray_NDIM(<cnp.ndarray> given) != 1 or self.batch != 1:
            return False
        if cnp.PyArray_DIM(<cnp.ndarray> given, 0) != self.steps:
            return False
        memcpy(numbers, data(given), n * sizeof(Py_ssize_t))
        for i in range(n):
            outside += not 0 <= numbers[i] < limit
        return outside == 0

    cdef bint take_state(self, object given, int axes):
        # copies the initial states, zeros for None
        cdef Py_ssize_t k
        if given is None:
            for states in self.ends:
                memset(data(states), 0, cnp.PyArray_NBYTES(states))
            return True
        if not isinstance(given, (tuple, list)) or len(given) != len(self.ends):
            return False
        for k in range(len(self.ends)):
            if not self.take_one_state(self.ends[k], given[k], axes):
                return False
        return True

    cdef bint take_one_state(self, cnp.ndarray states, object given, int axes) noexcept:
        if not is_ready(given, cnp.PyArray_TYPE(states)):
            return False
        if cnp.PyArray_NDIM(<cnp.ndarray> given) != axes:
            return False
        if cnp.PyArray_DIM(<cnp.ndarray> given, 0) != 1:
            return False
        if axes == 3 and cnp.PyArray_DIM(<cnp.ndarray> given, 1) != self.batch:
            return False
        if cnp.PyArray_DIM(<cnp.ndarray> given, axes - 1) != self.hidden:
            return False
        memcpy(data(states), data(given),
               self.batch * self.hidden * cnp.PyArray_ITEMSIZE(states))
        return True

    cdef double reduced_loss(self) noexcept:
        # added up in their order, as in crnn.kernels.memory.total
        cdef const double *losses = <const double *> data(self.returned[0])
        cdef Py_ssize_t i, n = self.steps * self.batch
        cdef double total = 0
        for i in range(n):
            total += losses[i]
        return total * self.scale


cdef class Group:
    """Some sequences of a Trainer's batch: what they need of a pass, in memory that is kept.

    Parameters
    ----------
    weights : Weights
        As the Trainer's.
    x, targets, valid, losses, dx : ndarray
        As the Trainer's, of n sequences.
    loss : str
        As `Readout.prepare_loss` takes it.
    tape : sequence
        states, kept and gates, as `Layer` takes them.
    y : ndarray (T, n, O)
    back : sequence
        dh, dstate, dc, da and dkept, as `Layer.prepare_backward` takes them, for all steps.
    """

    cdef Layer layer
    cdef Readout readout
    cdef list given, returned

    def __init__(self, weights, x, targets, valid, losses, dx, loss, tape, y, back):
        self.given, self.returned = those_of((x, targets, valid)), those_of((losses, dx))
        self.layer = Layer(weights.layers[0], x, *tape, None)
        self.readout = Readout(weights, tape[0], y)
        self.readout.prepare_loss(loss, losses, targets, valid, 1)
        self.layer.prepare_backward(*back, dx, None)
        self.readout.prepare_backward(back[0], None)

    def run(self, Trainer whole not None, gradient, Py_ssize_t first):
        """Run the sequences from the first one on, and add to the gradient (num_parameters,)."""
        cdef Layer layer = self.layer
        cdef Py_ssize_t k, shift = first * layer.hidden
        cdef void *ends[2]          # the Trainer's h and c
        cdef void *gradients[2]
        for k in range(layer.kind.states):
            ends[k] = shifted(data(whole.ends[k]), shift, layer.is_float)
            gradients[k] = shifted(data(whole.gradients[k]), shift, layer.is_float)
        layer.lengths = NULL
        if whole.lengths is not None:
            layer.lengths = <const Py_ssize_t *> data(whole.lengths) + first
        layer.point_gradients(gradient)
        self.readout.point_gradients(gradient)
        self.readout.scale = whole.scale
        for k in range(len(self.given)):
            copy_columns(self.given[k], whole.given[k], first, False)
        with nogil:
            if layer.is_float:
                self.run_all[float](<float *> layer.states, <float **> ends, <float **> gradients,
                                    whole.steps)
            else:
                self.run_all[double](<double *> layer.states, <double **> ends,
                                     <double **> gradients, whole.steps)
        for k in range(len(self.returned)):
            copy_columns(self.returned[k], whole.returned[k], first, True)

    cdef void run_all(
        self, real *states, real **ends, real **gradients, Py_ssize_t T
    ) noexcept nogil:
        # ends hold the initial states, and then the last ones
        cdef Py_ssize_t k, B = self.layer.batch, H = self.layer.hidden, size = B * H
        cdef real *y = <real *> self.readout.y
        cdef real *dh = <real *> self.layer.dh
        cdef real *own[2]
        cdef real *own_gradients[2]
        own[0], own[1] = states, <real *> self.layer.kept
        own_gradients[0], own_gradients[1] = <real *> self.layer.dstate, <real *> self.layer.dc
        for k in range(self.layer.kind.states):
            memcpy(own[k], ends[k], size * sizeof(real))
            memset(own_gradients[k], 0, size * sizeof(real))
        self.layer.run_forward(states, 0, 0, 0, T, 0, B)
        self.readout.run_forward(y, 0, 0, T, 0, B)
        self.readout.run_loss(y, 0, 0, T, 0, B)
        self.readout.run_backward(y, 0, T, 0, B)
        self.layer.run_backward(dh, 0, 0, T, 0, B)
        self.layer.run_gradients(dh, 0, 0, T, 0, H)
        self.readout.run_gradients(y, 0, 0, T, 0, H)
        for k in range(self.layer.kind.states):
            memcpy(ends[k], own[k] + T * size, size * sizeof(real))
            memcpy(gradients[k], own_gradients[k], size * sizeof(real))
