"""Steps that are none: the engine of a network with a mask (`crnn.layers.Masking`).

Every pass goes over what is left of each sequence without such steps, moved together, which is a
batch of sequences of unequal lengths like any other. What comes with x, such as targets, is cut
down in the same way, and what comes out for every step is spread again: at a step that is none the
state stays, and outputs are what the layers above make of it.
"""

import numpy as np

from crnn.base import checks
from crnn.base.losses import checked_loss
from crnn.base.sequences import check_kind, checked_sequence, valid_steps
from crnn.base.weights import Weighting
from crnn.engine.sampling import Sampler
from crnn.engine.textbook import filled, in_format, step_each
from crnn.reference.network import Passes


class MaskedEngine:
    """The passes of an engine, without the steps that a mask leaves out.

    Parameters
    ----------
    engine : Engine
    mask : MaskSpec

    Attributes
    ----------
    mask
        As given. The others are those of `compiled.Engine`.
    """

    def __init__(self, engine, mask):
        self._engine, self.mask = engine, mask
        self.layers, self.readout, self.skip = engine.layers, engine.readout, engine.skip
        self.parameters, self._dtype = engine.parameters, engine.parameters.dtype
        self.output_size, self.updates = engine.output_size, engine.updates
        self.lookout = engine.lookout
        activation = "linear" if engine.readout is None else engine.readout.activation
        self._top = _Top(engine, activation)

    # --- passes ---------------------------------------------------------------------------------

    def infer(self, x, state, lengths, last_only=False):
        """As `compiled.Engine.infer`."""
        kept = self._kept(x, state, lengths)
        if kept is None:
            return self._engine.infer(x, state, lengths, last_only)
        y, last = self._engine.infer(kept.x, state, kept.lengths, last_only)
        if last_only:
            return self._last_outputs(y, kept), last
        return self._at_every_step(y, kept), last

    def forward(self, x, state, lengths):
        """As `compiled.Engine.forward`."""
        kept = self._kept(x, state, lengths)
        if kept is None:
            y, last, tape = self._engine.forward(x, state, lengths)
        else:
            y, last, tape = self._engine.forward(kept.x, state, kept.lengths)
            y = self._at_every_step(y, kept)
        return y, last, (tape, kept)

    def backward(self, tape, dy, dstate, wants_x=True):
        """As `compiled.Engine.backward`; what dy says of steps that are none is ignored."""
        tape, kept = tape
        if kept is None:
            return self._engine.backward(tape, dy, dstate, wants_x)
        dy = checks.real_array(dy, "dy", self._dtype, (*kept.shape, self.output_size))
        return kept.spread_gradients(
            self._engine.backward(tape, kept.gathered(dy), dstate, wants_x))

    def loss(self, x, targets, state, loss, reduction, lengths, weighting=None):
        """As `compiled.Engine.loss`; only targets of steps count."""
        kept = self._kept(x, state, lengths)
        if kept is not None:
            targets, weighting = self._of_steps(kept, x, targets, loss, lengths, weighting)
            x, lengths = kept.x, kept.lengths
        return self._engine.loss(x, targets, state, loss, reduction, lengths, weighting)

    def loss_and_gradients(
        self, x, targets, state, loss, reduction, lengths, weighting=None, wants_x=True
    ):
        """As `compiled.Engine.loss_and_gradients`; only targets of steps count."""
        kept = self._kept(x, state, lengths)
        if kept is None:
            return self._engine.loss_and_gradients(
                x, targets, state, loss, reduction, lengths, weighting, wants_x)
        targets, weighting = self._of_steps(kept, x, targets, loss, lengths, weighting)
        value, gradients, last = self._engine.loss_and_gradients(
            kept.x, targets, state, loss, reduction, kept.lengths, weighting, wants_x)
        return value, kept.spread_gradients(gradients), last

    def validate(self, x, targets, loss, lengths, weighting=None):
        """As `compiled.Engine.validate`; targets of steps that are none have the weight 0."""
        kept = self._kept(x, None, lengths)
        if kept is not None:
            weighting = kept.weighting(weighting, targets, loss)
        return self._engine.validate(x, targets, loss, lengths, weighting)

    def stepper(self, prepare, of_logits=False):
        """Return what runs one time step at a time, as `compiled.Engine.stepper` does."""
        top = _Top(self._engine, "linear") if of_logits else self._top
        return MaskedStepper(self._engine.stepper(prepare, of_logits), prepare, self.mask, top)

    def step_together(self, steppers, x, y):
        """As `compiled.Engine.step_together`."""
        self.mask.check_kind(x.dtype.kind in "iu")
        return step_each(steppers, lambda each: each.top is self._top, x, y)

    def sampler(self, count, temperature, top_k, top_p):
        """As `compiled.Engine.sampler`."""
        return Sampler(self, count, temperature, top_k, top_p)

    def initial_states(self, batch_size):
        """As `compiled.Engine.initial_states`."""
        return self._engine.initial_states(batch_size)

    def free_memory(self):
        """Give back what passes leave for the next one."""
        self._engine.free_memory()

    # --- steps that are none --------------------------------------------------------------------

    def _kept(self, x, state, lengths):
        """Return what is `Kept` of sequences; None where all steps are."""
        sequence = checked_sequence(x, state, lengths, self.layers, self._dtype, self.lookout)
        check_kind(sequence.is_tokens, self.layers, self.skip)
        self.mask.check_kind(sequence.is_tokens)
        steps = np.full(sequence.batch_size, sequence.steps)
        given = valid_steps(steps if sequence.lengths is None else sequence.lengths, sequence.steps)
        valid = given & self.mask.is_step(sequence.x)
        return None if (valid == given).all() else Kept(sequence, given, valid)

    def _of_steps(self, kept, x, targets, loss, lengths, weighting):
        """Return targets and their weighting, checked as they came, of what is kept."""
        if self.validate(x, targets, loss, lengths, weighting).last_only:
            return targets, weighting
        if weighting is not None and np.ndim(weighting.sample_weight) == len(kept.shape):
            weighting = weighting._replace(sample_weight=kept.gathered(weighting.sample_weight))
        return kept.gathered(targets), weighting

    def _at_every_step(self, y, kept):
        """Return outputs for all steps, given those of what is kept, in the caller's form."""
        y, outputs = kept.batched(y), self._top.outputs_in(self._initial_states(kept))
        whole = kept.of_last_step(y, outputs)
        if self._top.directions == 2:
            whole[~kept.valid] = self._top.outputs_of_zeros()
        whole[~kept.given] = 0
        return kept.as_given(whole)

    def _last_outputs(self, y, kept):
        """Return last outputs, of sequences all of whose steps are none too."""
        outputs = self._top.outputs_in(self._initial_states(kept))
        is_of_none = kept.given.any(axis=0) & ~kept.valid.any(axis=0)
        return np.where(is_of_none[:, None], outputs, y).reshape(y.shape)

    def _initial_states(self, kept):
        if kept.states is None:
            return self.initial_states(kept.valid.shape[1])
        return kept.states


class Kept:
    """What is left of a batch without the steps that are none.

    Parameters
    ----------
    sequence : Sequence
        As given.
    given : ndarray of bool (T, B)
        Where a sequence is not over.
    valid : ndarray of bool (T, B)
        And where it has a step.

    Attributes
    ----------
    given, valid
        As given.
    x, lengths
        As an engine takes them, in the caller's form.
    states : list or None
        The initial ones, inside form.
    shape : tuple
        (T, B), or (T,) of one sequence without an axis for the batch.
    """

    def __init__(self, sequence, given, valid):
        self.given, self.valid, self.states = given, valid, sequence.states
        self._sequence, self._rows = sequence, np.arange(sequence.batch_size)
        self.shape = sequence.steps, *sequence.batch
        counts = valid.sum(axis=0)
        self._order = np.argsort(~valid, axis=0, kind="stable")[: counts.max(initial=0)]
        self._counts = np.cumsum(valid, axis=0)  # of steps so far
        self.x = self.gathered(sequence.unbatch(sequence.x))
        self.lengths = counts if sequence.batched else counts[0]

    def gathered(self, array):
        """Return what has an entry for each step, such as targets, of what is kept."""
        array = np.asarray(array).reshape(*self.valid.shape, *np.shape(array)[len(self.shape) :])
        return self.as_given(np.ascontiguousarray(array[self._order, self._rows]))

    def as_given(self, array):
        """Return an array without the axis of the batch if x came without one."""
        return self._sequence.unbatch(array)

    def batched(self, array):
        """Return an array that has an axis for the batch, given one in the caller's form."""
        return array if self._sequence.batched else array[:, None]

    def of_last_step(self, array, initial):
        """Return for each step (T, B, n) what an array has for it, or for the last one before it.

        ``initial`` (B, n) goes before the first one.
        """
        first = np.broadcast_to(initial, array.shape[1:])[None].astype(array.dtype)
        return np.concatenate([first, array])[self._counts, self._rows]

    def spread_gradients(self, gradients):
        """Give x of some `Gradients` its steps that are none, of which the gradient is 0."""
        if gradients.x is not None:
            x = self.batched(gradients.x)
            whole = self.of_last_step(x, 0)
            whole[~self.valid] = 0
            gradients.x = self.as_given(whole)
        return gradients

    def weighting(self, given, targets, loss):
        """Return a `Weighting` of all targets that has 0 for those of steps that are none."""
        given = given or Weighting()
        axes = np.ndim(targets) - (checked_loss(loss).name != "softmax")
        weights = self.valid if axes == len(self.shape) else self.valid.any(axis=0)
        weights = weights.reshape(self.shape if weights is self.valid else self.shape[1:])
        if given.sample_weight is None:
            return given._replace(sample_weight=weights.astype(float))
        own = checks.plain_array(given.sample_weight, "sample_weight")
        if own.shape not in (weights.shape, self.shape[1:]):
            return given  # which is refused
        return given._replace(sample_weight=weights * own)


class _Top:
    """The top recurrent layer of a network and what is above it, in the textbook.

    Parameters
    ----------
    engine : Engine
    activation : str
        The f of the readout, or another one in its place.

    Attributes
    ----------
    directions : {1, 2}
    output_size : int
    dtype : numpy.dtype
    """

    def __init__(self, engine, activation):
        self._passes = Passes(engine.layers, in_format(engine.parameters), activation)
        layer = engine.layers[self._passes.body - 1]
        self.directions, self._size = layer.directions, layer.output_size
        self.output_size, self.dtype = engine.output_size, engine.parameters.dtype

    def outputs_in(self, states):
        """Return the outputs in a state (B, O)."""
        h = np.concatenate([own[0] for own in states[-self.directions :]], axis=1)
        return self._passes.outputs(h[:, None])[:, 0]  # same bits in any batch: row by row

    def outputs_of_zeros(self):
        """Return the outputs where the layer puts out 0 (O,)."""
        return self._passes.outputs(np.zeros((1, 1, self._size), self.dtype))[0, 0]


class MaskedStepper:
    """A `Stepper` that takes no step where there is none.

    Its state then stays, and its outputs are what the layers above make of it.

    Parameters
    ----------
    stepper : Stepper
    prepare : callable
        As a stepper takes it.
    mask : MaskSpec
    top : _Top

    Attributes
    ----------
    top
        As given. The others are those of `Stepper`.
    """

    def __init__(self, stepper, prepare, mask, top):
        self._stepper, self._prepare, self._mask, self.top = stepper, prepare, mask, top
        self.reset = stepper.reset

    @property
    def state(self):
        return self._stepper.state

    @property
    def batched(self):
        return self._stepper.batched

    @property
    def batch_size(self):
        return self._stepper.batch_size

    @property
    def is_at_start(self):
        return self._stepper.is_at_start

    def step(self, x, out=None):
        """As `Stepper.step`."""
        x, out = self._prepare(self, x, out, False)
        self._mask.check_kind(x.dtype.kind in "iu")
        return filled(out, self._stepped(x))

    def run_block(self, x, out=None):
        """As `Stepper.run_block`."""
        x, out = self._prepare(self, x, out, True)
        self._mask.check_kind(x.dtype.kind in "iu")
        batch = (self.batch_size,) if self.batched else ()
        y = np.empty((len(x), *batch, self.top.output_size), self.top.dtype)
        was_at_start, before = self.is_at_start, self.state
        try:
            for t, row in enumerate(x):
                y[t] = self._stepped(row)
        except BaseException:  # all of the block, or none
            self.reset(self.batch_size if self.batched else None, None if was_at_start else before)
            raise
        return filled(out, y)

    def _stepped(self, x):
        is_step = self._mask.is_step(x)
        if is_step.all():
            return self._stepper.step(x)
        before = self._stepper.state
        y = self.top.outputs_in(before)
        y = y if self.batched else y[0]
        if is_step.any():
            y[is_step] = self._stepper.step(x)[is_step]
            after = self._stepper.state
            for own, old in zip(after, before, strict=True):
                for array, kept in zip(own, old, strict=True):
                    array[~is_step] = kept[~is_step]
            self._stepper.reset(self.batch_size, after)
        return y
