"""The forms that a list of layers has: in files, and as Python."""

import dataclasses

from crnn.layers.recurrent import GRU, LSTM, RNN
from crnn.layers.stateless import Activation, Dense, Dropout, Embedding, Masking

KINDS = {each.__name__: each for each in (
    Activation, Dense, Dropout, Embedding, GRU, LSTM, Masking, RNN)}


def as_dict(layer):
    """Return a layer, ready for JSON."""
    return {"layer": type(layer).__name__} | dataclasses.asdict(layer)


def from_dict(value):
    """Return the layer of what `as_dict` returned; TypeError or ValueError if it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("layer"), str) or (
            value["layer"] not in KINDS):
        raise ValueError("a layer is of no kind that crnn has")
    kind = KINDS[value["layer"]]
    options = {name: each for name, each in value.items() if name != "layer"}
    if unknown := options.keys() - {field.name for field in dataclasses.fields(kind)}:
        raise ValueError(f"a layer {kind.__name__} has {len(unknown)} options that crnn has not")
    return kind(**options)


def as_call(layer):
    """Return the call that makes a layer, with the options that are not the usual ones."""
    fields = [(each, getattr(layer, each.name)) for each in dataclasses.fields(layer)]
    given = [f"{value!r}" if each.default is dataclasses.MISSING else f"{each.name}={value!r}"
             for each, value in fields if value != each.default]
    return f"{type(layer).__name__}({', '.join(given)})"
