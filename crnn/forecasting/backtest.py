"""Forecasts of what is known already, held against it."""

import numpy as np

from crnn.base.frames import data_frame
from crnn.forecasting import fitting, measures
from crnn.forecasting.fitted import column_numbers, extended, forecast

METHODS = "forecaster", "seasonal naive"


class Backtest:
    """How good forecasts would have been; what `Forecaster.backtest` returns.

    Attributes
    ----------
    rows : list of dict
        One for each fold, series and method: "fold", "series", "method", "mase", "rmsse", "mape",
        and for each coverage "inside_80", ... the share of values that lay in the interval (None
        of the naive forecast).
    forecasts : list of Forecast
        Of each fold.
    truths : list of ndarray
        What came, in the shape of the forecasts' ``mean``.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> y = np.sin(np.arange(90) / 3)
    >>> tested = crnn.Forecaster(hidden_size=8, epochs=5, seed=0).backtest(y, horizon=5, folds=2)
    >>> sorted(tested.summary()["forecaster"])
    ['inside_80', 'inside_95', 'mape', 'mase', 'rmsse']
    """

    def __init__(self, rows, forecasts, truths):
        self.rows, self.forecasts, self.truths = rows, forecasts, truths

    def summary(self):
        """Return means over folds and series, a dict of dicts by method and measure."""
        found = {}
        for method in METHODS:
            own = [row for row in self.rows if row["method"] == method]
            names = [name for name in own[0] if name not in ("fold", "series", "method")]
            found[method] = {name: _mean([row[name] for row in own]) for name in names}
        return found

    def to_pandas(self):
        """Return the rows as a data frame (the extra ``pandas``).

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Without pandas; the message names the extra.
        """
        return data_frame(self.rows)

    def __repr__(self):
        summary = self.summary()
        names = list(summary[METHODS[0]])
        rows = [["", *(name.upper() if "inside" not in name else name.replace("_", " ") + " %"
                       for name in names)]]
        for method in METHODS:
            rows.append([method, *(_shown(name, summary[method][name]) for name in names)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            row[0].ljust(widths[0]) + "".join(
                "  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in rows)


def backtest(settings, panel, horizon, folds, coverage, refit):
    """Return the `Backtest` of a panel; see `Forecaster.backtest`."""
    shortest = min(map(len, panel.values))
    if shortest <= horizon * folds:
        raise ValueError(
            f"{folds} fold{'s' * (folds > 1)} of {horizon} steps take{'s' * (folds == 1)}"
            f" {folds * horizon} values from the end of each series, and the shortest has"
            f" {shortest}; give {'fewer folds or ' * (folds > 1)}a shorter horizon")
    rows, forecasts, truths, fitted = [], [], [], None
    _, ahead = column_numbers(settings, panel.layout.columns)
    for fold in range(folds):
        left = horizon * (folds - fold)
        if fitted is None or refit:
            fitted = _fitted_before(settings, panel, left)
        else:
            fitted = extended(fitted, _part(panel, -left - horizon, -left))
        after = _part(panel, -left, horizon - left or None)
        known = [each[:, ahead] for each in after.covariates] if ahead else None
        found, truth = forecast(fitted, horizon, known, coverage), np.stack(after.values, 1)
        forecasts.append(found)
        truths.append(truth[:, 0] if found.mean.ndim == 1 else truth)
        rows += _rows(settings, panel, fold, left, found, truth)
    return Backtest(rows, forecasts, truths)


def _fitted_before(settings, panel, left):
    try:
        return fitting.fit(settings, _part(panel, None, -left))
    except ValueError as error:
        raise ValueError(f"{error} (before the last {left} values)") from error


def _part(panel, first, last):
    """Return a panel of some steps of each series."""
    part = slice(first, last)
    return panel._replace(
        values=[each[part] for each in panel.values], times=[each[part] for each in panel.times],
        covariates=[each[part] for each in panel.covariates])


def _rows(settings, panel, fold, left, forecast, truth):
    rows, season = [], settings.repeats_after
    for number, name in enumerate(panel.layout.names):
        own, history, came = forecast[name], panel.values[number][:-left], truth[:, number]
        naive = measures.seasonal_naive(history, len(came), season)
        for method, mean in zip(METHODS, (own.mean, naive), strict=True):
            row = {"fold": fold, "series": name, "method": method,
                   "mase": measures.mase(came, mean, history, season),
                   "rmsse": measures.rmsse(came, mean, history, season),
                   "mape": measures.mape(came, mean)}
            for level in own.coverage:
                row[f"inside_{100 * level:g}"] = None if method != METHODS[0] else (
                    measures.coverage(came, own.lower[level], own.upper[level]))
            rows.append({key: value if value is None or isinstance(value, (str, int)) else
                         float(value) for key, value in row.items()})
    return rows


def _mean(values):
    """Return the mean of those that are numbers, or None without any."""
    known = [each for each in values if each is not None and np.isfinite(each)]
    return float(np.mean(known)) if known else None


def _shown(name, value):
    if value is None:
        return "-"
    return f"{value:.1%}" if name in ("mape",) or "inside" in name else f"{value:.3f}"
