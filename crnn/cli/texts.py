"""Texts that commands read: from files or standard input, in UTF-8 or another encoding."""

import sys

from crnn.cli.screen import counted, warn
from crnn.files.encodings import decoded

STDIN = "-"


def read_texts(paths, encoding=None):
    """Return the texts of several files, one after the other, each ended by a line's end."""
    if list(paths).count(STDIN) > 1:
        raise ValueError("standard input, -, can be read once; leave out the others")
    texts = [read_text(path, encoding) for path in paths]
    ended = [each if each.endswith("\n") else each + "\n" for each in texts[:-1]]
    return "".join(ended) + texts[-1]


def read_text(path, encoding=None):
    """Return a text that is not empty; "-" is standard input.

    Line ends of any system become ``"\\n"``, and a mark of byte order is no character.
    """
    data = sys.stdin.buffer.read() if path == STDIN else _bytes_of(path)
    name = "standard input" if path == STDIN else path
    content = decoded(data, name, encoding, "--encoding")
    if not content:
        raise ValueError(f"{name} is empty; a text is wanted")
    return content


def _bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def with_line_ends(text):
    """Return a text whose lines all end in ``"\\n"``, as those of files that are read do."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def warn_of_unknown(unknown, symbols, vocabulary):
    """Say how much of a text is skipped: what `Vocabulary.unknown` found, if anything."""
    if unknown:
        warn(f"{sum(unknown.values()):,} of {counted(len(symbols), vocabulary.unit)} skipped, which"
             f" the model does not know: {listed(unknown)}")


def listed(unknown, limit=5):
    """Return as text what `Vocabulary.unknown` found.

    Examples
    --------
    >>> listed({"é": 3, "ß": 1})
    "'é' (3 times), 'ß'"
    """
    shown = [
        repr(symbol) + f" ({count} times)" * (count > 1)
        for symbol, count in list(unknown.items())[:limit]
    ]
    more = len(unknown) - len(shown)
    return ", ".join(shown) + f" and {more} more" * (more > 0)
