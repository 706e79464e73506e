"""Inference again on inputs of the same shape: what a network keeps for it must not show.

From the second call on over floats of one shape, a small network works in one compiled call, and
with a readout in memory of its own. Every result and every refusal has to be that of a new network,
whose first call is the general one.
"""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builds import each_dtype, each_kind, network_of, normal, parts_of

import crnn
from crnn.engine import threads

pytestmark = pytest.mark.no_backend  # the reference has no such call

T, B, I, H, O = 7, 3, 5, 19, 4  # noqa: E741
CALLS = 4


def network(kind="rnn-tanh", readout=True, dtype="float32", **options):
    return network_of(kind, I, H, O if readout else None, dtype=dtype, seed=0, **options)


def put_out(net, x, *state, **options):
    """Return all that a call gives, as bits, or the error that it raises."""
    try:
        y, last = net(x, *state, **options)
    except Exception as error:
        return type(error), str(error)
    return [(each.dtype, each.shape, each.tobytes()) for each in (y, *parts_of(last))]


def used(shape, dtype="float32", **options):
    """Return a network that has had calls enough with one shape."""
    net = network(dtype=dtype, **options)
    for _ in range(CALLS):
        net(np.ones(shape, dtype))
    return net


@pytest.fixture
def x(rng):
    return normal(rng, "float32", T, B, I)


# --- results -------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_all_calls_but_the_first_are_compiled_ones(monkeypatch, x, kind, readout):
    net, found = network(kind, readout), []
    infer = net._quick.infer

    def spy(x):
        found.append(infer(x))
        return found[-1]

    monkeypatch.setattr(net._quick, "infer", spy)
    for _ in range(CALLS):
        net(x)
    assert [each is not None for each in found] == [False] + [True] * (CALLS - 1)


@each_dtype
@each_kind
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "one sequence"])
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_every_call_is_like_a_first_one(rng, dtype, kind, batched, readout):
    options = {"kind": kind, "readout": readout, "dtype": dtype}
    net = network(**options)
    for _ in range(CALLS):
        x = normal(rng, dtype, *((T, B, I) if batched else (T, I)))
        assert put_out(net, x) == put_out(network(**options), x)


@each_kind
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
@pytest.mark.parametrize("shape", [(1, 1), (0, 2), (2, 0), (131, 1), (8, 33), (700, 40)], ids=str)
def test_other_sizes(rng, kind, readout, shape):
    net = network(kind, readout)
    for _ in range(CALLS):
        x = normal(rng, "float32", *shape, I)
        assert put_out(net, x) == put_out(network(kind, readout), x)


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}], ids=str)
def test_more_layers_and_directions(rng, x, options):
    net = network(**options)
    for _ in range(CALLS):
        assert put_out(net, x) == put_out(network(**options), x)


def test_shapes_that_alternate(rng):
    net = network("lstm")
    for shape in [(3, 2), (3, 2), (3, 2), (4, 2), (3, 2), (4, 2), (4, 2), (4, 2), (3, 2), (6,)] * 2:
        x = normal(rng, "float32", *shape, I)
        assert put_out(net, x) == put_out(network("lstm"), x)


@each_kind
def test_after_the_parameters_have_changed(rng, x, kind):
    net = used(x.shape, kind=kind)
    for _ in range(CALLS):
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        new = network(kind)
        new.vector = net.vector
        assert put_out(net, x) == put_out(new, x)


@each_kind
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_results_are_the_callers_own(x, kind, readout):
    net, given = used(x.shape, kind=kind, readout=readout), x.copy()
    y, last = net(x)
    results = [y, *parts_of(last)]
    kept = [each.copy() for each in results]
    assert all(each.flags.writeable for each in results)
    for _ in range(CALLS):
        for each in parts_of(net(-x)[1]):
            each[:] = np.nan
    for after, before in zip(results, kept, strict=True):
        np.testing.assert_array_equal(after, before)
    y[:] = np.nan
    assert not any(np.isnan(each).any() for each in parts_of(last))
    np.testing.assert_array_equal(x, given)


def test_nan_and_infinity_go_through(x):
    net = used(x.shape)
    x[2, 1, 0], x[3, 0, 1] = np.nan, np.inf
    assert put_out(net, x) == put_out(network(), x)
    assert put_out(net, np.ones_like(x)) == put_out(network(), np.ones_like(x))


# --- arguments -----------------------------------------------------------------------------------

OTHERS = {
    "float64": lambda x: x.astype(float),
    "other bytes": lambda x: x.astype(">f4"),
    "a list": lambda x: x.tolist(),
    "Fortran order": np.asfortranarray,
    "strides": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "turned round": lambda x: x[::-1],
    "not aligned": lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view("f4").reshape(
        x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), "f4").reshape(x.shape),
    "integers": lambda x: np.ones(x.shape, int),
    "tokens": lambda x: np.ones(x.shape[:2], int),
    "complex": lambda x: x.astype(complex),
    "masked": lambda x: np.ma.masked_array(x),
    "fewer features": lambda x: x[..., 1:].copy(),
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0, 0],
    "a number": lambda x: np.float32(3),
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("times", [0, 1, 2])
def test_what_is_not_ready(x, other, times):
    net, argument = network(), other(x)
    for _ in range(times):
        net(x)
    first = put_out(network(), argument)
    for _ in range(CALLS):
        assert put_out(net, argument) == first
    assert put_out(net, x) == put_out(network(), x)


@each_kind
def test_states_and_lengths_given(rng, x, kind):
    net, state = used(x.shape, kind=kind), normal(rng, "float32", 1, B, H)
    state = (state, 2 * state) if kind == "lstm" else state
    for arguments, options in (
        ((state,), {}), ((), {"lengths": [T, 2, 0]}), ((3,), {}), ((), {"lengths": [1]})
    ):
        for _ in range(CALLS):
            found = put_out(net, x, *arguments, **options)
            assert found == put_out(network(kind), x, *arguments, **options)


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn-tanh", "gru-before-tanh", "lstm"])
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_threads_that_share_a_network(rng, switching, kind, readout):
    cases = normal(rng, "float32", 16, T, B, I)
    wanted = [put_out(network(kind, readout), x) for x in cases]
    for _ in range(10):
        net = network(kind, readout)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda x, net=net: put_out(net, x), list(cases) * 20))
        assert found == wanted * 20


@pytest.mark.usefixtures("small_work_is_split")
def test_large_passes_are_left_to_threads(rng, monkeypatch):
    net, x, runs, run = network(readout=False), normal(rng, "float32", 40, 64, I), [], threads.run
    monkeypatch.setattr(threads, "run", lambda *phases: runs.append(run(*phases)))
    crnn.set_num_threads(2)
    found = [put_out(net, x) for _ in range(CALLS)]
    assert len(runs) == CALLS
    assert found == [put_out(network(readout=False), x)] * CALLS


# --- memory --------------------------------------------------------------------------------------


def test_no_input_is_kept(rng):
    net, x = network(), normal(rng, "float32", T, B, I)
    for _ in range(CALLS):
        net(x)
    watched = weakref.ref(x)
    del x
    gc.collect()
    assert watched() is None


@each_kind
def test_outputs_of_a_general_pass_are_not_what_the_next_one_works_in(x, kind):
    net = network(kind, readout=False)
    y, _ = net(x)
    kept = y.copy()
    for other in (-x, x[:-1], 2 * x):
        net(other, lengths=None if len(other) < T else [T] * B)
    np.testing.assert_array_equal(y, kept)
