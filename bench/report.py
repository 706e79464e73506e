"""The run from first to last, as Markdown on the way and as JSON at the end."""

import json
import platform
import sys
from pathlib import Path
from typing import NamedTuple

import measure
import numpy as np
import rivals
import tasks

import crnn

MISSED = 0.05  # part of the CPU time in other threads from which times are not to be trusted


class Cell(NamedTuple):
    """A task at some sizes, with all that take part."""

    task: tasks.Task
    sizes: dict
    rivals: dict  # of str to rivals.Rival

    def __str__(self):
        return f"{self.task.name} {sizes_text(self.sizes)}"


def run(chosen, dtype, quick=False, json_path=None):
    """Compare, time and report.

    Parameters
    ----------
    chosen : list of tasks.Task
    dtype : {"float32", "float64"}
    quick : bool
        Small sizes and few repetitions.
    json_path : str, optional
        Where to write everything that was measured.

    Returns
    -------
    int
        The exit status: 1 if results differ, and then nothing was timed.
    """
    contenders, missing = rivals.find()
    cells = [
        make_cell(task, sizes, dtype, contenders)
        for task in chosen
        for sizes in (task.quick_cells if quick else task.cells)
    ]
    found = [measure.compare(cell.rivals) for cell in cells]
    if complaints := complain(cells, found, measure.TOLERANCES[dtype]):
        print("\n".join(complaints), file=sys.stderr)
        return 1
    about = describe(contenders, missing, dtype, max(max(each.values()) for each in found))
    print(head(about, chosen))
    print(table_head(contenders))
    rows = []
    for cell in cells:
        rows.append(measure_cell(cell, measure.QUICK if quick else measure.FULL))
        print(table_row(rows[-1], contenders), flush=True)
    for text in memory_table(rows) + warnings(rows):
        print(text)
    if json_path:
        Path(json_path).write_text(json.dumps({"about": about, "cells": rows}, indent=1) + "\n")
    return 0


def make_cell(task, sizes, dtype, contenders):
    """Return a cell, its problem the same in every run."""
    problem = task.problem(np.random.default_rng(0), dtype, **sizes)
    return Cell(task, sizes, rivals.enter(contenders, task, problem))


def complain(cells, found, tolerance):
    """Return a line for each result that differs by more than the tolerance."""
    return [
        f"{cell}: {name} of {rival} and of the reference differ by {value:.2g} of the largest"
        f" entry; {tolerance:g} is allowed"
        for cell, each in zip(cells, found, strict=True)
        for (rival, name), value in measure.disagreements(each, tolerance).items()
    ]


def measure_cell(cell, pace):
    """Return what there is to know of a cell, ready for JSON."""
    times, elsewhere = measure.interleaved(cell.rivals, pace)
    row = {
        "task": cell.task.name,
        "sizes": cell.sizes,
        "rivals": measure.summary(times),
        "in_other_threads": elsewhere,
    }
    if cell.task.reports_memory:
        T, B, H = (cell.sizes[letter] for letter in "TBH")
        net = cell.rivals["crnn"].names["net"]
        row["memory"] = {
            "peak_bytes": measure.peak_memory(cell.rivals["crnn"]),
            "states_bytes": T * B * H * net.dtype.itemsize,
            "gradients_bytes": net.num_parameters * net.dtype.itemsize,
        }
    return row


# --- what was measured on what -------------------------------------------------------------------


def describe(contenders, missing, dtype, largest_difference):
    """Return what the figures were taken with, ready for JSON."""
    return {
        **crnn.build_info(),
        "processor": processor(),
        "dtype": dtype,
        "threads": 1,
        "packages": {
            name: contenders[name].VERSION for name in rivals.PACKAGES if name in contenders
        },
        "missing": missing,
        "tolerance": measure.TOLERANCES[dtype],
        "largest_difference": largest_difference,
    }


def processor():
    """Return the processor's name, as well as it is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# --- Markdown ------------------------------------------------------------------------------------


def head(about, chosen):
    """Return the lines above the table."""
    return "\n".join([
        ", ".join([
            f"crnn {about['version']} ({about['instruction_set']}, {about['compiler']})",
            about["processor"], f"Python {about['python']}", f"NumPy {about['numpy']}",
            *(f"{name} {version}" for name, version in about["packages"].items()),
            about["dtype"], "1 thread",
        ]),
        "",
        *(f"- {task.name}: {task.about}" for task in chosen),
        *(f"- {name} is skipped: {reason}" for name, reason in about["missing"].items()),
        f"- results agree: they differ by at most {about['largest_difference']:.1g} of the largest"
        f" entry, {about['tolerance']:g} is allowed",
        "- medians of microseconds a call and of ratios to crnn; in brackets, of the minima",
        "",
    ])


def table_head(contenders):
    """Return the table's first two lines."""
    others = [column for name in others_of(contenders) for column in (f"{name} us", "ratio")]
    columns = ["task", "sizes", "crnn us", *others]
    return markdown_row(columns) + "\n" + rule(columns, words=2)


def table_row(row, contenders):
    """Return one line of the table; "-" for who cannot do the task."""
    figures = row["rivals"]
    columns = [row["task"], sizes_text(row["sizes"]), time_text(figures["crnn"])]
    for name in others_of(contenders):
        if name in figures:
            columns += [time_text(figures[name]), ratio_text(figures[name])]
        else:
            columns += ["-", "-"]
    return markdown_row(columns)


def time_text(figures):
    return f"{number(figures['median_us'])} ({number(figures['minimum_us'])})"


def ratio_text(figures):
    return f"{number(figures['ratio'])} ({number(figures['ratio_of_minima'])})"


def others_of(contenders):
    return [name for name in contenders if name != "crnn"]


def memory_table(rows):
    """Return the lines about memory, none if no row has any."""
    rows = [row for row in rows if "memory" in row]
    if not rows:
        return []
    columns = ["sizes", "peak", "states", "gradients"]
    return [
        "",
        "Memory of crnn's training pass, KiB: its peak, and of that the hidden states (T x B x H"
        " numbers) and the gradients.",
        "",
        markdown_row(columns),
        rule(columns, words=1),
        *(
            markdown_row([
                sizes_text(row["sizes"]), *(number(each / 1024) for each in row["memory"].values())
            ])
            for row in rows
        ),
    ]


def warnings(rows):
    """Return a line for each row whose times miss work."""
    return [
        f"\nMistrust {row['task']} {sizes_text(row['sizes'])}: {row['in_other_threads']:.0%} of the"
        " CPU time went to other threads, which is not counted above."
        for row in rows
        if row["in_other_threads"] > MISSED
    ]


def markdown_row(columns):
    return f"| {' | '.join(columns)} |"


def rule(columns, words):
    """Return the line below the head: the first ``words`` columns are words, the others numbers."""
    return markdown_row(["---"] * words + ["---:"] * (len(columns) - words))


def sizes_text(sizes):
    return " ".join(f"{letter}={size}" for letter, size in sizes.items())


def number(value):
    """Return a number to about three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
