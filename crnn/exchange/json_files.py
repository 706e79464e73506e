"""Networks that other programs keep as JSON: reading a file, and numbers in it.

A file is taken into memory whole, so that a large one is refused; what it says of sizes is only
compared with the lists that are there.
"""

import codecs
import json
import os
import reprlib
from itertools import chain

import numpy as np

from crnn.files import container
from crnn.files.disk import bad, opened
from crnn.files.foreign import looks_like
from crnn.files.printable import printable

LARGEST = 100_000_000  # bytes
MOST_LAYERS = 1000  # as for `crnn.Sequential`
LARGEST_NUMBER = float(np.finfo(np.float32).max)


def read_object(path, kind):
    """Return what a file of JSON holds, if it is an object.

    Parameters
    ----------
    path : str or os.PathLike
    kind : str
        What the file should be, for error messages.

    Raises
    ------
    FormatError
        It is none, is too large, or is not strict JSON: a key twice in an object, NaN, infinity.
    OSError
        It cannot be opened.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(500).removeprefix(codecs.BOM_UTF8)
        if not start.lstrip().startswith(b"{"):
            looks = looks_like(start)
            hint = "" if looks is None or not start else f": it looks like {looks}"
            raise bad(path, f"is not {kind}, which is a JSON object{hint}")
        if size > LARGEST:
            raise bad(path, f"has {size} bytes; crnn reads {kind} of up to {LARGEST}")
        data = start + file.read(LARGEST)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise bad(path, f"is not {kind}: it is not UTF-8: {error.reason} at byte {error.start}"
                  ) from None
    return container.read_json(path, text, "content")


def entry(path, holder, key, where, wanted, is_wanted):
    """Return what an object has by a key, or refuse it, saying what was wanted.

    Raises
    ------
    FormatError
        It is not there, or not as it should be.
    """
    if not isinstance(holder, dict):
        raise bad(path, f"has {reprlib.repr(holder)} as {where}; an object is wanted")
    if key not in holder:
        raise bad(path, f"has no {key!r} in {where}; {wanted} is wanted")
    value = holder[key]
    if not is_wanted(value):
        raise bad(path, f"has {reprlib.repr(value)} as {key!r} in {where}; {wanted} is wanted")
    return value


def size(path, holder, key, where, most=LARGEST):
    """Return a whole number from 1 to ``most`` that an object has by a key, as `entry`."""
    return entry(path, holder, key, where, f"a whole number from 1 to {most}",
                 lambda value: type(value) is int and 0 < value <= most)


def text(path, holder, key, where):
    """Return a text that an object has by a key, as `entry`."""
    return entry(path, holder, key, where, "a text", lambda value: isinstance(value, str))


def array(path, value, shape, what):
    """Return nested lists of numbers as a float64 array.

    Parameters
    ----------
    path : str or os.PathLike
    value : object
        From JSON.
    shape : tuple of int
        The only one that fits.
    what : str
        For error messages.

    Raises
    ------
    FormatError
        It is of another shape, or has something else than numbers that float32 holds.
    """
    level = [value]
    for length in shape:
        wrong = [each for each in level if not isinstance(each, list) or len(each) != length]
        if wrong:
            found = f"a list of {len(wrong[0])}" if isinstance(wrong[0], list) else (
                reprlib.repr(wrong[0]))
            raise bad(path, f"has {found} in {what}, whose shape should be {shape}")
        level = list(chain.from_iterable(level))
    for number in level:
        if type(number) not in (int, float) or not abs(number) <= LARGEST_NUMBER:
            raise bad(path, f"has {reprlib.repr(number)} in {what}; numbers that float32 holds are"
                      " wanted")
    return np.array(level, float).reshape(shape)


def texts(path, about, prefix):
    """Return what a file says about a network as texts that are safe to show, for its metadata.

    Parameters
    ----------
    path : str or os.PathLike
    about : dict
        Texts, which stay what they are, and other things, which become JSON.
    prefix : str
        What keys of the metadata begin with.

    Examples
    --------
    >>> texts("a.nam", {"name": "clean", "gain": 0.5}, "nam.")
    {'nam.name': 'clean', 'nam.gain': '0.5'}

    Raises
    ------
    FormatError
        They are nested too deep.
    """
    found = {}
    for key, value in about.items():
        try:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        except RecursionError:
            raise bad(path, f"has {reprlib.repr(key)} nested too deep") from None
        found[f"{prefix}{printable(key)}"] = printable(text)
    return found
