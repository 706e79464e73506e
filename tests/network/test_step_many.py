"""Many streams in one call: each as if it had been stepped by itself."""

import threading

import numpy as np
import pytest
from small_network import equal
from test_stream_blocks import UNLIKE, B, I, O, made, random_state, same_state, source

import crnn
from crnn import layers as L  # noqa: N812

CELLS = ("RNN", "GRU", "LSTM")


def pairs(net, rng, count, batch=None):
    """Streams, some of which have a state, and others that go through the same."""
    streams = [net.stream(batch) for _ in range(count)]
    for stream in streams[::2]:
        random_state(stream, rng)
    for stream in streams[::3]:
        stream.step(source(rng, batch, False, net.dtype, steps=1)[0])
    others = [net.stream(batch) for _ in range(count)]
    for mine, other in zip(streams, others, strict=True):
        if not mine.is_at_start:
            other.state = mine.state
    return streams, others


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [None, 1, B])
@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_each_goes_on_as_by_itself(rng, cell, dtype, batch, is_tokens):
    net = made(cell, dtype=dtype)
    streams, others = pairs(net, rng, 7, batch)
    for start, stop in ((0, 7), (2, 5), (6, 7)):
        count = stop - start
        x = source(rng, batch, is_tokens, dtype, steps=count)
        y = crnn.step_many(streams[start:stop], x)
        assert y.dtype == dtype
        equal(y, np.stack([other.step(row) for other, row in
                           zip(others[start:stop], x, strict=True)]))
    for mine, other in zip(streams, others, strict=True):
        same_state(mine, other)


@pytest.mark.parametrize("layers", UNLIKE)
def test_networks_of_unlike_layers(rng, layers):
    net = crnn.Sequential(I, UNLIKE[layers], skip=layers == "skip", seed=3)
    streams, others = ([net.stream() for _ in range(70)] for _ in range(2))
    for _ in range(3):
        x = source(rng, None, layers == "table", steps=70)
        y = crnn.step_many(streams, x)
        equal(y, np.stack([other.step(row) for other, row in zip(others, x, strict=True)]))
    x = source(rng, None, layers == "table")
    equal(streams[69].run(x), np.stack([others[69].step(row) for row in x]))


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_any_number_of_streams(rng, count, small_work_is_split):
    net = made("GRU")
    crnn.set_num_threads(3)
    streams, others = pairs(net, rng, count)
    order = rng.permutation(count)
    x = source(rng, None, False, steps=count)
    for _ in range(2):
        y = crnn.step_many([streams[k] for k in order], x)
        equal(y, np.stack([others[k].step(row) for k, row in zip(order, x, strict=True)]))
    for mine, other in zip(streams, others, strict=True):
        same_state(mine, other)


def test_out_and_what_is_converted(rng):
    net = made()
    streams, others = pairs(net, rng, 4)
    x, out = source(rng, None, False, steps=4), np.full((4, O), np.nan, np.float32)
    for each in (x, x.tolist(), np.asfortranarray(x), x.astype("f8")):
        assert crnn.step_many(iter(streams), each, out=out) is out
        equal(out, np.stack([other.step(row) for other, row in zip(others, x, strict=True)]))


def test_new_parameters_and_learned_states_are_followed(rng):
    net = made("GRU", learn_state=True)
    streams = [net.stream() for _ in range(5)]
    x = source(rng, None, False, steps=5)
    for _ in range(3):
        net.vector = rng.standard_normal(net.num_parameters).astype(np.float32)
        fresh = [net.stream() for _ in range(5)]
        wanted = [net.stream().step(row) for row in x]
        equal(crnn.step_many(fresh, x), np.stack(wanted))
        equal(crnn.step_many(streams, x), np.stack(wanted))
        for each in streams:
            each.reset()


BAD = {
    "none": (lambda s, x: ([], x), ValueError, "there are no streams"),
    "a network": (lambda s, x: ([made(), *s[1:]], x), TypeError,
                  "streams[0] is a LSTM; a stream, from net.stream(), is wanted"),
    "no list": (lambda s, x: (s[0], x), TypeError,
                "streams is a Stream; a list of streams is wanted"),
    "twice": (lambda s, x: ([*s[:2], s[1]], x), ValueError,
              "streams[2] is streams[1] again; a stream takes one step at a time"),
    "another network": (lambda s, x: ([*s[:2], made().stream()], x), ValueError,
                        "streams[2] is of another network than streams[0]"),
    "another batch": (lambda s, x: ([*s[:2], s[2]], x), ValueError,
                      "streams[2] has batch_size 2, streams[0] has None; all are to have the same"),
    "fewer rows": (lambda s, x: (s[:2], x), ValueError,
                   "x has shape (3, 3); (2, 3) floats, or (2,) tokens, which are integers, are"
                   " wanted of 2 streams"),
    "features": (lambda s, x: (s[:2], x[:2, :2]), ValueError, "x has shape (2, 2)"),
    "token": (lambda s, x: (s[:2], [0, I]), IndexError, "the token 3, known are 0 to 2"),
    "complex": (lambda s, x: (s[:2], x[:2] * 1j), TypeError, "does not convert"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_moves_no_stream(rng, case):
    make, kind, message = BAD[case]
    net = made()
    streams = [net.stream(), net.stream(), net.stream(2 if case == "another batch" else None)]
    for each in streams:
        random_state(each, rng)
    before = [np.array(each.state) for each in streams]
    with pytest.raises(kind) as error:
        crnn.step_many(*make(streams, source(rng, None, False, steps=3)))
    assert message in str(error.value)
    for each, state in zip(streams, before, strict=True):
        equal(np.array(each.state), state)
        each.step(0 if each.batch_size is None else [0, 0])  # it is not held to be at work


@pytest.mark.no_backend
@pytest.mark.parametrize("layers", [[L.GRU(5), L.Dense(2)], [L.Masking(9.0), L.LSTM(5)]],
                         ids=["reference", "mask"])
def test_where_streams_step_in_turn_it_is_all_or_none(rng, layers, monkeypatch):
    net = crnn.Sequential(I, layers, seed=0, backend="reference")
    streams, x = [net.stream() for _ in range(3)], source(rng, None, False, steps=3)
    streams[0].step(x[0])
    before = [np.array(each.state) for each in streams]

    def interrupted(rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(streams[2]._stepper, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crnn.step_many(streams, x)
    for each, state in zip(streams, before, strict=True):
        equal(np.array(each.state), state)
    assert [each.is_at_start for each in streams] == [False, True, True]


def test_a_bad_out_is_refused(rng):
    net = made()
    streams, x = [net.stream(), net.stream()], source(rng, None, False, steps=2)
    for out, kind in (([[0.0] * O] * 2, TypeError), (np.zeros((3, O), "f4"), ValueError),
                      (np.zeros((2, O)), ValueError), (x[:, :O], ValueError)):
        with pytest.raises(kind, match="out"):
            crnn.step_many(streams, x, out)
    assert all(each.is_at_start for each in streams)


def test_threads_step_streams_of_their_own(rng, switching):
    net = made()
    x, found = source(rng, None, False, steps=30), [None] * 4
    wanted = net.stream().run(x)

    def serve(k):
        streams = [net.stream() for _ in range(5)]
        found[k] = [crnn.step_many(streams, np.stack([row] * 5)) for row in x]

    threads = [threading.Thread(target=serve, args=[k]) for k in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for each in found:
        for k in range(5):
            equal(np.stack(each)[:, k], wanted)


@pytest.mark.no_backend
def test_a_reference_has_no_pointers():
    with pytest.raises(TypeError, match="backend='reference', has no steps without"):
        made(backend="reference").stream().real_time()
