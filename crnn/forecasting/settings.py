"""What a forecaster is told when it is made: see `crnn.Forecaster`."""

import numbers
from dataclasses import asdict, dataclass

import numpy as np

from crnn.base import checks
from crnn.forecasting.calendar import FEATURES
from crnn.network.cells import BY_OPTION

LEAST_LONGEST = 24  # steps ahead that intervals are tried on when nothing else is said
MOST_STEPS = 1 << 20


@dataclass(frozen=True)
class Settings:
    """The arguments of `crnn.Forecaster`, checked; ready for JSON with `dataclasses.asdict`."""

    cell: str
    hidden_size: int
    num_layers: int
    season: int | None
    difference: object  # "auto", or a tuple of lags
    log: bool
    scale: bool
    calendar: tuple
    past: tuple
    direct: bool
    horizon: int
    shared: bool
    epochs: int
    lr: float
    patience: int
    truncation: int
    batch_size: int
    missing: str
    n_jobs: int | None
    seed: int | None
    dtype: str

    @classmethod
    def checked(cls, **given):
        """Return the settings, or raise TypeError or ValueError."""
        cell = given["cell"]
        checks.choice(cell.lower() if isinstance(cell, str) else cell, "cell", sorted(BY_OPTION))
        season = _optional(given["season"], "season", 2, MOST_STEPS // 4)
        horizon = given["horizon"]
        if horizon is None:
            horizon = max(LEAST_LONGEST, 2 * (season or 1))
        horizon = checks.whole_number(horizon, "horizon", maximum=MOST_STEPS)
        numbers_above_0 = {
            name: checks.whole_number(given[name], name)
            for name in ("hidden_size", "num_layers", "epochs", "patience", "truncation",
                         "batch_size")
        }
        flags = {name: checks.flag(given[name], name)
                 for name in ("log", "scale", "direct", "shared")}
        n_jobs = given["n_jobs"]
        if n_jobs is not None and (not isinstance(n_jobs, numbers.Integral) or not n_jobs):
            raise ValueError(f"n_jobs is {n_jobs!r}; None or a whole number, not 0, is wanted")
        return cls(
            cell=cell.lower(), season=season, horizon=horizon,
            difference=_lags(given["difference"]), calendar=_names(given["calendar"], "calendar"),
            past=_names(given["past"], "past"), lr=checks.positive_number(given["lr"], "lr"),
            missing=checks.choice(given["missing"], "missing", ("error", "skip")), n_jobs=n_jobs,
            seed=_optional(given["seed"], "seed", 0),
            dtype=checks.float_dtype(given["dtype"], "compiled").name, **numbers_above_0, **flags,
        )

    def changed(self, others):
        """Return those that are not as in other settings, by name."""
        others = asdict(others)
        return {name: value for name, value in asdict(self).items() if value != others[name]}

    @property
    def repeats_after(self):
        """After how many steps a series repeats itself if nothing better is known."""
        return self.season or 1


def _optional(value, name, minimum, maximum=None):
    return None if value is None else checks.whole_number(value, name, minimum, maximum)


def _lags(difference):
    if isinstance(difference, str):
        return checks.choice(difference, "difference", ("auto",))
    if difference is None or (difference == 0 and not isinstance(difference, (tuple, list))):
        return ()
    if not isinstance(difference, (tuple, list, np.ndarray)):
        difference = (difference,)
    return tuple(checks.whole_number(each, "difference") for each in difference)


def _names(values, what):
    if isinstance(values, (str, numbers.Integral)):
        values = (values,)
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{what} is {values!r}; a name or a tuple of names is wanted")
    if what == "calendar":
        return tuple(checks.choice(each, what, FEATURES) for each in values)
    for each in values:
        if isinstance(each, bool) or not isinstance(each, (str, numbers.Integral)):
            raise TypeError(f"{what} has {each!r}; names or numbers of columns of X are wanted")
    return tuple(each if isinstance(each, str) else int(each) for each in values)
