"""One step at a time: the same numbers as a whole sequence, explicit state, nothing allocated."""

import gc
import itertools
import pickle
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest

import crnn

T, B, I, H, O = 70, 4, 3, 5, 2  # noqa: E741
no_backend = pytest.mark.no_backend


@pytest.fixture
def net(backend):
    return crnn.RNN(I, H, O, seed=3)


@pytest.fixture
def x(rng):
    return rng.standard_normal((T, B, I)).astype(np.float32)


@pytest.fixture
def tokens(rng):
    return rng.integers(0, I, (T, B))


@pytest.fixture
def state(rng):
    return rng.standard_normal((1, B, H)).astype(np.float32)


def same(actual, desired, backend="compiled"):
    """The same bits; NumPy's products of other shapes than these may differ in the last ones."""
    if backend == "reference":
        np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=1e-6, strict=True)
    else:
        np.testing.assert_array_equal(actual, desired, strict=True)


# --- a step is a step of a sequence --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("hidden", [1, 5, 33])
@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_steps_are_the_sequence(
    rng, backend, dtype, nonlinearity, outputs, hidden, batch, is_tokens
):
    net = crnn.RNN(I, hidden, outputs, nonlinearity=nonlinearity, dtype=dtype, seed=3)
    each = () if batch is None else (batch,)
    x = rng.standard_normal((T, *each, I)).astype(dtype)
    x = rng.integers(0, I, (T, *each)) if is_tokens else x
    state = rng.standard_normal((1, *each, hidden)).astype(dtype)
    y, last = net(x, state)
    for stream in (net, net.stream()):
        stream.state = state
        same(np.stack([stream.step(row) for row in x]), y, backend)
        same(stream.state, last, backend)
        assert stream.step(x[0]).dtype == dtype
    stream = net.stream(batch)
    same(np.stack([stream.step(row) for row in x]), net(x)[0], backend)


@pytest.mark.parametrize("cut", [0, 1, 64, T])
def test_a_sequence_may_be_cut_anywhere(net, x, state, backend, cut):
    y, last = net(x, state)
    first, between = net(x[:cut], state)
    second, end = net(x[cut:], between)
    same(np.concatenate([first, second]), y, backend)
    same(end, last, backend)


@pytest.mark.parametrize("splits", [[1], [1, 3], [1, 2, 3]], ids=str)
def test_a_batch_may_be_split_anywhere(net, x, state, backend, splits):
    y, last = net(x, state)
    parts = zip(np.split(x, splits, 1), np.split(state, splits, 1), strict=True)
    results = [net(*part) for part in parts]
    same(np.concatenate([each for each, _ in results], 1), y, backend)
    same(np.concatenate([each for _, each in results], 1), last, backend)


def test_steps_take_what_a_call_takes(net, x, tokens, backend):
    good = net.stream(B)
    wanted = good.step(x[0])
    for odd in (x[0].tolist(), x[0].astype(">f4"), x[0].astype("f8"), np.asfortranarray(x[0])):
        stream = net.stream(B)
        same(stream.step(odd), wanted)
        same(stream.state, good.state)
    wanted = net.stream().step(2)
    for token in (np.int8(2), np.uint64(2), np.array(2), np.array(2, ">i4"), np.intp(2)):
        same(net.stream().step(token), wanted)
    wanted = net.stream(B).step(tokens[0])
    for batch in (tokens[0].tolist(), tokens[0].astype("u1"), tokens[::-1, ::-1][-1, ::-1]):
        same(net.stream(B).step(batch), wanted)
    same(net.stream(B).step(np.eye(I, dtype="f4")[tokens[0]]), wanted, "reference")


def test_a_boolean_is_a_number_and_no_token(net):
    flags = np.array([True, False, True])
    same(net.stream().step(flags), net.stream().step([1.0, 0.0, 1.0]))
    for flag in (True, np.True_, np.array(True)):
        with pytest.raises(ValueError, match=r"x has shape \(\)"):
            net.step(flag)
    with pytest.raises(ValueError, match="x has shape"):
        net.stream(2).step([True, False])
    assert not net.state.any()


# --- state ---------------------------------------------------------------------------------------


def test_state_is_explicit(net, x, state):
    assert net.state.shape == (1, H)
    assert not net.state.any()
    net.state = state
    kept = net.state
    same(kept, state)
    kept[...] = state[...] = 7  # neither is the network's own
    assert not (net.state == 7).any()
    assert net.state is not net.state
    net.step(x[0])
    assert not np.array_equal(net.state, state)
    net.reset(B)
    same(net.state, np.zeros((1, B, H), np.float32))
    net.reset()
    same(net.state, np.zeros((1, H), np.float32))
    net.reset(batch_size=np.int8(2))
    assert net.state.shape == (1, 2, H)
    net.state = np.ones((1, 7, H))  # sets the batch size
    assert net.step(np.ones((7, I))).shape == (7, O)
    net.state = np.ones((1, H), int)
    assert net.step(np.ones(I)).shape == (O,)


def test_streams_are_independent(net, x):
    streams = [net.stream(B), net.stream(B), net.stream(), net]
    before = [each.state for each in streams]
    wanted = net(x)[0][0]
    same(streams[0].step(x[0]), wanted, "reference")
    moved = streams[0].state
    for stream, old in zip(streams[1:], before[1:], strict=True):
        same(stream.state, old)
    same(streams[1].step(x[0]), wanted, "reference")
    streams[1].step(x[1])
    same(streams[0].state, moved)
    net.step(x[0, 0])
    net.reset()
    streams[1].reset()
    same(streams[0].state, moved)
    net(x)
    net.loss_and_gradients(x, np.zeros((T, B), int))
    same(streams[0].state, moved)


def test_a_stream_outlives_the_name_of_its_network(x):
    net = crnn.RNN(I, H, O, seed=3)
    wanted = net(x)[0][0]
    stream = net.stream(B)
    del net
    gc.collect()
    junk = [np.full(57, np.nan, np.float32) for _ in range(100)]
    same(stream.step(x[0]), wanted, "reference")
    assert len(junk) == 100


def test_training_between_steps_is_followed(net, x, backend):
    stream, other = net.stream(B), net.stream(B)
    stream.step(x[0])
    state = stream.state
    loss, grads, _ = net.loss_and_gradients(x, np.zeros((T, B), int))
    crnn.SGD(0.5).step(net, grads)
    same(stream.state, state)  # the state is kept, the weights are new
    same(stream.step(x[1]), net(x[1:2], state)[0][0], backend)
    assert net.loss(x, np.zeros((T, B), int))[0] < loss
    net.vector = net.vector * 2
    same(other.step(x[0]), net(x[:1])[0][0], backend)


@pytest.mark.parametrize("bad", [-1, True, 2.0, "2", (2,)], ids=repr)
def test_a_bad_batch_size_is_refused(net, x, bad):
    net.state = np.ones((1, 2, H))
    for way in (net.reset, net.stream, net.stream().reset):
        with pytest.raises((TypeError, ValueError), match="batch_size must be"):
            way(bad)
    assert net.state.shape == (1, 2, H)
    assert net.state.all()


@no_backend
@pytest.mark.parametrize("size", [2**45, 2**61, 2**63, 2**70])
def test_a_batch_that_does_not_fit_in_memory_changes_nothing(x, size):
    kinds = set()
    for backend in ("compiled", "reference"):
        net = crnn.RNN(I, H, O, seed=3, backend=backend)
        stream = net.stream()
        stream.step(x[0, 0])
        state = stream.state
        with pytest.raises((MemoryError, ValueError, OverflowError)) as error:
            stream.reset(size)
        kinds.add(error.type)
        same(stream.state, state)
        same(stream.step(x[1, 0]), net(x[1:2, 0], state)[0][0], backend)
    assert len(kinds) == 1


class FailsToCopy:
    def __array__(self, dtype=None, copy=None):
        raise MemoryError("no room")


def test_a_state_that_cannot_be_copied_changes_nothing(net, x, state):
    stream = net.stream()
    stream.state = state
    with pytest.raises(MemoryError, match="no room"):
        stream._stepper.reset(2, [[FailsToCopy()]])
    same(stream.state, state)
    same(stream.step(x[0]), net(x[:1], state)[0][0])


@no_backend
@pytest.mark.parametrize("has_states", [False, True])
def test_a_reset_that_fails_anywhere_changes_nothing(x, has_states):
    """Each of its allocations in turn is the one that fails."""
    testcapi = pytest.importorskip("_testcapi")
    net, failures = crnn.LSTM(I, H, O, num_layers=2, seed=3, backend="compiled"), 0
    stream = net.stream()
    stream.step(x[0, 0])
    state, reset = stream.state, stream._stepper.reset
    states = [[np.ones((300, H), np.float32)] * 2] * 2 if has_states else None
    while failures < 50:
        testcapi.set_nomemory(failures, failures + 1)
        try:
            reset(300, states)
            break
        except MemoryError:
            failures += 1
        finally:
            testcapi.remove_mem_hooks()
        same(stream.state, state)
        same(stream.step(x[1, 0]), net(x[1:2, 0], state)[0][0])
        stream.state = state
    assert 0 < failures < 50
    assert stream._stepper.batch_size == 300
    assert all((each == has_states).all() for each in stream.state)


@no_backend
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory the Linux way")
@pytest.mark.parametrize("backend_name", ["compiled", "reference"])
def test_a_step_after_memory_ran_out_is_safe(backend_name):
    code = f"""
        import resource
        import numpy as np
        import crnn

        stream = crnn.RNN(3, 1000, 2, seed=0, backend={backend_name!r}).stream()
        stream.step(1)
        stream.reset()
        tokens = np.zeros(200_000, np.intp)  # their states are 800 MB
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 200_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for attempt in range(2):
            try:
                stream.step(tokens)
            except MemoryError:
                print("refused", stream.state.shape)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout) == (0, 2 * "refused (1, 1000)\n"), done.stderr


@no_backend
def test_a_stream_that_is_reset_while_weights_are_packed_is_not_written_to(x, monkeypatch):
    net = crnn.RNN(I, H, O, seed=3, backend="compiled")
    stream, weights = net.stream(2), net.engine.weights
    pack, out = weights.packed, np.full((2, O), 7, np.float32)

    def reset_and_pack(*arguments):
        stream.reset(300)
        return pack(*arguments)

    monkeypatch.setattr(weights, "packed", reset_and_pack)
    with pytest.raises(ValueError, match="batch of 300"):
        stream.step(x[0, :2], out)
    assert (out == 7).all()
    assert not stream.state.any()


def test_the_first_batch_may_come_to_a_zero_state(net, x, tokens, state, backend):
    stream = net.stream()
    same(stream.step(x[0]), net(x[:1])[0][0], backend)
    assert stream.state.shape == (1, B, H)
    stream.reset()
    same(stream.step(tokens[0]), net(tokens[:1])[0][0], backend)
    stream.reset()
    for bad, kind in ((x[0, :, :2], ValueError), (tokens[0] + I, IndexError)):
        with pytest.raises(kind):
            stream.step(bad)
        assert stream.state.shape == (1, H)
    with pytest.raises(ValueError, match="out is"):
        stream.step(x[0], np.empty(O, np.float32))
    assert stream.state.shape == (1, H)


@pytest.mark.parametrize(("size", "rows", "message"), [
    (None, 4, "x is a batch of 4, the state is of one sequence; call reset(batch_size=4) first"),
    (4, None, "x is one sequence, the state is of a batch of 4; call reset(batch_size=None) first"),
    (4, 3, "x is a batch of 3, the state is of a batch of 4; call reset(batch_size=3) first"),
    (4, 0, "x is a batch of 0, the state is of a batch of 4; call reset(batch_size=0) first"),
    (1, 3, "x is a batch of 3, the state is of a batch of 1; call reset(batch_size=3) first"
     " (reset(1) has made it one of 1; to have sequence 1 alone begin anew call reset(rows=[1]))"),
])
def test_another_batch_size_is_refused_with_the_remedy(net, x, tokens, size, rows, message):
    stream = net.stream(size)
    state = np.ones_like(stream.state)
    stream.state = state
    for source in (x, tokens):
        with pytest.raises(ValueError) as error:
            stream.step(source[0, 0] if rows is None else source[0, :rows])
        assert str(error.value) == message
        same(stream.state, state)


# --- out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, B])
@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_out_is_filled_and_returned(net, x, tokens, batch, is_tokens):
    source = tokens if is_tokens else x
    source = source[:, 0] if batch is None else source
    stream, other = net.stream(batch), net.stream(batch)
    out = np.full(O if batch is None else (B, O), np.nan, np.float32)
    for row in source:
        assert stream.step(row, out) is out
        same(out, other.step(row))
        assert stream.step(row.tolist(), out=out) is out  # what has to be converted first
        same(out, other.step(row))
    same(stream.state, other.state)


SPACE = np.zeros((B, 2 * I), np.float32)
READ_ONLY = np.zeros((B, O), np.float32)
READ_ONLY.flags.writeable = False
BAD_OUTS = {
    "list": ([[0.0] * O] * B, TypeError, "list"),
    "number": (0.0, TypeError, "float"),
    "true": (True, TypeError, "bool"),
    "matrix-like": (np.ma.zeros((B, O), np.float32), TypeError, "MaskedArray"),
    "shape": (np.zeros((B, O + 1), np.float32), ValueError, "(4, 3)"),
    "flat": (np.zeros(B * O, np.float32), ValueError, "(8,)"),
    "one-more-axis": (np.zeros((1, B, O), np.float32), ValueError, "(1, 4, 2)"),
    "of-one-sequence": (np.zeros(O, np.float32), ValueError, "(2,)"),
    "float64": (np.zeros((B, O)), ValueError, "float64"),
    "byte-swapped": (np.zeros((B, O), ">f4"), ValueError, ">f4"),
    "int": (np.zeros((B, O), np.int32), ValueError, "int32"),
    "read-only": (READ_ONLY, ValueError, "writable"),
    "every-second": (np.zeros((B, 2 * O), np.float32)[:, ::2], ValueError, "C-contiguous"),
    "fortran": (np.zeros((B, O), np.float32, order="F"), ValueError, "C-contiguous"),
    "broadcast": (np.lib.stride_tricks.as_strided(np.zeros(O, np.float32), (B, O), (0, 4)),
                  ValueError, "C-contiguous"),
    "misaligned": (np.zeros(4 * B * O + 1, np.uint8)[1:].view(np.float32).reshape(B, O),
                   ValueError, "aligned"),
    "over-x": (SPACE.reshape(-1)[: B * O].reshape(B, O), ValueError, "shares memory"),
    "over-the-end-of-x": (SPACE.reshape(-1)[B * I - 1 :][: B * O].reshape(B, O), ValueError,
                          "shares memory"),
}


@pytest.mark.parametrize("case", BAD_OUTS)
@pytest.mark.parametrize("where", ["net", "stream"])
def test_a_bad_out_is_refused_and_nothing_moves(net, state, case, where):
    bad, kind, fragment = BAD_OUTS[case]
    x = SPACE.reshape(-1)[: B * I].reshape(B, I)
    stream = net if where == "net" else net.stream()
    stream.state = state
    kept = np.array(bad).tobytes()
    with pytest.raises(kind, match="out") as error:
        stream.step(x, bad)
    assert fragment in str(error.value)
    assert np.array(bad).tobytes() == kept
    same(stream.state, state)


@pytest.mark.parametrize("bad", ["tokens", "features", "kind"])
def test_out_is_untouched_when_x_is_bad(net, state, bad):
    x = {"tokens": [0, 1, I, 0], "features": np.zeros((B, I + 1)), "kind": "abcd"}[bad]
    net.state = state
    out = np.full((B, O), 7, np.float32)
    with pytest.raises((TypeError, ValueError, IndexError)):
        net.step(x, out)
    assert (out == 7).all()
    same(net.state, state)


@pytest.mark.parametrize("spread", [2, -1], ids=["every-second", "reversed"])
def test_out_over_an_x_that_has_to_be_copied_is_refused_too(net, spread):
    memory = np.zeros(2 * I, np.float32)
    x, out = memory[::spread][:I], memory[I - 1 :][:O]
    assert np.shares_memory(x, out)
    with pytest.raises(ValueError, match="shares memory"):
        net.step(x, out)
    assert not memory.any()


# --- nothing is left behind ----------------------------------------------------------------------


@no_backend
@pytest.mark.parametrize("batch", [None, B])
@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_a_compiled_step_with_out_allocates_nothing(x, tokens, batch, outputs, is_tokens):
    stream = crnn.RNN(I, H, outputs, backend="compiled").stream(batch)
    row = (tokens if is_tokens else x)[0]
    row = np.array(row if batch else row[0])
    out = stream.step(row)

    def peak(step, *arguments):
        """Bytes that a thousand calls held at once beyond those held before, at the least.

        What other threads of the process allocate comes and goes.
        """
        return min(peak_once(step, *arguments) for _ in range(5))

    def peak_once(step, *arguments):
        tracemalloc.start()
        try:
            for _ in range(3):  # what is made only once
                step(*arguments)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for _ in itertools.repeat(None, 1000):
                step(*arguments)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    assert peak(stream.step, row, out) <= peak(lambda row, out: out, row, out)
    assert peak(stream.step, row) > peak(stream.step, row, out)  # it would show


def refused(kind, action, *arguments):
    with pytest.raises(kind):
        action(*arguments)


METHODS = {
    "call": lambda net, x, out: net(x),
    "forward-backward": lambda net, x, out: net.backward(net.forward(x)[2], np.ones((6, B, O))),
    "loss": lambda net, x, out: net.loss(x, np.zeros((6, B), int)),
    "gradients": lambda net, x, out: net.loss_and_gradients(x, np.zeros((6, B), int))[1].norm(),
    "step": lambda net, x, out: net.step(x[0]),
    "step-out": lambda net, x, out: net.step(x[0], out),
    "step-converted": lambda net, x, out: net.step(x[0].astype("f8"), out),
    "state": lambda net, x, out: setattr(net, "state", net.state),
    "reset": lambda net, x, out: net.reset(B),
    "stream": lambda net, x, out: net.stream(B).step(x[0], out),
    "vector": lambda net, x, out: setattr(net, "vector", net.vector),
    "parameters": lambda net, x, out: net.parameters.__setitem__("b_y", [0, 0]),
    "copy": lambda net, x, out: net.copy().step(x[0], out),
    "pickle": lambda net, x, out: pickle.loads(pickle.dumps(net)).step(x[0], out),
    "refused-x": lambda net, x, out: refused(ValueError, net, x[:, :, :2]),
    "refused-step": lambda net, x, out: refused(ValueError, net.step, x[0, :2], out),
    "refused-out": lambda net, x, out: refused(ValueError, net.step, x[0], out[:2]),
    "refused-token": lambda net, x, out: refused(IndexError, net.step, [I] * B, out),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_calls_leave_nothing_behind(net, x, method):
    act, out, times = METHODS[method], np.empty((B, O), np.float32), 1000
    net.reset(B)
    x = x[:6].copy()
    watched = (net, x, out, net.vector.base, net.parameters["b_y"], np.dtype("f4"))

    def counts():
        gc.collect()
        return sys.getallocatedblocks(), [sys.getrefcount(each) for each in watched]

    def leaves_nothing():
        blocks, references = counts()
        for _ in range(times):
            act(net, x, out)
        blocks_after, references_after = counts()
        return (blocks_after - blocks < times / 2
                and np.abs(np.subtract(references_after, references)).max() < 10)

    for _ in range(10):
        act(net, x, out)
    # what leaks does so each time; Python's own free lists grow and shrink by a thousand blocks
    assert any(leaves_nothing() for _ in range(10))
