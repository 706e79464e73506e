"""A whole training in JAX: one compiled function an update, with clipping and Adam in it."""

import functools

import jax
import jax.numpy as jnp
from fits import epoch_of
from jax_cells import recurrence_written_out
from rivals import Rival

BETAS, EPSILON = (0.9, 0.999), 1e-8
UNROLL = 8


def epochs(problem, parameters, states):
    """Return the rival whose call is an epoch."""
    kind, settings = problem.kind, problem.settings
    # what is given away must not be the network's own
    parameters = jax.tree.map(jnp.array, parameters)
    moments = [jax.tree.map(jnp.zeros_like, parameters) for _ in BETAS]
    # as a whole number t would make float64 of all parameters
    training = parameters, *moments, jnp.zeros((), problem.net.dtype)

    def loss(parameters, x, targets, lengths, state):
        stack, readout = parameters
        scan = functools.partial(recurrence_written_out, unroll=UNROLL)
        h, last = states(scan, kind, x, stack, state)
        if targets.ndim == 1:  # one for each sequence
            h = h[lengths - 1, jnp.arange(len(lengths))]
        y = h @ readout["W_hy"] + readout["b_y"]
        if settings.loss == "softmax":
            log_p = jax.nn.log_softmax(y)
            return -jnp.take_along_axis(log_p, targets[..., None], axis=-1).mean(), last
        valid = (jnp.arange(len(y))[:, None] < lengths)[..., None]
        each = jnp.where(valid, jax.nn.softplus(y) - targets * y, 0)
        return each.sum() / (lengths.sum() * y.shape[-1]), last

    @functools.partial(jax.jit, donate_argnums=0)
    def updated(training, *arguments):
        parameters, m, v, t = training
        (value, last), g = jax.value_and_grad(loss, has_aux=True)(parameters, *arguments)
        norm = jnp.sqrt(sum((each * each).sum() for each in jax.tree.leaves(g)))
        g = jax.tree.map(lambda g: g * jnp.minimum(1, settings.clip / norm), g)
        t = t + 1
        m, v = (jax.tree.map(lambda m, g, beta=beta, power=power: beta * m + (1 - beta) * g**power,
                             moments, g)
                for moments, beta, power in zip((m, v), BETAS, (1, 2), strict=True))
        first, second = (1 - beta**t for beta in BETAS)
        parameters = jax.tree.map(
            lambda w, m, v: w - settings.lr * (m / first) / (jnp.sqrt(v / second) + EPSILON),
            parameters, m, v)
        return (parameters, m, v, t), value, last

    def update(*arguments):
        nonlocal training
        training, value, last = updated(training, *arguments)
        if not settings.truncation:
            return value, None
        parts = last if isinstance(last, tuple) else (last,)
        return value, list(zip(*parts, strict=True))

    epoch = epoch_of(problem, jnp.asarray, update)
    return Rival("scan", "epoch()", {"epoch": epoch}, lambda value: {"loss": [value]})
