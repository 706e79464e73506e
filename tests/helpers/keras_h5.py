"""Files as Keras 2 wrote them, by h5py, and its cells in NumPy."""

import json

import numpy as np

STATE = {"go_backwards": False, "return_sequences": True, "use_bias": True, "activation": "tanh"}
GATES = {**STATE, "recurrent_activation": "sigmoid"}


def layer(kind, arrays=(), **config):
    """Return a layer for `write`: its class, its configuration and its arrays."""
    usual = {"LSTM": GATES, "GRU": GATES, "SimpleRNN": STATE,
             "Dense": {"activation": "linear", "use_bias": True}}.get(kind, {})
    if kind.startswith("CuDNN"):
        usual = {"go_backwards": False, "return_sequences": True}
    return kind, {**usual, **config}, list(arrays)


def entries(layers):
    """Return the configuration of layers that are named layer_0 and so on."""
    return [{"class_name": kind, "config": {"name": f"layer_{number}", **config}}
            for number, (kind, config, _) in enumerate(layers)]


def write(path, layers, version="2.2.4", config=None):
    """Write a ``.h5``; a config takes the place of that of a Sequential of the layers."""
    import h5py

    if config is None:
        config = {"class_name": "Sequential", "config": {"layers": entries(layers)}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        weights = file.create_group("model_weights")
        names = [f"layer_{number}".encode() for number in range(len(layers))]
        weights.attrs["layer_names"] = names
        for name, (_, _, arrays) in zip(names, layers, strict=True):
            group = weights.create_group(name)
            own = [f"{name.decode()}/weight_{number}:0".encode() for number in range(len(arrays))]
            group.attrs["weight_names"] = own
            for each, array in zip(own, arrays, strict=True):
                group[each] = array


def sigmoid(a):
    """1 / (1 + exp(-a))."""
    return 1 / (1 + np.exp(-a))


def lstm(x, kernel, recurrent, bias, sigmoid=sigmoid, tanh=np.tanh):
    """Return the states (T, B, H) of an LSTM with the gates i, f, c, o."""
    h = c = np.zeros((x.shape[1], len(recurrent)))
    states = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        states.append(h)
    return np.array(states)


def gru(x, kernel, recurrent, bias, reset_after, sigmoid=sigmoid, tanh=np.tanh):
    """Return the states of a GRU with the gates z, r, h."""
    h = np.zeros((x.shape[1], len(recurrent)))
    of_x, of_h = bias if reset_after else (bias, 0)
    states = []
    for x_t in x:
        x_z, x_r, x_h = np.split(x_t @ kernel + of_x, 3, axis=1)
        h_z, h_r, h_h = np.split(h @ recurrent + of_h, 3, axis=1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        if not reset_after:
            h_h = (r * h) @ np.split(recurrent, 3, axis=1)[2]
            n = tanh(x_h + h_h)
        else:
            n = tanh(x_h + r * h_h)
        h = z * h + (1 - z) * n
        states.append(h)
    return np.array(states)
