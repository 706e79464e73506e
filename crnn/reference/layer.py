"""A recurrent layer over whole sequences, forward and back through time."""

from typing import NamedTuple

import numpy as np

from crnn.reference.cells import CELLS
from crnn.reference.formulas import (
    bias_gradients,
    linear,
    linear_gradients,
    lookup,
    lookup_gradients,
)

# Infinity and NaN are results that the caller sees; the compiled code does not warn of them either.
silent = np.errstate(over="ignore", invalid="ignore")


class Tape(NamedTuple):
    """What is known of one step on the way back: its own, and what came before it."""

    h: np.ndarray
    before: np.ndarray
    kept: np.ndarray | None
    kept_before: np.ndarray | None
    gates: np.ndarray | None


class Layer:
    """A layer, in one direction, over one sequence.

    It is made for one call and told where everything lies, and then, method by method, which steps
    and which sequences (first to last - 1) to work on: blocks of steps keep memory small, and
    different sequences may be for different threads.

    Parameters
    ----------
    weights : LayerWeights
    x : ndarray (T, B, I), or tokens (T, B)
    states : ndarray (T + 1, B, H)
        The initial state first; the others are filled in. Without a tape it has room for a block.
    kept : ndarray (T + 1, B, H) or None
        What else the cell keeps of a step, `Kind.keeps`: an LSTM's c, the initial one first.
        Without a tape it has room for two, which take turns.
    gates : ndarray (T, B, blocks * H) or None
        Without a tape it has room for some steps, and means nothing afterwards.
    lengths : ndarray of intp (B,) or None
        Sequence b is over at t = lengths[b]; from there on it keeps its state.
    """

    def __init__(self, weights, x, states, kept, gates, lengths):
        self._weights, self._cell = weights, CELLS[weights.kind.cell]
        self._x, self._lengths = x, lengths
        self._states, self._kept, self._gates = states, kept, gates

    def prepare_backward(self, dh, dstate, dc, da, dkept, dx, gradient):
        """Say where gradients lie.

        Parameters
        ----------
        dh : ndarray (steps, B, H)
            Of the states, those of a block or all of them. Overwritten.
        dstate, dc : ndarray (B, H)
            Of the last h and c; turned into those of the initial ones. dc is None but for an LSTM.
        da : ndarray (steps of a block, B, blocks * H), or None
            Filled in with those of the pre-activations; None: dh is turned into them.
        dkept : ndarray (steps of a block, B, H), or None
            Filled in, for a GRU, with those of what it keeps.
        dx : ndarray (T, B, I) or None
            Filled in.
        gradient : ndarray (num_parameters,)
            Added to.
        """
        self._dh, self._dstate, self._dc, self._dx = dh, dstate, dc, dx
        self._da, self._dkept = da, dkept
        self._gradients = self._weights.views(gradient)

    @silent
    def forward(self, start, x_at, at, count, first, last):
        """Fill states[at + 1 : at + 1 + count] from x[x_at:] and states[at]; start is the time."""
        w, part = self._weights, slice(first, last)
        x = self._x[x_at : x_at + count, part]
        a = np.empty((*x.shape[:2], len(w.b_h)), w.dtype)
        if x.ndim == 2:
            lookup(a, x, w.W_xh, w.b_h)
        else:
            linear(a, x, w.packed("W_xh"), w.b_h)
        for t in range(count):
            before, kept_before = self._state(at + t, part)
            h, kept, gates = self._cell.step(a[t], before, kept_before, w)
            over = self._over(start + t, part)
            h[over] = before[over]
            self._states[at + t + 1, part] = h
            if w.kind.keeps:
                kept[over] = kept_before[over] if w.kind.states == 2 else 0
                self._kept[(at + t + 1) % len(self._kept), part] = kept
                if len(self._kept) == len(self._states):
                    self._gates[at + t, part] = gates

    @silent
    def backward(self, start, dh_at, count, first, last):
        """Go back over a block, whose states' gradients are dh[dh_at : dh_at + count]."""
        w, part = self._weights, slice(first, last)
        da = self._pre_activations(dh_at, count)[:, part]
        for t in reversed(range(count)):
            over, gates = self._over(start + t, part), None
            if w.kind.keeps:
                gates = self._gates[start + t, part]
            (h, kept), (before, kept_before) = (
                self._state(start + t + 1, part), self._state(start + t, part)
            )
            dstate = self._dstate[part]
            dc = None if self._dc is None else self._dc[part]
            da[t], dkept, dbefore, dc_before = self._cell.step_backward(
                self._dh[dh_at + t, part] + dstate, dc,
                Tape(h, before, kept, kept_before, gates), w,
            )
            da[t, over] = 0
            dstate[~over] = dbefore[~over]
            if dkept is not None:
                dkept[over] = 0
                self._dkept[t, part] = dkept
            if dc is not None:
                dc[~over] = dc_before[~over]
        if self._dx is not None:
            linear(self._dx[start : start + count, part], da, w.packed("W_xh", transposed=True))

    @silent
    def gradients(self, start, dh_at, count, first, last):
        """Add a part of the gradients of the parameters over a block.

        Of W_hh the rows from first to last - 1, of the others as large a share, wherever it lies:
        parts that together are all rows make the whole.
        """
        d, kind, H = self._gradients, self._weights.kind, self._states.shape[2]
        x, units = self._x[start : start + count], slice(first, last)
        da = rows(self._pre_activations(dh_at, count))
        before = rows(self._states[start : start + count])[:, units]
        together = da.shape[1]
        if kind.apart:
            together, dkept = together - H, rows(self._dkept[:count])
            if kind.reset_after:
                linear_gradients(d["W_hh"][units, together:], before, dkept)
                bias_gradients(d["b_hn"][units], dkept[:, units])
            else:
                reset = rows(self._kept[start + 1 : start + 1 + count])[:, units]
                linear_gradients(d["W_hh"][units, together:], reset, da[:, together:])
        linear_gradients(d["W_hh"][units, :together], before, da[:, :together])
        columns = slice(kind.blocks * first, kind.blocks * last)
        bias_gradients(d["b_h"][columns], da[:, columns])
        if x.ndim == 2:
            lookup_gradients(d["W_xh"][:, columns], x.reshape(-1), da[:, columns])
        else:
            inputs = share(x.shape[2], first, last, H)
            linear_gradients(d["W_xh"][inputs], rows(x)[:, inputs], da)

    def _state(self, at, part):
        kept = None if self._kept is None else self._kept[at % len(self._kept), part]
        return self._states[at, part], kept

    def _pre_activations(self, dh_at, count):
        return self._dh[dh_at : dh_at + count] if self._da is None else self._da[:count]

    def _over(self, t, part):
        if self._lengths is None:
            return np.zeros(self._states[0, part].shape[0], bool)
        return self._lengths[part] <= t


def rows(array):
    """Return (T, B, n) as (T * B, n)."""
    return array.reshape(-1, array.shape[2])


def share(size, first, last, whole):
    """Return the part of a size that is as large as that from first to last is of the whole."""
    return slice(size * first // whole, size * last // whole)
