"""Pictures, drawn with matplotlib (the extra ``plot``)."""

import io
import math
import os

import numpy as np

from crnn.files import disk


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
    _check_epochs(history)
    figure, axes = _figure()
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
    _write(figure, axes, path)


def loss_comparison(histories, path, title="", unit="loss", *, log=False, levels=None):
    """Draw the losses of several trainings over epochs into a file, to be compared.

    The validation loss of each is drawn, or the training loss where there is no validation.

    Parameters
    ----------
    histories : mapping of str to History
        The keys are the names in the picture.
    path : str or os.PathLike
    title, unit : str
        As for `loss_curves`.
    log : bool
        Whether the axis of losses is logarithmic.
    levels : mapping of str to float, optional
        Losses to compare with, such as that of guessing: horizontal lines, by name.

    Raises
    ------
    ImportError, OSError
        As for `loss_curves`.
    ValueError
        If the end of the name is no format, there are no histories or one is empty.
    """
    _check_some(histories, "histories")
    for history in histories.values():
        _check_epochs(history)
    figure, axes = _figure()
    for name, history in histories.items():
        losses = history["validation_loss"]
        losses = history["loss"] if None in losses else losses
        axes.plot(history["epoch"], losses, label=f"{name}, {losses[-1]:.3g}")
    for name, level in (levels or {}).items():
        axes.axhline(level, color="0.5", linestyle="--", linewidth=1, label=f"{name}, {level:.3g}")
    axes.set(xlabel="epoch", ylabel=unit, title=title, yscale="log" if log else "linear")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _write(figure, axes, path)


def gradient_flow(flows, path, title=None):
    """Draw how much of the gradient is left at each number of steps before the end (log axis).

    A straight line downwards is a gradient that vanishes by a constant factor with each step, one
    upwards a gradient that explodes. What is 0 or not finite is left out.

    Parameters
    ----------
    flows : mapping of str to what `crnn.gradient_flow` returned
        The keys are the names in the picture. They should have targets for the last step only. The
        top layer's row is drawn; to see another layer give its row alone, (T,). For an LSTM h and c
        are drawn, c as a dashed line.
    path : str or os.PathLike
        The end of the name chooses the format: .png, .svg, .pdf.
    title : str, optional

    Raises
    ------
    ImportError, OSError
        As for `loss_curves`.
    ValueError
        If the end of the name is no format, or there is nothing to draw.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> from crnn import plots
    >>> x, last = np.ones((50, 1, 3)), np.zeros(1, int)
    >>> nets = {"RNN": crnn.RNN(3, 5, 2, seed=0), "LSTM": crnn.LSTM(3, 5, 2, seed=0)}
    >>> flows = {name: crnn.gradient_flow(net, x, last) for name, net in nets.items()}
    >>> plots.gradient_flow(flows, "flow.png")                                 # doctest: +SKIP
    """
    _check_some(flows, "flows")
    figure, axes = _figure()
    lines = 0
    for number, (name, flow) in enumerate(flows.items()):
        parts = flow if isinstance(flow, tuple) else (flow,)
        for part, style, norms in zip("hc", ("-", "--"), parts, strict=False):
            norms = np.asarray(norms, float)
            norms = norms[-1] if norms.ndim == 2 else norms
            shown = np.isfinite(norms) & (norms > 0)
            lags = np.arange(len(norms))[::-1]
            label = f"{name}, {part}" if len(parts) > 1 else name
            axes.plot(lags[shown], norms[shown], style, color=f"C{number}", label=label)
            lines += shown.any()
    if not lines:
        raise ValueError("no norm is finite and above 0: there is nothing to draw")
    axes.set(xlabel="lag: steps before the last one", ylabel="norm of the gradient of the state",
             title=title or "", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _write(figure, axes, path, dpi=120)


def _check_some(mapping, what):
    if not len(mapping):
        raise ValueError(f"{what} is empty: there is nothing to draw")


def _check_epochs(history):
    if not len(history):
        raise ValueError("there is no finished epoch to draw")


def _figure():
    figure = _figure_class()(figsize=(7, 4.5), layout="constrained")
    return figure, figure.subplots()


def _write(figure, axes, path, dpi=150):
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=picture_format(path), dpi=dpi)
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
