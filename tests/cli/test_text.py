"""Characters: vocabulary, streams, what is sampled and how likely, model files."""

import itertools
import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crnn
from crnn import text
from crnn.files import container
from crnn.text import Vocabulary, generate, sample, streams

no_backend = pytest.mark.no_backend
ANY_TEXT = st.text(st.characters(), min_size=1)  # whole Unicode, lone surrogates too
LOGITS = np.log([0.4, 0.3, 0.15, 0.1, 0.05])  # of "abcde", likeliest first
PROBABILITIES = dict(zip("abcde", np.exp(LOGITS), strict=True))


def known(logits=LOGITS, dtype="float64"):
    """A network whose outputs are these numbers, whatever comes in."""
    net = crnn.RNN(len(logits), 2, len(logits), dtype=dtype)
    net.vector = np.zeros(net.num_parameters)
    net.parameters["b_y"] = np.asarray(logits, dtype)
    return net


def write(net, length=2000, **options):
    return sample(net, Vocabulary("abcde"[: net.input_size]), length, **({"seed": 1} | options))


# Vocabulary


@no_backend
def test_vocabulary():
    vocabulary = Vocabulary.of("hello, world")
    assert vocabulary.symbols == " ,dehlorw"
    assert len(vocabulary) == 9
    assert vocabulary.encode("low").tolist() == [5, 6, 8]
    assert vocabulary.decode([5, 6, 8]) == "low"


@no_backend
@settings(deadline=None)
@given(ANY_TEXT)
def test_encode_and_decode_are_inverse(content):
    vocabulary = Vocabulary.of(content)
    tokens = vocabulary.encode(content)
    assert (tokens.dtype, tokens.shape) == (np.intp, (len(content),))
    assert vocabulary.decode(tokens) == content
    assert list(vocabulary.symbols) == sorted(set(content))
    assert vocabulary == Vocabulary(vocabulary.symbols)
    assert hash(vocabulary) == hash(Vocabulary(vocabulary.symbols))


@no_backend
@pytest.mark.parametrize(("make", "error", "match"), [
    pytest.param(lambda: Vocabulary(""), ValueError, "at least one", id="empty"),
    pytest.param(lambda: Vocabulary.of(""), ValueError, "at least one", id="of nothing"),
    pytest.param(lambda: Vocabulary("abca"), ValueError, "once", id="twice"),
    pytest.param(lambda: Vocabulary([]), ValueError, "at least one", id="empty list"),
    pytest.param(lambda: Vocabulary(["a", "b", "a"]), ValueError, "once", id="word twice"),
    pytest.param(lambda: Vocabulary(["a", ""]), ValueError, "none is empty", id="empty word"),
    pytest.param(lambda: Vocabulary(["a", 1]), TypeError, "a symbol is 1", id="number"),
    pytest.param(lambda: Vocabulary(["a", "b"]).encode("ab"), TypeError, "list", id="str"),
    pytest.param(lambda: Vocabulary(["a", "b"]).encode(["b", "c"]), ValueError,
                 r"word 'c' \(number 2 of the text\).* 2 that", id="unknown word"),
    pytest.param(lambda: Vocabulary("".join(map(chr, range(300)))).encode("a", dtype=np.uint8),
                 ValueError, "room for 300 numbers are wanted, such as uint16", id="small dtype"),
    pytest.param(lambda: Vocabulary("ab").encode("a", dtype=float), ValueError, "float64",
                 id="floats"),
    pytest.param(lambda: Vocabulary(["a"]).encode([["a"]]), TypeError, r"\['a'\] in it",
                 id="a list of lists"),
    pytest.param(lambda: Vocabulary.of([["a", "b"], ["c"]]), TypeError,
                 r"\['a', 'b'\] in it.*one list of all their words", id="of texts of words"),
    pytest.param(lambda: Vocabulary.of(3), TypeError, "text is 3", id="of a number"),
    pytest.param(lambda: text.lines(["ab"], Vocabulary("\nab")), TypeError, r"text is \['ab'\]",
                 id="a list of lines"),
    pytest.param(lambda: text.lines("ab", "\nab"), TypeError, "vocabulary is", id="lines of str"),
    pytest.param(lambda: text.lines("ab\nb", Vocabulary("ab")), ValueError,
                 r"no '\\n', which begins and ends lines", id="no end of a line"),
    pytest.param(lambda: Vocabulary("ab").encode(3), TypeError, "text is 3", id="no text"),
    pytest.param(lambda: Vocabulary("ab").encode(["ab"]), ValueError, "'ab'", id="two at once"),
    pytest.param(lambda: Vocabulary(b"ab"), TypeError, "bytes", id="bytes"),
    pytest.param(lambda: Vocabulary(None), TypeError, "NoneType", id="None"),
    pytest.param(lambda: Vocabulary("abc").encode("cabxa"), ValueError,
                 r"'x' \(number 4 of the text\).* 3 that", id="unknown character"),
    pytest.param(lambda: Vocabulary("abc").decode([0, 3]), IndexError, "token 3", id="too large"),
    pytest.param(lambda: Vocabulary("abc").decode([-1]), IndexError, "token -1", id="negative"),
    pytest.param(lambda: Vocabulary("abc").decode([0.0]), TypeError, "integers", id="floats"),
    pytest.param(lambda: Vocabulary("abc").decode("ab"), TypeError, "numbers", id="text"),
])
def test_vocabulary_refuses(make, error, match):
    with pytest.raises(error, match=match):
        make()


@no_backend
def test_vocabulary_of_words():
    text = ["the", "cat", "sat", "on", "the", "mat"]
    vocabulary = Vocabulary.of(text)
    assert vocabulary.symbols == ("cat", "mat", "on", "sat", "the")
    tokens = vocabulary.encode(text)
    assert (tokens.tolist(), tokens.dtype) == ([4, 0, 3, 2, 4, 1], np.intp)
    assert vocabulary.decode(tokens) == text
    assert vocabulary.decode([]) == []
    assert vocabulary.encode(["mat", "dog", "cat", "dog"], skip_unknown=True).tolist() == [1, 0]
    assert vocabulary.unknown(["mat", "dog", "cat", "dog", "cow"]) == {"dog": 2, "cow": 1}
    assert repr(vocabulary) == "Vocabulary(['cat', 'mat', 'on', 'sat', 'the'])"
    assert Vocabulary(list(vocabulary.symbols)) == vocabulary
    assert Vocabulary(["a", "b"]) != Vocabulary("ab")  # their texts are of other kinds


@no_backend
def test_what_is_unknown_can_be_skipped():
    """In a text of more than one block, too."""
    content = "abcab" * 40_000
    tokens = Vocabulary("ba").encode(content, skip_unknown=True)
    assert np.array_equal(tokens, np.tile([1, 0, 1, 0], 40_000))
    assert Vocabulary("ba").unknown(content) == {"c": 40_000}
    with pytest.raises(ValueError, match=r"'c' \(number 3 of"):
        Vocabulary("ba").encode(content)
    with pytest.raises(ValueError, match=r"'x' \(number 200001 of"):
        Vocabulary("bac").encode(content + "x")


@no_backend
def test_vocabularies_compare_by_their_characters():
    assert Vocabulary("ab") != Vocabulary("ba")
    assert Vocabulary("ab") != "ab"
    assert repr(Vocabulary("ab\n")) == r"Vocabulary('ab\n')"
    assert Vocabulary("ab").decode([]) == ""
    assert Vocabulary("ab").encode("").shape == (0,)


# Streams


@no_backend
@settings(deadline=None)
@given(st.integers(1, 8), st.integers(2, 60))
def test_streams(batch_size, size):
    tokens = np.arange(size)
    if size <= batch_size:
        with pytest.raises(ValueError, match=f"{size} characters.*{batch_size + 1} are needed"):
            streams(tokens, batch_size)
        return
    x, targets = streams(tokens, batch_size)
    steps = (size - 1) // batch_size
    assert x.shape == targets.shape == (steps, batch_size)
    assert x.dtype == targets.dtype == np.intp
    assert np.shares_memory(x, tokens)  # a long text is there once
    assert np.shares_memory(targets, tokens)
    # tokens count up, so that this says: each one's target is what follows it in the text, streams
    # follow each other, and what is left over is at the end and shorter than a row
    assert np.array_equal(targets, x + 1)
    assert np.array_equal(x.T.ravel(), np.arange(steps * batch_size))
    assert 0 <= size - 1 - steps * batch_size < batch_size


@no_backend
@pytest.mark.parametrize(("dtype", "size"), [(np.intp, 8), (np.uint8, 1)])
def test_numbers_take_no_more_memory_than_they_are_large(dtype, size):
    content = "to be or not to be. " * 50_000
    vocabulary = Vocabulary.of(content)
    tracemalloc.start()
    x, targets = streams(vocabulary.encode(content, dtype=dtype), batch_size=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert x.dtype == targets.dtype == dtype
    assert peak < size * len(content) + 1_000_000
    if dtype == np.uint8:
        assert vocabulary.smallest_dtype == dtype
        assert Vocabulary([str(n) for n in range(256)]).smallest_dtype == np.uint8
        assert Vocabulary([str(n) for n in range(257)]).smallest_dtype == np.uint16


@no_backend
@pytest.mark.parametrize(("tokens", "batch_size", "error", "match"), [
    ([], 1, ValueError, "0 characters"), ([1], 1, ValueError, "2 are needed"),
    ([1, 2, 3], 0, ValueError, "batch_size"), ([1, 2, 3], 1.5, TypeError, "batch_size"),
    ([0.5, 1.5], 1, TypeError, "integers"), ("text", 1, TypeError, "numbers"),
], ids=["nothing", "one", "no stream", "half a stream", "floats", "text"])
def test_streams_refuses(tokens, batch_size, error, match):
    with pytest.raises(error, match=match):
        streams(tokens, batch_size)


@no_backend
def test_builtin_text_is_english():
    content = text.builtin_text()
    assert len(content) > 400_000
    words = content.split()
    assert all(words.count(word) > 300 for word in ("the", "of", "and", "is"))
    assert 40 < len(Vocabulary.of(content)) < 250
    assert content == text.builtin_text()


# Sampling


def test_the_seed_decides_the_text():
    net = crnn.RNN(5, 7, 5, seed=0)
    assert write(net, seed=3) == write(net, seed=3)
    assert len({write(net, 50, seed=seed) for seed in (3, 4, None)}) == 3


@pytest.mark.parametrize("options", [
    {"temperature": 0}, {"temperature": 0.0, "top_p": 0.5}, {"top_k": 1}, {"top_p": 1e-9},
    {"temperature": 1e-9}, {"temperature": 1e-320},
], ids=str)
def test_always_the_likeliest(options):
    net = crnn.RNN(5, 7, 5, init="orthogonal", seed=2)
    net.vector = net.vector * 4
    y, state = net([0])
    wanted = []
    for _ in range(30):
        wanted.append(int(y[-1].argmax()))
        y, state = net([wanted[-1]], state)
    assert len(set(wanted)) > 1
    assert write(net, 30, prime="a", **options) == "".join("abcde"[token] for token in wanted)


@pytest.mark.parametrize(("options", "wanted"), [
    ({}, "abcde"), ({"top_k": 5}, "abcde"), ({"top_k": 99}, "abcde"), ({"top_k": 2}, "ab"),
    ({"top_k": 3, "temperature": 1.5}, "abc"), ({"top_p": 1.0}, "abcde"), ({"top_p": 0.71}, "abc"),
    ({"top_p": 0.69}, "ab"), ({"top_p": 0.39}, "a"), ({"top_k": 2, "top_p": 0.5}, "a"),
    ({"top_k": 2, "top_p": 0.6}, "ab"), ({"temperature": 0.5}, "abcde"),
], ids=str)
def test_only_what_may_be_chosen_is(options, wanted):
    """And each as often as its probability says, by a test of chi-square."""
    order = np.array([3, 0, 4, 1, 2])  # the likeliest not in front
    net = known(LOGITS[order])
    written = write(net, 3000, **options)
    probabilities = np.array([PROBABILITIES[symbol] for symbol in wanted])
    probabilities **= 1 / options.get("temperature", 1)
    probabilities /= probabilities.sum()
    counts = {"abcde"[order[i]]: written.count("abcde"[i]) for i in range(5)}
    assert {symbol for symbol in counts if counts[symbol]} == set(wanted)
    expected = 3000 * probabilities
    found = np.array([counts[symbol] for symbol in wanted])
    assert ((found - expected) ** 2 / expected).sum() < 18.5  # 1 in 1000 with 4 degrees of freedom


@pytest.mark.parametrize("options", [
    {}, {"temperature": 0}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.6}], ids=str)
def test_a_network_that_ends_in_softmax_writes_as_without(options):
    layers, texts = crnn.layers, []
    for activation in ("linear", "softmax"):
        net = crnn.Sequential(5, [layers.GRU(4), layers.Dense(5, activation)], seed=0)
        net.vector = np.random.default_rng(3).uniform(-1, 1, net.num_parameters)
        texts.append(write(net, 200, seed=1, **options))
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 1 or options


def test_impossible_symbols_are_not_written():
    net = crnn.Sequential(5, [crnn.layers.RNN(3), crnn.layers.Dense(5, "softmax")], seed=0)
    net.parameters["b_y"] = [0, -500, -500, 0, -500]  # probabilities that are rounded to 0
    assert set(write(net, 200)) == {"a", "d"}


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_outputs_that_are_no_logits_are_refused(tmp_path, activation):
    net = crnn.Sequential(5, [crnn.layers.RNN(3), crnn.layers.Dense(5, activation)], seed=0)
    with pytest.raises(ValueError, match=f"'{activation}'.*'softmax', or none"):
        write(net, 3)
    with pytest.raises(ValueError, match="'softmax', or none"):
        text.save_model(tmp_path / "model", net, Vocabulary("abcde"))


@pytest.mark.parametrize("count", [2, 5])
def test_ties_are_fair(count):
    written = write(known(np.zeros(count)), 4000)
    expected = 4000 / count
    found = np.array([written.count(symbol) for symbol in "abcde"[:count]])
    assert ((found - expected) ** 2 / expected).sum() < 18.5


def test_the_prime_is_read_before_anything_is_written():
    net = crnn.RNN(5, 7, 5, init="orthogonal", seed=2)
    y, _ = net(Vocabulary("abcde").encode("caebd"))
    first = [sample(net, Vocabulary("abcde"), 1, prime="caebd", seed=s) for s in range(2000)]
    probabilities = np.exp(y[-1] - y[-1].max())
    expected = 2000 * probabilities / probabilities.sum()
    found = np.array([first.count(symbol) for symbol in "abcde"])
    assert ((found - expected) ** 2 / expected).sum() < 18.5
    whole = write(net, 40, prime="caebd", temperature=0)
    assert write(net, 30, prime="caebd" + whole[:10], temperature=0) == whole[10:]


@pytest.mark.parametrize(("symbols", "first"), [("b\na", "\n"), ("bxa", "b")])
def test_without_a_prime_it_starts_after_a_line(symbols, first):
    net = crnn.RNN(3, 7, 3, seed=1)
    vocabulary = Vocabulary(symbols)
    assert sample(net, vocabulary, 40, seed=1) == sample(net, vocabulary, 40, prime=first, seed=1)


def test_the_networks_own_state_is_not_touched(rng):
    net = crnn.RNN(5, 7, 5, seed=0)
    net.state = state = rng.standard_normal((1, 7)).astype(np.float32)
    before = net.vector.copy()
    wanted = write(net, 20)
    assert np.array_equal(net.state, state)
    assert np.array_equal(net.vector, before)
    net.reset()
    assert write(net, 20) == wanted


def test_generate_is_sample_without_end():
    net, vocabulary = crnn.RNN(5, 7, 5, seed=0), Vocabulary("abcde")
    two = [generate(net, vocabulary, seed=seed) for seed in (1, 2)]
    written = list(zip(*(itertools.islice(each, 30) for each in two), strict=True))
    assert "".join(pair[0] for pair in written) == sample(net, vocabulary, 30, seed=1)
    assert "".join(pair[1] for pair in written) == sample(net, vocabulary, 30, seed=2)
    assert sample(net, vocabulary, 0) == ""


@pytest.mark.parametrize(("options", "error", "match"), [
    ({"temperature": -1}, ValueError, "temperature is -1.0; wanted a finite number of at least 0"),
    ({"temperature": math.nan}, ValueError, "temperature"),
    ({"temperature": math.inf}, ValueError, "temperature"),
    ({"temperature": "hot"}, TypeError, "temperature"),
    ({"top_k": 0}, ValueError, "top_k"), ({"top_k": 1.5}, TypeError, "top_k"),
    ({"top_p": 0}, ValueError, "top_p"), ({"top_p": 1.01}, ValueError, "top_p"),
    ({"top_p": math.nan}, ValueError, "top_p"), ({"length": -1}, ValueError, "length"),
    ({"seed": -1}, ValueError, None), ({"prime": "abx"}, ValueError, "'x'.*number 3"),
], ids=str)
def test_sample_refuses(options, error, match):
    with pytest.raises(error, match=match):
        write(known(), **options)


@no_backend
def test_arguments_are_looked_at_before_the_first_character():
    with pytest.raises(ValueError, match="top_k"):
        generate(known(), Vocabulary("abcde"), top_k=0)


@pytest.mark.parametrize("sizes", [(4, 3, 5), (5, 3, 4), (5, 3), (4, 3, 4)], ids=str)
def test_a_network_that_does_not_fit(sizes):
    with pytest.raises(ValueError, match=f"{sizes[0]} inputs.* 5 characters"):
        sample(crnn.RNN(*sizes), Vocabulary("abcde"), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_outputs_that_are_not_finite(value, temperature):
    with pytest.raises(FloatingPointError, match="not finite"):
        write(known([0.0, value, 0, 0, 0]), temperature=temperature)


# Model files


TRAINING = {"text": "naïve\n\udcff.txt", "epochs": 3, "validation_loss": None, "loss": 1.5}


def test_a_model_that_writes_words(tmp_path):
    words = Vocabulary(["a", "day", "the", "was", "\n"])
    net = known()
    written = sample(net, words, 2000, seed=1)
    assert written[0] in words
    wanted = dict(zip("abcde", words.symbols, strict=True))
    assert written == [wanted[each] for each in write(net, 2000)]
    assert sample(net, words, 3, prime=["the", "day"], top_k=1) == ["a", "a", "a"]
    with pytest.raises(ValueError, match="'night'"):
        sample(net, words, 3, prime=["the", "night"])
    assert sample(net, words, 9, seed=2) == sample(net, words, 9, prime=["\n"], seed=2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("symbols", ['a"\\é\U0001f600', ['a"\\', "é", "\n", "a b", "ß" * 99]],
                         ids=["characters", "words"])
def test_model_files_round_trip(tmp_path, dtype, symbols):
    net, vocabulary = crnn.RNN(5, 7, 5, dtype=dtype, seed=0), Vocabulary(symbols)
    net.metadata = {"author": "somebody", "loss": "softmax"}
    net.scaler = crnn.Scaler().fit(np.arange(10.0).reshape(2, 5))
    text.save_model(tmp_path / "model", net, vocabulary, TRAINING)
    found, symbols, training = text.load_model(tmp_path / "model")
    assert np.array_equal(found.vector, net.vector)
    assert found.config() == net.config()
    assert found.metadata == net.metadata
    assert np.array_equal(found.scaler.mean, net.scaler.mean)
    assert crnn.load(tmp_path / "model").metadata == net.metadata
    assert symbols == vocabulary
    assert training == TRAINING
    assert sample(found, symbols, 50, seed=1) == sample(net, vocabulary, 50, seed=1)
    content = (tmp_path / "model").read_bytes()
    text.save_model(tmp_path / "model", found, symbols, training)
    assert (tmp_path / "model").read_bytes() == content


@no_backend
def test_a_model_without_an_account_of_its_training(tmp_path):
    text.save_model(tmp_path / "model", crnn.RNN(2, 2, 2), Vocabulary("ab"))
    assert text.load_model(tmp_path / "model")[2] == {}


@no_backend
@pytest.mark.parametrize(("arguments", "error", "match"), [
    ((crnn.RNN(3, 2, 3), Vocabulary("ab"), {}), ValueError, "3 inputs.*2 characters"),
    ((crnn.RNN(3, 2, 2), Vocabulary("abc"), {}), ValueError, "2 outputs"),
    ((crnn.RNN(2, 2, 2), "ab", {}), TypeError, "wanted a crnn.text.Vocabulary"),
    ((crnn.RNN(2, 2, 2), Vocabulary("ab"), "lines"), TypeError, "training is 'lines'"),
    (({}, Vocabulary("ab"), {}), TypeError, "a network"),
], ids=["inputs", "outputs", "no vocabulary", "training no dict", "no network"])
def test_no_model_is_written_that_could_not_be_read(tmp_path, arguments, error, match):
    with pytest.raises(error, match=match):
        text.save_model(tmp_path / "model", *arguments)
    assert list(tmp_path.iterdir()) == []


CONFIG = crnn.RNN(3, 2, 3).config()


@no_backend
@pytest.mark.parametrize(("changes", "match"), [
    pytest.param({"vocabulary": None}, "vocabulary", id="no vocabulary"),
    pytest.param({"vocabulary": '"ab"'}, "2 characters", id="vocabulary too short"),
    pytest.param({"vocabulary": '"abcd"'}, "4 characters", id="vocabulary too long"),
    pytest.param({"vocabulary": '"aba"'}, "once", id="a character twice"),
    pytest.param({"vocabulary": '["a", "b", 3]'}, "symbol is 3", id="a symbol a number"),
    pytest.param({"vocabulary": '{"a": 0}'}, "dict", id="vocabulary an object"),
    pytest.param({"vocabulary": "abc"}, "JSON", id="vocabulary no JSON"),
    pytest.param({"training": None}, "training", id="no training"),
    pytest.param({"training": "[]"}, "training", id="training a list"),
    pytest.param({"training": "{"}, "training", id="training no JSON"),
    pytest.param({"training": '{"loss": NaN}'}, "training.*NaN", id="training with NaN"),
    pytest.param({"state": "{}"}, "state", id="something more"),
    pytest.param({"config": None}, "config", id="no config"),
    pytest.param({"config": "[]"}, "config", id="config a list"),
    pytest.param({"config": {"cell": "Elman"}}, "cell", id="unknown cell"),
    pytest.param({"config": {"cell": []}}, "cell", id="cell a list"),
    pytest.param({"config": {"hidden_size": 9}}, r"\(3, 9\)", id="hidden_size"),
    pytest.param({"config": {"nonlinearity": "sin"}}, "sin", id="unknown nonlinearity"),
    pytest.param({"config": {"dtype": "float16"}}, "float16", id="dtype"),
    pytest.param({"config": {"output_size": None}}, "W_hy", id="no readout"),
    pytest.param({"config": {"init": "x"}}, "init", id="config with more"),
    pytest.param({"config": {"backend": "reference"}}, "backend", id="config with a backend"),
])
def test_bad_model_files(tmp_path, monkeypatch, changes, match):
    monkeypatch.chdir(tmp_path)  # whose name, with this test's id, is not to be in the message
    metadata = {"config": json.dumps(CONFIG), "vocabulary": '"abc"', "training": "{}"}
    for name, value in changes.items():
        metadata[name] = json.dumps(CONFIG | value) if isinstance(value, dict) else value
    metadata = {name: value for name, value in metadata.items() if value is not None}
    container.write("model.crnn", crnn.RNN(3, 2, 3).parameters, metadata)
    with pytest.raises(crnn.FormatError, match=match) as caught:
        text.load_model("model.crnn")
    assert "model.crnn" in str(caught.value)
    assert "\n" not in str(caught.value)


@no_backend
def test_model_files_need_json_without_nan(tmp_path):
    with pytest.raises(ValueError, match=r"JSON|nan"):
        text.save_model(tmp_path / "m", known(), Vocabulary("abcde"), {"loss": math.nan})
    with pytest.raises(FileNotFoundError):
        text.load_model(tmp_path / "m")
    assert not list(tmp_path.iterdir())
