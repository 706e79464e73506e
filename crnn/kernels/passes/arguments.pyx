# What a pass is given and what it gives, for a whole batch; and whether it can be taken as it is.

cdef bint has_shape(
    object a, Py_ssize_t steps, Py_ssize_t batch, bint batched, Py_ssize_t columns
) noexcept:
    # (steps, batch, columns), where batched; columns = 0: no axis for them
    cdef int axes = cnp.PyArray_NDIM(<cnp.ndarray> a)
    if axes != 1 + batched + (columns > 0) or cnp.PyArray_DIM(<cnp.ndarray> a, 0) != steps:
        return False
    if batched and cnp.PyArray_DIM(<cnp.ndarray> a, 1) != batch:
        return False
    return columns == 0 or cnp.PyArray_DIM(<cnp.ndarray> a, axes - 1) == columns


cdef list parts_of(list states):
    # the h of all states, and the c of those that have one
    cdef int i
    parts = [[each[i] for each in states if len(each) > i] for i in range(2)]
    return parts if parts[1] else parts[:1]


cdef class PassArguments:
    """The arguments and results of passes of one shape.

    Parameters
    ----------
    weights : PackedWeights
    question : Question
    x : ndarray of intp (T, B), of floats (T, B, I), or None
        Where tokens, or floats, are copied to; None: x is floats, which are held.
    classes : ndarray of intp (T or 1, B), or None
        Where the targets of softmax are copied to.
    losses : ndarray of float64 (T or 1, B), or None
    states, gradients : list of list of ndarray (B, H)
        For each layer that has a state, and direction, h and, of an LSTM, c: initial states, and
        then the last ones; gradients of the last ones, and then of the initial ones.
    joined : tuple of two lists of ndarray (L * D, B, H), or None
        Where all of them are alike, the arrays of which `states` and `gradients` are parts.

    Attributes
    ----------
    given_lengths : ndarray of intp (B,), or None
        Of the pass that is to come.
    """

    cdef Py_ssize_t steps, batch
    cdef bint batched                   # whether arguments have an axis for the batch
    cdef bint last_only                 # whether targets are for last outputs only
    cdef bint wants_x
    cdef str loss_name                  # "" where there is none
    cdef Py_ssize_t loss_blocks         # how many outputs it takes for each target
    cdef Py_ssize_t inputs, outputs
    cdef readonly list states, gradients
    cdef object joined
    cdef list initial                   # learned states: for each of `states` arrays (H,), or None
    cdef const real[:, :, ::1] x
    cdef real[:, :, ::1] own_x          # where x is copied to, or None
    cdef bint x_is_sparse               # whether most of it is 0
    cdef Py_ssize_t[:, ::1] tokens
    cdef Py_ssize_t[:, ::1] classes
    cdef const real[:, :, ::1] targets
    cdef double[:, ::1] losses
    cdef Py_ssize_t target_size         # n, how many numbers a step's targets are, if not a class
    cdef const double *weights          # (T or 1, B, weights_each), or NULL
    cdef Py_ssize_t weights_each
    cdef const double *numbers          # of the loss: see `Loss`
    cdef readonly object given_lengths
    cdef const Py_ssize_t *lengths      # (B,): where those lie, or NULL
    cdef real[:, :, ::1] dx
    cdef const unsigned char **masks    # of each layer's outputs, or NULL
    cdef real **places                  # of h, c, dh and dc of each layer and direction
    cdef Py_ssize_t *hidden             # of each
    cdef double scale
    cdef list held

    def __cinit__(self, weights, question, x, classes, losses, list states, *rest):
        self.masks = <const unsigned char **> PyMem_Calloc(len(weights.specs), sizeof(void *))
        self.places = <real **> PyMem_Calloc(4 * len(states), sizeof(void *))
        self.hidden = <Py_ssize_t *> PyMem_Calloc(len(states), sizeof(Py_ssize_t))
        if self.masks == NULL or self.places == NULL or self.hidden == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.masks)
        PyMem_Free(self.places)
        PyMem_Free(self.hidden)

    def __init__(self, weights, question, x, classes, losses, list states, list gradients, joined):
        cdef Py_ssize_t k
        self.steps, self.batch, self.batched = question.steps, question.batch, question.batched
        self.last_only, self.wants_x = question.last_only, question.wants_x
        self.loss_name, self.loss_blocks = question.loss, question.blocks
        self.inputs, self.outputs = weights.input_size, weights.output_size
        is_tokens = x is not None and x.ndim == 2
        self.tokens, self.own_x = x if is_tokens else None, None if is_tokens else x
        self.classes, self.losses = classes, losses
        self.states, self.gradients, self.joined = states, gradients, joined
        self.target_size = self.outputs // self.loss_blocks
        self.scale, self.held, self.initial = 1, [], None
        self.x_is_sparse = False
        self.lengths, self.weights, self.numbers = NULL, NULL, NULL
        if weights.initial_states is not None:
            self.initial = [list(each.values()) for each in weights.initial_states]
        for k in range(len(states)):
            self.hidden[k] = states[k][0].shape[1]
            for i, array in enumerate(states[k]):
                self.places[4 * k + i] = pointer(array)
            for i, array in enumerate(gradients[k]):
                self.places[4 * k + 2 + i] = pointer(array)

    # where states lie, and their gradients, of direction k and of sequences from `shift` on; of c
    # only where there is one

    cdef inline real *h(self, Py_ssize_t k, Py_ssize_t shift) noexcept nogil:
        return self.places[4 * k] + shift * self.hidden[k]

    cdef inline real *c(self, Py_ssize_t k, Py_ssize_t shift) noexcept nogil:
        return self.places[4 * k + 1] + shift * self.hidden[k]

    cdef inline real *dh(self, Py_ssize_t k, Py_ssize_t shift) noexcept nogil:
        return self.places[4 * k + 2] + shift * self.hidden[k]

    cdef inline real *dc(self, Py_ssize_t k, Py_ssize_t shift) noexcept nogil:
        return self.places[4 * k + 3] + shift * self.hidden[k]

    # --- what is ready is taken -------------------------------------------------------------------

    def take(self, x, targets, state, lengths, loss, reduction, bint wants_x, bint last_only):
        """Take the arguments of a pass as they are; return False where they do not fit.

        Only x and the loss must be there, which is a `crnn.base.losses.Loss`, of the name "" where
        there is none. ``last_only`` is asked where no targets say so. The reduction is "mean",
        "sum", or None of targets that were checked, of which `put` says how they count.

        They fit if they ask the question that the plan is for, are arrays of the right types and
        shapes, C-contiguous and in range, and the state is None or as the network returns it.
        Tokens, classes, lengths and states are copied, so that what was checked cannot change;
        floats are held, but for an x that has a place of its own, or steps beyond lengths.
        """
        if self.loss_name != loss.name or self.loss_blocks != loss.blocks:
            return False
        if self.wants_x != (wants_x and self.tokens is None):
            return False
        if (targets is None) != (self.losses is None):
            return False
        if targets is None and self.last_only != last_only:
            return False
        self.held = []
        self.given_lengths, self.lengths, self.scale = None, NULL, 1
        self.weights, self.numbers = NULL, NULL
        if lengths is not None and not self.take_lengths(lengths):
            return False
        if not self.take_x(x):
            return False
        if targets is not None and not self.take_targets(targets, loss, reduction):
            return False
        return self.take_state(state)

    def take_again(self, x):
        """Take an x that a pass forward has read, for the way back."""
        self.held = []
        self.given_lengths, self.lengths = None, NULL
        self.take_x(x)
        self.take_state(None)

    cdef bint take_lengths(self, lengths) except -1:
        cdef Py_ssize_t b
        if not (self.batched and is_ready(lengths, cnp.NPY_INTP)
                and has_shape(lengths, self.batch, 0, False, 0)):
            return False
        self.given_lengths = copied(lengths)
        self.lengths = indices(self.given_lengths)
        for b in range(self.batch):
            if not 0 <= self.lengths[b] <= self.steps:
                return False
        return True

    cdef bint take_x(self, x) except -1:
        cdef bint is_tokens = self.tokens is not None
        if not (is_ready(x, cnp.NPY_INTP if is_tokens else REAL_TYPE) and has_shape(
                x, self.steps, self.batch, self.batched, 0 if is_tokens else self.inputs)):
            return False
        if is_tokens:
            return self.take_numbers(
                &self.tokens[0, 0], x, self.steps * self.batch, 0, self.inputs)
        if self.own_x is not None:
            self.x = self.own_x
            self.copy_x(&self.own_x[0, 0, 0], pointer(x))
        elif self.lengths != NULL:
            copy = aligned_empty((self.steps, self.batch, self.inputs), x.dtype)
            self.copy_x(pointer(copy), pointer(x))
            self.x = copy
        else:
            self.x = x if self.batched else x[:, None]
        self.x_is_sparse = is_sparse(&self.x[0, 0, 0], self.steps * self.batch * self.inputs)
        return True

    cdef void copy_x(self, real *own, const real *x) noexcept:
        # own = x, but 0 beyond lengths: no sum may get what lies there, not a NaN
        cdef Py_ssize_t t, b, n = self.inputs
        if own != x:                    # else it lies there already
            memcpy(own, x, self.steps * self.batch * n * sizeof(real))
        if self.lengths == NULL:
            return
        for b in range(self.batch):
            for t in range(self.lengths[b], self.steps):
                memset(own + (t * self.batch + b) * n, 0, n * sizeof(real))

    cdef bint take_targets(self, targets, loss, reduction) except -1:
        cdef Py_ssize_t steps = self.losses.shape[0], count = steps * self.batch
        cdef Py_ssize_t terms = self.target_size * loss.terms
        cdef bint has_classes = self.classes is not None
        if not (is_ready(targets, cnp.NPY_INTP if has_classes else REAL_TYPE)
                and self.fits_targets(targets, 0 if has_classes else self.target_size)):
            return False
        if has_classes:
            if not self.take_numbers(&self.classes[0, 0], targets, count, -1, self.outputs):
                return False
            count, terms = self.count_classes(), 1
        else:
            self.targets = self.in_batches(targets)
            if self.lengths != NULL or self.steps == 0:
                count = self.weigh_valid()
        if reduction == "mean":
            self.scale = 1.0 / max(count * terms, 1)
        if loss.numbers is not None:
            self.held.append(loss.numbers)
            self.numbers = <const double *> cnp.PyArray_DATA(loss.numbers)
        if reduction is None or self.loss_name != "sigmoid":
            return True
        return self.targets_are_probabilities()

    cdef bint fits_targets(self, targets, Py_ssize_t columns) noexcept:
        # for every step or, where last_only, without an axis for steps
        if not self.last_only:
            return has_shape(targets, self.steps, self.batch, self.batched, columns)
        if self.batched:
            return has_shape(targets, self.batch, 0, False, columns)
        if columns:
            return has_shape(targets, columns, 0, False, 0)
        return cnp.PyArray_NDIM(targets) == 0

    cdef in_batches(self, targets):
        # with all axes (T or 1, B, n)
        if self.last_only:
            return targets[None] if self.batched else targets[None, None]
        return targets if self.batched else targets[:, None]

    cdef inline bint has_target(self, Py_ssize_t t, Py_ssize_t b) noexcept:
        # whether a sequence is not over at step t or, where last_only, has a step at all
        cdef Py_ssize_t length = self.steps if self.lengths == NULL else self.lengths[b]
        return length > (0 if self.last_only else t)

    cdef Py_ssize_t count_classes(self) noexcept:
        # returns how many are there; those of steps that are over are none
        cdef Py_ssize_t t, b, count = 0
        for t in range(self.classes.shape[0]):
            for b in range(self.batch):
                if not self.has_target(t, b):
                    self.classes[t, b] = -1
                count += self.classes[t, b] >= 0
        return count

    cdef Py_ssize_t weigh_valid(self) except -1:
        # gives targets of steps that are over the weight 0; returns how many others there are
        cdef Py_ssize_t t, b, count = 0
        cdef double[:, ::1] weights
        array = aligned_empty((self.losses.shape[0], self.batch), "float64")
        self.take_weights(array)
        weights = array
        for t in range(weights.shape[0]):
            for b in range(self.batch):
                weights[t, b] = self.has_target(t, b)
                count += self.has_target(t, b)
        return count

    cdef void take_weights(self, weights):
        # (T or 1, B), or with an axis for each number
        self.held.append(weights)
        self.weights = <const double *> cnp.PyArray_DATA(weights)
        self.weights_each = weights.shape[2] if weights.ndim == 3 else 1

    cdef bint targets_are_probabilities(self) noexcept:
        # whether all are from 0 to 1
        cdef Py_ssize_t i, count = self.losses.shape[0] * self.batch * self.target_size
        cdef const real *targets
        cdef int inside = 1
        if count:
            targets = &self.targets[0, 0, 0]
            for i in range(count):
                inside &= (targets[i] >= 0) & (targets[i] <= 1)     # of NaN neither is true
        return inside

    cdef bint take_numbers(
        self, Py_ssize_t *own, given, Py_ssize_t n, Py_ssize_t low, Py_ssize_t high
    ) noexcept:
        # copies n whole numbers; returns whether all are at least low, and below high
        cdef Py_ssize_t i, outside = 0
        if own != indices(given):       # else they are the plan's own already
            memcpy(own, indices(given), n * sizeof(Py_ssize_t))
        for i in range(n):
            outside += not low <= own[i] < high
        return outside == 0

    cdef bint take_state(self, state) except -1:
        for arrays in self.gradients:
            for array in arrays:
                memset(cnp.PyArray_DATA(array), 0, cnp.PyArray_NBYTES(array))
        if state is None:
            self.begin()
            return True
        parts = parts_of(self.states)
        given = (state,) if len(parts) == 1 else state
        if type(given) is not tuple or len(given) != len(parts):
            return False
        if self.joined is not None:
            return self.take_arrays(self.joined[0], given)
        for own, part in zip(parts, given):
            if type(part) is not list or len(part) != len(own):
                return False
        return self.take_arrays([each for part in parts for each in part],
                                [each for part in given for each in part])

    cdef bint take_arrays(self, own, given) except -1:
        # copies all arrays of a state, or none
        for mine, each in zip(own, given):
            if not self.fits_state(mine, each):
                return False
        for mine, each in zip(own, given):
            memcpy(cnp.PyArray_DATA(mine), cnp.PyArray_DATA(each), cnp.PyArray_NBYTES(mine))
        return True

    cdef int begin(self) except -1:
        # puts learned states, or zeros, where no state was given
        if self.initial is not None:
            for arrays, learned in zip(self.states, self.initial):
                for array, row in zip(arrays, learned):
                    array[...] = row
            return 0
        for arrays in self.states:
            for array in arrays:
                memset(cnp.PyArray_DATA(array), 0, cnp.PyArray_NBYTES(array))
        return 0

    cdef bint fits_state(self, own, given) noexcept:
        # own is of all layers (L * D, B, H), or of one (B, H)
        cdef Py_ssize_t hidden = cnp.PyArray_DIM(own, cnp.PyArray_NDIM(own) - 1)
        if not is_ready(given, REAL_TYPE):
            return False
        if cnp.PyArray_NDIM(own) == 3:
            return has_shape(given, cnp.PyArray_DIM(own, 0), self.batch, self.batched, hidden)
        if self.batched:
            return has_shape(given, self.batch, 0, False, hidden)
        return has_shape(given, hidden, 0, False, 0)

    def put(self, lengths, weights, double scale):
        """Take what else was checked: lengths (B,) or None, weights of targets, and the scale.

        Weights are None, or an array of float64 (T or 1, B) or (T or 1, B, n).
        """
        self.given_lengths, self.lengths = lengths, indices(lengths)
        self.weights, self.scale = NULL, scale
        if weights is not None:
            self.take_weights(weights)

    cdef void weigh(self, Readout readout, Py_ssize_t shift) noexcept nogil:
        # have the readout of the sequences from `shift` on know how targets count
        readout.rule.scale, readout.rule.numbers = self.scale, self.numbers
        readout.weights_batch, readout.weights_each = self.batch, self.weights_each
        readout.weights = NULL
        if self.weights != NULL:
            readout.weights = self.weights + shift * self.weights_each

    def set_dx(self, dx):
        """Take where the gradient of x (T, B, I) is to go, or None."""
        self.dx = dx

    def set_masks(self, list masks):
        """Take masks of what dropout leaves, (T, B, D * H) or None for each layer."""
        cdef Py_ssize_t k
        self.held.append(masks)
        for k in range(len(masks)):
            self.masks[k] = NULL
            if masks[k] is not None:
                self.masks[k] = <const unsigned char *> cnp.PyArray_DATA(masks[k])

    def let_go(self):
        """Hold nothing any more that was given, but for what was copied."""
        self.x, self.targets, self.dx, self.held = None, None, None, []
        self.given_lengths, self.lengths, self.weights, self.numbers = None, NULL, NULL, NULL

    def loss(self):
        """Return the losses, added up in their order, times the scale."""
        cdef Py_ssize_t i
        cdef double total = 0
        cdef const double *losses = &self.losses[0, 0]
        for i in range(self.losses.shape[0] * self.batch):
            total += losses[i]
        return total * self.scale

    def public(self, bint gradients=False):
        """Return the states, or their gradients, as a caller gets them: copies."""
        cdef list parts = self.gradients if gradients else self.states
        if self.joined is None:
            found = [[copied(each) if self.batched else each[0].copy() for each in some]
                     for some in parts_of(parts)]
        else:
            found = [copied(each) if self.batched else each[:, 0].copy()
                     for each in self.joined[1 if gradients else 0]]
        return found[0] if len(found) == 1 else tuple(found)
