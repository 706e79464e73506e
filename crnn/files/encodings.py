"""Bytes of files as text: in UTF-8, or in another encoding that somebody names."""

import io

from crnn.files.disk import FormatError
from crnn.files.foreign import looks_like

UTF_16_ZEROS = 0.1  # share of bytes: English in UTF-16 has half of them zero, other languages less
WESTERN = 0.25  # largest share of bytes that are no ASCII, in a language of the west
MARKS = {  # of byte order, the longer ones first
    b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def decoded(data: bytes, name: str, encoding: str | None = None, option: str = "encoding") -> str:
    r"""Return bytes as text; UTF-8 without an encoding.

    Line ends of any system become ``"\n"``, and a mark of byte order is no character.

    Parameters
    ----------
    data : bytes
    name : str
        Where they are from, for the message.
    encoding : str, optional
    option : str
        What the caller's users name an encoding by, for the message.

    Raises
    ------
    FormatError
        They are something else; the message says what, as far as it shows, and what to do.
    LookupError
        There is no such encoding.
    """
    if encoding is None and data.count(0) > UTF_16_ZEROS * len(data):  # UTF-8 with zeros is rare
        hint = _advice(data, option)
        raise FormatError(f"{name} is not UTF-8 text: it has zeros in it{hint}")
    try:
        content = io.TextIOWrapper(io.BytesIO(data), encoding or "utf-8").read()
    except UnicodeError as error:
        why = f"{error.reason} at byte {error.start}" if hasattr(error, "start") else str(error)
        hint = _advice(data, option) if encoding is None else ""
        raise FormatError(f"{name} is not {encoding or 'UTF-8'} text: {why}{hint}") from None
    return content.removeprefix("\ufeff")


def _advice(data: bytes, option: str) -> str:
    """Return what to do about a text that is not in UTF-8, to go on a message with."""
    encoding, kind = likely_encoding(data), looks_like(data[:500])
    if encoding is None and kind is not None:
        return f"; it looks like {kind}"
    if encoding == "utf-8":
        return "; all else in it is UTF-8: mend it there"
    if encoding is None:
        return f"; give its {option}"
    return f"; it looks like {encoding}: give {option} {encoding}"


def likely_encoding(data: bytes) -> str | None:
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
