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


def one_thread(chosen, kinds, dtype, quick=False):
    """Compare, then time, on one thread.

    Parameters
    ----------
    chosen : list of str
        Names of tasks.
    kinds : list of str
        Of networks, of `tasks.KINDS`.
    dtype : {"float32", "float64"}
    quick : bool
        Small sizes and few repetitions.

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
    cells = tasks.cells(chosen, quick, kinds)
    pace = measure.QUICK if quick else measure.FULL
    rows = []
    for number, cell in enumerate(cells):
        progress(f"{number + 1}/{len(cells)} {cell}")
        rows.append(measure_cell(cell, dtype, packages, pace))
    return {"about": describe(packages, missing, dtype, quick, rows), "cells": rows}


def measure_cell(cell, dtype, packages, pace):
    """Return what there is to know of a cell."""
    problem = make_problem(cell, dtype)
    entered = rivals.enter({"crnn": rivals.Crnn("compiled"), **packages}, cell.task.name, problem)
    difference = check(cell, entered, problem)
    forms = choose(entered, pace)
    limit = limits.Limit(packages, cell.work, problem.net.dtype)
    times, elsewhere = measure.interleaved(forms | limit.entries(), pace)
    row = {
        "kind": cell.kind,
        "task": cell.task.name,
        "table": cell.table.title,
        "line": cell.line,
        "unit": cell.task.unit,
        "unit_us": cell.task.unit_us(cell.sizes),
        "sizes": cell.sizes,
        "largest_difference": difference,
        "rivals": described(times, elsewhere, forms),
        "limit": limit.summary(times),
    }
    if cell.goal is not None and dtype == "float32":
        row["goal_us"] = cell.goal * row["unit_us"]
        scale = row["limit"]["us"] / limits.goals_limit(cell.work)
        row["goal_here_us"] = row["goal_us"] * scale
    if cell.task.holds_memory:
        row["memory"] = memory(cell, forms["crnn"])
    return row


def make_problem(cell, dtype):
    """Return a cell's problem, the same in every run."""
    return cell.task.problem(cell.kind, np.random.default_rng(0), dtype, **cell.sizes)


def check(cell, entered, problem):
    """Return the largest difference of any result from the reference's, or raise."""
    (oracle,) = getattr(rivals.Crnn("reference"), cell.task.name)(problem)
    found = measure.compare(entered, oracle)
    tolerance = measure.TOLERANCES[problem.net.dtype.name]
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
    """Return crnn's bytes at the peak, and what of them it is asked for."""
    T, B, H = (cell.sizes[letter] for letter in "TBH")
    net = rival.names["net"]
    needed = {"states_bytes": T * B * H * net.dtype.itemsize}
    if cell.task is tasks.TRAINING:
        needed["gradients_bytes"] = net.num_parameters * net.dtype.itemsize
    return {"peak_bytes": measure.peak_memory(rival), **needed}


# --- two threads ---------------------------------------------------------------------------------


def two_threads(chosen, kinds, dtype, quick=False):
    """Compare, then time by the wall clock, those batches that take one thread long.

    Parameters, result and error are those of `one_thread`.
    """
    packages, missing = rivals.find()
    found = tasks.cells(chosen, quick, kinds)
    batches = [cell for cell in found if cell.sizes.get("B", 1) > 1]
    rows = []
    for number, cell in enumerate(batches):
        progress(f"two threads, {number + 1}/{len(batches)} {cell}")
        rows += measure_two(cell, dtype, packages, quick)
    return {"about": describe(packages, missing, dtype, quick, rows), "cells": rows}


def measure_two(cell, dtype, packages, quick):
    """Return a list of what there is to know of a cell, empty if one thread is fast enough."""
    pace = measure.QUICK if quick else measure.TWO_THREADS
    problem = make_problem(cell, dtype)
    contenders = {"crnn": rivals.Crnn("compiled", 2), **packages}
    contenders["one thread"] = rivals.Crnn("compiled", 1)
    entered = rivals.enter(contenders, cell.task.name, problem)
    (one,) = entered["one thread"]
    if not quick and measure.Timer(one, pace, wall=True).window()[0] < OVER:
        return []
    difference = check(cell, entered, problem)
    forms = choose(entered, pace, wall=True)
    load = measure.OthersLoad()
    times, elsewhere = measure.interleaved(forms, pace, wall=True)
    others = load.processors()
    figures = described(times, elsewhere, forms)
    return [{
        "kind": cell.kind,
        "task": cell.task.name,
        "table": cell.table.title,
        "sizes": cell.sizes,
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
        "tolerance": measure.TOLERANCES[dtype],
        "largest_difference": max((row["largest_difference"] for row in rows), default=0),
    }


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
