"""How fast crnn is beside what one would use instead: NumPy, Numba, JAX, ONNX Runtime, OpenVINO,
tract, PyTorch.

    python bench/run.py --json all.json --figure speed.svg     sizes with goals, half an hour
    python bench/run.py --tasks step --threads 1               a part of it
    python bench/run.py --cells gru,lstm                       another
    python bench/run.py --regimes layers,start --json all.json more, added to what is in the file
    python bench/run.py --regimes all --isa avx2 --json avx2.json  hours
    python bench/run.py --quick --regimes all                  small sizes, hardly timed, for CI
    python bench/tables.py all.json avx2.json                  what was measured, as Markdown

What is not installed is left out; ``pip install '.[bench]'`` installs it all.

The networks are of three kinds: RNN, GRU (its reset after the product) and LSTM. In every cell (a
task of one of them at some sizes) each rival does the task first, and the results (outputs; loss
and gradients) are compared with those of crnn's NumPy reference: if they differ, the run ends, and
the exit status is 1. Then each is timed in short windows, in turn (A B C A B C ...), so that a
change of the machine's pace reaches all of them, on one thread and by the CPU time of that thread,
so that other programs count as little as possible. What the machine allows at best, its arithmetic
and its reading from the caches, is measured in the same rounds. The ratios are what to read: on a
machine that others use, times change by half from minute to minute.

What takes a thread long is timed on two as well, by the wall clock, in a process of its own,
because libraries of linear algebra choose their threads when they are loaded.

With ``--isa avx2`` everything that can be is held to AVX2, and what cannot be is left out.

Files: ``names.py`` what can be asked for; ``tasks.py`` what is done; ``regimes.py`` at which sizes,
with which goals; ``fits.py`` whole trainings; ``rivals.py`` and ``*_rival.py`` how each package
does it, with ``*_cells.py``, ``*_kernels.py``, ``*_fit.py`` and ``onnx_graphs.py`` what is within;
``measure.py`` comparing results, time and memory; ``limits.py`` what the machine allows;
``report.py`` the run; ``startup.py`` imports; ``tables.py`` Markdown; ``figure.py`` the figure by
sizes, and ``bars.py`` that by regimes, which are also drawn from the JSON of earlier runs.
Programs of their own: ``latency.py`` the slowest of many steps; ``models.py`` networks that others
have trained; ``train_text.py`` a training to the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from names import CELLS, FILES, REGIMES, TASKS

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
AVX2 = {  # what holds each to it
    "CRNN_ISA": "avx2", "OPENBLAS_CORETYPE": "Haswell",
    # NumPy's own loops, such as tanh; it knows some of the names, by its version
    "NPY_DISABLE_CPU_FEATURES":
        "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
    "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
}


def keep_to_threads(number, environment):
    """Have NumPy, not imported yet, use so many threads and the kernels that suit the processor."""
    environment.update(dict.fromkeys(THREADS, str(number)))
    environment.pop("OPENBLAS_CORETYPE", None)  # would hold OpenBLAS to another processor's kernels


def command_line():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Compare crnn with NumPy and with what is installed of Numba, JAX, ONNX"
        " Runtime, OpenVINO, tract and PyTorch: results first, then times, interleaved. Exit status"
        " 1 if results differ.",
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="small sizes and few repetitions: checks the results, the times mean little",
    )
    parser.add_argument(
        "--regimes", type=names_of("regime", REGIMES), default=["sizes"], metavar="NAME,...",
        help=f"what to run, of {', '.join(REGIMES)}; or all (default: sizes)",
    )
    parser.add_argument(
        "--tasks", type=names_of("task", TASKS), default=list(TASKS), metavar="NAME,...",
        help=f"which tasks of it, of {','.join(TASKS)} (default: all)",
    )
    parser.add_argument(
        "--cells", type=names_of("cell", CELLS), default=list(CELLS), metavar="NAME,...",
        help=f"which networks, of {','.join(CELLS)} (default: all)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="default: %(default)s"
    )
    parser.add_argument(
        "--threads", type=int, choices=(1, 2), help="only what is timed on so many (default: both)"
    )
    parser.add_argument("--isa", choices=("avx2",), help="hold everything to these instructions")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="where fit's data are; without, it is left out"
    )
    parser.add_argument(
        "--seconds", type=float, help="for each cell, about (default: 6, and 7 rounds at least)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything that was measured to FILE, or add it there"
    )
    parser.add_argument(
        "--figure", metavar="FILE", help="draw it to FILE, .svg or .png (needs matplotlib)"
    )
    return parser


def names_of(what, there):
    """Return a function that returns the names that a comma-separated list has."""

    def names(text):
        chosen = list(there) if text == "all" else text.split(",")
        if unknown := [name for name in chosen if name not in there]:
            raise argparse.ArgumentTypeError(
                f"no {what} {', '.join(unknown)}; there are {', '.join(there)}"
            )
        return chosen

    return names


def impossible(options):
    """Return what is wrong with options, or None."""
    if options.figure and (options.threads == 2 or "sizes" not in options.regimes):
        return "the figure is of sizes on one thread: leave --threads and --regimes out"
    if options.json and not Path(options.json).resolve().parent.is_dir():
        return f"--json {options.json}: there is no such folder"
    if options.data:
        missing = [f"{name} ({source})" for name, source in FILES.items()
                   if not (options.data / name).exists()]
        if missing:
            return f"--data {options.data}: there is no {', '.join(missing)}"
    return None


def earlier_report(path):
    """Return the report that is to be added to, empty if there is none yet.

    Raises
    ------
    ValueError
        If it is no report, or what is measured now would be something else.
    """
    import report

    if not path.exists():
        return {}
    try:
        earlier = json.loads(path.read_text())
        described = [part["about"] for part in earlier.values()]
    except (ValueError, AttributeError, KeyError, TypeError):
        raise ValueError(f"{path} is there, and is no report of this program") from None
    here = {"instruction_set": report.crnn.build_info()["instruction_set"],
            "processor": report.processor()}
    for about in described:
        for what, name in here.items():
            if about[what] != name:
                raise ValueError(f"{path} has figures of another {what.replace('_', ' ')},"
                                 f" {about[what]}; this is {name}: name another file")
    return earlier


def chosen_cells(options):
    """Return the cells that the options ask for."""
    import regimes  # imports NumPy, which reads the environment once

    cells = regimes.cells(options.tasks, options.quick, [name.upper() for name in options.cells],
                          options.regimes, options.data)
    return [cell for cell in cells
            if (cell.table.dtype or options.dtype) in cell.task.tolerances]


def measured(cells, start, options):
    """Return what there is to report of cells, and if it is wanted of the start."""
    import report
    import startup

    if options.threads == 2:
        return {"two_threads": report.two_threads(cells, options.dtype, options.quick,
                                                  options.seconds)}
    one = report.one_thread(cells, options.dtype, options.quick, options.seconds)
    if start:
        one["cells"] += startup.rows(options.quick)
    found = {"one_thread": one}
    if options.threads is None and cells:
        found |= on_two_threads(options)
    return found


def on_two_threads(options):
    """Return what a process of its own measures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "two.json"
        arguments = ["--dtype", options.dtype, "--threads", "2", "--json", path]
        for name in ("tasks", "cells", "regimes"):
            arguments += [f"--{name}", ",".join(getattr(options, name))]
        for name in ("isa", "data", "seconds"):
            if getattr(options, name) is not None:
                arguments += [f"--{name}", str(getattr(options, name))]
        program = [sys.executable, __file__, *arguments, *["--quick"] * options.quick]
        subprocess.run(program, stdout=subprocess.DEVNULL, check=True)
        return json.loads(path.read_text())


def added(earlier, found):
    """Return an earlier report with what was found in the place of the same cells, or after it."""
    from report import largest_difference

    def place(cell):
        names = "regime", "kind", "task", "table", "sizes", "dtype", "line"
        return [cell.get(name) for name in names]

    together = dict(earlier)
    for part, new in found.items():
        places = [place(cell) for cell in new["cells"]]
        old = together.get(part, {"cells": []})["cells"]
        kept = [cell for cell in old if place(cell) not in places]
        cells = kept + new["cells"]
        about = new["about"] | {"largest_difference": largest_difference(cells)}
        together[part] = {"about": about, "cells": cells}
    return together


def main(arguments=None):
    """Run the benchmark and return the exit status."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if wrong := impossible(options):
        parser.error(wrong)
    keep_to_threads(options.threads or 1, os.environ)
    if options.isa == "avx2":
        os.environ.update(AVX2)
    if options.figure:
        import figure  # without matplotlib it ends here, not after half an hour
    import measure
    import tables

    cells = chosen_cells(options)
    start = "start" in options.regimes and "start" in options.tasks and options.threads != 2
    if "fit" in options.regimes and options.data is None and not options.quick:
        print("fit is left out: --data does not say where its data are", file=sys.stderr)
    if not cells and not start:
        parser.error(f"there is nothing to measure: --regimes {','.join(options.regimes)} has no"
                     " case for these --tasks, --cells, --threads and --dtype")
    try:
        earlier = earlier_report(Path(options.json)) if options.json else {}
    except ValueError as error:
        parser.error(f"--json: {error}")
    try:
        found = measured(cells, start, options)
    except measure.DisagreementError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:  # it has said why
        return error.returncode
    print(tables.markdown(found))
    if options.json:
        Path(options.json).write_text(json.dumps(added(earlier, found), indent=1) + "\n")
    if options.figure:
        figure.draw(found, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
