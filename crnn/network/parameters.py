"""Parameters and gradients: named views of one flat vector."""

import contextlib
import functools
import math
from collections.abc import Mapping

import numpy as np

from crnn.base import checks
from crnn.base.backends import kernels
from crnn.kernels.memory import aligned_zeros


class Layout:
    """Where each named array lies in the flat vector.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        In the order in which the arrays follow each other.

    Attributes
    ----------
    shapes : dict of str to tuple of int
    starts : dict of str to int
        Where each array begins.
    size : int
        How many numbers all arrays have together.
    """

    def __init__(self, shapes):
        self.shapes, self.starts, self.size = dict(shapes), {}, 0
        for name, shape in self.shapes.items():
            self.starts[name] = self.size
            self.size += math.prod(shape)

    def views(self, vector):
        """Return a dict of views of ``vector`` in the layout's order."""
        return {
            name: vector[start : start + math.prod(self.shapes[name])].reshape(self.shapes[name])
            for name, start in self.starts.items()
        }


class Parameters(Mapping):
    """Ordered mapping from names to read-only views of a network's vector.

    ``parameters[name] = array`` copies into the vector; writing into a view raises `ValueError`,
    because the network would not learn of it.

    Parameters
    ----------
    layout : Layout
    vector : ndarray
        Memory that the parameters own from then on.
    backend : {"compiled", "reference"}
        Computes the norm of gradients.

    Attributes
    ----------
    layout, backend
        As given.
    dtype : numpy.dtype
    changes : ndarray of int64 (1,)
        How often parameters have changed; an array, so that kernels can read it.
    format : str or None
        That of a compressed network's weights.
    """

    format = None

    def __init__(self, layout, vector, backend):
        self.layout, self.backend, self.dtype = layout, backend, vector.dtype
        self.changes = np.zeros(1, np.int64)
        self._vector, self._writable = vector, layout.views(vector)
        # of memory that is lent for reading only, so that nobody can make views of it writable
        lent = memoryview(vector.view(np.uint8)).toreadonly()
        self._read_only = np.frombuffer(lent, vector.dtype)
        self._views = layout.views(self._read_only)

    @property
    def vector(self):
        """All of them as one read-only vector; assignment copies in."""
        return self._read_only.view()

    @vector.setter
    def vector(self, value):
        value = checks.real_array(value, "vector", self.dtype, self._vector.shape)
        with self.changing() as vector:
            vector[...] = value

    @contextlib.contextmanager
    def changing(self):
        """Lend the vector's own memory to whoever is about to change it, such as an optimizer."""
        self.changes += 1  # counted first, too: an interrupt may come before it is counted below
        try:
            yield self._vector
        finally:  # counted last: whoever sees the new count sees the new values
            self.changes += 1

    def check_trainable(self):
        """Raise TypeError if they cannot change; these can."""

    def new_gradients(self):
        """Return `Gradients` of zeros in the same layout, for a pass to fill in."""
        return Gradients(self.layout, self.dtype, self.backend)

    def __getitem__(self, name):
        self._check_name(name)
        return self._views[name]

    def __setitem__(self, name, value):
        self._check_name(name)
        target = self._writable[name]
        value = checks.real_array(value, f"parameter {name}", target.dtype, target.shape)
        with self.changing():
            target[...] = value

    def _check_name(self, name):
        if name not in self._views:
            raise KeyError(f"no parameter {name!r}; this network has {', '.join(self)}")

    def __iter__(self):
        return iter(self._views)

    def __len__(self):
        return len(self._views)

    def __repr__(self):
        rows = (f"  {name}: {view.shape}" for name, view in self.items())
        return "\n".join(["Parameters of", *rows])


class FixedParameters(Parameters):
    """The parameters of a compressed network, which do not change.

    Parameters
    ----------
    layout, vector, backend
        As for `Parameters`.
    format : str
        What the weights are rounded to.
    """

    def __init__(self, layout, vector, backend, format):
        super().__init__(layout, vector, backend)
        self.format = format

    def check_trainable(self):
        """Raise TypeError: they cannot."""
        raise TypeError(
            f"the network is compressed to {self.format}: its parameters are fixed, and it does not"
            " train; train or change the network that it was made of, and compress that again")

    def changing(self):
        """Raise TypeError."""
        self.check_trainable()


class Gradients:
    """Derivatives of one number, usually a loss.

    Attributes
    ----------
    vector : ndarray (num_parameters,)
        With respect to the parameters, in the layout of ``net.vector``.
    parameters : dict of str to ndarray
        Views of ``vector`` by name.
    x : ndarray, list of ndarray, or None
        With respect to the input, in its form; None for tokens, and where it was not asked for.
    state : ndarray, or tuple of two
        With respect to the initial state, in its shape; for an LSTM a tuple, of h and of c.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, seed=0)
    >>> _, grads, _ = net.loss_and_gradients(np.ones((7, 4, 3)), np.zeros((7, 4), int))
    >>> grads.parameters["W_hh_l0"].shape, grads.x.shape, grads.state.shape
    ((5, 5), (7, 4, 3), (1, 4, 5))
    """

    def __init__(self, layout, dtype, backend):
        self.vector = aligned_zeros((layout.size,), dtype)
        self.x = self.state = None
        self._layout, self._backend = layout, backend

    @functools.cached_property
    def parameters(self):
        """Views of ``vector`` by name."""
        return self._layout.views(self.vector)

    def norm(self):
        """Return the Euclidean norm of ``vector``, summed in double precision."""
        return kernels(self._backend, self.vector.dtype).norm(self.vector)

    def clip_norm(self, max_norm):
        """Scale ``vector`` so that its norm is at most ``max_norm``, in place.

        The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch's ``clip_grad_norm_``
        (Pascanu, Mikolov & Bengio 2013, algorithm 1). A norm that is not finite is left alone.

        Parameters
        ----------
        max_norm : float
            Above 0.

        Returns
        -------
        float
            The norm before.

        Raises
        ------
        TypeError, ValueError
            If max_norm is no number, or not above 0.
        """
        max_norm = checks.positive_number(max_norm, "max_norm")
        norm = self.norm()
        if max_norm < norm + 1e-6 < math.inf:
            self.vector *= max_norm / (norm + 1e-6)
        return norm

    def clip_value(self, limit):
        """Bring every entry of ``vector`` into [-limit, limit], in place.

        Parameters
        ----------
        limit : float
            Above 0.

        Raises
        ------
        TypeError, ValueError
            If limit is no number, or not above 0.
        """
        limit = checks.positive_number(limit, "limit")
        np.clip(self.vector, -limit, limit, out=self.vector)
