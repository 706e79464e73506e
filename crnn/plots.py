"""Pictures, drawn with matplotlib (the extra ``plot``).

Each function draws into the axes that it is given, or into a new figure, and returns the axes. It
writes a file only if it is given a path. Without path and axes the figure is one of pyplot's, so
that notebooks and ``pyplot.show()`` show it.
"""

import io
import math
import os

import numpy as np

from crnn.base import checks
from crnn.files import disk
from crnn.files.printable import printable, shortened
from crnn.layers.recurrent import Recurrent
from crnn.layers.stateless import Dropout
from crnn.network.network import Network
from crnn.network.prediction import PROBABILITIES
from crnn.network.sequential import Sequential
from crnn.training.metrics import confusions

MOST_COUNTS = 30  # classes of a confusion matrix whose names and counts are shown


def loss_curves(history, path=None, title="", unit=None, *, ax=None):
    """Draw training and validation loss over epochs.

    Parameters
    ----------
    history : History
    path : str or os.PathLike, optional
        A file to write. The end of the name chooses the format: .png, .svg, .pdf.
    title : str
    unit : str, optional
        Of the losses. Default: "nats" where `fit` lowered the loss "softmax" or "sigmoid", else
        "loss". For nats there is a second axis in bits.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Without matplotlib; the message names the extra.
    ValueError
        If the end of the name is no format, or the history is empty.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from crnn import History, plots
    >>> history = History([{"epoch": 1, "loss": 2.5, "validation_loss": 2.75}])
    >>> axes = plots.loss_curves(history, "curve.png")                         # doctest: +SKIP
    """
    _check_epochs(history)
    if unit is None:
        unit = "nats" if history.loss_name in PROBABILITIES else "loss"
    axes = _axes(ax, path)
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
    return _finished_lines(axes, path)


def loss_comparison(
    histories, path=None, title="", unit="loss", *, log=False, levels=None, ax=None
):
    """Draw the losses of several trainings over epochs, to be compared.

    The validation loss of each is drawn, or the training loss where there is no validation.

    Parameters
    ----------
    histories : mapping of str to History
        The keys are the names in the picture.
    path, title, unit, ax
        As for `loss_curves`.
    log : bool
        Whether the axis of losses is logarithmic.
    levels : mapping of str to float, optional
        Losses to compare with, such as that of guessing: horizontal lines, by name.

    Returns
    -------
    matplotlib.axes.Axes

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
    axes = _axes(ax, path)
    for name, history in histories.items():
        losses = history["validation_loss"]
        losses = history["loss"] if None in losses else losses
        axes.plot(history["epoch"], losses, label=f"{name}, {losses[-1]:.3g}")
    for name, level in (levels or {}).items():
        axes.axhline(level, color="0.5", linestyle="--", linewidth=1, label=f"{name}, {level:.3g}")
    axes.set(xlabel="epoch", ylabel=unit, title=title, yscale="log" if log else "linear")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return _finished_lines(axes, path)


def gradient_flow(flows, path=None, title=None, *, ax=None):
    """Draw how much of the gradient is left at each number of steps before the end (log axis).

    A straight line downwards is a gradient that vanishes by a constant factor with each step, one
    upwards a gradient that explodes. What is 0 or not finite is left out.

    Parameters
    ----------
    flows : mapping of str to what `crnn.gradient_flow` returned
        The keys are the names in the picture. They should have targets for the last step only. The
        top layer's row is drawn; to see another layer give its row alone, (T,). For an LSTM h and c
        are drawn, c as a dashed line.
    path, ax
        As for `loss_curves`.
    title : str, optional

    Returns
    -------
    matplotlib.axes.Axes

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
    axes = _axes(ax, path)
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
    return _finished_lines(axes, path, dpi=120)


def hidden_states(net, x, path=None, title="", *, layer=-1, labels=None, ax=None):
    """Draw the hidden states of a layer over one sequence: a row a unit, a column a step.

    Parameters
    ----------
    net : RNN, GRU or LSTM
        It starts from a zero state, or its learned one; its own is not touched.
    x : array_like
        One sequence: (T, I) floats or (T,) integer tokens.
    path, title, ax
        As for `loss_curves`.
    layer : int
        From 0, the one at the input; -1 is the top one. Of a bidirectional network the units of the
        second direction are above those of the first.
    labels : sequence of str, optional
        T texts under the steps, such as the characters that are read.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError, IndexError
        If an argument is not as above; ValueError also if the end of the name is no format.
    ImportError, OSError
        As for `loss_curves`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> from crnn import plots
    >>> net = crnn.GRU(3, 20, 2, seed=0)
    >>> axes = plots.hidden_states(net, np.ones((30, 3)), "states.png")        # doctest: +SKIP
    """
    states = _states(net, x, layer)
    if labels is not None and len(labels) != len(states):
        raise ValueError(f"there are {len(labels)} labels for {len(states)} steps")
    axes = _axes(ax, path)
    image = axes.imshow(
        states.T, aspect="auto", origin="lower", interpolation="nearest", **_colours(states))
    axes.figure.colorbar(image, ax=axes, label="hidden state")
    axes.set(xlabel="step", ylabel="unit", title=title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if labels is not None:
        axes.set_xticks(range(len(labels)), labels, family="monospace")
    return _finished(axes, path)


def text_activity(
    net, vocabulary, text, unit, path=None, title="", *, layer=-1, width=80, ax=None
):
    """Draw a text, each character on a colour that says what a unit's hidden state is after it.

    Parameters
    ----------
    net : RNN, GRU or LSTM
        Of one direction, trained on numbers of the vocabulary.
    vocabulary : crnn.text.Vocabulary
    text : str
        Some lines of it are seen well.
    unit : int
        From 0 to H - 1.
    path, title, layer, ax
        As for `hidden_states`.
    width : int
        Characters of a line; longer lines are broken.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError, IndexError, ImportError, OSError
        As for `hidden_states`; ValueError also if the text is empty, or the vocabulary lacks one of
        its characters.

    Examples
    --------
    >>> import crnn
    >>> from crnn import plots
    >>> vocabulary = crnn.text.Vocabulary.of("to be or not to be")
    >>> net = crnn.LSTM(len(vocabulary), 16, len(vocabulary), seed=0)
    >>> plots.text_activity(net, vocabulary, "to be", 3, "unit.png")           # doctest: +SKIP

    References
    ----------
    Karpathy, A., Johnson, J. & Fei-Fei, L. (2015). Visualizing and understanding recurrent
    networks.
    """
    if not text:
        raise ValueError("text is empty: there is nothing to draw")
    states = _states(net, vocabulary.encode(text), layer)
    unit = checks.whole_number(unit, "unit", 0, states.shape[1] - 1)
    places = _places(text, checks.whole_number(width, "width"))
    rows, columns = np.max(places, axis=0) + 1
    colours = np.full((rows, columns), np.nan)
    colours[tuple(np.transpose(places))] = states[:, unit]
    axes = _axes(ax, path, size=(0.11 * max(columns, 40) + 1, max(0.22 * rows, 1.2) + 0.6))
    colouring = _colours(states[:, unit])
    image = axes.imshow(colours, aspect="auto", interpolation="nearest", **colouring)
    for (row, column), character in zip(places, text, strict=True):
        is_dark = abs(colours[row, column]) > 0.6 * colouring["vmax"]
        axes.text(column, row, character.strip(), family="monospace", fontsize=8, ha="center",
                  va="center", color="white" if is_dark else "black", parse_math=False)
    axes.figure.colorbar(image, ax=axes, label=f"state of unit {unit}")
    axes.set(title=title, xticks=[], yticks=[])
    return _finished(axes, path)


def confusion_matrix(labels, predicted, path=None, title="", *, classes=None, ax=None):
    """Draw how often each class (rows) was taken for each (columns).

    Colours are shares of a row, numbers are counts; of more than 30 classes there are no numbers.

    Parameters
    ----------
    labels : array_like (n,)
        What each sequence is: numbers or strings.
    predicted : array_like (n,)
        What it was taken for.
    path, title, ax
        As for `loss_curves`.
    classes : sequence, optional
        All classes in their order; without them, those that occur, sorted.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, OSError
        As for `loss_curves`.
    ValueError
        If labels and predictions are not equally many, or none, or one is none of the classes; or
        the end of the name is no format.

    Examples
    --------
    >>> from crnn import plots
    >>> labels, predicted = ["a", "b", "b"], ["a", "b", "a"]
    >>> axes = plots.confusion_matrix(labels, predicted, "confusions.png")     # doctest: +SKIP
    """
    classes, table = confusions(labels, predicted, classes)
    _check_some(labels, "labels")
    side = 1.6 + 0.42 * min(max(len(classes), 6), MOST_COUNTS)
    axes = _axes(ax, path, size=(side + 0.6, side))
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, label="share of the class")
    if len(classes) <= MOST_COUNTS:
        for row, column in zip(*np.nonzero(table), strict=True):
            axes.text(column, row, f"{table[row, column]}", ha="center", va="center", fontsize=8,
                      color="white" if shares[row, column] > 0.6 else "black")
        names = [shortened(printable(str(each)), 20) for each in classes]
        are_long = max(map(len, names)) > 3
        axes.set_xticks(range(len(names)), names, rotation=90 if are_long else 0, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="label", title=title)
    return _finished(axes, path)


def fan(forecast, before=None, truth=None, path=None, title="", *, ax=None):
    """Draw the forecast of one series with its intervals, the wider the paler.

    Parameters
    ----------
    forecast : Forecast
        What `crnn.Forecaster.predict` returned, of one series.
    before : tuple of array_like, optional
        Times and values that were known, (T,) each.
    truth : array_like (horizon,), optional
        What came at the times of the forecast.
    path, title, ax
        As for `loss_curves`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, OSError
        As for `loss_curves`.
    ValueError
        If the end of the name is no format, the forecast is of several series, or a truth does not
        have its length.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> from crnn import plots
    >>> forecaster = crnn.Forecaster(hidden_size=8, epochs=5).fit(np.sin(np.arange(60) / 3))
    >>> axes = plots.fan(forecaster.predict(12), path="fan.png")               # doctest: +SKIP
    """
    if np.ndim(forecast.mean) != 1:
        raise ValueError(
            f"the forecast is of {len(forecast.names)} series; one, such as"
            f" forecast[{forecast.names[0]!r}], is drawn")
    if truth is not None and len(truth) != len(forecast.mean):
        raise ValueError(f"truth has {len(truth)} values for {len(forecast.mean)} steps")
    axes, times = _axes(ax, path, size=(8, 4.5)), forecast.times
    if before is not None:
        axes.plot(*before, color="0.25", linewidth=1.2, label="known")
    for number, level in enumerate(sorted(forecast.coverage, reverse=True)):
        axes.fill_between(
            times, forecast.lower[level], forecast.upper[level], color="C0", linewidth=0,
            alpha=min(0.15 + 0.1 * number, 1), label=f"{100 * level:g} %")
    axes.plot(times, forecast.mean, color="C0", linewidth=1.6, label="forecast")
    if truth is not None:
        axes.plot(times, truth, color="0.25", linewidth=1.2, linestyle="--", label="what came")
    axes.set(title=shortened(printable(title), 80))
    return _finished_lines(axes, path)


def _states(net, x, layer):
    """Return the hidden states of a layer over one sequence, (T, D * H)."""
    checks.option("net", net, Network, "a network")
    layer = checks.whole_number(layer, "layer", -net.num_layers, net.num_layers - 1)
    layers = [each for each in net.description().layers if not isinstance(each, Dropout)]
    recurrent = [place for place, each in enumerate(layers) if isinstance(each, Recurrent)]
    part = Sequential(
        net.input_size, layers[: recurrent[layer] + 1], learn_state=net.learn_state,
        dtype=net.dtype, seed=0, backend=net.backend)
    part.vector = net.vector[: part.num_parameters]
    states, _ = part(x)
    if states.ndim != 2 or not states.size:
        raise ValueError(f"x gives states of shape {states.shape}; one sequence is wanted")
    return states


def _places(text, width):
    """Return the row and the column of each character, in lines of at most that width."""
    places, row, column = [], 0, 0
    for character in text:
        if column == width:
            row, column = row + 1, 0
        places.append((row, column))
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
    return places


def _colours(values):
    """Return how values are coloured: white is 0, as far from either end."""
    limit = max(1.0, float(np.abs(values).max()))
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}


def _check_some(mapping, what):
    if not len(mapping):
        raise ValueError(f"{what} is empty: there is nothing to draw")


def _check_epochs(history):
    if not len(history):
        raise ValueError("there is no finished epoch to draw")


def _axes(ax, path, size=(7, 4.5)):
    """Return the axes to draw into: those given, or new ones."""
    if ax is not None:
        return ax
    figure_class = _figure_class()
    if path is not None:  # nobody but the file sees it
        return figure_class(figsize=size, layout="constrained").subplots()
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def _finished_lines(axes, path, dpi=150):
    axes.grid(alpha=0.3)
    axes.legend()
    return _finished(axes, path, dpi)


def _finished(axes, path, dpi=150):
    """Return the axes, and write their figure if there is a path."""
    if path is not None:
        buffer = io.BytesIO()
        axes.figure.savefig(buffer, format=picture_format(path), dpi=dpi)
        disk.write_bytes(path, buffer.getvalue())
    return axes


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
