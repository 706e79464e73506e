"""Models that Keras made and saved: networks from them answer as Keras does.

Keras itself runs in another process, once; see make_keras_models.py.
"""

import importlib.util
import subprocess
import sys

import make_keras_models
import numpy as np
import pytest
from make_keras_models import FUNCTIONAL, NAMES

import crnn

MODELS = [*NAMES, *(f"{name}_functional" for name in FUNCTIONAL)]
ENDINGS = ("keras", "h5")
TOLERANCE = 1e-6
STREAMED = [name for name in NAMES if "directions" not in name and "masked" not in name
            and name not in ("no_bias", "normalized")]


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
        assert name.removesuffix("_functional") in ("no_bias", "normalized")
    if "rnn" in name or "lstm" in name or name == "gru_before":  # nothing is added up
        weights = [made[each] for each in sorted(made) if each.startswith("weight")]
        assert len(arrays) == len(weights)
        for array, weight in zip(arrays, weights, strict=True):
            np.testing.assert_array_equal(array, weight)


def test_layers_are_taken_by_their_names(folder):
    path = folder / "shrinking.keras"
    whole = crnn.from_keras(path)
    part = crnn.from_keras(path, layers=["below", "above"])
    assert part.layers == (crnn.layers.LSTM(7), crnn.layers.LSTM(5))
    for name in part.parameters:
        np.testing.assert_array_equal(part.parameters[name], whole.parameters[name])
    with pytest.raises(ValueError, match=r"no layer 'lstm_9'; layers names some of .*'below'"):
        crnn.from_keras(path, layers=["lstm_9"])


def test_the_batch_comes_first_unless_it_is_told_otherwise(folder):
    made = np.load(folder / "gru.npz")
    net = crnn.from_keras(folder / "gru.keras", batch_first=False)
    y, _ = net(made["x"].swapaxes(0, 1).copy())
    np.testing.assert_allclose(y.swapaxes(0, 1), made["y"], rtol=0, atol=TOLERANCE)
