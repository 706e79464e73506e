"""A network as a list of layers, each with its own kind of cell and its own width."""

from typing import NamedTuple

GATE_ACTIVATIONS = ("sigmoid", "hard_sigmoid", "hard_sigmoid_0.2")
ACTIVATIONS = ("linear", "tanh", "relu", "softmax", *GATE_ACTIVATIONS)  # of layers without state


class CellKind(NamedTuple):
    """A cell with its options.

    Attributes
    ----------
    cell : str
        The name in files, and in the tables of cells of the kernels and of the reference.
    gates : int
        Number of gates, the candidate included: W_xh and W_hh have gates * H columns.
    has_c : bool
        Whether the state is h and c, an LSTM's, and not h alone.
    has_gates : bool
        Whether a step saves more than h for the way back: its gates, and one array besides.
    separate_candidate : bool
        Whether the last H columns of W_hh multiply on their own, as W_hn: a GRU's. What is saved is
        then their product, or what they multiply.
    nonlinearity : str
        "tanh" or "relu": for an RNN's state, a GRU's candidate, or an LSTM's candidate and cell;
        of a layer without a state one of ACTIVATIONS.
    reset_after : bool
        Of a GRU: whether the reset gate comes after the product with the state.
    has_state : bool
        Whether there is a state at all. A "Dense" has none: it puts out f(x @ W_xh + b_h).
    has_weights, has_bias : bool
        Whether there is W_xh, and b_h; only a layer without a state may lack them.
    gate_activation : str
        One of GATE_ACTIVATIONS, for all gates but the candidate.
    peepholes, coupled : bool
        Of an LSTM: whether gates see the cell, too, by the weights W_ch (3, H), for i, f and o; and
        whether f is 1 - i.
    clip : float
        Activations of a cell are given what lies in [-clip, clip], or for 0 what comes.
    """

    cell: str
    gates: int
    has_c: bool = False
    has_gates: bool = False
    separate_candidate: bool = False
    nonlinearity: str = "tanh"
    reset_after: bool = False
    has_state: bool = True
    has_weights: bool = True
    has_bias: bool = True
    gate_activation: str = "sigmoid"
    peepholes: bool = False
    coupled: bool = False
    clip: float = 0.0

    @property
    def is_table(self):
        """Whether it is a table with a row for each token, which takes nothing but tokens."""
        return self.has_weights and not self.has_bias

    @property
    def num_states(self):
        """How many arrays a state is: h, and of an LSTM c; 0 without a state."""
        return int(self.has_state) + int(self.has_c)

    @property
    def state_names(self):
        """The beginnings of the names of learned initial states, one for each array of a state."""
        return ("h_0", "c_0")[: self.num_states]


class LayerSpec(NamedTuple):
    """One layer of a network, in one direction or in both.

    Attributes
    ----------
    kind : CellKind
    input_size : int
    hidden_size : int
        H of this layer, in each direction.
    directions : {1, 2}
    number : int
        From the input up, from 0.
    learns_state : bool
        Whether what it begins with are parameters, rather than zeros.
    dropout : float
        The share of what it puts out that training zeroes.
    """

    kind: CellKind
    input_size: int
    hidden_size: int
    directions: int
    number: int
    learns_state: bool = False
    dropout: float = 0.0

    @property
    def output_size(self):
        """Features of what the layer puts out: those of both directions together."""
        return self.directions * self.hidden_size

    @property
    def suffixes(self):
        """The ends of its parameters' names, one for each direction."""
        return tuple(f"_l{self.number}{end}" for end in ("", "_reverse")[: self.directions])


def network_layers(
    kind, input_size, hidden_sizes, directions=1, learns_state=False, dropout=0.0
):
    """Return the layers of a network from the input up.

    Parameters
    ----------
    kind : CellKind
        Of all layers.
    input_size : int
    hidden_sizes : sequence of int
        One for each layer.
    directions : {1, 2}
    learns_state : bool
    dropout : float
        The share of each layer's outputs that training zeroes, except the top layer's.

    Returns
    -------
    list of LayerSpec
    """
    layers = []
    for number, hidden_size in enumerate(hidden_sizes):
        own = dropout if number + 1 < len(hidden_sizes) else 0.0
        layers.append(LayerSpec(kind, input_size, hidden_size, directions, number, learns_state,
                                own))
        input_size = layers[-1].output_size
    return layers


class ReadoutSpec(NamedTuple):
    """The last layer, if it is a dense one: y_t = f(h_t @ W_hy + b_y).

    Attributes
    ----------
    size : int
        O.
    activation : str
        f, one of ACTIVATIONS.
    """

    size: int
    activation: str = "linear"


class MaskSpec(NamedTuple):
    """Which steps of a sequence are none.

    Attributes
    ----------
    value : float
        The number that all features of such a step are, or its token is.
    of_tokens : bool
    """

    value: float
    of_tokens: bool = False

    def check_kind(self, is_tokens):
        """Raise TypeError for tokens where features are compared."""
        if is_tokens and not self.of_tokens:
            raise TypeError(
                "x is tokens, and the network leaves out steps by their features (Masking); floats"
                " are wanted, or a network that begins with Embedding(size, mask_zero=True)"
            )

    def is_step(self, x):
        """Return where there is a step, given floats (..., I), or tokens."""
        real = x.real  # of complex steps, which are steps from a real number
        is_other = real != real.dtype.type(self.value)
        return is_other if self.of_tokens else is_other.any(axis=-1)


def parameter_shapes(layers, readout):
    """Return names and shapes of a network's parameters, in the order of its vector.

    Parameters
    ----------
    layers : list of LayerSpec
    readout : ReadoutSpec or None

    Returns
    -------
    dict of str to tuple of int
    """
    shapes = {}
    for layer in layers:
        H, kind = layer.hidden_size, layer.kind
        width = kind.gates * H
        for suffix in layer.suffixes:
            if kind.has_weights:
                shapes[f"W_xh{suffix}"] = (layer.input_size, width)
            if kind.has_state:
                shapes[f"W_hh{suffix}"] = (H, width)
            if kind.has_bias:
                shapes[f"b_h{suffix}"] = (width,)
            if kind.reset_after:
                shapes[f"b_hn{suffix}"] = (H,)
            if kind.peepholes:
                shapes[f"W_ch{suffix}"] = (3, H)
            if layer.learns_state:
                shapes |= {f"{name}{suffix}": (H,) for name in kind.state_names}
    if readout is not None:
        shapes |= {"W_hy": (layers[-1].output_size, readout.size), "b_y": (readout.size,)}
    return shapes
