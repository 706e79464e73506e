"""What is kept to validate on, of sequences that come without such."""

import numpy as np


def split(count, kept, seed, classes=None):
    """Return the numbers of what to train on and of what to keep, each in a random order.

    Parameters
    ----------
    count, kept : int
        How many there are, and how many of them are to be kept.
    seed : int
    classes : sequence, optional
        The class of each. About as large a share of each class is kept then.

    Returns
    -------
    ndarray of int (count - kept,), ndarray of int (kept,)
    """
    order = np.random.default_rng(seed).permutation(count)
    if classes is not None:
        order = order[np.argsort(np.asarray(classes)[order], kind="stable")]
    places = ((np.arange(kept) + 0.5) * count / kept).astype(int)
    return np.delete(order, places), order[places]
