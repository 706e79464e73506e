"""One network, trained on one series or on many, and tried on what it has not seen."""

from typing import NamedTuple

import numpy as np

from crnn.base.losses import LOSSES
from crnn.forecasting import futures
from crnn.forecasting.preprocessing import deviations, tails
from crnn.network.cells import BY_OPTION
from crnn.training.bucketing import batches
from crnn.training.fit import fit
from crnn.training.optimizers import Adam

HELD_OUT = 1 / 3  # of each series, its end: it says when to stop, and how wide intervals are
STREAMS = 100  # of each forecast from within what is held out
MOST_WINDOWS, WINDOWS_OF_ALL = 50, 1000  # such forecasts of a series, and of all of a network's
MOST_RESIDUALS = 1000  # of a series that are kept
QUANTILES = LOSSES["quantile"]  # 0.1, 0.5, 0.9, of a direct forecast


class Prepared(NamedTuple):
    """One series as a network sees it; its S steps are those that differences leave of T.

    Attributes
    ----------
    number : int
        Which of all series it is.
    levels, truth : ndarray (T,)
        Before differences; what is missing is filled in, or NaN.
    values, seen : ndarray (S, V)
        The series' own values, transformed, and covariates of the past; filled in, or NaN.
    ahead : ndarray (S, F)
        What is known of each step before: the calendar, and covariates of the future.
    direct : ndarray (S, horizon), or (S, 0)
        How far each value ahead is from undone differences of 0, scaled; NaN where it is missing.
    """

    number: int
    levels: np.ndarray
    truth: np.ndarray
    values: np.ndarray
    seen: np.ndarray
    ahead: np.ndarray
    direct: np.ndarray

    @property
    def inputs(self):
        """What the network reads, (S - 1, V + F): values, and what is known of the next step."""
        return np.concatenate([self.values[:-1], self.ahead[1:]], 1)

    @property
    def targets(self):
        """What the network is to give, (S - 1, V): the next values, or directly all those ahead."""
        return self.direct[:-1] if self.direct.shape[1] else self.seen[1:]

    @property
    def cut(self):
        """The first step that is held out."""
        return len(self.values) - max(1, int(len(self.values) * HELD_OUT))

    def targets_before(self, cut):
        """Return the targets of inputs before a cut that are values before it, too."""
        targets = self.targets[: cut - 1].copy()
        for ahead in range(self.direct.shape[1]):  # of the step 1 + ahead after each input's
            targets[max(cut - 1 - ahead, 0):, ahead] = np.nan
        return targets


class Learned(NamedTuple):
    """What `learn` returns.

    Attributes
    ----------
    net : RNN, GRU or LSTM
    history : History
        Of the training that was stopped by what was held out.
    epochs : int
        How many of them were best; the network is trained on everything for as many.
    state : ndarray (L, N, H), or a tuple of two
        After all inputs of each series.
    residuals : list of ndarray (R, V)
        Of each series, what came minus what was expected a step before; of a direct forecast none.
    scores : ndarray (W, K)
        `Spread.scores` of forecasts from within what was held out.
    """

    net: object
    history: object
    epochs: int
    state: object
    residuals: list
    scores: np.ndarray


def prepared(preprocessing, number, values, observed, past, ahead):
    """Return the `Prepared` of a series' values (T,), those observed, and covariates (S, ...)."""
    own, seen = (preprocessing.transform(each, number)[:, None] for each in (values, observed))
    shift, scale = preprocessing.direct_shift[number], preprocessing.direct_scale[number]
    direct = deviations(preprocessing, values, observed, len(shift))
    direct = (direct - shift) / np.where(scale == 0, 1.0, scale)
    return Prepared(
        number, preprocessing.levels(values), preprocessing.levels(observed),
        np.concatenate([own, past], 1), np.concatenate([seen, past], 1), ahead, direct)


def learn(settings, preprocessing, group, seed, progress=False):
    """Train a network on a group of series.

    Two are trained. The first sees each series but for its end (`HELD_OUT`), which says after how
    many epochs it was best, and how far forecasts from within that end are off. The second, which
    is kept, is trained on everything for as many epochs.

    Parameters
    ----------
    settings : Settings
    preprocessing : Preprocessing
    group : list of Prepared
    seed : int
    progress : bool
        Whether bars show how far the two trainings are.

    Returns
    -------
    Learned
    """
    inputs = [each.inputs.astype(settings.dtype) for each in group]
    first_inputs = [x[: each.cut - 1] for x, each in zip(inputs, group, strict=True)]
    first_targets = [each.targets_before(each.cut) for each in group]
    held_out, warm_up = _held_out(group)
    sizes = inputs[0].shape[1], first_targets[0].shape[1]
    first = network(settings, *sizes, seed)
    history = _train(
        settings, first, first_inputs, first_targets, settings.epochs, seed,
        validation=(inputs, held_out), warm_up=warm_up, patience=settings.patience,
        progress=progress)
    epochs = 1 + int(np.argmin(history["validation_loss"]))
    residuals = _residuals(settings, first, first_inputs, first_targets)
    scores = _scores(settings, preprocessing, first, group, inputs, residuals, seed)
    targets, final = [each.targets for each in group], network(settings, *sizes, seed)
    _train(settings, final, inputs, targets, epochs, seed, progress=progress)
    residuals = _residuals(settings, final, inputs, targets)
    return Learned(final, history, epochs, final(inputs)[1], residuals, scores)


def network(settings, inputs, targets, seed):
    """Return a new network with so many inputs, and outputs for so many targets."""
    return BY_OPTION[settings.cell](
        inputs, settings.hidden_size, targets * outputs_of_a_target(settings),
        num_layers=settings.num_layers, dtype=settings.dtype, seed=seed)


def outputs_of_a_target(settings):
    """Return how many outputs say something of each target."""
    return QUANTILES.blocks if settings.direct else 1


def _held_out(group):
    """Return targets of whole series, and how many steps at their start do not count.

    Where that is not the same in all of them, what does not count is missing instead.
    """
    targets, cuts = [each.targets for each in group], {each.cut for each in group}
    if len(cuts) == 1:
        return targets, cuts.pop() - 1
    targets = [each.copy() for each in targets]
    for each, series in zip(targets, group, strict=True):
        each[: series.cut - 1] = np.nan
    return targets, 0


def _train(settings, net, inputs, targets, epochs, seed, validation=None, **options):
    """Train a network on lists of arrays; ``validation`` are two such lists."""
    longest, count = max(map(len, inputs)), len(inputs)
    chunks = -(-longest // settings.truncation)
    pairs = [(inputs, targets)] if validation is None else [(inputs, targets), validation]
    has_all = not any(np.isnan(each).any() for _, arrays in pairs for each in arrays)
    pairs = [(x, [each.astype(settings.dtype) for each in arrays]) for x, arrays in pairs]
    if count == 1:  # an array is quicker than a list with one in it
        pairs = [(x[0], arrays[0]) for x, arrays in pairs]
    data, *held_out = pairs
    if count > 1:
        data = batches(*data, batch_size=settings.batch_size, seed=seed)
    if held_out:
        options["validation"] = held_out[0]
    return fit(
        net, data, Adam(settings.lr), epochs=epochs, missing="error" if has_all else "skip",
        clip_norm=1.0, seed=seed, loss=QUANTILES if settings.direct else "mse",
        truncation=-(-longest // chunks), **options)


def _residuals(settings, net, inputs, targets):
    """Return of each series what came minus what was expected, where all of it was seen."""
    if settings.direct:
        return [np.zeros((0, 1)) for _ in inputs]
    found = []
    for y, each in zip(net(inputs)[0], targets, strict=True):
        errors = each - y
        found.append(errors[np.isfinite(errors).all(1)][-MOST_RESIDUALS:])
    return found


def _scores(settings, preprocessing, net, group, inputs, residuals, seed):
    """Return how far forecasts from within what is held out are off, (W, K): see `Spread.scores`.

    K is at most half of what is held out, so that there are some of each step.
    """
    most = max(1, min(MOST_WINDOWS, WINDOWS_OF_ALL // len(group)))
    longest = min(settings.horizon, max(
        max(1, (len(each.values) - each.cut) // 2) for each in group))
    generator, parts = np.random.default_rng(seed), []
    for each, x, own in zip(group, inputs, residuals, strict=True):
        places = _origins_within(each, most)
        origins = futures.Origins(
            np.full(len(places), each.number), _states(net, x, places), each.values[places],
            _ahead(each, places, longest),
            tails(each.levels, preprocessing.lags, places + preprocessing.reach),
            [own] * len(places))
        found = spread_of(settings, preprocessing, net, origins, STREAMS, generator)
        truth = _truth(each, places + preprocessing.reach, longest)
        parts.append(found.scores(truth, preprocessing.scale[origins.numbers]).T)
    return np.concatenate(parts)


def spread_of(settings, preprocessing, net, origins, streams, generator):
    """Return the `Spread` of forecasts from some origins, in levels."""
    if settings.direct:
        return futures.direct_spread(preprocessing, net, origins)
    return futures.spread(preprocessing, net, origins, streams, generator)


def _origins_within(series, most):
    """Return the last known steps of forecasts from within what is held out, evenly spread."""
    first = series.cut - 1
    count = len(series.values) - 1 - first
    chosen = min(most, count)
    return first + ((np.arange(chosen) + 0.5) * count / chosen).astype(int)


def _states(net, x, places):
    """Return the states before some steps are read, (L, n, H), or a tuple of two."""
    state, states, before = None, [], 0
    for place in places:
        _, state = net(x[before:place], state)
        states.append(state)
        before = place
    if isinstance(states[0], tuple):
        return tuple(np.stack(each, 1) for each in zip(*states, strict=True))
    return np.stack(states, 1)


def _ahead(series, places, longest):
    """Return what is known ahead of the steps after some places, (longest, n, F)."""
    rows = places + 1 + np.arange(longest)[:, None]
    return series.ahead[np.minimum(rows, len(series.ahead) - 1)]


def _truth(series, places, longest):
    """Return the levels that came after some places, (longest, n), NaN beyond the end."""
    rows = places + 1 + np.arange(longest)[:, None]
    beyond = rows >= len(series.truth)
    return np.where(beyond, np.nan, series.truth[np.where(beyond, 0, rows)])
