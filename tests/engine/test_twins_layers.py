"""Networks of unlike layers, compiled against NumPy: what is before, between and after cells."""

import numpy as np
import pytest
from builds import (
    INSTRUCTION_SETS,
    each_dtype,
    each_instruction_set,
    kernels_of,
    needs_avx512,
    normal,
)
from passes import assert_all_close, some_lengths, tolerance

import crnn
from crnn.base import layers as base_layers
from crnn.engine import compiled, plans
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding

pytestmark = pytest.mark.no_backend

T, B, I = 7, 5, 4  # noqa: E741
ACTIVATIONS = base_layers.ACTIVATIONS
BOTH = {"bidirectional": True}
DEEP = [Dense(6, "tanh"), GRU(9), Dropout(0.3), Dense(8, "relu"), Dropout(0.2),
        LSTM(11, bidirectional=True), Dropout(0.4), Activation("sigmoid"), RNN(7),
        Dense(5, "hard_sigmoid"), Dropout(0.5), Dense(3, "tanh")]
STACKS = {
    "dense above": [RNN(9), Dense(6, "relu"), Dense(3)],
    "dense below": [Dense(6, "tanh"), GRU(9), Dense(3)],
    "dense between": [LSTM(9), Dense(6, "sigmoid"), LSTM(5), Dense(3)],
    "dense above both": [LSTM(9, **BOTH), Dense(6, "tanh"), Dense(3)],
    "dense between both": [GRU(9, **BOTH), Dense(6, "relu"), RNN(5, **BOTH), Dense(3)],
    "table": [Embedding(6), LSTM(9), Dense(3)],
    "table, both": [Embedding(6), GRU(9, **BOTH), Dense(3)],
    "activation": [LSTM(9), Activation("relu"), Dense(3)],
    "activation at the top": [RNN(9), Activation("softmax")],
    "activation between": [RNN(9, **BOTH), Activation("tanh"), GRU(6)],
    "unlike cells": [LSTM(9), GRU(6), RNN(5), Dense(3)],
    "unlike cells of a width": [LSTM(9), GRU(9), Dense(3)],
    "one way, then both": [RNN(9), LSTM(6, **BOTH), Dense(3)],
    "both, then one way": [GRU(9, **BOTH), GRU(6), Dense(3)],
    "both, then one way, of a width": [LSTM(9, **BOTH), LSTM(9), LSTM(9, **BOTH)],
    "one way amid both": [GRU(5, **BOTH), RNN(7), LSTM(6, **BOTH)],
    "top dropped out": [LSTM(9), Dropout(0.4), Dense(3)],
    "top of both dropped out": [LSTM(9, **BOTH), Dropout(0.4), Dense(3)],
    "dense dropped out": [Dense(8), Dropout(0.2), GRU(9), Dense(6), Dropout(0.4), Dense(3)],
    "deep": DEEP,
}
FUNCTIONS = {f"readout {name}": [RNN(6), Dense(5, name)] for name in ACTIVATIONS} | {
    f"dense {name}": [RNN(6), Dense(5, name), Dense(3)] for name in ACTIVATIONS}
each_stack = pytest.mark.parametrize("name", STACKS)
each_stack_and_function = pytest.mark.parametrize("name", STACKS | FUNCTIONS)


def pair_of(rng, dtype, layers, isa=INSTRUCTION_SETS[-1], **options):
    """Return equal networks on a build and on the reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "kernels", lambda backend, dtype: kernels_of(isa, dtype))
        pair = [crnn.Sequential(I, layers, dtype=dtype, seed=3, backend=backend, **options)
                for backend in ("compiled", "reference")]
    assert isinstance(pair[0].engine, compiled.Engine)
    pair[0].vector = rng.uniform(-0.5, 0.5, pair[0].num_parameters)
    pair[1].vector = pair[0].vector
    return pair


def is_table(layers):
    return isinstance(layers[0], Embedding)


def inputs(rng, net, *, steps=T, batch=B, tokens=False):
    """Return x and a state."""
    x = normal(rng, net.dtype, steps, batch, I)
    if tokens or is_table(net.layers):
        x = rng.integers(0, I, (steps, batch))
    _, state = net(x)
    parts = [[normal(rng, net.dtype, *each.shape) for each in part]
             for part in (state if isinstance(state, tuple) else [state])]
    parts = [np.array(part) if type(whole) is np.ndarray else part for part, whole in
             zip(parts, state if isinstance(state, tuple) else [state], strict=True)]
    return x, tuple(parts) if isinstance(state, tuple) else parts[0]


def flat(name, state):
    parts = state if isinstance(state, tuple) else [state]
    return {f"{name} {i} {j}": each for i, part in enumerate(parts) for j, each in enumerate(part)}


def of_gradients(grads):
    found = dict(grads.parameters) | flat("dstate", grads.state)
    return found if grads.x is None else found | {"dx": grads.x}


def bound(net, steps=T, batch=B):
    return tolerance(net.dtype.name, steps * batch * 12, 12 * steps)


@each_dtype
@each_stack_and_function
def test_passes_equal_the_twin(rng, dtype, name):
    check_passes(pair_of(rng, dtype, (STACKS | FUNCTIONS)[name]), rng, dtype == "float64")


@each_instruction_set
@pytest.mark.parametrize("name", ["deep", *FUNCTIONS])
def test_every_build_equals_the_twin(rng, isa, name):
    check_passes(pair_of(rng, "float64", (STACKS | FUNCTIONS)[name], isa), rng, True)


def check_passes(pair, rng, ragged):
    dtype, dy, results = pair[0].dtype, None, []
    x, state = inputs(rng, pair[0])
    dstate = inputs(rng, pair[0])[1]
    lengths = some_lengths(rng, ragged, T, B)
    for net in pair:
        y, last = net(x, state, lengths=lengths)
        kept, last_kept, cache = net.forward(x, state, lengths=lengths)
        dy = normal(rng, dtype, *y.shape) if dy is None else dy
        found = {"y": y, "kept": kept} | flat("last", last) | flat("last kept", last_kept)
        found |= of_gradients(net.backward(cache, dy, dstate))
        ends, last = net(x, state, lengths=lengths, last=True)
        results.append(found | {"ends": ends} | flat("last of ends", last))
    assert_all_close(*results, bound(pair[0]))


def targets_for(rng, loss, y):
    if loss == "softmax":
        return rng.integers(0, y.shape[-1], y.shape[:-1])
    numbers = rng.random(y.shape).astype(y.dtype)
    return numbers if loss == "sigmoid" else y + numbers


@each_dtype
@each_stack_and_function
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_losses_equal_the_twin(rng, dtype, name, last_only):
    layers = (STACKS | FUNCTIONS)[name]
    pair = pair_of(rng, dtype, layers, learn_state=True)
    x, state = inputs(rng, pair[0])
    lengths = some_lengths(rng, dtype == "float64", T, B)
    y, _ = pair[0](x, last=last_only)
    own = getattr(layers[-1], "activation", "linear")
    for loss in {"softmax", "sigmoid", "mse"} - ({"softmax", "sigmoid"} - {own}
                                                 if own != "linear" else set()):
        targets, results = targets_for(rng, loss, y), []
        for net in pair:
            value, last = net.loss(x, targets, state, loss=loss, lengths=lengths)
            found = {"loss": value} | flat("last", last)
            for time, given in enumerate([state, state, None]):  # kept memory from the second on
                value, grads, last = net.loss_and_gradients(
                    x, targets, given, loss=loss, lengths=lengths)
                found |= {f"loss {time}": value} | flat(f"last {time}", last)
                found |= {f"{key} {time}": each for key, each in of_gradients(grads).items()}
            results.append(found)
        assert_all_close(*results, bound(pair[0]))


# --- the input added to the outputs ---------------------------------------------------------------

SKIPS = {
    "readout": [LSTM(9), Dense(I)],
    "states": [Dense(6, "tanh"), GRU(I)],
    "both": [GRU(9, **BOTH), Dropout(0.2), Dense(I)],
    "activation": [RNN(I), Activation("relu")],
}


@each_dtype
@pytest.mark.parametrize("name", SKIPS)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_a_skip_equals_the_twin(rng, dtype, name, ragged):
    pair, results = pair_of(rng, dtype, SKIPS[name], skip=True), []
    x, state = inputs(rng, pair[0])
    dstate = inputs(rng, pair[0])[1]
    lengths = some_lengths(rng, ragged, T, B)
    y, _ = pair[0](x, state, lengths=lengths)
    dy, targets = normal(rng, dtype, *y.shape), y + rng.random(y.shape).astype(dtype)
    for net in pair:
        kept, _, cache = net.forward(x, state, lengths=lengths)
        found = {"y": net(x, state, lengths=lengths)[0], "kept": kept}
        found |= of_gradients(net.backward(cache, dy, dstate))
        found["loss"], grads, _ = net.loss_and_gradients(
            x, targets, state, loss="mse", lengths=lengths)
        results.append(found | {f"{key} 2": each for key, each in of_gradients(grads).items()})
    assert_all_close(*results, bound(pair[0]))


# --- one step at a time ---------------------------------------------------------------------------


def one_way(stacks):
    return [name for name, layers in stacks.items()
            if not any(getattr(layer, "bidirectional", False) for layer in layers)]


@pytest.mark.parametrize(("dtype", "batch"), [
    ("float32", None), ("float32", 5), ("float64", 1), ("float64", 5)])
@pytest.mark.parametrize("name", one_way(
    STACKS | FUNCTIONS | {f"skip {name}": layers for name, layers in SKIPS.items()}))
def test_steps_have_the_bits_of_the_whole_and_equal_the_twins(rng, dtype, batch, name):
    skip = name.startswith("skip ")
    layers = SKIPS[name[5:]] if skip else (STACKS | FUNCTIONS)[name]
    pair = pair_of(rng, dtype, layers, skip=skip)
    x, state = inputs(rng, pair[0], batch=batch or 1)
    if batch is None:
        x, (_, state) = x[:, 0], pair[0](x[:, 0])
    streams = [net.stream(batch) for net in pair]
    for stream in streams:
        stream.state = state
    whole, last = pair[0](x, state)
    for t, row in enumerate(x):
        out = np.empty(whole.shape[1:], dtype) if t % 2 else None
        y, twin = streams[0].step(row, out), streams[1].step(row)
        assert y.tobytes() == whole[t].tobytes()
        assert_all_close({"y": y}, {"y": twin}, bound(pair[0]))
    assert_all_close(flat("last", streams[0].state), flat("last", last), 0)


def test_steps_of_learned_states_begin_there(rng):
    net, twin = pair_of(rng, "float64", STACKS["unlike cells"], learn_state=True)
    x = normal(rng, "float64", 3, I)
    assert net.step(x[0]).tobytes() == net(x)[0][0].tobytes()
    assert_all_close({"y": net.step(x[1])}, {"y": twin(x)[0][1]}, 1e-12)


def test_a_step_refuses_what_the_network_does_not_take(rng):
    table, _ = pair_of(rng, "float32", STACKS["table"])
    skip, _ = pair_of(rng, "float32", SKIPS["readout"], skip=True)
    for net, x, wanted in ((table, np.ones(I, np.float32), "integers"),
                           (skip, np.intp(1), "floats")):
        with pytest.raises(TypeError, match=wanted):
            net.step(np.asarray(x))
        assert net.step(np.asarray(1) if net is table else np.ones(I)).shape == (
            net.engine.output_size,)


# --- the same bits --------------------------------------------------------------------------------


def trained(net, x, targets, lengths=None):
    generator = net.dropout_state
    loss, grads, _ = net.loss_and_gradients(x, targets, loss="mse", lengths=lengths)
    net.dropout_state = generator
    return {"loss": loss} | of_gradients(grads)


def bits(found):
    return {name: np.asarray(each).tobytes() for name, each in found.items()}


@needs_avx512
@each_dtype
@pytest.mark.parametrize("name", ["deep", "table", "one way amid both", *FUNCTIONS])
def test_avx2_and_avx512_give_the_same_bits(rng, dtype, name):
    nets = [pair_of(rng, dtype, (STACKS | FUNCTIONS)[name], isa)[0] for isa in ("avx2", "avx512")]
    nets[1].vector = nets[0].vector
    x, _ = inputs(rng, nets[0])
    targets = rng.random(nets[0](x)[0].shape)
    ours, theirs = (bits({"y": net(x)[0]} | trained(net, x, targets)) for net in nets)
    assert ours == theirs


# --- however the work is divided ------------------------------------------------------------------


@each_stack
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@pytest.mark.usefixtures("small_work_is_split")
def test_threads_give_the_same_bits_and_small_blocks_equal_the_twin(
    rng, monkeypatch, name, last_only
):
    net, twin = pair_of(rng, "float64", STACKS[name])
    x, _ = inputs(rng, net, batch=23)
    lengths = some_lengths(rng, True, T, 23)
    targets = rng.random(net(x, last=last_only)[0].shape)
    expected, whole = trained(twin, x, targets, lengths), None
    for block in (2**19, 23 * 25):
        monkeypatch.setattr(plans, "BLOCK_NUMBERS", block)
        net.engine.free_memory()
        for threads in (1, 3):
            crnn.set_num_threads(threads)
            y, last = net(x, lengths=lengths)
            whole = whole or bits({"y": y} | flat("last", last))
            assert bits({"y": y} | flat("last", last)) == whole
            found = trained(net, x, targets, lengths)
            assert_all_close(found, expected, 1e-12)
            if threads == 1:
                of_one = bits(found)
            assert bits(found) == of_one


@each_stack
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@pytest.mark.usefixtures("small_work_is_split")
def test_groups_equal_the_twin_with_the_same_bits_for_any_number_of_threads(
    rng, monkeypatch, name, last_only
):
    monkeypatch.setattr(plans, "GROUP_WORK", 1)
    pair = pair_of(rng, "float64", STACKS[name])
    x, _ = inputs(rng, pair[0], batch=23)
    y, _ = pair[0](x, last=last_only)
    targets, found = y + rng.random(y.shape), []
    assert len(plans.group_bounds(pair[0].engine.weights, plans.Question(
        "train", T, 23, True, is_table(STACKS[name]), "mse"))) == 2
    expected = trained(pair[1], x, targets)
    for threads in (1, 2, 3):
        crnn.set_num_threads(threads)
        found.append(trained(pair[0], x, targets))
    assert_all_close(found[0], expected, 1e-12)
    assert all(bits(each) == bits(found[0]) for each in found)
