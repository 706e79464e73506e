"""The command line run in a folder with a text: what its tests share."""

import pytest

from crnn import cli, text

SMALL = ["--hidden", "4", "--batch-size", "4", "--steps", "16", "--sample-length", "0"]
TWO = ["--epochs", "2", *SMALL]
PROSE = "".join(f"{n} green bottles hanging on the wall,\n" for n in range(30, 0, -1))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder with a text, the one the commands run in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prose.txt").write_text(PROSE)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def call(*arguments):
        capsys.readouterr()
        try:
            code = cli.main([str(each) for each in arguments])
        except SystemExit as stop:  # how argparse ends
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bytes of a trained model file."""
    path = tmp_path_factory.mktemp("trained")
    (path / "prose.txt").write_text(PROSE)
    assert cli.main(["train", str(path / "prose.txt"), "-o", str(path / "model"), *TWO]) == 0
    return (path / "model").read_bytes()


@pytest.fixture
def model(folder, trained):
    (folder / "model").write_bytes(trained)
    return "model"


def numbers_of(path):
    """What a model file holds apart from the date."""
    net, vocabulary, training = text.load_model(path)
    del training["date"]
    return net.vector.tolist(), vocabulary.symbols, training


def assert_one_line(err):
    assert err.startswith("crnn: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
