"""Long short-term memory (Hochreiter & Schmidhuber 1997; with the forget gate of Gers et al. 2000).

W_xh, b_h and W_hh have four gates of H columns each, in the order i, f, g, o: the input gate, the
forget gate, the candidate and the output gate. With x_t @ W_xh + b_h, the input's share::

    a_i, a_f, a_g, a_o = the columns of x_t @ W_xh + b_h + h_{t-1} @ W_hh
    i = sigmoid(a_i)    f = sigmoid(a_f)    g = tanh(a_g)    o = sigmoid(a_o)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9.
Gers, F. A., Schmidhuber, J. & Cummins, F. (2000). Learning to forget: continual prediction with
LSTM. Neural Computation 12.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.activations import sigmoid, sigmoid_slope, tanh, tanh_slope
from crnn.reference.precision import wide


class Tape(NamedTuple):
    """What the way back needs of a step."""

    h_prev: np.ndarray
    c_prev: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray


def step(a, state, weights):
    """Return the state after one time step, and the `Tape`.

    Parameters
    ----------
    a : ndarray (B, 4 * H)
        x_t @ W_xh + b_h.
    state : tuple of ndarray (B, H)
        (h_{t-1}, c_{t-1}).
    weights : Weights

    Returns
    -------
    state : tuple of ndarray (B, H)
        (h_t, c_t).
    tape : Tape
    """
    h_prev, c_prev = state
    a_i, a_f, a_g, a_o = np.split(a + h_prev @ weights.W_hh, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
    return (h, c), Tape(h_prev, c_prev, i, f, g, o, c)


def step_backward(dstate, tape, weights):
    """Apply the chain rule: return the gradient of everything that `step` was given.

    Parameters
    ----------
    dstate : tuple of ndarray (B, H)
        (dL/dh_t, dL/dc_t): everything that reaches h_t, from above and from the next step; and
        what reaches c_t from the next step, without what reaches it through h_t.
    tape : Tape
    weights : Weights

    Returns
    -------
    da : ndarray (B, 4 * H)
    dstate : tuple of ndarray (B, H)
        (dL/dh_{t-1}, dL/dc_{t-1}), by way of this step.
    dweights : dict of str to ndarray
        This step's share of the gradient of W_hh.
    """
    dh, dc = dstate
    h_prev, c_prev, i, f, g, o, c = tape
    do = dh * tanh(c)
    dc = dc + dh * o * tanh_slope(tanh(c))
    di, df, dg = dc * g, dc * c_prev, dc * i
    da = np.concatenate([
        di * sigmoid_slope(i),
        df * sigmoid_slope(f),
        dg * tanh_slope(g),
        do * sigmoid_slope(o),
    ], axis=1)
    dh_prev = da @ weights.W_hh.T
    dc_prev = dc * f
    dW_hh = wide(h_prev).T @ da
    return da, (dh_prev, dc_prev), {"W_hh": dW_hh}
