"""The run from first to last: what was measured on what, ready for JSON."""

import platform
import sys
from pathlib import Path

import limits
import measure
import numpy as np
import rivals
import tasks

import crnn

OVER = 1000  # us that a call takes on one thread, from which two are to help


def one_thread(cells, dtype, quick=False, seconds=None):
    """Compare, then time, on one thread.

    Parameters
    ----------
    cells : list of tasks.Cell
    dtype : {"float32", "float64"}
        Of cells that have none of their own.
    quick : bool
        Few repetitions.
    seconds : float, optional
        For each cell, where it has few repetitions by then.

    Returns
    -------
    dict
        Ready for JSON.

    Raises
    ------
    measure.DisagreementError
        Before a cell is timed whose results differ.
    """
    packages, missing = rivals.find()
    pace = measure.QUICK if quick else measure.FULL
    if seconds is not None:
        pace = pace._replace(seconds=seconds)
    rows = []
    for number, cell in enumerate(cells):
        progress(f"{number + 1}/{len(cells)} {cell}")
        rows.append(measure_cell(cell, cell.table.dtype or dtype, packages, pace))
    return {"about": describe(packages, missing, dtype, quick, rows), "cells": rows}


def measure_cell(cell, dtype, packages, pace):
    """Return what there is to know of a cell."""
    contenders = {"crnn": rivals.Crnn("compiled"), "float32": rivals.Float32, **packages}
    entered, difference = compared(cell, dtype, contenders)
    forms = choose(entered, pace)
    limit = cell.work and limits.Limit(packages, cell.work, np.dtype(dtype))
    times, elsewhere = measure.interleaved(forms | (limit.entries() if limit else {}), pace)
    row = {
        **place(cell, dtype),
        "line": cell.line,
        "unit": cell.task.unit,
        "unit_us": cell.task.unit_us(cell.sizes),
        "largest_difference": difference,
        "rivals": described(times, elsewhere, forms),
        "limit": limit and limit.summary(times),
    }
    if cell.goal is not None and dtype == "float32":
        row["goal_us"] = cell.goal * row["unit_us"]
        scale = row["limit"]["us"] / limits.goals_limit(cell.work)
        row["goal_here_us"] = row["goal_us"] * scale
    if cell.task.holds_memory:
        row["memory"] = memory(cell, forms["crnn"])
    return row


def place(cell, dtype):
    """Return what tells a cell from all others."""
    return {
        "regime": cell.table.regime, "kind": cell.kind, "task": cell.task.name,
        "table": cell.table.title, "sizes": cell.sizes, "dtype": dtype,
    }


def make_problem(cell, dtype, **changes):
    """Return a cell's problem, the same in every run."""
    sizes = cell.sizes | changes
    return cell.task.problem(cell.kind, np.random.default_rng(0), dtype, **sizes)


def compared(cell, dtype, contenders):
    """Return the forms of all who can do a cell, and the largest difference between them."""
    task, changes = cell.task, cell.task.compared
    entered = rivals.enter(contenders, task.name, make_problem(cell, dtype))
    problem = make_problem(cell, dtype, **changes)
    small = rivals.enter(contenders, task.name, problem) if changes else entered
    return entered, check(cell, small, problem)


def check(cell, entered, problem):
    """Return the largest difference of any result from the reference's, or raise."""
    (oracle,) = getattr(rivals.Crnn("reference"), cell.task.name)(problem)
    found = measure.compare(entered, oracle)
    tolerance = cell.task.tolerances[problem.net.dtype.name]
    if wrong := measure.disagreements(found, tolerance):
        raise measure.DisagreementError("\n".join(
            f"{cell}: {name} of {rival} and of the reference differ by {value:.2g} of the largest"
            f" entry; {tolerance:g} is allowed"
            for (rival, name), value in wrong.items()
        ))
    return max(found.values())


def choose(entered, pace, wall=False):
    """Return the fastest form of each rival."""
    return {name: forms[measure.fastest(forms, pace, wall)] for name, forms in entered.items()}


def described(times, elsewhere, forms):
    """Return each rival's form and figures."""
    figures = measure.summary({name: times[name] for name in forms})
    return {
        name: {"form": form.form, "in_other_threads": elsewhere[name], **figures[name]}
        for name, form in forms.items()
    }


def memory(cell, rival):
    """Return crnn's bytes at the peak, and beside them those of the last layer's states."""
    T, B, H = (cell.sizes[letter] for letter in "TBH")
    net = rival.names["net"]
    needed = {"states_bytes": T * B * H * (1 + net.bidirectional) * net.dtype.itemsize}
    if cell.task.name == "training":
        needed["gradients_bytes"] = net.num_parameters * net.dtype.itemsize
    return {"peak_bytes": measure.peak_memory(rival), **needed}


# --- two threads ---------------------------------------------------------------------------------


def two_threads(cells, dtype, quick=False, seconds=None):
    """Compare, then time by the wall clock, those cells of many steps that take one thread long.

    Parameters, result and error are those of `one_thread`.
    """
    packages, missing = rivals.find()
    pace = measure.QUICK if quick else measure.TWO_THREADS
    if seconds is not None:
        pace = pace._replace(seconds=seconds)
    long = [cell for cell in cells if "T" in cell.sizes]
    rows = []
    for number, cell in enumerate(long):
        progress(f"two threads, {number + 1}/{len(long)} {cell}")
        rows += measure_two(cell, cell.table.dtype or dtype, packages, pace, 0 if quick else OVER)
    return {"about": describe(packages, missing, dtype, quick, rows), "cells": rows}


def measure_two(cell, dtype, packages, pace, least):
    """Return a list of what there is to know of a cell, empty if it takes one thread less us."""
    one = {"one thread": rivals.Crnn("compiled", 1)}
    (alone,) = rivals.enter(one, cell.task.name, make_problem(cell, dtype))["one thread"]
    if measure.Timer(alone, pace, wall=True).window()[0] < least:
        return []
    entered, difference = compared(
        cell, dtype, {"crnn": rivals.Crnn("compiled", 2), **packages, **one})
    forms = choose(entered, pace, wall=True)
    load = measure.OthersLoad()
    times, elsewhere = measure.interleaved(forms, pace, wall=True)
    others = load.processors()
    figures = described(times, elsewhere, forms)
    return [{
        **place(cell, dtype),
        "largest_difference": difference,
        "others_processors": others,
        "one_thread": figures.pop("one thread"),
        "rivals": figures,
    }]


# --- what was measured on what -------------------------------------------------------------------


def describe(packages, missing, dtype, quick, rows):
    """Return what the figures were taken with."""
    return {
        **crnn.build_info(),
        "processor": processor(),
        "dtype": dtype,
        "quick": quick,
        "threads": rivals.threads(),
        "packages": {name: package.VERSION for name, package in packages.items()},
        "missing": missing,
        "tolerance": tasks.TOLERANCES[dtype],
        "largest_difference": largest_difference(rows),
    }


def largest_difference(rows):
    """Return that of all rows but those of lower precision, with a tolerance of their own."""
    usual = [row for row in rows if row["task"] != "compressed"]
    return max((row["largest_difference"] for row in usual), default=0)


def processor():
    """Return the processor's name, as well as it is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def progress(text):
    """Tell a person who waits what is being done."""
    print(text, file=sys.stderr, flush=True)
