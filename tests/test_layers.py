"""The house: which module may import which, and what no module may contain.

The table is the architecture. A new import is a decision: it is made here, not by accident.
"""

import ast
import sys
from pathlib import Path

import pytest

import crnn

pytestmark = pytest.mark.no_backend

PACKAGE = Path(crnn.__file__).parent
KERNELS_FOLDER = PACKAGE / "kernels"
PATHS = {  # "cells", or "reference.layer" in a folder, whose __init__ is "reference"
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py")) if KERNELS_FOLDER not in path.parents
}
MODULES = {name: ast.parse(path.read_bytes()) for name, path in PATHS.items()}
# from the checkout: an installed package has no .pyx
KERNELS = sorted((Path(__file__).parents[1] / "crnn" / "kernels").glob("*.py*"))

GROUND = {"reference.formulas", "reference.optimisers", "kinds", "kernels"}  # C and NumPy only
TABLE = {
    "reference": {"reference.formulas", "reference.layer", "reference.optimisers",
                  "reference.readout", "reference.stepper"},
    "reference.formulas": set(),
    "reference.optimisers": set(),
    **{f"reference.{cell}": {"reference.formulas"} for cell in ("rnn", "gru", "lstm")},
    "reference.cells": {"reference.rnn", "reference.gru", "reference.lstm"},
    "reference.layer": {"reference.formulas", "reference.cells"},
    "reference.readout": {"reference.formulas", "reference.layer"},
    "reference.stepper": {"reference.layer", "reference.cells"},
    "kinds": set(),  # what the parts have to know of each cell
    "_dispatch": {"reference", "kernels", "__init__"},  # the switch; __init__ for the version
    # parts that know nothing of networks
    "checks": {"kernels"},
    "disk": set(),
    "files": {"disk"},
    "initialisation": set(),
    "batches": set(),
    "threads": {"checks", "kernels"},
    "optimizer": {"checks", "_dispatch"},
    "optim": {"optimizer"},
    "interrupts": set(),
    "sequences": {"kernels"},
    "schedules": {"checks"},
    "history": {"disk"},
    "checkpoints": {"configuration", "disk", "files", "history"},
    # what a network is made of
    "parameters": {"checks", "_dispatch", "kernels"},
    "weights": {"kernels"},
    "losses": {"checks", "kernels"},
    "stack": {"sequences", "threads", "kernels"},
    "engine": {"checks", "sequences", "stack", "kernels"},
    "groups": {"stack", "threads", "kernels"},
    "quick": {"checks", "groups", "stack", "threads", "kernels"},
    "streams": {"checks"},
    "configuration": {"checks", "_dispatch"},
    "passes": {"checks", "configuration", "losses", "parameters"},
    "network": {"checks", "files", "engine", "kinds", "parameters", "passes", "initialisation",
                "quick", "streams", "weights", "_dispatch", "kernels"},
    "cells": {"checks", "configuration", "kinds", "network"},
    # what is done with networks
    "loading": {"checks", "configuration", "disk", "files", "cells", "kinds", "_dispatch"},
    "gradcheck": {"checks", "network"},
    "gradient_flow": {"checks", "network", "sequences", "kernels"},
    "text": {"checks", "disk", "files", "loading", "network"},
    "plots": {"disk"},
    "training": {"batches", "checkpoints", "checks", "disk", "interrupts", "losses", "network",
                 "optimizer", "schedules", "_dispatch"},
    # doors
    "__init__": {"_dispatch", "cells", "disk", "gradcheck", "gradient_flow", "history",
                 "loading", "optim", "parameters", "reference", "schedules", "streams", "text",
                 "threads", "training"},
    "cli": None,  # everything
    "cli_options": None,
    "cli_train": None,
    "__main__": {"cli"},
}
REQUIRED = {"numpy", "safetensors"}
OPTIONAL = {"tqdm", "matplotlib"}  # extras: imported where they are used
FORBIDDEN = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
             "torch", "tensorflow", "keras", "jax", "code", "runpy"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
MOST_LINES = 400


def imports(tree, deep):
    """Yield the dotted names that a module imports; those inside functions too if deep."""
    for node in ast.walk(tree) if deep else module_level(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import; the others here are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_level(tree):
    """Yield the statements that run on import."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))


def rooms(tree, deep=True):
    """The modules of this package that a module imports; __init__ for the package itself."""
    own = [name.split(".")[1:] for name in imports(tree, deep) if name.split(".")[0] == "crnn"]
    return {room(parts) for parts in own}


def room(parts):
    """The module that an import such as ["reference", "stepper", "Stepper"] is from."""
    known = {*MODULES, "kernels"}
    names = [name for name in (".".join(parts[:2]), ".".join(parts[:1])) if name in known]
    return names[0] if names else "__init__"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_rooms_below_it(name):
    assert name in TABLE, f"{name}.py is new: give it a row in TABLE"
    allowed = TABLE[name]
    assert allowed is None or rooms(MODULES[name]) == allowed


def test_the_table_names_what_is_there():
    names = {*TABLE, *(name for allowed in TABLE.values() for name in allowed or ())}
    assert names <= {*MODULES, "kernels"}


def test_the_ground_imports_nothing_of_the_house():
    for name in GROUND & set(MODULES):
        assert not rooms(MODULES[name])
    for path in KERNELS:
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        found = {line[1].split(".")[0] for line in words
                 if len(line) > 1 and line[0] in ("import", "cimport", "from")}
        assert found <= {"numpy", "libc", "cython", "cpython"}, path.name
    assert len(KERNELS) > 8


def test_there_are_no_cycles():
    below = {name: rooms(tree, deep=False) for name, tree in MODULES.items()} | {"kernels": set()}
    placed = set()
    while len(placed) < len(below):
        ready = {name for name, needs in below.items() if needs <= placed} - placed
        assert ready, f"these import each other: {sorted(set(below) - placed)}"
        placed |= ready


@pytest.mark.parametrize("name", MODULES)
def test_others_packages_are_the_declared_ones(name):
    def packages(deep):
        top = {each.split(".")[0] for each in imports(MODULES[name], deep)}
        return top - set(sys.stdlib_module_names) - {"crnn"}

    assert packages(deep=False) <= REQUIRED
    assert packages(deep=True) <= REQUIRED | OPTIONAL
    assert name in ("files", "__init__") or "safetensors" not in packages(deep=True)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_runs_what_it_reads(name):
    tree = MODULES[name]
    assert not {each.split(".")[0] for each in imports(tree, deep=True)} & FORBIDDEN
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            assert isinstance(node.func, ast.Attribute) or called not in FORBIDDEN_CALLS
            assert called != "import_module" or name == "_dispatch"  # of a name in a closed list
            assert not any(each.arg == "allow_pickle" for each in node.keywords)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_read_in_one_sitting(name):
    lines = PATHS[name].read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES


def test_the_checks_above_can_fail():
    tree = ast.parse(
        "import crnn.cli\nfrom crnn import files, __version__\n"
        "from crnn.reference.stepper import Stepper\nfrom crnn import reference\n"
        "def f():\n    import tqdm\n    from crnn.network import RNN\n"
    )
    above = {"cli", "files", "reference", "reference.stepper", "__init__"}
    assert rooms(tree) == above | {"network"}
    assert rooms(tree, deep=False) == above
    assert set(imports(tree, deep=True)) - set(imports(tree, deep=False)) == {
        "tqdm", "crnn.network.RNN"}
