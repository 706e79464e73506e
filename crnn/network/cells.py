"""The networks that users build: one class a cell."""

from crnn.base import checks
from crnn.network.compressed import Trainable
from crnn.network.configuration import Configuration


class RNN(Trainable):
    """A vanilla recurrent network (Elman 1990), with an optional linear readout.

    For t = 0, 1, ... T-1::

        h_t = f(x_t @ W_xh_l0 + b_h_l0 + h_{t-1} @ W_hh_l0)     f is tanh or ReLU
        y_t = h_t @ W_hy + b_y                                  or h_t without a readout

    Training stores h: H numbers for each step, sequence and layer.

    Parameters
    ----------
    input_size : int
        I, the features of a step, or the number of different tokens.
    hidden_size : int or tuple of int
        H, or the H of each layer from the input up, as in ``(100, 50)``; ``num_layers`` is then
        left out.
    output_size : int, optional
        O. None: no readout, the outputs are the hidden states of the top layer.
    num_layers : int
        L, at most 1000: the states of each layer are the input of the next.
    bidirectional : bool
        Whether each layer has a second direction, D = 2, which runs from each sequence's last step
        to its first; what it puts out is laid beside the first one's.
    batch_first : bool
        Whether the batch comes before time wherever sequences go in or come out: x (B, T, I) or
        (B, T), y (B, T, O), and what belongs to their steps. States stay (L * D, B, H).
    nonlinearity : {"tanh", "relu"}
    dropout : float
        The share of each layer's outputs that training zeroes, except the top layer's; the rest is
        scaled up by 1 / (1 - dropout). With one layer nothing is zeroed, and a UserWarning says so.
        `forward` and `loss_and_gradients` drop out; calls, `loss` and `step` do not.
    learn_state : bool
        Whether what a sequence begins with, where no state is given, are parameters that training
        changes, the same for all sequences, rather than zeros. They begin as zeros.
    init : {"uniform", "orthogonal", "identity"}
        "uniform": everything from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does, the readout with the
        H of the top layer. "orthogonal": W_hh is a random orthogonal matrix. "identity": W_hh is
        the identity and b_h is 0, for ReLU (Le, Jaitly & Hinton 2015).
    dtype : {"float32", "float64"}
        The dtype of parameters, states, outputs and gradients. The reference takes "complex128"
        too.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same parameters and the same choices of dropout, on both backends;
        float32 parameters are rounded.
    backend : {"compiled", "reference"}, optional
        "reference" is the textbook in NumPy. Default: the environment variable CRNN_BACKEND, or
        "compiled".

    Attributes
    ----------
    parameters : Parameters
        Ordered mapping from names to read-only views of ``vector``; ``parameters[name] = array``
        copies in. The first layer has ``W_xh_l0`` (I, H), ``W_hh_l0`` (H, H) and ``b_h_l0`` (H,).
        Names of the next layers end in ``_l1`` ...; their input has D * H features, with the H of
        the layer below. Names of the second direction end in ``_reverse``. With learn_state each
        has ``h_0_l0`` (H,), too. The readout has ``W_hy`` (D * H, O) and ``b_y`` (O,).

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

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        num_layers=1,
        bidirectional=False,
        batch_first=False,
        nonlinearity="tanh",
        dropout=0.0,
        learn_state=False,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        super().__init__(
            Configuration.checked(
                "RNN", input_size=input_size, hidden_size=hidden_size, output_size=output_size,
                num_layers=num_layers, bidirectional=bidirectional, batch_first=batch_first,
                dropout=dropout, learn_state=learn_state, dtype=dtype, backend=backend,
                nonlinearity=nonlinearity,
            ),
            init, seed,
        )

    @property
    def nonlinearity(self):
        """"tanh" or "relu"."""
        return self._configuration.kind.nonlinearity


class GRU(Trainable):
    """A network of gated recurrent units (Cho et al. 2014), with an optional linear readout.

    For t = 0, 1, ... T-1, with gates r and z and the candidate n::

        r, z = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)           each its own H columns
        n = f(x_t @ W_xn + b_n + r * (h_{t-1} @ W_hn + b_hn))       reset_after
        n = f(x_t @ W_xn + b_n + (r * h_{t-1}) @ W_hn)              or not
        h_t = (1 - z) * n + z * h_{t-1}

    Training stores h, r, z, n, and h @ W_hn + b_hn or r * h: 5 H numbers for each step, sequence
    and layer.

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, batch_first
        As for `RNN`.
    dropout, learn_state, dtype, seed, backend
        As for `RNN`.
    reset_after : bool
        Whether the reset gate comes after the product with the state, as in PyTorch and in Keras,
        or before it, as in the paper and by default in ONNX.
    candidate : {"tanh", "relu"}
        The candidate's nonlinearity f.
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

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        num_layers=1,
        bidirectional=False,
        batch_first=False,
        reset_after=True,
        candidate="tanh",
        dropout=0.0,
        learn_state=False,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        super().__init__(
            Configuration.checked(
                "GRU", input_size=input_size, hidden_size=hidden_size, output_size=output_size,
                num_layers=num_layers, bidirectional=bidirectional, batch_first=batch_first,
                dropout=dropout, learn_state=learn_state, dtype=dtype, backend=backend,
                reset_after=reset_after, candidate=candidate,
            ),
            init, seed,
        )

    @property
    def reset_after(self):
        """Whether the reset gate comes after the product with the state."""
        return self._configuration.kind.reset_after

    @property
    def candidate(self):
        """"tanh" or "relu"."""
        return self._configuration.kind.nonlinearity


class LSTM(Trainable):
    """A network of long short-term memory (Hochreiter & Schmidhuber 1997), with optional readout.

    For t = 0, 1, ... T-1, with gates i, f (Gers et al. 2000) and o and the candidate g::

        i, f, o = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)        each its own H columns
        g = tanh(the same)
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    Training stores h, c, i, f, g and o: 6 H numbers for each step, sequence and layer. A state is a
    tuple (h, c).

    Parameters
    ----------
    input_size, hidden_size, output_size, num_layers, bidirectional, batch_first
        As for `RNN`.
    dropout, learn_state, dtype, seed, backend
        As for `RNN`.
    forget_bias : float
        Initial value of b_h of the forget gate: 1 lets the cell remember (Jozefowicz, Zaremba &
        Sutskever 2015).
    init : {"uniform", "orthogonal", "identity"}
        As for `RNN`, gate by gate.

    Attributes
    ----------
    parameters : Parameters
        ``W_xh_l0`` (I, 4 * H), ``W_hh_l0`` (H, 4 * H), ``b_h_l0`` (4 * H,), their columns in the
        order i, f, g, o; with learn_state ``h_0_l0`` and ``c_0_l0`` (H,); the others as for `RNN`.

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

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        num_layers=1,
        bidirectional=False,
        batch_first=False,
        forget_bias=1.0,
        dropout=0.0,
        learn_state=False,
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        forget_bias = checks.finite_number(forget_bias, "forget_bias")
        super().__init__(
            Configuration.checked(
                "LSTM", input_size=input_size, hidden_size=hidden_size, output_size=output_size,
                num_layers=num_layers, bidirectional=bidirectional, batch_first=batch_first,
                dropout=dropout, learn_state=learn_state, dtype=dtype, backend=backend,
            ),
            init, seed, forget_bias,
        )


CELLS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
BY_OPTION = {name.lower(): cell for name, cell in CELLS.items()}  # as options name them
