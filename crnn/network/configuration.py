"""What a network is, beside its parameters: sizes, options, dtype and backend."""

import numbers

from crnn.base import checks
from crnn.base.backends import choose_backend

NONLINEARITIES = ("tanh", "relu")
MOST_LAYERS = 1000  # of 2**40, the names alone would fill memory

# What a network's configuration holds in files, and its cell's own options beside.
CONFIG_NAMES = (
    "cell", "input_size", "hidden_size", "output_size", "num_layers", "bidirectional", "dropout",
    "dtype",
)
DEFAULTS = {"num_layers": 1, "bidirectional": False, "dropout": 0.0}  # older files lack them


class Configuration:
    """What all networks are told when they are made, checked; see `crnn.RNN`."""

    _cell = None  # the name in files, one of `crnn.cells.CELLS`
    _options = ()  # names of the cell's own options in files

    def __init__(
        self, input_size, hidden_size, output_size, num_layers, bidirectional, dropout, dtype,
        backend,
    ):
        self._backend = choose_backend(backend)
        self._dtype = checks.float_dtype(dtype, self._backend)
        self._input_size = checks.whole_number(input_size, "input_size")
        self._hidden_size = checks.whole_number(hidden_size, "hidden_size")
        self._output_size = (
            None if output_size is None else checks.whole_number(output_size, "output_size")
        )
        self._num_layers = checks.whole_number(num_layers, "num_layers", maximum=MOST_LAYERS)
        self._bidirectional = checks.flag(bidirectional, "bidirectional")
        self._dropout = checks.option(
            "dropout", dropout, numbers.Real, "a number from 0 to below 1", lambda p: 0 <= p < 1
        )

    @property
    def input_size(self):
        """I."""
        return self._input_size

    @property
    def hidden_size(self):
        """H."""
        return self._hidden_size

    @property
    def output_size(self):
        """O, or None without a readout."""
        return self._output_size

    @property
    def num_layers(self):
        """L."""
        return self._num_layers

    @property
    def bidirectional(self):
        """Whether each layer also runs from the last step to the first."""
        return self._bidirectional

    @property
    def dropout(self):
        """The share of each layer's outputs, but for the top one's, that training zeroes."""
        return self._dropout

    @property
    def dtype(self):
        """The NumPy dtype of parameters, states and results."""
        return self._dtype

    @property
    def backend(self):
        """"compiled" or "reference"."""
        return self._backend

    def config(self):
        """Return what, beside the parameters, makes a network equal to this one, as a dict."""
        names = (*CONFIG_NAMES[1:-1], *self._options)
        values = {name: getattr(self, name) for name in names}
        return {"cell": self._cell, **values, "dtype": self._dtype.name}

    def __repr__(self):
        sizes = f"{self._input_size}, {self._hidden_size}, {self._output_size}"
        named = {name: getattr(self, name) for name in (*DEFAULTS, *self._options)}
        options = "".join(
            f", {name}={value!r}" for name, value in named.items()
            if name not in DEFAULTS or value != DEFAULTS[name]
        )
        return (
            f"crnn.{self._cell}({sizes}{options}, dtype={self._dtype.name!r},"
            f" backend={self._backend!r})"
        )
