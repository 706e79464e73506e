"""A layer of Keras's in crnn's words: its class and configuration as one of `crnn.layers`."""

import reprlib

from crnn.base import checks
from crnn.exchange.keras_models import KerasLayer
from crnn.layers import GRU, LSTM, RNN, Dense, Embedding, Masking

ACTIVATIONS = ("linear", "tanh", "relu", "sigmoid", "softmax")  # of one meaning in all versions
OTHER_NAMES = {None: "linear", "softmax_v2": "softmax"}  # which TensorFlow's Keras writes, too
HARD_SIGMOIDS = {2: "hard_sigmoid_0.2", 3: "hard_sigmoid"}  # by the first number of the version
GATES = ("sigmoid", *HARD_SIGMOIDS.values())
RECURRENT = ("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM")
ALIKE = (  # what both directions of a Bidirectional must have in common
    "units", "activation", "recurrent_activation", "use_bias", "reset_after", "return_sequences",
)


class CannotError(ValueError):
    """A layer computes what crnn cannot express; says which and why."""


def setting(layer, key):
    """Return a value of a layer's configuration that Keras always writes."""
    if key not in layer.config:
        raise ValueError(f"has no {key!r} in the configuration of {layer}")
    return layer.config[key]


def flag(layer, key):
    """Return a setting that is True or False."""
    return checks.flag(setting(layer, key), f"{key} of {layer}")


def inner(layer, key):
    """Return the layer inside another one, under the other's name."""
    match layer.config.get(key):
        case {"class_name": str(kind), "config": {**config}}:
            return KerasLayer(layer.name, kind, config)
    raise ValueError(f"has {reprlib.repr(layer.config.get(key))} as the {key} of {layer}")


def activation(layer, key, version):
    """Return crnn's name of an activation.

    Parameters
    ----------
    layer : KerasLayer
    key : str
    version : {2, 3} or None
        Of Keras: 2 and 3 have two functions by the name of hard_sigmoid.
    """
    name = setting(layer, key)
    if name is None or isinstance(name, str):
        name = OTHER_NAMES.get(name, name)
    if name == "hard_sigmoid":
        if version is None:
            raise ValueError(f"has 'hard_sigmoid' as the {key} of {layer}, but no keras_version:"
                             " Keras 2 and 3 have two functions by that name")
        return HARD_SIGMOIDS[version]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise CannotError(f"has {reprlib.repr(name)} as the {key} of {layer}; crnn has"
                          f" {', '.join(ACTIVATIONS)} and hard_sigmoid")
    return name


def recurrent(layer, version, bidirectional=False):
    """Return the layer of `crnn.layers` that a layer with a state is."""
    if flag(layer, "go_backwards"):
        raise CannotError(f"has {layer}, which goes backwards; crnn's layers do so only as the"
                          " second direction of a bidirectional one")
    if layer.config.get("time_major", False):
        raise CannotError(f"has {layer} with time_major; crnn takes networks of Keras's that have"
                          " the batch first")
    size = setting(layer, "units")
    if layer.kind in ("CuDNNGRU", "CuDNNLSTM"):
        return {"CuDNNGRU": GRU, "CuDNNLSTM": LSTM}[layer.kind](size, bidirectional=bidirectional)
    f = activation(layer, "activation", version)
    if f not in ("tanh", "relu"):
        raise CannotError(f"has {f!r} as the activation of {layer}; crnn's cells have tanh or relu")
    if layer.kind == "SimpleRNN":
        return RNN(size, nonlinearity=f, bidirectional=bidirectional)
    gate = activation(layer, "recurrent_activation", version)
    if gate not in GATES:
        raise CannotError(f"has {gate!r} as the recurrent_activation of {layer}; crnn's cells have"
                          " sigmoid or hard_sigmoid")
    if layer.kind == "LSTM":
        return LSTM(size, nonlinearity=f, gate_activation=gate, bidirectional=bidirectional)
    # what lacks the option is from before Keras had it
    reset_after = flag(layer, "reset_after") if "reset_after" in layer.config else False
    return GRU(size, reset_after=reset_after, candidate=f, gate_activation=gate,
               bidirectional=bidirectional)


def of_cell(layer):
    """Return the layer with a state that an RNN layer of one cell is."""
    cell = inner(layer, "cell")
    kind = cell.kind.removesuffix("Cell")
    if kind not in ("SimpleRNN", "GRU", "LSTM") or kind == cell.kind:
        raise CannotError(f"has {layer} of a {cell.kind}, which crnn cannot express")
    return KerasLayer(layer.name, kind, layer.config | cell.config)


def bidirectional(layer):
    """Return the layer that a Bidirectional one has in both directions."""
    mode = setting(layer, "merge_mode")
    if mode != "concat":
        raise CannotError(f"has {reprlib.repr(mode)} as the merge_mode of {layer}; crnn lays the"
                          " directions side by side, which is 'concat'")
    own = inner(layer, "layer")
    if own.kind not in RECURRENT:
        raise CannotError(f"has {layer} of a {own.kind}, which crnn cannot express")
    if layer.config.get("backward_layer") is not None:
        back = inner(layer, "backward_layer")
        first, second = ([each.kind, *map(each.config.get, ALIKE)] for each in (own, back))
        if first != second or not flag(back, "go_backwards"):
            raise CannotError(f"has {layer} of two layers that differ; crnn's directions are alike")
    return own


def dense(layer, version):
    """Return the `crnn.layers.Dense` that a Dense is."""
    return Dense(setting(layer, "units"), activation(layer, "activation", version))


def embedding(layer):
    """Return the `crnn.layers.Embedding` that an Embedding is."""
    return Embedding(setting(layer, "output_dim"), mask_zero=flag(layer, "mask_zero"))


def masking(layer):
    """Return the `crnn.layers.Masking` that a Masking is."""
    return Masking(setting(layer, "mask_value"))


def of_activation(layer, version):
    """Return the name of the activation that a layer is by itself."""
    if layer.kind == "Activation":
        return activation(layer, "activation", version)
    if layer.kind == "Softmax":
        axis = setting(layer, "axis")
        if axis not in (-1, [-1], (-1,)):
            raise CannotError(f"has {axis!r} as the axis of {layer}; crnn has -1, the features")
        return "softmax"
    options = [layer.config.get(key) for key in ("max_value", "negative_slope", "threshold")]
    if options[0] is not None or any(each not in (None, 0) for each in options[1:]):
        raise CannotError(f"has {layer} with a max_value, a negative_slope or a threshold; crnn has"
                          " max(x, 0) alone")
    return "relu"
