"""Long short-term memory (Hochreiter & Schmidhuber 1997; with the forget gate of Gers et al. 2000).

W_xh, b_h and W_hh have four gates of H columns each, in the order i, f, g, o: the input gate, the
forget gate, the candidate and the output gate. With x_t @ W_xh + b_h, the input's share::

    a_i, a_f, a_g, a_o = the columns of x_t @ W_xh + b_h + h_{t-1} @ W_hh
    i = sigmoid(a_i)    f = sigmoid(a_f)    g = tanh(a_g)    o = sigmoid(a_o)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

That is the usual LSTM. There are others:

- The sigmoids and both tanhs may be other functions, and of the gates and g, not of c, they may be
  given their argument clipped: see `crnn.reference.activations`.
- With peepholes (Gers & Schmidhuber 2000) the gates see the cell, too, each unit its own. W_ch has
  a row for each of i, f and o::

      a_i += W_ci * c_{t-1}       a_f += W_cf * c_{t-1}       a_o += W_co * c_t

- Where the gates are coupled (Greff et al. 2017), f is 1 - i, and a_f is not used.

Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9.
Gers, F. A., Schmidhuber, J. & Cummins, F. (2000). Learning to forget: continual prediction with
LSTM. Neural Computation 12.
Gers, F. A. & Schmidhuber, J. (2000). Recurrent nets that time and count. IJCNN.
Greff, K. et al. (2017). LSTM: a search space odyssey. IEEE Trans. Neural Networks and Learning
Systems 28.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.activations import activation, clipped, is_inside, slope
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
    inside: tuple  # of i, f, g and o: whether clipping has left the pre-activation as it was


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
    W_ci, W_cf, W_co = (0, 0, 0) if weights.W_ch is None else weights.W_ch
    a_i, a_f = a_i + W_ci * c_prev, a_f + W_cf * c_prev
    i = activation(clipped(a_i, weights.clip), weights.gate_activation)
    f = activation(clipped(a_f, weights.clip), weights.gate_activation)
    g = activation(clipped(a_g, weights.clip), weights.nonlinearity)
    if weights.coupled:
        f = 1 - i
    c = f * c_prev + i * g
    a_o = a_o + W_co * c
    o = activation(clipped(a_o, weights.clip), weights.gate_activation)
    h = o * activation(c, weights.nonlinearity)
    inside = tuple(is_inside(each, weights.clip) for each in (a_i, a_f, a_g, a_o))
    return (h, c), Tape(h_prev, c_prev, i, f, g, o, c, inside)


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
        This step's share of the gradient of W_hh and, with peepholes, of W_ch.
    """
    dh, dc = dstate
    h_prev, c_prev, i, f, g, o, c, (i_inside, f_inside, g_inside, o_inside) = tape
    W_ci, W_cf, W_co = (0, 0, 0) if weights.W_ch is None else weights.W_ch
    f_of_c = activation(c, weights.nonlinearity)
    do = dh * f_of_c
    da_o = do * slope(o, weights.gate_activation) * o_inside
    dc = dc + dh * o * slope(f_of_c, weights.nonlinearity) + da_o * W_co
    di, df, dg = dc * g, dc * c_prev, dc * i
    if weights.coupled:
        di, df = di - df, 0 * df
    da_i = di * slope(i, weights.gate_activation) * i_inside
    da_f = df * slope(f, weights.gate_activation) * f_inside
    da_g = dg * slope(g, weights.nonlinearity) * g_inside
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dh_prev = da @ weights.W_hh.T
    dc_prev = dc * f + da_i * W_ci + da_f * W_cf
    dweights = {"W_hh": wide(h_prev).T @ da}
    if weights.W_ch is not None:
        products = da_i * c_prev, da_f * c_prev, da_o * c
        dweights["W_ch"] = np.stack([wide(each).sum(axis=0) for each in products])
    return da, (dh_prev, dc_prev), dweights
