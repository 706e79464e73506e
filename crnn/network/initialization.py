"""Initial parameters."""

import math

import numpy as np

METHODS = ("uniform", "orthogonal", "identity")


def initial_vector(layout, kind, hidden_size, method, seed, forget_bias=None):
    """Return the initial parameters, and a generator for what a network draws later.

    All are drawn from U(-1/sqrt(H), 1/sqrt(H)), PyTorch's choice for recurrent and for linear
    layers; ``method`` then replaces the recurrent weights, gate by gate.

    Parameters
    ----------
    layout : Layout
    kind : Kind
    hidden_size : int
        H.
    method : {"uniform", "orthogonal", "identity"}
        ``"orthogonal"``: W_hh is a random rotation or reflection, which keeps the length of the
        state (Saxe, McClelland & Ganguli 2014). ``"identity"``: W_hh is the identity and b_h is 0,
        made for ReLU (Le, Jaitly & Hinton 2015).
    seed : int, None or numpy.random.Generator
        The same seed gives the same parameters on every backend; in float32 they are rounded.
    forget_bias : float, optional
        For b_h of an LSTM's forget gate (Jozefowicz, Zaremba & Sutskever 2015).

    Returns
    -------
    vector : ndarray of float64
    generator : numpy.random.Generator
        Its own, seeded by the same seed.
    """
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed is {seed!r}: {error}") from None
    bound = 1 / math.sqrt(hidden_size)
    vector = generator.uniform(-bound, bound, layout.size)
    H = hidden_size
    for name, view in layout.views(vector).items():
        if name.startswith("W_hh"):
            for block in range(kind.blocks):
                gate = view[:, block * H : (block + 1) * H]
                if method == "orthogonal":
                    gate[...] = random_orthogonal(H, generator)
                elif method == "identity":
                    gate[...] = np.eye(H)
        elif name.startswith("b_h") and method == "identity":
            view[...] = 0
        if name.startswith("b_h") and forget_bias is not None:
            view[H : 2 * H] = forget_bias
    return vector, np.random.default_rng(generator.integers(2**63))


def random_orthogonal(size, generator):
    """Return an orthogonal matrix drawn uniformly (Mezzadri 2007, section 5)."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
