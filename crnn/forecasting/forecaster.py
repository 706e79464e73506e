"""`crnn.Forecaster`: series in, forecasts with intervals out."""

import math
import numbers

from crnn import plots
from crnn.base import checks
from crnn.forecasting import backtest, fitting, saving, series
from crnn.forecasting.fitted import extended, forecast
from crnn.forecasting.settings import Settings


class Forecaster:
    """Forecasts series by a recurrent network, with intervals.

    The network reads a series step by step, with what is known of the next step, and learns to
    expect that step's value (teacher forcing). To forecast, what it expects becomes its next input
    (closed loop): once as it is, which is the forecast, and in 200 streams with errors drawn from
    those that it made before, whose quantiles say how wide the intervals are. How many times as
    wide they have to be so that they cover what they should is found on the last third of each
    series, held out from a first training (split conformal prediction). That third also says when
    to stop; the network that is kept is trained on everything for as long.

    What is done to values first, in this order, is in ``fitted.preprocessing`` and undone on
    forecasts: the logarithm (``log``), differences (``difference``), and mean and deviation of each
    series (``scale``). Lags, means and deviations are found on all that `fit` is given, the last
    third, too; so intervals are calibrated on what is not wholly unseen, and `backtest`, which fits
    to what came before only, is what tells how often they cover.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}
    hidden_size, num_layers : int
        Of the network.
    season : int, optional
        After how many steps a series repeats itself: 12 of monthly data, 24 of hourly ones.
    difference : "auto", int, tuple of int or None
        Lags at which each value's difference to an earlier one is taken: 12, or one after the other
        (12, 1). "auto" is the season; without one it is 1 if most of the series wander (KPSS at
        1 %), or else nothing. The same differences of the columns of X are taken, so that what
        they say of y holds; the calendar stays as it is.
    log : bool
        Whether the network sees logarithms: for values above 0 whose ups and downs grow with them.
    scale : bool
        Whether it sees each series with mean 0 and standard deviation 1.
    calendar : sequence of str
        What it is told of each step's date, as sine and cosine: "hour" (of the day), "weekday",
        "monthday", "month", "yearday".
    past : sequence of str or int
        Columns of X that are not known ahead, such as the weather that was. The network forecasts
        them, too. All others are known ahead, such as holidays: `predict` is given their future.
    direct : bool
        Whether the network has an output for each step ahead and each of three quantiles (0.1, 0.5,
        0.9; quantile loss), rather than running in closed loop. Columns of X are then all ``past``.
    horizon : int, optional
        For how many steps ahead intervals are held against what came; further ones are widened like
        the last. With ``direct`` none can be further. Default: two seasons, and at least 24.
    shared : bool
        Whether one network learns from all series, or each series has its own.
    epochs, lr, batch_size : int, float, int
        At most so many epochs of Adam, with so many series in a batch.
    patience : int
        Training stops after so many epochs without a lower loss on what is held out.
    truncation : int
        Longer histories are gone through in chunks of about so many steps, see `crnn.fit`.
    missing : {"error", "skip"}
        What NaN in a series means. With "skip" it is missing: nothing is learned from it, and the
        network reads the value of the season before in its place (of the step before, without a
        season). Missing values at the start are left out.
    n_jobs : int, optional
        Without ``shared``, how many networks are trained at a time, by joblib (the extra
        ``sklearn``). None is 1, or what ``joblib.parallel_config`` says. The networks have the same
        bits for any of them.
    seed : int, optional
        Of everything that is random: the same seed gives the same forecasts.
    dtype : {"float32", "float64"}
        Of the network.

    Attributes
    ----------
    settings
        The parameters, as attributes of their names.
    fitted
        What has been learned; None before `fit`. In the open: ``preprocessing`` (with lags, shift
        and scale), ``networks``, ``epochs``, ``histories``, ``residuals``, ``scores`` (how far
        held-out forecasts were off, in units of the streams' widths) and ``recent`` values.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> months, noise = np.arange(96), np.random.default_rng(0).normal(0, 2, 96)
    >>> sales = 100 + months + 20 * np.sin(2 * np.pi * months / 12) + noise
    >>> forecaster = crnn.Forecaster(season=12, hidden_size=8, epochs=20, seed=0).fit(sales[:84])
    >>> forecast = forecaster.predict(12)
    >>> bool(np.abs(forecast.mean / sales[84:] - 1).mean() < 0.03)
    True
    >>> forecaster.fitted.preprocessing.lags
    (12,)
    >>> forecaster.update(sales[84:]).predict(1).times
    array([96])

    References
    ----------
    Salinas, D. et al. (2020). DeepAR: probabilistic forecasting with autoregressive recurrent
    networks. International Journal of Forecasting 36. Wen, R. et al. (2017). A multi-horizon
    quantile recurrent forecaster (``direct``). Lei, J. et al. (2018). Distribution-free predictive
    inference for regression. Journal of the American Statistical Association 113.
    """

    def __init__(
        self, cell="gru", hidden_size=32, num_layers=1, *, season=None, difference="auto",
        log=False, scale=True, calendar=(), past=(), direct=False, horizon=None, shared=True,
        epochs=500, lr=0.003, patience=40, truncation=500, batch_size=32, missing="error",
        n_jobs=None, seed=None, dtype="float32",
    ):
        self.settings = Settings.checked(
            cell=cell, hidden_size=hidden_size, num_layers=num_layers, season=season,
            difference=difference, log=log, scale=scale, calendar=calendar, past=past,
            direct=direct, horizon=horizon, shared=shared, epochs=epochs, lr=lr, patience=patience,
            truncation=truncation, batch_size=batch_size, missing=missing, n_jobs=n_jobs,
            seed=seed, dtype=dtype)
        self.fitted = None

    def __repr__(self):
        changed = self.settings.changed(Forecaster().settings)
        changed = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        state = "not fitted" if self.fitted is None else (
            f"fitted to {len(self.fitted.layout.names)} series")
        return f"<Forecaster({changed}): {state}>"

    def fit(self, y, X=None, *, id=None, time=None, value=None, progress=False):
        """Learn from series.

        Parameters
        ----------
        y : array_like, list of array_like, frame or crnn.data.Dataset
            One series (T,); several side by side (T, N); a list of N series of any lengths (T_i,);
            a data frame of pandas, polars or others (the extra ``frames``), with a column for each
            series or, with ``id``, a row for each time of each series; or what `crnn.data.read`
            returns.
        X : array_like, list, frame, or list of str, optional
            Covariates, a row for each step of y: (T, F) for all series, (T, N, F), a list of
            (T_i, F), or a frame with a row for each of y's. Names are columns of y, if it is a
            frame or a Dataset. All are numbers.
        id, time, value : str, optional
            Which columns of a frame say which series a row is of, its time, and its value. Without
            ``time`` it is an index of dates, or the only column of dates. For arrays ``time`` has
            the times themselves, (T,), or a list of (T_i,). Times are dates, texts of dates or
            whole numbers; they follow each other regularly: by a number, a time span, months
            (their first, or last, or any other day), or business days.

        Returns
        -------
        Forecaster
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data are not as above, or too short: 8 values are wanted beyond differences. The
            forecaster is then as before.
        ImportError
            If y is a frame, and narwhals is not there; or tqdm, or joblib.
        """
        panel = series.read(y, X, id=id, time=time, value=value)
        self.fitted = fitting.fit(self.settings, panel, checks.flag(progress, "progress"))
        return self

    def predict(self, horizon, X=None, coverage=(0.8, 0.95)):
        """Return a forecast of the next steps of each series.

        Parameters
        ----------
        horizon : int
            How many.
        X : array_like, list or frame, optional
            The columns of X that are known ahead, for these steps; as in `fit`, without those that
            are ``past``. More rows are left out.
        coverage : float or sequence of float
            In which share of all cases the truth shall be in the interval, such as 0.8.

        Returns
        -------
        Forecast

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or nothing has been fitted.
        """
        fitted = self._known()
        return forecast(fitted, self._horizon(horizon), X, _levels(coverage))

    def update(self, y_new, X_new=None):
        """Go on with values that came since, without learning from them.

        The state has the same bits as if the network had read everything from the start. It takes
        time for the new steps only.

        Parameters
        ----------
        y_new, X_new
            What comes next of each series, as y and X lie in `fit`; of a list of series, or
            of rows with ids, some may have no new values. A frame names its columns as before.

        Returns
        -------
        Forecaster
            Itself.

        Raises
        ------
        TypeError, ValueError
            If it does not lie as before, or does not begin after the last time. The forecaster is
            then as before.
        """
        fitted = self._known()
        panel = series.read_more(y_new, X_new, fitted)
        self.fitted = extended(fitted, panel)
        return self

    def backtest(
        self, y, horizon, X=None, *, folds=5, coverage=(0.8, 0.95), refit=True, id=None, time=None,
        value=None,
    ):
        """Forecast the end of each series from what came before it, and compare.

        The last ``folds * horizon`` steps are forecast, ``horizon`` at a time. This forecaster
        itself is not changed.

        Parameters
        ----------
        y, X, id, time, value
            As for `fit`.
        horizon, coverage
            As for `predict`.
        folds : int
        refit : bool
            Whether everything before is learned from anew for each fold, or once, before the first
            one, and `update` brings what came since.

        Returns
        -------
        Backtest
            Printed, it is a table with the mean absolute scaled error (MASE), root mean squared
            scaled error (RMSSE), mean absolute percentage error and coverage, beside a forecast
            that repeats the last season (without a season, the last value).

        Raises
        ------
        TypeError, ValueError
            As `fit` and `predict`; ValueError also if a series is too short for so many folds.
        """
        panel = series.read(y, X, id=id, time=time, value=value)
        return backtest.backtest(
            self.settings, panel, self._horizon(horizon), checks.whole_number(folds, "folds"),
            _levels(coverage), checks.flag(refit, "refit"))

    def save(self, path):
        """Write the forecaster to a file, whole or not at all, to go on at another time.

        The file is safetensors with a SHA-256 of it all: networks with their states, everything
        that is done to series, their names and last values. It holds nothing that runs.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        ValueError
            If nothing has been fitted.
        OSError
            If it cannot be written. A file that was there is then still there.

        Examples
        --------
        >>> import os, tempfile
        >>> import crnn
        >>> import numpy as np
        >>> forecaster = crnn.Forecaster(hidden_size=8, epochs=5).fit(np.sin(np.arange(60) / 3))
        >>> path = os.path.join(tempfile.mkdtemp(), "sine.safetensors")
        >>> forecaster.save(path)
        >>> again = crnn.Forecaster.load(path)
        >>> bool((again.predict(4).mean == forecaster.predict(4).mean).all())
        True
        """
        saving.save(path, self._known())

    @classmethod
    def load(cls, path):
        """Return the forecaster of a file that `save` wrote; its forecasts have the same bits.

        Raises
        ------
        FormatError
            If the file is not whole, or not a forecaster that this version of crnn knows.
        OSError
            If it cannot be read.
        """
        return cls.of(saving.load(path))

    @classmethod
    def of(cls, fitted):
        """Return a forecaster that knows what a `Fitted` says."""
        forecaster = cls()
        forecaster.settings, forecaster.fitted = fitted.settings, fitted
        return forecaster

    def plot(self, horizon, X=None, coverage=(0.8, 0.95), *, name=None, truth=None, path=None,
             title="", ax=None):
        """Draw a forecast as a fan, after the last values that are known.

        Parameters
        ----------
        horizon, X, coverage
            As for `predict`.
        name : str or int, optional
            Which series; the first without it.
        truth : array_like (horizon,), optional
            What came, to be drawn beside it.
        path, title, ax
            As for the functions of ``crnn.plots``.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError, OSError
            As for the functions of ``crnn.plots``.
        TypeError, ValueError, KeyError
            As for `predict`; KeyError if there is no such series.
        """
        forecast, fitted = self.predict(horizon, X, coverage), self.fitted
        name = fitted.layout.names[0] if name is None else name
        one, number = forecast[name], fitted.layout.names.index(name)
        recent = fitted.recent[number]
        before = fitted.step.times(fitted.lasts[number], 1 - len(recent), 1), recent
        return plots.fan(one, before, truth, path, title, ax=ax)

    def _known(self):
        if self.fitted is None:
            raise ValueError("this Forecaster has seen no series yet; call fit(y) first")
        return self.fitted

    def _horizon(self, horizon):
        horizon = checks.whole_number(horizon, "horizon")
        if self.settings.direct and horizon > self.settings.horizon:
            raise ValueError(
                f"horizon is {horizon}; with direct=True the network has an output for each of"
                f" {self.settings.horizon} steps: say horizon={horizon} when the Forecaster is made"
            )
        return horizon


def _levels(coverage):
    """Return coverages as a tuple of floats."""
    given = (coverage,) if isinstance(coverage, numbers.Real) else coverage
    if not isinstance(given, (tuple, list)) or not given:
        raise TypeError(f"coverage is {coverage!r}; numbers such as (0.8, 0.95) are wanted")
    return tuple(checks.option(
        "coverage", each, numbers.Real, "a number between 0 and 1, such as 0.8 for 80 %",
        lambda level: 0 < level < 1 and math.isfinite(level)) for each in given)
