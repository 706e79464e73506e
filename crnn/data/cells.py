"""Numbers, labels and names as texts have them."""

import math
import reprlib

import numpy as np

MISSING = {"", "?", "nan", "-nan", "na", "n/a", "null", "none"}  # in any case
INT64 = range(-(2**63), 2**63)

_short = reprlib.Repr()
_short.maxstring = 40
shown = _short.repr


def number(cell):
    """Return the number that a text is, NaN for one that is missing, or None for anything else.

    Examples
    --------
    >>> [number(each) for each in ("1.5", " 2 ", "?", "", "inf", "1_000", "one")]
    [1.5, 2.0, nan, nan, None, None, None]
    """
    try:
        value = float(cell)
    except ValueError:
        return math.nan if is_missing(cell) else None
    return None if math.isinf(value) or "_" in cell else value


def is_missing(cell):
    """Whether a text says that there is no value."""
    return cell.strip().lower() in MISSING


def no_number(cell):
    """Return why a text is not a number, and what to do."""
    why = f"{shown(cell)} is not a number"
    if "," in cell:
        return f"{why}: write decimals with a point"
    try:
        float(cell)
    except ValueError:
        return f"{why}; what is missing is written as ?, NaN or nothing"
    return f"{shown(cell)} is not a finite number; what is missing is written as ?, NaN or nothing"


def listed(names, most=20):
    """Return names as a text for messages."""
    return ", ".join(map(shown, names[:most])) + f" and {len(names) - most} more" * (
        len(names) > most)


def labels_of(texts):
    """Return labels as an array: of integers, if all of them are, and otherwise of strings.

    Examples
    --------
    >>> labels_of(["1", "10"]), labels_of(["1", "01"])
    (array([ 1, 10]), array(['1', '01'], dtype='<U2'))
    """
    if all(_is_whole(each) for each in set(texts)):
        return np.array([int(each) for each in texts], np.int64)
    return np.array(texts)


def _is_whole(text):
    try:
        return str(int(text)) == text and int(text) in INT64
    except ValueError:
        return False
