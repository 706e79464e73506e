"""The gated recurrent unit (Cho et al. 2014).

W_xh, b_h and W_hh have three gates of H columns each, in the order r, z, n: the reset gate, the
update gate and the candidate. With a = x_t @ W_xh + b_h, the input's share::

    r = sigmoid(a_r + h_{t-1} @ W_hr)
    z = sigmoid(a_z + h_{t-1} @ W_hz)
    h_t = (1 - z) * n + z * h_{t-1}

The candidate n comes in two forms, where f is tanh or ReLU: with the reset after the product
(PyTorch's), and before it (the paper's)::

    n = f(a_n + r * q)          q = h_{t-1} @ W_hn + b_hn
    n = f(a_n + s @ W_hn)       s = r * h_{t-1}

In place of the sigmoid r and z may have another function, and all functions may be given their
argument clipped: see `crnn.reference.activations`.

Cho, K. et al. (2014). Learning phrase representations using RNN encoder-decoder for statistical
machine translation. EMNLP.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.activations import activation, clipped, is_inside, slope
from crnn.reference.precision import wide


class Tape(NamedTuple):
    """What the way back needs of a step."""

    h_prev: np.ndarray
    r: np.ndarray
    z: np.ndarray
    n: np.ndarray
    q: np.ndarray | None  # only with reset_after
    s: np.ndarray | None  # only without
    inside: tuple  # of r, z and n: whether clipping has left the pre-activation as it was


def step(a, state, weights):
    """Return the state after one time step, and the `Tape`.

    Parameters
    ----------
    a : ndarray (B, 3 * H)
        x_t @ W_xh + b_h.
    state : tuple of ndarray (B, H)
        (h_{t-1},).
    weights : Weights

    Returns
    -------
    state : tuple of ndarray (B, H)
        (h_t,).
    tape : Tape
    """
    (h_prev,) = state
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    W_hr, W_hz, W_hn = np.split(weights.W_hh, 3, axis=1)
    a_r = a_r + h_prev @ W_hr
    a_z = a_z + h_prev @ W_hz
    r = activation(clipped(a_r, weights.clip), weights.gate_activation)
    z = activation(clipped(a_z, weights.clip), weights.gate_activation)
    q = s = None
    if weights.reset_after:
        q = h_prev @ W_hn + weights.b_hn
        a_n = a_n + r * q
    else:
        s = r * h_prev
        a_n = a_n + s @ W_hn
    n = activation(clipped(a_n, weights.clip), weights.nonlinearity)
    h = (1 - z) * n + z * h_prev
    inside = tuple(is_inside(each, weights.clip) for each in (a_r, a_z, a_n))
    return (h,), Tape(h_prev, r, z, n, q, s, inside)


def step_backward(dstate, tape, weights):
    """Apply the chain rule: return the gradient of everything that `step` was given.

    Parameters
    ----------
    dstate : tuple of ndarray (B, H)
        (dL/dh_t,): everything that reaches h_t, from above and from the next step.
    tape : Tape
    weights : Weights

    Returns
    -------
    da : ndarray (B, 3 * H)
    dstate : tuple of ndarray (B, H)
        (dL/dh_{t-1},), by way of this step.
    dweights : dict of str to ndarray
        This step's share of the gradients of W_hh and, with the reset after the product, of b_hn.
    """
    (dh,) = dstate
    h_prev, r, z, n, q, s, (r_inside, z_inside, n_inside) = tape
    W_hr, W_hz, W_hn = np.split(weights.W_hh, 3, axis=1)

    da_z = dh * (h_prev - n) * slope(z, weights.gate_activation) * z_inside
    da_n = dh * (1 - z) * slope(n, weights.nonlinearity) * n_inside
    dh_prev = dh * z
    dweights = {}
    if weights.reset_after:
        dr = da_n * q
        dq = da_n * r
        dh_prev = dh_prev + dq @ W_hn.T
        dW_hn = wide(h_prev).T @ dq
        dweights["b_hn"] = wide(dq).sum(axis=0)
    else:
        ds = da_n @ W_hn.T
        dr = ds * h_prev
        dh_prev = dh_prev + ds * r
        dW_hn = wide(s).T @ da_n
    da_r = dr * slope(r, weights.gate_activation) * r_inside
    dh_prev = dh_prev + da_r @ W_hr.T + da_z @ W_hz.T
    dW_hr, dW_hz = wide(h_prev).T @ da_r, wide(h_prev).T @ da_z
    dweights["W_hh"] = np.concatenate([dW_hr, dW_hz, dW_hn], axis=1)
    return np.concatenate([da_r, da_z, da_n], axis=1), (dh_prev,), dweights
