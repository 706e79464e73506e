"""Blocks of steps: the same bits as steps, nothing allocated, and all of a block or none."""

import signal
import threading
import tracemalloc

import numpy as np
import pytest
from small_network import equal

import crnn
from crnn import layers as L  # noqa: N812

T, B, I, H, O = 9, 4, 3, 5, 2  # noqa: E741
CELLS = {"RNN": crnn.RNN, "GRU": crnn.GRU, "LSTM": crnn.LSTM}
UNLIKE = {  # layers of crnn.Sequential; the second has a skip
    "stack": [L.LSTM(5), L.Dense(4, "relu"), L.GRU(3), L.Activation("tanh"), L.Dense(2, "softmax")],
    "skip": [L.GRU(6), L.RNN(4), L.Dense(I)],
    "table": [L.Embedding(4), L.LSTM(5, peepholes=True), L.Dense(2)],
}
no_backend = pytest.mark.no_backend


def made(cell="LSTM", **options):
    return CELLS[cell](I, H, O, **{"num_layers": 2, "seed": 3} | options)


def random_state(stream, rng):
    """Set a state that is not zero."""
    state = stream.state
    parts = state if isinstance(state, tuple) else (state,)
    parts = tuple(rng.standard_normal(each.shape).astype(each.dtype) for each in parts)
    stream.state = parts if isinstance(state, tuple) else parts[0]


def source(rng, batch, is_tokens, dtype="float32", steps=T):
    shape = (steps,) if batch is None else (steps, batch)
    if is_tokens:
        return rng.integers(0, I, shape)
    return rng.standard_normal((*shape, I)).astype(dtype)


def same_state(stream, other):
    for mine, others in zip(np.array(stream.state), np.array(other.state), strict=True):
        equal(mine, others)


@no_backend
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_block_with_out_takes_no_memory(rng, batch_first):
    stream = made(batch_first=batch_first, backend="compiled").stream()
    x, out = source(rng, None, False, steps=2000), np.empty((2000, O), np.float32)
    stream.run(x, out)
    tracemalloc.start()
    try:
        stream.run(x, out)
        assert tracemalloc.get_traced_memory()[1] < out.nbytes / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [None, 1, B])
@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_a_block_is_its_steps(rng, cell, dtype, batch, is_tokens):
    net = made(cell, dtype=dtype)
    x = source(rng, batch, is_tokens, dtype)
    net.reset(batch)
    random_state(net, rng)
    stream, other = net.stream(batch), net.stream(batch)
    stream.state = other.state = net.state
    wanted = np.stack([other.step(row) for row in x])
    for each in (stream, net):
        y = each.run(x)
        assert y.dtype == dtype
        equal(y, wanted)
        same_state(each, other)
    # blocks and steps may take turns, and blocks of any length
    y = np.concatenate([stream.run(x[:4]), stream.step(x[4])[None], stream.run(x[5:])])
    equal(y, other.run(x))
    same_state(stream, other)


def test_a_block_of_no_steps_moves_nothing(rng):
    net = made()
    for batch in (None, B):
        stream = net.stream(batch)
        axes = () if batch is None else (batch,)
        assert stream.run(np.zeros((0, *axes, I))).shape == (0, *axes, O)
        assert stream.run(np.zeros((0, *axes), int)).shape == (0, *axes, O)
        assert stream.is_at_start
        random_state(stream, rng)
        before = stream.state
        out = np.empty((0, *axes, O), np.float32)
        assert stream.run(np.zeros((0, *axes, I), np.float32), out) is out
        equal(np.array(stream.state), np.array(before))


@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("batch", [None, B])
def test_out_is_filled_and_returned(rng, batch, is_tokens):
    net = made("GRU")
    x, stream, other = source(rng, batch, is_tokens), net.stream(batch), net.stream(batch)
    out = np.full((T, O) if batch is None else (T, batch, O), np.nan, np.float32)
    for each in (x, x.tolist(), np.asfortranarray(x)):
        wanted = other.run(x)
        assert stream.run(each, out=out) is out
        equal(out, wanted)
    same_state(stream, other)


def test_the_first_block_may_bring_a_batch(rng):
    net = made()
    for is_tokens in (False, True):
        x, stream = source(rng, B, is_tokens), net.stream()
        equal(stream.run(x), net.stream(B).run(x))
        assert stream.batch_size == B


@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_blocks_lie_as_sequences_do(rng, is_tokens):
    net = made(batch_first=True)
    x = source(rng, B, is_tokens)
    wanted = net.stream(B).run(x.swapaxes(0, 1))
    equal(wanted, np.stack([net.step(row) for row in x], axis=1))
    assert wanted.shape == (B, T, O)
    out = np.zeros((B, T, O), np.float32)
    assert net.stream(B).run(x.swapaxes(0, 1), out) is out
    equal(out, wanted)
    equal(net.stream().run(x[:, 0], np.empty((T, O), np.float32)), wanted[0])
    stream = net.stream(B)
    with pytest.raises(ValueError, match="out is"):
        stream.run(x.swapaxes(0, 1), np.zeros((T, B, O), np.float32))
    assert stream.is_at_start


def test_blocks_begin_with_what_was_learned(rng):
    net = made("GRU", learn_state=True)
    x = source(rng, B, False)
    stream, moved = net.stream(B), net.stream(B)
    moved.run(x)
    for _ in range(2):
        net.vector = rng.standard_normal(net.num_parameters).astype(np.float32)
        before = stream.state
        assert before.any()
        stepped = net.stream(B)
        equal(stream.run(x), np.stack([stepped.step(row) for row in x]))
        moved.reset()
        moved.reset(B)
        equal(moved.state, before)
        stream.reset(B)


# --- what is refused -----------------------------------------------------------------------------

FLOATS, SPACE = np.zeros((T, B, I), np.float32), np.zeros(2 * T * B * I, np.float32)
REFUSED = {
    "nothing": (None, None, TypeError, "x is None"),
    "texts": ([["a"] * B] * T, None, TypeError, "numbers are wanted"),
    "a step": (FLOATS[0], None, ValueError, "x is one sequence, the state is of a batch of 4"),
    "a token": (1, None, ValueError, "x has shape (); a block of this network"),
    "features": (FLOATS[..., :2], None, ValueError,
                 "x has shape (9, 4, 2); a block of this network, built with input_size=3, takes"
                 " (T, 3) or (T, B, 3) floats, (T,) or (T, B) tokens, which are integers"),
    "axes": (FLOATS[None], None, ValueError, "x has shape (1, 9, 4, 3)"),
    "batch": (FLOATS[:, :2], None, ValueError, "x is a batch of 2, the state is of a batch of 4"),
    "large token": (np.full((T, B), I), None, IndexError, "the token 3, known are 0 to 2"),
    "negative token": (np.full((T, B), -1), None, IndexError, "the token -1"),
    "last token": (np.eye(T * B, dtype=int)[-1].reshape(T, B) * I, None, IndexError, "token 3"),
    "steps of out": (FLOATS, np.zeros((T + 1, B, O), np.float32), ValueError, "out is"),
    "fewer steps of out": (FLOATS, np.zeros((T - 1, B, O), np.float32), ValueError, "out is"),
    "out of a step": (FLOATS, np.zeros((B, O), np.float32), ValueError, "(9, 4, 2) is wanted"),
    "dtype of out": (FLOATS, np.zeros((T, B, O)), ValueError, "float32 (9, 4, 2) is wanted"),
    "out over the end of x": (SPACE[: T * B * I].reshape(T, B, I),
                              SPACE[T * B * I - 1 :][: T * B * O].reshape(T, B, O),
                              ValueError, "shares memory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_block_that_is_refused_moves_nothing(rng, case):
    x, out, kind, message = REFUSED[case]
    net = made()
    net.reset(B)
    random_state(net, rng)
    before = net.state
    with pytest.raises(kind) as error:
        net.run(x, out)
    assert message in str(error.value)
    equal(np.array(net.state), np.array(before))


def test_out_may_follow_x_in_memory(rng):
    memory = np.zeros(T * (I + O), np.float32)
    x, out = memory[: T * I].reshape(T, I), memory[T * I :].reshape(T, O)
    x[...] = source(rng, None, False)
    net = made()
    equal(net.run(x, out), net.stream().run(x.copy()))


def test_two_directions_have_no_blocks():
    with pytest.raises(AttributeError, match="a bidirectional network has no steps"):
        made(bidirectional=True).run(np.zeros((T, I)))


# --- threads and interrupts ----------------------------------------------------------------------

LONG = 100_000


@pytest.fixture
def slow():
    """A stream whose block of LONG steps takes a while, and such a block."""
    net = crnn.LSTM(I, 64, O, seed=3, backend="compiled")
    return net.stream(), np.zeros((LONG, I), np.float32), np.zeros((LONG, O), np.float32)


@no_backend
def test_ctrl_c_is_answered_and_leaves_the_state_as_it_was(slow):
    stream, x, out = slow
    other = crnn.LSTM(I, 64, O, seed=3, backend="compiled").stream()
    for was_at_start in (True, False):
        before = stream.state
        timer = threading.Timer(0.02, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            stream.run(x, out)
        timer.join()
        equal(np.array(stream.state), np.array(before))
        assert stream.is_at_start == was_at_start
        equal(stream.run(x[:5]), other.run(x[:5]))


@no_backend
def test_a_stream_that_is_at_work_serves_no_other_thread(slow):
    stream, x, out = slow
    refused, other = [], crnn.LSTM(I, 64, O, seed=3, backend="compiled").stream()

    def handler(number, frame):
        for action in (lambda: stream.step(x[0]), lambda: stream.run(x[:2]), stream.reset,
                       lambda: stream.state, lambda: setattr(stream, "state", other.state)):
            with pytest.raises(RuntimeError, match="another thread is at work on this stream"):
                action()
            refused.append(action)

    before = signal.signal(signal.SIGINT, handler)
    try:
        timer = threading.Timer(0.02, signal.raise_signal, [signal.SIGINT])
        timer.start()
        for _ in range(1000):
            stream.run(x, out)
            if refused:
                break
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(refused) >= 5
    stream.reset()
    equal(stream.run(x), other.run(x))


@no_backend
def test_other_threads_run_during_a_block(slow):
    """This one sees a block's first output while its last is not there yet."""
    stream, x, out = slow
    has_seen = False
    for _ in range(100):
        out[...] = np.nan
        other = threading.Thread(target=stream.run, args=[x, out])
        other.start()
        while np.isnan(out[-1, 0]):
            has_seen = has_seen or (not np.isnan(out[0, 0]) and np.isnan(out[-1, 0]))
        other.join()
        if has_seen:
            return
    pytest.fail("a block kept other threads from running")


@pytest.mark.parametrize("cell", CELLS)
def test_many_streams_on_many_threads(rng, cell, switching):
    net = made(cell)
    xs = [source(rng, None, k % 2 == 0, steps=400) for k in range(8)]
    wanted = [net(x)[0] if net.backend == "compiled" else net.stream().run(x) for x in xs]
    found, barrier = [None] * len(xs), threading.Barrier(len(xs))

    def serve(k):
        stream = net.stream()
        barrier.wait()
        parts = []
        for start in range(0, 400, 50):
            block = xs[k][start : start + 50]
            parts += [stream.run(block[:25]), *(stream.step(row)[None] for row in block[25:])]
        found[k] = np.concatenate(parts)

    threads = [threading.Thread(target=serve, args=[k]) for k in range(len(xs))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for mine, want in zip(found, wanted, strict=True):
        equal(mine, want)


@no_backend
def test_parameters_may_change_while_streams_go_on(rng):
    """Steps meanwhile may see some of either; those begun afterwards see the new ones."""
    net = crnn.GRU(I, 40, O, num_layers=2, seed=3, backend="compiled")
    x, is_over, failures = source(rng, None, False, steps=50), threading.Event(), []

    def serve():
        stream = net.stream()
        try:
            while not is_over.is_set():
                assert np.isfinite(stream.run(x)).all()
                assert np.isfinite(stream.step(x[0])).all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for each in threads:
        each.start()
    for k in range(200):
        net.vector = net.vector * np.float32(0.99 if k % 2 else 1.01)
    changed = net.stream().run(x)
    is_over.set()
    for each in threads:
        each.join()
    assert failures == []
    equal(changed, net.copy()(x)[0])
