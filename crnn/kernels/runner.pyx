# Inference of a small network over floats in one call, as Group does its part of a training pass.
# It has no formula of its own either.

cdef class Runner:
    """Inference over inputs of one shape, from zero states, as often as there are such inputs.

    Parameters
    ----------
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    x, top, kept, gates : ndarray
        As `Layer` takes them without a tape, for all steps; of x only how many axes it has counts.
    y : ndarray (any number, B, O) or None
        None without a readout.
    """

    cdef object weights
    cdef Layer layer
    cdef Readout readout
    cdef cnp.ndarray changes
    cdef cnp.int64_t change
    cdef Py_ssize_t steps

    def __init__(self, weights, x, top, kept, gates, y):
        self.weights, self.changes, self.change = weights, weights.changes, -1
        self.steps = cnp.PyArray_DIM(top, 0) - 1
        self.layer = Layer(weights.layers[0], x, top, kept, gates, None)
        self.readout = None if y is None else Readout(weights, top, y)

    def run(self, x, cnp.ndarray top not None, y):
        """Fill in top, and y from it, from an x of the same size; return whether x was ready."""
        cdef Layer layer = self.layer
        if not is_ready(x, cnp.PyArray_TYPE(top)):
            return False
        self.change = refreshed(self.weights, self.changes, self.change)
        layer.x, layer.states = data(x), data(top)
        if layer.kept == NULL:      # gates are states
            layer.gates = shifted(layer.states, layer.batch * layer.hidden, layer.is_float)
        if self.readout is not None:
            self.readout.states, self.readout.y = layer.states, data(y)
        with nogil:
            if layer.is_float:
                self.run_all[float](<float *> layer.states)
            else:
                self.run_all[double](<double *> layer.states)
        return True

    cdef void run_all(self, real *states) noexcept nogil:
        cdef Py_ssize_t B = self.layer.batch, T = self.steps
        memset(states, 0, B * self.layer.hidden * sizeof(real))
        if self.layer.kept != NULL:
            memset(self.layer.kept, 0, B * self.layer.hidden * sizeof(real))
        self.layer.run_forward(states, 0, 0, 0, T, 0, B)
        if self.readout is not None:
            self.readout.run_forward(<real *> self.readout.y, 0, 0, T, 0, B)
