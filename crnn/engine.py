"""What a network computes, on checked input: passes over whole sequences, block by block.

Nothing of the size of T x B is held except what a caller asks for (the states for training, the
outputs for inference) and the losses of single targets. Everything else lives for one block of
time steps.

Where it pays, threads share the work. On the way forward and back each takes some sequences of the
batch; of the gradients of the weights, which are sums over all sequences, it takes some columns. So
no sum depends on how many threads there are.
"""

from functools import partial

import numpy as np

from crnn import checks, threads
from crnn._memory import aligned_empty, aligned_zeros

BLOCK_NUMBERS = 2**19  # hidden states, or outputs, of a block: a millisecond's work or more
# Hidden states, or outputs, of a pass whose memory is kept for the next one. It is one block: were
# it more, the sums of gradients over blocks would not have the same bits in both passes.
SMALL_NUMBERS = 2**15
SPARE_BYTES = 2**25  # of an array that is left for the next pass
SEQUENCES, COLUMNS = 4, 16  # that a kernel takes at a time; threads take multiples of them


class Engine:
    """The passes of a network of one recurrent layer and an optional readout.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
    nonlinearity : {"tanh", "relu"}
    """

    def __init__(self, kernels, weights, nonlinearity):
        self.kernels, self.weights, self.nonlinearity = kernels, weights, nonlinearity
        self._trainers = {}  # the last pass over tokens: its shape, and its Trainer or None
        self._spare = {}  # arrays that a training pass leaves for the next one, by their use

    def stepper(self, prepare):
        """Return the backend's Stepper over these weights."""
        return self.kernels.Stepper(self.weights, self.nonlinearity, prepare)

    # --- forward -----------------------------------------------------------------------------

    def infer(self, sequence):
        """Return outputs (T, B, O) and last state (B, H), keeping no tape."""
        if self.weights.has_readout:
            y = self._outputs(sequence.steps, sequence)
            states = self._block_of_states(sequence)
            readout = self.kernels.Readout(self.weights, states, y)
            state = self._without_tape(sequence, states, partial(readout.forward, 0))
        else:
            states = self._states(sequence.steps, sequence)
            self._with_tape(sequence, states)
            y, state = states[1:], states[-1].copy()
        return _silence_finished(y, sequence.lengths), state

    def forward(self, sequence):
        """Return outputs, last state and the states (T + 1, B, H), the initial one first."""
        states = self._states(sequence.steps, sequence)
        self._with_tape(sequence, states)
        y = self._outputs(sequence.steps, sequence)
        readout = self.kernels.Readout(self.weights, states, y)
        self._over_batch(sequence, partial(readout.forward, 0, 0, sequence.steps))
        return _silence_finished(y, sequence.lengths), states[-1].copy(), states

    def loss(self, sequence, objective):
        """Return the loss and the last state, keeping no tape."""
        states, losses = self._block_of_states(sequence), objective.empty_losses()
        readout = self.kernels.Readout(
            self.weights, states, self._outputs(len(states) - 1, sequence)
        )
        readout.prepare_loss(*objective.arguments(losses))

        def fill(start, count, first, last):
            readout.forward(0, 0, count, first, last)
            readout.loss(0, start, count, first, last)

        if objective.last_only:
            state = self._without_tape(sequence, states, _nothing)
            states[1] = state
            fill(0, 1, 0, sequence.batch_size)
        else:
            state = self._without_tape(sequence, states, fill)
        return objective.total(losses), state

    def _with_tape(self, sequence, states):
        """Fill in the states (T + 1, B, H), and return the layer that did."""
        states[0] = sequence.h0
        layer = self._layer(sequence, states)
        self._over_batch(sequence, partial(layer.forward, 0, 0, sequence.steps))
        return layer

    def _without_tape(self, sequence, states, each):
        """Return the last state; call ``each(start, count, first, last)`` after every block.

        It finds the block's states in states[1 : 1 + count].
        """
        states[0] = sequence.h0
        layer, blocks = self._layer(sequence, states), self._blocks(sequence)
        state = np.array(sequence.h0)

        def run(first, last):
            for start, count in blocks:
                layer.forward(start, 0, count, first, last)
                each(start, count, first, last)
                states[0, first:last] = states[count, first:last]
            state[first:last] = states[0, first:last]

        self._over_batch(sequence, run)
        return state

    def _layer(self, sequence, states):
        return self.kernels.RNNLayer(
            self.weights, self.nonlinearity, sequence.x, states, sequence.lengths
        )

    def _block_of_states(self, sequence):
        return self._states(self._block_steps(sequence), sequence)

    def _states(self, steps, sequence):
        shape = steps + 1, sequence.batch_size, self.weights.hidden_size
        return aligned_empty(shape, self.weights.dtype)

    def _outputs(self, steps, sequence):
        shape = steps, sequence.batch_size, self.weights.output_size
        return aligned_empty(shape, self.weights.dtype)

    # --- backward ----------------------------------------------------------------------------

    def backward(self, gradients, sequence, states, dy, dstate):
        """Fill the gradients from those of the outputs (T, B, O) and of the last state (B, H)."""
        if sequence.lengths is not None:
            valid = checks.valid_steps(sequence.lengths, sequence.steps)
            dy = np.where(valid[:, :, None], dy, self.weights.dtype.type(0))
        readout = self.kernels.Readout(self.weights, states, dy)

        def fill(start, count, first, last):
            readout.backward(start, count, first, last)

        def add(start, count, first, last):
            readout.gradients(start, start, count, first, last)

        shape = self._block_steps(sequence), sequence.batch_size, self.weights.hidden_size
        dh = aligned_empty(shape, self.weights.dtype)
        readout.prepare_backward(dh, gradients.vector)
        layer = self._layer(sequence, states)
        self._back_through_time(gradients, sequence, layer, dh, dstate, fill, add)

    def loss_and_gradients(self, gradients, sequence, objective, wants_x=True):
        """Fill the gradients; return the loss and the last state."""
        block, batch, w = self._block_steps(sequence), sequence.batch_size, self.weights
        states = self._borrow("states", (sequence.steps + 1, batch, w.hidden_size))
        y = self._borrow("y", (block, batch, w.output_size))
        dh = self._borrow("dh", (block, batch, w.hidden_size))
        losses, dstate = objective.empty_losses(), aligned_zeros(sequence.h0.shape, w.dtype)
        layer = self._with_tape(sequence, states)
        readout = self.kernels.Readout(w, states, y)
        readout.prepare_loss(*objective.arguments(losses))

        def fill(start, count, first, last):
            readout.forward(start, 0, count, first, last)
            readout.loss(0, start, count, first, last)
            readout.backward(0, count, first, last)

        def add(start, count, first, last):
            readout.gradients(start, 0, count, first, last)

        if objective.last_only:
            last_step = sequence.steps - 1
            readout.prepare_backward(dstate[None], gradients.vector)
            readout.forward(last_step, 0, 1, 0, batch)
            readout.loss(0, 0, 1, 0, batch)
            readout.backward(0, 1, 0, batch)
            add(last_step, 1, 0, w.output_size)
            fill, add = partial(_zero, dh), None
        else:
            readout.prepare_backward(dh, gradients.vector)
        self._back_through_time(gradients, sequence, layer, dh, dstate, fill, add, wants_x)
        last = states[-1].copy()
        self._leave(states=states, y=y, dh=dh)
        return objective.total(losses), last

    def _borrow(self, use, shape):
        """Return memory from the last pass, if it suits, or new memory.

        Memory that is new comes from the system page by page, a fifth of the time of a pass.
        """
        array = self._spare.pop(use, None)  # taken out: no other thread finds it
        if array is None or array.shape != shape:
            array = aligned_empty(shape, self.weights.dtype)
        return array

    def _leave(self, **arrays):
        """Leave memory for the next pass, unless it is much."""
        self._spare = {use: a for use, a in arrays.items() if a.nbytes <= SPARE_BYTES}

    def quick_loss_and_gradients(self, gradients, x, targets, state):
        """Do a small pass over tokens in one call, softmax at every step, its mean.

        Returns None, with nothing done, where the general pass is wanted: for large passes, for
        arguments that need converting or that are wrong, and the first time that a shape comes.
        Otherwise the loss and the last state.
        """
        if self.kernels.Trainer is None or type(x) is not np.ndarray or x.dtype != checks.INTP:
            return None
        trainer = self._trainers.pop(x.shape, False)  # no other thread finds it at work
        if trainer is False:
            self._trainers = {x.shape: None}
            return None
        trainer = trainer or self._new_trainer(x)
        result = trainer and trainer.run(x, targets, state, gradients.vector)
        self._trainers = {x.shape: trainer}
        if result is None:
            return None
        loss, last, gradients.state = result
        return loss, last

    def _new_trainer(self, x):
        w = self.weights
        if x.ndim not in (1, 2):
            return None
        steps, batch, hidden = len(x), x.shape[1] if x.ndim == 2 else 1, w.hidden_size
        if not 0 < x.size * max(hidden, w.output_size) <= SMALL_NUMBERS:
            return None
        sizes = (steps + 1, hidden), (steps, w.output_size), (steps, hidden)
        states, y, dh = (aligned_empty((n, batch, width), w.dtype) for n, width in sizes)
        tokens, targets = np.empty((2, steps, batch), np.intp)
        losses, dstate = np.empty((steps, batch)), aligned_empty((batch, hidden), w.dtype)
        return self.kernels.Trainer(
            w, self.nonlinearity, tokens, targets, states, y, losses, dh, dstate
        )

    def _back_through_time(
        self, gradients, sequence, layer, dh, dstate, fill, add, wants_x=True
    ):
        """Walk the blocks from the last to the first; dh and dstate are overwritten.

        ``fill(start, count, first, last)`` fills dh[:count] with what reaches the states of a block
        from their outputs, ``add`` adds to the readout's gradients, unless it is None.
        """
        dx = None
        if wants_x and not sequence.is_tokens:
            dx = aligned_empty(sequence.x.shape, self.weights.dtype)
        layer.prepare_backward(dh, dstate, dx, gradients.vector)
        hidden = self._parts(self.weights.hidden_size, COLUMNS, sequence)
        outputs = self._parts(self.weights.output_size, COLUMNS, sequence) if add else []

        for start, count in reversed(self._blocks(sequence)):

            def back(first, last, start=start, count=count):
                fill(start, count, first, last)
                layer.backward(start, count, first, last)

            self._over_batch(sequence, back)
            tasks = [partial(layer.gradients, start, count, *part) for part in hidden]
            tasks += [partial(add, start, count, *part) for part in outputs]
            _run(tasks, in_threads=len(hidden) > 1)
        gradients.x = sequence.unbatch(dx, 1)
        gradients.state = sequence.unbatch(dstate[None], 1)

    # --- blocks and parts ----------------------------------------------------------------------

    def _block_steps(self, sequence):
        width = max(self.weights.hidden_size, self.weights.output_size)
        steps = BLOCK_NUMBERS // max(1, sequence.batch_size * width)
        return max(1, min(steps, sequence.steps))

    def _blocks(self, sequence):
        """Return first step and number of steps of each block."""
        size, steps = self._block_steps(sequence), sequence.steps
        return [(start, min(size, steps - start)) for start in range(0, steps, size)]

    def _over_batch(self, sequence, function):
        """Call ``function(first, last)`` for parts of the batch, in threads where it pays."""
        parts = self._parts(sequence.batch_size, SEQUENCES, sequence)
        _run([partial(function, *part) for part in parts], in_threads=len(parts) > 1)

    def _parts(self, size, multiple, sequence):
        if not self.kernels.RUN_IN_THREADS:
            return [(0, size)]
        w = self.weights
        inputs = 0 if sequence.is_tokens else w.input_size
        work = (inputs + w.hidden_size + w.output_size) * w.hidden_size
        return threads.split(size, multiple, work * sequence.steps * sequence.batch_size)


def _run(tasks, in_threads):
    if in_threads:
        threads.run(tasks)
    else:
        for task in tasks:
            task()


def _nothing(start, count, first, last):
    """Do nothing with a block."""


def _zero(dh, start, count, first, last):
    """Fill in that nothing reaches a block's states from their outputs."""
    dh[:count, first:last] = 0


def _silence_finished(y, lengths):
    if lengths is not None:
        for b, length in enumerate(lengths):
            y[length:, b] = 0
    return y
