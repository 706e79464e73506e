"""OpenVINO on the graphs of ``onnx_graphs.py``, in float32 and for latency."""

import numpy as np
import openvino
from onnx_graphs import sequence_model, step_model, step_models, streams_rival
from rivals import Rival, sequence_results, threads

VERSION = openvino.__version__.partition("-")[0]
SETTINGS = {
    "INFERENCE_NUM_THREADS": threads(), "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
}
core = openvino.Core()


def step(problem):
    if problem.net.dtype != np.float32:
        return []
    return [_step(name, _request(model), problem.x)
            for name, model in step_models(problem.net).items()]


def _step(name, request, x):
    """A request keeps its inputs and outputs; the state is copied from these to those."""
    x_in, *states = (request.get_tensor(each).data for each in request.model_inputs)
    last = [request.get_tensor(each).data for each in request.model_outputs]
    for state in states:
        state[:] = 0
    x, infer = x.reshape(x_in.shape), request.infer

    def step(x):
        x_in[:] = x
        infer()
        for state, now in zip(states, last, strict=True):
            state[:] = now
        return last[0]

    return Rival(name, "step(x)", {"step": step, "x": x}, lambda h: {"y": h.reshape(-1)})


def sequence(problem):
    if problem.net.dtype != np.float32:
        return []
    return _sequence(problem, _request(sequence_model(problem)))


def streams(problem):
    if problem.net.dtype != np.float32:
        return []
    request = _request(step_model(problem.net, len(problem.x)))
    x, *states = (request.get_tensor(each).data for each in request.model_inputs)
    last = [request.get_tensor(each).data for each in request.model_outputs]
    x[0] = problem.x

    def run():
        request.infer()
        return last

    return [streams_rival(problem, "infer", states, run)]


def compressed(problem):
    if problem.settings != "bf16":
        return []
    return _sequence(problem, _request(sequence_model(problem), "bf16"))


def _sequence(problem, request):
    inputs = {"x": problem.x}
    if problem.lengths is not None:
        inputs["lengths"] = problem.lengths.astype(np.int32)
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    outputs = [request.get_tensor(each).data for each in request.model_outputs]

    def results(_):
        *state, y = outputs
        return sequence_results((y, tuple(state)))

    return [Rival("infer", "infer()", {"infer": request.infer, "kept": inputs}, results)]


def _request(model, precision="f32"):
    settings = SETTINGS | {"INFERENCE_PRECISION_HINT": precision}
    return core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
