"""How many threads a call may use, and how work is cut into parts for them.

The threads themselves are in `crnn.kernels.pool`.
"""

import contextlib
import itertools
import os
import sys

from crnn.base import checks
from crnn.kernels import pool

MOST_DIGITS = 18  # of a number in the environment; nobody means one that is longer


def set_num_threads(n):
    """Set how many threads a call may use.

    A batch is split over threads if it is large enough to gain by it. Of up to four sequences it is
    layers, directions and blocks of time steps that are: threads are at different layers at a time.
    If other programs kept the threads of the last two passes from running at the same time, or had
    one of them wait for another, nothing is split for a while, at most a second. Results have the
    same bits for any number. Threads that have worked look out for more work for some 0.3 ms, and
    then sleep.

    The default, which is looked for when it is first needed, is the environment variable
    CRNN_NUM_THREADS; without it the first number of OMP_NUM_THREADS, which joblib, Dask, Ray and
    Spark set in their workers; without either the number of processors that this process may run
    on, or of those whose time its containers' quota grants (cgroups; rounded up), if they are
    fewer.

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

    See Also
    --------
    threads : The same for the time of a ``with`` block.
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


@contextlib.contextmanager
def threads(n):
    """Set how many threads a call may use while a ``with`` block runs; see `set_num_threads`.

    Afterwards, also after an exception, it is what it was before. Blocks can be nested. The number
    is the process', not the calling thread's: calls that other threads make meanwhile use it, too,
    so blocks of several threads should begin and end one inside the other.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If n is no whole number, or below 1; ValueError also as for `get_num_threads`.

    Examples
    --------
    >>> import crnn
    >>> before = crnn.get_num_threads()
    >>> with crnn.threads(1):
    ...     crnn.get_num_threads()
    1
    >>> crnn.get_num_threads() == before
    True
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def _default():
    text = os.environ.get("CRNN_NUM_THREADS")
    if text:
        if not (number := _number(text)):
            raise ValueError(
                f"CRNN_NUM_THREADS is {text!r}; a whole number of at least 1 is wanted")
        return number
    from crnn.engine import processors  # and pathlib, only when there is something to compute

    # OpenMP's is a list with a number for each level of nesting; it is not ours to refuse
    outermost, _, _ = os.environ.get("OMP_NUM_THREADS", "").partition(",")
    return _number(outermost.strip()) or processors.available()


def _number(text):
    """Return the whole number that a text is; 0 if it is none that can be meant."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else 0


def parted(size, multiple, parts):
    """Return bounds (first, last) of ``parts`` parts of ``size`` items.

    All parts but the last have a multiple of ``multiple``.
    """
    groups = -(-size // multiple)
    bounds = [min(size, part * groups // parts * multiple) for part in range(parts + 1)]
    return list(itertools.pairwise(bounds))
