"""Checkpoints: everything that training needs to go on as if it had never stopped."""

import dataclasses
import json

import numpy as np

from crnn import files
from crnn.history import History

PREFIX = "optimizer."


@dataclasses.dataclass
class Progress:
    """How far training is, at the end of some update."""

    seed: int
    epoch: int = 0  # epochs that are over
    batch: int = 0  # batches of this epoch that are over
    time: int = 0  # time steps of this batch that are over
    update: int = 0
    loss_sum: float = 0.0  # of this epoch, with the number of targets that it is the sum over
    targets: int = 0
    best_loss: float | None = None
    epochs_since_best: int = 0
    stopped_early: bool = False
    history: History = dataclasses.field(default_factory=History)
    state: np.ndarray | None = None  # of the network, between two chunks of a batch
    best_vector: np.ndarray | None = None

    ARRAYS = ("state", "best_vector")

    def numbers(self):
        """Return all that is not an array, ready for JSON."""
        fields = [each.name for each in dataclasses.fields(self) if each.name not in self.ARRAYS]
        return {name: getattr(self, name) for name in fields} | {"history": self.history.rows}


def save(path, net, optimizer, settings, progress):
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    net : RNN
    optimizer : Optimizer
    settings : dict
        What training was asked to do; it must be the same when it goes on.
    progress : Progress
    """
    tensors = dict(net.parameters)
    tensors |= {PREFIX + name: slot for name, slot in optimizer.state().items()}
    tensors |= {
        name: getattr(progress, name)
        for name in Progress.ARRAYS
        if getattr(progress, name) is not None
    }
    training = {"settings": settings, "steps": optimizer.steps, "progress": progress.numbers()}
    account = json.dumps(training, allow_nan=False)
    files.write(path, tensors, {"config": json.dumps(net.config()), "training": account})


def restore(path, net, optimizer, settings):
    """Put a checkpoint back into a network and an optimiser, and return its Progress.

    Raises
    ------
    FormatError
        If the file is not a whole checkpoint.
    ValueError
        If it is of another network or other settings.
    OSError
        If it cannot be read.
    """
    tensors, metadata = files.read(path)
    files.check_names(path, metadata, ("config", "training"))
    config = files.read_json(path, metadata["config"], "configuration")
    _check_equal(path, "network", config, net.config())
    training = files.read_json(path, metadata["training"], "account of training")
    try:
        _check_equal(path, "kind of training", training["settings"], settings)
        numbers = dict(training["progress"])
        files.check_names(path, numbers, Progress(seed=0).numbers())
        numbers["history"] = History(numbers["history"])
        arrays = {name: tensors.pop(name) for name in Progress.ARRAYS if name in tensors}
        progress = Progress(**numbers, **arrays)
        slots = {
            name.removeprefix(PREFIX): tensors.pop(name)
            for name in list(tensors)
            if name.startswith(PREFIX)
        }
        steps = training["steps"]
    except (TypeError, KeyError) as error:
        raise files.FormatError(f"{path}: not a whole checkpoint: {error!r}") from None
    files.check_names(path, tensors, net.parameters)
    vector = np.concatenate([tensors[name].ravel() for name in net.parameters])
    if vector.shape != net.vector.shape:
        raise files.FormatError(f"{path}: the shapes of its parameters are not the network's")
    try:
        optimizer.restore(steps, slots)
    except (TypeError, ValueError) as error:
        raise files.FormatError(f"{path}: not a whole checkpoint: {error}") from None
    net.vector = vector
    return progress


def _check_equal(path, what, found, wanted):
    if found == wanted:
        return
    names = sorted(found.keys() | wanted.keys()) if isinstance(found, dict) else ()
    differences = [
        f"{name} was {found.get(name)!r} and is {wanted.get(name)!r}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]
    raise ValueError(f"{path} was made with another {what}: {', '.join(differences)}")
