"""What is compared: tasks, each of a kind of network at some sizes, and the work that is in them.

A rival is asked for a task by the task's name (see ``rivals.py``). A new task is a `Task` and a
function of that name in the rivals that can do it; ``regimes.py`` says at which sizes. The kinds
are the cells of crnn, RNN, GRU (its reset after the product, as all rivals have it) and LSTM; here
a cell is a line of a table.

Sizes: T steps, B sequences (``shortest``: of unequal lengths from this one to T), I inputs, H
hidden units, O outputs for the last step only, V symbols or classes, L layers, D directions, N
streams, of which ``some`` take a step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import crnn

KINDS = {"RNN": crnn.RNN, "GRU": crnn.GRU, "LSTM": crnn.LSTM}
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}  # of H columns in the weights, one for each gate


# Largest difference between two rivals, as a part of the largest entry of the same array.
TOLERANCES = {"float32": 1e-5, "float64": 1e-13}


class Problem(NamedTuple):
    """A task at some sizes."""

    net: crnn.RNN | crnn.GRU | crnn.LSTM  # whose kind, sizes and parameters every rival takes
    x: np.ndarray | list  # of a training of many updates a list, one array for each batch
    targets: np.ndarray | list | None = None
    lengths: np.ndarray | None = None
    settings: object = None  # what else the task wants to know

    @property
    def kind(self):
        return type(self.net).__name__

    @property
    def simple(self):
        """Whether the network has one layer in one direction, and all sequences one length."""
        net = self.net
        return net.num_layers == 1 and not net.bidirectional and self.lengths is None


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
    work: Callable | None = None  # work(kind, **sizes) -> Work
    holds_memory: bool = False
    compared: dict = {}  # noqa: RUF012  sizes that are others when results are compared
    tolerances: dict = TOLERANCES  # of other dtypes than these there is no such task


class Table(NamedTuple):
    """A task of a kind of network at some sizes."""

    title: str
    kind: str
    task: Task
    goals: list  # of (sizes, goal in the task's unit)
    regime: str = "sizes"
    dtype: str | None = None  # that of the run, where it has none


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
        return self.task.work and self.task.work(self.kind, **self.sizes)

    @property
    def line(self):
        """What the sizes are called in the table: those that its title does not tell."""
        return sizes_text(self.sizes if self.goal is None else {"H": self.sizes["H"]})


def sizes_text(sizes):
    return " ".join(f"{letter}={size}" for letter, size in sizes.items())


# --- tasks ---------------------------------------------------------------------------------------


def network(kind, rng, dtype, I, H, O=None, L=1, D=1):  # noqa: E741
    return KINDS[kind](I, H, O, num_layers=L, bidirectional=D == 2, dtype=dtype, seed=rng)


def recurrences(kind, I, H, L, D):  # noqa: E741
    """Return the numbers in W_xh of each layer in each direction, and those in one W_hh."""
    width = BLOCKS[kind] * H
    return [I * width] * D + [D * H * width] * D * (L - 1), H * width


def step_problem(kind, rng, dtype, I, H):  # noqa: E741
    return Problem(network(kind, rng, dtype, I, H), rng.standard_normal(I).astype(dtype))


def step_work(kind, I, H):  # noqa: E741
    weights = (I + H) * BLOCKS[kind] * H
    return Work(weights, [(2 * weights, 1)])


def sequence_problem(kind, rng, dtype, T, B, I, H, L=1, D=1, O=None, shortest=None):  # noqa: E741
    net = network(kind, rng, dtype, I, H, O, L, D)
    x, lengths = rng.standard_normal((T, B, I)).astype(dtype), None
    if shortest:
        lengths = rng.permutation(np.linspace(shortest, T, B).astype(np.int64))
        for each, length in zip(x.swapaxes(0, 1), lengths, strict=True):
            each[length:] = 0
    return Problem(net, x, lengths=lengths)


def sequence_work(kind, T, B, I, H, L=1, D=1, O=None, shortest=None):  # noqa: E741
    inputs, recurrent = recurrences(kind, I, H, L, D)
    steps = T * B if shortest is None else int(np.linspace(shortest, T, B).astype(np.int64).sum())
    phases = [phase for each in inputs
              for phase in ((2 * steps * each, 0), (2 * steps * recurrent, T))]
    return Work(recurrent, phases + ([(2 * B * D * H * O, 0)] if O else []))


def training_problem(kind, rng, dtype, T, V, B, H, I=None, L=1, D=1):  # noqa: E741
    net = network(kind, rng, dtype, I or V, H, V, L, D)
    x = rng.standard_normal((T, B, I)).astype(dtype) if I else rng.integers(V, size=(T, B))
    return Problem(net, x, rng.integers(V, size=(T, B)))


def training_work(kind, T, V, B, H, I=None, L=1, D=1):  # noqa: E741
    inputs, recurrent = recurrences(kind, I or 0, H, L, D)
    each_way = (2 * T * B * recurrent, T)
    # x W_xh and the gradient of W_xh, above the first layer that of x, too; and of W_hh; readout
    others = 2 * sum(inputs[:D]) + 3 * sum(inputs[D:]) + len(inputs) * recurrent + 3 * D * H * V
    return Work(recurrent, [each_way, each_way] * len(inputs) + [(2 * T * B * others, 0)])


def streams_problem(kind, rng, dtype, N, some, I, H):  # noqa: E741
    net = network(kind, rng, dtype, I, H)
    x = rng.standard_normal((some, I)).astype(dtype)
    return Problem(net, x, settings=(N, rng.permutation(N)[:some]))


def streams_work(kind, N, some, I, H):  # noqa: E741
    weights = (I + H) * BLOCKS[kind] * H
    return Work(weights, [(2 * some * weights, 1)])


def writing_problem(kind, rng, dtype, V, H, length, L=1, temperature=1):
    symbols = [chr(ord("0") + number) for number in range(V)]
    net = network(kind, rng, dtype, V, H, V, L)
    # symbols matter, and some are much likelier; states forget, or roundings would grow for ever
    for name in ("W_hy", *(f"W_xh_l{layer}" for layer in range(L))):
        net.parameters[name] = 10 * net.parameters[name]
    vocabulary = crnn.text.Vocabulary(symbols)
    return Problem(net, np.zeros(1, np.int64), settings=(vocabulary, length, temperature))


def writing_work(kind, V, H, length, L=1):
    inputs, recurrent = recurrences(kind, 0, H, L, 1)
    weights = sum(inputs) + len(inputs) * recurrent + H * V
    return Work(weights, [(2 * length * weights, length)])


def compressed_problem(kind, rng, dtype, T, B, I, H, weights):  # noqa: E741
    problem = sequence_problem(kind, rng, dtype, T, B, I, H)
    return problem._replace(settings=weights)


STEP = Task(
    "step", "one time step of one sequence, its state kept", "us", lambda sizes: 1,
    step_problem, step_work,
)
SEQUENCE = Task(
    "sequence", "all hidden states over T steps; with O outputs, those of the last step alone",
    "us a time step", lambda sizes: sizes["T"], sequence_problem, sequence_work, holds_memory=True,
)
TRAINING = Task(
    "training", "loss and all gradients over T steps of V symbols, softmax at every step", "ms",
    lambda sizes: 1000, training_problem, training_work, holds_memory=True,
)
STREAMS = Task(
    "streams", "a step each of some of N streams, in any order, their states kept", "us a stream",
    lambda sizes: sizes["some"], streams_problem, streams_work,
)
WRITING = Task(
    "writing", "a text of V symbols, each drawn from what the network says after the one before",
    "us a symbol", lambda sizes: sizes["length"], writing_problem, writing_work,
    compared={"temperature": 1e-6},  # so small that the draw is always of the likeliest
)
COMPRESSED = Task(
    "compressed", "a sequence with weights of fewer bits", "us a time step",
    lambda sizes: sizes["T"], compressed_problem,
    tolerances={"float32": 0.06},  # PyTorch's int8 is up to 0.044 off, crnn's 0.025
)

TASKS = {task.name: task for task in (STEP, SEQUENCE, TRAINING, STREAMS, WRITING, COMPRESSED)}
