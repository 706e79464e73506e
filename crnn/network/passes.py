"""The passes of a network over whole sequences, as its users call them."""

import numpy as np

from crnn.base import checks
from crnn.engine.objective import checked_objective, options
from crnn.network.configuration import Configuration
from crnn.network.parameters import Gradients


class Cache:
    """What `Network.backward` needs of a `Network.forward`. Opaque; it belongs to its network."""

    def __init__(self, network, version, sequence, tape):
        self._network = network
        self._version = version
        self._sequence = sequence
        self._tape = tape


class Passes(Configuration):
    """The passes of a `Network`, which has the parameters and says what computes."""

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
        if options(loss, reduction) == ("softmax", "mean") and lengths is None:
            given = [state] if self._kind.states == 1 and state is not None else state
            quick = self._quick.loss_and_gradients(gradients, x, targets, given)
            if quick is not None:
                gradients.state = checks.public(gradients.state)
                return quick[0], gradients, checks.public(quick[1])
        sequence = self._sequence(x, state, lengths)
        objective = self._objective(loss, targets, sequence, reduction)
        grouped = self._quick.in_groups(gradients, sequence, objective, wants_x)
        if grouped is not None:
            gradients.state = sequence.public(gradients.state)
        value, last = grouped or self._engine.loss_and_gradients(
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
        return checked_objective(
            loss, targets, sequence, self._engine.weights.output_size, reduction, self._dtype
        )
