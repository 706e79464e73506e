"""Whether rivals agree, how long they take, and the memory that they use."""

import statistics
import time
import timeit
import tracemalloc
from typing import NamedTuple

import numpy as np

# Largest difference between two rivals, as a part of the largest entry of the same array.
TOLERANCES = {"float32": 1e-5, "float64": 1e-13}
CALLS_COMPARED = 3  # the state of a step goes on from call to call


class Pace(NamedTuple):
    """How long to measure."""

    rounds: int  # windows for each rival
    window: float  # of CPU time, ns: this long or up to twice as long, or one call


FULL = Pace(rounds=51, window=2e6)
QUICK = Pace(rounds=3, window=5e4)


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


def compare(rivals):
    """Run all rivals some times; return the largest of the `differences` of all runs."""
    runs = [
        differences({name: rival.run() for name, rival in rivals.items()})
        for _ in range(CALLS_COMPARED)
    ]
    return {key: float(np.max([run[key] for run in runs])) for key in runs[0]}  # NaN stays NaN


# --- time and memory -----------------------------------------------------------------------------


def warmed_timer(rival):
    """Return a timer whose windows start with one call that is not timed.

    The rival before has filled the caches with its own.
    """
    warm_up = rival.expression
    return timeit.Timer(rival.expression, warm_up, time.thread_time_ns, rival.names)


def calls_in_window(timer, window):
    """Return how often to call for one window: the least power of two that fills it."""
    calls = 1
    while timer.timeit(calls) < window:
        calls *= 2
    return calls


def interleaved(rivals, pace):
    """Time all rivals in turn, window by window, by the CPU time of this thread.

    Returns
    -------
    times : dict of str to list of float
        Microseconds a call, one number for each window.
    elsewhere : float
        Part of the process's CPU time that other threads took: anything much above 0 says that a
        rival's work was missed.
    """
    timers = {name: warmed_timer(rival) for name, rival in rivals.items()}
    calls = {name: calls_in_window(timer, pace.window) for name, timer in timers.items()}
    times = {name: [] for name in timers}
    thread, process = time.thread_time_ns(), time.process_time_ns()
    for _ in range(pace.rounds):
        for name, timer in timers.items():
            times[name].append(timer.timeit(calls[name]) / calls[name] / 1000)
    thread, process = time.thread_time_ns() - thread, time.process_time_ns() - process
    return times, max(0.0, 1 - thread / process)


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
