"""The vanilla cell (Elman 1990)::

    a = x_t @ W_xh + b_h            the input's share, which `step` is given
    h_t = f(a + h_{t-1} @ W_hh)     f is tanh or ReLU

f may be given its argument clipped: see `crnn.reference.activations`.

Elman, J. L. (1990). Finding structure in time. Cognitive Science 14.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.activations import activation, clipped, is_inside, slope
from crnn.reference.precision import wide


class Tape(NamedTuple):
    """What the way back needs of a step."""

    h_prev: np.ndarray
    h: np.ndarray
    inside: np.ndarray  # whether clipping has left the pre-activation as it was


def step(a, state, weights):
    """Return the state after one time step, and the `Tape`.

    Parameters
    ----------
    a : ndarray (B, H)
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
    a = a + h_prev @ weights.W_hh
    h = activation(clipped(a, weights.clip), weights.nonlinearity)
    return (h,), Tape(h_prev, h, is_inside(a, weights.clip))


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
    da : ndarray (B, H)
    dstate : tuple of ndarray (B, H)
        (dL/dh_{t-1},), by way of this step.
    dweights : dict of str to ndarray
        This step's share of the gradient of W_hh.
    """
    (dh,) = dstate
    h_prev, h, inside = tape
    da = dh * slope(h, weights.nonlinearity) * inside
    dh_prev = da @ weights.W_hh.T
    dW_hh = wide(h_prev).T @ da
    return da, (dh_prev,), {"W_hh": dW_hh}
