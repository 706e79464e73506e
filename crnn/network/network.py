"""What all networks share, whatever their cell: parameters, steps, copies, files."""

import contextlib
import copy
import json

import numpy as np

from crnn.base import checks
from crnn.base.backends import kernels
from crnn.base.kinds import parameter_shapes
from crnn.engine.engine import Engine
from crnn.engine.packing import Weights
from crnn.engine.quick import QuickPasses
from crnn.files import container
from crnn.kernels.memory import aligned_empty
from crnn.network.initialization import METHODS, initial_vector
from crnn.network.parameters import Layout, Parameters
from crnn.network.passes import Passes
from crnn.network.streams import Stream


class NoStepsError(AttributeError, ValueError):
    """A network has no steps, and so no state."""


class Network(Passes):
    """What all cells share: parameters, passes over sequences, steps, files.

    Not used by itself; `RNN` and its kind say which cell runs.
    """

    def __init__(
        self, kind, input_size, hidden_size, output_size, num_layers, bidirectional, dropout, init,
        dtype, seed, backend, forget_bias=None,
    ):
        super().__init__(
            input_size, hidden_size, output_size, num_layers, bidirectional, dropout, dtype, backend
        )
        self._kind, init = kind, checks.choice(init, "init", METHODS)
        directions = 1 + self._bidirectional
        self._layout = Layout(parameter_shapes(
            kind, self._input_size, self._hidden_size, self._output_size, self._num_layers,
            directions,
        ))
        self._vector = aligned_empty((self._layout.size,), self._dtype)
        vector, generator = initial_vector(
            self._layout, kind, self._hidden_size, init, seed, forget_bias
        )
        self._vector[...] = vector
        self._parameters = Parameters(self._layout, self._vector)
        functions = kernels(self._backend, self._dtype)
        weights = Weights(functions, self._parameters, kind, directions)
        self._engine = Engine(functions, weights, self._dropout, generator)
        self._quick = QuickPasses(functions, weights)
        self._stream = None if self._bidirectional else Stream(self._engine)
        if type(self).step is Network.step and self._stream is not None:
            self.step = self._stream.step  # unless a subclass has its own

    # --- parameters ----------------------------------------------------------------------------

    @property
    def parameters(self):
        """Ordered mapping from names to read-only views; assignment copies in."""
        return self._parameters

    @property
    def num_parameters(self):
        """The length of ``vector``."""
        return self._layout.size

    @property
    def vector(self):
        """All parameters as one read-only vector; assignment copies in."""
        view = self._vector.view()
        view.flags.writeable = False
        return view

    @vector.setter
    def vector(self, value):
        value = checks.real_array(value, "vector", self._dtype, self._vector.shape)
        with self._changing_vector() as vector:
            vector[...] = value

    @contextlib.contextmanager
    def _changing_vector(self):
        """Lend the parameters' own memory to who is about to change it, such as an optimiser."""
        try:
            yield self._vector
        finally:  # afterwards: who sees the count sees the values
            self._parameters.changes += 1

    # --- one step at a time --------------------------------------------------------------------

    def step(self, x, out=None):
        """Run one time step on ``net.state``.

        T steps give the same bits as one call with the whole sequence. The zero state of one
        sequence stands for a batch of any size; other changes of size need `reset`.

        Parameters
        ----------
        x : array_like
            (I,) floats or one integer token; for a batch (B, I) or (B,) tokens.
        out : ndarray, optional
            Where to put the outputs.

        Returns
        -------
        ndarray (O,) or (B, O)

        Raises
        ------
        TypeError, ValueError, IndexError
            If x or out is not as above, or a token is out of range. The state is then unchanged.
        """
        return self._own_stream().step(x, out)

    def _own_stream(self):
        if self._stream is None:
            raise NoStepsError(
                "a bidirectional network has no steps: its second direction begins at the end of a"
                " sequence; call the network with whole sequences"
            )
        return self._stream

    @property
    def state(self):
        """The state of `step`, (L, H) or (L, B, H), of an LSTM (h, c): copies.

        Assignment copies in. As all that has to do with steps, it raises `NoStepsError`, an
        AttributeError, if the network is bidirectional.
        """
        return self._own_stream().state

    @state.setter
    def state(self, value):
        self._own_stream().state = value

    def reset(self, batch_size=None):
        """Zero the state of `step`, for one sequence (None) or for a batch."""
        self._own_stream().reset(batch_size)

    def stream(self, batch_size=None):
        """Return a `Stream`: independent state over the same weights."""
        self._own_stream()
        return Stream(self._engine, batch_size)

    # --- copies and files ----------------------------------------------------------------------

    def copy(self):
        """Return an equal network of its own, its state included."""
        return copy.deepcopy(self)

    def __reduce__(self):
        state = None if self._stream is None else self.state
        return _rebuild, (type(self), self.config(), self._backend, np.array(self._vector), state,
                          self.dropout_state)

    @property
    def dropout_state(self):
        """Where the generator of dropout is, a dict; assignment puts it there."""
        return self._engine.generator.bit_generator.state

    @dropout_state.setter
    def dropout_state(self, value):
        value = checks.generator_state(value, "dropout_state")
        self._engine.generator.bit_generator.state = value

    def save(self, path, metadata=None):
        """Write the network to a file, whole or not at all.

        The file is safetensors: the parameters by name, the configuration, and a SHA-256 of it
        all. It holds nothing that runs. The state of `step` is not saved.

        Parameters
        ----------
        path : str or os.PathLike
        metadata : dict of str to str, optional
            More to be written into the file's header, which `crnn.load` leaves alone.

        Raises
        ------
        TypeError
            If the dtype is complex128, or metadata does not map str to str.
        ValueError
            If metadata has a key that is crnn's own: config, format, sha256, training, vocabulary.
        OSError
            If it cannot be written. A file that was there is then still there.
        """
        metadata = dict(metadata or {})
        for key in ("config", "training", "vocabulary"):
            if key in metadata:
                raise ValueError(f"the metadata key {key!r} is crnn's own; use another")
        self._write(path, metadata)

    def _write(self, path, metadata):
        """Write the network and texts about it, whatever their keys."""
        container.write(path, self._parameters, metadata | {"config": json.dumps(self.config())})


def _rebuild(cls, config, backend, vector, state, dropout_state):
    arguments = {name: value for name, value in config.items() if name != "cell"}
    network = cls(**arguments, backend=backend)
    network.vector, network.dropout_state = vector, dropout_state
    if state is not None:
        network.state = state
    return network
