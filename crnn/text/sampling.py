"""What a model writes."""

import itertools
import math
from numbers import Real

import numpy as np

from crnn.base import checks
from crnn.text.sequences import END
from crnn.text.vocabulary import check_fits


def generate(net, vocabulary, *, prime="", temperature=1.0, top_k=None, top_p=None, seed=None):
    """Yield symbols that the model writes, one after another, without end.

    Parameters
    ----------
    net : RNN, GRU or LSTM
        Trained on numbers of the vocabulary, with as many inputs as outputs. Its own state is not
        touched.
    vocabulary : Vocabulary
    prime : str, or list of str
        The text that is continued. Without one the model starts after a line's end, or where there
        is none after the vocabulary's first symbol.
    temperature : float
        Logits (of a network that ends in softmax, logarithms of its outputs) are divided by it:
        below 1 the text is safer, above 1 wilder; 0 always takes the likeliest symbol.
    top_k : int, optional
        Choose among the k likeliest only.
    top_p : float, optional
        Choose among the likeliest that together have this probability (Holtzman et al. 2020).
    seed : int, optional
        The same seed gives the same text.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above or the prime has an unknown symbol.
    """
    check_fits(net, vocabulary)
    chooser = _Chooser(net, temperature, top_k, top_p, seed)
    first = END if END in vocabulary else vocabulary.symbols[0]
    return _symbols(net.stream(), vocabulary, vocabulary.encode(prime or [first]), chooser)


def generate_lines(
    net, vocabulary, *, prime="", longest=1000, temperature=1.0, top_k=None, top_p=None, seed=None,
):
    """Yield lines that the model writes, without their ends, one after another, without end.

    Parameters
    ----------
    net, vocabulary
        As for `generate`; trained on `lines`, so that the vocabulary has the end of a line.
    prime : str, or list of str
        What each line begins with.
    longest : int
        Symbols after which a line ends where the model goes on.
    temperature, top_k, top_p, seed
        As for `generate`.

    Yields
    ------
    str, or of a vocabulary of words list of str

    Raises
    ------
    TypeError, ValueError
        As `generate`; and if the vocabulary has no end of a line, or the prime has one.

    Examples
    --------
    >>> import crnn
    >>> vocabulary = crnn.text.Vocabulary("\\nab")
    >>> lines = generate_lines(crnn.GRU(3, 5, 3, seed=0), vocabulary, prime="ab", seed=0)
    >>> next(lines).startswith("ab"), next(lines).startswith("ab")
    (True, True)
    """
    check_fits(net, vocabulary)
    longest = checks.whole_number(longest, "longest", minimum=0)
    chooser = _Chooser(net, temperature, top_k, top_p, seed)
    if END not in vocabulary:
        raise ValueError(f"the vocabulary has no {END!r}, which ends the lines of a model of lines")
    if END in prime:
        raise ValueError(f"the prime has {END!r} in it; it is what each line begins with")
    prime = vocabulary.encode(prime or [])
    return _lines(net.stream(), vocabulary, prime, chooser, longest)


def _lines(stream, vocabulary, prime, chooser, longest):
    tokens = [*vocabulary.encode([END]), *prime]
    while True:
        stream.reset()
        symbols = itertools.islice(_symbols(stream, vocabulary, tokens, chooser), longest)
        written = itertools.takewhile(lambda symbol: symbol != END, symbols)
        yield vocabulary.joined([*(vocabulary.symbols[token] for token in prime), *written])


def _symbols(stream, vocabulary, tokens, chooser):
    for token in tokens:
        outputs = stream.step(token)
    while True:
        token = chooser.choose(outputs)
        yield vocabulary.symbols[token]
        outputs = stream.step(token, out=outputs)


def sample(net, vocabulary, length, **options):
    """Return ``length`` symbols of `generate`; the options are its own.

    Returns
    -------
    str, or of a vocabulary of words list of str

    Examples
    --------
    >>> import crnn
    >>> vocabulary = crnn.text.Vocabulary("ab")
    >>> len(sample(crnn.RNN(2, 5, 2, seed=0), vocabulary, 10, seed=0))
    10
    """
    length = checks.whole_number(length, "length", minimum=0)
    written = list(itertools.islice(generate(net, vocabulary, **options), length))
    return vocabulary.joined(written)


class _Chooser:
    """Draws a token from a network's outputs, which are logits or, after softmax, probabilities."""

    def __init__(self, net, temperature, top_k, top_p, seed):
        temperature = checks.option(
            "temperature", temperature, Real, "a finite number of at least 0",
            lambda each: 0 <= each < math.inf)
        if top_p is not None and checks.positive_number(top_p, "top_p") > 1:
            raise ValueError(f"top_p is a probability, got {top_p}")
        self._temperature = temperature
        self._top_k = None if top_k is None else checks.whole_number(top_k, "top_k")
        self._top_p = top_p
        self._generator = np.random.default_rng(seed)
        self._takes_probabilities = net.engine.readout.activation == "softmax"

    def choose(self, outputs):
        if not np.isfinite(outputs).all():
            raise FloatingPointError("the network's outputs are not finite; was its training?")
        logits = outputs
        if self._takes_probabilities:  # one that was rounded to 0 is as good as impossible
            logits = np.log(np.maximum(outputs, np.finfo(outputs.dtype).tiny))
        if self._temperature == 0:
            return int(logits.argmax())
        # likeliest first; the kind of sort makes ties fall the same way everywhere
        order = np.argsort(-logits, kind="stable")[: self._top_k]
        with np.errstate(over="ignore"):  # far below the largest is -inf: probability 0
            below = (logits[order].astype(np.float64) - logits[order[0]]) / self._temperature
        probabilities = np.exp(below)
        probabilities /= probabilities.sum()
        if self._top_p is not None:
            before = np.cumsum(probabilities) - probabilities
            probabilities = probabilities[before < self._top_p]
            probabilities /= probabilities.sum()
        return int(order[self._generator.choice(len(probabilities), p=probabilities)])
