"""Trained networks from the wild, in PyTorch's names: each by one call, whole and streamed."""

import numpy as np
import pytest
import safetensors.numpy

import crnn

EXACT = 1e-10
OF_MORE_DIGITS = 2e-9  # outputs from before weights were rounded to float32
AUDIO = {"layers": ["rec", "lin"], "initial_state": ("h0", "c0")}
MODELS = {  # how each is read, what it gives, and how exactly
    "nam_boss_lstm1x16": (AUDIO, "expected_y", EXACT),
    "nam_boss_lstm2x8": (AUDIO, "expected_y", EXACT),
    "nam_darkglass_lstm3": (AUDIO, "expected_y", EXACT),
    "rtneural_lstm_torch_4layers": (
        {"layers": ["lstm", "lstm2", "dense"]}, "expected_y_float64", OF_MORE_DIGITS),
    "rtneural_gru_torch_4layers": (
        {"layers": ["gru", "gru2", "dense"]}, "expected_y_float64", OF_MORE_DIGITS),
    "rtneural_keras_gru_1d": (
        {"layers": ["layers.0.gru", "layers.1.dense", "layers.2.dense"],
         "activations": {"layers.1.dense": "sigmoid"}}, "expected_y_float64", OF_MORE_DIGITS),
    "silero_vad_16k_lstm128": (
        {"layers": ["rec", "final"], "activations": {"rec": "relu", "final": "sigmoid"}},
        "expected_prob_float64", EXACT),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_outputs_whole_and_streamed(shared, model, dtype):
    path = shared.parent / "models" / f"{model}.safetensors"
    if not path.exists():
        pytest.skip("the shared models are not here")
    arguments, wanted, tolerance = MODELS[model]
    tolerance = tolerance if dtype == "float64" else 1e-4
    arrays = safetensors.numpy.load_file(path)
    x, wanted = arrays["x"], arrays[wanted]
    x = x.reshape(len(x), 1, -1).astype(dtype)
    net = crnn.from_torch(path, dtype=dtype, **arguments)
    y, state = net(x)
    np.testing.assert_allclose(y.ravel(), wanted.ravel(), rtol=0, atol=tolerance)
    if "expected_h_n" in arrays:
        for each, name in zip(state, ("expected_h_n", "expected_c_n"), strict=True):
            np.testing.assert_allclose(each, arrays[name], rtol=0, atol=tolerance * 10)
    stream = net.stream(1)
    for t in range(min(len(x), 300)):
        np.testing.assert_array_equal(stream.step(x[t]), y[t])
