"""Tasks for the pool that only note that they ran."""

import numpy as np

from crnn.kernels import pool

begun, over, thread = range(3)  # columns of what `rehearse` returns


def rehearse(sizes, threads, *, seconds=0.0, together=0, in_turns=False):
    """Run ``sizes[k]`` tasks in phase k; return an array (tasks, 3) of notes.

    When each began and was over are places in one order of all that happened.
    """
    notes = new_notes(sizes)
    rehearse_into(notes, sizes, threads, seconds, together, in_turns)
    return read_notes(notes)


def new_notes(sizes):
    """Return memory for notes, -1 each."""
    return bytearray(np.full(3 * sum(sizes), -1, np.intp).tobytes())


def rehearse_into(notes, sizes, threads, seconds=0.0, together=0, in_turns=False):
    """Run tasks as `rehearse` does, and leave notes also when an exception is raised."""
    numbers = np.array(sizes, np.intp).tobytes()
    pool.rehearse(notes, numbers, threads, round(1e9 * seconds), together, in_turns)


def read_notes(notes):
    """Return notes as an array (tasks, 3)."""
    return np.frombuffer(notes, np.intp).reshape(-1, 3)


def rehearse_strands(strands, blocks, threads, *, seconds=0.0):
    """Run blocks of strands (in_order, needs); return an array (strands, blocks, 3) of notes."""
    notes = new_notes([len(strands) * blocks])
    left, longest = pool.rehearse_strands(notes, strands, blocks, threads, round(1e9 * seconds))
    assert left == threads
    assert longest >= round(1e9 * seconds)
    return read_notes(notes).reshape(len(strands), blocks, 3)
