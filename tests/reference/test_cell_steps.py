"""Cells with options: a step forward against formulas, and back against complex-step derivatives.

Of clipped arguments, hard sigmoids, peepholes, coupled gates, and ReLU in an LSTM.
"""

import cell_steps
import numpy as np
import pytest
from builds import OTHER_KINDS

from crnn import reference

pytestmark = pytest.mark.no_backend
each_kind = pytest.mark.parametrize("kind", OTHER_KINDS)


@each_kind
@pytest.mark.parametrize("draw", range(3))
def test_steps(rng, kind, draw):
    cell_steps.check_formulas_of_step(reference, cell_steps.Point(OTHER_KINDS[kind], rng))


@each_kind
@pytest.mark.parametrize("draw", range(3))
def test_gradients(rng, kind, draw):
    cell_steps.check_derivatives_of_step(reference, cell_steps.Point(OTHER_KINDS[kind], rng))


@each_kind
def test_every_option_makes_a_difference(rng, kind):
    """To what a step gives, and so do the weights that come with it."""
    kind = OTHER_KINDS[kind]
    point = cell_steps.Point(kind, rng)
    state, _ = point.step(reference, point.values)
    plain = {"gate_activation": "sigmoid", "clip": 0.0, "coupled": False}
    for name, value in plain.items():
        if getattr(kind, name) == value:
            continue
        point.kind = kind._replace(**{name: value})
        assert np.abs(point.step(reference, point.values)[0][0] - state[0]).max() > 1e-3, name
    point.kind = kind
    if kind.peepholes:
        for row in range(3):
            W_ch = point.values["W_ch"].copy()
            W_ch[row] += 0.5
            moved = point.step(reference, point.values | {"W_ch": W_ch})[0][0] - state[0]
            assert np.abs(moved).max() > 1e-3 or (kind.coupled and row == 1), row


def test_the_forget_gate_of_coupled_ones_is_not_used(rng):
    point = cell_steps.Point(OTHER_KINDS["lstm-all"], rng)
    gradients, H = point.gradients(reference), cell_steps.H
    for name in ("a", "W_hh"):
        assert not gradients[name][:, H : 2 * H].any()
        assert gradients[name][:, :H].any()
    assert not gradients["W_ch"][1].any()
    state, _ = point.step(reference, point.values)
    point.values["a"][:, H : 2 * H] += 1
    again, _ = point.step(reference, point.values)
    np.testing.assert_array_equal(np.array(again), np.array(state))


@pytest.mark.parametrize("name", ["sigmoid", "hard_sigmoid", "hard_sigmoid_0.2", "tanh", "relu"])
def test_nan_stays_nan_and_infinity_is_within_bounds(name):
    numbers = np.array([np.nan, np.inf, -np.inf])
    found = reference.activation(numbers, name)
    assert np.isnan(found[0])
    highest, lowest = {"tanh": (1, -1), "relu": (np.inf, 0)}.get(name, (1, 0))
    np.testing.assert_array_equal(found[1:], [highest, lowest])


def test_hard_sigmoids():
    numbers = np.array([-3.0, -2.5, -1.0, 0.0, 1.0, 2.5, 3.0, 4.0])
    np.testing.assert_allclose(
        reference.activation(numbers, "hard_sigmoid"),
        [0, 1 / 12, 1 / 3, 0.5, 2 / 3, 11 / 12, 1, 1], rtol=1e-15)
    np.testing.assert_allclose(
        reference.activation(numbers, "hard_sigmoid_0.2"), [0, 0, 0.3, 0.5, 0.7, 1, 1, 1],
        rtol=1e-15)
    np.testing.assert_array_equal(
        reference.slope(np.array([0.0, 0.5, 1.0]), "hard_sigmoid"), [0, 1 / 6, 0])
    np.testing.assert_array_equal(
        reference.slope(np.array([0.0, 0.5, 1.0]), "hard_sigmoid_0.2"), [0, 0.2, 0])
