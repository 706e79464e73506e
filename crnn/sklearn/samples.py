"""What a network is trained on, in an order that depends on nothing but the samples themselves."""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.training.splitting import split


class Samples(NamedTuple):
    """Sequences with what belongs to each.

    Attributes
    ----------
    sequences : list of ndarray (T_i, I) or (T_i,)
    targets : list of ndarray
        For each sequence (), a class, or (O,) numbers; or for its steps (T_i,) or (T_i, O).
    weights : list of float64 ndarray
        For each sequence (), or for its steps (T_i,).
    """

    sequences: list
    targets: list
    weights: list

    def part(self, numbers):
        """Return the samples of these numbers."""
        return Samples(*([values[k] for k in numbers] for values in self))


def checked_weights(value, sequences, for_steps=False):
    """Return the weight of each sequence, or of each of its steps.

    Parameters
    ----------
    value : array_like (n,), or with for_steps also list of arrays (T_i,), or None
    sequences : list
    for_steps : bool

    Returns
    -------
    list of float64 ndarray, () or (T_i,)
    """
    lengths = [len(each) for each in sequences]
    if value is None:
        return [np.array(1.0)] * len(lengths)
    if for_steps and len(value) == len(lengths) and np.ndim(value[0]):
        weights = [checks.sample_weight(each, (length,))
                   for each, length in zip(value, lengths, strict=True)]
    else:
        weights = [np.array(each) for each in checks.sample_weight(value, (len(lengths),))]
    if not any(each.any() for each in weights):
        raise ValueError("sample_weight is zero for every sequence; at least one has to count")
    return weights


def counting(weights):
    """Return the numbers of the sequences that have a weight above 0."""
    return [k for k, each in enumerate(weights) if each.any()]


def canonical(samples):
    """Return different samples, in an order by content.

    Equal sequences with equal targets become one, whose weight is the sum of theirs. So training
    does not depend on the order in which samples come, and a sample that comes twice is one of
    weight 2. Weights are divided by their mean.
    """
    equals = {}
    for number, (sequence, target) in enumerate(zip(samples.sequences, samples.targets,
                                                    strict=True)):
        equals.setdefault(_digest(sequence) + _digest(target), []).append(number)
    groups = [equals[key] for key in sorted(equals)]
    weights = [np.sort([samples.weights[k] for k in group], axis=0).sum(0) for group in groups]
    flat = np.sort(np.concatenate([each.ravel() for each in weights]))
    mean = flat[0] if flat[0] == flat[-1] else flat.mean()  # equal ones become exactly 1
    first = samples.part([group[0] for group in groups])
    return first._replace(weights=[each / mean for each in weights])


def _digest(array):
    """Return 16 bytes that are the same for equal arrays, of integers or of floats of any width."""
    array = np.asarray(array)
    plain = np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" else np.float64)
    digest = blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(plain + 0)  # -0.0 becomes 0.0
    return digest.digest()


def held_out(samples, share, seed):
    """Return samples to train on, and a share of them to validate on.

    It is drawn at random, of classes evenly.
    """
    count = len(samples.sequences)
    held = min(max(1, round(share * count)), count - 1)
    if held < 1:
        raise ValueError("a single sequence cannot be split; patience needs some for validation")
    classes = samples.targets if np.ndim(samples.targets[0]) == 0 else None
    rest, kept = split(count, held, seed, classes)
    return samples.part(rest), samples.part(kept)
