"""The recurrent parts of networks in NumPy: a class for each kind, which holds all the memory.

Gates need sigmoid(a) = (tanh(a / 2) + 1) / 2. With weights whose columns for gates are halved, one
tanh of a whole row of pre-activations does for gates and candidates.

Each class has, for T steps of B sequences,

- ``a`` (T, B, G H), where what the inputs give is to be put, with the halved weights;
- ``h`` (T + 1, B, H), the states, the initial one first, and ``state``, the last one;
- ``forward(W_hh)``, which turns a into states;
- ``backward(dh, W_hh, chunk)``, which turns gradients dh (T, B, H) of the states from outside into
  ``to_input`` and ``to_state``, (T B, G H), those of what inputs and what states are multiplied to;
- of a GRU and an LSTM, for one sequence, ``step(H, dtype)``, which returns a function that turns
  pre-activations (of a GRU r, z, n and, apart, what the state gives to n) and the state h into the
  next h, in place.

What a step back multiplies by is computed for ``chunk`` steps at once: many save calls, one stays
in the caches.
"""

import itertools

import numpy as np


def rows(array):
    """Return (T, B, N) as (T B, N), the same memory."""
    return array.reshape(-1, array.shape[-1])


def halved(kind, array):
    """Return weights or biases (..., G H), a copy whose columns for gates are halved."""
    copy = array.copy()
    if kind == "GRU":
        copy[..., : array.shape[-1] // 3 * 2] *= 0.5
    elif kind == "LSTM":
        H = array.shape[-1] // 4
        copy[..., : 2 * H] *= 0.5
        copy[..., 3 * H :] *= 0.5
    return copy


def back_in_chunks(T, chunk):
    """Return slices of so many steps, the last ones first."""
    return [slice(max(0, end - chunk), end) for end in range(T, 0, -chunk)]


class RNN:
    """h = tanh(a + h W_hh)."""

    def __init__(self, direction, T, B, training):
        shape, dtype = (B, len(direction.W_hh)), direction.W_hh.dtype
        self.h = np.zeros((T + 1, *shape), dtype)
        self.a = self.h[1:]
        self.product = np.empty(shape, dtype)
        if training:
            self.slope = np.empty((T, *shape), dtype)

    @property
    def state(self):
        return self.h[-1:]

    def forward(self, W_hh):
        product = self.product
        for before, now in itertools.pairwise(self.h):
            np.dot(before, W_hh, out=product)
            np.add(now, product, out=now)
            np.tanh(now, out=now)

    def backward(self, dh, W_hh, chunk):
        product, W = self.product, W_hh.T
        product[:] = 0
        for part in back_in_chunks(len(dh), chunk):
            now, slope = self.h[1:][part], self.slope[part]
            np.multiply(now, now, out=slope)
            np.subtract(1, slope, out=slope)
            for d, each in zip(dh[part][::-1], slope[::-1], strict=True):
                np.add(d, product, out=d)
                np.multiply(d, each, out=d)
                np.dot(d, W, out=product)
        self.to_input = self.to_state = rows(dh)


class GRU:
    """r, z = sigmoid(a + h W_hh); n = tanh(a_n + r (h W_hn + b_hn)); h = n + z (h - n)."""

    def __init__(self, direction, T, B, training):
        H, dtype = len(direction.W_hh), direction.W_hh.dtype
        self.b_hn = direction.b_hn
        self.h = np.zeros((T + 1, B, H), dtype)
        self.a = np.empty((T, B, 3 * H), dtype)
        self.products = np.empty((T if training else 1, B, 3 * H), dtype)
        if training:
            # to be multiplied by the gradient of h: for n, r, z and q, what h W_hn + b_hn is
            self.factors, self.d = np.empty((2, T, B, 4, H), dtype)
            self.spare = np.empty((T, B, H), dtype)

    @property
    def state(self):
        return self.h[-1:]

    def forward(self, W_hh):
        H, b_hn = len(W_hh), self.b_hn
        steps = zip(itertools.pairwise(self.h), self.a, itertools.cycle(self.products))
        for (before, now), a, product in steps:
            gates, n, q = a[:, : 2 * H], a[:, 2 * H :], product[:, 2 * H :]
            np.dot(before, W_hh, out=product)
            np.add(q, b_hn, out=q)
            np.add(gates, product[:, : 2 * H], out=gates)
            _gates_and_candidate(gates, n, q, now)
            np.subtract(before, n, out=now)
            np.multiply(now, a[:, H : 2 * H], out=now)
            np.add(now, n, out=now)

    def backward(self, dh, W_hh, chunk):
        H, W, carried = len(W_hh), W_hh.T, np.zeros_like(dh[0])
        product = np.empty_like(carried)
        for part in back_in_chunks(len(dh), chunk):
            self._factors(part, H)
            z_part = self.a[part, :, H : 2 * H]
            steps = zip(dh[part][::-1], self.factors[part][::-1], self.d[part][::-1], z_part[::-1],
                        strict=True)
            for d, factors, d_all, z in steps:
                np.add(d, carried, out=d)
                np.multiply(factors, d[:, None], out=d_all)
                np.dot(d_all.reshape(len(d), -1)[:, H:], W, out=product)
                np.multiply(d, z, out=carried)
                np.add(carried, product, out=carried)
        d = self.d.reshape(-1, 4 * H)
        self.to_state, self.to_input = d[:, H:], d[:, : 3 * H]

    def _factors(self, part, H):
        a, before = self.a[part], self.h[:-1][part]
        r, z, n = (a[..., start : start + H] for start in (0, H, 2 * H))
        q, factors, spare = self.products[part, :, 2 * H :], self.factors[part], self.spare[part]
        for_n, for_r, for_z, for_q = (factors[..., each, :] for each in range(4))
        np.subtract(1, z, out=spare)
        np.multiply(n, n, out=for_n)
        np.subtract(1, for_n, out=for_n)
        np.multiply(for_n, spare, out=for_n)  # (1 - n^2) (1 - z)
        np.multiply(spare, z, out=spare)
        np.subtract(before, n, out=for_z)
        np.multiply(for_z, spare, out=for_z)  # (h - n) z (1 - z)
        np.multiply(for_n, r, out=for_q)  # that for n times r
        np.subtract(1, r, out=spare)
        np.multiply(spare, q, out=spare)
        np.multiply(for_q, spare, out=for_r)  # that for n times q r (1 - r)

    @staticmethod
    def step(H, dtype):
        spare = np.empty(H, dtype)

        def step(a, h):
            gates, n, q = a[: 2 * H], a[2 * H : 3 * H], a[3 * H :]
            _gates_and_candidate(gates, n, q, spare)
            np.subtract(h, n, out=h)
            np.multiply(h, gates[H:], out=h)
            return np.add(h, n, out=h)

        return step


def _gates_and_candidate(gates, n, q, spare):
    """Turn gates (..., 2 H) and n (..., H) from pre-activations, gates' halved, into values."""
    np.tanh(gates, out=gates)
    np.multiply(gates, 0.5, out=gates)
    np.add(gates, 0.5, out=gates)
    np.multiply(gates[..., : n.shape[-1]], q, out=spare)
    np.add(n, spare, out=n)
    np.tanh(n, out=n)


class LSTM:
    """i, f, o = sigmoid(a + h W_hh); g = tanh(the same); c = f c + i g; h = o tanh(c)."""

    def __init__(self, direction, T, B, training):
        H, dtype = len(direction.W_hh), direction.W_hh.dtype
        self.h, self.c = np.zeros((2, T + 1, B, H), dtype)
        self.a = np.empty((T, B, 4 * H), dtype)
        self.product, self.spare = np.empty((B, 4 * H), dtype), np.empty((B, H), dtype)
        self.tanh_c = np.empty((T if training else 1, B, H), dtype)
        self.to_gates = _to_gates(H, dtype)
        if training:
            # to be multiplied by the gradient of c, and for o by that of h
            self.factors, self.d = np.empty((2, T, B, 4, H), dtype)
            self.from_h = np.empty((T, B, H), dtype)  # from the gradient of h to that of c

    @property
    def state(self):
        return self.h[-1:], self.c[-1:]

    def forward(self, W_hh):
        H, product, spare = len(W_hh), self.product, self.spare
        scale, shift = self.to_gates
        steps = zip(itertools.pairwise(self.h), itertools.pairwise(self.c), self.a,
                    itertools.cycle(self.tanh_c))
        for (before, now), (c_before, c), a, tanh_c in steps:
            np.dot(before, W_hh, out=product)
            np.add(a, product, out=a)
            np.tanh(a, out=a)
            np.multiply(a, scale, out=a)
            np.add(a, shift, out=a)
            np.multiply(a[:, :H], a[:, 2 * H : 3 * H], out=spare)
            np.multiply(a[:, H : 2 * H], c_before, out=c)
            np.add(c, spare, out=c)
            np.tanh(c, out=tanh_c)
            np.multiply(a[:, 3 * H :], tanh_c, out=now)

    def backward(self, dh, W_hh, chunk):
        H, W, spare = len(W_hh), W_hh.T, self.spare
        product, dc = np.zeros((2, *dh[0].shape), dh.dtype)
        for part in back_in_chunks(len(dh), chunk):
            self._factors(part, H)
            forget = self.a[part, :, H : 2 * H]
            steps = zip(dh[part][::-1], self.factors[part][::-1], self.from_h[part][::-1],
                        self.d[part][::-1], forget[::-1], strict=True)
            for d, factors, from_h, d_all, f in steps:
                np.add(d, product, out=d)
                np.multiply(d, from_h, out=spare)
                np.add(dc, spare, out=dc)
                np.multiply(factors[:, :3], dc[:, None], out=d_all[:, :3])
                np.multiply(factors[:, 3], d, out=d_all[:, 3])
                np.dot(d_all.reshape(len(d), -1), W, out=product)
                np.multiply(dc, f, out=dc)
        self.to_input = self.to_state = self.d.reshape(-1, 4 * H)

    def _factors(self, part, H):
        a, c_before, tanh_c = self.a[part], self.c[:-1][part], self.tanh_c[part]
        i, g, o = (a[..., block * H : (block + 1) * H] for block in (0, 2, 3))
        factors, from_h = self.factors[part], self.from_h[part]
        gates, for_g, for_o = factors.reshape(*a.shape), factors[..., 2, :], factors[..., 3, :]
        np.subtract(1, a, out=gates)
        np.multiply(gates, a, out=gates)  # of every gate s (1 - s)
        np.multiply(factors[..., 0, :], g, out=factors[..., 0, :])
        np.multiply(factors[..., 1, :], c_before, out=factors[..., 1, :])
        np.multiply(for_o, tanh_c, out=for_o)
        np.multiply(g, g, out=for_g)
        np.subtract(1, for_g, out=for_g)
        np.multiply(for_g, i, out=for_g)  # i (1 - g^2)
        np.multiply(tanh_c, tanh_c, out=from_h)
        np.subtract(1, from_h, out=from_h)
        np.multiply(from_h, o, out=from_h)  # o (1 - tanh(c)^2)

    @staticmethod
    def step(H, dtype):
        (scale, shift), c = _to_gates(H, dtype), np.zeros(H, dtype)

        def step(a, h):
            np.tanh(a, out=a)
            np.multiply(a, scale, out=a)
            np.add(a, shift, out=a)
            i, g = a[:H], a[2 * H : 3 * H]
            np.multiply(i, g, out=i)
            np.multiply(c, a[H : 2 * H], out=c)
            np.add(c, i, out=c)
            np.tanh(c, out=i)
            return np.multiply(a[3 * H :], i, out=h)

        return step


def _to_gates(H, dtype):
    """Return what turns tanh of halved pre-activations into i, f, g and o: times, plus."""
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], dtype), H)
    return scale, np.where(scale == 1, 0, scale).astype(dtype)


CLASSES = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
