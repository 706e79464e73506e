"""Networks in RTNeural's files: against published ones and PyTorch, and files that are bad."""

import numpy as np
import pytest
from amplifier_files import keras_arrays, published, random_lstm, rtneural_content, written

import crnn
from crnn import layers

GRU = [[0.1] * 6], [[0.2] * 6] * 2, [[0.3] * 6, [0.4] * 6]  # of 2 units
DENSE = ("dense", 1, "", [[1.0], [2.0]], [0.5])


@pytest.fixture
def models(shared):
    folder = shared.parent / "models"
    if not folder.is_dir():
        pytest.skip("the published networks are not here")
    return folder


def loaded(tmp_path, content, **options):
    return crnn.from_rtneural(written(tmp_path / "net.json", content), **options)


def check(net, arrays):
    """Compare a network with what was published, of whole sequences and step by step."""
    x = arrays["x"].astype(net.dtype)[:, None]
    atol = 2e-9 if net.dtype == "float64" else 1e-4  # PyTorch in float64 differs by 1e-9, too
    np.testing.assert_allclose(net(x)[0][:, 0], arrays["expected_y_float64"], rtol=0, atol=atol)
    np.testing.assert_allclose(net(x)[0][:, 0], arrays["published_y"], rtol=0,
                               atol=max(atol, 3e-6))
    steps = [net.step(each)[0] for each in x[:100]]
    np.testing.assert_allclose(steps, arrays["expected_y_float64"][:100], rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_published_network_in_keras_orders(models, tmp_path, dtype):
    arrays = published(models, "rtneural_keras_gru_1d")
    own = [arrays[f"layers.0.gru.keras_{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
    first, second = (
        (arrays[f"layers.{k}.dense.weight"].T, arrays[f"layers.{k}.dense.bias"]) for k in (1, 2))
    net = loaded(tmp_path, rtneural_content(
        1, ("gru", 8, "tanh", *own), ("dense", 8, "sigmoid", *first), ("dense", 1, "", *second)),
        dtype=dtype)
    assert net.layers == (layers.GRU(8), layers.Dense(8, "sigmoid"), layers.Dense(1))
    check(net, arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_published_networks_of_four_layers(models, tmp_path, kind, dtype):
    arrays = published(models, f"rtneural_{kind}_torch_4layers")
    recurrent = [(kind, 8, "tanh", *keras_arrays(arrays, kind)),
                 *((kind, 8, "", *keras_arrays(arrays, f"{kind}2", k)) for k in range(3))]
    net = loaded(tmp_path, rtneural_content(
        1, *recurrent, ("time-distributed-dense", 1, "", arrays["dense.weight"].T,
                        arrays["dense.bias"])), dtype=dtype)
    check(net, arrays)


@pytest.mark.parametrize("activation", ["", "tanh", "relu", "sigmoid", "softmax"])
def test_activations_and_unequal_sizes(tmp_path, rng, activation):
    sizes = {"dense": [(3, 5), (5,)], "gru": [(5, 6), (2, 6), (2, 6)],
             "lstm": [(2, 16), (4, 16), (16,)], "last": [(4, 3), (3,)]}
    dense, gru, lstm, last = (
        [rng.uniform(-1, 1, shape) for shape in shapes] for shapes in sizes.values())
    content = rtneural_content(
        3, ("dense", 5, activation, *dense), ("gru", 2, "tanh", *gru), ("lstm", 4, "tanh", *lstm),
        ("activation", 4, activation or "tanh"), ("dense", 3, activation, *last))
    net = loaded(tmp_path, content, dtype="float64")
    assert net.layers == (
        layers.Dense(5, activation or "linear"), layers.GRU(2), layers.LSTM(4),
        layers.Activation(activation or "tanh"), layers.Dense(3, activation or "linear"))
    np.testing.assert_array_equal(net.parameters["W_xh_l0"], dense[0])
    np.testing.assert_array_equal(net.parameters["W_xh_l1"][:, 2:4], gru[0][:, :2])  # z
    np.testing.assert_array_equal(net.parameters["b_h_l1"][:2], gru[2][0, 2:4] + gru[2][1, 2:4])
    np.testing.assert_array_equal(net.parameters["b_hn_l1"], gru[2][1, 4:])
    np.testing.assert_array_equal(net.parameters["W_hh_l2"], lstm[1])
    np.testing.assert_array_equal(net.parameters["W_hy"], last[0])
    assert np.isfinite(net(rng.normal(size=(7, 3)))[0]).all()


def test_the_input_is_added_where_the_file_says_so(tmp_path, rng):
    x = rng.normal(size=(6, 1))
    for activation in ("", "tanh"):
        dense = ("dense", 1, activation, *DENSE[3:])
        content = rtneural_content(1, ("gru", 2, "tanh", *GRU), dense)
        plain = loaded(tmp_path, content, dtype="float64")
        adding = loaded(tmp_path, content | {"in_skip": 1}, dtype="float64")
        assert adding.skip
        np.testing.assert_allclose(adding(x)[0], plain(x)[0] + x, rtol=1e-14)


def test_what_stands_beside_the_layers_is_kept(tmp_path):
    content = rtneural_content(1, ("gru", 2, "tanh", *GRU), DENSE, in_gain=0, out_gain=-6.5,
                               samplerate=48000, metadata={"name": "a\x1bb"})
    assert loaded(tmp_path, content).metadata == {
        "rtneural.in_gain": "0", "rtneural.out_gain": "-6.5", "rtneural.samplerate": "48000",
        "rtneural.metadata": '{"name": "a\\u001bb"}',
    }


def amplifier_content(kind, inputs, hidden, depth, outputs, arrays, **more):
    about = {"model": "SimpleRNN", "unit_type": kind, "input_size": inputs, "hidden_size": hidden,
             "num_layers": depth, "output_size": outputs, "skip": 0, "bias_fl": True}
    return {"model_data": about | more,
            "state_dict": {name: np.asarray(each).tolist() for name, each in arrays.items()}}


@pytest.mark.parametrize(("kind", "depth"), [("LSTM", 1), ("LSTM", 2), ("GRU", 1), ("RNN", 3)])
def test_a_state_dict_of_an_amplifier(tmp_path, rng, kind, depth):
    torch = pytest.importorskip("torch")
    recurrent = getattr(torch.nn, kind)(1, 5, depth).double()
    linear = torch.nn.Linear(5, 1).double()
    arrays = {f"rec.{name}": each.numpy() for name, each in recurrent.state_dict().items()}
    arrays |= {f"lin.{name}": each.numpy() for name, each in linear.state_dict().items()}
    net = loaded(tmp_path, amplifier_content(kind, 1, 5, depth, 1, arrays, skip=1), dtype="float64")
    x = rng.normal(size=(9, 1))
    with torch.no_grad():
        wanted = linear(recurrent(torch.from_numpy(x))[0]).numpy() + x
    np.testing.assert_allclose(net(x)[0], wanted, rtol=0, atol=1e-12)


def small_amplifier(rng, **more):
    arrays = random_lstm(rng, hidden=3, layers=1)
    arrays = {name: each for name, each in arrays.items() if name not in ("h0", "c0")}
    return amplifier_content("LSTM", 1, 3, 1, 1, arrays, **more)


@pytest.mark.parametrize(("more", "message"), [
    ({"unit_type": "ConvNet"}, "'ConvNet'"),
    ({"model": "WaveNet"}, "'WaveNet'"),
    ({"num_layers": 2}, "no 'rec.weight_ih_l1' in state_dict"),
    ({"num_layers": 10**8}, "a whole number from 1 to 1000"),
    ({"hidden_size": 4}, r"shape should be \(16, 1\)"),
    ({"input_size": 2}, r"shape should be \(12, 2\)"),
    ({"output_size": 2}, r"shape should be \(2, 3\)"),
    ({"skip": 2}, "2 as skip"),
    ({"bias_fl": False}, "'lin.bias'"),
])
def test_a_bad_state_dict_is_refused(tmp_path, rng, more, message):
    with pytest.raises(crnn.FormatError, match=message):
        loaded(tmp_path, small_amplifier(rng, **more))


def test_an_input_that_is_only_partly_added_is_refused(tmp_path, rng):
    arrays = random_lstm(rng, inputs=2, hidden=3, layers=1)
    del arrays["h0"], arrays["c0"]
    with pytest.raises(crnn.FormatError, match="adds the first of 2 inputs to 1 outputs"):
        loaded(tmp_path, amplifier_content("LSTM", 2, 3, 1, 1, arrays, skip=1))


def with_layer(*layer, **changes):
    content = rtneural_content(1, layer, ("gru", 2, "tanh", *GRU), DENSE)
    content["layers"][0] |= changes
    return content


def at_the_top(*layer):
    return rtneural_content(1, ("gru", 2, "tanh", *GRU), DENSE, layer)


RECURRENT = rtneural_content(1, ("gru", 2, "tanh", *GRU), DENSE)
FIRST = {"layers": [RECURRENT["layers"][0] | {"weights": GRU[:2]}]}
BAD = {
    "a convolution": (with_layer("conv1d", 1, "tanh", [[[1.0]]], [0.0]), "type 'conv1d'"),
    "prelu": (with_layer("prelu", 1, "", [[0.1]]), "type 'prelu'"),
    "batchnorm": (with_layer("batchnorm", 1, "", [1], [0], [0], [1]), "type 'batchnorm'"),
    "unknown": (with_layer("unknown", 1, ""), "where it stands for dropout"),
    "elu": (with_layer("dense", 1, "elu", [[1.0]], [0.0]), "'elu' as the activation"),
    "an activation of no name": (at_the_top("activation", 1, ""), "'' as the activation"),
    "a cell of relu": (with_layer("gru", 1, "relu", [[1] * 3], [[1] * 3], [[1] * 3] * 2),
                       "where RTNeural computes tanh"),
    "an activation that widens": (at_the_top("activation", 2, "tanh"), "shape 2 on 1 features"),
    "a bias of one row": (with_layer("gru", 1, "", [[1] * 3], [[1] * 3], [1] * 3),
                          r"shape should be \(2, 3\)"),
    "rows of unequal lengths": (with_layer("dense", 2, "", [[1, 2], [3]], [1, 2]),
                                r"shape should be \(1, 2\)"),
    "a lying shape": (with_layer("dense", 10**8, "", [[1.0]], [0.0]), "a list of 1 in array 0"),
    "a text in a shape": (with_layer("dense", "1", "", [[1.0]], [0.0]), "'1' as 'shape'"),
    "no shape": (with_layer("dense", 1, "", shape=[]), r"\[\] as 'shape'"),
    "an image": (with_layer("dense", 1, "", shape=[None, None, 3, 1]), "of images"),
    "a text for a number": (with_layer("dense", 1, "", [["1"]], [0]), "'1' in array 0"),
    "an array too few": (RECURRENT | FIRST, "a list of 3 arrays is wanted"),
    "an activation first": (with_layer("activation", 1, "tanh"), "begins with an activation"),
    "too many layers": (RECURRENT | {"layers": RECURRENT["layers"] * 501}, "1 to 1000 layers"),
    "no layers": (RECURRENT | {"layers": []}, "a list of 1 to 1000 layers"),
    "layers that are an object": (RECURRENT | {"layers": {}}, "a list of 1 to 1000 layers"),
    "a layer that is a number": (RECURRENT | {"layers": [1]}, "1 as layer 0 of 1"),
    "no recurrent layer": (rtneural_content(2, DENSE), "has no recurrent layer"),
    "no shape of the input": ({"layers": RECURRENT["layers"]}, "no 'in_shape'"),
    "a skip of 2": (RECURRENT | {"in_skip": 2}, "2 as in_skip"),
    "something else": ({"a": 1}, "no 'in_shape'"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused(tmp_path, content, message):
    with pytest.raises(crnn.FormatError, match=message):
        loaded(tmp_path, content)
