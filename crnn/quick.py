"""Passes of small networks, each in one compiled call."""

import math

import numpy as np

from crnn import checks, threads
from crnn.kernels.memory import aligned_empty
from crnn.stack import BLOCK_NUMBERS, Run


class QuickPasses:
    """Passes that take less time than what a general pass makes and asks before it starts.

    The memory of the last one's shape is kept.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
    """

    def __init__(self, kernels, weights):
        self._kernels, self._weights = kernels, weights
        self._is_simple = len(weights.layers) == 1 and kernels.Trainer is not None
        self.clear()

    def clear(self):
        """Give the memory back."""
        self._trainers, self._runners = {}, {}  # the last pass: its shape, and how it is run

    def infer(self, x):
        """Run over small sequences of floats from zero states.

        Returns outputs and last states. Or None, with nothing done, where the general pass is
        wanted: for large passes, where threads pay, for more than one layer, for arguments that
        need converting or that are wrong, and the first time that a shape comes.
        """
        w = self._weights
        if not self._is_simple or type(x) is not np.ndarray or x.dtype is not w.dtype:
            return None
        return _again(self._runners, x, self._new_inference, lambda inference: inference.run(x))

    def loss_and_gradients(self, gradients, x, targets, state):
        """Do a small pass over tokens, softmax at every step, its mean.

        Returns the loss and the last states; or None, as `infer` does.
        """
        if not self._is_simple or type(x) is not np.ndarray or x.dtype != checks.INTP:
            return None
        if threads.are_worth(x.size * self._weights.work(is_tokens=True)):
            return None
        result = _again(
            self._trainers, x, self._new_trainer,
            lambda trainer: trainer.run(x, targets, state, gradients.vector),
        )
        if result is None:
            return None
        loss, states, gradients.state = result
        return loss, states

    def _new_inference(self, x):
        *rows, inputs = x.shape or (0,)
        if inputs != self._weights.input_size or not self._is_small(rows):
            return None
        return _Inference(self._kernels, self._weights, x)

    def _new_trainer(self, x):
        w, kind, H = self._weights, self._weights.kind, self._weights.hidden_size
        if not self._is_small(x.shape):
            return None
        steps, batch = len(x), x.shape[1] if x.ndim == 2 else 1

        def array(count, width=H, wanted=True):
            return aligned_empty((count, batch, width), w.dtype) if wanted else None

        gates = kind.blocks * H
        tape = array(steps + 1), array(steps + 1, H, kind.keeps), array(steps, gates, kind.keeps)
        dstate = array(1)[0]
        dc = array(1)[0] if kind.states == 2 else None
        back = (array(steps), dstate, dc, array(steps, gates, kind.keeps),
                array(steps, H, kind.apart))
        tokens, targets = np.empty((2, steps, batch), np.intp)
        return self._kernels.Trainer(
            w, tokens, targets, tape, array(steps, w.output_size), np.empty((steps, batch)), back
        )

    def _is_small(self, shape):
        # of one block: sums of gradients over more would not have the bits of the general pass
        w = self._weights
        widest = max(w.kind.blocks * w.hidden_size, w.output_size)
        return len(shape) in (1, 2) and 0 < math.prod(shape) * widest <= BLOCK_NUMBERS


def _again(made, x, make, run):
    """Return ``run(made)`` of what ``make(x)`` made for this shape; None the first time it comes.

    Or None, where ``make`` returns that. Only what is for the last shape is kept, in a dict.
    """
    shape = x.shape
    own = made.pop(shape, False)  # no other thread finds it at work
    if own is None:
        own = make(x)
    result = run(own) if own else None
    made.clear()
    made[shape] = own or None
    return result


class _Inference:
    """Passes over floats of one shape, as ``net(x)`` does them.

    Parameters
    ----------
    kernels : namespace
    weights : Weights
        Of one layer in one direction.
    x : ndarray (T, B, I) or (T, I)
    """

    def __init__(self, kernels, weights, x):
        self._weights, self._batched = weights, x.ndim == 3
        steps, batch = len(x), x.shape[1] if self._batched else 1
        H, kind = weights.hidden_size, weights.kind
        self._work = steps * batch * weights.work(is_tokens=False)
        self._shapes = (steps + 1, batch, H), (steps, batch, weights.output_size)
        self._states = self._new(self._shapes[0])
        initial = np.zeros((kind.states, batch, H), weights.dtype)
        any_x = self._new((0, batch, weights.input_size))  # each call brings its own x, and its y
        any_y = self._new((0, batch, weights.output_size)) if weights.has_readout else None
        run = Run(
            kernels, weights.layers[0], any_x, initial, self._states, None,
            lambda use, shape: self._new(shape), tapes=False,
        )
        end = steps % 2
        self._c = [each[end : end + 1] for each in run.carried[1:]]  # after the last step
        self._runner = kernels.Runner(weights, any_x, self._states, run.kept, run.gates, any_y)

    def _new(self, shape):
        return aligned_empty(shape, self._weights.dtype)

    def run(self, x):
        """Return outputs and last states, or None where the general pass is wanted."""
        if threads.are_worth(self._work):
            return None
        y, states = None, self._states
        if self._weights.has_readout:
            y = self._new(self._shapes[1])
        else:  # outputs are states, and the caller's
            states = self._new(self._shapes[0])
        if not self._runner.run(x, states, y):
            return None
        if y is None:
            y = states[1:]
        last = [states[-1:], *self._c]
        if not self._batched:
            y, last = y[:, 0], [each[:, 0] for each in last]
        return y, checks.public([each.copy() for each in last])
