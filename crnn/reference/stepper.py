"""One time step of a whole network at a time."""

import numpy as np

from crnn.reference.cells import CELLS
from crnn.reference.layer import silent


def zeros(shape, dtype):
    """Return zeros, or raise MemoryError."""
    try:
        return np.zeros(shape, dtype)
    except ValueError:  # what NumPy says beyond the address space
        raise MemoryError(f"an array of shape {shape} does not fit in memory") from None


class Stepper:
    """One time step at a time on a state of its own: what `crnn.Stream` runs.

    Parameters
    ----------
    weights : Weights
        Of layers in one direction and maybe a readout. A stream follows its network's parameters;
        the compiled twin looks whether they have changed since its last step.
    prepare : callable
        ``x, out = prepare(stepper, x, out)`` checks the arguments of `step` and converts x to an
        array of the weights' dtype or of tokens.

    Attributes
    ----------
    state : list of ndarray (layers, B, H)
        Copies of h and, of an LSTM, c; assignment copies in.
    batch_size : int
    batched : bool
        Whether x and y have an axis for the batch.
    """

    def __init__(self, weights, prepare):
        self._weights, self._prepare = weights, prepare
        self.reset(None)

    def reset(self, batch_size):
        """Zero the state; one sequence for None, else ``batch_size`` of them."""
        rows, w = 1 if batch_size is None else batch_size, self._weights
        shape = len(w.layers), rows, w.hidden_size
        self._state = [zeros(shape, w.dtype) for _ in range(w.kind.states)]
        self.batched, self.batch_size = batch_size is not None, rows

    @property
    def state(self):
        return [each.copy() for each in self._state]

    @state.setter
    def state(self, values):
        for array, value in zip(self._state, values, strict=True):
            array[...] = value

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
        w = self._weights
        h, c = self._state if w.kind.states == 2 else (self._state[0], [None] * len(w.layers))
        is_tokens = np.issubdtype(x.dtype, np.integer)
        y = x.reshape(self.batch_size) if is_tokens else x.reshape(self.batch_size, w.input_size)
        for k, layer in enumerate(w.layers):
            a = (layer.W_xh[y] if is_tokens and k == 0 else y @ layer.W_xh) + layer.b_h
            h[k], kept, _ = CELLS[w.kind.cell].step(a, h[k], c[k], layer)
            if w.kind.states == 2:
                c[k] = kept
            y = h[k]
        if w.has_readout:
            y = y @ w.parameters["W_hy"] + w.parameters["b_y"]
        if out is None:
            out = np.empty(y.shape if self.batched else y.shape[1:], y.dtype)
        out[...] = y if self.batched else y[0]
        return out
