"""What tensors of an ONNX graph mean, as far as a list of layers goes.

A graph is walked through once, node by node, with these in the place of tensors:

- an array, where the tensor is the same for every input;
- a `Signal`: what a layer puts out, or an input, and how it lies;
- an `Unknown`: anything else, with the reason, which is told if somebody needs the tensor.

An axis of a signal is a tuple of `Atom`; one without atoms has one place. Nodes that only move axes
regroup the atoms, so that time, batch and features are known wherever they go. A size that the file
leaves open is a large prime, and so are never equal to another, nor a product to another's.
"""

from dataclasses import dataclass, field

import numpy as np

from crnn.layers.recurrent import Recurrent

MOST_AXES, MOST_PARTS, MOST_LAYERS, MOST_COLUMNS = 32, 1024, 1000, 2**22
AXIS, BLOCKS, COLUMNS = "axis", "blocks", "columns"  # the roles of atoms
ALL, FINAL, CELL = "all steps", "the last state", "the last cell"  # when a part is read ...
END, START = "the last step", "the first step"  # ... as it lies, whatever the direction


class Inexpressible(Exception):  # noqa: N818
    """What a node does has no place in a list of layers; no error, unless somebody needs it."""


@dataclass(eq=False, frozen=True)
class Atom:
    """An axis that is one thing: time, batch, features, or blocks of features one upon another."""

    size: int
    role: str = AXIS


@dataclass(frozen=True)
class Part:
    """Some neighbouring features of what a stage puts out, at all steps or at one."""

    stage: "Stage"
    start: int
    stop: int
    when: str = ALL

    @property
    def width(self):
        """How many features."""
        return self.stop - self.start


@dataclass(eq=False)
class Stage:
    """A layer of the network to be, or an input of the graph (which has no layer).

    Attributes
    ----------
    layer : object of `crnn.layers`, or None
    width : int
        The features that it puts out.
    names : tuple of str
        Of the nodes that it was made of; of an input its name.
    source : Stage or None
        What it reads.
    weights : dict of str to ndarray
        By crnn's names without the number of the layer: W_xh, W_xh_reverse and so on.
    time, batch : tuple of Atom
        The axes of the recurrent layer, or of the next one below.
    axes : tuple of tuple of Atom
        Of an input, how it lies.
    biased : bool
        Of a dense layer: whether its bias is known.
    lone_reverse : bool
        Whether its first direction is not in the file, and puts out zeros.
    skips : bool
        Whether it adds the network's input to what it reads, and is no layer.
    lengths : str or None
        What sequence_lens are, in words, where there are any.
    foreign : str or None
        Of an input that is none of the graph: why not.
    batch_first : bool
        Of a recurrent layer: whether the node has the batch first.
    problems : tuple of str
        What crnn cannot say of it; the caller would have to.
    pairs : dict of Stage to Stage
        The bidirectional stages that it is part of, by the other part.
    depth : int
        How many stages are below it.
    """

    layer: object
    width: int
    names: tuple
    source: "Stage | None" = None
    weights: dict = field(default_factory=dict)
    time: tuple = ()
    batch: tuple = ()
    axes: tuple = ()
    biased: bool = False
    lone_reverse: bool = False
    skips: bool = False
    batch_first: bool = False
    lengths: str | None = None
    foreign: str | None = None
    problems: tuple = ()
    pairs: dict = field(default_factory=dict)
    depth: int = 0

    def __post_init__(self):
        if self.source is not None:
            self.depth = self.source.depth + 1
        if self.depth > MOST_LAYERS:
            raise Inexpressible(f"there are more than {MOST_LAYERS} layers")

    @property
    def is_recurrent(self):
        """Whether it has a state."""
        return isinstance(self.layer, Recurrent)

    def chain(self):
        """Return it and all below it, from the input up."""
        found = [self]
        while found[-1].source is not None:
            found.append(found[-1].source)
        return found[::-1]

    def recurrent_below(self):
        """Return the next recurrent stage, itself or below, or None."""
        return next((each for each in self.chain()[::-1] if each.is_recurrent), None)


@dataclass(frozen=True)
class Unknown:
    """A tensor that crnn cannot say anything of.

    Attributes
    ----------
    reason : str
        The node, its operator, and why.
    is_moved_input : bool
        Whether it is (a part of) an input, and nothing was computed.
    """

    reason: str
    is_moved_input: bool = False


@dataclass(frozen=True)
class Signal:
    """What layers put out.

    Attributes
    ----------
    axes : tuple of tuple of Atom
        With at most one atom for features, COLUMNS, and one for BLOCKS of features.
    parts : tuple of Part
        What lies along the columns; where there are blocks, a part for each, all of one width.
        Of an input whose features nobody has read yet: empty.
    stage : Stage
        The input, where there are no parts; otherwise that of the first part.
    """

    axes: tuple
    parts: tuple
    stage: Stage

    @property
    def shape(self):
        """The sizes of the axes."""
        return tuple(int(np.prod([each.size for each in axis], dtype=object)) for axis in self.axes)


def core(axis):
    """Return the atoms of an axis that have more than one place."""
    return tuple(each for each in axis if each.size != 1)


def atom_of(axes, role):
    """Return the atom of a role, or None."""
    return next((atom for axis in axes for atom in axis if atom.role == role), None)


def signal_of(axes, parts):
    """Return a signal of parts, with blocks beside each other where they lie next to the columns.

    Raises
    ------
    Inexpressible
        If the columns are apart from blocks in the same axis.
    """
    if len(axes) > MOST_AXES or not 0 < len(parts) <= MOST_PARTS:
        raise Inexpressible(f"there are {len(axes)} axes and {len(parts)} parts")
    arranged = []
    for axis in axes:
        roles = [atom.role for atom in axis]
        if COLUMNS in roles and BLOCKS in roles:
            if roles != [BLOCKS, COLUMNS]:
                raise Inexpressible("it mixes directions and features")
            axis = (Atom(sum(each.width for each in parts), COLUMNS),)
        arranged.append(axis)
    return Signal(tuple(arranged), tuple(parts), parts[0].stage)


def with_features(signal, width=None):
    """Return a signal whose last axis is its features.

    Parameters
    ----------
    signal : Signal
    width : int, optional
        How many there must be; of an input whose file leaves it open, how many there are.

    Raises
    ------
    Inexpressible
    """
    if not signal.axes:
        raise Inexpressible("it reads a single number")
    last = signal.axes[-1]
    if not signal.parts:
        if len(core(last)) > 1:
            raise Inexpressible("it reads features that lie along several axes")
        size = last[0].size if last else 1
        if width is not None and size != width and size not in PRIMES:
            raise Inexpressible(f"it reads {width} features, and there are {size}")
        size = signal.stage.width = size if width is None else width
        columns = Atom(size, COLUMNS)
        return Signal((*signal.axes[:-1], (columns,)),
                      (Part(signal.stage, 0, size),), signal.stage)
    atom = atom_of(signal.axes, COLUMNS)
    blocks = atom_of(signal.axes, BLOCKS)
    if atom is None or atom not in last or len(core(last)) > 1 or (blocks and blocks.size > 1):
        raise Inexpressible("its last axis is not the features")
    if width is not None and atom.size != width:
        raise Inexpressible(f"it reads {width} features, and there are {atom.size}")
    return signal


def resolved(signal):
    """Return what a signal with features is: a stage, when it is read, and which of its columns.

    Returns
    -------
    stage : Stage
    when : str
        END and START only where these are not the last state.
    columns : ndarray or None
        None: all, in their order.

    Raises
    ------
    Inexpressible
    """
    parts = signal.parts
    stages = list(dict.fromkeys(each.stage for each in parts))
    if len(stages) > 2:
        raise Inexpressible("it puts the outputs of several layers beside each other")
    stage = _pair(*stages) if len(stages) == 2 else stages[0]
    return stage, _when(parts), _columns(parts, stage.width)


def _when(parts):
    """Return when all parts are read: the last state, or a step as it lies, or what else."""
    as_they_lie = {each.when for each in parts}
    whens = {_meaning(each) for each in parts}
    for found in (whens, as_they_lie):
        if len(found) == 1:
            return found.pop()
    raise Inexpressible(f"it puts {' and '.join(sorted(whens))} beside each other")


def _columns(parts, width):
    """Return the places of the features of parts of one stage; None if they are all, in order."""
    starts = [each.start for each in parts]
    stops = [each.stop for each in parts]
    if [*stops[:-1], width] == [*starts[1:], stops[-1]] and starts[0] == 0:
        return None
    if sum(each.width for each in parts) > MOST_COLUMNS:
        raise Inexpressible(f"it reads more than {MOST_COLUMNS} features out of their order")
    return np.concatenate([np.arange(each.start, each.stop) for each in parts])


def _meaning(part):
    """Return when a part is read, with the last step of its own direction as FINAL.

    Where sequences have lengths of their own, some have ended before the last step.
    """
    if part.when not in (END, START):
        return part.when
    below = part.stage.recurrent_below()
    H = below.layer.size
    if not below.layer.bidirectional:
        own = END
    elif below.lone_reverse or (part.stage is below and part.start >= H):
        own = START
    elif part.stage is below and part.stop <= H:
        own = END
    else:
        own = None
    return FINAL if part.when == own and not below.lengths else part.when


def _pair(first, second):
    """Return the bidirectional stage of two that read the same in opposite directions."""
    if first.lone_reverse and not second.lone_reverse:
        first, second = second, first
    alike = (
        first.is_recurrent and second.lone_reverse and not first.layer.bidirectional
        and first.source is second.source and first.lengths == second.lengths
        and _both_ways(first.layer) == second.layer
    )
    if not alike:
        raise Inexpressible("it puts the outputs of several layers beside each other")
    if second not in first.pairs:
        reverse = {name: each for name, each in second.weights.items() if name.endswith("_reverse")}
        first.pairs[second] = Stage(
            second.layer, second.width, first.names + second.names, first.source,
            first.weights | reverse, first.time, first.batch, lengths=first.lengths,
            batch_first=first.batch_first, problems=first.problems + second.problems,
        )
    return first.pairs[second]


def _both_ways(layer):
    return type(layer)(**{**vars(layer), "bidirectional": True})


PRIMES = (1000003, 1000033, 1000037, 1000039, 1000081, 1000099, 1000117, 1000121, 1000133, 1000151,
          1000159, 1000171, 1000183, 1000187, 1000193, 1000199, 1000211, 1000213, 1000231, 1000249)
