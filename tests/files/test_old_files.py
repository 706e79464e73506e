"""Files that crnn wrote before there was a Sequential, and what it computed from them.

They are in old/ and are never made again: whatever this version of crnn writes, it reads these.
expected.npz has the inputs and what came out, of the compiled backend.
"""

from pathlib import Path

import numpy as np
import pytest

import crnn

OLD = Path(__file__).parent / "old"


@pytest.fixture
def expected():
    with np.load(OLD / "expected.npz") as file:
        return dict(file)


def close(actual, desired):
    assert actual.dtype == desired.dtype
    np.testing.assert_allclose(actual, desired, rtol=1e-5 if actual.dtype == np.float32 else 1e-12)


@pytest.mark.parametrize(("name", "made"), [
    ("rnn", "crnn.RNN(3, 4, 2, nonlinearity='relu', dtype='float32'"),
    ("gru", "crnn.GRU(3, (3, 4), 2, bidirectional=True, reset_after=False, candidate='relu',"),
    ("gru_after", "crnn.GRU(3, 4, None, num_layers=2, dropout=0.25, reset_after=True,"),
    ("lstm", "crnn.LSTM(3, 4, 2, batch_first=True, learn_state=True, dtype='float64'"),
])
def test_networks(expected, name, made):
    net = crnn.load(OLD / f"{name}.safetensors")
    assert repr(net).startswith(made)
    assert net.metadata == {"made of": "numbers that were drawn", "name": name, "more": name}
    for kind in ("x", "tokens"):
        given = expected[kind].swapaxes(0, 1) if net.batch_first else expected[kind]
        close(net(given)[0], expected[name if kind == "x" else f"{name}_tokens"])
        if kind == "x":
            close(net(given, last=True)[0], expected[f"{name}_last"])
    if name == "lstm":
        np.testing.assert_allclose(net.scaler.mean, expected["x"].reshape(-1, 3).mean(axis=0))


def test_a_model_that_writes(expected):
    net, vocabulary, training = crnn.text.load_model(OLD / "model.safetensors")
    assert training == {"lines": True}
    close(net(vocabulary.encode("ab é"))[0], expected["model"])


def test_the_state_of_a_stream(expected):
    stream = crnn.load(OLD / "lstm.safetensors").stream()
    stream.load(OLD / "stream.safetensors")
    close(np.array([stream.step(each) for each in expected["x"][3:]]), expected["stream"])


def test_a_training_goes_on(expected, tmp_path):
    path, x = tmp_path / "checkpoint", expected["x"]
    path.write_bytes((OLD / "checkpoint.safetensors").read_bytes())
    net = crnn.GRU(3, 4, 2, num_layers=2, dropout=0.25, dtype="float64", seed=6)
    history = crnn.fit(
        net, (x, np.cumsum(x, axis=0)[..., :2]), crnn.Adam(0.01, weight_decay=0.01), loss="huber",
        epochs=4, truncation=3, clip_norm=1.0, seed=7, metrics=["mae"], checkpoint=path,
        resume=True)
    losses = np.array([row["loss"] for row in history.rows])
    np.testing.assert_allclose(losses, expected["checkpoint_losses"], rtol=1e-9)
    np.testing.assert_allclose(net.vector, expected["checkpoint"], rtol=1e-7, atol=1e-10)


def test_a_forecaster(expected):
    forecaster = crnn.Forecaster.load(OLD / "forecaster.safetensors")
    forecast = forecaster.predict(5)
    np.testing.assert_allclose(forecast.mean, expected["forecast"], rtol=1e-9)
    assert forecast.times[0] == np.datetime64("2026-02-14")


def test_they_are_small_and_all_there():
    sizes = {path.name: path.stat().st_size for path in OLD.iterdir()}
    assert sorted(sizes) == [
        "checkpoint.safetensors", "expected.npz", "forecaster.safetensors", "gru.safetensors",
        "gru_after.safetensors", "lstm.safetensors", "model.safetensors", "rnn.safetensors",
        "stream.safetensors"]
    assert sum(sizes.values()) < 40_000
