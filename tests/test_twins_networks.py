"""Steps and whole networks, compiled against NumPy: every cell, layers, both directions."""

import itertools

import numpy as np
import pytest
from builds import (
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
from passes import random_parameters, recurrent_weights, some_lengths
from test_twins import tolerance
from test_twins_passes import assert_all_close, network_tolerance

from crnn import reference
from crnn.engine.packing import Weights

pytestmark = pytest.mark.no_backend


# --- Stepper -------------------------------------------------------------------------------------


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
def test_stepper_equals_its_twin(rng, isa, dtype, case):
    kind, layers, batch, tokens, readout = case
    own = random_parameters(rng, dtype, KINDS[kind], 5, 33, 17 if readout else None, layers=layers)

    def prepare(stepper, x, out):
        return np.asarray(x), out

    steppers = [
        functions.Stepper(Weights(functions, own, KINDS[kind]), prepare)
        for functions in (kernels_of(isa, dtype), reference)
    ]
    each = () if batch is None else (batch,)
    state = [normal(rng, dtype, layers, batch or 1, 33) for _ in range(KINDS[kind].states)]
    for stepper in steppers:
        stepper.reset(batch)
        assert len(stepper.state) == len(state)
        assert not any(array.any() for array in stepper.state)
        stepper.state = state
        assert_all_close(dict(enumerate(stepper.state)), dict(enumerate(state)), 0)
    for step in range(1, 5):
        x = rng.integers(0, 5, each) if tokens else normal(rng, dtype, *each, 5)
        out = np.empty((*each, 17 if readout else 33), dtype) if step % 2 else None
        sides = [{"y": stepper.step(x, out).copy()} for stepper in steppers]
        for side, stepper in zip(sides, steppers, strict=True):
            side |= dict(enumerate(stepper.state))
        assert_all_close(*sides, tolerance(dtype, 33 * KINDS[kind].blocks, step * layers))
        assert {(s.batch_size, s.batched) for s in steppers} == {(batch or 1, batch is not None)}


# --- the whole class -----------------------------------------------------------------------------


def networks(rng, dtype, sizes, kind, **options):
    """Return equal networks on the two backends, with recurrent weights of norm 0.9."""
    pair = [
        network_of(kind, *sizes, dtype=dtype, backend=backend, seed=3, **options)
        for backend in ("compiled", "reference")
    ]
    pair[0].vector = rng.uniform(-0.5, 0.5, pair[0].num_parameters)
    for name in pair[0].parameters:
        if name.startswith("W_hh"):
            pair[0].parameters[name] = recurrent_weights(sizes[1], KINDS[kind].blocks)
    pair[1].vector = pair[0].vector
    return pair


def data(rng, net, sizes, *, tokens=False, ragged=False, batched=True):
    """Return x, a state and lengths."""
    (steps, batch, inputs, hidden), dtype = sizes, net.dtype
    x = rng.integers(0, inputs, (steps, batch)) if tokens else normal(rng, dtype, *sizes[:3])
    rows = net.num_layers * (1 + net.bidirectional)
    state = [normal(rng, dtype, rows, batch, hidden) for _ in range(net._kind.states)]
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
    pytest.param((7, 41, 2, 645, None), {}, {}, id="large"),  # beyond the second cache
    pytest.param((7, 5, 3, 17, 33), {"ragged": True}, DEEP, id="layers"),
    pytest.param((7, 5, 3, 17, None), {"tokens": True}, {"num_layers": 3}, id="layers-tokens-bare"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True}, BOTH, id="directions"),
    pytest.param((7, 5, 3, 17, None), {"tokens": True, "ragged": True}, BOTH | DEEP, id="all"),
    pytest.param((7, 1, 3, 17, 2), {"batched": False}, BOTH | DEEP, id="all-unbatched"),
]
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
    return network_tolerance(net.dtype.name, sizes)


@each_dtype
@each_kind
@each_network
def test_network_equals_the_twin(rng, dtype, kind, sizes, given, options):
    pair = networks(rng, dtype, sizes[2:], kind, **options)
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


@each_dtype
@each_kind
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@each_network
def test_network_losses_equal_the_twin(rng, dtype, kind, last_only, sizes, given, options):
    pair = networks(rng, dtype, sizes[2:], kind, **options)
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
            for time in range(3):  # some memory is kept from the second time on
                again, grads, last = net.loss_and_gradients(x, targets, state, **chosen)
                assert type(value) is type(again) is float
                found |= {f"loss {time}": again} | numbered(f"last {time}", last)
                found |= {f"{name} {time}": each for name, each in gradients_by_name(grads).items()}
            results.append(found)
        assert_all_close(*results, tolerance_of(pair[0], sizes))
