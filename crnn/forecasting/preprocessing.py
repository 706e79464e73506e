"""What is done to series before a network sees them, and undone on its forecasts."""

from typing import NamedTuple

import numpy as np

KPSS_1_PERCENT = 0.739  # Kwiatkowski et al. (1992), table 1
CONSTANT = 1e-12  # a deviation is none if it is a smaller share of the mean: rounding


class Preprocessing(NamedTuple):
    """What is done to the values of N series, in this order: logarithm, differences, scaling.

    Attributes
    ----------
    log : bool
        Whether the logarithm of values is taken.
    lags : tuple of int
        For each of them in turn, value[t] - value[t - lag].
    shift, scale : ndarray (N,)
        What remains is (value - shift) / scale: of each series its mean, and its deviation, which
        is 0 of a series that does not change.
    direct_shift, direct_scale : ndarray (N, horizon), or (N, 0) without a direct forecast
        The same of how far the value 1, 2, ... steps ahead is from what undone differences of 0
        would be.
    covariate_shift, covariate_scale : ndarray (F,)
        The same of the columns of X, which have the same differences taken, over all series: what
        goes with y then goes with its differences (regression with ARIMA errors).

    References
    ----------
    Hyndman, R. J. and Athanasopoulos, G. (2021). Forecasting: principles and practice, 3rd edition,
    chapter 10 (regression with ARIMA errors).
    """

    log: bool
    lags: tuple
    shift: np.ndarray
    scale: np.ndarray
    direct_shift: np.ndarray
    direct_scale: np.ndarray
    covariate_shift: np.ndarray
    covariate_scale: np.ndarray

    @property
    def reach(self):
        """How many values go before the first that differences are left of."""
        return sum(self.lags)

    def levels(self, values):
        """Return values as they are before differences: their logarithms, or themselves."""
        return np.log(values) if self.log else values

    def natural(self, levels):
        """Return the values that `levels` made levels of."""
        return np.exp(levels) if self.log else levels

    def transform(self, values, series):
        """Return what a network sees of a series' values (T,): (T - reach,)."""
        remaining = differences(self.levels(values), self.lags)
        return (remaining - self.shift[series]) / (self.scale[series] or 1.0)

    def covariates(self, rows, columns):
        """Return what a network sees of some columns of X, (T, K): (T - reach, K).

        ``columns`` are the numbers of those of ``rows``.
        """
        remaining = differences(rows, self.lags)
        return (remaining - self.covariate_shift[columns]) / self.covariate_scale[columns]

    def restored(self, scaled, tails, series):
        """Return the levels (h, n, S) of which `transform` would make ``scaled``.

        ``tails`` are those of the levels before, ``series`` (n,) which series they are of.
        """
        shift, scale = self.shift[series, None], self.scale[series, None]
        return undone(scaled * scale + shift, tails)


def differences(levels, lags):
    """Return levels[t] - levels[t - lag], for each of the lags in turn."""
    for lag in lags:
        levels = levels[lag:] - levels[:-lag]
    return levels


def tails(levels, lags, origins):
    """Return what is needed to undo the differences that come after some origins.

    Parameters
    ----------
    levels : ndarray (T,)
    lags : tuple of int
    origins : ndarray of int (n,)
        The last known places; each at least sum(lags) - 1.

    Returns
    -------
    list of ndarray (lag, n)
        For each of the lags the values that it is to be added to.
    """
    found, gone = [], 0
    for lag in lags:
        rows = np.asarray(origins) - gone - lag + 1 + np.arange(lag)[:, None]
        found.append(levels[rows])
        levels, gone = levels[lag:] - levels[:-lag], gone + lag
    return found


def undone(remaining, tails):
    """Return the levels (h, ...) that go on from ``tails`` with differences (h, ...).

    Each tail is (lag, n), with n along the second axis of the differences.
    """
    for tail in reversed(tails):
        lag, axes = len(tail), (1,) * (remaining.ndim - 2)
        whole = np.concatenate([
            np.broadcast_to(tail.reshape(*tail.shape, *axes), (lag, *remaining.shape[1:])),
            remaining])
        for step in range(lag, len(whole)):
            whole[step] += whole[step - lag]
        remaining = whole[lag:]
    return remaining


def fitted(settings, lags, values, covariates, observed):
    """Return the `Preprocessing` of series.

    Parameters
    ----------
    settings : Settings
    lags : tuple of int
    values : list of ndarray (T_i,)
        With what is missing filled in.
    covariates : list of ndarray (T_i, F)
    observed : list of ndarray (T_i,)
        The values with NaN where something is missing.
    """
    found = Preprocessing(settings.log, lags, *[np.zeros(0)] * 6)
    remaining = [differences(found.levels(each), lags) for each in observed]
    shift, scale = np.array([_moments(each, settings.scale) for each in remaining]).T
    longest = settings.horizon if settings.direct else 0
    direct_shift, direct_scale = np.stack([
        _moments_of_columns(deviations(found, known, seen, longest), settings.scale)
        for known, seen in zip(values, observed, strict=True)], 1)
    covariate_shift, covariate_scale = _moments_of_columns(
        np.concatenate([differences(each, lags) for each in covariates]), settings.scale)
    rounding = CONSTANT * np.abs(np.concatenate(covariates)).max(0)  # of columns that repeat
    covariate_scale = np.where(covariate_scale <= rounding, 1.0, covariate_scale)
    return Preprocessing(settings.log, lags, shift, scale, direct_shift, direct_scale,
                         covariate_shift, covariate_scale)


def chosen_lags(settings, values):
    """Return the lags of differences that settings name, or that fit the values of series."""
    if settings.difference != "auto":
        return settings.difference
    if settings.season is not None:
        return (settings.season,)
    wandering = [kpss(np.log(each) if settings.log else each) > KPSS_1_PERCENT for each in values]
    return (1,) if np.mean(wandering) > 0.5 else ()


def deviations(preprocessing, values, observed, longest):
    """Return how far values ahead are from undone differences of 0, (T - reach, longest).

    Row r is of the origin reach + r; where there is no value so far ahead it is NaN.
    """
    origins = np.arange(preprocessing.reach, len(values))
    found = np.full((len(origins), longest), np.nan)
    if not longest:
        return found
    levels, seen = preprocessing.levels(values), preprocessing.levels(observed)
    base = undone(np.zeros((longest, len(origins))), tails(levels, preprocessing.lags, origins))
    for ahead in range(1, min(longest, len(origins) - 1) + 1):
        found[:-ahead, ahead - 1] = seen[origins[:-ahead] + ahead] - base[ahead - 1, :-ahead]
    return found


def filled(values, before, lag):
    """Return values with each NaN replaced by the one ``lag`` steps before it.

    ``before`` are values that came before these. Where there are fewer than ``lag`` of them, the
    last one stands for it.
    """
    whole = np.concatenate([before, values])
    for place in len(before) + np.flatnonzero(np.isnan(values)):
        whole[place] = whole[place - lag] if place >= lag else whole[place - 1]
    return whole[len(before):]


def kpss(levels):
    """Return the KPSS statistic of a series around a constant: large ones speak for a trend.

    The sum of squared partial sums of deviations from the mean over T**2 times their long-run
    variance, with Bartlett's weights up to lag 4 * (T / 100)**(1 / 4).

    References
    ----------
    Kwiatkowski, D. et al. (1992). Testing the null hypothesis of stationarity against the
    alternative of a unit root. Journal of Econometrics 54.
    """
    e, T = levels - levels.mean(), len(levels)
    most = int(4 * (T / 100) ** 0.25)
    variance = e @ e / T + 2 * sum(
        (1 - lag / (most + 1)) * (e[lag:] @ e[:-lag]) / T for lag in range(1, most + 1))
    return np.sum(np.cumsum(e) ** 2) / (T * T * variance) if variance > 0 else 0.0


def _moments(values, scales):
    """Return shift and scale of a series; the scale is 0 if it does not change."""
    mean, std = np.nanmean(values), np.nanstd(values)
    if std <= CONSTANT * abs(mean):
        return mean, 0.0
    return (mean, std) if scales else (0.0, 1.0)


def _moments_of_columns(rows, scales):
    """Return `_moments` of columns (R, F), two arrays (F,); of one without a number 0 and 0."""
    columns = [each[np.isfinite(each)] for each in rows.T]
    found = [_moments(each, scales) if each.size else (0.0, 0.0) for each in columns]
    return np.array(found, float).reshape(len(columns), 2).T
