"""``crnn forecast``: how series in a file go on, with intervals."""

import contextlib
import csv
import io
import os
import shlex
import warnings

import numpy as np

from crnn import data
from crnn.cli.options import (
    HelpFormatter,
    count,
    encoding,
    given_again,
    levels,
    positive,
    whole,
)
from crnn.cli.places import check_apart, check_picture, check_replaceable, keep_old
from crnn.cli.screen import counted, say, warn
from crnn.cli.training import DEFAULT_MODEL
from crnn.cli.watcher import bar_of_terminal
from crnn.data.cells import listed
from crnn.files import disk
from crnn.files.printable import printable
from crnn.forecasting import series
from crnn.forecasting.calendar import FEATURES, as_times, shown
from crnn.forecasting.forecaster import Forecaster
from crnn.network.cells import BY_OPTION
from crnn.training.interrupts import terminable

MOST_SERIES = 20  # whose forecasts are printed
SEASONS = {  # steps after which series are likely to repeat themselves, by kind and size of a step
    ("month", 1): 12, ("month end", 1): 12, ("month", 3): 4, ("month end", 3): 4,
    ("business day", 1): 5, ("duration", 86_400_000_000): 7, ("duration", 3_600_000_000): 24,
    ("duration", 1_800_000_000): 48, ("duration", 900_000_000): 96,
}
EXAMPLE = """\
examples:
  crnn forecast sales.csv --horizon 12 --plot sales.png   the next twelve months
  crnn forecast shops.csv --id shop --column sales        a series for each shop
  crnn forecast --update model.safetensors sales.csv      go on from values that came since
"""


def add_command(commands):
    """Add ``forecast`` to the parser's commands."""
    command = commands.add_parser(
        "forecast",
        help="forecast series, with intervals",
        description="Train a network on the series of a file, and print how they go on, with"
        " intervals that cover what comes as often as they say. First the last values that there"
        " are, as many as are forecast, are forecast from those before, and the errors shown beside"
        " those of a forecast that repeats the last season. Files are .csv (a row for each time,"
        " and a column for each series; or, with ids, a row for each time of each series), .npz or"
        " .ts. With --update, a model goes on from values that came since, without training.",
        epilog=EXAMPLE, formatter_class=HelpFormatter,
    )
    add = command.add_argument
    add("file", metavar="FILE", help="series so far; with --update, also without those before")
    add("--update", metavar="MODEL",
        help="model that 'crnn forecast' wrote before: it reads what is new in FILE (by the times,"
        " or without times all of it), forecasts, and is replaced")
    add("-o", "--output", metavar="MODEL",
        help=f"model file to write, {DEFAULT_MODEL} without this; one that is there is kept as"
        " MODEL.old")
    add("--plot", metavar="FILE",
        help="draw the forecast, of several series the first one's (PNG, SVG or PDF by the name's"
        " end)")
    add("--csv", metavar="FILE", help="write the forecasts as a table, too")
    add("--horizon", type=count, metavar="N",
        help="steps to forecast; without this, two seasons, and at least 24")
    add("--coverage", type=levels, default="0.8,0.95", metavar="P",
        help="how often intervals are to cover what comes; of several, with commas")
    _add_data(command)
    before = {action.dest for action in command._actions}
    _add_training(command)
    defaults = {action.dest: action.default for action in command._actions
                if action.dest not in before}
    command.set_defaults(run=forecast, of_training=defaults)


def _add_data(command):
    add = command.add_argument_group("data").add_argument
    add("--column", action="append", dest="columns", metavar="NAME",
        help="column to forecast; may be repeated; without this, all others")
    add("--id", metavar="NAME", help="column that tells series apart, if each row is of one of"
        " them; without this, one called id, series or the like")
    add("--time", metavar="NAME",
        help="column of times; without this, one called time, date or the like")
    add("--encoding", type=encoding, metavar="NAME", help="of the file; without this, UTF-8")


def _add_training(command):
    usual = Forecaster().settings
    add = command.add_argument_group("forecaster").add_argument
    add("--season", type=whole, metavar="N",
        help="steps after which series repeat themselves, 0 for none; without this, a year of"
        " months or quarters, a week of days, a day of hours, if the times say which these are")
    add("--difference", type=whole, metavar="N",
        help="work on differences to the values so many steps before, 0 for the values themselves;"
        " without this, of the season")
    add("--past", action="append", metavar="NAME",
        help="column that is not forecast, but helps to; may be repeated")
    add("--calendar", action="append", choices=FEATURES, metavar="NAME",
        help=f"what the network is told of each step's date: {', '.join(FEATURES)}; may be"
        " repeated")
    add("--log", action="store_true",
        help="work on logarithms, of values whose ups and downs grow with them")
    add("--direct", action="store_true",
        help="forecast all steps at once, rather than one from the other")
    add("--separate", action="store_true",
        help="train a network for each series, rather than one for all")
    add("--jobs", type=count, metavar="N", help="with --separate, how many to train at a time")
    add("--missing", choices=("error", "skip"), default=usual.missing,
        help="what to do about gaps")
    add("--cell", choices=BY_OPTION, default=usual.cell, help="what the network is made of")
    add("--hidden", type=count, default=usual.hidden_size, metavar="H",
        help="hidden units of a layer")
    add("--layers", type=count, default=usual.num_layers, metavar="N",
        help="layers, one upon another")
    add("--epochs", type=count, default=usual.epochs, metavar="N",
        help="times through the series at most")
    add("--lr", type=positive, default=usual.lr, metavar="X", help="learning rate")
    add("--patience", type=count, default=usual.patience, metavar="N",
        help="stop after so many epochs in which the end of the series, held out, is forecast no"
        " better")
    add("--seed", type=whole, default=0, metavar="N",
        help="of everything that is random; the same seed gives the same forecasts")


def forecast(options):
    """``crnn forecast``."""
    try:
        with terminable(), _warnings_as_lines():
            (_learn if options.update is None else _go_on)(options)
    except KeyboardInterrupt as interrupt:
        raise type(interrupt) from None  # without what fit says: no checkpoint is kept here


@contextlib.contextmanager
def _warnings_as_lines():
    """Print warnings as commands do, at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for line in dict.fromkeys(str(each.message) for each in caught):
        warn(line)


def _learn(options):
    """Train a forecaster, tell how good it is, and have it forecast."""
    options.output = DEFAULT_MODEL if options.output is None else options.output
    past = options.past or []
    given = _read(options, options.columns and [*options.columns, *past])
    value, columns = _value_of(given, past, options.file), past or None
    panel = series.read(given, columns, value=value)
    lengths = [len(each) for each in panel.values]
    season = options.season or None
    if options.season is None:
        season = _season(panel.step, min(lengths))
    forecaster = Forecaster(
        options.cell, options.hidden, options.layers, season=season,
        difference="auto" if options.difference is None else options.difference, log=options.log,
        calendar=options.calendar or (), past=past, direct=options.direct,
        horizon=options.horizon, shared=not options.separate, epochs=options.epochs, lr=options.lr,
        patience=options.patience, missing=options.missing, n_jobs=options.jobs, seed=options.seed)
    horizon = forecaster.settings.horizon
    _check_places(options)
    span = f"{min(lengths):,} to " * (min(lengths) < max(lengths))
    repeats = f"a season of {season} steps" if season else "no season"
    say(f"{os.path.basename(options.file)}: {len(lengths):,} series of {span}"
        f"{counted(max(lengths), 'value')}, {repeats}")
    say(f"training without the last {counted(horizon, 'step')}, and then with them")
    tested = forecaster.backtest(
        given, horizon, columns, folds=1, coverage=options.coverage, value=value)
    say("errors on these steps, forecast from those before:")
    for line in repr(tested).splitlines():
        say("  " + line)
    forecaster.fit(given, columns, value=value, progress=bar_of_terminal() is not None)
    _finish(forecaster, horizon, options)


def _go_on(options):
    """Have a forecaster read what is new, and forecast from there."""
    given = [name for name, value in options.of_training.items() if getattr(options, name) != value]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"with --update nothing is trained; leave out {names}, or --update")
    if options.columns:
        raise ValueError("with --update the columns are those of before; leave out --column")
    forecaster = Forecaster.load(options.update)
    layout = forecaster.fitted.layout
    named = [layout.value] if layout.form == "long" else layout.names
    named = [*named, *layout.columns]
    are_names = all(isinstance(each, str) for each in named)
    options.output = options.update if options.output is None else options.output
    new, count = _after(_read(options, named if are_names else None), forecaster.fitted)
    if not count:
        raise ValueError(
            f"{options.file} has nothing after {shown(max(forecaster.fitted.lasts))}, the last time"
            f" that {options.update} knows")
    _check_places(options)
    forecaster.update(new, list(layout.columns) or None)
    say(f"{os.path.basename(options.file)}: {counted(count, 'new step')}, up to"
        f" {shown(max(forecaster.fitted.lasts))}")
    _finish(forecaster, options.horizon or forecaster.settings.horizon, options)


def _read(options, columns):
    """Return the series of a file, as `crnn.data.read` does."""
    return data.read(options.file, columns=columns, id=options.id, time=options.time,
                     encoding=options.encoding)


def _value_of(found, past, path):
    """Return the column of the values where each row is of one of several series, or None."""
    width = found.sequences[0].shape[1]
    values = [name for name in found.features or range(width) if name not in past]
    if not values:
        raise ValueError(f"{path} has no column to forecast beside --past"
                         f" {' --past '.join(past)}")
    if len(found.sequences) == 1:
        return None
    if found.features is None and width > 1:
        raise ValueError(f"{path} has sequences of {width} channels; series of one are"
                         " wanted, or a CSV file with names of columns")
    if len(values) != 1:
        raise ValueError(f"{path} has several columns that could be forecast,"
                         f" {listed(values)}; give one of them as --column")
    return values[0] if found.features else None


def _season(step, length):
    """Return after how many steps series of a length are likely to repeat themselves, or None."""
    season = SEASONS.get((step.kind, step.size))
    return season if season is not None and length >= 4 * season else None


def _after(whole, fitted):
    """Return the steps of data that come after what a forecaster knows, and how many there are.

    Without times it is all of them.
    """
    names, lasts = fitted.layout.names, fitted.lasts
    if whole.times is None or whole.times[0].dtype.kind == "U":
        return whole, sum(map(len, whole.sequences))
    if whole.ids is not None and fitted.layout.form == "long":
        lasts = [dict(zip(names, lasts, strict=True)).get(each) for each in whole.ids.tolist()]
    sequences, times = [], []
    for values, own, last in zip(whole.sequences, whole.times, lasts, strict=False):
        own_times = as_times(own, "the file")
        is_new = np.ones(len(own), bool)
        if last is not None and last.dtype.kind == own_times.dtype.kind:
            is_new = own_times > last
        sequences.append(values[is_new])
        times.append(own[is_new])
    return whole._replace(sequences=sequences, times=times), sum(map(len, sequences))


def _check_places(options):
    """Raise now, not after the training, if one of the files cannot be written."""
    if not options.output:
        raise ValueError("the name of the model file (--output) is empty")
    read = [("the file", options.file)]
    if options.update is not None and options.output != options.update:
        read.append(("--update", options.update))
    written = [("--output", options.output), ("the old file of --output", options.output + ".old")]
    if options.csv is not None:
        written.append(("--csv", options.csv))
    check_apart(read + written)
    for _, path in written:
        disk.check_place(path)
    if os.path.exists(options.output) and os.path.getsize(options.output):
        check_replaceable(options.output)
    if options.plot is not None:
        check_picture(options.plot, read + written)


def _finish(forecaster, horizon, options):
    """Write the model; print the forecast, and write and draw it if asked."""
    found = forecaster.predict(horizon, coverage=options.coverage)
    names = forecaster.fitted.layout.names
    keep_old(options.output)
    forecaster.save(options.output)
    columns = found.to_dict()
    columns["time"] = [shown(each) for each in columns["time"]]
    rows = list(zip(*columns.values(), strict=True))
    say()
    for line in _table(columns, rows[: MOST_SERIES * horizon]):
        say(line)
    say()
    if len(names) > MOST_SERIES:
        say(f"and {len(names) - MOST_SERIES:,} more series" + (
            "; --csv FILE writes all of them" if options.csv is None else ""))
    if options.csv is not None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        disk.write_bytes(options.csv, text.getvalue().encode(errors="backslashreplace"))
    if options.plot is not None:
        forecaster.plot(horizon, coverage=options.coverage, path=options.plot, title=str(names[0]))
    command = shlex.join(["crnn", "forecast", "--update", options.output,
                          *given_again(options, "id", "time", "encoding")])
    say(f"{options.output}: the model; when more is known, go on with: {command} FILE")


def _table(columns, rows):
    """Return the lines of a table with its columns aligned to the right."""
    cells = [list(columns)] + [
        [f"{each:.6g}" if isinstance(each, float) else printable(str(each)) for each in row]
        for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in cells]
