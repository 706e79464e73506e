"""The arrays of a pass over some sequences, and the compiled objects that work on them."""

import itertools
from typing import NamedTuple

import numpy as np

from crnn.kernels.memory import TUNING, aligned_empty

INFERENCE_GATES = TUNING["PROJECTED_NUMBERS"]  # computed ahead without a tape: they stay in L2,
INFERENCE_ROWS = TUNING["MIN_PROJECTED_ROWS"]  # but so many rows, as W_xh is read anew each time
SHARED_STEPS = TUNING["SHARED_STEPS"]


def whole_blocks(rows, steps):
    """Return about so many rows for blocks of steps in turn; no more, and as many as blocks fill.

    They may be shared by threads that are at different blocks.
    """
    return rows if rows >= steps or rows < SHARED_STEPS else rows - rows % SHARED_STEPS


class Memory:
    """Makes arrays, and counts their bytes."""

    def __init__(self, dtype):
        self._dtype, self.bytes = dtype, 0

    def new(self, *shape, dtype=None):
        array = aligned_empty(shape, dtype or self._dtype)
        self.bytes += array.nbytes
        return array

    def zeros(self, *shape):
        array = self.new(*shape)
        array.fill(0)
        return array

    def own(self, whole_numbers, *shape):
        """Count an array of whole numbers of this shape; None: make one."""
        if whole_numbers is None:
            return self.new(*shape, dtype=np.intp)
        self.bytes += whole_numbers.nbytes
        return whole_numbers


class LayerArrays(NamedTuple):
    """What a layer fills in on its way forward."""

    turned_x: np.ndarray | None  # its input for the second direction
    states: list  # for each direction (states, saved, gates)
    outputs: np.ndarray  # (T + 1, B, D * H), or of a block; of one direction its states
    dropped: np.ndarray | None  # (T, B, D * H): outputs after dropout

    @property
    def put_out(self):
        """What the layer above reads."""
        return self.outputs[1:] if self.dropped is None else self.dropped


class PassArrays:
    """The compiled objects over some sequences, the whole batch or a group, and their arrays.

    Parameters
    ----------
    kernels : module
    weights : PackedWeights
    question : Question
    memory : Memory
    size : int
        How many sequences.
    block : int
        Time steps of a block.
    x : ndarray or None
        What the bottom layer reads; None: floats, which come with each pass.
    loss_arrays : tuple of ndarray or None
        Classes, targets and losses, as `kernels.Readout.prepare_loss` takes them.
    is_group : bool
    filled : list of LayerArrays, optional
        What a pass forward has left; they are made otherwise.

    Attributes
    ----------
    compiled_pass : kernels.Pass
    readout : kernels.Readout
    states_are_outputs : bool
        Whether the bottom layer is all that there is, so that its states are y.
    layer_arrays : list of LayerArrays
    """

    def __init__(
        self, kernels, weights, question, memory, size, block, x, loss_arrays, is_group=False,
        filled=None,
    ):
        self._kernels, self._weights, self._question = kernels, weights, question
        self._memory, self._size, self._block, self._is_group = memory, size, block, is_group
        self._specs, self._body = weights.specs, len(weights.specs)
        if question.last_only:
            self._body = weights.body
        self._by_layers = any(spec.directions == 2 for spec in self._specs)
        self._shared = {}
        self.states_are_outputs = (
            question.kind == "infer" and not question.last_only and len(weights.layers) == 1
            and not (weights.has_readout or weights.skips)
        )
        if self.states_are_outputs:
            self._block = question.steps
        if x is None:
            x = np.empty((0, size, weights.input_size), weights.dtype)
        self._read = self._new_read()
        self._layers, self._directions, self.layer_arrays = [], [], []
        self._packed, self._state_count = iter(weights.layers), 0
        for number, spec in enumerate(self._specs):
            if number == self._body:
                x = self._read
            arrays = self._new_layer_arrays(number, spec, x) if filled is None else filled[number]
            self._add_layer(number, spec, arrays, x)
            x = arrays.put_out
        self.compiled_pass = self._new_pass(loss_arrays)

    def _new_read(self):
        """Return where the last outputs of the body go, if they are all that is wanted."""
        if not self._question.last_only:
            return None
        return self._new(1, self._size, self._specs[self._body - 1].output_size)

    def _steps_of(self, number):
        """Return how many steps a layer has."""
        return self._question.steps if number < self._body else 1

    def _new(self, *shape, dtype=None):
        return self._memory.new(*shape, dtype=dtype)

    def _scratch(self, use, *shape):
        """Return an array that layers use one after the other."""
        if (use, shape) not in self._shared:
            self._shared[use, shape] = self._new(*shape)
        return self._shared[use, shape]

    # --- layers ---------------------------------------------------------------------------------

    def _new_layer_arrays(self, number, spec, x):
        n, steps, turned, dropped = self._size, self._steps_of(number), None, None
        states = [self._new_states_of(number, spec) for _ in range(spec.directions)]
        outputs = states[0][0]
        if spec.directions == 2:
            turned = self._new(steps, n, dtype=np.intp) if x.ndim == 2 else self._new(
                steps, n, spec.input_size)
            outputs = self._new(steps + 1, n, spec.output_size)
            outputs[0] = 0
        if spec.dropout and self._question.has_tape:
            dropped = self._new(steps, n, spec.output_size)
        return LayerArrays(turned, states, outputs, dropped)

    def _add_layer(self, number, spec, arrays, x):
        packed = list(itertools.islice(self._packed, spec.directions))
        inputs = (x, arrays.turned_x)[: spec.directions]
        directions = [
            self._kernels.Direction(weights, self._steps_of(number), each, *states,
                                    self._question.has_tape)
            for weights, each, states in zip(packed, inputs, arrays.states, strict=True)
        ]
        layer = self._kernels.Layer(
            directions[0], directions[1] if spec.directions == 2 else None, arrays.outputs,
            self._state_count)
        layer.set_x(x)
        if spec.directions == 2:
            layer.prepare_both(arrays.turned_x)
        if arrays.dropped is not None:
            layer.prepare_dropout(arrays.dropped, 1 / (1 - spec.dropout))
        self._layers.append(layer)
        self._directions.append(directions)
        self._state_count += spec.directions * spec.kind.has_state
        self.layer_arrays.append(arrays)

    def _new_states_of(self, number, spec):
        """Return states, saved and gates of one direction of a layer."""
        q, n, H, kind = self._question, self._size, spec.hidden_size, spec.kind
        width, rows = kind.gates * H, self._steps_of(number)
        if not q.has_tape and (spec.directions == 2 or not self._by_layers):
            rows = min(rows, self._block)  # what is put out is read, or copied, block by block
        states = self._new(0 if self.states_are_outputs else rows + 1, n, H)
        if not kind.has_gates:
            return states, None, None
        if q.has_tape:
            return states, self._new(rows + 1, n, H), self._new(rows, n, width)
        ahead = max(INFERENCE_GATES, INFERENCE_ROWS * width) // max(1, n * width)
        ahead = whole_blocks(max(1, min(rows, ahead)), self._steps_of(number))
        return states, self._new(2, n, H), self._new(ahead, n, width)

    # --- the pass -------------------------------------------------------------------------------

    def _new_pass(self, loss_arrays):
        q, w, n = self._question, self._weights, self._size
        steps = 1 if q.last_only else q.steps
        # below the readout there is always a layer, unless it reads what that of the body puts out
        source = self._read if len(self._layers) == self._body and q.last_only else (
            self.layer_arrays[-1].put_out)
        activation = "linear" if q.loss == w.activation else w.activation  # the loss begins before
        y = np.empty((steps, 0, w.output_size), w.dtype)  # each pass brings its own
        if q.loss:
            y = self._new(steps if self._skips_back else min(steps, self._block), n, w.output_size)
        self.readout = self._kernels.Readout(w, steps, source, y, activation, q.goes_back)
        if q.loss:
            *targets, losses = loss_arrays
            self.readout.prepare_loss(q.loss, q.blocks, losses, *targets)
        dread = None
        if q.goes_back:
            dread = self._prepare_backward(steps, activation)
        reads = not self.states_are_outputs and q.kind != "backward"
        # counted first, as a list of all phases would take memory for each block of the sequence
        return self._kernels.Pass(
            self._layers, self._body, self.readout, sum(1 for _ in self._phases()), self._phases(),
            self._block, self._read, dread, w.skips, reads, bool(q.loss), q.goes_back,
            q.steps * n * w.work(q.is_tokens),
        )

    @property
    def _skips_back(self):
        """Whether the gradient of y is, in part, that of x."""
        return self._weights.skips and self._question.wants_x

    def _prepare_backward(self, steps, activation):
        """Have all layers, from the top down, and the readout know where gradients lie.

        Return where that of the body's last outputs lies, if they are all that is wanted.
        """
        q, n, w = self._question, self._size, self._weights
        kept = da = dread = above = None
        if activation != "linear":
            kept, da = (self._new(min(steps, self._block), n, w.output_size) for _ in range(2))
        for number in reversed(range(len(self._layers))):
            spec = self._specs[number]
            if q.last_only and number == self._body - 1:
                dread = self._new(1, n, spec.output_size) if above is None else above
                above = None
            dh = self._new_dh(number, spec) if above is None else above
            self._layers[number].prepare_backward(dh)
            if number == len(self._layers) - 1:
                self.readout.prepare_backward(dh if dread is None else dread, kept, da)
            halves = [dh]
            if spec.directions == 2:
                halves = [self._scratch(("half", way), q.steps, n, spec.hidden_size)
                          for way in range(2)]
            wants = number > 0 or q.wants_x
            inputs = [self._prepare_direction(each, spec, half, wants, (number, way))
                      for way, (each, half) in enumerate(
                          zip(self._directions[number], halves, strict=True))]
            above = inputs[0] if spec.directions == 1 else None
        return dread

    def _new_dh(self, number, spec):
        """Return where what reaches a layer's outputs is put together, or read, block by block."""
        is_read = number in (self._body - 1, len(self._layers) - 1) and spec.directions == 1
        steps = self._steps_of(number)
        return self._scratch("dh", min(self._block, steps) if is_read else steps, self._size,
                             spec.output_size)

    def _prepare_direction(self, direction, spec, dh, wants_x, place):
        q, n, H, kind = self._question, self._size, spec.hidden_size, spec.kind
        dc = self._scratch("dc", n, H) if kind.has_c else None
        da = self._scratch("da", self._block, n, kind.gates * H) if kind.has_gates else None
        dsaved = self._scratch("dsaved", self._block, n, H) if kind.separate_candidate else None
        dx = None
        if wants_x and place[0] == 0 and not self._sends:
            dx = np.empty((0, n, spec.input_size), self._weights.dtype)  # comes with each pass
        elif wants_x:
            # the next layer down reads that of one direction as it writes its own
            use = ("dx", place if spec.directions == 1 else place[1])
            dx = self._scratch(use, self._steps_of(place[0]), n, spec.input_size)
        first_rows = None
        if q.is_tokens and place[0] == 0:
            first_rows = self._new(spec.input_size, dtype=np.intp)
        dstate = self._scratch("dstate", n, H) if kind.has_state else None
        direction.prepare_backward(dh, dstate, dc, da, dsaved, dx, first_rows)
        return dx

    @property
    def _sends(self):
        """Whether the gradient of x is computed elsewhere, and then put where it is wanted."""
        return self._is_group or self._specs[0].directions == 2 or self._skips_back

    def _phases(self):
        """Yield what `kernels.Pass` does one after the other; see its PHASES."""
        q = self._question
        if not q.has_tape:
            yield "infer", 0, 0, 0
            return
        if q.kind != "backward":
            yield "forward", 0, 0, 0
        if q.last_only:
            yield "read_last", 0, 0, 0
            if q.goes_back:
                yield "add_read", 0, 0, 0
        elif q.kind == "forward" or self._specs[-1].directions == 2:
            for start in reversed(self._block_starts(q.steps)):  # as partial sums want it
                yield "read", 0, 0, start
                if q.goes_back:
                    yield "add_read", 0, 0, start
        if q.goes_back:
            yield from self._phases_back()

    def _phases_back(self):
        for number in reversed(range(len(self._layers))):
            for way in range(self._specs[number].directions):
                for start in reversed(self._block_starts(self._steps_of(number))):
                    yield "back", number, way, start
                    yield "add", number, way, start
        if self._sends and self._question.wants_x:
            yield "send", 0, 0, 0

    def _block_starts(self, steps):
        return range(0, steps, self._block)
