"""What goes on with texts, symbol by symbol."""

import math
import reprlib
from numbers import Real

import numpy as np

from crnn.base import checks
from crnn.base.sequences import check_kind, checked_states
from crnn.text.vocabulary import check_fits

AT_ONCE = 1 << 16  # symbols that are written in one go where all are wanted: some milliseconds
DRAWN = 1 << 10  # random numbers that are drawn in one go, or more
NO_END = -1
SHARED = np.random.Generator, np.random.BitGenerator, np.random.RandomState


class Writer:
    """Goes on with texts, all at once; each has random numbers of its own.

    Parameters
    ----------
    net, vocabulary, temperature, top_k, top_p
        As for `generate`; they are checked here.
    seeds : list
        Of each text.
    """

    def __init__(self, net, vocabulary, seeds, temperature, top_k, top_p):
        check_fits(net, vocabulary)
        temperature = checks.option(
            "temperature", temperature, Real, "a finite number of at least 0",
            lambda each: 0 <= each < math.inf)
        if top_p is not None and checks.positive_number(top_p, "top_p") > 1:
            raise ValueError(f"top_p is a probability, got {top_p}")
        if top_k is not None:
            top_k = min(checks.whole_number(top_k, "top_k"), len(vocabulary))
        self._generators = [_generator(each) for each in seeds]
        self._drawn = np.empty((len(seeds), 0))  # uniform numbers that no symbol has taken yet
        self._engine, self._vocabulary = net.engine, vocabulary
        net.stream()  # a network without steps says so
        check_kind(True, net.engine.layers, net.engine.skip)
        if net.engine.mask is not None:
            net.engine.mask.check_kind(True)
        self._sampler = net.engine.sampler(len(seeds), temperature, top_k, top_p)
        # somebody else's generator is to be found where the last symbol has left it
        is_shared = any(isinstance(each, SHARED) for each in seeds)
        self._ahead = 1 if is_shared else self._sampler.ahead
        self._drawn_ahead = 0 if is_shared else DRAWN // max(1, len(seeds))

    def symbols(self, prime, length, end=None):
        """Yield so many symbols of one text, whose prime are tokens (n,), n > 0.

        ``end`` is the symbol that is the last one, if it is written.
        """
        end = NO_END if end is None else self._vocabulary.encode([end])[0]
        for tokens in self._blocks([prime], length, self._ahead, end):
            yield from self._vocabulary.decode(tokens)

    def texts(self, primes, length):
        """Return so many symbols of each text as a text."""
        blocks = [*self._blocks(primes, length, max(1, AT_ONCE // max(1, len(primes))), NO_END)]
        tokens = np.concatenate([np.empty((len(primes), 0), np.intp), *blocks], axis=1)
        return [self._vocabulary.decode(each) for each in tokens]

    def _blocks(self, primes, length, longest, end):
        """Yield the tokens (B, n) that go on with primes, at most so many of each at a time."""
        if primes and length:
            self._sampler.reset([each[-1] for each in primes], self._states_after(primes))
        while primes and length:
            steps = min(length, longest)
            tokens = np.empty((len(primes), steps), np.intp)
            written = self._sampler.write(tokens, self._draw(steps), end)
            self._drawn, length = self._drawn[:, written:], length - written
            yield tokens[:, :written]
            if written and tokens[0, written - 1] == end:
                return
            if written < steps:
                raise FloatingPointError("the network's outputs are not finite; was its training?")

    def _draw(self, steps):
        """Return uniform numbers (B, steps) that no symbol has taken."""
        missing = steps - self._drawn.shape[1]
        if missing > 0:
            count = max(missing, self._drawn_ahead)
            new = np.array([generator.random(count) for generator in self._generators])
            self._drawn = np.concatenate([self._drawn, new], axis=1)
        return np.ascontiguousarray(self._drawn[:, :steps])

    def _states_after(self, primes):
        """Return the states after all but the last tokens of primes; None at the beginning."""
        lengths = np.array([len(each) - 1 for each in primes])
        if not lengths.any():
            return None
        tokens = np.zeros((lengths.max(), len(primes)), np.intp)
        for column, each, length in zip(tokens.T, primes, lengths, strict=True):
            column[:length] = each[:-1]
        state = self._engine.infer(tokens, None, lengths, last_only=True)[1]
        engine = self._engine
        return checked_states(state, len(primes), engine.layers, engine.parameters.dtype)


def _generator(seed):
    """Return NumPy's generator of a seed, or the one that it is."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed is {reprlib.repr(seed)}: {error}") from None
