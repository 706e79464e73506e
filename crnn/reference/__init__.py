"""Recurrent networks in NumPy, written to be read: what the compiled code is checked against.

A network with one vanilla layer and a readout computes, for t = 0, 1, ... T-1::

    a_t = x_t @ W_xh + b_h                          the input's share
    h_t = tanh(a_t + h_{t-1} @ W_hh)                (or ReLU)
    y_t = h_t @ W_hy + b_y
    L   = sum over t of loss(y_t, target_t)

which other texts write h_t = tanh(U x_t + W h_{t-1} + b) and y_t = V h_t + c: x_t is a row here, so
U is W_xh.T, W is W_hh.T and V is W_hy.T; b is b_h and c is b_y.

Backpropagation through time (Werbos 1990) is the chain rule along the same arrows, last step first.
Write d? for dL/d?. The loss reaches h_t directly, through y_t, and by way of h_{t+1}::

    dh_t = dy_t @ W_hy.T + da_{t+1} @ W_hh.T
    da_t = dh_t * f'                                f' = 1 - h_t**2 for tanh, (h_t > 0) for ReLU
    dW_hy = sum of h_t.T @ dy_t                     db_y = sum of dy_t
    dW_hh = sum of h_{t-1}.T @ da_t                 db_h = sum of da_t
    dW_xh = sum of x_t.T @ da_t                     dx_t = da_t @ W_xh.T

Where to read on:

- ``rnn.py``, ``gru.py``, ``lstm.py``: the cells, one step forward and one step back each;
- ``layer.py``: a cell over all time steps, and back;
- ``dense.py``: a layer without a state; ``products.py``: the input's share, also of tokens;
- ``losses.py``: how far outputs are from their targets; ``activations.py``: tanh, sigmoid, ReLU;
- ``precision.py``: why gradients, which are sums over all steps, are added up in double;
- ``network.py``: several layers, two directions, dropout, the readout: whole passes;
- ``optimizers.py``: how gradients move parameters.

Shapes: T time steps, B sequences in a batch, I inputs, H hidden units, O outputs; x is (T, B, I),
h is (T, B, H), y is (T, B, O). A weight's name reads from-to, and so do its axes: W_xh is (I, H),
W_hh is (H, H), W_hy is (H, O). The gated cells have G gates of H columns each in W_xh, b_h and
W_hh.

How to check a gradient: all functions except the optimizers take complex numbers too, so the
imaginary part of L(p + ih) / h is dL/dp to machine precision, however small h is (Squire & Trapp
1998)::

    net = crnn.reference.RNN(3, 5, 2, dtype="complex128")
    net.parameters["b_y"] = net.parameters["b_y"] + [1e-100j, 0]
    loss, state = net.loss(x, targets)
    loss.imag / 1e-100                              the derivative along b_y[0]

`RNN`, `GRU`, `LSTM` and `Sequential` are the classes of the package on these functions in place of
the compiled ones: ``crnn.reference.RNN(...)`` is compared with ``crnn.RNN(...)``, made with the
same arguments.

References
----------
Elman, J. L. (1990). Finding structure in time. Cognitive Science 14.
Werbos, P. J. (1990). Backpropagation through time: what it does and how to do it. Proc. IEEE 78.
Squire, W. & Trapp, G. (1998). Using complex variables to estimate derivatives of real functions.
SIAM Review 40.
"""

import importlib

from crnn.reference import optimizers
from crnn.reference.activations import activation, slope
from crnn.reference.cells import CELLS, Weights
from crnn.reference.losses import (
    LOSSES,
    gaussian_loss,
    huber_loss,
    mae_loss,
    mse_loss,
    quantile_loss,
    sigmoid_loss,
    softmax_loss,
)
from crnn.reference.network import Passes
from crnn.reference.optimizers import *  # noqa: F403

NETWORKS = ("RNN", "GRU", "LSTM", "Sequential")

__all__ = [
    *NETWORKS,
    *optimizers.__all__,
    "CELLS",
    "LOSSES",
    "Passes",
    "Weights",
    "activation",
    "gaussian_loss",
    "huber_loss",
    "mae_loss",
    "mse_loss",
    "quantile_loss",
    "sigmoid_loss",
    "slope",
    "softmax_loss",
]


def __getattr__(name):
    """Return one of NETWORKS, imported only now: the networks themselves import this folder."""
    if name not in NETWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("crnn.network.twins"), name)
