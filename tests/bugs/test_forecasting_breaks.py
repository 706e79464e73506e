"""Bugs planted one by one in copies of the forecaster's modules: the checks must catch every one.

They are faults that would be silent: there are forecasts with intervals, but others.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
from copies import COPY, Bug, fails, imported, planted

import crnn

pytestmark = pytest.mark.no_backend
FOLDER = Path(crnn.__file__).parent / "forecasting"
SOURCES = {"forecasting": ""} | {
    f"forecasting/{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.glob("*.py")) if path.stem != "__init__"
}
QUICK = {"hidden_size": 5, "epochs": 3, "seed": 0}
WAVE = np.exp(np.sin(np.arange(60) / 2) + 0.1 * np.random.default_rng(0).standard_normal(60))


def expected(fitted, known, state, ahead):
    """Return the levels of a forecast without noise, step by step, of one series."""
    done, levels = fitted.preprocessing, list(fitted.preprocessing.levels(fitted.recent[0]))
    stages = [levels]
    for lag in done.lags:
        stages.append([b - a for a, b in zip(stages[-1], stages[-1][lag:], strict=False)])
    values = known
    for row in ahead:
        x = np.concatenate([values, row]).astype(fitted.networks[0].dtype)
        y, state = fitted.networks[0](x[None], state)
        values = y[0].astype(float)
        value = values[0] * done.scale[0] + done.shift[0]
        for stage, lag in zip(reversed(stages[:-1]), reversed(done.lags), strict=True):
            value += stage[-lag]
            stage.append(value)
        if not done.lags:
            levels.append(value)
    return np.array(levels[-len(ahead):])


def check_loop(forecaster):
    """A forecast is the network's own outputs, each its next input, and all is undone."""
    for options in ({"season": 7, "log": True}, {"difference": (3, 2)}, {"difference": None}):
        fitted = forecaster(**QUICK, **options).fit(WAVE)
        mean = fitted.predict(9).mean
        fitted = fitted.fitted
        state = fitted.states[0][:, 0]
        wanted = expected(fitted, fitted.known[0], state, np.zeros((9, 0)))
        np.testing.assert_allclose(mean, fitted.preprocessing.natural(wanted), rtol=1e-5)
        read = fitted.preprocessing.transform(WAVE, 0)
        np.testing.assert_allclose(fitted.known[0, 0], read[-1], rtol=1e-12)
        net = fitted.networks[0]
        np.testing.assert_allclose(state, net(read[:-1, None])[1], rtol=1e-5, atol=1e-6)


def check_update(forecaster):
    """What was said after values goes on as if they had been there from the start."""
    for options in ({"season": 7, "log": True}, {"difference": None, "past": [0]}):
        X = WAVE[:, None] ** 2 if "past" in options else None
        rows = [None] * 3 if X is None else [X[:40], X[40:41], X[41:]]
        one = forecaster(**QUICK, **options).fit(WAVE[:40], rows[0])
        one.update(WAVE[40:41], rows[1]).update(WAVE[41:], rows[2])
        fitted = one.fitted
        values = fitted.preprocessing.transform(WAVE, 0)[:, None]
        if X is not None:
            done = fitted.preprocessing
            values = np.concatenate(
                [values, (X - done.covariate_shift) / done.covariate_scale], 1)
        net = fitted.networks[0]
        state = net(values[:-1].astype(net.dtype))[1]
        np.testing.assert_allclose(fitted.states[0][:, 0], state, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(fitted.known[0], values[-1], rtol=1e-12)
        np.testing.assert_array_equal(fitted.recent[0], WAVE)


def check_ahead(forecaster):
    """What is known ahead is read with the value before its step, in fit, predict and update."""
    X = np.random.default_rng(1).standard_normal((130, 1))
    y = 3 * X[:, 0]
    one = forecaster(hidden_size=6, epochs=80, lr=0.03, difference=None, seed=0)
    one.fit(y[:110], X[:110])
    assert np.abs(one.predict(5, X[110:115]).mean - y[110:115]).mean() < 0.6
    one.update(y[110:115], X[110:115])
    fitted = one.fitted
    done, net = fitted.preprocessing, fitted.networks[0]
    scaled = (X - done.covariate_shift) / done.covariate_scale
    values = done.transform(y, 0)[:, None]
    x = np.concatenate([values[:114], scaled[1:115]], 1)
    np.testing.assert_allclose(
        fitted.states[0][:, 0], net(x.astype(net.dtype))[1], rtol=1e-4, atol=1e-5)


def check_differences(forecaster):
    """Columns of X are read as differences, as y is, from rows that were kept."""
    X = np.random.default_rng(4).standard_normal((60, 2))
    one = forecaster(difference=(3, 2), past=[1], **QUICK).fit(WAVE[:40], X[:40])
    one.update(WAVE[40:41], X[40:41]).update(WAVE[41:51], X[41:51])
    mean, fitted = one.predict(9, X[51:, :1]).mean, one.fitted
    remaining = X[3:] - X[:-3]
    remaining = remaining[2:] - remaining[:-2]
    scaled = (remaining - remaining[:35].mean(0)) / remaining[:35].std(0)
    values = np.stack([fitted.preprocessing.transform(WAVE, 0), scaled[:, 1]], 1)
    net = fitted.networks[0]
    state = net(np.concatenate([values[:45], scaled[1:46, :1]], 1).astype(net.dtype))[1]
    np.testing.assert_allclose(fitted.states[0][:, 0], state, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.known[0], values[45], rtol=1e-10)
    np.testing.assert_allclose(
        mean, expected(fitted, values[45], state, scaled[46:, :1]), rtol=1e-5)


def check_residuals(forecaster):
    """Residuals are what came minus what was expected a step before."""
    fitted = forecaster(**QUICK).fit(WAVE).fitted
    read = fitted.preprocessing.transform(WAVE, 0)[:, None]
    wanted = read[1:] - fitted.networks[0](read[:-1])[0]
    np.testing.assert_allclose(fitted.residuals[0], wanted, rtol=1e-4, atol=1e-5)


def check_coverage(forecaster):
    """Intervals of a process with ever larger steps cover its future, as held-out steps do."""
    rng, inside, widths = np.random.default_rng(2), [], []
    for seed in range(12):
        y = rng.standard_normal(132) * np.linspace(0.3, 2, 132)
        forecast = forecaster(hidden_size=4, epochs=30, seed=seed, difference=None, horizon=12).fit(
            y[:120]).predict(12)
        inside.append([np.mean((forecast.lower[c] <= y[120:]) & (y[120:] <= forecast.upper[c]))
                       for c in (0.8, 0.95)])
        widths.append([np.mean(forecast.upper[c] - forecast.lower[c]) for c in (0.8, 0.95)])
    share, most = np.mean(inside, 0)
    assert 0.68 <= share <= 0.92
    assert 0.88 <= most <= 0.995
    assert np.divide(*np.mean(widths, 0)[::-1]) > 1.3


def check_held_out(forecaster):
    """The end of a series says when to stop, and the first training has not seen it.

    The end is alone in going up with what is known ahead, which the rest does not.
    """
    rng = np.random.default_rng(3)
    X = rng.standard_normal((90, 1))
    y = np.where(np.arange(90) < 60, rng.standard_normal(90), 3 * X[:, 0])
    fitted = forecaster(hidden_size=5, epochs=25, patience=25, lr=0.02, difference=None,
                        seed=0).fit(y, X).fitted
    history = fitted.histories[0]
    assert min(history["validation_loss"]) > 1.2
    assert len(fitted.scores[0]) == 30  # one from each step but the last
    assert fitted.epochs[0] == 1 + int(np.argmin(history["validation_loss"]))


def check_direct(forecaster):
    """Each step ahead has its own three quantiles, of what goes on from differences of 0."""
    for options in ({"season": 7}, {"difference": None}):
        fitted = forecaster(direct=True, horizon=9, **QUICK, **options).fit(WAVE)
        forecast, fitted = fitted.predict(9), fitted.fitted
        done, net = fitted.preprocessing, fitted.networks[0]
        read = done.transform(WAVE, 0)[:, None]
        quantiles = np.sort(net(read.astype(net.dtype))[0][-1].reshape(3, 9), 0)
        base = np.tile(WAVE[-7:], 2)[:9] if "season" in options else np.zeros(9)
        ahead = [np.array([
            WAVE[t + k] - (WAVE[t + k - 7 * -(-k // 7)] if "season" in options else 0)
            for t in range(7 if "season" in options else 0, 60 - k)]) for k in range(1, 10)]
        shift, scale = (np.array([f(each) for each in ahead]) for f in (np.mean, np.std))
        np.testing.assert_allclose(forecast.mean, base + shift + scale * quantiles[1], rtol=1e-4)
        above = fitted.scores[0][:, 0]
        above = np.sort(above[np.isfinite(above)])
        rank = int(np.ceil((len(above) + 1) * 0.8)) - 1
        width = (quantiles[2] - quantiles[1])[0] * scale[0] * above[min(rank, len(above) - 1)]
        assert forecast.upper[0.8][0] == pytest.approx(forecast.mean[0] + width, rel=1e-4)


CHECKS = {"l": check_loop, "u": check_update, "a": check_ahead, "x": check_differences,
          "r": check_residuals, "c": check_coverage, "h": check_held_out, "d": check_direct}


BUGS = [
    Bug("the input stays what it was", "futures", "own[step] = values[:, 0]",
        "own[step] = values[:, 0]\n        values = known", "l"),
    Bug("noise in the forecast", "futures", "noise[:, :-1] = residuals", "noise[:] = residuals"
        "[np.arange(horizon)[:, None] % len(residuals)]\n    noise[:, :-1] = residuals", "l"),
    Bug("differences in the wrong order", "preprocessing", "for tail in reversed(tails):",
        "for tail in tails:", "l"),
    Bug("a season that is a step late", "preprocessing",
        "gone - lag + 1 + np.arange(lag)", "gone - lag + np.arange(lag)", "ld"),
    Bug("forecasts stay scaled", "preprocessing", "undone(scaled * scale + shift, tails)",
        "undone(scaled * scale, tails)", "l"),
    Bug("forecasts stay logarithms", "fitted", "mean, ends = done.natural(mean), {",
        "mean, ends = mean, {", "l"),
    Bug("the state has read the last value", "learning", "final(inputs)[1], residuals",
        "final([each.values.astype(settings.dtype) for each in group])[1], residuals", "l"),
    Bug("an update without the last known value", "fitted", "np.concatenate([read[:-1], ahead], 1)",
        "np.concatenate([read[1:], ahead], 1)", "ua"),
    Bug("an update without what went before", "fitted", "before[len(before) - done.reach:]",
        "before[: done.reach]", "u"),
    Bug("the last known value stays", "fitted", "known[number] = read[-1]",
        "known[number] = read[0]", "u"),
    Bug("recent values stay", "fitted", "recent=values, lasts", "recent=fitted.recent, lasts", "u"),
    Bug("covariates a step late", "learning", "self.ahead[1:]], 1)", "self.ahead[:-1]], 1)", "a"),
    Bug("covariates that are not scaled", "preprocessing",
        "(remaining - self.covariate_shift[columns]) /", "7 * remaining /", "ax"),
    Bug("covariates as they are", "preprocessing", "differences(rows, self.lags)",
        "rows[self.reach:]", "x"),
    Bug("the first rows of covariates are kept", "fitting", "each[len(each) - done.reach:]",
        "each[: done.reach]", "x"),
    Bug("an update keeps the rows of before", "fitted", "rows[len(rows) - done.reach:]",
        "rows[: done.reach]", "x"),
    Bug("covariates of the future a step late", "fitted", "np.concatenate([before, rows]), columns",
        "np.concatenate([before, np.roll(rows, 1, 0)]), columns", "ax"),
    Bug("residuals of the first training", "learning",
        "residuals = _residuals(settings, final, inputs, targets)", "pass", "r"),
    Bug("residuals of the same step", "learning", "errors = each - y", "errors = y - each", "r"),
    Bug("intervals that are not tried", "fitted",
        "spread.interval(fitted.scores[number], level)",
        "spread.interval(np.ones((9, 1)), level)", "c"),
    Bug("the same width for each coverage", "intervals", "(len(known) + 1) * coverage",
        "(len(known) + 1) * 0.8", "c"),
    Bug("tried on what was learned from", "learning", "first = series.cut - 1", "first = 0", "h"),
    Bug("trained on what is held out", "learning",
        "first_inputs = [x[: each.cut - 1] for", "first_inputs = [x for", "h"),
    Bug("the last epochs are the best", "learning", 'int(np.argmin(history["validation_loss"]))',
        'len(history) - 1', "h"),
    Bug("a quantile for each step", "futures", "y.reshape(count, 3, -1)",
        "y.reshape(count, -1, 3).swapaxes(1, 2)", "d"),
    Bug("no naive forecast below", "futures", "Spread(base + middle,", "Spread(middle,", "d"),
    Bug("steps ahead by one more", "preprocessing", "origins[:-ahead] + ahead]",
        "origins[:-ahead] + ahead - 1]", "d"),
    Bug("one side's width for both", "intervals", "self.point + factor * self.above",
        "self.point + factor * self.below", "d"),
]


def copies():
    """Return the class of the copy."""
    return importlib.import_module(f"{COPY}.forecasting.forecaster").Forecaster


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check):
    with imported(SOURCES):
        check(copies())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug):
    sources = planted(bug, "forecasting", SOURCES)
    for letter in bug.caught_by:
        with np.errstate(all="ignore"):
            assert fails(CHECKS[letter], copies, sources), (
                f"{bug.name} escaped {CHECKS[letter].__name__}")
