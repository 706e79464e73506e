"""Optimizers in NumPy: functions that work on whole vectors.

Each update moves the parameters w against the gradient g, in place, and with them the optimizer's
slots: what it remembers from step to step. All are (n,), one entry for each of the n parameters,
and each entry is updated by itself. `crnn.training.optimizers` names the papers; the formulas are
PyTorch's. With weight_decay, the gradient is that of the loss + weight_decay / 2 * |w|**2.

An update counts itself in ``steps``, an array (1,) of integers, where there is one. An interrupt in
the middle leaves all arrays as they were before.
"""

import functools
import math

import numpy as np

__all__ = ["adagrad_update", "adam_update", "is_finite", "norm", "rmsprop_update", "sgd_update"]


def whole(update):
    """Return an update that leaves all arrays as they were if an interrupt comes."""
    @functools.wraps(update)
    def undone(*arguments, **named):
        arrays = [each for each in (*arguments, *named.values())
                  if isinstance(each, np.ndarray) and each.flags.writeable]
        before = [each.copy() for each in arrays]
        try:
            with np.errstate(all="ignore"):
                update(*arguments, **named)
        except BaseException:
            for array, values in zip(arrays, before, strict=True):
                array[...] = values
            raise

    return undone


def count(steps):
    """Count an update, if its steps are to be counted."""
    if steps is not None:
        steps += 1


@whole
def sgd_update(w, m, g, lr, momentum, nesterov, weight_decay, steps=None):
    """Take a step of stochastic gradient descent.

    Parameters
    ----------
    w : ndarray (n,)
        Parameters; updated.
    m : ndarray (n,) or None
        Velocity, 0 before the first step; updated. None: no momentum.
    g : ndarray (n,)
        Gradient.
    lr, momentum, weight_decay : float
    nesterov : bool
        Step along g + momentum * m, not along m alone.
    """
    g = g + weight_decay * w
    if m is not None:
        m[...] = momentum * m + g
        g = g + momentum * m if nesterov else m
    w -= lr * g
    count(steps)


@whole
def adagrad_update(w, s, g, rate, eps, weight_decay, steps=None):
    """Take a step of Adagrad.

    Parameters
    ----------
    w, s : ndarray (n,)
        Parameters and the sum of squared gradients; updated.
    g : ndarray (n,)
        Gradient.
    rate, eps, weight_decay : float
        The rate is the learning rate of this step.
    """
    g = g + weight_decay * w
    s += g * g
    w -= rate * (g / (np.sqrt(s) + eps))
    count(steps)


@whole
def rmsprop_update(
    w, v, a, m, g, lr, alpha, eps, weight_decay, momentum, steps=None
):
    """Take a step of RMSprop.

    Parameters
    ----------
    w, v : ndarray (n,)
        Parameters and the running mean of squared gradients; updated.
    a : ndarray (n,) or None
        Running mean of gradients; updated. None: not centered.
    m : ndarray (n,) or None
        Velocity; updated. None: no momentum.
    g : ndarray (n,)
        Gradient.
    lr, alpha, eps, weight_decay, momentum : float
    """
    g = g + weight_decay * w
    v[...] = alpha * v + (1 - alpha) * (g * g)
    variance = v
    if a is not None:
        # alpha * a + (1 - alpha) * g is rounded otherwise: v - a * a is below 0 ten times as often
        a += (1 - alpha) * (g - a)
        variance = v - a * a
    u = g / (np.sqrt(variance) + eps)
    if m is not None:
        m[...] = momentum * m + u
        u = m
    w -= lr * u
    count(steps)


@whole
def adam_update(
    w, m, v, g, lr, beta1, beta2, correction1, correction2, eps, weight_decay, keep, steps=None
):
    """Take a step of Adam, or with decoupled weight decay of AdamW.

    Parameters
    ----------
    w, m, v : ndarray (n,)
        Parameters, running means of gradients and of squared gradients; updated.
    g : ndarray (n,)
        Gradient.
    lr, beta1, beta2, eps, weight_decay : float
    correction1, correction2 : float
        1 - beta1**t and 1 - beta2**t at step t = 1, 2, ...: the share of gradients in means that
        started from 0.
    keep : float
        Factor on w before the step: 1, or 1 - lr * decay where decay is decoupled.
    """
    g = g + weight_decay * w
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * (g * g)
    u = (m / correction1) / (np.sqrt(v) / math.sqrt(correction2) + eps)
    w[...] = keep * w - lr * u
    count(steps)


@np.errstate(over="ignore")
def norm(x):
    """Return the Euclidean norm, summed in double precision.

    Examples
    --------
    >>> norm(np.float32([3, 4]))
    5.0
    """
    return math.sqrt(np.square(np.abs(x), dtype=np.float64).sum())


def is_finite(x):
    """Return whether no entry is infinite or NaN."""
    return bool(np.isfinite(x).all())
