"""Networks of PyTorch's, against PyTorch in float64: as modules, state dicts and files."""

import numpy as np
import pytest
import safetensors.numpy

import crnn

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.usefixtures("one_torch_thread")

T, B, I, H, O = 6, 3, 4, 5, 2  # noqa: E741
CLOSE = {"rtol": 0, "atol": 1e-12}
CELLS = {
    "RNN": (nn.RNN, {}), "RNN, relu": (nn.RNN, {"nonlinearity": "relu"}), "GRU": (nn.GRU, {}),
    "LSTM": (nn.LSTM, {}),
}
each_cell = pytest.mark.parametrize("cell", CELLS)
SOURCES = ("module", "state dict", "arrays", "file", "old file", "safetensors")


class Net(nn.Module):
    """A recurrent module with a readout, of all steps or of each direction's last state."""

    def __init__(self, cell, last=False, **options):
        super().__init__()
        kind, more = CELLS[cell]
        self.rec = kind(I, H, **more, **options)
        self.head = nn.Linear(H * (1 + self.rec.bidirectional), O)
        self.last = last
        self.double()

    def forward(self, x, state=None):
        out, state = self.rec(x, state)
        if self.last:
            h = state[0] if isinstance(state, tuple) else state
            out = torch.cat(list(h[-1 - self.rec.bidirectional :]), dim=-1)
        return self.head(out), state


def source_of(module, kind, folder):
    """Return a module, or what has been made of it."""
    state = module.state_dict()
    if kind == "module":
        return module
    if kind == "state dict":
        return {"epoch": 3, "model_state_dict": state}
    arrays = {name: each.numpy() for name, each in state.items()}
    if kind == "arrays":
        return arrays
    path = folder / "net.pt"
    if kind == "safetensors":
        safetensors.numpy.save_file(arrays, path)
    else:
        optimizer = torch.optim.Adam(module.parameters())
        content = {"state_dict": state, "optimizer": optimizer.state_dict(), "config": {"H": H}}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "file")
    return path


def nonlinearity(cell, kind="arrays"):
    """Return the argument for a source that does not say it."""
    return {"nonlinearity": cell[5:] or "tanh"} if cell[:3] == "RNN" and kind != "module" else {}


def as_list(states):
    return list(states) if isinstance(states, tuple) else [states]


def one_or_two(states):
    return states[0] if len(states) == 1 else tuple(states)


def draw(rng, module, is_batch_first=False):
    """Return x and a state that is not 0, for crnn and for PyTorch."""
    x = rng.standard_normal((B, T, I) if is_batch_first else (T, B, I))
    rows = module.rec.num_layers * (1 + module.rec.bidirectional)
    states = [rng.standard_normal((rows, B, H)) for _ in range(1 + isinstance(module.rec, nn.LSTM))]
    theirs = [torch.tensor(each) for each in states]
    return x, one_or_two(states), torch.tensor(x), one_or_two(theirs)


def check(net, module, rng, is_batch_first=False):
    """Compare outputs and last states, of the whole sequence."""
    x, state, x_theirs, state_theirs = draw(rng, module, is_batch_first)
    y, last = net(x, state)
    with torch.no_grad():
        y_theirs, last_theirs = module(x_theirs, state_theirs)
    np.testing.assert_allclose(y, y_theirs.numpy(), **CLOSE)
    for ours, theirs in zip(as_list(last), as_list(last_theirs), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), **CLOSE)


@each_cell
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("last", [False, True], ids=["all", "last"])
def test_outputs_and_states_and_back(rng, cell, num_layers, bidirectional, bias, last):
    module = Net(cell, last, num_layers=num_layers, bidirectional=bidirectional, bias=bias)
    net = crnn.from_torch(module, last=last)
    assert net.dtype == np.float64
    check(net, module, rng)
    again = Net(cell, last, num_layers=num_layers, bidirectional=bidirectional)
    load(again, net.to_torch(["rec", "head"]))
    check(net, again, rng)


def load(module, arrays):
    module.load_state_dict({name: torch.tensor(each) for name, each in arrays.items()})


@each_cell
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_network(tmp_path, cell, kind):
    module = Net(cell, num_layers=2, bidirectional=True)
    wanted = crnn.from_torch(module)
    net = crnn.from_torch(source_of(module, kind, tmp_path), **nonlinearity(cell, kind))
    assert net.layers == wanted.layers
    np.testing.assert_array_equal(net.vector, wanted.vector)


@each_cell
def test_from_ours_to_pytorch_and_back_is_exact(rng, cell):
    kind = cell[:3] if cell[:3] == "RNN" else cell
    options = nonlinearity(cell)
    net = getattr(crnn, kind)(I, H, O, num_layers=2, bidirectional=True, seed=1, **options)
    net.vector = rng.standard_normal(net.num_parameters)
    again = crnn.from_torch(net.to_torch(), **options)
    assert list(again.parameters) == list(net.parameters)
    np.testing.assert_array_equal(again.vector, net.vector)
    module = Net(cell, num_layers=2, bidirectional=True)
    load(module, net.to_torch(["rec", "head"]))
    check(crnn.from_torch(module), module, rng)


def test_the_batch_first_as_the_module_has_it(rng):
    module = Net("GRU", batch_first=True)
    net = crnn.from_torch(module)
    assert net.batch_first
    check(net, module, rng, is_batch_first=True)
    assert not crnn.from_torch(module, batch_first=False).batch_first
    assert not crnn.from_torch(module.state_dict()).batch_first
    assert crnn.from_torch(module.state_dict(), batch_first=True).batch_first


class Stacked(nn.Module):
    """Recurrent modules of unequal widths, defined in another order than they compute in."""

    def __init__(self, first, second, both=False):
        super().__init__()
        D = 1 + both
        self.out = nn.Linear(7 * D, O)
        self.upper = CELLS[second][0](H * D, 7, bidirectional=both, **CELLS[second][1])
        self.lower = CELLS[first][0](I, H, bidirectional=both, **CELLS[first][1])
        self.double()

    def forward(self, x):
        return self.out(self.upper(self.lower(x)[0])[0])


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("cells", [("GRU", "LSTM"), ("RNN, relu", "RNN"), ("LSTM", "LSTM")])
def test_several_recurrent_modules_are_chosen_by_name(rng, cells, both):
    module = Stacked(*cells, both=both)
    with pytest.raises(ValueError, match=r"2 recurrent modules, 'upper'.*layers="):
        crnn.from_torch(module)
    net = crnn.from_torch(module, layers=["lower", "upper", "out"])
    x = rng.standard_normal((T, B, I))
    y = module(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(net(x)[0], y, **CLOSE)
    again = Stacked(*cells, both=both)
    load(again, net.to_torch(["lower", "upper", "out"]))
    np.testing.assert_allclose(again(torch.tensor(x)).detach().numpy(), y, **CLOSE)
    with pytest.raises(ValueError, match=r"'lower'.*behind 'upper'.*do not fit"):
        crnn.from_torch(module, layers=["upper", "lower", "out"])


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells(rng, cell):
    module = cell(I, H).double()
    net = crnn.from_torch(module)
    x = rng.standard_normal((T, B, I))
    state, net_y = None, net(x)[0]
    for t in range(T):
        state = module(torch.tensor(x[t]), state)
        h = state[0] if isinstance(state, tuple) else state
        np.testing.assert_allclose(net_y[t], h.detach().numpy(), **CLOSE)
        np.testing.assert_allclose(net.step(x[t]), h.detach().numpy(), **CLOSE)
    options = {"nonlinearity": "tanh"} if cell is nn.RNNCell else {}
    of_state = crnn.from_torch({"a.b": {"cell": dict(module.state_dict())}}, **options)
    np.testing.assert_array_equal(of_state.vector, net.vector)


class Tagger(nn.Module):
    """Tokens, a table, a recurrent module, and a head with a function and dropout in it."""

    def __init__(self, function=nn.ReLU):
        super().__init__()
        self.table = nn.Embedding(11, I)
        self.rec = nn.LSTM(I, H, num_layers=2, dropout=0.25)
        self.head = nn.Sequential(nn.Linear(H, 7), function(), nn.Dropout(0.5), nn.Linear(7, O),
                                  nn.Softmax(-1))
        self.double()

    def forward(self, x):
        return self.head(self.rec(self.table(x))[0])


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("function", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Hardsigmoid])
def test_layers_around(rng, tmp_path, function, kind):
    module = Tagger(function).eval()
    name = {nn.Hardsigmoid: "hard_sigmoid"}.get(function, function.__name__.lower())
    said = {} if kind == "module" else {"activations": {"head.0": name, "head.3": "softmax"}}
    net = crnn.from_torch(source_of(module, kind, tmp_path), **said)
    x = rng.integers(0, 11, (T, B))
    np.testing.assert_allclose(
        net(x)[0], module(torch.tensor(x)).detach().numpy(), **CLOSE)
    layers = crnn.layers
    if kind == "module":
        assert net.layers == (
            layers.Embedding(I), layers.LSTM(H), layers.Dropout(0.25), layers.LSTM(H),
            layers.Dense(7, name), layers.Dropout(0.5), layers.Dense(O, "softmax"))
    again = crnn.from_torch(net.to_torch(), activations={"fc": name, "fc2": "softmax"})
    np.testing.assert_array_equal(again.vector, net.vector)


def test_a_container_stands_for_what_it_holds(rng):
    module = Tagger().eval()
    x = torch.tensor(rng.standard_normal((T, B, I)))
    wanted = module.head(module.rec(x)[0]).detach().numpy()
    net = crnn.from_torch(module, layers=["rec", "head"])
    np.testing.assert_allclose(net(x.numpy())[0], wanted, **CLOSE)
    net = crnn.from_torch(module.state_dict(), layers=["rec", "head"],
                          activations={"head.0": "relu", "head.3": "softmax"})
    np.testing.assert_allclose(net(x.numpy())[0], wanted, **CLOSE)


def test_a_function_between_a_recurrent_module_and_its_readout(rng):
    module = Net("LSTM")
    x = torch.tensor(rng.standard_normal((T, B, I)))
    wanted = torch.sigmoid(module.head(torch.relu(module.rec(x)[0]))).detach().numpy()
    net = crnn.from_torch(module, activations={"rec": "relu", "head": "sigmoid"})
    np.testing.assert_allclose(net(x.numpy())[0], wanted, **CLOSE)


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_initial_states(rng, cell, both):
    module = Net(cell, num_layers=2, bidirectional=both)
    rows, names = 2 * (1 + both), ("h0", "c0")[: 1 + (cell == "LSTM")]
    for name in names:
        setattr(module, name, nn.Parameter(torch.tensor(rng.standard_normal((rows, 1, H)))))
    states = [getattr(module, name) for name in names]
    x = rng.standard_normal((T, B, I))
    begins = one_or_two([each.expand(rows, B, H).contiguous() for each in states])
    y = module(torch.tensor(x), begins)[0].detach().numpy()
    with pytest.raises(ValueError, match=r"'h0'.*initial_state="):
        crnn.from_torch(module)
    net = crnn.from_torch(module, initial_state=names if len(names) > 1 else "h0")
    assert net.learn_state
    np.testing.assert_allclose(net(x)[0], y, **CLOSE)
    arrays = tuple(each.detach().numpy()[:, 0] for each in states)
    by_array = crnn.from_torch(module, layers=["rec", "head"], initial_state=arrays)
    np.testing.assert_array_equal(by_array.vector, net.vector)
    again = Net(cell, num_layers=2, bidirectional=both)
    for name in names:
        setattr(again, name, nn.Parameter(torch.zeros(rows, 1, H).double()))
    load(again, net.to_torch(["rec", "head"], initial_state=names))
    np.testing.assert_array_equal(crnn.from_torch(again, initial_state=names).vector, net.vector)


@pytest.mark.parametrize(("made", "wanted"), [
    ("float32", "float32"), ("float64", "float64"), ("float16", "float32"),
    ("bfloat16", "float32"),
])
@pytest.mark.parametrize("is_file", [False, True])
def test_the_dtype_is_that_of_the_weights(tmp_path, made, wanted, is_file):
    module = Net("LSTM").to(getattr(torch, made))
    source = tmp_path / "net.pt" if is_file else module
    if is_file:
        torch.save(module.state_dict(), source)
    net = crnn.from_torch(source)
    assert net.dtype == wanted
    np.testing.assert_array_equal(
        net.parameters["W_hy"], module.head.weight.detach().to(torch.float64).numpy().T)


def test_biases_are_added_in_the_dtype_that_is_asked_for():
    module = Net("LSTM").float()
    net = crnn.from_torch(module, dtype="float64")
    assert net.dtype == np.float64
    sums = module.rec.bias_ih_l0.double() + module.rec.bias_hh_l0.double()
    np.testing.assert_array_equal(net.parameters["b_h_l0"], sums.detach().numpy())


def test_weights_that_are_no_numbers_are_read_as_they_are():
    signalling = np.full(20, 0x7F800001, np.uint32).view(np.float32)  # converting it may warn
    state = {"weight_ih_l0": np.full((20, 3), np.inf), "weight_hh_l0": np.full((20, 5), 1e300),
             "bias_ih_l0": signalling, "bias_hh_l0": signalling}
    net = crnn.from_torch(state, dtype="float32")
    assert np.isinf(net.parameters["W_hh_l0"]).all()
    assert np.isnan(net.parameters["b_h_l0"]).all()


def test_the_order_where_names_are_sorted(tmp_path):
    """As in safetensors files: fc comes before lstm, and only widths can tell."""
    for inputs, fits in ((3, True), (2, False)):
        module = nn.ModuleDict({"lstm": nn.LSTM(inputs, 6), "fc": nn.Linear(6, 2)})
        arrays = {name: each.numpy() for name, each in module.state_dict().items()}
        path = tmp_path / "net.safetensors"
        safetensors.numpy.save_file(arrays, path)
        wanted = crnn.from_torch(module).vector
        if fits:
            np.testing.assert_array_equal(crnn.from_torch(path).vector, wanted)
        else:
            with pytest.raises(ValueError, match="in which order"):
                crnn.from_torch(path)
            chosen = crnn.from_torch(path, layers=["lstm", "fc"])
            np.testing.assert_array_equal(chosen.vector, wanted)
