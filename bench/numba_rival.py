"""Numba on the passes of ``numba_kernels.py``, each called with memory made before."""

import llvmlite.binding
import numba
import numpy as np
from rivals import PARAMETERS, Gauge, Rival, sequence_results

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
    names = "W_xh_l0", "W_hh_l0", "b_h_l0"
    rows = [net.parameters[name].reshape(-1, net.hidden_size) for name in names]
    w = aligned(np.concatenate([*rows, np.zeros((2, net.hidden_size), net.dtype)]))
    y = aligned(np.zeros(net.hidden_size, net.dtype))
    step = numba_kernels.passes(net.dtype.name, form).step
    names = {"step": step, "x": aligned(problem.x), "w": w, "y": y}
    return Rival(form, "step(x, w, y)", names, lambda _: {"y": y})


def sequence(problem):
    x, net = aligned(problem.x), problem.net
    T, B, _ = x.shape
    h0, scratch = (aligned(np.zeros((B, net.hidden_size), net.dtype)) for _ in range(2))
    h = aligned(np.zeros((T, B, net.hidden_size), net.dtype))
    arguments = h, x, h0, *_arrays(net)[:3], scratch
    return [
        Rival(
            form, "run(*arguments)",
            {"run": numba_kernels.passes(net.dtype.name, form).sequence, "arguments": arguments},
            lambda _: sequence_results((h, h[-1:])),
        )
        for form in numba_kernels.FORMS
    ]


def training(problem):
    net, (T, B) = problem.net, problem.x.shape
    H, V = net.hidden_size, net.output_size
    parameters = _arrays(net)
    gradients = [aligned(np.empty_like(array)) for array in parameters]
    h, da, y, scratch = (
        aligned(np.zeros(shape, net.dtype))
        for shape in ((T + 1, B, H), (T, B, H), (T * B, V), (B, H))
    )
    arguments = problem.x, problem.targets, *parameters, *gradients, h, da, y, scratch

    def results(loss):
        return {"loss": loss, "state": h[-1:], **dict(zip(PARAMETERS, gradients, strict=True))}

    return [
        Rival(
            form, "run(*arguments)",
            {"run": numba_kernels.passes(net.dtype.name, form).training, "arguments": arguments},
            results,
        )
        for form in numba_kernels.FORMS
    ]


def _arrays(net):
    return [aligned(net.parameters[name]) for name in PARAMETERS if name in net.parameters]


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
