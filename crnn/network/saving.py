"""Networks from files."""

import numpy as np

from crnn.base import checks
from crnn.base.backends import choose_backend, kernels
from crnn.base.layers import parameter_shapes
from crnn.files import container, kinds
from crnn.files.disk import FormatError
from crnn.network.cells import CELLS
from crnn.network.configuration import CONFIG_NAMES, DEFAULTS, OPTIONS, Configuration
from crnn.network.network import remaking
from crnn.network.scaling import Scaler


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
    if not isinstance(config, dict) or config.get("cell") not in list(CELLS):
        raise FormatError(f"{path}: the configuration names no cell that crnn has")
    config, network_class = DEFAULTS | config, CELLS[config["cell"]]
    container.check_names(path, config, (*CONFIG_NAMES, *OPTIONS[config["cell"]]))
    backend = choose_backend(backend)
    kernels(backend, np.float32)  # before `try`: a wrong CRNN_ISA is not the file's fault
    try:
        checks.choice(config["dtype"], "dtype", checks.DTYPES)
        configuration = Configuration.checked(**config, backend=backend)
        if configuration.num_layers != config["num_layers"]:
            raise ValueError("hidden_size and num_layers disagree")
        # an impossible size shows in the shapes before a network of that size takes memory
        shapes = parameter_shapes(configuration.layers, configuration.readout)
        container.check_tensors(path, tensors, shapes, configuration.dtype)
        del config["cell"]
        with remaking():
            network = network_class(**config, backend=backend)
        if "scaler" in content.header:
            network.scaler = Scaler.of(content.header["scaler"])
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: the configuration is not a network's: {error}") from None
    network.metadata = content.metadata
    network.vector = np.concatenate([tensors[name].ravel() for name in network.parameters])
    return network
