"""Tables in texts: CSV, with a step or a sequence in each row."""

import array
import csv
import io
import itertools
import numbers
from typing import Any, NamedTuple

import numpy as np

from crnn.base import checks
from crnn.data.cells import is_missing, labels_of, listed, no_number, number, shown
from crnn.data.dataset import Dataset
from crnn.data.moments import check_order, is_moment, moments
from crnn.files.disk import bad

IDS = ("id", "unique_id", "series_id", "sequence_id", "case_id", "item_id", "series", "sequence",
       "case")
TIMES = ("time", "timestamp", "date", "datetime", "ds", "step", "t")
FIRST_TIMES = ("", "year", "month", "quarter")  # "" is an index of pandas
LABELS = ("label", "labels", "class")
DELIMITERS = ",\t;"


class Columns(NamedTuple):
    """What was asked for: the arguments of `crnn.data.read`."""

    rows: str = "steps"
    id: Any = None
    time: Any = None
    label: Any = None
    columns: Any = None

    def check_none(self, kind):
        """Refuse any that is given for another kind of file."""
        for name, value in self._asdict().items():
            if value != Columns._field_defaults[name]:
                raise ValueError(f"{name} is {value!r}, which is for CSV files; leave it out for"
                                 f" {kind}")


class Places(NamedTuple):
    """Which columns are which, by number."""

    id: int | None
    time: int | None
    label: int | None
    features: list


def read_csv(path, text, asked):
    """Return the `Dataset` of a table's text."""
    checks.choice(asked.rows, "rows", ("steps", "sequences"))
    names, rows = _names_and_rows(path, _rows(path, text))
    first = next(rows, None)
    if first is None:
        raise bad(path, "has no row below the names of its columns")
    places, rows = _places(path, names, asked, first[1]), itertools.chain([first], rows)
    return (_steps if asked.rows == "steps" else _sequences)(path, names, rows, places)


def _rows(path, text):
    """Yield the line and the cells of each row that is not empty, all equally many."""
    first = next((line for line in text.split("\n", 1000) if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    wanted = None
    try:
        for cells in reader:
            if not any(each.strip() for each in cells):
                continue
            wanted = wanted or len(cells)
            if len(cells) != wanted:
                raise bad(path, f"has in line {reader.line_num} {_counted(len(cells))}, and"
                          f" {wanted} in its first line; is a line cut off, or a comma in a cell"
                          " without quotes around it?")
            yield reader.line_num, cells
    except csv.Error as error:
        raise bad(path, f"is not CSV in line {reader.line_num}: {error}") from None


def _counted(count):
    return f"{count} cell{'s' * (count != 1)}"


def _names_and_rows(path, rows):
    """Return the names of the columns, and the rows below them."""
    line, first = next(rows, (0, []))
    if not first:
        raise bad(path, "has no line that is not empty")
    if not _is_pandas_header(first) and all(number(each) is not None for each in first):
        return [str(place) for place in range(len(first))], itertools.chain([(line, first)], rows)
    names = [each.strip() for each in first]
    for name in names:
        value = number(name)
        if is_moment(name) or (value is not None and not is_missing(name) and value % 1):
            raise bad(path, f"has in line {line} {shown(name)}, which looks like data, where the"
                      " names of its columns are wanted: write a line of names above it")
        if name and names.count(name) > 1:
            raise bad(path, f"has in line {line} two columns of the name {shown(name)}; give each"
                      " its own")
    return names, rows


def _is_pandas_header(first):
    """Whether a first row is the one that pandas writes above numbers without names."""
    index, *names = (each.strip() for each in first)
    return not index and names and names == [str(place) for place in range(len(names))]


def _places(path, names, asked, first):
    """Return the columns that are asked for, and those with usual names among the others.

    ``first`` are the cells of the first row: a date there makes a column one of times.
    """
    if asked.rows == "sequences" and asked.time is not None:
        raise ValueError('time is a column of steps; leave it out with rows="sequences"')
    given = {what: _place(path, names, getattr(asked, what), what)
             for what in ("id", "time", "label") if getattr(asked, what) is not None}
    features = [_place(path, names, each, "columns") for each in _as_list(asked.columns)]
    free = [place for place in range(len(names)) if place not in (*given.values(), *features)]
    for what, usual in (("id", IDS), ("time", TIMES), ("label", LABELS)):
        found = [place for place in free if names[place].lower() in usual]
        if what in given or (what == "time" and asked.rows == "sequences"):
            continue
        if len(found) > 1:
            raise bad(path, f"has columns {listed([names[place] for place in found])}, which could"
                      f" all be the {what}; give one of them as {what}")
        given[what] = found[0] if found else None
    if asked.rows == "steps" and given["time"] is None:
        dated = [place for place in free
                 if place not in given.values() and is_moment(first[place].strip())]
        given["time"] = dated[0] if len(dated) == 1 else None
    if asked.rows == "steps" and 0 in free and given["id"] is given["time"] is None and (
            names[0].lower() in FIRST_TIMES):
        given["time"] = 0
    if asked.columns is None:
        features = [place for place in free if names[place] and place not in given.values()]
    _check_apart(path, names, [*given.values(), *features])
    if not features:
        raise bad(path, f"has no column of numbers beside those of ids, times and labels: its"
                  f" columns are {listed(names)}")
    return Places(given["id"], given.get("time"), given["label"], features)


def _as_list(columns):
    if columns is None or isinstance(columns, (list, tuple)):
        return columns or ()
    return [columns]


def _place(path, names, asked, what):
    """Return the number of the column that is asked for, by name or by number."""
    if isinstance(asked, numbers.Integral) and not isinstance(asked, bool):
        return checks.whole_number(asked, what, 0, len(names) - 1)
    if not isinstance(asked, str):
        raise TypeError(f"{what} is {asked!r}; the name of a column or its number is wanted")
    if asked in names:
        return names.index(asked)
    by_case = [place for place, name in enumerate(names) if name.lower() == asked.lower()]
    if len(by_case) != 1:
        purpose = "" if what == "columns" else f" for {what}"
        raise bad(path, f"has no column {shown(asked)}{purpose}; its columns are {listed(names)}")
    return by_case[0]


def _check_apart(path, names, places):
    for place in places:
        if place is not None and places.count(place) > 1:
            raise bad(path, f"is to have the column {shown(names[place])} twice; a column is an id,"
                      " a time, a label or a feature")


class _Steps:
    """The steps of one sequence, as they are read."""

    def __init__(self, label):
        self.label = label
        self.values = array.array("d")
        self.lines = array.array("q")
        self.times = []


def _steps(path, names, rows, places):
    """Read a table whose rows are steps."""
    found, last = {}, None
    for line, cells in rows:
        name = "" if places.id is None else _given(path, names, line, cells, places.id, "id")
        label = None if places.label is None else _given(
            path, names, line, cells, places.label, "label")
        steps = found.setdefault(name, _Steps(label))
        if steps.lines and name != last and places.time is None:
            raise bad(path, f"has in line {line} again a row of {shown(name)} after rows of others;"
                      " sort the rows by id, or name the column of their times as time")
        if label != steps.label:
            hint = "a number for each step is a feature: name it in columns" if name else (
                "name the column that tells sequences apart as id, or, where each row is a"
                ' sequence, say that rows are "sequences"')
            raise bad(path, f"has in line {line} the label {shown(label)}, and"
                      f" {shown(steps.label)} before in the same sequence; {hint}")
        steps.values.extend(_numbers(path, names, line, cells, places.features))
        steps.lines.append(line)
        if places.time is not None:
            steps.times.append(_given(path, names, line, cells, places.time, "time"))
        last = name
    width = len(places.features)
    return Dataset(
        [np.array(each.values).reshape(-1, width) for each in found.values()],
        None if places.label is None else _labels([each.label for each in found.values()]),
        None if places.id is None else labels_of(list(found)),
        [names[place] for place in places.features],
        None if places.time is None else _times(path, found),
    )


def _times(path, found):
    times = moments([each.times for each in found.values()])
    for (name, steps), each in zip(found.items(), times, strict=True):
        check_order(path, each, steps.times, steps.lines, name)
    return times


def _sequences(path, names, rows, places):
    """Read a table whose rows are sequences."""
    sequences, ids, labels = [], [], []
    for line, cells in rows:
        values = _numbers(path, names, line, cells, places.features)
        while values and values[-1] != values[-1]:
            values.pop()
        if not values:
            raise bad(path, f"has in line {line} no number; each row is a sequence, of one step at"
                      " least")
        sequences.append(np.array(values)[:, None])
        if places.id is not None:
            ids.append(_given(path, names, line, cells, places.id, "id"))
        if places.label is not None:
            labels.append(_given(path, names, line, cells, places.label, "label"))
    return Dataset(sequences, _labels(labels) if labels else None, labels_of(ids) if ids else None)


def _labels(texts):
    """Return labels: whole numbers as integers, other numbers as floats, or strings."""
    labels = labels_of(texts)
    values = [number(each) for each in texts]
    return np.array(values) if labels.dtype.kind == "U" and None not in values else labels


def _given(path, names, line, cells, place, what):
    """Return the text of a cell that must not be missing."""
    cell = cells[place].strip()
    if is_missing(cell):
        raise bad(path, f"has in line {line}, column {shown(names[place])}, no {what}")
    return cell


def _numbers(path, names, line, cells, places):
    values = [number(cells[place]) for place in places]
    if None in values:
        place = places[values.index(None)]
        raise bad(path, f"has in line {line}, column {shown(names[place])}:"
                  f" {no_number(cells[place])}; or name the columns that are id, time and label, or"
                  " those that are features")
    return values
