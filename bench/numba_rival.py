"""Numba on the passes of ``numba_kernels.py``, each called with memory made before."""

import llvmlite.binding
import numba
import numpy as np
from rivals import Gauge, Rival, layers, sequence_results, state_results

if numba.config.CPU_NAME is None:  # the processor's own instructions are wanted
    # LLVM keeps to 256-bit vectors on Intel's processors unless it is told otherwise.
    numba.config.CPU_NAME = llvmlite.binding.get_host_cpu_name()
    numba.config.CPU_FEATURES = (
        llvmlite.binding.get_host_cpu_features().flatten() + ",-prefer-256-bit"
    )

import numba_kernels

VERSION = numba.__version__


def step(problem):
    return [_step(form, problem) for form in numba_kernels.FORMS]


def _step(form, problem):
    """All parameters are in one array, with rows to use: each argument costs 60 ns."""
    net = problem.net
    W_xh, W_hh, b = _recurrent(layers(net)[0][0])
    width = W_hh.shape[1]
    rows = np.zeros((5, width), net.dtype)
    rows[0], rows[3, : len(b) - width] = b[:width], b[width:]
    w, y = aligned(np.concatenate([W_xh, W_hh, rows])), aligned(np.zeros(len(W_hh), net.dtype))
    names = {"step": _passes(problem, form).step, "x": aligned(problem.x), "w": w, "y": y}
    return Rival(form, "step(x, w, y)", names, lambda _: {"y": y})


def sequence(problem):
    net, kind, (T, B, _) = problem.net, problem.kind, problem.x.shape
    lengths = np.full(B, T) if problem.lengths is None else problem.lengths
    whole = kind == "LSTM" and problem.lengths is not None  # all c, since any may be a last one
    source, directions = aligned(problem.x), []
    for layer in layers(net):
        out = np.zeros((0, 0, 0), net.dtype)
        if net.bidirectional or problem.lengths is not None:
            out = aligned(np.zeros((T, B, len(layer) * net.hidden_size), net.dtype))
        for number, each in enumerate(layer):
            memory = _memory(kind, each, T, B, kept=T + 1 if whole else 1 + (kind == "LSTM"))
            h, a, kept, scratch = memory
            x = aligned(np.zeros_like(source)) if each.backwards else source
            directions.append((each.backwards, source, x, h, a, kept, *_recurrent(each), scratch,
                               out, number * net.hidden_size))
        source = out if out.size else h[1:]
    names = {"arguments": (tuple(directions), lengths)}
    if net.output_size is not None:
        y = aligned(np.zeros((B, net.output_size), net.dtype))
        names["arguments"] += (*map(aligned, (net.parameters["W_hy"], net.parameters["b_y"])), y)
    else:
        y = source

    def results(_):
        def at_end(arrays):
            return np.stack([each[lengths % len(each), np.arange(B)] for each in arrays])

        h, c = ([each[part] for each in directions] for part in (3, 5))
        return sequence_results((y, (at_end(h), at_end(c)) if kind == "LSTM" else at_end(h)))

    run = "network" if net.output_size is None else "last"
    return [
        Rival(form, "run(*arguments)", {"run": getattr(_passes(problem, form), run), **names},
              results)
        for form in numba_kernels.FORMS
    ]


def streams(problem):
    """All states in one array, as many copied from it and to it as take a step."""
    kind, net, (number, chosen) = problem.kind, problem.net, problem.settings
    ((direction,),), B = layers(net), len(chosen)
    h, a, kept, scratch = _memory(kind, direction, 1, B, kept=1 + (kind == "LSTM"))

    def form(name):
        all_h, all_c = np.zeros((2, number, net.hidden_size), net.dtype)
        arguments = (chosen, all_h, all_c, h, a, kept, aligned(problem.x[None]),
                     *_recurrent(direction), scratch)
        return Rival(name, "run(*arguments)",
                     {"run": _passes(problem, name).streams, "arguments": arguments},
                     lambda _: {"y": all_h[chosen]})

    return [form(name) for name in numba_kernels.FORMS]


def writing(problem):
    """One compiled loop, which is given as many random numbers as symbols."""
    kind, net, (_, length, temperature) = problem.kind, problem.net, problem.settings
    W_hy, b_y = aligned(net.parameters["W_hy"]), aligned(net.parameters["b_y"])
    written = np.zeros(length, np.int64)
    y, sums = aligned(np.zeros((1, len(b_y)), net.dtype)), aligned(np.zeros_like(b_y))
    generator = np.random.default_rng(0)

    def form(name):
        stack = []
        for (each,) in layers(net):
            h, a, kept, scratch = _memory(kind, each, 1, 1, kept=1 + (kind == "LSTM"))
            x = aligned(np.zeros((1, 1, len(each.W_xh)), net.dtype))
            stack.append((h, a, kept, x, *_recurrent(each), scratch))
        run = _passes(problem, name).writing

        def write():
            for h, _, kept, *_ in stack:
                h[0], kept[0] = 0, 0
            run(written, generator.random(length), net.dtype.type(temperature), tuple(stack), W_hy,
                b_y, y, sums)
            return written

        return Rival(name, "write()", {"write": write}, lambda written: {"symbols": written})

    return [form(name) for name in numba_kernels.FORMS]


def training(problem):
    net = problem.net
    if not problem.simple or problem.x.ndim == 3:
        return []
    ((direction,),), (T, B) = layers(net), problem.x.shape
    W_xh, W_hh, b = _recurrent(direction)
    parameters = W_xh, W_hh, b, aligned(net.parameters["W_hy"]), aligned(net.parameters["b_y"])
    gradients = [aligned(np.empty_like(array)) for array in parameters]
    kept = T + (problem.kind == "LSTM")
    h, a, kept, scratch = _memory(problem.kind, direction, T, B, kept)
    dh = aligned(np.zeros((T, B, len(W_hh)), net.dtype))
    y = aligned(np.zeros((T * B, net.output_size), net.dtype))
    arguments = problem.x, problem.targets, *parameters, *gradients, h, a, kept, dh, y, scratch

    def results(loss):
        dW_xh, dW_hh, db, dW_hy, db_y = gradients
        db_h, db_hn = np.split(db, [W_hh.shape[1]])
        found = {"W_xh_l0": dW_xh, "W_hh_l0": dW_hh, "b_h_l0": db_h, "W_hy": dW_hy, "b_y": db_y}
        if len(db_hn):
            found["b_hn_l0"] = db_hn
        return {"loss": loss, **state_results(_state(problem, h, kept)), **found}

    return [
        Rival(
            form, "run(*arguments)",
            {"run": _passes(problem, form).training, "arguments": arguments}, results,
        )
        for form in numba_kernels.FORMS
    ]


def _passes(problem, form):
    return numba_kernels.passes(problem.kind, problem.net.dtype.name, form)


def _recurrent(direction):
    """Return W_xh, W_hh, and b_h with what a GRU has beside it."""
    b = [each for each in (direction.b_h, direction.b_hn) if each is not None]
    return [aligned(array) for array in (direction.W_xh, direction.W_hh, np.concatenate(b))]


def _memory(kind, direction, T, B, kept):
    """Return h, a, what is kept of so many steps, and scratch, as `numba_cells` wants them."""
    H, width = direction.W_hh.shape
    h, a, kept, scratch = (
        aligned(np.zeros(shape, direction.W_hh.dtype))
        for shape in ((T + 1, B, H), (T, B, width), (kept, B, H), (B, width))
    )
    return h, h[1:] if kind == "RNN" else a, kept, scratch


def _state(problem, h, kept):
    T = len(h) - 1
    return (h[-1:], kept[T % len(kept)][None]) if problem.kind == "LSTM" else h[-1:]


def aligned(array):
    """Return a copy that starts at a multiple of 64 bytes."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def peak(dtype):
    """Return a polynomial of many numbers: independent multiply-adds on what is in registers."""
    x, times = aligned(np.full(1024, 0.5, dtype)), 500
    names = {
        "run": numba_kernels.polynomials, "y": aligned(x), "x": x, "c": x[0], "times": times
    }
    rival = Rival("Numba polynomials", "run(y, x, c, times)", names, dict)
    return [Gauge(rival, 2 * numba_kernels.DEGREE * times * len(x))]


def read(numbers, dtype):
    """Return the sum of an array, often enough for the call not to count."""
    a = aligned(np.ones(numbers, dtype))
    times = max(1, (1 << 20) // a.nbytes)
    names = {"run": numba_kernels.total, "a": a, "times": times}
    return [Gauge(Rival("Numba sum", "run(a, times)", names, dict), times * a.nbytes)]
