"""Character models: vocabulary, streams over a text, sampling, and their files."""

import numpy as np

from crnn.base import checks
from crnn.files import kinds
from crnn.files.disk import FormatError
from crnn.network.network import Network
from crnn.network.saving import network_from


class Vocabulary:
    """The characters that a model knows, numbered from 0 in the order given.

    Parameters
    ----------
    symbols : str
        Each character once.

    Raises
    ------
    TypeError, ValueError
        If symbols is no text, is empty, or has a character twice.

    Examples
    --------
    >>> vocabulary = Vocabulary.of("hello")
    >>> vocabulary.symbols
    'ehlo'
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    """

    def __init__(self, symbols):
        if not isinstance(symbols, str):
            raise TypeError(f"symbols is a {type(symbols).__name__}; a str is wanted")
        if not symbols or len(set(symbols)) != len(symbols):
            raise ValueError("symbols must be characters, each of them once, and at least one")
        self.symbols = symbols
        self._number = {symbol: number for number, symbol in enumerate(symbols)}

    @classmethod
    def of(cls, text):
        """Return the vocabulary of a text: its characters in the order of their code points."""
        return cls("".join(sorted(set(text))))

    def __len__(self):
        return len(self.symbols)

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self):
        return hash(self.symbols)

    def __repr__(self):
        return f"Vocabulary({self.symbols!r})"

    def encode(self, text):
        """Return the numbers of a text's characters.

        Parameters
        ----------
        text : str

        Returns
        -------
        ndarray of intp (len(text),)

        Raises
        ------
        ValueError
            If the text has a character that is not in the vocabulary.
        """
        try:
            return np.array([self._number[symbol] for symbol in text], dtype=np.intp)
        except KeyError as error:
            unknown = error.args[0]
        position = text.index(unknown)
        raise ValueError(
            f"the character {unknown!r} (number {position + 1} of the text) is not among the"
            f" {len(self)} that the model knows"
        )

    def decode(self, tokens):
        """Return the text that these numbers stand for.

        Raises
        ------
        IndexError
            If a number is not in the vocabulary.
        """
        numbers = checks.tokens(checks.whole_array(tokens, "tokens"), len(self), "tokens")
        return "".join(self.symbols[number] for number in numbers.ravel())


def builtin_text():
    """Return English prose that comes with every CPython: its own language reference.

    The topics of ``pydoc_data.topics`` in alphabetical order; about half a million characters,
    which differ a little between versions of Python.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def streams(tokens, batch_size):
    """Cut a text into parallel streams for next-character training.

    Stream b is the b-th of ``batch_size`` consecutive parts of the text, so that the state at the
    end of one chunk of time steps is the state at the start of the next.

    Parameters
    ----------
    tokens : array_like of int (n,)
    batch_size : int
        B.

    Returns
    -------
    x, targets : ndarray of intp (T, B)
        ``targets`` is x one character later. T = (n - 1) // B; up to B - 1 characters at the end
        are left over.

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
    tokens = np.asarray(checks.whole_array(tokens, "tokens"), np.intp)
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
    return np.ascontiguousarray(x), np.ascontiguousarray(targets)


def generate(net, vocabulary, *, prime="", temperature=1.0, top_k=None, top_p=None, seed=None):
    """Yield characters that the model writes, one after another, without end.

    Parameters
    ----------
    net : RNN, GRU or LSTM
        Trained on numbers of the vocabulary, with as many inputs as outputs. Its own state is not
        touched.
    vocabulary : Vocabulary
    prime : str
        The text that is continued. Without one the model starts after a line's end.
    temperature : float
        Logits are divided by it: below 1 the text is safer, above 1 wilder; 0 always takes the
        likeliest character.
    top_k : int, optional
        Choose among the k likeliest only.
    top_p : float, optional
        Choose among the likeliest that together have this probability (Holtzman et al. 2020).
    seed : int, optional
        The same seed gives the same text.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above or the prime has an unknown character.
    """
    checks.option("net", net, Network, "a network")
    if not net.input_size == net.output_size == len(vocabulary):
        raise ValueError(
            f"the network has {net.input_size} inputs and {net.output_size} outputs; the vocabulary"
            f" has {len(vocabulary)} characters"
        )
    chooser = _Chooser(temperature, top_k, top_p, seed)
    first = "\n" if "\n" in vocabulary.symbols else vocabulary.symbols[0]
    tokens = vocabulary.encode(prime or first)
    return _characters(net.stream(), vocabulary, tokens, chooser)


def _characters(stream, vocabulary, tokens, chooser):
    for token in tokens:
        logits = stream.step(token)
    while True:
        token = chooser.choose(logits)
        yield vocabulary.symbols[token]
        logits = stream.step(token, out=logits)


def sample(net, vocabulary, length, **options):
    """Return ``length`` characters of `generate`; the options are its own.

    Examples
    --------
    >>> import crnn
    >>> vocabulary = Vocabulary("ab")
    >>> len(sample(crnn.RNN(2, 5, 2, seed=0), vocabulary, 10, seed=0))
    10
    """
    length = checks.whole_number(length, "length", minimum=0)
    characters = generate(net, vocabulary, **options)
    return "".join(next(characters) for _ in range(length))


class _Chooser:
    """Draws a token from logits."""

    def __init__(self, temperature, top_k, top_p, seed):
        if temperature != 0:
            temperature = checks.positive_number(temperature, "temperature")
        if top_p is not None and checks.positive_number(top_p, "top_p") > 1:
            raise ValueError(f"top_p is a probability, got {top_p}")
        self._temperature = temperature
        self._top_k = None if top_k is None else checks.whole_number(top_k, "top_k")
        self._top_p = top_p
        self._generator = np.random.default_rng(seed)

    def choose(self, logits):
        if not np.isfinite(logits).all():
            raise FloatingPointError("the network's outputs are not finite; was its training?")
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


def save_model(path, net, vocabulary, training):
    """Write a character model: network, vocabulary, and a dict that says how it was trained."""
    kinds.write(path, net.parameters, {
        "vocabulary": vocabulary.symbols, "training": training, "config": net.config(),
    })


def load_model(path):
    """Return network, vocabulary and the dict given to `save_model`.

    Raises
    ------
    FormatError
        If the file is not a whole character model.
    OSError
        If it cannot be read.
    """
    return model_from(path, kinds.read(path, kinds.MODEL))


def model_from(path, content):
    """Return what `load_model` does, of what `crnn.files.kinds.read` returned."""
    net, training = network_from(path, content), content.header["training"]
    try:
        vocabulary = Vocabulary(content.header["vocabulary"])
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: {error}") from None
    if not isinstance(training, dict):
        raise FormatError(f"{path}: the account of training is not an object")
    if not net.input_size == net.output_size == len(vocabulary):
        raise FormatError(
            f"{path}: {len(vocabulary)} characters do not fit {net.input_size} inputs and"
            f" {net.output_size} outputs"
        )
    return net, vocabulary, training
