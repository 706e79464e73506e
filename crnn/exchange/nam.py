"""The ``.nam`` files of Neural Amp Modeler: of its architectures, the LSTM.

A file is a JSON object. One flat list holds all weights. Of each layer: the rows of W (4 H, I + H),
over x and h beside each other, in the order i, f, g, o; the bias (4 H,); and the states to begin
with, h (H,) and c (H,), which the trainer found by running the network on silence. Then come the
head's rows (O, H) and bias (O,). (NeuralAmpModelerCore, NAM/lstm.cpp.)
"""

import math
import reprlib
from typing import NamedTuple

from crnn.exchange import json_files
from crnn.exchange.description import Description
from crnn.files.disk import bad
from crnn.layers import LSTM, Dense


class Sizes(NamedTuple):
    """What the configuration says."""

    inputs: int
    hidden: int
    layers: int
    outputs: int

    @property
    def weights(self):
        """How many numbers there are, the states to begin with among them."""
        _, H, L, outputs = self
        columns = self.inputs + H + (L - 1) * 2 * H  # of all layers' W
        return 4 * H * columns + L * (4 * H + H + H) + outputs * (H + 1)


def read(path):
    """Return the `Description` of the network in a ``.nam`` file.

    Raises
    ------
    FormatError
        It is no such file, or of another architecture than LSTM.
    OSError
        It cannot be opened.
    """
    content = json_files.read_object(path, "a .nam file")
    architecture = json_files.text(path, content, "architecture", "it")
    if architecture != "LSTM":
        raise bad(path, f"has the architecture {architecture!r}, which crnn has not; it reads .nam"
                  " files with \"LSTM\"")
    sizes = sizes_of(path, content.get("config"))
    weights, wanted = content.get("weights"), sizes.weights
    if isinstance(weights, list) and len(weights) != wanted:
        raise bad(path, f"has {len(weights)} weights, where an LSTM with {sizes.layers} layers of"
                  f" {sizes.hidden} units, {sizes.inputs} inputs and {sizes.outputs} outputs has"
                  f" {wanted}")
    flat = json_files.array(path, weights, (wanted,), "weights")
    layers = [*(LSTM(sizes.hidden) for _ in range(sizes.layers)), Dense(sizes.outputs)]
    return Description(sizes.inputs, layers, parameters(flat, sizes), learn_state=True,
                       metadata=metadata(path, content))


def sizes_of(path, config):
    """Return the `Sizes`; newer files may also say how many channels come in and go out."""
    inputs, hidden = (json_files.size(path, config, key, "config")
                      for key in ("input_size", "hidden_size"))
    layers = json_files.size(path, config, "num_layers", "config", json_files.MOST_LAYERS)
    channels = {"in_channels": inputs, "out_channels": 1} | config
    unknown = sorted(channels.keys() - {
        "input_size", "hidden_size", "num_layers", "in_channels", "out_channels"})
    if unknown:
        raise bad(path, f"has {reprlib.repr(unknown[0])} in config, and crnn does not know what it"
                  " means")
    if channels["in_channels"] != inputs:
        raise bad(path, f"has {reprlib.repr(channels['in_channels'])} as in_channels, and {inputs}"
                  " as input_size; crnn reads files where they are the same")
    return Sizes(inputs, hidden, layers, json_files.size(path, channels, "out_channels", "config"))


def parameters(flat, sizes):
    """Return the parameters by the names of `crnn.Sequential`, cut out of the list of weights."""
    H, outputs = sizes.hidden, sizes.outputs
    start, found = 0, {}

    def cut(*shape):
        nonlocal start
        start += math.prod(shape)
        return flat[start - math.prod(shape) : start].reshape(shape)

    for layer in range(sizes.layers):
        below = H if layer else sizes.inputs
        W = cut(4 * H, below + H).T
        found |= {
            f"W_xh_l{layer}": W[:below], f"W_hh_l{layer}": W[below:], f"b_h_l{layer}": cut(4 * H),
            f"h_0_l{layer}": cut(H), f"c_0_l{layer}": cut(H),
        }
    return found | {"W_hy": cut(outputs, H).T, "b_y": cut(outputs)}


def metadata(path, content):
    """Return texts for ``net.metadata``: the sample rate, and what the file says of the amplifier.

    Keys of the latter begin with "nam.".
    """
    rate, about = content.get("sample_rate"), content.get("metadata")
    if rate is not None and (type(rate) not in (int, float) or not 0 < rate <= 1e9):
        raise bad(path, f"has {reprlib.repr(rate)} as sample_rate; a number above 0 is wanted")
    if not isinstance(about, dict | None):
        raise bad(path, f"has {reprlib.repr(about)} as metadata; an object is wanted")
    texts = {} if rate is None else {"sample_rate": f"{rate:.12g}"}
    return texts | json_files.texts(path, about or {}, "nam.")
