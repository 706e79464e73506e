"""ONNX Runtime on the graphs of ``onnx_graphs.py``, in plain runs or with memory bound to it."""

import itertools
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnx_graphs import sequence_model, step_model, step_models, streams_rival
from rivals import Rival, sequence_results, threads

VERSION = onnxruntime.__version__


def step(problem):
    if problem.net.dtype != np.float32:  # the operators know no other
        return []
    sessions = {name: _session(model) for name, model in step_models(problem.net).items()}
    return [
        rival
        for name, session in sessions.items()
        for rival in (_step_run(name, session, problem.x), _step_bound(name, session, problem.x))
    ]


def sequence(problem):
    if problem.net.dtype != np.float32:
        return []
    return _sequence(problem, _session(sequence_model(problem)))


def streams(problem):
    if problem.net.dtype != np.float32:
        return []
    session = _session(step_model(problem.net, len(problem.x)))
    states = {each.name: np.zeros(each.shape, np.float32) for each in session.get_inputs()[1:]}
    last = {f"{name}_last": np.zeros_like(array) for name, array in states.items()}
    binding = _bound(session, {"x": problem.x, **states}, last)

    def run():
        session.run_with_iobinding(binding)
        return [*last.values()]

    return [streams_rival(problem, "run_with_iobinding", [*states.values()], run)]


def compressed(problem):
    """In int8, with activations quantized as they come; it knows LSTMs alone."""
    if problem.settings != "int8" or problem.kind != "LSTM":
        return []
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it wants the graph to be preprocessed
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder, "plain.onnx"), Path(folder, "quantized.onnx")
        plain.write_bytes(sequence_model(problem))
        quantize_dynamic(plain, quantized, op_types_to_quantize=["LSTM"], per_channel=True)
        return _sequence(problem, _session(quantized.read_bytes()))


def _sequence(problem, session):
    inputs = {"x": problem.x}
    if problem.lengths is not None:
        inputs["lengths"] = problem.lengths.astype(np.int32)
    outputs = {each.name: np.empty(each.shape, np.float32) for each in session.get_outputs()}

    def results(value):
        *state, y = value
        return sequence_results((y, tuple(state)))

    run = Rival("run", "run(None, inputs)", {"run": session.run, "inputs": inputs}, results)
    bound = Rival(
        "run_with_iobinding", "run(binding)",
        {"run": session.run_with_iobinding, "binding": _bound(session, inputs, outputs)},
        lambda _: results(outputs.values()),
    )
    return [run, bound]


def _step_run(name, session, x):
    x_input, *state_inputs = session.get_inputs()
    inputs = {"x": x.reshape(x_input.shape)}
    inputs |= {each.name: np.zeros(each.shape, x.dtype) for each in state_inputs}
    names = [each.name for each in state_inputs]

    if len(names) == 1:
        def step(x):
            (inputs["h"],) = state = session.run(None, inputs)
            return state
    else:
        def step(x):
            inputs["h"], inputs["c"] = state = session.run(None, inputs)
            return state

    return Rival(f"{name}, run", "step(x)", {"step": step, "x": inputs["x"]}, _step_results)


def _step_bound(name, session, x):
    """The state goes to and fro between two arrays, each bound as input and as output."""
    shapes = {each.name: each.shape for each in session.get_inputs()[1:]}
    here, there = (
        {each: np.zeros(shape, np.float32) for each, shape in shapes.items()} for _ in range(2)
    )
    turns = itertools.cycle([
        (_bound(session, {"x": x, **a}, {f"{each}_last": b[each] for each in b}), [*b.values()])
        for a, b in ((here, there), (there, here))  # a binding does not keep its arrays
    ])
    run = session.run_with_iobinding

    def step():
        binding, state = next(turns)
        run(binding)
        return state

    return Rival(f"{name}, run_with_iobinding", "step()", {"step": step}, _step_results)


def _step_results(state):
    return {"y": state[0].reshape(-1)}


def _session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _bound(session, inputs, outputs):
    """Return a binding of a session's inputs and outputs to arrays, which must stay."""
    binding = session.io_binding()
    shapes = {each.name: each.shape for each in session.get_inputs()}
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, shapes[name], array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return binding
