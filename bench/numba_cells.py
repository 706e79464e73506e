"""The recurrent parts of networks in Numba: for each kind a function that makes them.

Given tanh and sigmoid of a number, and products z W and z W^T of rows, it returns

- ``step(x, w, y)``, which turns the state y (H,) into the next one. In w are, with G H columns,
  W_xh, W_hh, b_h, two rows for products, one of b_hn (GRU) or c (LSTM), and one to spare;
- ``recurrence(h, a, kept, W_hh, b, scratch)``, which turns a (T, B, G H), what inputs give, into
  states h (T + 1, B, H), the first of which is there, and into gates. An RNN has a in h[1:];
- ``backward(dh, h, a, kept, W_hh, scratch)``, which from gradients dh (T, B, H) of the states from
  outside returns those of what states are multiplied to (T, B, G H), in the place of a or dh;
- ``into_inputs(dW_xh, db, tokens, da, kept)``, which fills gradients of W_xh and biases.

b is b_h and of a GRU b_hn, scratch (B, G H). What is kept is c of an LSTM (T + 1, B, H), and of a
GRU q = h W_hn + b_hn (T, B, H), in whose place come gradients for inputs. The first c is there, as
the first h is. Where nothing is to go back, two steps of c and one of q are enough.

A loop that writes in few arrays and reads from few becomes vectors: LLVM has to see at run time
that they are apart, and with many it gives up.
"""

from types import SimpleNamespace

import numba

compiled = numba.njit(fastmath=True, error_model="numpy")


@compiled
def column_sums(out, a):
    out[:] = 0
    for n in range(len(a)):
        for j in range(len(out)):
            out[j] += a[n, j]


@compiled
def add_rows(out, tokens, rows, columns, start):
    """Add so many columns of rows to those of ``out`` from ``start`` on, in the tokens' rows."""
    for n in range(len(tokens)):
        for j in range(columns):
            out[tokens[n], start + j] += rows[n, j]


@compiled
def into_inputs(dW_xh, db, tokens, da, kept):
    column_sums(db, da)
    dW_xh[:] = 0
    add_rows(dW_xh, tokens, da, da.shape[1], 0)


def rnn(tanh, sigmoid, product, transposed):
    @compiled
    def step(x, w, y):
        N, H = len(x), len(y)
        b, a, c = w[N + H], w[N + H + 1 : N + H + 2], w[N + H + 2 : N + H + 3]
        product(a, x.reshape(1, N), w[:N])
        product(c, y.reshape(1, H), w[N : N + H])
        for j in range(H):
            y[j] = tanh(a[0, j] + c[0, j] + b[j])

    @compiled
    def recurrence(h, a, kept, W_hh, b, scratch):
        T, B, H = a.shape
        for t in range(T):
            now = h[t + 1]
            product(scratch, h[t], W_hh)
            for row in range(B):
                for j in range(H):
                    now[row, j] = tanh(now[row, j] + scratch[row, j])

    @compiled
    def backward(dh, h, a, kept, W_hh, scratch):
        T, B, H = dh.shape
        one = dh.dtype.type(1)
        scratch[:] = 0
        for t in range(T - 1, -1, -1):
            d, now = dh[t], h[t + 1]
            for b in range(B):
                for j in range(H):
                    d[b, j] = (d[b, j] + scratch[b, j]) * (one - now[b, j] * now[b, j])
            if t:
                transposed(scratch, d, W_hh)
        return dh

    return SimpleNamespace(
        step=step, recurrence=recurrence, backward=backward, into_inputs=into_inputs
    )


def gru(tanh, sigmoid, product, transposed):
    @compiled
    def row_forward(now, before, gates, from_h, q, b_hn):
        H = len(now)
        r, z, n = gates[:H], gates[H : 2 * H], gates[2 * H :]
        for j in range(2 * H):
            gates[j] = sigmoid(gates[j] + from_h[j])
        for j in range(H):
            q[j] = from_h[2 * H + j] + b_hn[j]
        for j in range(H):
            n[j] = tanh(n[j] + r[j] * q[j])
        for j in range(H):
            now[j] = n[j] + z[j] * (before[j] - n[j])

    @compiled
    def row_backward(dh, carried, product, gates, q, before, dn):
        H, one = len(dh), dh.dtype.type(1)
        r, z, n = gates[:H], gates[H : 2 * H], gates[2 * H :]
        for j in range(H):
            dh[j] += carried[j] + product[j]
        for j in range(H):
            carried[j] = dh[j] * z[j]
        for j in range(H):
            dn[j] = dh[j] * (one - z[j]) * (one - n[j] * n[j])
        for j in range(H):
            z[j] = dh[j] * (before[j] - n[j]) * z[j] * (one - z[j])
        for j in range(H):
            n[j] = dn[j] * r[j]  # from here on the gradient of q
        for j in range(H):
            r[j] = dn[j] * q[j] * r[j] * (one - r[j])
        for j in range(H):
            q[j] = dn[j]

    @compiled
    def step(x, w, y):
        N, H = len(x), len(y)
        b, a, from_h = w[N + H], w[N + H + 1 : N + H + 2], w[N + H + 2 : N + H + 3]
        b_hn, spare = w[N + H + 3], w[N + H + 4]
        product(a, x.reshape(1, N), w[:N])
        product(from_h, y.reshape(1, H), w[N : N + H])
        for j in range(3 * H):
            a[0, j] += b[j]
        for j in range(H):
            spare[j] = y[j]
        row_forward(y, spare[:H], a[0], from_h[0], spare[H : 2 * H], b_hn[:H])

    @compiled
    def recurrence(h, a, kept, W_hh, b, scratch):
        T, B, _ = a.shape
        for t in range(T):
            q = kept[t % len(kept)]
            product(scratch, h[t], W_hh)
            for row in range(B):
                row_forward(
                    h[t + 1, row], h[t, row], a[t, row], scratch[row], q[row], b[a.shape[2] :]
                )

    @compiled
    def backward(dh, h, a, kept, W_hh, scratch):
        T, B, H = dh.shape
        blocks = scratch.reshape(3, B, H)
        carried, product, dn = blocks[0], blocks[1], blocks[2]
        scratch[:] = 0
        for t in range(T - 1, -1, -1):
            for row in range(B):
                row_backward(
                    dh[t, row], carried[row], product[row], a[t, row], kept[t, row], h[t, row],
                    dn[row],
                )
            if t:
                transposed(product, a[t], W_hh)
        return a

    @compiled
    def into_inputs(dW_xh, db, tokens, da, kept):
        H = kept.shape[2]
        dn = kept.reshape(len(da), H)
        column_sums(db[: 3 * H], da)
        db[3 * H :] = db[2 * H : 3 * H]
        column_sums(db[2 * H : 3 * H], dn)
        dW_xh[:] = 0
        add_rows(dW_xh, tokens, da, 2 * H, 0)
        add_rows(dW_xh, tokens, dn, H, 2 * H)

    return SimpleNamespace(
        step=step, recurrence=recurrence, backward=backward, into_inputs=into_inputs
    )


def lstm(tanh, sigmoid, product, transposed):
    @compiled
    def row_forward(now, c, c_before, gates, from_h):
        H = len(now)
        i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
        for j in range(2 * H):
            gates[j] = sigmoid(gates[j] + from_h[j])
        for j in range(2 * H, 3 * H):
            gates[j] = tanh(gates[j] + from_h[j])
        for j in range(3 * H, 4 * H):
            gates[j] = sigmoid(gates[j] + from_h[j])
        for j in range(H):
            c[j] = f[j] * c_before[j] + i[j] * g[j]
        for j in range(H):
            now[j] = o[j] * tanh(c[j])

    @compiled
    def row_backward(dh, product, dc, c, c_before, gates, spare):
        H, one = len(dh), dh.dtype.type(1)
        i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
        for j in range(H):
            dh[j] += product[j]
        for j in range(H):
            spare[j] = tanh(c[j])
        for j in range(H):
            dc[j] += dh[j] * o[j] * (one - spare[j] * spare[j])
        for j in range(H):
            o[j] = dh[j] * spare[j] * o[j] * (one - o[j])
        for j in range(H):
            spare[j] = dc[j] * g[j] * i[j] * (one - i[j])
        for j in range(H):
            g[j] = dc[j] * i[j] * (one - g[j] * g[j])
        for j in range(H):
            i[j] = spare[j]
        for j in range(H):
            spare[j] = dc[j] * c_before[j] * f[j] * (one - f[j])
        for j in range(H):
            dc[j] *= f[j]
        for j in range(H):
            f[j] = spare[j]

    @compiled
    def step(x, w, y):
        N, H = len(x), len(y)
        b, a, from_h = w[N + H], w[N + H + 1 : N + H + 2], w[N + H + 2 : N + H + 3]
        c, c_before = w[N + H + 3], w[N + H + 4]
        product(a, x.reshape(1, N), w[:N])
        product(from_h, y.reshape(1, H), w[N : N + H])
        for j in range(4 * H):
            a[0, j] += b[j]
        for j in range(H):
            c_before[j] = c[j]
        row_forward(y, c[:H], c_before[:H], a[0], from_h[0])

    @compiled
    def recurrence(h, a, kept, W_hh, b, scratch):
        T, B, _ = a.shape
        for t in range(T):
            c_before, c = kept[t % len(kept)], kept[(t + 1) % len(kept)]
            product(scratch, h[t], W_hh)
            for row in range(B):
                row_forward(h[t + 1, row], c[row], c_before[row], a[t, row], scratch[row])

    @compiled
    def backward(dh, h, a, kept, W_hh, scratch):
        T, B, H = dh.shape
        blocks = scratch.reshape(4, B, H)
        product, dc, spare = blocks[0], blocks[1], blocks[2]
        scratch[:] = 0
        for t in range(T - 1, -1, -1):
            for row in range(B):
                row_backward(
                    dh[t, row], product[row], dc[row], kept[t + 1, row], kept[t, row], a[t, row],
                    spare[row],
                )
            if t:
                transposed(product, a[t], W_hh)
        return a

    return SimpleNamespace(
        step=step, recurrence=recurrence, backward=backward, into_inputs=into_inputs
    )


MAKERS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
