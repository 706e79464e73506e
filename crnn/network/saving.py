"""Networks from files."""

import numpy as np

from crnn.base import checks
from crnn.base.backends import choose_backend, kernels
from crnn.base.kinds import parameter_shapes
from crnn.files import container
from crnn.files.disk import FormatError
from crnn.network.cells import CELLS
from crnn.network.configuration import CONFIG_NAMES, DEFAULTS, MOST_LAYERS


def load(path, *, backend=None):
    """Return the network of a file that its ``save`` or ``crnn train`` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    backend : {"compiled", "reference"}, optional
        As for `RNN`.

    Returns
    -------
    RNN, GRU or LSTM

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
    tensors, metadata = container.read(path)
    return network_from(path, tensors, metadata, backend)


def network_from(path, tensors, metadata, backend=None):
    """Return the network in what `container.read` returned; every name and shape is checked."""
    if "training" in metadata and "vocabulary" not in metadata:
        raise FormatError(f"{path}: a checkpoint of training, not a model")
    if "config" not in metadata:
        raise FormatError(f"{path}: the header has no network configuration")
    config = container.read_json(path, metadata["config"], "configuration")
    if not isinstance(config, dict) or config.get("cell") not in list(CELLS):
        raise FormatError(f"{path}: the configuration names no cell that crnn has")
    config, network_class = DEFAULTS | config, CELLS[config["cell"]]
    container.check_names(path, config, (*CONFIG_NAMES, *network_class._options))
    backend = choose_backend(backend)
    kernels(backend, np.float32)  # what is wrong with these is not the file's mistake
    try:
        names = "input_size", "hidden_size", "output_size", "num_layers"
        sizes = [config[name] for name in names]
        kind = network_class._kind_of(config)
        checks.whole_number(config["num_layers"], "num_layers", maximum=MOST_LAYERS)
        shapes = parameter_shapes(kind, *sizes, 1 + config["bidirectional"])
        # an impossible size shows in the shapes before a network of that size takes memory
        dtype = np.dtype(checks.choice(config["dtype"], "dtype", checks.DTYPES))
        container.check_tensors(path, tensors, shapes, dtype)
        del config["cell"]
        network = network_class(**config, backend=backend)
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: the configuration is not a network's: {error}") from None
    network.vector = np.concatenate([tensors[name].ravel() for name in network.parameters])
    return network
