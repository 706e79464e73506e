"""`crnn.batches`: sequences of unequal lengths in batches, in a new order every epoch."""

import copy

import numpy as np

from crnn.base import checks
from crnn.base.padding import checked_sequences, encoded, padded

JITTER = 0.1  # how far a length is moved before sequences are sorted, as a share of it


def batches(
    sequences, targets=None, sample_weight=None, batch_size=32, shuffle=True, bucket=True,
    seed=None, *, vocabulary=None, batch_first=False,
):
    """Return sequences of unequal lengths in padded batches, in a new order every epoch.

    For `crnn.fit` and `crnn.evaluate`, or to go through: each ``for`` loop over it is an epoch.

    Parameters
    ----------
    sequences : list, tuple or ndarray
        N arrays (T_i, I) of numbers, or (T_i,) of integer tokens; with a vocabulary, N strings.
    targets : list, tuple or ndarray, optional
        For every step N arrays (T_i,) of classes or (T_i, O) of numbers; for the last steps (N,) or
        (N, O). None, of tokens: each sequence's next token, so that x is without its last one.
    sample_weight : list, tuple or ndarray, optional
        The weight of each target: N arrays (T_i,), or (N,).
    batch_size : int
        B; the last batch may have fewer sequences.
    shuffle : bool
        Whether sequences come in a new random order in every epoch, those of a batch with the
        longest first. `fit` takes these batches in the order that they have here.
    bucket : bool
        Whether sequences of about the same length come together, so that little is padded. They are
        sorted by their lengths, with shuffle after each is multiplied by a random factor from
        0.9 to 1.1, and then the batches are shuffled.
    seed : int, optional
        For the order, with the epoch's number: the same seed gives the same epochs. None: in `fit`
        its seed counts, and otherwise each of these objects has an order of its own.
    vocabulary : crnn.text.Vocabulary, optional
        Its ``encode`` makes tokens of each sequence first.
    batch_first : bool
        Whether the batch comes before time in x, targets and weights that loops get. Networks of
        both forms are trained on either.

    Returns
    -------
    Batches

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> names = ["ann", "bo", "christopher", "di"]
    >>> vocabulary = crnn.text.Vocabulary.of("".join(names))
    >>> data = crnn.batches(names, batch_size=2, seed=0, vocabulary=vocabulary)
    >>> for x, targets, lengths in data:
    ...     print(x.shape, lengths)
    (1, 2) [1 1]
    (10, 2) [10  2]
    >>> net = crnn.GRU(len(vocabulary), 8, len(vocabulary), seed=0)
    >>> history = crnn.fit(net, data, crnn.Adam(), epochs=2)
    """
    return Batches(
        sequences, targets, sample_weight, batch_size, shuffle, bucket, seed, vocabulary,
        batch_first,
    )


class Batches:
    """What `crnn.batches` returns; see there.

    ``len`` of it is the number of batches. A batch is ``(x, targets, lengths)``, or with weights a
    dict of "x", "targets", "lengths" and "sample_weight". Targets of a step beyond a sequence's
    length are -1 where they are classes, and 0 otherwise.

    Attributes
    ----------
    lengths : ndarray of intp
        How many steps each sequence has.
    batch_first : bool
    """

    def __init__(
        self, sequences, targets, sample_weight, batch_size, shuffle, bucket, seed, vocabulary,
        batch_first,
    ):
        self._batch_size = checks.whole_number(batch_size, "batch_size")
        self._shuffles, self._buckets = checks.flag(shuffle, "shuffle"), checks.flag(
            bucket, "bucket")
        self.batch_first = checks.flag(batch_first, "batch_first")
        self._seed = None if seed is None else checks.whole_number(seed, "seed", minimum=0)
        arrays = checked_sequences(encoded(sequences, vocabulary), "sequences")
        if targets is None:
            arrays, targets = _next_tokens(arrays)
        self._arrays = [np.ascontiguousarray(each) for each in arrays]  # read in every epoch
        self.lengths = np.array([len(each) for each in arrays], np.intp)
        self._targets = _Companion(targets, self.lengths, "targets")
        self._weights = None
        if sample_weight is not None:
            self._weights = _Companion(sample_weight, self.lengths, "sample_weight")
        self._own_seed, self._epochs = np.random.SeedSequence(self._seed).entropy, 0
        self.whole, self._share = self, slice(None)

    def __len__(self):
        return -(-len(self._arrays) // self._batch_size)

    def __iter__(self):
        epoch, self._epochs = self._epochs, self._epochs + 1
        return iter(self.epoch(epoch))

    def __array__(self, dtype=None, copy=None):
        """Say what to give instead where an array is wanted."""
        raise TypeError(
            "what crnn.batches returns is for crnn.fit and crnn.evaluate, and to go through; here"
            " give the sequences themselves, a list of arrays"
        )

    def epoch(self, number, seed=None):
        """Return the batches of an epoch, made one by one as they are asked for.

        Parameters
        ----------
        number : int
            From 0.
        seed : int, optional
            It counts where these batches were given none.

        Returns
        -------
        sequence of batches
        """
        number = checks.whole_number(number, "number", minimum=0)
        if self._seed is not None or seed is None:
            seed = self._own_seed
        parts = self._order(np.random.default_rng([seed, number]))
        return Epoch(self, [part[self._share] for part in parts])

    def _order(self, generator):
        """Return which sequences each batch has."""
        count = len(self._arrays)
        order = generator.permutation(count) if self._shuffles else np.arange(count)
        if self._buckets:
            by = self.lengths[order] * (
                generator.uniform(1 - JITTER, 1 + JITTER, count) if self._shuffles else 1)
            order = order[np.argsort(by, kind="stable")]
        parts = np.split(order, range(self._batch_size, count, self._batch_size))
        if self._shuffles:  # the longest first: what is over at a batch's end costs a pass nothing
            parts = [each[np.argsort(-self.lengths[each], kind="stable")] for each in parts]
        if self._shuffles and self._buckets:
            parts = [parts[k] for k in generator.permutation(len(parts))]
        return parts

    def share(self, rank, size):
        """Return the same batches with every size-th sequence of each alone.

        For `fit` on several ranks: together their shares are these batches, where their orders
        follow from the same seed. Sequences of about the same length stay together.

        Parameters
        ----------
        rank, size : int
            The first of the sequences, from 0, and the distance to the next.
        """
        shared = copy.copy(self)
        shared._share = slice(checks.whole_number(rank, "rank", minimum=0), None,
                              checks.whole_number(size, "size"))
        return shared

    def batch_of(self, numbers):
        """Return the batch of some sequences; of none, as shares may be, one that has no steps."""
        are_any = len(numbers) > 0
        numbers = numbers if are_any else [0]
        x, lengths = padded([self._arrays[k] for k in numbers])
        lengths *= are_any
        targets = self._targets.of(numbers)
        weights = None if self._weights is None else self._weights.of(numbers)
        if self._targets.has_classes:
            targets[np.arange(len(x))[:, None] >= lengths] = -1
        if self.batch_first:
            x, targets, weights = (
                each if each is None or is_last else np.ascontiguousarray(each.swapaxes(0, 1))
                for each, is_last in (
                    (x, False), (targets, self._targets.is_last),
                    (weights, self._weights is None or self._weights.is_last))
            )
        if weights is None:
            return x, targets, lengths
        return {"x": x, "targets": targets, "lengths": lengths, "sample_weight": weights}


class Epoch:
    """The batches of one epoch: a sequence of a length.

    Attributes
    ----------
    parts : list of ndarray
        Which sequences each batch has, by their numbers.
    """

    def __init__(self, owner, parts):
        self._owner, self.parts = owner, parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, number):
        return self._owner.batch_of(self.parts[number])


class _Companion:
    """What comes with each sequence: something for each of its steps, or one thing."""

    def __init__(self, values, lengths, name):
        if not hasattr(values, "__len__") or isinstance(values, str):
            raise TypeError(
                f"{name} is a {type(values).__name__}; a list or array with an item for each"
                " sequence is wanted"
            )
        if len(values) != len(lengths):
            raise ValueError(
                f"{name} has {len(values)} items; {len(lengths)}, one for each sequence, are wanted"
            )
        arrays = [checks.plain_array(each, f"{name}[{k}]") for k, each in enumerate(values)]
        axes = arrays[0].ndim
        kinds = "iu" if name == "targets" else "biuf"
        is_row = axes == 1 and all(
            each.shape == (length,) for each, length in zip(arrays, lengths, strict=True))
        every_step = axes == 2 or (is_row and all(
            each.dtype.kind in kinds or not each.size for each in arrays))
        for number, (each, length) in enumerate(zip(arrays, lengths, strict=True)):
            wanted = (int(length), *arrays[0].shape[1:]) if every_step else arrays[0].shape
            if each.shape != wanted:
                if is_row:
                    raise ValueError(
                        f"{name}[{number}] has shape {each.shape} and dtype {each.dtype}, a number"
                        " for each step; classes are integers, and numbers have an axis for"
                        f" outputs, too: {name}[{number}][:, None]")
                raise ValueError(f"{name}[{number}] has shape {each.shape}; {wanted} is wanted")
        self.is_last = not every_step
        self._arrays = [np.ascontiguousarray(each) for each in arrays] if every_step else arrays
        self.has_classes = every_step and axes == 1 and name == "targets"

    def of(self, numbers):
        """Return what comes with some sequences, (T, B, ...), or (B, ...) of one for each."""
        arrays = [self._arrays[k] for k in numbers]
        if self.is_last:
            return np.array(arrays)
        whole = padded(arrays)[0]
        return whole.astype(np.intp) if self.has_classes else whole


def _next_tokens(arrays):
    """Return tokens without the last one of each sequence, and without the first one."""
    if arrays[0].ndim != 1:
        raise ValueError(
            "targets are missing: sequences of numbers need them (only of tokens it is plain, that"
            " the next one is to be predicted)"
        )
    return [each[:-1] for each in arrays], [each[1:] for each in arrays]
