"""Plans: the arrays and compiled objects that answer one question about one shape of input.

The first call with a shape makes the plan that the next one uses. A pass that leaves a tape lends
its plan to the tape, and another pass may use the plan when the tape is gone.

A training pass is shared among threads in one of two ways. By groups: each thread takes some
sequences forward and back at once, in L2, and waits for no other; small weights are trained this
way. By phases: threads share the sequences of the batch and, after a barrier, the rows of the
gradients; large weights are trained this way, as groups would read their gradients too often. Which
way, and which groups, depends on shapes alone.
"""

import weakref
from typing import NamedTuple

import numpy as np

from crnn.base.sequences import are_joined, state_widths
from crnn.engine.pass_arrays import Memory, PassArrays, whole_blocks
from crnn.engine.threads import get_num_threads, parted
from crnn.kernels.memory import TUNING
from crnn.kernels.pool import threads_for

BLOCK_NUMBERS = 2**19  # a block of steps has at most so many gates, or outputs: 1 ms of work
SPARE_BYTES = 2**26  # a network keeps plans of at most this size together

SHARED_SEQUENCES = TUNING["SHARED_SEQUENCES"]  # threads take multiples of so many
GROUP_SEQUENCES = 2 * SHARED_SEQUENCES  # a group has at least so many sequences
GROUP_WORK = 5e6  # and at least so many multiplications: a fifth of a millisecond
GROUPED_BYTES = 2**20  # gradients up to this size stay in L2: training goes by groups
MAX_LANES = 8  # as each lane has memory for all gradients
PARTIAL_ROWS = TUNING["PARTIAL_ROWS"]  # of more rows gradients are added up by partial sums


class Question(NamedTuple):
    """What is asked, and about what: two passes with the same question share a plan."""

    kind: str  # "infer", "loss", "train", "forward" or "backward"
    steps: int
    batch: int
    batched: bool  # whether the caller's arrays have an axis for the batch
    is_tokens: bool
    loss: str = ""  # its name
    blocks: int = 1  # how many outputs it takes for each target
    last_only: bool = False  # whether only each sequence's last outputs are wanted
    wants_x: bool = False

    @property
    def has_tape(self):
        return self.kind in ("train", "forward", "backward")

    @property
    def goes_back(self):
        return self.kind in ("train", "backward")

    @classmethod
    def of_arrays(cls, kind, x, targets, loss, last_only, wants_x):
        """Return the question that arrays ask if they fit; None of what is no array."""
        if type(x) is not np.ndarray or not 0 < x.ndim < 4:
            return None
        is_tokens = x.dtype.kind in "iu" and x.ndim < 3
        batched = x.ndim + is_tokens == 3
        if targets is not None:
            if type(targets) is not np.ndarray:
                return None
            last_only = targets.ndim - (loss.name != "softmax") == batched
        return cls(kind, len(x), x.shape[1] if batched else 1, batched, is_tokens, loss.name,
                   loss.blocks, last_only, wants_x and not is_tokens)


def block_steps(weights, question):
    """Return how many time steps a block has."""
    rows = question.batch * block_width(weights)
    block = max(1, min(BLOCK_NUMBERS // max(1, rows), question.steps))
    return block if question.has_tape else whole_blocks(block, question.steps)


def block_width(weights):
    """Return the largest width of any array that a block has: gates, states or outputs."""
    return max(*(layer.kind.gates * layer.hidden_size for layer in weights.layers),
               *(spec.output_size for spec in weights.specs), weights.output_size)


def group_bounds(weights, question):
    """Return the bounds (first, last) of the groups of sequences that are trained at once.

    Empty where there would be one group only, or one would exceed a block.
    """
    steps, batch, itemsize = question.steps, question.batch, weights.dtype.itemsize
    most = min(batch // GROUP_SEQUENCES,
               int(steps * batch * weights.work(question.is_tokens) / GROUP_WORK))
    if most < 2 or weights.parameters.layout.size * itemsize > GROUPED_BYTES:
        return []
    groups = parted(batch, SHARED_SEQUENCES, 1 << (most.bit_length() - 1))  # a power of 2: even
    inputs = 0 if question.is_tokens else weights.input_size
    largest = steps * max(last - first for first, last in groups)
    fits = largest * max(block_width(weights), inputs) <= BLOCK_NUMBERS * 4 // itemsize
    return groups if fits else []


class Tape:
    """What the way back needs of a pass forward.

    Parameters
    ----------
    plan : Plan
        It has run forward, and serves nothing else while there is this tape.
    lengths : ndarray of intp (B,), or None
    masks : list
        Of what dropout has left.
    was_given : bool
        Whether there was a state to begin with.
    """

    __slots__ = "__weakref__", "lengths", "masks", "plan", "was_given"

    def __init__(self, plan, lengths, masks, was_given):
        self.plan, self.lengths, self.masks, self.was_given = plan, lengths, masks, was_given
        plan.tape = weakref.ref(self)


class Plan:
    """The arrays and compiled objects that answer one question.

    Parameters
    ----------
    kernels : module
        The build of the kernels for one dtype.
    weights : PackedWeights
    question : Question
    x, classes : ndarray, optional
        Checked tokens and classes, which the plan then owns; of the question "backward" the x that
        a pass forward has read.
    filled : list of LayerArrays, optional
        What a pass forward has left, for the question "backward".

    Attributes
    ----------
    question : Question
    arguments : kernels.PassArguments
        Takes what the pass is given, and holds what it gives.
    tape : weakref.ref of Tape, or None
        Of the last pass forward.
    ways_back : list of Plan
        The one for `backward` over what `forward` leaves here, unless it is in use.
    is_counted : bool
        Whether `Plans` has made room for all arrays that there are.
    """

    def __init__(self, kernels, weights, question, x=None, classes=None, filled=None):
        self.question, self.is_counted, self.tape, self.ways_back = question, False, None, []
        self._folded = self._folded_arrays = None
        self._folded_at = -1  # of parameters after so many changes
        self._changes = weights.changes.item()  # of what changes from here on, nothing is missed
        self._memory = Memory(weights.dtype)
        self._kernels, self._weights = kernels, weights
        self._block = block_steps(weights, question)
        get_num_threads()  # so that the environment has been asked before the first pass
        self.arguments = self._new_arguments(x, classes)
        groups = group_bounds(weights, question) if question.kind == "train" else []
        self._lanes, self._sizes, self._threads, self._partial = None, [], 0, None
        if len(groups) > 1:
            self._lanes = self._new_lanes(groups)
            self._multiplications = question.steps * question.batch * weights.work(
                question.is_tokens)
            self._sizes = sorted({last - first for first, last in groups})
        else:
            if question.goes_back:
                self._partial = self._new_partial(question.batch)
            loss_arrays = self._classes, None, self._losses
            self._arrays = self._new_arrays(question.batch, self._block, self._x, loss_arrays,
                                        filled=filled)

    @property
    def bytes(self):
        """The size of all arrays."""
        return self._memory.bytes + sum(each.bytes for each in self.ways_back)

    @property
    def is_lent(self):
        """Whether there is a tape that needs what the plan holds."""
        return self.tape is not None and self.tape() is not None

    # --- passes ---------------------------------------------------------------------------------

    def infer(self):
        """Run without a tape; return y and the last states."""
        compiled_pass = self._pass_without_tape()
        self._refresh_weights()
        return self._kernels.infer_by_phases(compiled_pass, self.arguments)

    def _pass_without_tape(self):
        """Return the compiled pass: where a table is worth folding, one of a layer fewer."""
        q, changes = self.question, self._weights.changes.item()
        if not self._weights.can_fold:
            return self._arrays.compiled_pass
        if changes != self._folded_at:
            folded = self._weights.folded(q.steps * q.batch)
            if folded is None:
                return self._arrays.compiled_pass
            if folded is not self._folded:
                loss_arrays = self._classes, None, self._losses
                self._folded_arrays = PassArrays(self._kernels, folded, q, self._memory, q.batch,
                                                 self._block, self._x, loss_arrays)
                self._folded, self.is_counted = folded, False
            self._folded_at = changes
        return self._folded_arrays.compiled_pass

    def loss(self):
        """Run without a tape; return the loss."""
        self._run_by_phases(self._pass_without_tape())
        return self.arguments.loss()

    def forward(self, masks):
        """Run with a tape; return y."""
        y = self._arrays.compiled_pass.new_y()
        self.arguments.set_masks(masks)
        self._run_by_phases(self._arrays.compiled_pass)
        return y

    def take_way_back(self, wants_x):
        """Return a plan for `backward` over what `forward` has left here, its own otherwise.

        It has taken x; each thread that goes back gets one of its own.
        """
        question = self.question._replace(
            kind="backward", wants_x=wants_x and not self.question.is_tokens)
        try:
            plan = self.ways_back.pop()
        except IndexError:
            plan = None
        if plan is None or plan.question != question:
            plan = Plan(self._kernels, self._weights, question, self._x,
                        filled=self._arrays.layer_arrays)
            self.is_counted = False
        plan.arguments.take_again(self._x if self.question.batched else self._x[:, 0])
        return plan

    def backward(self, dy, vector, masks, dx):
        """Go back, with the gradients of y; add to the vector, fill in dx."""
        self._arrays.readout.set_y(dy)
        self.arguments.set_masks(masks)
        self.arguments.set_dx(dx)
        self._run_by_phases(self._arrays.compiled_pass, vector)

    def train(self, vector, masks, dx):
        """Run forward and back; add to the vector, fill in dx; return the loss."""
        self.arguments.set_masks(masks)
        self.arguments.set_dx(dx)
        if self._lanes is None:
            self._run_by_phases(self._arrays.compiled_pass, vector)
        else:
            self._run_by_groups(vector)
        return self.arguments.loss()

    def _refresh_weights(self):
        changes = self._weights.changes.item()
        if changes != self._changes:
            self._weights.refresh()
            self._changes = changes  # from before: of what changes meanwhile, nothing is missed

    def _run_by_phases(self, compiled_pass, vector=None):
        self._refresh_weights()
        self._kernels.run_by_phases(compiled_pass, self.arguments, vector, self._partial)

    def _run_by_groups(self, vector):
        threads = threads_for(self._multiplications)
        while self._threads < min(threads, MAX_LANES):
            self._add_groups()
        self._refresh_weights()
        self._lanes.run(self.arguments, vector, threads)

    # --- arrays ---------------------------------------------------------------------------------

    def _new(self, *shape, dtype=None):
        return self._memory.new(*shape, dtype=dtype)

    def _new_lanes(self, groups):
        lanes = parted(len(groups), 1, min(MAX_LANES, len(groups)))
        sums = self._new(len(lanes) - 1, self._weights.parameters.layout.size)
        most = max(groups[last - 1][1] - groups[first][0] for first, last in lanes)
        return self._kernels.Lanes(groups, lanes, sums, self._new_partial(most, len(lanes)))

    def _new_partial(self, sequences, *lanes):
        """Return zeros for partial sums of gradients over some sequences, or None if few."""
        if self.question.steps * sequences <= PARTIAL_ROWS:
            return None
        return self._memory.zeros(*lanes, self._weights.parameters.layout.size)

    def _new_arguments(self, x, classes):
        q, w = self.question, self._weights
        self._output_steps = 1 if q.last_only else q.steps
        self._x = self._classes = self._losses = None
        if q.kind == "backward":
            self._x = x
        elif q.is_tokens:
            self._x = self._memory.own(x, q.steps, q.batch)
        elif q.kind == "forward":
            self._x = self._new_input(q.batch)
        if q.loss:
            self._losses = self._new(self._output_steps, q.batch, dtype=np.float64)
        if q.loss == "softmax":
            self._classes = self._memory.own(classes, self._output_steps, q.batch)
        states, gradients, joined = self._new_states(q.has_tape)
        return self._kernels.PassArguments(
            w, q, self._x, self._classes, self._losses, states, gradients, joined)

    def _new_states(self, wants_gradients):
        """Return states and their gradients of each layer that has one, and their wholes."""
        batch = self.question.batch
        layers = [layer for layer in self._weights.layers if layer.kind.has_state]
        counts = [layer.kind.num_states for layer in layers]
        if not are_joined(state_widths(self._weights.specs)):
            states, gradients = (
                [[self._new(batch, layer.hidden_size) for _ in range(wanted * count)]
                 for layer, count in zip(layers, counts, strict=True)]
                for wanted in (1, wants_gradients)
            )
            return states, gradients, None
        count, width = counts[0], layers[0].hidden_size
        joined = tuple(
            [self._new(len(layers), batch, width) for _ in range(wanted)]
            for wanted in (count, count * wants_gradients)
        )
        states, gradients = ([[each[k] for each in arrays] for k in range(len(layers))]
                             for arrays in joined)
        return states, gradients, joined

    def _new_input(self, size):
        q = self.question
        if q.is_tokens:
            return self._new(q.steps, size, dtype=np.intp)
        return self._new(q.steps, size, self._weights.input_size)

    def _add_groups(self):
        """Add memory for a group of each size, for one more thread."""
        q, w = self.question, self._weights
        for size in self._sizes:
            x = self._new_input(size)
            steps = self._output_steps
            classes = targets = None
            if q.loss == "softmax":
                classes = self._new(steps, size, dtype=np.intp)
            else:
                targets = self._new(steps, size, w.output_size // q.blocks)
            losses = self._new(steps, size, dtype=np.float64)
            loss_arrays = classes, targets, losses
            arrays = self._new_arrays(size, q.steps, x, loss_arrays, is_group=True)
            self._lanes.add(self._kernels.Group(arrays.compiled_pass, x, *loss_arrays))
        self._threads, self.is_counted = self._threads + 1, False

    def _new_arrays(self, *arguments, **options):
        return PassArrays(self._kernels, self._weights, self.question, self._memory, *arguments,
                          **options)


class Plans:
    """The plans that passes leave for the next ones: one cache for all.

    A thread takes a plan out while it uses it, so that no other finds it at work.
    """

    def __init__(self):
        self.clear()

    def clear(self):
        """Give all memory back."""
        self._latest, self._spare = {}, {}  # by kind of question; by question, the oldest first

    def take_latest(self, kind):
        """Return the plan that was used last for a kind of question, or None.

        If it is lent to a tape, another one for the same question.
        """
        plan = self._latest.pop(kind, None)
        if plan is None or plan.tape is None or not plan.is_lent:
            return plan
        self._latest.setdefault(kind, plan)
        return self.take(plan.question)

    def take(self, question):
        """Return a plan for a question, which is not lent, or None."""
        plan = self._spare.pop(question, None)
        if plan is None or not plan.is_lent:
            return plan
        self._spare.setdefault(question, plan)
        return None

    def give_back(self, plan):
        """Keep a plan, and of those before as many as there is room for."""
        kind = plan.question.kind
        before = self._latest.pop(kind, None)  # of another thread; taken out, lest a third has it
        self._latest[kind] = plan
        if before is None and plan.is_counted:
            return
        if before is not None:
            self._spare[before.question] = before
        if plan.bytes > SPARE_BYTES:
            self._latest.pop(kind, None)
        plan.is_counted = True
        self._make_room()

    def put_aside(self, plan):
        """Keep a plan that is not the latest one."""
        self._spare[plan.question] = plan
        if not plan.is_counted:
            plan.is_counted = True
            self._make_room()

    def give_way_back(self, plan, way_back):
        """Keep a way back with its plan, if that is kept and there is room for both."""
        kept = self._latest.get(plan.question.kind), self._spare.get(plan.question)
        if plan in kept and plan.bytes + way_back.bytes <= SPARE_BYTES:
            plan.ways_back[:] = [way_back]
            if not plan.is_counted:
                plan.is_counted = True
                self._make_room()

    def _make_room(self):
        """Drop the oldest plans until the others are small enough, the latest ones last."""
        size = sum(each.bytes for each in [*self._latest.values(), *self._spare.values()])
        for kept in (self._spare, self._latest):
            for key in list(kept):
                if size <= SPARE_BYTES:
                    return
                oldest = kept.pop(key, None)
                size -= oldest.bytes if oldest is not None else 0
