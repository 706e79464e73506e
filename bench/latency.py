"""How long single steps take, and the slowest of a million: crnn, ONNX Runtime and PyTorch.

    python bench/latency.py --json latency.json        LSTMs of 40 inputs, 3 sizes; two minutes
    chrt -f 10 python bench/latency.py                 on Linux at real-time priority, as sound runs

Results are compared with the NumPy reference first, as in ``run.py``; if they differ, the exit
status is 1. Then each step is timed by itself, by the wall clock, on one thread: what a caller
waits, whatever it is that takes the time. Each package is in the fastest of its forms, and does
some thousand steps before it is the next one's turn, so that what else the machine does reaches all
of them; in between it rests, because Linux stops what runs at real-time priority all the time. The
line "clock" is the time between two looks at the clock with nothing in between, which is
in all the others, too.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from run import keep_to_threads

PACKAGES = ("onnxruntime", "torch")
SIZES = [{"I": 40, "H": H} for H in (32, 64, 128)]
SHARES = {"50 %": 0.5, "99 %": 0.99, "99.9 %": 0.999, "maximum": 1.0}
TURN = 5000  # steps of one package before the next one's
REST = 0.1  # of what a turn has taken
LOOP = """
def steps(clock, durations, {names}):
    for number in range(len(durations)):
        start = clock()
        {expression}
        durations[number] = clock() - start
"""


def timed_steps(rival):
    """Return a function that fills an array with the nanoseconds of so many steps."""
    names = [name for name in rival.names if name.isidentifier() and not name.startswith("__")]
    made = {}
    exec(LOOP.format(names=", ".join(names), expression=rival.expression), made)
    known = {name: rival.names[name] for name in names}

    def steps(durations):
        exec(rival.setup, rival.names)
        made["steps"](time.perf_counter_ns, durations, **known)

    return steps


def durations(forms, count):
    """Return arrays of the nanoseconds of so many steps of each, which take turns."""
    import numpy as np

    loops = {name: timed_steps(rival) for name, rival in forms.items()}
    found = {name: np.zeros(count, np.int64) for name in forms}
    for steps in loops.values():
        steps(np.zeros(TURN, np.int64))  # what is made only once
    for start in range(0, count, TURN):
        for name, steps in loops.items():
            begun = time.monotonic()
            steps(found[name][start : start + TURN])
            time.sleep(REST * (time.monotonic() - begun))
    return found


def percentiles(ns):
    """Return microseconds that some shares of the steps take at most."""
    ordered = sorted(ns.tolist())
    return {share: ordered[max(0, round(part * len(ordered)) - 1)] / 1000
            for share, part in SHARES.items()}


def measured(kind, sizes, count):
    """Return what there is to know of steps at some sizes, ready for JSON."""
    import measure
    import report
    import rivals
    import tasks

    packages = {name: each for name, each in rivals.find()[0].items() if name in PACKAGES}
    cell = tasks.Cell(tasks.Table("latency", kind, tasks.STEP, []), sizes)
    problem = report.make_problem(cell, "float32")
    entered = rivals.enter({"crnn": rivals.Crnn("compiled"), **packages}, "step", problem)
    difference = report.check(cell, entered, problem)
    forms = report.choose(entered, measure.FULL)
    load = measure.OthersLoad()
    found = durations(forms | {"clock": rivals.Rival("", "pass", {}, None)}, count)
    others = load.processors()
    return {
        "kind": kind, "task": tasks.STEP.name, "sizes": sizes, "steps": count,
        "largest_difference": difference, "others_processors": others,
        "rivals": {name: {"form": forms[name].form if name in forms else "", "us": percentiles(ns)}
                   for name, ns in found.items()},
    }


def described(cells):
    """Return what was measured on what."""
    import report
    import rivals

    packages, missing = rivals.find()
    packages = {name: each for name, each in packages.items() if name in PACKAGES}
    missing = {name: why for name, why in missing.items() if name in PACKAGES}
    return report.describe(packages, missing, "float32", False, cells)


def markdown(found):
    """Return a table."""
    from tables import NAMES

    about, cells = found["about"], found["cells"]
    busy = [cell["others_processors"] for cell in cells if cell["others_processors"] is not None]
    lines = [
        ", ".join([
            f"crnn {about['version']} ({about['instruction_set']})", about["processor"],
            f"Python {about['python']}",
            *(f"{NAMES[name]} {version}" for name, version in about["packages"].items()),
        ]),
        "",
        f"Microseconds of one step, of {cells[0]['steps']:,} each. Results differ by at most"
        f" {about['largest_difference']:.1g} of the largest entry."
        + (f" Other programs kept {min(busy):.1f} to {max(busy):.1f} processors busy meanwhile."
           if busy else ""),
        "",
        f"| | | {' | '.join(SHARES)} |",
        f"|---|---|{'---:|' * len(SHARES)}",
    ]
    for cell in cells:
        title = f"{cell['kind']}, {cell['sizes']['I']} inputs, H = {cell['sizes']['H']}"
        for name, each in cell["rivals"].items():
            figures = " | ".join(f"{each['us'][share]:.2f}" for share in SHARES)
            lines.append(f"| {title} | {NAMES.get(name, name)} | {figures} |")
            title = ""
    return "\n".join(lines)


def main(arguments=None):
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description="Percentiles of what single steps take.")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write what was measured to FILE")
    options = parser.parse_args(arguments)
    keep_to_threads(1, os.environ)
    import measure

    cells = []
    try:
        for sizes in SIZES:
            print(sizes, file=sys.stderr, flush=True)
            cells.append(measured("LSTM", sizes, options.steps))
    except measure.DisagreementError as error:
        print(error, file=sys.stderr)
        return 1
    found = {"about": described(cells), "cells": cells}
    print(markdown(found))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
