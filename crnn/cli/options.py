"""What argparse calls to read options, and how its errors and the defaults in help are shown."""

import argparse
import math

from crnn.files.printable import printable
from crnn.network.configuration import MOST_LAYERS


class Parser(argparse.ArgumentParser):
    """Has no file's name, which a shell may have put for ``*``, rule the screen."""

    def error(self, message):
        super().error(printable(message))


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of an option that has one, and examples in their lines."""

    def _fill_text(self, text, width, indent):
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)

    def _get_help_string(self, action):
        if action.default is None or action.default is False or action.default == "":
            return action.help
        return super()._get_help_string(action)


def given_again(options, *names):
    """Return the words that give a command those options that another one was given."""
    return [word for name in names if getattr(options, name) is not None
            for word in (f"--{name}", getattr(options, name))]


def encoding(text):
    """Read the name of an encoding of texts."""
    try:
        "".encode(text)
    except LookupError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an encoding of texts; utf-16 and windows-1252 are, for instance"
        ) from None
    return text


def whole(text):
    """Read a whole number of at least 0."""
    return _number(text, int, "a whole number of at least 0", lambda value: value >= 0)


def count(text):
    """Read a whole number of at least 1."""
    return _number(text, int, "a whole number of at least 1", lambda value: value >= 1)


def layers(text):
    """Read a number of layers."""
    wanted = f"a whole number from 1 to {MOST_LAYERS}"
    return _number(text, int, wanted, lambda value: 1 <= value <= MOST_LAYERS)


def widths(text):
    """Read the hidden units of all layers, or of each: 128, or 128,64."""
    sizes = [count(each) for each in text.split(",")]
    if len(sizes) > MOST_LAYERS:
        raise argparse.ArgumentTypeError(f"{len(sizes)} layers are more than {MOST_LAYERS}")
    return sizes[0] if len(sizes) == 1 else tuple(sizes)


def positive(text):
    """Read a number above 0."""
    return _number(text, float, "a number above 0", lambda value: 0 < value < math.inf)


def temperature(text):
    """Read a number of at least 0."""
    return _number(text, float, "a number of at least 0", lambda value: 0 <= value < math.inf)


def probability(text):
    """Read a number above 0 and at most 1."""
    return _number(text, float, "a number above 0 and at most 1", lambda value: 0 < value <= 1)


def levels(text):
    """Read numbers above 0 and below 1 with commas between them: 0.8,0.95."""
    wanted = "a number above 0 and below 1"
    return tuple(_number(each, float, wanted, lambda value: 0 < value < 1)
                 for each in text.split(","))


def fraction(text):
    """Read a number of at least 0 and below 1."""
    return _number(text, float, "a number of at least 0 and below 1", lambda value: 0 <= value < 1)


def _number(text, kind, wanted, is_wanted):
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not is_wanted(value):  # NaN fails every comparison
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
