"""What `Forecaster.predict` returns."""

import numpy as np

from crnn.base.frames import data_frame
from crnn.files.printable import printable
from crnn.forecasting.calendar import shown

SHOWN = 6  # rows of either end that a text shows


class Forecast:
    """Forecasts of one or more series, with intervals.

    ``numpy.asarray`` of it is ``mean``; ``forecast["shop"]``, or of series without names their
    number, is the forecast of one of them.

    Attributes
    ----------
    mean : ndarray (horizon,), or (horizon, N) of several series
        The forecast.
    lower, upper : dict of float to ndarray
        By coverage, the ends of the interval, each in mean's shape.
    times : ndarray (horizon,), or (horizon, N) where series end at different times
        Dates, or how many steps after the first value.
    names : list of str or int
        Of the series.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> y = np.sin(np.arange(60) / 3)
    >>> forecast = crnn.Forecaster(hidden_size=8, epochs=5, seed=0).fit(y).predict(4)
    >>> forecast.mean.shape, forecast.times
    ((4,), array([60, 61, 62, 63]))
    >>> bool((forecast.lower[0.95] <= forecast.lower[0.8]).all())
    True
    """

    def __init__(self, mean, lower, upper, times, names):
        self.mean, self.lower, self.upper = mean, lower, upper
        self.times, self.names = times, names

    @property
    def coverage(self):
        """The coverages that there are intervals of, a tuple."""
        return tuple(self.lower)

    def __len__(self):
        return len(self.mean)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.mean, dtype)

    def __getitem__(self, name):
        """Return the `Forecast` of one series."""
        if name not in self.names:
            raise KeyError(f"there is no series {name!r}; there are {self.names[:20]}")
        if self.mean.ndim == 1:
            return self
        k = self.names.index(name)
        ends = ({level: each[:, k] for level, each in side.items()}
                for side in (self.lower, self.upper))
        times = self.times if self.times.ndim == 1 else self.times[:, k]
        return Forecast(self.mean[:, k], *ends, times, [name])

    def to_dict(self):
        """Return columns by name: "series" of several, "time", "forecast", "lower_80", ...

        A row for each time of each series, one series after the other: what data frames of any
        kind are made of.
        """
        many = self.mean.ndim == 2
        count = len(self.names)
        times = self.times if self.times.ndim == 2 else np.repeat(self.times[:, None], count, 1)
        columns = {"series": np.repeat(np.array(self.names), len(self))} if many else {}
        columns |= {"time": times.T.ravel(), "forecast": self.mean.T.ravel()}
        for level in self.coverage:
            columns[f"lower_{100 * level:g}"] = self.lower[level].T.ravel()
            columns[f"upper_{100 * level:g}"] = self.upper[level].T.ravel()
        return columns

    def to_pandas(self):
        """Return `to_dict` as a data frame (the extra ``pandas``).

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Without pandas; the message names the extra.
        """
        return data_frame(self.to_dict())

    def __repr__(self):
        columns = self.to_dict()
        forms = {"time": shown, "series": lambda name: printable(str(name))}
        rows = [list(columns)]
        texts = [[forms.get(name, "{:.6g}".format)(each) for each in values]
                 for name, values in columns.items()]
        rows += [list(row) for row in zip(*texts, strict=True)]
        if len(rows) > 2 * SHOWN + 2:
            rows = [*rows[: SHOWN + 1], ["..."] * len(columns), *rows[-SHOWN:]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows)
