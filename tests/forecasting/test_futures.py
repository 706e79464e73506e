"""The closed loop against processes whose forecasts are known."""

import numpy as np
import pytest

import crnn
from crnn.forecasting.futures import Origins, closed_loop, direct_spread, spread
from crnn.forecasting.intervals import Spread, factors
from crnn.forecasting.preprocessing import Preprocessing, tails

pytestmark = pytest.mark.no_backend
PHI, SIGMA, H = 0.7, 1.5, 6
WIDTH = 1.2815515655446004  # of a standard normal distribution's quantile 0.9


def linear_network(weights):
    """Return a network whose output is the weighted sum of its inputs, but for 1e-7."""
    net = crnn.RNN(len(weights), 1, 1, dtype="float64", seed=0)
    net.vector = np.zeros(net.num_parameters)
    net.parameters["W_xh_l0"] = 1e-5 * np.array(weights)[:, None]
    net.parameters["W_hy"] = [[1e5]]
    return net


def preprocessing(lags=(), shift=0.0, scale=1.0, log=False):
    nothing = np.zeros(0)
    return Preprocessing(log, lags, np.array([shift]), np.array([scale]),
                         np.zeros((1, H)), np.ones((1, H)), nothing, nothing)


def origins(known, residuals, before=(), ahead=None):
    known = np.array(known, float).reshape(-1, 1)
    count = len(known)
    return Origins(
        np.zeros(count, int), np.zeros((1, count, 1)), known,
        np.zeros((H, count, 0)) if ahead is None else ahead, list(before), [residuals] * count)


def test_what_is_expected_is_the_next_input():
    """v[k+1] = 0.5 v[k] + 2 a[k], by hand."""
    ahead = np.array([[[1.0]], [[0.0]], [[3.0]]])
    found = closed_loop(linear_network([0.5, 2]), np.zeros((1, 1, 1)), np.array([[4.0]]), ahead,
                        np.array([[[0.0]], [[1.0]], [[0.0]]]))
    np.testing.assert_allclose(found[:, 0], [4, 3, 7.5], rtol=1e-7)


def test_intervals_of_an_ar_process_are_as_wide_as_they_are(rng):
    """The variance k steps ahead is SIGMA**2 * (1 - PHI**(2 k)) / (1 - PHI**2)."""
    residuals = SIGMA * rng.standard_normal((20_000, 1))
    done, start = preprocessing(), origins([2.0, -1.0], residuals)
    found = spread(done, linear_network([PHI]), start, 8000, rng)
    k = np.arange(1, H + 1)
    np.testing.assert_allclose(found.point, np.outer(PHI**k, [2, -1]), rtol=1e-6)
    width = WIDTH * SIGMA * np.sqrt((1 - PHI ** (2 * k)) / (1 - PHI**2))
    np.testing.assert_allclose(found.below, np.stack([width, width], 1), rtol=0.06)
    np.testing.assert_allclose(found.above, np.stack([width, width], 1), rtol=0.06)


def test_intervals_of_an_integrated_process_grow_as_they_do(rng):
    """An error adds (1 - PHI**j) / (1 - PHI) to the level j - 1 steps later."""
    residuals, levels = SIGMA * rng.standard_normal((20_000, 1)), np.array([5.0, 5, 6, 8])
    done = preprocessing((1,), shift=0.5, scale=2.0)
    start = origins([(2 - 0.5) / 2], residuals, tails(levels, (1,), [3]))
    found = spread(done, linear_network([PHI]), start, 8000, rng)
    point, change, wanted = 8.0, 2.0, []
    for _ in range(H):
        change = 0.5 + PHI * (change - 0.5)
        point += change
        wanted.append(point)
    np.testing.assert_allclose(found.point[:, 0], wanted, rtol=1e-6)
    psi = (1 - PHI ** np.arange(1, H + 1)) / (1 - PHI)
    width = WIDTH * 2 * SIGMA * np.sqrt(np.cumsum(psi**2))
    np.testing.assert_allclose(found.above[:, 0], width, rtol=0.06)


def test_streams_in_parts_are_those_together(rng, monkeypatch):
    residuals = rng.standard_normal((50, 1))
    net, start = linear_network([PHI]), origins([1.0, 2.0, 3.0], residuals)
    together = spread(preprocessing(), net, start, 100, np.random.default_rng(3))
    monkeypatch.setattr("crnn.forecasting.futures.AT_ONCE", 101)
    parts = spread(preprocessing(), net, start, 100, np.random.default_rng(3))
    for one, other in zip(together, parts, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_direct_forecast_by_hand():
    """Three quantiles of two steps each; what is asked for is one step, or both."""
    net = crnn.RNN(1, 1, 6, dtype="float64", seed=0)
    net.vector = np.zeros(net.num_parameters)
    net.parameters["b_y"] = [-1.0, -2, 0, 1, 2.5, 3]  # 0.1: -1, -2;  0.5: 0, 1;  0.9: 2.5, 3
    done = preprocessing((2,))._replace(
        direct_shift=np.array([[10.0, 20.0]]), direct_scale=np.array([[1.0, 2.0]]))
    before = tails(np.array([7.0, 3, 5]), (2,), [2])
    for horizon in (1, 2):
        start = origins([0.0], np.zeros((0, 1)), before)._replace(ahead=np.zeros((horizon, 1, 0)))
        found = direct_spread(done, net, start)
        # levels without differences: 3 and 5
        np.testing.assert_allclose(found.point[:, 0], [13, 5 + 22][:horizon])
        np.testing.assert_allclose(found.below[:, 0], [1, 6][:horizon])
        np.testing.assert_allclose(found.above[:, 0], [2.5, 4][:horizon])


def test_scores_by_hand():
    found = Spread(np.array([[10.0, 10]]), np.array([[2.0, 2]]), np.array([[4.0, 4]]))
    truth = np.array([[9.0, 18.0]])
    np.testing.assert_allclose(found.scores(truth, np.ones(2)), [[0.5, 2]])
    lower, upper = found.interval(np.array([[1.5]]), 0.8)
    np.testing.assert_allclose((lower[0, 0], upper[0, 0]), (7, 16))


def test_factors_by_hand():
    """Of 9 scores the 8th is for 0.8, as ceil(10 * 0.8) = 8; of 3 none is above 0.95."""
    scores = np.full((9, 2), np.nan)
    scores[:, 0] = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    scores[:3, 1] = [3, 1, 2]
    np.testing.assert_array_equal(factors(scores, 0.8, 4), [0.8, 3, 3, 3])
    np.testing.assert_array_equal(factors(scores, 0.5, 2), [0.5, 2])
    np.testing.assert_array_equal(factors(scores, 0.95, 1), [0.9])
    np.testing.assert_array_equal(factors(np.full((2, 3), np.nan), 0.8, 2), [0, 0])
