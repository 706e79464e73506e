"""Could a training have come to this? Every number of a checkpoint's progress is looked at.

The checksum of a file says that it is whole, not who wrote it. A number that no training leads to
would go on silently, as epochs that are never over or a best epoch that never was.
"""

import math

import numpy as np

from crnn.base.sequences import state_batch_size
from crnn.training.batches import batch_size
from crnn.training.progress import Progress

LARGEST = 2**53  # of a count: the last one that a float holds exactly
NEVER_NEGATIVE = ("softmax", "sigmoid", "mse", "mae", "huber", "quantile")
STATE_OF_GENERATOR = 2**128  # a seed that the system gave is below it


def check_numbers(numbers, account):
    """Raise ValueError if these cannot be the numbers of a `Progress` of that account.

    Parameters
    ----------
    numbers : dict
        Those that are not arrays, by their names.
    account : dict
        What the training was asked to do; of this, all has been checked.
    """
    for name in Progress.COUNTS:
        _check(name, is_count(numbers[name]))
    seed = account["seed"]
    _check("seed", _is_whole(numbers["seed"]) and (
        numbers["seed"] < STATE_OF_GENERATOR if seed is None else numbers["seed"] == seed))
    sums = numbers["sums"]
    _check("sums", isinstance(sums, dict) and (not sums or _are_means(sums, account)))
    _check_history(numbers["history"], account)
    _check("epoch", numbers["epoch"] == len(numbers["history"]))


def check_position(progress, data, account, steps):
    """Raise ValueError if training is never where the progress says, after that many steps.

    Parameters
    ----------
    progress : Progress
    data : sequence of Batch
        With those of each epoch; see `checked_batches`.
    account : dict
    steps : int
        Of the optimizer.
    """
    updates = 0
    for epoch, row in enumerate(progress.history.rows):
        if account["ranks"] > 1:  # nobody has the data of all who have shared it
            possible = row["update"] > updates
            updates = row["update"]
        else:
            updates += data.updates_of(epoch, progress.seed)
            possible = row["update"] == updates
        _check(f"row {epoch + 1} of history", possible)
    batches = data.in_epoch(progress.epoch, progress.seed)
    _check("batch", progress.batch < len(batches))
    time, passed = 0, []
    for place in range(progress.batch + 1):
        time = 0
        for chunk in batches.chunks(place):
            if place == progress.batch and time == progress.time:
                break
            passed.append(chunk.count)
            time += len(chunk.x)
    _check("time", time == progress.time and (not passed or passed[-1] > 0))
    in_epoch = sum(count > 0 for count in passed)
    _check("update", progress.update == updates + in_epoch)
    _check("targets", progress.targets == sum(passed))
    _check("sums", bool(passed) == bool(progress.sums))
    _check("steps", steps == progress.steps_before + progress.update)
    has_best = account["validation"] and progress.epoch > 0
    _check("best_vector", has_best == (progress.best_vector is not None))


def check_state(progress, data, layers):
    """Raise ValueError if there is no state within a batch, or one between, or of another size."""
    _check("state", (progress.state is None) == (not progress.time))
    if progress.time:
        batch = data.in_epoch(progress.epoch, progress.seed)[progress.batch]
        _check("state", state_batch_size(progress.state, layers) == batch_size(batch))


def check_vectors(parameters, best_vector, slots):
    """Raise ValueError if these are not numbers that a training leads to.

    Parameters
    ----------
    parameters : iterable of ndarray
    best_vector : ndarray or None
    slots : dict of str to ndarray
        Of the optimizer, by name.
    """
    _check("parameters", all(np.isfinite(each).all() for each in parameters))
    _check("best_vector", best_vector is None or np.isfinite(best_vector).all())
    for name, slot in slots.items():
        _check(name, (slot >= 0 if name.startswith("square") else ~np.isnan(slot)).all())


def _check_history(rows, account):
    _check("history", isinstance(rows, list))
    names = ("loss", *account["metrics"])
    for epoch, row in enumerate(rows, start=1):
        what = f"row {epoch} of history"
        _check(what, isinstance(row, dict) and row.keys() == {
            "epoch", "update", "lr", *names, *(f"validation_{name}" for name in names)})
        _check(what, _is_whole(row["epoch"]) and row["epoch"] == epoch)
        _check(what, _is_whole(row["update"]))
        _check(what, _is_number(row["lr"]) and row["lr"] > 0)
        _check(what, _are_means({name: row[name] for name in names}, account))
        validation = {name: row[f"validation_{name}"] for name in names}
        _check(what, _are_means(validation, account) if account["validation"]
               else set(validation.values()) == {None})


def _are_means(means, account):
    """Whether these are means, or sums, of the loss and the metrics of a training."""
    return (
        means.keys() == {"loss", *account["metrics"]}
        and all(type(each) is float for each in means.values())
        and math.isfinite(means["loss"])
        and (means["loss"] >= 0 or account["loss"] not in NEVER_NEGATIVE)
    )


def _check(name, is_possible):
    if not is_possible:
        raise ValueError(f"no training leads to its {name}")


def _is_whole(value):
    return type(value) is int and value >= 0


def is_count(value):
    """Whether a value is a whole number that can count something."""
    return _is_whole(value) and value < LARGEST


def _is_number(value):
    return type(value) is float and math.isfinite(value)
