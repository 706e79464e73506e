"""Arrays of sequences (T, B, ...): turned round, side by side, up to their last valid steps."""

import numpy as np

from crnn.kernels.memory import aligned_empty


def reverse(x, lengths):
    """Return sequences (T, B, ...) turned round, each within its own length."""
    if lengths is None:
        return np.ascontiguousarray(x[::-1])
    t = np.arange(len(x))[:, None]
    return x[np.where(t < lengths, lengths - 1 - t, t), np.arange(x.shape[1])]


def beside(forth, back, lengths):
    """Return states (T + 1, B, H) of both directions side by side; the first row means nothing."""
    H = forth.shape[2]
    joined = aligned_empty((*forth.shape[:2], 2 * H), forth.dtype)
    joined[0] = 0
    joined[1:, :, :H] = forth[1:]
    joined[1:, :, H:] = reverse(back[1:], lengths)
    return joined


def put_block(outputs, states, lengths, way, start, count, first, last):
    """Copy the states of a block, after their first row, to where they belong in (T, B, 2 * H)."""
    H, b = states.shape[2], np.arange(first, last)
    t = np.arange(start, start + count)[:, None]
    if way:
        ends = np.full(len(b), len(outputs)) if lengths is None else lengths[first:last]
        t = np.where(t < ends, ends - 1 - t, t)
    outputs[t, b, way * H : (way + 1) * H] = states[1 : 1 + count, first:last]


def last_steps(sequence):
    """Return each sequence's last valid step; 0 for one that has none."""
    if sequence.lengths is None:
        return np.full(sequence.batch_size, sequence.steps - 1)
    return np.maximum(sequence.lengths - 1, 0)


def at_last_steps(rows, sequence):
    """Return zeros (T, B, n), but for rows (B, n) at each sequence's last valid step."""
    whole = np.zeros((sequence.steps, *rows.shape), rows.dtype)
    if sequence.steps:
        whole[last_steps(sequence), np.arange(len(rows))] = rows
    return whole


def silence_finished(y, lengths):
    """Zero the outputs of sequences that are over."""
    if lengths is not None:
        for b, length in enumerate(lengths):
            y[length:, b] = 0
    return y
