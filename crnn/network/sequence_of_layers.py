"""What a `crnn.Sequential` is, besides its parameters."""

import functools
from dataclasses import dataclass

import numpy as np

from crnn.base import checks
from crnn.base.backends import choose_backend
from crnn.base.layers import LayerSpec, MaskSpec, ReadoutSpec
from crnn.layers.forms import KINDS, as_call, as_dict
from crnn.layers.recurrent import Recurrent
from crnn.layers.stateless import Activation, Dense, Dropout, Embedding, Masking
from crnn.network.configuration import MOST_LAYERS

CELL = "Sequential"  # in files, where other networks name their cell
OPTIONS = ("skip", "last", "batch_first", "learn_state")
CONFIG_NAMES = ("cell", "input_size", "layers", *OPTIONS, "dtype")


@dataclass(frozen=True)
class SequenceOfLayers:
    """What a `crnn.Sequential` is told when it is made; the counterpart of `Configuration`.

    `checked` makes one of what users give.

    Attributes
    ----------
    input_size : int
    described : tuple
        Of `crnn.layers`, as the user has given them.
    skip, last, batch_first, learn_state : bool
    dtype : numpy.dtype
    backend : {"compiled", "reference"}
    """

    input_size: int
    described: tuple
    skip: bool
    last: bool
    batch_first: bool
    learn_state: bool
    dtype: np.dtype
    backend: str

    @classmethod
    def checked(
        cls, *, input_size, layers, skip, last, batch_first, learn_state, dtype, backend
    ):
        """Return the configuration of a network, or raise TypeError or ValueError."""
        backend = choose_backend(backend)
        made = cls(
            checks.whole_number(input_size, "input_size"),
            _checked_layers(layers),
            skip=checks.flag(skip, "skip"),
            last=checks.flag(last, "last"),
            batch_first=checks.flag(batch_first, "batch_first"),
            learn_state=checks.flag(learn_state, "learn_state"),
            dtype=checks.float_dtype(dtype, backend),
            backend=backend,
        )
        if made.skip:
            made._check_skip()
        return made

    def _check_skip(self):
        outputs = self.output_size or self.layers[-1].output_size
        if outputs != self.input_size:
            raise ValueError(
                f"skip adds the input to the outputs, but there are {self.input_size} inputs and"
                f" {outputs} outputs; as many of each are wanted"
            )
        if self.readout is not None and self.readout.activation != "linear":
            raise ValueError(
                f"skip adds the input to the outputs of a last layer without an activation, but it"
                f" has {self.readout.activation!r}"
            )
        first = {Embedding: "tokens", Masking: "Masking"}.get(type(self.described[0]))
        if self.last or first is not None:
            what = first or "last outputs only"
            raise ValueError(f"skip adds each step's input to its outputs; it does not go with"
                             f" {what}")

    @functools.cached_property
    def layers(self):
        """The layers from the input up without the readout, a list of `LayerSpec`."""
        specs, input_size = [], self.input_size
        for layer in self._without_readout:
            if isinstance(layer, Dropout):
                specs[-1] = specs[-1]._replace(dropout=layer.share)
            elif not isinstance(layer, Masking):
                size = input_size if isinstance(layer, Activation) else layer.size
                spec = LayerSpec(
                    layer.kind, input_size, size, 1 + getattr(layer, "bidirectional", False),
                    len(specs), self.learn_state and layer.kind.has_state)
                specs.append(spec)
                input_size = spec.output_size
        return specs

    @property
    def _without_readout(self):
        return self.described if self.readout is None else self.described[:-1]

    @property
    def readout(self):
        """The `ReadoutSpec`, or None."""
        last = self.described[-1]
        return ReadoutSpec(last.size, last.activation) if isinstance(last, Dense) else None

    @property
    def mask(self):
        """The `MaskSpec`, or None."""
        first = self.described[0]
        if isinstance(first, Masking):
            return MaskSpec(first.value)
        return MaskSpec(0, of_tokens=True) if getattr(first, "mask_zero", False) else None

    @property
    def output_size(self):
        """O, or None without a readout."""
        return None if self.readout is None else self.readout.size

    @property
    def _recurrent(self):
        return [layer for layer in self.layers if layer.kind.has_state]

    @property
    def hidden_size(self):
        """H of the recurrent layers, or where they differ the H of each, a tuple."""
        sizes = tuple(layer.hidden_size for layer in self._recurrent)
        return sizes[0] if len(set(sizes)) == 1 else sizes

    @property
    def num_layers(self):
        """L, the number of recurrent layers."""
        return len(self._recurrent)

    @property
    def bidirectional(self):
        """Whether a layer runs from the last step to the first, too."""
        return any(layer.directions == 2 for layer in self.layers)

    @property
    def dropout(self):
        """The share of each layer's outputs that training zeroes; where they differ, a tuple."""
        shares = tuple(layer.dropout for layer in self.layers)
        return shares[0] if len(set(shares)) == 1 else shares

    def as_dict(self):
        """Return what, besides the parameters, makes an equal network, ready for JSON."""
        return {
            "cell": CELL, "input_size": self.input_size,
            "layers": [as_dict(layer) for layer in self.described],
            **{name: getattr(self, name) for name in OPTIONS}, "dtype": self.dtype.name,
        }

    def __str__(self):
        """Return the call that makes such a network."""
        layers = ", ".join(map(as_call, self.described))
        options = "".join(f", {name}=True" for name in OPTIONS if getattr(self, name))
        return (
            f"crnn.Sequential({self.input_size}, [{layers}]{options}, dtype={self.dtype.name!r},"
            f" backend={self.backend!r})"
        )


def _checked_layers(layers):
    """Return layers that may stand in this order, a tuple."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(
            f"layers is a {type(layers).__name__}; a list of layers is wanted, such as"
            " [crnn.layers.LSTM(100), crnn.layers.Dense(10, 'softmax')]"
        )
    if not 0 < len(layers) <= MOST_LAYERS:
        raise ValueError(f"layers has {len(layers)} layers; 1 to {MOST_LAYERS} are wanted")
    for place, layer in enumerate(layers):
        if type(layer) not in KINDS.values():
            raise TypeError(
                f"layers[{place}] is {_shown(layer)}; a layer such as crnn.layers.LSTM(100) is"
                " wanted"
            )
        if isinstance(layer, (Embedding, Masking)) and place:
            raise ValueError(f"layers[{place}] is {as_call(layer)}, which can only come first")
        first = place == 0 or isinstance(layers[place - 1], Masking)
        if isinstance(layer, (Dropout, Activation)) and first:
            raise ValueError(f"layers[{place}] is {as_call(layer)}, which comes after a layer")
        if isinstance(layer, Dropout) and isinstance(layers[place - 1], Dropout):
            raise ValueError(f"layers[{place - 1}] and layers[{place}] both drop out")
    if isinstance(layers[-1], Dropout):
        raise ValueError("the last layer drops out what the network puts out; leave it out")
    if not any(isinstance(layer, Recurrent) for layer in layers):
        raise ValueError("no layer is recurrent; at least one RNN, GRU or LSTM is wanted")
    return tuple(layers)


def _shown(layer):
    kind = layer if isinstance(layer, type) else type(layer)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"the class {name}, not one made of it" if isinstance(layer, type) else f"a {name}"
