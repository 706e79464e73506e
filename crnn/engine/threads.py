"""Threads for batches: work that splits into parts which share nothing that they write."""

import contextlib
import itertools
import os
import threading
import time

from crnn.base import checks
from crnn.kernels import cpu

# Waking a thread takes some 50 us, once in a pass: below this many multiplications, half a
# millisecond or so on one thread, two threads were no faster than one.
LEAST_WORK = 1.2e7
SHORTLY = 1e-5  # s, between looks for another thread that takes longer than it should
# Where other programs keep the processors busy, threads take turns. After two passes in a row whose
# threads did no more than this many processors' work, none is split for so many times as long as
# the last one took, or a second. One by itself says little: a processor at rest is slow to wake.
LEAST_GAIN = 1.1
ALONE, LONGEST_ALONE = 20, 1.0

_threads = None  # how many may work at a time; None: not set and not asked for yet
_pool = None  # of all threads but the caller's own
_turns = 0  # how many passes in a row gained nothing
_alone_until = 0.0  # of time.perf_counter()


def set_num_threads(n):
    """Set how many threads a call may use.

    Batches are split over threads where they are large enough for it to pay, and not for a while
    (a second at most) where other programs kept the threads of a pass from running at the same
    time; results have the same bits for any number. Threads that have worked look out for more at
    full speed for some 0.3 ms, and then sleep. The default is the environment variable
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
    global _threads, _turns, _alone_until
    n, _turns, _alone_until = checks.whole_number(n, "n"), 0, 0.0
    if n != _threads:
        _threads = n
        _forget_pool()


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
    """Return whether so many multiplications are enough for more than one thread now."""
    if work < LEAST_WORK or get_num_threads() == 1:
        return False
    return time.perf_counter() >= _alone_until


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
    parts = min(get_num_threads(), -(-size // multiple)) if are_worth(work) else 1
    return parted(size, multiple, parts)


def parted(size, multiple, parts):
    """Return bounds ``(first, last)`` of so many parts of ``size`` things, as `split` does."""
    if parts <= 1:
        return [(0, size)]
    groups = -(-size // multiple)
    bounds = [min(size, part * groups // parts * multiple) for part in range(parts + 1)]
    return list(itertools.pairwise(bounds))


def run(phases, widest):
    """Call functions, some in other threads; raise what one of them raises.

    Whoever is done takes the next one. All are over when it returns or raises.

    Parameters
    ----------
    phases : iterable of lists of callables
        Those of a phase may run at the same time; before they begin, all of the phases before are
        over. Threads are woken once, not once a phase.
    widest : int
        How many functions the longest phase has.
    """
    others, begun, is_first = min(widest, get_num_threads()) - 1, time.perf_counter(), _pool is None
    if others <= 0:
        for task in itertools.chain.from_iterable(phases):
            task()
        return
    phases = list(phases)
    *before, total = itertools.accumulate(map(len, phases), initial=0)
    left = iter([(n, task) for n, phase in zip(before, phases, strict=True) for task in phase])
    progress, worked, errors = cpu.Progress(), [], []

    def wait_for(n):
        while not progress.reaches(n):
            time.sleep(SHORTLY)

    def work():
        for needed, task in left:
            try:
                wait_for(needed)
                start = time.thread_time()
                task()
                worked.append(time.thread_time() - start)
            except BaseException as error:
                errors.append(error)
                for _ in left:  # nobody begins anything more, or waits for it
                    progress.add()
            finally:
                task = None  # whose arguments nobody holds when the pass is over
                progress.add()

    workers = None
    try:
        # no more threads are to be had, or the interpreter is at its end: then with those there are
        with contextlib.suppress(RuntimeError):
            workers = _workers()
            workers.share(work, others)
        work()
        wait_for(total)
    finally:  # interrupted, too, nothing is left to others, or under way
        if workers is not None:
            workers.withdraw(work)
        for _ in left:
            progress.add()
        wait_for(total)
    if errors:
        try:
            # an interrupt rather than what came of it, or before it, elsewhere
            raise next((each for each in errors if not isinstance(each, Exception)), errors[0])
        finally:
            errors.clear()  # else the error would hold this frame, and the frame the error
    if not is_first:  # which waited for threads to be made
        _judge(sum(worked), begun, time.perf_counter())


def _judge(worked, begun, over):
    """Have nothing split for a while where threads take turns."""
    global _turns, _alone_until
    took = over - begun
    gains = not 0 < worked < LEAST_GAIN * took  # 0 where the clock is too coarse to tell
    _turns = 0 if gains else _turns + 1
    if _turns > 1:
        _alone_until = over + min(ALONE * took, LONGEST_ALONE)


class _Place:
    """Where a thread that looks out for work is given some."""

    def __init__(self):
        self._given, self._news = [], cpu.Progress()

    def give(self, work):
        """Return whether it is taken: not if the thread has gone."""
        self._given.append(work)
        self._news.add()
        return self._given[0] is work

    def take(self):
        """Return what is given within 0.3 ms or so, or None."""
        self._news.reaches(1)
        self._given.append(None)  # the first one counts: from here on nothing is taken
        return self._given[0]


class _Workers:
    """The pool of all threads but the caller's own."""

    def __init__(self):
        from concurrent.futures import ThreadPoolExecutor  # milliseconds, where many need none

        self.numbers = numbers = []  # the system's
        self._size = max(1, get_num_threads() - 1)
        self._wanted = []  # what there may be something to do of
        self._calls = []  # futures of those that were called, and may not have come
        self._calling = threading.Lock()
        self._looking_out = []  # the places of threads that have just worked
        self._pool = ThreadPoolExecutor(
            self._size, "crnn", lambda: numbers.append(threading.get_native_id()),
        )

    def share(self, work, number):
        """Have so many threads, or those that are not busy, call a function that raises nothing.

        When it returns, there is nothing more to do of it.
        """
        self._run_elsewhere()
        self._wanted.append(work)
        for _ in range(number):
            if not self._give(work):
                self._call()

    def withdraw(self, work):
        """Have no more threads call a function."""
        with contextlib.suppress(ValueError):
            self._wanted.remove(work)

    def _give(self, work):
        """Return whether a thread that looks out has taken it."""
        with contextlib.suppress(IndexError):  # until there is no place any more
            while not self._looking_out.pop().give(work):
                pass
            return True
        return False

    def _call(self):
        """Have one more thread come, unless as many as there are have been called.

        Who comes takes what is wanted then: what was wanted first may be over.
        """
        with self._calling:
            self._calls = [each for each in self._calls if not (each.running() or each.done())]
            if len(self._calls) < self._size:
                self._calls.append(self._pool.submit(self._attend))

    def _attend(self):
        """Work, and look out for more for a moment, as passes often follow each other at once."""
        work = self._latest()
        while work is not None:
            work()
            self.withdraw(work)
            work = self._latest()
            if work is None:
                work = self._look_out()

    def _latest(self):
        with contextlib.suppress(IndexError):
            return self._wanted[-1]

    def _look_out(self):
        place = _Place()
        self._looking_out.append(place)
        work = place.take()
        with contextlib.suppress(ValueError):
            self._looking_out.remove(place)
        return work

    def _run_elsewhere(self):
        """Keep them off the processor that this thread is on.

        Linux may wake them there though another is at rest, if this thread has just slept for some
        milliseconds: for as long again they would take turns.
        """
        if not hasattr(os, "sched_setaffinity"):
            return
        with contextlib.suppress(OSError):  # where it is not allowed, it is only slower
            elsewhere = os.sched_getaffinity(0) - {cpu.current()}
            if len(self.numbers) <= len(elsewhere):
                for number in self.numbers:
                    os.sched_setaffinity(number, elsewhere)


def _workers():
    global _pool
    workers = _pool  # another thread may forget it at any time
    if workers is None:
        workers = _pool = _Workers()
    return workers


def _forget_pool():
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):  # a child has the pool, but none of its threads
    os.register_at_fork(after_in_child=_forget_pool)
