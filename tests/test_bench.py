"""The benchmark: it runs, says what it found, and refuses to time rivals that disagree."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.no_backend

BENCH = Path(__file__).resolve().parents[1] / "bench"
MODULES = ("measure", "report", "rivals", "run", "tasks", "torch_rival")
NO_TORCH = "raise ImportError('hidden by the test')\n"
SABOTAGE = """
import runpy, sys
import crnn.reference

def planted(*args, right=crnn.reference.{function}):
    right(*args)
    args[{argument}][...] *= 1.001

crnn.reference.{function} = planted
sys.path.insert(0, {bench!r})
sys.argv = ["run.py", "--quick"]
runpy.run_path({bench!r} + "/run.py", run_name="__main__")
"""


@pytest.fixture
def bench(monkeypatch):
    """Import a module of the benchmark for the length of a test."""
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def python(tmp_path):
    """Run Python in an empty folder, without PyTorch unless asked."""

    def run(*arguments, torch=False):
        environment = dict(os.environ)
        if not torch:
            (tmp_path / "hidden").mkdir()
            (tmp_path / "hidden" / "torch.py").write_text(NO_TORCH)
            paths = [str(tmp_path / "hidden"), environment.get("PYTHONPATH")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True,
            text=True, timeout=300, check=False,
        )

    return run


def table(output):
    """Return the cells of the first table."""
    lines = output[output.index("| task"):].splitlines()
    rows = lines[: next((n for n, line in enumerate(lines) if not line), len(lines))]
    return [[each.strip() for each in row.strip("|").split("|")] for row in rows]


def check_run(result, written, rivals):
    """Hold a quick run's table against its JSON; return the JSON."""
    assert result.returncode == 0, result.stderr
    report = json.loads(written.read_text())
    head, _, *rows = table(result.stdout)
    assert head[:2] == ["task", "sizes"]
    columns = [head.index(f"{rival} us") for rival in rivals]
    assert [row[0] for row in rows] == [cell["task"] for cell in report["cells"]]
    for row, cell in zip(rows, report["cells"], strict=True):
        assert row[1] == " ".join(f"{letter}={size}" for letter, size in cell["sizes"].items())
        assert list(cell["rivals"]) == rivals
        for figures in cell["rivals"].values():
            assert 0 < figures["minimum_us"] <= figures["median_us"]
        times = [float(row[column].split()[0]) for column in columns]
        medians = [figures["median_us"] for figures in cell["rivals"].values()]
        np.testing.assert_allclose(times, medians, rtol=0.05, atol=0.005)
    return report


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quick_run(python, tmp_path, dtype):
    import crnn

    written = tmp_path / "out.json"
    result = python(BENCH / "run.py", "--quick", "--dtype", dtype, "--json", written)
    report = check_run(result, written, ["crnn", "reference"])
    assert [cell["task"] for cell in report["cells"]] == ["step", "training", "sequence"]
    about = report["about"]
    assert (about["dtype"], about["threads"]) == (dtype, 1)
    assert about["largest_difference"] <= about["tolerance"]
    assert {key: about[key] for key in crnn.build_info()} == crnn.build_info()
    first = result.stdout.splitlines()[0]
    for key in ("version", "instruction_set", "processor", "python", "numpy"):
        assert about[key] in first
    assert "torch is skipped: hidden by the test" in result.stdout


def test_memory_of_the_training_pass(python, tmp_path):
    written = tmp_path / "out.json"
    result = python(BENCH / "run.py", "--quick", "--tasks", "training", "--json", written)
    (cell,) = check_run(result, written, ["crnn", "reference"])["cells"]
    sizes, memory = cell["sizes"], cell["memory"]
    assert memory["states_bytes"] == sizes["T"] * sizes["B"] * sizes["H"] * 4
    assert memory["peak_bytes"] > memory["states_bytes"] + memory["gradients_bytes"]
    assert "| sizes | peak | states | gradients |" in result.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_takes_part(python, tmp_path):
    written = tmp_path / "out.json"
    result = python(BENCH / "run.py", "--quick", "--json", written, torch=True)
    report = check_run(result, written, ["crnn", "reference", "torch"])
    assert f"torch {report['about']['packages']['torch']}" in result.stdout


@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [
        ("rnn_forward", 0, "sequence T=6 B=3 H=8: y of crnn and of the reference differ"),
        ("rnn_backward", 2, "training T=6 V=5 B=3 H=8: W_hh_l0 of crnn and of the reference"),
    ],
)
def test_a_planted_difference_ends_the_run(python, function, argument, named):
    program = SABOTAGE.format(function=function, argument=argument, bench=str(BENCH))
    result = python("-c", program)
    assert result.returncode == 1
    assert named in result.stderr
    assert "| task" not in result.stdout


def test_unknown_task(python):
    result = python(BENCH / "run.py", "--tasks", "step,leap")
    assert result.returncode == 2
    assert "no task leap; there are step, training, sequence" in result.stderr


def results_of_two(change):
    """Return equal results of two rivals, and what ``change`` makes of the first one's."""
    expected = {"loss": np.array(2.0), "W": np.array([[1.0, -4.0], [0.0, 2.0]])}
    mine = {name: array.copy() for name, array in expected.items()}
    change(mine)
    return {"crnn": mine, "reference": expected}


def test_differences_are_parts_of_the_largest_entry(bench):
    def change(results):
        results["W"][1, 0] += 0.5

    found = bench("measure").differences(results_of_two(change))
    assert found == {("crnn", "W"): 0.125, ("crnn", "loss"): 0}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda results: results["W"].__setitem__((1, 0), 1e-3), "W"),
        (lambda results: results["W"].__setitem__((1, 0), np.nan), "W"),
        (lambda results: results.update(W=results["W"].T), "W"),
        (lambda results: results.update(W=results["W"][:1]), "W"),
        (lambda results: results.update(loss=results["loss"] * 1.001), "loss"),
        (lambda results: results.pop("W"), "W"),
        (lambda results: results.update(V=results["W"]), "V"),
    ],
    ids=["entry", "nan", "transposed", "shape", "loss", "missing", "additional"],
)
def test_disagreements_are_found(bench, change, name):
    measure = bench("measure")
    found = measure.differences(results_of_two(change))
    assert list(measure.disagreements(found, 1e-4)) == [("crnn", name)]


def test_the_state_of_a_step_is_compared_too(bench):
    """A step that forgets its state is right the first time only."""
    measure, rivals, tasks = bench("measure"), bench("rivals"), bench("tasks")
    problem = tasks.step_problem(np.random.default_rng(0), "float64", H=4)
    right = rivals.Crnn("reference").step(problem)
    wrong = rivals.Crnn("compiled").step(problem)
    wrong = wrong._replace(expression="[net.reset(), net.step(x)][1]")
    assert measure.compare({"crnn": wrong, "reference": right})["crnn", "y"] > 1e-3


def test_every_rival_is_timed_in_every_round(bench):
    measure, rivals = bench("measure"), bench("rivals")
    calls = []
    names = {"calls": calls}
    entered = {
        name: rivals.Rival(f"calls.append({name!r})", names, dict) for name in ("crnn", "peer")
    }
    times, _ = measure.interleaved(entered, measure.Pace(rounds=4, window=0))
    turn = ["crnn"] * 2 + ["peer"] * 2  # one call to warm up, one that is timed
    assert calls == turn * 5  # the first to see how long it takes
    assert [len(each) for each in times.values()] == [4, 4]


def test_summary(bench):
    summary = bench("measure").summary({"crnn": [2.0, 9.0, 1.0], "peer": [3.0, 4.5, 5.0]})
    assert summary["crnn"] == {
        "median_us": 2, "minimum_us": 1, "ratio": 1, "ratio_of_minima": 1
    }
    assert summary["peer"] == {  # of the rounds' ratios 1.5, 0.5 and 5
        "median_us": 4.5, "minimum_us": 3, "ratio": 1.5, "ratio_of_minima": 3
    }


def test_one_thread(bench):
    environment = {"OMP_NUM_THREADS": "8", "OPENBLAS_CORETYPE": "Haswell", "HOME": "/"}
    bench("run").keep_to_one_thread(environment)
    assert environment == {
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HOME": "/"
    }


def test_times_in_other_threads_are_warned_of(bench):
    row = {"task": "step", "sizes": {"H": 16}, "in_other_threads": 0.5}
    report = bench("report")
    (text,) = report.warnings([row, {**row, "in_other_threads": 0.01}])
    assert "Mistrust step H=16: 50%" in text
