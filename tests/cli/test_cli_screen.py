"""What commands show of files: escapes for all that would rule a screen."""

import re
import sys

import command_line
import numpy as np
import pytest
from command_line import PROSE, TWO, assert_one_line

import crnn
from crnn import text

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run
trained, model = command_line.trained, command_line.model

HOSTILE = "x\x1b]2;owned\x07\x1b[2J\nmodel: trusted\u202e"
SAFE = r"x\x1b]2;owned\x07\x1b[2J\nmodel: trusted\u202e"


def write_model(path="hostile", symbols="ab", training=()):
    net = crnn.RNN(len(symbols), 2, len(symbols), seed=0)
    text.save_model(path, net, text.Vocabulary(symbols), dict(training))


def assert_harmless(shown):
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "\nmodel: trusted" not in shown


@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
def test_a_bar_fits_a_terminal(run, monkeypatch, lines):
    """Each of its states does, to the time that is left."""
    pytest.importorskip("tqdm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    small = [each for each in TWO if each not in ("--steps", "16")]
    code, _, err = run(
        "train", "prose.txt", *small, "--steps", "5", *["--lines"] * lines, "--epochs", "3")
    assert code == 0
    shown = [line for line in re.split(r"[\r\n]+", err) if line.strip()]
    assert shown
    assert max(map(len, shown)) <= 80
    assert all(line.rstrip().endswith(" left") for line in shown)


def test_info(run):
    write_model(symbols="a\x1b\u202eé", training={"text": HOSTILE, HOSTILE: 1, "list": [HOSTILE]})
    code, out, err = run("info", "hostile")
    assert (code, err) == (0, "")
    assert_harmless(out)
    lines = out.splitlines()
    assert r"vocabulary of 4 characters: 'a\x1b\u202eé'" in lines
    assert any(line.split("  ")[0] == "text" and line.endswith("  " + SAFE) for line in lines)
    assert f"{SAFE}  1" in lines


def test_info_is_short(run):
    words = [f"word{n}" for n in range(10_000)]
    training = {"text": "x" * 1_000_000, "y" * 1_000_000: 1} | {f"n{n}": n for n in range(99)}
    text.save_model(
        "long", crnn.RNN(10_000, 1, 10_000, seed=0), text.Vocabulary(words), training)
    code, out, _ = run("info", "long")
    assert (code, len(out) < 60_000) == (0, True)
    assert "'word0', 'word1', " in out
    assert "'word9999']" in out


def test_info_of_a_model_that_does_not_say_how_it_was_trained(run):
    write_model()
    code, out, err = run("info", "hostile")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "vocabulary of 2 characters: 'ab'"


def test_info_of_a_network(run):
    crnn.GRU(2, 3, seed=0).save("net")
    code, out, err = run("info", "net")
    assert (code, err) == (0, "")
    assert out.startswith("net: crnn.GRU(2, 3, ")
    assert out.splitlines()[-1].startswith("together")


@pytest.mark.parametrize("kind", ["network", "character model"])
def test_info_shows_metadata(run, kind):
    net = crnn.GRU(2, 3, 2, seed=0)
    net.metadata = {"loss": "softmax", "author": HOSTILE, HOSTILE: "x", "long": "y" * 10**6}
    if kind == "network":
        net.save("net")
    else:
        text.save_model("net", net, text.Vocabulary("ab"), {"text": "prose"})
    code, out, err = run("info", "net")
    assert (code, err) == (0, "")
    assert_harmless(out)
    rows = [line.split("  ", 1) for line in out.splitlines()[-4:]]
    shown = {name: value.strip() for name, value in rows}
    assert set(shown) == {"author", "long", "loss", SAFE}
    assert (shown["author"], shown["loss"], shown[SAFE]) == (SAFE, "softmax", "x")
    assert len(out) < 6000


def test_info_of_a_forecaster(run):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    values = np.random.default_rng(0).standard_normal((30, 3))
    days = pandas.date_range("2024-01-01", periods=30)
    frame = pandas.DataFrame(values, index=days, columns=["shop", HOSTILE, "promo"])
    forecaster = crnn.Forecaster(hidden_size=3, epochs=2, seed=0, past=["promo"])
    forecaster.fit(frame, ["promo"]).save("forecaster")
    code, out, err = run("info", "forecaster")
    assert (code, err) == (0, "")
    assert_harmless(out)
    rows = dict(line.split("  ", 1) for line in out.splitlines()[2:])
    assert out.startswith("forecaster: <Forecaster(hidden_size=3, past=('promo',)")
    assert rows["series"].strip() == f"2: shop, {SAFE}"
    assert rows["network"].strip().startswith("crnn.GRU(2, 3, 2, ")
    assert rows["last time"].strip() == "2024-01-30"
    assert_harmless(repr(crnn.Forecaster.load("forecaster").predict(2)))


@pytest.mark.parametrize("command", ["info", "sample", "evaluate", "train"])
def test_errors_that_name_a_file(run, folder, command):
    name = HOSTILE + ".txt"
    try:
        (folder / name).touch()
    except OSError:
        pytest.skip("the file system has no such names")
    code, out, err = run(command, name, *["prose.txt"] * (command == "evaluate"))
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert_harmless(err)
    assert r"owned\x07" in err.replace("\\\\", "\\")  # some messages quote the name


@pytest.mark.parametrize("arguments", [["info", "a", HOSTILE], ["sample", "a", HOSTILE], [HOSTILE]],
                         ids=["info", "sample", "command"])
def test_names_that_a_shell_put_for_a_star(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert_harmless(err)
    assert r"\x1b[2J" in err.replace("\\\\", "\\")


def test_a_training_on_a_file_of_such_a_name(run, folder):
    name = HOSTILE + ".txt"
    try:
        (folder / name).write_text(PROSE + "\x1b[2J" * 99)
    except OSError:
        pytest.skip("the file system has no such names")
    for _ in range(2):  # the second keeps the first one's model
        code, out, err = run("train", name, *TWO, "--sample-length", "99", "-o", HOSTILE)
        assert (code, err) == (0, "")
        assert_harmless(out)
        assert out.startswith(SAFE + ".txt: ")


@pytest.mark.parametrize("on_a_terminal", [True, False])
def test_what_a_model_writes(run, monkeypatch, on_a_terminal):
    """On a terminal it does no harm; elsewhere it is exactly what the model writes."""
    symbols = "\x1b\u202e\u200d\t\né\r"
    write_model(symbols=symbols)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_a_terminal)
    options = ["--prime", "é\x1b\n", "--length", "400", "--seed", "1"]
    code, out, err = run("sample", "hostile", *options)
    net, vocabulary, _ = text.load_model("hostile")
    written = text.sample(net, vocabulary, 400, prime="é\x1b\n", temperature=0.8, seed=1)
    assert set(written) == set(symbols)
    wanted = "é\x1b\n" + written + "\n"
    if on_a_terminal:
        for character, escape in {"\x1b": r"\x1b", "\u202e": r"\u202e", "\r": r"\r"}.items():
            wanted = wanted.replace(character, escape)
    assert (code, out, err) == (0, wanted, "")
