"""Files of Neural Amp Modeler and of RTNeural, made of arrays with PyTorch's or Keras's names."""

import json

import numpy as np
from safetensors.numpy import load_file

NOWHERE = [None, None]  # batch and time, in shapes of RTNeural's


def written(path, content):
    """Write JSON; return the path."""
    path.write_text(json.dumps(content))
    return path


def nam_content(arrays, **more):
    """Return what a .nam file of an LSTM holds: rec.weight_ih_l0 ..., h0 and c0 (L, 1, H), lin."""
    layers, _, hidden = arrays["h0"].shape
    weights = []
    for k in range(layers):
        W = np.hstack([arrays[f"rec.weight_ih_l{k}"], arrays[f"rec.weight_hh_l{k}"]])
        bias = arrays[f"rec.bias_ih_l{k}"] + arrays[f"rec.bias_hh_l{k}"]
        weights += [W.ravel(), bias, arrays["h0"][k, 0], arrays["c0"][k, 0]]
    weights += [arrays["lin.weight"].ravel(), arrays["lin.bias"]]
    return {
        "version": "0.5.4", "architecture": "LSTM", "metadata": {"name": "an amplifier"},
        "config": {"input_size": arrays["rec.weight_ih_l0"].shape[1], "hidden_size": hidden,
                   "num_layers": layers},
        "weights": np.concatenate(weights).tolist(), "sample_rate": 48000,
    } | more


def rtneural_content(inputs, *layers, **more):
    """Return what a file of RTNeural's holds: layers are (type, size, activation, *arrays)."""
    return {
        "in_shape": [*NOWHERE, inputs],
        "layers": [
            {"type": kind, "shape": [*NOWHERE, size], "activation": activation,
             "weights": [each.tolist() if isinstance(each, np.ndarray) else each
                         for each in arrays]}
            for kind, size, activation, *arrays in layers
        ],
    } | more


def keras_arrays(arrays, name, number=0):
    """Return kernel, recurrent kernel and bias in Keras's orders, of a recurrent layer."""
    ih, hh, b_ih, b_hh = (
        arrays[f"{name}.{each}_l{number}"]
        for each in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    if len(ih) == 4 * hh.shape[1]:  # an LSTM: the order is the same
        return ih.T, hh.T, b_ih.astype(float) + b_hh
    z_first = [1, 0, 2]
    kernel, recurrent = (np.concatenate([np.split(each, 3)[k] for k in z_first]).T
                         for each in (ih, hh))
    bias = np.stack([np.concatenate([np.split(each, 3)[k] for k in z_first])
                     for each in (b_ih, b_hh)])
    return kernel, recurrent, bias


def published(folder, name):
    """Return the arrays of a published network, by name."""
    return load_file(folder / f"{name}.safetensors")


def random_lstm(rng, inputs=1, hidden=4, layers=2, outputs=1):
    """Return arrays as of a published .nam network, of random numbers that float32 holds."""
    shapes = {"lin.weight": (outputs, hidden), "lin.bias": (outputs,),
              "h0": (layers, 1, hidden), "c0": (layers, 1, hidden)}
    for k in range(layers):
        shapes |= {
            f"rec.weight_ih_l{k}": (4 * hidden, hidden if k else inputs),
            f"rec.weight_hh_l{k}": (4 * hidden, hidden),
            f"rec.bias_ih_l{k}": (4 * hidden,), f"rec.bias_hh_l{k}": (4 * hidden,),
        }
    return {name: rng.uniform(-1, 1, shape).astype("f") for name, shape in shapes.items()}
