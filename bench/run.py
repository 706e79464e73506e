"""How fast crnn is beside what one would use instead: NumPy, Numba, JAX, ONNX Runtime, PyTorch.

    python bench/run.py --json all.json --figure speed.svg     everything, half an hour
    python bench/run.py --tasks step --threads 1               a part of it
    python bench/run.py --cells gru,lstm                       another
    python bench/run.py --quick                                small sizes, hardly timed, for CI

What is not installed is left out; ``pip install '.[bench]'`` installs it all.

The networks are of three kinds: RNN, GRU (its reset after the product) and LSTM. In every cell (a
task of one of them at some sizes) each rival does the task first, and the results (outputs; loss
and gradients) are compared with those of crnn's NumPy reference: if they differ, the run ends, and
the exit status is 1. Then each is timed in short windows, in turn (A B C A B C ...), so that a
change of the machine's pace reaches all of them, on one thread and by the CPU time of that thread,
so that other programs count as little as possible. What the machine allows at best, its arithmetic
and its reading from the caches, is measured in the same rounds. The ratios are what to read: on a
machine that others use, times change by half from minute to minute.

Batches are timed on two threads as well, by the wall clock, in a process of their own, because
libraries of linear algebra choose their threads when they are loaded.

Files: ``tasks.py`` what is done, at which sizes, with which goals; ``rivals.py`` and
``*_rival.py`` how each package does it, with ``*_cells.py`` and ``*_kernels.py`` what is within
(what differs between RNN, GRU and LSTM); ``measure.py`` comparing results, time and memory;
``limits.py`` what the machine allows; ``report.py`` the run; ``tables.py`` Markdown; ``figure.py``
the figure, which it also draws from the JSON of an earlier run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TASKS = ("step", "sequence", "training")
CELLS = ("rnn", "gru", "lstm")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def keep_to_threads(number, environment):
    """Have NumPy, not imported yet, use so many threads and the kernels that suit the processor."""
    environment.update(dict.fromkeys(THREADS, str(number)))
    environment.pop("OPENBLAS_CORETYPE", None)  # would hold OpenBLAS to another processor's kernels


def command_line():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Compare crnn with NumPy and with what is installed of Numba, JAX, ONNX Runtime"
        " and PyTorch: results first, then times, interleaved. Exit status 1 if results differ.",
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="small sizes and few repetitions: checks the results, the times mean little",
    )
    parser.add_argument(
        "--tasks", type=names_of("task", TASKS), default=list(TASKS), metavar="NAME,...",
        help=f"what to run, of {','.join(TASKS)} (default: all)",
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
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured to FILE")
    parser.add_argument(
        "--figure", metavar="FILE", help="draw it to FILE, .svg or .png (needs matplotlib)"
    )
    return parser


def names_of(what, there):
    """Return a function that returns the names that a comma-separated list has."""

    def names(text):
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in there]:
            raise argparse.ArgumentTypeError(
                f"no {what} {', '.join(unknown)}; there are {', '.join(there)}"
            )
        return chosen

    return names


def measured(options):
    """Return what there is to report."""
    import report  # imports NumPy, which reads the environment once

    kinds = [name.upper() for name in options.cells]
    chosen = options.tasks, kinds, options.dtype, options.quick
    if options.threads == 2:
        return {"two_threads": report.two_threads(*chosen)}
    found = {"one_thread": report.one_thread(*chosen)}
    if options.threads is None:
        found |= on_two_threads(options)
    return found


def on_two_threads(options):
    """Return what a process of its own measures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "two.json"
        arguments = ["--tasks", ",".join(options.tasks), "--cells", ",".join(options.cells)]
        arguments += ["--dtype", options.dtype]
        arguments += ["--quick"] * options.quick + ["--threads", "2", "--json", path]
        program = [sys.executable, __file__, *arguments]
        subprocess.run(program, stdout=subprocess.DEVNULL, check=True)
        return json.loads(path.read_text())


def main(arguments=None):
    """Run the benchmark and return the exit status."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.figure and options.threads == 2:
        parser.error("the figure is of what one thread does: leave --threads out")
    keep_to_threads(options.threads or 1, os.environ)
    if options.figure:
        import figure  # without matplotlib it ends here, not after half an hour
    import measure
    import tables

    try:
        found = measured(options)
    except measure.DisagreementError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:  # it has said why
        return error.returncode
    print(tables.markdown(found))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    if options.figure:
        figure.draw(found, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
