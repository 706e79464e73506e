"""Passes in Numba, the way one writes them who knows it; ``numba_cells.py`` has what recurs.

Every loop that counts runs over contiguous outputs with no dependence between them, so that LLVM
makes vectors of it; the matrix products are either such loops, four rows and four terms at a time,
or `numpy.dot`, which Numba hands to SciPy's BLAS. With ``fastmath`` all of it may contract to fused
multiply-adds and add up in any order.
"""

import functools
import math
from types import SimpleNamespace

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  numpy.dot becomes a call of it
from numba_cells import MAKERS, column_sums, compiled

# --- scalars -------------------------------------------------------------------------------------

# tanh(x) = x p(x^2) / q(x^2) on [-BOUND, BOUND], the rational approximation that Eigen uses too
BOUND = np.float32(7.90531110763549805)
P0, P1, P2, P3, P4, P5, P6 = np.array([
    4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
    -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16,
], np.float32)
Q0, Q1, Q2, Q3 = np.array([
    4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06,
], np.float32)
LOG2_E, LN_2 = np.float32(1.44269504088896341), np.float32(0.693147180559945309)
SMALLEST = np.float32(-87)  # exp of it is about the smallest normal number
HALF = np.float32(0.5)
E2, E3, E4, E5, E6 = np.array([1 / math.factorial(n) for n in range(2, 7)], np.float32)
ONE = np.float32(1)


@compiled
def tanh32(x):
    x = min(max(x, -BOUND), BOUND)
    s = x * x
    p = ((((((P6 * s + P5) * s + P4) * s + P3) * s + P2) * s + P1) * s + P0) * x
    return p / (((Q3 * s + Q2) * s + Q1) * s + Q0)


@compiled
def sigmoid32(x):
    return HALF * tanh32(HALF * x) + HALF


@compiled
def exp32(x):
    """Return exp(x) for x <= 0, as 2**n exp(r)."""
    x = max(x, SMALLEST)
    n = np.int32(x * LOG2_E - HALF)
    r = x - np.float32(n) * LN_2
    p = (((((E6 * r + E5) * r + E4) * r + E3) * r + E2) * r + ONE) * r + ONE
    return p * np.int32((n + 127) << 23).view(np.float32)


@compiled
def tanh64(x):
    return math.tanh(x)


@compiled
def sigmoid64(x):
    return 0.5 * math.tanh(0.5 * x) + 0.5


@compiled
def exp64(x):
    return math.exp(x)


# --- products: out = z W and out = z W^T ----------------------------------------------------------


@compiled
def row_product(out, z, W):  # out (N,), z (K,), W (K, N)
    K, N = W.shape
    out[:] = 0
    for k in range(0, K - K % 8, 8):
        z0, z1, z2, z3 = z[k], z[k + 1], z[k + 2], z[k + 3]
        z4, z5, z6, z7 = z[k + 4], z[k + 5], z[k + 6], z[k + 7]
        for j in range(N):
            out[j] += (
                z0 * W[k, j] + z1 * W[k + 1, j] + z2 * W[k + 2, j] + z3 * W[k + 3, j]
                + z4 * W[k + 4, j] + z5 * W[k + 5, j] + z6 * W[k + 6, j] + z7 * W[k + 7, j]
            )
    for k in range(K - K % 8, K):
        for j in range(N):
            out[j] += z[k] * W[k, j]


@compiled
def four_rows_product(out, z, W):  # out (4, N), z (4, K), W (K, N)
    K, N = W.shape
    out[:] = 0
    for k in range(0, K - K % 4, 4):
        a0, a1, a2, a3 = z[0, k], z[0, k + 1], z[0, k + 2], z[0, k + 3]
        b0, b1, b2, b3 = z[1, k], z[1, k + 1], z[1, k + 2], z[1, k + 3]
        c0, c1, c2, c3 = z[2, k], z[2, k + 1], z[2, k + 2], z[2, k + 3]
        d0, d1, d2, d3 = z[3, k], z[3, k + 1], z[3, k + 2], z[3, k + 3]
        for j in range(N):
            w0, w1, w2, w3 = W[k, j], W[k + 1, j], W[k + 2, j], W[k + 3, j]
            out[0, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
            out[1, j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
            out[2, j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
            out[3, j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
    for k in range(K - K % 4, K):
        for b in range(4):
            for j in range(N):
                out[b, j] += z[b, k] * W[k, j]


@compiled
def loops_product(out, z, W):  # out (B, N), z (B, K), W (K, N)
    B = len(z)
    for b in range(0, B - B % 4, 4):
        four_rows_product(out[b : b + 4], z[b : b + 4], W)
    for b in range(B - B % 4, B):
        row_product(out[b], z[b], W)


@compiled
def loops_product_transposed(out, z, W):  # out (B, N), z (B, K), W (N, K)
    for b in range(len(z)):
        row, each = out[b], z[b]
        for i in range(len(row)):
            total = row.dtype.type(0)
            for k in range(len(each)):
                total += each[k] * W[i, k]
            row[i] = total


@compiled
def blas_product(out, z, W):
    if len(z) == 1:
        np.dot(z[0], W, out[0])
    else:
        np.dot(z, W, out)


@compiled
def blas_product_transposed(out, z, W):
    if len(z) == 1:
        np.dot(W, z[0], out[0])
    else:
        np.dot(z, W.T, out)


FORMS = {
    "loops": (loops_product, loops_product_transposed),
    "np.dot": (blas_product, blas_product_transposed),
}

# --- passes --------------------------------------------------------------------------------------


@functools.cache
def passes(kind, dtype, form):
    """Return step, network, training, streams and writing of a kind of network, for a dtype.

    Parameters
    ----------
    kind : {"RNN", "GRU", "LSTM"}
    dtype : {"float32", "float64"}
    form : str
        That of the recurrent products, one of `FORMS`.
    """
    tanh, sigmoid, exp = {
        "float32": (tanh32, sigmoid32, exp32), "float64": (tanh64, sigmoid64, exp64)
    }[dtype]
    product, transposed = FORMS[form]
    cell = MAKERS[kind](tanh, sigmoid, product, transposed)
    recurrence, backward, into_inputs = cell.recurrence, cell.backward, cell.into_inputs

    @compiled
    def project(a, x, W_xh, b):
        T, B, width = a.shape
        rows = a.reshape(T * B, width)
        np.dot(x.reshape(T * B, x.shape[2]), W_xh, rows)
        for row in range(T * B):
            for j in range(width):
                rows[row, j] += b[j]

    @compiled
    def sequence(h, a, kept, x, W_xh, W_hh, b, scratch):
        project(a, x, W_xh, b)
        kept[0] = 0
        recurrence(h, a, kept, W_hh, b, scratch)

    @compiled
    def network(directions, lengths):
        """Run layers above each other, each in its directions.

        ``directions`` is a tuple with one tuple for each: whether it goes backwards, what it reads
        and (backwards) where to turn that round, the arrays of ``sequence``, and where to put what
        comes out, (T, B, D H), or (0, 0, 0) if the next layer reads h itself, and from which
        column on. Each sequence is turned round within its length.
        """
        for backwards, source, x, h, a, kept, W_xh, W_hh, b, scratch, out, column in directions:
            if backwards:
                for t in range(len(x)):
                    for row in range(len(lengths)):
                        if t < lengths[row]:
                            x[t, row] = source[lengths[row] - 1 - t, row]
            sequence(h, a, kept, x, W_xh, W_hh, b, scratch)
            H = h.shape[2]
            for t in range(len(out)):
                for row in range(len(lengths)):
                    if t < lengths[row]:
                        now = lengths[row] - t if backwards else t + 1
                        out[t, row, column : column + H] = h[now, row]

    @compiled
    def last(directions, lengths, W_hy, b_y, y):
        """Run a network in one direction, and read its last states."""
        network(directions, lengths)
        h = directions[-1][3]
        product(y, h[-1], W_hy)
        for row in range(len(y)):
            for j in range(len(b_y)):
                y[row, j] += b_y[j]

    @compiled
    def streams(chosen, all_h, all_c, h, a, kept, x, W_xh, W_hh, b, scratch):
        """Take a step of some streams, all of whose states are in arrays (N, H)."""
        for row in range(len(chosen)):
            h[0, row] = all_h[chosen[row]]
            if len(kept) > 1:
                kept[0, row] = all_c[chosen[row]]
        project(a, x, W_xh, b)
        recurrence(h, a, kept, W_hh, b, scratch)
        for row in range(len(chosen)):
            all_h[chosen[row]] = h[1, row]
            if len(kept) > 1:
                all_c[chosen[row]] = kept[1, row]

    @compiled
    def writing(written, chances, temperature, layers, W_hy, b_y, y, sums):
        """Fill ``written`` with symbols, each read by all layers after the one before.

        ``chances``, one for each symbol, are between 0 and 1. ``layers`` is a tuple with one tuple
        for each, the arrays of ``sequence`` for a single step.
        """
        token, below = 0, y
        for number in range(len(written)):
            for layer, (h, a, kept, x, W_xh, W_hh, b, scratch) in enumerate(layers):
                if layer == 0:
                    for j in range(a.shape[2]):
                        a[0, 0, j] = W_xh[token, j] + b[j]
                else:
                    x[0] = below
                    project(a, x, W_xh, b)
                recurrence(h, a, kept, W_hh, b, scratch)
                h[0], kept[0] = h[1], kept[len(kept) - 1]
                below = h[0]
            product(y, below, W_hy)
            for v in range(len(b_y)):
                y[0, v] += b_y[v]
            largest, total = y[0].max(), y.dtype.type(0)
            for v in range(len(b_y)):
                sums[v] = exp((y[0, v] - largest) / temperature)
            for v in range(len(b_y)):
                total += sums[v]
                sums[v] = total
            token = min(np.searchsorted(sums, chances[number] * total), len(b_y) - 1)
            written[number] = token

    @compiled
    def softmax(y, targets, scale):
        """Turn logits y (N, V) into their gradient; return the summed loss."""
        N, V = y.shape
        loss = 0.0
        for n in range(N):
            row, target = y[n], targets[n]
            largest = row[0]
            for v in range(V):
                largest = max(largest, row[v])
            at_target = row[target] - largest
            total = row.dtype.type(0)
            for v in range(V):
                row[v] = exp(row[v] - largest)
                total += row[v]
            loss += math.log(total) - at_target
            factor = scale / total
            for v in range(V):
                row[v] *= factor
            row[target] -= scale
        return loss

    @compiled
    def training(x, targets, W_xh, W_hh, b, W_hy, b_y, dW_xh, dW_hh, db, dW_hy, db_y,
                 h, a, kept, dh, y, scratch):
        """Fill the gradients; return the loss. h (T + 1, B, H) starts with the initial state."""
        T, B, width = a.shape
        H, V = W_hy.shape
        rows, inputs = h[1:].reshape(T * B, H), a.reshape(T * B, width)
        tokens, targets = x.reshape(-1), targets.reshape(-1)
        for n in range(T * B):
            for j in range(width):
                inputs[n, j] = W_xh[tokens[n], j] + b[j]
        kept[0] = 0
        recurrence(h, a, kept, W_hh, b, scratch)
        np.dot(rows, W_hy, y)
        for n in range(T * B):
            for v in range(V):
                y[n, v] += b_y[v]
        loss = softmax(y, targets, y.dtype.type(1 / (T * B)))
        np.dot(rows.T, y, dW_hy)
        column_sums(db_y, y)
        np.dot(y, W_hy.T, dh.reshape(T * B, H))
        da = backward(dh, h, a, kept, W_hh, scratch).reshape(T * B, width)
        np.dot(h[:-1].reshape(T * B, H).T, da, dW_hh)
        into_inputs(dW_xh, db, tokens, da, kept)
        return loss / (T * B)

    return SimpleNamespace(step=cell.step, network=network, last=last, streams=streams,
                           writing=writing, training=training)


# --- the machine's limits ------------------------------------------------------------------------

DEGREE = 8


@compiled
def polynomials(y, x, c, times):
    """Evaluate a polynomial of every x, again and again; c is each of its coefficients."""
    for _ in range(times):
        for i in range(len(x)):
            p = c
            for _ in range(DEGREE):
                p = p * x[i] + c
            y[i] = p


@compiled
def total(a, times):
    """Return the sum of an array, added up again and again."""
    s = a.dtype.type(0)
    for _ in range(times):
        for i in range(len(a)):
            s += a[i]
    return s
