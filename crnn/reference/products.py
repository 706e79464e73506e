"""Products of a layer's input with its weights; the input may be tokens."""

import numpy as np

from crnn.reference.precision import wide


def product(x, W):
    """Return x @ W; for tokens, one_hot(x) @ W."""
    return W[x] if is_tokens(x) else x @ W


def product_gradient(x, dy, W):
    """Return the gradient of W, where dy (T, B, outputs) is that of y = `product` (x, W).

    It is the sum of x_t.T @ dy_t over all steps. A token adds its dy to one row of the gradient.
    """
    if is_tokens(x):
        dW = wide(np.zeros_like(W))
        np.add.at(dW, x, dy)
        return dW
    return wide(rows(x)).T @ rows(dy)


def is_tokens(x):
    """Return whether the input of a layer is tokens (T, B), not floats (T, B, I)."""
    return x.ndim == 2


def rows(array):
    """Return (T, B, n) as (T * B, n)."""
    return array.reshape(-1, array.shape[2])
