"""What a network computes, on checked input: passes over whole sequences, block by block.

Nothing of the size of T x B is held except what a caller asks for (the states for training, the
outputs for inference), the losses of single targets and, where there is a second direction or
another layer to train, what goes from layer to layer. Everything else lives for one block of time
steps.

Where it pays, threads share the work. On the way forward and back each takes some sequences of the
batch; of the gradients of the weights, which are sums over all sequences, it takes some rows. So no
sum depends on how many threads there are.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.engine.sequences import (
    at_last_steps,
    last_steps,
    put_block,
    reverse,
    silence_finished,
)
from crnn.engine.stack import Stack, nothing
from crnn.kernels.memory import aligned_empty, aligned_zeros


class Tape(NamedTuple):
    """What the way back needs of a pass forward."""

    levels: list  # for each layer its runs, one for each direction
    masks: list  # for each layer but the top one which of its outputs dropout left, or None
    top: np.ndarray  # what the top layer puts out (T + 1, B, D * H), after a first row

    @property
    def runs(self):
        return [run for level in self.levels for run in level]


class Engine:
    """The passes of a network of recurrent layers and an optional readout.

    Parameters
    ----------
    kernels : namespace
        A backend's functions for one dtype.
    weights : Weights
    dropout : float
        The share of a layer's outputs, but for the top one's, that is zeroed in training.
    generator : numpy.random.Generator or None
        Chooses them.
    """

    def __init__(self, kernels, weights, dropout=0.0, generator=None):
        self.kernels, self.weights = kernels, weights
        self.dropout, self.generator = dropout, generator
        self.stack = Stack(kernels, weights)

    def stepper(self, prepare):
        """Return the backend's Stepper over these weights."""
        return self.kernels.Stepper(self.weights, prepare)

    # --- forward -----------------------------------------------------------------------------

    def infer(self, sequence):
        """Return outputs (T, B, O) and last states, keeping no tape."""
        w = self.weights
        if w.directions == 2:
            top, states = self._both_ways(sequence)
            y = self._read_out(sequence, top) if w.has_readout else top[1:]
        elif w.has_readout or len(w.layers) > 1:
            y = self._outputs(sequence.steps, sequence)
            runs = self._block_runs(sequence)
            readout = self.kernels.Readout(w, runs[-1].states, y)
            states = self._without_tape(sequence, runs, partial(readout.forward, 0))
            self.stack.leave(runs)
        else:  # outputs are states
            top = self._outputs(sequence.steps + 1, sequence)
            borrow = self.stack.memory.borrow
            run = self.stack.run(0, sequence.x, sequence, top, borrow, tapes=False)
            self.stack.forward([run], sequence)
            y, states = top[1:], last_states([run], sequence.steps)
            self.stack.leave([run], but="states")
        return silence_finished(y, sequence.lengths), states

    def forward(self, sequence):
        """Return outputs, last states and the `Tape`."""
        tape = self._with_tape(sequence, drop=True)
        y = self._read_out(sequence, tape.top)
        return silence_finished(y, sequence.lengths), last_states(tape.runs, sequence.steps), tape

    def loss(self, sequence, objective):
        """Return the loss and the last states, keeping no tape."""
        losses = objective.empty_losses()
        if self.weights.directions == 2:
            top, states = self._both_ways(sequence)
            read = self._last_or_all(top, sequence, objective)
            readout = self._readout(read, sequence, objective, losses)
            self._over_blocks(sequence, objective, partial(self._block_loss, readout))
            return objective.total(losses), states
        runs = self._block_runs(sequence)
        readout = self._readout(runs[-1].states, sequence, objective, losses)

        def fill(start, count, first, last):
            readout.forward(0, 0, count, first, last)
            readout.loss(0, start, count, first, last)

        if objective.last_only:
            states = self._without_tape(sequence, runs, nothing)
            runs[-1].states[1] = states[0][-1]
            fill(0, 1, 0, sequence.batch_size)
        else:
            states = self._without_tape(sequence, runs, fill)
        self.stack.leave(runs)
        return objective.total(losses), states

    def _with_tape(self, sequence, drop, memory=None, but_the_top=False):
        """Run all layers, but for the top one if it is asked for; return the `Tape`."""
        w, levels, masks, x = self.weights, [], [], sequence.x
        count = len(w.layers) // w.directions
        for number in range(count):
            levels.append(self.stack.level(number, x, sequence, memory or self.stack.new))
            if number == count - 1 and but_the_top:
                break
            self.stack.forward(levels[-1], sequence)
            outputs = self.stack.outputs(levels[-1], sequence.lengths)
            if number < count - 1:
                masks.append(self._mask(outputs[1:].shape) if drop else None)
                x = outputs[1:]
                if masks[-1] is not None:
                    x = self._drop(x.copy(), masks[-1])
        top = levels[-1][0].states if but_the_top else outputs
        return Tape(levels, masks, top)

    def _mask(self, shape):
        if not self.dropout:
            return None
        return self.generator.random(shape, np.float32) >= self.dropout

    def _drop(self, x, mask):
        x *= mask
        x *= 1 / (1 - self.dropout)
        return x

    def _block_runs(self, sequence):
        """Return the runs of layers in one direction that have memory for one block."""
        runs, x = [], sequence.x
        for k in range(len(self.weights.layers)):
            runs.append(self.stack.block_run(k, x, sequence))
            x = runs[-1].states[1:]
        return runs

    def _both_ways(self, sequence):
        """Return what the top layer puts out (T + 1, B, 2 * H), and the last states; no tape."""
        w, x, states = self.weights, sequence.x, []
        for k in range(0, len(w.layers), 2):
            shape = sequence.steps + 1, sequence.batch_size, 2 * w.hidden_size
            top = aligned_zeros(shape, w.dtype)
            for way in range(2):
                turned = reverse(x, sequence.lengths) if way else x
                run = self.stack.block_run(k + way, turned, sequence)
                put = partial(put_block, top[1:], run.states, sequence.lengths, way)
                states.append(self._without_tape(sequence, [run], put))
                self.stack.leave([run])
            x = top[1:]
        return top, [np.concatenate(each) for each in zip(*states, strict=True)]

    def _without_tape(self, sequence, runs, each):
        """Return the last states; call ``each(start, count, first, last)`` after every block.

        It finds the block's states in states[1 : 1 + count] of the top run.
        """
        layers, blocks = [run.layer() for run in runs], self.stack.blocks(sequence)

        def work(first, last):
            for start, count in blocks:
                for number, layer in enumerate(layers):
                    layer.forward(start, 0 if number else start, 0, count, first, last)
                each(start, count, first, last)
                for run in runs:
                    run.carry(count, first, last)

        self.stack.over_batch(sequence, work)
        return last_states(runs, 0)

    def _outputs(self, steps, sequence):
        shape = steps, sequence.batch_size, self.weights.output_size
        return aligned_empty(shape, self.weights.dtype)

    def _read_out(self, sequence, top):
        y = self._outputs(sequence.steps, sequence)
        readout = self.kernels.Readout(self.weights, top, y)
        self.stack.over_batch(sequence, partial(readout.forward, 0, 0, sequence.steps))
        return y

    def _readout(self, states, sequence, objective, losses, y=None):
        if y is None:
            y = self._outputs(self.stack.block_steps(sequence), sequence)
        readout = self.kernels.Readout(self.weights, states, y)
        readout.prepare_loss(*objective.arguments(losses))
        return readout

    def _block_loss(self, readout, start, count, first, last):
        readout.forward(start, 0, count, first, last)
        readout.loss(0, start, count, first, last)

    def _over_blocks(self, sequence, objective, function):
        """Call ``function(start, count, first, last)`` for all blocks of targets."""
        blocks = [(0, 1)] if objective.last_only else self.stack.blocks(sequence)
        for start, count in blocks:
            self.stack.over_batch(sequence, partial(function, start, count))

    def _last_or_all(self, top, sequence, objective):
        """Return what the readout reads: all outputs of the top layer, or the last valid ones."""
        if not objective.last_only:
            return top
        last = np.zeros((2, *top.shape[1:]), top.dtype)
        if sequence.steps:
            last[1] = top[last_steps(sequence) + 1, np.arange(sequence.batch_size)]
        return last

    # --- backward ----------------------------------------------------------------------------

    def backward(self, gradients, sequence, tape, dy, dstates):
        """Fill the gradients from those of the outputs (T, B, O) and of the last states."""
        if sequence.lengths is not None:
            valid = checks.valid_steps(sequence.lengths, sequence.steps)
            dy = np.where(valid[:, :, None], dy, self.weights.dtype.type(0))
        readout = self.kernels.Readout(self.weights, tape.top, dy)

        def fill(start, count, first, last):
            readout.backward(start, count, first, last)

        def add(start, count, first, last):
            readout.gradients(start, start, count, first, last)

        dh = None
        if self.weights.directions == 1:
            dh = aligned_empty((self.stack.block_steps(sequence), *tape.top.shape[1:]), dy.dtype)
            readout.prepare_backward(dh, gradients.vector)
        self._back(gradients, sequence, tape, dstates, (nothing, fill, add), readout, dh)

    def loss_and_gradients(self, gradients, sequence, objective, wants_x=True):
        """Fill the gradients; return the loss and the last states."""
        w, batch, memory = self.weights, sequence.batch_size, self.stack.memory
        one_way, block = w.directions == 1, self.stack.block_steps(sequence)

        tape = self._with_tape(sequence, True, memory.borrow, but_the_top=one_way)
        losses = objective.empty_losses()
        dstates = [aligned_zeros(each.shape, w.dtype) for each in sequence.states]
        y = memory.borrow("y", (block, batch, w.output_size))
        dh = memory.borrow("dh", (block, *tape.top.shape[1:])) if one_way else None
        read = tape.top if one_way else self._last_or_all(tape.top, sequence, objective)
        readout = self._readout(read, sequence, objective, losses, y)
        top = tape.levels[-1][0].layer() if one_way else None
        forward = partial(top.forward, 0, 0, 0, sequence.steps) if one_way else nothing

        def fill(start, count, first, last):
            readout.forward(start, 0, count, first, last)
            readout.loss(0, start, count, first, last)
            readout.backward(0, count, first, last)

        def add(start, count, first, last):
            readout.gradients(start, 0, count, first, last)

        if one_way and objective.last_only:
            last_step = sequence.steps - 1
            readout.prepare_backward(dstates[0][-1:], gradients.vector)
            self.stack.over_batch(sequence, forward)
            readout.forward(last_step, 0, 1, 0, batch)
            readout.loss(0, 0, 1, 0, batch)
            readout.backward(0, 1, 0, batch)
            add(last_step, 1, 0, w.hidden_size)
            forward, fill, add = nothing, partial(zero, dh), nothing
        elif one_way:
            readout.prepare_backward(dh, gradients.vector)
        self._back(
            gradients, sequence, tape, dstates, (forward, fill, add), readout, dh, wants_x, top,
            objective.last_only,
        )
        states = last_states(tape.runs, sequence.steps)
        self.stack.leave(tape.runs)
        memory.leave({"y": y, "dh": dh})
        return objective.total(losses), states

    def output_gradient(self, sequence, objective):
        """Return the `Tape`, without dropout, and what the loss sends to the top layer's outputs.

        The latter is (T, B, D * H).
        """
        tape, batch = self._with_tape(sequence, drop=False), sequence.batch_size
        read = self._last_or_all(tape.top, sequence, objective)
        rows, steps = aligned_zeros(read[1:].shape, read.dtype), len(read) - 1
        y = aligned_empty((steps, batch, self.weights.output_size), read.dtype)
        readout = self._readout(read, sequence, objective, objective.empty_losses(), y)
        size = self.weights.parameters.layout.size
        readout.prepare_backward(rows, aligned_zeros((size,), read.dtype))
        readout.forward(0, 0, steps, 0, batch)
        readout.loss(0, 0, steps, 0, batch)
        readout.backward(0, steps, 0, batch)
        return tape, at_last_steps(rows[0], sequence) if objective.last_only else rows

    def _back(
        self, gradients, sequence, tape, dstates, in_blocks, readout, dh, wants_x=True, top=None,
        last_only=False,
    ):
        """Go back through all layers."""
        wants, below = wants_x or len(tape.levels) > 1, tape.levels[:-1]
        if self.weights.directions == 1:
            dx = self.stack.back_through_time(
                tape.levels[-1][0], sequence, gradients, dh, dstates, wants,
                in_blocks=in_blocks, layer=top,
            )
        else:
            whole = self._whole_gradient(gradients, sequence, tape, in_blocks, readout, last_only)
            dx = self.stack.back(tape.levels[-1], sequence, gradients, whole, dstates, wants)
        for number in reversed(range(len(below))):
            if tape.masks[number] is not None:
                self._drop(dx, tape.masks[number])
            wants = wants_x or number > 0
            dx = self.stack.back(below[number], sequence, gradients, dx, dstates, wants)
        gradients.x = sequence.unbatch(dx, 1)
        gradients.state = sequence.public(dstates)

    def _whole_gradient(self, gradients, sequence, tape, in_blocks, readout, last_only):
        """Return what reaches all outputs of the top layer, as both directions need at once."""
        _, fill, add = in_blocks
        blocks = [(0, 1)] if last_only else self.stack.blocks(sequence)
        shape = 1 if last_only else sequence.steps, *tape.top.shape[1:]
        rows = np.zeros(shape, tape.top.dtype)
        for start, count in blocks:
            readout.prepare_backward(rows[start : start + count], gradients.vector)
            self.stack.over_batch(sequence, partial(fill, start, count))
            add(start, count, 0, shape[2])
        return at_last_steps(rows[0], sequence) if last_only else rows


def last_states(runs, count):
    """Return the states after ``count`` steps, a copy: (L * D, B, H) of h and, of an LSTM, of c."""
    if len(runs) == 1:  # what np.stack does, in a fraction of the time
        return [states[count % len(states), None].copy() for states in runs[0].carried]
    return [np.stack(each) for each in zip(
        *([states[count % len(states)] for states in run.carried] for run in runs), strict=True)]


def zero(dh, start, count, first, last):
    """Fill in that nothing reaches a block's states from their outputs."""
    dh[:count, first:last] = 0
