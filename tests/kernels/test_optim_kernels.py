"""Loops over whole vectors: bits that must be equal, what is held, numbers at the edge.

That they compute what their twins do is in test_twins.py.
"""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, each_dtype, each_instruction_set, kernels_of, normal
from formula_cases import adagrad_update, adam_update, rmsprop_update, run, sgd_update
from optimizer_cases import ALL, ONE_EACH, FakeNet, gradients, make, random_run

import crnn

pytestmark = pytest.mark.no_backend

UPDATES = [
    (sgd_update, (0.9, 0, 0.05)),
    (sgd_update, (0.9, 1, 0.05)),
    (adagrad_update, (0.05,)),
    (rmsprop_update, (0, 0, 0.05)),
    (rmsprop_update, (1, 0.9, 0.05)),
    (adam_update, (0.05, 0.99)),
]
NOT_FINITE = [np.nan, np.inf, -np.inf]


@each_instruction_set
@each_dtype
@pytest.mark.parametrize(("maker", "options"), UPDATES)
def test_any_cut_of_the_vector_gives_the_same_bits(rng, isa, dtype, maker, options):
    """Where an entry lies does not matter: alone, in a wide vector, or in what is left over."""
    arguments, *_ = maker(rng, dtype, 357, *options)
    functions, name = kernels_of(isa, dtype), maker.__name__
    whole, _ = run(functions, name, arguments)
    ends = [0, 1, 3, 20, 36, 37, 100, 357]
    for start, stop in itertools.pairwise(ends):
        part, _ = run(functions, name, [a[start:stop] if isinstance(a, np.ndarray) else a
                                        for a in arguments])
        for ours, theirs in zip(part, whole, strict=True):
            if isinstance(ours, np.ndarray):
                np.testing.assert_array_equal(ours, theirs[start:stop], strict=True)


@pytest.mark.parametrize("size", [1, 3, 17, 33, 65, 257, 1000, 100_003])
def test_float32_norm_has_the_same_bits_in_all_builds(rng, size):
    """The square of a float32 is exact in double, so that fusing it into the sum rounds nothing."""
    x = normal(rng, "float32", size)
    norms = {kernels_of(isa, "float32").norm(x) for isa in INSTRUCTION_SETS}
    assert len(norms) == 1
    np.testing.assert_allclose(norms.pop(), math.hypot(*x.tolist()), rtol=1e-15)


@each_instruction_set
def test_norm_of_the_largest_numbers(isa):
    largest = np.full(1000, np.finfo(np.float32).max)
    expected = math.sqrt(1000) * float(largest[0])
    np.testing.assert_allclose(kernels_of(isa, "float32").norm(largest), expected, rtol=1e-15)
    assert kernels_of(isa, "float64").norm(np.full(3, 1e200)) == math.inf
    assert crnn.reference.norm(np.full(3, 1e200)) == math.inf


@each_instruction_set
@each_dtype
def test_every_place_is_looked_at(isa, dtype):
    functions = kernels_of(isa, dtype)
    x = np.full(131, np.finfo(dtype).max, dtype)
    assert functions.is_finite(x)
    assert functions.is_finite(x[:0])
    for place in range(len(x)):
        for value in NOT_FINITE:
            x[place] = value
            assert not functions.is_finite(x)
            assert not math.isfinite(functions.norm(x))
        x[place] = 0


def assert_holds_nothing(action):
    tracemalloc.start()
    try:
        action()
        assert tracemalloc.get_traced_memory()[1] < 4000  # bytes; a vector here has 400,000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_step_holds_nothing_new(name, options):
    net, grads = random_run(steps=3, size=100_000, dtype=np.float32)
    opt = make(name, options)
    opt.step(net, grads[0])
    assert_holds_nothing(lambda: [opt.step(net, grad) for grad in grads[1:]])


def test_a_norm_and_clipping_hold_nothing(rng):
    net = crnn.RNN(50, 290, dtype="float32")
    _, _, cache = net.forward(normal(rng, "float32", 3, 50))
    grads = net.backward(cache, normal(rng, "float32", 3, 290))
    norm = grads.norm()
    assert_holds_nothing(lambda: (grads.norm(), grads.clip_norm(norm / 2), grads.clip_value(0.1)))


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_gradients_in_other_memory_orders(name, options):
    """Strided, not aligned, read-only: what a caller's own gradient may be."""
    (net, grads), (other, _) = random_run(steps=3), random_run(steps=3)
    plain, opt = make(name, options), make(name, options)
    for grad in grads:
        plain.step(net, grad)
    memory = np.zeros(8 * len(net.vector) + 1, np.uint8)
    orders = [np.repeat(grads[0].vector, 2)[::2], memory[1:].view(np.float64), grads[2].vector]
    orders[1][:] = grads[1].vector
    orders[2].flags.writeable = False
    for vector in orders:
        grads[0].vector = vector
        opt.step(other, grads[0])
    np.testing.assert_array_equal(other.vector, net.vector)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_complex_networks_train_on_the_twin(monkeypatch, name, options):
    monkeypatch.setenv("CRNN_BACKEND", "reference")
    net, grads = random_run(steps=5)
    other = FakeNet(net.vector, np.complex128)
    real, opt = make(name, options), make(name, options)
    for grad in grads:
        real.step(net, grad)
        opt.step(other, gradients(grad.vector, np.complex128))
    np.testing.assert_allclose(other.vector, net.vector, rtol=1e-12, atol=1e-12)
