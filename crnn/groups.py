"""Training passes of small networks over tokens: by groups of sequences, each in a compiled call.

What a group leaves on its way forward is in the cache on its way back, which makes it up to a fifth
faster than the whole batch step by step; and threads that take different groups have nothing to
wait for. Gradients are summed up over the groups of a lane, and then over lanes. Which groups and
lanes there are depends on nothing but shapes, so that no sum depends on the number of threads.
"""

from functools import partial

import numpy as np

from crnn import threads
from crnn.kernels.memory import aligned_empty
from crnn.stack import SEQUENCES

SIZE = 2 * SEQUENCES  # sequences of a group, at least
WORK = 5e6  # multiplications of a group, at least: a fifth of a millisecond
FEW_BYTES = 2**20  # of all gradients, which then stay in the second cache
MOST_BYTES = 2**21  # of the gates, or outputs, of a group; at most a block of the general pass
LANES = 8  # at most, as each has memory for all gradients


def bounds(weights, steps, batch):
    """Return the bounds ``(first, last)`` of the groups of so many sequences.

    Parameters
    ----------
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    steps, batch : int

    Returns
    -------
    list of tuple of int
        Empty where one is too large to be kept in memory, and for a sum of gradients with the bits
        of the general pass, which adds up blocks.
    """
    itemsize = weights.dtype.itemsize
    few = weights.parameters.layout.size * itemsize <= FEW_BYTES
    most = min(batch // SIZE, int(steps * batch * weights.work(is_tokens=True) / WORK))
    # a power of two, which can be shared out evenly
    count = 1 << (most.bit_length() - 1) if few and most else 1
    groups = threads.parted(batch, SEQUENCES, count)
    width = max(weights.kind.blocks * weights.hidden_size, weights.output_size)
    largest = max(last - first for first, last in groups)
    return groups if 0 < steps * largest * width * itemsize <= MOST_BYTES else []


class Training:
    """Training passes over tokens of one shape, in memory that is kept from pass to pass.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
        Of one layer in one direction, and maybe a readout.
    steps, batch : int
    groups : list of tuple of int
        Their `bounds`.
    """

    def __init__(self, kernels, weights, steps, batch, groups):
        self._kernels, self._weights, self._steps = kernels, weights, steps
        self._work = steps * batch * weights.work(is_tokens=True)
        self._idle = {last - first: [] for first, last in groups}  # by the number of sequences
        lanes = threads.parted(len(groups), 1, min(LANES, len(groups)))
        self._lanes = [groups[first:last] for first, last in lanes]
        self._sums = [self._array(weights.parameters.layout.size) for _ in lanes[1:]]
        tokens, targets = np.empty((2, steps, batch), np.intp)
        states, gradients = (
            [self._array(batch, weights.hidden_size) for _ in range(weights.kind.states)]
            for _ in range(2)
        )
        self._trainer = kernels.Trainer(
            weights, tokens, targets, np.empty((steps, batch)), states, gradients
        )

    def run(self, vector, x, targets, state, scale=None):
        """Add to the vector of gradients; return loss, last states, and gradients of the first.

        Or return None, with nothing done, where the general pass is wanted: to split one group over
        threads, and for arguments that `crnn.kernels.Trainer.take` does not take.
        """
        trainer, is_worth = self._trainer, threads.are_worth(self._work)
        if is_worth and not self._sums:
            return None
        if not trainer.take(x, targets, state, scale):
            return None
        if self._sums:
            self._run_lanes(vector, is_worth)
        else:
            self._run_lane(self._lanes[0], vector)
        return trainer.results()

    def _run_lanes(self, vector, in_threads):
        def other(lane, sums):
            sums.fill(0)
            self._run_lane(lane, sums)

        first, *others = self._lanes
        tasks = [partial(self._run_lane, first, vector)]
        tasks += (partial(other, *each) for each in zip(others, self._sums, strict=True))
        if in_threads:
            threads.run([tasks], len(tasks))
        else:
            for task in tasks:
                task()
        for sums in self._sums:
            vector += sums

    def _run_lane(self, lane, sums):
        for first, last in lane:
            idle = self._idle[last - first]
            try:
                group = idle.pop()
            except IndexError:  # as many as threads are needed
                group = self._new_group(last - first)
            group.run(self._trainer, sums, first)
            idle.append(group)

    def _new_group(self, n):
        w, steps, kind = self._weights, self._steps, self._weights.kind
        H, gates = w.hidden_size, kind.blocks * w.hidden_size

        def array(count, width=H, wanted=True):
            return self._array(count, n, width) if wanted else None

        tape = array(steps + 1), array(steps + 1, H, kind.keeps), array(steps, gates, kind.keeps)
        dstate, dc = self._array(n, H), self._array(n, H) if kind.states == 2 else None
        back = (array(steps), dstate, dc, array(steps, gates, kind.keeps),
                array(steps, H, kind.apart))
        tokens, targets = np.empty((2, steps, n), np.intp)
        return self._kernels.Group(
            w, tokens, targets, np.empty((steps, n)), tape, array(steps, w.output_size), back
        )

    def _array(self, *shape):
        return aligned_empty(shape, self._weights.dtype)
