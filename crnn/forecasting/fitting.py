"""From series to what a forecaster knows of them."""

import numpy as np

from crnn.base import checks
from crnn.engine.threads import threads
from crnn.forecasting import learning, preprocessing
from crnn.forecasting.fitted import (
    Fitted,
    check_values,
    column_numbers,
    groups_of,
    kept,
    known_and_ahead,
)
from crnn.forecasting.preprocessing import filled

FEWEST = 8  # steps that have to be left of a series when differences have been taken


def fit(settings, panel, progress=False):
    """Return the `Fitted` of a `Panel`.

    Raises
    ------
    TypeError, ValueError
        If series are too short, or the settings do not allow what they have.
    """
    layout, step = panel.layout, panel.step
    _check_covariates(settings, panel)
    check_values(settings, layout, panel.values)
    observed, covariates, times = _from_first_values(panel)
    values = [filled(each, np.zeros(0), settings.repeats_after) for each in observed]
    lags = preprocessing.chosen_lags(settings, values)
    _check_lengths(settings, layout, values, lags)
    done = preprocessing.fitted(settings, lags, values, covariates, observed)
    _warn_of_constants(layout, done.scale)
    series = [
        learning.prepared(done, number, values[number], observed[number], *known_and_ahead(
            settings, done, layout.columns, covariates[number], times[number][done.reach:]))
        for number in range(len(values))
    ]
    _check_seen(layout, series)
    entropy = np.random.SeedSequence(settings.seed).entropy
    groups = [[series[k] for k in group] for group in groups_of(len(series), settings)]
    learned = _learned(settings, done, groups, entropy, progress)
    return Fitted(
        settings, layout, step, done, entropy, networks=[each.net for each in learned],
        epochs=[each.epochs for each in learned], scores=[each.scores for each in learned],
        states=[each.state for each in learned],
        known=np.stack([each.values[-1] for each in series]),
        recent=[each[-kept(settings, done):] for each in values],
        covariates=np.stack([each[len(each) - done.reach:] for each in covariates]),
        lasts=[each[-1] for each in times],
        residuals=[own for each in learned for own in each.residuals],
        histories=[each.history for each in learned],
    )


def _learned(settings, done, groups, entropy, progress):
    """Return what is learned of each group: here, or wherever joblib is told to work."""
    seeds = [int(np.random.SeedSequence([entropy, number]).generate_state(1)[0])
             for number in range(len(groups))]
    jobs = [(settings, done, group, seed) for group, seed in zip(groups, seeds, strict=True)]
    if len(jobs) == 1:
        return [learning.learn(*jobs[0], progress)]
    with threads(1):  # each network is small, and other ones can use the other processors
        try:
            from joblib import Parallel, delayed
        except ImportError as error:
            if settings.n_jobs in (None, 1):
                return [learning.learn(*each) for each in jobs]
            raise ImportError(
                "n_jobs needs joblib; install it with: pip install 'crnn[sklearn]'") from error
        return Parallel(n_jobs=settings.n_jobs)(delayed(learning.learn)(*each) for each in jobs)


def _check_covariates(settings, panel):
    _, ahead = column_numbers(settings, panel.layout.columns)
    if settings.direct and ahead:
        raise ValueError(
            f"direct=True forecasts from the past alone, and X has columns that are known ahead:"
            f" {[panel.layout.columns[k] for k in ahead]}; name them as past=, or leave out direct")
    if settings.calendar and panel.times[0].dtype.kind != "M":
        raise ValueError(
            f"calendar={settings.calendar} needs dates; give them as time=, or y as a frame with a"
            " column or an index of dates")


def _from_first_values(panel):
    """Return values, covariates and times of each series from its first value that is there."""
    found = []
    for number, (values, rows, times) in enumerate(
            zip(panel.values, panel.covariates, panel.times, strict=True)):
        there = np.flatnonzero(~np.isnan(values))
        if not len(there):
            raise ValueError(f"{panel.layout.where(number)} has no value that is not NaN")
        found.append((values[there[0]:], rows[there[0]:], times[there[0]:]))
    return [list(each) for each in zip(*found, strict=True)]


def _check_lengths(settings, layout, values, lags):
    horizon = settings.horizon if settings.direct else 0
    wanted = sum(lags) + 2 * horizon + FEWEST
    for number, each in enumerate(values):
        if len(each) < wanted:
            direct = f", and twice the horizon of {horizon} with direct=True" if horizon else ""
            raise ValueError(
                f"{layout.where(number)} is too short: it has {len(each)} values; at least {wanted}"
                f" are wanted, {FEWEST} beyond the differences {lags}{direct}")


def _check_seen(layout, series):
    """Raise ValueError if so much is missing that there is nothing to learn from, or to try."""
    for number, each in enumerate(series):
        seen = np.isfinite(each.seen).all(1)
        if not (seen[1 : each.cut].any() and seen[each.cut :].any()):
            raise ValueError(
                f"{layout.where(number)} has too few values that are not missing: among its first"
                f" {each.cut} steps, or its last {len(seen) - each.cut}, there is none whose"
                " differences are known; leave it out, or fill it in")


def _warn_of_constants(layout, scale):
    constant = [name for name, each in zip(layout.names, scale, strict=True) if each == 0]
    if constant:
        checks.warn(
            f"{len(constant)} series (the first: {constant[0]!r}) never change from season to"
            " season; their forecast is that they do not, without any width")
