"""JAX: jit around a scan over time, autodiff or a backward pass written out for training."""

import functools
import os

import jax
import jax.numpy as jnp
from rivals import PARAMETERS, Rival, sequence_results, threads

VERSION = jax.__version__
UNROLLED = (1, 8)  # time steps of a scan in one turn of its loop

# Both are read when the first array is made.
os.environ["NPROC"] = str(threads())
os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads() > 1).lower()}"
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)  # float64 where it is asked for; float32 stays
jax.config.update("jax_cpu_enable_async_dispatch", False)  # handing work over takes time


def step(problem):
    W_xh, W_hh, b_h = _arrays(problem.net)[:3]

    def next_state(h, x, W_xh, W_hh, b_h):
        return jnp.tanh(x @ W_xh + h @ W_hh + b_h)

    with_constants = jax.jit(lambda h, x: next_state(h, x, W_xh, W_hh, b_h), donate_argnums=0)
    with_arguments = jax.jit(next_state, donate_argnums=0)
    return [
        _step("weights as constants", problem, with_constants),
        _step("weights as arguments", problem, with_arguments, W_xh, W_hh, b_h),
    ]


def _step(form, problem, function, *weights):
    x = jnp.asarray(problem.x)
    h = jnp.zeros(problem.net.hidden_size, x.dtype)

    def step(x):
        nonlocal h
        h = function(h, x, *weights)
        return h.block_until_ready()

    return Rival(form, "step(x)", {"step": step, "x": x}, lambda h: {"y": h})


def sequence(problem):
    x, weights = jnp.asarray(problem.x), _arrays(problem.net)[:3]
    h0 = jnp.zeros((x.shape[1], problem.net.hidden_size), x.dtype)

    def form(unroll):
        @jax.jit
        def run(x, h0, W_xh, W_hh, b_h):
            h = _recurrence(x @ W_xh + b_h, h0, W_hh, unroll)
            return h, h[-1:]

        names = {"run": run, "wait": jax.block_until_ready, "arguments": (x, h0, *weights)}
        return Rival(f"unroll={unroll}", "wait(run(*arguments))", names, sequence_results)

    return [form(unroll) for unroll in UNROLLED]


def training(problem):
    x, targets = jnp.asarray(problem.x), jnp.asarray(problem.targets)
    parameters = _arrays(problem.net)
    h0 = jnp.zeros((x.shape[1], problem.net.hidden_size), parameters[0].dtype)

    def results(value):
        (loss, state), gradients = value
        return {"loss": loss, "state": state, **dict(zip(PARAMETERS, gradients, strict=True))}

    def form(name, function, unroll):
        names = {
            "train": jax.jit(functools.partial(function, unroll=unroll)),
            "arguments": (parameters, x, targets, h0), "wait": jax.block_until_ready,
        }
        return Rival(f"{name}, unroll={unroll}", "wait(train(*arguments))", names, results)

    autodiff = jax.value_and_grad(_loss, has_aux=True)
    return [
        form("autodiff", autodiff, 1),
        *(form("written out", _written_out, unroll) for unroll in UNROLLED),
    ]


def _arrays(net):
    return [jnp.asarray(net.parameters[name]) for name in PARAMETERS if name in net.parameters]


def _recurrence(a, h0, W_hh, unroll):
    """Return hidden states (T, B, H), from what inputs give to them."""

    def step(h, a):
        h = jnp.tanh(a + h @ W_hh)
        return h, h

    return jax.lax.scan(step, h0, a, unroll=unroll)[1]


def _loss(parameters, x, targets, h0, unroll):
    W_xh, W_hh, b_h, W_hy, b_y = parameters
    h = _recurrence(W_xh[x] + b_h, h0, W_hh, unroll)
    log_p = jax.nn.log_softmax(h @ W_hy + b_y)
    return -jnp.take_along_axis(log_p, targets[..., None], axis=2).mean(), h[-1:]


def _written_out(parameters, x, targets, h0, unroll):
    """Return what autodiff does; the weights' gradients are one product over all time steps."""
    W_xh, W_hh, b_h, W_hy, b_y = parameters
    h = _recurrence(W_xh[x] + b_h, h0, W_hh, unroll)
    log_p = jax.nn.log_softmax(h @ W_hy + b_y)
    at_target = jax.nn.one_hot(targets, len(b_y), dtype=h.dtype)
    dy = (jnp.exp(log_p) - at_target) / targets.size

    def step_back(dh, each):
        dh_now, h = each
        da = (dh_now + dh) * (1 - h * h)
        return da @ W_hh.T, da

    _, da = jax.lax.scan(step_back, h0 * 0, (dy @ W_hy.T, h), reverse=True, unroll=unroll)
    before = jnp.concatenate([h0[None], h[:-1]])
    gradients = (
        jnp.zeros_like(W_xh).at[x].add(da), _outer(before, da), da.sum((0, 1)),
        _outer(h, dy), dy.sum((0, 1)),
    )
    return (-(log_p * at_target).sum() / targets.size, h[-1:]), gradients


def _outer(a, b):
    return jnp.einsum("tbi,tbj->ij", a, b)
