"""Texts, cut into sequences that a network is trained on."""

import itertools
import re

import numpy as np

from crnn.base import checks
from crnn.text.vocabulary import Vocabulary

END = "\n"  # of a line


def builtin_text():
    """Return English prose that comes with every CPython: its own language reference.

    The topics of ``pydoc_data.topics`` in alphabetical order; about half a million characters,
    which differ a little between versions of Python.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def streams(tokens, batch_size):
    """Cut a text into parallel streams for next-symbol training.

    Stream b is the b-th of ``batch_size`` consecutive parts of the text, so that the state at the
    end of one chunk of time steps is the state at the start of the next.

    Parameters
    ----------
    tokens : array_like of int (n,)
    batch_size : int
        B.

    Returns
    -------
    x, targets : ndarray of int (T, B)
        ``targets`` is x one symbol later. T = (n - 1) // B; up to B - 1 symbols at the end are left
        over. Both are views of the tokens, so that a long text is there once.

    Raises
    ------
    ValueError
        If the text is too short to give every stream one step.

    Examples
    --------
    >>> x, targets = streams([0, 1, 2, 3, 4, 5, 6], batch_size=2)
    >>> x.T
    array([[0, 1, 2],
           [3, 4, 5]])
    >>> targets.T
    array([[1, 2, 3],
           [4, 5, 6]])
    """
    tokens = checks.whole_array(tokens, "tokens")
    batch_size = checks.whole_number(batch_size, "batch_size")
    steps = (tokens.size - 1) // batch_size
    if steps < 1:
        raise ValueError(
            f"a text of {tokens.size} characters is too short for {batch_size} streams;"
            f" {batch_size + 1} are needed"
        )
    rows = steps * batch_size
    x = tokens[:rows].reshape(batch_size, steps).T
    targets = tokens[1 : rows + 1].reshape(batch_size, steps).T
    return x, targets


def lines(text, vocabulary, *, skip_unknown=False):
    """Return the lines of a text as sequences of their own, those that are not empty.

    Each begins and ends with the end of a line, so that a model learns how lines begin, and when
    to stop.

    Parameters
    ----------
    text : str
    vocabulary : Vocabulary
        With the end of a line. Of words, a line is those between its spaces.
    skip_unknown : bool
        Leave out symbols that the vocabulary does not have, rather than refuse the text; and lines
        that have no other ones.

    Returns
    -------
    list of ndarray of `Vocabulary.smallest_dtype` (n + 2,)
        Read-only views of the numbers of the whole text: the end of a line is in the next one, too.

    Raises
    ------
    TypeError
        If text is no str, or vocabulary is none.
    ValueError
        If the text has a symbol that is not in the vocabulary, which is told with its line; or the
        vocabulary has no end of a line.

    Examples
    --------
    >>> from crnn.text import Vocabulary
    >>> [each.tolist() for each in lines("ab\\n\\na\\n", Vocabulary("\\nab"))]
    [[0, 1, 2, 0], [0, 1, 0]]
    """
    checks.option("text", text, str, "one str, with a line's end between lines")
    checks.option("vocabulary", vocabulary, Vocabulary, "a crnn.text.Vocabulary")
    if END not in vocabulary:
        raise ValueError(f"the vocabulary has no {END!r}, which begins and ends lines")
    end = vocabulary.encode([END]).item()
    try:
        tokens = vocabulary.encode(
            _symbols(END + text + END, vocabulary), skip_unknown=skip_unknown,
            dtype=vocabulary.smallest_dtype)
    except ValueError:
        _refuse_line(text, vocabulary)
    tokens.flags.writeable = False
    ends = np.flatnonzero(tokens == end)
    return [tokens[start : stop + 1] for start, stop in itertools.pairwise(ends)
            if stop > start + 1]


def _symbols(text, vocabulary):
    """Return what a text consists of: its characters, or its words and the ends of its lines."""
    return text if vocabulary.is_of_characters else re.findall(rf"\S+|{END}", text)


def _refuse_line(text, vocabulary):
    """Raise ValueError for the first line with a symbol that is not in the vocabulary."""
    for number, line in enumerate(text.split(END), 1):
        try:
            vocabulary.encode(_symbols(line, vocabulary))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
