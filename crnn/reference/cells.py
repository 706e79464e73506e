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
    W_ch: np.ndarray | None = None  # (3, H): only for an LSTM with peepholes, of i, f and o
    cell: str = "RNN"
    nonlinearity: str = "tanh"  # for an RNN's state, a GRU's candidate, an LSTM's g and c
    gate_activation: str = "sigmoid"  # for all gates but the candidate
    clip: float = 0.0  # activations are given what lies in [-clip, clip]; 0: what comes
    reset_after: bool = False  # for a GRU: whether the reset gate comes after the product
    coupled: bool = False  # for an LSTM: whether f is 1 - i
