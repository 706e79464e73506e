"""The networks that users build: one class a cell."""

from crnn.network import Network


class RNN(Network):
    """A vanilla recurrent network (Elman 1990), with an optional linear readout.

    For t = 0, 1, ... T-1::

        h_t = f(x_t @ W_xh_l0 + b_h_l0 + h_{t-1} @ W_hh_l0)     f is tanh or ReLU
        y_t = h_t @ W_hy + b_y                                  or h_t without a readout

    Parameters
    ----------
    input_size : int
        I, the features of a step, or the number of different tokens.
    hidden_size : int
        H.
    output_size : int, optional
        O. None: no readout, the outputs are the hidden states.
    nonlinearity : {"tanh", "relu"}
    init : {"uniform", "orthogonal", "identity"}
        "uniform": everything from U(-1/sqrt(H), 1/sqrt(H)), as PyTorch does. "orthogonal": W_hh is
        a random orthogonal matrix. "identity": W_hh is the identity and b_h is 0, for ReLU
        (Le, Jaitly & Hinton 2015).
    dtype : {"float32", "float64"}
        Of parameters, states, outputs and gradients. The reference takes "complex128" too.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same parameters, on both backends; in float32 they are rounded.
    backend : {"compiled", "reference"}, optional
        The NumPy twin is the reference. Default: the environment variable CRNN_BACKEND, or
        "compiled".

    Attributes
    ----------
    parameters : Parameters
        Ordered mapping from names to read-only views of ``vector``; ``parameters[name] = array``
        copies in. ``W_xh_l0`` (I, H), ``W_hh_l0`` (H, H), ``b_h_l0`` (H,), ``W_hy`` (H, O),
        ``b_y`` (O,).

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

    _cell = "RNN"

    def __init__(
        self,
        input_size,
        hidden_size,
        output_size=None,
        *,
        nonlinearity="tanh",
        init="uniform",
        dtype="float32",
        seed=None,
        backend=None,
    ):
        super().__init__(
            input_size, hidden_size, output_size, nonlinearity, init, dtype, seed, backend
        )


CELLS = {"RNN": RNN}
