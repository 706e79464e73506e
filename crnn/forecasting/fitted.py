"""What a forecaster knows of its series, how it goes on and what it forecasts."""

from dataclasses import dataclass, replace

import numpy as np

from crnn.forecasting import learning
from crnn.forecasting.calendar import Step, features_of
from crnn.forecasting.forecast import Forecast
from crnn.forecasting.futures import Origins
from crnn.forecasting.layout import Layout
from crnn.forecasting.preprocessing import Preprocessing, filled, tails
from crnn.forecasting.series import read_future
from crnn.forecasting.settings import Settings

STREAMS = 200  # possible futures of a forecast
KEPT = 200  # values at a series' end that are kept, or more if seasons are long


@dataclass(frozen=True)
class Fitted:
    """What a forecaster knows of N series; `extended` makes another one with more values.

    Attributes
    ----------
    settings : Settings
    layout : Layout
    step : Step
    preprocessing : Preprocessing
    entropy : int
        What all random numbers come from.
    networks : list
        One for all series, or one for each.
    epochs : list of int
        How long each was trained.
    scores : list of ndarray (W, K)
        Of each network, how far forecasts of what was held out were off: see `Spread.scores`.
    states : list
        Of each network, before the last known values of its series.
    known : ndarray (N, V)
        Their last values, transformed, and covariates of the past.
    recent : list of ndarray (R,)
        Their last values, as they came, with what is missing filled in.
    covariates : ndarray (N, reach, F)
        Their last rows of X, as they came: those that differences of the next ones need.
    lasts : list
        The last time of each series.
    residuals : list of ndarray (R, V)
        What came minus what was expected a step before.
    histories : list of History
        Of each network's training; empty if it is from a file.
    """

    settings: Settings
    layout: Layout
    step: Step
    preprocessing: Preprocessing
    entropy: int
    networks: list
    epochs: list
    scores: list
    states: list
    known: np.ndarray
    recent: list
    covariates: np.ndarray
    lasts: list
    residuals: list
    histories: list

    @property
    def groups(self):
        """Which series each network is of, a list of arrays of numbers."""
        return groups_of(len(self.layout.names), self.settings)


def groups_of(series, settings):
    """Return which of N series each network is of, a list of arrays of numbers."""
    numbers = np.arange(series)
    return [numbers] if settings.shared else list(numbers[:, None])


def column_numbers(settings, columns):
    """Return which columns of X are of the past only, and which are known ahead: two lists."""
    for name in settings.past:
        if name not in columns:
            raise ValueError(f"past has {name!r}; X has the columns {list(columns)}")
    past = [number for number, name in enumerate(columns) if name in settings.past]
    return past, [number for number in range(len(columns)) if number not in past]


def known_and_ahead(settings, preprocessing, columns, rows, times):
    """Return the inputs beside a series' own values: those of the past, and those known ahead.

    ``columns`` are the names of those of ``rows`` (reach + T, F), of which the first go before
    ``times`` (T,).
    """
    past, ahead = column_numbers(settings, columns)
    calendar = features_of(times, settings.calendar)
    return preprocessing.covariates(rows[:, past], past), np.concatenate(
        [calendar, preprocessing.covariates(rows[:, ahead], ahead)], 1)


def check_values(settings, layout, values):
    """Raise ValueError if values (T_i,) are missing, or have no logarithm."""
    for number, each in enumerate(values):
        missing = np.isnan(each)
        if missing.any() and settings.missing == "error":
            raise ValueError(
                f"{layout.where(number)} has {int(missing.sum())} missing values (NaN), the first"
                f" in row {int(missing.argmax())}; fill them in, or say missing='skip': then they"
                " are nothing to learn from, and the network reads the value of a season (or step)"
                " before in their place")
        if settings.log and (each <= 0).any():
            raise ValueError(
                f"{layout.where(number)} has the value {each[each <= 0][0]:g}, of which there is no"
                " logarithm; say log=False")


def extended(fitted, panel):
    """Return a `Fitted` with the values of a panel after those before, in O(their number).

    Raises
    ------
    ValueError
        If the settings do not allow such values.
    """
    settings, done = fitted.settings, fitted.preprocessing
    known, covariates = fitted.known.copy(), fitted.covariates.copy()
    check_values(settings, fitted.layout, panel.values)
    values, inputs = [], []
    for number, before in enumerate(fitted.recent):
        new = filled(panel.values[number], before, settings.repeats_after)
        rows = np.concatenate([covariates[number], panel.covariates[number]])
        past, ahead = known_and_ahead(
            settings, done, fitted.layout.columns, rows, panel.times[number])
        own = done.transform(np.concatenate([before[len(before) - done.reach:], new]), number)
        read = np.concatenate([known[[number]], np.concatenate([own[:, None], past], 1)])
        inputs.append(np.concatenate([read[:-1], ahead], 1).astype(settings.dtype))
        known[number] = read[-1]
        covariates[number] = rows[len(rows) - done.reach:]
        values.append(np.concatenate([before, new])[-kept(settings, done):])
    states = [net([inputs[number] for number in group], state)[1]
              for net, state, group in zip(
                  fitted.networks, fitted.states, fitted.groups, strict=True)]
    lasts = [times[-1] if len(times) else last
             for times, last in zip(panel.times, fitted.lasts, strict=True)]
    return replace(
        fitted, states=states, known=known, recent=values, lasts=lasts, covariates=covariates)


def kept(settings, preprocessing):
    """Return how many values at the end of a series are kept."""
    return max(KEPT, preprocessing.reach, 4 * settings.repeats_after)


def forecast(fitted, horizon, X, coverage):
    """Return the `Forecast` of the next steps.

    Raises
    ------
    TypeError, ValueError
        If X, as users give it, is not what is known ahead.
    """
    layout = fitted.layout
    times = [fitted.step.after(last, horizon) for last in fitted.lasts]
    _, columns = column_numbers(fitted.settings, layout.columns)
    future = read_future(X, layout, [layout.columns[k] for k in columns], times)
    done, calendar = fitted.preprocessing, fitted.settings.calendar
    ahead = []
    for before, rows, own in zip(fitted.covariates[..., columns], future, times, strict=True):
        known = done.covariates(np.concatenate([before, rows]), columns)
        ahead.append(np.concatenate([features_of(own, calendar), known], 1))
    mean, ends = _levels(fitted, np.stack(ahead, 1), coverage)
    mean, ends = done.natural(mean), {level: done.natural(each) for level, each in ends.items()}
    if layout.form == "one":
        mean, ends = mean[:, 0], {level: each[..., 0] for level, each in ends.items()}
    are_equal = all((each == times[0]).all() for each in times)
    return Forecast(
        mean, {level: lower for level, (lower, _) in ends.items()},
        {level: upper for level, (_, upper) in ends.items()},
        times[0] if are_equal else np.stack(times, 1), layout.names)


def _levels(fitted, ahead, coverage):
    """Return forecasts (h, N), and by coverage their intervals (2, h, N), before `natural`.

    ``ahead`` (h, N, F) is what is known of each step.
    """
    settings, done, shape = fitted.settings, fitted.preprocessing, ahead.shape[:2]
    before = [tails(done.levels(each), done.lags, [len(each) - 1]) for each in fitted.recent]
    mean, ends = np.empty(shape), {level: np.empty((2, *shape)) for level in coverage}
    for number, group in enumerate(fitted.groups):
        origins = Origins(
            group, fitted.states[number], fitted.known[group], ahead[:, group],
            [np.concatenate(each, 1) for each in zip(*(before[k] for k in group), strict=True)],
            [fitted.residuals[k] for k in group])
        spread = learning.spread_of(
            settings, done, fitted.networks[number], origins, STREAMS,
            np.random.default_rng([fitted.entropy, number]))
        mean[:, group] = spread.point
        for level, each in ends.items():
            each[..., group] = spread.interval(fitted.scores[number], level)
    return mean, ends
