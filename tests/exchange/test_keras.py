"""Models that Keras made and saved: networks from them answer as Keras does.

Keras itself runs in another process, once; see make_keras_models.py.
"""

import importlib.util
import subprocess
import sys
import zipfile

import make_keras_models
import numpy as np
import pytest
from make_keras_models import FUNCTIONAL, NAMES

import crnn

MODELS = [*NAMES, *(f"{name}_functional" for name in FUNCTIONAL)]
ENDINGS = ("keras", "h5")
TOLERANCE = 1e-6
IN_BOTH_DIRECTIONS = (
    "directions", "directions_all", "no_bias", "normalized", "masked", "masked_all")
STREAMED = [name for name in NAMES if name not in IN_BOTH_DIRECTIONS]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with files of all models, and what they answer."""
    for package in ("keras", "torch", "h5py"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"there is no {package}")
    folder = tmp_path_factory.mktemp("keras")
    done = subprocess.run([sys.executable, make_keras_models.__file__, folder], timeout=600,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", MODELS)
def test_a_network_answers_as_keras_does(folder, name, ending):
    made = np.load(folder / f"{name}.npz")
    net = crnn.from_keras(folder / f"{name}.{ending}")
    assert net.dtype == np.float32
    assert net.last == (made["y"].ndim == 2)
    y, _ = net(made["x"])
    np.testing.assert_allclose(y, made["y"], rtol=0, atol=TOLERANCE)
    wide = crnn.from_keras(folder / f"{name}.{ending}", dtype="float64")
    y, _ = wide(made["x"])
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, made["y"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", STREAMED)
def test_a_network_answers_step_by_step(folder, name):
    made = np.load(folder / f"{name}.npz")
    net = crnn.from_keras(folder / f"{name}.keras")
    wanted = np.moveaxis(made["y"], 1, 0) if made["y"].ndim == 3 else made["y"][None]
    steps = np.array([net.step(x) for x in np.moveaxis(made["x"], 1, 0)])
    np.testing.assert_allclose(steps[-len(wanted):], wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_files_and_the_model_itself_make_one_network(folder, name):
    made = np.load(folder / f"{name}.npz")
    for ending in ENDINGS:
        net = crnn.from_keras(folder / f"{name}.{ending}")
        np.testing.assert_array_equal(net.vector, made["vector"])


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(folder, name):
    made = np.load(folder / f"{name}.npz")
    net = crnn.from_keras(folder / f"{name}.keras")
    arrays = net.to_keras()
    again = crnn.from_keras(arrays, layers=net.layers, last=net.last)
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.vector, net.vector)
    if "again" in made:  # Keras takes them
        np.testing.assert_allclose(made["again"], made["y"], rtol=0, atol=TOLERANCE)
    else:
        assert name.removesuffix("_functional") in (
            "no_bias", "normalized", "masked_normalized")
    if "rnn" in name or "lstm" in name or name == "gru_before":  # nothing is added up
        weights = [made[each] for each in sorted(made) if each.startswith("weight")]
        assert len(arrays) == len(weights)
        for array, weight in zip(arrays, weights, strict=True):
            np.testing.assert_array_equal(array, weight)


def test_what_is_left_out_is_said(folder):
    assert "left_out" not in crnn.from_keras(folder / "lstm.keras").metadata
    said = crnn.from_keras(folder / "noises.keras").metadata["left_out"]
    for words in ("(GaussianNoise), which is of training", "the dropout of the layer",
                  "the recurrent_dropout of the layer", "(SpatialDropout1D)"):
        assert words in said
    said = crnn.from_keras(folder / "normalized.keras").metadata["left_out"]
    assert said.count("(BatchNormalization), which is in the weights of") == 5
    said = crnn.from_keras(folder / "shrinking.keras", layers=["below"]).metadata["left_out"]
    assert "the layer 'above' (LSTM), which was not asked for" in said


def test_layers_are_taken_by_their_names(folder):
    path = folder / "shrinking.keras"
    whole = crnn.from_keras(path)
    part = crnn.from_keras(path, layers=["below", "above"])
    assert part.layers == (crnn.layers.LSTM(7), crnn.layers.LSTM(5))
    for name in part.parameters:
        np.testing.assert_array_equal(part.parameters[name], whole.parameters[name])
    with pytest.raises(ValueError, match=r"no layer 'lstm_9'; layers names some of .*'below'"):
        crnn.from_keras(path, layers=["lstm_9"])


@pytest.mark.parametrize(("name", "old", "new"), [
    ("masked_tokens", "0], \"kwargs", "5], \"kwargs"),
    ("masked_all", '"axis": -1, "keepdims"', '"axis": 1, "keepdims"'),
])
def test_a_mask_of_its_own_is_refused(folder, tmp_path, name, old, new):
    with zipfile.ZipFile(folder / f"{name}_functional.keras") as given:
        members = {each: given.read(each) for each in given.namelist()}
    config = members["config.json"].decode()
    assert old in config
    members["config.json"] = config.replace(old, new).encode()
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as changed:
        for each, data in members.items():
            changed.writestr(each, data)
    with pytest.raises(crnn.FormatError, match=r"has a mask of its own for the layer"):
        crnn.from_keras(tmp_path / "model.keras")


def test_outputs_of_all_steps_where_the_model_gives_the_last(folder):
    made = np.load(folder / "tokens.npz")
    net = crnn.from_keras(folder / "tokens.keras", last=False)
    y, _ = net(made["x"])
    np.testing.assert_allclose(y[:, -1], made["y"], rtol=0, atol=TOLERANCE)
    with pytest.raises(TypeError, match="last is 3"):
        crnn.from_keras(folder / "tokens.keras", last=3)


@pytest.mark.parametrize("ending", ["weights.h5", "two.h5"])
@pytest.mark.parametrize("name", ["shrinking", "directions", "tokens"])
def test_weights_alone(folder, name, ending):
    net = crnn.from_keras(folder / f"{name}.keras")
    path = folder / f"{name}.{ending}"
    again = crnn.from_keras(path, layers=net.layers, last=True)
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.vector, net.vector)
    with pytest.raises(crnn.FormatError, match=r"weights alone: .* say what the layers are"):
        crnn.from_keras(path)
    with pytest.raises(crnn.FormatError, match=r"arrays\[0\] has shape|there are \d+ arrays"):
        crnn.from_keras(path, layers=[crnn.layers.LSTM(3), *net.layers[1:]])
    with pytest.raises(crnn.FormatError, match="whole model, which says what its layers are"):
        crnn.from_keras(folder / f"{name}.h5", layers=net.layers)


def test_the_batch_comes_first_unless_it_is_told_otherwise(folder):
    made = np.load(folder / "gru.npz")
    net = crnn.from_keras(folder / "gru.keras", batch_first=False)
    y, _ = net(made["x"].swapaxes(0, 1).copy())
    np.testing.assert_allclose(y.swapaxes(0, 1), made["y"], rtol=0, atol=TOLERANCE)
