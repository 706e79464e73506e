"""Initial parameters."""

import math

import numpy as np

METHODS = ("uniform", "orthogonal", "identity")


def initialize(vector, layout, layers, method, seed, forget_bias=1.0):
    """Set the initial parameters, and return a generator for what a network draws later.

    All are drawn from U(-1/sqrt(H), 1/sqrt(H)), PyTorch's choice for recurrent and for linear
    layers, with the H of their own layer, or of the top one for the readout; of layers without a
    state it is what they read, and tables are drawn from the standard normal distribution.
    ``method`` then replaces the recurrent weights, gate by gate. Learned initial states begin as
    zeros.

    Parameters
    ----------
    vector : ndarray
        All parameters; every number of it is set.
    layout : Layout
    layers : list of LayerSpec
    method : {"uniform", "orthogonal", "identity"}
        ``"orthogonal"``: W_hh is a random rotation or reflection, which keeps the length of the
        state (Saxe, McClelland & Ganguli 2014). ``"identity"``: W_hh is the identity and b_h is 0,
        made for ReLU (Le, Jaitly & Hinton 2015).
    seed : int, None or numpy.random.Generator
        The same seed gives the same parameters on every backend; in float32 they are rounded.
    forget_bias : float
        For b_h of an LSTM's forget gate (Jozefowicz, Zaremba & Sutskever 2015).

    Returns
    -------
    generator : numpy.random.Generator
        The network's own, for dropout, seeded by the same seed.
    """
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"seed is {seed!r}: {error}") from None
    by_suffix = {suffix: layer for layer in layers for suffix in layer.suffixes}
    vector[...] = 0
    views = {name: view for name, view in layout.views(vector).items()
             if not name.startswith(("h_0", "c_0"))}
    for name, view in views.items():  # in the order of the vector
        layer = by_suffix.get(_suffix(name))
        if layer is not None and layer.kind.is_table:
            view[...] = generator.standard_normal(view.shape)
            continue
        bound = 1 / math.sqrt(_drawn_by(layer) if layer else layers[-1].hidden_size)
        view[...] = generator.uniform(-bound, bound, view.shape)
    for name, view in views.items():
        if name.startswith("W_hh"):
            _set_recurrent(view, method, generator)
        if not name.startswith("b_h"):
            continue
        layer = by_suffix[_suffix(name)]
        if method == "identity" and layer.kind.has_state:
            view[...] = 0
        if layer.kind.cell == "LSTM":
            view[layer.hidden_size : 2 * layer.hidden_size] = forget_bias
    return np.random.default_rng(generator.integers(2**63))


def _drawn_by(layer):
    """Return the size that says how large a layer's parameters are."""
    return layer.hidden_size if layer.kind.has_state else layer.input_size


def _suffix(name):
    """Return the end of a parameter's name, such as "_l0_reverse" of "W_xh_l0_reverse"."""
    return name[name.find("_l") :]


def _set_recurrent(W_hh, method, generator):
    """Fill each gate's H columns of W_hh as the method says."""
    H = len(W_hh)
    for start in range(0, W_hh.shape[1], H):
        gate = W_hh[:, start : start + H]
        if method == "orthogonal":
            gate[...] = random_orthogonal(H, generator)
        elif method == "identity":
            gate[...] = np.eye(H)


def random_orthogonal(size, generator):
    """Return an orthogonal matrix drawn uniformly (Mezzadri 2007, section 5)."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
