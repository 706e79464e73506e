"""``crnn forecast``: what it trains, prints and writes, and what it says of what it cannot do."""

import csv
import re
import signal
import subprocess
import sys

import command_line
import numpy as np
import pytest
from command_line import assert_one_line
from processes import fresh

import crnn

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
folder, run = command_line.folder, command_line.run

SMALL = ["--hidden", "4", "--epochs", "3", "--horizon", "3"]
MONTHS = [str(np.datetime64("2010-01") + k) for k in range(60)]


@pytest.fixture
def values(rng):
    """Three series with a season of 12 months, and one that is only noise."""
    months = np.arange(60)
    return {name: (10 + k + np.sin(months / 6 * np.pi + k) + rng.normal(0, 0.1, 60)).round(6)
            for k, name in enumerate("abc")} | {"noise": rng.normal(0, 1, 60).round(6)}


def table(columns, last=60):
    rows = [",".join(["month", *columns])]
    rows += [",".join([MONTHS[k], *(repr(float(each[k])) for each in columns.values())])
             for k in range(last)]
    return "\n".join(rows) + "\n"


def long_table(values, last=60):
    rows = ["shop,month,sales,rain"]
    rows += [f"{name},{MONTHS[k]},{float(values[name][k])!r},{float(values['noise'][k])!r}"
             for name in "abc" for k in range(last)]
    return "\n".join(rows) + "\n"


@pytest.fixture
def files(folder, values):
    (folder / "one.csv").write_text(table({"a": values["a"]}))
    (folder / "before.csv").write_text(table({"a": values["a"]}, last=57))
    (folder / "wide.csv").write_text(table(values))
    (folder / "long.csv").write_text(long_table(values))
    (folder / "long_before.csv").write_text(long_table(values, last=57))
    return folder


def forecaster(**options):
    return crnn.Forecaster(hidden_size=4, epochs=3, horizon=3, season=12, seed=0, **options)


def rows_of(out):
    """The cells of the table of forecasts, with its header."""
    lines = [line.split() for line in out.splitlines()]
    start = next(k for k, line in enumerate(lines) if "forecast" in line and "time" in line)
    end = next(k for k in range(start, len(lines)) if not lines[k])
    return lines[start:end]


def test_one_series(run, files, values):
    code, out, err = run("forecast", "one.csv", *SMALL)
    assert (code, err) == (0, "")
    assert out.startswith("one.csv: 1 series of 60 values, a season of 12 steps\n")
    times = np.array(MONTHS, "M8[M]")
    wanted = forecaster().fit(values["a"], time=times).predict(3)
    header, *rows = rows_of(out)
    assert header == ["time", "forecast", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert [row[0] for row in rows] == ["2015-01-01", "2015-02-01", "2015-03-01"]
    shown = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(shown[:, 0], wanted.mean, rtol=1e-5)
    np.testing.assert_allclose(shown[:, 1], wanted.lower[0.8], rtol=1e-5)
    np.testing.assert_allclose(shown[:, 4], wanted.upper[0.95], rtol=1e-5)
    tested = forecaster().backtest(values["a"], 3, folds=1, time=times)
    assert all("  " + line + "\n" in out for line in repr(tested).splitlines())
    saved = crnn.Forecaster.load("model.safetensors").predict(3)
    np.testing.assert_array_equal(saved.mean, wanted.mean)
    assert out.endswith("model.safetensors: the model; when more is known, go on with: crnn"
                        " forecast --update model.safetensors FILE\n")


def test_quarters_that_have_names(run, files, values):
    rows = [f"{2000 + k // 4} Q{1 + k % 4},{float(values['a'][k])!r}" for k in range(60)]
    (files / "quarters.csv").write_text("\n".join([",sales", *rows]) + "\n")
    code, out, err = run("forecast", "quarters.csv", *SMALL)
    assert (code, err) == (0, "")
    assert out.startswith("quarters.csv: 1 series of 60 values, a season of 4 steps\n")
    assert [row[0] for row in rows_of(out)[1:]] == ["2015-01-01", "2015-04-01", "2015-07-01"]


@pytest.mark.parametrize(("arguments", "lags"), [
    ([], (12,)), (["--difference", "0"], ()), (["--difference", "1"], (1,))])
def test_differences(run, files, values, arguments, lags):
    code, out, _ = run("forecast", "one.csv", *SMALL, *arguments)
    assert code == 0
    assert out.startswith("one.csv: 1 series of 60 values, a season of 12 steps\n")
    assert crnn.Forecaster.load("model.safetensors").fitted.preprocessing.lags == lags


def test_several_series_side_by_side(run, files, values):
    code, out, _ = run("forecast", "wide.csv", *SMALL, "--column", "c", "--column", "a",
                       "--past", "noise", "--coverage", "0.5")
    assert code == 0
    header, *rows = rows_of(out)
    assert header == ["series", "time", "forecast", "lower_50", "upper_50"]
    assert [row[0] for row in rows] == ["c"] * 3 + ["a"] * 3
    whole = crnn.data.read("wide.csv", columns=["c", "a", "noise"])
    wanted = forecaster(past=["noise"]).fit(whole, ["noise"]).predict(3, coverage=0.5)
    saved = crnn.Forecaster.load("model.safetensors")
    assert list(saved.fitted.layout.columns) == ["noise"]
    np.testing.assert_array_equal(saved.predict(3).mean, wanted.mean)
    np.testing.assert_allclose(
        [float(row[3]) for row in rows], wanted.lower[0.5].T.ravel(), rtol=1e-5)


def test_series_by_ids(run, files, values):
    code, out, _ = run("forecast", "long.csv", *SMALL, "--id", "shop", "--past", "rain")
    assert code == 0
    assert out.startswith("long.csv: 3 series of 60 values, a season of 12 steps\n")
    assert [row[0] for row in rows_of(out)[1:]] == list("aaabbbccc")
    assert out.endswith(" --update model.safetensors --id shop FILE\n")
    wanted = forecaster(past=["rain"]).fit(
        crnn.data.read("long.csv", id="shop"), ["rain"], value="sales").predict(3)
    np.testing.assert_allclose(
        [float(row[2]) for row in rows_of(out)[1:]], wanted.mean.T.ravel(), rtol=1e-5)


@pytest.mark.parametrize(("before", "after", "options"), [
    ("before.csv", "one.csv", []),
    ("long_before.csv", "long.csv", ["--id", "shop", "--column", "sales"]),
    ("long_before.csv", "long.csv", ["--id", "shop", "--past", "rain"]),
], ids=["one series", "series by ids", "with a column of the past"])
def test_going_on_from_what_is_new(run, files, before, after, options):
    assert run("forecast", before, *SMALL, *options, "-o", "model")[0] == 0
    of_id = options[:2]
    code, out, err = run("forecast", "--update", "model", after, "-o", "new", *of_id)
    assert (code, err) == (0, "")
    count = 9 if "shop" in options else 3
    assert out.startswith(f"{after}: {count} new steps, up to 2014-12-01\n")
    wanted = crnn.Forecaster.load("model")
    whole = crnn.data.read(after, **({"id": "shop"} if of_id else {}))
    new = whole._replace(sequences=[each[57:] for each in whole.sequences],
                         times=[each[57:] for each in whole.times])
    wanted.update(new, list(wanted.fitted.layout.columns) or None)
    np.testing.assert_allclose([float(row[-5]) for row in rows_of(out)[1:]],
                               wanted.predict(3).mean.T.ravel(), rtol=1e-5)
    np.testing.assert_array_equal(
        crnn.Forecaster.load("new").predict(2).mean, wanted.predict(2).mean)
    code, out, err = run("forecast", "--update", "new", after, *of_id)
    assert (code, out) == (1, "")
    assert err == f"crnn: {after} has nothing after 2014-12-01, the last time that new knows\n"


def test_going_on_with_one_series_of_several(run, files, values):
    assert run("forecast", "long_before.csv", *SMALL, "--id", "shop", "--past", "rain")[0] == 0
    rows = long_table(values).splitlines()
    (files / "some.csv").write_text("\n".join([rows[0], *rows[91:118]]) + "\n")  # of b
    options = ["--update", "model.safetensors", "some.csv", "--id", "shop"]
    code, out, err = run("forecast", *options)
    assert (code, out, err) == (
        1, "", "crnn: some.csv has nothing after 2014-09-01, the last time that model.safetensors"
        " knows\n")
    (files / "some.csv").write_text("\n".join([rows[0], *rows[91:121]]) + "\n")
    code, out, err = run("forecast", *options)
    assert (code, err, out.splitlines()[0]) == (
        0, "", "some.csv: 3 new steps, up to 2014-12-01")
    lasts = crnn.Forecaster.load("model.safetensors").fitted.lasts
    assert [str(each)[:7] for each in lasts] == ["2014-09", "2014-12", "2014-09"]


def test_a_model_is_replaced_by_the_one_that_went_on(run, files):
    run("forecast", "before.csv", *SMALL)
    before = (files / "model.safetensors").read_bytes()
    code, out, _ = run("forecast", "--update", "model.safetensors", "one.csv", "--horizon", "5")
    assert code == 0
    assert len(rows_of(out)) == 6
    assert (files / "model.safetensors.old").read_bytes() == before
    assert crnn.Forecaster.load("model.safetensors").fitted.lasts[0] == np.datetime64("2014-12-01")


def test_without_times_all_is_new(run, files, values):
    (files / "a.csv").write_text("a\n" + "\n".join(map(repr, values["a"][:50].tolist())) + "\n")
    (files / "more.csv").write_text("a\n" + "\n".join(map(repr, values["a"][50:].tolist())) + "\n")
    code, out, _ = run("forecast", "a.csv", *SMALL)
    assert (code, out.splitlines()[0]) == (0, "a.csv: 1 series of 50 values, no season")
    assert [row[0] for row in rows_of(out)[1:]] == ["50", "51", "52"]
    code, out, _ = run("forecast", "--update", "model.safetensors", "more.csv")
    assert (code, out.splitlines()[0]) == (0, "more.csv: 10 new steps, up to 59")
    assert [row[0] for row in rows_of(out)[1:]] == ["60", "61", "62"]
    code, out, err = run("forecast", "--update", "model.safetensors", "one.csv")
    assert (code, out) == (1, "")
    assert err == "crnn: y_new has dates as times; numbers, as in y, are wanted\n"


def test_table_and_picture(run, files):
    pytest.importorskip("matplotlib")
    code, out, _ = run("forecast", "wide.csv", *SMALL, "--csv", "next.csv", "--plot", "next.svg")
    assert code == 0
    with open("next.csv", encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    shown = rows_of(out)
    assert header == shown[0]
    assert len(rows) == 12
    assert [row[:2] for row in rows] == [row[:2] for row in shown[1:]]
    np.testing.assert_allclose(np.array([row[2:] for row in rows], float),
                               np.array([row[2:] for row in shown[1:]], float), rtol=1e-5)
    assert (files / "next.svg").read_bytes().startswith(b"<?xml")


def test_of_many_series_some_are_shown(run, files, rng):
    series = {f"s{k}": rng.normal(0, 1, 60).round(3) for k in range(23)}
    (files / "many.csv").write_text(table(series))
    code, out, _ = run("forecast", "many.csv", *SMALL, "--csv", "next.csv")
    assert code == 0
    assert len(rows_of(out)) == 1 + 20 * 3
    assert "and 3 more series\n" in out
    assert (files / "next.csv").read_text().count("\n") == 1 + 23 * 3


@pytest.mark.parametrize(("step", "count", "season"), [
    ("1 month", 60, 12), ("3 month", 60, 4), ("1 day", 60, 7), ("1 hour", 100, 24),
    ("1 second", 60, None), ("1 month", 40, None), ("1 year", 60, None),
])
def test_the_season_is_that_of_the_times(run, files, step, count, season):
    size, unit = step.split()
    code = {"month": "M", "day": "D", "hour": "h", "second": "s", "year": "Y"}[unit]
    times = np.datetime64("2000", code) + int(size) * np.arange(count)
    shown = times.astype("M8[D]" if code == "Y" else times.dtype).astype(str)
    rows = [f"{time},{k % 5 + k / 100}" for k, time in enumerate(shown)]
    (files / "a.csv").write_text("\n".join(["time,x", *rows]) + "\n")
    out = run("forecast", "a.csv", *SMALL)[1]
    assert out.splitlines()[0].endswith(f"a season of {season} steps" if season else "no season")
    assert run("forecast", "a.csv", *SMALL, "--season", "0")[1].splitlines()[0].endswith(
        "no season")


FAILURES = {
    "no file": (["nothing.csv"], "No such file or directory: nothing.csv"),
    "another kind of file": (["prose.txt"], "'prose.txt' ends in '.txt'; crnn reads data from .ts"),
    "no such column": (["one.csv", "--column", "b"], "'one.csv' has no column 'b'; its columns ar"),
    "ids not named": (["long.csv"], "column 'shop': 'a' is not a number.* or name the columns"),
    "several columns with ids": (["long.csv", "--id", "shop"],
                                 "several columns that could be forecast, 'sales', 'rain'; give"),
    "nothing to forecast": (["one.csv", "--past", "a"], "no column to forecast beside --past a"),
    "channels": (["channels.ts"], "channels.ts has sequences of 2 channels; series of one are wan"),
    "too short": (["short.csv", "--horizon", "9"], "the shortest has 9; give a shorter horizon"),
    "a gap": (["gap.csv"], r"missing values \(NaN\).*missing='skip'"),
    "a month left out": (["hole.csv"], "times are not regular: row 3 has 2010-05-01 after 2010-03"),
    "times not sorted": (["unsorted.csv"], "has in line 3 the time '2010-01' after '2010-02' in l"),
    "a season of one": (["one.csv", "--season", "1"], "season must be at least 2, got 1"),
    "over its data": (["one.csv", "-o", "one.csv"], "the file and --output are the same file, one"),
    "table over its data": (["one.csv", "--csv", "one.csv"], "the file and --csv are the same fil"),
    "over another file": (["one.csv", "-o", "prose.txt"], "'prose.txt' is not a crnn file.* it is"),
    "no folder": (["one.csv", "--csv", "no/a.csv"], "no such folder: no"),
    "ending of a picture": (["one.csv", "--plot", "a.txt"], "a.txt: the name must end in one of"),
    "no name": (["one.csv", "-o", ""], "the name of the model file .--output. is empty"),
    "no model": (["--update", "nothing", "one.csv"], "No such file or directory: nothing"),
    "a text for a model": (["--update", "prose.txt", "one.csv"], "'prose.txt' is not a crnn file"),
    "a model of texts": (["--update", "writer", "one.csv"], "writer: a character model, not a for"),
    "other columns": (["--update", "model", "other.csv"], "'other.csv' has no column 'a'; its col"),
    "training a model": (["--update", "model", "one.csv", "--season", "4", "--log"],
                         "with --update nothing is trained; leave out --season, --log, or --upda"),
    "a column of a model": (["--update", "model", "one.csv", "--column", "a"], "leave out --colum"),
    "a gap in the times": (["--update", "model", "later.csv"], "2015-02"),
}


@pytest.mark.parametrize(("arguments", "match"), FAILURES.values(), ids=FAILURES)
def test_failures(run, files, values, arguments, match):
    pytest.importorskip("matplotlib")
    months = "month,a\n" + "\n".join(f"{month},1.5" for month in MONTHS)
    for name, content in {
        "channels.ts": "@classLabel false\n@data\n1,2:3,4\n5,6:7,8\n",
        "short.csv": table({"a": values["a"]}, last=9),
        "gap.csv": months.replace("2010-04,1.5", "2010-04,"),
        "hole.csv": months.replace("2010-04,1.5\n", ""),
        "unsorted.csv": "month,a\n2010-02,1\n2010-01,2\n", "other.csv": "month,b\n2010-02,1\n",
        "later.csv": "month,a\n2015-02,1\n",
    }.items():
        (files / name).write_text(content)
    if "--update" in arguments:
        run("forecast", "one.csv", *SMALL, "-o", "model")
        run("train", "prose.txt", *command_line.SMALL, "--epochs", "1", "-o", "writer")
    before = {path: path.read_bytes() for path in files.iterdir()}
    code, _, err = run("forecast", *arguments)
    assert code == 1
    assert_one_line(err)
    assert re.search(match, err)
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_warnings_are_lines(run, files):
    (files / "flat.csv").write_text("a\n" + "1.5\n" * 60)
    code, _, err = run("forecast", "flat.csv", *SMALL)
    assert code == 0
    assert_one_line(err)
    assert "never change" in err


def test_numpys_random_numbers_are_there_before_ctrl_c_could_come():
    """While NumPy loads them, which it does when they are asked for, a Ctrl-C would be lost."""
    fresh("import sys, crnn.cli\nassert 'numpy.random' in sys.modules")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c(files, signum, code):
    started = "import signal, sys\nfrom crnn.cli import main\n" \
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main())"
    arguments = ["forecast", "one.csv", "--epochs", "100000", "--patience", "100000"]
    with subprocess.Popen([sys.executable, "-W", "error", "-c", started, *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not process.stdout.readline().startswith("training"):
            assert process.poll() is None
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "crnn: interrupted\n")
    assert not (files / "model.safetensors").exists()
