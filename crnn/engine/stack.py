"""The recurrent layers of a network over whole sequences: layer upon layer, in both directions.

A layer in the second direction is a layer like any other, over sequences turned round: each from
its own last valid step to its first. What comes out is turned back and laid beside the first
direction's.
"""

from functools import partial

import numpy as np

from crnn.engine import threads
from crnn.engine.sequences import beside, reverse
from crnn.kernels.memory import aligned_empty

BLOCK_NUMBERS = 2**19  # gates, or outputs, of a block: a millisecond's work or more
FEW_GATES = 2**15  # that stay in the second cache, where no tape is kept, but
FEW_ROWS = 128  # of so many rows at least: LEAST_PROJECTED_ROWS of kernels/layer.pyx
SPARE_BYTES = 2**26  # of all arrays that are left for the next pass
SEQUENCES, UNITS = 4, 16  # that a kernel takes at a time; threads take multiples of them


class Memory:
    """Arrays that a pass leaves for the next one, by their use.

    Memory that is new comes from the system page by page, up to two fifths of the time of a pass.
    """

    def __init__(self, dtype):
        self._dtype, self._spare = dtype, {}

    def borrow(self, use, shape):
        """Return the array of a use, if it has this shape, or a new one."""
        array = self._spare.pop(use, None)  # taken out: no other thread finds it
        if array is None or array.shape != shape:
            array = aligned_empty(shape, self._dtype)
        return array

    def leave(self, arrays):
        """Leave arrays, a dict, for the next pass, as many as there is room for.

        Nothing else may use them any more: any thread may borrow them at once.
        """
        held = sum([each.nbytes for each in list(self._spare.values())])
        for use, array in arrays.items():
            if array is not None and held + array.nbytes <= SPARE_BYTES:
                self._spare[use] = array
                held += array.nbytes

    def clear(self):
        """Give it all back."""
        self._spare = {}


class Run:
    """One layer, in one direction, in one pass: where its states and all that it keeps lie.

    Parameters
    ----------
    weights : LayerWeights
    x : ndarray
        Its input, (T, B, I) or tokens (T, B), or a block of them.
    initial : list of ndarray (B, H)
        h, and of an LSTM c.
    states : ndarray (steps + 1, B, H)
        Filled in: of the whole sequence, or of a block.
    lengths : ndarray or None
    memory : callable
        ``memory((weights, use), shape)`` returns memory.
    tapes : bool
        Whether what the way back needs is kept.
    """

    def __init__(self, kernels, weights, x, initial, states, lengths, memory, tapes):
        self._kernels, self.weights, self.x, self._lengths = kernels, weights, x, lengths
        (batch, H), kind = initial[0].shape, weights.kind
        self.states, self.kept, self.gates = states, None, None
        if kind.keeps:
            width, steps = kind.blocks * H, len(states) - 1
            if not tapes:
                few = max(FEW_GATES, FEW_ROWS * width)
                steps = max(1, min(steps, few // max(1, batch * width)))
            self.kept = memory((weights, "kept"), (len(states) if tapes else 2, batch, H))
            self.gates = memory((weights, "gates"), (steps, batch, width))
        self.carried = [self.states, self.kept][: len(initial)]
        for states, start in zip(self.carried, initial, strict=True):
            states[0] = start

    def layer(self):
        """Return the backend's Layer over this."""
        return self._kernels.Layer(
            self.weights, self.x, self.states, self.kept, self.gates, self._lengths
        )

    def carry(self, count, first, last):
        """Begin the next block where one of ``count`` steps ended."""
        for states in self.carried:
            states[0, first:last] = states[count % len(states), first:last]

    def arrays(self, but=None):
        """Return the arrays to be left for the next pass, by their use, but for one."""
        arrays = ("states", self.states), ("kept", self.kept), ("gates", self.gates)
        return {(self.weights, use): array for use, array in arrays if use != but}


class Stack:
    """The recurrent layers of a network.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
    """

    def __init__(self, kernels, weights):
        self.kernels, self.weights = kernels, weights
        self.memory = Memory(weights.dtype)

    # --- forward -----------------------------------------------------------------------------

    def level(self, number, x, sequence, memory):
        """Return the runs, one for each direction, of one layer over whole sequences."""
        w, runs = self.weights, []
        for direction in range(w.directions):
            k = number * w.directions + direction
            turned = reverse(x, sequence.lengths) if direction else x
            shape = sequence.steps + 1, sequence.batch_size, w.hidden_size
            states = memory((self.weights.layers[k], "states"), shape)
            runs.append(self.run(k, turned, sequence, states, memory, tapes=True))
        return runs

    def block_run(self, k, x, sequence):
        """Return the run of one layer in one direction that has room for a block; no tape."""
        shape = self.block_steps(sequence) + 1, sequence.batch_size, self.weights.hidden_size
        states = self.memory.borrow((self.weights.layers[k], "states"), shape)
        return self.run(k, x, sequence, states, self.memory.borrow, tapes=False)

    def run(self, k, x, sequence, states, memory, tapes):
        """Return the run of one layer in one direction over states; see `Run`."""
        initial = [each[k] for each in sequence.states]
        return Run(
            self.kernels, self.weights.layers[k], x, initial, states, sequence.lengths, memory,
            tapes,
        )

    def new(self, use, shape):
        """Return new memory."""
        return aligned_empty(shape, self.weights.dtype)

    def leave(self, runs, but=None):
        """Leave the memory of runs for the next pass, but for that of one use."""
        for run in runs:
            self.memory.leave(run.arrays(but))

    def forward(self, runs, sequence):
        """Fill in the runs of one layer."""
        for run in runs:
            self.over_batch(sequence, partial(run.layer().forward, 0, 0, 0, sequence.steps))

    def outputs(self, runs, lengths):
        """Return what a layer puts out, (T + 1, B, D * H); the first of T + 1 means nothing."""
        if len(runs) == 1:
            return runs[0].states
        return beside(*(run.states for run in runs), lengths)

    # --- backward ----------------------------------------------------------------------------

    def back(self, runs, sequence, gradients, dh, dstates, wants_x):
        """Go back through one layer; return the gradient of its input, or None.

        Parameters
        ----------
        runs : list of Run
            Filled in.
        sequence : Sequence
        gradients : Gradients
            Their vector is added to.
        dh : ndarray (T, B, D * H)
            What reaches its outputs. May be overwritten.
        dstates : list of ndarray (L * D, B, H)
            Of the last states; turned into those of the initial ones.
        wants_x : bool
        """
        halves = [dh]
        if len(runs) == 2:
            H = self.weights.hidden_size
            halves = [np.ascontiguousarray(dh[:, :, :H]), reverse(dh[:, :, H:], sequence.lengths)]
        found = [
            self.back_through_time(run, sequence, gradients, half, dstates, wants_x)
            for run, half in zip(runs, halves, strict=True)
        ]
        if found[0] is None or len(runs) == 1:
            return found[0]
        return found[0] + reverse(found[1], sequence.lengths)

    def back_through_time(
        self, run, sequence, gradients, dh, dstates, wants_x, *, in_blocks=None, layer=None
    ):
        """Go back through one run, block by block; return the gradient of its input, or None.

        Parameters
        ----------
        run, sequence, gradients, dh, dstates, wants_x
            As for `back`, for one direction.
        in_blocks : tuple of callables, optional
            Then dh has room for a block only. ``forward(first, last)`` is called before anything
            else of these sequences, where it costs no waiting for threads of its own;
            ``fill(start, count, first, last)`` fills in dh[:count], what reaches the states of a
            block from above; ``add(start, count, first, last)`` adds to the gradients of what is
            above.
        layer : Layer, optional
            Of the run, if there is one already.
        """
        layer = layer or run.layer()
        forward, fill, add = in_blocks or (nothing, nothing, nothing)
        buffers = self._gradient_buffers(sequence)
        dx = None
        if wants_x and run.x.ndim == 3:
            dx = aligned_empty(run.x.shape, self.weights.dtype)
        k = self.weights.layers.index(run.weights)
        own = [each[k] for each in dstates] + [None] * (2 - len(dstates))
        layer.prepare_backward(dh, *own, *buffers.values(), dx, gradients.vector)

        def back(start, count, forward, first, last):
            forward(first, last)
            fill(start, count, first, last)
            layer.backward(start, 0 if in_blocks else start, count, first, last)

        def add_all(start, count, first, last):
            layer.gradients(start, 0 if in_blocks else start, count, first, last)
            add(start, count, first, last)

        parts = self._parts(sequence.batch_size, SEQUENCES, sequence)
        units = self._parts(self.weights.hidden_size, UNITS, sequence)

        def phases(forward):
            for start, count in reversed(self.blocks(sequence)):
                yield calls(partial(back, start, count, forward), parts)
                yield calls(partial(add_all, start, count), units)
                forward = nothing

        threads.run(phases(forward), max(len(parts), len(units)))
        self.memory.leave(buffers)
        return dx

    def _gradient_buffers(self, sequence):
        kind, H = self.weights.kind, self.weights.hidden_size
        rows, da, dkept = (self.block_steps(sequence), sequence.batch_size), None, None
        if kind.keeps:
            da = self.memory.borrow("da", (*rows, kind.blocks * H))
        if kind.apart:
            dkept = self.memory.borrow("dkept", (*rows, H))
        return {"da": da, "dkept": dkept}

    # --- blocks and parts ----------------------------------------------------------------------

    def block_steps(self, sequence):
        """Return how many steps a block has."""
        w = self.weights
        width = max(w.kind.blocks * w.hidden_size, w.state_width, w.output_size)
        return max(1, min(BLOCK_NUMBERS // max(1, sequence.batch_size * width), sequence.steps))

    def blocks(self, sequence):
        """Return first step and number of steps of each block."""
        size, steps = self.block_steps(sequence), sequence.steps
        return [(start, min(size, steps - start)) for start in range(0, steps, size)]

    def over_batch(self, sequence, function):
        """Call ``function(first, last)`` for parts of the batch, in threads where it pays."""
        parts = self._parts(sequence.batch_size, SEQUENCES, sequence)
        if len(parts) == 1:
            function(*parts[0])
        else:
            threads.run([calls(function, parts)], len(parts))

    def _parts(self, size, multiple, sequence):
        if size <= multiple or not self.kernels.RUN_IN_THREADS:
            return [(0, size)]
        work = self.weights.work(sequence.is_tokens) * sequence.steps * sequence.batch_size
        return threads.split(size, multiple, work)


def calls(function, parts):
    """Return a call ``function(first, last)`` for each part."""
    return [partial(function, *part) for part in parts]


def nothing(*part):
    """Do nothing with some sequences."""
