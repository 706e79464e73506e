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
from crnn.engine import plans

pytestmark = [  # the reference has no such pass
    pytest.mark.no_backend, pytest.mark.usefixtures("small_groups", "small_work_is_split"),
]

T, V, H, O = 7, 11, 33, 5  # noqa: E741
BATCHES = [16, 17, 23, 41, 77]
each_batch = pytest.mark.parametrize("batch", BATCHES)


@pytest.fixture
def small_groups(monkeypatch):
    """Have groups of little work, and lanes of more than one of them."""
    monkeypatch.setattr(plans, "GROUP_WORK", 1)
    monkeypatch.setattr(plans, "MAX_LANES", 4)


def network(kind="lstm", dtype="float32", **options):
    return network_of(kind, V, H, O, dtype=dtype, seed=0, **options)


def draw(rng, net, batch):
    x, targets = rng.integers(0, V, (T, batch)), rng.integers(0, O, (T, batch))
    states, rows = net.engine.layers[0].kind.num_states, net.num_layers * (1 + net.bidirectional)
    state = state_of([normal(rng, net.vector.dtype, rows, batch, H) for _ in range(states)])
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


def question(batch, steps=T, *, is_tokens=True, **rest):
    return plans.Question("train", steps, batch, True, is_tokens, "softmax", **rest)


def bounds(net, *arguments, **options):
    return plans.group_bounds(net.engine.weights, question(*arguments, **options))


SHAPES = [
    {}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True},
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@each_shape
def test_groups_make_up_the_batch(shape):
    net, seen = network(**shape), set()
    for batch in range(1, 200):
        found = bounds(net, batch)
        assert found == [] or [
            b for part in found for b in range(batch)[slice(*part)]] == list(range(batch))
        assert all(first % plans.SHARED_SEQUENCES == 0 for first, _ in found)
        assert len(found) != 1
        assert all(last - first > plans.GROUP_SEQUENCES - 4 for first, last in found)
        seen.add(len(found))
    assert seen == {0, 2, 4, 8, 16}


@each_shape
def test_groups_depend_on_shapes_alone(shape):
    net, other = network(**shape), network(**shape)
    other.vector = 3 * net.vector
    for batch in (16, 23, 64):
        found = bounds(net, batch)
        for n in (1, 2, 3, 7):
            crnn.set_num_threads(n)
            assert bounds(net, batch) == bounds(other, batch) == found
        assert bounds(net, batch, last_only=True) == bounds(net, batch, wants_x=True) == found


def test_no_group_is_of_little_work(monkeypatch):
    net = network()
    work = T * 64 * net.engine.weights.work(is_tokens=True)
    for most in (1, 2, 3, 5, 8):
        monkeypatch.setattr(plans, "GROUP_WORK", work / most)
        assert len(bounds(net, 64)) == (2 ** int(np.log2(most)) if most > 1 else 0)


def test_a_group_is_one_block(monkeypatch):
    """Else blocks would add up in another order than the pass by phases."""
    net = network()
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", T * 8 * 4 * H)
    assert len(bounds(net, 16)) == 2
    assert bounds(net, 16, T + 1) == []
    wide = network_of("rnn-tanh", 4 * H + 1, H, O)
    assert len(bounds(wide, 16)) == 2
    assert bounds(wide, 16, is_tokens=False) == []
    assert bounds(net, 16, 0) == bounds(net, 0, T) == []
    largest = [last - first for batch in range(200) for first, last in bounds(net, batch)]
    assert max(largest) == 8  # as BLOCK_NUMBERS has it


def test_many_parameters_are_for_the_whole_batch(monkeypatch):
    net = network(num_layers=2)
    size = net.num_parameters * net.dtype.itemsize
    monkeypatch.setattr(plans, "GROUPED_BYTES", size)
    assert len(bounds(net, 64)) == 8
    monkeypatch.setattr(plans, "GROUPED_BYTES", size - 1)
    assert bounds(net, 64) == []


@pytest.mark.parametrize("kind", ["infer", "forward", "loss"])
def test_other_passes_have_no_groups(kind):
    net = network()
    asked = question(64)._replace(kind=kind, loss="softmax" if kind == "loss" else "")
    plan = plans.Plan(net.engine._kernels, net.engine.weights, asked)
    assert plan._lanes is None


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


@pytest.mark.parametrize(
    ("loss", "targets"), [("softmax", 0), ("mse", 6), ("quantile", 2), ("gaussian", 3)])
@pytest.mark.parametrize("missing", [False, True], ids=["steps", "numbers"])
def test_groups_take_the_weights_of_their_own_sequences(rng, loss, targets, missing):
    nets = [network_of("lstm", V, H, 6, dtype="float64", seed=0, backend=each)
            for each in ("compiled", "reference")]
    x, shape = normal(rng, "float64", T, 41, V), (T, 41, targets)
    wanted = rng.random(shape) if targets else rng.integers(0, 6, shape[:2])
    options = options_for(rng, 41, loss, True) | {"missing": "skip"}
    options["sample_weight"] = rng.random(shape[:2]) * (rng.random(41) < 0.8)
    if missing and targets:
        wanted[rng.random(shape) < 0.3] = np.nan
    expected = bits(nets[0], x, wanted, **options)
    ours, theirs = (found(net, x, wanted, **options) for net in nets)
    for each, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(each, other, rtol=1e-11, atol=1e-13)
    for n in (2, 3):
        crnn.set_num_threads(n)
        assert bits(nets[0], x, wanted, **options) == expected
    assert nets[0].engine._plans.take_latest("train")._lanes is not None


each_deep_shape = pytest.mark.parametrize("shape", SHAPES[1:], ids=str)


@each_kind
@each_deep_shape
@with_or_without_lengths
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_layers_and_directions_and_last_steps(rng, kind, shape, ragged, tokens, last_only):
    shape = shape | {"dropout": 0.3 if shape.get("num_layers") else 0.0}
    net, twin = (network(kind, "float64", **shape, backend=each)
                 for each in ("compiled", "reference"))
    for n, batch, loss in ((1, 23, "softmax"), (3, 41, "mse"), (3, 41, "sigmoid")):
        crnn.set_num_threads(n)
        x, targets, state = draw_floats(rng, net, batch, loss)
        x = rng.integers(0, V, (T, batch)) if tokens else x
        targets = targets[-1] if last_only else targets
        options = options_for(rng, batch, loss, ragged)
        ours = found(net, x, targets, state, **options)
        for each, other in zip(ours, found(twin, x, targets, state, **options), strict=True):
            np.testing.assert_allclose(each, other, rtol=1e-11, atol=1e-13)


@each_dtype
@each_kind
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@with_or_without_lengths
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_bits_of_all_shapes_do_not_depend_on_threads(
    rng, dtype, kind, shape, ragged, last_only
):
    net = network(kind, dtype, **shape)
    x, targets, state = draw_floats(rng, net, 41, "softmax")
    targets, options = targets[-1] if last_only else targets, options_for(rng, 41, "mse", ragged)
    options["loss"] = "softmax"
    expected = bits(net, x, targets, state, **options)
    for n in (1, 2, 3, 5):
        crnn.set_num_threads(n)
        for each in (net, network(kind, dtype, **shape)):
            assert bits(each, x, targets, state, **options) == expected


@each_dtype
@each_kind
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_what_belongs_to_single_sequences_is_that_of_a_pass_by_phases(
    rng, monkeypatch, dtype, kind, shape, last_only
):
    net = network(kind, dtype, **shape)
    x, targets, state = draw_floats(rng, net, 41, "softmax")
    options = {"lengths": options_for(rng, 41, "softmax", True)["lengths"]}
    targets = targets[-1] if last_only else targets
    loss, vector, *own = found(net, x, targets, state, **options)
    assert net.engine._plans._latest["train"]._lanes is not None
    net.engine.free_memory()
    monkeypatch.setattr(plans, "GROUP_WORK", np.inf)
    other_loss, other_vector, *others = found(net, x, targets, state, **options)
    assert net.engine._plans._latest["train"]._lanes is None
    assert loss == other_loss
    for ours, theirs in zip(own, others, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    scale = np.abs(vector).max()
    assert np.abs(vector - other_vector).max() <= 50 * np.finfo(dtype).eps * scale


@pytest.mark.parametrize("widths", [(5, 9), (9, 5, 7)], ids=str)
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])
def test_layers_of_different_widths(rng, widths, both):
    options = {"bidirectional": both, "dtype": "float64", "seed": 0}
    net, twin = (crnn.LSTM(V, widths, O, backend=each, **options)
                 for each in ("compiled", "reference"))
    x, targets = normal(rng, "float64", T, 41, V), rng.integers(0, O, (T, 41))
    for n in (1, 3):
        crnn.set_num_threads(n)
        loss, grads, last = net.loss_and_gradients(x, targets)
        assert net.engine._plans._latest["train"]._lanes is not None
        wanted, their, their_last = twin.loss_and_gradients(x, targets)
        pairs = [(loss, wanted), (grads.vector, their.vector), (grads.x, their.x)]
        for ours, theirs in ((last, their_last), (grads.state, their.state)):
            for part, other in zip(ours, theirs, strict=True):
                pairs += zip(part, other, strict=True)
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


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
            net.engine.loss_and_gradients(x, targets, state, wants_x=False, **everything)
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


class Spy:
    """Lanes that note what they are asked to do."""

    def __init__(self, lanes, ran, added):
        self._lanes, self._ran, self._added = lanes, ran, added

    def run(self, arguments, vector, threads):
        self._ran.append(threads)
        self._lanes.run(arguments, vector, threads)

    def add(self, group):
        self._added.append(group)
        self._lanes.add(group)


@each_shape
def test_groups_are_what_runs_and_threads_share_them(rng, shape):
    net, ran, added = network(**shape), [], []
    kernels = net.engine._kernels
    made = []

    class Kernels:
        def __getattr__(self, name):
            return getattr(kernels, name)

        def Lanes(self, groups, lanes, sums, partials):
            made.append((groups, lanes, sums.shape))
            return Spy(kernels.Lanes(groups, lanes, sums, partials), ran, added)

    net.engine._kernels = Kernels()
    x, targets, state = draw(rng, net, 64)
    for n in (1, 2, 3, 9):
        crnn.set_num_threads(n)
        for _ in range(2):
            net.loss_and_gradients(x, targets, state)
    ((groups, lanes, sums),) = made
    assert [last - first for first, last in groups] == [8] * 8
    assert lanes == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert sums == (3, net.num_parameters)
    assert ran == [1, 1, 2, 2, 3, 3, 9, 9]
    assert len(added) == 4  # of one size: one for each thread that a lane can be for


def test_memory_does_not_grow_with_the_number_of_groups(rng):
    """But for what is as large as the batch: tokens, classes, losses and states."""
    crnn.set_num_threads(2)
    sizes = []
    for batch in (64, 128):
        net = network(num_layers=2, bidirectional=True)
        x, targets, state = draw(rng, net, batch)
        net.loss_and_gradients(x, targets, state)
        sizes.append(net.engine._plans._latest["train"].bytes)
    states = 4 * 2 * 2 * H * 4  # layers and directions, h and c, their gradients too
    assert sizes[1] - sizes[0] == 64 * (T * 3 * 8 + states)


def test_groups_of_several_sizes(rng):
    net = network()
    x, targets, state = draw(rng, net, 41)
    assert len({last - first for first, last in bounds(net, 41)}) == 3
    expected = bits(net, x, targets, state)
    for n in (2, 3, 4):
        crnn.set_num_threads(n)
        for _ in range(20):
            assert bits(net, x, targets, state) == expected


@pytest.mark.parametrize("lanes", [[(0, 1), (1, 2), (2, 3)], [(1, 2), (2, 3), (3, 4)]],
                         ids=["last", "first"])
def test_a_group_that_is_left_out_is_seen(rng, monkeypatch, lanes):
    """The comparisons above are no comparisons with themselves."""
    net = network(dtype="float64")
    data, parted = draw(rng, net, 41), plans.parted
    expected = found(net, *data)
    assert len(bounds(net, 41)) == 4

    def planted(size, multiple, parts):
        return parted(size, multiple, parts) if multiple > 1 else lanes

    monkeypatch.setattr(plans, "parted", planted)
    assert not np.allclose(found(network(dtype="float64"), *data)[1], expected[1], rtol=1e-11)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_every_build_has_them(rng, isa):
    functions = kernels_of(isa, "float64")
    net = network_on(functions, V, H, O, cell="GRU", dtype="float64", seed=0)
    twin = crnn.GRU(V, H, O, dtype="float64", seed=0, backend="reference")
    data = draw(rng, net, 23)
    for ours, theirs in zip(found(net, *data), found(twin, *data), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
