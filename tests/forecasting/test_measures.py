"""Measures of forecasts, by hand."""

import math

import numpy as np
import pytest

from crnn.forecasting.measures import coverage, mape, mase, rmsse, seasonal_naive

pytestmark = pytest.mark.no_backend
HISTORY, TRUTH, FORECAST = [1, 3, 2, 6], [4.0, 8.0], [5.0, 6.0]


def test_scaled_errors():
    assert mase(TRUTH, FORECAST, HISTORY) == pytest.approx(1.5 / (7 / 3))
    assert mase(TRUTH, FORECAST, HISTORY, 2) == pytest.approx(1.5 / 2)
    assert rmsse(TRUTH, FORECAST, HISTORY) == pytest.approx(math.sqrt(2.5 / (21 / 3)))
    assert rmsse(TRUTH, FORECAST, HISTORY, 2) == pytest.approx(math.sqrt(2.5 / 5))
    assert math.isnan(mase(TRUTH, FORECAST, [5, 5, 5]))
    assert mase([4, np.nan], FORECAST, [1, np.nan, 3, 4]) == 1


def test_percentage_error_and_coverage():
    assert mape(TRUTH, FORECAST) == pytest.approx((1 / 4 + 2 / 8) / 2)
    assert math.isnan(mape([0, 1], [1, 1]))
    assert coverage([1, 2, 3, np.nan], np.array([1, 3, 0, 0]), np.array([1, 4, 9, 9])) == (
        pytest.approx(2 / 3))


def test_seasonal_naive():
    assert seasonal_naive([1, 2, 3, 4], 5, 3).tolist() == [2, 3, 4, 2, 3]
    assert seasonal_naive([1, 2], 2).tolist() == [2, 2]
    assert seasonal_naive([1, 2, 3, np.nan, 5, 6], 3, 3).tolist() == [1, 5, 6]


def test_what_is_missing_is_measured_nowhere():
    nothing = [np.nan, np.nan]
    for measure in (mase, rmsse):
        assert math.isnan(measure(nothing, FORECAST, HISTORY))
        assert math.isnan(measure(TRUTH, FORECAST, HISTORY, 9))
    assert math.isnan(mape(nothing, FORECAST))
    assert math.isnan(coverage(nothing, np.zeros(2), np.ones(2)))
