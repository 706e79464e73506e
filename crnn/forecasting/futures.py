"""From what is known to what may come: the closed loop, and how wide its futures lie."""

from typing import NamedTuple

import numpy as np

from crnn.forecasting.intervals import Spread
from crnn.forecasting.preprocessing import undone

AT_ONCE = 20_000  # streams that run together, so that memory is bounded


class Origins(NamedTuple):
    """n places from which is forecast, of one series or of many.

    Attributes
    ----------
    numbers : ndarray of int (n,)
        Which series each is of.
    state : ndarray (L, n, H), or a tuple of two
        Of the network before it reads the last known values.
    known : ndarray (n, V)
        The last known values: the series' own first, and then covariates of the past.
    ahead : ndarray (h, n, F)
        What is known of each step that is forecast.
    tails : list of ndarray (lag, n)
        See `crnn.forecasting.preprocessing.tails`.
    residuals : list of ndarray (R, V)
    """

    numbers: np.ndarray
    state: object
    known: np.ndarray
    ahead: np.ndarray
    tails: list
    residuals: list

    def part(self, part):
        """Return those of a slice."""
        return Origins(
            self.numbers[part], _of_each_state(self.state, lambda array: array[:, part]),
            self.known[part], self.ahead[:, part], [tail[:, part] for tail in self.tails],
            self.residuals[part])


def closed_loop(net, state, known, ahead, noise):
    """Run streams into the future: what the network expects, with noise, is its next input.

    ::

        v_{k+1} = net(v_k, ahead_k) + noise_k;   k = 0, 1, ... h-1

    Parameters
    ----------
    net : RNN, GRU or LSTM
    state : ndarray (L, B, H), or a tuple of two
    known : ndarray (B, V)
        v_0.
    ahead : ndarray (h, B, F)
    noise : ndarray (h, B, V)

    Returns
    -------
    ndarray (h, B)
        The first numbers of v_1 to v_h: the series' own.
    """
    stream = net.stream(len(known))
    stream.state = state
    values, own = known, np.empty((len(noise), len(known)))
    for step, (row, random) in enumerate(zip(ahead, noise, strict=True)):
        values = stream.step(np.concatenate([values, row], 1).astype(net.dtype)) + random
        own[step] = values[:, 0]
    return own


def spread(preprocessing, net, origins, streams, generator):
    """Return the `Spread` of forecasts from some origins, in levels.

    In closed loop: of ``streams`` futures with residuals drawn anew at each step, and of one
    without, the forecast.
    """
    size, parts = max(1, AT_ONCE // (streams + 1)), []
    for first in range(0, len(origins.numbers), size):
        part = origins.part(slice(first, first + size))
        parts.append(_looped(preprocessing, net, part, streams, generator))
    return Spread(*(np.concatenate(each, 1) for each in zip(*parts, strict=True)))


def _looped(preprocessing, net, origins, streams, generator):
    (horizon, count), each = origins.ahead.shape[:2], streams + 1
    noise = [_drawn(residuals, horizon, streams, generator) for residuals in origins.residuals]
    state = _of_each_state(origins.state, lambda array: np.repeat(array, each, 1))
    found = closed_loop(
        net, state, np.repeat(origins.known, each, 0), np.repeat(origins.ahead, each, 1),
        np.concatenate(noise, 1))
    scaled = found.reshape(horizon, count, each)
    levels = preprocessing.restored(scaled, origins.tails, origins.numbers)
    return Spread.of_paths(levels[..., -1], levels[..., :-1])


def _drawn(residuals, horizon, streams, generator):
    """Return noise (horizon, streams + 1, V): rows of residuals (R, V), and 0 for the last stream.

    Rows are drawn whole, so that what comes together stays together.
    """
    noise = np.zeros((horizon, streams + 1, residuals.shape[1]))
    noise[:, :-1] = residuals[generator.integers(len(residuals), size=(horizon, streams))]
    return noise


def direct_spread(preprocessing, net, origins):
    """Return the `Spread` of forecasts of a network with an output for each quantile and step."""
    horizon, count = origins.ahead.shape[:2]
    x = np.concatenate([origins.known, origins.ahead[0]], 1).astype(net.dtype)
    y = net(x[None], origins.state)[0][0].astype(np.float64)
    scaled = np.sort(y.reshape(count, 3, -1)[..., :horizon], axis=1)  # no quantile below a lower
    numbers = origins.numbers
    away = (scaled * preprocessing.direct_scale[numbers, None, :horizon]
            + preprocessing.direct_shift[numbers, None, :horizon])
    low, middle, high = away.transpose(1, 2, 0)
    base = undone(np.zeros((horizon, count)), origins.tails)
    return Spread(base + middle, middle - low, high - middle)


def _of_each_state(state, change):
    """Return a state changed by a function of its array, or of both arrays of an LSTM's."""
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)
