"""Who is compared: how each package does each task.

A contender is an object with a function for each task that it can do, by the task's name, which
takes a `tasks.Problem` and returns a list of `Rival`, one for each form worth trying: the fastest
of a contender's forms is what counts. A further package is a module ``<name>_rival.py`` with such
functions and a ``VERSION``, and ``<name>`` in `PACKAGES`.
"""

import importlib
import os
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import crnn

# skipped if they cannot be imported
PACKAGES = ("numpy", "numba", "jax", "onnxruntime", "openvino", "tract", "torch")
FREE = ("onnxruntime", "openvino", "tract")  # they choose their instructions themselves


class Rival(NamedTuple):
    """One contender at one problem, in one form."""

    form: str  # which of its ways to do the task this is
    expression: str  # what is timed, on its own: a function around it would cost as much as a step
    names: dict  # what the expression refers to
    results: Callable  # results(value of the expression) -> dict of str to array_like
    setup: str = "pass"  # run before, not timed

    def run(self):
        """Evaluate the expression once and return copies of its results."""
        exec(self.setup, self.names)
        value = eval(self.expression, self.names)
        return {name: np.array(result) for name, result in self.results(value).items()}


class Direction(NamedTuple):
    """The parameters of a layer in one direction."""

    W_xh: np.ndarray
    W_hh: np.ndarray
    b_h: np.ndarray
    b_hn: np.ndarray | None  # of a GRU
    backwards: bool


class Gauge(NamedTuple):
    """Something that does nothing but compute, or nothing but read."""

    rival: Rival
    amount: float  # floating-point operations, or bytes, of one run


class Float32:
    """crnn as it is, beside its compressed self."""

    @staticmethod
    def compressed(problem):
        return Crnn("compiled").sequence(problem)


class Crnn:
    """crnn on one of its backends, on a number of threads."""

    def __init__(self, backend, threads=1):
        self._backend = backend
        self._threads = threads

    def _rival(self, expression, net, results, **names):
        net = _copied(net, self._backend)
        names |= {"net": net, "step": net.step}  # a step by a name of its own, as everybody's
        names |= {"set_num_threads": crnn.set_num_threads, "threads": self._threads}
        return [Rival("", expression, names, results, setup="set_num_threads(threads)")]

    def step(self, problem):
        y = np.empty(problem.net.hidden_size, problem.net.dtype)
        return self._rival("step(x, out=y)", problem.net, lambda y: {"y": y}, x=problem.x, y=y)

    def sequence(self, problem):
        net, options = problem.net, {"x": problem.x}
        expression, results = "net(x)", sequence_results
        if problem.lengths is not None:
            expression, options["lengths"] = "net(x, lengths=lengths)", problem.lengths
        if net.output_size is not None:
            expression = "net(x, last=True)"
        return self._rival(expression, net, results, **options)

    def training(self, problem):
        return self._rival(
            "net.loss_and_gradients(x, targets, wants_x=False)", problem.net,
            self._training_results, x=problem.x, targets=problem.targets,
        )

    def compressed(self, problem):
        """On the reference, which is what the others are compared with, as it is."""
        if self._backend == "reference":
            return self.sequence(problem)
        (rival,) = self.sequence(problem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it does not pay for small ones
            rival.names["net"] = rival.names["net"].compress(problem.settings)
        return [rival]

    def streams(self, problem):
        number, chosen = problem.settings
        (rival,) = self._rival(
            "step_many(some, x, y)", problem.net, lambda y: {"y": y}, x=problem.x,
            y=np.empty((len(chosen), problem.net.hidden_size), problem.net.dtype),
            step_many=crnn.step_many,
        )
        streams = [rival.names["net"].stream() for _ in range(number)]
        rival.names["some"] = [streams[each] for each in chosen]
        return [rival]

    def writing(self, problem):
        vocabulary, length, temperature = problem.settings
        return self._rival(
            "write(net, vocabulary, length, temperature=temperature, seed=0)", problem.net,
            lambda text: {"symbols": vocabulary.encode(text)}, write=crnn.text.sample,
            vocabulary=vocabulary, length=length, temperature=temperature,
        )

    def fit(self, problem):
        settings = problem.settings
        options = {"loss": settings.loss, "truncation": settings.truncation,
                   "clip_norm": settings.clip, "epochs": 1}
        batches = zip(problem.x, problem.targets, settings.lengths, strict=True)
        data = [batch if batch[2] is not None else batch[:2] for batch in batches]
        return self._rival(
            "fit(net, data, optimizer, **options)", problem.net,
            lambda history: {"loss": history["loss"]}, fit=crnn.fit, options=options,
            data=data,
            optimizer=crnn.Adam(settings.lr),
        )

    @staticmethod
    def _training_results(value):
        loss, gradients, state = value
        return {"loss": loss, **state_results(state), **gradients.parameters}


def _copied(net, backend):
    copy = type(net)(
        net.input_size, net.hidden_size, net.output_size, num_layers=net.num_layers,
        bidirectional=net.bidirectional, dtype=net.dtype, backend=backend,
    )
    copy.vector = net.vector
    return copy


def layers(net):
    """Return for each layer of a network its one or two `Direction`."""
    def direction(place, backwards):
        names = (f"{name}_{place}" for name in ("W_xh", "W_hh", "b_h", "b_hn"))
        return Direction(*map(net.parameters.get, names), backwards)

    return [
        [direction(f"l{layer}", False), direction(f"l{layer}_reverse", True)]
        [: 1 + net.bidirectional]
        for layer in range(net.num_layers)
    ]


def sequence_results(value):
    """Return the results of a task "sequence" by name, from outputs and last state."""
    y, state = value
    return {"y": y, **state_results(state)}


def state_results(state):
    """Return the results that are a state, h or of an LSTM (h, c), by name."""
    arrays = state if isinstance(state, tuple) else (state,)
    return dict(zip(("h", "c"), arrays, strict=False))


def threads():
    """Return the number of threads that this process was started for."""
    return int(os.environ.get("OMP_NUM_THREADS", 1))


def find():
    """Return the packages that are there by name, and why others are missing.

    Returns
    -------
    packages : dict of str to object
    missing : dict of str to str
    """
    packages, missing = {}, {}
    for name in PACKAGES:
        if os.environ.get("CRNN_ISA") and name in FREE:
            missing[name] = "it cannot be held to an instruction set"
            continue
        try:
            packages[name] = importlib.import_module(f"{name}_rival")
        except ImportError as error:
            missing[name] = str(error)
    return packages, missing


def enter(contenders, task, *arguments):
    """Return the forms of every contender that can do the task, by its name."""
    entered = {
        name: getattr(contender, task)(*arguments)
        for name, contender in contenders.items()
        if hasattr(contender, task)
    }
    return {name: forms for name, forms in entered.items() if forms}
