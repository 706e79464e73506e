"""The networks that users build: one class a cell."""

from crnn.base import checks
from crnn.base.kinds import Kind
from crnn.network.configuration import NONLINEARITIES
from crnn.network.network import Network


class RNN(Network):
    """A vanilla recurrent network (Elman 1990), with an optional linear readout.

    For t = 0, 1, ... T-1::

        h_t = f(x_t @ W_xh_l0 + b_h_l0 + h_{t-1} @ W_hh_l0)     f is tanh or ReLU
        y_t = h_t @ W_hy + b_y                                  or h_t without a readout

    Training holds h, H numbers for each step, sequence and layer.

    Parameters
    ----------
    input_size : int
        I, the features of a step, or the number of different tokens.
    hidden_size : int
        H.
    output_size : int, optional
        O. None: no readout, the outputs are the hidden states of the top layer.
    num_layers : int
        L, at most 1000: the states of each layer are the input of the next.
    bidirectional : bool
        Whether each layer has a second direction, D = 2, which runs from each sequence's last step
        to its first; what it puts out is laid beside the first one's.
    nonlinearity : {"tanh", "relu"}
    dropout : float
        The share of each layer's outputs, but for the top one's, that training zeroes; what is left
        is scaled up by 1 / (1 - dropout); of one layer, nothing. `forward` and `loss_and_gradients`
        do so; calls, `loss` and `step` do not.
    init : {"uniform", "orthogonal", "identity"}
        "uniform": everything from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does. "orthogonal": W_hh is
        a random orthogonal matrix. "identity": W_hh is the identity and b_h is 0, for ReLU
        (Le, Jaitly & Hinton 2015).
    dtype : {"float32", "float64"}
        Of parameters, states, outputs and gradients. The reference takes "complex128" too.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same parameters, on both backends; in float32 they are rounded. And
        the same choices of dropout.
    backend : {"compiled", "reference"}, optional
        The NumPy twin is the reference. Default: the environment variable CRNN_BACKEND, or
        "compiled".

    Attributes
    ----------
    parameters : Parameters
        Ordered mapping from names to read-only views of ``vector``; ``parameters[name] = array``
        copies in. ``W_xh_l0`` (I, H), ``W_hh_l0`` (H, H), ``b_h_l0`` (H,), then those of layers
        ``_l1`` ..., whose input has D * H features; with the suffix ``_reverse`` those of the
        second direction; ``W_hy`` (D * H, O), ``b_y`` (O,).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, seed=0)
    >>> x = np.ones((7, 4, 3))                      # T = 7 steps of B = 4 sequences
    >>> y, state = net(x)
    >>> y.shape, state.shape
    ((7, 4, 2), (1, 4, 5))
    >>> loss, grads, state = net.loss_and_gradients(x, np.zeros((7, 4), int))
    >>> grads.parameters["W_hh_l0"].shape
    (5, 5)

    References
    ----------
    Elman, J. L. (1990). Finding structure in time. Cognitive Science 14.
    Le, Q. V., Jaitly, N. & Hinton, G. E. (2015). A simple way to initialize recurrent networks of
    rectified linear units. arXiv:1504.00941.
    """

    _cell, _options = "RNN", ("nonlinearity",)

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        num_layers=1,
        bidirectional=False,
        nonlinearity="tanh",
        dropout=0.0,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        super().__init__(
            self._kind_of({"nonlinearity": nonlinearity}), input_size, hidden_size, output_size,
            num_layers, bidirectional, dropout, init, dtype, seed, backend,
        )

    @staticmethod
    def _kind_of(options):
        nonlinearity = checks.choice(options["nonlinearity"], "nonlinearity", NONLINEARITIES)
        return Kind("RNN", blocks=1, nonlinearity=nonlinearity)

    @property
    def nonlinearity(self):
        """"tanh" or "relu"."""
        return self._kind.nonlinearity


class GRU(Network):
    """A network of gated recurrent units (Cho et al. 2014), with an optional linear readout.

    For t = 0, 1, ... T-1, with gates r and z and the candidate n::

        r, z = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)           each its own H columns
        n = f(x_t @ W_xn + b_n + r * (h_{t-1} @ W_hn + b_hn))       reset_after
        n = f(x_t @ W_xn + b_n + (r * h_{t-1}) @ W_hn)              or not
        h_t = (1 - z) * n + z * h_{t-1}

    Training holds h, r, z, n and one of h @ W_hn + b_hn and r * h: 5 H numbers for each step,
    sequence and layer.

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, dropout, dtype, seed, backend
        As for `RNN`.
    reset_after : bool
        Whether the reset gate comes after the product with the state, as in PyTorch and in Keras,
        or before it, as in the paper and by default in ONNX.
    candidate : {"tanh", "relu"}
        f.
    init : {"uniform", "orthogonal", "identity"}
        As for `RNN`, gate by gate.

    Attributes
    ----------
    parameters : Parameters
        ``W_xh_l0`` (I, 3 * H), ``W_hh_l0`` (H, 3 * H), ``b_h_l0`` (3 * H,), their columns in the
        order r, z, n; with reset_after ``b_hn_l0`` (H,); the others as for `RNN`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.GRU(3, 5, 2, num_layers=2, seed=0)
    >>> y, state = net(np.ones((7, 4, 3)))
    >>> y.shape, state.shape
    ((7, 4, 2), (2, 4, 5))

    References
    ----------
    Cho, K. et al. (2014). Learning phrase representations using RNN encoder-decoder for statistical
    machine translation. EMNLP.
    """

    _cell, _options = "GRU", ("reset_after", "candidate")

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        num_layers=1,
        bidirectional=False,
        reset_after=True,
        candidate="tanh",
        dropout=0.0,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        super().__init__(
            self._kind_of({"reset_after": reset_after, "candidate": candidate}), input_size,
            hidden_size, output_size, num_layers, bidirectional, dropout, init, dtype, seed,
            backend,
        )

    @staticmethod
    def _kind_of(options):
        candidate = checks.choice(options["candidate"], "candidate", NONLINEARITIES)
        reset_after = checks.flag(options["reset_after"], "reset_after")
        return Kind(
            "GRU", blocks=3, keeps=True, apart=True, nonlinearity=candidate,
            reset_after=reset_after,
        )

    @property
    def reset_after(self):
        """Whether the reset gate comes after the product with the state."""
        return self._kind.reset_after

    @property
    def candidate(self):
        """"tanh" or "relu"."""
        return self._kind.nonlinearity


class LSTM(Network):
    """A network of long short-term memory (Hochreiter & Schmidhuber 1997), with optional readout.

    For t = 0, 1, ... T-1, with gates i, f (Gers et al. 2000) and o and the candidate g::

        i, f, o = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)        each its own H columns
        g = tanh(the same)
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    Training holds h, c, i, f, g and o: 6 H numbers for each step, sequence and layer. A state is a
    tuple (h, c).

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, dropout, dtype, seed, backend
        As for `RNN`.
    forget_bias : float
        What b_h of the forget gate is to begin with: 1 lets it remember (Jozefowicz, Zaremba &
        Sutskever 2015).
    init : {"uniform", "orthogonal", "identity"}
        As for `RNN`, gate by gate.

    Attributes
    ----------
    parameters : Parameters
        ``W_xh_l0`` (I, 4 * H), ``W_hh_l0`` (H, 4 * H), ``b_h_l0`` (4 * H,), their columns in the
        order i, f, g, o; the others as for `RNN`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.LSTM(3, 5, 2, bidirectional=True, seed=0)
    >>> y, (h, c) = net(np.ones((7, 4, 3)))
    >>> y.shape, h.shape, c.shape
    ((7, 4, 2), (2, 4, 5), (2, 4, 5))

    References
    ----------
    Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9.
    Gers, F. A., Schmidhuber, J. & Cummins, F. (2000). Learning to forget: continual prediction
    with LSTM. Neural Computation 12.
    Jozefowicz, R., Zaremba, W. & Sutskever, I. (2015). An empirical exploration of recurrent
    network architectures. ICML.
    """

    _cell = "LSTM"

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        num_layers=1,
        bidirectional=False,
        forget_bias=1.0,
        dropout=0.0,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        forget_bias = checks.finite_number(forget_bias, "forget_bias")
        super().__init__(
            self._kind_of({}), input_size, hidden_size, output_size, num_layers, bidirectional,
            dropout, init, dtype, seed, backend, forget_bias,
        )

    @staticmethod
    def _kind_of(options):
        return Kind("LSTM", blocks=4, states=2, keeps=True)


CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
