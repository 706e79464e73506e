"""Texts that a network writes: compiled, symbol by symbol in NumPy, one and many at a time."""

import itertools
import math
import os
import signal
import threading

import numpy as np
import pytest

import crnn
from crnn.engine.sampling import Sampler
from crnn.reference.sampling import choose
from crnn.text import Vocabulary, generate, generate_lines, sample, sample_many

no_backend = pytest.mark.no_backend
OPTIONS = [
    {}, {"temperature": 0.3}, {"temperature": 3.0}, {"temperature": 0}, {"temperature": 1e-300},
    {"temperature": 1e300}, {"temperature": 1.7e308}, {"top_k": 1}, {"top_k": 7},
    {"top_k": 10**9}, {"top_p": 1e-300}, {"top_p": 0.4}, {"top_p": 0.9}, {"top_p": 1.0},
    {"temperature": 0.7, "top_k": 9, "top_p": 0.8},
]
ONE_LIKELIEST = [{"temperature": 0}, {"temperature": 1e-300}, {"top_k": 1}, {"top_p": 1e-300}]


def symbols_of(count):
    return "".join(chr(0x4E00 + number) for number in range(count))


def network(count, cell=crnn.GRU, *, hidden=11, size=3.0, seed=3, **options):
    """Return a network that writes, with large random weights, and its vocabulary."""
    net = cell(count, hidden, count, seed=seed, **options)
    net.vector = net.vector * np.float32(size)
    return net, Vocabulary(symbols_of(count))


def written_by_choice(
    net, vocabulary, length, prime, seed, temperature=1.0, top_k=None, top_p=None,
):
    """Return a text by sorting and NumPy's `Generator.choice`."""
    generator, stream, text = np.random.default_rng(seed), net.stream(), []
    for token in vocabulary.encode(prime):
        logits = stream.step(token)
    for _ in range(length):
        order = np.argsort(-logits, kind="stable")[:top_k]
        if temperature == 0:
            token = order[0]
        else:
            with np.errstate(over="ignore"):
                below = (logits[order].astype(np.float64) - logits[order[0]]) / temperature
            p = np.exp(below) / np.exp(below).sum()
            if top_p is not None:
                p = p[np.cumsum(p) - p < top_p]
            token = order[generator.choice(len(p), p=p / p.sum())]
        text.append(vocabulary.symbols[token])
        logits = stream.step(int(token))
    return "".join(text)


# The same as in NumPy


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("count", "length"), [(2, 300), (9, 300), (65, 300), (700, 100)])
def test_texts_are_those_of_numpys_choice(count, length, options):
    net, vocabulary = network(count)
    prime = vocabulary.symbols[:2]
    wanted = written_by_choice(net, vocabulary, length, prime, 5, **options)
    assert sample(net, vocabulary, length, prime=prime, seed=5, **options) == wanted
    assert options in ONE_LIKELIEST or count == 2 or len(set(wanted)) > 1


@no_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [crnn.RNN, crnn.GRU, crnn.LSTM])
@pytest.mark.parametrize(("count", "length"), [(1, 9), (2, 1000), (40, 1000), (2000, 60)])
def test_the_compiled_loop_chooses_as_the_textbook_of_the_same_outputs(count, length, cell, dtype):
    net, _ = network(count, cell, dtype=dtype, num_layers=2)
    uniforms = np.random.default_rng(1).random((3, length))
    uniforms[:, :4] = 0, 1 - 1e-9, 0.5, 1e-300
    for options in OPTIONS:
        how = [options.get("temperature", 1.0), min(options.get("top_k", count), count),
               options.get("top_p")]
        found = []
        for sampler in (net.engine.sampler(3, *how), Sampler(net.engine, 3, *how)):
            tokens = np.full((3, length), -1)
            sampler.reset([0, count - 1, 0])
            for part in np.array_split(np.arange(length), 3):
                some = np.empty((3, len(part)), np.intp)
                assert sampler.write(some, np.ascontiguousarray(uniforms[:, part]), -1) == len(part)
                tokens[:, part] = some
            found.append(tokens)
        assert np.array_equal(*found), options


def known(logits, dtype):
    """Return a network whose outputs are these, whatever comes in."""
    net = crnn.RNN(len(logits), 1, len(logits), dtype=dtype)
    net.vector = np.zeros(net.num_parameters)
    net.parameters["b_y"] = np.asarray(logits, dtype)
    return net


HUGE = 1e30
ROWS = {
    "equal": np.zeros(40), "two equal": [1.0, 1.0], "many equal, one above": [0.0] * 30 + [2.0],
    "many equal, one below": [-0.1] + [0.7] * 37, "zeros of both signs": [0.0, -0.0] * 20,
    "neighbours": 1 + np.arange(40) * np.finfo("f4").eps,
    "denormal": np.arange(60) % 13 * np.finfo("f4").smallest_subnormal,
    "huge": [-HUGE, HUGE, 0, HUGE / 2] * 9, "masked": [-1e9] * 30 + [0.0, 1, 2, 3] * 3,
    "one": [3.0], "rising": np.linspace(-5, 5, 50), "falling": np.linspace(800, -800, 50),
    "largest": [float(np.finfo("f4").max), -float(np.finfo("f4").max)] * 10,
    "least": [-float(np.finfo("f4").max)] * 20,
}


@no_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logits", ROWS.values(), ids=ROWS)
def test_ties_and_extremes_fall_as_in_the_textbook(logits, dtype):
    net, count = known(logits, dtype), len(logits)
    uniforms = np.concatenate([np.arange(20) / 20, np.random.default_rng(2).random(20)])[None]
    for temperature, top_k, top_p in itertools.product(
            (1.0, 0.1, 40.0), {None, 1, (count + 1) // 2}, (None, 0.05, 0.5, 0.75, 1.0)):
        found = []
        for make in (net.engine.sampler, lambda *how: Sampler(net.engine, *how)):
            sampler, tokens = make(1, temperature, top_k, top_p), np.empty((1, 40), np.intp)
            sampler.reset([0])
            sampler.write(tokens, uniforms, -1)
            found.append(tokens)
        assert np.array_equal(*found), (temperature, top_k, top_p)


@no_backend
def test_the_whole_range_of_doubles():
    logits = np.random.default_rng(1).permutation(np.linspace(-1, 1, 40)) * np.finfo("f8").max
    net, uniforms = known(logits, "float64"), np.random.default_rng(2).random((1, 60))
    for how in itertools.product((1.0, 1e300, 1.7e308), (None, 9), (None, 0.5)):
        sampler, tokens = net.engine.sampler(1, *how), np.empty((1, 60), np.intp)
        sampler.reset([0])
        sampler.write(tokens, uniforms, -1)
        with np.errstate(over="ignore"):
            assert tokens[0].tolist() == [choose(logits, each, *how) for each in uniforms[0]]


def test_what_softmax_rounds_to_0_is_still_written():
    logits = np.arange(12) * -30.0
    of_logits, vocabulary = known(logits, "float32"), Vocabulary(symbols_of(12))
    layers = crnn.layers
    net = crnn.Sequential(12, [layers.RNN(1), layers.Dense(12, "softmax")])
    net.vector = of_logits.vector
    masked = crnn.Sequential(
        12, [layers.Embedding(2, mask_zero=True), layers.RNN(1), layers.Dense(12, "softmax")])
    masked.vector = np.zeros(masked.num_parameters)
    masked.parameters["b_y"] = logits
    assert net(np.array([1]))[0][0, -1] == 0
    wanted = sample(of_logits, vocabulary, 300, temperature=200, seed=1)
    assert {*vocabulary.symbols} == {*wanted}
    for each in (net, masked):
        assert sample(each, vocabulary, 300, temperature=200, seed=1) == wanted


def test_shares_of_equal_symbols_are_exact():
    net, vocabulary = known(np.zeros(4), "float32"), Vocabulary("abcd")
    kept = {share: len(set(sample(net, vocabulary, 200, top_p=share, seed=1)))
            for share in (0.25, 0.26, 0.5, 0.51, 0.75, 1.0)}
    assert kept == {0.25: 1, 0.26: 2, 0.5: 2, 0.51: 3, 0.75: 3, 1.0: 4}


@pytest.mark.parametrize("kind", ["softmax", "masked", "embedding", "learned", "bf16"])
def test_any_network_that_writes(kind):
    layers = crnn.layers
    stack = {
        "softmax": [layers.LSTM(7), layers.Dense(12, "softmax")],
        "masked": [layers.Embedding(3, mask_zero=True), layers.GRU(7), layers.Dense(12)],
        "embedding": [layers.Embedding(3), layers.GRU(7), layers.Dense(8, "tanh"),
                      layers.Dense(12)],
        "bf16": [layers.LSTM(80), layers.Dense(12)],
    }.get(kind)
    if kind == "learned":
        net = crnn.LSTM(12, 7, 12, num_layers=2, learn_state=True)
    else:
        net = crnn.Sequential(12, stack, seed=1)
    vocabulary = Vocabulary(symbols_of(12))
    net.vector = np.random.default_rng(4).uniform(-2, 2, net.num_parameters)
    of_logits = net = net.compress("bf16") if kind == "bf16" else net
    if kind == "softmax":
        of_logits = crnn.Sequential(12, [stack[0], layers.Dense(12)], seed=1)
        of_logits.vector = net.vector
    for prime in (vocabulary.symbols[3], vocabulary.symbols[2:9]):
        wanted = written_by_choice(of_logits, vocabulary, 200, prime, 8)
        assert sample(net, vocabulary, 200, prime=prime, seed=8) == wanted
        assert len(set(wanted)) > 3


# Many at a time


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "top_k": 6, "top_p": 0.9}], ids=str)
@pytest.mark.parametrize("cell", [crnn.RNN, crnn.LSTM])
def test_each_of_many_texts_is_as_alone(cell, options, small_work_is_split):
    net, vocabulary = network(23, cell, num_layers=2)
    primes = ["", *(vocabulary.symbols[number % 20 : 21] for number in range(80))]
    alone = [sample(net, vocabulary, 25, prime=prime, seed=[7, number], **options)
             for number, prime in enumerate(primes)]
    for threads in (1, 2, 3):
        crnn.set_num_threads(threads)
        assert sample_many(net, vocabulary, 25, primes, seed=7, **options) == alone
    assert sample_many(net, vocabulary, 25, primes[:3], seed=7, **options) == alone[:3]
    assert len(set(alone)) > 75


def test_many_texts_of_words_and_none():
    words = Vocabulary(["a", "day", "\n"])
    net = known([0.0, 1.0, 0.5], "float32")
    texts = sample_many(net, words, 6, [["a", "day"], [], ["day"]], seed=1)
    assert texts == [sample(net, words, 6, prime=each, seed=[1, number])
                     for number, each in enumerate([["a", "day"], [], ["day"]])]
    assert sample_many(net, words, 0, [["a"], []]) == [[], []]
    assert sample_many(net, words, 5, []) == []
    first, second = sample_many(net, words, 40, [[], []])
    assert first != second


@no_backend
@pytest.mark.parametrize(("arguments", "error", "match"), [
    ((3, "abc"), TypeError, "primes is 'abc'; a list of texts"), ((3, 5), TypeError, "primes is 5"),
    ((-1, ["a"]), ValueError, "length"),
    ((3, ["a", "ax"]), ValueError, r"primes\[1\]: .*'x' \(number 2"),
    ((3, ["a", 5]), TypeError, r"primes\[1\]: text is 5"),
], ids=str)
def test_sample_many_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        sample_many(known(np.zeros(3), "float32"), Vocabulary("abc"), *arguments)
    with pytest.raises((TypeError, ValueError), match="seed"):
        sample_many(known(np.zeros(3), "float32"), Vocabulary("abc"), 3, ["a"], seed=[1])


# What texts go on from


def test_a_prime_may_be_any_sequence_of_symbols():
    net, vocabulary = network(4)
    vocabulary = Vocabulary("\nabc")
    wanted = sample(net, vocabulary, 20, prime="abc", seed=1)
    line = next(generate_lines(net, vocabulary, prime="abc", seed=1))
    assert line.startswith("abc")
    for make in (list, tuple, iter, lambda text: np.array([*text])):
        assert sample(net, vocabulary, 20, prime=make("abc"), seed=1) == wanted
        assert sample_many(net, vocabulary, 9, [make("abc")], seed=1) == (
            sample_many(net, vocabulary, 9, ["abc"], seed=1))
        assert next(generate_lines(net, vocabulary, prime=make("abc"), seed=1)) == line
    for none in ("", None, [], np.array([], str)):
        text = sample(net, vocabulary, 20, prime=none, seed=1)
        assert text == sample(net, vocabulary, 20, seed=1)
        assert next(generate_lines(net, vocabulary, prime=none, seed=1)) == (
            next(generate_lines(net, vocabulary, seed=1)))


@pytest.mark.parametrize(("options", "error", "match"), [
    ({"prime": 5}, TypeError, "prime: text is 5"), ({"prime": 0}, TypeError, "prime: text is 0"),
    ({"prime": "abx"}, ValueError, r"prime: the character 'x' \(number 3"),
    ({"seed": "one"}, TypeError, "seed is 'one': "), ({"seed": -1}, ValueError, "seed is -1: "),
], ids=str)
def test_what_writes_refuses(options, error, match):
    net, vocabulary = known(np.zeros(4), "float32"), Vocabulary("\nabc")
    for call in (generate, generate_lines, lambda *given, **rest: sample(*given, 3, **rest)):
        with pytest.raises(error, match=match):
            call(net, vocabulary, **options)
    with pytest.raises(ValueError, match=r"the prime has '\\n' in it"):
        generate_lines(net, vocabulary, prime=iter("a\n"))


def test_a_network_that_takes_no_tokens_writes_nothing():
    layers = crnn.layers
    for first, options in ((layers.Masking(), {}), (layers.RNN(3), {"skip": True})):
        net = crnn.Sequential(3, [first, layers.GRU(4), layers.Dense(3)], **options)
        with pytest.raises(TypeError, match="floats are wanted"):
            generate(net, Vocabulary("abc"))


# One after another


def test_lines_are_those_of_one_stream_of_random_numbers(rng):
    net, vocabulary = network(9)
    vocabulary = Vocabulary("\nabcdefgh")
    for prime, longest in (("", 1000), ("ab", 1000), ("", 5), ("h", 1), ("", 0)):
        generator, wanted = np.random.default_rng(6), []
        for _ in range(30):
            stream, line = net.stream(), list(prime)
            for token in vocabulary.encode("\n" + prime):
                logits = stream.step(token)
            for _ in range(longest):
                order = np.argsort(-logits, kind="stable")
                p = np.exp(logits[order].astype(np.float64) - logits[order[0]])
                token = int(order[generator.choice(9, p=p / p.sum())])
                if token == 0:
                    break
                line.append(vocabulary.symbols[token])
                logits = stream.step(token)
            wanted.append("".join(line))
        lines = generate_lines(net, vocabulary, prime=prime, longest=longest, seed=6)
        assert list(itertools.islice(lines, 30)) == wanted


def test_a_generator_that_others_draw_from_is_left_where_the_last_symbol_was():
    net, vocabulary = network(9)
    whole = sample(net, vocabulary, 30, seed=4)
    generator = np.random.default_rng(4)
    assert "".join(itertools.islice(generate(net, vocabulary, seed=generator), 12)) == whole[:12]
    assert generator.random() == np.random.default_rng(4).random(13)[-1]
    generator = np.random.default_rng(4)
    assert sample(net, vocabulary, 30, seed=generator) == whole
    assert generator.random() == np.random.default_rng(4).random(31)[-1]


def test_long_texts_are_those_of_any_pieces(monkeypatch):
    net, vocabulary = network(30)
    whole = sample(net, vocabulary, 3000, seed=4)
    assert "".join(itertools.islice(generate(net, vocabulary, seed=4), 3000)) == whole
    monkeypatch.setattr("crnn.text.writer.AT_ONCE", 7)
    assert sample(net, vocabulary, 3000, seed=4) == whole
    assert sample_many(net, vocabulary, 20, ["", ""], seed=4) == [
        sample(net, vocabulary, 20, seed=[4, number]) for number in range(2)]


def test_what_is_trained_meanwhile_counts_soon():
    net, vocabulary = known([5.0, 0, 0], "float32"), Vocabulary("abc")
    symbols = generate(net, vocabulary, temperature=0)
    assert next(symbols) == "a"
    net.parameters["b_y"] = [0, 5, 0]
    assert "".join(itertools.islice(symbols, 64, 70)) == "bbbbbb"


def test_symbols_before_outputs_that_are_not_finite_are_written():
    net = crnn.RNN(2, 1, 2, nonlinearity="relu")
    net.vector = np.zeros(net.num_parameters)
    net.parameters["W_xh_l0"], net.parameters["W_hh_l0"] = [[1.0], [1.0]], [[1e6]]
    net.parameters["W_hy"] = [[1.0, 0.0]]
    vocabulary, stream, finite = Vocabulary("ab"), net.stream(), 0
    with np.errstate(over="ignore"):
        while np.isfinite(stream.step(0)).all():
            finite += 1
    assert 3 < finite < 20
    symbols = generate(net, vocabulary, temperature=0)
    with np.errstate(over="ignore"):
        assert [next(symbols) for _ in range(finite)] == ["a"] * finite
        with pytest.raises(FloatingPointError, match="not finite"):
            next(symbols)
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="not finite"):
        sample_many(net, vocabulary, 50, ["", ""])
    assert sample(net, vocabulary, finite, temperature=0) == "a" * finite


def test_a_bidirectional_network_writes_nothing():
    net = crnn.GRU(3, 4, 3, bidirectional=True)
    with pytest.raises(AttributeError, match="bidirectional network has no steps"):
        generate(net, Vocabulary("abc"))


@no_backend
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_ctrl_c_ends_it_soon():
    net, vocabulary = network(65, hidden=64)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sample_many(net, vocabulary, 10**6, [""] * 8)
    timer.join()
    assert math.isfinite(net.vector.sum())
    assert len(sample(net, vocabulary, 10)) == 10
