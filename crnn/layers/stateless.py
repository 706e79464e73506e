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
        checks.choice(self.activation, "activation", ACTIVATIONS)

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
        checks.choice(
            self.activation, "activation", tuple(each for each in ACTIVATIONS if each != "linear"))

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
        Whether the token 0 is no step at all, as in Keras; see `Masking`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    size: int
    mask_zero: bool = False

    def __post_init__(self):
        object.__setattr__(self, "size", checks.whole_number(self.size, "size"))
        checks.flag(self.mask_zero, "mask_zero")

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

    The state stays as it is over such a step, and the network repeats its last outputs.

    Parameters
    ----------
    value : float

    Raises
    ------
    TypeError, ValueError
        If value is no finite number.
    """

    value: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "value", checks.finite_number(self.value, "value"))
