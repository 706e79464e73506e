"""A table that is folded into the layer above gives the bits of a network that multiplies its rows.

`net.forward` keeps a tape and never folds: it is what passes and steps without one are held to.
"""

import gc
import itertools
import warnings
import weakref

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, each_dtype, each_instruction_set, kernels_of, network_on
from layer_networks import flat

import crnn
from crnn.engine import folding
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding
from crnn.text import Vocabulary, sample, sample_many

pytestmark = pytest.mark.no_backend

TOKENS, O = 23, 3  # noqa: E741
ABOVE = {  # layers above a table of 7 or 130 features: its W_xh in two halves, or in one
    "rnn": [RNN(33), Dense(O)],
    "gru": [GRU(17), Dense(O)],
    "gru, reset before": [GRU(40, reset_after=False), LSTM(5)],
    "lstm, bare": [LSTM(35)],
    "lstm-all": [LSTM(9, peepholes=True, coupled=True, clip=1.2), Dense(O, "softmax")],
    "both ways": [GRU(19, bidirectional=True), LSTM(5, bidirectional=True), Dense(O)],
    "dense": [Dense(65, "tanh"), LSTM(5), Dense(O)],
}
each_above = pytest.mark.parametrize("above", ABOVE)
one_way = pytest.mark.parametrize("above", [each for each in ABOVE if each != "both ways"])
SHAPES = [(1, 1), (3, 1), (7, 5), (30, 2), (1, 64)]


def build(above, isa=INSTRUCTION_SETS[0], dtype="float32", features=7, **options):
    layers = [Embedding(features), *ABOVE[above]]
    net = network_on(kernels_of(isa, dtype), TOKENS, layers, cell="Sequential", dtype=dtype,
                     backend="compiled", **options)
    net.vector = parameters(net)
    return net


def parameters(net, seed=0):
    """Return random ones, some of them -0.0."""
    vector = np.random.default_rng(seed).uniform(-0.6, 0.6, net.num_parameters)
    vector[::11] = -0.0
    return vector


def inferred(net, x, **options):
    return net(x, last=False, **options)[0]


def read_all(net):
    """Have a network read as many tokens as its table has rows."""
    inferred(net, np.zeros((TOKENS, 1), int))


def stepped(net, x):
    stream = net.stream(x.shape[1])
    return np.stack([stream.step(tokens) for tokens in x])


def same(a, b):
    np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))  # a NaN and a sign, too


@pytest.fixture
def folded(monkeypatch):
    """Count how often rows are multiplied."""
    shapes = []
    fold = folding.Folding.__init__

    def counted(self, kernels, weights):
        fold(self, kernels, weights)
        inner = self._fold

        def noted(rows, *rest):
            shapes.append(rows.shape)
            inner(rows, *rest)

        self._fold = noted

    monkeypatch.setattr(folding.Folding, "__init__", counted)
    return shapes


@each_above
@each_dtype
@each_instruction_set
def test_passes_have_the_bits_of_forward(rng, folded, above, dtype, isa):
    for features in (7, 130):
        net = build(above, isa, dtype, features)
        for (T, B), _ in itertools.product(SHAPES, range(2)):
            x = rng.integers(0, TOKENS, (T, B))
            lengths = rng.integers(0, T + 1, B)
            for given in ({}, {"lengths": lengths}):
                same(inferred(net, x, **given), net.forward(x, **given)[0])
            read_all(net)
            net.vector = parameters(net, T * B)
    assert len(folded) == 4 * len(SHAPES) * (2 if above == "both ways" else 1)


@one_way
@each_dtype
@each_instruction_set
def test_steps_have_the_bits_of_forward(rng, folded, above, dtype, isa):
    net = build(above, isa, dtype)
    for B in (1, 3):
        stream = net.stream(B)
        x = rng.integers(0, TOKENS, (2 * TOKENS, B))
        expected = net.forward(x)[0]
        same(np.stack([stream.step(tokens) for tokens in x]), expected)
        same(stepped(net, x), expected)
        stream.reset(B)
        same(stream.run(x), expected)
        assert len(folded) == 1


@pytest.mark.usefixtures("small_work_is_split")
@each_above
def test_any_number_of_threads(rng, above):
    net = build(above)
    for T, B in ((200, 1), (30, 3), (5, 17)):
        x, lengths = rng.integers(0, TOKENS, (T, B)), rng.integers(0, T + 1, B)
        expected = net.forward(x, lengths=lengths)[0]
        for threads in (1, 2, 3):
            crnn.set_num_threads(threads)
            read_all(net)
            same(inferred(net, x, lengths=lengths), expected)


@pytest.mark.parametrize("form", ["bf16", "int8"])
@pytest.mark.parametrize("both", [False, True])
def test_weights_of_fewer_bits(rng, folded, form, both):
    layers = [Embedding(160), GRU(96, bidirectional=both), Dense(O)]
    net = crnn.Sequential(TOKENS, layers, backend="compiled", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is too small to gain
        net = net.compress(form)
    x = rng.integers(0, TOKENS, (5, 4))
    before = inferred(net, x)
    assert folded == []
    read_all(net)
    assert len(folded) == 1 + both
    same(inferred(net, x), before)
    if not both:
        same(stepped(net, x), before)


@each_above
@each_dtype
def test_losses_and_last_outputs_too(rng, above, dtype):
    net = build(above, dtype=dtype)
    x, lengths = rng.integers(0, TOKENS, (5, 4)), np.array([5, 3, 0, 4])
    targets = rng.random((5, 4, net.engine.output_size))

    for ask in (
        lambda: np.array([net.loss(x, targets, loss="mse", lengths=lengths)[0]]),
        lambda: net.loss(x, targets, loss="mse", lengths=lengths)[1],
        lambda: net(x, last=True)[0],
        lambda: net(x, lengths=lengths, last=True)[0],
        lambda: net(x, lengths=lengths)[1],
    ):
        net.vector = net.vector  # nothing has been read since
        before = ask()
        assert net.engine.weights.folded(0) is None
        read_all(net)
        after = ask()
        assert net.engine.weights.folded(0) is not None
        for ours, wanted in zip(flat(after), flat(before), strict=True):
            same(ours, wanted)


def test_dropout_is_of_training(rng, folded):
    net = crnn.Sequential(TOKENS, [Embedding(7), Dropout(0.9), GRU(17), Dense(O)],
                          backend="compiled", seed=0)
    x = rng.integers(0, TOKENS, (TOKENS // 2, 1))
    before = inferred(net, x)
    read_all(net)
    same(inferred(net, x), before)
    assert len(folded) == 1


def test_tokens_that_are_no_steps(rng, folded):
    net = crnn.Sequential(TOKENS, [Embedding(7, mask_zero=True), LSTM(9), Dense(O)],
                          backend="compiled", seed=0)
    x = rng.integers(0, TOKENS, (30, 4))
    x[rng.random(x.shape) < 0.4] = 0
    expected = net.forward(x)[0]
    for _ in range(2):
        same(inferred(net, x), expected)
    assert len(folded) == 1


# --- what changes ------------------------------------------------------------------------------


@one_way
def test_every_change_is_followed(rng, above):
    net = build(above)
    x, optimizer = rng.integers(0, TOKENS, (TOKENS, 2)), crnn.Adam(0.01)
    stream, block = net.stream(2), net.stream(2)
    targets = rng.random((TOKENS, 2, net.engine.output_size))
    first = next(name for name in net.parameters if name.startswith("b_h"))

    def change(number):
        if number == 0:
            optimizer.step(net, net.loss_and_gradients(x, targets, loss="mse")[1])
        elif number == 1:
            net.parameters[first] = net.parameters[first] + 0.25
        elif number == 2:
            net.parameters["W_xh_l0"] = -net.parameters["W_xh_l0"]
        else:
            net.vector = parameters(net, 7)

    for number in (0, 1, 2, 3, 0):
        change(number)
        expected = net.forward(x)[0]
        for each in (stream, block):
            each.reset(2)
        same(np.stack([stream.step(tokens) for tokens in x]), expected)
        same(block.run(x), expected)
        for _ in range(2):
            same(inferred(net, x), expected)
            same(inferred(net, x[:1]), expected[:1])
        same(stepped(net, x), expected)


def test_what_changes_while_rows_are_multiplied_is_not_missed(rng):
    net = build("rnn")
    x, left = rng.integers(0, TOKENS, (TOKENS, 2)), []
    fold = net.engine.weights._folding._fold

    def fold_and_change(*arguments):
        fold(*arguments)
        if left:  # as another thread might
            net.vector = left.pop()

    net.engine.weights._folding._fold = fold_and_change
    for ask in (inferred, stepped):
        for seed in range(3):
            left[:] = [parameters(net, seed + 10)]
            net.vector = parameters(net, seed)
            for _ in range(3):
                ask(net, x)
            assert not left
            same(ask(net, x), net.forward(x)[0])


def test_an_older_count_leaves_what_a_newer_one_has_made(rng):
    functions = kernels_of(INSTRUCTION_SETS[0], "float64")
    table, W, b = rng.random((5, 3)), rng.random((3, 8)), rng.random(8)
    packed, rows, stamp = np.zeros((3, 16)), np.zeros((5, 8)), np.array([-1])
    functions.pack(packed, W)
    functions.fold(rows, table, packed, b, stamp, 4)
    np.testing.assert_allclose(rows, table @ W + b, rtol=1e-14)
    functions.fold(rows, 2 * table, packed, b, stamp, 4)
    functions.fold(rows, 2 * table, packed, b, stamp, 3)
    np.testing.assert_allclose(rows, table @ W + b, rtol=1e-14)
    functions.fold(rows, 2 * table, packed, b, stamp, 5)
    np.testing.assert_allclose(rows, 2 * table @ W + b, rtol=1e-14)
    assert stamp.item() == 5


# --- when --------------------------------------------------------------------------------------


def test_a_table_is_folded_once_as_many_tokens_are_read_as_it_has_rows(rng, folded):
    net = build("rnn")
    for _ in range(2):
        for _ in range(TOKENS - 1):
            inferred(net, rng.integers(0, TOKENS, (1, 1)))
        assert folded == []
        for _ in range(3):
            inferred(net, rng.integers(0, TOKENS, (1, 1)))
        assert folded == [(TOKENS, 33)]
        folded.clear()
        net.vector = parameters(net)


def test_long_blocks_and_texts_fold_at_once(rng, folded):
    layers = [Embedding(7), GRU(9), Dense(TOKENS)]
    vocabulary = Vocabulary([str(number) for number in range(TOKENS)])
    for ask in (
        lambda net, n: net.stream().run(rng.integers(0, TOKENS, n)),
        lambda net, n: sample(net, vocabulary, n),
        lambda net, n: sample_many(net, vocabulary, 1, [[]] * n),
    ):
        net = crnn.Sequential(TOKENS, layers, backend="compiled", seed=0)
        ask(net, TOKENS - 1)
        assert folded == []
        ask(net, TOKENS)
        assert len(folded) == 1
        folded.clear()
    stream = net.stream()
    for _ in range(2):
        net.vector = net.vector
        stream.run(np.zeros(TOKENS, int))
        assert len(folded) == 1
        folded.clear()


def test_training_from_step_to_step_folds_nothing(rng, folded):
    net, optimizer = build("rnn"), crnn.SGD(0.01)
    stream = net.stream()
    for _ in range(2 * TOKENS):
        x = rng.integers(0, TOKENS, 1)
        optimizer.step(net, net.loss_and_gradients(x, rng.random((1, O)), loss="mse")[1])
        stream.step(x[0])
        inferred(net, x)
    assert folded == []


def test_streams_that_begin_later_fold_nothing_again(folded):
    net = build("rnn")
    read_all(net)
    for _ in range(3):
        net.stream().step(np.array(0))
    assert len(folded) == 1


@pytest.mark.parametrize(("features", "most", "folds"), [
    (48, TOKENS * 33, True), (48, TOKENS * 33 - 1, False), (47, TOKENS * 33, False)])
def test_what_is_folded_is_not_too_large(rng, monkeypatch, folded, features, most, folds):
    monkeypatch.setattr(folding, "FOLDED_NUMBERS", most)
    monkeypatch.setattr(folding, "FEW_NUMBERS", 0)
    net = build("rnn", features=features)
    read_all(net)
    assert folded == [(TOKENS, 33)] * folds
    x = rng.integers(0, TOKENS, (4, 2))
    same(inferred(net, x), net.forward(x)[0])


@pytest.mark.parametrize("layers", [[Embedding(5), Activation("tanh"), GRU(4)], [RNN(4), Dense(O)]])
def test_there_must_be_a_table_and_weights_above(rng, folded, layers):
    net = crnn.Sequential(TOKENS, layers, backend="compiled", seed=0)
    x = rng.integers(0, TOKENS, (TOKENS, 2))
    for _ in range(2):
        same(inferred(net, x), net.forward(x)[0])
    assert folded == []


def test_memory_is_given_back_and_streams_keep_theirs(rng):
    net = build("rnn")
    read_all(net)
    memory = weakref.ref(net.engine.weights.folded(0).layers[0].W_xh)
    x = rng.integers(0, TOKENS, (TOKENS, 1))
    stream, expected = net.stream(1), net.forward(x)[0]
    same(stream.run(x), expected)
    net.engine.free_memory()
    gc.collect()
    assert memory() is not None
    stream.reset(1)
    same(stream.run(x), expected)
    same(inferred(net, x), expected)
    net.vector = parameters(net, 3)
    for _ in range(3):
        stream.reset(1)
        same(stream.run(x), net.forward(x)[0])
    gc.collect()
    assert memory() is None


def test_who_steps_without_the_interpreter_finds_it_folded(rng, folded):
    net = build("gru")
    stream = net.stream()
    for _ in range(2):
        stream.real_time()
        assert len(folded) == 1
        x = rng.integers(0, TOKENS, 3)
        stream.reset()
        same(np.stack([stream.step(token) for token in x]), net.forward(x)[0])
        net.vector = parameters(net, 4)
        folded.clear()


def test_many_streams_at_once(rng):
    net = build("gru, reset before")
    x = rng.integers(0, TOKENS, (2 * TOKENS, 3))
    streams = [net.stream() for _ in range(3)]
    y = np.stack([crnn.step_many(streams, tokens) for tokens in x])
    same(y, net.forward(x)[0])
