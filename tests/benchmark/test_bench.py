"""The benchmark: it runs, says what it found, and refuses to time rivals that disagree."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import crnn

pytestmark = pytest.mark.no_backend

BENCH = Path(__file__).resolve().parents[2] / "bench"
KINDS, TASKS = ("RNN", "GRU", "LSTM"), ("step", "sequence", "training")
PEERS = ("numba", "jax", "onnxruntime", "openvino", "tract", "torch")
NEEDED = {"numba": "scipy", **dict.fromkeys(PEERS[2:5], "onnx")}  # beside the package itself
HIDDEN = "raise ImportError('hidden by the test')\n"
SABOTAGE = """
import runpy, sys
import crnn

def planted(net, *arguments, right=crnn.{kind}.{method}, **options):
    result = right(net, *arguments, **options)
    return {change} if net.backend == "compiled" else result

crnn.{kind}.{method} = planted
sys.path.insert(0, {bench!r})
sys.argv = ["run.py", "--quick", "--threads", "1", "--cells", "{kind}".lower(),
            "--regimes", "{regime}"]
runpy.run_path({bench!r} + "/run.py", run_name="__main__")
"""


def installed(peer):
    return all(importlib.util.find_spec(name) for name in (peer, NEEDED.get(peer, peer)))


@pytest.fixture
def python(tmp_path):
    """Run Python in an empty folder, where only the peers that are asked for can be imported."""

    def run(*arguments, peers=()):
        hidden = tmp_path / "hidden"
        hidden.mkdir(exist_ok=True)
        for peer in peers:
            (hidden / f"{peer}.py").unlink(missing_ok=True)
        for peer in set(PEERS) - set(peers):
            (hidden / f"{peer}.py").write_text(HIDDEN)
        paths = [str(hidden), os.environ.get("PYTHONPATH")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True,
            text=True, timeout=300, check=False,
        )

    return run


def table_rows(output):
    """Return the lines of all tables, each as a list of its columns."""
    rows = [line for line in output.splitlines() if line.startswith("|")]
    columns = [[each.strip() for each in row.strip("|").split("|")] for row in rows]
    return [row for row in columns if row[0] and set(row[0]) != {"-"}]


def check_run(result, written, rivals):
    """Hold a quick run's tables against its JSON; return the JSON."""
    assert result.returncode == 0, result.stderr
    report = json.loads(written.read_text())["one_thread"]
    for row, cell in zip(table_rows(result.stdout), report["cells"], strict=True):
        assert row[0] == " ".join(f"{letter}={size}" for letter, size in cell["sizes"].items())
        assert set(cell["rivals"]) <= {*rivals}
        for name, column in zip(rivals, row[1:], strict=False):
            if name not in cell["rivals"]:
                assert column == "-"
                continue
            figures = cell["rivals"][name]
            assert 0 < figures["minimum_us"] <= figures["median_us"]
            time = float(re.search(r"[\d.]+", column).group())
            median = figures["median_us"] / cell["unit_us"]
            np.testing.assert_allclose(time, median, rtol=0.05, atol=0.0005)
        assert cell["limit"]["reached"] > 0
    return report


def kinds_and_tasks(cells):
    return {(cell["kind"], cell["task"]) for cell in cells}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quick_run(python, tmp_path, dtype):
    written = tmp_path / "out.json"
    arguments = "--quick", "--threads", "1", "--dtype", dtype, "--json", written
    result = python(BENCH / "run.py", *arguments)
    report = check_run(result, written, ["crnn", "numpy"])
    assert kinds_and_tasks(report["cells"]) == {(kind, task) for kind in KINDS for task in TASKS}
    about = report["about"]
    assert (about["dtype"], about["threads"]) == (dtype, 1)
    assert about["largest_difference"] <= about["tolerance"]
    assert {key: about[key] for key in crnn.build_info()} == crnn.build_info()
    first = result.stdout.splitlines()[0]
    for key in ("version", "instruction_set", "processor", "python", "numpy"):
        assert about[key] in first
    assert list(about["missing"]) == list(PEERS)
    for name in ("Numba", "JAX", "ONNX Runtime", "OpenVINO", "tract", "PyTorch"):
        assert f"{name} is left out: " in result.stdout


def test_memory_beside_time(python, tmp_path):
    written = tmp_path / "out.json"
    arguments = "--quick", "--threads", "1", "--tasks", "training", "--json", written
    result = python(BENCH / "run.py", *arguments)
    cells = check_run(result, written, ["crnn", "numpy"])["cells"]
    for row, cell in zip(table_rows(result.stdout), cells, strict=True):
        sizes, memory = cell["sizes"], cell["memory"]
        assert memory["states_bytes"] == sizes["T"] * sizes["B"] * sizes["H"] * 4
        assert memory["peak_bytes"] > memory["states_bytes"] + memory["gradients_bytes"]
        peak = float(row[-1].split()[0])
        assert peak == pytest.approx(memory["peak_bytes"] / 1024, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_takes_part(python, tmp_path, peer):
    if not installed(peer):
        pytest.skip(f"{peer}, or what it needs, is not installed")
    written = tmp_path / "out.json"
    arguments = "--quick", "--threads", "1", "--json", written
    result = python(BENCH / "run.py", *arguments, peers=[peer])
    report = check_run(result, written, ["crnn", "numpy", peer])
    assert report["about"]["packages"][peer] in result.stdout.splitlines()[0]
    tasks = TASKS[:2] if NEEDED.get(peer) == "onnx" else TASKS
    taken = [cell for cell in report["cells"] if peer in cell["rivals"]]
    assert kinds_and_tasks(taken) == {(kind, task) for kind in KINDS for task in tasks}


def test_some_tasks_of_some_cells(python, tmp_path):
    written = tmp_path / "out.json"
    chosen = "--tasks", "sequence,training", "--cells", "gru,lstm"
    result = python(BENCH / "run.py", "--quick", *chosen, "--json", written)
    assert result.returncode == 0, result.stderr
    for report in json.loads(written.read_text()).values():
        assert kinds_and_tasks(report["cells"]) == {
            (kind, task) for kind in KINDS[1:] for task in TASKS[1:]
        }


def test_two_threads(python, tmp_path):
    written = tmp_path / "out.json"
    result = python(BENCH / "run.py", "--quick", "--tasks", "sequence", "--json", written)
    assert result.returncode == 0, result.stderr
    report = json.loads(written.read_text())["two_threads"]
    assert report["about"]["threads"] == 2
    assert [cell["kind"] for cell in report["cells"]] == ["RNN", *KINDS]
    for cell in report["cells"]:
        assert cell["one_thread"]["median_us"] > 0
        assert list(cell["rivals"]) == ["crnn", "numpy"]
    assert "### Two threads" in result.stdout


@pytest.mark.parametrize(
    ("regime", "told"),
    [("start", "### Start: import: ms"), ("writing", "### Writing: LSTM, writing: us a symbol")],
)
def test_where_nothing_is_for_two_threads(python, regime, told):
    both = python(BENCH / "run.py", "--quick", "--regimes", regime)
    assert both.returncode == 0, both.stderr
    assert told in both.stdout
    assert "Two threads" not in both.stdout
    if regime == "writing":
        two = python(BENCH / "run.py", "--quick", "--regimes", regime, "--threads", "2")
        assert two.stdout == "Nothing of this takes one thread more than 1 ms over many steps.\n"


@pytest.mark.parametrize(
    ("regime", "kind", "method", "change", "named"),
    [
        ("sizes", "RNN", "step", "result * 1.001", "step I=7 H=11: y"),
        (
            "sizes", "RNN", "__call__", "(result[0] * 1.001, result[1])",
            "sequence T=5 B=3 I=7 H=8: y",
        ),
        (
            "last step", "RNN", "__call__", "(result[0] * 1.001, result[1])",
            "sequence T=6 B=3 I=7 H=8 O=20: y",
        ),
        (
            "sizes", "GRU", "loss_and_gradients", "(result[0] * 1.001, *result[1:])",
            "training T=5 V=6 B=3 H=8: loss",
        ),
        (
            "sizes", "LSTM", "__call__", "(result[0], (result[1][0], result[1][1] * 1.001))",
            "sequence T=5 B=3 I=7 H=8: c",
        ),
        (
            "layers", "LSTM", "__call__", "(result[0], (result[1][0][:1], result[1][1]))",
            "sequence T=5 B=3 I=7 H=8 L=2: h",
        ),
    ],
)
def test_a_planted_difference_ends_the_run(python, regime, kind, method, change, named):
    program = SABOTAGE.format(regime=regime, kind=kind, method=method, change=change,
                              bench=str(BENCH))
    result = python("-c", program)
    assert result.returncode == 1
    assert f"{kind} {named} of crnn and of the reference differ" in result.stderr
    assert "|" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tasks", "step,leap"), "no task leap; there are step, sequence, training"),
        (("--cells", "rnn,mgu"), "no cell mgu; there are rnn, gru, lstm"),
        (("--regimes", "gap"), "no regime gap; there are sizes, layers, "),
        (("--regimes", "fit"), "fit is left out: --data does not say where its data are"),
        (("--regimes", "fit", "--data", "."), "--data .: there is no tinyshakespeare.txt (github"),
        (("--regimes", "layers", "--tasks", "step"), "--regimes layers has no case for these"),
        (("--quick", "--regimes", "lower precision", "--dtype", "float64"), "has no case for"),
        (("--threads", "2", "--regimes", "start"), "there is nothing to measure"),
        (("--threads", "2", "--figure", "a.svg"), "leave --threads and --regimes out"),
        (("--json", "nowhere/a.json"), "--json nowhere/a.json: there is no such folder"),
        (("--json", "text"), "text is there, and is no report of this program"),
        (("--json", "list"), "list is there, and is no report of this program"),
        (("--json", "another"), "another has figures of another instruction set, mmx; this is "),
    ],
)
def test_what_cannot_be_done_is_told_at_once(python, tmp_path, arguments, told):
    another = {"one_thread": {"about": {"instruction_set": "mmx"}, "cells": []}}
    for name, text in {"text": "text", "list": "[]", "another": json.dumps(another)}.items():
        (tmp_path / name).write_text(text)
    result = python(BENCH / "run.py", *arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("program", ["tables.py", "figure.py", "bars.py"])
def test_a_program_without_reports_says_what_it_wants(python, program):
    result = python(BENCH / program)
    assert result.returncode == 2
    assert "required: JSON" in result.stderr


@pytest.mark.slow
def test_every_regime(python, tmp_path):
    """What is measured later is added to what is in the file."""
    written = tmp_path / "out.json"
    for regimes, peers in (("all", ()), ("layers,writing", ("onnxruntime", "torch"))):
        result = python(BENCH / "run.py", "--quick", "--threads", "1", "--regimes", regimes,
                        "--json", written, peers=[peer for peer in peers if installed(peer)])
        assert result.returncode == 0, result.stderr
    cells = json.loads(written.read_text())["one_thread"]["cells"]
    places = [json.dumps([cell["table"], cell["sizes"], cell["dtype"]]) for cell in cells]
    assert len(set(places)) == len(places)
    program = "import names; print(*names.REGIMES, sep='\\n')"
    names = subprocess.run([sys.executable, "-c", program], cwd=BENCH, capture_output=True,
                           text=True, check=True).stdout.splitlines()
    assert {cell["regime"] for cell in cells} == set(names)
    result = subprocess.run([sys.executable, BENCH / "tables.py", written], capture_output=True,
                            text=True, check=True)
    assert ": fastest in |" in result.stdout
    assert "| layers | " in result.stdout


def test_numpy_is_held_to_avx2():
    program = (
        "import os, run; os.environ.update(run.AVX2)\n"
        "from numpy._core import _multiarray_umath as built\n"
        "print(*[name for name in built.__cpu_dispatch__ if built.__cpu_features__[name]])"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=BENCH, capture_output=True,
                           text=True, check=True).stdout.split()
    assert not [name for name in found if "512" in name or name == "X86_V4"]


@pytest.mark.slow
def test_held_to_avx2(tmp_path):
    if "avx2" not in crnn.build_info()["available"]:
        pytest.skip("this processor has no AVX2")
    written = tmp_path / "out.json"
    result = subprocess.run(
        [sys.executable, BENCH / "run.py", "--quick", "--threads", "1", "--tasks", "step", "--isa",
         "avx2", "--json", written],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )
    assert result.returncode == 0, result.stderr
    about = json.loads(written.read_text())["one_thread"]["about"]
    assert about["instruction_set"] == "avx2"
    assert not {"onnxruntime", "openvino", "tract"} & set(about["packages"])
