"""Networks from Keras's files, models and arrays, and arrays for Keras."""

import contextlib
import itertools
import os
import reprlib
import sys

import numpy as np

from crnn.base import checks
from crnn.exchange import keras_files, keras_models
from crnn.exchange.description import by_layer
from crnn.exchange.keras_chain import Chain, description, num_outputs
from crnn.exchange.keras_layers import RECURRENT, CannotError
from crnn.exchange.keras_orders import array_shapes, arrays_of, parameters_of
from crnn.files.disk import FormatError, bad
from crnn.layers import GRU, LSTM, RNN, Dense, Embedding
from crnn.layers.forms import KINDS

CLASSES = {RNN: "SimpleRNN", GRU: "GRU", LSTM: "LSTM", Dense: "Dense", Embedding: "Embedding"}
WITH_STATE = (*RECURRENT, "RNN", "Bidirectional")  # layers of which a network has one at least


def from_file(path, names=None):
    """Return the `Description` of the network in a file.

    Parameters
    ----------
    path : str or os.PathLike
    names : list of str, optional
        Of the layers that are taken, one after the other; all of them by default.

    Raises
    ------
    FormatError
        It is no file of Keras's, or has what crnn cannot express.
    ValueError
        There is no layer of such a name.
    OSError
        It cannot be opened.
    """
    with keras_files.opened_model(path) as saved:
        with _as_format_error(path):
            layers, chain = keras_models.layers_of(saved.config)
        _check_names(names, layers, f"{os.fspath(path)!r} ")
        with _as_format_error(path):
            return _described(layers, chain, names, saved.version, saved.arrays)


def from_weights(path, layers):
    """Return the `Description` of layers with the arrays of a file that has weights alone.

    Parameters
    ----------
    path : str or os.PathLike
    layers : list
        Of `crnn.layers`.

    Raises
    ------
    FormatError
        It is no file of Keras's, or the arrays are not those of the layers.
    TypeError
        The layers are none.
    OSError
        It cannot be opened.
    """
    _check_layers(layers)
    kinds = ["Bidirectional" if getattr(each, "bidirectional", False) else CLASSES[type(each)]
             for each in layers if type(each) in CLASSES]
    arrays = keras_files.weights(path, kinds)
    with _as_format_error(path):
        return from_arrays(arrays, layers, "arrays")


@contextlib.contextmanager
def _as_format_error(path):
    try:
        yield
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise bad(path, str(error)) from None


def from_model(model, names=None):
    """Return the `Description` of a model of Keras's.

    Parameters
    ----------
    model : keras.Model
    names : list of str, optional
        As for `from_file`.

    Raises
    ------
    TypeError, ValueError
        It has what crnn cannot express, or there is no layer of such a name.
    """
    try:
        config = {"class_name": type(model).__name__, "config": model.get_config()}
    except NotImplementedError:  # of a class of the user's
        config = {"class_name": type(model).__name__}
    by_name = {layer.name: layer for layer in getattr(model, "layers", ())}

    def arrays(name):
        return [np.asarray(each) for each in by_name[name].get_weights()]

    try:
        layers, chain = keras_models.layers_of(config)
        _check_names(names, layers)
        return _described(layers, chain, names, _version(model), arrays)
    except ValueError as error:
        raise ValueError(f"the model {error}") from None


def _version(model):
    """The version of Keras that a model is of; TensorFlow's own Keras was always one of 2."""
    for each in type(model).__mro__:
        package = each.__module__.partition(".")[0]
        if package == "tensorflow":
            return "2"
        if package in ("keras", "tf_keras"):
            return getattr(sys.modules.get(package), "__version__", None)
    return None


def _check_names(names, layers, subject=""):
    """Refuse names of layers that are not there."""
    known = [each.name for each in layers]
    for name in names or ():
        if name not in known:
            raise ValueError(f"{subject}has no layer {reprlib.repr(name)}; layers names some of"
                             f" {', '.join(map(reprlib.repr, known))}")


def _described(layers, chain, names, version, arrays):
    """Return the `Description` of layers.

    Parameters
    ----------
    layers, chain
        As of `keras_models.layers_of`.
    names
        As for `from_model`.
    version : str or None
        Of Keras.
    arrays : callable
        Returns the arrays of a layer by its name.
    """
    major = (version or "").split(".")[0]
    if major == "1":
        raise ValueError("is of Keras 1; load it with Keras 2, and save it there")
    found = Chain(int(major) if major in ("2", "3") else None, arrays)
    by_name = {each.name: each for each in layers}
    wanted, taken = chain if names is None else [by_name[name] for name in names], []
    try:
        if isinstance(wanted, str):
            raise CannotError(wanted)
        for layer in wanted:
            found.add(layer)
            taken.append(layer)
        made = found.description()
    except CannotError as error:
        raise ValueError(f"{error}{_advice(layers, wanted, taken)}") from None
    made.left_out += [f"{each}, which was not asked for" for each in layers
                      if each.kind != "InputLayer" and each.name not in (names or by_name)]
    return made


def _advice(layers, wanted, taken):
    """Say which layers could be taken where not all can.

    Parameters
    ----------
    layers : list of KerasLayer
        All that there are.
    wanted : list of KerasLayer, or str
        As a chain; a str if they are none.
    taken : list of KerasLayer
        The first of the wanted ones, up to the one that was refused.
    """
    parts = [layers]
    if not isinstance(wanted, str):  # those below the one that was refused, or those above it
        parts = [taken[: len(wanted) - 1], wanted[len(taken) + 1 :]]
    for part in parts:
        for can_be, run in itertools.groupby(part, lambda each: each.kind in Chain.READERS):
            run = [each for each in run if can_be and each.kind != "InputLayer"]
            if any(each.kind in WITH_STATE for each in run):
                names = reprlib.repr([each.name for each in run])
                return ("; name the layers that are to be taken, one after the other, as in"
                        f" layers={names}, and compute the others yourself")
    return ""


def from_arrays(arrays, layers, name="model"):
    """Return the `Description` of layers with the arrays of Keras's ``model.get_weights()``.

    Parameters
    ----------
    arrays : list of ndarray
        Of one layer after the other; each has its bias, or none has one.
    layers : list
        Of `crnn.layers`.
    name : str
        What messages call the list.

    Raises
    ------
    TypeError, ValueError
        They do not fit each other.
    """
    _check_layers(layers)
    arrays = [_floats(each, f"{name}[{place}]") for place, each in enumerate(arrays)]
    has_bias = _has_bias(arrays, layers)
    inputs = features = len(arrays[0]) if arrays and arrays[0].ndim else 0
    parameters, end = [], 0
    for place, layer in enumerate(layers):
        shapes = array_shapes(layer, features, has_bias)
        own = arrays[end : end + len(shapes)]
        for number, (array, shape) in enumerate(zip(own, shapes, strict=True), end):
            if array.shape != shape:
                raise ValueError(
                    f"{name}[{number}] has shape {array.shape}; {shape} is wanted for"
                    f" layers[{place}], {layer}, which reads {features} features")
        parameters.append(parameters_of(layer, own, has_bias))
        features, end = num_outputs(layer, features), end + len(shapes)
    return description(list(layers), parameters, inputs, last=False)


def _check_layers(layers):
    """Refuse what is no list of `crnn.layers`."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"layers is {layers!r}; what the arrays are of is wanted, a list such as"
                        " [crnn.layers.LSTM(32), crnn.layers.Dense(1)]")
    for place, layer in enumerate(layers):
        if not isinstance(layer, tuple(KINDS.values())):
            raise TypeError(f"layers[{place}] is {layer!r}; a layer such as crnn.layers.LSTM(32) is"
                            " wanted")


def _floats(value, name):
    array = checks.plain_array(value, name)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {array.dtype}; floats are wanted: divide quantised"
                        " weights by what they were multiplied by")
    return array


def _has_bias(arrays, layers):
    """Whether arrays are those of layers with biases; refuse as many as are not of all layers."""
    with_bias, without = (
        sum(len(array_shapes(layer, 1, has_bias)) for layer in layers)
        for has_bias in (True, False))
    if len(arrays) not in (with_bias, without):
        raise ValueError(
            f"there are {len(arrays)} arrays; these layers have {with_bias}, or {without} if none"
            " has a bias: put zeros where some have one and some have none")
    return len(arrays) == with_bias


def to_arrays(described):
    """Return the arrays that ``model.set_weights`` takes of a model of Keras's of the same layers.

    Parameters
    ----------
    described : Description

    Returns
    -------
    list of ndarray
        Copies.

    Raises
    ------
    ValueError
        The network has what Keras has not.
    """
    if described.skip:
        raise ValueError("the network adds its input to its outputs, which is no layer of Keras's")
    if described.learn_state:
        raise ValueError("the network has learned initial states, which layers of Keras's have not")
    found = []
    of_layers = by_layer(described.layers, described.parameters)
    for place, (layer, parameters) in enumerate(zip(described.layers, of_layers, strict=True)):
        for option in ("peepholes", "coupled", "clip"):
            if getattr(layer, option, None):
                raise ValueError(f"layers[{place}] has {option}, which layers of Keras's have not")
        found += arrays_of(layer, parameters)
    return [np.array(each) for each in found]
