"""Each cell's step forward and step back, compiled against NumPy."""

import numpy as np
import pytest
from builds import KINDS, OTHER_KINDS, each_dtype, each_instruction_set, kernels_of, normal
from passes import assert_all_close, packed_of, recurrent_weights, tolerance

from crnn import reference

pytestmark = pytest.mark.no_backend

CELLS = KINDS | OTHER_KINDS
SIZES = [(1, 17), (50, 1), (4, 33), (5, 65), (17, 3)]  # sequences, units


class Case:
    """What a step forward and a step back of some sequences are given, drawn at random."""

    def __init__(self, rng, dtype, kind, batch, hidden):
        self.kind, self.dtype, width = CELLS[kind], dtype, CELLS[kind].gates * hidden
        self.a = 2 * normal(rng, dtype, batch, width)  # hard sigmoids are 0 or 1 for some
        self.h_prev = normal(rng, dtype, batch, hidden)
        self.c_prev = normal(rng, dtype, batch, hidden) if self.kind.has_c else None
        self.dh, self.dstate = normal(rng, dtype, 2, batch, hidden)
        self.dc = normal(rng, dtype, batch, hidden) if self.kind.has_c else None
        self.W_hh = recurrent_weights(hidden, self.kind.gates).astype(dtype)
        self.b_hn = normal(rng, dtype, hidden) if self.kind.reset_after else None
        self.W_ch = normal(rng, dtype, 3, hidden) if self.kind.peepholes else None
        self.lengths = np.arange(2, 2 + batch).astype(np.intp) % 3  # the first one is not over
        self.on = self.lengths > 1  # at t = 1

    def of_the_reference(self):
        """Return what the textbook makes of each sequence that is not over, by name."""
        kind, cell, found = self.kind, reference.CELLS[self.kind.cell], {}
        weights = reference.Weights(
            None, self.W_hh, None, self.b_hn, self.W_ch, kind.cell, kind.nonlinearity,
            kind.gate_activation, kind.clip, kind.reset_after, kind.coupled)
        for b in np.flatnonzero(self.on):
            one = slice(b, b + 1)
            state = [each[one] for each in (self.h_prev, self.c_prev) if each is not None]
            new, tape = cell.step(self.a[one], state, weights)
            reached = [(self.dh + self.dstate)[one]]
            reached += [] if self.dc is None else [self.dc[one]]
            da, before, dweights = cell.step_backward(reached, tape, weights)
            results = dict(zip(("h", "c"), new, strict=False)) | {"da": da}
            results |= dict(zip(("dh_prev", "dc_prev"), before, strict=False))
            results |= {name: each[None].astype(da.dtype) for name, each in dweights.items()}
            for name, each in results.items():
                found.setdefault(name, []).append(each)
        return {name: np.concatenate(each) for name, each in found.items()}

    def of_a_build(self, functions, from_last):
        """Return the same of a build, whose step back leaves sequences that are over alone."""
        on, kind, H = self.on, self.kind, self.h_prev.shape[1]
        together = self.W_hh.shape[1] - H * kind.separate_candidate
        W_hh, W_hn = self.W_hh[:, :together], self.W_hh[:, together:]
        apart = (W_hn, W_hn.T) if kind.separate_candidate else (None, None)
        packed = [None if each is None else packed_of(functions, each)
                  for each in (W_hh, W_hh.T, *apart)]
        W_hh, W_hh_T, W_hn, W_hn_T = packed
        gates = self.a.copy()
        h = np.full_like(self.h_prev, np.nan) if kind.has_gates else gates
        saved = np.full_like(h, np.nan) if kind.has_gates else None
        tape = h, self.h_prev.copy(), saved, self.c_prev, gates
        arrays = *tape, W_hh, W_hn, self.b_hn, self.W_ch, W_hh_T, W_hn_T
        functions.step(kind, arrays, None, self.lengths, 1, from_last)
        found = {"h": h[on].copy()} | ({"c": saved[on].copy()} if kind.has_c else {})

        dh, dstate, dc = (None if each is None else each.copy()
                          for each in (self.dh, self.dstate, self.dc))
        da = np.full_like(gates, np.nan) if kind.has_gates else dh
        dsaved = np.full_like(h, np.nan) if kind.separate_candidate else None
        functions.step(kind, arrays, (da, dsaved, dh, dstate, dc), self.lengths, 1, from_last)
        assert not da[~on].any()
        np.testing.assert_array_equal(dstate[~on], self.dstate[~on])
        found |= {"da": da[on], "dh_prev": dstate[on]}
        if kind.has_c:
            np.testing.assert_array_equal(dc[~on], self.dc[~on])
            found["dc_prev"] = dc[on]
        return found | self._weights(da, dsaved, saved, together)

    def _weights(self, da, dsaved, saved, together):
        """Return each sequence's gradients of weights, which a build makes of all at once."""
        on = self.on
        found = {"W_hh": outer(self.h_prev[on], da[on])}
        if self.kind.reset_after:
            found["b_hn"] = dsaved[on]
            found["W_hh"][:, :, together:] = outer(self.h_prev[on], dsaved[on])
        elif self.kind.separate_candidate:
            found["W_hh"][:, :, together:] = outer(saved[on], da[on, together:])
        if self.kind.peepholes:
            di, df, _, do = np.split(da[on], 4, axis=1)
            seen = self.c_prev[on], self.c_prev[on], saved[on]
            found["W_ch"] = np.stack([d * c for d, c in zip((di, df, do), seen, strict=True)], 1)
        return found


def outer(x, dy):
    return x[:, :, None] * dy[:, None]


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("from_last", [False, True], ids=["forth", "from the last"])
def test_steps_equal_the_textbooks(rng, isa, dtype, kind, sizes, from_last):
    case = Case(rng, dtype, kind, *sizes)
    rtol = tolerance(dtype, CELLS[kind].gates * sizes[1])
    assert_all_close(
        case.of_a_build(kernels_of(isa, dtype), from_last), case.of_the_reference(), rtol)
