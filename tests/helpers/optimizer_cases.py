"""Options of every optimizer and a network without cells: what the tests of optimizers share."""

import contextlib
import copy
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


# Hand-worked values: a network of one parameter, two steps. Every number is exact in binary or a
# fraction that is given as such, so the tolerance is a few roundings.

BY_HAND = [
    # w = 1 - 0.25*1 = 0.75; w = 0.75 - 0.25*2 = 0.25
    (optimizers.SGD(0.25), 1, 1, 2, [0.75, 0.25]),
    # g = 1 + 0.5*1 = 1.5, w = 1 - 0.375 = 0.625; g = 2 + 0.3125, w = 0.625 - 0.578125
    (optimizers.SGD(0.25, weight_decay=0.5), 1, 1, 2, [0.625, 0.046875]),
    # m = 1, w = 1 - 0.25; m = 0.5*1 + 2 = 2.5, w = 0.75 - 0.625
    (optimizers.SGD(0.25, momentum=0.5), 1, 1, 2, [0.75, 0.125]),
    # m = 1, w = 1 - 0.25*(1 + 0.5*1) = 0.625; m = 2.5, w = 0.625 - 0.25*(2 + 0.5*2.5)
    (optimizers.SGD(0.25, momentum=0.5, nesterov=True), 1, 1, 2, [0.625, -0.1875]),
    # s = 9, w = 2 - 3/(3 + 1) = 5/4; s = 9 + 16, w = 5/4 - 4/(5 + 1) = 7/12
    (optimizers.Adagrad(1.0, eps=1.0), 2, 3, 4, [5 / 4, 7 / 12]),
    # the same, the second step at half the rate: w = 5/4 - 1/2 * 4/6 = 11/12
    (optimizers.Adagrad(1.0, lr_decay=1.0, eps=1.0), 2, 3, 4, [5 / 4, 11 / 12]),
    # s = 16 + 9, w = 2 - 3/(5 + 1) = 3/2; s = 25 + 144, w = 3/2 - 12/(13 + 1) = 9/14
    (optimizers.Adagrad(1.0, initial_accumulator_value=16.0, eps=1.0), 2, 3, 12, [3 / 2, 9 / 14]),
    # v = 4/4 = 1, w = 2 - 2/(1 + 1) = 1; v = 3/4 + 1/4 = 1, w = 1 + 1/(1 + 1) = 3/2
    (optimizers.RMSprop(1.0, alpha=0.75, eps=1.0), 2, 2, -1, [1, 3 / 2]),
    # the same u = 1 and -1/2; m = 1, w = 2 - 1 = 1; m = 1/2*1 - 1/2 = 0, w = 1
    (optimizers.RMSprop(1.0, alpha=0.75, eps=1.0, momentum=0.5), 2, 2, -1, [1, 1]),
    # v = 25/5 = 5, a = 5/5 = 1, v - a*a = 4, w = 2 - 5/(2 + 1) = 1/3
    # v = 4 + 9/5 = 29/5, a = 4/5 - 3/5 = 1/5, v - a*a = 144/25, w = 1/3 + 3/(12/5 + 1)
    (optimizers.RMSprop(1.0, alpha=0.8, eps=1.0, centered=True), 2, 5, -3,
     [1 / 3, 1 / 3 + 15 / 17]),
    # b1 = 1/2, b2 = 3/4, eps = 1.
    # m = 3/2, m/(1 - 1/2) = 3; v = 9/4, v/(1 - 3/4) = 9; w = 2 - 3/(3 + 1) = 5/4
    # m = 3/4 + 1/4 = 1, m/(1 - 1/4) = 4/3; v = 27/16 + 1/16 = 7/4, v/(1 - 9/16) = 4;
    # w = 5/4 - (4/3)/(2 + 1) = 29/36
    (optimizers.Adam(1.0, (0.5, 0.75), eps=1.0), 2, 3, 0.5, [5 / 4, 29 / 36]),
    # gradients that are those above once the decay is added: g = 2 + 1/8 * 8 = 3,
    # w = 8 - 3/4 = 29/4; g = -13/32 + 1/8 * 29/4 = 1/2, w = 29/4 - 4/9
    (optimizers.Adam(1.0, (0.5, 0.75), eps=1.0, weight_decay=0.125), 8, 2, -13 / 32,
     [29 / 4, 29 / 4 - 4 / 9]),
    # half the same steps, from a w times 1 - 1/2 * 1/2 = 3/4:
    # w = 3/4 * 2 - 1/2 * 3/4 = 9/8; w = 3/4 * 9/8 - 1/2 * 4/9
    (optimizers.AdamW(0.5, (0.5, 0.75), eps=1.0, weight_decay=0.5), 2, 3, 0.5,
     [9 / 8, 27 / 32 - 2 / 9]),
]


def two_steps(opt, w, g1, g2, updates=None):
    opt = copy.deepcopy(opt)  # the list above is made once for all runs
    net = FakeNet([w], updates=updates)
    values = []
    for g in (g1, g2):
        opt.step(net, gradients([g]))
        values.append(float(net.vector[0]))
    return values
