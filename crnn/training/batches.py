"""What `crnn.fit` trains on: batches of sequences, cut into chunks of time steps."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from crnn.base.arrangement import arranged
from crnn.training.bucketing import Batches

PART = 1 << 16  # sequences times steps that are checked together, which takes copies of them


class Batch(NamedTuple):
    """Sequences that are trained on together, time first, as an engine takes them."""

    x: object
    targets: object
    lengths: object = None


class Chunk(NamedTuple):
    """Some time steps of a batch: what one update goes back through."""

    x: object
    targets: object
    lengths: object
    count: int  # valid targets, over which its loss is the mean; without any there is no update


def as_batches(net, data, loss, truncation, name="data"):
    """Return data, in the forms that `fit` takes, as a sequence of `Batch`."""
    if isinstance(data, Batches):
        return _Batches(net, loss, truncation, data, data.epoch(0, seed=0))
    if isinstance(data, tuple) and not any(isinstance(each, tuple) for each in data):
        data = [data]
    is_sequence = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not is_sequence or isinstance(data, (Mapping, str)):
        raise TypeError(
            f"{name} is a {type(data).__name__}; (x, targets), (x, targets, lengths) or a sequence"
            " of these that can be gone through again is wanted"
        )
    if not len(data):
        raise ValueError(f"{name} has no batch")
    return _Batches(net, loss, truncation, _Fixed(data, net.batch_first), data)


def checked_batches(net, data, loss, truncation, name="data"):
    """Return `as_batches` of data, all of which the network can train on."""
    batches, updates = as_batches(net, data, loss, truncation, name), 0
    for number in range(len(batches)):
        try:
            batch = batches[number]
            for part in _parts(batch, loss):
                net.engine.validate(part.x, part.targets, loss, part.lengths)
        except (TypeError, ValueError, IndexError) as error:
            where = f"batch {number} of {name}" if len(batches) > 1 else name
            raise type(error)(f"{where}: {error}") from error
        cuts = len(chunk_starts(len(batch.x), truncation))
        if cuts > 1 and net.bidirectional:
            raise ValueError(
                f"sequences of {len(batch.x)} steps would be cut after {truncation}, but the second"
                " direction of a bidirectional network begins at their end; leave out truncation"
            )
        if cuts > 1 and not has_every_step(batch, loss):
            raise ValueError(
                f"targets have shape {batch.targets.shape}, one for the last step of each sequence,"
                f" but sequences of {len(batch.x)} steps would be cut after {truncation}; leave out"
                " truncation"
            )
        updates += sum(chunk.count > 0 for chunk in chunks(batch, loss, truncation))
    batches.updates = updates
    if not updates:
        raise ValueError(
            f"{name} has no valid target: every one is missing (-1), or at a step beyond its"
            " sequence's length, or there are no steps or no sequences; there is nothing to take a"
            " loss of"
        )
    return batches


class _Batches:
    """Makes a `Batch` of each item when it is asked for, so that data may be read lazily."""

    def __init__(self, net, loss, truncation, source, items):
        self._net, self._loss, self._truncation = net, loss, truncation
        self._source, self._items = source, items

    def __len__(self):
        return len(self._items)

    def __getitem__(self, number):
        if number >= len(self):
            raise IndexError(number)
        item = self._items[number]
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise TypeError(
                f"a batch is (x, targets) or (x, targets, lengths); this is a"
                f" {type(item).__name__}"
            )
        x, targets, lengths = *item, *[None] * (3 - len(item))
        for what, each in (("x", x), ("targets", targets)):
            if each is None:
                raise TypeError(f"{what} is None; an array is wanted")
        given = arranged(x, lengths, self._source.batch_first, self._net.input_size)
        arrays = given.x, given.targets(targets, self._loss), given.lengths
        return Batch(*(None if each is None else np.asanyarray(each) for each in arrays))

    @functools.cached_property
    def updates(self):
        """How many chunks all batches have with a valid target."""
        return sum(
            chunk.count > 0
            for batch in self for chunk in chunks(batch, self._loss, self._truncation)
        )

    def in_epoch(self, number, seed):
        """Return the batches of an epoch, in its order; the first epoch is number 0."""
        items, is_fixed = self._source.epoch(number, seed), isinstance(self._source, _Fixed)
        if not is_fixed:
            items = list(items)  # padded once, and then counted and trained on
        batches = _Batches(self._net, self._loss, self._truncation, self._source, items)
        if is_fixed:
            batches.updates = self.updates
        return batches


class _Fixed:
    """Batches that are the same in every epoch, but for their order."""

    def __init__(self, items, batch_first):
        self._items, self.batch_first = items, batch_first

    def epoch(self, number, seed):
        """Return the batches in the order of an epoch."""
        order = np.random.default_rng([seed, number]).permutation(len(self._items))
        return _InOrder(self._items, order)


class _InOrder:
    """Items of a sequence in another order."""

    def __init__(self, items, order):
        self._items, self._order = items, order

    def __len__(self):
        return len(self._order)

    def __getitem__(self, number):
        return self._items[self._order[number]]


def _parts(batch, loss):
    """Yield a batch in parts that are valid if it is, and that can be checked one by one."""
    x, targets, lengths = batch
    is_cut = lengths is None and _axes(batch) > 0 and has_every_step(batch, loss)
    if not is_cut or len(targets) != len(x):
        yield batch
        return
    steps = max(1, PART // max(batch_size(batch) or 1, 1))
    for start in range(0, max(len(x), 1), steps):
        yield Batch(x[start : start + steps], targets[start : start + steps])


def chunk_starts(steps, truncation, first=0):
    """Return where the chunks of a sequence start, from ``first`` on; None: one chunk."""
    return range(first, steps, truncation or max(steps, 1))


def chunks(batch, loss, truncation, first=0):
    """Yield a batch's chunks, from the one that starts at step ``first`` to the last with a target.

    Chunks between that have no valid target are there too, as the state goes on through them.
    """
    starts, steps = chunk_starts(len(batch.x), truncation, first), truncation or len(batch.x)
    with_target = (each for each in reversed(starts) if _chunk(batch, loss, each, steps).count)
    last = next(with_target, -1)
    yield from (_chunk(batch, loss, each, steps) for each in starts if each <= last)


def _chunk(batch, loss, start, steps):
    part, (x, targets, lengths) = slice(start, start + steps), batch
    if lengths is not None and steps < len(x):
        lengths = np.clip(lengths.astype(np.intp) - start, 0, len(x[part]))
    targets = targets[part] if has_every_step(batch, loss) else targets
    # an engine takes these as they are; streams over a text lie otherwise, in small integers
    x = np.asarray(x[part], np.intp if _is_tokens(x) else None, order="C")
    targets = np.asarray(targets, np.intp if loss == "softmax" else None, order="C")
    part = Batch(x, targets, lengths)
    return Chunk(*part, count_targets(part, loss))


def has_every_step(batch, loss):
    """Whether targets are for every step; their shapes are checked by the network."""
    return batch.targets.ndim == _axes(batch) + (loss != "softmax")


def batch_size(batch):
    """Return B, or None of one sequence without an axis for the batch."""
    return batch.x.shape[1] if _axes(batch) == 2 else None


def _axes(batch):
    """Return 2 for time and batch, 1 for time alone."""
    return batch.x.ndim - (not _is_tokens(batch.x))


def _is_tokens(x):
    return x.dtype.kind in "iu" and x.ndim < 3


def count_targets(batch, loss):
    """Return the number of valid targets."""
    valid = batch.targets >= 0 if loss == "softmax" else np.ones(batch.targets.shape, bool)
    if batch.lengths is not None:
        if has_every_step(batch, loss):
            times = np.arange(len(batch.x)).reshape(-1, *[1] * batch.lengths.ndim)
        else:
            times = 0
        in_time = times < batch.lengths
        valid = valid & in_time.reshape(in_time.shape + (1,) * (valid.ndim - in_time.ndim))
    return int(valid.sum())
