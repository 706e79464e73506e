"""What a network is, besides its parameters: sizes, options, dtype and backend."""

import functools
import numbers
from dataclasses import dataclass

import numpy as np

from crnn.base import checks
from crnn.base.backends import choose_backend
from crnn.base.layers import CellKind, ReadoutSpec, network_layers

NONLINEARITIES = ("tanh", "relu")
MOST_LAYERS = 1000  # the names alone of 2**40 layers would fill memory

# The names of a network's configuration in files; its cell's own options come on top.
CONFIG_NAMES = (
    "cell", "input_size", "hidden_size", "output_size", "num_layers", "bidirectional",
    "batch_first", "dropout", "learn_state", "dtype",
)
DEFAULTS = {  # older files lack them
    "num_layers": 1, "bidirectional": False, "batch_first": False, "dropout": 0.0,
    "learn_state": False,
}

KINDS = {
    "RNN": CellKind("RNN", gates=1),
    "GRU": CellKind("GRU", gates=3, has_gates=True, separate_candidate=True),
    "LSTM": CellKind("LSTM", gates=4, has_gates=True, has_c=True),
}
OPTIONS = {  # each cell's own: names in files, and the fields of `CellKind` that hold them
    "RNN": {"nonlinearity": "nonlinearity"},
    "GRU": {"reset_after": "reset_after", "candidate": "nonlinearity"},
    "LSTM": {},
}


def cell_kind(cell, options):
    """Return the `CellKind` of a cell with its own options, checked."""
    fields = {}
    for name, which in OPTIONS[cell].items():
        if which == "nonlinearity":
            fields[which] = checks.choice(options[name], name, NONLINEARITIES)
        else:
            fields[which] = checks.flag(options[name], name)
    return KINDS[cell]._replace(**fields)


@dataclass(frozen=True)
class Configuration:
    """What every network is told when it is made; see `crnn.RNN`.

    `checked` makes one of what users give.

    Attributes
    ----------
    kind : CellKind
        The cell of all layers.
    input_size : int
    hidden_sizes : tuple of int
        One for each layer, from the input up.
    output_size : int or None
    bidirectional : bool
    batch_first : bool
    dropout : float
    learn_state : bool
    dtype : numpy.dtype
    backend : {"compiled", "reference"}
    """

    kind: CellKind
    input_size: int
    hidden_sizes: tuple
    output_size: int | None
    bidirectional: bool
    batch_first: bool
    dropout: float
    learn_state: bool
    dtype: np.dtype
    backend: str

    @classmethod
    def checked(
        cls, cell, *, input_size, hidden_size, output_size, num_layers, bidirectional,
        batch_first, dropout, learn_state, dtype, backend, **options,
    ):
        """Return the configuration of a network, or raise TypeError or ValueError.

        The options are the cell's own.
        """
        kind, backend = cell_kind(cell, options), choose_backend(backend)
        return cls(
            kind,
            dtype=checks.float_dtype(dtype, backend),
            input_size=checks.whole_number(input_size, "input_size"),
            hidden_sizes=_hidden_sizes(hidden_size, num_layers),
            output_size=(
                None if output_size is None else checks.whole_number(output_size, "output_size")
            ),
            bidirectional=checks.flag(bidirectional, "bidirectional"),
            batch_first=checks.flag(batch_first, "batch_first"),
            dropout=checks.option(
                "dropout", dropout, numbers.Real, "a number from 0 to below 1", lambda p: 0 <= p < 1
            ),
            learn_state=checks.flag(learn_state, "learn_state"),
            backend=backend,
        )

    @functools.cached_property
    def layers(self):
        """The layers from the input up, a list of `LayerSpec`."""
        directions = 1 + self.bidirectional
        return network_layers(
            self.kind, self.input_size, self.hidden_sizes, directions, self.learn_state,
            self.dropout)

    skip, last, mask = False, False, None  # as of `SequenceOfLayers`

    @property
    def described(self):
        """The layers and the readout, as a `crnn.Sequential` would be told them."""
        from crnn.layers import GRU, LSTM, RNN, Dense, Dropout

        describe, layers = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}[self.kind.cell], []
        for size in self.hidden_sizes:
            if layers and self.dropout:
                layers.append(Dropout(self.dropout))
            layers.append(describe(size, bidirectional=self.bidirectional, **self.options))
        return (*layers, *([] if self.output_size is None else [Dense(self.output_size)]))

    @property
    def readout(self):
        """The `ReadoutSpec`, or None."""
        return None if self.output_size is None else ReadoutSpec(self.output_size)

    @property
    def has_equal_widths(self):
        """Whether all layers have the same number of hidden units."""
        return len(set(self.hidden_sizes)) == 1

    @property
    def hidden_size(self):
        """H, or where the layers differ the H of each, a tuple."""
        return self.hidden_sizes[0] if self.has_equal_widths else self.hidden_sizes

    @property
    def num_layers(self):
        """L."""
        return len(self.hidden_sizes)

    @property
    def options(self):
        """The cell's own options, a dict, as they are in files."""
        fields = OPTIONS[self.kind.cell]
        return {name: getattr(self.kind, which) for name, which in fields.items()}

    def as_dict(self):
        """Return what, besides the parameters, makes an equal network, ready for JSON."""
        names = CONFIG_NAMES[1:-1]
        values = {name: getattr(self, name) for name in names}
        if not self.has_equal_widths:
            values["hidden_size"] = list(self.hidden_sizes)
        return {"cell": self.kind.cell, **values, **self.options, "dtype": self.dtype.name}

    def __str__(self):
        """Return the call that makes such a network."""
        sizes = f"{self.input_size}, {self.hidden_size}, {self.output_size}"
        named = {name: getattr(self, name) for name in DEFAULTS} | self.options
        if not self.has_equal_widths:
            del named["num_layers"]
        options = "".join(
            f", {name}={value!r}" for name, value in named.items()
            if name not in DEFAULTS or value != DEFAULTS[name]
        )
        return (
            f"crnn.{self.kind.cell}({sizes}{options}, dtype={self.dtype.name!r},"
            f" backend={self.backend!r})"
        )


def _hidden_sizes(hidden_size, num_layers):
    """Return the H of each layer, given one number for all layers or one for each."""
    num_layers = checks.whole_number(num_layers, "num_layers", maximum=MOST_LAYERS)
    if isinstance(hidden_size, (range, np.ndarray)) and np.ndim(hidden_size):
        raise TypeError(
            f"hidden_size is {hidden_size!r}; a whole number is wanted, or a tuple or list with one"
            " for each layer"
        )
    if not isinstance(hidden_size, (tuple, list)):
        return (checks.whole_number(hidden_size, "hidden_size"),) * num_layers
    if not 0 < len(hidden_size) <= MOST_LAYERS:
        raise ValueError(
            f"hidden_size has {len(hidden_size)} widths; one for each layer, 1 to {MOST_LAYERS} of"
            " them, is wanted"
        )
    sizes = tuple(
        checks.whole_number(each, f"hidden_size[{number}]")
        for number, each in enumerate(hidden_size)
    )
    if num_layers not in (DEFAULTS["num_layers"], len(sizes)):
        raise ValueError(
            f"hidden_size has {len(sizes)} widths, one for each layer, but num_layers is"
            f" {num_layers}; leave out num_layers, or give one width for all layers"
        )
    return sizes
