"""Networks trained beside each other on joblib's processes, Dask and Ray, in real ones of these."""

import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

pytestmark = pytest.mark.no_backend
pytest.importorskip("sklearn")
PROGRAM = Path(__file__).parents[1] / "helpers" / "on_engines.py"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), [
    ("loky", "joblib"), ("dask", "distributed"), ("killed", "distributed"), ("ray", "ray")])
def test_an_engine_gives_the_same_bits(name, package, tmp_path):
    pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, PROGRAM, name], env=environment(), cwd=tmp_path, capture_output=True,
        text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    # Ray may say something of its own first, of workers that it ends
    assert done.stdout.splitlines()[-1].strip() == "the same"
