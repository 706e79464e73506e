"""Bugs planted one by one in copies of some modules: the checks must catch every one.

A check that nothing can fail proves nothing. The bugs are in planted_bugs.py, the checks in
bug_checks.py.
"""

import sys
import types

import pytest
from bug_checks import CHECKS
from planted_bugs import BUGS, SOURCES, text_in

from crnn import reference
from crnn.engine import engine, stack
from crnn.network import network

pytestmark = pytest.mark.no_backend


def load(name, source):
    """Return a module that is made of a text."""
    module = types.ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), vars(module))
    return module


def load_reference(sources):
    """Return a package like crnn.reference, whose modules import each other."""
    copy, copies = "copy_of_reference", {}
    with pytest.MonkeyPatch.context() as patch:
        package = types.ModuleType(copy)
        package.__path__ = []
        patch.setitem(sys.modules, copy, package)
        for name, source in sources.items():
            if name.startswith("reference/"):
                source, name = source.replace("crnn.reference", copy), name.partition("/")[2]
                copies[name] = load(f"{copy}.{name}", source)
                patch.setitem(sys.modules, f"{copy}.{name}", copies[name])
                setattr(package, name, copies[name])
        exec(compile(sources["reference"].replace("crnn.reference", copy), copy, "exec"),
             vars(package))
    package.RUN_IN_THREADS = True
    return package


def fails(check, broken):
    """Return whether a check sees that modules are wrong; a crash counts, as it would in use."""
    with pytest.MonkeyPatch.context() as patch:
        functions = broken.get("reference", reference)
        patch.setattr(network, "kernels", lambda backend, dtype: functions)
        if "engine/packing" in broken:
            patch.setattr(network, "Weights", broken["engine/packing"].Weights)
        if "engine/engine" in broken:
            patch.setattr(network, "Engine", broken["engine/engine"].Engine)
        if "engine/stack" in broken:
            patch.setattr(engine, "Stack", broken["engine/stack"].Stack)
        if "engine/sequences" in broken:
            for module, name in ((engine, "reverse"), (stack, "reverse"), (stack, "beside")):
                patch.setattr(module, name, getattr(broken["engine/sequences"], name))
        if "engine/threads" in broken:
            patch.setattr(stack, "threads", broken["engine/threads"])
        try:
            check(functions)
        except Exception:
            return True
    return False


@pytest.fixture(scope="module")
def whole_reference():
    return load_reference(SOURCES)


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check, whole_reference):
    others = {name: load(f"copy_of_{name}", source) for name, source in SOURCES.items()
              if not name.startswith("reference")}
    assert not fails(check, {"reference": whole_reference})
    for name, module in others.items():
        assert not fails(check, {"reference": whole_reference, name: module})
    assert not fails(check, {})


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug, whole_reference):
    assert text_in(bug.module).count(bug.old) == bug.count, f"{bug.name}: look at what it replaces"
    changed = {name: source.replace(bug.old, bug.new) for name, source in SOURCES.items()
               if name.startswith(bug.module)}
    if bug.module.startswith("reference"):
        copies = {"reference": load_reference(SOURCES | changed)}
    else:
        copies = {"reference": whole_reference, bug.module: load("broken", changed[bug.module])}
    for letter in bug.caught_by:
        assert fails(CHECKS[letter], copies), f"{bug.name} escaped {CHECKS[letter].__name__}"


def test_every_check_is_needed_by_some_bug_and_bugs_differ():
    assert all(bug.caught_by for bug in BUGS)
    assert set("".join(bug.caught_by for bug in BUGS)) == set(CHECKS)
    changes = {(bug.module, bug.old, bug.new) for bug in BUGS}
    assert len(changes) == len({bug.name for bug in BUGS}) == len(BUGS)
