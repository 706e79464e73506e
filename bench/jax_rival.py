"""JAX: jit around scans over time, for training with a way back by autodiff or written out."""

import functools
import os

import jax
import jax.numpy as jnp
from jax_cells import FORWARD, recurrence, recurrence_written_out
from jax_fit import epochs
from rivals import Rival, layers, sequence_results, state_results, threads

VERSION = jax.__version__
UNROLLED = (1, 8)  # time steps of a scan in one turn of its loop

# Both are read when the first array is made.
os.environ["NPROC"] = str(threads())
os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "")
                           + f" --xla_cpu_multi_thread_eigen={str(threads() > 1).lower()}")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)  # float64 where it is asked for; float32 stays
jax.config.update("jax_cpu_enable_async_dispatch", False)  # handing work over takes time


def step(problem):
    forward, weights = FORWARD[problem.kind], _arrays(problem.net)

    def next_state(state, x, p):
        a, q = x @ p["W_xh_l0"] + p["b_h_l0"], state[0] @ p["W_hh_l0"]
        return forward(a, q, state, p.get("b_hn_l0"))[0]

    with_constants = jax.jit(lambda state, x: next_state(state, x, weights), donate_argnums=0)
    with_arguments = jax.jit(next_state, donate_argnums=0)
    return [
        _step("weights as constants", problem, with_constants),
        _step("weights as arguments", problem, with_arguments, weights),
    ]


def _step(form, problem, function, *weights):
    x = jnp.asarray(problem.x)
    state = _zeros(problem.kind, problem.net.hidden_size, dtype=x.dtype)

    def step(x):
        nonlocal state
        state = function(state, x, *weights)
        return state[0].block_until_ready()

    return Rival(form, "step(x)", {"step": step, "x": x}, lambda h: {"y": h})


def sequence(problem):
    net, arguments = problem.net, (jnp.asarray(problem.x), _stack(problem.net))
    readout = _readout(net)
    valid = None
    if problem.lengths is not None:
        valid = jnp.arange(len(problem.x))[:, None] < jnp.asarray(problem.lengths)

    def form(unroll):
        @jax.jit
        def run(x, stack, readout):
            scan = functools.partial(recurrence, unroll=unroll, valid=valid)
            h, last = _states(scan, problem.kind, x, stack)
            if readout is not None:
                return h[-1] @ readout["W_hy"] + readout["b_y"], last
            return h if valid is None else jnp.where(valid[..., None], h, 0), last

        names = {"run": run, "wait": jax.block_until_ready, "arguments": (*arguments, readout)}
        return Rival(f"unroll={unroll}", "wait(run(*arguments))", names, sequence_results)

    return [form(unroll) for unroll in UNROLLED]


def training(problem):
    x, targets = jnp.asarray(problem.x), jnp.asarray(problem.targets)
    parameters = _stack(problem.net), _readout(problem.net)

    def results(value):
        (loss, state), (stack, readout) = value
        return {"loss": loss, **state_results(state), **_named(stack), **readout}

    def form(name, scan, unroll):
        def loss(parameters, x, targets):
            stack, readout = parameters
            h, last = _states(functools.partial(scan, unroll=unroll), problem.kind, x, stack)
            log_p = jax.nn.log_softmax(h @ readout["W_hy"] + readout["b_y"])
            return -jnp.take_along_axis(log_p, targets[..., None], axis=2).mean(), last

        names = {
            "train": jax.jit(jax.value_and_grad(loss, has_aux=True)),
            "arguments": (parameters, x, targets), "wait": jax.block_until_ready,
        }
        return Rival(f"{name}, unroll={unroll}", "wait(train(*arguments))", names, results)

    return [
        form("autodiff", recurrence, 1),
        *(form("written out", recurrence_written_out, unroll) for unroll in UNROLLED),
    ]


def fit(problem):
    """An update is one function; the state of Adam and all parameters are given to it for good."""
    return [epochs(problem, (_stack(problem.net), _readout(problem.net)), _states)]


def _arrays(net):
    return {name: jnp.asarray(array) for name, array in net.parameters.items()}


def _zeros(kind, *shape, dtype):
    """Return the initial state: arrays of their own, so that each can be given away."""
    return tuple(jnp.zeros(shape, dtype) for _ in range(2 if kind == "LSTM" else 1))


def _stack(net):
    """Return for each layer the parameters of its one or two directions, by name."""
    return [
        [{name: jnp.asarray(array) for name, array in zip(direction._fields[:4], direction[:4],
                                                          strict=True) if array is not None}
         for direction in layer]
        for layer in layers(net)
    ]


def _readout(net):
    if net.output_size is None:
        return None
    return {name: jnp.asarray(net.parameters[name]) for name in ("W_hy", "b_y")}


def _named(stack):
    """Return the arrays of a `_stack` as crnn names them."""
    return {
        f"{name}_l{number}{'_reverse' * backwards}": array
        for number, layer in enumerate(stack)
        for backwards, direction in enumerate(layer)
        for name, array in direction.items()
    }


def _states(scan, kind, x, stack, before=None):
    """Return h (T, B, D H) of the last layer, and the last state of all, as crnn has it.

    Before the first step it is zero, or a list with a tuple for each layer in each direction.
    """
    last = []
    for layer in stack:
        outputs = []
        for backwards, p in enumerate(layer):
            # tokens pick rows
            a = (p["W_xh"][x] if x.ndim == 2 else x @ p["W_xh"]) + p["b_h"]
            state = before and before[len(last)]
            if not state:
                state = _zeros(kind, a.shape[1], len(p["W_hh"]), dtype=a.dtype)
            h, state = scan(kind, a, state, p["W_hh"], p.get("b_hn"), backwards=bool(backwards))
            outputs.append(h)
            last.append(state)
        x = jnp.concatenate(outputs, 2) if len(outputs) > 1 else outputs[0]
    parts = tuple(map(jnp.stack, zip(*last, strict=True)))
    return x, parts if len(parts) > 1 else parts[0]
