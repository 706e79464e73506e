"""What forecasts reach on real and on generated series."""

import numpy as np
import pytest

import crnn

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]


def column(shared, name):
    return np.loadtxt(shared / name, delimiter=",", skiprows=1, usecols=1)


@pytest.mark.parametrize("options", [{}, {"direct": True}], ids=str)
def test_airline(shared, options):
    """Two years are forecast; if each were as the last one they would be off by 15.5 %."""
    y = column(shared, "airline.csv")
    errors = []
    for seed in range(5):
        forecaster = crnn.Forecaster(season=12, seed=seed, **options).fit(y[:-24])
        errors.append(np.abs(forecaster.predict(24).mean / y[-24:] - 1).mean())
    naive = np.abs(np.tile(y[-36:-24], 2) / y[-24:] - 1).mean()
    assert naive == pytest.approx(0.155, abs=5e-4)
    assert np.median(errors) <= 0.1


def test_intervals_cover_sunspots(shared):
    """Fifteen times eleven years, each of three seeds, as a single one's coverage is a chance."""
    y = column(shared, "sunspots.csv")
    found = [crnn.Forecaster(seed=seed).backtest(y, 11, folds=15).summary()["forecaster"]
             for seed in range(3)]
    assert 0.74 <= np.mean([each["inside_80"] for each in found]) <= 0.86
    assert np.mean([each["inside_95"] for each in found]) >= 0.9
    assert np.mean([each["mase"] for each in found]) < 1.5  # the last value's is 2.5


@pytest.mark.parametrize("shared_network", [False, True])
def test_intervals_cover_autoregressive_processes(shared_network):
    rng, processes = np.random.default_rng(3), []
    weights = [(0.8, 0), (0.5, 0), (1.2, -0.5), (0.3, 0.3), (-0.6, 0), (0.9, 0)]
    for number in range(50):
        one, two = weights[number % len(weights)]
        y = rng.standard_normal(336)
        for t in range(2, len(y)):
            y[t] += one * y[t - 1] + two * y[t - 2]
        processes.append(y[100:])
    forecaster = crnn.Forecaster(shared=shared_network, seed=0)
    found = forecaster.backtest(processes, 12, folds=3).summary()["forecaster"]
    assert 0.74 <= found["inside_80"] <= 0.86
    assert found["inside_95"] >= 0.9
