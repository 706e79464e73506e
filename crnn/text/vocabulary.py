"""What texts consist of, characters or words, and their numbers."""

import reprlib
from collections.abc import Iterable

import numpy as np

from crnn.base import checks
from crnn.network.network import Network

BLOCK = 1 << 13  # characters that are numbered together: what that takes is soon free again


class Vocabulary:
    """The characters or words that a model knows, numbered from 0 in the order given.

    Parameters
    ----------
    symbols : str or sequence of str
        Each character once; or each word, event, or whatever a text is a list of, once.

    Attributes
    ----------
    symbols : str or tuple of str

    Raises
    ------
    TypeError, ValueError
        If symbols is neither a text nor texts, is empty, or has a symbol twice.

    Examples
    --------
    >>> vocabulary = Vocabulary.of("hello")
    >>> vocabulary.symbols
    'ehlo'
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    >>> words = Vocabulary(["left", "right", "stop"])
    >>> words.encode(["right", "right", "stop"])
    array([1, 1, 2])
    >>> words.decode([0, 2])
    ['left', 'stop']
    """

    def __init__(self, symbols):
        if isinstance(symbols, (list, tuple)):
            symbols = tuple(symbols)
            wrong = [each for each in symbols if not isinstance(each, str)]
            if wrong:
                raise TypeError(f"a symbol is {wrong[0]!r}; each is to be a str")
        elif not isinstance(symbols, str):
            raise TypeError(
                f"symbols is a {type(symbols).__name__}; a str of characters, or a list of words,"
                " is wanted"
            )
        self._number = {symbol: number for number, symbol in enumerate(symbols)}
        if not symbols or "" in self._number or len(self._number) != len(symbols):
            raise ValueError(
                "symbols must be characters or words, each of them once, and at least one; none is"
                " empty"
            )
        self.symbols = symbols
        if self.is_of_characters:
            self._code_points = _code_points(symbols)
            self._order = np.argsort(self._code_points)
            self._points = self._code_points[self._order]

    @classmethod
    def of(cls, text):
        """Return the vocabulary of a text: what it consists of, in order.

        Parameters
        ----------
        text : str or sequence of str
            Characters are in the order of their code points, and words in the order of their
            characters.

        Raises
        ------
        TypeError, ValueError
            If text is neither, or is empty.
        """
        symbols = sorted(set(text if isinstance(text, str) else _checked_list(text)))
        return cls("".join(symbols) if isinstance(text, str) else symbols)

    @property
    def is_of_characters(self):
        """Whether texts are strings; of a vocabulary of words they are lists of words."""
        return isinstance(self.symbols, str)

    @property
    def unit(self):
        """What texts consist of: "character" or "word"."""
        return "character" if self.is_of_characters else "word"

    def __len__(self):
        return len(self.symbols)

    def __contains__(self, symbol):
        return symbol in self._number

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self):
        return hash(self.symbols)

    def __repr__(self):
        symbols = self.symbols if self.is_of_characters else list(self.symbols)
        return f"Vocabulary({symbols!r})"

    @property
    def smallest_dtype(self):
        """The integers that take least memory and have room for all numbers."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text, *, skip_unknown=False, dtype=np.intp):
        """Return the numbers of a text's symbols.

        Parameters
        ----------
        text : str or sequence of str
            A text of characters; or the words of a text.
        skip_unknown : bool
            Leave out what is not in the vocabulary, rather than refuse the text.
        dtype : numpy.dtype
            Integers; of a long text, `smallest_dtype` takes an eighth of the memory.

        Returns
        -------
        ndarray of dtype (n,)

        Raises
        ------
        TypeError
            If text is none.
        ValueError
            If the text has a symbol that is not in the vocabulary, or dtype has no room for the
            vocabulary's numbers.
        """
        dtype = np.dtype(dtype)
        if dtype.kind not in "iu" or np.iinfo(dtype).max < len(self) - 1:
            raise ValueError(
                f"dtype is {dtype}; integers with room for {len(self)} numbers are wanted, such as"
                f" {self.smallest_dtype}"
            )
        if isinstance(text, str) and self.is_of_characters:
            return self._encoded_characters(text, skip_unknown, dtype)
        if isinstance(text, str):
            raise TypeError(
                "text is a str; of this vocabulary of words a text is a list of them, such as"
                " text.split()"
            )
        text = _checked_list(text)
        if skip_unknown:
            text = [each for each in text if each in self._number]
        try:
            return np.fromiter((self._number[each] for each in text), dtype, len(text))
        except KeyError as error:
            raise self._unknown(error.args[0], text.index(error.args[0])) from None

    def _encoded_characters(self, text, skip_unknown, dtype):
        tokens, filled = np.empty(len(text), dtype), 0
        for start in range(0, len(text), BLOCK):
            points = _code_points(text[start : start + BLOCK])
            places = np.searchsorted(self._points, points)
            known = self._points[np.minimum(places, len(self) - 1)] == points
            if not known.all():
                if not skip_unknown:
                    position = start + int(known.argmin())
                    raise self._unknown(text[position], position)
                places = places[known]
            tokens[filled : filled + len(places)] = self._order[places]
            filled += len(places)
        return tokens[:filled]

    def _unknown(self, symbol, position):
        return ValueError(
            f"the {self.unit} {symbol!r} (number {position + 1} of the text) is not among the"
            f" {len(self)} that the model knows"
        )

    def unknown(self, text):
        """Return how often a text has each symbol that is not in the vocabulary.

        Returns
        -------
        dict of str to int
            In the order in which they come first.

        Examples
        --------
        >>> Vocabulary("abc").unknown("daddy")
        {'d': 3, 'y': 1}
        """
        unknown, counts = set(text) - self._number.keys(), {}
        for symbol in text if unknown else ():
            if symbol in unknown:
                counts[symbol] = counts.get(symbol, 0) + 1
        return counts

    def decode(self, tokens):
        """Return the text that these numbers stand for: a str, or of words a list of them.

        Raises
        ------
        IndexError
            If a number is not in the vocabulary.
        """
        numbers = checks.tokens(checks.whole_array(tokens, "tokens"), len(self), "tokens").ravel()
        if self.is_of_characters:
            return self._code_points[numbers].tobytes().decode("utf-32-le", "surrogatepass")
        return [self.symbols[number] for number in numbers.tolist()]

    def joined(self, symbols):
        """Return a list of symbols as a text."""
        return "".join(symbols) if self.is_of_characters else symbols


def _checked_list(text):
    """Return a text of words as a list."""
    if not isinstance(text, Iterable):
        raise TypeError(f"text is {text!r}; a str or a list of them is wanted")
    symbols = list(text)
    for each in symbols:
        if not isinstance(each, str):
            hint = "; of several texts take one list of all their words" if isinstance(
                each, (list, tuple)) else ""
            raise TypeError(f"text has {reprlib.repr(each)} in it; symbols are each a str{hint}")
    return symbols


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def check_fits(net, vocabulary):
    """Raise TypeError or ValueError if a network is not one of a vocabulary's symbols."""
    checks.option("net", net, Network, "a network")
    checks.option("vocabulary", vocabulary, Vocabulary, "a crnn.text.Vocabulary")
    if not net.input_size == net.output_size == len(vocabulary):
        raise ValueError(
            f"the network has {net.input_size} inputs and {net.output_size} outputs; the vocabulary"
            f" has {len(vocabulary)} {vocabulary.unit}s"
        )
    activation = net.engine.readout.activation
    if activation not in ("linear", "softmax"):
        raise ValueError(
            f"the network's last layer has the activation {activation!r}; that of a model that"
            " writes has 'softmax', or none"
        )
