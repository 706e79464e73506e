"""NumPy by hand, as one writes it who wants it fast: every result goes into memory made before."""

import numpy as np
from numpy_cells import CLASSES, halved, rows
from rivals import Gauge, Rival, layers, sequence_results, state_results

VERSION = np.__version__


def step(problem):
    """One product of all weights, the bias one more row, with what is [x, h, 1]; or two."""
    make = {"RNN": _rnn_step}.get(problem.kind, _gated_step)
    forms = [make("z @ W", problem, True), make("W.T @ z", problem, False)]
    if problem.kind == "GRU":
        forms += [_gru_step("x @ W, h @ W", problem, True)]
        forms += [_gru_step("W.T @ x, W.T @ h", problem, False)]
    return forms


def _rnn_step(form, problem, by_row):
    x_part, h, a, (first, second) = _product(problem, by_row)

    def step(x):
        x_part[:] = x
        np.dot(first, second, out=a)
        return np.tanh(a, out=h)

    return _step(form, step, problem)


def _gated_step(form, problem, by_row):
    x_part, h, a, (first, second) = _product(problem, by_row)
    next_state = CLASSES[problem.kind].step(len(h), h.dtype)

    def step(x):
        x_part[:] = x
        np.dot(first, second, out=a)
        return next_state(a, h)

    return _step(form, step, problem)


def _gru_step(form, problem, by_row):
    """Two products: no columns of zeros, but a call more, and the gates' parts to be added."""
    net, (W_xh, W_hh, b_h) = problem.net, _halved(problem)
    H = len(W_hh)
    b_h_state = np.concatenate([np.zeros(2 * H, net.dtype), net.parameters["b_hn_l0"]])
    z_x, _, of_x = _with_one(np.concatenate([W_xh, b_h[None]]), by_row)
    z_h, _, of_h = _with_one(np.concatenate([W_hh, b_h_state[None]]), by_row)
    a, from_h = np.empty(4 * H, net.dtype), np.empty(3 * H, net.dtype)
    x_part, h, from_x, gates, q = z_x[:-1], z_h[:-1], a[: 3 * H], a[: 2 * H], a[3 * H :]
    gates_from_h, q_from_h = from_h[: 2 * H], from_h[2 * H :]
    next_state = CLASSES["GRU"].step(H, net.dtype)

    def step(x):
        x_part[:] = x
        np.dot(*of_x, out=from_x)
        np.dot(*of_h, out=from_h)
        np.add(gates, gates_from_h, out=gates)
        q[:] = q_from_h
        return next_state(a, h)

    return _step(form, step, problem)


def _step(form, step, problem):
    return Rival(form, "step(x)", {"step": step, "x": problem.x}, lambda h: {"y": h})


def _product(problem, by_row):
    """Return places for x, for h and for the product, and the product's arguments.

    Of a GRU's candidate, the columns for x and for h are apart.
    """
    net, (W_xh, W_hh, b_h) = problem.net, _halved(problem)
    W, I, H = np.concatenate([W_xh, W_hh, b_h[None]]), len(W_xh), len(W_hh)  # noqa: E741
    if problem.kind == "GRU":
        W = np.concatenate([W, W[:, 2 * H :]], axis=1)
        W[I:-1, 2 * H : 3 * H] = W[:I, 3 * H :] = 0
        W[-1, 3 * H :] = net.parameters["b_hn_l0"]
    z, a, arguments = _with_one(W, by_row)
    return z[:I], z[I:-1], a, arguments


def _with_one(W, by_row):
    """Return z with a 1 at its end for the bias, room for z @ W, and what to give to numpy.dot."""
    z = np.zeros(len(W), W.dtype)
    z[-1] = 1
    return z, np.empty(W.shape[1], W.dtype), (z, W) if by_row else (np.array(W.T, order="C"), z)


def _halved(problem):
    parameters = problem.net.parameters
    return [halved(problem.kind, parameters[f"{name}_l0"]) for name in ("W_xh", "W_hh", "b_h")]


def sequence(problem):
    net, kind, (T, B, _) = problem.net, problem.kind, problem.x.shape
    if problem.lengths is not None:
        return []
    stack = [[(each, [halved(kind, array) for array in each[:3]], CLASSES[kind](each, T, B, False))
              for each in layer] for layer in layers(net)]
    both = np.empty((T, B, 2 * net.hidden_size), net.dtype)
    y = net.output_size and np.empty((B, net.output_size), net.dtype)

    def run(x):
        for layer in stack:
            for direction, (W_xh, W_hh, b_h), cell in layer:
                a = rows(cell.a)
                np.dot(rows(x[::-1] if direction.backwards else x), W_xh, out=a)
                np.add(a, b_h, out=a)
                cell.forward(W_hh)
            x = cell.h[1:]
            if net.bidirectional:
                parts = np.split(both, 2, axis=2)
                for part, (direction, _, cell) in zip(parts, layer, strict=True):
                    part[:] = cell.h[:0:-1] if direction.backwards else cell.h[1:]
                x = both
        if y is None:
            return x, stack
        np.dot(x[-1], net.parameters["W_hy"], out=y)
        return np.add(y, net.parameters["b_y"], out=y), stack

    def results(value):
        y, stack = value
        states = [cell.state for layer in stack for _, _, cell in layer]
        if kind == "LSTM":
            return sequence_results((y, tuple(map(np.concatenate, zip(*states, strict=True)))))
        return sequence_results((y, np.concatenate(states)))

    return [Rival("", "run(x)", {"run": run, "x": problem.x}, results)]


def training(problem):
    """Steps back prepared all at once, or one by one."""
    if not problem.simple or problem.x.ndim == 3:
        return []
    T = len(problem.x)
    return [_training(form, problem, chunk) for form, chunk in (("all at once", T), ("each", 1))]


def _training(form, problem, chunk):
    (T, B), net, kind = problem.x.shape, problem.net, problem.kind
    N, V, H = T * B, net.output_size, net.hidden_size
    parameters = dict(net.parameters)
    W_hy, b_y = parameters["W_hy"], parameters["b_y"]
    cell = CLASSES[kind](layers(net)[0][0], T, B, training=True)
    h_rows, before_rows, a = rows(cell.h[1:]), rows(cell.h[:-1]), rows(cell.a)
    dh, y = np.empty((T, B, H), net.dtype), np.empty((N, V), net.dtype)
    one_hot, every = np.empty((N, V), net.dtype), np.arange(N)
    gradients = {name: np.empty_like(array) for name, array in parameters.items()}

    def train(x, targets):
        x, targets = x.reshape(-1), targets.reshape(-1)
        W_xh, W_hh, b_h = _halved(problem) if kind != "RNN" else _plain(problem)
        np.take(W_xh, x, axis=0, out=a, mode="clip")  # "raise" would go through a buffer
        np.add(a, b_h, out=a)
        cell.forward(W_hh)
        np.dot(h_rows, W_hy, out=y)
        np.add(y, b_y, out=y)
        loss = _softmax(y, targets, every)
        np.dot(h_rows.T, y, out=gradients["W_hy"])
        np.sum(y, axis=0, out=gradients["b_y"])
        np.dot(y, W_hy.T, out=rows(dh))
        cell.backward(dh, parameters["W_hh_l0"], chunk)
        one_hot[...] = 0
        one_hot[every, x] = 1
        _weights_gradients(kind, gradients, cell, before_rows, one_hot)
        return loss

    def results(loss):
        return {"loss": loss, **state_results(cell.state), **gradients}

    names = {"train": train, "x": problem.x, "targets": problem.targets}
    return Rival(form, "train(x, targets)", names, results)


def _plain(problem):
    return [problem.net.parameters[f"{name}_l0"] for name in ("W_xh", "W_hh", "b_h")]


def _weights_gradients(kind, gradients, cell, before, one_hot):
    """Fill the gradients of the recurrent layer; one_hot.T @ is faster than np.add.at."""
    dW_xh, dW_hh, db_h = (gradients[f"{name}_l0"] for name in ("W_xh", "W_hh", "b_h"))
    np.dot(before.T, cell.to_state, out=dW_hh)
    if kind != "GRU":
        np.dot(one_hot.T, cell.to_input, out=dW_xh)
        np.sum(cell.to_input, axis=0, out=db_h)
        return
    H = len(dW_hh)  # its columns are n, r, z for inputs; r, z, q for states
    dW_xh[:] = np.roll(one_hot.T @ cell.to_input, -H, axis=1)
    db_h[:] = np.roll(cell.to_input.sum(axis=0), -H)
    np.sum(cell.to_state[:, 2 * H :], axis=0, out=gradients["b_hn_l0"])


def _softmax(y, targets, every):
    """Turn logits y (N, V) into the gradient of the mean loss; return that."""
    np.subtract(y, y.max(axis=1, keepdims=True), out=y)
    at_target = y[every, targets]
    np.exp(y, out=y)
    totals = y.sum(axis=1, keepdims=True)
    np.divide(y, totals * len(y), out=y)
    y[every, targets] -= 1 / len(y)
    return np.mean(np.log(totals[:, 0]) - at_target)


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
