"""The nonlinear functions of a cell, and their slopes.

Backpropagation needs f'(a). The slopes of all three functions can be computed from h = f(a) alone,
so a need not be kept::

    tanh      h = (exp(a) - exp(-a)) / (exp(a) + exp(-a))       f' = 1 - h**2
    sigmoid   h = 1 / (1 + exp(-a))                             f' = h * (1 - h)
    ReLU      h = max(a, 0)                                     f' = 1 where h > 0, else 0
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


FUNCTIONS = {
    "tanh": (tanh, tanh_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "relu": (relu, relu_slope),
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
