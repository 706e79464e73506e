"""Percentiles of single steps: what they are, and that results are compared first."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.no_backend

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def latency(monkeypatch):
    """Import the module for the length of a test."""
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module("latency")
    for path in BENCH.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_percentiles_are_shares_of_all_steps(latency, rng):
    ns = rng.permutation(np.arange(1, 10_001)) * 1000
    assert latency.percentiles(ns) == {"50 %": 5000, "99 %": 9900, "99.9 %": 9990,
                                       "maximum": 10_000}
    assert set(latency.percentiles(np.array([7000])).values()) == {7}


def test_each_takes_so_many_steps(latency):
    rivals = importlib.import_module("rivals")
    calls = []
    forms = {name: rivals.Rival("", "step(name)", {"step": calls.append, "name": name}, None)
             for name in "ab"}
    count = latency.TURN + 3
    found = latency.durations(forms, count)
    assert {name: len(each) for name, each in found.items()} == {"a": count, "b": count}
    assert all((each > 0).any() for each in found.values())
    timed = calls[2 * latency.TURN :]
    assert timed == [*"a" * latency.TURN, *"b" * latency.TURN, *"aaa", *"bbb"]


@pytest.mark.slow
def test_it_runs(tmp_path):
    written = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, BENCH / "latency.py", "--steps", "200", "--json", written],
        capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())
    assert [cell["sizes"]["H"] for cell in found["cells"]] == [32, 64, 128]
    for cell in found["cells"]:
        assert cell["largest_difference"] <= 1e-5
        assert {"crnn", "clock"} <= set(cell["rivals"])
        for each in cell["rivals"].values():
            figures = list(each["us"].values())
            assert figures == sorted(figures)
    assert "| LSTM, 40 inputs, H = 64 | crnn |" in done.stdout
