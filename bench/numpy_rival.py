"""NumPy by hand, as one writes it who wants it fast: every result goes into memory made before."""

import itertools

import numpy as np
from rivals import PARAMETERS, Gauge, Rival, sequence_results

VERSION = np.__version__


def step(problem):
    """One product of all weights, the bias one more row, with what is [x, h, 1]."""
    net = problem.net
    W = np.concatenate([net.parameters[name].reshape(-1, net.hidden_size)
                        for name in ("W_xh_l0", "W_hh_l0", "b_h_l0")])
    return [_step("z @ W", problem, W, by_row=True), _step("W.T @ z", problem, W, by_row=False)]


def _step(form, problem, W, by_row):
    x, I = problem.x, len(problem.x)  # noqa: E741
    z = np.zeros(len(W), W.dtype)
    z[-1] = 1
    x_part, h, a = z[:I], z[I:-1], np.empty(W.shape[1], W.dtype)
    first, second = (z, W) if by_row else (np.array(W.T, order="C"), z)

    def step(x):
        x_part[:] = x
        np.dot(first, second, out=a)
        return np.tanh(a, out=h)

    return Rival(form, "step(x)", {"step": step, "x": x}, lambda h: {"y": h})


def sequence(problem):
    x, net = problem.x, problem.net
    W_xh, W_hh, b_h = (net.parameters[f"{name}_l0"] for name in ("W_xh", "W_hh", "b_h"))
    T, B, _ = x.shape
    h = np.zeros((T + 1, B, net.hidden_size), net.dtype)
    rows = _rows(h[1:])

    def run(x):
        np.dot(x.reshape(T * B, -1), W_xh, out=rows)
        np.add(rows, b_h, out=rows)
        _recurrence(h, W_hh)
        return h[1:], h[-1:]

    return [Rival("", "run(x)", {"run": run, "x": x}, sequence_results)]


def training(problem):
    (T, B), net = problem.x.shape, problem.net
    W_xh, W_hh, b_h, W_hy, b_y = (net.parameters[name] for name in PARAMETERS)
    N, H, V = T * B, net.hidden_size, net.output_size
    h, da, slope = (np.zeros((steps, B, H), net.dtype) for steps in (T + 1, T, T))
    h_rows, before_rows, da_rows = _rows(h[1:]), _rows(h[:-1]), _rows(da)
    y, one_hot, every = np.empty((N, V), net.dtype), np.empty((N, V), net.dtype), np.arange(N)
    gradients = {name: np.empty_like(net.parameters[name]) for name in PARAMETERS}
    dW_xh, dW_hh, db_h, dW_hy, db_y = gradients.values()

    def train(x, targets):
        x, targets = x.reshape(-1), targets.reshape(-1)
        np.take(W_xh, x, axis=0, out=h_rows, mode="clip")  # "raise" would go through a buffer
        np.add(h_rows, b_h, out=h_rows)
        _recurrence(h, W_hh)
        np.dot(h_rows, W_hy, out=y)
        np.add(y, b_y, out=y)
        loss = _softmax(y, targets, every)
        np.dot(h_rows.T, y, out=dW_hy)
        np.sum(y, axis=0, out=db_y)
        np.dot(y, W_hy.T, out=da_rows)
        np.multiply(h[1:], h[1:], out=slope)
        np.subtract(1, slope, out=slope)
        _backward(da, slope, W_hh.T)
        np.dot(before_rows.T, da_rows, out=dW_hh)
        np.sum(da_rows, axis=0, out=db_h)
        one_hot[...] = 0
        one_hot[every, x] = 1
        np.dot(one_hot.T, da_rows, out=dW_xh)  # faster than np.add.at
        return loss

    def results(loss):
        return {"loss": loss, "state": h[-1:], **gradients}

    names = {"train": train, "x": problem.x, "targets": problem.targets}
    return [Rival("", "train(x, targets)", names, results)]


def _rows(array):
    """Return (T, B, H) as (T B, H), the same memory."""
    return array.reshape(-1, array.shape[-1])


def _recurrence(h, W_hh):
    """Turn h[1:] (T, B, H) from what inputs give into hidden states; h[0] is the initial one."""
    a = np.empty_like(h[0])
    for before, now in itertools.pairwise(h):
        np.dot(before, W_hh, out=a)
        np.add(now, a, out=now)
        np.tanh(now, out=now)


def _softmax(y, targets, every):
    """Turn logits y (N, V) into the gradient of the mean loss; return that."""
    np.subtract(y, y.max(axis=1, keepdims=True), out=y)
    at_target = y[every, targets]
    np.exp(y, out=y)
    totals = y.sum(axis=1, keepdims=True)
    np.divide(y, totals * len(y), out=y)
    y[every, targets] -= 1 / len(y)
    return np.mean(np.log(totals[:, 0]) - at_target)


def _backward(da, slope, W):
    """Turn da (T, B, H) from gradients of hidden states into those of what tanh is applied to."""
    a = np.zeros_like(da[0])
    for now, slope_now in zip(da[::-1], slope[::-1], strict=True):
        np.add(now, a, out=now)
        np.multiply(now, slope_now, out=now)
        np.dot(now, W, out=a)


def peak(dtype):
    """Return the product of two matrices that fit in the caches."""
    a, out = np.ones((512, 512), dtype), np.empty((512, 512), dtype)
    names = {"dot": np.dot, "a": a, "out": out}
    return [Gauge(Rival("numpy.dot of matrices", "dot(a, a, out)", names, dict), 2 * 512**3)]


def read(numbers, dtype):
    """Return ways to read an array."""
    a = np.ones(numbers, dtype)
    return [
        Gauge(Rival("numpy.dot with itself", "dot(a, a)", {"dot": np.dot, "a": a}, dict), a.nbytes),
        Gauge(Rival("numpy.max", "a.max()", {"a": a}, dict), a.nbytes),
    ]
