"""What a model writes."""

import math
import reprlib
from collections.abc import Iterable

import numpy as np

from crnn.base import checks
from crnn.text.sequences import END
from crnn.text.writer import Writer


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
        Logits (of a network that ends in softmax, what this is given) are divided by it: below 1
        the text is safer, above 1 wilder; 0 always takes the likeliest symbol.
    top_k : int, optional
        Choose among the k likeliest only.
    top_p : float, optional
        Choose among the likeliest that together have this probability (Holtzman et al. 2020).
    seed : int, sequence of int or numpy.random.Generator, optional
        The same seed gives the same text. Of a generator one number is drawn for each symbol.

    Yields
    ------
    str

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above or the prime has an unknown symbol.
    FloatingPointError
        Of the next symbol, if the network's outputs for it are not finite.

    Notes
    -----
    Up to 64 symbols are written ahead of the one that is asked for, in less than a millisecond and
    without the GIL. Parameters that change meanwhile count for those that are written after them.

    Examples
    --------
    >>> import itertools
    >>> import crnn
    >>> vocabulary = crnn.text.Vocabulary("ab")
    >>> symbols = generate(crnn.GRU(2, 5, 2, seed=0), vocabulary, prime="abba", seed=1)
    >>> "".join(itertools.islice(symbols, 30)) == sample(
    ...     crnn.GRU(2, 5, 2, seed=0), vocabulary, 30, prime="abba", seed=1)
    True
    """
    writer = Writer(net, vocabulary, [seed], temperature, top_k, top_p)
    return writer.symbols(_tokens(vocabulary, prime), math.inf)


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
    longest = checks.whole_number(longest, "longest", minimum=0)
    writer = Writer(net, vocabulary, [seed], temperature, top_k, top_p)
    if END not in vocabulary:
        raise ValueError(f"the vocabulary has no {END!r}, which ends the lines of a model of lines")
    tokens = _encoded(vocabulary, prime)
    if vocabulary.encode([END]).item() in tokens:
        raise ValueError(f"the prime has {END!r} in it; it is what each line begins with")
    return _lines(writer, vocabulary, tokens, longest)


def _lines(writer, vocabulary, prime, longest):
    begun = [vocabulary.symbols[token] for token in prime]
    tokens = np.concatenate([vocabulary.encode([END]), prime])
    while True:
        line = [*begun, *writer.symbols(tokens, longest, END)]
        if line and line[-1] == END:
            line.pop()
        yield vocabulary.joined(line)


def sample(
    net, vocabulary, length, *, prime="", temperature=1.0, top_k=None, top_p=None, seed=None,
):
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
    writer = Writer(net, vocabulary, [seed], temperature, top_k, top_p)
    return writer.texts([_tokens(vocabulary, prime)], length)[0]


def sample_many(
    net, vocabulary, length, primes, *, temperature=1.0, top_k=None, top_p=None, seed=None,
):
    """Return a text for each prime, all written at once: faster than one after the other.

    Parameters
    ----------
    net, vocabulary, length
        As for `sample`.
    primes : list of str, or list of list of str
        The texts that are continued, of any lengths; ``[""] * 100`` for a hundred without one.
    temperature, top_k, top_p
        As for `generate`.
    seed : int, optional
        The same seed gives the same texts: text number k is what `sample` writes with
        ``seed=[seed, k]``, however many there are.

    Returns
    -------
    list of str, or of a vocabulary of words list of list of str

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above or a prime has an unknown symbol.
    FloatingPointError
        If the network's outputs are not finite.

    Examples
    --------
    >>> import crnn
    >>> net, vocabulary = crnn.RNN(2, 5, 2, seed=0), crnn.text.Vocabulary("ab")
    >>> texts = sample_many(net, vocabulary, 10, ["a", "bab"], seed=7)
    >>> texts[1] == sample(net, vocabulary, 10, prime="bab", seed=[7, 1])
    True
    """
    length = checks.whole_number(length, "length", minimum=0)
    if isinstance(primes, str) or not isinstance(primes, Iterable):
        raise TypeError(
            f"primes is {reprlib.repr(primes)}; a list of texts is wanted, such as [''] * 5")
    primes = list(primes)
    seeds = [None] * len(primes)
    if seed is not None:
        seed = checks.whole_number(seed, "seed", minimum=0)
        seeds = [[seed, number] for number in range(len(primes))]
    writer = Writer(net, vocabulary, seeds, temperature, top_k, top_p)
    return writer.texts(
        [_tokens(vocabulary, prime, f"primes[{k}]") for k, prime in enumerate(primes)], length)


def _tokens(vocabulary, prime, name="prime"):
    """Return the numbers of a text that is continued, which begins with something."""
    tokens = _encoded(vocabulary, prime, name)
    if len(tokens):
        return tokens
    return vocabulary.encode([END if END in vocabulary else vocabulary.symbols[0]])


def _encoded(vocabulary, prime, name="prime"):
    """Return the numbers of a text, none of "" or None, whatever it consists of."""
    is_empty = prime is None or (isinstance(prime, str) and not prime)
    try:
        return vocabulary.encode([] if is_empty else prime)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
