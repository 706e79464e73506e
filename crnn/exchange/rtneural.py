"""Networks for RTNeural: its JSON, and that of amplifier models which run on it.

RTNeural's own file is an object with ``in_shape`` and ``layers``, each of which has a ``type``, a
``shape``, an ``activation`` and its arrays as Keras has them: a GRU's gates in the order z, r, h
with the bias (2, 3 H), an LSTM's in the order i, f, c, o (RTNeural/model_loader.h). Beside them
stands what a player of such files does around the network: ``in_skip`` adds the input to the
output, and there are gains in dB (AIDA-X).

The other kind has ``model_data`` and a ``state_dict`` of PyTorch with one recurrent module, "rec",
a linear one, "lin", and ``skip`` for the input that is added (Automated-GuitarAmpModelling).
"""

import reprlib

import numpy as np

from crnn.exchange import json_files
from crnn.exchange.description import Description, named
from crnn.exchange.keras_orders import array_shapes, parameters_of
from crnn.exchange.torch_layers import cell
from crnn.files.disk import bad
from crnn.layers import GRU, LSTM, RNN, Activation, Dense
from crnn.layers.recurrent import Recurrent

KIND = "a file of RTNeural's"
ACTIVATIONS = ("tanh", "relu", "sigmoid", "softmax")
ABOUT = ("metadata", "samplerate", "sample_rate", "in_gain", "out_gain")
HINTS = {"unknown": "; where it stands for dropout, take it out of the file"}


def read(path):
    """Return the `Description` of the network in a file of RTNeural's.

    Raises
    ------
    FormatError
        It is no such file, or has a layer that crnn has not.
    OSError
        It cannot be opened.
    """
    content = json_files.read_object(path, KIND)
    is_state_dict = "state_dict" in content and "layers" not in content
    description = (amplifier if is_state_dict else model)(path, content)
    about = {key: content[key] for key in ABOUT if key in content}
    description.metadata = json_files.texts(path, about, "rtneural.")
    return description


# --- layers, in Keras's orders ------------------------------------------------------------------


def model(path, content):
    """Return the `Description` of a file with a list of layers."""
    inputs = width = last_size(path, content, "in_shape", "it")
    most = json_files.MOST_LAYERS
    listed = json_files.entry(path, content, "layers", "it", f"a list of 1 to {most} layers",
                              lambda value: isinstance(value, list) and 0 < len(value) <= most)
    layers, arrays = [], []
    for place, entry in enumerate(listed):
        where = f"layer {place} of {len(listed)}"
        kind = json_files.text(path, entry, "type", where)
        if kind not in READERS:
            raise bad(path, f"has {where} of type {kind!r}; of RTNeural's layers crnn has"
                      f" {', '.join(READERS)}{HINTS.get(kind, '')}")
        size = last_size(path, entry, "shape", where)
        if kind == "activation" and not layers:
            raise bad(path, "begins with an activation, where crnn has a layer with weights: apply"
                      " it to the input, and take it out of the file")
        layer, of_layer = READERS[kind](path, entry, f"{where}, a {kind}", width, size)
        layers.append(layer)
        arrays.append(of_layer)
        width = size
    check_recurrent(path, layers)
    skip = skips(path, content.get("in_skip", 0), "in_skip", inputs, width)
    if skip and isinstance(layers[-1], Dense) and layers[-1].activation != "linear":
        layers[-1:] = [Dense(width), Activation(layers[-1].activation)]  # then comes the input
        arrays.append({})
    return Description(inputs, layers, named(layers, arrays), skip=skip)


def last_size(path, holder, key, where):
    """Return the features that a shape ends with."""
    shape = json_files.entry(path, holder, key, where, "a list of sizes",
                             lambda value: isinstance(value, list) and value)
    if len(shape) > 3:
        raise bad(path, f"has the {key} {reprlib.repr(shape)} in {where}, of images; crnn has"
                  " layers that read features at each step")
    return json_files.size(path, {key: shape[-1]}, key, where)


def check_recurrent(path, layers):
    """Refuse a file without a recurrent layer."""
    if not any(isinstance(layer, Recurrent) for layer in layers):
        raise bad(path, "has no recurrent layer, and crnn is for networks with one")


def arrays_of(path, entry, where, *shapes):
    """Return the arrays of a layer, which have these shapes."""
    weights = json_files.entry(
        path, entry, "weights", where, f"a list of {len(shapes)} arrays",
        lambda value: isinstance(value, list) and len(value) == len(shapes))
    return [json_files.array(path, each, shape, f"array {place} of {where}")
            for place, (each, shape) in enumerate(zip(weights, shapes, strict=True))]


def check_tanh(path, entry, where):
    """Refuse an activation that RTNeural, which has tanh in its cells, would not run either."""
    activation = entry.get("activation", "")
    if activation not in ("", "tanh"):
        raise bad(path, f"has {reprlib.repr(activation)} as the activation of {where}, where"
                  " RTNeural computes tanh, whatever the file says: load the model that it was"
                  " made from")


def gru(path, entry, where, inputs, H):
    """Return a GRU and its parameters."""
    check_tanh(path, entry, where)
    return weighted(path, entry, where, inputs, GRU(H))


def lstm(path, entry, where, inputs, H):
    """Return an LSTM and its parameters."""
    check_tanh(path, entry, where)
    return weighted(path, entry, where, inputs, LSTM(H))


def dense(path, entry, where, inputs, outputs):
    """Return a dense layer and its parameters."""
    layer = Dense(outputs, activation_of(path, entry, where, ("", "linear", *ACTIVATIONS)))
    return weighted(path, entry, where, inputs, layer)


def weighted(path, entry, where, inputs, layer):
    """Return a layer and its parameters, from arrays in Keras's orders."""
    arrays = arrays_of(path, entry, where, *array_shapes(layer, inputs))
    return layer, parameters_of(layer, arrays)


def activation(path, entry, where, inputs, outputs):
    """Return an activation by itself; it has no arrays."""
    if outputs != inputs:
        raise bad(path, f"has {where}, of shape {outputs} on {inputs} features")
    return Activation(activation_of(path, entry, where, ACTIVATIONS)), {}


def activation_of(path, entry, where, known):
    """Return an activation's name."""
    name = entry.get("activation", "")
    if name not in known:
        raise bad(path, f"has {reprlib.repr(name)} as the activation of {where}; of RTNeural's"
                  f" activations crnn has {', '.join(ACTIVATIONS)}")
    return name or "linear"


READERS = {"gru": gru, "lstm": lstm, "dense": dense, "time-distributed-dense": dense,
           "activation": activation}


# --- a state dict of PyTorch --------------------------------------------------------------------


CELLS = {"LSTM": (LSTM, 4), "GRU": (GRU, 3), "RNN": (RNN, 1)}


def amplifier(path, content):
    """Return the `Description` of a file with the state dict of an amplifier model."""
    about = content.get("model_data")
    kind = json_files.text(path, about, "unit_type", "model_data")
    if kind not in CELLS or about.get("model", "SimpleRNN") != "SimpleRNN":
        raise bad(path, f"has a {reprlib.repr(about.get('model'))} of {kind!r}; crnn reads a"
                  f" 'SimpleRNN' of {', '.join(CELLS)}")
    inputs, H, outputs = (json_files.size(path, about, key, "model_data")
                          for key in ("input_size", "hidden_size", "output_size"))
    L = json_files.size(path, about, "num_layers", "model_data", json_files.MOST_LAYERS)
    layer_class, gates = CELLS[kind]
    arrays = StateDict(path, content["state_dict"])
    parameters = []
    for layer in range(L):  # of which the first that is not there ends it
        rows, below = gates * H, H if layer else inputs
        shapes = {"weight_ih": (rows, below), "weight_hh": (rows, H), "bias_ih": (rows,),
                  "bias_hh": (rows,)}
        of_layer = {name: arrays.take(f"rec.{name}_l{layer}", shape)
                    for name, shape in shapes.items()}
        parameters.append(cell(kind, of_layer, ""))
    W_hy = arrays.take("lin.weight", (outputs, H)).T
    b_y = arrays.take("lin.bias", (outputs,)) if about.get("bias_fl", True) else np.zeros(outputs)
    parameters.append({"W_xh": W_hy, "b_h": b_y})
    arrays.check_all_taken()
    layers = [*(layer_class(H) for _ in parameters[:-1]), Dense(outputs)]
    return Description(inputs, layers, named(layers, parameters),
                       skip=skips(path, about.get("skip", 0), "skip", inputs, outputs))


class StateDict:
    """Arrays by name, each to be taken once."""

    def __init__(self, path, entries):
        if not isinstance(entries, dict):
            raise bad(path, f"has {reprlib.repr(entries)} as state_dict; an object is wanted")
        self._path, self._left = path, dict(entries)

    def take(self, name, shape):
        """Return an array."""
        if name not in self._left:
            raise bad(self._path, f"has no {name!r} in state_dict")
        return json_files.array(self._path, self._left.pop(name), shape, name)

    def check_all_taken(self):
        """Refuse what nobody asked for, as it might compute something."""
        if self._left:
            raise bad(self._path, f"has {reprlib.repr(sorted(self._left))} in state_dict, and crnn"
                      " does not know what they do")


# --- around the network -------------------------------------------------------------------------


def skips(path, value, name, inputs, outputs):
    """Return whether the input is added to the output."""
    if type(value) not in (int, bool) or value not in (0, 1):
        raise bad(path, f"has {reprlib.repr(value)} as {name}; 0 or 1 is wanted")
    if value and inputs != outputs:
        raise bad(path, f"adds the first of {inputs} inputs to {outputs} outputs ({name}), which"
                  " crnn does where both are as many: put 0 there, and add it yourself")
    return bool(value)
