"""The command line as a process: Ctrl-C, pipes, odd file names, terminals."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys

import command_line
import pytest
from command_line import PROSE, SMALL, TWO, assert_one_line, numbers_of

import crnn
from crnn import text

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run
trained, model = command_line.trained, command_line.model

posix = pytest.mark.skipif(os.name == "nt", reason="signals and terminals of POSIX")

# For a run in the background, whose children would ignore Ctrl-C; or of which it is certain.
STARTED = """
import signal, sys
from crnn.cli import main
signal.signal(signal.SIGINT, signal.{})
sys.exit(main())
"""
LISTENING, DEAF = STARTED.format("default_int_handler"), STARTED.format("SIG_IGN")


def child(*arguments, how=("-m", "crnn"), **options):
    """Start the command line as a process of its own."""
    command = [sys.executable, "-W", "error", *how, *arguments]
    return subprocess.Popen(command, **({"stderr": subprocess.PIPE} | options))


@contextlib.contextmanager
def handled():
    """Handlers as a process of its own has them, whatever runs the tests."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    }
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@posix
@pytest.mark.parametrize(("signum", "code", "how"), [
    (signal.SIGINT, 130, LISTENING), (signal.SIGTERM, 143, LISTENING), (signal.SIGTERM, 143, DEAF),
], ids=["Ctrl-C", "SIGTERM", "SIGTERM where Ctrl-C is ignored"])
def test_ctrl_c_and_the_command_that_goes_on(run, folder, signum, code, how):
    arguments = ["train", "prose.txt", "-o", "stopped", "--epochs", "100", *SMALL]
    with child(*arguments, how=("-c", how), stdout=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("epoch 1/"):
            assert process.poll() is None
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
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
    with handled():
        code, _, err = run(*arguments)
    assert code == 130
    assert shlex.split(err.partition("go on with: ")[2]) == ["crnn", *arguments, "--resume"]


@posix
@pytest.mark.parametrize(("signals", "wanted"), [
    ((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM, signal.SIGTERM), 143),
    ((signal.SIGTERM, signal.SIGINT), 130), ((signal.SIGINT, signal.SIGTERM), 143),
], ids=str)
def test_ctrl_c_twice_promises_no_checkpoint(run, folder, monkeypatch, signals, wanted):
    """The second one does not wait for anything to be saved."""
    def interrupted(*args):
        for signum in signals:
            signal.raise_signal(signum)

    monkeypatch.setattr(text, "save_model", interrupted)
    with handled():
        code, _, err = run("train", "prose.txt", *TWO)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert code == wanted
    assert_one_line(err)
    assert not (folder / "model.safetensors.checkpoint").exists()
    assert "saved" not in err


@posix
def test_a_handler_of_sigterm_stays(run, folder, monkeypatch):
    """And is called: it is for whoever set it to say what becomes of the training."""
    came = []
    monkeypatch.setattr(text, "save_model", lambda *args: signal.raise_signal(signal.SIGTERM))
    with handled():
        signal.signal(signal.SIGTERM, handler := lambda *args: came.append(args))
        assert run("train", "prose.txt", *TWO)[0] == 0
        assert signal.getsignal(signal.SIGTERM) is handler
    assert came


@posix
def test_terminated_before_the_training(run, monkeypatch):
    monkeypatch.setattr(text, "builtin_text", lambda: signal.raise_signal(signal.SIGTERM))
    with handled():
        assert run("train") == (143, "", "crnn: interrupted\n")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_interrupted_elsewhere(run, model, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(text, "generate", interrupt)
    assert run("sample", model) == (130, "", "crnn: interrupted\n")


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


@posix
@pytest.mark.parametrize("closed", ["1", "2"])
def test_output_that_is_closed_from_the_start(model, closed):
    command = f'exec "$0" -W error -m crnn info {model} {closed}>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("hidden units" in done.stdout) == (closed == "2")


def test_an_instruction_set_that_is_not_there_is_not_the_files_fault(model, monkeypatch):
    monkeypatch.setenv("CRNN_ISA", "mmx")
    with child("info", model, stdout=subprocess.PIPE, text=True) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.startswith("crnn: CRNN_ISA is 'mmx'")


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
    assert re.search(rb"epoch 2/2: .*\d+/\d+, loss \d", shown)
    assert re.search(rb"epoch 2/2: training \d.*\d nats \(\d\.\d+ bits\) per character", shown)
    assert re.search(rb"epoch 1/2: training \d\.\d+ nats", shown)


def test_a_second_training_keeps_the_first_ones_checkpoint(run, folder):
    run("train", "prose.txt", *TWO)
    first = (folder / "model.safetensors.checkpoint").read_bytes()
    code, out, _ = run("train", "prose.txt", *TWO, "--seed", "5")
    assert (code, "model.safetensors.checkpoint.old" in out) == (0, True)
    assert (folder / "model.safetensors.checkpoint.old").read_bytes() == first


@pytest.mark.parametrize("change", [["--schedule", "constant"], ["--init", "identity"],
                                    ["--validation", "0.2"], ["--cell", "lstm"],
                                    ["--layers", "2"], ["--layers", "3", "--dropout", "0.1"]],
                         ids=" ".join)
def test_going_on_with_other_options_is_refused(run, change):
    run("train", "prose.txt", *TWO)
    code, _, err = run("train", "prose.txt", *TWO, "--resume", *change)
    assert (code, "was made with another" in err) == (1, True)


def test_going_on_with_another_text_is_told_as_that(run, folder):
    run("train", "prose.txt", *TWO)
    (folder / "other.txt").write_text("something else " * 99)
    code, _, err = run("train", "other.txt", *TWO, "--resume")
    assert (code, "data, batch_size or truncation are not those" in err) == (1, True)
    assert "input_size" not in err


def test_a_checkpoint_is_no_model(run):
    run("train", "prose.txt", *TWO)
    code, _, err = run("info", "model.safetensors.checkpoint")
    assert (code, "a checkpoint of training, not a model" in err) == (1, True)
