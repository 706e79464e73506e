"""Training passes by groups of sequences: what they give, whoever takes which group."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builds import (
    INSTRUCTION_SETS,
    KINDS,
    LOSSES,
    each_dtype,
    each_kind,
    kernels_of,
    needs_avx512,
    network_of,
    network_on,
    normal,
    parts_of,
    state_of,
)

import crnn
from crnn.base import checks
from crnn.engine import groups, threads

pytestmark = [  # the reference has no such pass
    pytest.mark.no_backend, pytest.mark.usefixtures("small_groups", "small_work_is_split"),
]

T, V, H, O = 7, 11, 33, 5  # noqa: E741
BATCHES = [16, 17, 23, 41, 77]
each_batch = pytest.mark.parametrize("batch", BATCHES)


@pytest.fixture
def small_groups(monkeypatch):
    """Have groups of little work, and lanes of more than one of them."""
    monkeypatch.setattr(groups, "WORK", 1)
    monkeypatch.setattr(groups, "LANES", 4)


def network(kind="lstm", dtype="float32", **options):
    return network_of(kind, V, H, O, dtype=dtype, seed=0, **options)


def draw(rng, net, batch):
    x, targets = rng.integers(0, V, (T, batch)), rng.integers(0, O, (T, batch))
    states = net._kind.states
    state = state_of([normal(rng, net.vector.dtype, 1, batch, H) for _ in range(states)])
    return x, targets, state


def found(net, x, targets, state=None, **options):
    """Return all that a pass gives: numbers and arrays."""
    loss, grads, last = net.loss_and_gradients(x, targets, state, **options)
    assert (grads.x is None) == (np.asarray(x).dtype.kind in "iu")
    x_too = [] if grads.x is None else [grads.x]
    return [loss, grads.vector, *parts_of(grads.state), *parts_of(last), *x_too]


def bits(net, *arguments, **options):
    return [np.asarray(each).tobytes() for each in found(net, *arguments, **options)]


# --- which there are -----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_groups_make_up_the_batch(n):
    crnn.set_num_threads(n)
    weights, seen = network()._engine.weights, set()
    for batch in range(1, 200):
        found = groups.bounds(weights, True, T, batch)
        assert [b for part in found for b in range(batch)[slice(*part)]] == list(range(batch))
        assert all(first % 4 == 0 for first, _ in found)
        assert len(found) == 1 or min(last - first for first, last in found) > groups.SIZE - 4
        seen.add(len(found))
    assert seen == {1, 2, 4, 8, 16}


def test_no_group_is_of_little_work(monkeypatch):
    weights = network()._engine.weights
    work = T * 64 * weights.work(is_tokens=True)
    for most in (1, 2, 3, 5, 8):
        monkeypatch.setattr(groups, "WORK", work / most)
        assert len(groups.bounds(weights, True, T, 64)) == 2 ** int(np.log2(most))


def test_much_is_not_kept(monkeypatch):
    weights = network()._engine.weights
    monkeypatch.setattr(groups, "MOST_BYTES", T * 8 * 4 * H * 4)
    assert len(groups.bounds(weights, True, T, 16)) == 2
    assert groups.bounds(weights, True, T + 1, 16) == []
    assert groups.bounds(weights, True, 0, 16) == groups.bounds(weights, True, T, 0) == []


@each_dtype
def test_a_single_group_is_one_block_of_the_general_pass(dtype):
    """Else a first pass, the general one, would add up in another order than the later ones."""
    net = network("gru-after-tanh", dtype)
    weights, batch = net._engine.weights, 8
    steps = max(t for t in range(1, 2000) if groups.bounds(weights, True, t, batch))
    x = np.zeros((steps, batch), int)
    sequence = checks.sequence(x, None, None, weights)
    assert net._engine.stack.block_steps(sequence) >= steps


def test_many_parameters_are_for_the_whole_batch(monkeypatch):
    weights = network()._engine.weights
    monkeypatch.setattr(groups, "FEW_BYTES", weights.parameters.layout.size * 4 - 1)
    assert groups.bounds(weights, True, T, 64) == [(0, 64)]


# --- what they give ------------------------------------------------------------------------------


@each_kind
@each_batch
@pytest.mark.parametrize("n", [1, 3])
def test_results_are_those_of_the_reference(rng, kind, batch, n):
    crnn.set_num_threads(n)
    net, twin = network(kind, "float64"), network(kind, "float64", backend="reference")
    data = draw(rng, net, batch)
    expected = found(twin, *data)
    for _ in range(3):
        for ours, theirs in zip(found(net, *data), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


@each_dtype
@each_kind
@each_batch
def test_bits_do_not_depend_on_threads_or_on_the_arrays(rng, dtype, kind, batch):
    net = network(kind, dtype)
    x, targets, state = draw(rng, net, batch)
    expected = bits(net, x, targets, state)
    for n in (1, 2, 3):
        crnn.set_num_threads(n)
        for each in (net, network(kind, dtype)):
            assert bits(each, x, targets, state) == expected
            assert bits(each, x.astype(np.int8), targets, state) == expected
            assert bits(each, x, np.asfortranarray(targets), state) == expected
            assert bits(each, x.tolist(), targets, state) == expected


def draw_floats(rng, net, batch, loss):
    _, targets, state = draw(rng, net, batch)
    x = normal(rng, net.vector.dtype, T, batch, V)
    if loss != "softmax":
        targets = rng.random((T, batch, O)).astype(x.dtype)
    return x, targets, state


each_loss = pytest.mark.parametrize("loss", LOSSES)
with_or_without_lengths = pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])


def options_for(rng, batch, loss, ragged):
    lengths = np.concatenate([[0, T, 1], rng.integers(0, T + 1, batch - 3)]) if ragged else None
    return {"loss": loss, "lengths": lengths}


@each_kind
@each_loss
@with_or_without_lengths
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("n", [1, 3])
def test_every_input_loss_and_length(rng, kind, loss, ragged, tokens, n):
    crnn.set_num_threads(n)
    net, twin = network(kind, "float64"), network(kind, "float64", backend="reference")
    for batch in (23, 41, 41):
        x, targets, state = draw_floats(rng, net, batch, loss)
        if tokens:
            x = rng.integers(0, V, (T, batch))
        options = options_for(rng, batch, loss, ragged)
        given = [np.array(each) for each in (x, targets, *parts_of(state))]
        ours = found(net, x, targets, state, **options)
        for each, other in zip(ours, found(twin, x, targets, state, **options), strict=True):
            np.testing.assert_allclose(each, other, rtol=1e-11, atol=1e-13)
        for each, before in zip((x, targets, *parts_of(state)), given, strict=True):
            assert np.array_equal(each, before)  # what the caller gave is as it was


@each_dtype
@each_kind
@each_loss
@with_or_without_lengths
def test_bits_of_floats_do_not_depend_on_threads_or_on_the_arrays(rng, dtype, kind, loss, ragged):
    net = network(kind, dtype)
    x, targets, state = draw_floats(rng, net, 41, loss)
    options = options_for(rng, 41, loss, ragged)
    expected = bits(net, x, targets, state, **options)
    for n in (1, 2, 3):
        crnn.set_num_threads(n)
        assert bits(net, x, targets, state, **options) == expected
        assert bits(network(kind, dtype), np.asfortranarray(x), targets, state, **options) == (
            expected)


def test_passes_that_alternate(rng):
    net = network()
    tokens, classes, state = draw(rng, net, 16)
    x, targets, _ = draw_floats(rng, net, 16, "mse")
    passes = [
        (tokens, classes, state, {}), (x, targets, state, {"loss": "mse"}),
        (x, targets, None, {"loss": "sigmoid"}), (tokens, targets, state, {"loss": "mse"}),
        (x, classes, state, {}), (x, classes, state, {"lengths": np.arange(16) % T}),
        (x, classes[-1], state, {}),
    ]
    for k in rng.integers(0, len(passes), 60):
        *arguments, options = passes[k]
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        new = network()
        new.vector = net.vector
        if rng.random() < 0.5:  # as fit does it
            x, targets, state = arguments
            everything = {"loss": "softmax", "reduction": "mean", "lengths": None} | options
            net._loss_and_gradients(x, targets, state, wants_x=False, **everything)
        assert bits(net, *arguments, **options) == bits(new, *arguments, **options)


@pytest.mark.parametrize("floats", [False, True])
def test_threads_that_share_a_network(rng, switching, floats):
    net = network()
    data = [
        draw_floats(rng, net, 23, "softmax") if floats else draw(rng, net, 23) for _ in range(4)]
    wanted = [bits(network(), *each) for each in data]
    with ThreadPoolExecutor(len(data)) as pool:
        for _ in range(10):
            futures = [pool.submit(bits, net, *each) for each in data]
            assert [future.result() for future in futures] == wanted


def test_what_a_pass_returns_is_the_callers_own(rng):
    net = network()
    x, targets, state = draw_floats(rng, net, 23, "mse")
    first = found(net, x, targets, state, loss="mse")
    copies = [np.array(each) for each in first]
    found(net, 2 * x, targets, state, loss="mse")
    for each, before in zip(first, copies, strict=True):
        assert np.array_equal(each, before)


@needs_avx512
@each_dtype
@each_kind
def test_avx2_and_avx512_give_the_same_bits(rng, dtype, kind):
    options = {"cell": KINDS[kind].cell, "dtype": dtype, "seed": 0}
    nets = [network_on(kernels_of(isa, dtype), V, H, O, **options) for isa in ("avx2", "avx512")]
    data = draw(rng, nets[0], 41)
    assert bits(nets[0], *data) == bits(nets[1], *data)


@each_kind
def test_the_sum_of_losses_and_missing_targets(rng, kind):
    net, twin = network(kind, "float64"), network(kind, "float64", backend="reference")
    x, targets, state = draw(rng, net, 23)
    targets[rng.random(targets.shape) < 0.3] = -1
    for reduction in ("mean", "sum"):
        for _ in range(2):
            ours = found(net, x, targets, state, reduction=reduction)
            theirs = found(twin, x, targets, state, reduction=reduction)
            for each, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(each, other, rtol=1e-11, atol=1e-13)
            assert ours[0] == net.loss(x, targets, state, reduction=reduction)[0]


@each_kind
def test_without_a_readout(rng, kind):
    net = network_of(kind, V, H, dtype="float64", seed=0)
    twin = network_of(kind, V, H, dtype="float64", seed=0, backend="reference")
    x, targets = rng.integers(0, V, (2, T, 23))
    for ours, theirs in zip(found(net, x, targets), found(twin, x, targets), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_shapes_and_parameters_that_change(rng):
    net = network()
    for batch in (16, 23, 23, 3, 23, 16, 16):
        x, targets, state = draw(rng, net, batch)
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        new = network()
        new.vector = net.vector
        assert bits(net, x, targets, state) == bits(new, x, targets, state)


@pytest.mark.parametrize("n", [1, 2])
def test_after_a_refusal(rng, n):
    crnn.set_num_threads(n)
    net = network()
    x, targets, state = draw(rng, net, 23)
    expected = bits(net, x, targets, state)
    wrong = np.where(x == x[0, 0], V, x), np.where(targets == targets[-1, -1], O, targets)
    for arguments in ((wrong[0], targets, state), (x, wrong[1], state), (x, targets, state[:1])):
        with pytest.raises((IndexError, ValueError, TypeError)):
            net.loss_and_gradients(*arguments)
        assert bits(net, x, targets, state) == expected


def test_groups_are_what_runs_and_threads_share_them(rng, monkeypatch):
    ran, made = [], []
    run, make = groups.Training._run_lanes, groups.Training._new_group

    def spy(self, *arguments):
        ran.append([len(lane) for lane in self._lanes])
        run(self, *arguments)

    monkeypatch.setattr(groups.Training, "_run_lanes", spy)
    monkeypatch.setattr(
        groups.Training, "_new_group", lambda self, n: made.append(n) or make(self, n))
    phases = []
    monkeypatch.setattr(
        threads, "run", lambda tasks, widest, run=threads.run: phases.append(run(tasks, widest)))
    net = network()
    x, targets, state = draw(rng, net, 64)
    for n in (1, 2):
        crnn.set_num_threads(n)
        for _ in range(2):
            net.loss_and_gradients(x, targets, state)
    assert ran == [[2, 2, 2, 2]] * 4  # the first one, too
    assert phases
    assert made in ([8], [8, 8])  # at most one for each thread, whose memory is kept


def test_a_group_that_goes_wrong_is_seen(rng, monkeypatch):
    """The comparisons above are no comparisons with themselves."""
    net = network(dtype="float64")
    data = draw(rng, net, 41)
    expected = found(net, *data)
    run_lane = groups.Training._run_lane

    def planted(self, trainer, lane, sums):
        run_lane(self, trainer, lane[:-1], sums)

    monkeypatch.setattr(groups.Training, "_run_lane", planted)
    assert not np.allclose(found(network(dtype="float64"), *data)[1], expected[1], rtol=1e-11)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_every_build_has_them(rng, isa):
    functions = kernels_of(isa, "float64")
    net = network_on(functions, V, H, O, cell="GRU", dtype="float64", seed=0)
    twin = crnn.GRU(V, H, O, dtype="float64", seed=0, backend="reference")
    data = draw(rng, net, 23)
    for ours, theirs in zip(found(net, *data), found(twin, *data), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
