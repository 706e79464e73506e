"""`crnn train --lines`: each line is a sequence of its own; and --init-from, with both kinds."""

import re

import command_line
import numpy as np
import pytest
from command_line import PROSE, SMALL, assert_one_line, numbers_of

import crnn
from crnn import text

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run
trained, model = command_line.trained, command_line.model

WORDS = [f"{first}{middle}{last}" for first in "bdklmnrst" for middle in ("a", "e", "oo", "ei")
         for last in ("n", "s", "rt", "ll", "")]
LINES = ["--lines", "--hidden", "16", "--lr", "0.02", "--sample-length", "20", "-o", "lines"]


@pytest.fixture
def words(folder):
    """A text with a word in each line, and lines that are empty."""
    (folder / "words.txt").write_text("\n".join(WORDS[:90]) + "\n\n\n" + "\n".join(WORDS[90:]))
    return "words.txt"


def test_train_evaluate_and_sample(run, words):
    code, out, err = run("train", words, *LINES, "--epochs", "12")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "162 lines to train on, 18 for validation"
    net, vocabulary, training = text.load_model("lines")
    assert vocabulary.symbols == "".join(sorted({"\n", *"".join(WORDS)}))
    assert (training["lines"], training["characters"]) == (True, len("\n".join(WORDS)) + 2)
    assert training["validation_loss"] < 1.8  # it knows how a word begins and where it ends
    # the same lines are kept for validation whatever the seed
    order = np.random.default_rng(0).permutation(180)
    kept = [WORDS[k] for k in order[162:]]
    losses = [net.loss([*vocabulary.encode("\n" + word)], [*vocabulary.encode(word + "\n")],
                       reduction="sum")[0] for word in kept]
    mean = sum(losses) / sum(len(word) + 1 for word in kept)
    np.testing.assert_allclose(training["validation_loss"], mean, rtol=1e-5)

    with open("kept.txt", "w") as file:
        file.write("\n".join(kept))
    code, out, err = run("evaluate", "lines", "kept.txt")
    assert (code, err) == (0, "")
    count = sum(len(word) + 1 for word in kept)
    assert out == (f"{mean:.4f} nats and {mean / np.log(2):.4f} bits per character, {count}"
                   " characters of 18 lines\n")

    code, out, err = run("sample", "lines", "--lines", "200", "--seed", "1")
    assert (code, err) == (0, "")
    written = out.splitlines()
    assert len(written) == 200
    assert len({word[:1] for word in written}) >= 8  # many different letters to begin with
    assert sum(word in WORDS for word in written) > 60
    assert run("sample", "lines", "--seed", "1")[1].splitlines() == written[:10]
    assert run("sample", "lines", "--seed", "2")[1].splitlines() != written[:10]
    primed = run("sample", "lines", "--prime", "dei", "--seed", "1", "--length", "1")[1]
    assert all(re.fullmatch("dei.?", line) for line in primed.splitlines())
    assert primed.count("\n") == 10
    code, out, err = run("sample", "lines", "--prime", "dei\r\nba")
    assert (code, out, "what each line begins with" in err) == (1, "", True)


def test_what_is_shown_after_an_epoch(run, words):
    _, out, _ = run("train", words, *LINES, "--epochs", "1")
    shown = [line for line in out.splitlines() if line.startswith("    | ")]
    assert len(shown) == 8
    assert all(len(line) <= 26 for line in shown)
    _, out, _ = run("train", words, *LINES, "--epochs", "1", "--sample-length", "0")
    assert "    | " not in out


def test_resume_goes_on_to_the_same_bits(run, words):
    options = [words, *LINES, "--schedule", "constant", "--batch-size", "16"]
    run("train", *options, "--epochs", "4")
    whole = numbers_of("lines")
    run("train", *options, "--epochs", "2")
    code, _, err = run("train", *options, "--epochs", "4", "--resume")
    assert (code, err) == (0, "")
    assert numbers_of("lines") == whole
    without = [each for each in options if each != "--lines"]
    code, _, err = run("train", *without, "--epochs", "5", "--resume")
    assert (code, "another" in err) == (1, True)


def test_lines_are_reshuffled_and_independent(run, words, monkeypatch):
    """A line's loss does not depend on the one before it, nor on what pads its batch."""
    run("train", words, *LINES, "--epochs", "1", "--batch-size", "7", "--validation", "0")
    net, vocabulary, training = text.load_model("lines")
    assert training["validation_loss"] is None
    assert training["updates"] == 26  # of 180 lines
    alone = [net.loss(line[:-1], line[1:], reduction="sum")[0]
             for line in text.lines("\n".join(WORDS), vocabulary)]
    mean = sum(alone) / sum(len(word) + 1 for word in WORDS)
    assert run("evaluate", "lines", words)[1].startswith(f"{mean:.4f} nats")


@pytest.mark.parametrize(("content", "options", "match"), [
    ("\n\n", [], "no line that is not empty"),
    ("\n\n", ["--validation", "0"], "no line that is not empty\n"),
    ("one", [], "of 1 line none is left for validation"),
    ("one\ntwo\n\nsix", [], "of 3 lines none is left for validation"),
    ("one\ntwo", ["--validation", "0", "--patience", "2"], "--patience"),
], ids=["none", "none without validation", "one", "three", "patience"])
def test_too_few_lines(run, folder, content, options, match):
    (folder / "few.txt").write_text(content)
    code, out, err = run("train", "few.txt", *LINES, *options)
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert match in err
    assert run("train", "few.txt", *LINES, "--epochs", "1", "--validation", "0")[0] == (
        content == "\n\n")


def test_evaluate_of_lines(run, words, folder):
    run("train", words, *LINES, "--epochs", "1")
    (folder / "other.txt").write_text("ban\n\nbXan\n")
    code, out, err = run("evaluate", "lines", "other.txt")
    assert (code, out.split(", ")[1]) == (0, "8 characters of 2 lines\n")
    assert "1 of 10 characters skipped" in err
    assert "'X'" in err
    code, out, err = run("evaluate", "lines", "other.txt", "--strict")
    assert (code, "line 3: the character 'X' (number 2 of the text)" in err) == (1, True)
    (folder / "empty.txt").write_text("\n")
    code, _, err = run("evaluate", "lines", "empty.txt")
    assert (code, "no line that is not empty" in err) == (1, True)


@pytest.mark.parametrize(("symbols", "content", "wanted"), [
    ("\nab", "ab\n\nxx\nbxa\n", [[0, 1, 2, 0], [0, 2, 1, 0]]),
    (["a", "\n", "go"], "go a\n   \nx\n\tgo", [[1, 2, 0, 1], [1, 2, 1]]),
], ids=["characters", "words"])
def test_lines_are_views_of_the_texts_numbers(symbols, content, wanted):
    found = text.lines(content, text.Vocabulary(symbols), skip_unknown=True)
    assert [each.tolist() for each in found] == wanted
    assert {each.dtype for each in found} == {np.dtype(np.uint8)}
    assert all(each.base is found[0].base for each in found)
    assert not any(each.flags.writeable for each in found)


def test_lines_of_unknown_characters_alone_are_left_out(run, words, folder):
    run("train", words, *LINES, "--epochs", "1")
    (folder / "known.txt").write_text("ban\nana\n")
    (folder / "more.txt").write_text("ban\nXYZ\nana\nX\n")
    known, more = (run("evaluate", "lines", name) for name in ("known.txt", "more.txt"))
    assert known[1] == more[1]
    assert known[1].endswith("8 characters of 2 lines\n")
    assert "4 of 14 characters skipped" in more[2]


def test_lines_of_a_model_of_a_text(run, model):
    code, out, err = run("sample", model, "--lines", "3")
    assert (code, out, "'crnn train --lines'" in err) == (1, "", True)


# --init-from


@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
def test_init_from(run, folder, lines):
    options = [*SMALL, *["--lines"] * lines, "--validation", "0.3"]
    first = PROSE.splitlines(keepends=True)
    (folder / "a.txt").write_text("".join(first[:20]))
    (folder / "b.txt").write_text("".join(first[20:]))
    run("train", "a.txt", *options, "--cell", "gru", "--epochs", "9", "--lr", "0.03", "-o", "a")
    code, _, err = run("train", "b.txt", *SMALL[2:], *options[len(SMALL):], "--init-from", "a",
                       "-o", "b", "--epochs", "1", "--lr", "1e-9")
    assert (code, err) == (0, "")
    (before, vocabulary, _), (after, same, training) = text.load_model("a"), text.load_model("b")
    assert vocabulary == same
    assert type(after) is crnn.GRU
    np.testing.assert_allclose(after.vector, before.vector, atol=1e-6)
    assert training["started_from"] == "a"
    assert training["validation_loss"] < 2.2  # a new one has 3.2


def test_init_from_goes_on_to_the_same_bits(run, model):
    options = ["prose.txt", "--init-from", model, *SMALL[2:], "--schedule", "constant"]
    run("train", *options, "-o", "whole", "--epochs", "2")
    run("train", *options, "-o", "part", "--epochs", "1")
    assert run("train", *options, "-o", "part", "--epochs", "2", "--resume")[0] == 0
    assert numbers_of("part") == numbers_of("whole")


def test_init_from_into_the_same_file(run, folder, model, trained):
    code, out, _ = run("train", "prose.txt", "--init-from", model, *SMALL[2:], "--epochs", "1",
                       "-o", model)
    assert (code, "model.old" in out) == (0, True)
    assert (folder / "model.old").read_bytes() == trained


@pytest.mark.parametrize(("options", "match"), [
    (["--hidden", "4"], "--hidden"), (["--cell", "gru"], "--cell"), (["--layers", "2"], "--layers"),
    (["--dtype", "float64"], "--dtype"), (["--init", "identity"], "--init"),
], ids=" ".join)
def test_init_from_has_a_network_already(run, folder, model, options, match):
    code, out, err = run("train", "prose.txt", "--init-from", model, *options)
    assert (code, out) == (1, "")
    assert f"leave out {match}\n" in err
    assert_one_line(err)


@pytest.mark.parametrize(("start", "options", "match"), [
    ("model.old", ["-o", "model"], "--init-from and the old file of --output are the same file"),
    ("start.svg", ["--plot", "start.svg"], "--init-from and --plot are the same file"),
    ("words", [], "words is a model of words"),
    ("model.checkpoint", [], "a checkpoint of training, not a character model"),
], ids=["the old file", "the picture", "a model of words", "a checkpoint"])
def test_init_from_what_would_be_lost_or_is_no_model(run, folder, model, start, options, match):
    text.save_model("words", crnn.GRU(2, 4, 2, seed=0), text.Vocabulary(["a", "b"]), {})
    run("train", "prose.txt", *SMALL, "--epochs", "1", "-o", "model")
    if not (folder / start).exists():
        (folder / start).write_bytes((folder / "model").read_bytes())
    (folder / "ab.txt").write_text("ab" * 100)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    given = "ab.txt" if start == "words" else "prose.txt"
    code, out, err = run("train", given, "--init-from", start, *options)
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert match in err
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_init_from_of_a_text_with_more_characters(run, folder, model):
    (folder / "more.txt").write_text(PROSE + "Zz étés")
    code, out, err = run("train", "more.txt", "--init-from", model, "--strict")
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert "'Z', 'z', 'é' (2 times)" in err
    assert sorted(each.name for each in folder.iterdir()) == ["model", "more.txt", "prose.txt"]
    code, _, err = run("train", "prose.txt", "--init-from", "nothing")
    assert (code, "nothing" in err) == (1, True)
    same = ["--init-from", model, *SMALL[2:], "--epochs", "1"]
    code, _, err = run("train", "more.txt", *same, "-o", "more")
    skipped = f"4 of {len(PROSE) + 7:,} characters skipped, which the model does not know: 'Z', 'z'"
    assert (code, err.startswith(f"crnn: {skipped}")) == (0, True)
    assert_one_line(err)
    (folder / "known.txt").write_text(PROSE + " ts")
    assert run("train", "known.txt", *same, "-o", "known", "--strict")[::2] == (0, "")
    assert numbers_of("more")[0] == numbers_of("known")[0]


def test_init_from_skips_in_lines(run, words, folder):
    run("train", words, *LINES, "--epochs", "1")
    options = ["--lines", "--init-from", "lines", *SMALL[2:], "--epochs", "1", "--validation", "0"]
    content = (folder / words).read_text()
    (folder / "more.txt").write_text(content + "\nXYZ\nbXan\n")
    (folder / "known.txt").write_text(content + "\nban\n")
    code, _, err = run("train", "more.txt", *options, "-o", "more")
    assert (code, "crnn: 4 of " in err, "'X' (2 times), 'Y', 'Z'" in err) == (0, True, True)
    assert run("train", "known.txt", *options, "-o", "known")[::2] == (0, "")
    assert numbers_of("more")[0] == numbers_of("known")[0]


def test_init_from_of_another_kind_of_text_is_told(run, words, folder, model):
    run("train", words, *LINES, "--epochs", "1")
    options = [words, *SMALL[2:], "--epochs", "1", "-o", "more"]
    code, out, _ = run("train", *options, "--init-from", "lines")
    assert (code, out.splitlines()[0]) == (
        0, "lines was trained on lines, and goes on with a running text; give --lines to go on with"
        " lines")
    code, out, _ = run("train", *options, "--init-from", "lines", "--lines")
    assert (code, "goes on with" in out) == (0, False)
    code, out, _ = run("train", *options, "--init-from", model, "--lines")
    assert (code, out.splitlines()[0]) == (
        0, "model was trained on a running text, and goes on with lines")
    text.save_model("ab", crnn.GRU(2, 4, 2, seed=0), text.Vocabulary("ab"), {})
    code, out, err = run("train", *options, "--init-from", "ab", "--lines")
    assert (code, out, "ab does not know the end of a line" in err) == (1, "", True)


# models of words, which are made in Python


def test_a_model_of_words(run, folder):
    vocabulary = text.Vocabulary(["\n", "go", "left", "right", "stop"])
    net = crnn.GRU(5, 4, 5, seed=0)
    text.save_model("words", net, vocabulary, {})
    (folder / "moves.txt").write_text("go left\ngo  right up stop")
    code, out, err = run("evaluate", "words", "moves.txt")
    tokens = vocabulary.encode(["go", "left", "go", "right", "stop"])
    loss, _ = net.loss(tokens[:-1], tokens[1:])
    assert (code, out.startswith(f"{loss:.4f} nats and "), out.endswith("per word, 4 words\n")) == (
        0, True, True)
    assert err == "crnn: 1 of 6 words skipped, which the model does not know: 'up'\n"
    code, out, err = run("sample", "words", "--prime", "go left", "--length", "7", "--seed", "1")
    written = text.sample(net, vocabulary, 7, prime=["go", "left"], temperature=0.8, seed=1)
    assert (code, out, err) == (0, " ".join(["go", "left", *written]) + " \n", "")
    code, out, _ = run("info", "words")
    assert "vocabulary of 5 words: ['\\n', 'go', 'left', 'right', 'stop']" in out
    text.save_model("words", net, vocabulary, {"lines": True})
    code, out, _ = run("sample", "words", "--prime", "go", "--lines", "3", "--seed", "1")
    assert (code, [line[:2] for line in out.splitlines()]) == (0, ["go"] * 3)
    assert run("evaluate", "words", "moves.txt")[1].endswith("7 words of 2 lines\n")
