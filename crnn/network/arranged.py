"""Passes over sequences that do not lie as an engine takes them: batch first, or in a list."""

from typing import NamedTuple

from crnn.base.arrangement import TimeFirst, arranged


class ArrangedTape(NamedTuple):
    """A tape, and how the sequences lie that it is of."""

    tape: object
    given: TimeFirst  # or another arrangement


class ArrangedPasses:
    """The passes of an engine, which take and give sequences as their callers have them.

    Parameters
    ----------
    engine : Engine
    batch_first : bool
        Whether arrays have the batch before time.
    """

    def __init__(self, engine, batch_first):
        self._engine, self._batch_first = engine, batch_first

    def infer(self, x, state, lengths, last_only):
        """As `Engine.infer`."""
        given = self._arranged(x, lengths)
        y, last = self._engine.infer(given.x, state, given.lengths, last_only)
        return y if last_only else given.public(y), last

    def forward(self, x, state, lengths):
        """As `Engine.forward`; the tape is an `ArrangedTape`."""
        given = self._arranged(x, lengths)
        y, last, tape = self._engine.forward(given.x, state, given.lengths)
        return given.public(y), last, ArrangedTape(tape, given)

    def backward(self, tape, dy, dstate, wants_x):
        """As `Engine.backward`, of an `ArrangedTape`."""
        dy = tape.given.along(dy, "dy")
        gradients = self._engine.backward(tape.tape, dy, dstate, wants_x)
        return self._public(gradients, tape.given)

    def loss(self, x, targets, state, loss, reduction, lengths, weighting):
        """As `Engine.loss`."""
        given = self._arranged(x, lengths)
        targets, weighting = given.targets(targets, loss), given.weighting(weighting)
        return self._engine.loss(given.x, targets, state, loss, reduction, given.lengths, weighting)

    def loss_and_gradients(
        self, x, targets, state, loss, reduction, lengths, weighting, wants_x
    ):
        """As `Engine.loss_and_gradients`."""
        given = self._arranged(x, lengths)
        targets, weighting = given.targets(targets, loss), given.weighting(weighting)
        value, gradients, last = self._engine.loss_and_gradients(
            given.x, targets, state, loss, reduction, given.lengths, weighting, wants_x)
        return value, self._public(gradients, given), last

    def _arranged(self, x, lengths):
        return arranged(x, lengths, self._batch_first, self._engine.layers[0].input_size)

    def _public(self, gradients, given):
        gradients.x = given.public(gradients.x)
        return gradients
