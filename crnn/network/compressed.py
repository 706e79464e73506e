"""Networks whose weights have fewer bits: faster where memory is the limit, for inference only."""

import dataclasses

import numpy as np

from crnn.base import checks
from crnn.base.compression import FORMATS, rounded, stored
from crnn.base.layers import parameter_shapes
from crnn.kernels.memory import aligned_empty
from crnn.network.network import Network
from crnn.network.parameters import FixedParameters, Layout


class Trainable(Network):
    """A network that trains, and that a smaller one can be made of."""

    def compress(self, format, data=None):
        """Return a `crnn.Compressed` network of this one: its weights with fewer bits.

        It is for inference: it is called, steps, has streams, a loss and files, but does not train.
        It computes in float32, whatever the dtype of this network, which stays as it is.

        Weights W_xh, W_hh and W_hy of more than 8,192 numbers get the format. Smaller ones stay in
        L1, where fewer bits make nothing faster; they remain float32, and so do biases, peepholes
        and initial states.

        "bf16": weights are rounded to bfloat16, the upper half of a float32, and so is what they
        are multiplied with; in both, what is below 2^-50 (9e-16) becomes 0. Sums are those of
        float32. It reads half as much memory. A single sequence takes half to two thirds of the
        time, and so do any number of them on a processor with AVX-512 BF16 (AMD's from Zen 4 on,
        Intel's Sapphire Rapids), on which outputs have the same bits as on others. Elsewhere
        several sequences gain nothing.

        "int8": weights are rounded to whole numbers from -127 to 127 with a scale for each column,
        and so is, with a scale for each step and sequence, what they are multiplied with. It reads
        a quarter of the memory, and takes less time with any number of sequences. Weights with more
        than 8,192 inputs remain float32, too.

        Parameters
        ----------
        format : {"bf16", "int8"}
        data : x, or tuple (x, targets) or (x, targets, lengths), optional
            On which both networks are compared; x and the others as for calling the network and for
            its `loss`, of the loss that it was trained with.

        Returns
        -------
        Compressed
            Its ``report`` says how large the weights were and are and, with data, how far outputs
            are off, and what the loss was and is.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above; ValueError if a parameter is not finite.

        Warns
        -----
        UserWarning
            If the network's weights are so small that it becomes no faster.

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> net = crnn.LSTM(20, 128, 3, seed=0)
        >>> x = np.random.default_rng(0).standard_normal((7, 4, 20))
        >>> small = net.compress("bf16", x)
        >>> small.report.error < 0.01
        True
        >>> y, state = small(x)
        >>> y.shape
        (7, 4, 3)
        """
        from crnn.network.compression_report import report_of

        form = checks.choice(format, "format", FORMATS)
        if self.dtype.kind != "f":
            raise ValueError(
                f"the network is {self.dtype}; compress one with dtype float32 or float64")
        configuration = dataclasses.replace(self._configuration, dtype=np.dtype(np.float32))
        values = rounded(self.parameters, form)
        vector = np.concatenate([values[name].ravel() for name in self.parameters])
        made = Compressed(configuration, form, vector)
        made.metadata, made.scaler = self.metadata, self.scaler
        tables = {"W_xh" + suffix for spec in configuration.layers if spec.kind.is_table
                  for suffix in spec.suffixes}
        made._report = report_of(self, made, tables, data)
        if not made.report.is_faster:
            checks.warn(made.report.advice)
        return made


class Compressed(Network):
    """A network that `compress` made of another: for inference, with weights of fewer bits.

    It has what networks have, but for training. Its parameters are float32: the rounded weights'
    values. So they are in other programs' files, and there nothing else is rounded: outputs are
    close to its own, and not the same.

    Parameters
    ----------
    configuration : Configuration or SequenceOfLayers
        In float32.
    form : {"bf16", "int8"}
    vector : ndarray
        All parameters, rounded.

    Raises
    ------
    ValueError
        If the parameters are not rounded to the format.

    See Also
    --------
    crnn.RNN.compress : Makes one.

    Examples
    --------
    >>> import crnn
    >>> small = crnn.GRU(20, 128, 3, seed=0).compress("int8")
    >>> isinstance(small, crnn.Compressed), small.format
    (True, 'int8')
    >>> small
    crnn.GRU(20, 128, 3, reset_after=True, candidate='tanh', ...).compress('int8')
    >>> small.report
    int8: 85,004 bytes of parameters, 37% of 230,924
      W_xh_l0 20 x 384: float32, no faster
      W_hh_l0 128 x 384: int8
      W_hy 128 x 3: float32, no faster
    """

    def __init__(self, configuration, form, vector):
        layout = Layout(parameter_shapes(configuration.layers, configuration.readout))
        own = aligned_empty((layout.size,), np.float32)
        own[...] = vector
        self._report = None
        views = layout.views(own)
        for name, each in rounded(views, form).items():
            if not np.array_equal(each, views[name]):
                raise ValueError(f"parameter {name} is not rounded to {form}")
        parameters = FixedParameters(layout, own, configuration.backend, form)
        self._set_up(configuration, parameters, np.random.default_rng(0))  # which nothing draws of

    @property
    def format(self):
        """"bf16" or "int8"."""
        return self._parameters.format

    @property
    def report(self):
        """What `compress` found, or None of a network from a file."""
        return self._report

    def config(self):
        """Return what, besides the parameters, makes a network equal to this one, as a dict."""
        return self._configuration.as_dict() | {"weights": self.format}

    def stored(self):
        """Return the arrays of a file, by name: weights in their format."""
        return stored(self.parameters, self.format)

    def __repr__(self):
        return f"{self._configuration}.compress({self.format!r})"

    # --- what it lacks -------------------------------------------------------------------------

    def compress(self, format, data=None):
        """Refuse it: it was done."""
        raise TypeError(
            f"the network is compressed to {self.format}; compress the one that it was made of")

    def forward(self, *arguments, **options):
        """Refuse it: what `backward` needs is of no use."""
        self._parameters.check_trainable()

    def backward(self, *arguments, **options):
        """Refuse it, as there is no `forward`."""
        self._parameters.check_trainable()

    def loss_and_gradients(self, *arguments, **options):
        """Refuse it: a compressed network does not train."""
        self._parameters.check_trainable()

    @classmethod
    def from_config(cls, config, backend):
        """Refuse it: weights make a compressed network, a configuration does not."""
        raise TypeError("a compressed network is made by the compress of another")

    def without_dropout(self, *, backend=None, **changes):
        """Refuse it: it has none, and no other network has its weights."""
        raise TypeError("a compressed network cannot be made anew; ask the one it was made of")

    # --- copies --------------------------------------------------------------------------------

    def __reduce__(self):
        arguments = (
            self._configuration, self.format, np.array(self.vector), self._state_of_steps())
        kept = {"_metadata": dict(self.metadata), "_scaler": self._scaler, "_report": self._report}
        return _rebuild, arguments, kept


def _rebuild(configuration, form, vector, steps):
    network = Compressed(configuration, form, vector)
    network.begin_steps(*steps)
    return network
