"""Passes of small networks, in as few compiled calls as can be."""

import math

import numpy as np

from crnn.base import checks
from crnn.engine import threads
from crnn.engine.groups import Training, bounds
from crnn.engine.stack import BLOCK_NUMBERS, Run
from crnn.kernels.memory import aligned_empty


class QuickPasses:
    """Passes that keep their memory: small ones, and training by groups of sequences.

    A general pass would take longer to make and to ask what it needs than to run, or would run
    longer.

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
        self._trainings, self._runners = {}, {}  # the last pass: its shape, and how it is run

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
        result = _again(
            self._trainings, x, self._new_training,
            lambda training: training.run(gradients.vector, x, targets, state),
        )
        if result is None:
            return None
        loss, states, gradients.state = result
        return loss, states

    def in_groups(self, gradients, sequence, objective, wants_x):
        """Do any training pass, on checked input, where it is done by more than one group.

        Returns the loss and the last states; or None, with nothing done.
        """
        if not self._is_simple or objective.last_only:
            return None
        groups = bounds(self._weights, sequence.is_tokens, *sequence.x.shape[:2])
        if len(groups) < 2:
            return None
        shape, loss = sequence.x.shape, objective.loss
        key = shape if (sequence.is_tokens and loss == "softmax") else (shape, loss, wants_x)
        training = self._trainings.pop(key, None) or Training(
            self._kernels, self._weights, sequence.x, groups, loss, wants_x)
        losses, gradients.state, gradients.x = training.run_checked(
            gradients.vector, sequence, objective)
        self._trainings.clear()
        self._trainings[key] = training
        return objective.total(losses), sequence.states

    def _new_inference(self, x):
        w, (*rows, inputs) = self._weights, x.shape or (0,)
        widest = max(w.kind.blocks * w.hidden_size, w.output_size)
        is_small = len(rows) in (1, 2) and 0 < math.prod(rows) * widest <= BLOCK_NUMBERS
        if inputs != w.input_size or not is_small:
            return None
        return _Inference(self._kernels, w, x)

    def _new_training(self, x):
        if x.ndim not in (1, 2):
            return None
        batch = x.shape[1] if x.ndim == 2 else 1
        groups = bounds(self._weights, True, len(x), batch)
        return Training(self._kernels, self._weights, x, groups) if groups else None


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
