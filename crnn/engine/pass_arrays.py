"""The arrays of a pass over some sequences, and the compiled objects that work on them."""

from typing import NamedTuple

import numpy as np

from crnn.kernels.memory import TUNING, aligned_empty, aligned_zeros

INFERENCE_GATES = TUNING["PROJECTED_NUMBERS"]  # computed ahead without a tape: they stay in L2,
INFERENCE_ROWS = TUNING["MIN_PROJECTED_ROWS"]  # but so many rows, as W_xh is read anew each time


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


class PassArrays:
    """The compiled objects over some sequences, the whole batch or a group, and their arrays.

    Parameters
    ----------
    kernels : module
    weights : PackedWeights
    question : Question
    dropout : float
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
    bottom : kernels.Direction
        The first direction of the bottom layer.
    states_are_outputs : bool
        Whether the bottom layer is all that there is, so that its states are y.
    layer_arrays : list of LayerArrays
    """

    def __init__(
        self, kernels, weights, question, dropout, memory, size, block, x, loss_arrays,
        is_group=False, filled=None,
    ):
        self._kernels, self._weights, self._question = kernels, weights, question
        self._dropout, self._memory, self._size, self._block = dropout, memory, size, block
        self._is_group, self._both, self._shared = is_group, weights.directions == 2, {}
        self.states_are_outputs = (
            question.kind == "infer" and not question.last_only
            and len(weights.layers) == 1 and not weights.has_readout
        )
        if self.states_are_outputs:
            self._block = question.steps
        if x is None:
            x = np.empty((0, size, weights.input_size), weights.dtype)
        self._layers, self._directions, self.layer_arrays = [], [], []
        for number, spec in enumerate(weights.specs):
            arrays = self._new_layer_arrays(spec, x) if filled is None else filled[number]
            self._add_layer(spec, arrays, x)
            x = arrays.outputs[1:] if arrays.dropped is None else arrays.dropped
        self.bottom = self._directions[0][0]
        self.compiled_pass = self._new_pass(loss_arrays)

    def _new(self, *shape, dtype=None):
        return self._memory.new(*shape, dtype=dtype)

    def _scratch(self, use, *shape):
        """Return an array that layers use one after the other."""
        if (use, shape) not in self._shared:
            self._shared[use, shape] = self._new(*shape)
        return self._shared[use, shape]

    # --- layers ---------------------------------------------------------------------------------

    def _new_layer_arrays(self, spec, x):
        q, n, turned, dropped = self._question, self._size, None, None
        states = [self._new_states_of(spec) for _ in range(spec.directions)]
        outputs = states[0][0]
        if self._both:
            turned = self._new(q.steps, n, dtype=np.intp) if x.ndim == 2 else self._new(
                q.steps, n, spec.input_size)
            outputs = self._new(q.steps + 1, n, spec.output_size)
            outputs[0] = 0
        if self._dropout and q.has_tape and spec is not self._weights.specs[-1]:
            dropped = self._new(q.steps, n, spec.output_size)
        return LayerArrays(turned, states, outputs, dropped)

    def _add_layer(self, spec, arrays, x):
        first = len(self._directions) * spec.directions
        packed = self._weights.layers[first : first + spec.directions]
        inputs = (x, arrays.turned_x)[: spec.directions]
        directions = [
            self._kernels.Direction(weights, self._question.steps, each, *states,
                                    self._question.has_tape)
            for weights, each, states in zip(packed, inputs, arrays.states, strict=True)
        ]
        layer = self._kernels.Layer(directions[0], directions[1] if self._both else None,
                                    arrays.outputs)
        layer.set_x(x)
        if self._both:
            layer.prepare_both(arrays.turned_x)
        if arrays.dropped is not None:
            layer.prepare_dropout(arrays.dropped, 1 / (1 - self._dropout))
        self._layers.append(layer)
        self._directions.append(directions)
        self.layer_arrays.append(arrays)

    def _new_states_of(self, spec):
        """Return states, saved and gates of one direction of a layer."""
        q, n, H, kind = self._question, self._size, spec.hidden_size, spec.kind
        width, rows = kind.gates * H, q.steps if q.has_tape else self._block
        states = self._new(0 if self.states_are_outputs else rows + 1, n, H)
        if not kind.has_gates:
            return states, None, None
        if q.has_tape:
            return states, self._new(rows + 1, n, H), self._new(rows, n, width)
        ahead = max(INFERENCE_GATES, INFERENCE_ROWS * width) // max(1, n * width)
        return states, self._new(2, n, H), self._new(max(1, min(rows, ahead)), n, width)

    # --- the pass -------------------------------------------------------------------------------

    def _new_pass(self, loss_arrays):
        q, w, n = self._question, self._weights, self._size
        read = dread = None
        steps, source = q.steps, self.layer_arrays[-1].outputs
        if q.last_only:
            steps, source = 1, aligned_zeros((2, n, w.state_width), w.dtype)
            read, dread = source, self._new(1, n, w.state_width) if q.goes_back else None
        if q.loss:
            y = self._new(min(steps, self._block), n, w.output_size)
        else:
            y = np.empty((steps, 0, w.output_size), w.dtype)  # each pass brings its own
        self.readout = self._kernels.Readout(w, steps, source, y, q.goes_back)
        if q.loss:
            *targets, losses = loss_arrays
            self.readout.prepare_loss(q.loss, q.blocks, losses, *targets)
        if q.goes_back:
            self._prepare_backward(dread)
        reads = not self.states_are_outputs and q.kind != "backward"
        # counted first, as a list of all phases would take memory for each block of the sequence
        return self._kernels.Pass(
            self._layers, self.readout, sum(1 for _ in self._phases()), self._phases(),
            self._block, read, dread, reads, bool(q.loss), q.goes_back,
        )

    def _prepare_backward(self, dread):
        """Have all layers, from the top down, and the readout know where gradients lie."""
        q, n, above = self._question, self._size, None
        for number in reversed(range(len(self._layers))):
            spec, directions = self._weights.specs[number], self._directions[number]
            steps = q.steps if self._both or above is not None else self._block
            dh = self._scratch("dh", steps, n, spec.output_size) if (
                self._both or above is None) else above
            self._layers[number].prepare_backward(dh)
            if above is None:
                self.readout.prepare_backward(dh if dread is None else dread)
            halves = [dh]
            if self._both:
                halves = [self._scratch(("half", way), steps, n, spec.hidden_size)
                          for way in range(2)]
            wants = number > 0 or q.wants_x
            inputs = [self._prepare_direction(each, spec, half, wants, (number, way))
                      for way, (each, half) in enumerate(zip(directions, halves, strict=True))]
            above = inputs[0]

    def _prepare_direction(self, direction, spec, dh, wants_x, place):
        q, n, H, kind = self._question, self._size, spec.hidden_size, spec.kind
        dc = self._scratch("dc", n, H) if kind.has_c else None
        da = self._scratch("da", self._block, n, kind.gates * H) if kind.has_gates else None
        dsaved = self._scratch("dsaved", self._block, n, H) if kind.separate_candidate else None
        dx = None
        if wants_x and place[0] == 0 and not self._sends:
            dx = np.empty((0, n, spec.input_size), self._weights.dtype)  # comes with each pass
        elif wants_x:
            # the next layer down, of one direction, reads it as it writes its own
            use = ("dx", place if not self._both else place[1])
            dx = self._scratch(use, q.steps, n, spec.input_size)
        first_rows = None
        if q.is_tokens and place[0] == 0:
            first_rows = self._new(spec.input_size, dtype=np.intp)
        direction.prepare_backward(dh, self._scratch("dstate", n, H), dc, da, dsaved, dx,
                                   first_rows)
        return dx

    @property
    def _sends(self):
        """Whether the gradient of x is computed elsewhere, and then put where it is wanted."""
        return self._is_group or self._both

    def _phases(self):
        """Yield what `kernels.Pass` does one after the other; see its PHASES."""
        q = self._question
        if not q.has_tape:
            yield "infer", 0, 0
            return
        if q.kind != "backward":
            yield "forward", 0, 0
        if q.last_only:
            yield "read_last", 0, 0
            if q.goes_back:
                yield "add_read", 0, 0
        elif q.kind == "forward" or self._both:
            for start in reversed(self._block_starts()):  # as partial sums of gradients want it
                yield "read", 0, start
                if q.goes_back:
                    yield "add_read", 0, start
        if q.goes_back:
            yield from self._phases_back()

    def _phases_back(self):
        for number in reversed(range(len(self._layers))):
            for way in range(1 + self._both):
                for start in reversed(self._block_starts()):
                    yield "back", number * (1 + self._both) + way, start
                    yield "add", number * (1 + self._both) + way, start
        if self._sends and self._question.wants_x:
            yield "send", 0, 0

    def _block_starts(self):
        return range(0, self._question.steps, self._block)
