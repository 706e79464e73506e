"""Texts that commands read: from files or standard input, in UTF-8 or another encoding."""

import io
import sys

from crnn.files.foreign import looks_like

STDIN = "-"
UTF_16_ZEROS = 0.1  # share of bytes: English in UTF-16 has half of them zero, other languages less
WESTERN = 0.25  # largest share of bytes that are no ASCII, in a language of the west
MARKS = {  # of byte order, the longer ones first
    b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def read_texts(paths, encoding=None):
    """Return the texts of several files, one after the other, each ended by a line's end."""
    texts = [read_text(path, encoding) for path in paths]
    ended = [each if each.endswith("\n") else each + "\n" for each in texts[:-1]]
    return "".join(ended) + texts[-1]


def read_text(path, encoding=None):
    """Return a text that is not empty; "-" is standard input.

    Line ends of any system become ``"\\n"``, and a mark of byte order is no character.
    """
    data = sys.stdin.buffer.read() if path == STDIN else _bytes_of(path)
    name = "standard input" if path == STDIN else path
    if encoding is None and data.count(0) > UTF_16_ZEROS * len(data):  # UTF-8 with zeros is rare
        raise ValueError(f"{name} is not UTF-8 text: it has zeros in it{advice(data)}")
    try:
        content = io.TextIOWrapper(io.BytesIO(data), encoding or "utf-8").read()
    except UnicodeError as error:
        why = f"{error.reason} at byte {error.start}" if hasattr(error, "start") else str(error)
        hint = advice(data) if encoding is None else ""
        raise ValueError(f"{name} is not {encoding or 'UTF-8'} text: {why}{hint}") from None
    content = content.removeprefix("\ufeff")
    if not content:
        raise ValueError(f"{name} is empty; a text is wanted")
    return content


def _bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def advice(data):
    """Return what to do about a text that is not in UTF-8, to go on a message with."""
    encoding, kind = likely_encoding(data), looks_like(data[:500])
    if encoding is None and kind is not None:
        return f"; it looks like {kind}"
    if encoding == "utf-8":
        return "; all else in it is UTF-8: mend it there"
    if encoding is None:
        return "; give its --encoding"
    return f"; it looks like {encoding}: give --encoding {encoding}"


def likely_encoding(data):
    """Return the encoding that a text, which is not in UTF-8, is likely to be in, or None.

    Examples
    --------
    >>> likely_encoding("naïve".encode("windows-1252"))
    'windows-1252'
    """
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return name
    if data.count(0) > UTF_16_ZEROS * len(data):
        return "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    text = data.decode(errors="replace")
    wrong, foreign = text.count("\ufffd"), sum(not each.isascii() for each in text)
    if foreign > 10 * wrong:
        return "utf-8"
    try:
        text = data.decode("windows-1252")
    except UnicodeDecodeError:
        return None
    is_text = all(each.isprintable() or each.isspace() for each in text)
    return "windows-1252" if is_text and foreign < WESTERN * len(text) else None


def with_line_ends(text):
    """Return a text whose lines all end in ``"\\n"``, as those of files that are read do."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
