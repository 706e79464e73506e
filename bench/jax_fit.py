"""A whole training in JAX: one compiled function an update, with clipping and Adam in it."""

import functools

import jax
import jax.numpy as jnp
from jax_cells import recurrence_written_out
from rivals import Rival

BETAS, EPSILON = (0.9, 0.999), 1e-8
UNROLL = 8


def epochs(problem, parameters, states):
    """Return the rival whose call is an epoch; its loss is the mean over all targets."""
    kind, settings = problem.kind, problem.settings
    # what is given away must not be the network's own
    parameters = jax.tree.map(jnp.array, parameters)
    moments = [jax.tree.map(jnp.zeros_like, parameters) for _ in BETAS]
    batches = [
        tuple(None if each is None else jnp.asarray(each) for each in batch)
        for batch in zip(problem.x, problem.targets, settings.lengths, strict=True)
    ]
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
    def update(training, *arguments):
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

    def epoch():
        nonlocal training
        total = numbers = 0
        for x, targets, lengths in batches:
            state, steps = None, settings.truncation or len(x)
            for start in range(0, len(x), steps):
                part = slice(start, start + steps)
                theirs = targets[part] if targets.ndim > 1 else targets
                training, value, last = update(training, x[part], theirs, lengths, state)
                number = len(theirs) if lengths is None or theirs.ndim == 1 else int(lengths.sum())
                total, numbers = total + float(value) * number, numbers + number
                if settings.truncation:
                    parts = last if isinstance(last, tuple) else (last,)
                    state = list(zip(*parts, strict=True))
        return total / numbers

    return Rival("scan", "epoch()", {"epoch": epoch}, lambda value: {"loss": [value]})
