"""Options of every optimizer and a network without cells: what the tests of optimizers share."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from crnn.base.backends import choose_backend, kernels
from crnn.training import optimizers

STEPS = 50
SIZE = 37

# Every option on its own, and the options that meet in one formula together.
CASES = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.05},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.1},
        {"lr": 0.1, "weight_decay": 0.05},
        {"lr": 0.1, "initial_accumulator_value": 0.5},
        {"lr": 0.1, "eps": 0.1},
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.05, "initial_accumulator_value": 0.5},
    ],
    "RMSprop": [
        {},
        {"alpha": 0.8},
        {"eps": 0.1},
        {"weight_decay": 0.05},
        {"momentum": 0.9},
        {"centered": True},
        {"alpha": 0.8, "eps": 0.1, "weight_decay": 0.05, "momentum": 0.9, "centered": True},
    ],
    "Adam": [
        {},
        {"lr": 0.1, "betas": (0.7, 0.9)},
        {"lr": 0.1, "betas": (0.0, 0.9)},
        {"lr": 0.1, "eps": 0.1},
        {"lr": 0.1, "weight_decay": 0.05},
    ],
    "AdamW": [
        {},
        {"lr": 0.1, "weight_decay": 0.0},
        {"lr": 0.1, "betas": (0.7, 0.9), "eps": 0.1, "weight_decay": 0.05},
    ],
}
ALL = [
    pytest.param(name, options, id=f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})")
    for name, cases in CASES.items()
    for options in cases
]
ONE_EACH = [pytest.param(name, cases[-1], id=name) for name, cases in CASES.items()]


class FakeNet:
    """What an optimizer may rely on: updates, a read-only vector, its memory for one writing."""

    def __init__(self, values, dtype=np.float64, updates=None):
        updates = updates or kernels(choose_backend(None), np.dtype(dtype))
        self.engine = SimpleNamespace(updates=updates)
        self.parameters = SimpleNamespace(changing=self._changing)
        self._memory = np.array(values, dtype)
        self.vector = self._memory.view()
        self.vector.flags.writeable = False
        self.num_parameters = self._memory.size
        self.writings = 0

    @contextlib.contextmanager
    def _changing(self):
        self.writings += 1
        yield self._memory


def gradients(values, dtype=np.float64):
    return SimpleNamespace(vector=np.array(values, dtype))


def random_run(seed=0, steps=STEPS, size=SIZE, dtype=np.float64):
    """A network and one gradient for each step."""
    rng = np.random.default_rng(seed)
    net = FakeNet(rng.standard_normal(size), dtype)
    return net, [gradients(rng.standard_normal(size), dtype) for _ in range(steps)]


def make(name, options):
    return getattr(optimizers, name)(**options)
