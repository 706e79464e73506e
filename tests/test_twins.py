"""Every compiled function against its NumPy twin, and bits that AVX2 and AVX-512 must share.

What the classes run is in test_twins_passes.py.

Differences are measured against the largest entry of each array: a sum whose terms cancel has no
accuracy of its own, so a tolerance for every single entry would say nothing.
"""

import importlib
import inspect

import numpy as np
import pytest
from builds import (
    each_dtype,
    each_instruction_set,
    kernels_of,
    needs_avx512,
    normal,
)

from crnn import reference

pytestmark = pytest.mark.no_backend


def tolerance(dtype, terms, steps=1):
    """Bound the difference of two ways to add `terms` products, `steps` times one after the other.

    Each addition rounds by at most eps / 2 of the sum so far. The roundings of n additions are
    independent and add up to about sqrt(n) * eps / 2; the factor 4 covers two ways to add, the
    largest of many entries, and the few roundings of tanh, exp and log. Each step hands its error
    on through weights of norm 0.9 and a slope of at most 1, so the errors of all steps add up to
    at most 1 / (1 - 0.9) = 10 times that of one. In float64 1e-12 is above this for every size.
    """
    if dtype == "float64":
        return 1e-12
    return 4 * np.sqrt(terms) * np.finfo(dtype).eps * min(steps, 10)


def assert_close(actual, expected, rtol, what=""):
    """Compare arrays or numbers, relative to the largest entry; None equals None."""
    if expected is None:
        assert actual is None, what
        return
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= rtol * np.abs(expected).max(initial=0), what


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
    """Return what a function makes of copies of the arguments, and what it returns."""
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    return copies, getattr(functions, name)(*copies)


# --- the functions -------------------------------------------------------------------------------


# Formulas with a function in the reference only: in a build the classes run them, and are held to
# them in test_twins_passes.py.
RUN_BY_CLASSES = {
    "linear", "linear_gradients", "bias_gradients", "lookup", "lookup_gradients", "product",
    "softmax_loss", "sigmoid_loss", "mse_loss",
}
CLASSES = {"Layer", "Readout", "Stepper"}


@each_instruction_set
def test_both_have_the_same_functions_and_arguments(isa):
    assert set(reference.__all__) > RUN_BY_CLASSES
    names = set(reference.__all__) - RUN_BY_CLASSES
    module = vars(importlib.import_module(f"crnn.kernels.{isa}"))
    public = {name for name, value in module.items() if not name.startswith("_")
              and callable(value)}
    # the work of these is that of Layer and Readout
    assert public - {"Trainer", "Group", "Runner"} == names
    assert {case.values[0].__name__ for case in CASES} == names - CLASSES - {"pack"}
    for name in names - CLASSES - {"activation"}:
        ours = inspect.signature(getattr(kernels_of(isa, "float32"), name)).parameters
        assert list(ours) == list(inspect.signature(getattr(reference, name)).parameters)
    for name in CLASSES:
        theirs = {key for key in vars(getattr(reference, name)) if not key.startswith("_")}
        assert theirs <= set(dir(module[name]))


@each_instruction_set
@each_dtype
@pytest.mark.parametrize(("maker", "sizes"), CASES)
def test_function_equals_its_twin(rng, isa, dtype, maker, sizes):
    arguments, outputs, terms, steps = maker(rng, dtype, *sizes)
    name, rtol = maker.__name__, tolerance(dtype, terms, steps)
    ours, our_result = run(kernels_of(isa, dtype), name, arguments)
    theirs, their_result = run(reference, name, arguments)
    for i, (our, their) in enumerate(zip(ours[:outputs], theirs[:outputs], strict=True)):
        assert_close(our, their, rtol, f"argument {i}")
    for ours_or_theirs in (ours, theirs):
        for after, before in zip(ours_or_theirs[outputs:], arguments[outputs:], strict=True):
            np.testing.assert_array_equal(after, before, strict=isinstance(after, np.ndarray))
    assert type(our_result) is type(their_result)
    if isinstance(their_result, bool):
        assert our_result == their_result
    else:
        assert_close(our_result, their_result, rtol, "result")


@needs_avx512
@each_dtype
@pytest.mark.parametrize(("maker", "sizes"), CASES)
def test_avx2_and_avx512_give_the_same_bits(rng, dtype, maker, sizes):
    arguments = maker(rng, dtype, *sizes)[0]
    (wide, wide_result), (narrow, narrow_result) = (
        run(kernels_of(isa, dtype), maker.__name__, arguments) for isa in ("avx512", "avx2")
    )
    for ours, theirs in zip(wide, narrow, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=isinstance(ours, np.ndarray))
    assert wide_result == narrow_result
