"""Sequences of unequal lengths: a list of arrays, padded into one array, and back."""

import numpy as np

from crnn.base import checks


def pad(sequences, batch_first=False, *, vocabulary=None):
    """Return sequences of unequal lengths as one array, padded at their ends, and their lengths.

    Networks, `crnn.fit` and `crnn.evaluate` take a list of sequences themselves; this is for
    whoever wants the array.

    Parameters
    ----------
    sequences : list, tuple or ndarray
        B arrays (T_i, I) of numbers, or (T_i,), such as tokens, targets or weights; with a
        vocabulary, B strings. An array of all of them has them along its first axis.
    batch_first : bool
        Whether the batch comes before time in x, as for networks with ``batch_first=True``.
    vocabulary : crnn.text.Vocabulary, optional
        Its ``encode`` makes tokens of each sequence first.

    Returns
    -------
    x : ndarray (T, B, I) or (T, B), or (B, T, I) or (B, T)
        T is the largest of the lengths, beyond which x is 0. Its dtype is the one that all arrays
        convert to.
    lengths : ndarray of intp (B,)

    Raises
    ------
    TypeError, ValueError
        If the sequences are not as above, or there are none.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x, lengths = crnn.pad([np.array([1, 2, 3]), np.array([4])])
    >>> x.T
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    >>> crnn.pad(["ab", "a"], vocabulary=crnn.text.Vocabulary("ab"))[0].T
    array([[0, 1],
           [0, 0]])
    """
    arrays = checked_arrays(encoded(sequences, vocabulary), "sequences")
    batch_first = checks.flag(batch_first, "batch_first")
    x, lengths = padded(arrays)
    return (np.ascontiguousarray(x.swapaxes(0, 1)) if batch_first else x), lengths


def is_list_of_arrays(x):
    """Whether x is a batch of sequences, each an array of its own.

    Lists of numbers, and lists of lists, are arrays in another form; so is a list of vectors of
    floats, which is one sequence.
    """
    return isinstance(x, (list, tuple)) and any(_is_sequence(each) for each in x)


def _is_sequence(item):
    axes = getattr(item, "ndim", 0) if hasattr(item, "__array__") else 0
    return axes == 2 or (axes == 1 and np.asarray(item).dtype.kind in "iu")


def as_list(values):
    """Return a list, given one, a tuple, or an array with sequences along its first axis.

    Anything else comes back as it is: numbers are no sequences, one by one.
    """
    is_array_of_all = isinstance(values, np.ndarray) and (values.ndim > 1 or values.dtype == object)
    return list(values) if is_array_of_all or isinstance(values, (list, tuple)) else values


def encoded(sequences, vocabulary):
    """Return the sequences as tokens of a vocabulary; as they are for None."""
    sequences = as_list(sequences)
    if not isinstance(sequences, list):
        raise TypeError(
            f"sequences is a {type(sequences).__name__}; a list of arrays, one for each sequence,"
            " is wanted"
        )
    if vocabulary is None:
        return sequences
    if not (hasattr(vocabulary, "encode") and hasattr(vocabulary, "decode")):
        raise TypeError(
            f"vocabulary is a {type(vocabulary).__name__}; a crnn.text.Vocabulary is wanted"
        )
    return [vocabulary.encode(each) for each in sequences]


def checked_sequences(sequences, name):
    """Return a list of arrays (T_i, I), or (T_i,) of tokens, that fit each other."""
    arrays = _arrays(sequences, name)
    for number, array in enumerate(arrays):
        is_vector = array.ndim == 1 and array.dtype.kind not in "iu" and array.size > 0
        if array.ndim not in (1, 2) or is_vector:
            hint = f"; of one feature a step: {name}[{number}][:, None]" if is_vector else ""
            raise ValueError(
                f"{name}[{number}] has shape {array.shape} and dtype {array.dtype}; each sequence"
                f" is an array (T, I) of numbers or (T,) of integer tokens{hint}"
            )
    arrays = [each if each.size or each.ndim == 2 else each.astype(np.intp) for each in arrays]
    _check_equal(arrays, name)  # [] has become tokens, of which there are none
    return arrays


def checked_arrays(sequences, name):
    """Return a list of arrays that have steps and otherwise the same shape."""
    arrays = _arrays(sequences, name)
    _check_equal(arrays, name)
    return arrays


def _arrays(sequences, name):
    if not len(sequences):
        raise ValueError(f"{name} has no sequence")
    for number, each in enumerate(sequences):
        if isinstance(each, str):
            raise TypeError(
                f"{name}[{number}] is a str; numbers are wanted: tokens of a text are"
                " vocabulary.encode(text), see crnn.text.Vocabulary"
            )
    return [checks.plain_array(each, f"{name}[{number}]") for number, each in enumerate(sequences)]


def _check_equal(arrays, name):
    for number, array in enumerate(arrays):
        if not array.ndim or array.shape[1:] != arrays[0].shape[1:]:
            is_turned = array.ndim == 2 and len({len(each) for each in arrays}) == 1
            hint = "; if steps are their second axis, pass each one's .T" * is_turned
            raise ValueError(
                f"{name}[{number}] has shape {array.shape} and {name}[0] has {arrays[0].shape};"
                f" sequences have an axis of steps, and may differ in their number only{hint}"
            )


def padded(arrays):
    """Return arrays (T_i, ...) in one, (T, B, ...), 0 beyond their ends, and their lengths."""
    lengths = np.array([len(each) for each in arrays], np.intp)
    shape = lengths.max(), len(arrays), *arrays[0].shape[1:]
    dtype = np.result_type(*arrays)
    if dtype.kind == "f" and all(each.dtype.kind in "iu" for each in arrays):
        dtype = np.dtype(np.int64)  # NumPy makes floats of uint64 beside int64, which are no tokens
    whole = np.zeros(shape, dtype)
    for number, each in enumerate(arrays):
        whole[: len(each), number] = each
    return whole, lengths


def unpadded(array, lengths):
    """Return a list of arrays (T_i, ...), copies, given them side by side."""
    return [array[:length, number].copy() for number, length in enumerate(lengths)]
