"""What is in a file of data."""

from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """Sequences, and what is known of them.

    It is a tuple: ``sequences, labels, *_ = crnn.data.read(path)``.

    Attributes
    ----------
    sequences : list of ndarray (T_i, I)
        float64 (from .npz also float32); NaN is what is missing.
    labels : ndarray (n,) or None
        What each sequence is. Classes are integers where all of them are whole numbers, and strings
        otherwise (of networks' targets: ``np.unique(labels, return_inverse=True)``); numbers that
        are to be predicted are floats.
    ids : ndarray (n,) or None
        What each sequence is called, as integers or strings.
    features : list of str or None
        What each of the I numbers of a step is called.
    times : list of ndarray (T_i,) or None
        When each step was: float64, datetime64 (in UTC, of times with an offset), or strings where
        the file has another way of writing times.
    metadata : dict of str to str or None
        The header of a .ts file, by its keys in lower case.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> crnn.data.Dataset([np.zeros((4, 3)), np.zeros((7, 3))], np.array(["run", "walk"]))
    Dataset of 2 sequences: 4 to 7 steps of 3 features, 2 different labels
    """

    sequences: list
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None
    features: list | None = None
    times: list | None = None
    metadata: dict | None = None

    def __repr__(self):
        count = len(self.sequences)
        steps = sorted({len(each) for each in self.sequences})
        text = f"Dataset of {_counted(count, 'sequence')}"
        if count:
            span = f"{steps[0]:,} to {steps[-1]:,} steps" if len(steps) > 1 else _counted(
                steps[0], "step")
            text += f": {span} of {_counted(self.sequences[0].shape[1], 'feature')}"
        if self.labels is not None:
            text += f", {_counted(len(np.unique(self.labels)), 'different label')}"
        return text


def _counted(count, noun):
    return f"{count:,} {noun}{'s' * (count != 1)}"
