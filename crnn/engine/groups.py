"""Training passes of small networks: by groups of sequences, each in a compiled call.

What a group leaves on its way forward is in the cache on its way back, which makes it up to a fifth
faster than the whole batch step by step; and threads that take different groups have nothing to
wait for. Gradients are summed up over the groups of a lane, and then over lanes. Which groups and
lanes there are depends on nothing but shapes, so that no sum depends on the number of threads.
"""

from functools import partial

import numpy as np

from crnn.engine import threads
from crnn.engine.stack import BLOCK_NUMBERS, SEQUENCES
from crnn.kernels.memory import aligned_empty

SIZE = 2 * SEQUENCES  # sequences of a group, at least
WORK = 5e6  # multiplications of a group, at least: a fifth of a millisecond
FEW_BYTES = 2**20  # of all gradients, which then stay in the second cache
MOST_BYTES = 4 * BLOCK_NUMBERS  # of the gates, or outputs, of a group: no more than a block
LANES = 8  # at most, as each has memory for all gradients


def bounds(weights, is_tokens, steps, batch):
    """Return the bounds ``(first, last)`` of the groups of so many sequences.

    Parameters
    ----------
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    is_tokens : bool
    steps, batch : int

    Returns
    -------
    list of tuple of int
        Empty where one is too large to be kept in memory, and for a sum of gradients with the bits
        of the general pass, which adds up blocks.
    """
    itemsize = weights.dtype.itemsize
    few = weights.parameters.layout.size * itemsize <= FEW_BYTES
    most = min(batch // SIZE, int(steps * batch * weights.work(is_tokens) / WORK))
    # a power of two, which can be shared out evenly
    count = 1 << (most.bit_length() - 1) if few and most else 1
    groups = threads.parted(batch, SEQUENCES, count)
    inputs = 0 if is_tokens else weights.input_size
    width = max(weights.kind.blocks * weights.hidden_size, weights.output_size, inputs)
    largest = max(last - first for first, last in groups)
    return groups if 0 < steps * largest * width * itemsize <= MOST_BYTES else []


class Training:
    """Training passes of one shape, in memory that is kept from pass to pass.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    x : ndarray (T, B, I), or tokens (T, B) or (T,)
        Of which only shape and kind count.
    groups : list of tuple of int
        Their `bounds`.
    loss : str
    wants_x : bool
        Whether the gradient of x is wanted; of tokens there is none.
    """

    def __init__(self, kernels, weights, x, groups, loss="softmax", wants_x=False):
        self._kernels, self._weights, self._loss = kernels, weights, loss
        self._steps, self._batch, self._is_tokens = len(x), groups[-1][1], x.ndim < 3
        self._wants_x = wants_x and not self._is_tokens
        self._work = self._steps * self._batch * weights.work(self._is_tokens)
        self._idle = {last - first: [] for first, last in groups}  # by the number of sequences
        lanes = threads.parted(len(groups), 1, min(LANES, len(groups)))
        self._lanes = [groups[first:last] for first, last in lanes]
        self._sums = [self._array(weights.parameters.layout.size) for _ in lanes[1:]]
        self._own = None  # where arguments are copied to, for `run`

    def run(self, vector, x, targets, state):
        """Do a pass over tokens, softmax at every step, its mean.

        Adds to the vector of gradients; returns the loss, the last states, and the gradients of the
        initial ones. Or returns None, with nothing done, where the general pass is wanted: to split
        one group over threads, and for arguments that `crnn.kernels.Trainer.take` refuses.
        """
        if not self._sums and threads.are_worth(self._work):
            return None
        if self._own is None:
            self._own = self._new_trainer()
        if not self._own.take(x, targets, state):
            return None
        self._run_lanes(self._own, vector)
        return self._own.results()

    def run_checked(self, vector, sequence, objective):
        """Do any pass of the shape, on checked input.

        Adds to the vector of gradients, and overwrites the initial states with the last ones.
        Returns the losses, the gradients of the initial states, and that of x, or None.
        """
        self._weights.refresh()
        losses, dx = objective.empty_losses(), None
        if self._wants_x:
            dx = self._array(*sequence.x.shape)
        gradients = [self._array(*each.shape) for each in sequence.states]
        self._run_lanes(self._kernels.Trainer(
            self._weights, sequence.x, objective.targets, objective.valid, losses, dx,
            sequence.lengths, sequence.states, gradients, objective.scale,
        ), vector)
        return losses, gradients, dx

    def _new_trainer(self):
        w, steps, batch = self._weights, self._steps, self._batch
        tokens, targets = np.empty((2, steps, batch), np.intp)
        ends, gradients = (
            [self._array(batch, w.hidden_size) for _ in range(w.kind.states)] for _ in range(2)
        )
        return self._kernels.Trainer(
            w, tokens, targets, None, np.empty((steps, batch)), None, None, ends, gradients,
            1 / (steps * batch),
        )

    def _run_lanes(self, trainer, vector):
        def other(lane, sums):
            sums.fill(0)
            self._run_lane(trainer, lane, sums)

        first, *others = self._lanes
        tasks = [partial(self._run_lane, trainer, first, vector)]
        tasks += (partial(other, *each) for each in zip(others, self._sums, strict=True))
        if others and threads.are_worth(self._work):
            threads.run([tasks], len(tasks))
        else:
            for task in tasks:
                task()
        for sums in self._sums:
            vector += sums

    def _run_lane(self, trainer, lane, sums):
        for first, last in lane:
            idle = self._idle[last - first]
            try:
                group = idle.pop()
            except IndexError:  # as many as threads are needed
                group = self._new_group(last - first)
            group.run(trainer, sums, first)
            idle.append(group)

    def _new_group(self, n):
        w, steps, kind = self._weights, self._steps, self._weights.kind
        H, gates = w.hidden_size, kind.blocks * w.hidden_size

        def array(count, width=H, wanted=True):
            return self._array(count, n, width) if wanted else None

        def whole_numbers():
            return np.empty((steps, n), np.intp)

        x = whole_numbers() if self._is_tokens else array(steps, w.input_size)
        targets, valid = whole_numbers(), None
        if self._loss != "softmax":
            targets, valid = array(steps, w.output_size), np.empty((steps, n), bool)
        tape = array(steps + 1), array(steps + 1, H, kind.keeps), array(steps, gates, kind.keeps)
        dstate, dc = self._array(n, H), self._array(n, H) if kind.states == 2 else None
        back = (array(steps), dstate, dc, array(steps, gates, kind.keeps),
                array(steps, H, kind.apart))
        return self._kernels.Group(
            w, x, targets, valid, np.empty((steps, n)), array(steps, w.input_size, self._wants_x),
            self._loss, tape, array(steps, w.output_size), back,
        )

    def _array(self, *shape):
        return aligned_empty(shape, self._weights.dtype)
