"""What is compared: tables, each a task of a kind of network at sizes that differ in H, with goals.

A rival is asked for a task by the task's name (see ``rivals.py``). A new task is a `Task` and a
function of that name in the rivals that can do it; a new table is an entry of `TABLES`. The kinds
are the cells of crnn, RNN, GRU (its reset after the product, as all rivals have it) and LSTM; here
a cell is a line of a table.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import crnn

KINDS = {"RNN": crnn.RNN, "GRU": crnn.GRU, "LSTM": crnn.LSTM}
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}  # of H columns in the weights, one for each gate

class Problem(NamedTuple):
    """A task at some sizes."""

    net: crnn.RNN | crnn.GRU | crnn.LSTM  # whose kind, sizes and parameters every rival takes
    x: np.ndarray
    targets: np.ndarray | None = None

    @property
    def kind(self):
        return type(self.net).__name__


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
    problem: Callable  # problem(kind, rng, dtype, **sizes) -> Problem
    work: Callable  # work(kind, **sizes) -> Work
    holds_memory: bool = True


class Table(NamedTuple):
    """A task of a kind of network at some sizes."""

    title: str
    kind: str
    task: Task
    goals: list  # of (sizes, goal in the task's unit)


class Cell(NamedTuple):
    """One line of a table."""

    table: Table
    sizes: dict
    goal: float | None = None

    def __str__(self):
        return f"{self.kind} {self.task.name} {sizes_text(self.sizes)}"

    @property
    def kind(self):
        return self.table.kind

    @property
    def task(self):
        return self.table.task

    @property
    def work(self):
        return self.task.work(self.kind, **self.sizes)

    @property
    def line(self):
        """What the sizes are called in the table: those that its title does not tell."""
        return sizes_text(self.sizes if self.goal is None else {"H": self.sizes["H"]})


def cells(names, quick, kinds=tuple(KINDS)):
    """Return the cells of some tasks and kinds, the small ones or those with a goal."""
    if quick:
        return [
            Cell(Table(f"Small: {kind}, {name}", kind, task, []), sizes)
            for kind in KINDS
            if kind in kinds
            for name, task in TASKS.items()
            if name in names
            for sizes in QUICK[name][: None if kind == "RNN" else 1]
        ]
    return [
        Cell(table, sizes, goal)
        for table in TABLES
        if table.task.name in names and table.kind in kinds
        for sizes, goal in table.goals
    ]


def sizes_text(sizes):
    return " ".join(f"{letter}={size}" for letter, size in sizes.items())


# --- tasks ---------------------------------------------------------------------------------------


def step_problem(kind, rng, dtype, I, H):  # noqa: E741
    net = KINDS[kind](I, H, dtype=dtype, seed=rng)
    return Problem(net, rng.standard_normal(I).astype(dtype))


def step_work(kind, I, H):  # noqa: E741
    weights = (I + H) * BLOCKS[kind] * H
    return Work(weights, [(2 * weights, 1)])


def sequence_problem(kind, rng, dtype, T, B, I, H):  # noqa: E741
    net = KINDS[kind](I, H, dtype=dtype, seed=rng)
    return Problem(net, rng.standard_normal((T, B, I)).astype(dtype))


def sequence_work(kind, T, B, I, H):  # noqa: E741
    width = BLOCKS[kind] * H
    return Work(H * width, [(2 * T * B * I * width, 0), (2 * T * B * H * width, T)])


def training_problem(kind, rng, dtype, T, V, B, H):
    net = KINDS[kind](V, H, V, dtype=dtype, seed=rng)
    return Problem(net, rng.integers(V, size=(T, B)), rng.integers(V, size=(T, B)))


def training_work(kind, T, V, B, H):
    width = BLOCKS[kind] * H
    recurrence = 2 * T * B * H * width, T
    return Work(H * width, [recurrence, recurrence, (2 * T * B * H * (width + 3 * V), 0)])


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

QUICK = {  # the first of each for every kind, the others for RNN
    "step": [{"I": 7, "H": 11}, {"I": 1, "H": 16}],
    "sequence": [{"T": 5, "B": B, "I": 7, "H": 8} for B in (3, 1)],
    "training": [{"T": 5, "V": 6, "B": B, "H": 8} for B in (3, 1)],
}


def _table(kind, title, task, goals, **fixed):
    """Return a table; ``I=None`` stands for I = H."""
    return Table(f"{kind}: {title}", kind, task, [
        ({letter: size or H for letter, size in fixed.items()} | {"H": H}, goal)
        for H, goal in goals.items()
    ])


def _steps(kind, as_many, one):
    """Return the tables of steps, from goals for I = H and for I = 1."""
    return [
        _table(kind, "step, I = H", STEP, as_many, I=None),
        _table(kind, "step, I = 1", STEP, one, I=1),
    ]


def _sequences(kind, goals):
    """Return the tables of sequences, from goals for each B."""
    return [
        _table(kind, f"sequence, T = 256, B = {B}, I = H", SEQUENCE, each, T=256, B=B, I=None)
        for B, each in goals.items()
    ]


def _trainings(kind, goals):
    """Return the tables of training passes, from goals for each B."""
    return [
        _table(kind, f"training, T = 64, B = {B}, 64 symbols", TRAINING, each, T=64, V=64, B=B)
        for B, each in goals.items()
    ]


TABLES = [
    *_steps(
        "RNN",
        {16: 0.06, 32: 0.08, 64: 0.14, 128: 0.8, 256: 2.3, 512: 19, 1024: 72},
        {16: 0.055, 32: 0.065, 64: 0.09, 128: 0.42, 256: 1.5, 512: 6.8, 1024: 40},
    ),
    *_sequences("RNN", {
        1: {16: 0.03, 32: 0.05, 64: 0.1, 128: 0.45, 256: 1.6, 512: 9, 1024: 48},
        32: {16: 0.3, 32: 0.65, 64: 2.2, 128: 9.5, 256: 36, 512: 140, 1024: 560},
    }),
    *_trainings("RNN", {
        1: {32: 0.016, 64: 0.03, 128: 0.08, 256: 0.28, 512: 1.15, 1024: 5.4},
        16: {32: 0.14, 64: 0.26, 128: 0.7, 256: 2.1, 512: 7.5, 1024: 29},
        64: {32: 0.55, 64: 1.0, 128: 2.8, 256: 8.3, 512: 31, 1024: 113},
    }),
    *_steps("GRU", {32: 0.15, 128: 2.2, 512: 58}, {16: 0.07, 32: 0.1, 64: 0.25}),
    *_sequences("GRU", {1: {32: 0.11, 128: 1.4, 512: 32}, 32: {32: 2.0, 128: 29, 512: 425}}),
    *_trainings("GRU", {
        1: {32: 0.04, 128: 0.22, 512: 3.6},
        16: {32: 0.35, 128: 1.9, 512: 26},
        64: {32: 1.3, 128: 7.5, 512: 102},
    }),
    *_steps("LSTM", {32: 0.18, 128: 2.9, 512: 76}, {16: 0.08, 32: 0.12, 64: 0.3}),
    *_sequences("LSTM", {1: {32: 0.14, 128: 1.9, 512: 43}, 32: {32: 2.7, 128: 37, 512: 550}}),
    *_trainings("LSTM", {
        1: {32: 0.05, 128: 0.29, 512: 4.8},
        16: {32: 0.45, 128: 2.5, 512: 33},
        64: {32: 1.7, 128: 9.8, 512: 132},
    }),
]
