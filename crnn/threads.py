"""Threads for batches: work that splits into parts which share nothing that they write."""

import contextlib
import itertools
import os

from crnn import checks

# Waking a thread and waiting for it takes some 50 us, a few times in a pass: below this many
# multiplications, a millisecond or so on one thread, two threads were slower than one.
LEAST_WORK = 3e7

_threads = None  # how many may work at a time; None: not set and not asked for yet
_pool = None  # of all threads but the caller's own


def set_num_threads(n):
    """Set how many threads a call may use.

    Batches are split over threads where they are large enough for it to pay; results have the same
    bits for any number. The default is the environment variable CRNN_NUM_THREADS, or the number of
    processors that this process may run on.

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
    global _threads
    n = checks.whole_number(n, "n")
    if n != _threads:
        _threads = n
        _forget_pool()


def get_num_threads():
    """Return how many threads a call may use; see `set_num_threads`.

    Raises
    ------
    ValueError
        If CRNN_NUM_THREADS is not a whole number of at least 1.
    """
    global _threads
    if _threads is None:
        _threads = _default()
    return _threads


def _default():
    text = os.environ.get("CRNN_NUM_THREADS")
    if not text:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"CRNN_NUM_THREADS is {text!r}; a whole number of at least 1 is wanted")
    return int(text)


def are_worth(work):
    """Return whether so many multiplications are enough for more than one thread."""
    return work >= LEAST_WORK and get_num_threads() > 1


def split(size, multiple, work):
    """Return bounds ``(first, last)`` of a part of ``size`` things for each thread.

    One part, where more would not pay.

    Parameters
    ----------
    size : int
    multiple : int
        All parts but the last have a multiple of this size.
    work : float
        Multiplications there are to do.
    """
    groups = -(-size // multiple)
    parts = min(get_num_threads(), groups) if are_worth(work) else 1
    if parts <= 1:
        return [(0, size)]
    bounds = [min(size, part * groups // parts * multiple) for part in range(parts + 1)]
    return list(itertools.pairwise(bounds))


def run(tasks):
    """Call functions, some in other threads; raise what one of them raises.

    Whoever is done takes the next one. All are over when it returns or raises.
    """
    others = min(len(tasks), get_num_threads()) - 1
    if others <= 0:
        for task in tasks:
            task()
        return
    left = iter(tasks)

    def work():
        for task in left:
            task()

    futures = []
    try:
        # no more threads are to be had, or the interpreter is at its end: then with those there are
        with contextlib.suppress(RuntimeError):
            futures += (_workers().submit(work) for _ in range(others))
        work()
    finally:
        # waits for each that has begun: what has not, as others keep the pool busy, need not
        errors = [future.exception() for future in futures if not future.cancel()]
    for error in filter(None, errors):
        raise error


def _workers():
    global _pool
    pool = _pool  # another thread may forget it at any time
    if pool is None:
        from concurrent.futures import ThreadPoolExecutor  # milliseconds, where many need none

        pool = _pool = ThreadPoolExecutor(max(1, get_num_threads() - 1), "crnn")
    return pool


def _forget_pool():
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # a child has the pool, but none of its threads
    os.register_at_fork(after_in_child=_forget_pool)
