"""Any network, any form of its data and any question crossed: all forms give the same results.

Each case draws a network, sequences and options at random; what the reference makes of them, time
first and padded, is what both backends have to make of each form of them.
"""

import itertools

import cell_networks as cells
import numpy as np
import pytest

import crnn

I, O, B = 3, 6, 4  # noqa: E741
LOSSES = {"softmax": None, "sigmoid": O, "mse": O, "mae": O, "huber": O, "quantile": O // 3,
          "gaussian": O // 2}  # and how many numbers a target has
FORMS = list(itertools.product([False, True], [False, True]))  # whether a list, whether batch first


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


class Case:
    """A network's options, sequences, what comes with each, and options of a loss."""

    def __init__(self, rng):
        self.network_class, options = cells.CELLS[pick(rng, list(cells.CELLS))]
        self.widths = tuple(rng.integers(2, 6, rng.integers(1, 4)).tolist())
        self.options = options | {name: bool(rng.random() < 0.5)
                                  for name in ("bidirectional", "learn_state")}
        self.seed, self.calls = int(rng.integers(100)), int(rng.integers(1, 4))
        lengths = rng.integers(0, 6, B)
        self.loss = pick(rng, list(LOSSES))
        is_tokens = rng.random() < 0.4
        self.x = [rng.integers(0, I, n) if is_tokens else rng.standard_normal((n, I))
                  for n in lengths]
        self.is_last = rng.random() < 0.4
        self.targets = [self._draw_targets(rng, 1 if self.is_last else n) for n in lengths]
        self.dy = [rng.standard_normal((n, O)) for n in lengths]
        self.loss_options = {"reduction": pick(rng, ["mean", "sum"])}
        self.weights = None
        if rng.random() < 0.6:
            each_step = rng.random() < 0.5 and not self.is_last
            self.weights = [rng.choice([0, 0.5, 1, 3], n if each_step else ()) for n in lengths]
        if self.loss == "softmax" and rng.random() < 0.6:
            self.loss_options["class_weight"] = pick(rng, ["balanced", {0: 0, 2: 2.5}])
        if self.loss != "softmax" and rng.random() < 0.5:
            self.loss_options["missing"] = "skip"
            for each in self.targets:
                each[rng.random(each.shape) < 0.3] = np.nan
        self.states = None
        if rng.random() < 0.5:
            widths = np.repeat(self.widths, 1 + self.options["bidirectional"])
            h, c = ([rng.standard_normal((B, H)) for H in widths] for _ in "hc")
            self.states = (h, c) if self.network_class is crnn.LSTM else h

    def _draw_targets(self, rng, steps):
        if self.loss == "softmax":
            return rng.integers(-1, O, steps)
        return rng.random((steps, LOSSES[self.loss]))

    def network(self, backend, batch_first):
        net = self.network_class(I, self.widths, O, dtype="float64", seed=self.seed,
                                 backend=backend, batch_first=batch_first, **self.options)
        net.vector = np.random.default_rng(self.seed).uniform(-0.7, 0.7, net.num_parameters)
        return net

    def results(self, backend, is_list, batch_first):
        """Return all results by name, those of each step as a list of sequences."""
        net = self.network(backend, batch_first).copy()
        lengths = [len(each) for each in self.x]

        def given(items, beyond=0):
            if is_list:
                return items
            whole, _ = crnn.pad(items, batch_first)
            over = np.arange(max(lengths))[:, None] >= lengths
            whole[over.T if batch_first else over] = beyond
            return whole

        def apart(array):
            if is_list or array is None:
                return array
            array = array.swapaxes(0, 1) if not batch_first else array
            return [each[:n] for each, n in zip(array, lengths, strict=True)]

        rest = {} if is_list else {"lengths": lengths}
        x = given(self.x, 0 if self.x[0].ndim == 1 else np.nan)
        targets = given(self.targets, -1 if self.loss == "softmax" else np.nan) if (
            not self.is_last) else np.concatenate(self.targets)
        weights = self.weights
        if weights is not None:
            weights = given(weights, 7) if np.ndim(weights[0]) else np.array(weights)
        options = rest | self.loss_options | {"loss": self.loss, "sample_weight": weights}
        found = {}
        for _ in range(self.calls):  # again, in the arrays that were left
            y, found["state"] = net(x, self.states, **rest)
            found["y"] = apart(y)
            found["last y"], found["last state"] = net(x, self.states, **rest, last=True)
            found["loss"], found["state of loss"] = net.loss(x, targets, self.states, **options)
            value, gradients, _ = net.loss_and_gradients(x, targets, self.states, **options)
            y, _, cache = net.forward(x, self.states, **rest)
            found |= {"loss in training": value, "y with tape": apart(y)}
            back = net.backward(cache, given(self.dy, np.nan))
            for name, each in (("gradients", gradients), ("backward", back)):
                found |= {name: each.vector, f"{name} of states": each.state,
                          f"{name} of x": apart(each.x)}
        return found


def numbers(result):
    """Return all numbers of a result as one vector."""
    if result is None:
        return np.zeros(0)
    if isinstance(result, (list, tuple)):
        return np.concatenate([np.zeros(0), *map(numbers, result)])
    return np.ravel(result)


@pytest.mark.no_backend
@pytest.mark.parametrize("seed", range(24))
def test_all_forms_of_all_questions_give_the_same(seed):
    case = Case(np.random.default_rng(seed))
    expected = {name: numbers(each) for name, each in
                case.results("reference", is_list=False, batch_first=False).items()}
    assert all(np.isfinite(each).all() for each in expected.values())
    for backend in ("compiled", "reference"):
        for is_list, batch_first in FORMS:
            found = case.results(backend, is_list, batch_first)
            cells.check_close({name: numbers(each) for name, each in found.items()}, expected,
                              1e-11)
