"""The history of a training."""

import json

from crnn.files import disk


class History:
    """One row for each epoch: epoch, update, lr, loss and validation_loss.

    ``loss`` is the mean training loss of the epoch, while the parameters were changing;
    ``validation_loss`` is None without validation data.

    Parameters
    ----------
    rows : list of dict

    Attributes
    ----------
    rows : list of dict
    stopped_by : {"epochs", "patience", "callback"} or None
        Why `fit` returned: all epochs are over, so many were no better than the best one, or a
        callback asked for it. None as long as it has not.

    Examples
    --------
    >>> history = History([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 2.0}])
    >>> history["loss"]
    [2.5, 2.0]
    """

    def __init__(self, rows=()):
        self.rows, self.stopped_by = list(rows), None

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, name):
        """Return one column as a list."""
        return [row[name] for row in self.rows]

    def __iter__(self):
        return iter(self.rows)

    def __repr__(self):
        last = f", the last: {self.rows[-1]!r}" if self.rows else ""
        return f"<History of {len(self)} epochs{last}>"

    def save(self, path):
        """Write the rows as JSON, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        disk.write_bytes(path, json.dumps(self.rows, indent=1).encode())
