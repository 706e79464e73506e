"""``crnn.data.read``: a file of data by its kind."""

import os

from crnn.data.archives import read_npz
from crnn.data.tables import Columns, read_csv
from crnn.data.ts import read_ts
from crnn.files.disk import bad, opened
from crnn.files.encodings import decoded

KINDS = (".ts", ".csv", ".tsv", ".npz")


def read(path, *, rows="steps", id=None, time=None, label=None, columns=None, encoding=None):
    """Return the sequences of a file, and their labels if it has any.

    Parameters
    ----------
    path : str or os.PathLike
        The end of its name says what it is: ``.ts`` (of the UCR and UEA archives), ``.csv``,
        ``.tsv`` or ``.npz``.
    rows : {"steps", "sequences"}
        What a row of a CSV file is: a step of a sequence, or a whole sequence of one feature.
    id, time, label : str or int, optional
        Columns of a CSV file, by name or by number from 0. Without them they are found by their
        names, in any case: see the notes.
    columns : str, int, or list of them, optional
        The columns of a CSV file that are features; without it, all others.
    encoding : str, optional
        Of a text; without it, UTF-8.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        The file is not what it should be; the message says where, and what to do.
    ValueError
        The name ends otherwise, columns are not there, or arguments do not go together.
    TypeError
        The path is none, or a column is neither a name nor a number.
    LookupError
        There is no such encoding.
    OSError
        It cannot be read.

    Notes
    -----
    **.ts** has classes (``@classLabel true ...``), numbers to predict (``@targetLabel true``) or
    neither; sequences may differ in length; ``?`` is a missing value. Timestamps are refused.

    **CSV** has commas, semicolons or tabs between its columns, and their names in its first line
    (or numbers only: then they are called 0, 1, ...). With ``rows="steps"``, an id column tells
    sequences apart ("id", "unique_id", "series_id", "sequence_id", "case_id", "item_id", "series",
    "sequence", "case"), whose rows may lie between each other's if there is a time column; without
    one, all rows are one sequence. A time column has to increase ("time", "timestamp", "date",
    "datetime", "ds", "step", "t"; or the only one of dates such as 2026-11-30; or, of a single
    sequence, a first one that is "year", "month", "quarter" or has no name, as pandas writes an
    index). A label column ("label", "labels", "class") is the same in all rows of a sequence. With
    ``rows="sequences"``, what is missing at the end of a row is no step.

    **.npz** has arrays ``x`` (or "X", "sequences", "data"), and maybe ``lengths`` and ``labels``
    (or "label", "y", "target", "targets"): x is (n, T, I), or (n, T) of one feature, and padded
    where there are lengths; or, with lengths, all sequences one after another, (sum of lengths, I).
    Or it is what ``np.savez(path, *sequences, labels=labels)`` makes, each of them (T_i, I) or
    (T_i,). Arrays of objects are refused, as nothing of a file is run.

    Examples
    --------
    >>> import os, tempfile
    >>> import crnn
    >>> path = os.path.join(tempfile.mkdtemp(), "walks.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("id,time,speed,label\\na,0,1.5,walk\\na,1,1.6,walk\\nb,0,3.5,run\\n")
    >>> data = crnn.data.read(path)
    >>> data
    Dataset of 2 sequences: 1 to 2 steps of 1 feature, 2 different labels
    >>> data.sequences[0].T, data.labels, data.features
    (array([[1.5, 1.6]]), array(['walk', 'run'], dtype='<U4'), ['speed'])
    """
    path = os.fspath(path)
    kind = os.path.splitext(os.fsdecode(path))[1].lower()
    asked = Columns(rows, id, time, label, columns)
    if kind in (".ts", ".npz"):
        asked.check_none(kind)
    if kind == ".npz" and encoding is not None:
        raise ValueError("encoding is for texts; a .npz file is none")
    with opened(path) as file:
        if kind not in KINDS:
            raise ValueError(f"{os.fsdecode(path)!r} ends in {kind!r}; crnn reads data from"
                             f" {', '.join(KINDS)}: give the file the name's end that fits")
        data = file.read()
    if not data:
        raise bad(path, "is empty")
    if kind == ".npz":
        return read_npz(path, data)
    text = decoded(data, repr(os.fsdecode(path)), encoding)
    del data
    return read_ts(path, text) if kind == ".ts" else read_csv(path, text, asked)
