"""How fast this machine could do a task at best, from its measured arithmetic and reading.

The machine is measured in the same rounds as the rivals, by gauges that do nothing but compute and
nothing but read: in each round the best of all that the installed packages offer.
"""

import math
import statistics

import rivals

IN_L1 = 32 * 1024  # bytes: weights this small are read as fast as they are multiplied


class Limit:
    """What cannot be avoided in a cell, and the gauges for it.

    Parameters
    ----------
    packages : dict of str to object
        As `rivals.find` returns them; those with ``peak(dtype)`` or ``read(numbers, dtype)``, which
        return lists of `rivals.Gauge`, are asked for them.
    work : tasks.Work
    dtype : numpy.dtype
    """

    def __init__(self, packages, work, dtype):
        self._work = work
        self._bytes = work.weights * dtype.itemsize
        self._peak = _named(rivals.enter(packages, "peak", dtype.name))
        self._read = {}
        if self._bytes > IN_L1:
            self._read = _named(rivals.enter(packages, "read", work.weights, dtype.name))

    def entries(self):
        """Return the gauges by name, to be timed beside the rivals."""
        return {name: gauge.rival for name, gauge in (self._peak | self._read).items()}

    def summary(self, times):
        """Return the limit, and what part of it crnn reaches, ready for JSON.

        Parameters
        ----------
        times : dict of str to list of float
            As `measure.interleaved` returns them, of rivals and of `entries`.
        """
        peak, us_per_flop = _best(self._peak, times)
        read, us_per_byte = None, [0] * len(us_per_flop)
        if self._read:
            read, us_per_byte = _best(self._read, times)
        limits = [
            shortest(self._work, self._bytes, *each)
            for each in zip(us_per_flop, us_per_byte, strict=True)
        ]
        reached = [limit / own for limit, own in zip(limits, times["crnn"], strict=True)]
        return {
            "us": statistics.median(limits),
            "reached": statistics.median(reached),
            "peak": peak,
            "flops_per_us": 1 / statistics.median(us_per_flop),
            "read": read,
            "bytes_per_us": 1 / statistics.median(us_per_byte) if read else None,
        }


def _named(gauges):
    return {gauge.rival.form: gauge for each in gauges.values() for gauge in each}


def _best(gauges, times):
    """Return the name of the best gauge, and of each round the best figure of all gauges."""
    figures = {name: [us / gauge.amount for us in times[name]] for name, gauge in gauges.items()}
    best = min(figures, key=lambda name: statistics.median(figures[name]))
    return best, [min(each) for each in zip(*figures.values(), strict=True)]


def shortest(work, weights_bytes, us_per_flop, us_per_byte):
    """Return the microseconds that some work takes at least.

    Each of its phases takes as long as the arithmetic or as reading the weights from where weights
    of this size lie, whichever is longer.
    """
    return sum(
        max(flops * us_per_flop, reads * weights_bytes * us_per_byte)
        for flops, reads in work.phases
    )


# --- the machine that the goals were set on -------------------------------------------------------

# In float32, per microsecond, one thread of an AMD Zen 5: operations, and bytes for weights of up
# to so many bytes. A goal is scaled to another machine by how far apart the limits are.
GOALS_PEAK = 286.6e3
GOALS_READ = {IN_L1: math.inf, 2.5e5: 204e3, 6e5: 270e3, 1.1e6: 183e3, 1e7: 125e3}


def goals_limit(work):
    """Return `shortest`, float32, on the machine that the goals were set on."""
    size = work.weights * 4
    read = next(speed for most, speed in GOALS_READ.items() if size <= most)
    return shortest(work, size, 1 / GOALS_PEAK, 1 / read)
