"""Layers that have no state: what a user says of each."""

import numbers
from dataclasses import dataclass

from crnn.base import checks
from crnn.base.layers import ACTIVATIONS, CellKind


@dataclass(frozen=True)
class Dense:
    """The same map at each step: y_t = f(x_t @ W + b).

    As the last layer it is the readout, with the parameters W_hy and b_y; elsewhere its parameters
    are W_xh and b_h with the number of the layer.

    Parameters
    ----------
    size : int
        The features that it puts out.
    activation : str
        f: "linear", "tanh", "relu", "sigmoid", "softmax", "hard_sigmoid" or "hard_sigmoid_0.2";
        see `GRU` for the last two.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    size: int
    activation: str = "linear"

    def __post_init__(self):
        object.__setattr__(self, "size", checks.whole_number(self.size, "size"))
        object.__setattr__(
            self, "activation", checks.choice(self.activation, "activation", ACTIVATIONS))

    @property
    def kind(self):
        """The `CellKind`."""
        return CellKind("Dense", gates=1, has_state=False, nonlinearity=self.activation)


@dataclass(frozen=True)
class Activation:
    """A function of each number, or for "softmax" of each step's, without parameters.

    Parameters
    ----------
    activation : str
        As for `Dense`, but "linear".

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    activation: str

    def __post_init__(self):
        allowed = tuple(each for each in ACTIVATIONS if each != "linear")
        object.__setattr__(
            self, "activation", checks.choice(self.activation, "activation", allowed))

    @property
    def kind(self):
        """The `CellKind`."""
        return CellKind("Dense", gates=1, has_state=False, has_weights=False, has_bias=False,
                        nonlinearity=self.activation)


@dataclass(frozen=True)
class Embedding:
    """A table with a row for each token; the first layer only.

    Parameters
    ----------
    size : int
        The features of a row.
    mask_zero : bool
        Whether the token 0 is no step at all, as in Keras; see `Masking`. Its row of the table is
        there, but not used.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    size: int
    mask_zero: bool = False

    def __post_init__(self):
        object.__setattr__(self, "size", checks.whole_number(self.size, "size"))
        object.__setattr__(self, "mask_zero", checks.flag(self.mask_zero, "mask_zero"))

    @property
    def kind(self):
        """The `CellKind`."""
        return CellKind("Dense", gates=1, has_state=False, has_bias=False, nonlinearity="linear")


@dataclass(frozen=True)
class Dropout:
    """In training, a share of what the layer below puts out is zeroed and the rest scaled up.

    Parameters
    ----------
    share : float
        From 0 to below 1. What stays is scaled by 1 / (1 - share).

    Raises
    ------
    TypeError, ValueError
        If share is not as above.
    """

    share: float

    def __post_init__(self):
        object.__setattr__(self, "share", checks.option(
            "share", self.share, numbers.Real, "a number from 0 to below 1", lambda p: 0 <= p < 1))


@dataclass(frozen=True)
class Masking:
    """Steps whose features are all equal to a value are no steps, as in Keras; first only.

    Layers run over the other steps as if they followed each other, wherever these are: most often
    sequences are filled up in front or behind. A sequence's last outputs and last state are those
    of its last step, and of a second direction those of its first one. Where `lengths` are given,
    they hold besides.

    Where outputs are wanted for every step, the recurrent layers repeat their last ones at a step
    that is none (before the first one they put out the state that they begin with, which is 0
    unless another one is given or learned), and layers above them, which have no state, run on
    that. If the top recurrent layer has two directions, it puts out 0 there. Streams do the same.

    In losses and metrics only targets of steps count: means are over these. A sequence without any
    step counts for nothing, and its outputs are those of the state that it begins with. What dy
    says of a step that is none is ignored by `backward`, and the gradient of its x is 0.

    Parameters
    ----------
    value : float
        It is compared with x in the network's dtype.

    Raises
    ------
    TypeError, ValueError
        If value is no finite number.

    Notes
    -----
    This is what Keras 3 does, but for three things. It puts out 0 before the first step even if
    it was given a state; it does take a loss of the last outputs of a sequence without steps; and
    the gradient that reaches the outputs of a step that is none goes on from there.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.Sequential(2, [crnn.layers.Masking(0.0), crnn.layers.GRU(3)], seed=0)
    >>> x = np.array([[0, 0], [1, 2], [0, 0], [3, 4]], float)
    >>> y, state = net(x)
    >>> bool((y[[1, 3]] == net(x[[1, 3]])[0]).all())  # as if the others were not there
    True
    >>> bool((y[0] == 0).all() and (y[2] == y[1]).all())
    True
    """

    value: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "value", checks.finite_number(self.value, "value"))
