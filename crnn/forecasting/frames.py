"""Data frames of any kind, read through narwhals (the extra ``frames``)."""

import numpy as np

from crnn.forecasting.layout import Layout, Table

ZONES = ("; take it away first: in pandas by tz_convert(None), which makes UTC of it, or by"
         " tz_localize(None), which leaves clocks as they are")


def is_frame(data):
    """Whether data are a frame or a column of one, rather than arrays."""
    if isinstance(data, (np.ndarray, list, tuple)) or data is None:
        return False
    return hasattr(data, "__dataframe__") or hasattr(data, "__arrow_c_stream__") or (
        type(data).__name__ in ("Series", "DataFrame") and hasattr(data, "to_numpy"))


def read(data, id, time, value, without):
    """Return the `Table` of a frame or a column of one.

    Parameters
    ----------
    data : frame or series
        Of any library that narwhals knows.
    id, time, value : str or None
        Columns; see `crnn.Forecaster.fit`.
    without : list of str
        Columns that are no series.

    Raises
    ------
    ImportError
        Without narwhals.
    TypeError, ValueError
        If a column is missing, or has no numbers.
    """
    index = _index(data)
    if not hasattr(data, "columns"):
        series = _narwhals().from_native(data, series_only=True)
        name = series.name if isinstance(series.name, str) else 0
        return Table(Layout("one", [name]), [_numbers(series, "y")],
                     None if index is None else [index])
    frame = _frame(data)
    for each in (id, time, value):
        if each is not None:
            _check_column(frame, each)
    if time is None and index is None:
        time = _only_column_of_times(frame)
    times = index if time is None else _times(frame.get_column(time))
    names = [each for each in frame.columns if each not in (id, time, *without)]
    names = names if value is None else [value]
    if not names or (id is not None and len(names) > 1):
        raise ValueError(f"y has the columns {names} besides; name the one with the values:"
                         " value=...")
    values = [_numbers(frame.get_column(name), name) for name in names]
    if id is None:
        layout = Layout("one" if len(names) == 1 else "wide", names, (), id, time, value)
        return Table(layout, values, None if times is None else [times] * len(names))
    parts = _rows_of(frame.get_column(id))
    return Table(Layout("long", list(parts), (), id, time, value),
                 [values[0][part] for part in parts.values()],
                 None if times is None else [times[part] for part in parts.values()])


def covariates(data, layout, wanted):
    """Return a list of arrays (T_i, F) of each series, the names of columns, and times or None.

    ``wanted`` are the columns that there must be; None for all.
    """
    index = _index(data)
    if not hasattr(data, "columns"):
        column = _narwhals().from_native(data, series_only=True)
        frame = column.rename(column.name or (wanted or ["X"])[0]).to_frame()
    else:
        frame = _frame(data)
    time = layout.time if layout.time in frame.columns else None
    if time is None and index is None:
        time = _only_column_of_times(frame)
    names = wanted
    if names is None:
        names = [each for each in frame.columns if each not in (layout.id, time)]
    for name in names:
        _check_column(frame, name)
    rows = np.stack([_numbers(frame.get_column(name), name) for name in names], 1)
    times = index if time is None else _times(frame.get_column(time))
    if layout.id is None or layout.id not in frame.columns:
        parts = [slice(None)] * len(layout.names)
    else:
        known = _rows_of(frame.get_column(layout.id))
        parts = [known.get(name, slice(0)) for name in layout.names]
    return [rows[part] for part in parts], list(names), (
        None if times is None else [times[part] for part in parts])


def _rows_of(column):
    """Return the numbers of the rows of each id, by the ids in the order in which they come."""
    missing = column.is_null().to_numpy()
    if missing.any():
        raise ValueError(f"column {column.name!r}, of ids, has none in row {missing.argmax()};"
                         " leave such rows out, or fill it in")
    ids = column.to_numpy()
    if ids.dtype.kind not in "iu":
        ids = np.array([str(each) for each in ids])
    names, first, numbers = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.searchsorted(numbers[order], np.arange(1, len(names))))
    return {names[k].item(): parts[k] for k in np.argsort(first)}


def _narwhals():
    try:
        import narwhals.stable.v1 as narwhals
    except ImportError as error:
        raise ImportError(
            "data frames need narwhals; install it with: pip install 'crnn[frames]'") from error
    return narwhals


def _frame(data):
    return _narwhals().from_native(data, eager_only=True)


def _index(data):
    """Return pandas' index of dates, or None where there is none."""
    index = getattr(data, "index", None)
    if hasattr(index, "to_timestamp"):
        index = index.to_timestamp()
    if getattr(index, "tz", None) is not None:
        raise ValueError(f"the index has times with a time zone{ZONES}")
    values = getattr(index, "values", None)
    return values if getattr(getattr(values, "dtype", None), "kind", "") == "M" else None


def _only_column_of_times(frame):
    """Return the name of the one column of dates, or None."""
    found = [name for name in frame.columns
             if str(frame.get_column(name).dtype).startswith(("Date", "Datetime"))]
    return found[0] if len(found) == 1 else None


def _check_column(frame, name):
    if name not in frame.columns:
        raise ValueError(f"there is no column {name!r}; there are {list(frame.columns)}")


def _times(column):
    if getattr(column.dtype, "time_zone", None):
        raise ValueError(f"column {column.name!r} has times with a time zone{ZONES}")
    return column.to_numpy()


def _numbers(column, name):
    if not (column.dtype.is_numeric() or str(column.dtype) == "Boolean"):
        raise TypeError(
            f"column {name!r} has {column.dtype}, not numbers; make it numbers, or, if it has"
            f" the times or the ids, say time={name!r} or id={name!r}")
    return np.array(column.to_numpy(), np.float64)
