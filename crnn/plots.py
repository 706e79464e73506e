"""Pictures, drawn with matplotlib (the extra ``plot``)."""

import io
import math
import os

from crnn import disk


def loss_curves(history, path, title="", unit="nats per character"):
    """Draw training and validation loss over epochs into a file.

    Parameters
    ----------
    history : History
    path : str or os.PathLike
        The end of the name chooses the format: .png, .svg, .pdf.
    title : str
    unit : str
        Of the losses. For nats there is a second axis in bits.

    Raises
    ------
    ImportError
        Without matplotlib; the message names the extra.
    ValueError
        If the end of the name is no format, or the history is empty.
    OSError
        If the file cannot be written.
    """
    if not len(history):
        raise ValueError("there is no finished epoch to draw")
    figure = _figure_class()(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    epochs = history["epoch"]
    for column, label in (("loss", "training"), ("validation_loss", "validation")):
        losses = history[column]
        if None in losses:
            continue
        axes.plot(epochs, losses, marker="o", markersize=3, label=f"{label}, {losses[-1]:.3f}")
    axes.set(xlabel="epoch", ylabel=unit, title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if unit.startswith("nats"):
        axes.secondary_yaxis(
            "right", functions=(lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
        ).set_ylabel(unit.replace("nats", "bits", 1))
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=picture_format(path), dpi=150)
    disk.write_bytes(path, buffer.getvalue())


def picture_format(path):
    """Return the format that the end of a file's name stands for.

    Raises
    ------
    ImportError, ValueError
        As for `loss_curves`.
    """
    known = _figure_class()().canvas.get_supported_filetypes()
    ending = os.path.splitext(path)[1][1:].lower()
    if ending not in known:
        raise ValueError(f"{path}: the name must end in one of .{', .'.join(sorted(known))}")
    return ending


def _figure_class():
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib; install it with: pip install 'crnn[plot]'"
        ) from error
    return Figure
