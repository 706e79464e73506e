"""The engine of the reference backend: whole passes of the textbook, on what users give.

`Engine` is one of two classes with the same methods; see `crnn.engine.compiled`. What users give is
checked here; what computes is `crnn.reference.Passes`.
"""

import numpy as np

from crnn.base import checks
from crnn.base.compression import compressed_names
from crnn.base.objective import check_outputs, checked_objective
from crnn.base.sequences import (
    check_kind,
    check_last,
    checked_sequence,
    checked_states,
    public_state,
)
from crnn.engine.dropout import Dropout
from crnn.engine.sampling import Sampler
from crnn.reference import optimizers
from crnn.reference.network import Passes
from crnn.reference.rounding import WEIGHTS


class Engine:
    """The passes of a network: parameters and attributes are those of `compiled.Engine`."""

    updates = optimizers
    mask = None

    def __init__(self, layers, parameters, readout, skip, generator, lookout):
        self.layers, self.parameters, self.lookout = layers, parameters, lookout
        self.readout, self.skip = readout, skip
        self._dropout, self._dtype = Dropout(layers, generator), parameters.dtype
        self.output_size = layers[-1].output_size if readout is None else readout.size
        self._passes = Passes(
            layers, in_format(parameters), readout.activation if readout else "linear", skip)

    def infer(self, x, state, lengths, last_only=False):
        """Run over a whole sequence; return y, or only the last outputs, and the last state."""
        sequence = self.sequence(x, state, lengths)
        check_last(last_only, self.skip)
        infer = self._passes.infer_last if last_only else self._passes.infer
        y, states = infer(sequence.x, sequence.states, sequence.lengths)
        return sequence.unbatch(y, y.ndim - 2), public_state(states, sequence.batched)

    def forward(self, x, state, lengths):
        """Run over a whole sequence, with dropout; return y, the last state, and the tape."""
        sequence = self.sequence(x, state, lengths)
        own_x = sequence.x.copy()  # the caller may overwrite its array
        y, states, tape = self._dropout.run(
            lambda masks: self._passes.forward(own_x, sequence.states, sequence.lengths, masks),
            sequence.steps, sequence.batch_size,
        )
        return sequence.unbatch(y), public_state(states, sequence.batched), (sequence, tape)

    def backward(self, tape, dy, dstate, wants_x=True):
        """Return the `Gradients`, given those of y and of the last state, or None.

        ``wants_x`` asks for the gradient of x, too.
        """
        sequence, tape = tape
        shape = sequence.steps, *sequence.batch, self.output_size
        dy = checks.real_array(dy, "dy", self._dtype, shape)
        batch_size = sequence.batch_size if sequence.batched else None
        dstates = checked_states(dstate, batch_size, self.layers, self._dtype, "dstate")
        dy = dy.reshape(sequence.steps, sequence.batch_size, self.output_size)
        return self._public(self._passes.backward(tape, dy, dstates), sequence, wants_x)

    def loss(self, x, targets, state, loss, reduction, lengths, weighting=None):
        """Return the loss over a whole sequence, and the last state."""
        sequence, objective = self.question(
            x, targets, state, loss, reduction, lengths, weighting)
        value, states = self._passes.loss(
            sequence.x, sequence.states, sequence.lengths, objective
        )
        return value, public_state(states, sequence.batched)

    def loss_and_gradients(
        self, x, targets, state, loss, reduction, lengths, weighting=None, wants_x=True
    ):
        """Return the loss, its `Gradients`, and the last state.

        ``wants_x`` asks for the gradient of x, too.
        """
        sequence, objective = self.question(
            x, targets, state, loss, reduction, lengths, weighting)
        value, gradients, states = self._dropout.run(
            lambda masks: self._passes.loss_and_gradients(
                sequence.x, sequence.states, sequence.lengths, objective, masks
            ),
            sequence.steps, sequence.batch_size, objective.last_only,
        )
        gradients = self._public(gradients, sequence, wants_x)
        return value, gradients, public_state(states, sequence.batched)

    def validate(self, x, targets, loss, lengths, weighting=None):
        """Raise what `loss` would raise of these, without computing it; return the `Objective`."""
        return self.question(x, targets, None, loss, "mean", lengths, weighting)[1]

    def stepper(self, prepare, of_logits=False):
        """Return a `Stepper` on these passes, or on those without the readout's activation."""
        passes = self._passes
        if of_logits:
            passes = Passes(self.layers, passes.parameters, skip=self.skip)
        return Stepper(passes, prepare, self.output_size, self._dtype)

    def step_together(self, steppers, x, y):
        """Step all of some steppers, at least one, with x one after the other, and fill y.

        Return -1, or, and then none has moved, the number of the first that cannot: of other passes
        or another batch size than the first, or there before.
        """
        return step_each(steppers, lambda each: each.passes is self._passes, x, y)

    def sampler(self, count, temperature, top_k, top_p):
        """Return what goes on with so many texts."""
        return Sampler(self, count, temperature, top_k, top_p)

    def initial_states(self, batch_size):
        """Return what a batch begins with where no state is given, for each layer and direction."""
        return initial_states(self._passes, batch_size)

    def free_memory(self):
        """Do nothing: no memory is kept from pass to pass."""

    def sequence(self, x, state, lengths):
        """Return the checked sequence."""
        sequence = checked_sequence(x, state, lengths, self.layers, self._dtype, self.lookout)
        check_kind(sequence.is_tokens, self.layers, self.skip)
        return sequence

    def question(self, x, targets, state, loss, reduction, lengths, weighting):
        """Return the checked sequence and the checked objective."""
        sequence = self.sequence(x, state, lengths)
        objective = checked_objective(
            loss, targets, sequence, self.output_size, reduction, self._dtype, weighting)
        check_outputs(objective, self.readout, self.skip)
        return sequence, objective

    def _public(self, found, sequence, wants_x):
        gradients = self.parameters.new_gradients()
        with np.errstate(over="ignore"):  # a sum in float64 may be infinite in float32
            for name, view in gradients.parameters.items():
                view[...] = found.parameters[name]
        gradients.x = sequence.unbatch(found.x) if wants_x else None
        gradients.state = public_state(found.states, sequence.batched)
        return gradients


def in_format(parameters):
    """Return parameters by name as the textbook reads them: compressed ones multiply as such."""
    form = parameters.format
    if form is None:
        return parameters
    names = compressed_names(parameters.layout.shapes, form)
    return {name: view.view(WEIGHTS[form]) if name in names else view
            for name, view in parameters.items()}


class Stepper:
    """One time step at a time on a state of its own: what `crnn.Stream` runs.

    Parameters
    ----------
    passes : crnn.reference.Passes
    prepare : callable
        ``x, out = prepare(stepper, x, out, of_block)`` checks the arguments of `step` or, if
        ``of_block``, of `run_block`, and converts x to an array of the dtype or of tokens.
    output_size : int
    dtype : numpy.dtype

    Attributes
    ----------
    passes
        As given.
    state : list of list of ndarray (B, H)
        For each layer h and, of an LSTM, c: copies.
    batch_size : int
    batched : bool
        Whether x and y have an axis for the batch.
    is_at_start : bool
        Whether it still is as `reset` left it, without states; learned ones follow the parameters.
    """

    def __init__(self, passes, prepare, output_size, dtype):
        self.passes, self._prepare = passes, prepare
        self._output_size, self._dtype = output_size, dtype
        self.reset(None)

    def reset(self, batch_size, states=None):
        """Begin anew, from states, which are copied and have the form of `state`, or without.

        One sequence for None, else ``batch_size`` of them.
        """
        rows = 1 if batch_size is None else batch_size
        own = initial_states(self.passes, rows) if states is None else copies(states)
        self._states, self.is_at_start = own, states is None
        self.batched, self.batch_size = batch_size is not None, rows

    @property
    def state(self):
        if self.is_at_start:  # parameters may have changed since
            self._states = initial_states(self.passes, self.batch_size)
        return copies(self._states)

    def step(self, x, out=None):
        """Return y of one time step and move the state on.

        Parameters
        ----------
        x : ndarray (B, I) or (I,), or tokens (B,) or ()
        out : ndarray (B, O) or (O,), optional
            Where to put y.

        Returns
        -------
        ndarray (B, O) or (O,)
        """
        x, out = self._prepare(self, x, out, False)
        return filled(out, self._moved(x[None])[0])

    def run_block(self, x, out=None):
        """Return y of time steps, one after the other, and move the state on.

        Parameters
        ----------
        x : ndarray (T, B, I) or (T, I), or tokens (T, B) or (T,)
        out : ndarray (T, B, O) or (T, O), optional
            Where to put y.

        Returns
        -------
        ndarray (T, B, O) or (T, O)
        """
        x, out = self._prepare(self, x, out, True)
        return filled(out, self._moved(x))

    def _moved(self, x):
        features = () if x.dtype.kind in "iu" else (self.passes.layers[0].input_size,)
        y = np.empty((len(x), self.batch_size, self._output_size), self._dtype)
        states = None if self.is_at_start else self._states
        for t, rows in enumerate(x.reshape(len(x), self.batch_size, *features)):
            y[t], states = self.passes.step(rows, states)
        if len(x):
            self._states, self.is_at_start = states, False
        return y if self.batched else y[:, 0]


def step_each(steppers, is_own, x, y):
    """Step all of some steppers, one after the other; as `Engine.step_together`."""
    size, seen, moved = (steppers[0].batched, steppers[0].batch_size), set(), []
    for number, each in enumerate(steppers):
        if not is_own(each) or (each.batched, each.batch_size) != size or each in seen:
            return number
        seen.add(each)
    try:
        for each, rows, own in zip(steppers, x, y, strict=True):
            moved.append((each, None if each.is_at_start else each.state))
            own[...] = each.step(rows)
    except BaseException:  # all of them, or none
        for each, state in moved:
            each.reset(each.batch_size if each.batched else None, state)
        raise
    return -1


def filled(out, y):
    """Return out, filled with y, or y if it is None."""
    if out is None:
        return y
    out[...] = y
    return out


def initial_states(passes, batch):
    """Return what a batch begins with, or raise MemoryError."""
    try:
        return passes.initial_states(batch)
    except (OverflowError, ValueError):  # what NumPy says beyond the address space
        raise MemoryError(f"states of {batch} sequences do not fit in memory") from None


def copies(states):
    """Return states of which nothing is shared."""
    return [[np.array(each) for each in state] for state in states]
