"""Networks from files."""

import numpy as np

from crnn.base import checks
from crnn.base.backends import choose_backend, kernels
from crnn.base.compression import FORMATS, SCALE, compressed_names, restored
from crnn.base.layers import parameter_shapes
from crnn.files import container, kinds
from crnn.files.disk import FormatError
from crnn.layers.forms import from_dict
from crnn.network import sequence_of_layers
from crnn.network.cells import CELLS
from crnn.network.compressed import Compressed
from crnn.network.configuration import (
    CONFIG_NAMES,
    DEFAULTS,
    MOST_LAYERS,
    OPTIONS,
    Configuration,
)
from crnn.network.scaling import Scaler
from crnn.network.sequence_of_layers import CELL, SequenceOfLayers
from crnn.network.sequential import Sequential


def load(path, *, backend=None):
    """Return the network of a file that its ``save`` or ``crnn train`` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    backend : {"compiled", "reference"}, optional
        As for `RNN`.

    Returns
    -------
    RNN, GRU, LSTM, Sequential or Compressed
        With the file's ``metadata`` and ``scaler``.

    Raises
    ------
    FormatError
        If the file is not whole, or not a network that this version of crnn knows.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import crnn
    >>> net = crnn.GRU(3, 5, 2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.safetensors")
    ...     net.save(path)
    ...     again = crnn.load(path)
    >>> bool((again.vector == net.vector).all())
    True
    """
    return network_from(path, kinds.read(path, kinds.NETWORK, kinds.MODEL), backend)


def network_from(path, content, backend=None):
    """Return the network in what `kinds.read` returned; every name and shape is checked."""
    config, tensors = content.header["config"], content.tensors
    kind = config.get("cell") if isinstance(config, dict) else None
    if kind not in [*CELLS, CELL]:
        raise FormatError(f"{path}: the configuration names no cell that crnn has")
    config = completed(config)
    form = config.pop("weights", None)
    container.check_names(
        path, config, sequence_of_layers.CONFIG_NAMES if kind == CELL else
        (*CONFIG_NAMES, *OPTIONS[kind]))
    backend = choose_backend(backend)
    kernels(backend, np.float32)  # before `try`: a wrong CRNN_ISA is not the file's fault
    try:
        checks.choice(config["dtype"], "dtype", checks.DTYPES)
        configuration = _configuration(config, backend)
        # an impossible size shows in the shapes before a network of that size takes memory
        shapes = parameter_shapes(configuration.layers, configuration.readout)
        if form is None:
            container.check_tensors(path, tensors, shapes, configuration.dtype)
            network = (Sequential if kind == CELL else CELLS[kind]).from_config(config, backend)
            network.vector = _vector(tensors, shapes)
        else:
            network = _compressed(path, configuration, form, tensors, shapes)
        if "scaler" in content.header:
            network.scaler = Scaler.of(content.header["scaler"])
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: the configuration is not a network's: {error}") from None
    network.metadata = content.metadata
    return network


def _vector(tensors, names):
    return np.concatenate([tensors[name].ravel() for name in names])


def _compressed(path, configuration, form, tensors, shapes):
    """Return the compressed network of a file's tensors."""
    checks.choice(form, "weights", FORMATS)
    if configuration.dtype != np.float32:
        raise ValueError(f"weights are {form}, and dtype is not float32")
    weights = compressed_names(shapes, form)
    wanted = {name: (shape, np.float32) for name, shape in shapes.items()}
    for name in weights:
        wanted[name] = shapes[name], np.uint16 if form == "bf16" else np.int8
        if form == "int8":
            wanted[name + SCALE] = shapes[name][1:], np.float32
    container.check_names(path, tensors, wanted)
    for name, (shape, dtype) in wanted.items():
        container.check_tensors(path, {name: tensors[name]}, {name: shape}, np.dtype(dtype))
    return Compressed(configuration, form, _vector(restored(tensors, weights, form), shapes))


def completed(config):
    """Return a configuration from a file with what older files lack."""
    return dict(config) if config.get("cell") == CELL else DEFAULTS | config


def _configuration(config, backend):
    """Return the checked configuration of one from a file, whose names are all there."""
    if config["cell"] != CELL:
        configuration = Configuration.checked(**config, backend=backend)
        if configuration.num_layers != config["num_layers"]:
            raise ValueError("hidden_size and num_layers disagree")
        return configuration
    if not isinstance(config["layers"], list):
        raise TypeError("the layers are no list")
    if len(config["layers"]) > MOST_LAYERS:  # before they are made, which would take long
        raise ValueError(f"layers has more than {MOST_LAYERS} layers")
    arguments = {name: value for name, value in config.items() if name != "cell"}
    arguments["layers"] = list(map(from_dict, config["layers"]))
    return SequenceOfLayers.checked(**arguments, backend=backend)
