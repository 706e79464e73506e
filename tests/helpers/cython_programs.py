"""Users' own programs in Cython and C, built in a folder against the crnn that is imported."""

import importlib.util
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import crnn

COMPILER = shlex.split(sysconfig.get_config_var("CC") or "cc")


def need_compiler():
    """Skip the test where there is no C compiler."""
    if sys.platform == "win32" or shutil.which(COMPILER[0]) is None:
        pytest.skip("there is no C compiler")


def built(name, text, folder):
    """Return the module of a program in Cython."""
    pytest.importorskip("Cython")
    need_compiler()
    source = folder / f"{name}.pyx"
    source.write_text(text, encoding="utf-8")
    found = Path(crnn.__file__).parents[1]
    checked(sys.executable, "-m", "cython", "-3", "-I", found, source)
    module = folder / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    shared(source.with_suffix(".c"), module, f"-I{sysconfig.get_path('include')}")
    spec = importlib.util.spec_from_file_location(name, module)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def shared(source, library, *flags):
    """Compile a file of C to a shared library."""
    undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    checked(*COMPILER, "-shared", "-fPIC", "-O1", *undefined, *flags, source, "-o", library)


def checked(*command):
    """Run a command, and assert that it does not fail."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True,
                          check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
