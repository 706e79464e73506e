"""Forecasters in files; every name, size and number is checked before it is believed."""

from dataclasses import asdict

import numpy as np

from crnn.files import container, kinds
from crnn.files.disk import FormatError
from crnn.forecasting import learning
from crnn.forecasting.calendar import MICROSECONDS, STEPS, Step
from crnn.forecasting.fitted import Fitted, column_numbers, groups_of
from crnn.forecasting.layout import FORMS, Layout
from crnn.forecasting.preprocessing import Preprocessing
from crnn.forecasting.settings import Settings
from crnn.network.saving import network_from

FURTHEST = 1 << 61  # microseconds or steps from 0 that times may be, so that sums have room
ACCOUNT = ("settings", "layout", "step", "dates", "lags", "entropy", "epochs", "lasts", "recent",
           "residuals", "scores")
SHIFTS = ("shift", "scale", "direct_shift", "direct_scale", "covariate_shift", "covariate_scale")
STATES = "hc"  # of a network: h, and of an LSTM c


def save(path, fitted):
    """Write what a forecaster knows to a file, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    networks, done = fitted.networks, fitted.preprocessing
    tensors = {name: np.stack([net.parameters[name] for net in networks])
               for name in networks[0].parameters}
    states = [each if isinstance(each, tuple) else (each,) for each in fitted.states]
    for name, parts in zip(STATES, zip(*states, strict=True), strict=False):
        tensors[f"state_{name}"] = np.concatenate(parts, 1)
    steps = max(each.shape[1] for each in fitted.scores)
    scores = [np.pad(each, ((0, 0), (0, steps - each.shape[1])), constant_values=np.nan)
              for each in fitted.scores]
    tensors |= {name: getattr(done, name) for name in SHIFTS}
    tensors |= {"known": fitted.known, "recent": np.concatenate(fitted.recent),
                "covariates": fitted.covariates,
                "residuals": np.concatenate(fitted.residuals), "scores": np.concatenate(scores)}
    account = {
        "settings": asdict(fitted.settings), "layout": fitted.layout._asdict(),
        "step": list(fitted.step), "dates": isinstance(fitted.lasts[0], np.datetime64),
        "lags": list(done.lags), "entropy": fitted.entropy, "epochs": fitted.epochs,
        "lasts": [int(each.astype(np.int64)) for each in fitted.lasts],
        **{name: [len(each) for each in getattr(fitted, name)]
           for name in ("recent", "residuals", "scores")},
    }
    kinds.write(path, tensors, {"config": networks[0].config(), "forecaster": account})


def load(path):
    """Return the `Fitted` in a file.

    Raises
    ------
    FormatError
        If the file is not whole, or not a forecaster's.
    OSError
        If it cannot be read.
    """
    return fitted_from(path, kinds.read(path, kinds.FORECASTER))


def fitted_from(path, content):
    """Return the `Fitted` in what `kinds.read` returned."""
    account = content.header["forecaster"]
    if not isinstance(account, dict):
        raise FormatError(f"{path}: the account of a forecaster is no object")
    container.check_names(path, account, ACCOUNT)
    try:
        return _fitted(path, content, account)
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: the account is not a forecaster's: {error}") from None


def _fitted(path, content, account):
    settings, layout = _settings(account["settings"]), _layout(account["layout"])
    step = _step(account["step"], account["dates"])
    lags = tuple(_whole_numbers(account["lags"], "lags", least=1))
    count, groups = len(layout.names), groups_of(len(layout.names), settings)
    lasts = _lasts(account["lasts"], count, account["dates"])
    epochs = _whole_numbers(account["epochs"], "epochs", len(groups))
    entropy = account["entropy"]
    _check(type(entropy) is int and entropy >= 0, "entropy is a whole number from 0")
    past, ahead = column_numbers(settings, layout.columns)
    known, read = 1 + len(past), 1 + len(past) + 2 * len(settings.calendar) + len(ahead)
    longest = settings.horizon if settings.direct else 0
    recent, residuals, scores = (
        _whole_numbers(account[name], name, length)
        for name, length in (("recent", count), ("residuals", count), ("scores", len(groups))))
    _check(min(recent) >= max(1, sum(lags)), "values are kept that differences need")
    _check(settings.direct or min(residuals) > 0, "each series has residuals")
    shapes = {
        "shift": (count,), "scale": (count,), "direct_shift": (count, longest),
        "direct_scale": (count, longest), "covariate_shift": (len(layout.columns),),
        "covariate_scale": (len(layout.columns),), "known": (count, known),
        "recent": (sum(recent),), "covariates": (count, sum(lags), len(layout.columns)),
        "residuals": (sum(residuals), known),
        "scores": (sum(scores), content.tensors["scores"].shape[-1]
                   if "scores" in content.tensors and content.tensors["scores"].ndim else 0),
    }
    tensors = dict(content.tensors)
    own = {name: tensors.pop(name) for name in shapes if name in tensors}
    container.check_tensors(path, own, shapes, np.dtype(np.float64))
    _check_numbers(own, settings)
    outputs = (longest or known) * learning.outputs_of_a_target(settings)
    networks, states = _networks(path, content, tensors, settings, groups, (read, outputs))
    return Fitted(
        settings, layout, step,
        Preprocessing(settings.log, lags, *(own[name] for name in SHIFTS)), entropy, networks,
        epochs, _parts(own["scores"], scores), states, own["known"], _parts(own["recent"], recent),
        own["covariates"], lasts, _parts(own["residuals"], residuals), [])


def _networks(path, content, tensors, settings, groups, sizes):
    """Return the networks of tensors (M, ...) by name, and the state of each."""
    states = [tensors.pop(f"state_{name}") for name in STATES if f"state_{name}" in tensors]
    for name, each in tensors.items():
        _check(each.ndim and len(each) == len(groups), f"{name} is of {len(groups)} networks")
    networks = [
        network_from(path, kinds.Content(
            kinds.NETWORK, {name: each[number] for name, each in tensors.items()},
            {"config": content.header["config"]}, {}))
        for number in range(len(groups))
    ]
    config = networks[0].config()
    wanted = {
        "input_size": sizes[0], "output_size": sizes[1], "hidden_size": settings.hidden_size,
        "num_layers": settings.num_layers, "dtype": settings.dtype, "bidirectional": False,
        "batch_first": False,
    }
    _check(config["cell"].lower() == settings.cell and all(
        config[name] == value for name, value in wanted.items()),
        "the configuration is of the network that the settings are of")
    shape = settings.num_layers, sum(map(len, groups)), settings.hidden_size
    names = STATES[: 2 if settings.cell == "lstm" else 1]
    container.check_tensors(
        path, {f"state_{name}": each for name, each in zip(STATES, states, strict=False)},
        {f"state_{name}": shape for name in names}, np.dtype(settings.dtype))
    parts = [[each[:, group] for each in states] for group in groups]
    return networks, [tuple(each) if len(each) > 1 else each[0] for each in parts]


def _settings(given):
    _check(isinstance(given, dict), "settings are an object")
    given = {name: tuple(value) if isinstance(value, list) else value
             for name, value in given.items()}
    _check(set(given) == set(Settings.__dataclass_fields__), "settings are complete")
    settings = Settings.checked(**given)
    _check(asdict(settings) == given, "settings are as they come out of a Forecaster")
    return settings


def _layout(given):
    _check(isinstance(given, dict) and set(given) == set(Layout._fields), "a layout is complete")
    layout = Layout(**given)
    for what in ("names", "columns"):
        values = given[what]
        _check(isinstance(values, list) and all(type(each) in (str, int) for each in values)
               and len(set(values)) == len(values), f"{what} are texts or numbers, each once")
    for what in ("id", "time", "value"):
        _check(given[what] is None or type(given[what]) in (str, int),
               f"{what} is a text or a number")
    is_one = layout.form == "one"
    _check(layout.form in FORMS and layout.names and not (is_one and len(layout.names) > 1),
           "the form fits the names")
    return layout


def _step(given, dates):
    _check(type(dates) is bool, "dates is true or false")
    _check(isinstance(given, list) and len(given) == 2 and given[0] in STEPS
           and type(given[1]) is int and 0 < given[1] < FURTHEST, "a step is a kind and a size")
    _check((given[0] == "number") != dates, "a step is of dates or of numbers")
    return Step(*given)


def _lasts(given, count, dates):
    _check(isinstance(given, list) and len(given) == count
           and all(type(each) is int and abs(each) < FURTHEST for each in given),
           "each series has a last time")
    return list(np.array(given, np.int64).astype(MICROSECONDS if dates else np.int64))


def _whole_numbers(given, name, count=None, least=0):
    _check(isinstance(given, list) and (count is None or len(given) == count)
           and all(type(each) is int and least <= each < FURTHEST for each in given),
           f"{name} are whole numbers from {least}")
    return given


def _check_numbers(tensors, settings):
    for name, each in tensors.items():
        wanted = np.isfinite(each) | (np.isnan(each) if name == "scores" else False)
        _check(wanted.all(), f"{name} are finite")
        if name.endswith("scale") or name == "scores":
            _check(not (each < 0).any(), f"{name} are not below 0")
    _check(not (tensors["covariate_scale"] == 0).any(), "covariates have scales")
    _check(not settings.log or (tensors["recent"] > 0).all(), "values have logarithms")


def _check(is_right, what):
    if not is_right:
        raise ValueError(f"wanted is that {what}")


def _parts(array, lengths):
    """Return an array in parts of some lengths, a list."""
    return np.split(array, np.cumsum(lengths[:-1]))
