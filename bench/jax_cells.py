"""The recurrent parts of networks in JAX: one step, forward and back, and all steps of a layer.

Matrix products are apart. For each kind ``forward(a, q, state, b_hn)`` turns what inputs give (b_h
in it), the product q = h @ W_hh and the state, a tuple, into the next state and what the way back
needs. ``backward`` of the gradients of a state, of what the way back needs, of the state before and
of the state returns the gradients of a, of q, and of the state before but for its part in q.
"""

import functools

import jax
import jax.numpy as jnp


def rnn(a, q, state, b_hn):
    return (jnp.tanh(a + q),), ()


def rnn_backward(dstate, kept, before, after):
    (dh,), (h,) = dstate, after
    da = dh * (1 - h * h)
    return da, da, (jnp.zeros_like(h),)


def gru(a, q, state, b_hn):
    (h,), H = state, len(b_hn)
    r, z = jnp.split(jax.nn.sigmoid(a[..., : 2 * H] + q[..., : 2 * H]), 2, axis=-1)
    q_n = q[..., 2 * H :] + b_hn
    n = jnp.tanh(a[..., 2 * H :] + r * q_n)
    return (n + z * (h - n),), (r, z, n, q_n)


def gru_backward(dstate, kept, before, after):
    (dh,), (r, z, n, q_n), (h,) = dstate, kept, before
    dn = dh * (1 - z) * (1 - n * n)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * q_n * r * (1 - r)
    da, dq = jnp.concatenate([dr, dz, dn], -1), jnp.concatenate([dr, dz, dn * r], -1)
    return da, dq, (dh * z,)


def lstm(a, q, state, b_hn):
    _, c = state
    i, f, g, o = jnp.split(a + q, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * c + i * g
    tanh_c = jnp.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, tanh_c)


def lstm_backward(dstate, kept, before, after):
    (dh, dc), (i, f, g, o, tanh_c), (_, c) = dstate, kept, before
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    do = dh * tanh_c * o * (1 - o)
    da = jnp.concatenate(
        [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), do], -1
    )
    return da, da, (jnp.zeros_like(dh), dc * f)


FORWARD = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
BACKWARD = {"RNN": rnn_backward, "GRU": gru_backward, "LSTM": lstm_backward}


def recurrence(kind, a, state, W_hh, b_hn, unroll, valid=None, backwards=False):
    """Return hidden states (T, B, H), from what inputs give to them, and the last state.

    Where a step is not ``valid``, (T, B), the state stays what it is.
    """
    forward = FORWARD[kind]

    def step(state, inputs):
        a, valid = inputs
        after, _ = forward(a, state[0] @ W_hh, state, b_hn)
        if valid is not None:
            pairs = zip(after, state, strict=True)
            after = tuple(jnp.where(valid[:, None], *pair) for pair in pairs)
        return after, after[0]

    last, h = jax.lax.scan(step, state, (a, valid), reverse=backwards, unroll=unroll)
    return h, last


def recurrence_written_out(kind, a, state, W_hh, b_hn, unroll, backwards=False):
    """Return the same; on the way back the weights' gradients are one product over all steps."""
    if backwards:
        h, last = _written_out(kind, unroll, a[::-1], state, W_hh, b_hn)
        return h[::-1], last
    return _written_out(kind, unroll, a, state, W_hh, b_hn)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _written_out(kind, unroll, a, state, W_hh, b_hn):
    return recurrence(kind, a, state, W_hh, b_hn, unroll)


def _forward(kind, unroll, a, state, W_hh, b_hn):
    def step(state, a):
        after, kept = FORWARD[kind](a, state[0] @ W_hh, state, b_hn)
        return after, (state, kept, after)

    last, (before, kept, after) = jax.lax.scan(step, state, a, unroll=unroll)
    return (after[0], last), (before, kept, after, W_hh, b_hn)


def _backward(kind, unroll, saved, cotangents):
    before, kept, after, W_hh, b_hn = saved
    dh, dlast = cotangents

    def step(dstate, inputs):
        dh, kept, before, after = inputs
        da, dq, dbefore = BACKWARD[kind]((dstate[0] + dh, *dstate[1:]), kept, before, after)
        return (dbefore[0] + dq @ W_hh.T, *dbefore[1:]), (da, dq)

    dstate, (da, dq) = jax.lax.scan(
        step, dlast, (dh, kept, before, after), reverse=True, unroll=unroll,
    )
    db_hn = None if b_hn is None else dq[..., -len(b_hn) :].sum((0, 1))
    return da, dstate, jnp.einsum("tbi,tbj->ij", before[0], dq), db_hn


_written_out.defvjp(_forward, _backward)
