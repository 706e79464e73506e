"""Weights as the kernels read them: copies that follow the parameters."""

import os
import threading

from crnn.kernels.memory import aligned_empty

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
    kind : Kind
    directions : {1, 2}

    Attributes
    ----------
    parameters : Parameters
    kind : Kind
    changes : ndarray of int64 (1,)
        How often parameters have changed.
    dtype : numpy.dtype
    layers : list of LayerWeights
        In the order of the flat vector: from the input up, both directions of a layer together.
    directions : {1, 2}
    input_size, hidden_size, output_size : int
        Without a readout, outputs are the hidden states of the top layer.
    has_readout : bool
    readout_start : int
        Where W_hy and b_y begin in the flat vector.
    """

    def __init__(self, kernels, parameters, kind, directions=1):
        self.parameters, self.changes, self.kind = parameters, parameters.changes, kind
        self.input_size, self.hidden_size = parameters["W_xh_l0"].shape[0], len(
            parameters["W_hh_l0"])
        self.dtype, self.has_readout = parameters["W_hh_l0"].dtype, "W_hy" in parameters
        self.directions, self._pack = directions, kernels.pack
        self._copies = {}  # by (name, transposed, columns): [packed, changes when it was made]
        starts = parameters.layout.starts
        self.layers = [
            LayerWeights(self, name.removeprefix("W_xh"), start)
            for name, start in starts.items() if name.startswith("W_xh")
        ]
        self.readout_start = starts["W_hy"] if self.has_readout else parameters.layout.size
        self.output_size = len(parameters["b_y"]) if self.has_readout else self.state_width

    @property
    def state_width(self):
        """Features of the top layer's states: those of both directions together."""
        return self.directions * self.hidden_size

    def work(self, is_tokens):
        """Return about how many multiplications a step of one sequence takes."""
        inputs = 0 if is_tokens else self.input_size
        width = self.kind.blocks * (inputs + self.hidden_size) + self.output_size
        return width * self.hidden_size

    def views(self, vector):
        """Return a dict of views of a vector in the parameters' layout."""
        return self.parameters.layout.views(vector)

    def refresh(self):
        """Make all copies anew that are older than the parameters."""
        for key in list(self._copies):
            self.packed(*key)

    def packed(self, name, transposed=False, columns=None):
        """Return a weight, or its transpose, in the order in which `linear` reads it.

        ``columns``, first and last of some of its columns, leaves out the others.
        """
        key = name, transposed, columns
        copy = self._copies.get(key)
        if copy is None or copy[1] != self.changes.item():
            with _packing:
                copy = self._pack_anew(key, name, transposed, columns)
        return copy[0]

    def _pack_anew(self, key, name, transposed, columns):
        copy, changes = self._copies.get(key), self.changes.item()
        if copy is not None and copy[1] == changes:
            return copy  # another thread has made it, while this one waited
        weight = self.parameters[name][:, slice(*columns)] if columns else self.parameters[name]
        weight = weight.T if transposed else weight
        if key not in self._copies:
            inputs, outputs = weight.shape
            rows = aligned_empty((inputs, -(-outputs // COLUMNS) * COLUMNS), self.dtype)
            self._copies[key] = [rows, None]
        copy = self._copies[key]
        self._pack(copy[0], weight)
        copy[1] = changes  # those before packing: of what changes meanwhile, nothing is missed
        return copy


class LayerWeights:
    """The weights of one layer in one direction.

    Parameters
    ----------
    weights : Weights
    suffix : str
        The end of its parameters' names.
    start : int
        Where they begin in the flat vector.

    Attributes
    ----------
    W_xh, b_h : ndarray
    b_hn : ndarray or None
    """

    def __init__(self, weights, suffix, start):
        self._weights, self._suffix, self.start = weights, suffix, start
        self.kind, self.dtype = weights.kind, weights.dtype
        parameters = weights.parameters
        self.W_xh, self.b_h = parameters["W_xh" + suffix], parameters["b_h" + suffix]
        self.b_hn = parameters.get("b_hn" + suffix)
        self.input_size, H = len(self.W_xh), weights.hidden_size
        self._parts = {"W_xh": ("W_xh" + suffix, None), "W_hh": ("W_hh" + suffix, None)}
        if self.kind.apart:
            width = self.kind.blocks * H
            self._parts["W_hh"] = "W_hh" + suffix, (0, width - H)
            self._parts["W_hn"] = "W_hh" + suffix, (width - H, width)

    def packed(self, name, transposed=False):
        """Return W_xh, W_hh or W_hn, packed; None for the W_hn of a cell that has none.

        W_hn are the last H columns of W_hh, where they are apart (`Kind`), and only the others are
        then its W_hh.
        """
        if name not in self._parts:
            return None
        name, columns = self._parts[name]
        return self._weights.packed(name, transposed, columns)

    def views(self, vector):
        """Return views of a vector in the parameters' layout, without the names' end."""
        views = self._weights.views(vector)
        names = [name for name in views if name.endswith(self._suffix)]
        return {name.removesuffix(self._suffix): views[name] for name in names}
