"""Every compiled function against its NumPy twin, and bits that AVX2 and AVX-512 must share.

Differences are measured against the largest entry of each array: a sum whose terms cancel has no
accuracy of its own, so a tolerance for every single entry would say nothing.
"""

import importlib
import inspect

import numpy as np
import pytest
from builds import (
    NONLINEARITIES,
    each_dtype,
    each_instruction_set,
    kernels_of,
    needs_avx512,
    packed,
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
# in the longest sum, and the number of steps that follow each other. Weights that a function wants
# packed are `Packed` here: each side packs its own.


class Packed(np.ndarray):
    """A weight that is packed before a function gets it."""


def to_pack(W):
    return np.array(W).view(Packed)


def normal(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


def unset(dtype, *shape):
    return np.full(shape, np.nan, dtype)


def recurrent_weights(rng, dtype, hidden):
    W = rng.standard_normal((hidden, hidden))
    return (0.9 * W / np.linalg.norm(W, ord=2)).astype(dtype)


def some_lengths(rng, ragged, steps, batch):
    """Return lengths of 0, of all steps and between, as far as the batch has room."""
    if not ragged:
        return None
    lengths = rng.integers(0, steps + 1, batch)
    lengths[: min(batch, 2)] = (steps, 0)[: min(batch, 2)]
    return lengths.astype(np.intp)


def linear(rng, dtype, steps, batch, inputs, outputs, has_bias=True):
    x, W = normal(rng, dtype, steps, batch, inputs), normal(rng, dtype, inputs, outputs)
    b = normal(rng, dtype, outputs) if has_bias else None
    return [unset(dtype, steps, batch, outputs), x, to_pack(W), b], 1, inputs, 1


def linear_gradients(rng, dtype, steps, batch, inputs, outputs, has_bias=True):
    rows, dW = steps * batch, normal(rng, dtype, inputs, outputs)
    db = normal(rng, dtype, outputs) if has_bias else None
    x, dy = normal(rng, dtype, rows, inputs), normal(rng, dtype, rows, outputs)
    return [dW, db, x, dy], 2, rows, 1


def lookup(rng, dtype, steps, batch, inputs, outputs):
    tokens = rng.integers(0, inputs, (steps, batch)).astype(np.intp)
    W, b = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    return [unset(dtype, steps, batch, outputs), tokens, W, b], 1, 1, 1


def lookup_gradients(rng, dtype, steps, batch, inputs, outputs):
    rows = steps * batch
    tokens = rng.integers(0, inputs, rows).astype(np.intp)
    dW, db = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    return [dW, db, tokens, normal(rng, dtype, rows, outputs)], 2, rows, 1


def rnn_forward(rng, dtype, steps, batch, hidden, nonlinearity="tanh", ragged=False):
    h, h0 = normal(rng, dtype, steps, batch, hidden), normal(rng, dtype, batch, hidden)
    W_hh, lengths = recurrent_weights(rng, dtype, hidden), some_lengths(rng, ragged, steps, batch)
    return [h, h0, to_pack(W_hh), nonlinearity, lengths], 1, hidden, steps


def rnn_backward(rng, dtype, steps, batch, hidden, nonlinearity="tanh", ragged=False):
    h, h0, W_hh, _, lengths = rnn_forward(rng, dtype, steps, batch, hidden, nonlinearity, ragged)[0]
    reference.rnn_forward(h, h0, W_hh, nonlinearity, lengths)
    dh, dstate = normal(rng, dtype, *h.shape), normal(rng, dtype, *h0.shape)
    if lengths is not None:
        dh[np.arange(steps)[:, None] >= lengths] = 0
    return [dh, dstate, h, to_pack(W_hh.T), nonlinearity, lengths], 2, hidden, steps


def softmax_loss(rng, dtype, steps, batch, outputs, size=5):
    targets = rng.integers(-1, outputs, (steps, batch)).astype(np.intp)
    y = size * normal(rng, dtype, steps, batch, outputs)
    return [unset("float64", steps, batch), y, targets, 0.37], 2, outputs, 1


def sigmoid_loss(rng, dtype, steps, batch, outputs, size=5):
    targets = rng.random((steps, batch, outputs)).astype(dtype)
    y, valid = size * normal(rng, dtype, *targets.shape), rng.random((steps, batch)) < 0.8
    return [unset("float64", steps, batch), y, targets, valid, 0.37], 2, outputs, 1


def mse_loss(rng, dtype, steps, batch, outputs, size=5):
    return sigmoid_loss(rng, dtype, steps, batch, outputs, size)


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


UPDATE = 4  # an update of one entry rounds as often as a sum of that many products
# Tiles are 4 rows high, panels 16 to 64 numbers wide, blocks of a gradient's rows 128 long.
ROWS = [(1, 1, 3, 17), (3, 1, 2, 33), (1, 17, 33, 1), (3, 11, 65, 5), (13, 5, 17, 257)]
ROWS += [(257, 1, 3, 65), (2, 9, 1, 16), (18, 8, 19, 1030), (5, 27, 257, 129)]
TIMES = [(1, 3, 17), (1, 1, 65), (3, 17, 33), (5, 1, 3), (17, 3, 1), (33, 2, 65), (3, 5, 257)]
TIMES += [(2, batch, 31) for batch in (4, 6, 7, 8, 9)]
LOSS_ROWS = [(1, 1, 3), (3, 1, 1), (1, 17, 33), (257, 1, 65), (3, 11, 257)]
SIZES = [(1,), (3,), (17,), (33,), (65,), (257,), (1000,)]
CASES = [
    pytest.param(maker, (*sizes, *more), id="-".join(map(str, (maker.__name__, *sizes, *more))))
    for makers, all_sizes, all_more in [
        ([linear, linear_gradients], ROWS, [(True,), (False,)]),
        ([lookup, lookup_gradients], ROWS, [()]),
        ([rnn_forward, rnn_backward], TIMES, [(f, r) for f in NONLINEARITIES for r in (0, 1)]),
        ([softmax_loss, sigmoid_loss, mse_loss], LOSS_ROWS, [(5,), (1000,)]),
        ([activation], [(1,), (17,), (257,)], [(f,) for f in NONLINEARITIES]),
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
    packs = [packed(functions, a) if isinstance(a, Packed) else a for a in copies]
    return copies, getattr(functions, name)(*packs)


# --- the functions -------------------------------------------------------------------------------


NOT_COMPILED = {"rnn_step", "product"}  # steps of others, which are not called from Python
CLASSES = {"RNNLayer", "Readout", "Stepper"}


@each_instruction_set
def test_both_have_the_same_functions_and_arguments(isa):
    names = set(reference.__all__) - NOT_COMPILED
    module = vars(importlib.import_module(f"crnn.kernels.{isa}"))
    public = {name for name, value in module.items() if not name.startswith("_")
              and callable(value)}
    assert public - {"Trainer"} == names  # whose work is that of RNNLayer and Readout
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


def assert_avx2_and_avx512_agree(name, dtype, arguments):
    (wide, wide_result), (narrow, narrow_result) = (
        run(kernels_of(isa, dtype), name, arguments) for isa in ("avx512", "avx2")
    )
    for ours, theirs in zip(wide, narrow, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=isinstance(ours, np.ndarray))
    assert wide_result == narrow_result


@needs_avx512
@each_dtype
@pytest.mark.parametrize(("maker", "sizes"), CASES)
def test_avx2_and_avx512_give_the_same_bits(rng, dtype, maker, sizes):
    assert_avx2_and_avx512_agree(maker.__name__, dtype, maker(rng, dtype, *sizes)[0])


@needs_avx512
@each_dtype
@pytest.mark.parametrize("maker", [softmax_loss, sigmoid_loss, mse_loss])
def test_avx2_and_avx512_give_the_same_bits_of_losses(rng, dtype, maker):
    """Sums over outputs, the only ones that a build may take in vectors of its own width."""
    for outputs in range(1, 40):
        for _ in range(20):
            assert_avx2_and_avx512_agree(maker.__name__, dtype, maker(rng, dtype, 3, 1, outputs)[0])
