"""Losses: checked targets, and the weight of each."""

from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.base.sequences import how_read, valid_steps
from crnn.kernels.memory import count_between

LOSSES = ("softmax", "sigmoid", "mse")
REDUCTIONS = ("mean", "sum")


class Objective(NamedTuple):
    """A loss with its targets, checked."""

    loss: str
    targets: np.ndarray  # (T, B) or (T, B, O); T is 1 when only the last outputs count
    valid: np.ndarray | None  # (T, B) of bool for sigmoid and mse
    scale: float  # what the sum of losses is multiplied with
    last_only: bool  # many to one: targets for each sequence's last outputs


def checked_objective(loss, targets, sequence, output_size, reduction, dtype):
    """Check the arguments of a loss and return its `Objective`.

    Parameters
    ----------
    loss : {"softmax", "sigmoid", "mse"}
    targets : array_like
        Softmax: integers (T, B) or (B,), -1 for none. Others: (T, B, O) or (B, O). Without B for
        one sequence.
    sequence : Sequence
        The checked input.
    output_size : int
        O.
    reduction : {"mean", "sum"}
    dtype : numpy.dtype
    """
    loss, reduction = options(loss, reduction)
    steps, batch_size = sequence.steps, sequence.batch_size
    each = (batch_size,) if sequence.batched else ()
    features = () if loss == "softmax" else (output_size,)
    array = checks.plain_array(targets, "targets")
    try:
        last_only = _counts_last_only(array, (steps, *each), each, features)
    except ValueError as error:
        hint = _one_hot_hint(array, loss, sequence, output_size)
        read = how_read(steps, batch_size, sequence.batched)
        raise ValueError(f"{error}{hint}{read}") from error
    if loss == "softmax":
        array = _classes(array, output_size)
    else:
        array = checks.real_array(array, "targets", dtype, array.shape)
    array = array.reshape(1 if last_only else steps, batch_size, *features)
    valid = _valid(sequence, last_only)
    if loss == "softmax":
        if valid is not None:
            array[~valid] = -1
        count, valid = count_between(array, 0, output_size), None
    else:
        valid = np.ones(array.shape[:2], bool) if valid is None else valid
        count = int(valid.sum()) * output_size
    scale = 1.0 if reduction == "sum" else 1.0 / max(count, 1)
    return Objective(loss, array, valid, scale, last_only)


def options(loss, reduction):
    """Return a loss and a reduction, both checked."""
    return (
        checks.choice(loss, "loss", LOSSES), checks.choice(reduction, "reduction", REDUCTIONS)
    )


def _counts_last_only(array, all_steps, last_step, features):
    if array.shape == all_steps + features:
        return False
    if array.shape == last_step + features:
        return True
    raise ValueError(
        f"targets have shape {array.shape}; {all_steps + features}, one for every step, or"
        f" {last_step + features}, one for the last step, is wanted"
    )


def _one_hot_hint(array, loss, sequence, output_size):
    """Return what to do about a row of O numbers where a class is wanted."""
    of_steps = (sequence.steps, *sequence.batch, output_size)
    if loss != "softmax" or array.shape not in (of_steps, of_steps[1:]):
        return ""
    return "; they are numbers of classes: of one-hot rows these are targets.argmax(-1)"


def _classes(array, output_size):
    if array.dtype.kind == "f" and array.size:
        raise TypeError(
            f"targets have dtype {array.dtype}; classes are integers: targets.astype(int)"
            " (loss='mse' takes numbers)"
        )
    given = np.array(checks.whole_array(array, "targets"))  # checked and used: it must not change
    array = checks.ready(given, checks.INTP)
    if given.dtype != checks.INTP or count_between(array, -1, output_size) < array.size:
        lowest, highest = int(given.min(initial=0)), int(given.max(initial=0))
        if lowest < -1 or highest >= output_size:
            raise ValueError(
                f"targets have the class {lowest if lowest < -1 else highest}; the network's"
                f" outputs are classes 0 to {output_size - 1}, and -1 means no target"
            )
    return array


def _valid(sequence, last_only):
    """Return which targets count, (T, B), or (1, B) for the last step only; None: all of them."""
    lengths = sequence.lengths
    if last_only:
        return np.full((1, sequence.batch_size), sequence.steps > 0) if lengths is None else (
            lengths > 0)[None, :]
    return None if lengths is None else valid_steps(lengths, sequence.steps)
