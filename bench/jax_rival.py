"""JAX: jit around a scan over time, autodiff or a backward pass written out for training."""

import functools
import os

import jax
import jax.numpy as jnp
from jax_cells import BACKWARD, FORWARD
from rivals import Rival, sequence_results, state_results, threads

VERSION = jax.__version__
UNROLLED = (1, 8)  # time steps of a scan in one turn of its loop

# Both are read when the first array is made.
os.environ["NPROC"] = str(threads())
os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads() > 1).lower()}"
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
    x, weights, kind = jnp.asarray(problem.x), _arrays(problem.net), problem.kind
    state = _zeros(kind, x.shape[1], problem.net.hidden_size, dtype=x.dtype)

    def form(unroll):
        @jax.jit
        def run(x, state, p):
            h, last = _recurrence(kind, x @ p["W_xh_l0"] + p["b_h_l0"], state, p, unroll)
            return h, _public(last)

        names = {"run": run, "wait": jax.block_until_ready, "arguments": (x, state, weights)}
        return Rival(f"unroll={unroll}", "wait(run(*arguments))", names, sequence_results)

    return [form(unroll) for unroll in UNROLLED]


def training(problem):
    x, targets = jnp.asarray(problem.x), jnp.asarray(problem.targets)
    parameters = _arrays(problem.net)
    dtype = parameters["b_y"].dtype
    state = _zeros(problem.kind, x.shape[1], problem.net.hidden_size, dtype=dtype)

    def results(value):
        (loss, state), gradients = value
        return {"loss": loss, **state_results(state), **gradients}

    def form(name, function, unroll):
        names = {
            "train": jax.jit(functools.partial(function, kind=problem.kind, unroll=unroll)),
            "arguments": (parameters, x, targets, state), "wait": jax.block_until_ready,
        }
        return Rival(f"{name}, unroll={unroll}", "wait(train(*arguments))", names, results)

    autodiff = jax.value_and_grad(_loss, has_aux=True)
    return [
        form("autodiff", autodiff, 1),
        *(form("written out", _written_out, unroll) for unroll in UNROLLED),
    ]


def _arrays(net):
    return {name: jnp.asarray(array) for name, array in net.parameters.items()}


def _zeros(kind, *shape, dtype):
    """Return the initial state: arrays of their own, so that each can be given away."""
    return tuple(jnp.zeros(shape, dtype) for _ in range(2 if kind == "LSTM" else 1))


def _public(state):
    """Return a state as crnn does: with one layer, and not as a tuple of one."""
    state = tuple(each[None] for each in state)
    return state if len(state) > 1 else state[0]


def _recurrence(kind, a, state, p, unroll):
    """Return hidden states (T, B, H), from what inputs give to them, and the last state."""
    forward, W_hh, b_hn = FORWARD[kind], p["W_hh_l0"], p.get("b_hn_l0")

    def step(state, a):
        state, _ = forward(a, state[0] @ W_hh, state, b_hn)
        return state, state[0]

    last, h = jax.lax.scan(step, state, a, unroll=unroll)
    return h, last


def _loss(p, x, targets, state, kind, unroll):
    h, last = _recurrence(kind, p["W_xh_l0"][x] + p["b_h_l0"], state, p, unroll)
    log_p = jax.nn.log_softmax(h @ p["W_hy"] + p["b_y"])
    return -jnp.take_along_axis(log_p, targets[..., None], axis=2).mean(), _public(last)


def _written_out(p, x, targets, state, kind, unroll):
    """Return what autodiff does; the weights' gradients are one product over all time steps."""
    forward, backward, W_hh, b_hn = FORWARD[kind], BACKWARD[kind], p["W_hh_l0"], p.get("b_hn_l0")

    def step(before, a):
        after, kept = forward(a, before[0] @ W_hh, before, b_hn)
        return after, (kept, after)

    last, (kept, after) = jax.lax.scan(
        step, state, p["W_xh_l0"][x] + p["b_h_l0"], unroll=unroll
    )
    before = tuple(
        jnp.concatenate([first[None], each[:-1]])
        for first, each in zip(state, after, strict=True)
    )
    h = after[0]
    log_p = jax.nn.log_softmax(h @ p["W_hy"] + p["b_y"])
    at_target = jax.nn.one_hot(targets, len(p["b_y"]), dtype=h.dtype)
    dy = (jnp.exp(log_p) - at_target) / targets.size

    def step_back(dstate, each):
        dh_now, *tape = each
        da, dq, (dh, *dc) = backward((dstate[0] + dh_now, *dstate[1:]), *tape)
        return (dh + dq @ W_hh.T, *dc), (da, dq)

    _, (da, dq) = jax.lax.scan(
        step_back, tuple(each * 0 for each in state), (dy @ p["W_hy"].T, kept, before, after),
        reverse=True, unroll=unroll,
    )
    gradients = {
        "W_xh_l0": jnp.zeros_like(p["W_xh_l0"]).at[x].add(da), "b_h_l0": da.sum((0, 1)),
        "W_hh_l0": _outer(before[0], dq), "W_hy": _outer(h, dy), "b_y": dy.sum((0, 1)),
    }
    if b_hn is not None:
        gradients["b_hn_l0"] = dq[..., -len(b_hn) :].sum((0, 1))
    return (-(log_p * at_target).sum() / targets.size, _public(last)), gradients


def _outer(a, b):
    return jnp.einsum("tbi,tbj->ij", a, b)
