"""The house: a file imports from its own folder, downwards, or from a folder below.

FLOORS is that rule with a row for each folder: what may be imported into its files.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

import crnn

pytestmark = pytest.mark.no_backend

PACKAGE = Path(crnn.__file__).parent
KERNELS_FOLDER = PACKAGE / "kernels"
PATHS = {  # "text", or "network.cells" in a folder, whose __init__ is "network"
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py")) if KERNELS_FOLDER not in path.parents
}
MODULES = {name: ast.parse(path.read_bytes()) for name, path in PATHS.items()}
# from the checkout: an installed package has no .pyx
KERNELS = sorted(path for path in (Path(__file__).parents[2] / "crnn" / "kernels").rglob("*.py*")
                 if path.suffix != ".pyc")

FLOORS = {  # from the ground up; "" are the public modules beside the folders
    "kernels": set(),
    "reference": set(),
    "files": set(),
    "base": {"kernels", "reference"},
    "data": {"base", "files"},
    "layers": {"base"},
    "exchange": {"layers", "base", "files"},
    "engine": {"base", "kernels", "reference"},
    "network": {"engine", "exchange", "layers", "base", "files", "kernels"},
    "analysis": {"network", "engine", "base", "reference"},
    "training": {"network", "engine", "base", "files"},
    "": {"training", "network", "layers", "engine", "base", "files"},
    "forecasting": {"", "training", "network", "engine", "base", "files"},
    "sklearn": {"", "training", "network", "engine", "base"},
    "cli": {"forecasting", "", "data", "training", "network", "engine", "base", "files"},
}
DOORS = {"__init__", "__main__"}  # which let everything out
REQUIRED = {"numpy", "safetensors"}
OPTIONAL = {"tqdm", "matplotlib", "pandas", "narwhals", "joblib", "onnx"}  # where they are used
OF_ONE = {"sklearn": {"sklearn", "joblib"}, "mpi": {"mpi4py"}}  # which nothing else imports
FORBIDDEN = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
             "torch", "tensorflow", "keras", "jax", "code", "runpy"}
WORKERS = {"joblib.Parallel", "joblib.delayed", "joblib.effective_n_jobs"}  # which read no files
CLOSED_LISTS = {"__init__", "base.backends", "reference"}  # which have modules imported by them
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


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
    """The module that an import such as ["reference", "layer", "forward"] is from."""
    known = {*MODULES, "kernels"}
    names = [name for name in (".".join(parts[:2]), ".".join(parts[:1])) if name in known]
    return names[0] if names else "__init__"


def folder(name):
    """The folder of a module: a package's __init__ stands in its own."""
    top = name.split(".")[0]
    return top if top in FLOORS else ""


@pytest.mark.parametrize("name", sorted(set(MODULES) - DOORS))
def test_a_module_imports_only_from_its_folder_or_from_one_below(name):
    own = folder(name)
    below = {each for each in rooms(MODULES[name]) if each not in DOORS | {"_version"}}
    assert {folder(each) for each in below} <= FLOORS[own] | {own}


def test_every_folder_is_installed():
    """Read pyproject.toml as text: Python 3.10 has no tomllib."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[(.*?)\]", project, re.DOTALL | re.MULTILINE).group(1)
    folders = {".".join(path.parent.relative_to(PACKAGE.parent).parts)
               for path in PATHS.values() if path.name == "__init__.py"} | {"crnn.kernels"}
    assert sorted(re.findall(r'"([\w.]+)"', listed)) == sorted(folders)


def test_each_floor_stands_on_floors_below_it():
    placed = []
    for name, below in FLOORS.items():
        assert below <= set(placed)
        placed.append(name)


def test_the_ground_imports_nothing_of_the_house():
    for path in KERNELS:
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        found = {line[1] for line in words
                 if len(line) > 1 and line[0] in ("import", "cimport", "from")}
        others = {name.split(".")[0] for name in found
                  if not f"{name}.".startswith("crnn.kernels.")}
        assert others - set(sys.stdlib_module_names) <= {"numpy", "libc", "cython", "cpython"}
    assert len(KERNELS) > 20


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

    own = OF_ONE.get(name.split(".")[0], set())
    assert packages(deep=False) <= REQUIRED | own
    assert packages(deep=True) <= REQUIRED | OPTIONAL | own
    assert name in ("files.container", "__init__") or "safetensors" not in packages(deep=True)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_runs_what_it_reads(name):
    tree = MODULES[name]
    others = set(imports(tree, deep=True)) - WORKERS
    assert not {each.split(".")[0] for each in others} & FORBIDDEN
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            assert isinstance(node.func, ast.Attribute) or called not in FORBIDDEN_CALLS
            assert called != "import_module" or name in CLOSED_LISTS
            assert not any(each.arg == "allow_pickle" for each in node.keywords)


def test_no_two_test_files_have_one_name():
    """Or pytest, for which both would be one module, could not run them together."""
    names = [path.name for path in Path(__file__).parents[1].rglob("*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_the_checks_above_can_fail():
    tree = ast.parse(
        "import crnn.cli\nfrom crnn import text, __version__\n"
        "from crnn.reference.layer import forward\nfrom crnn import reference\n"
        "def f():\n    import tqdm\n    from crnn.network.cells import RNN\n"
    )
    above = {"cli", "text", "reference", "reference.layer", "__init__"}
    assert rooms(tree) == above | {"network.cells"}
    assert rooms(tree, deep=False) == above
    assert set(imports(tree, deep=True)) - set(imports(tree, deep=False)) == {
        "tqdm", "crnn.network.cells.RNN"}
    assert not {folder(each) for each in rooms(tree)} <= FLOORS["network"]
