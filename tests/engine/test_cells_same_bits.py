"""Gated cells and layers: results whose bits must be equal, however the work is divided.

Steps and whole sequences, parts of a batch, threads, AVX2 and AVX-512, blocks of time steps.
"""

import itertools

import cell_networks as cells
import numpy as np
import pytest
from builds import INSTRUCTION_SETS, each_dtype, each_instruction_set, kernels_of, needs_avx512
from cell_networks import (
    arrays,
    build,
    different,
    draw,
    draw_input,
    draw_state,
    each_depth,
    everything,
    floats_or_tokens,
    like,
    named,
)

import crnn
from crnn.engine import plans

pytestmark = pytest.mark.no_backend

OTHERS = ["gru-before-clip", "lstm-all"]
each_cell = pytest.mark.parametrize("cell", [
    "RNN", "GRU", "GRU, relu", "GRU, reset before", "LSTM", *OTHERS])
each_shape = pytest.mark.parametrize(
    ("layers", "both"), [(1, False), (3, False), (2, True)], ids=["1", "3", "2, both"])
# T, B, I, H, O: odd, all different, and about the sizes of panels and tiles
SIZES = [(7, 9, 5, 33, 17), (3, 17, 33, 65, 1), (5, 33, 1, 17, 40), (11, 1, 17, 1, 3)]


def on_build(isa, cell, layers, both, sizes, dtype):
    functions = kernels_of(isa, dtype)
    return build(cell, layers, both, sizes=sizes, functions=functions, dtype=dtype)


def ragged(rng, T, B):
    lengths = rng.integers(0, T + 1, B)
    lengths[: min(B, 2)] = (T, 0)[: min(B, 2)]
    return lengths


@pytest.mark.usefixtures("small_work_is_split")
@each_cell
@each_shape
@each_dtype
@floats_or_tokens
def test_any_number_of_threads(rng, monkeypatch, cell, layers, both, dtype, tokens):
    for T, B, *sizes in SIZES:
        monkeypatch.setattr(plans, "BLOCK_NUMBERS", 3 * B * 4 * sizes[1])
        net = on_build(INSTRUCTION_SETS[0], cell, layers, both, sizes, dtype)
        data = draw(rng, net, shape=(T, B), tokens=tokens, lengths=ragged(rng, T, B))
        crnn.set_num_threads(1)
        one = everything(net, data)
        for n in (2, 4):
            crnn.set_num_threads(n)
            assert different(everything(net, data), one) == []


@needs_avx512
@each_cell
@each_shape
@each_dtype
@floats_or_tokens
def test_avx2_and_avx512(rng, cell, layers, both, dtype, tokens):
    for T, B, *sizes in SIZES:
        wide, narrow = (
            on_build(isa, cell, layers, both, sizes, dtype) for isa in ("avx512", "avx2"))
        data = draw(rng, wide, shape=(T, B), tokens=tokens, lengths=ragged(rng, T, B))
        assert different(everything(wide, data), everything(narrow, data)) == []
        if not both:
            assert different(stepped(wide, data), stepped(narrow, data)) == []


def of_each_sequence(net, data):
    """Results that belong to single sequences; others are sums over the batch."""
    y, last = net(data.x, data.state, lengths=data.lengths)
    found = {"y": y} | named("last", last)
    y, last, cache = net.forward(data.x, data.state, lengths=data.lengths)
    grads = net.backward(cache, data.dy, data.dstate)
    found |= {"y with tape": y} | named("last with tape", last) | named("gradient", grads.state)
    return found if grads.x is None else found | {"x": grads.x}


@each_instruction_set
@each_cell
@each_shape
@each_dtype
def test_any_split_of_a_batch(rng, isa, cell, layers, both, dtype):
    T, B, *sizes = 5, 17, 7, 33, 19
    net = on_build(isa, cell, layers, both, sizes, dtype)
    data = draw(rng, net, shape=(T, B), lengths=ragged(rng, T, B))
    whole = of_each_sequence(net, data)
    for cuts in ((1,), (5, 6), (2, 9, 16), range(1, 17)):
        ends = itertools.pairwise([0, *cuts, B])
        parts = [of_each_sequence(net, data.part(slice(*each))) for each in ends]
        joined = {
            name: np.concatenate([part[name] for part in parts], axis=1) for name in whole}
        assert different(joined, whole) == []


def stepped(net, data):
    """Outputs and last state of a stream."""
    stream = net.stream()
    stream.state = data.state
    y = np.array([stream.step(each) for each in data.x])
    return {"y": y} | named("last", stream.state)


def whole(net, data):
    y, last = net(data.x, data.state)
    return {"y": y} | named("last", last)


@each_instruction_set
@each_cell
@each_depth
@each_dtype
@floats_or_tokens
def test_steps_and_the_whole_sequence(rng, isa, cell, layers, dtype, tokens):
    for B, sizes in itertools.product((1, 2, 5, 8, 33), [(5, 33, 17), (33, 17, None), (1, 65, 1)]):
        net = on_build(isa, cell, layers, False, sizes, dtype)
        data = draw(rng, net, shape=(5, B), tokens=tokens)
        assert different(stepped(net, data), whole(net, data)) == []
        alone = like(data.state, [each[:, 0] for each in arrays(data.state)])
        one = data._replace(x=data.x[:, 0], state=alone)
        assert different(stepped(net, one), whole(net, one)) == []
        y, last, _ = net.forward(data.x, data.state)
        assert different({"y": y} | named("last", last), whole(net, data)) == []


@each_cell
@each_depth
def test_steps_on_the_reference_are_the_sequence_but_for_rounding(rng, cell, layers):
    net = build(cell, layers, backend="reference")
    data = draw(rng, net)
    cells.check_close(stepped(net, data), whole(net, data), 1e-13)


@each_cell
@each_shape
def test_any_block_of_time_steps(rng, monkeypatch, cell, layers, both):
    """Of the forward pass, and of gradients that are no sums over time."""
    T, B, *sizes = 11, 5, 3, 33, 17
    net = on_build(INSTRUCTION_SETS[0], cell, layers, both, sizes, "float32")
    data = draw(rng, net, shape=(T, B), lengths=ragged(rng, T, B))
    step, one = B * net.engine.layers[0].kind.gates * 33, of_each_sequence(net, data)
    for numbers in (1, step, 2 * step + 1, 5 * step):
        monkeypatch.setattr(plans, "BLOCK_NUMBERS", numbers)
        net.engine.free_memory()  # plans keep the blocks that they were made for
        assert different(of_each_sequence(net, data), one) == []


@each_cell
@each_depth
@pytest.mark.parametrize("cut", [1, 5, 10])
def test_any_cut_in_time(rng, cell, layers, cut):
    net = on_build(INSTRUCTION_SETS[0], cell, layers, False, (3, 33, 17), "float32")
    data = draw(rng, net, shape=(11, 5))
    first, between = net(data.x[:cut], data.state)
    second, last = net(data.x[cut:], between)
    found = {"y": np.concatenate([first, second])} | named("last", last)
    assert different(found, whole(net, data)) == []


@pytest.mark.parametrize("cell", ["GRU", "GRU, reset before", "LSTM"])
def test_another_digit_of_any_state_is_seen(rng, cell):
    net = on_build(INSTRUCTION_SETS[0], cell, 2, False, (3, 33, 17), "float64")
    x, state = draw_input(rng, net, shape=(3, 5)), draw_state(rng, net, 5)
    data = draw(rng, net, shape=(3, 5))._replace(x=x, state=state)
    for nudged in range(len(arrays(state))):
        moved = [each.copy() for each in arrays(state)]
        moved[nudged][1, -1, -1] *= 1 + 1e-12
        found = different(stepped(net, data._replace(state=like(state, moved))), whole(net, data))
        assert "last h" in found
