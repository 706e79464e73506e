"""Every compiled function against its NumPy twin, and bits that must be equal.

Differences are measured against the largest entry of each array: a sum whose terms cancel has no
accuracy of its own, so a tolerance for every single entry would say nothing.
"""

import functools
import importlib
import inspect
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import crnn
from crnn import reference
from crnn.kernels import cpu

pytestmark = pytest.mark.no_backend

INSTRUCTION_SETS = cpu.instruction_sets()
C_TYPES = {"float32": "float", "float64": "double"}
NONLINEARITIES = ["tanh", "relu"]
LOSSES = ["softmax", "sigmoid", "mse"]

each_instruction_set = pytest.mark.parametrize("isa", INSTRUCTION_SETS)
each_dtype = pytest.mark.parametrize("dtype", list(C_TYPES))
needs_avx512 = pytest.mark.skipif("avx512" not in INSTRUCTION_SETS, reason="no AVX-512 here")


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
    """Compare arrays or numbers, relative to the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= rtol * np.abs(expected).max(initial=0), what


@functools.cache
def compiled(isa, dtype):
    """Return one build's functions for one dtype, under the names of crnn.reference."""
    module = importlib.import_module(f"crnn.kernels.{isa}")
    names = set(reference.__all__) - {"rnn_step", "Stepper"}
    functions = {name: getattr(module, name)[C_TYPES[dtype]] for name in names}
    return SimpleNamespace(Stepper=module.Stepper, **functions)


# --- the arguments of every function -------------------------------------------------------------
# Each maker returns the arguments, how many of them are outputs (named first), the number of terms
# in the longest sum, and the number of steps that follow each other.


def normal(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


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


def linear(rng, dtype, rows, inputs, outputs):
    x, W = normal(rng, dtype, rows, inputs), normal(rng, dtype, inputs, outputs)
    y = np.full((rows, outputs), np.nan, dtype)
    return [y, x, W, normal(rng, dtype, outputs)], 1, inputs, 1


def linear_backward(rng, dtype, rows, inputs, outputs):
    dx = np.full((rows, inputs), np.nan, dtype)
    dW, db = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    dy, x = normal(rng, dtype, rows, outputs), normal(rng, dtype, rows, inputs)
    return [dx, dW, db, dy, x, normal(rng, dtype, outputs, inputs)], 3, max(rows, outputs), 1


def lookup(rng, dtype, rows, inputs, outputs):
    tokens = rng.integers(0, inputs, rows).astype(np.intp)
    W, b = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    return [np.full((rows, outputs), np.nan, dtype), tokens, W, b], 1, 1, 1


def lookup_backward(rng, dtype, rows, inputs, outputs):
    tokens = rng.integers(0, inputs, rows).astype(np.intp)
    dW, db = normal(rng, dtype, inputs, outputs), normal(rng, dtype, outputs)
    return [dW, db, normal(rng, dtype, rows, outputs), tokens], 2, rows, 1


def rnn_forward(rng, dtype, steps, batch, hidden, nonlinearity="tanh", ragged=False):
    h, h0 = normal(rng, dtype, steps, batch, hidden), normal(rng, dtype, batch, hidden)
    W_hh, lengths = recurrent_weights(rng, dtype, hidden), some_lengths(rng, ragged, steps, batch)
    return [h, h0, W_hh, nonlinearity, lengths], 1, hidden, steps


def rnn_backward(rng, dtype, steps, batch, hidden, nonlinearity="tanh", ragged=False):
    forward, *_ = rnn_forward(rng, dtype, steps, batch, hidden, nonlinearity, ragged)
    reference.rnn_forward(*forward)
    h, h0, W_hh, _, lengths = forward
    dh, dstate = normal(rng, dtype, *h.shape), normal(rng, dtype, *h0.shape)
    if lengths is not None:
        dh[np.arange(steps)[:, None] >= lengths] = 0
    dW_hh, W_hh_T = normal(rng, dtype, hidden, hidden), np.ascontiguousarray(W_hh.T)
    arguments = [dh, dstate, dW_hh, h, h0, W_hh_T, nonlinearity, lengths]
    return arguments, 3, max(hidden, steps * batch), steps


def softmax_loss(rng, dtype, rows, outputs, size=5):
    targets = rng.integers(-1, outputs, rows).astype(np.intp)
    return [size * normal(rng, dtype, rows, outputs), targets, 0.37], 1, outputs, 1


def sigmoid_loss(rng, dtype, rows, outputs, size=5):
    targets, valid = rng.random((rows, outputs)).astype(dtype), rng.random(rows) < 0.8
    return [size * normal(rng, dtype, rows, outputs), targets, valid, 0.37], 1, outputs, 1


def mse_loss(rng, dtype, rows, outputs, size=5):
    return sigmoid_loss(rng, dtype, rows, outputs, size)


def activation(rng, dtype, size, nonlinearity):
    return [3 * normal(rng, dtype, size), nonlinearity], 1, 1, 1


ROWS = [(1, 3, 17), (3, 1, 33), (17, 33, 1), (33, 65, 3), (65, 17, 257), (257, 3, 65)]
ROWS += [(18, 19, 1030)]  # more rows and outputs than a block of the product has
TIMES = [(1, 3, 17), (1, 1, 65), (3, 17, 33), (5, 1, 3), (17, 3, 1), (33, 2, 65), (3, 5, 257)]
LOSS_ROWS = [(1, 3), (3, 1), (17, 33), (257, 65), (33, 257)]
CASES = [
    pytest.param(maker, (*sizes, *more), id="-".join(map(str, (maker.__name__, *sizes, *more))))
    for makers, all_sizes, all_more in [
        ([linear, linear_backward, lookup, lookup_backward], ROWS, [()]),
        ([rnn_forward, rnn_backward], TIMES, [(f, r) for f in NONLINEARITIES for r in (0, 1)]),
        ([softmax_loss, sigmoid_loss, mse_loss], LOSS_ROWS, [(5,), (1000,)]),
        ([activation], [(1,), (17,), (257,)], [(f,) for f in NONLINEARITIES]),
    ]
    for maker in makers
    for sizes in all_sizes
    for more in all_more
]


def run(function, arguments):
    """Return what a function makes of copies of the arguments, and what it returns."""
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    result = function(*copies)
    return copies, result


# --- the functions -------------------------------------------------------------------------------


@each_instruction_set
def test_both_have_the_same_functions_and_arguments(isa):
    module = importlib.import_module(f"crnn.kernels.{isa}")
    names = set(reference.__all__) - {"rnn_step"}  # a step of its own is not called from Python
    assert {name for name in vars(module) if not name.startswith("_")} - {"np"} == names
    assert {case.values[0].__name__ for case in CASES} == names - {"Stepper"}
    for name in names - {"Stepper", "activation"}:
        ours = inspect.signature(getattr(compiled(isa, "float32"), name)).parameters
        assert list(ours) == list(inspect.signature(getattr(reference, name)).parameters)


@each_instruction_set
@each_dtype
@pytest.mark.parametrize(("maker", "sizes"), CASES)
def test_function_equals_its_twin(rng, isa, dtype, maker, sizes):
    arguments, outputs, terms, steps = maker(rng, dtype, *sizes)
    name, rtol = maker.__name__, tolerance(dtype, terms, steps)
    ours, our_result = run(getattr(compiled(isa, dtype), name), arguments)
    theirs, their_result = run(getattr(reference, name), arguments)
    for i, (our, their) in enumerate(zip(ours[:outputs], theirs[:outputs], strict=True)):
        assert_close(our, their, rtol, f"argument {i}")
    for ours_or_theirs in (ours, theirs):
        for after, before in zip(ours_or_theirs[outputs:], arguments[outputs:], strict=True):
            np.testing.assert_array_equal(after, before, strict=isinstance(after, np.ndarray))
    assert type(our_result) is type(their_result)
    if their_result is not None:
        assert_close(our_result, their_result, rtol, "result")


def assert_avx2_and_avx512_agree(name, dtype, arguments):
    wide, wide_result = run(getattr(compiled("avx512", dtype), name), arguments)
    narrow, narrow_result = run(getattr(compiled("avx2", dtype), name), arguments)
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
    for outputs in range(1, 20):
        for _ in range(20):
            assert_avx2_and_avx512_agree(maker.__name__, dtype, maker(rng, dtype, 3, outputs)[0])


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("inputs", ["floats", "tokens"])
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_stepper_equals_its_twin(rng, isa, dtype, nonlinearity, batch, inputs, readout):
    weights = [normal(rng, dtype, 5, 33), recurrent_weights(rng, dtype, 33), normal(rng, dtype, 33)]
    weights += [normal(rng, dtype, 33, 17), normal(rng, dtype, 17)] if readout else [None, None]

    def prepare(stepper, x, out):
        return np.asarray(x), out

    arguments = (*weights, nonlinearity, prepare)
    steppers = [compiled(isa, dtype).Stepper(*arguments), reference.Stepper(*arguments)]
    each = () if batch is None else (batch,)
    state = normal(rng, dtype, batch or 1, 33)
    for stepper in steppers:
        stepper.reset(batch)
        assert not stepper.state.any()
        stepper.state = state
    for step in range(1, 5):
        x = rng.integers(0, 5, each) if inputs == "tokens" else normal(rng, dtype, *each, 5)
        out = np.empty((*each, 17 if readout else 33), dtype) if step % 2 else None
        ours, theirs = (stepper.step(x, out).copy() for stepper in steppers)
        assert_close(ours, theirs, tolerance(dtype, 33, step), "y")
        assert_close(*(s.state for s in steppers), tolerance(dtype, 33, step), "state")
        assert {(s.batch_size, s.batched) for s in steppers} == {(batch or 1, batch is not None)}


# --- the whole class -----------------------------------------------------------------------------


def networks(rng, dtype, sizes, nonlinearity):
    """Return equal networks on the two backends, with recurrent weights of norm 0.9."""
    pair = [
        crnn.RNN(*sizes, nonlinearity=nonlinearity, dtype=dtype, backend=backend)
        for backend in ("compiled", "reference")
    ]
    pair[0].vector = rng.uniform(-0.5, 0.5, pair[0].num_parameters)
    pair[0].parameters["W_hh_l0"] = recurrent_weights(rng, dtype, sizes[1])
    pair[1].vector = pair[0].vector
    return pair


def data(rng, dtype, sizes, *, tokens=False, ragged=False, batched=True):
    steps, batch, inputs, hidden = sizes
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    state, lengths = normal(rng, dtype, 1, batch, hidden), some_lengths(rng, ragged, steps, batch)
    return (x, state, lengths) if batched else (x[:, 0], state[:, 0], None)


def network_tolerance(dtype, sizes):
    steps, batch, *others = sizes
    return tolerance(dtype, max(steps * batch, *filter(None, others)), steps)


WHOLE = [
    pytest.param((7, 3, 5, 33, 17), {}, id="floats"),
    pytest.param((7, 3, 5, 33, 17), {"tokens": True}, id="tokens"),
    pytest.param((7, 3, 5, 33, 17), {"ragged": True}, id="lengths"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True, "tokens": True}, id="tokens-lengths"),
    pytest.param((7, 1, 5, 33, 17), {"batched": False}, id="unbatched"),
    pytest.param((1, 3, 5, 17, 2), {}, id="one-step"),
    pytest.param((5, 3, 2, 17, None), {"ragged": True}, id="bare"),
    pytest.param((131, 3, 2, 17, 5), {"ragged": True}, id="blocks"),
]
each_data = pytest.mark.parametrize(("sizes", "kind"), WHOLE)
each_nonlinearity = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)


@each_dtype
@each_nonlinearity
@each_data
def test_network_equals_the_twin(rng, dtype, nonlinearity, sizes, kind):
    x, state, lengths = data(rng, dtype, sizes[:4], **kind)
    pair = networks(rng, dtype, sizes[2:], nonlinearity)
    dstate, dy, results = normal(rng, dtype, *state.shape), None, []
    for net in pair:
        y, last, cache = net.forward(x, state, lengths=lengths)
        dy = normal(rng, dtype, *y.shape) if dy is None else dy
        net.state = state
        steps = [array for each in x[:9] for array in (net.step(each), net.state)]
        found = [y, last, *steps, *net(x, state, lengths=lengths)]
        results.append(found + everything(net.backward(cache, dy, dstate)))
    assert_all_close(*results, network_tolerance(dtype, sizes))


def everything(grads):
    return [*grads.parameters.values(), grads.state] + [grads.x] * (grads.x is not None)


def assert_all_close(ours, theirs, rtol):
    for i, (result, twin) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(result, twin, rtol, f"result {i}")


@each_dtype
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@each_data
def test_network_losses_equal_the_twin(rng, dtype, loss, reduction, last_only, sizes, kind):
    x, state, lengths = data(rng, dtype, sizes[:4], **kind)
    pair = networks(rng, dtype, sizes[2:], str(rng.choice(NONLINEARITIES)))
    y, _ = pair[0](x, state)
    y = y[0] if last_only else y
    targets = rng.integers(0, y.shape[-1], y.shape[:-1]) if loss == "softmax" else y + 0.5
    options = {"loss": loss, "reduction": reduction, "lengths": lengths}
    results = []
    for net in pair:
        value, last = net.loss(x, targets, state, **options)
        again, grads, state_again = net.loss_and_gradients(x, targets, state, **options)
        assert type(value) is type(again) is float
        results.append([value, again, last, state_again, *everything(grads)])
    assert_all_close(*results, network_tolerance(dtype, sizes))


# --- the same bits -------------------------------------------------------------------------------


@pytest.fixture(params=INSTRUCTION_SETS)
def build(request, rng):
    """Make a network on one build of the kernels."""

    def make(dtype, sizes, nonlinearity="tanh"):
        net, _ = networks(rng, dtype, sizes, nonlinearity)
        net._engine.kernels = compiled(request.param, dtype)
        return net

    return make


@each_dtype
@each_nonlinearity
@each_data
def test_steps_give_the_bits_of_a_whole_sequence(rng, build, dtype, nonlinearity, sizes, kind):
    x, state, _ = data(rng, dtype, sizes[:4], **kind)
    net = build(dtype, sizes[2:], nonlinearity)
    y, last = net(x, state)
    stream = net.stream()
    stream.state = state
    np.testing.assert_array_equal([stream.step(each) for each in x], y)
    np.testing.assert_array_equal(stream.state, last)


@each_dtype
@pytest.mark.parametrize("kind", ["floats", "tokens"])
@pytest.mark.parametrize("cuts", [(1,), (5, 6), (2, 9, 16), range(1, 17)], ids=str)
def test_any_split_of_a_batch_gives_the_same_bits(rng, build, dtype, kind, cuts):
    """Of all that belongs to one sequence; gradients of parameters are sums over the batch."""
    x, state, lengths = data(rng, dtype, (7, 17, 5, 33), tokens=kind == "tokens", ragged=True)
    net = build(dtype, (5, 33, 19))
    dy, dstate = normal(rng, dtype, 7, 17, 19), normal(rng, dtype, 1, 17, 33)

    def everything_of(part):
        y, last, cache = net.forward(x[:, part], state[:, part], lengths=lengths[part])
        grads = net.backward(cache, dy[:, part], dstate[:, part])
        again = net(x[:, part], state[:, part], lengths=lengths[part])
        return [y, last, *again, grads.state] + [grads.x] * (kind == "floats")

    whole = everything_of(slice(None))
    parts = [everything_of(slice(*ends)) for ends in itertools.pairwise([0, *cuts, 17])]
    for result, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), result)


@each_dtype
@pytest.mark.parametrize("loss", LOSSES)
def test_any_cut_in_time_gives_the_same_bits(rng, build, dtype, loss):
    x, state, lengths = data(rng, dtype, (131, 3, 5, 33), ragged=True)
    net = build(dtype, (5, 33, 17))
    y, last = net(x, state, lengths=lengths)  # in blocks of 85 steps
    whole, whole_last, _ = net.forward(x, state, lengths=lengths)
    np.testing.assert_array_equal(y, whole)
    np.testing.assert_array_equal(last, whole_last)
    targets = rng.integers(-1, 17, (131, 3)) if loss == "softmax" else normal(rng, dtype, *y.shape)
    value, _ = net.loss(x, targets, state, loss=loss, lengths=lengths)
    assert value == net.loss_and_gradients(x, targets, state, loss=loss, lengths=lengths)[0]
    first, between = net(x[:40], state)
    second, end = net(x[40:], between)
    y, last = net(x, state)
    np.testing.assert_array_equal(np.concatenate([first, second]), y)
    np.testing.assert_array_equal(end, last)
