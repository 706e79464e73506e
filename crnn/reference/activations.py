"""The nonlinear functions of a cell, and their slopes.

Backpropagation needs f'(a). The slopes of all functions can be computed from h = f(a) alone, so a
need not be kept::

    tanh      h = (exp(a) - exp(-a)) / (exp(a) + exp(-a))       f' = 1 - h**2
    sigmoid   h = 1 / (1 + exp(-a))                             f' = h * (1 - h)
    ReLU      h = max(a, 0)                                     f' = 1 where h > 0, else 0

Two pieces of straight lines stand for the sigmoid where time is short. Both are 0 or 1 beyond a
point, with slope 0 there::

    hard_sigmoid        h = a / 6 + 1/2, within [0, 1]          f' = 1/6 where 0 < h < 1
    hard_sigmoid_0.2    h = 0.2 * a + 1/2, within [0, 1]        f' = 0.2 where 0 < h < 1

The first is that of Keras 3 and PyTorch, the second of Keras 2 and, by default, of ONNX.
"""

import numpy as np


def tanh(a):
    """Return the hyperbolic tangent."""
    return np.tanh(a)


def tanh_slope(h):
    """Return the slope of `tanh` where its value is h."""
    return 1 - h * h


def sigmoid(a):
    """Return 1 / (1 + exp(-a)), which for a <= 0 is the same as exp(a) / (1 + exp(a))."""
    positive = a.real > 0
    small = np.exp(np.where(positive, -a, a))  # exp(-|a|) cannot overflow
    return np.where(positive, 1, small) / (1 + small)


def sigmoid_slope(h):
    """Return the slope of `sigmoid` where its value is h."""
    return h * (1 - h)


def relu(a):
    """Return max(a, 0)."""
    return np.where(a.real < 0, 0, a)  # NaN is not below zero: it stays


def relu_slope(h):
    """Return the slope of `relu` where its value is h; at the kink, 0."""
    return (h.real > 0).astype(h.dtype)


def line_within_0_and_1(factor):
    """Return the function factor * a + 1/2, brought into [0, 1], and its slope."""

    def hard_sigmoid(a):
        line = factor * a + 0.5
        return np.where(line.real <= 0, 0, np.where(line.real >= 1, 1, line))  # NaN stays

    def hard_sigmoid_slope(h):
        return factor * ((h.real > 0) & (h.real < 1)).astype(h.dtype)

    return hard_sigmoid, hard_sigmoid_slope


FUNCTIONS = {
    "tanh": (tanh, tanh_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "relu": (relu, relu_slope),
    "hard_sigmoid": line_within_0_and_1(1 / 6),
    "hard_sigmoid_0.2": line_within_0_and_1(0.2),
}


def activation(a, name):
    """Return f(a), where f is the function of that name.

    Examples
    --------
    >>> activation(np.array([-1.0, 0.0, 2.0]), "relu")
    array([0., 0., 2.])
    """
    return FUNCTIONS[name][0](a)


def slope(h, name):
    """Return f'(a), where f is the function of that name and h = f(a)."""
    return FUNCTIONS[name][1](h)


# --- clipped arguments ----------------------------------------------------------------------------


def clipped(a, bound):
    """Return a brought into [-bound, bound], as ONNX's ``clip`` does; for a bound of 0, a.

    Examples
    --------
    >>> clipped(np.array([-7.0, 1.0, 7.0]), 2.5)
    array([-2.5,  1. ,  2.5])
    """
    if not bound:
        return a
    return np.where(a.real > bound, bound, np.where(a.real < -bound, -bound, a))  # NaN stays


def is_inside(a, bound):
    """Return the slope of `clipped`: True, or 1, where it leaves a as it is."""
    return ~(np.abs(a.real) >= bound) if bound else np.True_
