"""Steps and whole networks, compiled against NumPy: every cell, layers, both directions."""

import itertools

import numpy as np
import pytest
from builds import (
    INSTRUCTION_SETS,
    KINDS,
    LOSSES,
    each_dtype,
    each_instruction_set,
    each_kind,
    kernels_of,
    network_of,
    normal,
    parts_of,
    state_of,
)
from passes import assert_all_close, recurrent_weights, some_lengths, tolerance

import crnn

pytestmark = pytest.mark.no_backend


# --- the whole class -----------------------------------------------------------------------------


def networks(rng, isa, dtype, sizes, kind, **options):
    """Return equal networks on a build and on the reference, with recurrent weights of norm 0.9."""
    options = {"dtype": dtype, "seed": 3} | options
    pair = [
        network_of(kind, *sizes, functions=kernels_of(isa, dtype), **options),
        network_of(kind, *sizes, backend="reference", **options),
    ]
    pair[0].vector = rng.uniform(-0.5, 0.5, pair[0].num_parameters)
    for name in pair[0].parameters:
        if name.startswith("W_hh"):
            pair[0].parameters[name] = recurrent_weights(sizes[1], KINDS[kind].gates)
    pair[1].vector = pair[0].vector
    return pair


def data(rng, net, sizes, *, tokens=False, ragged=False, batched=True):
    """Return x, a state and lengths."""
    (steps, batch, inputs, hidden), dtype = sizes, net.dtype
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    rows = net.num_layers * (1 + net.bidirectional)
    count = 2 if isinstance(net, crnn.LSTM) else 1
    state = [normal(rng, dtype, rows, batch, hidden) for _ in range(count)]
    lengths = some_lengths(rng, ragged, steps, batch)
    if batched:
        return x, state_of(state), lengths
    return x[:, 0], state_of([each[:, 0] for each in state]), None


DEEP = {"num_layers": 2, "dropout": 0.3}
BOTH = {"bidirectional": True}
WHOLE = [
    pytest.param((7, 3, 5, 33, 17), {}, {}, id="floats"),
    pytest.param((7, 3, 5, 33, 17), {"tokens": True}, {}, id="tokens"),
    pytest.param((7, 3, 5, 33, 17), {"ragged": True}, {}, id="lengths"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True, "tokens": True}, {}, id="tokens-lengths"),
    pytest.param((7, 1, 5, 33, 17), {"batched": False}, {}, id="unbatched"),
    pytest.param((1, 3, 5, 17, 2), {}, {}, id="one-step"),
    pytest.param((5, 3, 2, 17, None), {"ragged": True}, {}, id="bare"),
    pytest.param((131, 3, 2, 17, 5), {"ragged": True}, {}, id="long"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True}, DEEP, id="layers"),
    pytest.param((7, 5, 3, 17, None), {"tokens": True}, {"num_layers": 3}, id="layers-tokens-bare"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True}, BOTH, id="directions"),
    pytest.param((7, 5, 3, 17, None), {"tokens": True, "ragged": True}, BOTH | DEEP, id="all"),
    pytest.param((7, 1, 3, 17, 2), {"batched": False}, BOTH | DEEP, id="all-unbatched"),
]
LARGE = (3, 41, 2, 645, None)  # weights beyond the second cache
each_network = pytest.mark.parametrize(("sizes", "given", "options"), WHOLE)


def numbered(name, state):
    return {f"{name} {i}": each for i, each in enumerate(parts_of(state))}


def gradients_by_name(grads):
    found = dict(grads.parameters) | numbered("state", grads.state)
    return found if grads.x is None else found | {"x": grads.x}


def steps_of(net, x, state):
    """Return outputs and states of the first steps, by name; of one direction only."""
    found = {}
    if not net.bidirectional:
        net.state = state
        for t, each in enumerate(x[:9]):
            found |= {f"step {t}": net.step(each)} | numbered(f"state {t}", net.state)
    return found


def tolerance_of(net, sizes):
    steps, batch, *others = sizes
    sizes = (steps * net.num_layers, batch, *(other and 2 * other for other in others))
    steps, batch, *others = sizes
    return tolerance(net.dtype.name, max(steps * batch, *filter(None, others)), steps)


@each_instruction_set
@each_dtype
@each_kind
@each_network
def test_network_equals_the_twin(rng, isa, dtype, kind, sizes, given, options):
    pair = networks(rng, isa, dtype, sizes[2:], kind, **options)
    x, state, lengths = data(rng, pair[0], sizes[:4], **given)
    dstate = state_of([normal(rng, dtype, *each.shape) for each in parts_of(state)])
    dy, results = None, []
    for net in pair:
        y, last, cache = net.forward(x, state, lengths=lengths)
        dy = normal(rng, dtype, *y.shape) if dy is None else dy
        again, last_again = net(x, state, lengths=lengths)
        found = {"y": y, "y again": again, **steps_of(net, x, state)}
        found |= numbered("last", last) | numbered("last again", last_again)
        results.append(found | gradients_by_name(net.backward(cache, dy, dstate)))
    assert_all_close(*results, tolerance_of(pair[0], sizes))


@each_instruction_set
@each_dtype
@each_kind
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@each_network
def test_network_losses_equal_the_twin(rng, isa, dtype, kind, last_only, sizes, given, options):
    pair = networks(rng, isa, dtype, sizes[2:], kind, **options)
    x, state, lengths = data(rng, pair[0], sizes[:4], **given)
    y, _ = pair[0](x, state)
    y = y[0] if last_only else y
    for number, loss in enumerate(LOSSES):
        targets = {  # of the sigmoid probabilities, so that no loss is a difference of large terms
            "softmax": rng.integers(0, y.shape[-1], y.shape[:-1]),
            "sigmoid": rng.random(y.shape),
            "mse": y + 0.5,
        }[loss]
        chosen = {"loss": loss, "lengths": lengths,
                  "reduction": ("mean", "sum")[(number + last_only) % 2]}
        results = []
        for net in pair:
            value, last = net.loss(x, targets, state, **chosen)
            found = {"loss": value} | numbered("last", last)
            for time in range(2):  # some memory is kept from the second time on
                again, grads, last = net.loss_and_gradients(x, targets, state, **chosen)
                assert type(value) is type(again) is float
                found |= {f"loss {time}": again} | numbered(f"last {time}", last)
                found |= {f"{name} {time}": each for name, each in gradients_by_name(grads).items()}
            results.append(found)
        assert_all_close(*results, tolerance_of(pair[0], sizes))


@each_dtype
@pytest.mark.parametrize("kind", ["rnn-tanh", "gru-after-tanh", "gru-before-tanh", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both"])
def test_large_network_equals_the_twin(rng, dtype, kind, bidirectional):
    pair = networks(rng, INSTRUCTION_SETS[-1], dtype, LARGE[2:], kind, bidirectional=bidirectional)
    x, state, lengths = data(rng, pair[0], LARGE[:4], ragged=True)
    targets, results = normal(rng, dtype, *LARGE[:2], 645 * (1 + bidirectional)), []
    for net in pair:
        y, last = net(x, state, lengths=lengths)
        loss, grads, _ = net.loss_and_gradients(x, targets, state, loss="mse", lengths=lengths)
        found = {"y": y, "loss": loss} | numbered("last", last)
        results.append(found | gradients_by_name(grads))
    assert_all_close(*results, tolerance_of(pair[0], LARGE))


# --- one step at a time ---------------------------------------------------------------------------


def stepper_cases():
    """Make cases of every cell with 1 to 3 layers and each batch, the rest pair by pair."""
    ways, cases = list(itertools.product([False, True], repeat=2)), []
    for (i, kind), layers, (j, batch) in itertools.product(
        enumerate(KINDS), (1, 2, 3), enumerate([None, 1, 4, 7, 33])
    ):
        for k in (0, 3):
            tokens, readout = ways[(i + layers + j + k) % 4]
            cases.append((kind, layers, batch, tokens, readout))
    return cases


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("case", stepper_cases(), ids=str)
def test_steps_equal_the_twins(rng, isa, dtype, case):
    kind, layers, batch, tokens, readout = case
    sizes = 5, 33, 17 if readout else None
    streams = [net.stream(batch) for net in networks(
        rng, isa, dtype, sizes, kind, num_layers=layers)]
    each = () if batch is None else (batch,)
    count = 2 if KINDS[kind].has_c else 1
    state = state_of([normal(rng, dtype, layers, *each, 33) for _ in range(count)])
    for stream in streams:
        assert not any(array.any() for array in parts_of(stream.state))
        stream.state = state
        assert_all_close(numbered("state", stream.state), numbered("state", state), 0)
    for step in range(1, 5):
        x = rng.integers(0, 5, each) if tokens else normal(rng, dtype, *each, 5)
        out = np.empty((*each, 17 if readout else 33), dtype) if step % 2 else None
        sides = [{"y": stream.step(x, out).copy()} | numbered("state", stream.state)
                 for stream in streams]
        assert_all_close(*sides, tolerance(dtype, 33 * KINDS[kind].gates, step * layers))
