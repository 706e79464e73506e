"""The names of the two backends, and the modules behind them."""

import functools
import importlib
import os
import platform

import numpy as np

from crnn import reference
from crnn._version import __version__

BACKENDS = ("compiled", "reference")
C_TYPES = {np.dtype("float32"): "float", np.dtype("float64"): "double"}  # ends of builds' names

try:
    from crnn.kernels import cpu
except ImportError as error:  # pragma: no cover - needs a checkout without compiled modules
    raise ImportError(
        "crnn's compiled kernels are not here. In a checkout, build them with 'pip install .' or"
        " 'pip install -e .'; otherwise install crnn again."
    ) from error


@functools.cache
def instruction_set():
    """Return the name of the fastest builds of the kernels that this processor can run.

    CRNN_ISA names lower ones.
    """
    available = cpu.instruction_sets()
    name = os.environ.get("CRNN_ISA") or available[0]
    if name not in available:
        raise ValueError(f"CRNN_ISA is {name!r}; this processor can run {', '.join(available)}")
    return name


@functools.cache
def kernels(backend, dtype):
    """Return the module of one backend for one dtype: a build of the kernels, or the reference."""
    if backend == "reference":
        return reference
    return importlib.import_module(f"crnn.kernels.{instruction_set()}_{C_TYPES[np.dtype(dtype)]}")


def choose_backend(backend):
    """Return the backend's name: the argument, or CRNN_BACKEND, or ``"compiled"``."""
    chosen = backend if backend is not None else os.environ.get("CRNN_BACKEND") or "compiled"
    if not isinstance(chosen, str):
        raise TypeError(f"backend is {chosen!r}; a string is wanted")
    if chosen not in BACKENDS:
        origin = "backend" if backend is not None else "the environment variable CRNN_BACKEND"
        raise ValueError(f"{origin} is {chosen!r}; it can be 'compiled' or 'reference'")
    return chosen


def build_info():
    """Say what this copy of crnn is and what it runs on.

    Returns
    -------
    dict of str to str
        ``version``, ``compiler`` (that built the kernels), ``instruction_set`` (in use),
        ``available`` (instruction sets that this processor can run), ``python``, ``numpy``,
        ``machine``.

    Examples
    --------
    >>> import crnn
    >>> crnn.build_info()["version"] == crnn.__version__
    True
    """
    return {
        "version": __version__,
        "compiler": cpu.compiler(),
        "instruction_set": instruction_set(),
        "available": ", ".join(cpu.instruction_sets()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
