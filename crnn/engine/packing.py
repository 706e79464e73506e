"""Weights as the kernels read them: copies that follow the parameters."""

from typing import NamedTuple

import numpy as np

from crnn.kernels.memory import TUNING, aligned_empty

COLUMNS = TUNING["UNITS"]  # the rows of a packed weight are padded to a multiple of this


class Copy(NamedTuple):
    """A packed copy of a weight."""

    packed: np.ndarray  # (inputs, outputs rounded up to a multiple of COLUMNS)
    weight: np.ndarray  # (inputs, outputs): the view that it is a copy of
    stamp: np.ndarray  # (1,): how often parameters had changed when it was made


class PackedWeights:
    """A network's parameters, and packed copies of its weights.

    A copy is made when it is first asked for. When parameters have changed since, it is made again
    in the same memory, so that pointers to it stay valid.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    specs : list of LayerSpec
    parameters : Parameters

    Attributes
    ----------
    specs : list of LayerSpec
    parameters : Parameters
    changes : ndarray of int64 (1,)
        How often parameters have changed.
    dtype : numpy.dtype
    layers : list of PackedLayer
        In the order of the flat vector: from the input up, both directions of a layer together.
    directions : {1, 2}
    input_size, output_size : int
        Without a readout, outputs are the hidden states of the top layer.
    initial_states : list of dict of str to ndarray (H,), or None
        For each layer and direction the learned states by their parameters' names; None: zeros.
    state_width : int
        Features of the top layer's states: those of both directions together.
    has_readout : bool
    readout_start : int
        Where W_hy and b_y begin in the flat vector.
    """

    def __init__(self, kernels, specs, parameters):
        self.specs, self.parameters, self.changes = specs, parameters, parameters.changes
        self.input_size, self.directions = specs[0].input_size, specs[0].directions
        self.dtype, self.has_readout = parameters.dtype, "W_hy" in parameters
        self._repack = kernels.repack
        self._copies = {}  # by (name, transposed, columns)
        starts = parameters.layout.starts
        self.layers = [
            PackedLayer(self, spec, suffix, starts["W_xh" + suffix])
            for spec in specs for suffix in spec.suffixes
        ]
        self.readout_start = starts["W_hy"] if self.has_readout else parameters.layout.size
        self.state_width = specs[-1].output_size
        self.initial_states = None
        if specs[0].learns_state:
            self.initial_states = [
                {name + suffix: parameters[name + suffix] for name in spec.kind.state_names}
                for spec in specs for suffix in spec.suffixes
            ]
        self.output_size = len(parameters["b_y"]) if self.has_readout else self.state_width

    def work(self, is_tokens):
        """Return about how many multiplications a step of one sequence takes."""
        work = self.state_width * self.output_size
        for position, layer in enumerate(self.layers):
            inputs = 0 if is_tokens and position < self.directions else layer.input_size
            work += layer.kind.gates * (inputs + layer.hidden_size) * layer.hidden_size
        return work

    def refresh(self):
        """Make all copies anew that are older than the parameters."""
        for key in list(self._copies):
            self.packed(*key)

    def packed(self, name, transposed=False, columns=None):
        """Return a weight, or its transpose, in panels, as products read it.

        ``columns``, first and last of some of its columns, leaves out the others.
        """
        key = name, transposed, columns
        copy = self._copies.get(key)
        if copy is None:  # another thread may be as far: one copy is kept
            copy = self._copies.setdefault(key, self._new_copy(*key))
        if copy.stamp.item() != self.changes.item():
            self._repack(copy.packed, copy.weight, copy.stamp, self.changes)
        return copy.packed

    def _new_copy(self, name, transposed, columns):
        weight = self.parameters[name][:, slice(*columns)] if columns else self.parameters[name]
        weight = weight.T if transposed else weight
        inputs, outputs = weight.shape
        rows = aligned_empty((inputs, -(-outputs // COLUMNS) * COLUMNS), self.dtype)
        return Copy(rows, weight, np.array([-1]))


class PackedLayer:
    """The weights of one layer in one direction.

    Parameters
    ----------
    weights : PackedWeights
    spec : LayerSpec
    suffix : str
        The end of its parameters' names.
    start : int
        Where they begin in the flat vector.

    Attributes
    ----------
    kind : CellKind
    input_size, hidden_size, start : int
    dtype : numpy.dtype
    W_xh, b_h : ndarray
    b_hn, W_ch : ndarray or None
    """

    def __init__(self, weights, spec, suffix, start):
        self._weights, self._suffix, self.start = weights, suffix, start
        self.kind, self.input_size, self.hidden_size = spec.kind, spec.input_size, spec.hidden_size
        parameters = weights.parameters
        self.dtype = parameters.dtype
        self.W_xh, self.b_h = parameters["W_xh" + suffix], parameters["b_h" + suffix]
        self.b_hn, self.W_ch = parameters.get("b_hn" + suffix), parameters.get("W_ch" + suffix)
        self._parts = {"W_xh": ("W_xh" + suffix, None), "W_hh": ("W_hh" + suffix, None)}
        if self.kind.separate_candidate:
            H, width = self.hidden_size, self.kind.gates * self.hidden_size
            self._parts["W_hh"] = "W_hh" + suffix, (0, width - H)
            self._parts["W_hn"] = "W_hh" + suffix, (width - H, width)

    def packed(self, name, transposed=False):
        """Return W_xh, W_hh or W_hn, packed; None for the W_hn of a cell that has none.

        W_hn are the last H columns of W_hh of a cell with a separate candidate, whose W_hh are then
        only the others.
        """
        if name not in self._parts:
            return None
        name, columns = self._parts[name]
        return self._weights.packed(name, transposed, columns)
