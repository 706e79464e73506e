"""Whole trainings on real data: `crnn.fit` beside loops that users of other packages write.

The data are those of examples and documentation, in one folder: ``tinyshakespeare.txt`` (of
karpathy/char-rnn), ``jsb_chorales.npz`` (see ``examples/chorales.py``) and
``JapaneseVowels_TRAIN.ts`` (see ``docs/guide/classify.md``). What is timed is an epoch, of a text
its first updates; what is compared are the losses of three epochs of a few updates, of one batch.
"""

import functools
from typing import NamedTuple

import numpy as np
from tasks import Problem, Task, network

import crnn

STEPS, STREAMS, BATCH = 64, 32, 16
KEYS, SPEAKERS = 88, 9


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
        functools.partial(problem, folder), compared={"updates": 3}, tolerances={"float32": 1e-4},
    )


def problem(folder, kind, rng, dtype, data, H, L=1, updates=None):
    inputs, outputs, x, targets, settings = DATA[data](folder, updates)
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
        pieces = np.split(rows, np.cumsum(file["train_lengths"])[:-1])
    x, lengths = padded([piece[:-1] for piece in pieces])
    targets, _ = padded([piece[1:] for piece in pieces])
    return KEYS, KEYS, x, targets, Settings("sigmoid", 0.003, lengths)


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


def random_classes(_, updates):
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((length, 3)).astype(np.float32) for length in (2, 5, 3, 7)]
    return classes(sequences, np.array([0, 8, 3, 3]))


DATA = {
    "text": text, "chorales": chorales, "vowels": vowels, "random": random,
    "random classes": random_classes,
}
