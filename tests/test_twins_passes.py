"""What runs the functions over sequences, compiled against NumPy: passes, steps, whole networks."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from builds import (
    LOSSES,
    NONLINEARITIES,
    each_dtype,
    each_instruction_set,
    each_nonlinearity,
    kernels_of,
    needs_avx512,
    normal,
)
from passes import (
    Pass,
    given_at_random,
    loss_of,
    random_parameters,
    recurrent_weights,
    some_lengths,
    targets_of,
)
from test_twins import assert_close, tolerance

import crnn
from crnn import reference
from crnn.weights import Weights

pytestmark = pytest.mark.no_backend

with_or_without_readout = pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])


def assert_all_close(ours, theirs, rtol):
    assert ours.keys() == theirs.keys()
    for name, twin in theirs.items():
        assert_close(ours[name], twin, rtol, name)


def network_tolerance(dtype, sizes):
    steps, batch, *others = sizes
    return tolerance(dtype, max(steps * batch, *filter(None, others)), steps)


# --- each method of RNNLayer and Readout, alone --------------------------------------------------


class Case(NamedTuple):
    """A method, and what it is given."""

    method: str
    sizes: tuple  # T, B, I, H, O
    options: dict  # of `given_at_random`

    def __str__(self):
        return "-".join([self.method, str(self.sizes), *map(str, self.options.values())])


WRITES = {
    "layer.forward": ["states"],
    "layer.backward": ["dh", "dstate", "dx"],
    "layer.gradients": ["gradient"],
    "readout.forward": ["y"],
    "readout.loss": ["y", "losses"],
    "readout.backward": ["dh"],
    "readout.gradients": ["gradient"],
}


def terms_and_steps(method, sizes, tokens=False, recurrent=True, **_):
    """Return the number of terms in a method's longest sum, and of steps that follow each other."""
    steps, batch, inputs, hidden, outputs = sizes
    projected = 1 if tokens else inputs
    return {
        "layer.forward": (projected + hidden, steps) if recurrent else (projected, 1),
        "layer.backward": (hidden, steps if recurrent else 1),
        "layer.gradients": (steps * batch, 1),
        "readout.forward": (hidden, 1),
        "readout.loss": (outputs, 1),
        "readout.backward": (outputs, 1),
        "readout.gradients": (steps * batch, 1),
    }[method]


# Tiles are 4 rows high, panels 16 to 64 numbers wide, blocks of a gradient's rows 128 long.
ROWS = [(1, 1, 3, 17), (3, 1, 2, 33), (1, 17, 33, 1), (3, 11, 65, 5), (13, 5, 17, 257)]
ROWS += [(257, 1, 3, 65), (2, 9, 1, 16), (18, 8, 19, 1030), (5, 27, 257, 129)]
TIMES = [(1, 3, 17), (1, 1, 65), (3, 17, 33), (5, 1, 3), (17, 3, 1), (33, 2, 65), (3, 5, 257)]
TIMES += [(2, batch, 31) for batch in (4, 6, 7, 8, 9)]
LOSS_ROWS = [(1, 1, 3), (3, 1, 1), (1, 17, 33), (257, 1, 65), (3, 11, 257)]


def products(sizes):
    """Make cases of every product with weights but W_hh, which is 0, and of all gradients."""
    for tokens in (False, True):
        for nonlinearity in NONLINEARITIES:
            options = {"nonlinearity": nonlinearity, "recurrent": False, "tokens": tokens}
            yield Case("layer.forward", sizes, options)
        yield Case("layer.gradients", sizes, {"recurrent": False, "tokens": tokens})
    yield Case("layer.backward", sizes, {"nonlinearity": "relu", "recurrent": False})
    for method in ("readout.forward", "readout.backward", "readout.gradients"):
        yield Case(method, sizes, {"recurrent": False})


def loops_over_time(sizes):
    """Make cases of what goes through W_hh, and of outputs that are states."""
    for method in ("layer.forward", "layer.backward"):
        for nonlinearity in NONLINEARITIES:
            for ragged, tokens in itertools.product([False, True], repeat=2):
                options = {"nonlinearity": nonlinearity, "ragged": ragged, "tokens": tokens}
                yield Case(method, sizes, options)
    yield Case("layer.gradients", sizes, {"tokens": False})
    for method in ("readout.forward", "readout.backward"):
        yield Case(method, sizes, {"readout": False})


def losses(sizes):
    """Make cases of each loss, with logits that saturate and others."""
    for loss in LOSSES:
        for size in (5, 1000):
            yield Case("readout.loss", sizes, {"loss": loss, "size": size})


METHOD_CASES = [
    *(case for T, B, m, n in ROWS for case in products((T, B, m, n, m))),
    *(case for T, B, m, n in ROWS for case in products((T, B, n, m, n))),
    *(case for T, B, n in TIMES for case in loops_over_time((T, B, 3, n, 2))),
    *(case for T, B, n in LOSS_ROWS for case in losses((T, B, 2, 3, n))),
]
each_method = pytest.mark.parametrize("case", METHOD_CASES, ids=str)


def given_to(case, rng, dtype):
    """Return what a method is given: what it fills in is not set."""
    given = given_at_random(rng, dtype, case.sizes, **case.options)
    fills = {"layer.forward": "states", "readout.forward": "y", "readout.backward": "dh"}
    if case.method in fills:
        name = fills[case.method]
        given.arrays[name][1 if name == "states" else 0 :] = np.nan
    return given


def after(case, functions, given):
    """Return what a method leaves behind: what it writes, by name, and what it must not touch.

    The gradient of each parameter is compared by itself.
    """
    side = Pass(functions, given)
    side.run(case.method)
    written = {name: side[name] for name in WRITES[case.method]}
    if "gradient" in written:
        written = side.gradients()
    kept = {name: a for name, a in side.arrays.items() if name not in WRITES[case.method]}
    return written, kept


@each_instruction_set
@each_dtype
@each_method
def test_method_equals_its_twin(rng, isa, dtype, case):
    given = given_to(case, rng, dtype)
    rtol = tolerance(dtype, *terms_and_steps(case.method, case.sizes, **case.options))
    sides = [after(case, functions, given) for functions in (kernels_of(isa, dtype), reference)]
    (ours, _), (theirs, _) = sides
    assert_all_close(ours, theirs, rtol)
    for _, kept in sides:
        for name, array in kept.items():
            np.testing.assert_array_equal(array, given.arrays[name], err_msg=name)


@needs_avx512
@each_dtype
@each_method
def test_avx2_and_avx512_give_the_same_bits(rng, dtype, case):
    given = given_to(case, rng, dtype)
    wide, narrow = (after(case, kernels_of(isa, dtype), given)[0] for isa in ("avx512", "avx2"))
    assert wide.keys() == narrow.keys()
    for name, array in wide.items():
        np.testing.assert_array_equal(array, narrow[name], err_msg=name)


@needs_avx512
@each_dtype
@pytest.mark.parametrize("loss", LOSSES)
def test_avx2_and_avx512_give_the_same_bits_of_losses(rng, dtype, loss):
    """Sums over outputs, the only ones that a build may take in vectors of its own width."""
    for outputs in range(1, 40):
        for _ in range(20):
            y = 5 * normal(rng, dtype, 3, 1, outputs)
            targets = targets_of(rng, loss, dtype, y.shape)
            wide, narrow = y.copy(), y.copy()
            np.testing.assert_array_equal(
                loss_of(kernels_of("avx512", dtype), loss, wide, *targets, 0.37),
                loss_of(kernels_of("avx2", dtype), loss, narrow, *targets, 0.37),
            )
            np.testing.assert_array_equal(wide, narrow)


# --- passes forward and back ---------------------------------------------------------------------


def pass_forward(side, blocks, parts):
    """Fill in states, outputs, then losses and the gradient of the outputs."""
    for first, last in parts:
        for start, count in blocks:
            for method in ("layer.forward", "readout.forward"):
                side.run(method, start, count, first, last)
    outputs = side["y"].copy()
    for first, last in parts:
        for start, count in blocks:
            side.run("readout.loss", start, count, first, last)
    return {"states": side["states"], "outputs": outputs, "losses": side["losses"], "dy": side["y"]}


def pass_backward(side, blocks, parts, bounds):
    """Fill in gradients; dh has room for all steps and is filled from its beginning."""
    for start, count in reversed(blocks):
        for first, last in parts:
            for method in ("readout.backward", "layer.backward"):
                side.run(method, start, count, first, last)
        for method in ("layer.gradients", "readout.gradients"):
            for first, last in cut(side.ends[method], *bounds):
                side.run(method, start, count, first, last)
    found = {"dh": side["dh"][: blocks[0][1]], "dstate": side["dstate"], "dx": side["dx"]}
    return found | {"vector": side["gradient"]}


def cut(size, *bounds):
    """Return ``(first, last)`` of parts between these bounds, as far as they are below size."""
    ends = [0, *(bound for bound in bounds if bound < size), size]
    return list(itertools.pairwise(ends))


def blocks_of(steps, length):
    return [(start, min(length, steps - start)) for start in range(0, steps, length)]


SIZES = [(7, 9, 5, 33, 17), (3, 17, 33, 65, 1), (5, 7, 1, 17, 257), (1, 33, 17, 1, 3)]
SIZES += [(4, 3, 65, 129, 33), (33, 1, 3, 31, 65), (17, 8, 3, 16, 16)]


@each_instruction_set
@each_dtype
@with_or_without_readout
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_passes_equal_their_twins(rng, isa, dtype, sizes, tokens, ragged, readout):
    """The whole at once, and sequences, columns and blocks of steps one after the other."""
    steps, batch, *_ = sizes
    loss, nonlinearity = str(rng.choice(LOSSES)), str(rng.choice(NONLINEARITIES))
    given = given_at_random(rng, dtype, sizes, nonlinearity=nonlinearity, tokens=tokens,
                            ragged=ragged, readout=readout, loss=loss)
    for array in (given.arrays["states"][1:], given.arrays["y"], given.arrays["dh"]):
        array[...] = np.nan
    whole = [(0, steps)], [(0, batch)], []
    divided = blocks_of(steps, 3), cut(batch, 1, 4, 8), [16, 32, 48]
    for blocks, parts, bounds in (whole, divided):
        sides = [Pass(functions, given) for functions in (kernels_of(isa, dtype), reference)]
        ours, theirs = (
            pass_forward(side, blocks, parts) | pass_backward(side, blocks, parts, bounds)
            for side in sides
        )
        assert_all_close(ours, theirs, network_tolerance(dtype, sizes))


# --- Stepper -------------------------------------------------------------------------------------


@each_instruction_set
@each_dtype
@each_nonlinearity
@pytest.mark.parametrize("batch", [None, *range(1, 10), 33])
@pytest.mark.parametrize("inputs", ["floats", "tokens"])
@with_or_without_readout
def test_stepper_equals_its_twin(rng, isa, dtype, nonlinearity, batch, inputs, readout):
    own = random_parameters(rng, dtype, 5, 33, 17 if readout else None)

    def prepare(stepper, x, out):
        return np.asarray(x), out

    steppers = [
        functions.Stepper(Weights(functions, own), nonlinearity, prepare)
        for functions in (kernels_of(isa, dtype), reference)
    ]
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


WHOLE = [
    pytest.param((7, 3, 5, 33, 17), {}, id="floats"),
    pytest.param((7, 3, 5, 33, 17), {"tokens": True}, id="tokens"),
    pytest.param((7, 3, 5, 33, 17), {"ragged": True}, id="lengths"),
    pytest.param((7, 5, 3, 17, 33), {"ragged": True, "tokens": True}, id="tokens-lengths"),
    pytest.param((7, 1, 5, 33, 17), {"batched": False}, id="unbatched"),
    pytest.param((1, 3, 5, 17, 2), {}, id="one-step"),
    pytest.param((5, 3, 2, 17, None), {"ragged": True}, id="bare"),
    pytest.param((131, 3, 2, 17, 5), {"ragged": True}, id="long"),
]
each_data = pytest.mark.parametrize(("sizes", "kind"), WHOLE)


def gradients_by_name(grads):
    found = dict(grads.parameters) | {"state": grads.state}
    return found if grads.x is None else found | {"x": grads.x}


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
        again, last_again = net(x, state, lengths=lengths)
        found = {"y": y, "last": last, "y again": again, "last again": last_again}
        for t, each in enumerate(x[:9]):
            found |= {f"step {t}": net.step(each), f"state {t}": net.state}
        results.append(found | gradients_by_name(net.backward(cache, dy, dstate)))
    assert_all_close(*results, network_tolerance(dtype, sizes))


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
        found = {"loss": value, "last": last}
        for time in range(3):  # some memory is kept from the second time on
            again, grads, last = net.loss_and_gradients(x, targets, state, **options)
            assert type(value) is type(again) is float
            found |= {f"loss {time}": again, f"last {time}": last}
            found |= {f"{name} {time}": each for name, each in gradients_by_name(grads).items()}
        results.append(found)
    assert_all_close(*results, network_tolerance(dtype, sizes))
