"""The history of a training."""

import html
import json

import numpy as np

from crnn.base.frames import data_frame
from crnn.files import disk

ENDS = 10  # epochs of either end that a table shows


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
    loss_name : str or None
        Which of crnn's losses `fit` lowered; None of a function, or of rows from elsewhere.
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
        self.rows, self.loss_name, self.stopped_by = list(rows), None, None

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, name):
        """Return one column as a list; KeyError says which there are."""
        columns = [*self.rows[0]] if self.rows else []
        if columns and name not in columns:
            raise KeyError(
                f"there is no column {name!r}; there are {', '.join(columns)}, and in rows a dict"
                " of them for each epoch")
        return [row[name] for row in self.rows]

    def __iter__(self):
        return iter(self.rows)

    def __repr__(self):
        last = f", the last: {self.rows[-1]!r}" if self.rows else ""
        return f"<History of {len(self)} epochs{last}>"

    def _repr_html_(self):
        """Return a table for notebooks: a row for each epoch, of many the first and the last."""
        names = [name for name in (self.rows[0] if self.rows else ())
                 if any(row.get(name) is not None for row in self.rows)]
        shown = [[_shown(row.get(name)) for name in names] for row in self.rows]
        if len(shown) > 2 * ENDS:
            shown = [*shown[:ENDS], ["…"] * len(names), *shown[-ENDS:]]
        head = _html_row("th", names)
        return f"<table>{head}{''.join(_html_row('td', each) for each in shown)}</table>"

    def to_pandas(self):
        """Return the rows as a data frame (the extra ``pandas``); what is None there is NaN.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Without pandas; the message names the extra.
        """
        columns = {name: self[name] for name in (self.rows[0] if self.rows else ())}
        return data_frame({
            name: np.array(values, float) if None in values else values
            for name, values in columns.items()
        })

    def save(self, path):
        """Write the rows as JSON, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        disk.write_bytes(path, json.dumps(self.rows, indent=1).encode())


def _shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _html_row(cell, texts):
    return f"<tr>{''.join(f'<{cell}>{html.escape(text)}</{cell}>' for text in texts)}</tr>"
