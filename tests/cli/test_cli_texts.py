"""Texts that commands read: encodings, unknown characters, several files, standard input."""

import io
import sys
import tracemalloc
from types import SimpleNamespace

import command_line
import numpy as np
import pytest
from command_line import PROSE, TWO, assert_one_line, numbers_of

from crnn import text
from crnn.files.encodings import likely_encoding

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run
trained, model = command_line.trained, command_line.model

WESTERN = "The naïve fox at the café — “très bon”, says Zoë.\n" * 30
RUSSIAN = "Привет, мир! Как дела?\n" * 30


@pytest.mark.parametrize(("content", "encoding", "likely"), [
    (WESTERN, "utf-16", "utf-16"), (WESTERN, "utf-16-le", "utf-16-le"),
    (WESTERN, "utf-16-be", "utf-16-be"), (PROSE, "utf-16-le", "utf-16-le"),
    (WESTERN, "windows-1252", "windows-1252"), ("naïve", "latin-1", "windows-1252"),
    (RUSSIAN, "utf-16", "utf-16"), (RUSSIAN, "utf-16-be", "utf-16-be"),
    (WESTERN, "utf-32", "utf-32"), (RUSSIAN, "koi8-r", None),
    ("漢字もあります。\n" * 9, "shift-jis", None),
])
def test_texts_in_other_encodings(run, folder, content, encoding, likely):
    (folder / "other.txt").write_bytes(content.encode(encoding))
    assert likely_encoding(content.encode(encoding)) == likely
    code, out, err = run("train", "other.txt", *TWO)
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert "other.txt is not UTF-8 text: " in err
    advice = "give its --encoding" if likely is None else f"looks like {likely}: give --encoding "
    assert advice in err
    if len(content) > 99:
        given = likely or encoding
        assert run("train", "other.txt", *TWO, "--encoding", given)[0] == 0
        assert text.load_model("model.safetensors")[1] == text.Vocabulary.of(content)


def test_a_text_in_utf_8_but_for_one_byte(run, folder):
    (folder / "other.txt").write_bytes(RUSSIAN.encode() + b"\xff" + RUSSIAN.encode())
    code, _, err = run("train", "other.txt", *TWO)
    assert code == 1
    assert f"invalid start byte at byte {len(RUSSIAN.encode())}; all else in it is UTF-8" in err


@pytest.mark.parametrize(("start", "kind"), [
    (b"\x89PNG\r\n\x1a\n\0\xff", "a PNG picture"), (b"PK\x03\x04\xff\xff", "a zip archive"),
])
def test_what_is_no_text(run, folder, start, kind):
    (folder / "other").write_bytes(start * 9)
    code, out, err = run("train", "other")
    assert (code, out, f"; it looks like {kind}" in err) == (1, "", True)


def test_an_encoding_that_is_not_the_texts(run, folder):
    (folder / "other.txt").write_bytes(WESTERN.encode())
    code, _, err = run("train", "other.txt", *TWO, "--encoding", "ascii")
    assert (code, "other.txt is not ascii text: " in err) == (1, True)
    assert_one_line(err)
    (folder / "other.txt").write_bytes(b"\xd8\x00" * 9)
    code, _, err = run("train", "other.txt", *TWO, "--encoding", "utf-16-be")
    assert (code, "other.txt is not utf-16-be text: " in err) == (1, True)


@pytest.mark.parametrize("encoding", ["utf-16", "windows-1252"])
def test_evaluate_in_another_encoding(run, folder, model, encoding):
    (folder / "other.txt").write_bytes(PROSE.encode(encoding))
    code, out, _ = run("evaluate", model, "other.txt", "--encoding", encoding)
    assert (code, out) == run("evaluate", model, "prose.txt")[:2]


def test_evaluate_skips_what_the_model_does_not_know(run, folder, model):
    known = run("evaluate", model, "prose.txt")[1]
    (folder / "more.txt").write_text("é" + PROSE[:50] + "ééЖ" + PROSE[50:] + "!", encoding="utf-8")
    code, out, err = run("evaluate", model, "more.txt")
    assert (code, out) == (0, known)
    assert err == (f"crnn: 5 of {len(PROSE) + 5:,} characters skipped, which the model does not"
                   " know: 'é' (3 times), 'Ж', '!'\n")
    code, out, err = run("evaluate", model, "more.txt", "--strict")
    assert (code, out) == (1, "")
    assert "'é' (number 1 of the text)" in err
    assert run("evaluate", model, "prose.txt", "--strict") == (0, known, "")


def test_evaluate_lists_some_of_what_is_unknown(run, folder, model):
    (folder / "more.txt").write_text(PROSE + "QRSTUVW", encoding="utf-8")
    assert run("evaluate", model, "more.txt")[2].endswith("'Q', 'R', 'S', 'T', 'U' and 2 more\n")


@pytest.mark.parametrize(("content", "match"), [
    ("ЖЖЖ", "too short: it has 0 characters that the model knows"),
    ("ЖeЖ", "too short: it has 1 character that the model knows"),
    ("e", "too short: it has 1 character\n"),
])
def test_evaluate_of_a_text_that_the_model_hardly_knows(run, folder, model, content, match):
    (folder / "other.txt").write_text(content, encoding="utf-8")
    code, out, err = run("evaluate", model, "other.txt")
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert match in err


def test_evaluate_of_a_long_text_goes_in_parts(run, folder, model):
    """The state goes on from one to the next."""
    content = PROSE * 20
    (folder / "long.txt").write_text(content)
    net, vocabulary, _ = text.load_model(model)
    tokens = vocabulary.encode(content)
    loss, _ = net.loss(tokens[:-1], tokens[1:])
    said = run("evaluate", model, "long.txt")[1].split()[0]
    np.testing.assert_allclose(float(said), loss, atol=6e-5)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"], ids=repr)
def test_line_ends_of_any_system(run, folder, model, end):
    (folder / "other.txt").write_bytes(PROSE.replace("\n", end).encode())
    assert run("evaluate", model, "other.txt") == run("evaluate", model, "prose.txt")
    options = ["--length", "40", "--seed", "3"]
    wanted = run("sample", model, "--prime", "9 green\n8", *options)
    assert wanted[0] == 0
    assert run("sample", model, "--prime", f"9 green{end}8", *options) == wanted


def test_several_texts(run, folder):
    (folder / "a.txt").write_text(PROSE[:400] + "over")
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbf" + PROSE[400:].encode())
    (folder / "whole.txt").write_text(PROSE[:400] + "over\n" + PROSE[400:])
    code, out, err = run("train", "a.txt", "b.txt", *TWO)
    assert (code, err) == (0, "")
    assert out.startswith(f"a.txt, b.txt: {len(PROSE) + 5:,} characters")
    several = numbers_of("model.safetensors")
    assert several[2].pop("text") == "a.txt, b.txt"
    run("train", "whole.txt", *TWO)
    whole = numbers_of("model.safetensors")
    del whole[2]["text"]
    assert several == whole
    assert run("evaluate", "model.safetensors", "a.txt", "b.txt") == run(
        "evaluate", "model.safetensors", "whole.txt")
    code, _, err = run("train", "a.txt", "b.txt", *TWO, "-o", "b.txt")
    assert (code, "are the same file, b.txt" in err) == (1, True)
    code, _, err = run("train", "a.txt", "nothing.txt", *TWO)
    assert (code, "nothing.txt" in err) == (1, True)


def test_a_text_takes_little_memory(run, folder):
    """All of train and evaluate less than 8 bytes a character, the text with it."""
    characters = 1_000_000
    (folder / "long.txt").write_text((PROSE * 1000)[:characters])
    run("train", "prose.txt", *TWO)  # so that all is imported
    for arguments in (["train", "long.txt", *TWO, "--epochs", "1", "--batch-size", "64"],
                      ["evaluate", "model.safetensors", "long.txt"]):
        tracemalloc.start()
        assert run(*arguments)[0] == 0
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * characters


def test_standard_input(run, folder, monkeypatch, model):
    def given(content):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    wanted = run("evaluate", model, "prose.txt")
    given(PROSE.encode())
    assert run("evaluate", model, "-") == wanted
    given(PROSE.replace("\n", "\r\n").encode("utf-16"))
    assert run("evaluate", model, "-", "--encoding", "utf-16") == wanted
    given(PROSE.encode())
    code, out, err = run("train", "-", *TWO)
    assert (code, err) == (0, "")
    assert out.startswith(f"standard input: {len(PROSE):,} characters")
    for command in (["train", "-", "-", *TWO], ["evaluate", model, "-", "prose.txt", "-"]):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert err == "crnn: standard input, -, can be read once; leave out the others\n"
    given(b"\xff")
    code, out, err = run("train", "-", *TWO)
    assert (code, out) == (1, "")
    assert err.startswith("crnn: standard input is not UTF-8 text: ")
