"""The table of cells: what the parts of crnn have to know of each."""

from typing import NamedTuple

CELLS = {  # blocks, states, keeps: see Kind
    "RNN": (1, 1, False),
    "GRU": (3, 1, True),
    "LSTM": (4, 2, True),
}


class Kind(NamedTuple):
    """A cell with its options.

    Attributes
    ----------
    cell : {"RNN", "GRU", "LSTM"}
    nonlinearity : {"tanh", "relu"}
        Of an RNN's state, of a GRU's candidate.
    reset_after : bool
        Of a GRU: whether the reset gate comes after the product with the state.
    blocks : int
        Of H columns in W_xh and W_hh, one for each gate or candidate.
    states : int
        How many arrays the state is: h, and of an LSTM c.
    keeps : bool
        Whether more than h is kept of a step for the way back: the gates, and one array beside.
    """

    cell: str
    nonlinearity: str
    reset_after: bool
    blocks: int
    states: int
    keeps: bool


def kind(cell, nonlinearity="tanh", reset_after=False):
    """Return the `Kind` of a cell."""
    blocks, states, keeps = CELLS[cell]
    return Kind(cell, nonlinearity, reset_after, blocks, states, keeps)


def layer_suffixes(num_layers, directions):
    """Return the ends of the names of layers' parameters, in the order of the flat vector."""
    ends = ("", "_reverse")[:directions]
    return [f"_l{layer}{end}" for layer in range(num_layers) for end in ends]


def parameter_shapes(kind, input_size, hidden_size, output_size, num_layers=1, directions=1):
    """Return names and shapes of a network's parameters, in the order of its vector."""
    shapes, width = {}, kind.blocks * hidden_size
    for position, suffix in enumerate(layer_suffixes(num_layers, directions)):
        inputs = input_size if position < directions else directions * hidden_size
        shapes[f"W_xh{suffix}"] = (inputs, width)
        shapes[f"W_hh{suffix}"] = (hidden_size, width)
        shapes[f"b_h{suffix}"] = (width,)
        if kind.cell == "GRU" and kind.reset_after:
            shapes[f"b_hn{suffix}"] = (hidden_size,)
    if output_size is not None:
        shapes |= {"W_hy": (directions * hidden_size, output_size), "b_y": (output_size,)}
    return shapes
