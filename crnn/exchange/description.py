"""What a network from elsewhere is, in crnn's words, before it is one."""

from dataclasses import dataclass, field


@dataclass
class Description:
    """A network as a list of layers, with its parameters.

    Attributes
    ----------
    input_size : int
    layers : list
        Of `crnn.layers`, from the input up.
    parameters : dict of str to ndarray
        By the names of `crnn.Sequential`: W_xh_l0 and so on; with h_0_l0 and c_0_l0 where initial
        states are learned.
    skip, last, learn_state, batch_first : bool
        As for `crnn.Sequential`.
    left_out : list of str
        What of the file is not in the network, in words, because it computes nothing in inference
        or because the caller chose parts.
    """

    input_size: int
    layers: list
    parameters: dict
    skip: bool = False
    last: bool = False
    learn_state: bool = False
    batch_first: bool = False
    left_out: list = field(default_factory=list)
