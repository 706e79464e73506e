"""Texts of files and of file names, as they may be shown."""

import unicodedata


def printable(text: str) -> str:
    r"""Return a text in which every character that a screen would obey is a Python escape.

    Control characters, line breaks, marks of direction, format characters, lone surrogates: what a
    file holds cannot clear the screen, end a line, or make one look like another. What is written
    in any language stays as it is.

    Examples
    --------
    >>> print(printable("naïve\x1b[2J\ncafé"))
    naïve\x1b[2J\ncafé
    """
    return "".join(each if is_printable(each) else escaped(each) for each in text)


def shortened(text: str, most: int) -> str:
    """Return a text without its middle where it has more characters than that.

    Examples
    --------
    >>> shortened("abcdefghijklmnopq", 9)
    'abc...opq'
    """
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def is_printable(character: str) -> bool:
    """Whether a character only shows: letters, digits, signs, and spaces that end no line."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def escaped(character: str) -> str:
    """Return the escape that Python writes a character as."""
    return character.encode("unicode_escape").decode()
