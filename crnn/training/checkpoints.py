"""Checkpoints: everything that training needs to go on as if it had never stopped."""

import dataclasses
import json

import numpy as np

from crnn.files import container
from crnn.files.disk import FormatError
from crnn.network.configuration import DEFAULTS
from crnn.training.history import History

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
    dropout: dict = dataclasses.field(default_factory=dict)  # where its generator is
    state: np.ndarray | None = None  # of the network, between two chunks of a batch
    state_c: np.ndarray | None = None  # and of an LSTM the second array of its state
    best_vector: np.ndarray | None = None

    ARRAYS = ("state", "state_c", "best_vector")
    COUNTS = ("seed", "epoch", "batch", "time", "update", "targets", "epochs_since_best")

    def network_state(self):
        """Return the state to go on from, as a network takes it."""
        return self.state if self.state_c is None else (self.state, self.state_c)

    def keep_state(self, state):
        """Take the state that a network left, or None."""
        self.state, self.state_c = state if isinstance(state, tuple) else (state, None)

    def numbers(self):
        """Return all that is not an array, ready for JSON."""
        fields = [each.name for each in dataclasses.fields(self) if each.name not in self.ARRAYS]
        return {name: getattr(self, name) for name in fields} | {"history": self.history.rows}


def save(path, net, optimizer, settings, progress):
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    net : RNN, GRU or LSTM
    optimizer : Optimizer
    settings : dict
        What training was asked to do; it must be the same when it goes on.
    progress : Progress
    """
    progress.dropout = net.dropout_state
    tensors = dict(net.parameters)
    tensors |= {PREFIX + name: slot for name, slot in optimizer.state().items()}
    tensors |= {
        name: getattr(progress, name)
        for name in Progress.ARRAYS
        if getattr(progress, name) is not None
    }
    training = {"settings": settings, "steps": optimizer.steps, "progress": progress.numbers()}
    account = json.dumps(training, allow_nan=False)
    container.write(path, tensors, {"config": json.dumps(net.config()), "training": account})


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
    tensors, metadata = container.read(path)
    if "training" not in metadata or "vocabulary" in metadata:
        raise FormatError(f"{path}: a model, not a checkpoint of training")
    container.check_names(path, metadata, ("config", "training"))
    config = container.read_json(path, metadata["config"], "configuration")
    training = container.read_json(path, metadata["training"], "account of training")
    if not (isinstance(config, dict) and isinstance(training, dict)):
        raise FormatError(f"{path}: not a checkpoint")
    if isinstance(training.get("progress"), dict):  # older ones know of no dropout
        training["progress"].setdefault("dropout", net.dropout_state)
    container.check_names(path, training, ("settings", "steps", "progress"))
    _check_equal(path, "network", DEFAULTS | config, net.config())
    _check_equal(path, "kind of training", training["settings"], settings)
    arrays = {name: tensors.pop(name) for name in Progress.ARRAYS if name in tensors}
    slots = {
        name.removeprefix(PREFIX): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(PREFIX)
    }
    shapes = {name: view.shape for name, view in net.parameters.items()}
    container.check_tensors(path, tensors, shapes, net.dtype)
    _check_arrays(path, net, slots | arrays)
    progress = _checked_progress(path, training["progress"], arrays)
    before = net.dropout_state
    try:
        net.dropout_state = progress.dropout
        optimizer.restore(training["steps"], slots)
    except (TypeError, ValueError) as error:
        net.dropout_state = before
        raise FormatError(f"{path}: not a whole checkpoint: {error}") from None
    net.vector = np.concatenate([tensors[name].ravel() for name in net.parameters])
    return progress


def _check_arrays(path, net, arrays):
    layers = net.num_layers * (1 + net.bidirectional)
    found = sorted(name for name in arrays if name.startswith("state"))
    if found and found != ["state", "state_c"][: net._kind.states]:
        raise FormatError(f"{path}: {' and '.join(found)} do not fit {net!r}")
    for name, array in arrays.items():
        if name.startswith("state"):
            fits = array.ndim in (2, 3) and array.shape == arrays["state"].shape
            fits = fits and (len(array), array.shape[-1]) == (layers, net.hidden_size)
        else:
            fits = array.shape == net.vector.shape
        if not fits or array.dtype != net.dtype:
            raise FormatError(
                f"{path}: {name} is {array.dtype} {array.shape}, which does not fit {net!r}"
            )


def _checked_progress(path, numbers, arrays):
    if not isinstance(numbers, dict):
        raise FormatError(f"{path}: the checkpoint's progress is not an object")
    container.check_names(path, numbers, Progress(seed=0).numbers())
    wrong = [
        name for name in Progress.COUNTS
        if type(numbers[name]) is not int or numbers[name] < 0
    ]
    if type(numbers["loss_sum"]) is not float:
        wrong.append("loss_sum")
    if not (numbers["best_loss"] is None or type(numbers["best_loss"]) is float):
        wrong.append("best_loss")
    if type(numbers["stopped_early"]) is not bool:
        wrong.append("stopped_early")
    rows = numbers["history"]
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        wrong.append("history")
    if wrong:
        raise FormatError(f"{path}: the checkpoint's {', '.join(wrong)} cannot be")
    return Progress(**(numbers | {"history": History(rows)}), **arrays)


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
