"""What users give, arrays, lists, frames or data that were read, as a list of series."""

import numbers
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.files.printable import printable
from crnn.forecasting import frames
from crnn.forecasting.calendar import as_times, shown, step_of
from crnn.forecasting.layout import Layout, Table


class Panel(NamedTuple):
    """N series, each of its own length.

    Attributes
    ----------
    layout : Layout
    values : list of ndarray of float64 (T_i,)
    covariates : list of ndarray of float64 (T_i, F)
    times : list of ndarray (T_i,)
        Numbers from 0 where users gave none.
    """

    layout: Layout
    values: list
    covariates: list
    times: list

    @property
    def step(self):
        """The `Step` from one time to the next, the same in all series."""
        steps = {}
        for number, times in enumerate(self.times):
            if len(times) > 1:
                steps.setdefault(step_of(times, self.layout.where(number)), number)
        if len(steps) > 1:
            (one, first), (other, second), *_ = steps.items()
            raise ValueError(
                f"{self.layout.where(second)}: times are {other} apart, and in"
                f" {self.layout.where(first)} {one}; series with other steps need a forecaster of"
                " their own")
        return next(iter(steps), None) or step_of(self.times[0])


def read(y, X=None, *, id=None, time=None, value=None):
    """Return the `Panel` of what `Forecaster.fit` is given.

    Raises
    ------
    TypeError, ValueError
        If it is nothing of what is described there.
    """
    _check_columns(y, id, time, value)
    table = _table(y, X, id, time, value)
    times, layout = table.times, table.layout
    if time is not None and not _has_columns(y):
        times = _times_of_arrays(time, table.values, layout)
    _check_values(layout, table.values)
    if times is None:
        times = [np.arange(len(each)) for each in table.values]
    else:
        times = [as_times(each, layout.where(number)) for number, each in enumerate(times)]
    rows, columns = _covariates(X, "X", layout, times, y)
    return Panel(layout._replace(columns=columns), table.values, rows, times)


def read_more(y, X, fitted):
    """Return the `Panel` of what comes after each series' last time.

    Raises
    ------
    TypeError, ValueError
        If it does not lie as before, or begins at another time.
    """
    layout = fitted.layout
    table = _table(_with_steps(y, layout), X, layout.id, layout.time, layout.value,
                   layout.form == "long")
    if table.layout.form == layout.form == "long":
        table = _of_all(table, layout)
    order = _order(table.layout, layout)
    values = [table.values[k] for k in order]
    _check_values(layout, values, least=0)
    times = [fitted.step.after(last, len(each))
             for last, each in zip(fitted.lasts, values, strict=True)]
    if table.times is not None:
        _check_times([table.times[k] for k in order], times, layout, "y_new")
    rows, _ = _covariates(X, "X_new", layout, times, y, wanted=layout.columns)
    return Panel(layout, values, rows, times)


def _has_columns(y):
    return frames.is_frame(y) and hasattr(y, "columns")


def _check_columns(y, id, time, value):
    """Raise TypeError unless names of columns are such, of something that has columns."""
    for what, name in (("id", id), ("time", time), ("value", value)):
        if name is None:
            continue
        if _has_columns(y) and not isinstance(name, (str, numbers.Integral)):
            raise TypeError(f"{what} is a {type(name).__name__}; y is a frame, and the name of one"
                            " of its columns is wanted")
        if _is_dataset(y) and what == "id":
            raise TypeError(f"id={name!r} names a column of a frame; of a file say it to"
                            " crnn.data.read(path, id=...)")
        if frames.is_frame(y) and not _has_columns(y) and what != "time":
            raise TypeError(f"{what}={name!r} names a column of a frame; y is one column")


def _of_all(table, layout):
    """Return a table of rows with ids with no values of those series of which it has no row."""
    known = table.layout.names
    for name in known:
        if name not in layout.names:
            raise ValueError(
                f"y_new has the series {name!r}, which was not there in fit, but"
                f" {layout.names[:20]}; fit again to have it learned")
    places = [known.index(name) if name in known else None for name in layout.names]
    return Table(
        table.layout._replace(names=layout.names),
        [np.zeros(0) if k is None else table.values[k] for k in places],
        table.times and [table.times[0][:0] if k is None else table.times[k] for k in places])


def _with_steps(y, layout):
    """Return y with an axis for steps, if it is a number or a row of one step."""
    if layout.form == "one" and isinstance(y, (numbers.Real, np.ndarray)) and np.ndim(y) == 0:
        return [y]
    is_row = layout.form in ("wide", "long") and isinstance(y, (list, np.ndarray)) and (
        len(y) == len(layout.names) and not any(map(_axes, y)))
    return np.asarray(y)[None] if is_row else y


def _order(came, layout):
    """Return where the series of a layout are in one that came; ValueError if they are not."""
    if came.form == layout.form == "one":
        return [0]
    has_names = came.names != list(range(len(came.names)))
    if has_names and set(came.names) == set(layout.names):
        return [came.names.index(name) for name in layout.names]
    if has_names or len(came.names) != len(layout.names) or any(
            (came.form == form) != (layout.form == form) for form in ("one", "list")):
        names = f", {came.names[:20]}; wanted are {layout.names[:20]}" if has_names else ""
        raise ValueError(f"y_new is {came}; it is to lie as y did: {layout}{names}")
    return list(range(len(layout.names)))


def read_future(X, layout, columns, times):
    """Return known covariates of future times, a list of arrays (horizon, len(columns)).

    Parameters
    ----------
    X
        As users give it, with at least as many rows as there are times.
    layout : Layout
    columns : list
        Which columns are wanted.
    times : list of ndarray (horizon,)
        Those that are forecast, of each series.
    """
    horizon = len(times[0])
    if X is not None and not columns:
        raise ValueError("X was given, but no column of it is known ahead: the forecaster was"
                         " fitted without X, or all its columns are past")
    if X is None and columns:
        raise ValueError(
            f"the forecaster was fitted with the columns {columns} of X: give their next {horizon}"
            " rows as X=; columns that are not known ahead are named as past= when the Forecaster"
            " is made")
    rows, _ = _covariates(X, "X", layout, times, None, wanted=columns, may_be_longer=True)
    return rows


def _table(y, X, id, time, value, has_ids=False):
    """Return the `Table` of what users give, of any kind.

    ``has_ids`` says that a Dataset is of rows with ids, be it of one series only.
    """
    if frames.is_frame(y):
        return frames.read(y, id, time, value, _names_of_columns(X) or [])
    if _is_dataset(y):
        return _of_dataset(y, value, _names_of_columns(X) or [], has_ids)
    for what, name in (("id", id), ("value", value)):
        if name is not None:
            raise TypeError(
                f"{what}={name!r} names a column of a frame; y is a {type(y).__name__}")
    form, values = _arrays(y)
    layout = Layout(form, list(range(len(values))))
    return Table(layout, values, _times_of_arrays(time, values, layout))


def _arrays(y):
    """Return the form of arrays or lists of numbers, and a list of series."""
    is_list = isinstance(y, (list, tuple))
    if is_list and not len(y):
        raise ValueError("y is an empty list; at least one series is wanted")
    if is_list and any(map(_axes, y)):
        arrays = [checks.plain_array(each, f"y[{number}]") for number, each in enumerate(y)]
        for number, each in enumerate(arrays):
            if each.ndim != 1 or each.dtype.kind == "c":
                raise ValueError(f"y[{number}] has shape {each.shape} and dtype {each.dtype}; each"
                                 " series of a list is (T,): its values")
        return "list", [each.astype(np.float64) for each in arrays]
    array = checks.plain_array(y, "y")
    if array.dtype.kind == "c" or array.ndim not in (1, 2):
        raise ValueError(
            f"y has shape {array.shape} and dtype {array.dtype}; a series (T,), series side by side"
            " (T, N), a list of series, or a frame is wanted")
    array = array.astype(np.float64)
    return ("one", [array]) if array.ndim == 1 else ("wide", list(np.ascontiguousarray(array.T)))


def _times_of_arrays(time, values, layout):
    if time is None:
        return None
    if isinstance(time, str):
        raise TypeError(f"time={time!r} names a column of a frame; of arrays give the times")
    is_list = isinstance(time, (list, tuple)) and len(time) and np.ndim(time[0])
    given = list(time) if is_list else [time] * len(values)
    if len(given) != len(values):
        raise ValueError(f"time has {len(given)} items for {len(values)} series")
    for number, (times, each) in enumerate(zip(given, values, strict=True)):
        if len(times) != len(each):
            raise ValueError(
                f"time has {len(times)} items, and {layout.where(number)} {len(each)} values; a"
                " time for each is wanted")
    return given


def _is_dataset(data):
    return hasattr(data, "sequences") and hasattr(data, "features")


def _of_dataset(data, value, without, has_ids):
    """Return the `Table` of what `crnn.data.read` returned."""
    names = data.features or list(range(data.sequences[0].shape[1]))
    chosen = [value] if value is not None else [each for each in names if each not in without]
    numbers = [_place(name, names) for name in chosen]
    times = data.times
    if times is not None and times[0].dtype.kind == "U":
        _warn_of_unknown_times(times)
        times = None
    if len(data.sequences) > 1 or has_ids:
        if len(chosen) != 1:
            raise ValueError(
                f"y has the columns {chosen}; name the one with the values: value=...")
        ids = range(len(data.sequences)) if data.ids is None else data.ids.tolist()
        values = [each[:, numbers[0]].astype(np.float64) for each in data.sequences]
        return Table(Layout("long", list(ids), value=value), values, times)
    values = [data.sequences[0][:, k].astype(np.float64) for k in numbers]
    form = "one" if len(values) == 1 else "wide"
    return Table(Layout(form, chosen, value=value), values,
                 None if times is None else times * len(values))


def _place(name, names):
    if name not in names:
        raise ValueError(f"there is no column {name!r}; there are {list(names)}")
    return list(names).index(name)


def _check_values(layout, values, least=1):
    if not values:
        raise ValueError("y has no series")
    for number, each in enumerate(values):
        if len(each) < least:
            raise ValueError(f"{layout.where(number)} has no values")
        if np.isinf(each).any():
            row = int(np.isinf(each).argmax())
            raise ValueError(
                f"{layout.where(number)} has an infinite value in row {row}; what is not known is"
                " NaN, with missing='skip'")


def _names_of_columns(X):
    """Return X if it is names of columns rather than numbers, or None."""
    is_names = isinstance(X, (list, tuple)) and len(X) and all(isinstance(each, str) for each in X)
    return list(X) if is_names else None


def _covariates(X, name, layout, times, y, wanted=None, may_be_longer=False):
    """Return the rows of X of each series, (T_i, F), and the names of its F columns.

    Parameters
    ----------
    X
        As users give it.
    name : str
        What it is called in messages.
    layout : Layout
    times : list of ndarray (T_i,)
        Which rows there are to be.
    y
        Where columns are, if X is their names.
    wanted : list, optional
        Which columns there are to be.
    may_be_longer : bool
        Whether further rows are left out, or refused.
    """
    if X is None:
        if wanted:
            raise ValueError(
                f"{name} is missing: the forecaster was fitted with the columns {wanted} of X; give"
                " their rows, or, where they are columns of a frame with the values, their names")
        return [np.zeros((len(each), 0)) for each in times], []
    count, own_times = len(layout.names), None
    if _names_of_columns(X) is not None:
        columns = _names_of_columns(X)
        if not (frames.is_frame(y) or _is_dataset(y)):
            raise TypeError(f"{name} has names of columns, {columns}; there is no frame with them")
        X, wanted = y, columns if wanted is None else wanted
    if frames.is_frame(X):
        rows, columns, own_times = frames.covariates(X, layout, wanted)
    elif _is_dataset(X):
        rows, columns, own_times = _covariates_of_dataset(X, layout, wanted)
    else:
        rows = _covariate_arrays(X, count, name)
        columns = list(range(rows[0].shape[1])) if wanted is None else wanted
        if rows[0].shape[1] != len(columns):
            raise ValueError(f"{name} has {rows[0].shape[1]} columns; {len(columns)} are wanted:"
                             f" {columns}")
    for number, (each, wanted_times) in enumerate(zip(rows, times, strict=True)):
        _check_rows(each, len(wanted_times), name, layout.where(number), may_be_longer)
    rows = [each[: len(own)] for each, own in zip(rows, times, strict=True)]
    if own_times is not None:
        own_times = [each[: len(own)] for each, own in zip(own_times, times, strict=True)]
        _check_times(own_times, times, layout, name)
    return rows, columns


def _covariate_arrays(X, count, name):
    """Return the rows (T_i, F) of each series, given them for each or for all."""
    if isinstance(X, (list, tuple)) and len(X) and all(_axes(each) == 2 for each in X):
        arrays = [checks.plain_array(each, f"{name}[{k}]") for k, each in enumerate(X)]
        if len(arrays) != count:
            raise ValueError(f"{name} has {len(arrays)} items for {count} series")
        if len({each.shape[1] for each in arrays}) > 1:
            raise ValueError(f"{name} has arrays with different numbers of columns:"
                             f" {[each.shape[1] for each in arrays]}")
        return [each.astype(np.float64) for each in arrays]
    array = checks.plain_array(X, name)
    if array.dtype.kind == "c" or array.ndim not in (1, 2, 3) or (
            array.ndim == 3 and array.shape[1] != count):
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype} for {count} series; (T, F) for"
            " all of them, (T, N, F), or a list of (T_i, F) is wanted")
    array = array.astype(np.float64)
    if array.ndim == 3:
        return list(np.ascontiguousarray(array.swapaxes(0, 1)))
    return [array if array.ndim == 2 else array[:, None]] * count


def _axes(values):
    """Return how many axes an array, a frame or nested lists have."""
    if isinstance(values, (list, tuple)):
        return 1 + (_axes(values[0]) if values else 0)
    return np.ndim(values)


def _warn_of_unknown_times(times):
    """Warn of times that are written in a way of which nobody knows how it goes on."""
    checks.warn(
        f"times such as '{printable(str(times[0][0]))}' cannot be read, and steps are numbered"
        " instead; dates such as 2026-11-30 can, months such as 2026-11 or 2026 Nov, quarters such"
        " as 2026 Q4, and whole numbers")


def _covariates_of_dataset(data, layout, wanted):
    names = data.features or list(range(data.sequences[0].shape[1]))
    columns = names if wanted is None else wanted
    numbers = [_place(name, names) for name in columns]
    order = [0] * len(layout.names)
    if len(data.sequences) > 1 or (data.ids is not None and layout.form == "long"):
        ids = list(range(len(data.sequences))) if data.ids is None else data.ids.tolist()
        order = [ids.index(name) if name in ids else None for name in layout.names]
    times = data.times
    if times is not None and times[0].dtype.kind == "U":
        times = None
    none = np.zeros((0, len(columns)))
    rows = [none if k is None else data.sequences[k][:, numbers].astype(np.float64) for k in order]
    return rows, list(columns), (
        None if times is None else [times[0][:0] if k is None else times[k] for k in order])


def _check_rows(rows, length, name, where, may_be_longer):
    if len(rows) < length or (len(rows) > length and not may_be_longer):
        hint = "" if len(rows) < length else " (rows of the future belong into predict)"
        raise ValueError(f"{name} has {len(rows)} rows for {where}; {length} are wanted, one for"
                         f" each step{hint}")
    if not np.isfinite(rows[:length]).all():
        row = int((~np.isfinite(rows)).any(1).argmax())
        raise ValueError(
            f"{name} has a missing or infinite number in row {row}; covariates have to be numbers:"
            " fill it in, such as with the value before or with 0")


def _check_times(given, wanted, layout, name):
    """Raise ValueError unless times, as they were given, are those that are wanted."""
    for number, (came, own) in enumerate(zip(given, wanted, strict=True)):
        came = as_times(came, f"{name}, {layout.where(number)}")
        is_number = own.dtype.kind == "i"
        if (came.dtype.kind == "i") != is_number:
            came_kind, wanted_kind = ("dates", "numbers")[:: 1 if is_number else -1]
            raise ValueError(f"{name} has {came_kind} as times; {wanted_kind}, as in y, are wanted")
        if len(came) and (came != own).any():
            row = int((came != own).argmax())
            raise ValueError(
                f"{name}: row {row} of {layout.where(number)} is of {shown(came[row])}; the row of"
                f" {shown(own[row])} is wanted there")
