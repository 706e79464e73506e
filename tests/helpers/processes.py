"""Python in processes of their own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import crnn

PLACES = os.pathsep.join([str(Path(crnn.__file__).parents[1]), str(Path(__file__).parent)])


def environment(**changes):
    """Return the environment without numbers of threads, where crnn and the tests are found."""
    numbers = ("CRNN_NUM_THREADS", "OMP_NUM_THREADS")
    inherited = {name: value for name, value in os.environ.items() if name not in numbers}
    return inherited | {"PYTHONPATH": PLACES} | changes


def command(*arguments):
    """Return the command of a Python whose warnings are errors."""
    return [sys.executable, "-W", "error", *arguments]


def run(*arguments, **changes):
    """Run Python; return what it came to and what it said."""
    return subprocess.run(command(*arguments), env=environment(**changes), capture_output=True,
                          text=True, timeout=120, check=False)


def assert_passes(process):
    """Assert that a process ended well and had nothing to say."""
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


def fresh(code, *arguments, **changes):
    """Run a program, and assert that it passes."""
    assert_passes(run("-c", textwrap.dedent(code), *arguments, **changes))
