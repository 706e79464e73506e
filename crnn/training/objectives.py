"""What `fit` minimizes: one of crnn's losses, with weights, or a function of one's own."""

import math

import numpy as np

from crnn.base.losses import LOSSES, checked_loss
from crnn.base.sequences import checked_sequence
from crnn.base.weights import balanced, class_counts, weighting


def objective(net, loss, class_weight=None, missing="error"):
    """Return the objective of a loss of crnn's, or of a function."""
    if callable(loss) and not isinstance(loss, type):
        if class_weight is not None or missing != "error":
            raise ValueError(
                "loss is a function, which weighs targets itself; leave out class_weight and"
                " missing"
            )
        return FunctionObjective(net, loss)
    return LossObjective(net, loss, class_weight, missing)


class _Objective:
    """What losses of crnn's and functions share.

    Attributes
    ----------
    net : RNN, GRU or LSTM
    name : str
        For the account of a training.
    loss_name : str or None
        Of crnn's loss, without its options; None of a function.
    """

    def pass_by(self, chunk, state):
        """Return the last state alone, of a chunk whose targets do not count."""
        return self.net.engine.infer(chunk.x, state, chunk.lengths)[1]


class LossObjective(_Objective):
    """One of crnn's losses.

    Attributes
    ----------
    class_weight : dict of int to float, "balanced" or None
        "balanced" only until it is known how often each class is among all data.
    missing : {"error", "skip"}
    """

    def __init__(self, net, loss, class_weight, missing):
        self.net, self._loss = net, checked_loss(loss)
        is_default = LOSSES[self._loss.name] == self._loss
        self.loss_name = self._loss.name
        self.name = self.loss_name if is_default else repr(self._loss)
        weighting(None, class_weight, missing)
        self.class_weight, self.missing = class_weight, missing

    def has_classes(self, targets):
        """Whether targets are integers, and have no axis for outputs."""
        return self.loss_name == "softmax"

    def validate(self, batch):
        """Raise what `value` would raise, without computing it; return the checked targets."""
        return self.net.engine.validate(
            batch.x, batch.targets, self._loss, batch.lengths, self._weighting(batch))

    def weighed(self, batch):
        """Return the checked targets with their weights; None where all weigh the same."""
        if self._weighting(batch) is None and self.net.engine.mask is None:
            return None
        return self.validate(batch)

    def balance(self, batches, ranks):
        """Give each class the weight for which the batches of all ranks have the same weight."""
        self.class_weight, classes = None, self.net.engine.output_size
        counts = sum(class_counts(self.validate(batch), classes) for batch in batches)
        self.class_weight = balanced(ranks.total(counts).astype(np.intp))

    def value(self, chunk, state):
        """Return the mean loss and the last state."""
        return self.net.engine.loss(
            chunk.x, chunk.targets, state, self._loss, "mean", chunk.lengths,
            self._weighting(chunk))

    def gradients(self, chunk, state):
        """Return the mean loss, its gradients and the last state."""
        return self.net.engine.loss_and_gradients(
            chunk.x, chunk.targets, state, self._loss, "mean", chunk.lengths,
            self._weighting(chunk), wants_x=False)

    def _weighting(self, batch):
        return weighting(batch.sample_weight, self.class_weight, self.missing)


class FunctionObjective(_Objective):
    """A function ``loss(y, targets)`` that returns its value and its gradient with respect to y.

    y is (T, B, O), or (T, O), as the network gives it. Targets are integers, as for softmax, or
    numbers with an axis for outputs, of any length. Beyond a sequence's length they are missing.
    """

    loss_name, class_weight, missing = None, None, "error"

    def __init__(self, net, function):
        if net.engine.mask is not None:
            raise ValueError(
                "loss is a function, which cannot know which steps the network leaves out (Masking,"
                " mask_zero); name one of crnn's losses, or leave such steps out of x and build the"
                " network without a mask"
            )
        self.net, self._function = net, function
        self.name = f"function {getattr(function, '__name__', type(function).__name__)}"

    def has_classes(self, targets):
        """Whether targets are integers, and have no axis for outputs."""
        if isinstance(targets, (list, tuple)) and len(targets):
            targets = targets[0]
        return np.asanyarray(targets).dtype.kind in "biu"

    def validate(self, batch):
        """Raise TypeError, ValueError or IndexError if x or its lengths do not fit the network."""
        sequence = checked_sequence(
            batch.x, None, batch.lengths, self.net.engine.layers, self.net.dtype,
            self.net.engine.lookout)
        if batch.sample_weight is not None:
            raise ValueError(
                "loss is a function, which weighs targets itself; leave out sample_weight")
        each, last = (sequence.steps, *sequence.batch), sequence.batch
        axes = batch.targets.ndim - (not self.has_classes(batch.targets))
        if batch.targets.shape[:axes] not in (each, last):
            raise ValueError(
                f"targets have shape {batch.targets.shape}; {each}, one for every step, or {last},"
                " one for the last step, is wanted, and for numbers an axis after it"
            )
        is_ragged = sequence.lengths is not None and (sequence.lengths != sequence.steps).any()
        if axes == len(last) and (is_ragged or self.net.bidirectional):
            raise ValueError(
                "loss is a function, which cannot know where in y the last states are of sequences"
                " of unequal lengths, or of a bidirectional network; give a target for every step"
            )

    def weighed(self, batch):
        """Return None: all targets weigh the same."""

    def value(self, chunk, state):
        """Return the mean loss and the last state."""
        y, state = self.net.engine.infer(chunk.x, state, chunk.lengths)
        return self._called(y, chunk)[0], state

    def gradients(self, chunk, state):
        """Return the mean loss, its gradients and the last state."""
        y, state, tape = self.net.engine.forward(chunk.x, state, chunk.lengths)
        value, dy = self._called(y, chunk)
        return value, self.net.engine.backward(tape, dy, None, wants_x=False), state

    def _called(self, y, chunk):
        found = self._function(y, self._with_missing(chunk))
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"loss returned a {type(found).__name__}; a tuple is wanted: its value, and dy, the"
                " gradient of the value with respect to y, in y's shape"
            )
        value, dy = found
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"the value that loss returned is {value!r}; a number is wanted"
                            ) from None
        if not math.isfinite(value) and chunk.lengths is not None:
            raise FloatingPointError(
                f"the value that loss returned is {value}; it is to leave out targets beyond a"
                " sequence's length, which are -1 where they are classes and NaN otherwise"
            )
        if math.isfinite(value) and np.shape(dy) != y.shape:
            raise ValueError(f"the dy that loss returned has shape {np.shape(dy)}; {y.shape}, that"
                             " of y, is wanted")
        return value, dy

    def _with_missing(self, chunk):
        """Return a chunk's targets, those beyond a sequence's length missing."""
        if chunk.lengths is None:
            return chunk.targets
        has_classes = self.has_classes(chunk.targets)
        targets = np.array(chunk.targets, None if has_classes else self.net.dtype)
        if targets.ndim - (not has_classes) > chunk.lengths.ndim:  # for every step
            times = np.arange(len(chunk.x)).reshape(-1, *[1] * chunk.lengths.ndim)
            targets[times >= chunk.lengths] = -1 if has_classes else np.nan
        return targets
