"""What `crnn.fit` trains on: batches of sequences, cut into chunks of time steps."""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.base.arrangement import arranged
from crnn.base.padding import is_list_of_arrays
from crnn.base.weights import of_each_number
from crnn.network.prediction import other_loss
from crnn.training import finite
from crnn.training.bucketing import Batches
from crnn.training.ranks import Ranks

FORMS = '(x, targets), (x, targets, lengths) or a dict with "x" and "targets"'
PART = 1 << 16  # sequences times steps that are checked together, which takes copies of them


class Batch(NamedTuple):
    """Sequences that are trained on together, time first, as an engine takes them."""

    x: object
    targets: object
    lengths: object = None
    sample_weight: object = None


class Chunk(NamedTuple):
    """Some time steps of a batch: what one update goes back through."""

    x: object
    targets: object
    lengths: object
    sample_weight: object
    count: int  # valid targets, over which its loss is the mean; without any there is no update


def as_batches(data, objective, truncation, name="data", warm_up=0):
    """Return data, in the forms that `fit` takes, as a sequence of `Batch`."""
    if isinstance(data, Batches):
        return _Batches(objective, truncation, warm_up, data, data.epoch(0, seed=0))
    is_tuple = isinstance(data, tuple) and len(data) and not isinstance(data[0], (tuple, Mapping))
    if is_tuple or isinstance(data, Mapping):
        data = [data]
    is_sequence = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not is_sequence or isinstance(data, str):
        raise TypeError(
            f"{name} is a {type(data).__name__}; a batch, {FORMS}, or a sequence of batches that"
            " can be gone through again is wanted"
        )
    if not len(data):
        raise ValueError(f"{name} has no batch")
    return _Batches(objective, truncation, warm_up, _Fixed(data, objective.net.batch_first), data)


def checked_batches(data, objective, truncation, name="data", warm_up=0, ranks=None):
    """Return `as_batches` of data, all of which the network can train on.

    Without ``ranks`` these are all data there are.
    """
    batches, targets, empty = as_batches(data, objective, truncation, name, warm_up), 0, []
    ranks = ranks or Ranks()
    for number in range(len(batches)):
        sequences = batches.sequences(number)
        try:
            batch = batches[number]
            for first, part in _parts(batch, objective):
                checked = objective.validate(part)
                finite.check_x(part, objective.net.dtype, first, sequences)
                if checked is not None:
                    finite.check_targets(part, checked, first, sequences)
                targets += count_targets(part, objective)
        except (TypeError, ValueError, IndexError) as error:
            where = f"batch {number} of {name}" if len(batches) > 1 else name
            hint = _how_read(data, name)
            if "targets" in str(error):
                hint += other_loss(objective.net.metadata, objective.loss_name)
            raise type(error)(f"{where}: {error}{hint}") from error
        _check_cuts(batch, objective, truncation, warm_up)
        batches.count(batch)
        empty += batches.empty(number, batch)
    batches.targets, updates = ranks.total([targets, batches.updates]).astype(int).tolist()
    if not updates:
        raise ValueError(
            f"{name} has no valid target: every one is missing (-1, or of weight 0), or at a step"
            " beyond its sequence's length, or there are no steps or no sequences; there is nothing"
            " to take a loss of" + (f" after warm_up = {warm_up} steps" if warm_up else "")
        )
    if objective.class_weight == "balanced":
        objective.balance(batches, ranks)
    if empty:  # likely a fault in how they were read
        checks.warn(
            f"{name} has sequences without steps, which count for nothing: {len(empty)}, the first"
            f" is {empty[0]}"
        )
    return batches


def _how_read(data, name):
    """Return the end of a message about data that may have been meant otherwise."""
    if not (isinstance(data, tuple) and isinstance(data[0], tuple)):
        return ""
    return (
        f" ({name} is a tuple of tuples, and was read as {len(data)} batches; the sequences of one"
        " batch are a list: ([x_1, x_2], [targets_1, targets_2]))"
    )


def _check_cuts(batch, objective, truncation, warm_up):
    """Raise ValueError if sequences would be cut that cannot be."""
    steps = len(batch.x)
    cuts = len(spans(steps, truncation, warm_up))
    if cuts < 2:
        return
    where, what = (f"after {truncation}", "truncation") if not warm_up else (
        f"after warm_up = {warm_up}", "warm_up")
    if objective.net.bidirectional:
        raise ValueError(
            f"sequences of {steps} steps would be cut {where}, but the second direction of a"
            f" bidirectional network begins at their end; leave out {what}"
        )
    if not has_every_step(batch, objective):
        raise ValueError(
            f"targets have shape {batch.targets.shape}, one for the last step of each sequence, but"
            f" sequences of {steps} steps would be cut {where}; leave out {what}"
        )


def _fields(item):
    """Return x, targets, lengths and sample_weight of a batch in one of its `FORMS`."""
    if isinstance(item, Mapping):
        unknown = set(item) - set(Batch._fields)
        if unknown or not {"x", "targets"} <= set(item):
            raise ValueError(
                f"a batch is a dict with {', '.join(map(repr, item))}; \"x\" and \"targets\", and"
                " maybe \"lengths\" and \"sample_weight\" are wanted"
            )
        fields = Batch(**item)
    elif isinstance(item, (tuple, list)) and len(item) in (2, 3):
        fields = Batch(*item)
    else:
        hint = f" of {len(item)}; the sequences of one batch are a list" * isinstance(item, tuple)
        raise TypeError(f"a batch is {FORMS}; this is a {type(item).__name__}{hint}")
    for what in ("x", "targets"):
        if getattr(fields, what) is None:
            raise TypeError(f"{what} is None; an array is wanted")
    return fields


class _Batches:
    """Makes a `Batch` of each item when it is asked for, so that data may be read lazily."""

    def __init__(self, objective, truncation, warm_up, source, items):
        self.objective, self._truncation, self._warm_up = objective, truncation, warm_up
        self._source, self._items = source, items
        self._rows = []  # which chunks of each batch have a valid target, where that stays so

    def __len__(self):
        return len(self._items)

    def __getitem__(self, number):
        if number >= len(self):
            raise IndexError(number)
        x, targets, lengths, sample_weight = _fields(self._items[number])
        net = self.objective.net
        given = arranged(x, lengths, self._source.batch_first, net.input_size)
        form = "softmax" if self.objective.has_classes(targets) else "mse"
        weights = None if sample_weight is None else given.weights(sample_weight)
        arrays = given.x, given.targets(targets, form), given.lengths, weights
        return Batch(*(None if each is None else checks.plain_array(each, name)
                       for name, each in zip(Batch._fields, arrays, strict=True)))

    def sequences(self, number):
        """Return the numbers of a batch's sequences among all of `crnn.batches`; None elsewhere."""
        return self._items.parts[number] if isinstance(self._source, Batches) else None

    def empty(self, number, batch):
        """Return the names of a batch's sequences that have no steps, of a list of sequences.

        With an array they may be there to fill it up.
        """
        if batch.lengths is None or np.all(batch.lengths):
            return []
        known = self.sequences(number)
        if known is not None:  # not of a share without any, whose batch has one in their place
            return [f"sequences[{each}]" for each, length in zip(known, batch.lengths, strict=False)
                    if not length]
        places = np.flatnonzero(batch.lengths == 0)
        is_list = is_list_of_arrays(_fields(self._items[number]).x)
        return [f"sequence {place} of batch {number}" for place in places] if is_list else []

    def count(self, batch):
        """Keep which chunks of the next batch have a valid target, so that it is read once."""
        if isinstance(self._source, _Fixed):
            self._rows.append([chunk.count > 0 for chunk in self._cut(batch, 0)])

    @functools.cached_property
    def updates(self):
        """How many chunks all batches have with a valid target, when all have been counted."""
        return self.updates_of(0, seed=0)

    def chunks(self, number, first=0):
        """Return an iterator over a batch's chunks.

        They are those from the one that starts at step ``first`` to the last one with a valid
        target. Chunks between that have none, and that of the warm-up, are there too, as the state
        goes on through them.
        """
        return self._cut(self[number], first)

    def _cut(self, batch, first):
        parts = [part for part in spans(len(batch.x), self._truncation, self._warm_up)
                 if part.start >= first]

        def chunk(part):
            return _chunk(batch, self.objective, part, part.start >= self._warm_up)

        while parts:
            last = chunk(parts.pop())
            if last.count:
                yield from (chunk(part) for part in parts)
                yield last
                return

    def in_epoch(self, number, seed):
        """Return the batches of an epoch, in its order; the first epoch is number 0."""
        batches = self._made_of(self._source.epoch(number, seed))
        batches.updates = self.updates_of(number, seed)
        return batches

    def _made_of(self, items):
        return _Batches(
            self.objective, self._truncation, self._warm_up, self._source, items)

    def updates_of(self, number, seed):
        """Return how many updates an epoch has, without making its batches."""
        return sum(map(sum, self.rows_of(number, seed)))

    def rows_of(self, number, seed):
        """Return for each batch of an epoch which of its chunks have a valid target."""
        items = self._source.epoch(number, seed)
        if isinstance(self._source, _Fixed):
            return [self._rows[place] for place in items.order]
        return [self._by_sequence[part].any(axis=0).tolist() for part in items.parts]

    @functools.cached_property
    def _by_sequence(self):
        """Which chunks of each sequence have a valid target, (sequences, chunks)."""
        lengths, items = self._source.lengths, self._source.whole.epoch(0, seed=0)
        batches = self._made_of(items)
        most = len(spans(lengths.max(), self._truncation, self._warm_up))
        found = np.zeros((len(lengths), most), bool)
        for number, part in enumerate(items.parts):
            for place, chunk in enumerate(batches.chunks(number)):
                if chunk.count:
                    valid = valid_targets(chunk, self.objective)
                    found[part, place] = valid.reshape(-1, len(part)).any(axis=0)
        return found


class _Fixed:
    """Batches that are the same in every epoch, but for their order."""

    def __init__(self, items, batch_first):
        self._items, self.batch_first = items, batch_first

    def epoch(self, number, seed):
        """Return the batches in the order of an epoch."""
        order = np.random.default_rng([seed, number]).permutation(len(self._items))
        return _InOrder(self._items, order)


class _InOrder:
    """Items of a sequence in another order.

    Attributes
    ----------
    order : ndarray of int
        Where each of them is in the sequence.
    """

    def __init__(self, items, order):
        self._items, self.order = items, order

    def __len__(self):
        return len(self.order)

    def __getitem__(self, number):
        return self._items[self.order[number]]


def _parts(batch, objective):
    """Yield a batch in parts that are valid if it is, and that can be checked one by one.

    With the number of the first step of each.
    """
    x, targets, *others = batch
    is_plain = all(each is None for each in others)
    is_cut = is_plain and _axes(batch) > 0 and has_every_step(batch, objective)
    if not is_cut or len(targets) != len(x):
        yield 0, batch
        return
    steps = max(1, PART // max(batch_size(batch) or 1, 1))
    for start in range(0, max(len(x), 1), steps):
        yield start, Batch(x[start : start + steps], targets[start : start + steps])


def spans(steps, truncation, warm_up):
    """Return the slices of time that chunks have: of the warm-up, and then of equal lengths."""
    starts = [*[0] * (warm_up > 0), *range(warm_up, steps, truncation or max(steps, 1))]
    return [slice(*each) for each in itertools.pairwise([*starts, steps])]


def _chunk(batch, objective, part, counts):
    x, targets, lengths, weights = batch
    if lengths is not None and part.stop - part.start < len(x):
        lengths = np.clip(lengths.astype(np.intp) - part.start, 0, part.stop - part.start)
    if has_every_step(batch, objective):
        targets = targets[part]
        if weights is not None and weights.ndim == _axes(batch):
            weights = weights[part]
    # an engine takes these as they are; streams over a text lie otherwise, in small integers
    x = np.asarray(x[part], np.intp if _is_tokens(x) else None, order="C")
    has_classes = objective.has_classes(targets)
    targets = np.asarray(targets, np.intp if has_classes else None, order="C")
    own = Batch(x, targets, lengths, weights)
    return Chunk(*own, count_targets(own, objective) if counts else 0)


def has_every_step(batch, objective):
    """Whether targets are for every step; their shapes are checked by the objective."""
    return batch.targets.ndim == _axes(batch) + (not objective.has_classes(batch.targets))


def batch_size(batch):
    """Return B, or None of one sequence without an axis for the batch."""
    return batch.x.shape[1] if _axes(batch) == 2 else None


def _axes(batch):
    """Return 2 for time and batch, 1 for time alone."""
    return batch.x.ndim - (not _is_tokens(batch.x))


def _is_tokens(x):
    return x.dtype.kind in "iu" and x.ndim < 3


def count_targets(batch, objective):
    """Return the number of valid targets, of which each of a step's numbers is one."""
    weighed = objective.weighed(batch)
    if weighed is not None:
        return weighed.count
    if not objective.has_classes(batch.targets) and has_every_step(batch, objective) and (
            batch.lengths is not None):
        return int(np.sum(batch.lengths)) * batch.targets.shape[-1]
    valid = valid_targets(batch, objective)
    return int(valid.sum()) * math.prod(batch.targets.shape[valid.ndim :])


def valid_targets(batch, objective):
    """Return at which steps a target counts, (T, B), or (B,) of one for each sequence.

    Without B for one sequence. Where a step has O numbers, at least one of them counts.
    """
    has_classes, weighed = objective.has_classes(batch.targets), objective.weighed(batch)
    shape = batch.targets.shape[: batch.targets.ndim - (not has_classes)]
    if weighed is not None:
        if has_classes:
            return weighed.targets.reshape(shape) >= 0
        if weighed.weights is None:
            return np.ones(shape, bool)
        return (of_each_number(weighed.weights) != 0).any(-1).reshape(shape)
    valid = batch.targets >= 0 if has_classes else np.ones(shape, bool)
    if batch.lengths is not None:
        every_step = has_every_step(batch, objective)
        times = np.arange(len(batch.x)).reshape(-1, *[1] * batch.lengths.ndim) if every_step else 0
        valid = valid & (times < batch.lengths)
    return valid
