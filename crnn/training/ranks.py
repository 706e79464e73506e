"""Ranks: processes that train one network together, each on data of its own."""

import hashlib

import numpy as np

from crnn.base import checks


class Ranks:
    """All ranks of a training, seen from one of them; a single one without ``all_reduce``.

    What they say to each other are sums of float64 numbers over all of them. Every rank has to ask
    for the same sums in the same order.

    Attributes
    ----------
    rank, size : int
        Which rank this one is, from 0, and how many there are.

    Parameters
    ----------
    all_reduce : callable or None
        As for `fit`.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """

    def __init__(self, all_reduce=None):
        self.rank, self.size, self._all_reduce = 0, 1, all_reduce
        if all_reduce is None:
            return
        checks.function(all_reduce, "all_reduce")
        missing = [name for name in ("rank", "size") if not hasattr(all_reduce, name)]
        if missing:
            raise TypeError(
                f"all_reduce has no attribute {' and no '.join(missing)}; it is to say which of how"
                " many ranks this one is, as crnn.mpi.all_reduce does"
            )
        self.size = checks.whole_number(all_reduce.size, "all_reduce.size")
        self.rank = checks.whole_number(all_reduce.rank, "all_reduce.rank", minimum=0)
        if self.rank >= self.size:
            raise ValueError(f"all_reduce.rank is {self.rank}, and all_reduce.size is {self.size};"
                             " ranks are numbered from 0")

    @property
    def are_several(self):
        """Whether there are others."""
        return self.size > 1

    def add(self, numbers):
        """Put the sum over all ranks in the place of a float64 vector, and return it."""
        if self.are_several and self._all_reduce(numbers) is not None:
            raise TypeError(
                "all_reduce returned something; it is to put the sum over all ranks in the place of"
                " the vector that it is given, and to return None"
            )
        return numbers

    def total(self, numbers):
        """Return the sums over all ranks of some numbers."""
        return self.add(np.array(numbers, np.float64))

    def gather(self, numbers):
        """Return the numbers of all ranks, one row for each."""
        table = np.zeros((self.size, len(numbers)))
        table[self.rank] = numbers
        return self.add(table.ravel()).reshape(table.shape)

    def padded_total(self, rows):
        """Return the sums over all ranks of lists of whole numbers, 0 where a rank has none."""
        sizes = len(rows), max(map(len, rows), default=0)
        table = np.zeros(self.gather(sizes).max(axis=0).astype(int))
        for row, numbers in zip(table, rows, strict=False):
            row[: len(numbers)] = numbers
        return self.add(table.ravel()).reshape(table.shape).astype(np.intp)

    def check_same(self, things, remedy):
        """Raise ValueError if a thing is not the same on all ranks.

        Parameters
        ----------
        things : dict of str to bytes or ndarray
            By their names, which are the same on all ranks.
        remedy : str
            What to do about it.
        """
        if not self.are_several:
            return
        digests = [hashlib.sha256(each).digest()[:6] for each in things.values()]
        found = self.gather([1, *(int.from_bytes(each, "little") for each in digests)])
        if not (found[:, 0] == 1).all():
            raise ValueError(f"all_reduce does not sum over {self.size} ranks with numbers of their"
                             " own, as all_reduce.size and all_reduce.rank say")
        ranks, columns = np.nonzero(found != found[0])
        if len(ranks):
            names = list(things)
            differ = sorted({names[column - 1] for column in columns[ranks == ranks[0]]})
            raise ValueError(f"{', '.join(differ)} of rank {ranks[0]} and of rank 0 differ;"
                             f" {remedy}")
