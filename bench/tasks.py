"""What is compared: tables, each a task at sizes that differ in H, with a goal for each.

A rival is asked for a task by the task's name (see ``rivals.py``). A new task is a `Task` and a
function of that name in the rivals that can do it; a new table is an entry of `TABLES`.
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


class Work(NamedTuple):
    """What cannot be avoided."""

    weights: int  # numbers in the matrix that is read again and again
    phases: list  # of (floating-point operations, how often the weights are read), one after other


class Task(NamedTuple):
    """Something to do."""

    name: str
    about: str
    unit: str
    unit_us: Callable  # unit_us(sizes) -> microseconds a call that one unit is
    problem: Callable  # problem(rng, dtype, **sizes) -> Problem
    work: Callable  # work(**sizes) -> Work
    holds_memory: bool = True


class Table(NamedTuple):
    """A task at some sizes."""

    title: str
    task: Task
    goals: list  # of (sizes, goal in the task's unit)


class Cell(NamedTuple):
    """One line of a table."""

    table: Table
    sizes: dict
    goal: float | None = None

    def __str__(self):
        return f"{self.task.name} {sizes_text(self.sizes)}"

    @property
    def task(self):
        return self.table.task

    @property
    def work(self):
        return self.task.work(**self.sizes)

    @property
    def line(self):
        """What the sizes are called in the table: those that its title does not tell."""
        return sizes_text(self.sizes if self.goal is None else {"H": self.sizes["H"]})


def cells(names, quick):
    """Return the cells of some tasks, the small ones or those with a goal."""
    if quick:
        return [
            Cell(Table(f"Small: {name}", task, []), sizes)
            for name, task in TASKS.items()
            if name in names
            for sizes in QUICK[name]
        ]
    return [
        Cell(table, sizes, goal)
        for table in TABLES
        if table.task.name in names
        for sizes, goal in table.goals
    ]


def sizes_text(sizes):
    return " ".join(f"{letter}={size}" for letter, size in sizes.items())


# --- tasks ---------------------------------------------------------------------------------------


def step_problem(rng, dtype, I, H):  # noqa: E741
    net = crnn.RNN(I, H, dtype=dtype, seed=rng)
    return Problem(net, rng.standard_normal(I).astype(dtype))


def step_work(I, H):  # noqa: E741
    return Work((I + H) * H, [(2 * (I + H) * H, 1)])


def sequence_problem(rng, dtype, T, B, I, H):  # noqa: E741
    net = crnn.RNN(I, H, dtype=dtype, seed=rng)
    return Problem(net, rng.standard_normal((T, B, I)).astype(dtype))


def sequence_work(T, B, I, H):  # noqa: E741
    return Work(H * H, [(2 * T * B * I * H, 0), (2 * T * B * H * H, T)])


def training_problem(rng, dtype, T, V, B, H):
    net = crnn.RNN(V, H, V, dtype=dtype, seed=rng)
    return Problem(net, rng.integers(V, size=(T, B)), rng.integers(V, size=(T, B)))


def training_work(T, V, B, H):
    recurrence = 2 * T * B * H * H, T
    return Work(H * H, [recurrence, recurrence, (2 * T * B * H * (H + 3 * V), 0)])


STEP = Task(
    "step", "one time step of one sequence, its state kept", "us", lambda sizes: 1,
    step_problem, step_work, holds_memory=False,
)
SEQUENCE = Task(
    "sequence", "all hidden states over T steps, no readout", "us a time step",
    lambda sizes: sizes["T"], sequence_problem, sequence_work,
)
TRAINING = Task(
    "training", "loss and all gradients over T steps of V symbols, softmax at every step", "ms",
    lambda sizes: 1000, training_problem, training_work,
)

TASKS = {task.name: task for task in (STEP, SEQUENCE, TRAINING)}

# --- tables --------------------------------------------------------------------------------------

QUICK = {
    "step": [{"I": 16, "H": 16}, {"I": 1, "H": 11}],
    "sequence": [{"T": 6, "B": B, "I": 7, "H": 8} for B in (1, 5)],
    "training": [{"T": 6, "V": 5, "B": B, "H": 8} for B in (1, 5)],
}


def _table(title, task, goals, **fixed):
    """Return a table; ``I=None`` stands for I = H."""
    return Table(title, task, [
        ({letter: size or H for letter, size in fixed.items()} | {"H": H}, goal)
        for H, goal in goals.items()
    ])


def _sequence(B, goals):
    return _table(f"Sequence, T = 256, B = {B}, I = H", SEQUENCE, goals, T=256, B=B, I=None)


def _training(B, goals):
    return _table(f"Training, T = 64, B = {B}, 64 symbols", TRAINING, goals, T=64, V=64, B=B)


TABLES = [
    _table(
        "Step, one sequence, I = H", STEP,
        {16: 0.06, 32: 0.08, 64: 0.14, 128: 0.8, 256: 2.3, 512: 19, 1024: 72}, I=None,
    ),
    _table(
        "Step, one sequence, I = 1", STEP,
        {16: 0.055, 32: 0.065, 64: 0.09, 128: 0.42, 256: 1.5, 512: 6.8, 1024: 40}, I=1,
    ),
    _sequence(1, {16: 0.03, 32: 0.05, 64: 0.1, 128: 0.45, 256: 1.6, 512: 9, 1024: 48}),
    _sequence(32, {16: 0.3, 32: 0.65, 64: 2.2, 128: 9.5, 256: 36, 512: 140, 1024: 560}),
    _training(1, {32: 0.016, 64: 0.03, 128: 0.08, 256: 0.28, 512: 1.15, 1024: 5.4}),
    _training(16, {32: 0.14, 64: 0.26, 128: 0.7, 256: 2.1, 512: 7.5, 1024: 29}),
    _training(64, {32: 0.55, 64: 1.0, 128: 2.8, 256: 8.3, 512: 31, 1024: 113}),
]
