"""What `import crnn` brings with it: what every network needs, and nothing more.

A program that runs a network should begin about as soon as NumPy does. What of the package, and of
other libraries, is not needed for that is imported when somebody asks for it.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import crnn

pytestmark = pytest.mark.no_backend

LATER = {"analysis", "cli", "data", "exchange", "forecasting", "layers", "mpi", "plots", "sklearn",
         "text", "training"}
SLOW = {"hashlib", "http", "inspect", "json", "pathlib", "random", "safetensors", "secrets",
        "shutil", "ssl", "zipfile"}  # if NumPy has not imported them itself
KERNELS = {"_shared", "cpu", "memory", "pool"}


def brought(statements):
    """Return the modules that are there in a new process after statements, beyond NumPy's."""
    program = ("import sys, numpy, numpy.random; before = set(sys.modules)\n" + statements
               + "\nprint(*sorted(set(sys.modules) - before))")
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                             check=True, timeout=120)
    return {*process.stdout.split()}


def kernels_in(modules):
    return {name.rpartition(".")[2] for name in modules if name.startswith("crnn.kernels.")}


def test_what_a_network_does_without_is_left():
    modules = brought("import crnn")
    folders = {name.split(".")[1] for name in modules if name.startswith("crnn.")}
    assert "network" in folders
    assert folders & LATER == set()
    assert modules & SLOW == set()
    assert kernels_in(modules) == KERNELS


def test_a_network_loads_one_build_of_the_kernels():
    modules = brought("import crnn; net = crnn.LSTM(3, 5, 2, dtype='float64', backend='compiled')")
    build, = kernels_in(modules) - KERNELS
    assert build.endswith("_double")
    assert not any(name.startswith(f"crnn.{folder}") for name in modules for folder in LATER)


def test_every_public_name_is_there_when_it_is_asked_for():
    modules = brought("from crnn import *; fit, Forecaster, text.sample, data.read, layers.LSTM")
    assert {"crnn.training.fit", "crnn.forecasting.forecaster", "crnn.text"} <= modules
    assert {*crnn.__all__} <= {*dir(crnn)}
    assert all(getattr(crnn, name) is getattr(crnn, name) for name in crnn.__all__)
    assert crnn.plots is sys.modules["crnn.plots"]
    with pytest.raises(AttributeError, match="module 'crnn' has no attribute 'Network'"):
        crnn.Network  # noqa: B018


def test_an_editor_is_told_the_same_places():
    tree = ast.parse(Path(crnn.__file__).read_text(encoding="utf-8"))
    later, = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: each.module.removeprefix("crnn").removeprefix(".")
            for each in later.body for alias in each.names}
    assert told == {name: place for name, place in crnn.PLACES.items() if name in crnn.__all__}
