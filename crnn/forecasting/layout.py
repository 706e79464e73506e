"""How series lie in what users give."""

from typing import NamedTuple

FORMS = ("one", "wide", "list", "long")


class Layout(NamedTuple):
    """How series lie in what users give.

    Attributes
    ----------
    form : str
        One of FORMS: (T,), (T, N), a list of (T_i,), or rows of several series, told apart by ids.
    names : list of str or int
        Of the N series.
    columns : sequence of str or int
        Of the F columns of X.
    id, time, value : str, int or None
        The columns of frames with names, times and values.
    """

    form: str
    names: list
    columns: tuple = ()
    id: str | None = None
    time: str | None = None
    value: str | None = None

    def __str__(self):
        count = len(self.names)
        return {"one": "one series (T,)", "wide": f"{count} series side by side (T, {count})",
                "list": f"a list of {count} series", "long": f"rows of {count} series with ids",
                }[self.form]

    def where(self, number):
        """Return what a series is called in messages."""
        return "y" if self.form == "one" else f"series {self.names[number]!r}"


class Table(NamedTuple):
    """What has been found in what users give, before it is checked.

    Attributes
    ----------
    layout : Layout
    values : list of ndarray of float64 (T_i,)
    times : list of array_like (T_i,), or None
    """

    layout: Layout
    values: list
    times: list | None
