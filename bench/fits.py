"""Whole trainings on real data: `crnn.fit` beside loops that users of other packages write.

The data are those of examples and documentation, in one folder; ``names.py`` has their files. What
is timed is an epoch, of a text its first updates. What is compared are the losses of three epochs
of a few updates of one batch, clipped to a norm so small that Adam's epsilon counts: otherwise it
would not show if somebody did not clip, as Adam divides by the size of the gradients.
"""

import functools
from typing import NamedTuple

import numpy as np
from tasks import TOLERANCES, Problem, Task, network

import crnn

STEPS, STREAMS, BATCH = 64, 32, 16
KEYS, SPEAKERS = 88, 9
SMALL = 1e-6


class Settings(NamedTuple):
    """What there is to a training beside its network, inputs and targets."""

    loss: str
    lr: float
    lengths: list  # for each batch those of its sequences, or None
    truncation: int | None = None
    clip: float = 1.0


def fit_task(folder):
    """Return the task of data in a folder; None for random ones alone."""
    return Task(
        "fit", "an epoch of a training: Adam, clipped", "ms", lambda sizes: 1000,
        functools.partial(problem, folder), compared={"updates": 3, "clip": SMALL},
        tolerances={"float32": TOLERANCES["float32"]},
    )


def problem(folder, kind, rng, dtype, data, H, L=1, updates=None, clip=1.0):
    inputs, outputs, x, targets, settings = DATA[data](folder, updates)
    settings = settings._replace(clip=clip)
    if updates and settings.truncation is None:  # one: the order of more is the trainer's
        x, targets = x[:1], targets[:1]
        settings = settings._replace(lengths=settings.lengths[:1])
    net = network(kind, rng, dtype, inputs, H, outputs, L)
    return Problem(net, x, targets, settings=settings)


# --- data: numbers of inputs and outputs, x, targets, settings -----------------------------------


def characters(content, updates):
    vocabulary = crnn.text.Vocabulary.of(content)
    x, targets = crnn.text.streams(vocabulary.encode(content), STREAMS)
    part = slice(updates and updates * STEPS)
    settings = Settings("softmax", 0.004, [None], STEPS)
    return len(vocabulary), len(vocabulary), [x[part]], [targets[part]], settings


def text(folder, updates):
    return characters((folder / "tinyshakespeare.txt").read_text(encoding="utf-8"), updates)


def chorales(folder, updates):
    with np.load(folder / "jsb_chorales.npz") as file:
        rows = np.unpackbits(file["train"], axis=1)[:, :KEYS].astype(np.float32)
        return notes(np.split(rows, np.cumsum(file["train_lengths"])[:-1]))


def notes(pieces):
    x, lengths = padded([piece[:-1] for piece in pieces])
    targets, _ = padded([piece[1:] for piece in pieces])
    keys = pieces[0].shape[1]
    return keys, keys, x, targets, Settings("sigmoid", 0.003, lengths)


def vowels(folder, updates):
    recordings, men, *_ = crnn.data.read(folder / "JapaneseVowels_TRAIN.ts")
    return classes([each.astype(np.float32) for each in recordings],
                   np.unique(men, return_inverse=True)[1])


def classes(sequences, numbers):
    order = np.argsort([len(each) for each in sequences], kind="stable")
    x, lengths = padded(sequences)
    targets = [numbers[order[start : start + BATCH]] for start in range(0, len(order), BATCH)]
    return sequences[0].shape[1], SPEAKERS, x, targets, Settings("softmax", 0.01, lengths)


def padded(sequences):
    """Return batches of sequences of about the same length, (T, B, N), and their lengths."""
    sequences, x, lengths = sorted(sequences, key=len), [], []
    for start in range(0, len(sequences), BATCH):
        batch = sequences[start : start + BATCH]
        lengths.append(np.array([len(each) for each in batch]))
        x.append(np.zeros((lengths[-1].max(), len(batch), batch[0].shape[1]), np.float32))
        for number, each in enumerate(batch):
            x[-1][: len(each), number] = each
    return x, lengths


def random(_, updates):
    letters = np.random.default_rng(0).integers(ord("a"), ord("k"), 100 * STREAMS)
    return characters("".join(map(chr, letters)), updates)


def random_sequences():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, 3)).astype(np.float32) for length in (2, 5, 3, 7)]


def random_notes(_, updates):
    return notes([np.float32(each > 0) for each in random_sequences()])


def random_classes(_, updates):
    return classes(random_sequences(), np.array([0, 8, 3, 3]))


DATA = {
    "text": text, "chorales": chorales, "vowels": vowels, "random": random,
    "random notes": random_notes, "random classes": random_classes,
}


# --- an epoch, as loops have it ------------------------------------------------------------------


def epoch_of(problem, convert, update):
    """Return a function that takes an epoch and returns the mean loss over all targets.

    Parameters
    ----------
    problem : tasks.Problem
    convert : callable
        Makes another package's array of one of NumPy's.
    update : callable
        Given x, targets, lengths (or None) and a state (or None), takes an update and returns the
        loss, a mean, and the state in which the next steps of the same sequences begin.
    """
    settings = problem.settings
    batches = [
        tuple(None if each is None else convert(each) for each in batch)
        for batch in zip(problem.x, problem.targets, settings.lengths, strict=True)
    ]

    def epoch():
        total = numbers = 0
        for x, targets, lengths in batches:
            state, steps = None, settings.truncation or len(x)
            for start in range(0, len(x), steps):
                part = slice(start, start + steps)
                theirs = targets[part] if targets.ndim > 1 else targets  # one for each sequence
                value, state = update(x[part], theirs, lengths, state)
                number = len(theirs) if lengths is None or theirs.ndim == 1 else int(lengths.sum())
                total, numbers = total + float(value) * number, numbers + number
        return total / numbers

    return epoch
