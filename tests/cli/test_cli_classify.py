"""``crnn classify``: what it trains, tells and writes, and what it says of what it cannot do."""

import json
import re
import shlex
import signal
import subprocess
import sys

import command_line
import numpy as np
import pytest
from command_line import assert_one_line

import crnn
from crnn.cli import labelled

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run

NAMES = ("walk", "run", "sit")
SMALL = ["--hidden", "4", "--epochs", "3"]
COUNTS = {"train": 30, "test": 12}


@pytest.fixture
def sequences(rng):
    """Of three classes that differ in their means, lengths from 2 to 6, three features; by file."""
    def of(count):
        labels = np.arange(count) % 3
        return [(rng.standard_normal((2 + k % 5, 3)) + 2 * label, NAMES[label])
                for k, label in enumerate(labels)]

    return {name: of(count) for name, count in COUNTS.items()}


def as_ts(rows):
    lines = ["@classLabel true walk run sit", "@data"]
    for x, label in rows:
        channels = ":".join(",".join(map(repr, channel)) for channel in x.T.tolist())
        lines.append(f"{channels}:{label}")
    return "\n".join(lines)


def as_csv(rows, columns=("a", "b", "c"), labelled=True):
    lines = [",".join(["id", *columns, *["label"] * labelled])]
    for number, (x, label) in enumerate(rows):
        for step in x:
            cells = [repr(float(step["abc".index(name)])) for name in columns]
            lines.append(",".join([f"n{number}", *cells, *[label] * labelled]))
    return "\n".join(lines)


@pytest.fixture
def files(folder, sequences):
    """The sequences in files of each kind."""
    for name, rows in sequences.items():
        (folder / f"{name}.ts").write_text(as_ts(rows))
        (folder / f"{name}.csv").write_text(as_csv(rows))
        np.savez(folder / f"{name}.npz", *[x for x, _ in rows], labels=[each for _, each in rows])
    return folder


def by_hand(training, options, **how):
    """What the command trains, in Python; classes are by the alphabet: run, sit, walk."""
    scaler = crnn.Scaler().fit([x for x, _ in training])
    x = scaler.transform([x for x, _ in training])
    numbers = np.array([sorted(NAMES).index(label) for _, label in training])
    net = crnn.GRU(3, 4, 3, seed=0, **{"bidirectional": True} | options)
    crnn.fit(net, crnn.batches(x, numbers, batch_size=16), crnn.AdamW(0.01), epochs=3, seed=0,
             schedule="cosine", clip_norm=1.0, **how)
    return net, scaler


def test_train_and_test(run, files, sequences):
    code, out, err = run("classify", "train.ts", "test.ts", *SMALL)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    net, scaler = by_hand(sequences["train"], {})
    assert lines[0] == (f"train.ts: 30 sequences of 2 to 6 steps and 3 features, 3 classes;"
                        f" {net.num_parameters:,} parameters")
    assert [each[:10] for each in lines[1:4]] == ["epoch 1/3:", "epoch 2/3:", "epoch 3/3:"]
    saved = crnn.load("model.safetensors")
    np.testing.assert_array_equal(saved.vector, net.vector)
    np.testing.assert_array_equal(saved.scaler.mean, scaler.mean)
    assert json.loads(saved.metadata["classes"]) == ["run", "sit", "walk"]
    assert saved.metadata["trained_on"] == "train.ts"
    labels = [label for _, label in sequences["test"]]
    predicted = [sorted(NAMES)[k] for k in net.predict(
        scaler.transform([x for x, _ in sequences["test"]]))]
    right = sum(map(str.__eq__, labels, predicted))
    assert lines[4] == f"accuracy {right / 12:.3f}: {right} of 12 sequences of test.ts"
    pairs = list(zip(labels, predicted, strict=True))
    rows = {line.split()[0]: [int(each.replace(".", "0")) for each in line.split()[1:]]
            for line in lines[8:11]}
    assert lines[7].split() == ["label", "run", "sit", "walk"]
    assert rows == {label: [pairs.count((label, each)) for each in sorted(NAMES)]
                    for label in sorted(NAMES)}
    assert lines[-1] == ("model.safetensors: the model; let it classify with: crnn classify --model"
                         " model.safetensors FILE")


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_the_same_sequences_in_another_file(run, files, kind):
    of_ts = run("classify", "train.ts", "test.ts", *SMALL, "-o", "of_ts")[1]
    code, out, _ = run("classify", f"train.{kind}", f"test.{kind}", *SMALL, "-o", "other")
    assert (code, out.splitlines()[5:-1]) == (0, of_ts.splitlines()[5:-1])
    np.testing.assert_array_equal(crnn.load("other").vector, crnn.load("of_ts").vector)


def test_the_command_that_is_shown_classifies_files_of_the_same_form(run, files):
    table = (files / "train.csv").read_text()
    (files / "walks.csv").write_text(table.replace("id,", "walk,", 1))
    code, out, _ = run("classify", "walks.csv", *SMALL, "--id", "walk")
    assert code == 0
    words = shlex.split(out.partition("let it classify with: ")[2])
    assert words == ["crnn", "classify", "--model", "model.safetensors", "--id", "walk", "FILE"]
    code, out, _ = run(*words[1:-1], "walks.csv")
    assert (code, len(out.splitlines())) == (0, 30)


def test_without_a_file_to_test_with_some_sequences_are_kept(run, files, sequences):
    code, out, _ = run("classify", "train.csv", *SMALL)
    assert code == 0
    assert "6 sequences of these kept for validation, not trained on\n" in out
    assert re.search(r"epoch 3/3: training loss \d\.\d+, accuracy \d\.\d+; validation loss \d\.\d+,"
                     r" accuracy \d\.\d+; ", out)
    assert re.search(r"accuracy \d\.\d+: \d of 6 sequences kept for validation\n", out)
    whole = labelled.Labelled("", [x for x, _ in sequences["train"]],
                              [each for _, each in sequences["train"]], None, None)
    training, kept = labelled.split(whole, 0.2)
    assert sorted(kept.labels) == sorted(NAMES * 2)
    rows = list(zip(training.sequences, training.labels, strict=True))
    np.testing.assert_array_equal(
        crnn.load("model.safetensors").scaler.mean, by_hand(rows, {})[1].mean)
    run("classify", "train.csv", *SMALL, "--seed", "5", "-o", "other")
    np.testing.assert_array_equal(
        crnn.load("other").scaler.mean, crnn.load("model.safetensors").scaler.mean)


@pytest.mark.parametrize(("count", "share", "kept"), [(10, 0.2, 2), (11, 0.5, 6), (99, 0.34, 34)])
def test_a_part_has_of_each_class_about_its_share(count, share, kept):
    whole = labelled.Labelled("", [np.full((1, 1), k) for k in range(count)],
                              ["rare" if k < 5 else "often" for k in range(count)], None, None)
    training, part = labelled.split(whole, share)
    assert len(part.sequences) == kept == len(part.labels)
    assert abs(part.labels.count("rare") - 5 * kept / count) < 1
    numbers = [int(each[0, 0]) for each in training.sequences + part.sequences]
    assert sorted(numbers) == list(range(count))
    assert all((label == "rare") == (each[0, 0] < 5)
               for each, label in zip(part.sequences, part.labels, strict=True))


def test_options_of_network_and_training(run, files, sequences):
    run("classify", "train.ts", "test.ts", *SMALL, "--one-way", "--balanced", "--cell", "gru")
    net, _ = by_hand(sequences["train"], {"bidirectional": False}, class_weight="balanced")
    np.testing.assert_array_equal(crnn.load("model.safetensors").vector, net.vector)


def test_missing_values_are_their_features_mean(run, files, sequences):
    scaler = crnn.Scaler().fit([np.array([[1.0, 0], [np.nan, 2], [3, 4]])])
    assert labelled.scaled([np.array([[np.nan, 2.0]])], scaler)[0].tolist() == [[0, 0]]
    text = as_ts(sequences["train"])
    first = text.index("@data\n") + len("@data\n")
    (files / "gaps.ts").write_text(text[:first] + "?" + text[text.index(",", first):])
    code, out, _ = run("classify", "gaps.ts", "test.ts", *SMALL)
    assert (code, "1 value missing, each taken as its feature's mean\n" in out) == (0, True)


def test_a_model_says_what_each_sequence_is(run, files, sequences):
    run("classify", "train.csv", "test.csv", *SMALL)
    net = crnn.load("model.safetensors")
    numbers = net.predict(net.scaler.transform([x for x, _ in sequences["test"]]))
    names = [sorted(NAMES)[k] for k in numbers]
    right = sum(name == label for name, (_, label) in zip(names, sequences["test"], strict=True))
    code, out, err = run("classify", "--model", "model.safetensors", "test.csv")
    assert code == 0
    assert out == "".join(f"n{k}\t{name}\n" for k, name in enumerate(names))
    assert err == f"crnn: accuracy {right / 12:.3f}: {right} of 12 labels of test.csv\n"
    code, out, _ = run("classify", "--model", "model.safetensors", "test.ts")
    assert (code, out.split("\n")) == (0, [*names, ""])


def test_a_model_knows_its_columns_by_name(run, files, sequences):
    run("classify", "train.csv", "test.csv", *SMALL)
    wanted = run("classify", "--model", "model.safetensors", "test.csv")
    (files / "test.csv").write_text(as_csv(sequences["test"], "cab", labelled=False))
    code, out, err = run("classify", "--model", "model.safetensors", "test.csv")
    assert (code, out, err) == (0, wanted[1], "")
    (files / "test.csv").write_text(as_csv(sequences["test"], "ab"))
    code, out, err = run("classify", "--model", "model.safetensors", "test.csv")
    assert (code, out) == (1, "")
    assert "has no column 'c'; its columns are 'id', 'a', 'b', 'label'" in err


def test_of_many_classes_the_mistakes_are_listed(run, files, rng):
    rows = [(rng.standard_normal((3, 3)), f"c{k % 21}") for k in range(63)]
    (files / "many.csv").write_text(as_csv(rows))
    code, out, _ = run("classify", "many.csv", *SMALL)
    assert code == 0
    assert "the most frequent mistakes:\n1 x c" in out or "taken for c" in out
    assert len(out.splitlines()) < 21


def test_whole_numbers_are_classes_in_their_order(run, files, sequences):
    rows = [(x, {"walk": "10.0", "run": "2.0", "sit": "1.0"}[label])
            for x, label in sequences["train"]]
    (files / "numbers.csv").write_text(as_csv(rows))
    assert run("classify", "numbers.csv", *SMALL)[0] == 0
    assert json.loads(crnn.load("model.safetensors").metadata["classes"]) == ["1", "2", "10"]


@pytest.mark.parametrize("arguments", [
    ["train.ts", "test.ts", *SMALL], ["--model", "model", "test.ts"], ["train.ts", *SMALL],
], ids=" ".join)
def test_picture(run, files, arguments):
    pytest.importorskip("matplotlib")
    run("classify", "train.ts", "test.ts", *SMALL, "-o", "model")
    assert run("classify", *arguments, "--plot", "taken.png")[0] == 0
    assert (files / "taken.png").read_bytes().startswith(b"\x89PNG")


FAILURES = {
    "no file": (["nothing.csv"], "No such file or directory: nothing.csv"),
    "a folder": (["."], "Is a directory: ."),
    "another kind of file": (["prose.txt"], r"'prose.txt' ends in '.txt'; crnn reads data from .t"),
    "no labels": (["plain.csv"], "plain.csv has no labels to learn from; a CSV file has them in"),
    "no such column": (["train.csv", "--label", "kind"], "has no column 'kind' for label; its col"),
    "a column of words": (["words.csv"], "line 2, column 'kind': 'x' is not a number.* or name th"),
    "numbers to predict": (["targets.ts"], "targets.ts has numbers to predict as labels, such as "),
    "fractions as labels": (["fractions.csv"], "has numbers to predict as labels, such as 0.5; cl"),
    "one class": (["one.csv"], "all sequences of one.csv are of the class 'x'; two classes at lea"),
    "test without labels": (["train.ts", "plain.csv"], "plain.csv has no labels to test with; lea"),
    "test of another width": (["train.ts", "two.csv"], "two.csv has 1 feature a step; the network"),
    "test of unknown classes": (["two.csv", "train.csv"], "has no column 'd'; its columns are"),
    "a class only to test": (["train.csv", "other.csv"], "other.csv has the class 'x', which is n"),
    "too few to keep some": (["two.csv"], "of 2 sequences none would be kept for validation; take"),
    "nothing kept": (["train.ts", "test.ts", "--patience", "2"], "--patience watches the validati"),
    "the same file twice": (["train.ts", "train.ts"], "TRAIN and TEST are the same file, train.ts"),
    "over its data": (["train.ts", "-o", "train.ts"], "TRAIN and --output are the same file, trai"),
    "over another file": (["train.ts", "-o", "prose.txt"], "'prose.txt' is not a crnn file.* it i"),
    "picture over its data": (["train.csv", "--plot", "train.csv"], "must end in one of"),
    "ending of a picture": (["train.csv", "--plot", "a.txt"], "a.txt: the name must end in one of"),
    "columns of no table": (["train.ts", "--id", "a"], "id is 'a', which is for CSV files; leave"),
    "dropout": (["train.ts", "--dropout", "0.1"], "give --layers 2 or more"),
    "two files for a model": (["--model", "model", "train.ts", "test.ts"], "with --model one file"),
    "training with a model": (["--model", "model", "test.ts", "--epochs", "5", "--one-way"],
                              "with --model nothing is trained; leave out .*--one-way, --epochs,"),
    "no model": (["--model", "nothing", "test.ts"], "No such file or directory: nothing"),
    "a model of texts": (["--model", "writer", "test.ts"], "'writer' is no model that 'crnn class"),
    "data for a model": (["--model", "test.ts", "train.ts"], "'test.ts' is not a crnn file"),
    "another width": (["--model", "model", "two.csv"], "two.csv has 1 feature a step; the network"),
    "a picture without labels": (["--model", "model", "plain.csv", "--plot", "a.png"],
                                 "--plot draws what labels are taken for, and plain.csv has none"),
}


@pytest.mark.parametrize(("arguments", "match"), FAILURES.values(), ids=FAILURES)
def test_failures(run, files, arguments, match):
    pytest.importorskip("matplotlib")
    for name, content in {
        "plain.csv": "a,b,c\n1,2,3\n", "words.csv": "id,a,kind\n1,2,x\n",
        "targets.ts": "@targetLabel true\n@data\n1:1\n2:2\n",
        "fractions.csv": "id,a,label\n1,2,0.5\n2,3,1\n", "two.csv": "id,d,label\n1,2,x\n2,3,y\n",
        "other.csv": "id,a,b,c,label\n1,2,3,4,x\n", "one.csv": "id,a,label\n1,2,x\n2,3,x\n",
    }.items():
        (files / name).write_text(content)
    if "--model" in arguments:
        run("classify", "train.ts", "test.ts", *SMALL, "-o", "model")
        run("train", "prose.txt", *command_line.SMALL, "--epochs", "1", "-o", "writer")
    before = {path: path.read_bytes() for path in files.iterdir()}
    code, out, err = run("classify", *arguments)
    assert code == 1
    assert_one_line(err)
    assert re.search(match, err)
    assert "epoch" not in out
    assert {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize(("key", "value", "match"), [
    ("classes", "[", "has a bad classes, not strict JSON"),
    ("classes", '["a", "b"]', "does not name each class once"),
    ("classes", '["a", "b", "b"]', "does not name each class once"),
    ("classes", '["a", "b", 3]', "does not name each class once"),
    ("classes", "{}", "does not name each class once"),
    ("features", '["a"]', "does not name each feature once"),
    ("features", '"abc"', "does not name each feature once"),
    ("targets", "every", "is no model that classifies whole sequences"),
    ("loss", "mse", "is no model that classifies whole sequences"),
])
def test_a_forged_model(run, files, key, value, match):
    run("classify", "train.csv", "test.csv", *SMALL)
    crnn.load("model.safetensors").save("forged", {key: value})
    code, out, err = run("classify", "--model", "forged", "test.csv")
    assert (code, out) == (1, "")
    assert_one_line(err)
    assert match in err


def test_names_of_classes_rule_no_screen(run, files, sequences):
    rows = [(x, label + "\x1b[2J") for x, label in sequences["train"]]
    (files / "train.csv").write_text(as_csv(rows))
    code, out, err = run("classify", "train.csv", *SMALL)
    assert (code, "\x1b" in out + err) == (0, False)


def test_going_on_with_other_data_is_refused(run, files):
    run("classify", "train.ts", "test.ts", *SMALL)
    for change in (["test.ts"], ["train.ts", "test.ts", "--validation", "0.3"],
                   ["train.ts", "test.ts", "--one-way"], ["train.ts", "test.ts", "--balanced"]):
        code, _, err = run("classify", *change, *SMALL, "--resume")
        assert (code, "was made with another" in err) == (1, True)


def test_nothing_left_to_do(run, files):
    run("classify", "train.ts", "test.ts", *SMALL)
    code, out, _ = run("classify", "train.ts", "test.ts", *SMALL, "--resume")
    assert code == 0
    assert "accuracy " in out
    assert out.endswith("nothing left to do: model.safetensors.checkpoint has 3 epochs; give more"
                        " --epochs\n")


def test_patience(run, files):
    code, out, _ = run("classify", "train.ts", "--hidden", "4", "--patience", "1", "--lr", "1",
                       "--clip-norm", "100")
    assert (code, "patience ended it: 1 epoch without a better validation loss; go on" in out) == (
        0, True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_and_the_command_that_goes_on(run, files):
    arguments = ["classify", "train.ts", "test.ts", "-o", "stopped", "--hidden", "4",
                 "--epochs", "100"]
    started = "import signal, sys\nfrom crnn.cli import main\n" \
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main())"
    with subprocess.Popen([sys.executable, "-W", "error", "-c", started, *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not process.stdout.readline().startswith("epoch 1/"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "\naccuracy" in out) == (130, False)
    assert_one_line(err)
    words = shlex.split(err.partition("go on with: ")[2])
    assert words == ["crnn", *arguments, "--resume"]
    assert run(*words[1:])[0] == 0
    arguments[arguments.index("stopped")] = "whole"
    assert run(*arguments)[0] == 0
    np.testing.assert_array_equal(crnn.load("stopped").vector, crnn.load("whole").vector)
