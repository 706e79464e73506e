"""Features of about the same size: `crnn.Scaler`, which is kept with a network."""

import numpy as np

from crnn.base import checks
from crnn.base.padding import checked_sequences, is_list_of_arrays
from crnn.base.sequences import checked_lengths, valid_steps


class Scaler:
    """Brings each feature to mean 0 and standard deviation 1.

    (x - mean) / std, with the mean and the standard deviation of a feature over all steps of all
    sequences. As ``net.scaler`` it is written into the network's file, and there after `crnn.load`;
    the network does not apply it by itself.

    Parameters
    ----------
    batch_first : bool
        Whether arrays that come with lengths are (B, T, I) rather than (T, B, I).

    Attributes
    ----------
    mean, std : ndarray of float64 (I,), or None before `fit`
        ``std`` is 1 for a feature that never changes.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> sequences = [np.array([[1.0, 10.0], [3.0, 20.0]]), np.array([[5.0, 30.0]])]
    >>> scaler = crnn.Scaler()
    >>> scaled = scaler.fit_transform(sequences)
    >>> scaler.mean
    array([ 3., 20.])
    >>> scaled[1].round(2)
    array([[1.22, 1.22]])
    >>> net = crnn.GRU(2, 5, 1)
    >>> net.scaler = scaler
    """

    def __init__(self, batch_first=False):
        self.batch_first = checks.flag(batch_first, "batch_first")
        self.mean = self.std = None

    def __repr__(self):
        known = "not fitted" if self.mean is None else f"{len(self.mean)} features"
        return f"<Scaler: {known}>"

    def fit(self, x, lengths=None, sample_weight=None):
        """Take mean and standard deviation of each feature from data.

        Parameters
        ----------
        x : array_like (T, I) or (T, B, I), or list of arrays (T_i, I)
            What is NaN does not count.
        lengths : array_like of int (B,), optional
            How many of the T steps of (T, B, I) each sequence has.
        sample_weight : array_like (B,), optional
            How often each sequence of the list, or of (T, B, I), counts.

        Returns
        -------
        Scaler
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, a feature has no number, or a number is infinite.
        """
        arrays = self._arrays(x, lengths)
        weights, parts = self._weights(sample_weight, x, arrays), []
        for (array, valid), weight in zip(arrays, weights, strict=True):
            rows = (array if valid is None else array[valid]).reshape(-1, array.shape[-1])
            if np.ndim(weight):  # not one for all rows
                weight = np.broadcast_to(weight, array.shape[:-1])
                weight = (weight if valid is None else weight[valid]).reshape(-1, 1)
            parts.append((rows.astype(np.float64), np.where(np.isnan(rows), 0.0, weight)))
        counts = sum(each.sum(0) for _, each in parts)
        if not counts.all():
            raise ValueError(f"x has no number for the features {np.flatnonzero(counts == 0)}")
        with np.errstate(invalid="ignore", over="ignore"):
            mean = sum(np.where(each, rows * each, 0).sum(0) for rows, each in parts) / counts
            squares = sum(np.where(each, (rows - mean) ** 2 * each, 0).sum(0)
                          for rows, each in parts)
            std = np.sqrt(squares / counts)
        if not np.isfinite(std).all():
            raise ValueError("x has numbers that are infinite, or too large to be squared")
        changes = std > 1e-12 * np.abs(mean)  # by more than what rounding makes of a constant
        self.mean, self.std = mean, np.where(changes, std, 1.0)
        return self

    def transform(self, x, lengths=None):
        """Return (x - mean) / std, in the form of x; 0 beyond lengths, and NaN where x is.

        Parameters
        ----------
        x, lengths
            As for `fit`; or one step's features (I,).

        Returns
        -------
        ndarray, or list of ndarray
            float32 where x is, else float64.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or nothing has been fitted.
        """
        return self._changed(x, lengths, lambda array: (array - self.mean) / self.std)

    def inverse_transform(self, x, lengths=None):
        """Return x * std + mean: what `transform` made x of; as there."""
        return self._changed(x, lengths, lambda array: array * self.std + self.mean)

    def fit_transform(self, x, lengths=None, sample_weight=None):
        """Return `transform` of what it is fitted to."""
        return self.fit(x, lengths, sample_weight).transform(x, lengths)

    def _changed(self, x, lengths, change):
        if self.mean is None:
            raise ValueError("this Scaler has no mean yet; call fit with the training data first")
        results = []
        for array, valid in self._arrays(x, lengths, least_axes=1):
            if array.shape[-1] != len(self.mean):
                raise ValueError(
                    f"x has {array.shape[-1]} features; this Scaler was fitted to {len(self.mean)}"
                )
            result = change(array)
            if valid is not None:
                result = np.where(valid[..., None], result, 0)
            kept = array.dtype == np.float32
            results.append(result.astype(np.float32 if kept else np.float64, copy=False))
        return results if is_list_of_arrays(x) else results[0]

    def _arrays(self, x, lengths, least_axes=2):
        """Return arrays of features, each with a mask of its valid steps, or None."""
        if is_list_of_arrays(x):
            if isinstance(x, tuple) and len(x) == 2 and np.ndim(x[0]) == np.ndim(x[1]) + 2 == 3:
                raise TypeError(
                    "x is a tuple of an array and lengths, as crnn.pad returns; they are two"
                    " arguments: fit(*crnn.pad(sequences))")
            if lengths is not None:
                raise TypeError("x is a list of sequences, which have their own lengths")
            arrays = checked_sequences(x, "x")
        else:
            arrays = [checks.plain_array(x, "x")]
        if arrays[0].ndim < least_axes or arrays[0].dtype.kind not in "biuf":
            raise ValueError(
                f"x has shape {arrays[0].shape} and dtype {arrays[0].dtype}; features (..., I) are"
                " wanted, of one feature x[:, None]; tokens are not scaled"
            )
        return [(each, self._valid(each, lengths)) for each in arrays]

    def _weights(self, value, x, arrays):
        """Return what each array's sequences count: numbers, or an array for its first axes."""
        if value is None:
            return [1.0] * len(arrays)
        is_list = is_list_of_arrays(x)
        if not is_list and arrays[0][0].ndim != 3:
            raise ValueError("sample_weight is for several sequences, and x is only one")
        batch = len(arrays) if is_list else arrays[0][0].shape[0 if self.batch_first else 1]
        weights = checks.sample_weight(value, (batch,))
        return weights if is_list else [weights[:, None] if self.batch_first else weights]

    def _valid(self, array, lengths):
        if lengths is None:
            return None
        steps, batch = array.shape[:2][::-1] if self.batch_first else array.shape[:2]
        wanted = "(B, T, I)" if self.batch_first else "(T, B, I)"
        if array.ndim != 3:
            raise ValueError(f"x has shape {array.shape}; with lengths (B,) {wanted} is wanted")
        try:
            valid = valid_steps(checked_lengths(lengths, steps, batch), steps)
        except ValueError as error:
            raise ValueError(f"{error} (x was read as {wanted})") from error
        return valid.T if self.batch_first else valid

    def as_dict(self):
        """Return what makes an equal one, ready for JSON."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(),
                "batch_first": self.batch_first}

    @classmethod
    def of(cls, values):
        """Return the one that `as_dict` is of, from a file; ValueError if it is of none."""
        if not isinstance(values, dict) or set(values) != {"mean", "std", "batch_first"}:
            raise ValueError("a scaler has mean, std and batch_first")
        mean, std = values["mean"], values["std"]
        if not (_are_numbers(mean) and _are_numbers(std) and 0 < len(mean) == len(std)
                and min(std) > 0 and type(values["batch_first"]) is bool):
            raise ValueError("a scaler's mean and std are finite numbers, and std is above 0")
        scaler = cls(values["batch_first"])
        scaler.mean, scaler.std = np.array(mean), np.array(std)
        return scaler


def _are_numbers(values):
    return isinstance(values, list) and all(
        type(each) is float and np.isfinite(each) for each in values)
