"""Metrics: what `fit` and `evaluate` tell beside the loss."""

from typing import NamedTuple

import numpy as np

from crnn.base import checks

CLASSES, NUMBERS = ("softmax", "sigmoid"), ("mse", "mae", "huber", "gaussian")
TAKEN = {"epoch", "update", "lr", "loss", "validation_loss"}  # columns of a history


class Metric(NamedTuple):
    """A metric: its name, and a function ``(y, targets)`` that returns a mean over targets."""

    name: str
    function: object


def accuracy(y, targets):
    """Return the share of targets that y has right: its largest output, or each one's sign."""
    if targets.ndim < y.ndim:
        return (y.argmax(-1) == targets).mean()
    return ((y > 0) == (targets > 0.5))[~np.isnan(targets)].mean()


def mae(y, targets):
    """Return the mean absolute error."""
    return np.nanmean(np.abs(_means(y, targets) - targets))


def mse(y, targets):
    """Return the mean squared error."""
    return np.nanmean(np.square(_means(y, targets) - targets))


def _means(y, targets):
    """Return outputs for targets: of the gaussian loss, the means without log-variances."""
    return y[..., : targets.shape[-1]]


NAMED = {"accuracy": (accuracy, CLASSES), "mae": (mae, NUMBERS), "mse": (mse, NUMBERS)}


def checked_metrics(metrics, loss):
    """Return a list of `Metric`, or raise TypeError or ValueError.

    Parameters
    ----------
    metrics : sequence of str or callable
    loss : str or None
        Its name; None of a function.
    """
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"metrics is {metrics!r}; a sequence is wanted, such as ('accuracy',)")
    found = [_metric(each, loss) for each in metrics]
    for number, (name, _) in enumerate(found):
        if name in TAKEN or name in [each.name for each in found[:number]]:
            raise ValueError(f"metrics has another column {name!r}; give the function a new name")
    return found


def _metric(metric, loss):
    if callable(metric):
        return Metric(getattr(metric, "__name__", type(metric).__name__), metric)
    name = checks.choice(metric, "a metric", NAMED)
    function, losses = NAMED[name]
    if loss is not None and loss not in losses:
        raise ValueError(
            f"the metric {name!r} is for the losses {', '.join(losses)}, and loss is {loss!r}; give"
            " a function of (y, targets)"
        )
    return Metric(name, function)


def values(metrics, y, targets):
    """Return the value of each metric, by name.

    Parameters
    ----------
    metrics : list of Metric
    y : ndarray (n, O)
    targets : ndarray (n,) or (n, O)
        Valid ones alone; NaN is no target beside others of the same step.
    """
    return {
        name: checks.finite_number(function(y, targets), f"the value of the metric {name!r}")
        for name, function in metrics
    }


def confusions(labels, predicted, classes=None):
    """Return the classes, and how often each of them (rows) was taken for each (columns).

    Parameters
    ----------
    labels, predicted : array_like (n,)
        Numbers or strings.
    classes : sequence, optional
        All classes in their order; without them, those that occur, sorted.

    Returns
    -------
    classes : list
    table : ndarray of int (classes, classes)

    Raises
    ------
    ValueError
        The two are not equally long, a class is there twice, or one that occurs is none of them.

    Examples
    --------
    >>> confusions(["a", "b", "b"], ["a", "b", "a"])
    (['a', 'b'], array([[1, 0],
           [1, 1]]))
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape}, and predicted {predicted.shape}; both"
                         " are (n,)")
    if classes is None:
        classes = np.unique(np.concatenate([labels, predicted])).tolist()
    places = {each: place for place, each in enumerate(classes)}
    if len(places) < len(classes):
        raise ValueError("classes has one of them twice")
    pairs = list(zip(labels.tolist(), predicted.tolist(), strict=True))
    unknown = [each for pair in pairs for each in pair if each not in places]
    if unknown:
        raise ValueError(f"the label {unknown[0]!r} is none of the classes")
    table = np.zeros((len(places), len(places)), int)
    for label, prediction in pairs:
        table[places[label], places[prediction]] += 1
    return list(classes), table
