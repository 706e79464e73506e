"""What is done to series, and undone."""

import numpy as np
import pytest

from crnn.forecasting import preprocessing
from crnn.forecasting.preprocessing import differences, filled, kpss, tails, undone

pytestmark = pytest.mark.no_backend


def test_differences_by_hand():
    levels = np.array([1.0, 4, 9, 16, 25, 36])
    np.testing.assert_array_equal(differences(levels, (1,)), [3, 5, 7, 9, 11])
    np.testing.assert_array_equal(differences(levels, (1, 1)), [2, 2, 2, 2])
    np.testing.assert_array_equal(differences(levels, (2, 1)), [4, 4, 4])
    np.testing.assert_array_equal(differences(levels, ()), levels)


@pytest.mark.parametrize("lags", [(), (1,), (4,), (4, 1), (1, 1), (3, 2)])
def test_what_is_undone_is_as_it_was(lags, rng):
    levels, horizon = rng.standard_normal(30), 9
    origins = np.array([sum(lags) + 2, 15, 20])
    remaining = differences(levels, lags)
    ahead = np.stack([remaining[each - sum(lags) + 1 :][:horizon] for each in origins], 1)
    found = undone(ahead, tails(levels, lags, origins))
    wanted = np.stack([levels[each + 1 :][:horizon] for each in origins], 1)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    streams = undone(np.repeat(ahead[..., None], 2, 2), tails(levels, lags, origins))
    np.testing.assert_array_equal(streams[..., 1], found)


def test_undone_differences_of_zero_repeat_the_season():
    levels = np.arange(8.0) ** 2
    found = undone(np.zeros((5, 1)), tails(levels, (3,), [7]))
    np.testing.assert_array_equal(found[:, 0], [25, 36, 49, 25, 36])


def test_what_is_missing_is_the_value_of_a_season_before():
    values = np.array([1.0, 2, 3, np.nan, 5, np.nan, np.nan])
    np.testing.assert_array_equal(filled(values, np.zeros(0), 3), [1, 2, 3, 1, 5, 3, 1])
    np.testing.assert_array_equal(filled(values[3:], values[:3], 3), [1, 5, 3, 1])
    np.testing.assert_array_equal(filled([np.nan, 4], np.array([7.0]), 3), [7, 4])


def test_kpss_by_its_formula(rng):
    """Ten values and so lag 2: Bartlett's weights 2/3 and 1/3."""
    y = rng.standard_normal(10)
    e = y - y.mean()
    variance = np.mean(e**2) + 2 * (2 / 3 * (e[1:] @ e[:-1]) + 1 / 3 * (e[2:] @ e[:-2])) / 10
    assert kpss(y) == pytest.approx(np.sum(np.cumsum(e) ** 2) / (100 * variance), rel=1e-12)


def test_kpss_tells_what_wanders(rng):
    steps = rng.standard_normal((20, 200))
    wandering = [kpss(each) > preprocessing.KPSS_1_PERCENT for each in np.cumsum(steps, 1)]
    still = [kpss(each) > preprocessing.KPSS_1_PERCENT for each in steps]
    assert np.sum(wandering) > 15
    assert np.sum(still) == 0
    assert kpss(np.full(20, 3.0)) == 0
