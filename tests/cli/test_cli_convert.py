"""``crnn convert``, and ``crnn info`` of other programs' files."""

import json
import re

import command_line
import numpy as np
import pytest
from command_line import assert_one_line
from safetensors.numpy import load_file, save_file

import crnn

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run

I, H, O = 3, 5, 2  # noqa: E741


@pytest.fixture
def state(folder):
    """A file of PyTorch's in the folder, and its arrays."""
    rng = np.random.default_rng(0)
    shapes = {"rnn.weight_ih_l0": (H, I), "rnn.weight_hh_l0": (H, H), "rnn.bias_ih_l0": (H,),
              "rnn.bias_hh_l0": (H,), "fc.weight": (O, H), "fc.bias": (O,), "other.weight": (4, 4)}
    arrays = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(arrays, "state.safetensors")
    return arrays


TAKEN = ["--layers", "rnn,fc", "--nonlinearity", "relu", "--activation", "fc=sigmoid"]


def test_a_file_of_pytorch_becomes_one_of_crnn(run, state):
    code, out, err = run("convert", "state.safetensors", "net.safetensors", *TAKEN)
    assert (code, err) == (0, "")
    assert "RNN(5, nonlinearity='relu'), Dense(2, activation='sigmoid')" in out
    assert "left out: 'other'" in out
    net = crnn.load("net.safetensors")
    x = np.random.default_rng(1).standard_normal((7, I))
    h, wanted = np.zeros(H), []
    for each in x:
        h = np.maximum(0, state["rnn.weight_ih_l0"] @ each + state["rnn.bias_ih_l0"]
                       + state["rnn.weight_hh_l0"] @ h + state["rnn.bias_hh_l0"])
        wanted.append(1 / (1 + np.exp(-state["fc.weight"] @ h - state["fc.bias"])))
    np.testing.assert_allclose(net(x)[0], wanted, rtol=2e-5)
    assert "other" in net.metadata["left_out"]


def test_info_shows_what_convert_would_take(run, state):
    code, out, err = run("info", "state.safetensors", *TAKEN)
    assert (code, err) == (0, "")
    assert "nonlinearity='relu'" in out
    assert "W_hh_l0" in out
    assert "left_out" in out


def test_there_and_back(run, state):
    run("convert", "state.safetensors", "net.safetensors", *TAKEN)
    code, out, _ = run("convert", "net.safetensors", "again.safetensors", "--to", "torch")
    assert code == 0
    assert "parameters" in out
    again = load_file("again.safetensors")
    for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "fc.weight", "fc.bias"):
        np.testing.assert_array_equal(again[name], state[name])


def test_a_c_header(run, folder):
    crnn.GRU(I, H, O, seed=0).save("net.safetensors")
    code, _, _ = run("convert", "net.safetensors", "gru.h", "--name", "gru")
    assert code == 0
    assert "gru_step" in (folder / "gru.h").read_text()


def test_an_onnx_model_and_back(run):
    pytest.importorskip("onnx")
    crnn.LSTM(I, H, O, seed=0).save("net.safetensors")
    assert run("convert", "net.safetensors", "lstm.onnx")[0] == 0
    code, out, _ = run("convert", "lstm.onnx", "again.safetensors")
    assert code == 0
    assert "LSTM(5)" in out
    x = np.ones((4, I), np.float32)
    np.testing.assert_array_equal(crnn.load("again.safetensors")(x)[0],
                                  crnn.load("net.safetensors")(x)[0])


def test_a_file_of_json(run, folder):
    dense = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[3]], [0]]}
    gru = {"type": "gru", "activation": "tanh", "shape": [None, None, 1],
           "weights": [[[1, 2, 3]], [[1, 2, 3]], [[0, 0, 0], [0, 0, 0]]]}
    model = {"in_shape": [None, None, 1], "layers": [gru, dense]}
    (folder / "amp.json").write_text(json.dumps(model))
    assert run("convert", "amp.json", "amp.safetensors")[0] == 0
    assert crnn.load("amp.safetensors").layers == (crnn.layers.GRU(1), crnn.layers.Dense(1))


@pytest.mark.parametrize(("arguments", "match"), [
    (["state.safetensors", "net.safetensors"], "--layers NAME,NAME"),
    (["state.safetensors", "net.txt"], "'.txt'; .safetensors, .onnx or .h is wanted"),
    (["state.safetensors", "net.h", "--to", "onnx"], "for --to onnx .onnx is wanted"),
    (["state.safetensors", "state.safetensors"], "the same file"),
    (["state.safetensors", "no/net.safetensors"], "no such folder: no"),
    (["nothing.h5", "net.safetensors"], "No such file.*nothing.h5"),
    (["prose.txt", "net.safetensors"], "not a crnn file.*a text"),
    (["prose.json", "net.safetensors"], "prose.json"),
    (["own.safetensors", "net.onnx", "--layers", "lstm"],
     "--layers does not go with own.safetensors, a file of crnn's own"),
    (["prose.nam", "net.safetensors", "--last"], "--last does not go with prose.nam.*from_nam"),
    (["state.safetensors", "net.safetensors", "--activation", "fc"], "MODULE=NAME"),
    (["own.safetensors", "net.h", "--name", "9 lives"], "9 lives"),
])
def test_failures(run, folder, state, arguments, match):
    crnn.RNN(I, H, O, seed=0).save("own.safetensors")
    for end in ("json", "nam"):
        (folder / f"prose.{end}").write_text((folder / "prose.txt").read_text())
    before = sorted(path.name for path in folder.iterdir())
    code, _, err = run("convert", *arguments)
    assert code == 1
    assert_one_line(err)
    assert re.search(match, err)
    assert sorted(path.name for path in folder.iterdir()) == before
