"""Intervals around forecasts: how wide, by windows that were held out (split conformal)."""

import math
from typing import NamedTuple

import numpy as np

LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9  # the quantiles that say how wide a forecast's distribution is
TINY = 1e-9  # of a series' scale: no half of an interval is narrower, so that all can be divided by


class Spread(NamedTuple):
    """A forecast and how wide its distribution is, each (horizon, n), as levels.

    Attributes
    ----------
    point : ndarray
        The forecast.
    below, above : ndarray
        From the median of the distribution down to its quantile 0.1, and up to its quantile 0.9.
    """

    point: np.ndarray
    below: np.ndarray
    above: np.ndarray

    @classmethod
    def of_paths(cls, point, paths):
        """Return that of a forecast (h, n) with possible futures (h, n, S)."""
        low, middle, high = np.quantile(paths, [LOW, MIDDLE, HIGH], axis=2)
        return cls(point, middle - low, high - middle)

    def scores(self, truth, scales):
        """Return how far truths (h, n) are off, in units of that side's width.

        ``scales`` (n,) are the series' own; where it is 0, as a series never changes, it is NaN.
        """
        error = truth - self.point
        width = np.maximum(np.where(error < 0, self.below, self.above), TINY * scales)
        return np.abs(error) / np.where(scales == 0, np.nan, width)

    def interval(self, scores, coverage):
        """Return the lower and the upper ends (h, n) for a coverage.

        ``scores`` (W, K) are those of held-out windows, K steps ahead, NaN where there is none.
        """
        factor = factors(scores, coverage, len(self.point))[:, None]
        return self.point - factor * self.below, self.point + factor * self.above


def factors(scores, coverage, horizon):
    """Return how many widths an interval of a coverage goes to each side, (horizon,).

    For each step ahead it is the ceil((n + 1) * coverage)-th smallest of the n scores of that step
    (Vovk et al. 2005; Lei et al. 2018); the largest, if there are too few. Beyond the last step
    that has scores it is that step's.

    References
    ----------
    Lei, J. et al. (2018). Distribution-free predictive inference for regression. Journal of the
    American Statistical Association 113.
    """
    found = []
    for column in scores.T:
        known = np.sort(column[np.isfinite(column)])
        if not len(known):
            break
        rank = min(math.ceil((len(known) + 1) * coverage), len(known))
        found.append(known[rank - 1])
    found = found or [0.0]  # of a series that does not change, which is all there is to say
    return np.array([found[min(step, len(found) - 1)] for step in range(horizon)])
