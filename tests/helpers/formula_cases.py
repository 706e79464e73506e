"""The arguments of every compiled function that has a twin of its own, and how both are run."""

import numpy as np
import pytest
from builds import normal

# --- the arguments of every function -------------------------------------------------------------
# Each maker returns the arguments, how many of them are outputs (named first), the number of terms
# in the longest sum, and the number of steps that follow each other.


def activation(rng, dtype, size, nonlinearity):
    return [3 * normal(rng, dtype, size), nonlinearity], 1, 1, 1


def slots(rng, dtype, size, *there):
    """Return velocities or means of gradients, None for those that a formula does without."""
    return [normal(rng, dtype, size) if each else None for each in there]


def squares(rng, dtype, size):
    """Return a mean of squares that is above the square of any mean of gradients here."""
    return (20 + rng.random(size)).astype(dtype)


def sgd_update(rng, dtype, size, momentum, nesterov, weight_decay):
    w, m, g = slots(rng, dtype, size, True, momentum, True)
    return [w, m, g, 0.1, momentum, nesterov, weight_decay], 2, UPDATE, 1


def adagrad_update(rng, dtype, size, weight_decay):
    w, g = slots(rng, dtype, size, True, True)
    return [w, squares(rng, dtype, size), g, 0.1, 1e-3, weight_decay], 2, UPDATE, 1


def rmsprop_update(rng, dtype, size, centered, momentum, weight_decay):
    w, a, m, g = slots(rng, dtype, size, True, centered, momentum, True)
    v = squares(rng, dtype, size)
    return [w, v, a, m, g, 0.1, 0.9, 1e-3, weight_decay, momentum], 4, UPDATE, 1


def adam_update(rng, dtype, size, weight_decay, keep):
    w, m, g = slots(rng, dtype, size, True, True, True)
    v, numbers = squares(rng, dtype, size), (0.1, 0.9, 0.99, 0.19, 0.0199, 1e-3, weight_decay, keep)
    return [w, m, v, g, *numbers], 3, UPDATE, 1


def norm(rng, dtype, size):
    return [normal(rng, dtype, size)], 0, size, 1


def is_finite(rng, dtype, size, others):
    x = normal(rng, dtype, size)
    x[:others] = rng.choice([np.nan, np.inf, -np.inf], min(others, size))
    return [rng.permutation(x)], 0, 1, 1


ACTIVATIONS = ["tanh", "relu", "sigmoid"]
UPDATE = 4  # an update of one entry rounds as often as a sum of that many products
SIZES = [(1,), (3,), (17,), (33,), (65,), (257,), (1000,)]
CASES = [
    pytest.param(maker, (*sizes, *more), id="-".join(map(str, (maker.__name__, *sizes, *more))))
    for makers, all_sizes, all_more in [
        ([activation], [(1,), (17,), (257,)], [(f,) for f in ACTIVATIONS]),
        ([sgd_update], SIZES, [(0, 0, 0), (0, 0, 0.05), (0.9, 0, 0.05), (0.9, 1, 0.05)]),
        ([adagrad_update], SIZES, [(0,), (0.05,)]),
        ([rmsprop_update], SIZES, [(0, 0, 0), (0, 0.9, 0.05), (1, 0, 0.05), (1, 0.9, 0.05)]),
        ([adam_update], SIZES, [(0, 1), (0.05, 1), (0, 0.99)]),
        ([norm], SIZES, [()]),
        ([is_finite], SIZES, [(0,), (1,), (5,)]),
    ]
    for maker in makers
    for sizes in all_sizes
    for more in all_more
]


def run(functions, name, arguments):
    """Return what a function makes of copies of the arguments, and what it returns.

    The reference's activation returns a new array, where the compiled one overwrites.
    """
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    result = getattr(functions, name)(*copies)
    if name == "activation" and result is not None:
        copies[0], result = result, None
    return copies, result
