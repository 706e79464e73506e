"""The engine of the compiled backend: whole passes, on what users give.

`Engine` is one of two classes with the same methods, and all that a network, training and the
analyses know of what computes. Every pass goes one way: the plan of the last pass is asked whether
it can take the arguments as they are. If not, they are checked and converted, or refused, and a
plan for their shape takes them: one that was kept, or a new one. The plan runs, and its results
are handed out. Only `backward` needs no plan of its own question: it goes back from the one that
has run forward.
"""

import numpy as np

from crnn.base import checks
from crnn.base.backends import kernels
from crnn.base.losses import LOSSES, Loss
from crnn.base.objective import REDUCTIONS, Objective, check_outputs, checked_objective
from crnn.base.sequences import (
    check_kind,
    check_last,
    checked_sequence,
    checked_states,
    valid_steps,
)
from crnn.engine.dropout import Dropout
from crnn.engine.packing import PackedWeights
from crnn.engine.plans import Plan, Plans, Question, Tape
from crnn.engine.sampling import CompiledSampler
from crnn.kernels.memory import aligned_empty

NO_OBJECTIVE = Objective(Loss(""), None, None, 0, 1.0, False)


class Engine:
    """The passes of a network.

    Parameters
    ----------
    layers : list of LayerSpec
        From the input up, without the readout.
    parameters : Parameters
        Of these layers and maybe of a readout.
    readout : ReadoutSpec or None
    skip : bool
        Whether the input is added to the outputs.
    generator : numpy.random.Generator
        Draws the dropout masks.
    lookout : Lookout
        Warns of features that are read as tokens.

    Attributes
    ----------
    layers, parameters, readout, skip, lookout
        As given.
    output_size : int
        O, of a network without a readout what its top layer puts out.
    updates : namespace
        The optimizers' functions: sgd_update, adagrad_update, rmsprop_update, adam_update, norm
        and is_finite.
    """

    mask = None  # all steps are; see `crnn.engine.masking`

    def __init__(self, layers, parameters, readout, skip, generator, lookout):
        self.layers, self.parameters, self._dtype = layers, parameters, parameters.dtype
        self.readout, self.skip, self.lookout = readout, skip, lookout
        self._dropout = Dropout(layers, generator)
        self.updates = self._kernels = kernels(parameters.backend, parameters.dtype)
        self.weights = PackedWeights(self._kernels, layers, parameters, readout, skip)
        self.output_size = self.weights.output_size
        self._plans, self._together = Plans(), []

    # --- passes ---------------------------------------------------------------------------------

    def infer(self, x, state, lengths, last_only=False):
        """Run over a whole sequence, keeping no tape; return y and the last state.

        ``last_only`` asks for each sequence's last outputs only: then y has no axis for steps.
        """
        plan = self._plan_that_takes(
            "infer", x, None, state, lengths, NO_OBJECTIVE.loss, None, False, last_only)
        if plan is None:
            sequence = self._sequence(x, state, lengths)
            check_last(last_only, self.skip)
            plan = self._plan_of("infer", sequence, NO_OBJECTIVE._replace(last_only=last_only))
        y, last = plan.infer()
        self._plans.give_back(plan)
        if last_only:
            y = y[0]
        return y if plan.question.batched else y[..., 0, :], last

    def forward(self, x, state, lengths):
        """Run over a whole sequence, with dropout; return y, the last state, and the tape."""
        plan = self._plan_that_takes(
            "forward", x, None, state, lengths, NO_OBJECTIVE.loss, None, False, False)
        if plan is None:
            plan = self._plan_of("forward", self._sequence(x, state, lengths))
        q, lengths = plan.question, plan.arguments.given_lengths
        y, masks = self._dropout.run(
            lambda masks: (plan.forward(masks), masks), q.steps, q.batch)
        last, tape = plan.arguments.public(), Tape(plan, lengths, masks, state is not None)
        self._plans.give_back(plan)
        return y if q.batched else y[:, 0], last, tape

    def backward(self, tape, dy, dstate, wants_x=True):
        """Return the `Gradients`, given those of y and of the last state, or None.

        ``wants_x`` asks for the gradient of x, too. Several threads may go back over the same tape
        at once.
        """
        if tape.plan.tape() is not tape:  # the garbage collector clears weak references first
            raise ValueError("cache is being collected as garbage: call forward again")
        q = tape.plan.question
        batch = (q.batch,) if q.batched else ()
        dy = checks.real_array(dy, "dy", self._dtype, (q.steps, *batch, self.output_size))
        dy = dy.reshape(q.steps, q.batch, self.output_size)
        if tape.lengths is not None:
            valid = valid_steps(tape.lengths, q.steps)
            dy = np.where(valid[:, :, None], dy, self._dtype.type(0))
        dstates = None
        if dstate is not None:
            dstates = checked_states(dstate, q.batch if q.batched else None, self.layers,
                                     self._dtype, "dstate")
        plan, gradients = tape.plan.take_way_back(wants_x), self.parameters.new_gradients()
        plan.arguments.put(tape.lengths, None, 1.0)
        if dstates is not None:
            put_states(plan.arguments.gradients, dstates)
        dx = self._new_dx(q, wants_x)
        plan.backward(np.require(dy, None, ["C", "W"]), gradients.vector, tape.masks, dx)
        self._filled(gradients, plan, dx, tape.was_given)
        self._plans.give_way_back(tape.plan, plan)
        return gradients

    def loss(self, x, targets, state, loss, reduction, lengths, weighting=None):
        """Return the loss over a whole sequence, and the last state; no tape is kept."""
        plan = self._plan_for_loss(
            "loss", x, targets, state, loss, reduction, lengths, weighting)
        value, last = plan.loss(), plan.arguments.public()
        self._plans.give_back(plan)
        return value, last

    def loss_and_gradients(
        self, x, targets, state, loss, reduction, lengths, weighting=None, wants_x=True
    ):
        """Return the loss, its `Gradients`, and the last state.

        ``wants_x`` asks for the gradient of x, too.
        """
        plan = self._plan_for_loss(
            "train", x, targets, state, loss, reduction, lengths, weighting, wants_x)
        gradients, dx = self.parameters.new_gradients(), self._new_dx(plan.question, wants_x)
        q, vector = plan.question, gradients.vector
        value = self._dropout.run(
            lambda masks: plan.train(vector, masks, dx), q.steps, q.batch, q.last_only)
        last = plan.arguments.public()
        self._filled(gradients, plan, dx, state is not None)
        self._plans.give_back(plan)
        return value, gradients, last

    def validate(self, x, targets, loss, lengths, weighting=None):
        """Raise what `loss` would raise for these, without computing it; return the `Objective`."""
        sequence = self._sequence(x, None, lengths)
        return self._objective(loss, targets, sequence, "mean", weighting)

    def stepper(self, prepare, of_logits=False):
        """Return what runs one time step at a time, on a state of its own.

        It has ``step(x, out=None)``, ``run_block(x, out=None)`` with an axis for steps,
        ``reset(batch_size, states=None)``, ``state`` (a list for each layer), ``batched``,
        ``batch_size``, and ``is_at_start``: whether it still is as `reset` left it, without states,
        and follows learned ones. ``x, out = prepare(stepper, x, out, of_block)`` checks and
        converts. With ``of_logits`` it leaves out the activation of the readout.
        """
        return self._kernels.Stepper(self.weights, prepare, of_logits)

    def step_together(self, steppers, x, y):
        """Step all of some steppers, at least one, with x one after the other, and fill y.

        Return -1, or, and then none has moved, the number of the first that cannot: of other
        weights or another batch size than the first, at work in another thread, or there before.
        """
        together = self._together.pop() if self._together else (
            self._kernels.Together(self.weights))  # another thread has the last one
        refused = together.step(steppers, x, y)
        self._together.append(together)
        return refused

    def sampler(self, count, temperature, top_k, top_p):
        """Return what goes on with so many texts; `crnn.engine.sampling.Sampler` says how.

        The arguments are checked: the network takes tokens, has as many outputs as inputs, and ends
        in softmax, or in no activation.
        """
        return CompiledSampler(
            self._kernels, self.weights, count, temperature, top_k, top_p)

    def initial_states(self, batch_size):
        """Return what a batch begins with where no state is given, for each layer and direction."""
        states = checked_states(None, batch_size, self.layers, self._dtype)
        for own, learned in zip(states, self.weights.initial_states or (), strict=False):
            for array, row in zip(own, learned.values(), strict=True):
                array[...] = row
        return states

    def free_memory(self):
        """Give back what passes leave for the next one."""
        self._plans.clear()
        self.weights.free_memory()

    # --- plans ----------------------------------------------------------------------------------

    def _plan_that_takes(
        self, kind, x, targets, state, lengths, loss, reduction, wants_x, last_only
    ):
        """Return a plan that has taken the arguments as they are, or None."""
        given = x, targets, state, lengths, loss, reduction, wants_x, last_only
        plan = self._plans.take_latest(kind)
        if plan is not None and plan.arguments.take(*given):
            return plan
        self._put_aside(plan)
        plan = self._plans.take(Question.of_arrays(kind, x, targets, loss, last_only, wants_x))
        if plan is not None and plan.arguments.take(*given):
            return plan
        self._put_aside(plan)
        return None

    def _plan_for_loss(
        self, kind, x, targets, state, loss, reduction, lengths, weighting, wants_x=False
    ):
        """Return a plan that has taken the arguments, if need be checked and converted."""
        named, plan = LOSSES.get(loss) if type(loss) is str else loss, None
        is_reduction = isinstance(reduction, str) and reduction in REDUCTIONS
        if is_reduction and isinstance(named, Loss) and weighting is None and targets is not None:
            plan = self._plan_that_takes(
                kind, x, targets, state, lengths, named, reduction, wants_x, False)
        if plan is None:
            sequence = self._sequence(x, state, lengths)
            objective = self._objective(loss, targets, sequence, reduction, weighting)
            plan = self._plan_of(kind, sequence, objective, wants_x)
        return plan

    def _put_aside(self, plan):
        """Keep a plan that has refused what it was given."""
        if plan is not None:
            plan.arguments.let_go()  # of what it had taken before
            self._plans.put_aside(plan)

    def _sequence(self, x, state, lengths):
        sequence = checked_sequence(x, state, lengths, self.layers, self._dtype, self.lookout)
        check_kind(sequence.is_tokens, self.layers, self.skip)
        return sequence

    def _objective(self, loss, targets, sequence, reduction, weighting):
        objective = checked_objective(
            loss, targets, sequence, self.output_size, reduction, self._dtype, weighting)
        check_outputs(objective, self.readout, self.skip)
        return objective

    def _plan_of(self, kind, sequence, objective=NO_OBJECTIVE, wants_x=False):
        """Return a plan that has taken checked arguments."""
        question = Question(
            kind, sequence.steps, sequence.batch_size, sequence.batched, sequence.is_tokens,
            objective.loss.name, objective.loss.blocks, objective.last_only,
            wants_x and not sequence.is_tokens,
        )
        plan = self._plans.take(question)
        if plan is None:
            tokens = sequence.x if question.is_tokens else None
            classes = objective.targets if question.loss == "softmax" else None
            plan = Plan(self._kernels, self.weights, question, tokens, classes)
        targets = objective.targets
        if targets is not None:  # in the caller's form
            shape = (() if objective.last_only else (sequence.steps,)) + sequence.batch
            targets = targets.reshape(shape + targets.shape[2:])
        taken = plan.arguments.take(
            sequence.unbatch(sequence.x), targets, None, None, objective.loss, None,
            question.wants_x, question.last_only)
        if not taken:
            raise RuntimeError("an array that was checked does not fit its plan")
        plan.arguments.put(sequence.lengths, objective.weights, objective.scale)
        if sequence.states is not None:
            put_states(plan.arguments.states, sequence.states)
        return plan

    def _new_dx(self, question, wants_x):
        if question.is_tokens or not wants_x:
            return None
        shape = question.steps, question.batch, self.weights.input_size
        return aligned_empty(shape, self._dtype)

    def _filled(self, gradients, plan, dx, was_given):
        if dx is not None:
            gradients.x = dx if plan.question.batched else dx[:, 0]
        gradients.state = plan.arguments.public(gradients=True)
        if self.weights.initial_states is not None and not was_given:
            self._add_initial_gradients(gradients.parameters, plan.arguments.gradients)
        return gradients

    def _add_initial_gradients(self, parameters, dstates):
        """Fill in the gradients of learned states, with which each sequence has begun."""
        for learned, arrays in zip(self.weights.initial_states, dstates, strict=True):
            for name, array in zip(learned, arrays, strict=True):
                parameters[name][...] = array.sum(axis=0, dtype=np.float64)


def put_states(own, states):
    """Copy states of the inside form."""
    for mine, given in zip(own, states, strict=True):
        for to, array in zip(mine, given, strict=True):
            to[...] = array
