"""How good forecasts are."""

import numpy as np

from crnn.forecasting.preprocessing import filled


def mase(truth, forecast, history, season=1):
    """Return the mean absolute scaled error (Hyndman & Koehler 2006).

    ::

        mean |truth - forecast| / mean |history[t] - history[t - season]|

    Below 1 it is better than what a (seasonal) naive forecast of one step was on average before.

    Parameters
    ----------
    truth, forecast : array_like (h,)
    history : array_like (T,)
        What was known; NaN does not count.
    season : int

    Returns
    -------
    float
        NaN if the history never changes from season to season.

    References
    ----------
    Hyndman, R. J. & Koehler, A. B. (2006). Another look at measures of forecast accuracy.
    International Journal of Forecasting 22.
    """
    return _ratio(_mean(np.abs(_errors(truth, forecast))), _mean(np.abs(_changes(history, season))))


def rmsse(truth, forecast, history, season=1):
    """Return the root mean squared scaled error (Hyndman & Koehler 2006): see `mase`.

    ::

        sqrt(mean (truth - forecast)**2 / mean (history[t] - history[t - season])**2)
    """
    return np.sqrt(_ratio(_mean(_errors(truth, forecast) ** 2),
                          _mean(_changes(history, season) ** 2)))


def mape(truth, forecast):
    """Return the mean absolute error as a share of what came, mean |forecast / truth - 1|.

    NaN if a truth is 0.
    """
    truth = np.asarray(truth, float)
    if (truth == 0).any():
        return np.nan
    return _mean(np.abs(_errors(truth, forecast) / truth))


def coverage(truth, lower, upper):
    """Return the share of what came that lies between lower and upper ends; NaN did not come."""
    truth = np.asarray(truth, float)
    return _mean(np.where(np.isnan(truth), np.nan, (lower <= truth) & (truth <= upper)))


def seasonal_naive(history, horizon, season=1):
    """Return the last season again and again, (horizon,).

    In the place of a value that is missing, NaN, is the last known one of that time of the season.
    """
    history = np.asarray(history, float)
    last = filled(history, np.zeros(0), season)[-season:]
    return last[np.arange(horizon) % len(last)]


def _errors(truth, forecast):
    return np.asarray(truth, float) - np.asarray(forecast, float)


def _changes(history, season):
    history = np.asarray(history, float)
    return history[season:] - history[:-season]


def _mean(values):
    """Return the mean of what is not NaN, or NaN if all is."""
    known = values[~np.isnan(values)]
    return known.mean() if known.size else np.nan


def _ratio(error, scale):
    return error / scale if scale > 0 else np.nan
