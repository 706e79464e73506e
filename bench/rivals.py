"""Who is compared: how each package does each task.

A contender is an object with a function for each task that it can do, by the task's name, which
takes a `tasks.Problem` and returns a `Rival`. A further package is a module ``<name>_rival.py``
with such functions and a ``VERSION``, and ``<name>`` in `PACKAGES`.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import crnn

PACKAGES = ("torch",)  # each is skipped if it cannot be imported


class Rival(NamedTuple):
    """One contender at one problem."""

    expression: str  # what is timed, on its own: a function around it would cost as much as a step
    names: dict  # what the expression refers to
    results: Callable  # results(value of the expression) -> dict of str to array_like

    def run(self):
        """Evaluate the expression once and return copies of its results."""
        value = eval(self.expression, self.names)
        return {name: np.array(result) for name, result in self.results(value).items()}


class Crnn:
    """crnn on one of its backends."""

    def __init__(self, backend):
        self._backend = backend

    def _network(self, net):
        sizes = net.input_size, net.hidden_size, net.output_size
        copy = crnn.RNN(*sizes, dtype=net.dtype, backend=self._backend)
        copy.vector = net.vector
        return copy

    def step(self, problem):
        net, x = self._network(problem.net), problem.x
        y = np.empty(net.hidden_size, net.dtype)
        return Rival("net.step(x, out=y)", {"net": net, "x": x, "y": y}, lambda y: {"y": y})

    def sequence(self, problem):
        names = {"net": self._network(problem.net), "x": problem.x}
        return Rival("net(x)", names, lambda value: dict(zip(("y", "state"), value, strict=True)))

    def training(self, problem):
        names = {
            "net": self._network(problem.net), "x": problem.x, "targets": problem.targets
        }
        return Rival("net.loss_and_gradients(x, targets)", names, self._training_results)

    @staticmethod
    def _training_results(value):
        loss, gradients, state = value
        return {"loss": loss, "state": state, **gradients.parameters}


def find():
    """Return the contenders by name, and why others are missing.

    Returns
    -------
    contenders : dict of str to object
        "crnn", the compiled one, and "reference" come first.
    missing : dict of str to str
    """
    contenders, missing = {"crnn": Crnn("compiled"), "reference": Crnn("reference")}, {}
    for package in PACKAGES:
        try:
            contenders[package] = importlib.import_module(f"{package}_rival")
        except ImportError as error:
            missing[package] = str(error)
    return contenders, missing


def enter(contenders, task, problem):
    """Return the `Rival` of every contender that can do the task, by name."""
    return {
        name: getattr(contender, task.name)(problem)
        for name, contender in contenders.items()
        if hasattr(contender, task.name)
    }
