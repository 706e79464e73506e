"""Numba on the passes of ``numba_kernels.py``, each called with memory made before."""

import llvmlite.binding
import numba
import numpy as np
from rivals import Gauge, Rival, sequence_results, state_results

# LLVM keeps to 256-bit vectors on Intel's processors unless it is told otherwise.
numba.config.CPU_NAME = llvmlite.binding.get_host_cpu_name()
numba.config.CPU_FEATURES = (
    llvmlite.binding.get_host_cpu_features().flatten() + ",-prefer-256-bit"
)

import numba_kernels  # noqa: E402

VERSION = numba.__version__


def step(problem):
    return [_step(form, problem) for form in numba_kernels.FORMS]


def _step(form, problem):
    """All parameters are in one array, with rows to use: each argument costs 60 ns."""
    net = problem.net
    W_xh, W_hh, b = _recurrent(net)
    width = W_hh.shape[1]
    rows = np.zeros((5, width), net.dtype)
    rows[0], rows[3, : len(b) - width] = b[:width], b[width:]
    w, y = aligned(np.concatenate([W_xh, W_hh, rows])), aligned(np.zeros(len(W_hh), net.dtype))
    names = {"step": _passes(problem, form).step, "x": aligned(problem.x), "w": w, "y": y}
    return Rival(form, "step(x, w, y)", names, lambda _: {"y": y})


def sequence(problem):
    x, (T, B, _) = aligned(problem.x), problem.x.shape
    h, a, kept, scratch = _memory(problem, T, B, kept=2 if problem.kind == "LSTM" else 1)
    arguments = h, a, kept, x, *_recurrent(problem.net), scratch

    def results(_):
        return sequence_results((h[1:], _state(problem, h, kept)))

    return [
        Rival(
            form, "run(*arguments)",
            {"run": _passes(problem, form).sequence, "arguments": arguments}, results,
        )
        for form in numba_kernels.FORMS
    ]


def training(problem):
    net, (T, B) = problem.net, problem.x.shape
    W_xh, W_hh, b = _recurrent(net)
    parameters = W_xh, W_hh, b, aligned(net.parameters["W_hy"]), aligned(net.parameters["b_y"])
    gradients = [aligned(np.empty_like(array)) for array in parameters]
    h, a, kept, scratch = _memory(problem, T, B, kept=T + (problem.kind == "LSTM"))
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


def _recurrent(net):
    """Return W_xh, W_hh, and b_h with what a GRU has beside it."""
    b = [net.parameters[name] for name in ("b_h_l0", "b_hn_l0") if name in net.parameters]
    W_xh, W_hh = net.parameters["W_xh_l0"], net.parameters["W_hh_l0"]
    return [aligned(array) for array in (W_xh, W_hh, np.concatenate(b))]


def _memory(problem, T, B, kept):
    """Return h, a, what is kept of so many steps, and scratch, as `numba_cells` wants them."""
    net = problem.net
    H, width = net.parameters["W_hh_l0"].shape
    h, a, kept, scratch = (
        aligned(np.zeros(shape, net.dtype))
        for shape in ((T + 1, B, H), (T, B, width), (kept, B, H), (B, width))
    )
    return h, h[1:] if problem.kind == "RNN" else a, kept, scratch


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
