"""What holds for every network and every input: one way of computing is another.

Ways that must agree: compiled and reference, batch and single sequences, tokens and one-hot rows,
fused and separate passes, steps and whole sequences, a network with a history and a plain formula.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_network import B, H, I, O, close, equal

import crnn

T = 90
net, x = small_network.net, small_network.x
state, classes = small_network.state, small_network.classes
LENGTHS = np.array([3, 90, 0, 70])  # long enough for two blocks of time steps
no_backend = pytest.mark.no_backend


# --- passes over sequences -----------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [None, O])
def test_one_sequence_is_a_batch_of_one(x, state, classes, outputs):
    net = crnn.RNN(I, H, outputs, dtype="float64", seed=3)
    one, each, tokens = slice(0, 1), 0, classes
    for inputs in (x, tokens):
        y, last, cache = net.forward(inputs[:, one], state[:, one])
        grads = net.backward(cache, 2 * y, last)
        y1, last1, cache1 = net.forward(inputs[:, each], state[:, each])
        grads1 = net.backward(cache1, 2 * y1, last1)
        assert (y1.shape, last1.shape) == ((T, outputs or H), (1, H))
        y2, last2 = net(inputs[:, each], state[:, each])
        pairs = [(y1, y), (y2, y), (last1, last), (last2, last), (grads1.vector, grads.vector),
                 (grads1.state, grads.state)]
        pairs += [] if inputs is tokens else [(grads1.x, grads.x)]
        for single, batch in pairs:
            equal(single, batch.reshape(single.shape))
        loss, grads1, last1 = net.loss_and_gradients(inputs[:, each], classes[:, each])
        close(loss, net.loss(inputs[:, one], classes[:, one])[0])
        assert net.loss(inputs[:, each], classes[-1, each])[0] == pytest.approx(
            net.loss(inputs[:, one], classes[-1, one])[0])
        assert grads1.state.shape == last1.shape == (1, H)


def test_tokens_are_one_hot_rows(net, state, rng, classes):
    tokens = rng.integers(0, I, (T, B))
    rows = np.eye(I)[tokens]
    close(net(tokens, state)[0], net(rows, state)[0])
    for options in ({}, {"lengths": LENGTHS}):
        loss, grads, last = net.loss_and_gradients(tokens, classes, state, **options)
        loss_of_rows, grads_of_rows, last_of_rows = net.loss_and_gradients(
            rows, classes, state, **options)
        close(loss, loss_of_rows)
        close(last, last_of_rows)
        close(grads.vector, grads_of_rows.vector)
        close(grads.state, grads_of_rows.state)
        assert grads.x is None


@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_lengths_are_each_sequence_on_its_own(x, state, rng, outputs, nonlinearity):
    net = crnn.RNN(I, H, outputs, nonlinearity=nonlinearity, dtype="float64", seed=3)
    y, last = net(x, state, lengths=LENGTHS)
    taped, taped_last, cache = net.forward(x, state, lengths=LENGTHS)
    dy, dlast = rng.standard_normal(y.shape), rng.standard_normal(last.shape)
    grads = net.backward(cache, dy, dlast)
    total = np.zeros(net.num_parameters)
    for b, n in enumerate(LENGTHS):
        alone, alone_last, cache = net.forward(x[:n, b], state[:, b])
        close(y[:n, b], alone)
        close(last[:, b], alone_last)
        assert not y[n:, b].any()
        if n:
            g = net.backward(cache, dy[:n, b], dlast[:, b])
            close(grads.x[:n, b], g.x)
            close(grads.state[:, b], g.state)
            total += g.vector
        assert not grads.x[n:, b].any()
    close(grads.vector, total)
    close(taped, y)
    close(taped_last, last)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_many_to_one_is_every_step_without_the_others(net, x, state, classes, lengths, reduction):
    ends = np.full(B, T) if lengths is None else lengths
    sparse = np.where(np.arange(T)[:, None] == ends - 1, classes[-1], -1)
    options = {"reduction": reduction, "lengths": lengths}
    loss, grads, last = net.loss_and_gradients(x, classes[-1], state, **options)
    every_loss, every, every_last = net.loss_and_gradients(x, sparse, state, **options)
    close(loss, every_loss)
    close(net.loss(x, classes[-1], state, **options)[0], loss)
    for name in ("vector", "x", "state"):
        close(getattr(grads, name), getattr(every, name))
    close(last, every_last)


@pytest.mark.parametrize("outputs", [None, O])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "mse"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_losses_are_their_formulas_over_valid_targets(x, state, rng, outputs, loss, lengths):
    net = crnn.RNN(I, H, outputs, dtype="float64", seed=3)
    y, last, cache = net.forward(x, state, lengths=lengths)
    width = y.shape[-1]
    valid = np.arange(T)[:, None] < (T if lengths is None else lengths[None, :])
    valid = np.broadcast_to(valid, (T, B))
    if loss == "softmax":
        targets = rng.integers(-1, width, (T, B))
        valid = valid & (targets >= 0)
        one_hot = np.eye(width)[targets]
        p = np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)
        each, dy, count = -np.log((p * one_hot).sum(axis=-1)), p - one_hot, valid.sum()
    else:
        targets, count = rng.random((T, B, width)), valid.sum() * width
        p = 1 / (1 + np.exp(-y))
        each, dy = (y - targets) ** 2, 2 * (y - targets)
        if loss == "sigmoid":
            each, dy = -targets * np.log(p) - (1 - targets) * np.log(1 - p), p - targets
        each = each.sum(axis=-1)
    wanted, dy = each[valid].sum(), dy * valid[:, :, None]
    for reduction, scale in (("sum", 1), ("mean", 1 / count)):
        options = {"loss": loss, "reduction": reduction, "lengths": lengths}
        value, grads, fused_last = net.loss_and_gradients(x, targets, state, **options)
        plain, plain_last = net.loss(x, targets, state, **options)
        np.testing.assert_allclose([value, plain], wanted * scale, rtol=1e-12)
        backward = net.backward(cache, dy * scale)
        for name in ("vector", "x", "state"):
            close(getattr(grads, name), getattr(backward, name))
        close(fused_last, last)
        close(plain_last, last)


# --- numbers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300], ids=str)
def test_a_bad_number_stays_in_its_own_sequence(x, state, classes, bad, nonlinearity):
    net = crnn.RNN(I, H, O, nonlinearity=nonlinearity, seed=3)
    spoilt = x.copy()
    spoilt[1, 0, 2] = bad
    results = []
    with np.errstate(all="ignore"):  # NumPy warns where the compiled loops do not
        for each in (x, spoilt):
            y, last = net(each, state)
            loss, grads, _ = net.loss_and_gradients(each, classes, state, reduction="sum")
            net.state = state
            steps = np.stack([net.step(row) for row in each])
            results.append((y, last, grads.x, grads.state, steps))
        assert not np.isnan(bad) or np.isnan([loss, net.loss(spoilt, classes, state)[0]]).all()
    for good, other in zip(*results, strict=True):
        equal(other[:, 1:], good[:, 1:])
    y, last, _, _, steps = results[1]
    equal(y[0], results[0][0][0])  # what came before
    if np.isnan(bad):
        assert np.isnan(y[1:, 0]).all()
        assert np.isnan(last[0, 0]).all()
        assert np.isnan(steps[1:, 0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_padding_reaches_nothing(net, x, state, rng, bad):
    targets, dy = rng.random((T, B, O)), rng.random((T, B, O))
    over = np.arange(T)[:, None] >= LENGTHS
    results = []
    for value in (0, bad):
        x[over] = targets[over] = dy[over] = value
        grads = net.backward(net.forward(x, state, lengths=LENGTHS)[2], dy, state)
        arrays = [*net(x, state, lengths=LENGTHS), grads.vector, grads.x, grads.state]
        for loss in ("mse", "sigmoid"):
            options = {"loss": loss, "lengths": LENGTHS}
            value, grads, last = net.loss_and_gradients(x, targets, state, **options)
            arrays += [np.float64(value), np.float64(net.loss(x, targets, state, **options)[0])]
            arrays += [grads.vector, grads.x, grads.state, last]
        results.append(arrays)
    for good, other in zip(*results, strict=True):
        equal(other, good)
        assert np.isfinite(good).all()


def test_small_and_large_numbers_are_numbers(net, x, state):
    equal(net(x * 0.0)[0], net(x * -0.0)[0])
    close(net(x * 1e-310, state)[0], net(x * 0, state)[0])
    single = crnn.RNN(I, H, O, seed=3)
    with np.errstate(invalid="ignore"):
        equal(single(x * 0 + 1e300)[0], single(x * 0 + np.inf)[0])  # too large for float32


# --- any network, any input ----------------------------------------------------------------------

few = settings(deadline=None, max_examples=150, database=None)


@st.composite
def problems(draw):
    """Arguments of a network, of its passes, and a generator for numbers."""
    size = st.integers(1, 40)
    options = {
        "input_size": draw(size), "hidden_size": draw(size),
        "output_size": draw(st.none() | size),
        "nonlinearity": draw(st.sampled_from(["tanh", "relu"])),
        "init": draw(st.sampled_from(["uniform", "orthogonal", "identity"])),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
    }
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    steps, batch = draw(st.integers(0, 12) | st.just(90)), draw(st.none() | st.integers(0, 19))
    each = () if batch is None else (batch,)
    if draw(st.booleans()):
        x = rng.integers(0, options["input_size"], (steps, *each))
    else:
        x = rng.standard_normal((*each, options["input_size"], steps))[..., ::-1]
        x = np.moveaxis(x, -1, 0).astype(draw(st.sampled_from(["f2", "f4", "f8", ">f4"])))
    state = draw(st.none() | st.just(rng.standard_normal((1, *each, options["hidden_size"]))))
    lengths = draw(st.none() | st.just(rng.integers(0, steps + 1, each)))
    return options | {"seed": seed}, x, state, lengths, draw(st.booleans()), rng


@no_backend
@few
@given(problems())
def test_compiled_is_the_reference(problem):
    options, x, state, lengths, last_only, rng = problem
    compiled, reference = (crnn.RNN(**options, backend=b) for b in ("compiled", "reference"))
    equal(compiled.vector, reference.vector)
    width = options["output_size"] or options["hidden_size"]
    axes = int(x.dtype.kind in "iu") + x.ndim - 1  # of a target
    shape = x.shape[1:axes] if last_only else x.shape[:axes]
    goals = {"softmax": rng.integers(-1, width, shape), "sigmoid": rng.random((*shape, width)),
             "mse": rng.standard_normal((*shape, width))}
    results = []
    for net in (compiled, reference):
        y, last = net(x, state, lengths=lengths)
        taped, taped_last, cache = net.forward(x, state, lengths=lengths)
        arrays = [y, last, taped, taped_last]
        grads = net.backward(cache, np.ones_like(y), np.ones_like(last))
        arrays += [grads.vector, grads.state, np.zeros(0) if grads.x is None else grads.x]
        for loss, targets in goals.items():
            for reduction in ("mean", "sum"):
                how = {"loss": loss, "reduction": reduction, "lengths": lengths}
                value, grads, last = net.loss_and_gradients(x, targets, state, **how)
                plain = net.loss(x, targets, state, **how)[0]
                arrays += [np.float64(value), np.float64(plain), last, grads.vector, grads.state]
                assert net is reference or value == plain
        results.append(arrays)
    eps = np.finfo(options["dtype"]).eps
    for ours, theirs in zip(*results, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        scale = max(1.0, np.abs(theirs).max(initial=0))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2000 * eps * scale)


class History(RuleBasedStateMachine):
    """A network that lives through anything, beside a plain model of it in double precision."""

    sizes = (3, 4, 2)

    @initialize(
        backend=st.sampled_from(["compiled", "reference"]), readout=st.booleans(),
        relu=st.booleans(), dtype=st.sampled_from(["float32", "float64"]),
        seed=st.integers(0, 1000),
    )
    def create(self, backend, readout, relu, dtype, seed):
        inputs, hidden, outputs = self.sizes
        self.net = crnn.RNN(
            inputs, hidden, outputs if readout else None, nonlinearity="relu" if relu else "tanh",
            dtype=dtype, seed=seed, backend=backend,
        )
        self.backend, self.f = backend, (lambda a: np.maximum(a, 0)) if relu else np.tanh
        self.tolerance = 5e-5 if dtype == "float32" else 1e-10
        self.rng = np.random.default_rng(seed)
        self.h, self.batch = np.zeros((1, hidden)), None
        self.vector = self.net.vector.astype(float)
        self.largest = 4.0  # of all numbers so far: what float32 may lose grows with it
        self.others = []  # streams and networks left behind, with what they must still be

    def step_of(self, x, h):
        inputs, hidden, outputs = self.sizes
        ends = np.cumsum([inputs * hidden, hidden * hidden, hidden, hidden * outputs])
        W_xh, W_hh, b_h, W_hy, b_y = np.split(self.vector, ends)
        W_xh, W_hh = W_xh.reshape(inputs, hidden), W_hh.reshape(hidden, hidden)
        h = self.f(x @ W_xh + h @ W_hh + b_h)
        self.largest = max(self.largest, np.abs(h).max(initial=0))
        return h if not W_hy.size else h @ W_hy.reshape(hidden, outputs) + b_y, h

    def close(self, actual, desired):
        np.testing.assert_allclose(
            actual, np.reshape(desired, actual.shape), rtol=0, atol=self.tolerance * self.largest
        )

    def numbers(self, *shape):
        return self.rng.integers(-8, 9, shape) / 8

    @property
    def each(self):
        return () if self.batch is None else (self.batch,)

    @rule(tokens=st.booleans(), has_out=st.booleans())
    def step(self, tokens, has_out):
        if tokens:
            x = self.rng.integers(0, self.sizes[0], self.each)
            rows = np.eye(self.sizes[0])[x]
        else:
            x = rows = self.numbers(*self.each, self.sizes[0])
        y, self.h = self.step_of(rows, self.h)
        width = y.shape[-1]
        out = np.empty((*self.each, width), self.net.dtype) if has_out else None
        result = self.net.step(x, out)
        assert out is None or result is out
        self.close(result, y)

    @rule(batch=st.none() | st.integers(0, 3))
    def reset(self, batch):
        self.net.reset(batch)
        self.batch, self.h = batch, np.zeros((1 if batch is None else batch, self.sizes[1]))

    @rule(batch=st.none() | st.integers(1, 3))
    def set_state(self, batch):
        self.batch = batch
        value = self.numbers(1, *self.each, self.sizes[1])
        self.net.state = value
        self.h = value.reshape(-1, self.sizes[1]).copy()
        value[...] = 9

    @rule(whole=st.booleans())
    def set_parameters(self, whole):
        if whole:
            self.vector = self.numbers(self.vector.size) / 2
            self.net.vector = self.vector
        else:
            name = self.rng.choice(list(self.net.parameters))
            self.net.parameters[name] = self.numbers(*self.net.parameters[name].shape) / 2
            self.vector = self.net.vector.astype(float)

    @rule(way=st.sampled_from(["copy", "file"]))
    def replace_the_network(self, way):
        old = self.net
        if way == "copy":
            self.net = old.copy()
        else:
            with tempfile.TemporaryDirectory() as folder:
                old.save(Path(folder) / "net")
                self.net = crnn.load(Path(folder) / "net", backend=self.backend)
            self.net.state = old.state  # which is not in the file
        self.others.append((old, old.state))

    @rule()
    def leave_a_stream(self):
        stream = self.net.stream(self.batch)
        x = self.numbers(*self.each, self.sizes[0])
        self.close(stream.step(x), self.step_of(x, np.zeros_like(self.h))[0])
        self.others.append((stream, stream.state))

    @rule(steps=st.integers(0, 5))
    def run_a_sequence(self, steps):
        x = self.numbers(steps, *self.each, self.sizes[0])
        state = self.numbers(1, *self.each, self.sizes[1])
        y, last = self.net(x, state)
        h = state.reshape(-1, self.sizes[1])
        for t in range(steps):
            wanted, h = self.step_of(x[t], h)
            self.close(y[t], wanted)
        self.close(last, h)

    @precondition(lambda self: self.batch != 0)
    @rule(bad=st.sampled_from(["features", "token", "kind", "out", "both", "state", "vector"]))
    def make_a_mistake(self, bad):
        net, (inputs, hidden, _), each = self.net, self.sizes, self.each
        mistakes = {
            "features": lambda: net.step(np.zeros((*each, inputs + 1))),
            "token": lambda: net.step(np.full(each, inputs)),
            "kind": lambda: net.step("x"),
            "out": lambda: net.step(np.zeros((*each, inputs)), np.zeros((*each, 7), net.dtype)),
            "both": lambda: net.step(np.zeros((5, inputs)), np.zeros(1)),
            "state": lambda: setattr(net, "state", np.zeros((2, *each, hidden))),
            "vector": lambda: setattr(net, "vector", net.vector[1:]),
        }
        before = net.vector.copy()
        with pytest.raises((TypeError, ValueError, IndexError)):
            mistakes[bad]()
        equal(net.vector, before)

    @invariant()
    def nothing_else_has_changed(self):
        if hasattr(self, "net"):
            assert self.net.state.shape == (1, *self.each, self.sizes[1])
            self.close(self.net.state, self.h)
            self.close(self.net.vector, self.vector)
            for other, state in self.others:
                equal(other.state, state)


@no_backend
class TestHistory(History.TestCase):
    settings = settings(
        deadline=None, max_examples=80, stateful_step_count=40, database=None
    )
