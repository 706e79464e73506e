"""Weights as the kernels read them: copies that follow the parameters."""

from typing import NamedTuple

import numpy as np

from crnn.base.compression import compressed_names
from crnn.engine.folding import Folding, can_fold
from crnn.kernels.memory import TUNING, aligned_empty

COLUMNS = TUNING["UNITS"]  # the rows of a packed weight are padded to a multiple of this


class Copy(NamedTuple):
    """A packed copy of a weight."""

    packed: np.ndarray  # in panels, in a format that its dtype says
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
    readout : ReadoutSpec or None
    skip : bool
        Whether the input is added to the outputs.

    Attributes
    ----------
    specs : list of LayerSpec
    parameters : Parameters
    changes : ndarray of int64 (1,)
        How often parameters have changed.
    dtype : numpy.dtype
    layers : list of PackedLayer
        In the order of the flat vector: from the input up, both directions of a layer together.
    body : int
        How many layers there are up to the last one that has a state.
    input_size, output_size : int
        Without a readout, outputs are what the top layer puts out.
    initial_states : list of dict of str to ndarray (H,), or None
        For each layer that has a state, and direction, the learned ones by their parameters' names;
        None: zeros.
    top_width : int
        Features of what the top layer puts out: those of both directions together.
    has_readout, skips : bool
    activation : str
        The readout's function.
    takes_tokens, takes_floats : bool
        Whether x may be tokens, and whether it may be floats.
    readout_start : int
        Where W_hy and b_y begin in the flat vector.
    can_fold : bool
        Whether `folded` may return something.
    """

    def __init__(self, kernels, specs, parameters, readout=None, skip=False):
        self.specs, self.parameters, self.changes = specs, parameters, parameters.changes
        self.input_size, self.dtype = specs[0].input_size, parameters.dtype
        self.body = 1 + max(k for k, spec in enumerate(specs) if spec.kind.has_state)
        self.has_readout, self.skips = readout is not None, skip
        self.activation = readout.activation if self.has_readout else "linear"
        self.takes_tokens, self.takes_floats = not skip, not specs[0].kind.is_table
        self._repack = kernels.repack
        self._compressed_names = ()
        if parameters.format:
            self._compressed_names = compressed_names(parameters.layout.shapes, parameters.format)
        self._copies = {}  # by (name, transposed, columns)
        starts = parameters.layout.starts
        self.layers = [
            PackedLayer(self, spec, suffix, starts.get("W_xh" + suffix, 0))
            for spec in specs for suffix in spec.suffixes
        ]
        self.readout_start = starts["W_hy"] if self.has_readout else parameters.layout.size
        self.top_width = specs[-1].output_size
        self.initial_states = None
        if any(spec.learns_state for spec in specs):
            self.initial_states = [
                {name + suffix: parameters[name + suffix] for name in spec.kind.state_names}
                for spec in specs if spec.kind.has_state for suffix in spec.suffixes
            ]
        self.output_size = readout.size if self.has_readout else self.top_width
        self.can_fold = can_fold(specs)
        self._folding = Folding(kernels, self) if self.can_fold else None

    def work(self, is_tokens):
        """Return about how many multiplications a step of one sequence takes."""
        work = self.top_width * self.output_size
        for position, layer in enumerate(self.layers):
            is_looked_up = is_tokens and position < self.specs[0].directions
            inputs = layer.input_size if layer.kind.has_weights and not is_looked_up else 0
            states = layer.hidden_size if layer.kind.has_state else 0
            work += layer.kind.gates * (inputs + states) * layer.hidden_size
        return work

    def refresh(self):
        """Make all copies anew that are older than the parameters."""
        for key in list(self._copies):
            self.packed(*key)

    def folded(self, tokens):
        """Return the weights of the network without its table, which layers above have taken in.

        Their bottom layer takes the tokens, of which now so many more are read; None, if these are
        too few yet, or there is no table.
        """
        return self._folding.after(tokens) if self.can_fold else None

    def free_memory(self):
        """Give back what can be large; packed copies stay."""
        if self.can_fold:
            self._folding.free_memory()

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
        dtype, panels = self.dtype, -(-outputs // COLUMNS)
        if name not in self._compressed_names:
            shape = inputs, panels * COLUMNS
        elif self.parameters.format == "bf16":  # two inputs in a word
            dtype, shape = np.dtype(np.uint32), (-(-inputs // 2), panels * COLUMNS)
        else:  # a row of scales, then four inputs in one
            dtype, shape = np.dtype(np.int8), (1 + -(-inputs // 4), panels * 4 * COLUMNS)
        return Copy(aligned_empty(shape, dtype), weight, np.array([-1]))


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
    W_xh, b_hn, W_ch : ndarray or None
    b_h : ndarray
        Zeros for a layer that has none.
    """

    def __init__(self, weights, spec, suffix, start):
        self._weights, self._suffix, self.start = weights, suffix, start
        self.kind, self.input_size, self.hidden_size = spec.kind, spec.input_size, spec.hidden_size
        parameters = weights.parameters
        self.dtype = parameters.dtype
        self.W_xh, self.b_h = (parameters.get(name + suffix) for name in ("W_xh", "b_h"))
        self.b_hn, self.W_ch = parameters.get("b_hn" + suffix), parameters.get("W_ch" + suffix)
        if self.b_h is None:
            self.b_h = np.zeros(self.hidden_size, self.dtype)
        self._parts = {name: (name + suffix, None) for name in ("W_xh", "W_hh")
                       if name + suffix in parameters}
        if self.kind.separate_candidate:
            H, width = self.hidden_size, self.kind.gates * self.hidden_size
            self._parts["W_hh"] = "W_hh" + suffix, (0, width - H)
            self._parts["W_hn"] = "W_hh" + suffix, (width - H, width)

    def packed(self, name, transposed=False):
        """Return W_xh, W_hh or W_hn, packed; None where there is none.

        W_hn are the last H columns of W_hh of a cell with a separate candidate, whose W_hh are then
        only the others.
        """
        if name not in self._parts:
            return None
        name, columns = self._parts[name]
        return self._weights.packed(name, transposed, columns)
