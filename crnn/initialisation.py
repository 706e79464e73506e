"""Initial parameters."""

import math

import numpy as np

METHODS = ("uniform", "orthogonal", "identity")


def initial_vector(layout, hidden_size, method, seed):
    """Return the initial parameters as a flat vector in double precision.

    All are drawn from U(-1/sqrt(H), 1/sqrt(H)), PyTorch's choice for recurrent and for linear
    layers; ``method`` then replaces the recurrent weights.

    Parameters
    ----------
    layout : Layout
    hidden_size : int
        H.
    method : {"uniform", "orthogonal", "identity"}
        ``"orthogonal"``: W_hh is a random rotation or reflection, which keeps the length of the
        state (Saxe, McClelland & Ganguli 2014). ``"identity"``: W_hh is the identity and b_h is 0,
        made for ReLU (Le, Jaitly & Hinton 2015).
    seed : int, None or numpy.random.Generator
        The same seed gives the same parameters on every backend; in float32 they are rounded.

    Returns
    -------
    ndarray of float64
    """
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed is {seed!r}: {error}") from None
    bound = 1 / math.sqrt(hidden_size)
    vector = generator.uniform(-bound, bound, layout.size)
    for name, view in layout.views(vector).items():
        if name.startswith("W_hh") and method == "orthogonal":
            view[...] = random_orthogonal(hidden_size, generator)
        elif name.startswith("W_hh") and method == "identity":
            view[...] = np.eye(hidden_size)
        elif name.startswith("b_h") and method == "identity":
            view[...] = 0
    return vector


def random_orthogonal(size, generator):
    """Return an orthogonal matrix drawn uniformly (Mezzadri 2007, section 5)."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
