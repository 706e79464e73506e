"""What a pass is to lower: a loss with its targets, and the weight of each."""

from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.base.losses import Loss, checked_loss
from crnn.base.sequences import check_last, how_read, valid_steps
from crnn.base.weights import of_each_number, target_weights
from crnn.kernels.memory import count_between

REDUCTIONS = ("mean", "sum")


class Objective(NamedTuple):
    """A loss with its targets, checked."""

    loss: Loss
    targets: np.ndarray  # (T, B) or (T, B, n); T is 1 when only the last outputs count
    weights: np.ndarray | None  # as `target_weights` returns them; of softmax only those given
    count: int  # targets that count: classes, or numbers
    scale: float  # what the sum of losses is multiplied with
    last_only: bool  # many to one: targets for each sequence's last outputs


def checked_objective(loss, targets, sequence, output_size, reduction, dtype, weighting=None):
    """Check the arguments of a loss and return its `Objective`.

    Parameters
    ----------
    loss : str or Loss
    targets : array_like
        Softmax: integers (T, B) or (B,), -1 for none. Others: (T, B, n) or (B, n), where n is O
        divided by the blocks of the loss. Without B for one sequence.
    sequence : Sequence
        The checked input.
    output_size : int
        O.
    reduction : {"mean", "sum"}
    dtype : numpy.dtype
    weighting : Weighting or None
    """
    loss, reduction = checked_loss(loss), checks.choice(reduction, "reduction", REDUCTIONS)
    features = () if loss.name == "softmax" else (_target_size(loss, output_size),)
    array = checks.plain_array(targets, "targets")
    try:
        last_only = _counts_last_only(array, (sequence.steps, *sequence.batch), sequence.batch,
                                      features)
    except ValueError as error:
        hint = _hint(array, loss, sequence, output_size)
        read = how_read(sequence.steps, sequence.batch_size, sequence.batched)
        raise ValueError(f"{error}{hint}{read}") from error
    steps = 1 if last_only else sequence.steps
    if loss.name == "softmax":
        array = _classes(array, output_size)
    else:
        array = checks.real_array(array, "targets", dtype, array.shape)
    array = array.reshape(steps, sequence.batch_size, *features)
    weights = target_weights(weighting, loss, array, sequence, last_only, output_size)
    if loss.name == "softmax":
        if weights is not None:
            array[weights == 0] = -1
        if weighting is None:
            weights = None
        count = count_between(array, 0, output_size)
    else:
        if loss.name == "sigmoid":
            _check_probabilities(array, weights)
        count = _count(array, weights)
    scale = 1.0 if reduction == "sum" else 1.0 / max(count * loss.terms, 1)
    return Objective(loss, array, weights, count, scale, last_only)


def check_outputs(objective, readout, skip):
    """Raise ValueError if an `Objective` does not go with the top of a network.

    Parameters
    ----------
    objective : Objective
    readout : ReadoutSpec or None
    skip : bool
    """
    check_last(objective.last_only, skip)
    activation, loss = "linear" if readout is None else readout.activation, objective.loss.name
    if loss in ("softmax", "sigmoid") and activation not in ("linear", loss):
        raise ValueError(
            f"the loss is {loss!r} and the network's last layer has the activation {activation!r};"
            f" that loss goes with {loss!r}, or with 'linear', as it has its own way from outputs"
            " to probabilities"
        )


def _target_size(loss, output_size):
    if output_size % loss.blocks:
        raise ValueError(
            f"the network has {output_size} outputs; the loss {loss!r} takes {loss.blocks} for each"
            f" target, so a multiple of {loss.blocks} is wanted as output_size"
        )
    return output_size // loss.blocks


def _counts_last_only(array, all_steps, last_step, features):
    if array.shape == all_steps + features:
        return False
    if array.shape == last_step + features:
        return True
    raise ValueError(
        f"targets have shape {array.shape}; {all_steps + features}, one for every step, or"
        f" {last_step + features}, one for the last step, is wanted"
    )


def _hint(array, loss, sequence, output_size):
    """Return what to do about rows where a class is wanted, or numbers without their own axis."""
    of_steps = (sequence.steps, *sequence.batch)
    if loss.name != "softmax":
        if loss.blocks != output_size:
            return ""
        if array.shape in (of_steps, of_steps[1:]):
            return "; of one number each: targets[..., None]"
        is_list = array.shape == (sequence.batch_size, sequence.steps)
        return "; of a number for each step, in a list: [:, None] of each" if is_list else ""
    if array.shape not in ((*of_steps, output_size), (*of_steps[1:], output_size)):
        return ""
    rows = array.reshape(-1, sequence.batch_size, output_size)
    if sequence.lengths is not None and len(rows) == sequence.steps:
        rows = rows[valid_steps(sequence.lengths, sequence.steps)]
    if not np.isin(rows, (0, 1)).all():
        return "; numbers are for another loss, such as loss='mse'"
    if (rows.sum(-1) == 1).all():
        return "; of one-hot rows pass the classes: targets.argmax(-1), in a list that of each"
    return "; rows of 0 and 1, of which any number may be 1, are for loss='sigmoid'"


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
            is_from_1 = highest == output_size and given[given != -1].min() == 1
            hint = "; of classes from 1 take targets - 1" * int(is_from_1)
            raise ValueError(
                f"targets have the class {lowest if lowest < -1 else highest}; the network's"
                f" outputs are classes 0 to {output_size - 1}, and -1 means no target{hint}"
            )
    return array


def _check_probabilities(array, weights):
    """Raise unless all targets that count are from 0 to 1."""
    real = array.real
    if real.min(initial=0) >= 0 and real.max(initial=0) <= 1:
        return
    outside = ~((real >= 0) & (real <= 1))  # NaN too
    if weights is not None:
        outside &= of_each_number(weights) != 0
    if outside.any():
        raise ValueError(
            f"targets have the number {real[outside][0]}; those of the loss 'sigmoid' are"
            " probabilities, from 0 to 1 (for missing ones, NaN, say missing='skip'; for numbers of"
            " any size take another loss, such as 'mse')"
        )


def _count(array, weights):
    """Return how many numbers of the targets count."""
    if weights is None:
        return array.size
    counted = int(np.count_nonzero(weights))
    return counted if weights.ndim == 3 else counted * array.shape[2]
