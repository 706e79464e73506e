"""`crnn.evaluate`: the means of the loss and of metrics over data."""

from crnn.base import checks
from crnn.network.network import Network
from crnn.training.advice import with_advice
from crnn.training.batches import checked_batches, has_every_step, valid_targets
from crnn.training.metrics import checked_metrics, values
from crnn.training.objectives import objective
from crnn.training.ranks import Ranks


@with_advice("evaluate(net, (x, targets))")
def evaluate(
    net, data, *, loss="softmax", truncation=None, class_weight=None, missing="error", metrics=(),
    warm_up=0,
):
    """Return the mean loss over all valid targets, the state carried from chunk to chunk.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    data, loss, truncation, class_weight, missing, metrics
        As for `fit`; "balanced" is of these data.
    warm_up : int
        Steps at the start of each sequence whose outputs do not count: they only lead from the
        zero state to one that knows what came before. For networks of one direction and targets
        for every step.

    Returns
    -------
    float, or dict of str to float
        With metrics: "loss" and each of them, by name.

    Raises
    ------
    TypeError, ValueError, IndexError
        As `fit` of these arguments.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, seed=0)
    >>> x, targets = np.ones((7, 4, 3), np.float32), np.zeros((7, 4), int)
    >>> crnn.evaluate(net, (x, targets)) == net.loss(x, targets)[0]
    True
    >>> crnn.evaluate(net, (x, targets), metrics=["accuracy"])["accuracy"]
    1.0
    """
    checks.option("net", net, Network, "a network")
    if truncation is not None:
        truncation = checks.whole_number(truncation, "truncation")
    warm_up = checks.whole_number(warm_up, "warm_up", 0)
    minimized = objective(net, loss, class_weight, missing)
    metrics = checked_metrics(metrics, minimized.loss_name)
    batches = checked_batches(data, minimized, truncation, "data", warm_up)
    found = means(batches, metrics, Ranks())
    return found if metrics else found["loss"]


def means(batches, metrics, ranks):
    """Return the means of the loss and of metrics over all ranks' checked batches, by name."""
    sums, count = dict.fromkeys(["loss", *(name for name, _ in metrics)], 0.0), 0
    for number in range(len(batches)):
        state = None
        for chunk in batches.chunks(number):
            if not chunk.count:
                state = batches.objective.pass_by(chunk, state)
                continue
            loss, after = batches.objective.value(chunk, state)
            found = {"loss": loss} | metric_values(chunk, state, batches.objective, metrics)
            for name, value in found.items():
                sums[name] += value * chunk.count
            state, count = after, count + chunk.count
    *totals, count = ranks.total([*sums.values(), count]).tolist()
    return {name: each / count for name, each in zip(sums, totals, strict=True)}


def metric_values(chunk, state, minimized, metrics):
    """Return the values of metrics on a chunk's valid targets, by name.

    Parameters
    ----------
    chunk : Chunk
    state : state or None
        Before the chunk.
    minimized : Objective
    metrics : list of Metric
    """
    if not metrics:
        return {}
    is_last = not has_every_step(chunk, minimized)
    y, _ = minimized.net.engine.infer(chunk.x, state, chunk.lengths, is_last)
    valid = valid_targets(chunk, minimized)
    return values(metrics, y[valid], chunk.targets[valid])
