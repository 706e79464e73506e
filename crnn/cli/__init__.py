"""The command line: ``crnn train`` and the other commands."""

import io
import os
import sys

# NumPy loads this when somebody asks for it, and a Ctrl-C that comes just then would be lost.
import numpy.random  # noqa: F401

from crnn._version import __version__
from crnn.cli import classify, commands, convert, forecast, train
from crnn.cli.options import Parser
from crnn.cli.together import end
from crnn.files.printable import printable
from crnn.training.interrupts import Terminated

DESCRIPTION = (
    "Train a small recurrent network on a CPU, in a minute: on text, and let it write; on sequences"
    " with labels, and let it classify others; on series, and let it forecast them.")
FAILED, INTERRUPTED, TERMINATED = 1, 130, 143


def main(arguments=None):
    """Run the command line and return its exit code.

    0: done; 1: failed, with one line on standard error; 2: usage; 130: Ctrl-C; 143: SIGTERM
    while it trains.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this has closed it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(nowhere, "w", closefd=False))  # noqa: SIM115
    options = parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no character can stop the output
            stream.reconfigure(errors="backslashreplace")
    try:
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        code = TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
        line = f"crnn: {printable(str(interrupt)) or 'interrupted'}"
        return end(code, line, all_do=bool(interrupt.args))  # fit stops all ranks, and says so
    except BrokenPipeError:
        # whoever read our output has gone: no more of it, and no complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return end(FAILED)
    except (OSError, ValueError, ArithmeticError, ImportError, MemoryError) as error:
        return end(FAILED, f"crnn: {one_line(error)}")
    return 0


def one_line(error):
    """Return an exception's message on one line, which no character of it can leave."""
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return printable(error.strerror + name)
    return printable(" ".join(str(error).split())) or type(error).__name__


def parser():
    """Return the parser of the whole command line."""
    top = Parser(prog="crnn", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"crnn {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train.add_command(subparsers)
    classify.add_command(subparsers)
    forecast.add_command(subparsers)
    commands.add_commands(subparsers)
    convert.add_command(subparsers)
    return top
