"""What the parts of crnn have to know of a cell."""

from typing import NamedTuple


class Kind(NamedTuple):
    """A cell with its options.

    Attributes
    ----------
    cell : str
        The name in files, and in the tables of cells, ``crnn/kernels/cells.pyx`` and its twin
        ``crnn/reference/cells.py``.
    blocks : int
        Of H columns in W_xh and W_hh, one for each gate or candidate.
    states : int
        How many arrays the state is: h, and of an LSTM c.
    keeps : bool
        Whether more than h is kept of a step for the way back: the gates, and one array beside.
    apart : bool
        Whether the last block of W_hh multiplies on its own, as W_hn: a GRU's. What is kept is then
        its product, or what it multiplies.
    nonlinearity : {"tanh", "relu"}
        Of an RNN's state, of a GRU's candidate.
    reset_after : bool
        Of a GRU: whether the reset gate comes after the product with the state.
    """

    cell: str
    blocks: int
    states: int = 1
    keeps: bool = False
    apart: bool = False
    nonlinearity: str = "tanh"
    reset_after: bool = False


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
        if kind.reset_after:
            shapes[f"b_hn{suffix}"] = (hidden_size,)
    if output_size is not None:
        shapes |= {"W_hy": (directions * hidden_size, output_size), "b_y": (output_size,)}
    return shapes
