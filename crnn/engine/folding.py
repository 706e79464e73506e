"""A table of tokens, folded into the layer above it for passes that keep no tape.

Where the bottom layer is a table, the layer above computes table[token] @ W_xh + b_h, of which
there are only as many as there are tokens. Inference computes them all, and looks them up. They
are made by the product that they replace, so that what comes out has the same bits.
"""

import copy
from typing import NamedTuple

import numpy as np

from crnn.kernels.memory import TUNING, aligned_empty

FOLDED_NUMBERS = TUNING["FOLDED_NUMBERS"]  # of what is folded, at most
FOLDED_INPUTS = TUNING["FOLDED_INPUTS"]  # the fewest features of the rows of a table
FEW_NUMBERS = TUNING["FEW_FOLDED_NUMBERS"]  # so many may have fewer features


def can_fold(specs):
    """Return whether the bottom layer is a table that is worth folding into the layer above."""
    if not specs[0].kind.is_table:
        return False
    table, above = specs[:2]
    most = FOLDED_NUMBERS if table.output_size >= FOLDED_INPUTS else FEW_NUMBERS
    width = above.kind.gates * above.output_size
    return above.kind.has_weights and table.input_size * width <= most


class Rows(NamedTuple):
    """What the rows of a table give in one direction of the layer above."""

    layer: object  # the PackedLayer, which multiplies them
    looked_up: object  # a PackedLayer whose W_xh they are
    stamp: np.ndarray  # (1,): how often parameters had changed when they were made


class Folding:
    """Folds a table of tokens into the layer above, again whenever parameters have changed.

    It waits until as many tokens have been read since then as the table has rows, so that to
    multiply each of them has taken as long. So where a few tokens are read between two changes, as
    where training goes on from step to step, that costs no more than without.

    Parameters
    ----------
    kernels : module
    weights : PackedWeights
    """

    def __init__(self, kernels, weights):
        self._fold, self._weights, self._changes = kernels.fold, weights, weights.changes
        self._counted, self._tokens = -1, 0  # since so many changes so many have been read
        self.free_memory()

    def free_memory(self):
        """Forget what is folded."""
        self._folded = None, ()

    def after(self, tokens):
        """Return what `PackedWeights.folded` does, after so many more tokens."""
        change = self._changes.item()  # from before: of what changes meanwhile, nothing is missed
        if change != self._counted:
            self._counted, self._tokens = change, 0
        self._tokens += tokens
        if self._tokens < self._weights.input_size:
            return None
        folded, rows = self._folded
        if folded is None:
            folded, rows = self._folded = self._new_folded()
        for layer, looked_up, stamp in rows:
            if stamp.item() != change:
                table = self._weights.layers[0].W_xh + 0  # as it puts out its rows: without a -0.0
                self._fold(looked_up.W_xh, table, layer.packed("W_xh"), layer.b_h, stamp, change)
        return folded

    def _new_folded(self):
        """Return the weights without the table, and the `Rows` that are to be made."""
        folded, size = copy.copy(self._weights), self._weights.input_size
        above = folded.layers[1 : 1 + folded.specs[1].directions]
        rows = [Rows(layer, _looked_up(layer, size), np.array([-1])) for layer in above]
        folded.layers = [each.looked_up for each in rows] + folded.layers[1 + len(above):]
        folded.specs, folded.body = folded.specs[1:], folded.body - 1
        folded.can_fold = False
        return folded, rows


def _looked_up(layer, size):
    """Return a layer that takes so many tokens; its W_xh, which has b_h in it, is to be made."""
    looked_up = copy.copy(layer)
    looked_up.W_xh = aligned_empty((size, layer.W_xh.shape[1]), layer.dtype)
    looked_up.b_h, looked_up.input_size = None, size
    return looked_up
