"""One recurrent layer over time and back, in one direction or the other.

Forward, the input's share of all steps is one product that needs no state. What is left for the
loop over time is the cell's `step`::

    a = x @ W_xh + b_h                      all T steps at once
    for t = 0, 1, ... T-1:
        state = step(a_t, state)

Back, the same loop runs from the last step to the first (backpropagation through time). h_t is
reached by the loss from above, dh_t, and by way of the next step, through the state::

    for t = T-1, ... 1, 0:
        da_t, dstate = step_backward(dstate + dh_t)
    dW_xh = sum of x_t.T @ da_t
    db_h = sum of da_t
    dx_t = da_t @ W_xh.T

Sequences of a batch may end at different times. Only those that still run take a step. The others
keep their state and put out 0; on the way back the gradient of their state is handed on unchanged
to their last step, and all other gradients are 0.

The second direction of a layer is a layer of its own that runs over each sequence turned round.

The input may be integer tokens in place of floats. A token stands for a one-hot row, and the
product of a one-hot row with W_xh is one row of W_xh.
"""

from typing import NamedTuple

import numpy as np

from crnn.reference.cells import CELLS
from crnn.reference.precision import wide
from crnn.reference.products import is_tokens, product, product_gradient


class LayerTape(NamedTuple):
    """What the way back needs of a pass."""

    x: np.ndarray
    steps: list  # the cell's tape of each time step
    lengths: np.ndarray | None


class LayerGradients(NamedTuple):
    """Derivatives of the loss."""

    weights: dict  # W_xh, W_hh, b_h and, where there is one, b_hn or W_ch
    x: np.ndarray | None  # None for tokens
    state: tuple  # gradients of the initial state
    flow: tuple  # (T, B, H) each: of h_t and, for an LSTM, what reaches c_t from the next step


def forward(x, state, weights, lengths=None):
    """Run a layer over whole sequences.

    Parameters
    ----------
    x : ndarray (T, B, I), or tokens (T, B)
    state : tuple of ndarray (B, H)
        The initial one: (h,), or (h, c) for an LSTM.
    weights : Weights
    lengths : ndarray of int (B,), optional
        How many of the T steps each sequence has. Default: all of them.

    Returns
    -------
    h : ndarray (T, B, H)
        The outputs; 0 for sequences that are over.
    state : tuple of ndarray (B, H)
        Each sequence's last one.
    tape : LayerTape
    """
    steps, batch = x.shape[:2]
    running = valid_steps(lengths, steps, batch)
    step, tapes = CELLS[weights.cell].step, []
    a = product(x, weights.W_xh) + weights.b_h
    outputs = np.zeros((steps, *state[0].shape), a.dtype)
    for t in range(steps):
        on = running[t]
        new, tape = step(a[t, on], select(state, on), weights)
        state = replace(state, on, new)
        outputs[t, on] = new[0]
        tapes.append(tape)
    return outputs, state, LayerTape(x, tapes, lengths)


def backward(dh, dstate, tape, weights):
    """Go back through `forward`: backpropagation through time.

    Parameters
    ----------
    dh : ndarray (T, B, H)
        The gradient of the outputs.
    dstate : tuple of ndarray (B, H)
        That of the last state.
    tape : LayerTape
    weights : Weights

    Returns
    -------
    LayerGradients
    """
    step_backward = CELLS[weights.cell].step_backward
    running = valid_steps(tape.lengths, *dh.shape[:2])
    da = np.zeros((*dh.shape[:2], len(weights.b_h)), dh.dtype)
    flow = tuple(np.zeros_like(dh) for _ in dstate)
    dweights = {"W_hh": wide(np.zeros_like(weights.W_hh))}
    if weights.b_hn is not None:
        dweights["b_hn"] = wide(np.zeros_like(weights.b_hn))
    if weights.W_ch is not None:
        dweights["W_ch"] = wide(np.zeros_like(weights.W_ch))
    for t in reversed(range(len(dh))):
        on = running[t]
        dh_next, *dc_next = select(dstate, on)
        reached = (dh[t, on] + dh_next, *dc_next)
        da[t, on], dstate_prev, of_step = step_backward(reached, tape.steps[t], weights)
        dstate = replace(dstate, on, dstate_prev)
        for name, share in of_step.items():
            dweights[name] = dweights[name] + share
        for whole, part in zip(flow, reached, strict=True):
            whole[t, on] = part
    dweights["W_xh"] = product_gradient(tape.x, da, weights.W_xh)
    dweights["b_h"] = wide(da).sum(axis=(0, 1))
    dx = None if is_tokens(tape.x) else da @ weights.W_xh.T
    return LayerGradients(dweights, dx, dstate, flow)


# --- the second direction ------------------------------------------------------------------------


def forward_turned(x, state, weights, lengths=None):
    """Run a layer from each sequence's last step to its first; see `forward`."""
    h, state, tape = forward(turned(x, lengths), state, weights, lengths)
    return turned(h, lengths), state, tape


def backward_turned(dh, dstate, tape, weights):
    """Go back through `forward_turned`; see `backward`."""
    own = backward(turned(dh, tape.lengths), dstate, tape, weights)
    dx = None if own.x is None else turned(own.x, tape.lengths)
    return own._replace(x=dx, flow=tuple(turned(each, tape.lengths) for each in own.flow))


DIRECTIONS = ((forward, backward), (forward_turned, backward_turned))


def turned(x, lengths=None):
    """Return sequences (T, B, ...) turned round, each within its own length."""
    if lengths is None:
        return x[::-1]
    t = np.arange(len(x))[:, None]
    return x[np.where(t < lengths, lengths - 1 - t, t), np.arange(x.shape[1])]


# --- sequences of different lengths --------------------------------------------------------------


def valid_steps(lengths, steps, batch):
    """Return a mask (T, B) that is True where a sequence is not over."""
    if lengths is None:
        return np.ones((steps, batch), bool)
    return np.arange(steps)[:, None] < lengths


def select(state, on):
    """Return the rows of a state that belong to some sequences of the batch."""
    return tuple(each[on] for each in state)


def replace(state, on, new):
    """Return a state with new rows for some sequences of the batch."""
    replaced = tuple(each.copy() for each in state)
    for each, part in zip(replaced, new, strict=True):
        each[on] = part
    return replaced
