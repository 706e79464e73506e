"""How many threads a call may use, and how work is cut into parts for them.

The threads themselves are in `crnn.kernels.pool`.
"""

import itertools
import os
import sys

from crnn.base import checks
from crnn.kernels import pool


def set_num_threads(n):
    """Set how many threads a call may use.

    A batch is split over threads if it is large enough to gain by it. If other programs kept the
    threads of the last two passes from running at the same time, nothing is split for a while, at
    most a second. Results have the same bits for any number. Threads that have worked look out for
    more work for some 0.3 ms, and then sleep. The default is the environment variable
    CRNN_NUM_THREADS, or the number of processors that this process may run on.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If n is no whole number, or below 1.

    Examples
    --------
    >>> import crnn
    >>> before = crnn.get_num_threads()
    >>> crnn.set_num_threads(1)
    >>> crnn.get_num_threads()
    1
    >>> crnn.set_num_threads(before)
    """
    pool.set_thread_limit(min(checks.whole_number(n, "n"), sys.maxsize))


def get_num_threads():
    """Return how many threads a call may use; see `set_num_threads`.

    Raises
    ------
    ValueError
        If CRNN_NUM_THREADS is not a whole number of at least 1.

    Examples
    --------
    >>> import crnn
    >>> crnn.get_num_threads() >= 1
    True
    """
    if not pool.thread_limit():
        pool.set_thread_limit(min(_default(), sys.maxsize))
    return pool.thread_limit()


def _default():
    text = os.environ.get("CRNN_NUM_THREADS")
    if not text:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"CRNN_NUM_THREADS is {text!r}; a whole number of at least 1 is wanted")
    return int(text)


def parted(size, multiple, parts):
    """Return bounds (first, last) of ``parts`` parts of ``size`` items.

    All parts but the last have a multiple of ``multiple``.
    """
    groups = -(-size // multiple)
    bounds = [min(size, part * groups // parts * multiple) for part in range(parts + 1)]
    return list(itertools.pairwise(bounds))
