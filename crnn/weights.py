"""Weights as the kernels read them: copies that follow the parameters."""

import os
import threading

from crnn._memory import aligned_empty

COLUMNS = 16  # to a multiple of which the kernels may fill up the rows of a packed weight

_packing = threading.Lock()  # held while a copy is made: two threads would write into each other's


def _renew_lock():
    global _packing
    _packing = threading.Lock()


if hasattr(os, "register_at_fork"):  # a thread that the child does not have may have held it
    os.register_at_fork(after_in_child=_renew_lock)


class Weights:
    """A network's parameters, and packed copies of its weights.

    A copy is made when it is first asked for. When parameters have changed since, it is made again
    in the same memory, so that pointers to it stay valid.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    parameters : Parameters

    Attributes
    ----------
    parameters : Parameters
    changes : ndarray of int64 (1,)
        How often parameters have changed.
    dtype : numpy.dtype
    input_size, hidden_size, output_size : int
        Without a readout, outputs are the hidden states.
    has_readout : bool
    readout_start : int
        Where W_hy and b_y begin in the flat vector.
    """

    def __init__(self, kernels, parameters):
        self.parameters, self.changes = parameters, parameters.changes
        self.input_size, self.hidden_size = parameters["W_xh_l0"].shape
        self.dtype, self.has_readout = parameters["W_hh_l0"].dtype, "W_hy" in parameters
        self.output_size = len(parameters["b_y"]) if self.has_readout else self.hidden_size
        self.readout_start = (self.input_size + self.hidden_size + 1) * self.hidden_size
        self._pack = kernels.pack
        self._copies = {}  # of (name, transposed) to [packed weight, changes when it was made]

    def views(self, vector):
        """Return a dict of views of a vector in the parameters' layout."""
        return self.parameters.layout.views(vector)

    def refresh(self):
        """Make all copies anew that are older than the parameters."""
        for name, transposed in list(self._copies):
            self.packed(name, transposed)

    def packed(self, name, transposed=False):
        """Return a weight, or its transpose, in the order in which `linear` reads it."""
        key = name, transposed
        copy = self._copies.get(key)
        if copy is None or copy[1] != self.changes.item():
            with _packing:
                copy = self._pack_anew(key, name, transposed)
        return copy[0]

    def _pack_anew(self, key, name, transposed):
        changes = self.changes.item()  # before packing: of what changes meanwhile, none is missed
        weight = self.parameters[name].T if transposed else self.parameters[name]
        if key not in self._copies:
            inputs, outputs = weight.shape
            rows = aligned_empty((inputs, -(-outputs // COLUMNS) * COLUMNS), self.dtype)
            self._copies[key] = [rows, None]
        copy = self._copies[key]
        self._pack(copy[0], weight)
        copy[1] = changes
        return copy
