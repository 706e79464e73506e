"""What cannot be read from PyTorch, or written for it, and what the errors say."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch_archives as forge

import crnn
from crnn import layers

pytestmark = pytest.mark.no_backend


def cell(gates=4, inputs=3, H=5, suffix="_l0"):
    """The arrays of a module."""
    return {f"weight_ih{suffix}": np.ones((gates * H, inputs), "f4"),
            f"weight_hh{suffix}": np.ones((gates * H, H), "f4")}


def linear(inputs, outputs):
    return {"weight": np.ones((outputs, inputs), "f4"), "bias": np.zeros(outputs, "f4")}


def state(**modules):
    """A state dict of modules by name, with __ for a dot."""
    return {f"{name.replace('__', '.')}.{own}": each
            for name, arrays in modules.items() for own, each in arrays.items()}


PLAIN = state(rec=cell(), fc=linear(5, 2))


def without(arrays, name):
    return {each: value for each, value in arrays.items() if each != name}


@pytest.mark.parametrize(("source", "message"), [
    (PLAIN | {"h0": np.zeros((1, 1, 5))}, r"'h0' \(array of shape \(1, 1, 5\)\).*initial_state="),
    (PLAIN | {"norm.weight": np.ones(5), "norm.bias": np.ones(5)}, "'norm'.*normalisation"),
    (state(conv={"weight": np.ones((3, 2, 4), "f4")}, rec=cell()), "'conv'.*convolution"),
    (state(rec=cell() | {"weight_hr_l0": np.ones((2, 5))}), "'rec'.*projection.*proj_size"),
    (state(rec=without(cell(), "weight_ih_l0")), "'rec'.*no weight_ih_l0"),
    (state(rec=cell() | cell(suffix="_l2")), "'rec'.*no weight_ih_l1"),
    (state(rec=cell() | cell(inputs=5, suffix="_l1_reverse")), "'rec'.*no weight_ih_l0_reverse"),
    (state(rec=cell() | {"bias_ih_l0": np.ones(20)}), "'rec'.*no bias_hh_l0"),
    (state(rec=cell() | cell(suffix="")), "'rec'.*does not go with"),
    (state(rec=cell(), fc=linear(5, 0)), "'fc'.*width of 0"),
    (state(emb={"weight": np.ones((0, 3), "f4")}, rec=cell()), "'emb'.*width of 0"),
    (state(rec=cell(inputs=0)), "'rec'.*no inputs"),
    (state(rec=cell(gates=2)), r"'rec'.*weight_hh_l0 has the shape \(10, 5\)"),
    (state(rec=cell() | cell(inputs=4, suffix="_l1")), "weight_ih_l1 has the shape"),
    (state(rec=cell() | {"weight_ih_l0": np.ones((19, 3))}), "weight_ih_l0 has the shape"),
    (state(rec=cell() | {"weight_ih_l0": np.float32(3)}), "no weight_ih_l0"),
    (state(rec=cell(), fc=linear(5, 2) | {"bias": np.ones(3)}), "'fc'.*bias has the shape"),
    (state(rec={name: each.astype("i1") for name, each in cell().items()}), "int8.*quantised"),
    (state(i2h=linear(8, 5), h2o=linear(5, 2)), "i2h.*a Linear for each gate"),
    ({"epoch": 3}, "no tensor"),
    ({}, "no tensor"),
])
def test_what_cannot_be_had_is_refused_by_name(tmp_path, source, message):
    with pytest.raises(ValueError, match=message) as caught:
        crnn.from_torch(source)
    assert str(caught.value).startswith("the state dict ")
    assert not isinstance(caught.value, crnn.FormatError)
    if all(isinstance(each, np.ndarray) and each.dtype != "i1" for each in source.values()):
        path = tmp_path / "net.pt"
        path.write_bytes(forge.saved(source))
        with pytest.raises(crnn.FormatError, match=message):
            crnn.from_torch(path)


@pytest.mark.parametrize(("source", "message"), [
    (state(a=cell(), b=cell(3, 5)), r"2 recurrent modules, 'a' \(LSTM 3 to 5\), 'b' .*layers="),
    (state(rec=cell(), a=linear(5, 5), b=linear(5, 2)), r"between 'a'.*activations={'a': 'relu'}"),
    (state(a=linear(4, 3), rec=cell()), "between 'a'.*and 'rec'"),
    (state(rec=cell(), fc=linear(4, 2)), r"which order they compute.*layers="),
    (state(rec=cell(1), fc=linear(5, 2)), "nonlinearity='tanh'.*or 'relu'"),
    ({"a": state(rec=cell()), "b": state(rec=cell())}, r"'a\.rec'.*'b\.rec'.*layers="),
])
def test_what_is_not_said_is_asked_for(source, message):
    with pytest.raises(ValueError, match=message):
        crnn.from_torch(source)


def test_a_square_matrix_is_a_table_unless_an_activation_is_said():
    source = state(first={"weight": np.eye(3, dtype="f4")}, rec=cell())
    assert crnn.from_torch(source).layers[0] == layers.Embedding(3)
    net = crnn.from_torch(source, activations={"first": "linear"})
    assert net.layers[0] == layers.Dense(3)
    wide = state(first={"weight": np.ones((3, 4), "f4")}, rec=cell())
    assert crnn.from_torch(wide, activations={"first": "relu"}).layers[0] == layers.Dense(3, "relu")


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"layers": "rec"}, TypeError, "list of names"),
    ({"layers": [3]}, TypeError, "list of names"),
    ({"layers": []}, ValueError, "one at least"),
    ({"layers": ["rec", "rec"]}, ValueError, "once"),
    ({"layers": ["lstm"]}, ValueError, r"'lstm'.*'rec' \(LSTM 3 to 5\), 'fc' \(Linear 5 to 2\)"),
    ({"layers": ["fc"]}, ValueError, "no RNN, GRU or LSTM"),
    ({"layers": ["fc", "rec"]}, ValueError, "'rec'.*behind 'fc'"),
    ({"activations": "relu"}, TypeError, "a dict such as"),
    ({"activations": {"head": "relu"}}, ValueError, "'head'.*'rec'.*'fc'"),
    ({"activations": {"fc": "swish"}}, ValueError, "swish.*relu"),
    ({"activations": {"fc": None}}, TypeError, "relu"),
    ({"nonlinearity": "relu"}, ValueError, "which is an RNN's"),
    ({"initial_state": "h0"}, ValueError, "1 arrays; 2"),
    ({"initial_state": ("h0", "c0")}, ValueError, "'h0'.*no such"),
    ({"initial_state": (np.ones((1, 4)),) * 2}, ValueError, r"\(1, 4\); \(1, 1, 5\)"),
    ({"initial_state": (np.ones((1, 2, 5)),) * 2}, ValueError, "one state for all"),
    ({"initial_state": (3, 4)}, TypeError, "int"),
    ({"initial_state": (np.ones((1, 5), int),) * 2}, ValueError, "int64"),
    ({"dtype": "float16"}, ValueError, "float16"),
    ({"last": 1}, TypeError, "last"),
    ({"batch_first": 1}, TypeError, "batch_first"),
    ({"backend": "gpu"}, ValueError, "backend"),
])
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        crnn.from_torch(PLAIN, **arguments)


@pytest.mark.parametrize("source", [None, 3, ["rec"], np.ones(3)])
def test_other_sources(source):
    with pytest.raises(TypeError, match="a module of PyTorch's, a state dict or a path"):
        crnn.from_torch(source)


def test_names_in_messages_are_safe_to_show(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(forge.saved(state(rec=cell()) | {"\x1b[2J\n" + "x" * 9000: np.ones(2)}))
    with pytest.raises(crnn.FormatError) as caught:
        crnn.from_torch(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_a_module_whole_is_refused_with_the_remedy(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pt"
    module = torch.nn.Sequential(torch.nn.LSTM(3, 5))
    for is_old in (False, True):
        for content in (module, {"epoch": 3, "model": module}):
            torch.save(content, path, _use_new_zipfile_serialization=not is_old)
            with pytest.raises(crnn.FormatError, match=r"Sequential' whole.*model\.state_dict"):
                crnn.from_torch(path)
    path.write_bytes(pickle.dumps({"a": np.ones(3)}))
    with pytest.raises(crnn.FormatError, match=r"pickle.*model\.state_dict"):
        crnn.from_torch(path)


@pytest.mark.filterwarnings("ignore")
def test_modules_that_crnn_cannot_compute():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Own(nn.LSTM):
        def forward(self, x):
            return super().forward(x * 2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rec, self.out, self.squash = nn.LSTM(3, 5), nn.Linear(5, 2), nn.Tanh()

    lstm = nn.LSTM(3, 5)
    for module, message in (
        (nn.Sequential(lstm, nn.LayerNorm(5)), "'1'.*LayerNorm"),
        (nn.Sequential(lstm, nn.Softmax(0)), "axis 0"),
        (nn.Sequential(lstm, nn.GELU()), "GELU"),
        (nn.Sequential(nn.Embedding(7, 3, max_norm=1.0), lstm), "max_norm"),
        (nn.LSTM(3, 5, proj_size=2), "proj_size"),
        (Own(3, 5), "weight_ih_l0"),
        (Net(), r"'squash' \(Activation tanh\).*activations="),
        (nn.Linear(3, 5), "no RNN, GRU or LSTM"),
        (torch.ao.quantization.quantize_dynamic(nn.Sequential(lstm)), "quantised"),
    ):
        with pytest.raises(ValueError, match=message):
            crnn.from_torch(module)
    net = crnn.from_torch(Net(), activations={"out": "tanh"})
    assert net.layers[-1] == layers.Dense(2, "tanh")
    assert crnn.from_torch(Net(), activations={}).layers[-1] == layers.Dense(2)


@pytest.mark.parametrize(("net", "message"), [
    (crnn.GRU(3, 5, reset_after=False), r"GRU\(5, reset_after=False\)"),
    (crnn.GRU(3, 5, candidate="relu"), "candidate='relu'"),
])
def test_what_pytorch_has_not_is_not_written(net, message):
    with pytest.raises(ValueError, match=message):
        net.to_torch()


@pytest.mark.parametrize("layer", [
    layers.LSTM(5, gate_activation="hard_sigmoid"), layers.LSTM(5, peepholes=True),
    layers.LSTM(5, coupled=True), layers.LSTM(5, clip=3.0), layers.LSTM(5, nonlinearity="relu"),
    layers.GRU(5, gate_activation="hard_sigmoid_0.2"), layers.RNN(5, clip=1.0),
])
def test_what_pytorch_has_not_is_refused_layer_by_layer(layer):
    from crnn.exchange import torch_arrays
    from crnn.exchange.description import Description

    with pytest.raises(ValueError, match="of PyTorch's, which has no"):
        torch_arrays.state_dict(Description(3, [layer], {}))


@pytest.mark.parametrize(("arguments", "error"), [
    ({"names": ["lstm"]}, ValueError), ({"names": ["a", "a"]}, ValueError),
    ({"names": "lstm"}, TypeError), ({"names": [1, 2]}, TypeError),
    ({"initial_state": ("h0", "c0")}, ValueError),
])
def test_wrong_arguments_of_to_torch(arguments, error):
    with pytest.raises(error):
        crnn.LSTM(3, 5, 2).to_torch(**arguments)


def test_learned_states_need_names():
    net = crnn.LSTM(3, 5, learn_state=True)
    for names in (None, "h0", ("h0", 3)):
        with pytest.raises(ValueError, match="their 2 arrays"):
            net.to_torch(initial_state=names)
    assert net.to_torch(["rec"], initial_state=("h", "c"))["c"].shape == (1, 1, 5)


def test_names_of_modules():
    net = crnn.Sequential(7, [
        layers.Embedding(3), layers.GRU(5), layers.Dropout(0.5), layers.GRU(5), layers.GRU(4),
        layers.Dense(3, "relu"), layers.LSTM(2), layers.Dense(1)], seed=0)
    state = net.to_torch()
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    assert modules == ["emb", "gru", "gru2", "fc", "lstm", "fc2"]
    assert state["gru.weight_ih_l1"].shape == (15, 5)
    assert list(crnn.RNN(3, 5).to_torch([""])) == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


def test_pytorch_is_not_needed(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(forge.saved(PLAIN))
    program = f"""
import sys
sys.modules["torch"] = None
import crnn
net = crnn.from_torch({str(path)!r})
print(net([[1.0, 2.0, 3.0]])[0].shape, sorted(net.to_torch(["rec", "fc"])) == {sorted(
    [*PLAIN, 'rec.bias_ih_l0', 'rec.bias_hh_l0'])!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, check=True)
    assert done.stdout.split("\n")[0] == "(1, 2) True"
