"""The page about engines does what it says: its programs are run, one after the other."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from guide_pages import GUIDE, blocks, difference
from processes import environment

pytestmark = pytest.mark.no_backend
PAGE = (GUIDE.parent / "many-machines.md").read_text(encoding="utf-8")
FIRST, *PROGRAMS = blocks(PAGE)
NAMES = {  # of the programs, with the packages that they need
    "many networks": "distributed", "ranks": "mpi4py", "processes": "",
    "dask, an array": "distributed", "dask, a frame": "distributed", "ray": "ray",
    "spark": "pyspark",
}
QUICK = {"ranks", "processes"}
LONGEST = 15  # lines of a program, with imports


def run(program, folder, *command):
    """Run a program as a file; compare what it prints."""
    path = folder / "program.py"
    path.write_text(program.code, encoding="utf-8")
    done = subprocess.run(
        [*command, sys.executable, path], cwd=folder, capture_output=True, text=True, timeout=500,
        env=environment(PYSPARK_PYTHON=sys.executable), check=False)
    assert done.returncode == 0, done.stderr
    assert difference(program.printed, done.stdout) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the first program leaves."""
    path = tmp_path_factory.mktemp("machines")
    run(FIRST, path)
    return path


@pytest.mark.parametrize(("program", "name"), [
    pytest.param(program, name, marks=[pytest.mark.slow] * (name not in QUICK), id=name)
    for program, name in zip(PROGRAMS, NAMES, strict=True)])
def test_a_program_does_what_the_page_says(program, name, folder):
    if NAMES[name]:
        pytest.importorskip(NAMES[name])
    command = []
    if name == "ranks":
        mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which(
            "mpiexec") or pytest.skip("mpiexec is missing")
        command = [mpiexec, "-n", "2"]
    if name == "spark" and not shutil.which("java"):
        pytest.skip("java is missing")
    run(program, folder, *command)


def test_programs_are_short():
    assert [name for name, program in zip(NAMES, PROGRAMS, strict=True)
            if len(program.code.split("\n")) > LONGEST] == []
