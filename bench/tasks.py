"""What is compared: tasks, and the sizes to do them at.

A rival is asked for a task by the task's name (see ``rivals.py``). A new task is an entry of
`TASKS` and a function of that name in the rivals that can do it; a new cell is a dict of sizes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import crnn


class Problem(NamedTuple):
    """A task at some sizes."""

    net: crnn.RNN  # whose sizes, dtype and parameters every rival takes
    x: np.ndarray
    targets: np.ndarray | None = None


class Task(NamedTuple):
    """Something to do, at some sizes."""

    name: str
    about: str
    problem: Callable  # problem(rng, dtype, **sizes) -> Problem
    cells: list  # of dicts of sizes
    quick_cells: list
    reports_memory: bool = False


def step_problem(rng, dtype, H):
    net = crnn.RNN(H, H, dtype=dtype, seed=rng)
    return Problem(net, rng.standard_normal(H).astype(dtype))


def training_problem(rng, dtype, T, B, H, V):
    net = crnn.RNN(V, H, V, dtype=dtype, seed=rng)
    return Problem(net, rng.integers(V, size=(T, B)), rng.integers(V, size=(T, B)))


def sequence_problem(rng, dtype, T, B, H):
    net = crnn.RNN(H, H, dtype=dtype, seed=rng)
    return Problem(net, rng.standard_normal((T, B, H)).astype(dtype))


def _cells(*sizes, **fixed):
    return [{**fixed, "B": B, "H": H} for B, H in sizes]


ALL = [
    Task(
        "step",
        "one time step of one sequence, H inputs",
        step_problem,
        cells=[{"H": H} for H in (16, 64, 256, 512)],
        quick_cells=[{"H": 16}],
    ),
    Task(
        "training",
        "loss and all gradients over T steps of V symbols, softmax at every step",
        training_problem,
        cells=_cells((1, 32), (1, 64), (1, 128), (16, 128), (16, 512), T=64, V=64),
        quick_cells=_cells((3, 8), T=6, V=5),
        reports_memory=True,
    ),
    Task(
        "sequence",
        "all hidden states over T steps, H inputs, no tape",
        sequence_problem,
        cells=_cells((1, 64), (32, 128), T=256),
        quick_cells=_cells((3, 8), T=6),
    ),
]
TASKS = {task.name: task for task in ALL}
