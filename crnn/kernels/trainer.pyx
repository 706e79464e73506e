# The training pass of a small network over tokens, from the arguments to the results in one call:
# there, what a general pass has to make and ask before it starts takes longer than the pass itself.
# It has no formula of its own: it runs the methods of a layer and a readout that it keeps.

cdef cnp.int64_t refreshed(weights, cnp.ndarray changes, cnp.int64_t change) except -1:
    # packs weights again if parameters have changed; returns how often they had before it did
    cdef cnp.int64_t latest = (<cnp.int64_t *> data(changes))[0]
    if change != latest:
        weights.refresh()
    return latest


cdef class Trainer:
    """Training passes over tokens of one shape, in memory that is kept from pass to pass.

    Parameters
    ----------
    weights : Weights
        Of one layer, and maybe a readout.
    tokens, targets : ndarray of intp (T, B)
    tape : sequence
        states, kept and gates, as `Layer` takes them.
    y, losses : ndarray
        (T, B, O) and (T, B).
    back : sequence
        dh, dstate, dc, da and dkept, as `Layer.prepare_backward` takes them, for all steps.
    """

    cdef object weights
    cdef Layer layer
    cdef Readout readout
    cdef cnp.ndarray tokens, targets, losses, changes
    cdef list states, gradients              # h and maybe c (T + 1, B, H); their gradients (B, H)
    cdef cnp.int64_t change
    cdef Py_ssize_t steps, batch, inputs, hidden, outputs

    def __init__(self, weights, tokens, targets, tape, y, losses, back):
        states, kept, gates = tape
        dh, dstate, dc, da, dkept = back
        self.weights, self.changes, self.change = weights, weights.changes, -1
        self.tokens, self.targets, self.losses = tokens, targets, losses
        self.states, self.gradients = [states], [dstate]
        if dc is not None:
            self.states.append(kept)
            self.gradients.append(dc)
        self.steps, self.batch = tokens.shape
        self.inputs, self.hidden = weights.input_size, weights.hidden_size
        self.outputs = weights.output_size
        self.layer = Layer(weights.layers[0], tokens, states, kept, gates, None)
        self.readout = Readout(weights, states, y)
        self.readout.prepare_loss("softmax", losses, targets, None, 1.0 / tokens.size)
        self.layer.prepare_backward(dh, dstate, dc, da, dkept, None, None)
        self.readout.prepare_backward(dh, None)

    def run(self, x, targets, state, cnp.ndarray gradient not None):
        """Return loss, last state and its gradient, fill the parameters'; or return None.

        None is for arguments that are not as they should be, or not ready for the loop: who knows
        what to say of them, or how to convert them, is the general pass.

        Parameters
        ----------
        x, targets : object
            Wanted: intp (T, B) or (T,), each in range.
        state : object
            Wanted: None, or a list or tuple of one for each of the cell's states, (1, B, H) or
            (1, H) of the weights' dtype.
        gradient : ndarray (num_parameters,)
            Zeros, added to.
        """
        cdef int axes
        if not self.take(self.tokens, x, self.inputs):
            return None
        if not self.take(self.targets, targets, self.outputs):
            return None
        axes = cnp.PyArray_NDIM(<cnp.ndarray> x)
        if cnp.PyArray_NDIM(<cnp.ndarray> targets) != axes or not self.take_state(state, axes + 1):
            return None
        self.change = refreshed(self.weights, self.changes, self.change)
        self.layer.point_gradients(gradient)
        self.readout.point_gradients(gradient)
        with nogil:
            if self.layer.is_float:
                self.run_all[float](<float *> self.layer.states)
            else:
                self.run_all[double](<double *> self.layer.states)
        shape = [1, self.batch, self.hidden] if axes == 2 else [1, self.hidden]
        return (self.mean_loss(),
                [each[self.steps].reshape(shape).copy() for each in self.states],
                [each.reshape(shape).copy() for each in self.gradients])

    cdef bint take(self, cnp.ndarray own, object given, Py_ssize_t limit) noexcept:
        # copies tokens, and looks whether the copy has only what is in range
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
            for states in self.states:
                memset(data(states), 0, cnp.PyArray_NBYTES(states[0]))
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

    cdef void run_all(self, real *states) noexcept nogil:
        cdef Py_ssize_t T = self.steps, B = self.batch
        cdef real *y = <real *> self.readout.y
        cdef real *dh = <real *> self.layer.dh
        memset(self.layer.dstate, 0, B * self.hidden * sizeof(real))
        if self.layer.dc != NULL:
            memset(self.layer.dc, 0, B * self.hidden * sizeof(real))
        self.layer.run_forward(states, 0, 0, 0, T, 0, B)
        self.readout.run_forward(y, 0, 0, T, 0, B)
        self.readout.run_loss(y, 0, 0, T, 0, B)
        self.readout.run_backward(y, 0, T, 0, B)
        self.layer.run_backward(dh, 0, 0, T, 0, B)
        self.layer.run_gradients(dh, 0, 0, T, 0, self.hidden)
        self.readout.run_gradients(y, 0, 0, T, 0, self.hidden)

    cdef double mean_loss(self) noexcept:
        # added up in their order, as in crnn.kernels.memory.total
        cdef const double *losses = <const double *> data(self.losses)
        cdef Py_ssize_t i, n = self.steps * self.batch
        cdef double total = 0
        for i in range(n):
            total += losses[i]
        return total * self.readout.scale
