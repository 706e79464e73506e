"""What runs the formulas: over whole sequences for training, and step by step for streams.

An `RNNLayer` and a `Readout` are made for one call. They are told where everything lies, and then,
method by method, which steps and which sequences (first to last - 1) or columns to work on: blocks
of steps keep memory small, and different sequences, or columns, may be for different threads.
"""

import numpy as np

from crnn.reference.formulas import (
    linear,
    linear_gradients,
    lookup,
    lookup_gradients,
    mse_loss,
    rnn_backward,
    rnn_forward,
    rnn_step,
    sigmoid_loss,
    softmax_loss,
)

# Infinity and NaN are results that the caller sees; the compiled code does not warn of them either.
silent = np.errstate(over="ignore", invalid="ignore")

LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss, "mse": mse_loss}


class RNNLayer:
    """A vanilla layer over one sequence.

    Parameters
    ----------
    weights : Weights
    nonlinearity : {"tanh", "relu"}
    x : ndarray (T, B, I), or tokens (T, B)
    states : ndarray (T + 1, B, H)
        The initial state first; the others are filled in. Without a tape it has room for a block.
    lengths : ndarray of intp (B,) or None
    """

    def __init__(self, weights, nonlinearity, x, states, lengths):
        self._weights, self._nonlinearity = weights, nonlinearity
        self._x, self._states, self._lengths = x, states, lengths

    def prepare_backward(self, dh, dstate, dx, gradient):
        """Say where gradients lie.

        Parameters
        ----------
        dh : ndarray (steps of a block, B, H)
            Of a block's states; turned into those of the pre-activations.
        dstate : ndarray (B, H)
            Of the last state; turned into that of the initial one.
        dx : ndarray (T, B, I) or None
            Filled in.
        gradient : ndarray (num_parameters,)
            Added to.
        """
        self._dh, self._dstate, self._dx = dh, dstate, dx
        self._gradients = self._weights.views(gradient)

    @silent
    def forward(self, start, at, count, first, last):
        """Fill states[at + 1 : at + 1 + count] from x[start:] and states[at]."""
        p, x = self._weights.parameters, self._x[start : start + count, first:last]
        previous = self._states[at, first:last]
        h = self._states[at + 1 : at + 1 + count, first:last]
        if x.ndim == 2:
            lookup(h, x, p["W_xh_l0"], p["b_h_l0"])
        else:
            linear(h, x, self._weights.packed("W_xh_l0"), p["b_h_l0"])
        W_hh, lengths = self._weights.packed("W_hh_l0"), self._left(start, first, last)
        rnn_forward(h, previous, W_hh, self._nonlinearity, lengths)

    @silent
    def backward(self, start, count, first, last):
        """Turn dh[:count], of the states from start on, into gradients of the pre-activations."""
        dh = self._dh[:count, first:last]
        h = self._states[start + 1 : start + 1 + count, first:last]
        W_hh_T = self._weights.packed("W_hh_l0", transposed=True)
        lengths = self._left(start, first, last)
        rnn_backward(dh, self._dstate[first:last], h, W_hh_T, self._nonlinearity, lengths)
        if self._dx is not None:
            dx = self._dx[start : start + count, first:last]
            linear(dx, dh, self._weights.packed("W_xh_l0", transposed=True))

    @silent
    def gradients(self, start, count, first, last):
        """Add columns first to last - 1 of the gradients of W_xh, W_hh and b_h over a block."""
        d, columns = self._gradients, slice(first, last)
        da, x = _rows(self._dh[:count])[:, columns], self._x[start : start + count]
        before = _rows(self._states[start : start + count])
        linear_gradients(d["W_hh_l0"][:, columns], None, before, da)
        dW, db = d["W_xh_l0"][:, columns], d["b_h_l0"][columns]
        if x.ndim == 2:
            lookup_gradients(dW, db, x.reshape(-1), da)
        else:
            linear_gradients(dW, db, _rows(x), da)

    def _left(self, start, first, last):
        return None if self._lengths is None else self._lengths[first:last] - start


class Readout:
    """The readout, and the loss of its outputs; without a readout, outputs are the states.

    Parameters
    ----------
    weights : Weights
    states : ndarray (T + 1, B, H)
        The initial one first, or a block of them.
    y : ndarray (steps, B, O)
        The outputs, or their gradient.
    """

    def __init__(self, weights, states, y):
        self._weights, self._states, self._y = weights, states, y

    def prepare_loss(self, loss, losses, targets, valid, scale):
        """Say which loss, where its values go, and what is wanted of the outputs.

        Parameters
        ----------
        loss : {"softmax", "sigmoid", "mse"}
        losses, targets, valid, scale
            As for `softmax_loss`, or `sigmoid_loss` and `mse_loss`; valid is None for softmax.
        """
        self._loss, self._losses, self._scale = LOSSES[loss], losses, scale
        self._targets = [each for each in (targets, valid) if each is not None]

    def prepare_backward(self, dh, gradient):
        """Say where gradients lie: dh (steps of a block, B, H), and the parameters' vector."""
        self._dh, self._gradients = dh, self._weights.views(gradient)

    @silent
    def forward(self, at, y_at, count, first, last):
        """Fill y[y_at : y_at + count] with the outputs of states[at + 1 : at + 1 + count]."""
        h = self._states[at + 1 : at + 1 + count, first:last]
        y = self._y[y_at : y_at + count, first:last]
        if self._weights.has_readout:
            linear(y, h, self._weights.packed("W_hy"), self._weights.parameters["b_y"])
        else:
            y[...] = h

    @silent
    def loss(self, y_at, start, count, first, last):
        """Turn y[y_at:] into its gradient, with the targets and for the losses from start on."""
        part = slice(start, start + count), slice(first, last)
        y = self._y[y_at : y_at + count, first:last]
        self._loss(self._losses[part], y, *(each[part] for each in self._targets), self._scale)

    @silent
    def backward(self, y_at, count, first, last):
        """Fill dh[:count] from the gradient of the outputs, y[y_at:]."""
        dh, dy = self._dh[:count, first:last], self._y[y_at : y_at + count, first:last]
        if self._weights.has_readout:
            linear(dh, dy, self._weights.packed("W_hy", transposed=True))
        else:
            dh[...] = dy

    @silent
    def gradients(self, at, y_at, count, first, last):
        """Add columns first to last - 1 of the gradients of W_hy and b_y over a block."""
        if not self._weights.has_readout:
            return
        h, dy = self._states[at + 1 : at + 1 + count], self._y[y_at : y_at + count]
        columns, d = slice(first, last), self._gradients
        linear_gradients(d["W_hy"][:, columns], d["b_y"][columns], _rows(h), _rows(dy)[:, columns])


def _rows(array):
    return array.reshape(-1, array.shape[2])


class Stepper:
    """One time step at a time on a state of its own: what `crnn.Stream` runs.

    Parameters
    ----------
    weights : Weights
        Of one layer and maybe a readout. A stream follows its network's parameters; the compiled
        twin reads the packed copies, and looks whether parameters have changed since.
    nonlinearity : {"tanh", "relu"}
    prepare : callable
        ``x, out = prepare(stepper, x, out)`` checks the arguments of `step` and converts x to an
        array of the weights' dtype or of tokens.

    Attributes
    ----------
    state : ndarray (B, H)
        A copy; assignment copies in.
    batch_size : int
    batched : bool
        Whether x and y have an axis for the batch.
    """

    def __init__(self, weights, nonlinearity, prepare):
        self._parameters = weights.parameters
        self._nonlinearity = nonlinearity
        self._prepare = prepare
        self.reset(None)

    def reset(self, batch_size):
        """Zero the state; one sequence for None, else ``batch_size`` of them."""
        rows = 1 if batch_size is None else batch_size
        W_hh = self._parameters["W_hh_l0"]
        self._h = np.zeros((rows, len(W_hh)), W_hh.dtype)
        self.batched, self.batch_size = batch_size is not None, rows

    @property
    def state(self):
        return self._h.copy()

    @state.setter
    def state(self, value):
        self._h[...] = value

    @silent
    def step(self, x, out=None):
        """Return y of one time step and move the state on.

        Parameters
        ----------
        x : ndarray (B, I) or (I,), or tokens (B,) or ()
        out : ndarray (B, O) or (O,), optional
            Where to put y.

        Returns
        -------
        ndarray (B, O) or (O,)
        """
        x, out = self._prepare(self, x, out)
        p = self._parameters
        if np.issubdtype(x.dtype, np.integer):
            a = p["W_xh_l0"][x.reshape(self.batch_size)] + p["b_h_l0"]
        else:
            a = x.reshape(self.batch_size, len(p["W_xh_l0"])) @ p["W_xh_l0"] + p["b_h_l0"]
        self._h = rnn_step(a, self._h, p["W_hh_l0"], self._nonlinearity)
        y = self._h @ p["W_hy"] + p["b_y"] if "W_hy" in p else self._h
        if out is None:
            out = np.empty(y.shape if self.batched else y.shape[1:], y.dtype)
        out[...] = y if self.batched else y[0]
        return out
