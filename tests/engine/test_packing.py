"""Packed copies of weights follow the parameters, however these change.

A network that ran before a change must afterwards give the bits of a new one that has never had
other parameters, in every pass and in streams of before.
"""

import gc
import itertools
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from optimizer_cases import ONE_EACH, make

import crnn
from crnn.engine.packing import PackedWeights

T, B, I, H, O = 3, 5, 4, 19, 33  # noqa: E741
READOUTS = [pytest.param(O, id="readout"), pytest.param(None, id="bare")]
WEIGHTS = ("W_xh_l0", "W_hh_l0", "W_hy")


def network(outputs=O, dtype="float32", cell="RNN", **options):
    return getattr(crnn, cell)(I, H, outputs, seed=0, dtype=dtype, **options)


def like(net):
    """Return a new network with the parameters of another."""
    config = net.config()
    new = getattr(crnn, config.pop("cell"))(**config, backend=net.backend)
    new.vector = net.vector
    return new


@pytest.fixture
def x(rng):
    return rng.standard_normal((T, B, I)).astype(np.float32)


@pytest.fixture
def tokens(rng):
    return rng.integers(0, I, (T, B))


@pytest.fixture
def vectors(rng):
    return rng.uniform(-0.5, 0.5, (4, network().num_parameters)).astype(np.float32)


class Streams:
    """A stream for floats, one for tokens, and one that gets tokens first and then floats."""

    def __init__(self, net):
        self.streams = [net.stream() for _ in range(3)]

    def results(self, x, tokens):
        for stream in self.streams:
            stream.reset(B)
        floats, only_tokens, both = self.streams
        return [floats.step(x[0]), only_tokens.step(tokens[0]), both.step(tokens[0]),
                both.step(x[0])]


def results(net, x, tokens):
    """What every pass makes of floats and of tokens, forward and back, and single steps."""
    found = []
    for inputs in (x, tokens):
        y, last, cache = net.forward(inputs)
        loss, grads, _ = net.loss_and_gradients(inputs, tokens)
        found += [*net(inputs), y, last, net.loss(inputs, tokens)[0], loss]
        for each in (grads, net.backward(cache, y, last)):
            found += [each.vector, each.state] + [each.x] * (each.x is not None)
    net.reset(B)
    return [*found, net.step(tokens[0]), net.step(x[0])]


def same(ours, theirs):
    return all(
        np.asarray(each).tobytes() == np.asarray(other).tobytes()
        for each, other in zip(ours, theirs, strict=True)
    )


def is_fresh(net, streams, x, tokens):
    """Return whether a network and streams of before a change are as if they were new."""
    new = like(net)
    return (same(results(net, x, tokens), results(new, x, tokens))
            and same(streams.results(x, tokens), Streams(new).results(x, tokens)))


def used(net, x, tokens):
    """Make a network pack all it has; return streams that have, too."""
    streams = Streams(net)
    streams.results(x, tokens)
    results(net, x, tokens)
    return streams


def of_size(net, vector):
    return vector[: net.num_parameters]


# --- every way to change them --------------------------------------------------------------------


@pytest.mark.parametrize("outputs", READOUTS)
def test_assigning_the_vector(x, tokens, vectors, outputs):
    net = network(outputs)
    streams = used(net, x, tokens)
    before = results(net, x, tokens)
    for vector in vectors:
        net.vector = of_size(net, vector)
        assert is_fresh(net, streams, x, tokens)
    assert not same(results(net, x, tokens), before)


OTHERS = [  # whose packed weights are other parts of the parameters
    {"cell": "GRU", "num_layers": 2},
    {"cell": "GRU", "reset_after": False},
    {"cell": "LSTM", "num_layers": 2},
]


@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_assigning_the_vector_of_others(rng, x, tokens, options):
    net = network(**options)
    streams = used(net, x, tokens)
    for _ in range(3):
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        assert is_fresh(net, streams, x, tokens)


ONE_NAME = [(name, {}) for name in network().parameters]
ONE_NAME += [(name, OTHERS[0]) for name in network(**OTHERS[0]).parameters]


@pytest.mark.parametrize(("name", "options"), ONE_NAME)
def test_assigning_one_parameter(x, tokens, name, options):
    net = network(**options)
    streams = used(net, x, tokens)
    for scale in (0.5, 2, 0):
        net.parameters[name] = scale * net.parameters[name] + np.float32(0.01)
        assert is_fresh(net, streams, x, tokens)


@pytest.mark.parametrize("outputs", READOUTS)
@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_an_optimizers_steps(x, tokens, name, options, outputs):
    net, optimizer = network(outputs), make(name, options)
    streams = used(net, x, tokens)
    for inputs in (x, tokens, x):
        optimizer.step(net, net.loss_and_gradients(inputs, tokens)[1])
        assert is_fresh(net, streams, x, tokens)


def test_training(x, tokens):
    net = network()
    streams = used(net, x, tokens)
    crnn.fit(net, (x, tokens), crnn.Adam(0.01), epochs=3)
    assert is_fresh(net, streams, x, tokens)


def test_gradients_are_those_of_the_new_parameters(rng, x, tokens):
    net = network(dtype="float64")
    x = x.astype(float)
    used(net, x, tokens)
    for _ in range(3):
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        for inputs in (x, tokens):
            errors = crnn.gradcheck(net, inputs, tokens, max_entries=20)
            assert max(errors.values()) < 1e-12


# --- copies --------------------------------------------------------------------------------------


COPIES = {
    "copy": lambda net, folder: net.copy(),
    "pickle": lambda net, folder: pickle.loads(pickle.dumps(net)),
    "load": lambda net, folder: net.save(folder / "net") or crnn.load(folder / "net"),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_pack_their_own(tmp_path, x, tokens, vectors, copied):
    net = network()
    streams = used(net, x, tokens)
    net.vector = vectors[0]  # not packed when it is copied
    other = copied(net, tmp_path)
    assert is_fresh(other, Streams(other), x, tokens)
    assert is_fresh(net, streams, x, tokens)
    others = used(other, x, tokens)
    other.vector = vectors[1]
    net.parameters["W_hh_l0"] = np.eye(H, dtype=np.float32)
    assert is_fresh(other, others, x, tokens)
    assert is_fresh(net, streams, x, tokens)
    assert not same(results(net, x, tokens), results(other, x, tokens))


# --- streams -------------------------------------------------------------------------------------


def test_floats_after_tokens(x, tokens, vectors):
    """A network of tokens has no packed W_xh until the first floats come."""
    net = network()
    stream = net.stream()
    for vector in vectors:
        net.vector = vector
        new = network()
        new.vector = vector
        for inputs in (tokens[0], tokens[1], x[0], tokens[2], x[1]):
            stream.reset()
            assert same([stream.step(inputs)], [new.stream().step(inputs)])


def test_what_streams_point_to_stays(x, tokens, vectors):
    """Through many changes, and when the network is gone."""
    net, new = network(), network()
    streams, late = used(net, x, tokens), net.stream()
    gc.collect()
    for i in range(1000):
        net.vector = new.vector = vectors[i % 4]
        if i % 50 == 0 or i > 990:
            wanted = Streams(new).results(x, tokens)
            assert same(streams.results(x, tokens), wanted)
    del net
    gc.collect()
    rubbish = [np.full((H, 48), 7, np.float32) for _ in range(1000)]
    assert same(streams.results(x, tokens), wanted)
    assert same([late.step(x[0])], [new.stream().step(x[0])])
    assert len(rubbish) == 1000


@pytest.fixture
def compiled(monkeypatch):
    monkeypatch.setenv("CRNN_BACKEND", "compiled")


def meddle(net, before=None, after=None):
    """Have something done before or after each packing of a weight, as another thread might."""
    weights = net.engine.weights
    repack = weights._repack

    def meddled(rows, weight, stamp, changes):
        if before:
            before(rows, weight, stamp)
        repack(rows, weight, stamp, changes)
        if after:
            after(rows, weight, stamp)

    weights._repack = meddled


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled")
def test_nothing_is_packed_twice_for_the_same_parameters(x, tokens, vectors):
    net, stamps, packed = network(), [], []
    meddle(net, lambda rows, weight, stamp: stamps.append(stamp.item()),
           lambda rows, weight, stamp: packed.extend([weight.shape] * (stamp != stamps[-1]).item()))
    for vector in vectors:
        net.vector = vector
        used(net, x, tokens)
        once = len(packed)
        assert 0 < once <= 2 * len(WEIGHTS)  # each and its transpose
        used(net, x, tokens)
        assert len(packed) == once
        packed.clear()


# --- while others change them --------------------------------------------------------------------


def changing(net, left, late=False):
    """Return what changes the parameters while vectors are left; ``late`` is a bug."""

    def change(rows, weight, stamp):
        if left:
            net.vector = of_size(net, left.pop())
            if late:  # the stamp says that the copy is of parameters that came after it
                stamp[0] = net.parameters.changes[0]

    return change


def passes_of(net, x, tokens):
    """Return passes, each of which packs what it needs."""
    stream = net.stream(B)

    def step():
        stream.reset(B)
        return stream.step(x[0])

    def train():
        loss, grads, last = net.loss_and_gradients(x, tokens)
        return loss, grads.vector, grads.x, last

    return {"infer": lambda: net(x), "loss": lambda: net.loss(x, tokens), "train": train,
            "step": lambda: [step()], "forward": lambda: net.forward(x)[:2]}


PASSES = ["infer", "loss", "train", "step", "forward"]


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("options", [{}, *OTHERS], ids=str)
def test_changes_while_weights_are_packed_are_not_missed(
    rng, x, tokens, options, name, moment
):
    net, new = network(**options), network(**options)
    run, again = passes_of(net, x, tokens)[name], passes_of(new, x, tokens)[name]
    run()
    vectors = rng.uniform(-0.5, 0.5, (4, net.num_parameters)).astype(np.float32)
    left = []
    meddle(net, **{moment: changing(net, left)})
    for first, second, third in itertools.permutations(vectors, 3):
        net.vector = first
        left[:] = third, second
        run()  # of some of these parameters, or of a mixture
        assert not left
        new.vector = third
        assert same(run(), again())


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", ["infer", "loss", "train", "forward"])
def test_a_stamp_from_after_packing_would_be_seen(x, tokens, vectors, name):
    net, new = network(), network()
    run, again = passes_of(net, x, tokens)[name], passes_of(new, x, tokens)[name]
    run()
    meddle(net, after=changing(net, [vectors[0]], late=True))
    net.vector = vectors[1]
    run()
    new.vector = net.vector
    assert not same(run(), again())


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled", "switching")
@pytest.mark.parametrize("options", [{}, OTHERS[0]], ids=str)
def test_threads_that_change_parameters_and_run(rng, x, tokens, options):
    for _ in range(5):
        net = network(**options)
        streams = Streams(net)
        vectors = rng.uniform(-0.5, 0.5, (4, net.num_parameters)).astype(np.float32)
        over = []

        def change(net=net, vectors=vectors, over=over):
            for n in range(300):
                net.vector = vectors[n % 4]
            over.append(True)

        def run(net=net, over=over):
            while not over:
                net(x)
                net.loss_and_gradients(x, tokens)
                net.loss(tokens, tokens)

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(each) for each in (run, run, run, change)]:
                future.result()
        assert is_fresh(net, streams, x, tokens)


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_packs():
    """The child finds the lock free, whoever held it."""
    net, x, over = crnn.RNN(I, 700, seed=0), np.ones((1, 1, I), np.float32), []

    def pack():
        while not over:
            net.vector = net.vector  # so that the next pass packs again, most of the time
            net(x)

    with ThreadPoolExecutor(1) as pool:
        packing = pool.submit(pack)
        try:
            codes = [in_a_child(lambda: crnn.RNN(I, 8, seed=0)(x)) for _ in range(20)]
        finally:
            over.append(True)
        packing.result()
    assert codes == [0] * 20


def in_a_child(action):
    """Run an action in a forked process; return how that ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(20)  # where it hangs
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


# --- these checks can fail -----------------------------------------------------------------------


def stale(*which):
    """Return PackedWeights.packed with a bug: one copy is never made again."""
    right = PackedWeights.packed

    def packed(self, name, transposed=False, columns=None):
        key = name, transposed, columns
        if key == which and which in self._copies:
            return self._copies[which].packed
        return right(self, name, transposed, columns)

    return packed


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("transposed", [False, True], ids=["forward", "back"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_stale_copy_is_seen(monkeypatch, x, tokens, vectors, name, transposed):
    net = network()
    streams = used(net, x, tokens)
    monkeypatch.setattr(PackedWeights, "packed", stale(name, transposed, None))
    assert is_fresh(net, streams, x, tokens)
    net.vector = vectors[0]
    assert not is_fresh(net, streams, x, tokens)


@pytest.mark.no_backend
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_any_stale_copy_is_seen(monkeypatch, rng, x, tokens, options):
    net = network(**options)
    used(net, x, tokens)
    keys = list(net.engine.weights._copies)
    each = 3 if options["cell"] == "GRU" else 2  # of a layer; of a GRU, W_hn is apart
    assert len(keys) == 2 * (1 + each * net.num_layers)
    for key in keys:
        streams = used(net, x, tokens)
        with monkeypatch.context() as patch:
            patch.setattr(PackedWeights, "packed", stale(*key))
            net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
            assert not is_fresh(net, streams, x, tokens)
