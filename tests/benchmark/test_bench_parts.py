"""The parts of the benchmark: what it compares, how it times, what it makes of the figures."""

import importlib
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import crnn

pytestmark = pytest.mark.no_backend

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Import a module of the benchmark for the length of a test."""
    monkeypatch.syspath_prepend(BENCH)
    yield importlib.import_module
    for path in BENCH.glob("*.py"):
        sys.modules.pop(path.stem, None)


# --- results -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_every_form_and_the_state_of_a_step_are_compared(bench, kind):
    """A step that forgets its state is right the first time only."""
    measure, rivals, tasks = bench("measure"), bench("rivals"), bench("tasks")
    problem = tasks.step_problem(kind, np.random.default_rng(0), "float64", I=3, H=4)
    (oracle,) = rivals.Crnn("reference").step(problem)
    (right,) = rivals.Crnn("compiled").step(problem)
    (wrong,) = rivals.Crnn("compiled").step(problem)
    wrong = wrong._replace(form="forgetful", expression="[net.reset(), net.step(x)][1]")
    found = measure.compare({"crnn": [right, wrong]}, oracle)
    assert found["crnn", "y"] < 1e-13
    assert found["crnn (forgetful)", "y"] > 1e-3


@pytest.mark.parametrize(("kind", "names"), [("RNN", "h"), ("GRU", "h"), ("LSTM", "hc")])
def test_all_of_the_last_state_is_compared(bench, kind, names):
    rivals, tasks = bench("rivals"), bench("tasks")
    problem = tasks.sequence_problem(kind, np.random.default_rng(0), "float64", T=3, B=2, I=3, H=4)
    assert problem.kind == kind
    (rival,) = rivals.Crnn("compiled").sequence(problem)
    results = rival.run()
    assert list(results) == ["y", *names]
    assert {name: results[name].shape for name in names} == dict.fromkeys(names, (1, 2, 4))
    np.testing.assert_array_equal(results["y"][-1:], results["h"])


def compared_with_the_reference(bench, task, kind, sizes, change):
    """Return how far a rival is off that differs from crnn in a name that its expression has."""
    rivals, rng = bench("rivals"), np.random.default_rng(0)
    problem = task.problem(kind, rng, "float32", **sizes, **task.compared)
    (oracle,) = getattr(rivals.Crnn("reference"), task.name)(problem)
    (right,) = getattr(rivals.Crnn("compiled"), task.name)(problem)
    (wrong,) = getattr(rivals.Crnn("compiled"), task.name)(problem)
    wrong = wrong._replace(form="wrong", names=wrong.names | change(wrong.names))
    found = bench("measure").compare({"crnn": [right, wrong]}, oracle)
    results = {name for _, name in found}
    return [max(found[rival, name] for name in results) for rival in ("crnn", "crnn (wrong)")]


@pytest.mark.parametrize("data", ["random", "random notes", "random classes"])
@pytest.mark.parametrize(
    "change",
    [
        lambda names: {"options": names["options"] | {"clip_norm": None}},
        lambda names: {"optimizer": crnn.Adam(1.01 * names["optimizer"].lr)},
        lambda names: {"optimizer": crnn.SGD(names["optimizer"].lr)},
    ],
    ids=["clip", "rate", "optimizer"],
)
def test_trainings_that_differ_are_found(bench, data, change):
    task = bench("fits").fit_task(None)
    right, wrong = compared_with_the_reference(bench, task, "GRU", {"data": data, "H": 8}, change)
    assert right <= task.tolerances["float32"] < wrong


@pytest.mark.parametrize(
    "change",
    [lambda names: {"temperature": 1}, lambda names: {"length": names["length"] - 1}],
    ids=["temperature", "length"],
)
def test_texts_that_differ_are_found(bench, change):
    task, sizes = bench("tasks").WRITING, {"V": 9, "H": 8, "length": 20, "L": 2}
    right, wrong = compared_with_the_reference(bench, task, "LSTM", sizes, change)
    assert right == 0 < wrong


def test_trainings_on_real_data(bench, shared):
    """Numbers of batches, symbols, keys and classes of the files that `fit` is measured on."""
    fits = bench("fits")
    for data, batches, outputs, last in (("text", 1, 65, (6400, 32)), ("chorales", 15, 88, None),
                                         ("vowels", 17, 9, (14,))):
        rng = np.random.default_rng(0)
        problem = fits.problem(shared, "RNN", rng, "float32", data, 4,
                               updates=100 if data == "text" else None)
        assert (len(problem.x), problem.net.output_size) == (batches, outputs)
        assert last is None or problem.targets[-1].shape == last


# --- time ----------------------------------------------------------------------------------------


def test_every_rival_is_timed_in_every_round(bench):
    measure, rivals = bench("measure"), bench("rivals")
    calls = []
    names = {"calls": calls}
    entered = {
        name: rivals.Rival("", f"calls.append({name!r})", names, dict) for name in ("crnn", "peer")
    }
    pace = measure.Pace(rounds=4, fewest=4, window=0, seconds=0)
    times, _ = measure.interleaved(entered, pace)
    turn = ["crnn"] * 2 + ["peer"] * 2  # one call to warm up, one that is timed
    assert calls == turn * 5  # the first to see how long it takes
    assert [len(each) for each in times.values()] == [4, 4]


def test_work_in_other_threads_counts(bench):
    measure, rivals = bench("measure"), bench("rivals")

    def work():
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    def elsewhere():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    forms = {
        name: rivals.Rival("", "run()", {"run": run}, dict)
        for name, run in (("crnn", work), ("peer", elsewhere))
    }
    times, parts = measure.interleaved(forms, measure.Pace(3, 3, window=0, seconds=9))
    assert min(times["crnn"] + times["peer"]) >= 20_000
    assert parts["crnn"] < measure.ELSEWHERE < 0.9 < parts["peer"]


def test_load_of_others(bench):
    load = bench("measure").OthersLoad()
    time.sleep(0.3)  # the system counts in hundredths of a second
    processors = load.processors()
    if processors is None:
        pytest.skip("this system does not tell")
    assert 0 <= processors <= os.cpu_count() + 0.5


def test_the_fastest_form_is_chosen(bench, monkeypatch):
    measure = bench("measure")
    times = {0: [5, 6], 1: [7, 4], 2: [9, 9]}
    monkeypatch.setattr(measure, "interleaved", lambda *_: (times, {}))
    assert measure.fastest([None] * 3, measure.QUICK) == 1


def test_summary(bench):
    summary = bench("measure").summary({"crnn": [2.0, 9.0, 1.0], "peer": [3.0, 4.5, 5.0]})
    assert summary["crnn"] == {
        "median_us": 2, "minimum_us": 1, "ratio": 1, "ratio_of_minima": 1
    }
    assert summary["peer"] == {  # of the rounds' ratios 1.5, 0.5 and 5
        "median_us": 4.5, "minimum_us": 3, "ratio": 1.5, "ratio_of_minima": 3
    }


def test_number_of_threads(bench):
    environment = {"OMP_NUM_THREADS": "8", "OPENBLAS_CORETYPE": "Haswell", "HOME": "/"}
    bench("run").keep_to_threads(2, environment)
    assert environment.pop("HOME") == "/"
    assert "OPENBLAS_NUM_THREADS" in environment
    assert set(environment.values()) == {"2"}


# --- limits and goals ----------------------------------------------------------------------------


def test_a_limit_is_of_arithmetic_or_of_reading_phase_by_phase(bench):
    limits, tasks = bench("limits"), bench("tasks")
    work = tasks.Work(weights=10, phases=[(100, 1), (100, 5)])
    assert limits.shortest(work, 40, us_per_flop=1, us_per_byte=1) == 100 + 200
    assert limits.shortest(work, 40, us_per_flop=1, us_per_byte=0) == 200


def test_the_best_gauge_of_each_round_counts(bench):
    limits, rivals, tasks = bench("limits"), bench("rivals"), bench("tasks")

    class Package:
        @staticmethod
        def peak(dtype):
            return [rivals.Gauge(rivals.Rival(name, "", {}, dict), 100) for name in ("a", "b")]

    work = tasks.Work(weights=1, phases=[(200, 1)])
    limit = limits.Limit({"package": Package}, work, np.dtype("float32"))
    assert list(limit.entries()) == ["a", "b"]
    summary = limit.summary({"a": [10, 10, 30], "b": [40, 30, 20], "crnn": [40, 40, 100]})
    assert (summary["peak"], summary["read"]) == ("a", None)
    assert summary["us"] == 20  # of 20, 20 and 40
    assert summary["reached"] == 0.5  # of 0.5, 0.5 and 0.4


@pytest.mark.parametrize(("kind", "blocks"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize(
    ("task", "sizes", "recurrent", "readout"),
    [
        ("step", {"I": 3, "H": 5}, 2 * (3 + 5) * 5, 0),
        ("sequence", {"T": 7, "B": 2, "I": 3, "H": 5}, 2 * 7 * 2 * (3 + 5) * 5, 0),
        (
            "training", {"T": 7, "B": 2, "V": 3, "H": 5}, 6 * 7 * 2 * 5 * 5, 6 * 7 * 2 * 5 * 3
        ),
    ],
)
def test_operations(bench, kind, blocks, task, sizes, recurrent, readout):
    work = bench("tasks").TASKS[task].work(kind, **sizes)
    assert sum(flops for flops, _ in work.phases) == blocks * recurrent + readout
    assert work.weights == blocks * (40 if task == "step" else 25)


def test_work_of_layers_and_directions(bench):
    """By hand: T = 7 steps of B = 2, 3 inputs, H = 5, two layers of a GRU in two directions."""
    tasks = bench("tasks")
    work = tasks.sequence_work("GRU", T=7, B=2, I=3, H=5, L=2, D=2)
    first, second, state = 2 * 14 * 3 * 15, 2 * 14 * 10 * 15, 2 * 14 * 5 * 15
    assert work == (75, [(first, 0), (state, 7)] * 2 + [(second, 0), (state, 7)] * 2)
    training = tasks.training_work("GRU", T=7, V=4, B=2, H=5, L=2, D=2)  # tokens are no product
    others = 2 * 3 * second + 4 * state + 2 * 14 * 3 * 10 * 4
    assert training == (75, [(state, 7)] * 8 + [(others, 0)])
    unequal = tasks.sequence_work("RNN", T=6, B=3, I=3, H=5, shortest=2)  # 2, 4 and 6 steps
    assert unequal == (25, [(2 * 12 * 15, 0), (2 * 12 * 25, 6)])


@pytest.mark.parametrize(("H", "us"), [(64, 0.06), (128, 0.65), (256, 2.0), (512, 17), (1024, 65)])
def test_limit_of_the_machine_of_the_goals(bench, H, us):
    limits, tasks = bench("limits"), bench("tasks")
    assert limits.goals_limit(tasks.step_work("RNN", I=H, H=H)) == pytest.approx(us, rel=0.06)


def test_no_goal_is_beyond_the_limit(bench):
    """As well as the limit is known: weights that nearly fit into a cache are partly read from it.

    By up to 9 % beyond what steps in a table of speeds say are three goals of GRU and LSTM.
    """
    limits, regimes, tasks = bench("limits"), bench("regimes"), bench("tasks")
    cells = regimes.cells(tasks.TASKS, quick=False)
    kinds = [cell.kind for cell in cells]
    assert [kinds.count(kind) for kind in ("RNN", "GRU", "LSTM")] == [46, 21, 21]
    for cell in cells:
        goal_us = cell.goal * cell.task.unit_us(cell.sizes)
        assert limits.goals_limit(cell.work) < goal_us * 1.1, cell


def test_everything_that_can_be_asked_for_is_there(bench):
    names, regimes, tasks = bench("names"), bench("regimes"), bench("tasks")
    beside = [*dict.fromkeys(each[0] for each in regimes.CASES)]
    assert [*names.REGIMES] == ["sizes", *beside, "start"]
    assert {*names.TASKS} == {*tasks.TASKS, "fit", "start"}
    assert {each[0] for each in regimes.QUICK} == {*names.REGIMES} - {"start"}


def test_states_in_two_directions(bench):
    measured, rivals, tasks = bench("report"), bench("rivals"), bench("tasks")
    sizes = {"T": 5, "B": 2, "I": 3, "H": 8, "D": 2}
    cell = tasks.Cell(tasks.Table("", "RNN", tasks.SEQUENCE, []), sizes)
    problem = measured.make_problem(cell, "float32")
    (rival,) = rivals.Crnn("compiled").sequence(problem)
    memory = measured.memory(cell, rival)
    assert memory["states_bytes"] == rival.run()["y"].nbytes < memory["peak_bytes"]


@pytest.mark.parametrize("quick", [False, True])
def test_cells_of_some_tasks_and_kinds(bench, quick):
    chosen = bench("regimes").cells(["step", "training"], quick, ["GRU", "LSTM"])
    assert {(cell.kind, cell.task.name) for cell in chosen} == {
        (kind, name) for kind in ("GRU", "LSTM") for name in ("step", "training")
    }
    for cell in chosen:
        assert cell.table.title.count(cell.kind) == 1
        rng = np.random.default_rng(0)
        assert quick is False or cell.task.problem(cell.kind, rng, "float32", **cell.sizes)


# --- what a person reads -------------------------------------------------------------------------


def made_up_cell(**ratios):
    """Return a cell in which crnn takes 100 us and the others what the ratios say."""
    rivals = {
        name: {"median_us": 100 * ratio, "ratio": ratio, "in_other_threads": 0}
        for name, ratio in {"crnn": 1, **ratios}.items()
    }
    return {
        "kind": "RNN", "task": "step", "table": "Step", "line": "H=16", "unit": "us", "unit_us": 1,
        "sizes": {"I": 16, "H": 16}, "rivals": rivals, "goal_us": 90, "goal_here_us": 110,
        "limit": {"reached": 0.5, "peak": "product", "read": None}, "regime": "sizes",
    }


def test_verdict_names_what_is_behind(bench):
    tables = bench("tables")
    cells = [made_up_cell(numpy=3, numba=0.8), made_up_cell(numpy=2)]
    assert tables.verdict(cells) == [
        "**crnn is the fastest in 1 of 2 cells.**",
        "- RNN step I=16 H=16: Numba takes 0.80x",
        "- goal met in 0 of 2 cells",
        "- goal here met in 2 of 2 cells",
    ]


def test_table_row(bench):
    row = bench("tables").table_row(made_up_cell(numpy=3, numba=0.8), ["crnn", "numpy", "numba"])
    columns = ["H=16", "100", "300 (3.00x)", "**80.0 (0.80x)**", "50%", "90.0 no", "110 yes"]
    assert row == f"| {' | '.join(columns)} |"


def test_two_threads_table(bench):
    one = {"median_us": 190, "ratio": 1.9}
    cells = [
        {**made_up_cell(numpy=3), "one_thread": one, "others_processors": 0.123},
        {**made_up_cell(numpy=0.5), "one_thread": {**one, "ratio": 1.2}, "others_processors": None},
    ]
    lines = bench("tables").two_threads(cells, ["crnn", "numpy"])
    told = " ".join(lines)
    assert "**crnn is the fastest in 1 of 2 cells**, and gains 1.85x at least in 1 of 2." in told
    assert lines[-2:] == [
        "| RNN step I=16 H=16 | 0.19 | 1.90x | **0.10** | 0.30 (3.00x) | 0.1 |",
        "| RNN step I=16 H=16 | 0.19 | 1.20x | 0.10 | **0.050 (0.50x)** | - |",
    ]


def test_where_crnn_is_alone_nobody_is_counted(bench):
    """Its float32 is no other beside what it computes with fewer bits."""
    tables = bench("tables")
    cells = [made_up_cell(float32=0.5), made_up_cell(float32=0.5, torch=3)]
    assert tables.verdict(cells)[0] == "**crnn is the fastest in 1 of 1 cells.**"
    assert tables.regime_columns(cells) == ["1 of 1", "3.00x", "3.00x (PyTorch)"]
    assert tables.regime_columns(cells[:1]) == ["-"] * 3
    report = {"about": {"instruction_set": "avx2"}, "cells": cells}
    assert tables.close([report])[-1].startswith("| ---")
    assert bench("bars").regime_leads(cells) == {"sizes": [3]}


def test_regimes_beside_each_other(bench):
    tables = bench("tables")
    cells = [made_up_cell(numpy=3, numba=0.8), made_up_cell(numpy=2), made_up_cell(numba=4)]
    reports = [
        {"about": {"instruction_set": "avx512"}, "cells": cells},
        {"about": {"instruction_set": "avx2"}, "cells": [{**cells[1], "regime": "layers"}]},
    ]
    lines = tables.by_regimes(reports)
    assert "| sizes | 2 of 3 | 2.00x | 0.80x (Numba) | - | - | - |" in lines
    assert "| layers | - | - | - | 1 of 1 | 2.00x | 2.00x (NumPy) |" in lines
    assert lines[-1] == "| AVX-512 | RNN step I=16 H=16 | 100 us | Numba | 0.80x | 50% |"


def test_what_is_measured_again_is_replaced(bench):
    def report(version, *sizes):
        cells = [{"kind": "RNN", "task": "step", "sizes": {"H": H}, "by": version,
                  "largest_difference": H / version} for H in sizes]
        return {"one_thread": {"about": {"version": version}, "cells": cells}}

    together = bench("run").added(report(1, 48, 32), report(2, 32, 64))
    assert together["one_thread"]["about"] == {"version": 2, "largest_difference": 48}
    found = [(cell["sizes"]["H"], cell["by"]) for cell in together["one_thread"]["cells"]]
    assert found == [(48, 1), (32, 2), (64, 2)]


def test_figure_of_regimes(bench, tmp_path):
    reports = [made_up_report(["RNN"])["one_thread"] for _ in range(2)]
    for report, name in zip(reports, ("avx512", "avx2"), strict=True):
        report["about"]["instruction_set"] = name
    bench("bars").draw(reports, tmp_path / "regimes.svg")
    drawn = (tmp_path / "regimes.svg").read_text()
    for text in ("AVX-512", "AVX2", "sizes"):
        assert f">{text}</text>" in drawn


def test_names_in_the_figure_are_apart_and_in_order(bench):
    places = bench("figure").spread({"a": 0.5, "b": 0.51, "c": 0.1, "d": 0.52}, gap=0.1)
    order = ["c", "a", "b", "d"]
    assert sorted(places, key=places.get) == order
    assert np.diff([places[name] for name in order]).min() > 0.099
    assert places["c"] == 0.1


def made_up_report(kinds):
    """Return a report with two sizes of a table of steps, one thread and two, for each kind."""
    one, two = [], []
    for kind in kinds:
        small, large = made_up_cell(numpy=30, torch=0.8), made_up_cell(numpy=2, torch=5)
        large["sizes"] = {"I": 64, "H": 64}
        one += [{**cell, "kind": kind, "table": f"{kind}: step"} for cell in (small, large)]
        two.append({**one[-1], "sizes": {"B": 16, "H": 16}, "one_thread": {"ratio": 1.9}})
    about = {"processor": "P", "dtype": "float32", "packages": {"numpy": "2"}}
    return {"one_thread": {"about": about, "cells": one}, "two_threads": {"cells": two}}


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_figure(bench, tmp_path, ending):
    path = tmp_path / f"speed.{ending}"
    bench("figure").draw(made_up_report(["RNN", "GRU"]), path)
    if ending == "svg":
        drawn = path.read_text()
        for text in ("NumPy", "PyTorch", "crnn", "step B=16", "RNN step, I=H", "GRU step, I=H",
                     "GRU on two threads: times as fast"):
            assert f">{text}</text>" in drawn
    else:
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("kinds", "rows"),
    [(["RNN", "GRU", "LSTM"], [4, 4, 4]), (["GRU"], [4, 3])],
    ids=["an overview of several kinds", "all of one"],
)
def test_panels_of_the_figure(bench, kinds, rows):
    names = bench("tasks").TASKS
    cells = [
        {**made_up_cell(numpy=2), "kind": cell.kind, "task": cell.task.name,
         "table": cell.table.title, "sizes": cell.sizes}
        for cell in bench("regimes").cells(names, False, kinds)
    ]
    drawn = bench("figure").layout(cells, [])
    assert [len(row) for row in drawn] == rows
    for row in drawn:
        for panel in row:
            assert len({cell["table"] for cell in panel.keywords["cells"]}) == 1
