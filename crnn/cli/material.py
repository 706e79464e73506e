"""What a character model is trained on and evaluated with: a text in parallel streams, or lines."""

from typing import NamedTuple

import numpy as np

from crnn import text
from crnn.cli.screen import counted
from crnn.training.bucketing import batches

# A parallel stream starts without knowing what went before it, which costs some thirty nats where a
# text is known by heart: streams are this long at least, so that the mean loss hardly shows it.
TRAINING_CHUNKS, VALIDATION_CHARACTERS = 8, 5000
SPLIT_SEED = 0  # whatever --seed is: models of one text are compared on the same lines


class Material(NamedTuple):
    """Data as `crnn.fit` takes them, and a line about them, or none."""

    training: object
    validation: object
    note: str


def material(content, vocabulary, options):
    """Return what the options ask to train on and to validate with, which may be None.

    Characters that the vocabulary does not have are left out.
    """
    if options.patience and not options.validation:
        raise ValueError("--patience watches the validation loss; --validation 0 leaves none")
    return (_lines if options.lines else _streams)(content, vocabulary, options)


def _streams(content, vocabulary, options):
    tokens = vocabulary.encode(content, skip_unknown=True, dtype=vocabulary.smallest_dtype)
    kept = int(len(tokens) * options.validation)
    border = len(tokens) - kept
    if border < 2:
        raise ValueError(
            f"the text has {counted(len(tokens), 'character')}, too few; take a longer one")
    if options.validation and kept < 2:
        raise ValueError(
            f"the part of the text for validation is too short, {counted(kept, 'character')};"
            " take a longer text or --validation 0"
        )
    most, shortest = options.batch_size, TRAINING_CHUNKS * options.truncation
    count = max(1, min(most, (border - 1) // shortest))
    note = "" if count == most else (
        f"{counted(count, 'parallel stream')}, not {most}: more would be shorter than"
        f" {TRAINING_CHUNKS} times --steps")
    training, rest = text.streams(tokens[:border], count), tokens[border:]
    if not kept:
        return Material(training, None, note)
    # as in one piece, which is how evaluate reads it
    count = max(1, min(most, (len(rest) - 1) // VALIDATION_CHARACTERS))
    return Material(training, text.streams(rest, count), note)


def _lines(content, vocabulary, options):
    lines = _some_lines(text.lines(content, vocabulary, skip_unknown=True))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(lines))
    kept = int(len(lines) * options.validation)
    training, validation = (
        [lines[k] for k in part] for part in np.split(order, [len(lines) - kept]))
    if options.validation and not kept:
        raise ValueError(
            f"of {counted(len(lines), 'line')} none is left for validation; take a longer text, a"
            " larger --validation, or --validation 0"
        )
    return Material(
        batches(training, batch_size=options.batch_size),
        lines_in_order(validation) if kept else None,
        f"{counted(len(training), 'line')} to train on, {kept:,} for validation",
    )


def lines_in_order(lines):
    """Return lines as data to take a mean loss of, which does not depend on their order."""
    return batches(_some_lines(lines), batch_size=256, shuffle=False)


def _some_lines(lines):
    if not lines:
        raise ValueError("the text has no line that is not empty")
    return lines
