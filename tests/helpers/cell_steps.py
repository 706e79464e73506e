"""One step of a cell with options: what it is given, formulas unit by unit, and derivatives."""

import math

import numpy as np
from builds import OTHER_KINDS
from passes import assert_close

B, H = 3, 4
STEP = 1e-30  # its square is lost beside any number here
FUNCTIONS = {
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "hard_sigmoid": lambda a: min(max(a / 6 + 0.5, 0.0), 1.0),
    "hard_sigmoid_0.2": lambda a: min(max(0.2 * a + 0.5, 0.0), 1.0),
}


def step_by_formula(kind, weights, a, h, c):
    """Return the h and c after a step of one sequence, in numbers; c of an LSTM only."""
    H, W = len(h), weights.W_hh

    def product(gate, j, state=h):
        return sum(state[k] * W[k, gate * H + j] for k in range(H))

    def activated(name, number):
        if kind.clip:
            number = min(max(number, -kind.clip), kind.clip)
        return FUNCTIONS[name](number)

    def gate(which, j, seen=0.0):
        return activated(kind.gate_activation, a[which * H + j] + product(which, j) + seen)

    if kind.cell == "RNN":
        return [activated(kind.nonlinearity, a[j] + product(0, j)) for j in range(H)], None
    if kind.cell == "GRU":
        r = [gate(0, j) for j in range(H)]
        new = []
        for j in range(H):
            if kind.reset_after:
                q = r[j] * (product(2, j) + weights.b_hn[j])
            else:
                q = product(2, j, [r[k] * h[k] for k in range(H)])
            n, z = activated(kind.nonlinearity, a[2 * H + j] + q), gate(1, j)
            new.append((1 - z) * n + z * h[j])
        return new, None
    of_i, of_f, of_o = np.zeros((3, H)) if weights.W_ch is None else weights.W_ch
    after, new = [], []
    for j in range(H):
        i = gate(0, j, of_i[j] * c[j])
        f = 1 - i if kind.coupled else gate(1, j, of_f[j] * c[j])
        g = activated(kind.nonlinearity, a[2 * H + j] + product(2, j))
        after.append(f * c[j] + i * g)
        o = gate(3, j, of_o[j] * after[j])
        new.append(o * FUNCTIONS[kind.nonlinearity](after[j]))
    return new, after


class Point:
    """Everything that a step is given, by name, drawn at random."""

    def __init__(self, kind, rng):
        self.kind, width = kind, kind.gates * H
        self.values = {
            "a": 1.5 * rng.standard_normal((B, width)),
            "h": rng.standard_normal((B, H)),
            "W_hh": rng.uniform(-1, 1, (H, width)),
        }
        if kind.has_c:
            self.values["c"] = rng.standard_normal((B, H))
        if kind.reset_after:
            self.values["b_hn"] = rng.standard_normal(H)
        if kind.peepholes:
            self.values["W_ch"] = rng.standard_normal((3, H))
        self.dstate = tuple(rng.standard_normal((B, H)) for _ in range(kind.num_states))

    def weights(self, module, values):
        kind = self.kind
        return module.Weights(
            None, values["W_hh"], None, values.get("b_hn"), values.get("W_ch"), kind.cell,
            kind.nonlinearity, kind.gate_activation, kind.clip, kind.reset_after, kind.coupled)

    def step(self, module, values):
        """Return the state after the step, and the tape."""
        state = tuple(values[name] for name in "hc" if name in values)
        weights = self.weights(module, values)
        return module.CELLS[self.kind.cell].step(values["a"], state, weights)

    def gradients(self, module):
        """Return those of sum(dstate * state after the step), by name."""
        _, tape = self.step(module, self.values)
        da, dstate, dweights = module.CELLS[self.kind.cell].step_backward(
            self.dstate, tape, self.weights(module, self.values))
        return {"a": da} | dict(zip("hc", dstate, strict=False)) | dweights


def check_formulas_of_step(module, point):
    """The functions of the reference, or of a copy of it, against formulas."""
    values, weights = point.values, point.weights(module, point.values)
    state, _ = point.step(module, values)
    for b in range(B):
        c = values["c"][b] if point.kind.has_c else None
        expected = step_by_formula(point.kind, weights, values["a"][b], values["h"][b], c)
        for each, own in zip(state, expected, strict=False):
            assert_close(each[b], own, 1e-14)


def check_derivatives_of_step(module, point, rtol=1e-11):
    """Its gradients, entry by entry, against complex-step derivatives."""
    gradients = point.gradients(module)
    assert gradients.keys() == point.values.keys()
    for name, value in point.values.items():
        expected = np.zeros_like(value)
        for entry in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[entry] += 1j * STEP
            state, _ = point.step(module, point.values | {name: moved})
            total = sum((d * each).sum() for d, each in zip(point.dstate, state, strict=True))
            expected[entry] = total.imag / STEP
        assert_close(gradients[name], expected, rtol, name)


def check_options(module, draws=3):
    """Every cell with options, several times, so that every branch of its functions is taken."""
    rng = np.random.default_rng(13)
    for kind in OTHER_KINDS.values():
        for _ in range(draws):
            point = Point(kind, rng)
            check_formulas_of_step(module, point)
            check_derivatives_of_step(module, point)
