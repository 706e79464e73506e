"""Networks from other programs' files and objects: `crnn.from_keras` and the like."""

import os

import numpy as np

from crnn.base import checks
from crnn.exchange import keras, nam, onnx_reading, rtneural, torch
from crnn.files.printable import printable
from crnn.network.sequential import Sequential


def network_of(description, dtype, backend):
    """Return the `Sequential` of a `Description`.

    Parameters
    ----------
    description : Description
    dtype : str or numpy.dtype or None
        None: that of the parameters, but at least float32.
    backend : {"compiled", "reference"} or None
        As for `Sequential`.
    """
    if dtype is None:
        dtype = np.result_type(np.float32, *description.parameters.values())
    net = Sequential(
        description.input_size, description.layers, skip=description.skip, last=description.last,
        batch_first=description.batch_first, learn_state=description.learn_state, dtype=dtype,
        backend=backend)
    for name, array in description.parameters.items():
        net.parameters[name] = array
    left_out = printable("; ".join(description.left_out))
    net.metadata = description.metadata | ({"left_out": left_out} if left_out else {})
    return net


def from_keras(
    model, *, layers=None, last=None, batch_first=True, dtype=None, backend=None
):
    """Return the network in a file or a model of Keras 2 or 3, or in arrays of Keras's.

    Keras is not needed, and nothing in a file is run. A network computes what the model computes in
    inference, or is refused by the name of the layer that crnn cannot express.

    Parameters
    ----------
    model : str, os.PathLike, keras.Model, or list of ndarray
        The path of a whole model, ``.keras`` or ``.h5``, or of its weights alone, ``.h5``; or a
        model; or the arrays that ``model.get_weights()`` gives, of one layer after the other. Of
        arrays and of weights alone, all layers have biases or none. The layers of a model are a row
        of SimpleRNN, GRU, LSTM, RNN with one of their cells, CuDNNGRU and CuDNNLSTM; Bidirectional
        with ``merge_mode="concat"``; Dense, Embedding, Masking, Activation, ReLU and
        Softmax; Dropout; BatchNormalization, which becomes a part of the weights beside it; and
        TimeDistributed of these. What is of training alone is left out.
    layers : list of str, or list of crnn.layers
        Of a model, the names of those layers that are taken, one after the other; all by default.
        With arrays and weights alone, which do not say it, what the layers are.
    last : bool, optional
        As for `Sequential`. By default what the model says by ``return_sequences``; with arrays
        and weights alone, False.
    batch_first : bool
        As for `Sequential`; True, as Keras has it, unless this says otherwise.
    dtype : {"float32", "float64"}, optional
        By default that of the weights, but no less than float32.
    backend : {"compiled", "reference"}, optional
        As for `Sequential`.

    Returns
    -------
    Sequential
        Its ``metadata`` say in "left_out" what of the model is not in it, if something is not.

    Raises
    ------
    FormatError
        The file is not a whole one of Keras's, or has a layer that crnn cannot express.
    OSError
        The file cannot be opened.
    TypeError, ValueError
        The model has a layer that crnn cannot express; the arrays do not fit the layers; or an
        argument is not as above.

    See Also
    --------
    Sequential.to_keras : the way back.

    Examples
    --------
    A GRU of 2 units and a dense layer, from the arrays that Keras has of them:

    >>> import crnn
    >>> import numpy as np
    >>> kernel, recurrent, bias = np.ones((3, 6)), np.zeros((2, 6)), np.zeros((2, 6))
    >>> net = crnn.from_keras(
    ...     [kernel, recurrent, bias, np.ones((2, 1)), np.zeros(1)],
    ...     layers=[crnn.layers.GRU(2), crnn.layers.Dense(1, "sigmoid")])
    >>> y, state = net(np.zeros((4, 7, 3)))
    >>> y.shape, state.shape
    ((4, 7, 1), (1, 4, 2))
    """
    batch_first = checks.flag(batch_first, "batch_first")
    last = last if last is None else checks.flag(last, "last")
    is_path, names = isinstance(model, (str, os.PathLike)), _are_names(layers)
    if isinstance(model, (list, tuple)):
        description = keras.from_arrays(model, layers)
    elif is_path and not names:
        description = keras.from_weights(model, layers)
    elif is_path:
        description = keras.from_file(model, layers)
    elif not hasattr(model, "get_config"):
        raise TypeError(f"model is a {type(model).__name__}; a path, a model of Keras's or a list"
                        " of arrays is wanted")
    elif not names:
        raise TypeError(f"layers is {layers!r}; of a model it is a list of names of layers")
    else:
        description = keras.from_model(model, layers)
    description.batch_first = batch_first
    if last is not None:
        description.last = last
    return network_of(description, dtype, backend)


def _are_names(layers):
    """Whether layers are named, or all are meant."""
    return layers is None or (
        isinstance(layers, (list, tuple)) and all(isinstance(each, str) for each in layers))


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


def from_onnx(model, *, layers=None, dtype=None, backend=None):
    """Return the network in an ONNX model.

    RNN, GRU and LSTM nodes, one upon another, as the exporters of PyTorch and Keras write them,
    with dense layers (MatMul, Gemm), activations and a table of tokens (Gather) around them. Nodes
    that move axes, choose the last step or compute shapes are followed; where only the last states
    are read, the network has ``last=True``, and where x has the batch first, ``batch_first=True``.
    Whatever crnn cannot express is refused by the name of its node. It needs the package onnx.

    Parameters
    ----------
    model : str, os.PathLike, bytes or onnx.ModelProto
        Of the operator sets 7 and later. Weights must be in the file itself.
    layers : list of str, optional
        The names of nodes (or, of nodes without one, of their first outputs) that become the
        network, with what lies between them; the rest is left out. It then gives the outputs of
        all steps, unless it is called with ``last=True``.
    dtype : {"float32", "float64"}, optional
        By default that of the weights, but at least float32.
    backend : {"compiled", "reference"}, optional
        As for `Sequential`.

    Returns
    -------
    Sequential
        Initial states that are constants in the model are its parameters; those that are inputs are
        the ``state`` of a call, and sequence_lens its ``lengths``. A layer in the reverse direction
        alone is a bidirectional one whose first direction puts out zeros that nothing reads.

    Raises
    ------
    FormatError
        It is no ONNX model, or damaged; its weights are in another file; or it has what crnn cannot
        express: another activation, something between the layers, several outputs from different
        layers, layers that were unrolled. The message says which node, and what `layers` can name.
    TypeError, ValueError
        If an argument is not as above.
    OSError
        It cannot be opened.
    ImportError
        The package onnx is missing.

    See Also
    --------
    Sequential.to_onnx : the way back.

    Examples
    --------
    >>> import crnn
    >>> import os, tempfile
    >>> net = crnn.GRU(3, 5, 2, num_layers=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.onnx")
    ...     net.to_onnx(path)
    ...     again = crnn.from_onnx(path)
    ...     lowest = crnn.from_onnx(path, layers=["Y_l0"])
    >>> [type(each).__name__ for each in again.layers]
    ['GRU', 'GRU', 'Dense']
    >>> bool((again.vector == net.vector).all())
    True
    >>> [type(each).__name__ for each in lowest.layers]
    ['GRU']
    """
    return network_of(onnx_reading.describe(model, layers), dtype, backend)


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


def from_torch(
    source, *, layers=None, activations=None, nonlinearity=None, initial_state=None, last=False,
    batch_first=None, dtype=None, backend=None,
):
    """Return the network in a module, a state dict or a file of PyTorch's.

    PyTorch is not needed, and nothing in a file is run. What a source does not say is asked for,
    and what crnn cannot compute is refused by its name.

    Parameters
    ----------
    source : torch.nn.Module, dict, str or os.PathLike
        A module: its class's ``forward`` cannot be seen, so that what it says is the modules in it
        and, within an ``nn.Sequential``, their order. A state dict, of tensors or arrays, also in
        other dicts, as under "model_state_dict". Or the path of a file that ``torch.save`` has
        written of one, or of a safetensors file.
    layers : list of str, optional
        The names of the modules that make the network, in the order in which they compute; an
        ``nn.Sequential`` stands for all that it holds. Other modules and arrays are left out.
        Default: all of them, if they are one recurrent module and Linear and Embedding modules,
        as they were defined or in the one order in which their widths fit.
    activations : dict of str to str, optional
        What is applied to the outputs of modules, by their names: "relu" or another activation of
        `crnn.layers.Dense`. Between a Linear and what reads it, it has to be said, "linear" for
        nothing. Elsewhere nothing is applied. (A matrix alone in front of a recurrent module is an
        Embedding, unless it is named here or does not fit as one.)
    nonlinearity : {"tanh", "relu"}, optional
        Of an RNN; needed unless the source is a module.
    initial_state : str, array, or tuple of two of them, optional
        What sequences begin with, h, and of LSTMs (h, c): arrays (L * D, 1, H), or their names in
        the source. They become parameters, as with ``learn_state=True``.
    last : bool
        Whether the network gives each sequence's last outputs alone, as for `Sequential`: of two
        directions each one's own last state, PyTorch's ``h_n``. (What ``out[:, -1]`` reads is, for
        the second direction, its state after one step: it is the last row of all outputs.)
    batch_first : bool, optional
        As for `Sequential`. Default: as a module has it, otherwise False.
    dtype : {"float32", "float64"}, optional
        Default: that of the weights; of weights in half precision, float32.
    backend : {"compiled", "reference"}, optional
        As for `Sequential`.

    Returns
    -------
    Sequential
        Without dropout where its place is not known.

    Raises
    ------
    FormatError
        A file is not whole, or holds what crnn cannot compute: a module or a TorchScript program
        whole, quantised weights, ``proj_size``, other modules, cells that are made of Linear
        modules.
    ValueError
        The same of a module or a state dict; or an argument is needed, or not as above.
    TypeError
        An argument is of the wrong kind.
    OSError
        The file cannot be opened.

    Notes
    -----
    The two biases of PyTorch become their sum, and for a GRU's candidate two parameters.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> state = {"lstm.weight_ih_l0": np.ones((20, 3)), "lstm.weight_hh_l0": np.ones((20, 5)),
    ...          "head.0.weight": np.ones((4, 5)), "head.0.bias": np.zeros(4),
    ...          "head.2.weight": np.ones((2, 4)), "head.2.bias": np.zeros(2)}
    >>> net = crnn.from_torch(state, activations={"head.0": "relu"})
    >>> net.layers
    (LSTM(size=5, ...), Dense(size=4, activation='relu'), Dense(size=2, activation='linear'))
    >>> net.dtype
    dtype('float64')
    """
    description = torch.read(
        source, layers=layers, activations=activations, nonlinearity=nonlinearity,
        initial_state=initial_state, last=last, batch_first=batch_first, dtype=dtype)
    dtype = next(iter(description.parameters.values())).dtype
    return network_of(description, dtype, backend)
