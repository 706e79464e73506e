"""What commands show: nothing that comes from a file, or a file's name, rules the screen."""

import sys

from crnn.files.printable import escaped, is_printable, printable

JOINERS = "\u200c\u200d"  # which Persian and Hindi are written with, and many emoji


def say(line=""):
    """Print one line, whatever is in it."""
    print(printable(line), flush=True)


def quote(line):
    """Print a line that a model has written, as such."""
    print("    | " + harmless(line), flush=True)


def counted(count, noun):
    """Return a count with its noun, as in "1 line" and "2,000 lines"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def warn(line):
    """Print one line beside what was asked for, on standard error."""
    print(printable(f"crnn: {line}"), file=sys.stderr)


def write(text):
    """Print a text that a model writes: exactly, or on a terminal so that it can do no harm."""
    print(harmless(text) if sys.stdout.isatty() else text, end="")


def harmless(text):
    """Return a text with escapes for all that is neither a character to see, line end nor tab."""
    return "".join(
        each if is_printable(each) or each in "\n\t" + JOINERS else escaped(each) for each in text
    )
