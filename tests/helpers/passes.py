"""What goes into networks and losses, drawn at random, and how closely results have to agree."""

import functools

import numpy as np
from crnn.kernels.memory import aligned_empty


def unset(dtype, *shape):
    return np.full(shape, np.nan, dtype)


@functools.cache
def recurrent_weights(hidden, gates=1):
    """Return weights (H, gates * H) of norm 0.9, the same each time: the norm takes long."""
    W = np.random.default_rng((hidden, gates)).standard_normal((hidden, gates * hidden))
    return 0.9 * W / np.linalg.norm(W, ord=2)


def packed_of(functions, W):
    """Return a weight in the order in which a build multiplies with it."""
    packed = np.empty((len(W), -(-W.shape[1] // 16) * 16), W.dtype)
    functions.pack(packed, W)
    return packed


def bfloat16(W):
    """Return float32 numbers without the lower half of their bits."""
    return (W.view(np.uint32) & np.uint32(0xffff0000)).view(np.float32)


def packed_as_bf16(functions, W):
    """Return a weight whose numbers are bfloat16 in the order of a float32 build, in words."""
    packed = aligned_empty((-(-len(W) // 2), -(-W.shape[1] // 16) * 16), np.uint32)
    functions.pack(packed, W)
    return packed


def packed_as_int8(functions, W):
    """Return a weight as whole numbers with scales, in the order of a float32 build."""
    packed = aligned_empty((1 + -(-len(W) // 4), -(-W.shape[1] // 16) * 64), np.int8)
    functions.pack(packed, W)
    return packed


def some_lengths(rng, ragged, steps, batch):
    """Return lengths of 0, of all steps and between, as far as the batch has room."""
    if not ragged:
        return None
    lengths = rng.integers(0, steps + 1, batch)
    lengths[: min(batch, 2)] = (steps, 0)[: min(batch, 2)]
    return lengths.astype(np.intp)


def outputs_for(loss, targets):
    """Return how many outputs a loss takes for so many numbers of targets."""
    return targets * {"quantile": 3, "gaussian": 2}.get(loss, 1)


def targets_of(rng, loss, dtype, shape):
    """Return targets (T, B), or (T, B, n) of numbers, and weights for them, some of which are 0.

    The weights are one for each step, or for each number. A build has -1, not 0, for a class that
    is missing.
    """
    if loss == "softmax":
        targets = rng.integers(-1, shape[2], shape[:2]).astype(np.intp)
        return targets, rng.uniform(0.5, 2, shape[:2])
    weights = rng.uniform(0.5, 2, shape) * (rng.random(shape) < 0.8)
    return rng.random(shape).astype(dtype), weights if shape[0] > 1 else weights[:, :, 0]


def loss_of(functions, loss, y, targets, weights=None, scale=1.0):
    """Return the losses of outputs (T, B, O) by a build; y becomes their gradient times scale."""
    rows, losses = y.reshape(-1, y.shape[2]), np.empty(y.shape[:2])
    columns = () if loss == "softmax" else targets.shape[2:]
    weights = np.ones(targets.shape) if weights is None else weights
    weights = weights.reshape(*targets.shape[:2], -1)
    wide = np.ascontiguousarray(np.broadcast_to(weights, (*targets.shape[:2], *(columns or (1,)))))
    arrays = (rows, targets.reshape(-1, *columns)) if columns else (rows,)
    functions.row_losses(loss, arrays, None if columns else targets, losses.reshape(-1),
                         wide.reshape(len(rows), -1), NUMBERS[loss], scale)
    return losses


NUMBERS = {name: np.ones(1) for name in ("softmax", "sigmoid", "mse", "mae", "huber", "gaussian")}
NUMBERS["quantile"] = np.array([0.1, 0.5, 0.9])


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


def assert_all_close(ours, theirs, rtol):
    assert ours.keys() == theirs.keys()
    for name, twin in theirs.items():
        assert_close(ours[name], twin, rtol, name)
