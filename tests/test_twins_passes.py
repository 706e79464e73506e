"""What runs the functions over sequences, compiled against NumPy: methods and passes of a layer.

Steps and whole networks are in test_twins_networks.py.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from builds import (
    GATED,
    KINDS,
    LOSSES,
    each_dtype,
    each_instruction_set,
    kernels_of,
    needs_avx512,
    normal,
)
from passes import (
    Pass,
    given_at_random,
    loss_of,
    targets_of,
)
from test_twins import assert_close, tolerance

from crnn import reference

pytestmark = pytest.mark.no_backend

def assert_all_close(ours, theirs, rtol):
    assert ours.keys() == theirs.keys()
    for name, twin in theirs.items():
        assert_close(ours[name], twin, rtol, name)


def network_tolerance(dtype, sizes):
    steps, batch, *others = sizes
    return tolerance(dtype, max(steps * batch, *filter(None, others)), steps)


# --- each method of Layer and Readout, alone --------------------------------------------------


class Case(NamedTuple):
    """A method, and what it is given."""

    method: str
    sizes: tuple  # T, B, I, H, O
    options: dict  # of `given_at_random`

    def __str__(self):
        return "-".join([self.method, str(self.sizes), *map(str, self.options.values())])


WRITES = {
    "layer.forward": ["states", "kept", "gates"],
    "layer.backward": ["dh", "dstate", "dc", "da", "dkept", "dx"],
    "layer.gradients": ["gradient"],
    "readout.forward": ["y"],
    "readout.loss": ["y", "losses"],
    "readout.backward": ["dh"],
    "readout.gradients": ["gradient"],
}


def terms_and_steps(method, sizes, kind="rnn-tanh", tokens=False, recurrent=True, **_):
    """Return the number of terms in a method's longest sum, and of steps that follow each other."""
    (steps, batch, inputs, hidden, outputs), blocks = sizes, KINDS[kind].blocks
    projected = 1 if tokens else inputs
    return {
        "layer.forward": (projected + hidden, steps) if recurrent else (projected, 1),
        "layer.backward": (blocks * hidden, steps if recurrent else 1),
        "layer.gradients": (steps * batch, 1),
        "readout.forward": (hidden, 1),
        "readout.loss": (outputs, 1),
        "readout.backward": (outputs, 1),
        "readout.gradients": (steps * batch, 1),
    }[method]


FILLS = {
    "layer.forward": ["states", "kept", "gates"],
    "layer.backward": ["da", "dkept"],
    "readout.forward": ["y"],
    "readout.backward": ["dh"],
}

# Tiles are 4 rows high, panels 16 to 64 numbers wide, blocks of a gradient's rows 128 long.
ROWS = [(1, 1, 3, 17), (3, 1, 2, 33), (1, 17, 33, 1), (3, 11, 65, 5), (13, 5, 17, 257)]
ROWS += [(257, 1, 3, 65), (2, 9, 1, 16), (18, 8, 19, 1030), (5, 27, 257, 129)]
TIMES = [(1, 3, 17), (1, 1, 65), (3, 17, 33), (5, 1, 3), (17, 3, 1), (33, 2, 65), (3, 5, 257)]
TIMES += [(2, batch, 31) for batch in (4, 6, 7, 8, 9)]
LOSS_ROWS = [(1, 1, 3), (3, 1, 1), (1, 17, 33), (257, 1, 65), (3, 11, 257)]


VANILLA = [name for name in KINDS if name not in GATED]
RAGGED_AND_TOKENS = list(itertools.product([False, True], repeat=2))


def products(sizes):
    """Make cases of every product with weights but W_hh, which is 0, and of all gradients."""
    for tokens in (False, True):
        for kind in VANILLA:
            options = {"kind": kind, "recurrent": False, "tokens": tokens}
            yield Case("layer.forward", sizes, options)
        yield Case("layer.gradients", sizes, {"recurrent": False, "tokens": tokens})
    yield Case("layer.backward", sizes, {"kind": "rnn-relu", "recurrent": False})
    for method in ("readout.forward", "readout.backward", "readout.gradients"):
        yield Case(method, sizes, {"recurrent": False})


def loops_over_time(sizes):
    """Make cases of what goes through W_hh, and of outputs that are states."""
    for method in ("layer.forward", "layer.backward"):
        for kind in VANILLA:
            for ragged, tokens in RAGGED_AND_TOKENS:
                yield Case(method, sizes, {"kind": kind, "ragged": ragged, "tokens": tokens})
    yield Case("layer.gradients", sizes, {"tokens": False})
    for method in ("readout.forward", "readout.backward"):
        yield Case(method, sizes, {"readout": False})


def gated_loops(sizes, number):
    """Make cases of the other cells; each way to draw the input meets every cell and method."""
    for each, kind in enumerate(GATED):
        for i, method in enumerate(("layer.forward", "layer.backward")):
            ragged, tokens = RAGGED_AND_TOKENS[(number + each + i) % 4]
            yield Case(method, sizes, {"kind": kind, "ragged": ragged, "tokens": tokens})
        tokens = (number + each) % 2 == 1
        yield Case("layer.gradients", sizes, {"kind": kind, "tokens": tokens})


def losses(sizes):
    """Make cases of each loss, with logits that saturate and others."""
    for loss in LOSSES:
        for size in (5, 1000):
            yield Case("readout.loss", sizes, {"loss": loss, "size": size})


METHOD_CASES = [
    *(case for T, B, m, n in ROWS for case in products((T, B, m, n, m))),
    *(case for T, B, m, n in ROWS for case in products((T, B, n, m, n))),
    *(case for T, B, n in TIMES for case in loops_over_time((T, B, 3, n, 2))),
    *(case for i, (T, B, n) in enumerate(TIMES) for case in gated_loops((T, B, 3, n, 2), i)),
    *(case for T, B, n in LOSS_ROWS for case in losses((T, B, 2, 3, n))),
]
each_method = pytest.mark.parametrize("case", METHOD_CASES, ids=str)


def given_to(case, rng, dtype):
    """Return what a method is given: what it fills in is not set."""
    given = given_at_random(rng, dtype, case.sizes, **case.options)
    for name in FILLS.get(case.method, ()):
        if given.arrays[name] is not None:
            given.arrays[name][1 if name in ("states", "kept") else 0 :] = np.nan
    if case.method.endswith("gradients"):  # or the one entry of a bias may be all cancellation
        for name in ("y", "dh", "da", "dkept", "gradient"):
            if given.arrays[name] is not None:
                np.abs(given.arrays[name], out=given.arrays[name])
    return given


def after(case, functions, given):
    """Return what a method leaves behind: what it writes, by name, and what it must not touch.

    The gradient of each parameter is compared by itself.
    """
    side = Pass(functions, given)
    side.run(case.method)
    written = {name: side[name] for name in WRITES[case.method]}
    if given.kind.keeps:  # then what reaches the states is used up, and da is apart
        written.pop("dh" if case.method == "layer.backward" else None, None)
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
    names = ("states", "kept", "gates", "losses")
    return {name: side[name] for name in names} | {"outputs": outputs, "dy": side["y"]}


def pass_backward(side, blocks, parts, bounds):
    """Fill in gradients; dh has room for all steps and is filled from its beginning."""
    for start, count in reversed(blocks):
        for first, last in parts:
            for method in ("readout.backward", "layer.backward"):
                side.run(method, start, count, first, last)
        for method in ("layer.gradients", "readout.gradients"):
            for first, last in cut(side.ends[method], *bounds):
                side.run(method, start, count, first, last)
    return gradients_found(side, blocks[0][1])


def pass_backward_at_once(side, blocks, parts, bounds):
    """The same, where what reaches all states is known before, as it is below another layer."""
    side.run("readout.backward")
    for start, count in reversed(blocks):
        for first, last in parts:
            side.run("layer.backward", start, count, first, last, dh_at=start)
        for first, last in cut(side.ends["layer.gradients"], *bounds):
            side.run("layer.gradients", start, count, first, last, dh_at=start)
    side.run("readout.gradients")
    return gradients_found(side, blocks[0][1])


def gradients_found(side, count):
    """Return all gradients; those that only a block has room for are of the first one."""
    found = {name: side[name] for name in ("dstate", "dc", "dx")} | side.gradients()
    names = ("dh",) if side["da"] is None else ("da", "dkept")
    return found | {name: None if side[name] is None else side[name][:count] for name in names}


def cut(size, *bounds):
    """Return ``(first, last)`` of parts between these bounds, as far as they are below size."""
    ends = [0, *(bound for bound in bounds if bound < size), size]
    return list(itertools.pairwise(ends))


def blocks_of(steps, length):
    return [(start, min(length, steps - start)) for start in range(0, steps, length)]


SIZES = [(7, 9, 5, 33, 17), (3, 17, 33, 65, 1), (5, 7, 1, 17, 257), (1, 33, 17, 1, 3)]
SIZES += [(4, 3, 65, 129, 33), (33, 1, 3, 31, 65), (17, 8, 3, 16, 16)]


def pass_cases():
    """Make cases of all cells with all ways to draw what they get, pair by pair."""
    ways, cases = list(itertools.product([False, True], repeat=3)), []
    for (i, sizes), (j, kind), k in itertools.product(enumerate(SIZES), enumerate(KINDS), (0, 3)):
        tokens, ragged, readout = ways[(i + j + k) % 8]
        options = {"kind": kind, "tokens": tokens, "ragged": ragged, "readout": readout}
        cases.append(Case("pass", sizes, options))
    return cases


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("case", pass_cases(), ids=str)
def test_passes_equal_their_twins(rng, isa, dtype, case):
    """The whole at once, and sequences, rows and blocks of steps one after the other."""
    steps, batch, *_ = case.sizes
    given = given_at_random(rng, dtype, case.sizes, loss=str(rng.choice(LOSSES)), **case.options)
    for name in ("states", "kept", "gates", "y", "dh", "da", "dkept"):
        if given.arrays[name] is not None:
            given.arrays[name][1 if name in ("states", "kept") else 0 :] = np.nan
    whole = [(0, steps)], [(0, batch)], []
    divided = blocks_of(steps, 3), cut(batch, 1, 4, 8), [16, 32, 48]
    rtol = network_tolerance(dtype, case.sizes)
    for (blocks, parts, bounds), back in itertools.product(
        (whole, divided), (pass_backward, pass_backward_at_once)
    ):
        sides = [Pass(functions, given) for functions in (kernels_of(isa, dtype), reference)]
        ours, theirs = (
            pass_forward(side, blocks, parts) | back(side, blocks, parts, bounds) for side in sides
        )
        assert_all_close(ours, theirs, rtol)
