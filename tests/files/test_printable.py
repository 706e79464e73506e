"""What comes from a file shows, and rules nothing: messages are one line without escapes."""

import json
import sys
import unicodedata

import pytest
from forged_files import forged

import crnn
from crnn import text
from crnn.files import container
from crnn.files.disk import FormatError
from crnn.files.printable import printable

pytestmark = pytest.mark.no_backend
HOSTILE = "\x1b]2;owned\x07\x1b[2J\rx\nmodel: trusted\x85\u2028\u202e\u2066\u200b\ufeff\x9b31m\x7f"
SAFE = (r"\x1b]2;owned\x07\x1b[2J\rx\nmodel: trusted\x85\u2028\u202e\u2066\u200b\ufeff\x9b31m\x7f")
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_every_character_that_a_screen_obeys_is_escaped():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.category(character) in OBEYED:
            shown = printable(character)
            assert shown.startswith("\\")
            assert shown.isascii()
            assert shown.isprintable()


def test_what_is_written_stays():
    for written in (
        "naïve café, straße", "Привет, мир", "汉字　かな", "한국어", "العربية", "עברית", "हिन्दी",
        "ไทย", "no tab", "a\u00a0b", "∑ ≤ €", "\U0001f600", r"C:\new", "",
    ):
        assert printable(written) == written


def test_escapes_are_pythons():
    assert printable(HOSTILE) == SAFE
    assert printable("\udcff\x00\t") == r"\udcff\x00\t"


def bad_files():
    """Files that are wrong in one way each, with names and texts that would rule a screen."""
    net = crnn.RNN(2, 3, 2, seed=0)
    model = {"config": json.dumps(net.config()), "vocabulary": '"ab"', "training": "{}"}
    config = {"config": json.dumps(net.config() | {HOSTILE: 1})}
    cell = {"config": json.dumps(net.config() | {"nonlinearity": HOSTILE})}
    yield "a tensor", dict(net.parameters) | {HOSTILE: net.vector}, model
    yield "an option", net.parameters, model | config
    yield "an option's value", net.parameters, model | cell
    yield "broken JSON", net.parameters, model | {"config": HOSTILE}


@pytest.mark.parametrize(("tensors", "metadata"), [each[1:] for each in bad_files()],
                         ids=[each[0] for each in bad_files()])
def test_messages_about_a_file_are_one_harmless_line(tmp_path, tensors, metadata):
    container.write(tmp_path / "m", tensors, metadata)
    assert_harmless(tmp_path / "m")


@pytest.mark.parametrize("name", ["nonlinearity", "dtype", "hidden_size", "bidirectional"])
def test_messages_about_a_file_are_short(tmp_path, name):
    net = crnn.RNN(2, 3, 2, seed=0)
    config = net.config() | {name: "A" * 1_000_000}
    container.write(tmp_path / "m", net.parameters, {"config": json.dumps(config)})
    with pytest.raises(FormatError, match=f"{name} .*AAA") as caught:
        crnn.load(tmp_path / "m")
    assert len(str(caught.value)) <= 4000


@pytest.mark.parametrize("content", [
    forged({HOSTILE: {"dtype": "F32"}}), forged({}, metadata={"format": "crnn " + HOSTILE}),
    forged({}, metadata={"format": HOSTILE}),
], ids=["an entry", "a newer format", "another format"])
def test_messages_about_a_forged_header(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    assert_harmless(tmp_path / "m")


def test_the_names_of_files_are_harmless(tmp_path):
    path = tmp_path / HOSTILE.replace("/", "")
    try:
        path.write_text("a text")
    except OSError:
        pytest.skip("the file system has no such names")
    assert_harmless(path)


def assert_harmless(path):
    with pytest.raises(FormatError) as caught:
        text.load_model(path)
    assert str(caught.value).isprintable()


def test_a_checkpoint_of_another_training(tmp_path):
    data = [[0], [1], [0]], [[1], [0], [1]]
    path = tmp_path / "checkpoint"
    crnn.fit(crnn.RNN(2, 3, 2), data, crnn.SGD(0.1), epochs=1, checkpoint=path)
    tensors, metadata = container.read(path)
    training = json.loads(metadata["training"])
    training["settings"][HOSTILE] = HOSTILE
    container.write(path, tensors, metadata | {"training": json.dumps(training)})
    with pytest.raises(ValueError, match="another kind of training") as caught:
        crnn.fit(crnn.RNN(2, 3, 2), data, crnn.SGD(0.1), epochs=2, checkpoint=path, resume=True)
    assert str(caught.value).isprintable()
