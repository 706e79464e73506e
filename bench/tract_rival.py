"""tract on the graphs of ``onnx_graphs.py``: it takes arrays and gives new ones."""

import tempfile
from pathlib import Path

import numpy as np
import tract
from onnx_graphs import sequence_model, step_model, step_models, streams_rival
from rivals import Rival, sequence_results, threads

VERSION = tract.version()


def step(problem):
    if problem.net.dtype != np.float32 or threads() > 1:
        return []
    models = step_models(problem.net)
    return [_step(name, _runnable(model), problem) for name, model in models.items()]


def _step(name, runnable, problem):
    of_products, H = "products" in name, problem.net.hidden_size
    shape = (1, -1) if of_products else (1, 1, -1)
    x, run = problem.x.reshape(shape), runnable.run
    state = [np.zeros((1, H) if of_products else (1, 1, H), np.float32)]
    state *= runnable.input_count() - 1

    def step(x):
        nonlocal state
        state = run([x, *state])
        return state

    return Rival(name, "step(x)", {"step": step, "x": x},
                 lambda state: {"y": state[0].to_numpy().reshape(-1)})


def sequence(problem):
    """Of sequences of one length, in one direction."""
    simple = problem.lengths is None and not problem.net.bidirectional
    if problem.net.dtype != np.float32 or threads() > 1 or not simple:
        return []

    def results(value):
        *state, y = (each.to_numpy() for each in value)
        return sequence_results((y, tuple(state)))

    names = {"run": _runnable(sequence_model(problem)).run, "x": problem.x}
    return [Rival("run", "run([x])", names, results)]


def streams(problem):
    if problem.net.dtype != np.float32 or threads() > 1:
        return []
    runnable, shape = _runnable(step_model(problem.net, len(problem.x))), (1, *problem.x.shape)
    states = [np.zeros((*shape[:2], problem.net.hidden_size), np.float32)
              for _ in range(runnable.input_count() - 1)]
    x = problem.x.reshape(shape)
    return [streams_rival(problem, "run", states,
                          lambda: [each.to_numpy() for each in runnable.run([x, *states])])]


def _runnable(model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(model)
        return tract.onnx().load(path).into_model().into_runnable()
