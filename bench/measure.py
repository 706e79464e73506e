"""Whether rivals agree, how long they take, and the memory that they use."""

import contextlib
import os
import statistics
import time
import timeit
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np

CALLS_COMPARED = 3  # the state of a step goes on from call to call
SETTLED = 0.03  # s, after which threads that have worked no longer wait for more at full speed
ELSEWHERE = 0.05  # part of the CPU time in other threads up to which it is not a rival's own


class Pace(NamedTuple):
    """How long to measure."""

    rounds: int  # windows for each rival, at most
    fewest: int  # and at least, however long they take
    window: float  # ns: this long or up to twice as long, or one call
    seconds: float  # after which there are no more rounds than the fewest
    rest: float = 0  # seconds before each window


FULL = Pace(rounds=51, fewest=7, window=1e6, seconds=6)
QUICK = Pace(rounds=3, fewest=3, window=5e4, seconds=6)
TWO_THREADS = Pace(rounds=15, fewest=7, window=5e6, seconds=8, rest=SETTLED)
TRIAL = {"rounds": 5, "fewest": 2, "seconds": 0.5}  # of a pace, to choose among forms


class DisagreementError(Exception):
    """Results differ; the message has a line for each that does."""


# --- results -------------------------------------------------------------------------------------


def difference(result, expected):
    """Return the largest difference of two arrays over the largest entry of the second.

    It is infinite if their shapes differ, and NaN if a NaN is in either.
    """
    if result.shape != expected.shape:
        return np.inf
    largest = np.abs(expected).max(initial=0)
    return float(np.abs(result - expected).max(initial=0) / (largest or 1))


def differences(outcomes, oracle="reference"):
    """Return how far every rival's results are from those of one of them.

    Parameters
    ----------
    outcomes : dict of str to dict of str to ndarray
        For each rival its results by name.
    oracle : str
        The rival that the others are compared with.

    Returns
    -------
    dict of (str, str) to float
        For each rival but the oracle and each result, what `difference` says; infinite for a
        result that only one of them has.
    """
    expected = outcomes[oracle]
    return {
        (rival, name): difference(results[name], expected[name])
        if name in results and name in expected
        else np.inf
        for rival, results in outcomes.items()
        if rival != oracle
        for name in sorted(results.keys() | expected.keys())
    }


def disagreements(found, tolerance):
    """Return those of `differences` that are above the tolerance, or NaN."""
    return {key: value for key, value in found.items() if not value <= tolerance}


def compare(rivals, oracle):
    """Run all forms of all rivals some times; return the largest `differences` of all runs.

    Parameters
    ----------
    rivals : dict of str to list of rivals.Rival
    oracle : rivals.Rival
        Whose results are right.
    """
    forms = {
        f"{name} ({each.form})" if each.form else name: each
        for name, forms in rivals.items()
        for each in forms
    }
    runs = [
        differences({name: each.run() for name, each in {"reference": oracle, **forms}.items()})
        for _ in range(CALLS_COMPARED)
    ]
    return {key: float(np.max([run[key] for run in runs])) for key in runs[0]}  # NaN stays NaN


# --- time and memory -----------------------------------------------------------------------------


def cpu_clocks():
    """Return the CPU time of this thread and, as the imaginary part, of the whole process, ns.

    A clock for `timeit`, which only takes differences.
    """
    return complex(time.thread_time_ns(), time.process_time_ns())


class Timer:
    """Times one rival window by window.

    By CPU time, because other programs count as little as possible in it: of this thread, or of
    the whole process where other threads take part in the work. Or by the wall clock.
    """

    def __init__(self, rival, pace, wall=False):
        # Before each window one call that is not timed: the rival before has filled the caches.
        warm_up = f"{rival.setup}\n{rival.expression}"
        clock = time.perf_counter_ns if wall else cpu_clocks
        self._timer = timeit.Timer(rival.expression, warm_up, clock, rival.names)
        self._rest = pace.rest
        self._calls = 1
        while self._window()[0] < pace.window:
            self._calls *= 2

    def _window(self):
        """Return the nanoseconds of a window, and the part of them in other threads."""
        elapsed = self._timer.timeit(self._calls)
        elsewhere = max(0, 1 - elapsed.real / elapsed.imag) if elapsed.imag else 0
        return elapsed.imag if elsewhere > ELSEWHERE else elapsed.real, elsewhere

    def window(self):
        """Return microseconds a call, and the part of them in other threads."""
        time.sleep(self._rest)
        ns, elsewhere = self._window()
        return ns / self._calls / 1000, elsewhere


def interleaved(rivals, pace, wall=False):
    """Time all rivals in turn, window by window.

    Parameters
    ----------
    rivals : dict of str to rivals.Rival
    pace : Pace
    wall : bool
        By the wall clock; see `Timer`.

    Returns
    -------
    times : dict of str to list of float
        Microseconds a call, one number for each window.
    elsewhere : dict of str to float
        The part of each rival's work in other threads, the median; 0 by the wall clock.
    """
    timers = {name: Timer(rival, pace, wall) for name, rival in rivals.items()}
    windows = {name: [] for name in timers}
    end = time.monotonic() + pace.seconds
    for count in range(pace.rounds):
        if count >= pace.fewest and time.monotonic() > end:
            break
        for name, timer in timers.items():
            windows[name].append(timer.window())
    times = {name: [us for us, _ in each] for name, each in windows.items()}
    elsewhere = {
        name: statistics.median(part for _, part in each) for name, each in windows.items()
    }
    return times, elsewhere


def fastest(forms, pace, wall=False):
    """Return the position of the form that takes the least time."""
    if len(forms) == 1:
        return 0
    times, _ = interleaved(dict(enumerate(forms)), pace._replace(**TRIAL), wall)
    return min(times, key=lambda number: min(times[number]))


def summary(times):
    """Return what is told of each rival's times.

    Parameters
    ----------
    times : dict of str to list of float
        As `interleaved` returns them.

    Returns
    -------
    dict of str to dict of str to float
        ``median_us`` and ``minimum_us``; ``ratio``, the median of what each window took over
        crnn's window of the same round, which a change of pace between rounds leaves alone; and
        ``ratio_of_minima``, which repeats best where others use the machine.
    """
    own = times["crnn"]
    return {
        name: {
            "median_us": statistics.median(each),
            "minimum_us": min(each),
            "ratio": statistics.median(a / b for a, b in zip(each, own, strict=True)),
            "ratio_of_minima": min(each) / min(own),
        }
        for name, each in times.items()
    }


class OthersLoad:
    """How many processors other programs keep busy, from its making to the call of `processors`."""

    def __init__(self):
        self._start = self._now()

    def processors(self):
        """Return the number; None where the system does not tell, as only Linux does."""
        now = self._now()
        if None in (now[0], self._start[0]):
            return None
        busy, own, wall = (late - early for late, early in zip(now, self._start, strict=True))
        return max(0.0, (busy - own) / wall)

    @staticmethod
    def _now():
        """Return seconds that all processors were busy, that this process ran, and of the clock."""
        busy = None
        with contextlib.suppress(OSError):
            fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
            user, nice, system, _idle, _waiting, *interrupted = map(int, fields)
            busy = (user + nice + system + sum(interrupted)) / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.monotonic()


def peak_memory(rival):
    """Return the bytes that one run takes at its peak, results included."""
    tracemalloc.start()
    try:
        value = eval(rival.expression, rival.names)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del value
    return peak
