"""Small training passes over tokens, each in one compiled call."""

import numpy as np

from crnn import checks, threads
from crnn._memory import aligned_empty

# Gates (or states), or outputs, of a pass whose memory is kept for the next one. It is one block:
# were it more, sums of gradients over blocks would not have the same bits in both passes.
SMALL_NUMBERS = 2**18


class QuickPasses:
    """Training passes that take less time than what a general pass makes and asks before it starts.

    The memory of the last one's shape is kept.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
    """

    def __init__(self, kernels, weights):
        self._kernels, self._weights = kernels, weights
        self._trainers = {}  # the last pass: its shape, and its Trainer or None

    def clear(self):
        """Give the memory back."""
        self._trainers = {}

    def loss_and_gradients(self, gradients, x, targets, state):
        """Do a small pass over tokens in one call, softmax at every step, its mean.

        Returns None, with nothing done, where the general pass is wanted: for large passes, where
        threads pay, for more than one layer, for arguments that need converting or that are wrong,
        and the first time that a shape comes. Otherwise the loss and the last states.
        """
        if self._kernels.Trainer is None or type(x) is not np.ndarray or x.dtype != checks.INTP:
            return None
        trainer = self._trainers.pop(x.shape, False)  # no other thread finds it at work
        if trainer is False:
            self._trainers = {x.shape: None}
            return None
        if threads.are_worth(x.size * self._weights.work(is_tokens=True)):
            return None
        trainer = trainer or self._new_trainer(x)
        result = trainer and trainer.run(x, targets, state, gradients.vector)
        self._trainers = {x.shape: trainer}
        if result is None:
            return None
        loss, states, gradients.state = result
        return loss, states

    def _new_trainer(self, x):
        w, kind, H = self._weights, self._weights.kind, self._weights.hidden_size
        if x.ndim not in (1, 2) or len(w.layers) > 1:
            return None
        steps, batch = len(x), x.shape[1] if x.ndim == 2 else 1
        if not 0 < x.size * max(kind.blocks * H, w.output_size) <= SMALL_NUMBERS:
            return None

        def array(count, width=H, wanted=True):
            return aligned_empty((count, batch, width), w.dtype) if wanted else None

        gates = kind.blocks * H
        tape = array(steps + 1), array(steps + 1, H, kind.keeps), array(steps, gates, kind.keeps)
        dstate = array(1)[0]
        dc = array(1)[0] if kind.states == 2 else None
        back = (array(steps), dstate, dc, array(steps, gates, kind.keeps),
                array(steps, H, kind.cell == "GRU"))
        tokens, targets = np.empty((2, steps, batch), np.intp)
        return self._kernels.Trainer(
            w, tokens, targets, tape, array(steps, w.output_size), np.empty((steps, batch)), back
        )
