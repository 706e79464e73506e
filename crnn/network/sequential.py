"""A network of any layers in a row: `crnn.Sequential`."""

from crnn.base import checks
from crnn.layers.forms import from_dict
from crnn.layers.stateless import Dropout
from crnn.network.compressed import Trainable
from crnn.network.network import remaking
from crnn.network.sequence_of_layers import SequenceOfLayers


class Sequential(Trainable):
    """A network of layers in a row, at least one of them recurrent.

    `RNN`, `GRU` and `LSTM` are short forms of it, for layers of one kind and a linear readout.
    Each layer reads what the one before puts out at the same step. All other networks are put
    together by their user from such networks.

    Parameters
    ----------
    input_size : int
        I, the features of a step, or the number of different tokens.
    layers : list
        Of `crnn.layers`, from the input up. If the last one is a `crnn.layers.Dense`, it is the
        readout, with the parameters W_hy and b_y. The others, but for Dropout and Masking, which
        have no parameters and no number, are layers 0, 1, ...: their parameters are W_xh_l0 and so
        on. A Dense has W_xh (I, size) and b_h (size,), an Embedding W_xh (I, size).
    skip : bool
        Whether the input is added to the outputs: y_t = readout + x_t. It takes as many outputs as
        inputs, and a last layer without another activation.
    last : bool
        Whether calling the network and `predict` give each sequence's last outputs, if they are not
        told otherwise. Layers above the recurrent ones then read what these put out last, of two
        directions each one's own last state.
    batch_first, learn_state, dtype, seed, backend
        As for `RNN`.
    forget_bias : float
        Initial value of b_h of the forget gates of LSTM layers, as for `LSTM`.
    init : {"uniform", "orthogonal", "identity"}
        As for `RNN`, of recurrent layers. Dense layers, but for the readout, are drawn from
        U(-1/sqrt(I), 1/sqrt(I)) with the I that they read, as PyTorch does, and embeddings from the
        standard normal distribution.

    Attributes
    ----------
    layers : tuple
        As given.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    The state is that of the recurrent layers: an array (L * D, B, H), of LSTMs a tuple (h, c) of
    two, where these all have the same cell and width. Otherwise it is a list of arrays (B, H), one
    for each recurrent layer and direction; where one of them is an LSTM a tuple (h, c) of two
    lists, c of the LSTMs only.

    A Masking, or an Embedding with mask_zero, says which steps are none; see `crnn.layers.Masking`.
    It does not go with ``skip``, nor with a loss that is a function.

    The losses "softmax" and "sigmoid" go with a last layer that has this activation, or none: they
    take what is before it. Other losses take the outputs.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.Sequential(
    ...     3, [crnn.layers.LSTM(5), crnn.layers.Dense(4, "relu"), crnn.layers.Dense(2, "softmax")],
    ...     seed=0)
    >>> y, state = net(np.ones((7, 3)))
    >>> y.shape, bool(np.allclose(y.sum(axis=1), 1))
    ((7, 2), True)
    >>> list(net.parameters)
    ['W_xh_l0', 'W_hh_l0', 'b_h_l0', 'W_xh_l1', 'b_h_l1', 'W_hy', 'b_y']
    """

    def __init__(
        self,
        input_size,
        layers,
        *,
        skip=False,
        last=False,
        batch_first=False,
        learn_state=False,
        forget_bias=1.0,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        forget_bias = checks.finite_number(forget_bias, "forget_bias")
        super().__init__(
            SequenceOfLayers.checked(
                input_size=input_size, layers=layers, skip=skip, last=last, batch_first=batch_first,
                learn_state=learn_state, dtype=dtype, backend=backend,
            ),
            init, seed, forget_bias,
        )

    @property
    def layers(self):
        """The layers, from the input up, a tuple."""
        return self._configuration.described

    @property
    def skip(self):
        """Whether the input is added to the outputs."""
        return self._configuration.skip

    @property
    def last(self):
        """Whether calling the network gives each sequence's last outputs."""
        return self._configuration.last

    @classmethod
    def from_config(cls, config, backend):
        """Return a network of what `config` returned."""
        arguments = {name: value for name, value in config.items() if name != "cell"}
        arguments["layers"] = [from_dict(each) for each in config["layers"]]
        with remaking():
            return cls(**arguments, backend=backend)

    def without_dropout(self, *, backend=None, **changes):
        """Return a network like this one that drops nothing out, with parameters of its own."""
        config = self.config() | changes
        config["layers"] = [each for each in config["layers"] if each["layer"] != Dropout.__name__]
        return self.from_config(config, backend or self.backend)
