"""Times that follow each other regularly, and what the calendar says of them."""

import warnings
from typing import NamedTuple

import numpy as np

MICROSECONDS = "datetime64[us]"
DAY = np.timedelta64(1, "D")
FEATURES = ("hour", "weekday", "monthday", "month", "yearday")
STEPS = ("number", "duration", "month", "month end", "business day")


class Step(NamedTuple):
    """How far it is from one time to the next.

    Attributes
    ----------
    kind : str
        One of STEPS. "month" is the same day of each month, or its last where it is shorter;
        "month end" is its last one.
    size : int
        Of a number as it is, of a duration in microseconds, and else how many months or days.
    """

    kind: str
    size: int

    def after(self, last, count):
        """Return the ``count`` times after ``last``, of its dtype."""
        return self.times(last, 1, count + 1)

    def times(self, last, first, stop):
        """Return the times from ``first`` to before ``stop`` steps after ``last``."""
        steps = self.size * np.arange(first, stop)
        if self.kind == "number":
            return last + steps
        if self.kind == "duration":
            return last + steps.astype("timedelta64[us]")
        day = last.astype("datetime64[D]")
        if self.kind == "business day":
            days = np.busday_offset(day, steps)
        elif self.kind == "month end":
            days = (last.astype("datetime64[M]") + steps + 1).astype("datetime64[D]") - DAY
        else:
            first = last.astype("datetime64[M]")
            ends = (first + steps + 1).astype("datetime64[D]") - DAY  # there is no 30th of February
            days = np.minimum((first + steps).astype("datetime64[D]") + (day - first), ends)
        return days.astype(MICROSECONDS) + (last - day)


def as_times(values, name):
    """Return times as int64 or datetime64 in microseconds, of numbers, dates or ISO texts.

    What has an offset from UTC, such as the text "2026-11-30T12:00+02:00", becomes UTC.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; one time for each row is wanted")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        return array.astype(np.int64)
    try:
        if array.dtype.kind not in "MUO":
            raise ValueError(f"{array.dtype} is no time")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, for each text that it makes UTC
            times = array.astype(MICROSECONDS)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} has no times that can be read ({error}); dates, whole numbers, or texts such"
            " as '2026-11-30' or '2026-11-30T12:00' are wanted") from None
    if np.isnat(times).any():
        raise ValueError(f"{name} has a missing time in row {int(np.isnat(times).argmax())}")
    return times


def step_of(times, name="time"):
    """Return the `Step` of times, or raise ValueError if they are not sorted and regular."""
    apart = np.diff(times)
    wrong = np.flatnonzero(apart <= apart.dtype.type(0))
    if wrong.size:
        row = int(wrong[0]) + 1
        what = "not sorted; sort the rows by time"
        if times[row] == times[row - 1]:
            what = "there twice; keep one row for each time, or name the column of ids"
        raise ValueError(f"{name}: times are {what} (row {row} has {shown(times[row])} after"
                         f" {shown(times[row - 1])})")
    if not len(apart):
        return Step("number", 1) if times.dtype.kind == "i" else Step("duration", 86_400_000_000)
    if (apart == apart[0]).all():
        return Step("number" if times.dtype.kind == "i" else "duration", int(apart[0].astype(int)))
    if times.dtype.kind == "M":
        for kind in ("month", "month end", "business day"):
            step = _calendar_step(times, kind)
            if step is not None:
                return step
    row = int(apart.argmax()) + 1
    raise ValueError(
        f"{name}: times are not regular: row {row} has {shown(times[row])} after"
        f" {shown(times[row - 1])}; put in the rows that are missing, with NaN as their values, and"
        " say missing='skip'")


def _calendar_step(times, kind):
    """Return the step of times that have the given kind, or None."""
    days = times.astype("datetime64[D]")
    if (times - days != times[0] - days[0]).any():
        return None
    months = times.astype("datetime64[M]")
    if kind == "business day":
        if not np.is_busday(days).all():
            return None
        apart = np.busday_count(days[:-1], days[1:])
    elif kind == "month end":
        if (days + DAY != (months + 1).astype("datetime64[D]")).any():
            return None
        apart = np.diff(months).astype(np.int64)
    else:
        if (days - months != days[0] - months[0]).any():
            return None
        apart = np.diff(months).astype(np.int64)
    return Step(kind, int(apart[0])) if (apart == apart[0]).all() else None


def shown(time):
    """Return a time as text, a date without its time of day where that is midnight."""
    if time.dtype.kind != "M":
        return str(time)
    text = str(time.astype("datetime64[s]"))
    return text.removesuffix("T00:00:00")


def features_of(times, names):
    """Return sine and cosine of where times are in the calendar.

    Parameters
    ----------
    times : ndarray of datetime64 (T,)
    names : sequence of str
        Of FEATURES: the hour of the day, the day of the week, of the month, the month of the year,
        the day of the year.

    Returns
    -------
    ndarray (T, 2 * len(names))
    """
    columns = []
    for name in names:
        turns = 2 * np.pi * _turns(times, name)
        columns += [np.sin(turns), np.cos(turns)]
    return np.stack(columns, 1) if columns else np.zeros((len(times), 0))


def _turns(times, name):
    """Return which part of its period has passed at each time, from 0 to 1."""
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    if name == "hour":
        return (times - days) / DAY
    if name == "weekday":
        return (days.astype(np.int64) + 3) % 7 / 7  # day 0, 1 January 1970, was a Thursday
    if name == "monthday":
        return (days - months) / DAY / 31
    if name == "month":
        return months.astype(np.int64) % 12 / 12
    return (days - times.astype("datetime64[Y]")) / DAY / 366
