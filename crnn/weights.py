"""Weights as the kernels read them: copies that follow the parameters."""

from crnn._memory import aligned_empty

COLUMNS = 16  # to a multiple of which the kernels may fill up the rows of a packed weight


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
        copy = self._copies.get((name, transposed))
        changes = self.changes.item()
        if copy is None or copy[1] != changes:
            weight = self.parameters[name].T if transposed else self.parameters[name]
            if copy is None:
                inputs, outputs = weight.shape
                rows = aligned_empty((inputs, -(-outputs // COLUMNS) * COLUMNS), self.dtype)
                copy = self._copies.setdefault((name, transposed), [rows, None])
            self._pack(copy[0], weight)
            copy[1] = changes  # after packing: another thread finds a copy that is done, or packs
        return copy[0]
