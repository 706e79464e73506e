"""`crnn.Forecaster`: what it learns from, goes on with and gives."""

import pickle

import numpy as np
import pytest

import crnn
from crnn.forecasting import learning
from crnn.forecasting.fitted import known_and_ahead
from crnn.forecasting.preprocessing import Preprocessing

no_backend = pytest.mark.no_backend
QUICK = {"hidden_size": 5, "epochs": 4, "seed": 0}


def seasonal(rng, steps=60, season=6, noise=0.1):
    times = np.arange(steps)
    return 20 + 0.2 * times + 3 * np.sin(2 * np.pi * times / season) + noise * (
        rng.standard_normal(steps))


def autoregressive(rng, steps, phi=0.8):
    y = np.zeros(steps + 50)
    for t in range(1, len(y)):
        y[t] = phi * y[t - 1] + rng.standard_normal()
    return y[50:]


def same(one, other):
    """Whether two forecasts have the same bits."""
    arrays = [(each.mean, *each.lower.values(), *each.upper.values()) for each in (one, other)]
    return all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))


# --- what comes out ------------------------------------------------------------------------------


def test_a_season_and_a_trend(rng, backend):
    y = seasonal(rng, 72)
    forecast = crnn.Forecaster(season=6, hidden_size=6, epochs=15, seed=0).fit(y[:60]).predict(12)
    assert np.abs(forecast.mean - y[60:]).max() < 1
    assert forecast.mean.shape == forecast.lower[0.8].shape == forecast.upper[0.95].shape == (12,)
    assert forecast.times.tolist() == list(range(60, 72))
    assert (forecast.lower[0.95] <= forecast.lower[0.8]).all()
    assert (forecast.lower[0.8] <= forecast.mean).all()
    assert (forecast.mean <= forecast.upper[0.8]).all()
    assert (forecast.upper[0.8] <= forecast.upper[0.95]).all()


@no_backend
def test_every_form_of_the_same_series_gives_the_same_forecasts(rng):
    wide = np.stack([seasonal(rng, 40) + 10 * k for k in range(3)], 1)
    forms = {"wide": wide, "list": list(wide.T), "lists": [each.tolist() for each in wide.T],
             "Fortran": np.asfortranarray(wide)}
    found = {name: crnn.Forecaster(season=6, **QUICK).fit(y).predict(4)
             for name, y in forms.items()}
    assert all(same(found["wide"], each) for each in found.values())
    assert found["wide"].mean.shape == (4, 3)
    assert np.asarray(found["wide"][1]).tolist() == found["wide"].mean[:, 1].tolist()
    assert found["wide"][1].lower[0.8].tolist() == found["wide"].lower[0.8][:, 1].tolist()
    one = crnn.Forecaster(season=6, **QUICK).fit(wide[:, 0].tolist()).predict(4)
    assert one.mean.shape == (4,)


@no_backend
def test_a_network_for_each_series_is_the_one_it_would_have_alone(rng):
    """But for what is random, which each has its own of: the first is the same."""
    y = [seasonal(rng, 40), seasonal(rng, 50)]
    both = crnn.Forecaster(season=6, shared=False, **QUICK).fit(y)
    alone = crnn.Forecaster(season=6, **QUICK).fit(y[0])
    assert len(both.fitted.networks) == 2
    assert same(both.predict(3)[0], alone.predict(3))
    assert both.fitted.networks[0].vector.tobytes() != both.fitted.networks[1].vector.tobytes()


@no_backend
def test_the_same_seed_gives_the_same_bits(rng):
    y = [autoregressive(rng, 40), autoregressive(rng, 33)]
    def fitted(seed, **options):
        return crnn.Forecaster(hidden_size=5, epochs=4, seed=seed, **options).fit(y)
    assert same(fitted(3).predict(5), fitted(3).predict(5))
    assert not same(fitted(3).predict(5), fitted(4).predict(5))
    undecided = fitted(None)
    assert same(undecided.predict(5), undecided.predict(5))
    assert same(pickle.loads(pickle.dumps(undecided)).predict(5), undecided.predict(5))


@no_backend
def test_threads_of_joblib_change_nothing(rng):
    joblib = pytest.importorskip("joblib")
    y = [autoregressive(rng, 30 + k) for k in range(4)]
    one = crnn.Forecaster(shared=False, **QUICK).fit(y).predict(3)
    with joblib.parallel_config("threading"):
        two = crnn.Forecaster(shared=False, n_jobs=2, **QUICK).fit(y).predict(3)
    assert same(one, two)


@pytest.mark.slow
@no_backend
def test_processes_of_joblib_change_nothing(rng):
    pytest.importorskip("joblib")
    y = [autoregressive(rng, 30 + k) for k in range(4)]
    one, two = (crnn.Forecaster(shared=False, n_jobs=n_jobs, **QUICK).fit(y).predict(3)
                for n_jobs in (None, 2))
    assert same(one, two)


@no_backend
def test_bars_of_progress_change_nothing(rng, capsys):
    pytest.importorskip("tqdm")
    y = autoregressive(rng, 40)
    shown = crnn.Forecaster(**QUICK).fit(y, progress=True)
    assert capsys.readouterr().err
    assert same(shown.predict(3), crnn.Forecaster(**QUICK).fit(y).predict(3))
    assert not capsys.readouterr().err


@no_backend
def test_coverage_may_be_one_number_or_more(rng):
    forecaster = crnn.Forecaster(**QUICK).fit(autoregressive(rng, 60))
    assert forecaster.predict(2, coverage=0.5).coverage == (0.5,)
    three = forecaster.predict(2, coverage=[0.5, 0.9, 0.99])
    widths = [three.upper[level] - three.lower[level] for level in three.coverage]
    assert (widths[0] <= widths[1]).all()
    assert (widths[1] <= widths[2]).all()


@no_backend
def test_what_is_done_to_values_is_in_the_open(rng):
    y = seasonal(rng, 60) ** 2
    done = crnn.Forecaster(season=6, log=True, difference=(6, 1), **QUICK).fit(y).fitted
    assert isinstance(done.preprocessing, Preprocessing)
    changes = np.diff(np.log(y)[6:] - np.log(y)[:-6])
    np.testing.assert_allclose(done.preprocessing.shift, [changes.mean()], rtol=1e-12)
    np.testing.assert_allclose(done.preprocessing.scale, [changes.std()], rtol=1e-12)
    assert done.preprocessing.lags == (6, 1)
    lags = {
        name: crnn.Forecaster(**options, **QUICK).fit(values).fitted.preprocessing.lags
        for name, values, options in (
            ("season", y, {"season": 6}), ("walk", np.cumsum(rng.standard_normal(200)), {}),
            ("noise", rng.standard_normal(60), {}), ("none", y, {"difference": None}),
            ("one", y, {"difference": 2}))
    }
    assert lags == {"season": (6,), "walk": (1,), "noise": (), "none": (), "one": (2,)}
    plain = crnn.Forecaster(scale=False, difference=0, **QUICK).fit(y).fitted.preprocessing
    assert (plain.shift, plain.scale) == (0, 1)


@no_backend
def test_logarithms_keep_forecasts_above_0(rng):
    y = np.exp(autoregressive(rng, 80))
    found = crnn.Forecaster(log=True, **QUICK).fit(y).predict(10)
    assert found.lower[0.95].min() > 0


@no_backend
def test_a_series_that_never_changes_stays_as_it_is(rng):
    with pytest.warns(UserWarning, match=r"1 series \(the first: 1\) never change"):
        found = crnn.Forecaster(**QUICK).fit([autoregressive(rng, 40), np.full(40, 7.1)])
    forecast = found.predict(3)
    assert forecast[1].mean.tolist() == forecast[1].lower[0.95].tolist() == [7.1] * 3
    assert (forecast[0].upper[0.8] > forecast[0].lower[0.8]).all()
    with pytest.warns(UserWarning, match="never change"):
        alone = crnn.Forecaster(**QUICK).fit(np.full(40, 7.1)).predict(2)
    assert alone.upper[0.8].tolist() == [7.1] * 2


# --- covariates ----------------------------------------------------------------------------------


@no_backend
def test_what_is_known_ahead_is_used_at_its_step(rng):
    """Values are twice a covariate, which nothing else foretells."""
    X = rng.standard_normal((160, 2))
    y = 2 * X[:, 1] + 0.01 * rng.standard_normal(160)
    forecaster = crnn.Forecaster(hidden_size=6, epochs=60, lr=0.03, difference=None, seed=0)
    forecast = forecaster.fit(y[:150], X[:150]).predict(10, X[150:])
    assert np.abs(forecast.mean - y[150:]).max() < 1
    assert np.corrcoef(forecast.mean, y[150:])[0, 1] > 0.97


@no_backend
def test_what_is_of_the_past_is_used_a_step_later(rng):
    """Each value is twice the covariate of the step before: the next one is foretold."""
    driver = rng.standard_normal(151)
    y = np.concatenate([[0], 2 * driver[:-1]])
    forecaster = crnn.Forecaster(hidden_size=6, epochs=60, lr=0.03, difference=None, past=[0],
                                 seed=0)
    forecaster.fit(y[:150], driver[:150, None])
    forecast = forecaster.predict(3)
    assert abs(forecast.mean[0] - y[150]) < 0.6
    assert np.abs(forecast.mean[1:]).max() < 1  # nothing is known of these
    assert (forecast.upper[0.8] - forecast.lower[0.8])[1] > 3


def driven(rng, steps, season=12):
    """Return a series that is a season and three times a covariate, and the covariate."""
    x = rng.standard_normal(steps)
    y = 50 + 10 * np.sin(2 * np.pi * np.arange(steps) / season) + 3 * x
    return y + 0.05 * rng.standard_normal(steps), x[:, None]


@no_backend
@pytest.mark.parametrize(("lags", "most"), [("auto", 0.5), ((12, 1), 1)], ids=str)
def test_what_goes_with_y_goes_with_its_differences(lags, most, rng):
    """Two seasons ahead, of series of several lengths, and again after an update.

    A covariate of the step beside would be off by 3.4 on average; noise alone is by 0.04, and with
    a second difference errors add up.
    """
    pairs = [driven(rng, steps) for steps in (200, 180, 150)]
    y, X = [list(each) for each in zip(*pairs, strict=True)]
    forecaster = crnn.Forecaster(
        season=12, difference=lags, hidden_size=8, epochs=300, lr=0.01, seed=0)
    forecaster.fit([each[:-36] for each in y], [each[:-36] for each in X])
    far = forecaster.predict(24, [each[-36:-12] for each in X]).mean
    forecaster.update([each[-36:-24] for each in y], [each[-36:-24] for each in X])
    later = forecaster.predict(24, [each[-24:] for each in X]).mean
    assert np.abs(far - np.stack([each[-36:-12] for each in y], 1)).mean() < most
    assert np.abs(later - np.stack([each[-24:] for each in y], 1)).mean() < most


@no_backend
def test_differences_of_covariates_by_hand(rng):
    """Scaled over all series, from the rows that y's differences leave; the calendar is not."""
    y, X = [rng.standard_normal(40), rng.standard_normal(33)], [
        rng.standard_normal((40, 2)), rng.standard_normal((33, 2))]
    times = [np.datetime64("2024-01-01") + np.arange(len(each)) for each in y]
    fitted = crnn.Forecaster(
        difference=(3, 1), calendar=("weekday",), past=[1], **QUICK).fit(y, X, time=times).fitted
    remaining = [np.diff(each[3:] - each[:-3], axis=0) for each in X]
    done, whole = fitted.preprocessing, np.concatenate(remaining)
    np.testing.assert_allclose(done.covariate_shift, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(done.covariate_scale, whole.std(0), rtol=1e-12)
    scaled = (remaining[1] - whole.mean(0)) / whole.std(0)
    past, ahead = known_and_ahead(fitted.settings, done, fitted.layout.columns, X[1], times[1][4:])
    np.testing.assert_allclose(past, scaled[:, [1]], rtol=1e-12)
    np.testing.assert_allclose(ahead[:, 2:], scaled[:, [0]], rtol=1e-12)
    angle = 2 * np.pi * (np.arange(4, 33) % 7) / 7
    np.testing.assert_allclose(ahead[:, :2] ** 2, np.stack([np.sin(angle), np.cos(angle)], 1) ** 2)
    np.testing.assert_allclose(fitted.known[1, 1], scaled[-1, 1], rtol=1e-12)


@no_backend
def test_rounding_of_a_covariate_that_repeats_is_no_news(rng):
    X = 1e3 * np.sin(2 * np.pi * np.arange(60) / 7)[:, None]
    done = crnn.Forecaster(season=7, **QUICK).fit(autoregressive(rng, 60), X).fitted.preprocessing
    assert done.covariate_scale.tolist() == [1]


@no_backend
def test_the_calendar_tells_what_it_can(rng):
    """Weekends are different; nothing in the two days before says that one begins."""
    times = np.datetime64("2024-01-01") + np.arange(147)
    y = np.where(np.is_busday(times), 1.0, 5.0) + 0.1 * rng.standard_normal(147)
    forecaster = crnn.Forecaster(calendar=("weekday",), difference=None, hidden_size=6, epochs=80,
                                 lr=0.03, seed=0)
    forecast = forecaster.fit(y[:140], time=times[:140]).predict(7)
    np.testing.assert_array_equal(forecast.times, times[140:])
    np.testing.assert_allclose(forecast.mean, y[140:], atol=1)


@no_backend
def test_covariates_of_several_series(rng):
    X, y = rng.standard_normal((50, 3, 2)), rng.standard_normal((50, 3))
    def fitted(y, X):
        return crnn.Forecaster(**QUICK).fit(y, X)
    whole = fitted(y[:40], X[:40]).predict(5, X[40:45])
    listed = fitted(list(y[:40].T), list(X[:40].swapaxes(0, 1))).predict(
        5, list(X[40:].swapaxes(0, 1)))
    nested = fitted(y[:40].T.tolist(), X[:40].swapaxes(0, 1).tolist()).predict(
        5, X[40:].swapaxes(0, 1).tolist())
    assert same(whole, listed)
    assert same(whole, nested)
    shared = fitted(y[:40], X[:40, 0]).predict(5, X[40:45, 0])
    each = fitted(y[:40], X[:40, [0, 0, 0]]).predict(5, X[40:45, [0, 0, 0]])
    assert same(shared, each)
    assert not same(whole, shared)


# --- update --------------------------------------------------------------------------------------

UPDATED = {
    "plain": {}, "differences": {"season": 6, "log": True}, "twice": {"difference": (3, 1)},
    "LSTM of two layers": {"cell": "lstm", "num_layers": 2}, "double": {"dtype": "float64"},
    "direct": {"direct": True, "horizon": 4}, "own networks": {"shared": False},
    "covariates": {"past": [1]}, "calendar": {"calendar": ("month",)},
    "covariates and differences": {"past": [1], "difference": (12, 1), "calendar": ("month",)},
    "known ahead and differences": {"past": [], "season": 6, "shared": False},
}


@no_backend  # the reference's sums depend on how many rows there are
@pytest.mark.parametrize("case", UPDATED)
def test_update_gives_the_bits_of_a_warm_up_from_the_start(case, rng):
    options, steps = UPDATED[case], 61
    y = np.exp(0.2 * rng.standard_normal((steps, 2))) * 5
    X = rng.standard_normal((steps, 2)) if "past" in options else np.zeros((steps, 0))
    times = (np.datetime64("2020-01") + np.arange(steps)).astype("datetime64[us]")
    forecaster = crnn.Forecaster(**{**QUICK, **options}).fit(
        y[:40], X[:40] if X.size else None, time=times[:40])
    for part in (slice(40, 41), slice(41, 41), slice(41, 50), slice(50, 61)):
        forecaster.update(y[part], X[part] if X.size else None)
    fitted, reach = forecaster.fitted, forecaster.fitted.preprocessing.reach
    assert fitted.lasts == [times[-1]] * 2
    np.testing.assert_array_equal(fitted.covariates, [X[steps - reach :]] * 2)
    for number, group in enumerate(fitted.groups):
        others = known_and_ahead(
            forecaster.settings, fitted.preprocessing, fitted.layout.columns, X, times[reach:])
        whole = [learning.prepared(fitted.preprocessing, k, y[:, k], y[:, k], *others)
                 for k in group]
        net = fitted.networks[number]
        _, state = net([each.inputs.astype(net.dtype) for each in whole])
        for own, wanted in zip(np.atleast_1d(fitted.states[number]), np.atleast_1d(state),
                               strict=True):
            assert own.tobytes() == wanted.tobytes()
        assert fitted.known[group].tobytes() == np.stack(
            [each.values[-1] for each in whole]).tobytes()


@no_backend
def test_update_of_one_step_may_be_a_row(rng):
    y = rng.standard_normal((41, 2))
    one, other = (crnn.Forecaster(**QUICK).fit(y[:40]) for _ in range(2))
    assert same(one.update(y[40]).predict(3), other.update(y[40:]).predict(3))


@no_backend
def test_update_of_a_list_may_leave_series_out(rng):
    y = [autoregressive(rng, 40), autoregressive(rng, 30)]
    one, other = (crnn.Forecaster(**QUICK).fit([y[0][:35], y[1]]) for _ in range(2))
    one.update([y[0][35:38], []]).update([y[0][38:], []])
    other.update([y[0][35:], np.zeros(0)])
    assert same(one.predict(4), other.predict(4))
    assert one.predict(1).times.tolist() == [[40, 30]]


@no_backend
def test_update_is_not_by_learning(rng):
    forecaster = crnn.Forecaster(**QUICK).fit(autoregressive(rng, 40))
    before = forecaster.fitted.networks[0].vector.tobytes()
    forecast = forecaster.predict(3)
    forecaster.update([3.0, 2.5])
    assert forecaster.fitted.networks[0].vector.tobytes() == before
    assert forecaster.predict(3).times.tolist() == [42, 43, 44]
    assert not same(forecaster.predict(3), forecast)
    forecaster.update(1.5)
    assert forecaster.predict(1).times.tolist() == [43]


# --- what is missing -----------------------------------------------------------------------------


def test_missing_values_are_nothing_to_learn_from(rng, backend):
    """Whatever is read in their place: the loss does not have them, nor have residuals."""
    y = seasonal(rng, 60)
    y[[20, 21, 45]] = np.nan
    forecaster = crnn.Forecaster(season=6, missing="skip", **QUICK).fit(y)
    assert len(forecaster.fitted.residuals[0]) == 60 - 6 - 1 - 3 - 3
    recent = forecaster.fitted.recent[0]
    assert (recent[20], recent[45]) == (recent[14], recent[39])
    assert np.isfinite(forecaster.predict(6).mean).all()
    forecaster.update([np.nan, 30.0])
    assert forecaster.fitted.recent[0][-2] == recent[-6]


@no_backend
def test_missing_values_at_the_start_are_left_out(rng):
    y = autoregressive(rng, 50)
    late = np.concatenate([np.full(7, np.nan), y])
    one = crnn.Forecaster(missing="skip", **QUICK).fit(late).predict(3)
    other = crnn.Forecaster(**QUICK).fit(y).predict(3)
    assert one.mean.tobytes() == other.mean.tobytes()
    assert one.times.tolist() == [57, 58, 59]


# --- backtest ------------------------------------------------------------------------------------


@no_backend
def test_a_backtest_is_fits_and_predictions(rng):
    y, options = seasonal(rng, 60), {"season": 6, **QUICK}
    tested = crnn.Forecaster(**options).backtest(y, 5, folds=3)
    for fold, cut in enumerate((45, 50, 55)):
        alone = crnn.Forecaster(**options).fit(y[:cut]).predict(5)
        assert same(tested.forecasts[fold], alone)
        np.testing.assert_array_equal(tested.truths[fold], y[cut : cut + 5])
    rows = [row for row in tested.rows if row["fold"] == 1]
    assert [row["method"] for row in rows] == ["forecaster", "seasonal naive"]
    naive = y[[44, 45, 46, 47, 48]]
    scale = np.abs(y[6:50] - y[:44]).mean()
    assert rows[1]["mase"] == pytest.approx(np.abs(naive - y[50:55]).mean() / scale)
    inside = [(each.lower[0.8] <= truth) & (truth <= each.upper[0.8])
              for each, truth in zip(tested.forecasts, tested.truths, strict=True)]
    assert tested.summary()["forecaster"]["inside_80"] == pytest.approx(np.mean(inside))
    assert "seasonal naive" in repr(tested)
    assert "MASE" in repr(tested)


@no_backend
def test_a_backtest_without_refitting_is_updates(rng):
    y, X = [seasonal(rng, 60), seasonal(rng, 50)], [
        rng.standard_normal((60, 1)), rng.standard_normal((50, 1))]
    tested = crnn.Forecaster(season=6, **QUICK).backtest(y, 4, X, folds=3, refit=False)
    forecaster = crnn.Forecaster(season=6, **QUICK)
    forecaster.fit([each[:-12] for each in y], [each[:-12] for each in X])
    forecaster.update([each[-12:-8] for each in y], [each[-12:-8] for each in X])
    assert same(tested.forecasts[1], forecaster.predict(4, [each[-8:] for each in X]))
    assert len(tested.rows) == 3 * 2 * 2
    assert tested.truths[2].shape == (4, 2)


@no_backend
def test_times_that_nobody_can_read_are_numbered_with_a_warning(rng):
    y = seasonal(rng)
    data = crnn.data.Dataset(
        [y[:, None]], features=["sales"], times=[np.array([f"week {k}" for k in range(60)])])
    with pytest.warns(UserWarning, match="times such as 'week 0' cannot be read, and steps are"):
        found = crnn.Forecaster(**QUICK).fit(data).predict(3)
    assert found.times.tolist() == [60, 61, 62]
    assert same(found, crnn.Forecaster(**QUICK).fit(y).predict(3))
