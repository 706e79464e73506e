"""Long short-term memory (Hochreiter & Schmidhuber 1997; with the forget gate of Gers et al. 2000).

Gates in the order i, f, g, o::

    i, f, o = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)    each its own columns
    g = tanh(the same)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9.
Gers, F. A., Schmidhuber, J. & Cummins, F. (2000). Learning to forget: continual prediction with
LSTM. Neural Computation 12.
"""

import numpy as np

from crnn.reference.formulas import activation, product


def step(a, before, kept_before, weights):
    """Return h_t, c_t and the gates.

    Parameters
    ----------
    a : ndarray (B, 4 * H)
        The input's share of the pre-activations, x_t @ W_xh + b_h.
    before, kept_before : ndarray (B, H)
        h_{t-1} and c_{t-1}.
    weights : LayerWeights

    Returns
    -------
    h, kept : ndarray (B, H)
        kept is c_t.
    gates : ndarray (B, 4 * H)
    """
    H = before.shape[1]
    gates = a + product(before, weights.packed("W_hh"), 4 * H)
    for block, function in enumerate(("sigmoid", "sigmoid", "tanh", "sigmoid")):
        activation(gates[:, block * H : (block + 1) * H], function)
    i, f, g, o = np.split(gates, 4, axis=1)
    c = f * kept_before + i * g
    return o * np.tanh(c), c, gates


def step_backward(dh, dc, tape, weights):
    """Go back through `step`.

    Parameters
    ----------
    dh, dc : ndarray (B, H)
        All that reaches h_t, and what reaches c_t from c_{t+1}.
    tape : Tape
    weights : LayerWeights

    Returns
    -------
    da : ndarray (B, 4 * H)
        The gradient of the pre-activations.
    dkept : None
    dbefore, dc_before : ndarray (B, H)
        Those of h_{t-1} and c_{t-1}.
    """
    i, f, g, o = np.split(tape.gates, 4, axis=1)
    tanh_c = np.tanh(tape.kept)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    da = np.concatenate([
        dc * g * i * (1 - i),
        dc * tape.kept_before * f * (1 - f),
        dc * i * (1 - g * g),
        dh * tanh_c * o * (1 - o),
    ], axis=1)
    return da, None, product(da, weights.packed("W_hh", transposed=True), dh.shape[1]), dc * f
