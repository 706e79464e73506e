"""Sequences that commands read from files of data, with the class of each."""

import hashlib
import os
from typing import NamedTuple

import numpy as np

from crnn import data
from crnn.cli.material import Material
from crnn.cli.options import encoding
from crnn.cli.screen import counted
from crnn.data.cells import listed
from crnn.training import splitting
from crnn.training.bucketing import batches

TABLES = (".csv", ".tsv")
VALIDATION = 0.2  # share of the sequences, where there is no file to test with
SPLIT_SEED = 0  # whatever --seed is: models of one file are compared on the same sequences


class Labelled(NamedTuple):
    """What is in a file.

    Attributes
    ----------
    name : str
        Of the file.
    sequences : list of ndarray (T_i, I)
    labels : list of str or None
        The class of each.
    ids : list of str or None
    columns : list of str or None
        What the features are called.
    """

    name: str
    sequences: list
    labels: list | None
    ids: list | None
    columns: list | None

    @property
    def width(self):
        """How many features a step has."""
        return self.sequences[0].shape[1]

    def account(self):
        """Return in words how much it is."""
        shortest, longest = (choose(map(len, self.sequences)) for choose in (min, max))
        span = f"{shortest:,} to " * (shortest < longest)
        return (f"{self.name}: {counted(len(self.sequences), 'sequence')} of"
                f" {span}{counted(longest, 'step')} and {counted(self.width, 'feature')}")

    def missing(self):
        """Return how many values are missing."""
        return int(sum(np.isnan(each).sum() for each in self.sequences))

    def digest(self):
        """Return a hash of sequences and labels."""
        digest = hashlib.sha256(repr(self.labels).encode())
        for each in self.sequences:
            digest.update(repr(each.shape).encode() + each.tobytes())
        return digest.hexdigest()[:16]


def add_data(command):
    """Add the options of how a file of data is read."""
    add = command.add_argument_group("data").add_argument
    add("--label", metavar="NAME", help="column of a CSV file with the class; without this, one"
        " called label or class")
    add("--id", metavar="NAME", help="column that tells sequences apart; without this, one called"
        " id, series or the like")
    add("--time", metavar="NAME", help="column of times, which increase within a sequence; without"
        " this, one called time, date or the like")
    add("--column", action="append", dest="columns", metavar="NAME",
        help="column that is a feature; may be repeated; without this, all others")
    add("--rows", choices=("steps", "sequences"), default="steps",
        help="what a row of a CSV file is")
    add("--encoding", type=encoding, metavar="NAME", help="of a text; without this, UTF-8")


def read_labelled(path, options, columns=None):
    """Return the `Labelled` sequences of a file.

    ``columns`` are the features that a network knows, which a table has to have; others are left
    out.
    """
    asked = {name: getattr(options, name)
             for name in ("label", "id", "time", "columns", "rows", "encoding")}
    if columns and not asked["columns"] and path.lower().endswith(TABLES):
        asked["columns"] = columns
    found = data.read(path, **asked)
    labels, ids = (None if each is None else [str(one) for one in each.tolist()]
                   for each in (_classes(found, path), found.ids))
    return Labelled(os.path.basename(path), found.sequences, labels, ids, found.features)


def _classes(found, path):
    """Return labels that are classes, or None; whole numbers may be written as 1.0."""
    labels = found.labels
    if labels is None or labels.dtype.kind != "f":
        return labels
    if found.metadata is None and (labels % 1 == 0).all():
        return labels.astype(np.int64)
    raise ValueError(f"{path} has numbers to predict as labels, such as {labels[0]}; classes are"
                     " wanted, which are whole numbers or names")


def classes_of(labelled, path):
    """Return all classes, whole numbers by their size and names by the alphabet."""
    if labelled.labels is None:
        raise ValueError(f"{path} has no labels to learn from; a CSV file has them in a column,"
                         " whose name is given as --label")
    classes = sorted(set(labelled.labels), key=_by_size)
    if len(classes) < 2:
        raise ValueError(f"all sequences of {path} are of the class {classes[0]!r}; two classes at"
                         " least are wanted")
    return classes


def _by_size(label):
    try:
        return 0, int(label), label
    except ValueError:
        return 1, 0, label


def check_fits(labelled, path, width, classes):
    """Refuse sequences with other features or classes than a network has."""
    if labelled.width != width:
        raise ValueError(f"{path} has {counted(labelled.width, 'feature')} a step; the network is"
                         f" for {width}")
    unknown = sorted(set(labelled.labels or ()) - set(classes))
    if unknown:
        raise ValueError(f"{path} has the class {unknown[0]!r}, which is none of those to learn:"
                         f" {listed(classes)}")


def numbers_of(labelled, classes):
    """Return the number of each sequence's class."""
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places[each] for each in labelled.labels])


def scaled(sequences, scaler):
    """Return sequences as the network gets them; what is missing is the feature's mean."""
    return [np.nan_to_num(each, nan=0.0) for each in scaler.transform(sequences)]


def split(labelled, share):
    """Return what to train on and what to keep: a share of all, of each class about as much."""
    count = len(labelled.sequences)
    kept = round(share * count)
    if not 0 < kept < count:
        raise ValueError(
            f"of {counted(count, 'sequence')} {kept or 'none'} would be kept for validation; take"
            " more sequences, another --validation, or 0")
    parts = splitting.split(count, kept, SPLIT_SEED, labelled.labels)
    return tuple(
        labelled._replace(
            sequences=[labelled.sequences[k] for k in numbers],
            labels=[labelled.labels[k] for k in numbers], ids=None)
        for numbers in map(np.sort, parts))


def material(training, validation, classes, scaler, options):
    """Return what to train and to validate with."""
    def batched(labelled, **how):
        return batches(scaled(labelled.sequences, scaler), numbers_of(labelled, classes), **how)

    return Material(
        batched(training, batch_size=options.batch_size),
        None if validation is None else batched(validation, batch_size=256, shuffle=False), "")
