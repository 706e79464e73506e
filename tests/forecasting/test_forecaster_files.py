"""Forecasters in files: the same bits back, and nothing believed that is not checked."""

import copy
import json

import numpy as np
import pytest

import crnn
from crnn.files import container, kinds

pytestmark = pytest.mark.no_backend
QUICK = {"hidden_size": 4, "epochs": 3}
Y = np.random.default_rng(4).uniform(1, 9, (40, 3))
DAYS = np.datetime64("2024-01-01") + np.arange(40)

KINDS = {
    "one": lambda: crnn.Forecaster(**QUICK).fit(Y[:, 0]),
    "list": lambda: crnn.Forecaster(season=6, log=True, seed=3, **QUICK).fit([Y[:, 0], Y[9:, 1]]),
    "LSTMs": lambda: crnn.Forecaster(cell="lstm", num_layers=2, shared=False, **QUICK).fit(
        [Y[:, 0], Y[25:, 1]]),
    "direct": lambda: crnn.Forecaster(direct=True, horizon=5, dtype="float64", **QUICK).fit(Y),
    "covariates": lambda: crnn.Forecaster(
        past=[1], calendar=("weekday", "month"), cell="rnn", **QUICK).fit(
            Y[:, 0], Y[:, 1:], time=DAYS),
    "covariates and differences": lambda: crnn.Forecaster(
        past=[1], difference=(6, 1), **QUICK).fit(Y[:, 0], Y[:, 1:]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind, tmp_path):
    forecaster, path = KINDS[kind](), tmp_path / "forecaster.safetensors"
    X = np.ones((4, 1)) if kind.startswith("covariates") else None
    before = forecaster.predict(4, X)
    forecaster.save(path)
    again = crnn.Forecaster.load(path)
    assert again.settings == forecaster.settings
    assert again.fitted.layout == forecaster.fitted.layout._replace(
        columns=list(forecaster.fitted.layout.columns))
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    new = [[1.0, 2.0]] * len(before.names) if kind == "LSTMs" or kind == "list" else (
        np.ones((2, len(before.names))) if before.mean.ndim == 2 else [1.0, 2.0])
    rows = np.ones((2, 2)) if kind.startswith("covariates") else None
    pairs = [(before, again.predict(4, X)),
             (forecaster.update(new, rows).predict(4, X), again.update(new, rows).predict(4, X))]
    for one, other in pairs:
        assert one.times.tolist() == other.times.tolist()
        assert one.names == other.names
        for a, b in zip((one.mean, *one.lower.values(), *one.upper.values()),
                        (other.mean, *other.lower.values(), *other.upper.values()), strict=True):
            assert a.tobytes() == b.tobytes()


def test_only_what_is_fitted_is_written(tmp_path):
    with pytest.raises(ValueError, match="call fit"):
        crnn.Forecaster().save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_other_files_are_none(tmp_path):
    path = tmp_path / "file"
    crnn.GRU(3, 4).save(path)
    with pytest.raises(crnn.FormatError, match="a network, not a forecaster"):
        crnn.Forecaster.load(path)
    KINDS["one"]().save(path)
    with pytest.raises(crnn.FormatError, match=r"a forecaster; crnn\.Forecaster\.load reads it"):
        crnn.load(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(crnn.FormatError):
        crnn.Forecaster.load(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return tensors, configuration and account of a good file."""
    path = tmp_path_factory.mktemp("files") / "good"
    crnn.Forecaster(season=6, log=True, past=[1], **QUICK).fit(
        Y[:, :2], Y[:, 1:]).save(path)
    content = kinds.read(path, kinds.FORECASTER)
    return content.tensors, content.header["config"], content.header["forecaster"]


def setting(name, value):
    return lambda tensors, config, account: account["settings"].update({name: value})


def layout(name, value):
    return lambda tensors, config, account: account["layout"].update({name: value})


def account_of(name, value):
    return lambda tensors, config, account: account.update({name: value})


def tensor(name, change):
    return lambda tensors, config, account: tensors.update({name: change(tensors[name])})


def first(value):
    def change(array):
        array = array.copy()
        array.flat[0] = value
        return array
    return change


FORGED = {
    "another cell": setting("cell", "lstm"), "no cell": setting("cell", "os.system"),
    "other widths": setting("hidden_size", 5), "huge widths": setting("hidden_size", 1 << 40),
    "more layers": setting("num_layers", 2), "many layers": setting("num_layers", 1 << 40),
    "another dtype": setting("dtype", "float64"), "direct": setting("direct", True),
    "a network each": setting("shared", False), "a huge horizon": setting("horizon", 1 << 70),
    "an unknown setting": setting("path", "/etc"), "a setting of another kind": setting("log", 1),
    "past that is not there": setting("past", [7]), "more columns": setting("calendar", ["hour"]),
    "no settings": account_of("settings", None), "empty settings": account_of("settings", {}),
    "another form": layout("form", "tree"), "one of two": layout("form", "one"),
    "more names": layout("names", [0, 1, 2]), "equal names": layout("names", [0, 0]),
    "names of another kind": layout("names", [None, 1.5]), "no names": layout("names", []),
    "fewer columns": layout("columns", [0]), "a time of another kind": layout("time", 1.5),
    "an incomplete layout": account_of("layout", {"form": "wide"}),
    "a step of no kind": account_of("step", ["century", 1]),
    "a step of 0": account_of("step", ["number", 0]),
    "a step of dates": account_of("step", ["month", 1]),
    "no step": account_of("step", 7), "dates of another kind": account_of("dates", "no"),
    "dates that are none": account_of("dates", True),
    "a lag of 0": account_of("lags", [0]), "a long lag": account_of("lags", [1 << 50]),
    "lags of another kind": account_of("lags", {"6": 1}),
    "negative entropy": account_of("entropy", -1), "a text as entropy": account_of("entropy", "1"),
    "epochs": account_of("epochs", [1, 2]), "one last time": account_of("lasts", [39]),
    "a far time": account_of("lasts", [39, 1 << 63]),
    "a fraction": account_of("lasts", [39, 1.5]),
    "fewer recent": account_of("recent", [40, 39]),
    "negative recent": account_of("recent", [-1, 81]),
    "no recent": account_of("recent", [0, 80]), "no residuals": account_of("residuals", [0, 66]),
    "more scores": account_of("scores", [1 << 40]), "unknown": account_of("code", "import os"),
    "NaN in shifts": tensor("shift", first(np.nan)),
    "a scale below 0": tensor("scale", first(-1)),
    "an infinite scale": tensor("scale", first(np.inf)),
    "a scale of 0 of X": tensor("covariate_scale", first(0)),
    "an infinite score": tensor("scores", first(np.inf)),
    "a score below 0": tensor("scores", first(-1)),
    "a value without logarithm": tensor("recent", first(0)),
    "NaN in values": tensor("known", first(np.nan)),
    "fewer rows of X": tensor("covariates", lambda each: each[:, 1:].copy()),
    "rows of fewer columns": tensor("covariates", lambda each: each[..., 1:].copy()),
    "NaN in rows of X": tensor("covariates", first(np.nan)),
    "no rows of X": lambda tensors, config, account: tensors.pop("covariates"),
    "scores of one axis": tensor("scores", np.ravel),
    "a state of other widths": tensor("state_h", lambda each: each[..., :3].copy()),
    "a state of another dtype": tensor("state_h", lambda each: each.astype(np.float64)),
    "two states": lambda tensors, config, account: tensors.update(state_c=tensors["state_h"]),
    "no state": lambda tensors, config, account: tensors.pop("state_h"),
    "no shift": lambda tensors, config, account: tensors.pop("shift"),
    "no weights": lambda tensors, config, account: tensors.pop("W_hh_l0"),
    "more weights": lambda tensors, config, account: tensors.update(W=np.zeros((1, 2))),
    "weights of no network": tensor("W_hh_l0", lambda each: each[:0].copy()),
    "weights of two": tensor("W_hh_l0", lambda each: np.repeat(each, 2, 0)),
    "a number": tensor("b_y", lambda each: np.array(each.flat[0])),
    "two directions": lambda tensors, config, account: config.update(bidirectional=True),
    "a configuration of another cell": lambda tensors, config, account: config.update(cell="RNN"),
    "the batch first": lambda tensors, config, account: config.update(batch_first=True),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_file_is_a_format_error(case, whole, tmp_path):
    tensors, config, account = copy.deepcopy(whole)
    FORGED[case](tensors, config, account)
    path = tmp_path / "forged"
    container.write(path, tensors, {
        "config": json.dumps(config), "forecaster": json.dumps(account)})
    with pytest.raises(crnn.FormatError) as caught:
        crnn.Forecaster.load(path)
    assert len(str(caught.value)) < 3000


def test_the_forged_ones_differ_from_a_good_one(whole, tmp_path):
    tensors, config, account = whole
    container.write(tmp_path / "file", tensors, {
        "config": json.dumps(config), "forecaster": json.dumps(account)})
    assert crnn.Forecaster.load(tmp_path / "file").predict(2, np.ones((2, 1))).mean.shape == (2, 2)
    for value in ([], 3, None, {}):
        container.write(tmp_path / "file", tensors, {
            "config": json.dumps(config), "forecaster": json.dumps(value)})
        with pytest.raises(crnn.FormatError):
            crnn.Forecaster.load(tmp_path / "file")
