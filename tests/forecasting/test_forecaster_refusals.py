"""What a forecaster refuses, and what it says to do."""

import numpy as np
import pytest

import crnn

pytestmark = pytest.mark.no_backend
QUICK = {"hidden_size": 3, "epochs": 2, "seed": 0}
Y = np.sin(np.arange(40) / 3)
WIDE = np.stack([Y, np.cos(np.arange(40))], 1)
X = np.cos(np.arange(40) / 2)[:, None]
DAYS = np.datetime64("2024-01-01") + np.arange(40)
HOLE = np.where(np.arange(40) == 7, np.nan, Y)


def made(**options):
    return crnn.Forecaster(**{**QUICK, **options})


SETTINGS = {
    "cell": ({"cell": "transformer"}, ValueError, "gru"),
    "cell type": ({"cell": 3}, TypeError, "cell"),
    "season": ({"season": 1}, ValueError, "season"),
    "season type": ({"season": "year"}, TypeError, "season"),
    "difference": ({"difference": "log"}, ValueError, "auto"),
    "difference number": ({"difference": -1}, ValueError, "difference"),
    "calendar": ({"calendar": ("century",)}, ValueError, "hour"),
    "past": ({"past": (1.5,)}, TypeError, "columns of X"),
    "lr": ({"lr": 0}, ValueError, "lr"),
    "epochs": ({"epochs": 0}, ValueError, "epochs"),
    "log": ({"log": 1}, TypeError, "log"),
    "missing": ({"missing": "drop"}, ValueError, "skip"),
    "n_jobs": ({"n_jobs": 0}, ValueError, "n_jobs"),
    "seed": ({"seed": -1}, ValueError, "seed"),
    "dtype": ({"dtype": "float16"}, ValueError, "float32"),
    "horizon": ({"horizon": 0}, ValueError, "horizon"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_do_not_fit_are_refused(case):
    options, kind, message = SETTINGS[case]
    with pytest.raises(kind, match=message):
        crnn.Forecaster(**options)


FITS = {
    "nothing": (lambda f: f.fit(None), TypeError, "y is None"),
    "text": (lambda f: f.fit("series"), TypeError, "y"),
    "an empty list": (lambda f: f.fit([]), ValueError, "empty list"),
    "an empty array": (lambda f: f.fit(np.zeros(0)), ValueError, "no values"),
    "a list with an empty series": (lambda f: f.fit([Y, []]), ValueError, "series 1 has no values"),
    "three axes": (lambda f: f.fit(np.zeros((4, 3, 2))), ValueError, r"\(T, N\)"),
    "a list of (T, 1)": (lambda f: f.fit([Y[:, None]]), ValueError, r"y\[0\].*\(T,\)"),
    "complex": (lambda f: f.fit(Y * 1j), ValueError, "complex"),
    "texts": (lambda f: f.fit(["a", "b"]), TypeError, "numbers"),
    "too short": (lambda f: f.fit(Y[:7]), ValueError, "too short.*7 values.*at least 8"),
    "shorter than its season": (lambda f: made(season=12).fit(Y[:19]), ValueError,
                                "at least 20.*12"),
    "one that is too short": (lambda f: f.fit([Y, Y[:5]]), ValueError, "series 1 is too short"),
    "NaN": (lambda f: f.fit(HOLE), ValueError, "1 missing.*row 7.*missing='skip'"),
    "NaN alone": (lambda f: made(missing="skip").fit(Y * np.nan), ValueError, "no value"),
    "a series that ends long before": (
        lambda f: made(missing="skip").fit(np.where(np.arange(40) > 20, np.nan, Y)), ValueError,
        "too few.*last 13"),
    "too short for all steps at once": (lambda f: made(direct=True).fit(Y), ValueError,
                                        "at least 56.*horizon of 24"),
    "infinity": (lambda f: f.fit(np.where(Y > 0.9, np.inf, Y)), ValueError, "infinite"),
    "logarithm of 0": (lambda f: made(log=True).fit(np.maximum(Y, 0)), ValueError, "log=False"),
    "X too short": (lambda f: f.fit(Y, X[:39]), ValueError, "39 rows.*40"),
    "X too long": (lambda f: f.fit(Y[:39], X), ValueError, "40 rows.*39.*predict"),
    "NaN in X": (lambda f: f.fit(Y, X * np.nan), ValueError, "row 0.*fill it in"),
    "X for others": (lambda f: f.fit(WIDE, np.zeros((40, 3, 1))), ValueError, "2 series"),
    "lists of X": (lambda f: f.fit(WIDE, [X]), ValueError, "1 items for 2 series"),
    "ragged widths": (lambda f: f.fit(WIDE, [X, np.zeros((40, 2))]), ValueError, r"\[1, 2\]"),
    "names for arrays": (lambda f: f.fit(Y, ["promo"]), TypeError, "no frame"),
    "past that is not there": (lambda f: made(past=[3]).fit(Y, X), ValueError, "past has 3"),
    "direct with the future": (lambda f: made(direct=True).fit(Y, X), ValueError, "past="),
    "calendar without dates": (lambda f: made(calendar="month").fit(Y), ValueError, "time="),
    "unsorted times": (lambda f: f.fit(Y, time=DAYS[::-1]), ValueError, "sort the rows"),
    "times twice": (lambda f: f.fit(Y, time=np.minimum(DAYS, DAYS[20])), ValueError, "twice"),
    "too few times": (lambda f: f.fit(Y, time=DAYS[:5]), ValueError, "5 items.*40"),
    "other steps": (lambda f: f.fit(list(WIDE.T), time=[DAYS, DAYS[0] + 2 * np.arange(40)]),
                    ValueError, "series 1.*apart"),
    "columns of arrays": (lambda f: f.fit(Y, value="sales"), TypeError, "frame"),
    "a column as time": (lambda f: f.fit(Y, time="Date"), TypeError, "frame"),
    "horizon 0": (lambda f: f.predict(0), ValueError, "horizon"),
    "horizon": (lambda f: f.predict(2.5), TypeError, "horizon"),
    "coverage in per cent": (lambda f: f.predict(3, coverage=80), ValueError, "between 0 and 1"),
    "coverage 0": (lambda f: f.predict(3, coverage=(0, 0.5)), ValueError, "between 0 and 1"),
    "coverage": (lambda f: f.predict(3, coverage="80%"), TypeError, "0.8"),
    "X that nobody asked for": (lambda f: f.predict(3, X), ValueError, "without X"),
    "new values of others": (lambda f: f.update(WIDE), ValueError, "side by side.*as y did"),
    "new NaN": (lambda f: f.update([np.nan]), ValueError, "missing='skip'"),
    "new infinity": (lambda f: f.update([np.inf]), ValueError, "infinite"),
    "backtest too long": (lambda f: f.backtest(Y, 10), ValueError, "5 folds of 10"),
    "backtest too short before": (lambda f: f.backtest(Y, 7), ValueError, "too short"),
}


@pytest.mark.parametrize("case", FITS)
def test_what_does_not_fit_is_refused_and_changes_nothing(case):
    action, kind, message = FITS[case]
    forecaster = made().fit(Y)
    before, forecast = forecaster.fitted, forecaster.predict(2)
    with pytest.raises(kind, match=message):
        action(forecaster)
    assert forecaster.fitted is before
    assert forecaster.predict(2).mean.tobytes() == forecast.mean.tobytes()


WITH_X = {
    "no X": (lambda f: f.predict(3), ValueError, "next 3 rows"),
    "too short": (lambda f: f.predict(3, X[:2]), ValueError, "2 rows.*3 are wanted"),
    "too wide": (lambda f: f.predict(3, np.zeros((3, 2))), ValueError, "2 columns; 1"),
    "NaN": (lambda f: f.predict(3, np.full((3, 1), np.nan)), ValueError, "fill it in"),
    "update without": (lambda f: f.update([1.0]), ValueError, "X_new is missing"),
    "update with less": (lambda f: f.update([1.0, 2.0], X[:1]), ValueError, "1 rows.*2"),
}


@pytest.mark.parametrize("case", WITH_X)
def test_covariates_that_are_missing(case):
    action, kind, message = WITH_X[case]
    forecaster = made().fit(Y, X)
    before = forecaster.fitted
    with pytest.raises(kind, match=message):
        action(forecaster)
    assert forecaster.fitted is before


@pytest.mark.parametrize("action", [lambda f: f.predict(3), lambda f: f.update([1.0])])
def test_before_fit_there_is_nothing(action):
    with pytest.raises(ValueError, match=r"call fit\(y\) first"):
        action(made())


def test_an_update_lies_as_before():
    rows, series = [[1.0, 2.0], [3.0, 4.0]], np.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match=r"a list of 2 series.*side by side"):
        made().fit(WIDE).update(rows)  # what is a row, and what a column?
    with pytest.raises(ValueError, match=r"a list of 2 series.*side by side"):
        made().fit(WIDE).update([[1.0, 2.0], [3.0]])
    with pytest.raises(ValueError, match=r"side by side.*a list of 2 series"):
        made().fit(list(WIDE.T)).update(series)


def test_a_direct_forecast_has_a_longest_horizon():
    forecaster = made(direct=True, horizon=5).fit(Y)
    assert forecaster.predict(5).mean.shape == (5,)
    with pytest.raises(ValueError, match="say horizon=6"):
        forecaster.predict(6)
