"""The command line: its four commands and their options."""

import math
import re

import command_line
import numpy as np
import pytest
from command_line import PROSE, SMALL, TWO, numbers_of

import crnn
from crnn import text

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run
trained, model = command_line.trained, command_line.model


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


def test_tabs_are_shown_as_such(run, folder):
    (folder / "tabs.txt").write_text("\tx\x0c" * 600)
    _, out, _ = run("train", "tabs.txt", *TWO, "--lr", "0.1", "--sample-length", "30")
    written = [line for line in out.splitlines() if line.startswith("    | ")]
    assert any("x\t" in line or "\tx" in line for line in written)


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
        "tanh": ["--nonlinearity", "tanh"], "rnn": ["--cell", "rnn"], "gru": ["--cell", "gru"],
        "lstm": ["--cell", "lstm"], "layers": ["--layers", "2"],
        "dropout": ["--layers", "2", "--dropout", "0.5"],
    }.items():
        assert run("train", "prose.txt", "-o", name, *TWO, *options)[0] == 0
    assert numbers_of("a") == numbers_of("b") == numbers_of("tanh") == numbers_of("rnn")
    models = [numbers_of(each.stem)[0] for each in folder.glob("*.checkpoint")]
    assert len({tuple(each) for each in models}) == 13
    assert numbers_of("validation")[2]["validation_loss"] is None
    assert run("train", "prose.txt", "-o", "f64", *TWO, "--dtype", "float64")[0] == 0
    assert crnn.load("f64").dtype == np.float64


def mean_loss_of(model, content):
    net, vocabulary, _ = text.load_model(model)
    tokens = vocabulary.encode(content)
    return crnn.evaluate(net, (tokens[:-1, None], tokens[1:, None]))


@pytest.mark.parametrize("characters", [900, 30_000])  # 1 stream, and 2
@pytest.mark.parametrize("batch_size", [1, 32])
def test_the_validation_loss_is_that_of_evaluate(run, folder, characters, batch_size):
    """Even where streams would be so short that all they do is start."""
    content = (PROSE * 30)[:characters]
    (folder / "some.txt").write_text(content)
    options = ["--hidden", "32", "--epochs", "9", "--lr", "0.02", "--sample-length", "0"]
    run("train", "some.txt", *options, "--batch-size", batch_size, "--validation", "0.45")
    said = text.load_model("model.safetensors")[2]["validation_loss"]
    wanted = mean_loss_of("model.safetensors", content[-int(characters * 0.45):])
    np.testing.assert_allclose(said, wanted, atol=0.02)
    assert said < 2  # and something has been learned


@pytest.mark.parametrize("characters", [3, 9, 19])
def test_a_text_too_short_to_validate(run, folder, characters):
    (folder / "short.txt").write_text("abcdefghi.jklmnopqrs"[:characters])
    code, out, err = run("train", "short.txt", *SMALL, "--epochs", "1")
    assert (code, out) == (1, "")
    kept = characters // 10
    assert f"for validation is too short, {kept} character{'s' * (kept != 1)};" in err
    code, out, _ = run("train", "short.txt", *SMALL, "--epochs", "1", "--validation", "0")
    assert (code, "validation" in out) == (0, False)


def test_a_short_text_is_learned_by_heart(run, folder):
    content = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind\n"
    (folder / "short.txt").write_text(content * 2)
    options = ["--validation", "0", "--epochs", "60", "--lr", "0.01", "--sample-length", "0"]
    code, out, err = run("train", "short.txt", *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == (
        "1 parallel stream, not 32: more would be shorter than 8 times --steps")
    training_loss = text.load_model("model.safetensors")[2]["training_loss"]
    assert training_loss < 0.02
    np.testing.assert_allclose(
        mean_loss_of("model.safetensors", content * 2), training_loss, atol=0.02)


@pytest.mark.parametrize(("batch_size", "streams"), [(2, 2), (7, 7), (8, 7), (99, 7)])
def test_training_streams_are_not_short(run, folder, batch_size, streams):
    (folder / "some.txt").write_text(PROSE[: 7 * 8 * 16 + 1])
    options = [*SMALL, "--epochs", "1", "--validation", "0", "--batch-size", batch_size]
    _, out, _ = run("train", "some.txt", *options)
    line = f"{streams} parallel streams, not {batch_size}: more would be shorter than 8 times"
    assert (line in out) == (streams < batch_size)
    assert text.load_model("model.safetensors")[2]["updates"] == 7 * 8 // streams


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_every_cell_can_be_trained_gone_on_with_and_used(run, cell):
    options = [*SMALL, "--schedule", "constant", "--cell", cell, "--layers", "2"]
    options += ["--dropout", "0.2"]
    run("train", "prose.txt", "-o", "whole", *options, "--epochs", "2")
    run("train", "prose.txt", "-o", "part", *options, "--epochs", "1")
    code, _, err = run("train", "prose.txt", "-o", "part", *options, "--epochs", "2", "--resume")
    assert (code, err) == (0, "")
    assert numbers_of("part") == numbers_of("whole")
    net, vocabulary, _ = text.load_model("part")
    assert type(net) is getattr(crnn, cell.upper())
    assert (net.num_layers, net.dropout) == (2, 0.2)
    code, out, err = run("sample", "part", "--length", "40", "--seed", "3")
    wanted = text.sample(net, vocabulary, 40, temperature=0.8, seed=3)
    assert (code, out, err) == (0, wanted + "\n", "")
    code, out, err = run("evaluate", "part", "prose.txt")
    tokens = vocabulary.encode(PROSE)
    loss = crnn.evaluate(net, (tokens[:-1, None], tokens[1:, None]))
    assert (code, out.split()[0], err) == (0, f"{loss:.4f}", "")
    code, out, err = run("info", "part")
    assert (code, err) == (0, "")
    assert f"crnn.{cell.upper()}(" in out
    assert "2 layers of 4 hidden units" in out
    assert "W_hh_l1" in out


def test_patience(run):
    _, out, _ = run("train", "prose.txt", *SMALL, "--epochs", "99", "--lr", "0.5",
                    "--clip-norm", "99", "--patience", "1")
    assert 2 <= out.count("epoch ") < 90
    losses = [float(each) for each in re.findall(r"validation (\S+) nats", out)]
    np.testing.assert_allclose(
        text.load_model("model.safetensors")[2]["validation_loss"], min(losses), atol=6e-4
    )


def test_going_on_after_patience(run):
    options = ["prose.txt", *SMALL, "--lr", "0.5", "--clip-norm", "99", "--schedule", "constant"]
    _, out, _ = run("train", *options, "--epochs", "9", "--patience", "1")
    assert "patience ended it: 1 epoch without" in out.splitlines()[-2]
    epochs = out.count("\nepoch ")
    for more in (["--epochs", "99"], ["--epochs", "9"]):
        code, out, _ = run("train", *options, *more, "--patience", "1", "--resume")
        assert code == 0
        assert re.search("ended it: 1 epoch without .* go on with --resume and a larger", out)
        assert "--epochs" not in out
    _, out, _ = run("train", *options, "--epochs", str(epochs), "--patience", "1", "--resume")
    assert "go on with --resume and more --epochs and a larger --patience" in out
    code, out, _ = run("train", *options, "--epochs", "9", "--patience", "99", "--resume")
    assert code == 0
    assert out.splitlines()[1].startswith(f"epoch {epochs + 1}/9: ")
    assert "patience" not in out
    whole = run("train", *options, "--epochs", "9", "--patience", "99", "-o", "whole")[1]
    assert whole.count("epoch ") == 9
    assert numbers_of("model.safetensors") == numbers_of("whole")


def test_a_model_that_is_there_is_kept(run, folder, model, trained):
    code, out, _ = run("train", "prose.txt", "-o", model, *TWO, "--seed", "1")
    assert (code, "model.old" in out) == (0, True)
    assert (folder / "model.old").read_bytes() == trained != (folder / model).read_bytes()
    assert text.load_model(model)


def test_an_empty_file_that_is_there_is_replaced(run, folder):
    (folder / "model").touch()
    assert run("train", "prose.txt", "-o", "model", *TWO)[0] == 0
    assert text.load_model("model")


@pytest.mark.parametrize("arguments", [
    ["-o", "notes"], ["-o", "prose.txt"], ["-o", "sub/../prose.txt"], ["--plot", "drawn.svg"],
    ["-o", "p.svg", "--plot", "p.svg"], ["-o", "p", "--plot", "p.checkpoint.svg"],
    ["-o", "model"],
], ids=" ".join)
def test_what_is_not_a_model_is_not_replaced(run, folder, model, arguments):
    (folder / "sub").mkdir()
    (folder / "model.old").write_text("precious")
    (folder / "notes").write_text("precious")
    (folder / "p.checkpoint.svg").symlink_to(folder / "p.checkpoint")
    (folder / "drawn.svg").write_text(PROSE)
    given = "drawn.svg" if "drawn.svg" in arguments else "prose.txt"
    before = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    code, out, err = run("train", given, *TWO, *arguments)
    assert (code, out) == (1, "")
    assert re.search(
        "are the same file|'(notes|model.old)' is .*not a crnn file.*give another --output", err
    )
    assert {
        each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()
    } == before


def test_an_old_model_is_not_kept_through_a_link(run, folder, model, trained):
    """At no name that can be guessed, whatever lies there."""
    (folder / "victim").write_text("precious")
    for name in ("model.old.tmp", ".model.old.tmp", ".model.tmp"):
        (folder / name).symlink_to(folder / "victim")
    assert run("train", "prose.txt", "-o", model, *TWO)[0] == 0
    assert (folder / "victim").read_text() == "precious"
    assert not (folder / "model.old").is_symlink()
    assert (folder / "model.old").read_bytes() == trained


def test_a_text_where_the_old_model_would_be_kept(run, folder, model):
    (folder / "model.old").write_text(PROSE)
    code, out, err = run("train", "model.old", "-o", model, *TWO)
    assert (code, out) == (1, "")
    assert "are the same file, model.old" in err
    assert (folder / "model.old").read_text() == PROSE


def test_resume_beside_a_damaged_model(run, folder):
    options = ["prose.txt", *SMALL, "--schedule", "constant", "-o", "model"]
    run("train", *options, "--epochs", "1")
    whole = (folder / "model").read_bytes()
    (folder / "model").write_bytes(whole[:40])
    assert run("train", *options, "--epochs", "2", "--resume")[0] == 0
    assert text.load_model("model")[2]["epochs"] == 2


def test_a_byte_order_mark_is_no_character(run, folder):
    (folder / "marked.txt").write_text(PROSE, encoding="utf-8-sig")
    run("train", "marked.txt", *TWO)
    assert text.load_model("model.safetensors")[1].symbols == "".join(sorted(set(PROSE)))


def test_a_picture_of_a_training_that_is_over(run, folder):
    run("train", "prose.txt", *TWO)
    code, out, _ = run("train", "prose.txt", *TWO, "--resume", "--plot", "curve.png")
    assert code == 0
    assert "nothing left to do" in out
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_best_model_that_is_gone(run, folder):
    options = [*SMALL, "--schedule", "constant", "--lr", "1e-30"]
    run("train", "prose.txt", *options, "--epochs", "2")
    (folder / "model.safetensors").unlink()
    code, out, _ = run("train", "prose.txt", *options, "--epochs", "3", "--resume")
    assert code == 0
    assert "model.safetensors is not there any more" in out


@pytest.mark.parametrize("options", [
    ["--validation", "0", "--patience", "2"], ["--plot", "curve.gipf"], ["--lr", "0"],
    ["--cell", "gru", "--nonlinearity", "tanh"], ["--dropout", "0.1"],
], ids=" ".join)
def test_a_training_that_cannot_start_leaves_everything(run, folder, model, trained, options):
    assert run("train", "prose.txt", "-o", model, *TWO, *options)[0] in (1, 2)
    assert sorted(each.name for each in folder.iterdir()) == ["model", "prose.txt"]
    assert (folder / model).read_bytes() == trained


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
    assert (code, out.count("epoch "), out.count("nothing left to do")) == (0, 0, 1)  # it is over


def test_resume_without_a_checkpoint_begins(run, folder):
    (folder / "model.safetensors").write_bytes(b"")
    code, out, err = run("train", "prose.txt", *TWO, "--resume")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        "there is no model.safetensors.checkpoint to go on from: training begins")
    assert "epoch 1/2" in out
    assert (folder / "model.safetensors.old").read_bytes() == b""  # as without --resume
    vector = text.load_model("model.safetensors")[0].vector
    run("train", "prose.txt", *TWO, "-o", "other")
    assert np.array_equal(vector, text.load_model("other")[0].vector)


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


def test_a_compressed_model_writes_but_does_not_train(run, folder):
    vocabulary = text.Vocabulary.of(PROSE)
    net = crnn.GRU(len(vocabulary), 100, len(vocabulary), seed=0).compress("bf16")
    text.save_model("small", net, vocabulary)
    code, out, err = run("info", "small")
    assert (code, err) == (0, "")
    assert "compress('bf16')" in out
    assert ["W_hh_l0", "100", "x", "300", "30,000", "60,000"] in map(str.split, out.splitlines())
    for command in (["sample", "small", "--length", "5"], ["evaluate", "small", "prose.txt"]):
        assert run(*command)[::2] == (0, "")
    code, _, err = run("train", "prose.txt", "--init-from", "small")
    assert code == 1
    assert "small is compressed to bf16, and does not train" in err
