"""How much each target counts: weights of samples and of classes, and targets that are missing."""

from collections.abc import Mapping
from numbers import Real
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.base.sequences import valid_steps

ERROR = "error"  # what a missing target means unless a caller says otherwise
MISSING = (ERROR, "skip")


class Weighting(NamedTuple):
    """How targets count, as callers say it: see `RNN.loss`."""

    sample_weight: object = None
    class_weight: object = None
    missing: str = "error"


def weighting(sample_weight, class_weight, missing):
    """Return the `Weighting` of these; None where all targets count alike."""
    if sample_weight is None and class_weight is None and (
            isinstance(missing, str) and missing == "error"):
        return None
    return Weighting(sample_weight, class_weight, checks.choice(missing, "missing", MISSING))


def target_weights(given, loss, targets, sequence, last_only, output_size):
    """Return the weights of targets; None where all are 1.

    Parameters
    ----------
    given : Weighting or None
    loss : Loss
    targets : ndarray (T, B) of classes, or (T, B, n)
    sequence : Sequence
    last_only : bool
        Whether T is 1, for each sequence's last outputs.
    output_size : int

    Returns
    -------
    ndarray of float64 (T, B), or (T, B, n) where some numbers of a step are missing; or None
    """
    weights = _valid(sequence, last_only)
    if given is None:
        return weights
    if given.sample_weight is not None:
        own = _sample_weights(given.sample_weight, targets.shape[:2], sequence, last_only)
        weights = own if weights is None else weights * own
    if given.missing == "skip" and loss.name != "softmax":
        weights = _without_missing(weights, targets)
    if given.class_weight is not None:
        weights = _class_weights(given.class_weight, loss, targets, weights, output_size)
    return None if weights is None else np.ascontiguousarray(weights)


def of_each_number(weights):
    """Return weights (T, B) with an axis for the numbers of a step, and those that have one."""
    return weights if weights.ndim == 3 else weights[:, :, None]


def _valid(sequence, last_only):
    """Return 1 where a sequence is not over, 0 elsewhere, (T, B) or (1, B); None: 1 everywhere."""
    lengths = sequence.lengths
    if last_only:
        valid = np.full(sequence.batch_size, sequence.steps > 0) if lengths is None else lengths > 0
        return None if valid.all() else valid[None].astype(float)
    return None if lengths is None else valid_steps(lengths, sequence.steps).astype(float)


def _sample_weights(value, shape, sequence, last_only):
    array = checks.plain_array(value, "sample_weight")
    for_steps, for_sequences = (sequence.steps, *sequence.batch), sequence.batch
    if array.shape != for_sequences and (last_only or array.shape != for_steps):
        wanted = f"{for_sequences}, one for each sequence,"
        raise ValueError(
            f"sample_weight has shape {array.shape};"
            f" {wanted if last_only else f'{for_steps}, one for each step, or {wanted}'} is wanted"
        )
    array = checks.sample_weight(array, array.shape)
    if not array.size:
        return np.ones(shape)
    return np.array(np.broadcast_to(array.reshape(-1, sequence.batch_size), shape))


def _without_missing(weights, targets):
    """Return weights that are 0 where targets are NaN, each number on its own."""
    missing = np.isnan(targets)
    if not missing.any():
        return weights
    of_steps = np.ones(targets.shape[:2]) if weights is None else weights
    return np.where(missing, 0.0, of_each_number(of_steps))


# --- classes -------------------------------------------------------------------------------------


def _class_weights(value, loss, targets, weights, output_size):
    """Return weights times those of the targets' classes."""
    classes = _classes_of(loss, targets, weights)
    count = output_size if loss.name == "softmax" else 2
    if isinstance(value, str):
        checks.choice(value, "class_weight", ("balanced",))
        value = balanced(np.bincount(classes[classes >= 0], minlength=count))
    own = np.append(_table(value, count), 0.0)[classes]  # -1, which has no class, takes the last
    if weights is None:
        return own
    return weights * (own if weights.ndim == 2 else of_each_number(own))


def _classes_of(loss, targets, weights):
    """Return the class of each step's target (T, B); -1 for none, and where it does not count."""
    counts = np.ones(targets.shape[:2], bool) if weights is None else (
        of_each_number(weights)[:, :, 0] != 0)
    if loss.name == "softmax":
        classes = targets
    elif loss.name == "sigmoid" and targets.shape[2] == 1:
        real = targets[:, :, 0].real
        classes = np.where(real == 1, 1, np.where(real == 0, 0, -1))
        if (counts & (classes < 0)).any():
            raise ValueError(
                f"targets have the number {real[counts & (classes < 0)][0]}; with class_weight they"
                " are classes, 0 or 1"
            )
    else:
        outputs = "" if loss.name != "sigmoid" else f" with {targets.shape[2]} outputs"
        raise ValueError(
            f"class_weight is for targets that are classes, but the loss is {loss!r}{outputs}; it"
            " goes with 'softmax', and with 'sigmoid' of one output: pass sample_weight"
        )
    return np.where(counts, classes, -1)


def _table(value, count):
    """Return the weights of all classes, (count,), from a mapping; 1 for those it has not."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"class_weight is a {type(value).__name__}; a mapping of classes to weights, such as"
            " {0: 1, 1: 5}, or 'balanced' is wanted"
        )
    table = np.ones(count)
    for key, weight in value.items():
        number = checks.whole_number(key, "a class of class_weight", 0, count - 1)
        table[number] = checks.option(
            f"the weight of class {number}", weight, Real, "a finite number of at least 0",
            lambda each: 0 <= each < np.inf)
    return table


def class_counts(objective, output_size):
    """Return how many targets of an `Objective` count for each class, (classes,)."""
    classes = _classes_of(objective.loss, objective.targets, objective.weights)
    count = output_size if objective.loss.name == "softmax" else 2
    return np.bincount(classes[classes >= 0], minlength=count)


def balanced(counts):
    """Return the weights of classes, by class, under which all that occur weigh the same together.

    ``counts`` says how often each occurs; the mean weight of all targets is 1, as scikit-learn's.
    """
    found = np.flatnonzero(counts)
    return {int(k): float(counts.sum() / (len(found) * counts[k])) for k in found}
