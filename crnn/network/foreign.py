"""Networks from other programs' files and objects: `crnn.from_nam` and the like."""

from crnn.exchange import nam, rtneural
from crnn.network.sequential import Sequential


def network_of(description, dtype, backend):
    """Return the `Sequential` of a `Description`.

    Parameters
    ----------
    description : Description
    dtype : str or numpy.dtype
    backend : {"compiled", "reference"} or None
        As for `Sequential`.
    """
    net = Sequential(
        description.input_size, description.layers, skip=description.skip, last=description.last,
        batch_first=description.batch_first, learn_state=description.learn_state, dtype=dtype,
        backend=backend)
    for name, array in description.parameters.items():
        net.parameters[name] = array
    net.metadata = description.metadata
    return net


def from_nam(path, *, dtype="float32", backend=None):
    """Return the network in a ``.nam`` file of Neural Amp Modeler, of the architecture LSTM.

    One step is one sample, x (1,) to y (1,). The states that the file begins with are parameters:
    ``net.reset()`` goes back to them. A player computes half a second of silence before it starts;
    crnn leaves that to you.

    Parameters
    ----------
    path : str or os.PathLike
    dtype : {"float32", "float64"}
        Neural Amp Modeler computes in float32.
    backend : {"compiled", "reference"}, optional
        As for `Sequential`.

    Returns
    -------
    Sequential
        Its ``metadata`` have "sample_rate", if the file does, and what it says of the amplifier:
        "nam.name", "nam.loudness" and so on.

    Raises
    ------
    FormatError
        It is no such file; it has another architecture, such as WaveNet; or the number of weights
        is not that of the sizes it names.
    TypeError, ValueError
        If dtype or backend is not as above.
    OSError
        It cannot be opened.

    Examples
    --------
    >>> import crnn
    >>> import json, os, tempfile
    >>> config = {"input_size": 1, "hidden_size": 1, "num_layers": 1}
    >>> weights = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0.5]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "amp.nam")
    ...     with open(path, "w") as file:
    ...         json.dump({"architecture": "LSTM", "config": config, "weights": weights}, file)
    ...     net = crnn.from_nam(path, dtype="float64")
    >>> [round(y, 4) for y in net([[0.5], [-0.5]])[0][:, 0].tolist()]
    [1.1622, 0.4243]
    """
    return network_of(nam.read(path), dtype, backend)


def from_rtneural(path, *, dtype="float32", backend=None):
    """Return the network in a JSON file for RTNeural.

    Either one that RTNeural reads itself, with ``layers`` of the types dense, gru, lstm and
    activation, or an amplifier model with a ``state_dict`` of PyTorch, as
    Automated-GuitarAmpModelling writes it. Where the file says that the input is added to the
    output, the network has a ``skip``. Gains are not applied.

    Parameters
    ----------
    path : str or os.PathLike
    dtype : {"float32", "float64"}
    backend : {"compiled", "reference"}, optional
        As for `Sequential`.

    Returns
    -------
    Sequential
        Its ``metadata`` have what the file says beside the layers: "rtneural.samplerate",
        "rtneural.in_gain", "rtneural.out_gain" (in dB), "rtneural.metadata".

    Raises
    ------
    FormatError
        It is no such file; it has a layer or an activation that crnn has not (convolutions, prelu,
        batchnorm, elu); or an array is not of the shape that its layer's sizes make it.
    TypeError, ValueError
        If dtype or backend is not as above.
    OSError
        It cannot be opened.

    Examples
    --------
    >>> import crnn
    >>> import json, os, tempfile
    >>> lstm = {"type": "lstm", "activation": "tanh", "shape": [None, None, 1],
    ...         "weights": [[[1, 0, 2, 0]], [[0, 0, 0, 0]], [0, 0, 0, 0]]}
    >>> dense = {"type": "dense", "activation": "", "shape": [None, None, 1],
    ...          "weights": [[[3]], [0.5]]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "amp.json")
    ...     with open(path, "w") as file:
    ...         json.dump({"in_shape": [None, None, 1], "layers": [lstm, dense]}, file)
    ...     net = crnn.from_rtneural(path, dtype="float64")
    >>> [round(y, 4) for y in net([[0.5], [-0.5]])[0][:, 0].tolist()]
    [1.1622, 0.4243]
    """
    return network_of(rtneural.read(path), dtype, backend)
