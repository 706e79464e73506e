"""Checkpoints: everything that training needs to go on as if it had never stopped."""

import contextlib

import numpy as np

from crnn.base.sequences import are_joined, state_widths
from crnn.files import container, kinds
from crnn.files.disk import FormatError
from crnn.files.printable import printable
from crnn.network.saving import completed
from crnn.training import audit
from crnn.training.history import History
from crnn.training.progress import Progress

PREFIX = "optimizer."
STATES = "state", "state_c"
NOT_WHOLE = "not a whole checkpoint"
OTHER_DATA = "data, batch_size or truncation are not those that it was made with"


def save(path, net, optimizer, settings, progress):
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    net : RNN, GRU or LSTM
    optimizer : Optimizer
    settings : dict
        What training was asked to do. They must be the same when it goes on.
    progress : Progress
    """
    progress.dropout = net.dropout_state
    tensors = dict(net.parameters)
    tensors |= {PREFIX + name: slot for name, slot in optimizer.state().items()}
    tensors |= _state_arrays(progress.state)
    if progress.best_vector is not None:
        tensors["best_vector"] = progress.best_vector
    training = {"settings": settings, "steps": optimizer.steps, "progress": progress.numbers()}
    kinds.write(path, tensors, {"config": net.config(), "training": training})


def restore(path, net, optimizer, settings, data):
    """Put a checkpoint back into a network and an optimizer; return its Progress and settings.

    The settings are those given, but for the number of ranks, which is the largest so far.

    Parameters
    ----------
    path, net, optimizer, settings
        As for `save`.
    data : sequence of Batch
        What is trained on.

    Raises
    ------
    FormatError
        If the file is not a whole checkpoint, or has a number that no training leads to.
    ValueError
        If it is of another network or other settings.
    OSError
        If it cannot be read.
    """
    tensors, training, config = _read(path)
    several = settings["ranks"] > 1
    # the training first: other data often make it another network, too
    settings = _same_settings(path, training["settings"], settings)
    _check_equal(path, "network", completed(config), net.config())
    states = _taken(tensors, "state")
    slots = _taken(tensors, PREFIX)
    slots = {name.removeprefix(PREFIX): slot for name, slot in slots.items()}
    vectors = {name: tensors.pop(name) for name in ("best_vector",) if name in tensors} | slots
    shapes = {name: view.shape for name, view in net.parameters.items()}
    container.check_tensors(path, tensors, shapes, net.dtype)
    _check_vectors(path, net, vectors)
    progress = _checked_progress(path, training["progress"], settings)
    if several and progress.targets:
        raise ValueError(
            f"{path} was written within an epoch by a process that trained alone; several can only"
            " share whole epochs: go on alone until this one is over"
        )
    progress.state = _checked_state(path, net, states)
    progress.best_vector = vectors.get("best_vector")
    before = net.dropout_state
    try:
        with _refusing(path, NOT_WHOLE):
            audit.check_vectors(tensors.values(), progress.best_vector, slots)
        with _refusing(path, OTHER_DATA):
            audit.check_position(progress, data, settings, training["steps"])
            audit.check_state(progress, data, net.engine.layers)
        with _refusing(path, NOT_WHOLE):
            net.dropout_state = progress.dropout
            optimizer.restore(training["steps"], slots)
    except FormatError:
        net.dropout_state = before
        raise
    net.vector = np.concatenate([tensors[name].ravel() for name in net.parameters])
    return progress, settings


@contextlib.contextmanager
def _refusing(path, reason):
    """A context in which an error means that the file is refused, and for what reason."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: {reason}: {error}") from None


def _read(path):
    """Return the tensors, the account of the training and the configuration of its network."""
    _, tensors, header, _ = kinds.read(path, kinds.CHECKPOINT)
    config, training = header["config"], header["training"]
    if not (isinstance(config, dict) and isinstance(training, dict)):
        raise FormatError(f"{path}: not a checkpoint")
    container.check_names(path, training, ("settings", "steps", "progress"))
    return tensors, training, config


def _same_settings(path, found, settings):
    """Return the settings of a training that goes on, which are those found in its file.

    Where it was or is shared by several ranks, what they are to have in common is the number of
    targets: how many chunks these are in depends on the number of ranks.
    """
    if isinstance(found, dict) and audit.is_count(found.get("ranks")):
        ranks = max(found["ranks"], settings["ranks"])
        if ranks > 1:
            settings = settings | {"ranks": ranks}
            found = found | {name: settings[name] for name in ("ranks", "updates_per_epoch")}
    _check_equal(path, "kind of training", found, settings)
    return settings


def _taken(tensors, beginning):
    """Remove and return the tensors whose names begin like this."""
    names = [name for name in tensors if name.startswith(beginning)]
    return {name: tensors.pop(name) for name in names}


def _check_vectors(path, net, arrays):
    for name, array in arrays.items():
        if array.shape != net.vector.shape or array.dtype != net.dtype:
            raise _does_not_fit(path, net, name, array)


def _does_not_fit(path, net, name, array):
    return FormatError(
        f"{path}: {name} is {array.dtype} {array.shape}, which does not fit {net!r}"
    )


def _state_arrays(state):
    """Return the arrays of a network's state, or of None, by their names in files."""
    if state is None:
        return {}
    arrays = {}
    parts = state if isinstance(state, tuple) else (state,)
    for name, part in zip(STATES, parts, strict=False):
        if isinstance(part, list):  # the layers have different widths
            arrays |= {f"{name}.{k}": each for k, each in enumerate(part)}
        else:
            arrays[name] = part
    return arrays


def _checked_state(path, net, arrays):
    """Return the state whose arrays these are by their names in files; None if there are none."""
    if not arrays:
        return None
    widths = state_widths(net.engine.layers)
    if are_joined(widths):
        wanted = {name: (len(own), own[0]) for name, own in zip(STATES, widths, strict=False)}
    else:
        wanted = {f"{name}.{k}": (H,) for name, own in zip(STATES, widths, strict=False)
                  for k, H in enumerate(own)}
    if set(arrays) != set(wanted):
        raise FormatError(f"{path}: {' and '.join(sorted(arrays))} do not fit {net!r}")
    first, shape = next(iter(wanted.items()))
    batch = arrays[first].shape[len(shape) - 1 : -1]  # (B,), or () of one sequence
    for name, (*rows, H) in wanted.items():
        fits = len(batch) < 2 and arrays[name].shape == (*rows, *batch, H)
        if not fits or arrays[name].dtype != net.dtype:
            raise _does_not_fit(path, net, name, arrays[name])
    parts = [
        arrays[name] if name in arrays else [arrays[f"{name}.{k}"] for k in range(len(own))]
        for name, own in zip(STATES, widths, strict=False)
    ]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _checked_progress(path, numbers, settings):
    if not isinstance(numbers, dict):
        raise FormatError(f"{path}: the checkpoint's progress is not an object")
    container.check_names(path, numbers, Progress(seed=0).numbers())
    with _refusing(path, NOT_WHOLE):
        audit.check_numbers(numbers, settings)
    return Progress(**(numbers | {"history": History(numbers["history"])}))


def _check_equal(path, what, found, wanted):
    if found == wanted:
        return
    names = sorted(found.keys() | wanted.keys()) if isinstance(found, dict) else ()
    names = [name for name in names if found.get(name) != wanted.get(name)]
    if "cell" in names:  # all else follows from it
        names = ["cell"]
    hint = f" ({OTHER_DATA})" * ("targets_per_epoch" in names or "updates_per_epoch" in names)
    differences = [
        f"{printable(name)} was {found.get(name)!r} and is {wanted.get(name)!r}" for name in names
    ]
    raise ValueError(f"{path} was made with another {what}{hint}: {', '.join(differences)}")
