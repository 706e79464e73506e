"""Bugs planted one by one in copies of some modules: the checks must catch every one.

A check that nothing can fail proves nothing. The bugs are in planted_bugs.py, the checks in
bug_checks.py.
"""

import importlib

import numpy as np
import pytest
from bug_checks import CHECKS
from copies import COPY, imported
from planted_bugs import BUGS, SOURCES

from crnn.network import network

pytestmark = pytest.mark.no_backend


def fails(check, sources):
    """Return whether a check sees that modules are wrong; a crash counts, as it would in use."""
    with imported(sources) as patch:
        try:
            for backend, name in {"reference": "textbook", "compiled": "compiled"}.items():
                engine = importlib.import_module(f"{COPY}.engine.{name}")
                patch.setitem(network.ENGINES, backend, engine.Engine)
            masking = importlib.import_module(f"{COPY}.engine.masking")
            patch.setattr(network, "MaskedEngine", masking.MaskedEngine)
            with np.errstate(all="ignore"):
                check(importlib.import_module(f"{COPY}.reference"))
        except Exception:
            return True
    return False


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check):
    assert not fails(check, SOURCES)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug):
    parts = {name: text for name, text in SOURCES.items() if name.startswith(bug.module)}
    count = sum(text.count(bug.old) for text in parts.values())
    assert count == bug.count, f"{bug.name}: look at what it replaces"
    changed = {name: text.replace(bug.old, bug.new) for name, text in parts.items()}
    for letter in bug.caught_by:
        assert fails(CHECKS[letter], SOURCES | changed), (
            f"{bug.name} escaped {CHECKS[letter].__name__}")


def test_every_check_is_needed_by_some_bug_and_bugs_differ():
    assert all(bug.caught_by for bug in BUGS)
    assert set("".join(bug.caught_by for bug in BUGS)) == set(CHECKS)
    changes = {(bug.module, bug.old, bug.new) for bug in BUGS}
    assert len(changes) == len({bug.name for bug in BUGS}) == len(BUGS)
