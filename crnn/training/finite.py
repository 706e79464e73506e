"""NaN and infinity, which nothing can be trained on: found before training, with their place.

A single one in x makes every later state of its sequence NaN, and with it every parameter.
"""

import numpy as np

from crnn.base import checks
from crnn.base.sequences import valid_steps
from crnn.base.weights import of_each_number


def check_x(batch, dtype, first=0, sequences=None):
    """Raise ValueError for a number in x that is not finite, of a step within its sequence.

    Parameters
    ----------
    batch : Batch
        Some time steps of a batch, valid in all else.
    dtype : numpy.dtype
        Of the network: what is too large for it counts as infinite.
    first : int
        The number that the first of these steps has in its sequence.
    sequences : sequence of int, optional
        The numbers that the sequences have where they come from. Default: from 0.
    """
    x, lengths = batch.x, batch.lengths
    if x.dtype.kind not in "fc":  # tokens, or features that are whole numbers
        return
    wrong = ~np.isfinite(checks.ready(x, dtype))
    if lengths is not None and wrong.any():
        within = valid_steps(np.reshape(lengths, -1), len(x))
        wrong &= within.reshape(*wrong.shape[:-1], 1)
    if wrong.any():
        where = _first(wrong, ["step"] + ["sequence"] * (x.ndim == 3), first, sequences)
        raise ValueError(
            f"x has {x[wrong][0]} in {where}feature {_column(wrong)}; numbers that are finite in"
            f" {dtype} are wanted: leave such sequences out, or put 0 there, or the number before,"
            " and a further feature that says so"
        )


def check_targets(batch, checked, first=0, sequences=None):
    """Raise ValueError for a number among targets that counts and is not finite.

    Parameters
    ----------
    batch, first, sequences
        As for `check_x`.
    checked : Objective
        The targets in the network's dtype, with their weights.
    """
    targets, weights = checked.targets, checked.weights
    if targets.dtype.kind not in "fc":  # classes
        return
    wrong = ~np.isfinite(targets)
    if weights is not None:
        wrong &= of_each_number(weights) != 0
    if wrong.any():
        wrong = wrong.reshape(batch.targets.shape)
        has_steps = not checked.last_only
        axes = ["step"] * has_steps + ["sequence"] * (wrong.ndim == 2 + has_steps)
        where = _first(wrong, axes, first, sequences)
        raise ValueError(
            f"targets have {batch.targets[wrong][0]} in {where}output {_column(wrong)}; with"
            " missing='skip' those that are NaN are left out"
        )


def _first(wrong, axes, first, sequences):
    """Return in which step of which sequence the first wrong number is, ready to go on from."""
    places = [int(each) for each in np.unravel_index(wrong.argmax(), wrong.shape)][:-1]
    names = {"step": lambda place: f"step {place + first}", "sequence": lambda place: (
        f"sequence {place}" if sequences is None else f"sequences[{sequences[place]}]")}
    words = [names[axis](place) for axis, place in zip(axes, places, strict=True)]
    return " of ".join(words) + ", " * bool(words)


def _column(wrong):
    return wrong.argmax() % wrong.shape[-1]
