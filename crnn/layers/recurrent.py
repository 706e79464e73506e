"""Layers that have a state: what a user says of each."""

from dataclasses import dataclass

from crnn.base import checks
from crnn.base.layers import GATE_ACTIVATIONS, CellKind


@dataclass(frozen=True)
class Recurrent:
    """What all recurrent layers are told."""

    size: int

    def _set(self, **checked):
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def _check(self, nonlinearities, named="nonlinearity"):
        self._set(
            size=checks.whole_number(self.size, "size"),
            clip=None if self.clip is None else checks.positive_number(self.clip, "clip"),
            bidirectional=checks.flag(self.bidirectional, "bidirectional"),
            **{named: checks.choice(getattr(self, named), named, nonlinearities)},
        )


@dataclass(frozen=True, kw_only=True)
class RNN(Recurrent):
    """A vanilla recurrent layer: h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh).

    Parameters
    ----------
    size : int
        H, the number of hidden units.
    nonlinearity : {"tanh", "relu"}
        f.
    clip : float, optional
        What f is given is brought into [-clip, clip] first, as ONNX's ``clip`` does.
    bidirectional : bool
        Whether a second direction runs from each sequence's last step to its first; what it puts
        out is laid beside the first one's.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    nonlinearity: str = "tanh"
    clip: float | None = None
    bidirectional: bool = False

    def __post_init__(self):
        self._check(("tanh", "relu"))

    @property
    def kind(self):
        """The `CellKind`."""
        return CellKind("RNN", gates=1, nonlinearity=self.nonlinearity, clip=self.clip or 0.0)


@dataclass(frozen=True, kw_only=True)
class GRU(Recurrent):
    """A gated recurrent unit; the equations are those of `crnn.GRU`.

    Parameters
    ----------
    size : int
        H.
    reset_after : bool
        Whether the reset gate comes after the product with the state.
    candidate : {"tanh", "relu"}
        The activation of the candidate.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_0.2"}
        Of r and z: "hard_sigmoid" is clip(a / 6 + 0.5, 0, 1), as in Keras 3 and PyTorch, and
        "hard_sigmoid_0.2" clip(0.2 * a + 0.5, 0, 1), as in Keras 2 and, by default, in ONNX.
    clip : float, optional
        What activations are given is brought into [-clip, clip] first, as ONNX's ``clip`` does.
    bidirectional : bool
        As for `RNN`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    reset_after: bool = True
    candidate: str = "tanh"
    gate_activation: str = "sigmoid"
    clip: float | None = None
    bidirectional: bool = False

    def __post_init__(self):
        self._check(("tanh", "relu"), "candidate")
        self._set(
            reset_after=checks.flag(self.reset_after, "reset_after"),
            gate_activation=checks.choice(
                self.gate_activation, "gate_activation", GATE_ACTIVATIONS),
        )

    @property
    def kind(self):
        """The `CellKind`."""
        return CellKind(
            "GRU", gates=3, has_gates=True, separate_candidate=True, nonlinearity=self.candidate,
            reset_after=self.reset_after, gate_activation=self.gate_activation,
            clip=self.clip or 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class LSTM(Recurrent):
    """Long short-term memory; the equations are those of `crnn.LSTM`.

    Parameters
    ----------
    size : int
        H.
    nonlinearity : {"tanh", "relu"}
        The activation of the candidate, and of c on its way to h.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_0.2"}
        Of i, f and o; see `GRU`.
    peepholes : bool
        Whether the gates see the cell, too (Gers & Schmidhuber 2000): i and f see c_{t-1} and o
        sees c_t, times the rows of the parameter W_ch (3, H), which are for i, f and o.
    coupled : bool
        Whether f is 1 - i, as ONNX's ``input_forget`` has it. The columns for f in W_xh, W_hh and
        b_h are then there, but not used.
    clip : float, optional
        What activations of the gates and the candidate are given, peepholes included, is brought
        into [-clip, clip] first, as ONNX's ``clip`` does; c on its way to h is not.
    bidirectional : bool
        As for `RNN`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    nonlinearity: str = "tanh"
    gate_activation: str = "sigmoid"
    peepholes: bool = False
    coupled: bool = False
    clip: float | None = None
    bidirectional: bool = False

    def __post_init__(self):
        self._check(("tanh", "relu"))
        self._set(
            gate_activation=checks.choice(
                self.gate_activation, "gate_activation", GATE_ACTIVATIONS),
            peepholes=checks.flag(self.peepholes, "peepholes"),
            coupled=checks.flag(self.coupled, "coupled"),
        )

    @property
    def kind(self):
        """The `CellKind`."""
        return CellKind(
            "LSTM", gates=4, has_gates=True, has_c=True, nonlinearity=self.nonlinearity,
            gate_activation=self.gate_activation, peepholes=self.peepholes, coupled=self.coupled,
            clip=self.clip or 0.0,
        )
