"""How fast crnn is: compiled, beside its NumPy reference and beside other packages.

    python bench/run.py                      all tasks, some tens of seconds
    python bench/run.py --quick              small sizes, checked but hardly timed, for CI
    python bench/run.py --tasks step --json step.json

First every rival does every task, and the results (outputs; loss and gradients) are compared: if
they differ, nothing is timed and the exit status is 1. Then each is timed in short windows, in turn
(A B C A B C ...), so that a change of the machine's pace reaches all of them, on one thread and by
the CPU time of that thread, so that other programs count as little as possible. The ratios are
what to read: on a machine that others use, times change by half from minute to minute.

Files: ``tasks.py`` what is done, at which sizes; ``rivals.py`` and ``*_rival.py`` how each package
does it; ``measure.py`` comparing results, time and memory; ``report.py`` the table and the JSON.
"""

import argparse
import os
import sys

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def keep_to_one_thread(environment):
    """Have NumPy, not imported yet, use one thread and the kernels that suit the processor."""
    environment.update(dict.fromkeys(THREADS, "1"))
    environment.pop("OPENBLAS_CORETYPE", None)  # would hold OpenBLAS to another processor's kernels


def command_line(task_names):
    """Return the parser of the command line."""

    def names(text):
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in task_names]:
            raise argparse.ArgumentTypeError(
                f"no task {', '.join(unknown)}; there are {', '.join(task_names)}"
            )
        return chosen

    parser = argparse.ArgumentParser(
        description="Compare crnn, compiled, with its NumPy reference and, where it is installed,"
        " PyTorch (eager): one thread, interleaved, medians. Exit status 1 if their results"
        " differ.",
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="small sizes and few repetitions: checks the results, the times mean little",
    )
    parser.add_argument(
        "--tasks", type=names, default=list(task_names), metavar="NAME,...",
        help=f"what to run, of {','.join(task_names)} (default: all)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="default: %(default)s"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured to FILE")
    return parser


def main(arguments=None):
    """Run the benchmark and return the exit status."""
    keep_to_one_thread(os.environ)
    import report  # imports NumPy, which reads the environment once
    import tasks

    options = command_line(tasks.TASKS).parse_args(arguments)
    chosen = [tasks.TASKS[name] for name in options.tasks]
    return report.run(chosen, options.dtype, options.quick, options.json)


if __name__ == "__main__":
    sys.exit(main())
