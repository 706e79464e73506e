"""Models that PyTorch's exporters write, through `from_onnx`, against PyTorch."""

import importlib.util
import io
import logging
import re

import numpy as np
import pytest
from onnx_models import onnx

import crnn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.filterwarnings("ignore")]

T, B, I, H, O = 5, 4, 3, 6, 2  # noqa: E741
CELLS = {"RNN": {}, "RNN, relu": {"nonlinearity": "relu"}, "GRU": {}, "LSTM": {}}
SHAPES = {"one layer": {}, "two layers, both directions": {"num_layers": 2, "bidirectional": True},
          "no bias": {"bias": False, "batch_first": True}}
READS = ("all steps", "the last step", "h_n", "h_n beside each other", "no readout")
HAS_DYNAMO = importlib.util.find_spec("onnxscript") is not None


class Model(torch.nn.Module):
    """A recurrent module, of which a Linear reads all steps or the last."""

    def __init__(self, cell, options, reads, *, first=False):
        super().__init__()
        self.first = torch.nn.Linear(I, I) if first else None
        options = {**CELLS[cell], **options}
        self.rnn = getattr(torch.nn, cell.split(",")[0])(I, H, **options)
        self.head = torch.nn.Linear(H * (1 + self.rnn.bidirectional), O)
        self.reads = reads

    def forward(self, x):
        if self.first is not None:
            x = torch.tanh(self.first(x))
        y, state = self.rnn(x)
        h_n = state[0] if isinstance(state, tuple) else state
        if self.reads == "no readout":
            return y, h_n
        if self.reads == "all steps":
            return torch.softmax(self.head(y), -1)
        if self.reads == "the last step":
            y = y[:, -1] if self.rnn.batch_first else y[-1]
        elif self.reads == "h_n" and not self.rnn.bidirectional:
            y = h_n[-1]
        elif self.reads == "h_n":
            y = torch.cat([h_n[-2], h_n[-1]], -1)
        else:
            y = h_n[-1 - self.rnn.bidirectional :].permute(1, 0, 2).flatten(1)
        return torch.sigmoid(self.head(y))


def made(*arguments, **options):
    torch.manual_seed(3)
    model = Model(*arguments, **options).eval()
    return model, torch.randn((B, T, I) if model.rnn.batch_first else (T, B, I))


def exported(model, x, is_open, opset=14):
    file = io.BytesIO()
    sizes = {"dynamic_axes": {"x": {0: "first", 1: "second"}}} if is_open else {}
    torch.onnx.export(model, (x,), file, input_names=["x"], dynamo=False, opset_version=opset,
                      **sizes)
    return file.getvalue()


def check(model, x, net):
    with torch.no_grad():
        wanted = model(x)
    y, state = net(x.numpy())
    if isinstance(wanted, tuple):
        h = state[0] if isinstance(state, tuple) else state
        np.testing.assert_allclose(h, wanted[1].numpy(), rtol=0, atol=2e-6)
        wanted = wanted[0]
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted.numpy(), rtol=0, atol=2e-6)
    assert net.batch_first == model.rnn.batch_first
    assert net.last == (model.reads not in ("all steps", "no readout"))


@pytest.mark.no_backend
@pytest.mark.parametrize(("shape", "reads"), [
    (shape, reads) for shape in SHAPES for reads in READS
    if not ("both" in shape and reads == "the last step")])  # refused: see the next test
@pytest.mark.parametrize("cell", CELLS)
def test_models_of_torchscript_s_exporter(cell, shape, reads):
    model, x = made(cell, SHAPES[shape], reads, first=shape == "no bias")
    for is_open in {True, reads != "all steps"}:
        check(model, x, crnn.from_onnx(exported(model, x, is_open)))


@pytest.mark.no_backend
@pytest.mark.parametrize("first", [False, True])
def test_the_last_step_of_both_directions_is_no_last_state(first):
    """y[-1] is what the second direction puts out first; y[:, -1], where the batch comes first."""
    shape = {"bidirectional": True} | ({"batch_first": True} if first else {})
    model, x = made("LSTM", shape, "the last step")
    data = exported(model, x, True)
    step = ":, -1" if first else "-1"
    with pytest.raises(crnn.FormatError, match=re.escape(f"of these it is y[{step}];")):
        crnn.from_onnx(data)
    names = [each.name for each in onnx.load_from_string(data).graph.node
             if each.op_type in ("LSTM", "Gemm")]
    y, _ = crnn.from_onnx(data, layers=names)(x.numpy())
    with torch.no_grad():
        out = model.rnn(x)[0]
        wanted = model.head(out[:, -1] if first else out[-1])
    np.testing.assert_allclose(y[:, -1] if first else y[-1], wanted.numpy(), rtol=0, atol=2e-6)


@pytest.mark.no_backend
@pytest.mark.parametrize("opset", [9, 12, 17, 20])
def test_other_operator_sets(opset):
    model, x = made("GRU", {"batch_first": True}, "the last step")
    check(model, x, crnn.from_onnx(exported(model, x, True, opset)))


@pytest.mark.skipif(not HAS_DYNAMO, reason="the exporter needs onnxscript")
@pytest.mark.no_backend
@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_models_of_the_newer_exporter(cell):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model, x = made(cell, {"bidirectional": True, "batch_first": True}, "all steps")
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    check(model, x, crnn.from_onnx(program.model_proto))


@pytest.mark.no_backend
def test_embeddings():
    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.rnn = torch.nn.Embedding(9, I), torch.nn.GRU(I, H, batch_first=True)

        def forward(self, x):
            return self.rnn(self.rows(x))[0]

    torch.manual_seed(3)
    model, x = Words().eval(), torch.randint(0, 9, (B, T))
    net = crnn.from_onnx(exported(model, x, True))
    assert (net.input_size, net.batch_first) == (9, True)
    with torch.no_grad():
        np.testing.assert_allclose(net(x.numpy())[0], model(x).numpy(), rtol=0, atol=2e-6)
