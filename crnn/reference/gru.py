"""The gated recurrent unit (Cho et al. 2014), gates in the order r, z, n::

    r, z = sigmoid(x_t @ W_xh + b_h + h_{t-1} @ W_hh)       each its own columns
    h_t = (1 - z) * n + z * h_{t-1}

in two forms of the candidate n, where f is tanh or ReLU: with the reset after the product
(PyTorch's)::

    n = f(x_t @ W_xn + b_n + r * q)                      q = h_{t-1} @ W_hn + b_hn

and before it (the paper's)::

    n = f(x_t @ W_xn + b_n + s @ W_hn)                   s = r * h_{t-1}

Cho, K. et al. (2014). Learning phrase representations using RNN encoder-decoder for statistical
machine translation. EMNLP.
"""

import numpy as np

from crnn.reference.formulas import activation, product, slope


def step(a, before, kept_before, weights):
    """Return h_t, what multiplies W_hn or its product, and the gates.

    Parameters
    ----------
    a : ndarray (B, 3 * H)
        The input's share of the pre-activations, x_t @ W_xh + b_h.
    before : ndarray (B, H)
        h_{t-1}.
    kept_before : ndarray
        Not used.
    weights : LayerWeights

    Returns
    -------
    h : ndarray (B, H)
    kept : ndarray (B, H)
        q or s.
    gates : ndarray (B, 3 * H)
        r, z and n.
    """
    H, W_hn = before.shape[1], weights.packed("W_hn")
    gates = a[:, : 2 * H] + product(before, weights.packed("W_hh"), 2 * H)
    activation(gates, "sigmoid")
    r, z = gates[:, :H], gates[:, H:]
    if weights.kind.reset_after:
        kept = product(before, W_hn, H) + weights.b_hn
        n = a[:, 2 * H :] + r * kept
    else:
        kept = r * before
        n = a[:, 2 * H :] + product(kept, W_hn, H)
    activation(n, weights.kind.nonlinearity)
    return (1 - z) * n + z * before, kept, np.concatenate([gates, n], axis=1)


def step_backward(dh, dc, tape, weights):
    """Go back through `step`.

    Parameters
    ----------
    dh : ndarray (B, H)
        All that reaches h_t.
    dc : None
    tape : Tape
    weights : LayerWeights

    Returns
    -------
    da : ndarray (B, 3 * H)
        The gradient of the pre-activations.
    dkept : ndarray (B, H)
        That of q or s.
    dbefore : ndarray (B, H)
        That of h_{t-1}.
    dc_before : None
    """
    before, kept, H = tape.before, tape.kept, dh.shape[1]
    r, z, n = tape.gates[:, :H], tape.gates[:, H : 2 * H], tape.gates[:, 2 * H :]
    W_hn_T = weights.packed("W_hn", transposed=True)
    dz = dh * (before - n) * z * (1 - z)
    dn = dh * (1 - z) * slope(n, weights.kind.nonlinearity)
    dbefore = dh * z
    if weights.kind.reset_after:
        dkept, dr = dn * r, dn * kept
        dbefore = dbefore + product(dkept, W_hn_T, H)
    else:
        dkept = product(dn, W_hn_T, H)
        dr = dkept * before
        dbefore = dbefore + dkept * r
    da = np.concatenate([dr * r * (1 - r), dz, dn], axis=1)
    dbefore = dbefore + product(da[:, : 2 * H], weights.packed("W_hh", transposed=True), H)
    return da, dkept, dbefore, None
