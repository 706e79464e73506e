"""The table of cells, and the weights that a cell is given.

Each cell is a module of two functions, `step` and `step_backward`, with the same arguments and
results for all of them.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference import gru, lstm, rnn

CELLS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}


class Weights(NamedTuple):
    """The weights of one layer in one direction, and its cell's options.

    G is the number of gates, of H columns each: 1 for the RNN, 3 for the GRU, 4 for the LSTM.
    """

    W_xh: np.ndarray  # (I, G * H)
    W_hh: np.ndarray  # (H, G * H)
    b_h: np.ndarray  # (G * H,)
    b_hn: np.ndarray | None = None  # (H,): only for a GRU with reset_after
    cell: str = "RNN"
    nonlinearity: str = "tanh"  # or "relu": for an RNN's state or a GRU's candidate
    reset_after: bool = False  # for a GRU: whether the reset gate comes after the product
