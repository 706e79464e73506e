"""A model of Keras's as a list of layers, from its configuration.

The configuration of a Sequential is a list of layers as it is. That of a functional model is a
graph, which must be a chain: each layer reads the one before it, and nothing else but a mask that
is its own model's. Values are as in the JSON of a file, or as ``model.get_config()`` has them.
"""

import itertools
import reprlib
from typing import NamedTuple

MOST_LAYERS = 1000
TENSOR = "__keras_tensor__"  # what Keras 3 writes for an input of a layer


class KerasLayer(NamedTuple):
    """A layer as a configuration has it.

    Attributes
    ----------
    name : str
    kind : str
        The name of its class.
    config : dict
        Not checked.
    """

    name: str
    kind: str
    config: dict

    def __str__(self):
        """Return what a message calls it."""
        return f"the layer {reprlib.repr(self.name)} ({reprlib.repr(self.kind)[1:-1]})"


def layers_of(config):
    """Return all layers of a model in the order of its configuration, and those of its chain.

    Parameters
    ----------
    config : dict
        With ``class_name`` and ``config``.

    Returns
    -------
    layers : list of KerasLayer
    chain : list of KerasLayer, or str
        From the input up; a str says why there is none.

    Raises
    ------
    ValueError
        It is no configuration of a model.
    """
    entries, graph = _entries(config)
    if len(entries) > MOST_LAYERS:
        raise ValueError(f"has {len(entries)} layers; crnn reads at most {MOST_LAYERS}")
    layers = [_layer(each) for each in entries]
    names = [each.name for each in layers]
    if len(set(names)) < len(names):
        raise ValueError("has two layers of one name in its configuration")
    if not any("inbound_nodes" in each for each in entries):
        return layers, layers
    try:
        return layers, _Graph(layers, entries).chain(graph.get("output_layers"))
    except _NoChainError as error:
        return layers, str(error)


def _entries(config):
    """The entries of the layers, and what else is in the configuration."""
    match config:
        case {"config": {"layers": [*entries]} as graph}:
            return entries, graph
        case {"config": [*entries]}:  # a Sequential before Keras 2.2.3
            return entries, {}
        case {"class_name": str(kind)}:
            raise ValueError(f"has a model of the class {reprlib.repr(kind)}, without a list of"
                             " layers; give from_keras the arrays of its layers, and layers")
    raise ValueError("has no configuration of a model")


def _layer(entry):
    match entry:
        case {"class_name": str(kind), "config": {**config}}:
            name = config.get("name", entry.get("name"))
            if isinstance(name, str):
                return KerasLayer(name, kind, config)
    raise ValueError(f"has {reprlib.repr(entry)} where a layer should be configured")


class _NoChainError(Exception):
    """Why a graph is none."""


class _Graph:
    """The layers of a functional model, and which reads which."""

    def __init__(self, layers, entries):
        self._layers = {layer.name: layer for layer in layers}
        self._nodes = {layer.name: entry.get("inbound_nodes")
                       for layer, entry in zip(layers, entries, strict=True)}

    def chain(self, outputs):
        """Return the layers from the input up to the one output."""
        match outputs:
            case [str(name), 0, 0] | [[str(name), 0, 0]]:
                pass
            case _:
                raise _NoChainError(f"has {reprlib.repr(outputs)} as outputs; crnn's networks have"
                                    " one")
        found, masks = [], {}
        while True:
            if name not in self._layers or len(found) > len(self._layers):
                raise _NoChainError(f"has a layer that reads {reprlib.repr(name)}, which is none")
            layer = self._layers[name]
            found.append(layer)
            if layer.kind == "InputLayer":
                break
            name, mask = self._source(layer)
            if mask is not None:
                masks[mask] = layer
        found.reverse()
        used = {layer.name for layer in found} | self._masks(found, masks)
        for name, layer in self._layers.items():
            if name not in used:
                raise _NoChainError(f"is no chain: {layer} stands beside it")
        return found

    def _source(self, layer):
        """The name of the layer that a layer reads, and of the one that makes its mask."""
        match self._nodes[layer.name]:
            case [{"args": [first, *others], "kwargs": {**named}}]:  # Keras 3
                named = dict(named)
                mask = named.pop("mask", None)
                if not _tensors([others, named]):
                    return _origin(layer, first), None if mask is None else _origin(layer, mask)
            case [[[str(name), 0, 0]]]:  # Keras 2
                return name, None
            case [[[str(name), 0, 0, {**named}]]]:
                if set(named) <= {"training"}:
                    return name, None
        raise _NoChainError(f"is no chain: {layer} reads more than one output of one layer")

    def _masks(self, chain, masks):
        """The names of what makes masks, all of which must be those of a layer of the chain."""
        used = set()
        for before, layer in itertools.pairwise(chain):
            if layer.kind == "Embedding" and layer.config.get("mask_zero"):
                used |= self._compared(before, 0, masks)
            if layer.kind == "Masking":
                compared = self._compared(before, layer.config.get("mask_value"), self._layers)
                used |= compared | {
                    name for name in masks if self._layers.get(name, layer).kind == "Any"
                    and self._source(self._layers[name])[0] in compared
                    and self._layers[name].config.get("axis") == -1}
        for name in masks.keys() - used:
            raise _NoChainError(f"has a mask of its own for {masks[name]}, which is not that of a"
                                " Masking or an Embedding")
        return used

    def _compared(self, before, value, names):
        """The names, out of some, of where a layer's output is compared with a value."""
        found = set()
        for name in names:
            layer = self._layers.get(name)
            if layer is None or layer.kind != "NotEqual":
                continue
            match self._nodes[name]:
                case [{"args": [first, other]}] if other == value:
                    found |= {name} if _origin(layer, first) == before.name else set()
        return found


def _origin(layer, tensor):
    """The name of the layer whose first output a tensor is."""
    match tensor:
        case {"class_name": "__keras_tensor__",
              "config": {"keras_history": [str(name), 0, 0]}}:
            return name
    raise _NoChainError(f"is no chain: {layer} reads another than the first output of a layer, or"
                        " a layer that is used twice")


def _tensors(value):
    """Whether there are tensors in nested lists and dicts."""
    if isinstance(value, dict):
        return value.get("class_name") == TENSOR or any(map(_tensors, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_tensors, value))
