"""What all networks share, whatever their cell: parameters, passes, steps, files."""

import contextlib
import copy
import json

import numpy as np

from crnn import checks, files, losses
from crnn._dispatch import kernels
from crnn.configuration import Configuration
from crnn.engine import Engine
from crnn.initialisation import METHODS, initial_vector
from crnn.kernels.memory import aligned_empty
from crnn.kinds import parameter_shapes
from crnn.parameters import Gradients, Layout, Parameters
from crnn.quick import QuickPasses
from crnn.streams import Stream
from crnn.weights import Weights


class Cache:
    """What `Network.backward` needs of a `Network.forward`. Opaque; it belongs to its network."""

    def __init__(self, network, version, sequence, tape):
        self._network = network
        self._version = version
        self._sequence = sequence
        self._tape = tape


class NoStepsError(AttributeError, ValueError):
    """A network has no steps, and so no state."""


class Network(Configuration):
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

    # --- whole sequences -----------------------------------------------------------------------

    def __call__(self, x, state=None, *, lengths=None):
        """Run over a whole sequence, for inference: no tape is kept.

        Parameters
        ----------
        x : array_like
            (T, B, I) floats, or (T, B) integer tokens, which stand for one-hot rows. Without B
            for one sequence.
        state : array_like, optional
            The initial state (L * D, B, H), or (L * D, H) for one sequence; of an LSTM a tuple of
            two, h and c. Default: zeros.
        lengths : array_like of int, optional
            (B,): how many of the T steps each sequence has. Beyond them y is 0.

        Returns
        -------
        y : ndarray (T, B, O) or (T, O)
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
            Each sequence's own last one.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not as above; IndexError for a token out of range.
        """
        if state is None and lengths is None:
            quick = self._quick.infer(x)
            if quick is not None:
                return quick
        sequence = self._sequence(x, state, lengths)
        y, last = self._engine.infer(sequence)
        return sequence.unbatch(y, 1), sequence.public(last)

    def forward(self, x, state=None, *, lengths=None):
        """Run over a whole sequence and keep the hidden states, for `backward`; with dropout.

        Parameters, the first two results and errors are those of calling the network.

        Returns
        -------
        y : ndarray (T, B, O) or (T, O)
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
        cache : Cache
        """
        sequence = self._sequence(x, state, lengths)
        if not isinstance(x, np.ndarray) or np.may_share_memory(sequence.x, x):
            sequence = sequence._replace(x=sequence.x.copy())  # the caller may overwrite its array
        y, last, tape = self._engine.forward(sequence)
        cache = Cache(self, self._parameters.changes.item(), sequence, tape)
        return sequence.unbatch(y, 1), sequence.public(last), cache

    def backward(self, cache, dy, dstate=None):
        """Backpropagate through time.

        Parameters
        ----------
        cache : Cache
            From `forward` of this network, its parameters not changed since.
        dy : array_like
            The gradient of each output, in the shape of y. What it says of steps beyond a
            sequence's length is ignored.
        dstate : array_like, optional
            The gradient of the last state, in its shape. Default: zeros.

        Returns
        -------
        Gradients

        Raises
        ------
        TypeError
            If cache is not from `forward`, or dy or dstate is of a wrong kind.
        ValueError
            If cache is another network's or the parameters have changed, or a shape is wrong.
        """
        if not isinstance(cache, Cache):
            raise TypeError(f"cache is a {type(cache).__name__}; what forward returned is wanted")
        if cache._network is not self or cache._version != self._parameters.changes.item():
            raise ValueError(
                "cache is not of this network as it is: call forward again after the parameters"
                " have changed"
            )
        sequence = cache._sequence
        batch = (sequence.batch_size,) if sequence.batched else ()
        shape = (sequence.steps, *batch, self._engine.weights.output_size)
        dy = checks.real_array(dy, "dy", self._dtype, shape)
        dstates = checks.states(
            dstate, sequence.batch_size if sequence.batched else None, self._engine.weights,
            name="dstate",
        )
        gradients = Gradients(self._layout, self._dtype, self._backend)
        dy = dy.reshape(sequence.steps, sequence.batch_size, self._engine.weights.output_size)
        self._engine.backward(gradients, sequence, cache._tape, dy, dstates)
        return gradients

    def loss(
        self, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None
    ):
        """Return the loss over a whole sequence, keeping no tape.

        Parameters
        ----------
        x, state, lengths
            As for calling the network.
        targets : array_like
            "softmax": integers (T, B), -1 meaning no target here; the others: (T, B, O). Without
            T for the last valid step of each sequence only (many to one), without B for one
            sequence.
        loss : {"softmax", "sigmoid", "mse"}
            Negative log-likelihood in nats; binary cross-entropy of each output, in nats, whose
            targets are probabilities from 0 to 1 (not checked); squared error.
        reduction : {"mean", "sum"}
            The mean is over valid targets; each of the O numbers of a step is one. Without any,
            the loss is 0.

        Returns
        -------
        loss : float
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
            Each sequence's last one.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not as above; IndexError for a token in x out of range.
        """
        sequence = self._sequence(x, state, lengths)
        objective = self._objective(loss, targets, sequence, reduction)
        value, last = self._engine.loss(sequence, objective)
        return value, sequence.public(last)

    def loss_and_gradients(
        self, x, targets, state=None, *, loss="softmax", reduction="mean", lengths=None
    ):
        """Return the loss and its gradients: the training pass.

        With dropout, where the network has it. What it holds is said of each cell; with more than
        one layer, or a second direction, also what goes from layer to layer, and for float x the
        gradient of x. Parameters and errors are those of `loss`.

        Returns
        -------
        loss : float
        gradients : Gradients
        state : ndarray (L * D, B, H) or (L * D, H), or a tuple of two
        """
        return self._loss_and_gradients(x, targets, state, loss, reduction, lengths)

    def _loss_and_gradients(self, x, targets, state, loss, reduction, lengths, wants_x=True):
        """Do the training pass; ``wants_x`` asks for the gradient of x, too."""
        gradients = Gradients(self._layout, self._dtype, self._backend)
        if losses.options(loss, reduction) == ("softmax", "mean") and lengths is None:
            given = [state] if self._kind.states == 1 and state is not None else state
            quick = self._quick.loss_and_gradients(gradients, x, targets, given)
            if quick is not None:
                gradients.state = checks.public(gradients.state)
                return quick[0], gradients, checks.public(quick[1])
        sequence = self._sequence(x, state, lengths)
        objective = self._objective(loss, targets, sequence, reduction)
        value, last = self._engine.loss_and_gradients(
            gradients, sequence, objective, wants_x
        )
        return value, gradients, sequence.public(last)

    def _free_memory(self):
        """Give back what passes leave for the next one."""
        self._engine.stack.memory.clear()
        self._quick.clear()

    def _validate(self, x, targets, *, loss="softmax", lengths=None):
        """Raise what `loss` would raise of these arguments, without computing it."""
        self._objective(loss, targets, self._sequence(x, None, lengths), "mean")

    def _sequence(self, x, state, lengths):
        return checks.sequence(x, state, lengths, self._engine.weights)

    def _objective(self, loss, targets, sequence, reduction):
        return losses.objective(
            loss, targets, sequence, self._engine.weights.output_size, reduction, self._dtype
        )

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
        files.write(path, self._parameters, metadata | {"config": json.dumps(self.config())})


def _rebuild(cls, config, backend, vector, state, dropout_state):
    arguments = {name: value for name, value in config.items() if name != "cell"}
    network = cls(**arguments, backend=backend)
    network.vector, network.dropout_state = vector, dropout_state
    if state is not None:
        network.state = state
    return network
