"""How sequences from outside lie: time first, the batch first, or each an array of its own.

Inside, time comes first and sequences of unequal lengths are padded. What comes with x lies as x
does, and so does what goes back.
"""

import numpy as np

from crnn.base import checks
from crnn.base.padding import as_list, checked_sequences, is_list_of_arrays, padded, unpadded
from crnn.base.sequences import check_features


def arranged(x, lengths, batch_first, input_size):
    """Return the `TimeFirst`, `BatchFirst` or `Separate` of an input.

    Parameters
    ----------
    x : array_like, or list of array_like
    lengths : array_like or None
    batch_first : bool
    input_size : int
    """
    if is_list_of_arrays(x):
        if lengths is not None:
            raise TypeError(
                "x is a list of sequences, which have their own lengths; leave out lengths"
            )
        return Separate(x)
    return BatchFirst(x, lengths, input_size) if batch_first else TimeFirst(x, lengths)


class TimeFirst:
    """Sequences that lie as they do inside.

    Attributes
    ----------
    x, lengths
        As the engine takes them.
    """

    def __init__(self, x, lengths):
        self.x, self.lengths = x, lengths

    def targets(self, targets, loss):
        """Return targets as the engine takes them."""
        return targets

    def weighting(self, weighting):
        """Return a `Weighting`, or None, as the engine takes it."""
        if weighting is None or weighting.sample_weight is None:
            return weighting
        return weighting._replace(sample_weight=self.weights(weighting.sample_weight))

    def weights(self, sample_weight):
        """Return weights of steps, or of sequences, as the engine takes them."""
        return sample_weight

    def along(self, array, name):
        """Return what has a number, or more, for each step, such as dy, as the engine takes it."""
        return array

    def public(self, array):
        """Return what the engine has for each step, such as y, as the caller's x lies."""
        return array


class BatchFirst(TimeFirst):
    """Sequences (B, T, I), or (B, T) of tokens; a single one has no B.

    Attributes
    ----------
    is_batch : bool
        Whether there is an axis for the batch.
    """

    def __init__(self, x, lengths, input_size):
        array = checks.plain_array(x, "x")
        is_tokens = array.dtype.kind in "iu" and array.ndim in (1, 2)
        self.is_batch = array.ndim == (2 if is_tokens else 3)
        if not is_tokens:
            check_features(array, input_size, batch_first=True)
        self._shape = array.shape[:2]
        super().__init__(self._swapped(array), lengths)
        if self.is_batch and lengths is not None:
            self._check("lengths", checks.whole_array(lengths, "lengths").shape, self._shape[:1])

    def targets(self, targets, loss):
        array = checks.plain_array(targets, "targets")
        has_every_step = array.ndim == (2 if loss == "softmax" else 3)
        if self.is_batch and not has_every_step:
            self._check("targets", array.shape[:1], self._shape[:1])
            return array
        return self.along(array, "targets")

    def weights(self, sample_weight):
        array = checks.plain_array(sample_weight, "sample_weight")
        return self.along(array, "sample_weight") if array.ndim == 2 else array

    def along(self, array, name):
        array = checks.plain_array(array, name)
        if self.is_batch:
            self._check(name, array.shape[:2], self._shape)
        return self._swapped(array)

    def public(self, array):
        return array.swapaxes(0, 1) if self.is_batch and array is not None else array

    def _swapped(self, array):
        return np.ascontiguousarray(array.swapaxes(0, 1)) if self.is_batch else array

    def _check(self, name, shape, wanted):
        if shape != wanted:
            raise ValueError(
                f"{name} begins with the axes {shape}; {wanted} is wanted: with batch_first=True x"
                f" was read as B = {self._shape[0]} sequences of T = {self._shape[1]} steps"
            )


class Separate(TimeFirst):
    """A list of sequences of any lengths, (T, I) or (T,) of tokens.

    What comes with them is a list, too, or an array with the sequences along its first axis.
    """

    def __init__(self, sequences):
        super().__init__(*padded(checked_sequences(sequences, "x")))

    def targets(self, targets, loss):
        items, axes = as_list(targets), 1 if loss == "softmax" else 2
        if not isinstance(items, list) or any(np.ndim(each) < axes for each in items):
            self._check_axis(items, axes)
            return targets  # for the last steps
        return self.along(targets, "targets")

    def _check_axis(self, items, axes):
        """Refuse numbers (T_i,), which are for every step, but have no axis for outputs."""
        if axes == 1 or not isinstance(items, list) or any(np.ndim(each) != 1 for each in items):
            return
        lengths = [len(each) for each in items]
        if lengths == self.lengths.tolist() and len(set(lengths)) > 1:
            raise ValueError(
                f"targets[0] has shape {(lengths[0],)}, a number for each step; numbers have an"
                " axis for outputs, too: np.asarray(targets[k])[:, None] of each"
            )

    def weights(self, sample_weight):
        items = as_list(sample_weight)
        if not isinstance(items, list) or all(np.ndim(each) == 0 for each in items):
            return sample_weight  # of sequences
        return self.along(sample_weight, "sample_weight")

    def along(self, arrays, name):
        given, arrays = arrays, as_list(arrays)
        if not isinstance(arrays, list) or len(arrays) != len(self.lengths):
            came = f"{type(given).__name__} of {len(given)}" if hasattr(given, "__len__") else (
                type(given).__name__)
            raise ValueError(
                f"{name} is a {came}; x is a list of {len(self.lengths)} sequences, so a list of"
                f" {len(self.lengths)} arrays is wanted"
            )
        arrays = [checks.plain_array(each, f"{name}[{k}]") for k, each in enumerate(arrays)]
        for number, (each, length) in enumerate(zip(arrays, self.lengths, strict=True)):
            if each.shape != (length, *arrays[0].shape[1:]):
                is_row = name == "targets" and {(one.ndim, len(one)) for one in arrays} == {
                    (1, len(each))}
                hint = ("; of one-hot rows, one for each sequence, pass the classes:"
                        " np.argmax(targets, axis=-1)") * is_row
                raise ValueError(
                    f"{name}[{number}] has shape {each.shape}, but x[{number}] has {length} steps;"
                    f" {(int(length), *arrays[0].shape[1:])} is wanted{hint}"
                )
        return padded(arrays)[0]

    def public(self, array):
        return None if array is None else unpadded(array, self.lengths)
