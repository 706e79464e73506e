"""What writes texts: compiled, and where steps go through Python."""

import numpy as np

from crnn.engine.threads import get_num_threads
from crnn.kernels.memory import TUNING, aligned_zeros
from crnn.reference.sampling import choose

GROUP = 64  # texts that one thread takes care of, or fewer
WORK_AHEAD = 1 << 23  # multiplications of what is written ahead: 0.5 ms or less,
MOST_AHEAD = 64  # and no more than so many symbols
ROWS, LANES = TUNING["SHARED_SEQUENCES"], TUNING["UNITS"]


class CompiledSampler:
    """As `Sampler`, of a network of the compiled backend without a mask.

    Parameters
    ----------
    kernels : module
    weights : PackedWeights
    count, temperature, top_k, top_p
        As for `Sampler`.
    """

    def __init__(self, kernels, weights, count, temperature, top_k, top_p):
        each = -(-count // get_num_threads())
        each = max(1, min(GROUP, -(-each // ROWS) * ROWS))
        self._groups = [slice(first, min(first + each, count)) for first in range(0, count, each)]
        self._steppers = [kernels.Stepper(weights, None, True) for _ in self._groups]  # of logits
        symbols = weights.output_size
        numbers = aligned_zeros((len(self._groups), 2, -(-symbols // LANES) * LANES), np.float64)
        numbers[:, 0] = -np.inf
        self._latest = aligned_zeros((count,), np.intp)
        self._arrays = (aligned_zeros((count, symbols), weights.dtype), numbers, self._latest,
                        aligned_zeros((len(self._groups),), np.intp))
        self._choice = temperature, top_k or 0, top_p or 0.0
        if temperature == 0:
            self._choice = 1.0, 1, 0.0
        self._write = kernels.write_texts
        self.ahead = max(1, min(MOST_AHEAD, int(WORK_AHEAD / weights.work(True))))

    def reset(self, tokens, states=None):
        """As `Sampler.reset`."""
        self._latest[...] = tokens
        for stepper, rows in zip(self._steppers, self._groups, strict=True):
            stepper.reset(rows.stop - rows.start, states and [
                [array[rows] for array in own] for own in states])

    def write(self, tokens, uniforms, end):
        """As `Sampler.write`."""
        return self._write(
            self._steppers, *self._arrays, tokens, uniforms, end, *self._choice)


class Sampler:
    """Texts of one network that it goes on with, all at once.

    Parameters
    ----------
    engine : Engine
    count : int
        How many texts.
    temperature, top_k, top_p
        As `crnn.text.generate` takes them.

    Attributes
    ----------
    ahead : int
        Symbols that are worth writing before the first one is asked for.
    """

    ahead = 1

    def __init__(self, engine, count, temperature, top_k, top_p):
        self._stepper, self._count = engine.stepper(_as_it_is, of_logits=True), count
        self._choice = temperature, top_k, top_p

    def reset(self, tokens, states=None):
        """Begin anew with these tokens (B,), from states, as `Stepper.reset`."""
        self._stepper.reset(self._count, states)
        self._tokens = np.array(tokens, np.intp)

    def write(self, tokens, uniforms, end):
        """Fill tokens (B, n), given numbers (B, n) from 0 up to but below 1.

        Return after how many steps it came to outputs that are not finite, or a text that is alone
        to its end, which is this symbol; n, if to neither.
        """
        for t, row in enumerate(uniforms.T):
            logits = self._stepper.step(self._tokens)
            if not np.isfinite(logits).all():
                return t
            for b, (of_text, uniform) in enumerate(zip(logits, row, strict=True)):
                self._tokens[b] = tokens[b, t] = choose(of_text, uniform, *self._choice)
            if end in self._tokens:
                return t + 1
        return uniforms.shape[1]


def _as_it_is(stepper, x, out, of_block):
    """Return x and out: they are ready."""
    return x, out
