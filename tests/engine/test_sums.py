"""Gradients in float32 that are sums over a million rows, against float64.

All steps are alike: each number that is added is rounded to the same side as the one before, so a
plain sum would lose two digits (biases, rows of tokens), or one (sums of sums of 64 rows).
"""

import functools

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, kernels_of, network_of, normal, parts_of
from crnn.kernels.memory import TUNING

import crnn
from crnn.engine import plans

I, O = 3, 2  # noqa: E741
MOST = 2e-5  # of the largest entry
CELLS = ["rnn-tanh", "gru-after-tanh", "gru-before-tanh", "lstm"]
each_cell = pytest.mark.parametrize("kind", CELLS)
each_input = pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])


def gradients(kind, steps, batch, hidden, tokens, dtype="float32", last=False, **options):
    """Return all gradients of a pass, by name, and the loss."""
    net = network_of(kind, I, hidden, O, dtype=dtype, seed=0, **options)
    if dtype == "float64":  # with the parameters of the one in float32
        net.vector = network_of(kind, I, hidden, O, seed=0, **options).vector.astype(float)
    x = np.ones((steps, batch), int) if tokens else np.ones((steps, batch, I), dtype)
    targets = np.ones((batch, O) if last else (steps, batch, O), dtype)
    loss, grads, _ = net.loss_and_gradients(x, targets, loss="mse")
    states = {f"state {k}": each for k, each in enumerate(parts_of(grads.state))}
    return {"loss": np.array(loss), **grads.parameters, **states}


@functools.cache
def in_double(*arguments, **options):
    return gradients(*arguments, dtype="float64", **options)


def check(*arguments, **options):
    found = gradients(*arguments, **options)
    for name, expected in in_double(*arguments, **options).items():
        difference = np.abs(found[name] - expected).max()
        assert difference <= MOST * np.abs(expected).max(), name


def is_by_groups(kind, steps, batch, hidden, tokens):
    weights = network_of(kind, I, hidden, O, backend="compiled").engine.weights
    return bool(plans.group_bounds(
        weights, plans.Question("train", steps, batch, True, tokens, "mse")))


@pytest.mark.no_backend
@each_cell
@each_input
def test_a_million_rows_by_groups_and_by_phases(kind, tokens, monkeypatch):
    """By groups of more rows than a partial sum has, and by phases in blocks."""
    shape = kind, 2000, 512, 8, tokens
    monkeypatch.setattr(plans, "GROUP_WORK", 1)
    assert is_by_groups(*shape)
    check(*shape)
    monkeypatch.setattr(plans, "GROUPED_BYTES", 0)
    assert not is_by_groups(*shape)
    check(*shape)


@pytest.mark.no_backend
@each_input
def test_many_groups_in_a_lane(tokens):
    shape = "rnn-tanh", 2, 500_000, 24, tokens
    assert is_by_groups(*shape)
    check(*shape)


@pytest.mark.no_backend
@each_input
def test_one_long_sequence(tokens):
    check("lstm", 1_000_000, 1, 3, tokens)


@pytest.mark.no_backend
@pytest.mark.parametrize("last", [False, True], ids=["every step", "the last"])
def test_both_directions(last):
    check("rnn-tanh", 2, 500_000, 3, True, last=last, bidirectional=True)


@pytest.mark.no_backend
@pytest.mark.parametrize(("kind", "tokens"), [*zip(CELLS, [False, True] * 2, strict=True)])
def test_the_textbook(kind, tokens, monkeypatch):
    shape = kind, 4, 250_000, 2, tokens
    in_double(*shape)
    monkeypatch.setenv("CRNN_BACKEND", "reference")
    check(*shape)


@pytest.fixture(params=["groups", "phases"])
def schedule(request, monkeypatch, small_work_is_split):
    monkeypatch.setattr(plans, "GROUP_WORK", 1)
    if request.param == "phases":
        monkeypatch.setattr(plans, "GROUPED_BYTES", 0)
    return request.param


@pytest.mark.no_backend
@pytest.mark.parametrize("kind", ["gru-after-tanh", "gru-before-tanh", "lstm"])
@each_input
def test_partial_sums_have_the_same_bits_on_any_threads_and_builds(schedule, kind, tokens, rng):
    steps, batch, V, H = 300, 80, 40, 33
    assert steps * batch // 2 > TUNING["PARTIAL_ROWS"]
    x = rng.integers(0, V, (steps, batch)) if tokens else normal(rng, "float32", steps, batch, V)
    targets, found = rng.integers(0, O, (steps, batch)), set()
    for isa in INSTRUCTION_SETS:
        if isa == "baseline":  # which rounds each product
            continue
        net = network_of(kind, V, H, O, functions=kernels_of(isa, "float32"), seed=0)
        for threads in (1, 2, 3, 2):
            crnn.set_num_threads(threads)
            found.add(net.loss_and_gradients(x, targets)[1].vector.tobytes())
    assert len(found) == 1


@pytest.mark.no_backend
def test_gradients_do_not_pile_up_from_pass_to_pass(schedule, rng):
    """Partial sums are zeros again after each pass, also those of tokens that the next has not."""
    net = network_of("lstm", 40, 20, O, seed=0)
    targets = rng.integers(0, O, (200, 160))
    passes = [rng.integers(first, first + 20, (200, 160)) for first in (0, 20, 10)]
    found = [net.loss_and_gradients(x, targets)[1].vector for x in passes * 2]
    for first, again in zip(found[:3], found[3:], strict=True):
        np.testing.assert_array_equal(first, again)
    for x, ours in zip(passes, found, strict=False):
        alone = net.copy().loss_and_gradients(x, targets)[1].vector
        np.testing.assert_array_equal(ours, alone)
