"""Kinds of command-line options: what argparse calls to read a number, and how help shows it."""

import argparse
import math

from crnn.network.configuration import MOST_LAYERS


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of an option that has one."""

    def _get_help_string(self, action):
        if action.default in (None, False, ""):
            return action.help
        return super()._get_help_string(action)


def whole(text):
    """Read a whole number of at least 0."""
    return _number(text, int, "a whole number of at least 0", lambda value: value >= 0)


def count(text):
    """Read a whole number of at least 1."""
    return _number(text, int, "a whole number of at least 1", lambda value: value >= 1)


def layers(text):
    """Read how many layers there are to be."""
    wanted = f"a whole number from 1 to {MOST_LAYERS}"
    return _number(text, int, wanted, lambda value: 1 <= value <= MOST_LAYERS)


def positive(text):
    """Read a number above 0."""
    return _number(text, float, "a number above 0", lambda value: 0 < value < math.inf)


def temperature(text):
    """Read a number of at least 0."""
    return _number(text, float, "a number of at least 0", lambda value: 0 <= value < math.inf)


def probability(text):
    """Read a number above 0 and at most 1."""
    return _number(text, float, "a number above 0 and at most 1", lambda value: 0 < value <= 1)


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
