"""The command line: its four commands, exit codes, one line for each failure, Ctrl-C, terminals."""

import math
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

import crnn
from crnn import cli, text

pytestmark = pytest.mark.no_backend

SMALL = ["--hidden", "4", "--batch-size", "4", "--steps", "16", "--sample-length", "0"]
TWO = ["--epochs", "2", *SMALL]
PROSE = "".join(f"{n} green bottles hanging on the wall,\n" for n in range(30, 0, -1))
posix = pytest.mark.skipif(os.name == "nt", reason="signals and terminals of POSIX")


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


# For a run in the background, whose children would ignore Ctrl-C.
LISTENING = """
import signal, sys
from crnn.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def child(*arguments, how=("-m", "crnn"), **options):
    """Start the command line as a process of its own."""
    command = [sys.executable, "-W", "error", *how, *arguments]
    return subprocess.Popen(command, **({"stderr": subprocess.PIPE} | options))


def numbers_of(path):
    """What a model file holds apart from the date."""
    net, vocabulary, training = text.load_model(path)
    del training["date"]
    return net.vector.tolist(), vocabulary.symbols, training


# train


def test_train(run, folder):
    code, out, err = run("train", "prose.txt", *TWO)
    assert (code, err) == (0, "")
    assert sorted(each.name for each in folder.iterdir()) == [
        "model.safetensors", "model.safetensors.checkpoint", "prose.txt"
    ]
    lines = out.splitlines()
    net, vocabulary, training = text.load_model("model.safetensors")
    assert lines[0] == (f"prose.txt: {len(PROSE):,} characters, {len(vocabulary)} different;"
                        f" {net.num_parameters:,} parameters")
    number = r"(\d+\.\d{3})"
    loss = rf"{number} nats \({number} bits\)"
    for epoch, line in enumerate(lines[1:3], 1):
        losses = f"training {loss}, validation {loss}"
        found = re.match(rf"epoch {epoch}/2: {losses} per character; .* left$", line)
        nats, bits, validation, _ = map(float, found.groups())
        np.testing.assert_allclose(bits, nats / math.log(2), atol=2e-3)
    assert "crnn sample model.safetensors" in lines[3]
    np.testing.assert_allclose(validation, training["validation_loss"], atol=6e-4)
    assert {"text": "prose.txt", "characters": len(PROSE), "epochs": 2, "optimizer": "adam",
            "crnn": crnn.__version__}.items() <= training.items()
    assert (net.hidden_size, vocabulary.symbols) == (4, "".join(sorted(set(PROSE))))


def test_train_writes_what_the_model_writes(run):
    _, out, _ = run("train", "prose.txt", *TWO, "--sample-length", "30")
    written = [line for line in out.splitlines() if line.startswith("    | ")]
    assert written
    assert set("".join(line[6:] for line in written)) <= set(PROSE)


def test_train_without_a_text(run):
    code, out, _ = run("train", "--epochs", "1", "--hidden", "8", "--sample-length", "0")
    assert code == 0
    assert out.startswith("text that comes with Python: ")
    assert text.load_model("model.safetensors")[2]["characters"] > 400_000


def test_train_options_reach_the_training(run, folder):
    for name, options in {
        "a": [], "b": [], "seed": ["--seed", "1"], "lr": ["--lr", "0.02"],
        "optimizer": ["--optimizer", "sgd"], "init": ["--init", "orthogonal"],
        "schedule": ["--schedule", "constant"], "clip": ["--clip-norm", "0.001"],
        "relu": ["--nonlinearity", "relu"], "validation": ["--validation", "0"],
    }.items():
        assert run("train", "prose.txt", "-o", name, *TWO, *options)[0] == 0
    assert numbers_of("a") == numbers_of("b")
    models = [numbers_of(each.stem)[0] for each in folder.glob("*.checkpoint")]
    assert len({tuple(each) for each in models}) == 9
    assert numbers_of("validation")[2]["validation_loss"] is None
    assert run("train", "prose.txt", "-o", "f64", *TWO, "--dtype", "float64")[0] == 0
    assert crnn.load("f64").dtype == np.float64


def test_patience(run):
    _, out, _ = run("train", "prose.txt", *SMALL, "--epochs", "99", "--lr", "0.5",
                    "--clip-norm", "99", "--patience", "1")
    assert 2 <= out.count("epoch ") < 90
    losses = [float(each) for each in re.findall(r"validation (\S+) nats", out)]
    np.testing.assert_allclose(
        text.load_model("model.safetensors")[2]["validation_loss"], min(losses), atol=6e-4
    )


def test_a_model_that_is_there_is_kept(run, folder):
    (folder / "model").write_bytes(b"precious")
    code, out, _ = run("train", "prose.txt", "-o", "model", *TWO)
    assert (code, "model.old" in out) == (0, True)
    assert (folder / "model.old").read_bytes() == b"precious"
    assert text.load_model("model")


@pytest.mark.parametrize("options", [
    ["--validation", "0", "--patience", "2"], ["--plot", "curve.gipf"], ["--lr", "0"],
    ["--batch-size", "9999"],
], ids=" ".join)
def test_a_training_that_cannot_start_leaves_everything(run, folder, options):
    (folder / "model").write_bytes(b"precious")
    assert run("train", "prose.txt", "-o", "model", *TWO, *options)[0] in (1, 2)
    assert sorted(each.name for each in folder.iterdir()) == ["model", "prose.txt"]


def test_an_output_without_a_name_is_refused_before_the_training(run, folder):
    code, out, err = run("train", "prose.txt", *TWO, "-o", "")
    assert code in (1, 2)
    assert out == ""
    assert str(folder) not in err  # this folder is not what was asked for
    assert [each.name for each in folder.iterdir()] == ["prose.txt"]


def test_resume_goes_on_to_the_same_bits(run):
    options = [*SMALL, "--schedule", "constant"]
    run("train", "prose.txt", "-o", "whole", *options, "--epochs", "4")
    run("train", "prose.txt", "-o", "part", *options, "--epochs", "2")
    code, out, err = run("train", "prose.txt", "-o", "part", *options, "--epochs", "4", "--resume")
    assert (code, err) == (0, "")
    assert [line[:9] for line in out.splitlines()[1:3]] == ["epoch 3/4", "epoch 4/4"]
    assert numbers_of("part") == numbers_of("whole")
    code, out, _ = run("train", "prose.txt", "-o", "part", *options, "--epochs", "4", "--resume")
    assert (code, out.count("epoch")) == (0, 0)  # it is over


def test_resume_promises_no_model_that_is_not_there(run, folder, monkeypatch):
    """A second training that dies in its first epoch must not leave the first one's checkpoint."""
    run("train", "prose.txt", *TWO)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(text, "save_model", full)
        assert run("train", "prose.txt", *TWO)[0] == 1
    code = run("train", "prose.txt", *TWO, "--resume")[0]
    assert code == 1 or (folder / "model.safetensors").exists()


def test_plot(run, folder):
    code, _, err = run("train", "prose.txt", *TWO, "--plot", "curve.png")
    assert (code, err) == (0, "")
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@posix
def test_ctrl_c_and_the_command_that_goes_on(run, folder):
    arguments = ["train", "prose.txt", "-o", "stopped", "--epochs", "100", *SMALL]
    with child(
        *arguments, how=("-c", LISTENING), stdout=subprocess.PIPE, text=True
    ) as process:
        while not process.stdout.readline().startswith("epoch 1/"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("crnn: stopped")
    assert err.count("\n") == 1
    assert text.load_model("stopped")[2]["epochs"] < 100
    words = shlex.split(err.partition("go on with: ")[2])
    assert words == ["crnn", *arguments, "--resume"]
    assert run(*words[1:])[0] == 0
    run("train", "prose.txt", "-o", "whole", "--epochs", "100", *SMALL)
    assert numbers_of("stopped") == numbers_of("whole")


def test_the_command_that_goes_on_can_be_pasted_into_a_shell(run, folder, monkeypatch):
    arguments = ["train", "my prose.txt", "-o", "a 'new' model", *TWO]
    (folder / "my prose.txt").write_text(PROSE)
    save = text.save_model

    def interrupted(*args):
        save(*args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "argv", ["crnn", *arguments])
    monkeypatch.setattr(text, "save_model", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    code, _, err = run(*arguments)
    signal.signal(signal.SIGINT, before)
    assert code == 130
    assert shlex.split(err.partition("go on with: ")[2]) == ["crnn", *arguments, "--resume"]


def test_ctrl_c_twice_promises_no_checkpoint(run, folder, monkeypatch):
    """The second one does not wait for anything to be saved."""
    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(text, "save_model", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    code, _, err = run("train", "prose.txt", *TWO)
    signal.signal(signal.SIGINT, before)
    assert code == 130
    assert_one_line(err)
    assert not (folder / "model.safetensors.checkpoint").exists()
    assert "saved" not in err


# sample, evaluate, info


def test_sample(run, model):
    options = ["--prime", "9 green", "--length", "40", "--seed", "3"]
    code, out, err = run("sample", model, *options)
    net, vocabulary, _ = text.load_model(model)
    wanted = text.sample(net, vocabulary, 40, prime="9 green", temperature=0.8, seed=3)
    assert (code, out, err) == (0, "9 green" + wanted + "\n", "")
    assert run("sample", model, *options)[1] == out
    assert run("sample", model, *options[:-1], "4")[1] != out
    assert len(run("sample", model)[1]) == 501
    assert run("sample", model, "--length", "0")[1] == "\n"


@pytest.mark.parametrize(("options", "arguments"), [
    (["--temperature", "0"], {"temperature": 0.0}), (["--top-k", "2"], {"top_k": 2}),
    (["--top-p", "0.4"], {"top_p": 0.4}),
], ids=["temperature", "top-k", "top-p"])
def test_sample_options(run, model, options, arguments):
    net, vocabulary, _ = text.load_model(model)
    wanted = text.sample(net, vocabulary, 99, **({"temperature": 0.8, "seed": 1} | arguments))
    assert run("sample", model, "--length", "99", "--seed", "1", *options)[1] == wanted + "\n"


def test_evaluate(run, model):
    net, vocabulary, _ = text.load_model(model)
    tokens = vocabulary.encode(PROSE)
    loss = crnn.evaluate(net, (tokens[:-1, None], tokens[1:, None]))
    code, out, err = run("evaluate", model, "prose.txt")
    assert (code, err) == (0, "")
    assert out == (f"{loss:.4f} nats and {loss / math.log(2):.4f} bits per character,"
                   f" {len(PROSE) - 1:,} characters\n")


def test_info(run, model):
    code, out, err = run("info", model)
    assert (code, err) == (0, "")
    net, vocabulary, training = text.load_model(model)
    rows = [line.split() for line in out.splitlines()]
    for name, view in net.parameters.items():
        shape = " x ".join(map(str, view.shape)).split()
        assert [name, *shape, f"{view.size:,}", f"{view.nbytes:,}"] in rows
    assert ["together", f"{net.num_parameters:,}", f"{net.vector.nbytes:,}"] in rows
    assert repr(vocabulary.symbols) in out
    for name, value in training.items():
        assert [*name.split("_"), *str(value).split()] in rows


# Failures


DAMAGE = {
    "cut off": lambda content: content[:-7], "header cut off": lambda content: content[:50],
    "empty": lambda content: b"", "a text": lambda content: PROSE.encode(),
    "flipped in the header": lambda content: content[:99] + b"\0" + content[100:],
    "flipped at the end": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}
FAILURES = {
    "no text": (["train", "nothing.txt"], "No such file.*nothing.txt"),
    "empty text": (["train", "empty"], "empty"),
    "text not UTF-8": (["train", "latin"], "UTF-8.*byte 2"),
    "text a folder": (["train", "."], "directory"),
    "text too short": (["train", "short", "--batch-size", "8"], "too short"),
    "text too short to validate": (["train", "short", "--batch-size", "2"], "validation"),
    "output folder": (["train", "prose.txt", "-o", "no/model"], "no such folder: no"),
    "output a folder": (["train", "prose.txt", "-o", "sub"], "sub"),
    "plot folder": (["train", "prose.txt", "--plot", "no/c.png"], "no such folder: no"),
    "plot ending": (["train", "prose.txt", "--plot", "curve.txt"], "curve.txt.*must end in"),
    "resume nothing": (["train", "prose.txt", "--resume"], "No such file.*checkpoint"),
    "patience": (["train", "prose.txt", "--validation", "0", "--patience", "2"], "validation"),
    "not finite": (["train", "prose.txt", "--lr", "3e38"], "learning rate"),
    "no model": (["sample", "nothing"], "No such file.*nothing"),
    "prime": (["sample", "model", "--prime", "9 gréen"], "'é'.*number 5"),
    "no text to evaluate": (["evaluate", "model", "nothing"], "No such file.*nothing"),
    "unknown characters": (["evaluate", "model", "other"], "'Ж'.*number 3"),
    "one character": (["evaluate", "model", "one"], "too short"),
    "evaluate not UTF-8": (["evaluate", "model", "latin"], "UTF-8.*byte 2"),
    "model a folder": (["info", "sub"], "directory.*sub"),
}


def assert_one_line(err):
    assert err.startswith("crnn: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "match"), FAILURES.values(), ids=FAILURES)
def test_failures(run, folder, model, arguments, match):
    contents = {"empty": b"", "latin": b"na\xefve", "short": b"0123456789", "one": b"9",
                "other": "99Ж".encode()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "sub").mkdir()
    small = TWO if arguments[0] == "train" else []
    code, out, err = run(*arguments[:2], *small, *arguments[2:])
    assert code == 1
    assert_one_line(err)
    assert re.search(match, err.replace(str(folder), ""))  # whose name has this test's id in it
    assert "epoch" not in out


@pytest.mark.parametrize("command", ["sample", "evaluate", "info"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_model(run, folder, model, command, damage):
    (folder / model).write_bytes(damage((folder / model).read_bytes()))
    code, out, err = run(command, model, *["prose.txt"] * (command == "evaluate"))
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert "model" in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
@pytest.mark.parametrize("arguments", [["train", "prose.txt"], ["train", "-o", "shut/model"]])
def test_without_permission(run, folder, arguments):
    (folder / "prose.txt").chmod(0)
    (folder / "shut").mkdir(mode=0o555)
    code, _, err = run(*arguments)
    assert code == 1
    assert_one_line(err)


@pytest.mark.parametrize("arguments", [
    "", "fly", "train --wings 2", "train --hidden many", "train --hidden 0", "train --lr nan",
    "train --epochs 1.5", "train --optimizer magic", "train --validation 1", "train a b",
    "sample", "sample m --top-p 2", "sample m --temperature -1", "sample m --length -1",
    "evaluate m", "info",
], ids=lambda arguments: arguments or "nothing")
def test_usage(run, arguments):
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("usage: crnn")
    assert "crnn: error: " in err or "error: " in err.splitlines()[-1]


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "info"])
def test_help(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert command in run("--help")[1]
    choices = next(each.choices for each in cli.parser()._actions if each.choices)
    for action in choices[command]._actions:
        assert action.help, action.dest
        assert all(name in out for name in action.option_strings)
        words = action.help.replace("%%", "%").split()
        assert " ".join(words[:3]) in " ".join(out.split())


def test_interrupted_elsewhere(run, model, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(text, "generate", interrupt)
    assert run("sample", model) == (130, "", "crnn: interrupted\n")


# As a process


def test_version_and_exit_code_of_the_module():
    with child("--version", stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate() == (f"crnn {crnn.__version__}\n", "")
    assert process.returncode == 0
    with child("info", "nothing", stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate() == ("", "crnn: No such file or directory: nothing\n")
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [
    ["sample", "model", "--length", "100000"], ["train", "prose.txt", *TWO],
], ids=["sample", "train"])
def test_output_that_nobody_reads(model, arguments):
    with child(*arguments, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()  # as head -1 does
        assert process.stderr.read() == b""


def test_a_file_name_that_is_not_utf_8(folder):
    name = os.fsdecode(b"pr\xffse.txt")
    try:
        (folder / name).write_text(PROSE)
    except OSError:
        pytest.skip("the file system has no such names")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    for arguments in (["train", name, "-o", name + ".model", *TWO], ["info", name + ".model"]):
        with child(*arguments, stdout=subprocess.PIPE, env=environment) as process:
            _, err = process.communicate()
        assert (process.returncode, err) == (0, b"")


def test_without_tqdm(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run("train", "prose.txt", *TWO)
    assert (code, err) == (0, "")
    assert out.count("epoch ") == 2


@posix
def test_the_bar_on_a_terminal():
    pytest.importorskip("tqdm")
    fcntl, pty, struct, termios = map(
        pytest.importorskip, ("fcntl", "pty", "struct", "termios")
    )
    outside, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    environment = os.environ | {"TQDM_MININTERVAL": "0"}
    shown = b""
    with child("train", "prose.txt", *TWO, stdout=terminal, stderr=terminal,
               env=environment) as process:
        os.close(terminal)
        try:
            while block := os.read(outside, 4096):
                shown += block
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(outside)
    assert process.returncode == 0
    assert re.search(rb"epoch 2/2: .*\d+/\d+, \d.*\d nats \(\d\.\d+ bits\) per character", shown)
    assert re.search(rb"epoch 1/2: training \d\.\d+ nats", shown)
