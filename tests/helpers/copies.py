"""Copies of modules, made of texts, in which bugs can be planted."""

import importlib.abc
import importlib.util
import sys
from contextlib import contextmanager
from typing import NamedTuple

import pytest

COPY = "copy_of_crnn"


class Copies(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Modules under the name of `COPY`, made of texts, that import each other and not ours."""

    def __init__(self, sources):
        self._texts = {COPY: ""}
        names = {name: "crnn." + name.replace("/", ".") for name in sources}
        for name, text in sources.items():
            for each in set(names.values()) - {"crnn.engine"}:  # which has no names of its own
                text = text.replace(f"from {each} ", f"from {COPY}{each[4:]} ")
            self._texts[COPY + names[name][4:]] = text

    def find_spec(self, name, path=None, target=None):
        if name in self._texts:
            return importlib.util.spec_from_loader(name, self)
        return None

    def is_package(self, name):
        return name.count(".") < 2

    def get_source(self, name):
        return self._texts[name]


@contextmanager
def imported(sources):
    """Let copies be imported for a while; yields a pytest.MonkeyPatch for the same while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "meta_path", [Copies(sources), *sys.meta_path])
        try:
            yield patch
        finally:
            for name in [name for name in sys.modules if name.startswith(COPY)]:
                del sys.modules[name]


class Bug(NamedTuple):
    """A replacement of text in one of some modules, and the letters of checks that must see it."""

    name: str
    module: str
    old: str
    new: str
    caught_by: str


def planted(bug, folder, sources):
    """Return the sources of modules, of which those in a folder have the bug."""
    name = f"{folder}/{bug.module}"
    assert sources[name].count(bug.old) == 1, "look at what it replaces"
    return sources | {name: sources[name].replace(bug.old, bug.new)}


def fails(check, copies, sources):
    """Return whether a check sees that modules are wrong; a crash counts, as it would in use.

    ``copies`` imports what the check takes.
    """
    with imported(sources):
        try:
            check(copies())
        except (Exception, pytest.fail.Exception):
            return True
    return False
