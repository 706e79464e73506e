"""A network as a list of layers, each with its own kind of cell and its own width."""

from typing import NamedTuple


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
    nonlinearity : {"tanh", "relu"}
        For an RNN's state, or a GRU's candidate.
    reset_after : bool
        Of a GRU: whether the reset gate comes after the product with the state.
    """

    cell: str
    gates: int
    has_c: bool = False
    has_gates: bool = False
    separate_candidate: bool = False
    nonlinearity: str = "tanh"
    reset_after: bool = False

    @property
    def num_states(self):
        """How many arrays a state is: h, and of an LSTM c."""
        return 2 if self.has_c else 1

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
    """

    kind: CellKind
    input_size: int
    hidden_size: int
    directions: int
    number: int
    learns_state: bool = False

    @property
    def output_size(self):
        """Features of what the layer puts out: those of both directions together."""
        return self.directions * self.hidden_size

    @property
    def suffixes(self):
        """The ends of its parameters' names, one for each direction."""
        return tuple(f"_l{self.number}{end}" for end in ("", "_reverse")[: self.directions])


def network_layers(kind, input_size, hidden_sizes, directions=1, learns_state=False):
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

    Returns
    -------
    list of LayerSpec
    """
    layers = []
    for number, hidden_size in enumerate(hidden_sizes):
        layers.append(LayerSpec(kind, input_size, hidden_size, directions, number,
                                learns_state))
        input_size = layers[-1].output_size
    return layers


def parameter_shapes(layers, output_size):
    """Return names and shapes of a network's parameters, in the order of its vector.

    Parameters
    ----------
    layers : list of LayerSpec
    output_size : int or None
        None without a readout.

    Returns
    -------
    dict of str to tuple of int
    """
    shapes = {}
    for layer in layers:
        H, width = layer.hidden_size, layer.kind.gates * layer.hidden_size
        for suffix in layer.suffixes:
            shapes[f"W_xh{suffix}"] = (layer.input_size, width)
            shapes[f"W_hh{suffix}"] = (H, width)
            shapes[f"b_h{suffix}"] = (width,)
            if layer.kind.reset_after:
                shapes[f"b_hn{suffix}"] = (H,)
            if layer.learns_state:
                shapes |= {f"{name}{suffix}": (H,) for name in layer.kind.state_names}
    if output_size is not None:
        shapes |= {"W_hy": (layers[-1].output_size, output_size), "b_y": (output_size,)}
    return shapes
