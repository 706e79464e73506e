"""What X may be: everything is read into one array for each sequence.

The table of forms is in the docstring of `crnn.sklearn`.
"""

from collections.abc import Iterator, Mapping
from numbers import Number
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from crnn.base import checks
from crnn.text.vocabulary import Vocabulary

FLOATS = [np.float64, np.float32]
LARGEST_TOKEN = 1_000_000  # beyond it, networks would take gigabytes
NUMBERS, TOKENS, CHARACTERS, WORDS = "numbers", "tokens", "characters", "words"


class Sequences(NamedTuple):
    """X as it was read.

    Attributes
    ----------
    items : list
        Arrays (T_i, I) of floats or (T_i,) of tokens, or texts: a str, or a list of words.
    kind : {"numbers", "tokens", "characters", "words"}
    axes : int
        Those of the array that they came as, 2 or 3; 0 of a list.
    """

    items: list
    kind: str
    axes: int


class Form(NamedTuple):
    """What the sequences were that an estimator was fitted to.

    Attributes
    ----------
    kind : {"numbers", "tokens", "characters", "words"}
    width : int
        The inputs of the network: features, or tokens and one more for what is unknown.
    is_table : bool
        Whether they were an array (n, T), to whose T scikit-learn holds what comes later.
    vocabulary : Vocabulary or None
    """

    kind: str
    width: int
    is_table: bool
    vocabulary: object

    @property
    def has_tokens(self):
        return self.kind != NUMBERS

    @classmethod
    def of(cls, sequences):
        """Return the form of `Sequences`."""
        items, kind = sequences.items, sequences.kind
        if kind == NUMBERS:
            return cls(kind, items[0].shape[1], sequences.axes == 2, None)
        if kind == TOKENS:
            largest = max(int(each.max()) for each in items)
            if largest > LARGEST_TOKEN:
                raise ValueError(
                    f"X has the token {largest:,}; tokens are at most {LARGEST_TOKEN:,}, as each"
                    " number up to the largest has weights of its own. Number symbols from 0 on"
                    " (np.unique with return_inverse), and pass what measures something as floats")
            if largest > sum(map(len, items)):
                checks.warn(
                    "integers in a list of sequences are tokens, and here they have"
                    f" {largest + 1:,} rows of weights, more than there are steps; pass what"
                    " measures something as floats")
            return cls(kind, largest + 2, False, None)
        vocabulary = Vocabulary.of(
            "".join(items) if kind == CHARACTERS else [word for text in items for word in text])
        return cls(kind, len(vocabulary) + 1, False, vocabulary)

    def arrays(self, sequences):
        """Return what the network takes; an unknown token becomes the last one."""
        if self.kind == NUMBERS:
            return sequences.items
        unknown = self.width - 1
        if self.kind == TOKENS:
            return [np.minimum(each, unknown) for each in sequences.items]
        number = {symbol: k for k, symbol in enumerate(self.vocabulary.symbols)}
        return [np.array([number.get(symbol, unknown) for symbol in text], np.intp)
                for text in sequences.items]

    def check(self, sequences, estimator):
        """Raise ValueError if sequences are not such as an estimator was fitted to."""
        name = type(estimator).__name__
        if sequences.kind != self.kind:
            raise ValueError(
                f"X consists of {sequences.kind}, but {name} was fitted to {self.kind}")
        width = sequences.items[0].shape[1] if self.kind == NUMBERS else self.width
        if width != self.width:
            hint = ""
            if sequences.axes == 2:
                hint = ("; an array (n, T) is read as n series of one feature: one sequence (T, I)"
                        " is passed as [sequence]")
            raise ValueError(
                f"X has {width} features, but {name} is expecting {self.width} features as input"
                f"{hint}")


def read(X, estimator, form=None):
    """Return X as `Sequences`.

    Parameters
    ----------
    X : array_like or list
    estimator : BaseEstimator
        Without a form it gets its ``n_features_in_`` and ``feature_names_in_``, as far as X has
        them, and loses those of before.
    form : Form, optional
        That of the sequences that the estimator was fitted to; X is held to it.

    Returns
    -------
    Sequences

    Raises
    ------
    TypeError, ValueError, IndexError
        If X is none of the forms, has NaN, infinity, a token below 0 or a sequence without steps,
        or does not fit.
    """
    if form is None:
        vars(estimator).pop("n_features_in_", None)
        vars(estimator).pop("feature_names_in_", None)
    if isinstance(X, (Mapping, Iterator)) and not hasattr(X, "shape"):
        raise TypeError(f"X is a {type(X).__name__}; a list of sequences, or an array, is wanted")
    items = _as_list(X)
    if items is None or _is_array(items):
        sequences = _of_array(X, estimator, form)
    else:
        sequences = _of_list(items)
    if form is not None:
        form.check(sequences, estimator)
    elif sequences.kind == NUMBERS and sequences.axes != 2:
        estimator.n_features_in_ = sequences.items[0].shape[1]
    return sequences


def _as_list(X):
    """Return a list of sequences, given one, a tuple, or one axis of objects or strings."""
    if isinstance(X, (list, tuple)):
        return list(X)
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    return list(X) if getattr(X, "ndim", 0) == 1 and kind in ("O", "U", "T") else None


def _is_array(items):
    """Whether a list is another form of an array: of numbers, or of rows of floats."""
    if items and all(isinstance(each, Number) for each in items):
        return True
    if not all(isinstance(each, (list, tuple)) for each in items):
        return False
    if len({len(each) for each in items}) != 1:
        return False
    rows = [each for row in items for each in row]
    return all(isinstance(each, Number) for each in rows) and not all(
        isinstance(each, (int, np.integer)) for each in rows)


def _of_array(X, estimator, form):
    axes = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
    options = {"dtype": FLOATS, "input_name": "X", "estimator": estimator}
    try:
        if axes == 3:
            array = check_array(X, allow_nd=True, **options)
        elif form is None or form.is_table:
            array = validate_data(estimator, X, reset=form is None, dtype=FLOATS)[:, :, None]
        else:
            array = check_array(X, **options)[:, :, None]
    except ValueError as error:
        if "convert string" not in str(error):
            raise
        raise ValueError(
            f"{error}; texts are one axis: a list, or a column of a frame, frame['text']"
        ) from error
    if 0 in array.shape:
        raise ValueError(f"X has shape {array.shape}; sequences need steps and features")
    return Sequences(list(array), NUMBERS, axes)


def _of_list(items):
    if not items:
        raise ValueError("X has no sequence (0 sample(s))")
    if any(isinstance(each, str) for each in items):
        _check_texts(items, "X")
        _check_steps(items)
        return Sequences(items, CHARACTERS, 0)
    if _has_words(items):
        texts = [list(each) for each in items]
        for number, text in enumerate(texts):
            _check_texts(text, f"X[{number}]")
        _check_steps(texts)
        return Sequences(texts, WORDS, 0)
    return _of_numbers([checks.plain_array(each, f"X[{k}]") for k, each in enumerate(items)])


def _has_words(items):
    """Whether there is a str in the first sequence that has steps."""
    one_axis = (each for each in items
                if isinstance(each, (list, tuple)) or getattr(each, "ndim", 0) == 1)
    first = next((each for each in one_axis if len(each)), ())
    return any(isinstance(each, str) for each in first)


def _check_texts(texts, name):
    for number, each in enumerate(texts):
        if not isinstance(each, str):
            raise TypeError(
                f"{name}[{number}] is a {type(each).__name__}; a str, as others there, is wanted")


def _check_steps(items):
    for number, each in enumerate(items):
        if not len(each):
            raise ValueError(f"X[{number}] has no steps; leave such sequences out")


def _of_numbers(arrays):
    for number, array in enumerate(arrays):
        if array.dtype.kind == "c":
            raise ValueError(f"Complex data not supported; X[{number}] has {array.dtype}")
        if array.ndim not in (1, 2) or 0 in array.shape[1:]:
            raise ValueError(
                f"X[{number}] has shape {array.shape}; a sequence is an array (T, I) of numbers,"
                " (T,) of floats, or (T,) of integer tokens")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"X[{number}] has shape {array.shape}, and X[0] has {arrays[0].shape}; sequences"
                " may differ in their number of steps only")
    _check_steps(arrays)
    if arrays[0].ndim == 1 and all(each.dtype.kind in "iu" for each in arrays):
        return _of_tokens(arrays)
    items = [_floats(each, f"X[{k}]") for k, each in enumerate(arrays)]
    return Sequences(items, NUMBERS, 0)


def _of_tokens(arrays):
    arrays = [each.astype(np.intp) for each in arrays]
    for number, each in enumerate(arrays):
        if each.min() < 0:
            raise IndexError(
                f"X[{number}] has the token {each.min()}; tokens count from 0. Integers that are"
                " numbers are passed as floats")
    return Sequences(arrays, TOKENS, 0)


def _floats(array, name):
    """Return an array (T, I) of float32 or float64."""
    array = array if array.dtype in FLOATS else array.astype(np.float64)
    if not np.isfinite(array).all():
        found = "NaN" if np.isnan(array).any() else "infinity"
        raise ValueError(
            f"{name} contains {found}; fill such steps in, or leave them out, as sequences need not"
            " be of one length")
    return array if array.ndim == 2 else array[:, None]
