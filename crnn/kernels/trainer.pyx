# Training passes of small networks over tokens, in memory that is kept: there, what a general pass
# has to make and ask before it starts takes longer than the pass itself. They have no formula of
# their own: they run the methods of a layer and a readout, for one group of sequences after the
# other, so that what a group leaves on its way forward is still in the cache on its way back.

cdef cnp.int64_t refreshed(weights, cnp.ndarray changes, cnp.int64_t change) except -1:
    # packs weights again if parameters have changed; returns how often they had before it did
    cdef cnp.int64_t latest = (<cnp.int64_t *> data(changes))[0]
    if change != latest:
        weights.refresh()
    return latest


cdef void copy_parts(
    void *to, Py_ssize_t to_row, const void *rows, Py_ssize_t row, Py_ssize_t n, Py_ssize_t size
) noexcept:
    # so many bytes of each of n rows, which lie to_row and row bytes apart
    cdef Py_ssize_t r
    if to_row == row == size:
        memcpy(to, rows, n * size)
        return
    for r in range(n):
        memcpy(<char *> to + r * to_row, <const char *> rows + r * row, size)


cdef class Trainer:
    """The arguments and the results of training passes over tokens of one shape.

    Parameters
    ----------
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    tokens, targets : ndarray of intp (T, B)
    losses : ndarray (T, B)
    states, gradients : list of ndarray (B, H)
        h and maybe c, the initial ones and, after the pass, the last ones; and the gradients of the
        initial ones.
    """

    cdef object weights
    cdef cnp.ndarray tokens, targets, losses, changes
    cdef list states, gradients
    cdef cnp.int64_t change
    cdef Py_ssize_t steps, batch, inputs, hidden, outputs
    cdef double scale
    cdef bint batched

    def __init__(self, weights, tokens, targets, losses, states, gradients):
        self.weights, self.changes, self.change = weights, weights.changes, -1
        self.tokens, self.targets, self.losses = tokens, targets, losses
        self.states, self.gradients = states, gradients
        self.steps, self.batch = tokens.shape
        self.inputs, self.hidden = weights.input_size, weights.hidden_size
        self.outputs = weights.output_size

    def take(self, x, targets, state, scale):
        """Copy the arguments; return False where they are not as they should be.

        Who knows what to say of such ones, or how to convert them, is the general pass.

        Parameters
        ----------
        x, targets : object
            Wanted: intp (T, B) or (T,), each in range.
        state : object
            Wanted: None, or a list or tuple of one for each of the cell's states, (1, B, H) or
            (1, H) of the weights' dtype.
        scale : float or None
            What losses are multiplied with; some targets may be -1. None: for their mean.
        """
        cdef int axes
        if not self.take_numbers(self.tokens, x, 0, self.inputs):
            return False
        if not self.take_numbers(self.targets, targets, 0 if scale is None else -1, self.outputs):
            return False
        axes = cnp.PyArray_NDIM(<cnp.ndarray> x)
        if cnp.PyArray_NDIM(<cnp.ndarray> targets) != axes or not self.take_state(state, axes + 1):
            return False
        self.batched = axes == 2
        self.scale = 1.0 / (self.steps * self.batch) if scale is None else scale
        self.change = refreshed(self.weights, self.changes, self.change)
        return True

    def results(self):
        """Return the loss, the last states, and the gradients of the initial ones."""
        shape = [1, self.batch, self.hidden] if self.batched else [1, self.hidden]
        return (self.reduced_loss(),
                [each.reshape(shape).copy() for each in self.states],
                [each.reshape(shape).copy() for each in self.gradients])

    cdef bint take_numbers(
        self, cnp.ndarray own, object given, Py_ssize_t low, Py_ssize_t limit
    ) noexcept:
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
            outside += not low <= numbers[i] < limit
        return outside == 0

    cdef bint take_state(self, object given, int axes):
        # copies the initial states, zeros for None
        cdef Py_ssize_t k
        if given is None:
            for states in self.states:
                memset(data(states), 0, cnp.PyArray_NBYTES(states))
            return True
        if not isinstance(given, (tuple, list)) or len(given) != len(self.states):
            return False
        for k in range(len(self.states)):
            if not self.take_one_state(self.states[k], given[k], axes):
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
        cdef const double *losses = <const double *> data(self.losses)
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
    tokens, targets : ndarray of intp (T, n)
    losses : ndarray (T, n)
    tape : sequence
        states, kept and gates, as `Layer` takes them.
    y : ndarray (T, n, O)
    back : sequence
        dh, dstate, dc, da and dkept, as `Layer.prepare_backward` takes them, for all steps.
    """

    cdef Layer layer
    cdef Readout readout

    def __init__(self, weights, tokens, targets, losses, tape, y, back):
        self.layer = Layer(weights.layers[0], tokens, *tape, None)
        self.readout = Readout(weights, tape[0], y)
        self.readout.prepare_loss("softmax", losses, targets, None, 1)
        self.layer.prepare_backward(*back, None, None)
        self.readout.prepare_backward(back[0], None)

    def run(self, Trainer whole not None, gradient, Py_ssize_t first):
        """Run the sequences from the first one on, and add to the gradient (num_parameters,)."""
        cdef Layer layer = self.layer
        cdef Py_ssize_t k, shift = first * layer.hidden
        cdef void *ends[2]          # the Trainer's h and c
        cdef void *gradients[2]
        for k in range(layer.kind.states):
            ends[k] = shifted(data(whole.states[k]), shift, layer.is_float)
            gradients[k] = shifted(data(whole.gradients[k]), shift, layer.is_float)
        layer.point_gradients(gradient)
        self.readout.point_gradients(gradient)
        self.readout.scale = whole.scale
        self.bring_numbers(whole, first)
        with nogil:
            if layer.is_float:
                self.run_all[float](<float *> layer.states, <float **> ends, <float **> gradients,
                                    whole.steps)
            else:
                self.run_all[double](<double *> layer.states, <double **> ends,
                                     <double **> gradients, whole.steps)
        self.return_losses(whole, first)

    cdef void bring_numbers(self, Trainer whole, Py_ssize_t first) noexcept:
        cdef Py_ssize_t row = whole.batch * sizeof(Py_ssize_t)
        cdef Py_ssize_t own_row = self.layer.batch * sizeof(Py_ssize_t)
        copy_parts(<void *> self.layer.tokens, own_row,
                   <Py_ssize_t *> data(whole.tokens) + first, row, whole.steps, own_row)
        copy_parts(self.readout.targets, own_row,
                   <Py_ssize_t *> data(whole.targets) + first, row, whole.steps, own_row)

    cdef void return_losses(self, Trainer whole, Py_ssize_t first) noexcept:
        cdef Py_ssize_t row = whole.batch * sizeof(double)
        cdef Py_ssize_t own_row = self.layer.batch * sizeof(double)
        copy_parts(<double *> data(whole.losses) + first, row, self.readout.losses, own_row,
                   whole.steps, own_row)

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
