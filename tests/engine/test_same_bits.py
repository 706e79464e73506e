"""Results whose bits must be equal, however the work is divided and whatever runs it.

A number of y is the same sum whether its sequence is alone or in a batch of any size, whether its
step is one of a block or a stream's, for every number of threads, with AVX2 and with AVX-512.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from builds import (
    DTYPES,
    INSTRUCTION_SETS,
    LOSSES,
    each_dtype,
    each_instruction_set,
    each_nonlinearity,
    kernels_of,
    needs_avx512,
    network_on,
)
from cell_networks import different

import crnn
from crnn.engine import compiled, pass_arrays, plans

pytestmark = pytest.mark.no_backend

# T, B, I, H, O: odd, all different, and about the sizes of panels, tiles and blocks
SIZES = [
    (7, 9, 5, 33, 17), (3, 17, 33, 65, 1), (5, 33, 1, 17, 257), (1, 65, 17, 1, 3),
    (9, 3, 65, 257, 33), (33, 1, 3, 17, 5),
]
each_size = pytest.mark.parametrize("sizes", SIZES, ids=str)
each_input = pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
full_or_ragged = pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
with_or_without_readout = pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])


class Data(NamedTuple):
    """What goes into a network, forward and back."""

    x: np.ndarray
    state: np.ndarray
    lengths: np.ndarray | None
    targets: dict  # of every loss
    dy: np.ndarray
    dstate: np.ndarray

    def part(self, sequences):
        """Return what belongs to some sequences, a slice."""
        lengths = None if self.lengths is None else self.lengths[sequences]
        targets = {loss: array[:, sequences] for loss, array in self.targets.items()}
        return Data(self.x[:, sequences], self.state[:, sequences], lengths, targets,
                    self.dy[:, sequences], self.dstate[:, sequences])


def draw(rng, sizes, dtype, *, tokens=False, ragged=False, readout=True):
    """Return a network's sizes and data for it."""
    T, B, I, H, O = sizes  # noqa: E741
    O = O if readout else H  # noqa: E741
    x = rng.integers(0, I, (T, B)) if tokens else rng.standard_normal((T, B, I)).astype(dtype)
    state, dy, dstate, numbers = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((1, B, H), (T, B, O), (1, B, H), (T, B, O))
    )
    lengths = None
    if ragged:
        lengths = rng.integers(0, T + 1, B)
        lengths[: min(B, 2)] = (T, 0)[: min(B, 2)]
    targets = {"softmax": rng.integers(-1, O, (T, B)), "sigmoid": abs(numbers) / 9, "mse": numbers}
    return (I, H, O if readout else None), Data(x, state, lengths, targets, dy, dstate)


def build(isa, sizes, dtype, nonlinearity="tanh", seed=1):
    """Return a network on one build; its recurrent weights neither die out nor explode."""
    net = network_on(kernels_of(isa, dtype), *sizes, dtype=dtype, nonlinearity=nonlinearity)
    rng = np.random.default_rng(seed)
    net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
    W = rng.standard_normal((sizes[1], sizes[1]))
    net.parameters["W_hh_l0"] = 0.9 * W / np.linalg.norm(W, ord=2)
    return net


# --- results by name -----------------------------------------------------------------------------


def forward_results(net, data):
    """Outputs, states and losses."""
    rest = {"lengths": data.lengths}
    found = dict(zip(("y", "state"), net(data.x, data.state, **rest), strict=True))
    found["y with tape"], found["state with tape"], _ = net.forward(data.x, data.state, **rest)
    for loss, targets in data.targets.items():
        for what, chosen in ((loss, targets), (f"{loss} of the last", targets[-1])):
            found[what], found[f"state after {what}"] = net.loss(
                data.x, chosen, data.state, loss=loss, **rest
            )
    return found


def gradients_by_name(what, grads):
    found = dict(grads.parameters) | {"state": grads.state} | gradient_of_x(grads)
    return {f"{what}, {name}": array for name, array in found.items()}


def gradient_of_x(grads):
    return {} if grads.x is None else {"x": grads.x}  # tokens have none


def backward_results(net, data):
    """All that `backward` returns."""
    cache = net.forward(data.x, data.state, lengths=data.lengths)[2]
    return gradients_by_name("backward", net.backward(cache, data.dy, data.dstate))


def training_results(net, data):
    """All that `loss_and_gradients` returns, of every loss."""
    found = {}
    for loss, targets in data.targets.items():
        for what, chosen in ((loss, targets), (f"{loss} of the last", targets[-1])):
            found[f"{what} in training"], grads, found[f"state after training, {what}"] = (
                net.loss_and_gradients(data.x, chosen, data.state, loss=loss, lengths=data.lengths)
            )
            found |= gradients_by_name(what, grads)
    return found


def everything(net, data):
    return forward_results(net, data) | backward_results(net, data) | training_results(net, data)


def stepped(net, data, inputs):
    """Outputs and last state of a stream."""
    stream = net.stream()
    stream.state = data.state
    return {"y": np.array([stream.step(each) for each in inputs]), "state": stream.state}


def in_parts(net, data, cuts, nudge=lambda data: data):
    """Join what `forward` and `backward` give for parts of a batch."""
    ends = itertools.pairwise([0, *cuts, data.x.shape[1]])
    parts = [nudge(data.part(slice(*each))) for each in ends]
    return [of_each_sequence(net, part) for part in parts]


def of_each_sequence(net, data):
    """Results that belong to single sequences; others are sums over the batch."""
    found = dict(zip(("y", "state"), net(data.x, data.state, lengths=data.lengths), strict=True))
    y, last, cache = net.forward(data.x, data.state, lengths=data.lengths)
    grads = net.backward(cache, data.dy, data.dstate)
    found |= {"y with tape": y, "state with tape": last}
    return found | {"gradient of state": grads.state} | gradient_of_x(grads)


def joined(parts):
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def nudged(data):
    """Move one number of the initial state by its last place."""
    state = data.state.copy()
    state[0, -1, -1] = np.nextafter(state[0, -1, -1], 9)
    return data._replace(state=state)


# --- threads -------------------------------------------------------------------------------------


def with_threads(n, function, *arguments):
    crnn.set_num_threads(n)
    return function(*arguments)


@pytest.mark.usefixtures("small_work_is_split")
@each_dtype
@each_nonlinearity
@full_or_ragged
@with_or_without_readout
@each_input
@each_size
def test_any_number_of_threads(rng, dtype, nonlinearity, sizes, tokens, ragged, readout):
    shape, data = draw(rng, sizes, dtype, tokens=tokens, ragged=ragged, readout=readout)
    net = build(INSTRUCTION_SETS[0], shape, dtype, nonlinearity)
    one = with_threads(1, everything, net, data)
    for n in (2, 3, 4):
        assert different(with_threads(n, everything, net, data), one) == []


@pytest.mark.usefixtures("small_work_is_split")
@each_instruction_set
@each_dtype
def test_any_number_of_threads_across_blocks(rng, monkeypatch, isa, dtype):
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", 3 * 9 * 33)
    shape, data = draw(rng, (11, 9, 5, 33, 17), dtype, ragged=True)
    net = build(isa, shape, dtype)
    one = with_threads(1, everything, net, data)
    for n in (2, 3):
        assert different(with_threads(n, everything, net, data), one) == []


@pytest.mark.usefixtures("small_work_is_split")
@pytest.mark.parametrize("groups", [[(0, 4), (4, 8)], [(1, 5), (5, 9)]], ids=["last", "first"])
def test_a_sequence_that_is_left_out_is_seen(rng, monkeypatch, groups):
    shape, data = draw(rng, SIZES[0], "float64")
    net = build(INSTRUCTION_SETS[0], shape, "float64")

    def not_a_number(shape, dtype):  # new memory may still hold what is left out
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 0, dtype)

    def with_groups(n, bounds):
        monkeypatch.setattr(plans, "group_bounds", lambda weights, question: bounds)
        net.engine.free_memory()
        return with_threads(n, training_results, net, data)

    for module in (compiled, pass_arrays):
        monkeypatch.setattr(module, "aligned_empty", not_a_number)
    one = with_groups(1, [(0, 4), (4, 9)])
    assert different(with_groups(2, [(0, 4), (4, 9)]), one) == []
    found = different(with_groups(2, groups), one)
    assert {"softmax, W_hh_l0", "softmax, W_hy", "mse in training", "softmax in training"} <= set(
        found)
    assert "sigmoid of the last, b_h_l0" in found


# --- builds --------------------------------------------------------------------------------------


@needs_avx512
@each_dtype
@each_nonlinearity
@full_or_ragged
@with_or_without_readout
@each_input
@each_size
def test_avx2_and_avx512(rng, dtype, nonlinearity, sizes, tokens, ragged, readout):
    shape, data = draw(rng, sizes, dtype, tokens=tokens, ragged=ragged, readout=readout)
    wide, narrow = (build(isa, shape, dtype, nonlinearity) for isa in ("avx512", "avx2"))
    assert different(everything(wide, data), everything(narrow, data)) == []
    inputs = data.x[:9]
    assert different(stepped(wide, data, inputs), stepped(narrow, data, inputs)) == []


@needs_avx512
@each_dtype
def test_a_build_that_rounds_otherwise_is_seen(rng, dtype):
    """The baseline multiplies and adds with two roundings."""
    shape, data = draw(rng, SIZES[0], dtype)
    wide, base = (build(isa, shape, dtype) for isa in ("avx512", "baseline"))
    found = different(everything(wide, data), everything(base, data))
    assert {"y", "state", "backward, x", "backward, W_hh_l0", "softmax, W_hy"} <= set(found)
    assert "y" in different(stepped(wide, data, data.x), stepped(base, data, data.x))


@needs_avx512
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-6), ("float64", 2e-15)])
def test_it_differs_no_more_than_the_readme_says(rng, dtype, most):
    x = rng.standard_normal((100, 4, 128)).astype(dtype)
    wide, base = (
        network_on(kernels_of(isa, dtype), 128, 128, dtype=dtype, seed=0)(x)[0]
        for isa in ("avx512", "baseline")
    )
    assert 0 < np.abs(wide - base).max() < most * np.abs(wide).max()


# --- batches -------------------------------------------------------------------------------------


CUTS = [(1,), (5, 6), (2, 9, 16), (4, 8, 12, 16), range(1, 17)]


@each_instruction_set
@each_dtype
@each_input
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_any_split_of_a_batch(rng, isa, dtype, tokens, cuts):
    for sizes in ((7, 17, 5, 33, 19), (3, 17, 33, 65, 1), (2, 17, 1, 257, 3)):
        for ragged, readout, nonlinearity in ((True, True, "tanh"), (False, False, "relu")):
            shape, data = draw(rng, sizes, dtype, tokens=tokens, ragged=ragged, readout=readout)
            net = build(isa, shape, dtype, nonlinearity)
            whole = of_each_sequence(net, data)
            assert different(joined(in_parts(net, data, cuts)), whole) == []


@each_dtype
def test_a_part_with_another_last_digit_is_seen(rng, dtype):
    shape, data = draw(rng, (7, 17, 5, 33, 19), dtype)
    net = build(INSTRUCTION_SETS[0], shape, dtype)
    found = different(joined(in_parts(net, data, (5,), nudged)), of_each_sequence(net, data))
    assert {"y", "y with tape", "x", "gradient of state"} <= set(found)


# --- time ----------------------------------------------------------------------------------------


BATCHES = [*range(1, 10), 33]


@each_instruction_set
@each_dtype
@each_nonlinearity
@with_or_without_readout
@each_input
def test_steps_and_the_whole_sequence(rng, isa, dtype, nonlinearity, readout, tokens):
    for batch, (inputs, hidden, outputs) in itertools.product(
        BATCHES, [(5, 33, 17), (33, 17, 1), (1, 65, 33)]
    ):
        sizes = 5, batch, inputs, hidden, outputs
        shape, data = draw(rng, sizes, dtype, tokens=tokens, readout=readout)
        net = build(isa, shape, dtype, nonlinearity)
        whole = dict(zip(("y", "state"), net(data.x, data.state), strict=True))
        assert different(stepped(net, data, data.x), whole) == []
        one = Data(data.x[:, 0], data.state[:, 0], None, {}, None, None)
        alone = dict(zip(("y", "state"), net(one.x, one.state), strict=True))
        assert different(stepped(net, one, one.x), alone) == []


@pytest.fixture(params=itertools.product([False, True], repeat=2), ids=str)
def as_on_other_processors(request):
    """Have kernels ask early for large weights, and go through long panels in parts, or not."""
    builds = [kernels_of(*each) for each in itertools.product(INSTRUCTION_SETS, DTYPES)]
    before = [build._work_as_if(*request.param) for build in builds]
    yield
    for build, each in zip(builds, before, strict=True):
        build._work_as_if(*each)


@pytest.mark.usefixtures("as_on_other_processors")
@each_instruction_set
@each_dtype
def test_steps_and_parts_with_a_weight_beyond_the_second_cache(rng, isa, dtype):
    """Of such a weight (here 1.7 MB or more) some processors are asked for what comes next.

    Some go through a panel that the first cache does not hold in parts, with 32 rows each.
    """
    units = 1029 if isa == "baseline" else 645
    shape, data = draw(rng, (3, 37, units, units, 2), dtype)
    net = build(isa, shape, dtype)
    whole = of_each_sequence(net, data)
    steps = stepped(net, data, data.x)
    assert different(steps, {name: whole[name] for name in steps}) == []
    assert different(joined(in_parts(net, data, (1, 8))), whole) == []


@each_dtype
def test_a_step_with_another_last_digit_is_seen(rng, dtype):
    shape, data = draw(rng, SIZES[0], dtype)
    net = build(INSTRUCTION_SETS[0], shape, dtype)
    whole = dict(zip(("y", "state"), net(data.x, data.state), strict=True))
    assert "y" in different(stepped(net, nudged(data), data.x), whole)


def with_blocks(numbers, function, net, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "BLOCK_NUMBERS", numbers)
        net.engine.free_memory()  # plans keep the blocks that they were made for
        return function(net, *arguments)


@each_instruction_set
@each_dtype
@each_nonlinearity
@full_or_ragged
@each_input
def test_any_block_of_time_steps(rng, isa, dtype, nonlinearity, ragged, tokens):
    """Of the forward pass, and of gradients that are no sums over time."""
    for sizes in ((11, 5, 3, 33, 17), (11, 1, 5, 17, 33), (11, 9, 1, 65, 3)):
        shape, data = draw(rng, sizes, dtype, tokens=tokens, ragged=ragged)
        net, step = build(isa, shape, dtype, nonlinearity), sizes[1] * max(sizes[3:])
        whole = with_blocks(2**30, forward_and_own, net, data)
        for numbers in (1, step, 2 * step + 1, 5 * step, 11 * step):
            assert different(with_blocks(numbers, forward_and_own, net, data), whole) == []


def forward_and_own(net, data):
    return forward_results(net, data) | of_each_sequence(net, data)


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_and_that_of_training(rng, isa, dtype, loss):
    shape, data = draw(rng, (131, 3, 5, 33, 17), dtype, ragged=True)
    net, options = build(isa, shape, dtype), {"loss": loss, "lengths": data.lengths}
    value, _ = net.loss(data.x, data.targets[loss], data.state, **options)
    assert value == net.loss_and_gradients(data.x, data.targets[loss], data.state, **options)[0]


@each_instruction_set
@each_dtype
@each_input
@pytest.mark.parametrize("cut", [1, 5, 10])
def test_any_cut_in_time(rng, isa, dtype, tokens, cut):
    shape, data = draw(rng, (11, 5, 3, 33, 17), dtype, tokens=tokens)
    net = build(isa, shape, dtype)
    first, between = net(data.x[:cut], data.state)
    second, end = net(data.x[cut:], between)
    found = {"y": np.concatenate([first, second]), "state": end}
    assert different(found, dict(zip(("y", "state"), net(data.x, data.state), strict=True))) == []


@each_dtype
def test_a_block_with_another_last_digit_is_seen(rng, dtype):
    shape, data = draw(rng, SIZES[0], dtype)
    net = build(INSTRUCTION_SETS[0], shape, dtype)
    whole = with_blocks(2**30, forward_and_own, net, data)
    found = different(with_blocks(1, forward_and_own, net, nudged(data)), whole)
    assert {"y", "y with tape", "x", "gradient of state"} <= set(found)
