"""Times of steps, as texts have them: numbers, dates and times, or something else."""

import functools
import re

import numpy as np

from crnn.data.cells import number, shown
from crnn.files.disk import bad

ISO = re.compile(
    r"(\d{4}-\d\d(?:-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:\.\d{1,9})?)?)?)?)?)"
    r"(?:Z|([+-])(\d\d):?(\d\d)?)?",
    re.ASCII)
FIRST_MONTHS = {  # of months and quarters by their names, as R and pandas write them
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9,
    "oct": 10, "nov": 11, "dec": 12, "q1": 1, "q2": 4, "q3": 7, "q4": 10,
}
NAMED = re.compile(
    r"(\d{4})[ -]?(NAME)|(NAME)[ -]?(\d{4})".replace("NAME", "|".join(FIRST_MONTHS)),
    re.ASCII | re.IGNORECASE)
ERA = range(1678, 2262)  # years whose nanoseconds have room in 64 bits


def is_moment(text):
    """Whether a text is a month, a quarter, a date, or a date and a time of day."""
    return ISO.fullmatch(_in_numbers(text)) is not None


def _in_numbers(text):
    """Return a month or a quarter that has a name as ISO 8601 has its first month; others as is."""
    match = NAMED.fullmatch(text)
    if match is None:
        return text
    year, name = (match[1], match[2]) if match[1] else (match[4], match[3])
    return f"{year}-{FIRST_MONTHS[name.lower()]:02}"


def moments(sequences):
    """Return texts of times as arrays, all of one kind.

    Parameters
    ----------
    sequences : list of list of str

    Returns
    -------
    list of ndarray
        float64 if all of them are numbers, datetime64 (in UTC) if all are in ISO 8601 or
        months or quarters such as 1991 Jul, Jul 1991 and 1991 Q3, or else strings.

    Examples
    --------
    >>> moments([["2020-01-01 12:00+02:00", "2020-01-02 00:00Z"]])
    [array(['2020-01-01T10:00', '2020-01-02T00:00'], dtype='datetime64[m]')]
    >>> moments([["1991 Q1", "1991 Q2"]])
    [array(['1991-01', '1991-04'], dtype='datetime64[M]')]
    >>> moments([["week 1"], ["week 2"]])
    [array(['week 1'], dtype='<U6'), array(['week 2'], dtype='<U6')]
    """
    values = [[number(each) for each in texts] for texts in sequences]
    if not any(None in each for each in values):
        return [np.array(each) for each in values]
    matches = [[ISO.fullmatch(_in_numbers(each)) for each in texts] for texts in sequences]
    if not any(None in each for each in matches):
        try:
            return _aligned([_datetimes(each) for each in matches])
        except (OverflowError, TypeError, ValueError):  # the 30th of February
            pass
    return [np.array(texts) for texts in sequences]


def _datetimes(matches):
    times = np.array([each[1].replace(" ", "T") for each in matches], "datetime64")
    if times.dtype == "datetime64[ns]" and not all(int(each[1][:4]) in ERA for each in matches):
        raise OverflowError  # NumPy itself would go round without a word
    if not any(each[2] for each in matches):
        return times
    minutes = [int(f"{each[2]}1") * (60 * int(each[3]) + int(each[4] or 0)) if each[2] else 0
               for each in matches]
    return times - np.array(minutes, "timedelta64[m]")


def _aligned(sequences):
    unit = functools.reduce(np.promote_types, {each.dtype for each in sequences})
    return [each.astype(unit) for each in sequences]


def check_order(path, times, texts, lines, name):
    """Refuse times of a sequence that do not increase, or, of strings, are there twice."""
    if times.dtype.kind == "U":
        seen = {}
        for text, line in zip(texts, lines, strict=True):
            if text in seen:
                raise _twice(path, text, seen[text], line, name)
            seen[text] = line
        return
    wrong = np.flatnonzero(times[1:] <= times[:-1])
    if wrong.size:
        place = int(wrong[0]) + 1
        text, line, before = texts[place], lines[place], lines[place - 1]
        if times[place] == times[place - 1]:
            raise _twice(path, text, before, line, name)
        other = "" if name else ", or name the column that tells sequences apart as id"
        raise bad(path, f"has in line {line} the time {shown(text)} after {shown(texts[place - 1])}"
                  f" in line {before}{_of(name)}: sort the rows by their times{other}")


def _twice(path, text, before, line, name):
    return bad(path, f"has the time {shown(text)} in line {before} and again in line"
               f" {line}{_of(name)}: remove one of them, or name the column that tells sequences"
               " apart as id")


def _of(name):
    return f" (id {shown(name)})" if name else ""
