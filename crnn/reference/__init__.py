"""Recurrent networks in NumPy, written to be read: what the compiled code computes.

The classes ``Layer``, ``Readout`` and ``Stepper``, and the updates of the optimisers, have compiled
twins (``crnn/kernels/``) with the same arguments and results; the formulas are what these classes
compute. The cells are in ``rnn.py``, ``gru.py`` and ``lstm.py``, their table in ``cells.py``, what
they share in ``formulas.py``; ``layer.py`` and ``readout.py`` run them over whole sequences,
``stepper.py`` step by step; the optimisers are in ``optimizers.py``. The compiled code is tested
against these, and these against things that are not crnn: networks worked by hand, complex-step
derivatives, PyTorch, ONNX Runtime. The whole class runs on this package with ``crnn.RNN(...,
backend="reference")``.

A network with one vanilla layer and a readout computes, for t = 0, 1, ... T-1::

    a_t = x_t @ W_xh + b_h + h_{t-1} @ W_hh
    h_t = tanh(a_t)                                 (or ReLU)
    y_t = h_t @ W_hy + b_y
    L   = sum over t of loss(y_t, target_t)

Written with one time step to a row, the input's share of every a_t is a single product that needs
no state (`linear`), and so is the readout. What is left for the loop over time is a cell's `step`.

Backpropagation through time (Werbos 1990) is the chain rule along the same arrows, last step first.
Write d? for dL/d?. The loss reaches h_t directly, through y_t, and by way of h_{t+1}::

    dh_t = dy_t @ W_hy.T + da_{t+1} @ W_hh.T
    da_t = dh_t * f'(a_t)                           f' = 1 - h_t**2 for tanh, (h_t > 0) for ReLU
    dW_hy = sum of h_t.T @ dy_t                     db_y = sum of dy_t
    dW_hh = sum of h_{t-1}.T @ da_t                 db_h = sum of da_t
    dW_xh = sum of x_t.T @ da_t                     dx_t = da_t @ W_xh.T

Shapes: T time steps, B sequences in a batch, I inputs, H hidden units, O outputs; R rows, where
(T, B) is taken together. Arrays named first are written to; gradients of parameters are added to.
Weights that are multiplied with are packed (`pack`): the compiled twin reads them in another order.
All functions take complex arrays too: the imaginary part of L(p + ih) / h is then dL/dp to machine
precision (Squire & Trapp 1998), which is how the gradients are checked.

References
----------
Elman, J. L. (1990). Finding structure in time. Cognitive Science 14.
Werbos, P. J. (1990). Backpropagation through time: what it does and how to do it. Proc. IEEE 78.
Squire, W. & Trapp, G. (1998). Using complex variables to estimate derivatives of real functions.
SIAM Review 40.
"""

from crnn.reference import formulas, optimizers
from crnn.reference.formulas import *  # noqa: F403
from crnn.reference.layer import Layer
from crnn.reference.optimizers import *  # noqa: F403
from crnn.reference.readout import Readout
from crnn.reference.stepper import Stepper

__all__ = [
    *formulas.__all__,
    *optimizers.__all__,
    "Layer",
    "Readout",
    "Stepper",
]

Trainer = Group = Runner = None  # the general passes do all that they do
RUN_IN_THREADS = False  # NumPy's own error state, and its BLAS's threads, are the caller's
