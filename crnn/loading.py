"""Networks from files."""

import numpy as np

from crnn import files
from crnn.network import CELLS
from crnn.parameters import parameter_shapes


def load(path, *, backend=None):
    """Return the network of a file that `RNN.save` or ``crnn train`` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    backend : {"compiled", "reference"}, optional
        As for `RNN`.

    Returns
    -------
    RNN

    Raises
    ------
    FormatError
        If the file is not whole, or not a network that this version of crnn knows.
    OSError
        If it cannot be read.
    """
    tensors, metadata = files.read(path)
    return network_from(path, tensors, metadata, backend)


def network_from(path, tensors, metadata, backend=None):
    """Return the network in what `files.read` returned, after a check of every name and shape."""
    if "config" not in metadata:
        raise files.FormatError(f"{path}: the header has no network configuration")
    config = files.read_json(path, metadata["config"], "configuration")
    cell = CELLS.get(config.pop("cell", None)) if isinstance(config, dict) else None
    if cell is None:
        raise files.FormatError(f"{path}: the configuration names no cell that crnn has")
    try:
        # an impossible size shows in the shapes before a network of that size takes memory
        _check_tensors(path, tensors, config)
        network = cell(**config, backend=backend)
    except (TypeError, KeyError) as error:
        raise files.FormatError(f"{path}: the configuration is not a network's: {error}") from None
    network.vector = np.concatenate([tensors[name].ravel() for name in network.parameters])
    return network


def _check_tensors(path, tensors, config):
    sizes = (config["input_size"], config["hidden_size"], config["output_size"])
    shapes = parameter_shapes(*sizes)
    files.check_names(path, tensors, shapes)
    for name, shape in shapes.items():
        found = tensors[name]
        if found.shape != shape or found.dtype.name != config["dtype"]:
            raise files.FormatError(
                f"{path}: {name} is {found.dtype} {found.shape}; its configuration says"
                f" {config['dtype']} {shape}"
            )
