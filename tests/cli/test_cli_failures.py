"""Failures of the command line: exit codes, one line for each, usage and help."""

import os
import re

import command_line
import pytest
from command_line import PROSE, TWO, assert_one_line

from crnn import cli

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run
trained, model = command_line.trained, command_line.model

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
    "patience": (["train", "prose.txt", "--validation", "0", "--patience", "2"], "validation"),
    "nonlinearity of a GRU": (["train", "prose.txt", "--cell", "gru", "--nonlinearity", "relu"],
                              "--nonlinearity is an option of --cell rnn"),
    "nonlinearity of an LSTM": (["train", "prose.txt", "--cell", "lstm", "--nonlinearity", "tanh"],
                                "--nonlinearity is an option of --cell rnn"),
    "strict alone": (["train", "prose.txt", "--strict"], "--strict goes with --init-from"),
    "dropout in one layer": (["train", "prose.txt", "--dropout", "0.1"], "--layers 2 or more"),
    "not finite": (["train", "prose.txt", "--lr", "3e38"], "learning rate"),
    "no model": (["sample", "nothing"], "No such file.*nothing"),
    "prime": (["sample", "model", "--prime", "9 gréen"], "'é'.*number 5"),
    "no text to evaluate": (["evaluate", "model", "nothing"], "No such file.*nothing"),
    "unknown characters": (["evaluate", "model", "other", "--strict"], "'Ж'.*number 3"),
    "one character": (["evaluate", "model", "one"], "too short"),
    "evaluate not UTF-8": (["evaluate", "model", "latin"], "UTF-8.*byte 2"),
    "model a folder": (["info", "sub"], "directory.*sub"),
}


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
    "train --epochs 1.5", "train --optimizer magic", "train --validation 1",
    "train --encoding klingon",
    "train --cell elman", "train --layers 0", "train --layers 1001",
    "train --dropout 1", "train --dropout -0.1",
    "sample", "sample m --top-p 2", "sample m --temperature -1", "sample m --length -1",
    "evaluate m", "evaluate m t --encoding hex", "info", "classify", "classify a --rows b",
    "classify a --validation 1", "classify a --encoding klingon", "classify a b c", "forecast",
    "forecast a --horizon 0", "forecast a --coverage 1", "forecast a --calendar noon",
], ids=lambda arguments: arguments or "nothing")
def test_usage(run, arguments):
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("usage: crnn")
    assert "crnn: error: " in err or "error: " in err.splitlines()[-1]


@pytest.mark.parametrize("command", ["train", "classify", "forecast", "sample", "evaluate", "info"])
def test_help(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert command in run("--help")[1]
    choices = next(each.choices for each in cli.parser()._actions if each.choices)
    for action in choices[command]._actions:
        assert action.help, action.dest
        assert all(name in out for name in action.option_strings)
        words = action.help.replace("%%", "%").split()
        shown = " ".join(out.split())
        assert " ".join(words[:3]) in shown
        is_flag = action.nargs == 0
        if isinstance(action.default, (int, float, str)) and not is_flag and action.default != "":
            assert f"(default: {action.default})" in shown
