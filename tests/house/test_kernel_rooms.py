"""The kernels' files stand on each other: none uses a name of one that is included after it.

Cython would let them: names are found wherever they are defined.
"""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_backend

# from the checkout: an installed package has no .pyx
KERNELS = Path(__file__).parents[2] / "crnn" / "kernels"
FILES = re.findall(r'^include "(.+)"', (KERNELS / "core.pyx").read_text("utf-8"), re.MULTILINE)
TEXTS = {name: (KERNELS / name).read_text(encoding="utf-8") for name in FILES}
DEFINITION = re.compile(
    r"^(?:cdef|def|class)\b[^(=\n]*?(\w+)(?=\(|:| =|$)|^([A-Z]\w*) = ", re.MULTILINE
)
MEMBERS = re.compile(r"^(?:cdef extern.*|cdef enum.*):\n((?:(?: .*)?\n)+)", re.MULTILINE)


def code(text):
    """Return a file's code, without comments and strings."""
    return re.sub(r'"""(?:.|\n)*?"""|"[^"\n]*"|#.*', "", text)


def defined(text):
    """Return the names that a file defines for all: functions, classes, constants, enums."""
    text = code(text)
    names = {a or b for a, b in DEFINITION.findall(text)}
    for body in MEMBERS.findall(text):
        lines = [line.strip() for line in body.splitlines() if line.strip()]
        for line in lines:
            before_arguments = line.split("(")[0].split("=")[0]
            names |= set(re.findall(r"\b[A-Za-z_]\w+(?=\s*(?:,|$))", before_arguments.strip()))
    return names - {"enum", "nogil"}


def upward(texts):
    """Return (file, name, later file) of each use of a name that a later file defines."""
    found, order = set(), list(texts)
    for i, user in enumerate(order):
        used = set(re.findall(r"(?<![.\w])[A-Za-z_]\w+", code(texts[user]))) - defined(texts[user])
        earlier = set().union(*(defined(texts[each]) for each in order[:i]))
        for later in order[i + 1 :]:
            found |= {(user, name, later) for name in used & defined(texts[later]) - earlier}
    return found


def test_a_file_uses_only_names_of_files_before_it():
    assert upward(TEXTS) == set()


def test_every_file_is_included_once_and_what_they_define_is_seen():
    shims = {path.name for path in KERNELS.glob("*_float.pyx")}
    shims |= {path.name for path in KERNELS.glob("*_double.pyx")}
    alone = {"core.pyx", "cpu.pyx", "memory.pyx", "pool.pyx", "strands.pyx", *shims}
    there = {str(path.relative_to(KERNELS)) for path in KERNELS.rglob("*.p[yx][xi]")} - alone
    assert sorted(FILES) == sorted(there)
    for name, file in {
        "VECTOR": "tuning.pxi", "UNITS": "tuning.pxi", "PREFETCH": "products/micro.pyx",
        "tile": "products/micro.pyx", "pack": "products/formats.pyx", "Rows": "cells/rows.pyx",
        "LSTM": "cells/table.pyx", "CELLS": "cells/table.pyx", "Layer": "passes/layer.pyx",
    }.items():
        assert [each for each in FILES if name in defined(TEXTS[each])] == [file]


def test_a_name_used_too_early_is_seen():
    planted = TEXTS | {"cells/rows.pyx": TEXTS["cells/rows.pyx"] + "\nprint(lstm_units)\n"}
    assert upward(planted) == {("cells/rows.pyx", "lstm_units", "cells/lstm.pyx")}
    swapped = dict(reversed(TEXTS.items()))
    assert len({user for user, _, _ in upward(swapped)}) > 10
