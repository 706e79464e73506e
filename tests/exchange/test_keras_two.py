"""Files of Keras 2, written here as it wrote them: its options, its CuDNN layers, its graphs."""

import re
import subprocess
import sys

import numpy as np
import pytest
from keras_h5 import entries, gru, layer, lstm, write

import crnn

pytest.importorskip("h5py")
T, B, H = 7, 3, 5
INPUTS, OUTPUTS = 4, 2


def arrays(rng, *shapes):
    return [rng.normal(scale=0.5, size=shape) for shape in shapes]


def answered(path, x, **options):
    net = crnn.from_keras(path, batch_first=False, **options)
    y, _ = net(x)
    return y


@pytest.fixture
def x(rng):
    return rng.normal(size=(T, B, INPUTS))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


def test_the_dtype_is_that_of_the_weights(rng, path, x):
    weights = arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,))
    for dtype, wanted in (("f8", "float64"), ("f4", "float32"), ("f2", "float32"),
                          (">f4", "float32")):
        write(path, [layer("LSTM", [each.astype(dtype) for each in weights], units=H)])
        assert crnn.from_keras(path).dtype == wanted
        assert crnn.from_keras(path, dtype="float64").dtype == np.float64


def test_lstm(rng, path, x):
    weights = arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,))
    write(path, [layer("LSTM", weights, units=H)])
    np.testing.assert_allclose(answered(path, x), lstm(x, *weights), rtol=0, atol=1e-14)


@pytest.mark.parametrize("config", [{}, {"reset_after": False}, {"reset_after": True}])
def test_gru_resets_before_the_product_unless_the_file_says_after(rng, path, x, config):
    after = config.get("reset_after", False)
    weights = arrays(rng, (INPUTS, 3 * H), (H, 3 * H), (2, 3 * H) if after else (3 * H,))
    write(path, [layer("GRU", weights, units=H, **config)])
    wanted = gru(x, *weights, reset_after=after)
    np.testing.assert_allclose(answered(path, x), wanted, rtol=0, atol=1e-14)


def fastened(weights, gates, is_gru):
    """What CuDNN has in the place of weights: each gate's numbers in the order of its transpose."""
    kernel, recurrent, bias = weights
    kernel = np.hstack([gate.T.ravel().reshape(gate.shape)
                        for gate in np.split(kernel, gates, axis=1)])
    recurrent = np.hstack([gate.T for gate in np.split(recurrent, gates, axis=1)])
    return [kernel, recurrent, bias.ravel() if is_gru else np.concatenate([0.3 * bias, 0.7 * bias])]


def test_cudnn_layers(rng, path, x):
    of_lstm = arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,))
    of_gru = arrays(rng, (H, 3 * OUTPUTS), (OUTPUTS, 3 * OUTPUTS), (2, 3 * OUTPUTS))
    write(path, [layer("CuDNNLSTM", fastened(of_lstm, 4, False), units=H),
                 layer("CuDNNGRU", fastened(of_gru, 3, True), units=OUTPUTS)])
    wanted = gru(lstm(x, *of_lstm), *of_gru, reset_after=True)
    np.testing.assert_allclose(answered(path, x), wanted, rtol=0, atol=1e-14)


def test_cudnn_layers_in_both_directions(rng, path, x):
    there, back = (arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,)) for _ in range(2))
    inner = {"class_name": "CuDNNLSTM", "config": layer("CuDNNLSTM", units=H)[1]}
    write(path, [layer("Bidirectional", fastened(there, 4, False) + fastened(back, 4, False),
                       merge_mode="concat", layer=inner)])
    wanted = np.concatenate([lstm(x, *there), lstm(x[::-1], *back)[::-1]], axis=2)
    np.testing.assert_allclose(answered(path, x), wanted, rtol=0, atol=1e-14)


HARD = {"2.1.3": lambda a: np.clip(0.2 * a + 0.5, 0, 1),
        "3.15.1": lambda a: np.clip(a / 6 + 0.5, 0, 1)}


@pytest.mark.parametrize("version", HARD)
def test_hard_sigmoid_is_that_of_the_version(rng, path, x, version):
    weights = arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,))
    write(path, [layer("LSTM", weights, units=H, recurrent_activation="hard_sigmoid")], version)
    wanted = lstm(3 * x, *weights, sigmoid=HARD[version])
    np.testing.assert_allclose(answered(path, 3 * x), wanted, rtol=0, atol=1e-14)


def test_hard_sigmoid_of_an_unknown_version_is_refused(rng, path):
    weights = arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,))
    write(path, [layer("LSTM", weights, units=H, recurrent_activation="hard_sigmoid")], None)
    with pytest.raises(crnn.FormatError, match="no keras_version"):
        crnn.from_keras(path)
    write(path, [layer("LSTM", weights, units=H)], None)
    crnn.from_keras(path)


def dense(rng, inputs, outputs, **config):
    return layer("Dense", arrays(rng, (inputs, outputs), (outputs,)), units=outputs, **config)


def test_softmax_by_the_name_that_tensorflow_gives_it(rng, path, x):
    weights = layer("LSTM", arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,)), units=H)
    last = arrays(rng, (H, OUTPUTS), (OUTPUTS,))
    write(path, [weights, layer("Dense", last, units=OUTPUTS, activation="softmax_v2")])
    assert crnn.from_keras(path).layers[-1] == crnn.layers.Dense(OUTPUTS, "softmax")


def test_a_list_of_layers_is_a_configuration_too(rng, path, x):
    layers = [layer("LSTM", arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,)), units=H),
              dense(rng, H, OUTPUTS)]
    write(path, layers)
    wanted = answered(path, x)
    write(path, layers, config={"class_name": "Sequential", "config": entries(layers)})
    np.testing.assert_array_equal(answered(path, x), wanted)


def graph(layers, *edges):
    """Return the configuration of a functional model; layers are lists of one node each."""
    found = entries(layers)
    for number, entry in enumerate(found):
        sources = [source for source, target in edges if target == number]
        nodes = [[[f"layer_{source}", 0, 0, {}] for source in sources]] if sources else []
        entry |= {"name": f"layer_{number}", "inbound_nodes": nodes}
    return {"class_name": "Model", "config": {
        "layers": found, "input_layers": [["layer_0", 0, 0]],
        "output_layers": [[f"layer_{len(layers) - 1}", 0, 0]]}}


def test_a_graph_that_is_a_chain(rng, path, x):
    layers = [layer("InputLayer"), layer("LSTM", arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,)),
                                         units=H), dense(rng, H, OUTPUTS)]
    write(path, layers[1:])
    wanted = answered(path, x)
    write(path, layers, config=graph(layers, (0, 1), (1, 2)))
    np.testing.assert_array_equal(answered(path, x), wanted)
    turned = [layers[2], layers[0], layers[1]]  # in another order in the file
    config = graph(turned, (1, 2), (2, 0))
    config["config"]["output_layers"] = [["layer_0", 0, 0]]
    write(path, turned, config=config)
    np.testing.assert_array_equal(answered(path, x), wanted)


def test_a_graph_that_is_none_is_refused_and_its_parts_are_not(rng, path, x):
    layers = [layer("InputLayer"), layer("LSTM", arrays(rng, (INPUTS, 4 * H), (H, 4 * H), (4 * H,)),
                                         units=H), dense(rng, H, OUTPUTS), layer("Add")]
    write(path, layers, config=graph(layers, (0, 1), (1, 2), (1, 3), (2, 3)))
    with pytest.raises(crnn.FormatError, match=r"no chain: the layer 'layer_3' \(Add\) reads more"
                       r".*layers=\['layer_1', 'layer_2'\]"):
        crnn.from_keras(path)
    y = answered(path, x, layers=["layer_1", "layer_2"])
    write(path, layers[1:3])
    np.testing.assert_array_equal(y, answered(path, x))


LSTM_ARRAYS = [(INPUTS, 4 * H), (H, 4 * H), (4 * H,)]


@pytest.mark.parametrize(("kinds", "named"), [
    ("LSTM Dense LeakyReLU Dense", "layers=['layer_0', 'layer_1']"),  # not what is above, too
    ("Conv1D MaxPooling1D LSTM Dense", "layers=['layer_2', 'layer_3']"),
    ("LSTM Attention Dense", "layers=['layer_0']"),
    ("Conv1D Dense", None),
])
def test_of_a_row_that_cannot_be_had_what_can_is_named(rng, path, x, kinds, named):
    """What is named can be taken as it is, and leaves out nothing between two layers."""
    features, layers = INPUTS, []
    for kind in kinds.split():
        width = H if kind in ("LSTM", "Dense") else features
        shapes = {"LSTM": [(features, 4 * H), (H, 4 * H), (4 * H,)], "Dense": [(features, H), (H,)]}
        layers.append(layer(kind, arrays(rng, *shapes.get(kind, ())), units=H))
        features = width
    write(path, layers)
    with pytest.raises(crnn.FormatError) as raised:
        crnn.from_keras(path)
    if named is None:
        assert "layers=" not in str(raised.value)
        return
    assert f"as in {named}, and compute the others yourself" in str(raised.value)
    crnn.from_keras(path, layers=re.findall(r"layer_\d", named))


def test_what_is_refused_itself_is_not_named(rng, path, x):
    write(path, [layer("LSTM", arrays(rng, *LSTM_ARRAYS), units=H, go_backwards=True),
                 dense(rng, H, OUTPUTS)])
    with pytest.raises(crnn.FormatError, match="goes backwards") as raised:
        crnn.from_keras(path)
    assert "layers=" not in str(raised.value)


def test_a_name_that_is_none_is_refused_with_the_file_s(rng, path, x):
    write(path, [layer("LSTM", arrays(rng, *LSTM_ARRAYS), units=H)])
    with pytest.raises(ValueError, match=r"model\.h5' has no layer 'lstm'; layers names some of"):
        crnn.from_keras(path, layers=["lstm"])


INNER = {"class_name": "LSTM", "config": layer("LSTM", units=H)[1]}
BACK = {"class_name": "LSTM", "config": {**INNER["config"], "go_backwards": True}}
REFUSED = {  # the last of some layers, what is in its configuration, and words of the message
    "ConvLSTM1D": ({}, r"the layer 'layer_1' \(ConvLSTM1D\), which crnn cannot express; .*layers="),
    "Lambda": ({}, r"\(Lambda\)"),
    "Attention": ({}, r"\(Attention\)"),
    "LayerNormalization": ({}, r"\(LayerNormalization\)"),
    "RepeatVector": ({}, r"\(RepeatVector\)"),
    "Sequential": ({}, r"\(Sequential\)"),
    "Flatten": ({}, "makes one vector of all steps"),
    "Embedding": ({}, "above another layer"),
    "Masking": ({"mask_value": 0.0}, "above another layer"),
    "ReLU": ({"max_value": 6.0}, "max_value"),
    "Softmax": ({"axis": 1}, "axis"),
    "Activation": ({"activation": "selu"}, "'selu' as the activation"),
    "Dense": ({"units": 2, "activation": {"class_name": "LeakyReLU"}}, "as the activation"),
    "SimpleRNN": ({"units": 2, "activation": "linear"}, "tanh or relu"),
    "LSTM": ({"units": 2, "recurrent_activation": "tanh"}, "sigmoid or hard_sigmoid"),
    "GRU": ({"units": 2, "go_backwards": True}, "goes backwards"),
    "Bidirectional": ({"merge_mode": "sum", "layer": INNER}, "'sum' as the merge_mode"),
    "TimeDistributed": ({"layer": INNER}, "TimeDistributed.* of a LSTM"),
    "BatchNormalization": ({"axis": -1, "scale": False, "center": False, "epsilon": 0.001},
                           "neither below a layer with weights nor above a Dense"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_expressed_is_refused_by_its_name(rng, path, kind):
    config, words = REFUSED[kind]
    own = [(H,), (H,)] if kind == "BatchNormalization" else []
    own = [np.ones(shape) for shape in own]
    write(path, [layer("LSTM", arrays(rng, *LSTM_ARRAYS), units=H), layer(kind, own, **config)])
    with pytest.raises(crnn.FormatError, match=words):
        crnn.from_keras(path)
    assert crnn.from_keras(path, layers=["layer_0"]).layers == (crnn.layers.LSTM(H),)


OTHERS = {
    "a layer above the last step": (
        [layer("LSTM", units=H, return_sequences=False), layer("LSTM", units=H)],
        "return_sequences=False"),
    "a state in two directions that differ": (
        [layer("Bidirectional", merge_mode="concat", layer=INNER,
               backward_layer={**BACK, "config": {**BACK["config"], "activation": "relu"}})],
        "two layers that differ"),
    "directions that both go there": (
        [layer("Bidirectional", merge_mode="concat", layer=INNER, backward_layer=INNER)],
        "two layers that differ"),
    "an activation as the first layer": (
        [layer("Activation", activation="tanh")], "as the first layer"),
    "the time first": ([layer("LSTM", units=H, time_major=True)], "time_major"),
    "no arrays": ([layer("LSTM", units=H)], r"arrays of the shapes \[\].*is the model built"),
    "units that are no number": ([layer("LSTM", units="5")], "size must be a whole number"),
    "units that are missing": ([layer("LSTM")], "no 'units' in the configuration"),
    "a flag that is none": ([layer("LSTM", units=H, go_backwards="no")], "True or False"),
    "no layers": ([], "no recurrent layer"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_refusals(rng, path, case):
    layers, words = OTHERS[case]
    if len(layers) == 2:
        layers[0][2][:] = arrays(rng, *LSTM_ARRAYS)
    write(path, layers)
    with pytest.raises(crnn.FormatError, match=words):
        crnn.from_keras(path)


def test_neither_keras_nor_hdf5_is_needed(rng, path):
    write(path, [layer("LSTM", arrays(rng, *LSTM_ARRAYS), units=H), dense(rng, H, OUTPUTS)])
    program = f"""if True:
        import sys
        sys.modules.update(dict.fromkeys(("h5py", "keras", "tensorflow", "torch", "onnx")))
        import numpy as np, crnn
        net = crnn.from_keras({str(path)!r})
        print(net(np.zeros(({B}, {T}, {INPUTS})))[0].shape)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"({B}, {T}, {OUTPUTS})\n", done.stderr


def test_files_of_keras_1_are_refused(rng, path):
    write(path, [layer("LSTM", arrays(rng, *LSTM_ARRAYS), units=H)], "1.2.2")
    with pytest.raises(crnn.FormatError, match="Keras 1; load it with Keras 2"):
        crnn.from_keras(path)


def test_arrays_of_other_shapes_are_refused(rng, path):
    for shapes in ([(INPUTS, 4 * H), (H, 4 * H), (3 * H,)], [(INPUTS, 4 * H), (H, 4 * H)],
                   [(INPUTS, 4 * H), (H + 1, 4 * H), (4 * H,)], [(INPUTS,), (H, 4 * H), (4 * H,)]):
        write(path, [layer("LSTM", arrays(rng, *shapes), units=H)])
        with pytest.raises(crnn.FormatError, match=r"arrays of the shapes .* are wanted"):
            crnn.from_keras(path)
