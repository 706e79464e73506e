"""What a network's parameters are called in PyTorch, as a state dict has them."""

import dataclasses

import numpy as np

from crnn import layers
from crnn.layers.forms import as_call
from crnn.layers.recurrent import Recurrent

NAMES = {layers.RNN: "rnn", layers.GRU: "gru", layers.LSTM: "lstm", layers.Dense: "fc",
         layers.Embedding: "emb"}  # of attributes, where a user says no others


def state_dict(description, names=None, initial_state=None):
    """Return the arrays of a network by PyTorch's names; see `Network.to_torch`."""
    modules = modules_of(description)
    arrays = {}
    for name, module in zip(_names(modules, names), modules, strict=True):
        before = f"{name}." if name else ""
        for number, (end, layer) in enumerate(module):
            own = _of_layer(layer, end, description.parameters)
            ending = f"_l{number}" if isinstance(layer, Recurrent) else ""
            arrays |= {before + stem.format(ending): each for stem, each in own.items()}
    arrays |= _states(description, modules, initial_state)
    return {name: np.ascontiguousarray(each) for name, each in arrays.items()}


def modules_of(description):
    """Return what is one module in PyTorch: lists of ends of parameters' names, with the layers.

    Equal recurrent layers that follow each other are one module of several layers.

    Raises
    ------
    ValueError
        A layer has what PyTorch's has not.
    """
    modules, number, joins = [], 0, False
    for layer in description.layers:
        if isinstance(layer, layers.Dropout):  # between the layers of a module, or a module itself
            continue
        _check(layer)
        is_readout = layer is description.layers[-1] and isinstance(layer, layers.Dense)
        if joins and layer == modules[-1][-1][1]:
            modules[-1].append((f"_l{number}", layer))
        elif type(layer) in NAMES:
            modules.append([("" if is_readout else f"_l{number}", layer)])
        joins = isinstance(layer, Recurrent)
        number += 1
    return modules


def _check(layer):
    """Refuse a layer with what PyTorch's has not."""
    free = ("size", "bidirectional", "activation",
            *(["nonlinearity"] if isinstance(layer, layers.RNN) else []))
    own = [each for each in dataclasses.fields(layer) if each.name not in free]
    if isinstance(layer, layers.Masking) or getattr(layer, "mask_zero", False):
        raise ValueError(f"PyTorch has no layer such as {as_call(layer)}; it takes lengths, as crnn"
                         " does")
    for each in own:
        if getattr(layer, each.name) != each.default:
            raise ValueError(
                f"{as_call(layer)} is no {type(layer).__name__} of PyTorch's, which has no"
                f" {each.name}={getattr(layer, each.name)!r}; to_onnx keeps it")


def _names(modules, names):
    """Return a name for each module, checked."""
    kinds = [NAMES[type(module[0][1])] for module in modules]
    if names is None:
        return [kind if kind not in kinds[:number] else f"{kind}{kinds[:number].count(kind) + 1}"
                for number, kind in enumerate(kinds)]
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names is {names!r}; a list with the name of each module is wanted")
    if len(names) != len(modules) or len(set(names)) < len(names):
        these = ", ".join(f"{len(module)} x {as_call(module[0][1])}" for module in modules)
        raise ValueError(f"names is {names!r}; one for each of the {len(modules)} modules is"
                         f" wanted, no name twice: {these}")
    return list(names)


def _of_layer(layer, end, parameters):
    """Return a layer's arrays by PyTorch's names, with {} where the number of the layer comes."""
    if isinstance(layer, layers.Embedding):
        return {"weight{}": parameters[f"W_xh{end}"]}
    if isinstance(layer, layers.Dense):
        weight, bias = (f"W_xh{end}", f"b_h{end}") if end else ("W_hy", "b_y")
        return {"weight{}": parameters[weight].T, "bias{}": parameters[bias]}
    found = {}
    for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
        bias = parameters[f"b_h{end}{suffix}"]
        second = np.zeros_like(bias)
        if isinstance(layer, layers.GRU):
            second[2 * layer.size :] = parameters[f"b_hn{end}{suffix}"]
        found |= {
            "weight_ih{}" + suffix: parameters[f"W_xh{end}{suffix}"].T,
            "weight_hh{}" + suffix: parameters[f"W_hh{end}{suffix}"].T,
            "bias_ih{}" + suffix: bias, "bias_hh{}" + suffix: second,
        }
    return found


def _states(description, modules, names):
    """Return learned initial states, (L * D, 1, H), by the names that a user gives them."""
    if not description.learn_state:
        if names is not None:
            raise ValueError(f"initial_state is {names!r}, but the network learns none"
                             " (learn_state)")
        return {}
    recurrent = [each for module in modules for each in module if isinstance(each[1], Recurrent)]
    layer = recurrent[0][1]
    stems = layer.kind.state_names
    if any(other != layer for _, other in recurrent):
        raise ValueError("PyTorch has one array of initial states for layers of one kind and width;"
                         " these have several")
    names = (names,) if isinstance(names, str) else tuple(names or ())
    if len(names) != len(stems) or not all(isinstance(each, str) for each in names):
        raise ValueError(
            f"initial_state is {names!r}; the network learns initial states (learn_state), which no"
            f" module of PyTorch's has: say what their {len(stems)} arrays are called")
    ends = ("", "_reverse")[: 1 + layer.bidirectional]
    return {name: np.stack([description.parameters[f"{stem}{end}{suffix}"]
                            for end, _ in recurrent for suffix in ends])[:, None]
            for name, stem in zip(names, stems, strict=True)}
