"""Nodes that only move the axes of what layers put out, or choose steps, directions, features."""

import math

import numpy as np

from crnn.exchange.onnx_folding import axes_of, slice_of, split_sizes, whole_numbers
from crnn.exchange.onnx_values import (
    BLOCKS,
    COLUMNS,
    END,
    MOST_AXES,
    START,
    Atom,
    Inexpressible,
    Part,
    Signal,
    atom_of,
    core,
    signal_of,
)


def move(node, inputs):
    """Return the outputs of a node whose first input is a signal, a list.

    Raises
    ------
    Inexpressible
        If the operator is none of these, or does more than move.
    """
    found = MOVES[node.op](node, *inputs)
    return found if isinstance(found, list) else [found]


def _with(signal, axes, parts=None):
    parts = signal.parts if parts is None else parts
    if not parts and len(axes) <= MOST_AXES:
        return Signal(tuple(axes), (), signal.stage)
    return signal_of(axes, parts)


def _transpose(node, x):
    order = node.attributes.get("perm") or list(range(len(x.axes)))[::-1]
    if sorted(order) != list(range(len(x.axes))):
        raise Inexpressible(f"its perm is {order} for {len(x.axes)} axes")
    return _with(x, [x.axes[each] for each in order])


def _unsqueeze(node, x, *rest):
    axes = axes_of(node, (x, *rest), 1)
    rank = len(x.axes) + len(axes)
    places = {_place(each, rank) for each in axes}
    if len(places) < len(axes):
        raise Inexpressible("it names an axis twice")
    left = iter(x.axes)
    return _with(x, [() if place in places else next(left) for place in range(rank)])


def _squeeze(node, x, *rest):
    axes = axes_of(node, (x, *rest), 1)
    if axes is None:
        return _with(x, [each for each in x.axes if core(each)])
    places = {_place(each, len(x.axes)) for each in axes}
    for place in places:
        if core(x.axes[place]):
            raise Inexpressible("it squeezes an axis that may have more than one place")
    return _with(x, [each for place, each in enumerate(x.axes) if place not in places])


def _reshape(node, x, shape):
    sizes = whole_numbers(shape)
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return _with(x, _regrouped([atom for axis in x.axes for atom in axis], sizes))


def _flatten(node, x):
    axis = node.attributes.get("axis", 1)
    sizes = [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])]
    return _with(x, _regrouped([atom for each in x.axes for atom in each], sizes))


def _regrouped(atoms, sizes):
    """Return axes of the given sizes, one of which may be -1, from atoms in their order."""
    first = sizes.index(-1) if -1 in sizes else len(sizes)
    start, left = _taken(atoms, sizes[:first])
    if first == len(sizes):
        if core(left):
            raise Inexpressible("its shape is not that of what it reads")
        return start
    end, middle = _taken(left[::-1], sizes[:first:-1])
    return [*start, _without_ones(middle[::-1]), *(each[::-1] for each in end[::-1])]


def _taken(atoms, sizes):
    """Return an axis for each size, and the atoms that are left."""
    axes, left = [], list(atoms)
    for size in sizes:
        axis, have = [], 1
        while have != size or (not axis and left and left[0].size == 1):
            if not left or size % (have * left[0].size):
                raise Inexpressible("it cuts an axis up, or puts parts of several into one")
            axis.append(left.pop(0))
            have *= axis[-1].size
            if size == 1:
                break
        axes.append(_without_ones(axis))
    return axes, left


def _without_ones(axis):
    """Return an axis without atoms of one place beside others, as a tuple."""
    return core(axis) or tuple(axis[:1])


def _slice(node, x, *rest):
    for start, end, axis, step in zip(*slice_of(node, (x, *rest)), strict=True):
        axis = _place(axis, len(x.axes))
        places = range(x.shape[axis])[slice(start, end, step)]
        if len(places) == x.shape[axis] and step == 1:
            continue
        if step != 1:
            raise Inexpressible("it takes steps in another order, or leaves some out")
        x = _cut(x, axis, places.start, places.stop)
    return x


def _gather(node, x, places):
    axis = _place(node.attributes.get("axis", 0), len(x.axes))
    wanted = [each + x.shape[axis] * (each < 0) for each in whole_numbers(places)]
    if not wanted or places.ndim > 1 or not all(0 <= each < x.shape[axis] for each in wanted):
        raise Inexpressible("its places are not there")
    pieces = [_cut(x, axis, each, each + 1) for each in wanted]
    if places.ndim == 0:
        return _with(pieces[0], [each for place, each in enumerate(pieces[0].axes)
                                 if place != axis])
    return _joined(pieces, axis)


def _split(node, x, *rest):
    axis = _place(node.attributes.get("axis", 0), len(x.axes))
    sizes = split_sizes(node, (x, *rest), x.shape[axis], node.num_outputs)
    ends = np.cumsum(sizes)
    return [_cut(x, axis, int(end) - size, int(end))
            for size, end in zip(sizes, ends, strict=True)]


def _cut(x, axis, start, stop):
    """Return a signal with some neighbouring places of an axis."""
    atoms = core(x.axes[axis])
    if not atoms and (start, stop) == (0, 1):
        return x
    if len(atoms) != 1 or not start < stop <= x.shape[axis]:
        raise Inexpressible("it takes part of an axis that is several things, or nothing")
    (atom,) = atoms
    axes = list(x.axes)
    if atom.role == COLUMNS and (atom_of(x.axes, BLOCKS) is None or len(x.parts) == 1):
        axes[axis] = (Atom(stop - start, COLUMNS),)
        return _with(x, axes, _columns(x.parts, start, stop))
    if atom.role == BLOCKS:
        axes[axis] = (Atom(stop - start, BLOCKS),)
        return _with(x, axes, x.parts[start:stop])
    below = x.stage.recurrent_below()
    if x.parts and below is not None and atom in below.time:
        when = {atom.size: END, 1: START}.get(stop)
        if stop - start == 1 and when is not None:
            axes[axis] = ()
            return _with(x, axes, [
                Part(each.stage, each.start, each.stop, when) for each in x.parts])
        raise Inexpressible("it takes some steps only")
    if x.parts and below is not None and atom in below.batch:
        raise Inexpressible("it takes some sequences of the batch only")
    raise Inexpressible("it takes part of an axis of the input")


def _columns(parts, start, stop):
    """Return what lies in a range of the columns of parts that lie beside each other."""
    found, begins = [], 0
    for each in parts:
        first, last = max(start - begins, 0), min(stop - begins, each.width)
        if first < last:
            found.append(Part(each.stage, each.start + first, each.start + last, each.when))
        begins += each.width
    return found


def _concat(node, *signals):
    if not all(isinstance(each, Signal) and each.parts for each in signals):
        raise Inexpressible("it puts something beside what layers put out")
    return _joined(signals, _place(node.attributes["axis"], len(signals[0].axes)))


def _joined(signals, axis):
    """Return signals beside each other along their features, or one upon another as blocks."""
    if len(signals) == 1:
        return signals[0]
    others = {tuple(_named(each) for place, each in enumerate(signal.axes) if place != axis)
              for signal in signals}
    if len(others) > 1:
        raise Inexpressible("what it puts beside each other does not lie alike")
    roles = {tuple(atom.role for atom in core(each.axes[axis])) for each in signals}
    axes, parts = list(signals[0].axes), [part for each in signals for part in each.parts]
    if roles == {(COLUMNS,)}:
        axes[axis] = (Atom(sum(each.width for each in parts), COLUMNS),)
    elif roles <= {(BLOCKS,), ()} and all(
        len(each.parts) == each.shape[axis] for each in signals
    ):
        axes = [tuple(atom for atom in each if atom.role != BLOCKS) for each in axes]
        axes[axis] = (Atom(len(parts), BLOCKS),)
    else:
        raise Inexpressible("it puts steps or sequences one after another")
    return signal_of(axes, parts)


def _named(axis):
    """Return what an axis is, the same for the features of different layers."""
    return tuple((atom.role, atom.size) if atom.role == COLUMNS else atom for atom in core(axis))


def _place(axis, rank):
    if not -rank <= axis < rank:
        raise Inexpressible(f"its axis is {axis}, and there are {rank}")
    return axis % rank


def _same(node, x, *rest):
    return [x, *[None] * (node.num_outputs - 1)]


MOVES = {
    "Identity": _same,
    "Cast": _same,
    "Dropout": _same,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Concat": _concat,
}
