"""Training: truncated backpropagation through time, validation, schedules, checkpoints."""

import math
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.base.backends import kernels
from crnn.engine.objective import LOSSES
from crnn.files import disk
from crnn.network.network import Network
from crnn.training import checkpoints
from crnn.training.batches import checked_batches, chunks, count_targets
from crnn.training.checkpoints import Progress
from crnn.training.interrupts import DeferredInterrupt
from crnn.training.optimizer import Optimizer
from crnn.training.schedules import constant


class Event(NamedTuple):
    """What a callback is told after each update and after each epoch.

    Attributes
    ----------
    kind : {"update", "epoch"}
    net : RNN, GRU or LSTM
    epoch, epochs : int
        The epoch under way or just over, from 1; how many there are to be.
    update, updates : int
        Updates so far; how many all epochs have together.
    loss : float
        Of this update, or the mean of the epoch.
    targets : int
        That the loss is the mean over.
    validation_loss : float or None
        After an epoch, if there are validation data.
    is_best : bool
        After an epoch: whether its validation loss (or loss, without validation data) is below
        that of all epochs before.
    lr : float
        Learning rate of the last update.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> told = []
    >>> data = np.ones((7, 4, 3), np.float32), np.zeros((7, 4), int)
    >>> history = crnn.fit(
    ...     crnn.RNN(3, 5, 2, seed=0), data, crnn.Adam(), epochs=1, callbacks=[told.append])
    >>> [(event.kind, event.update) for event in told]
    [('update', 1), ('epoch', 1)]
    """

    kind: str
    net: object
    epoch: int
    epochs: int
    update: int
    updates: int
    loss: float
    targets: int
    validation_loss: float | None
    is_best: bool
    lr: float


def fit(
    net, data, optimizer, *, epochs, loss="softmax", truncation=None, clip_norm=None,
    clip_value=None, validation=None, patience=None, schedule=None, callbacks=(), checkpoint=None,
    resume=False, identity="", seed=None,
):
    """Train a network.

    Each update takes a chunk of ``truncation`` time steps: forward from the state that the chunk
    before left, backward to the chunk's start (truncated backpropagation through time; Williams &
    Peng 1990). Each batch starts from a zero state. Batches come in a new random order each epoch.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    data : tuple or sequence of tuples
        One batch ``(x, targets)`` or ``(x, targets, lengths)``, or a sequence of such batches
        (a list, or anything with a length and items). Shapes as for `RNN.loss`.
    optimizer : Optimizer
    epochs : int
    loss : {"softmax", "sigmoid", "mse"}
    truncation : int, optional
        Time steps of a chunk. None: whole sequences. Many-to-one targets need whole sequences.
    clip_norm, clip_value : float, optional
        Clip each gradient, see `Gradients`.
    validation : as data, optional
        Its loss is computed after each epoch.
    patience : int, optional
        Stop when so many epochs in a row have not lowered the validation loss; the parameters are
        then those of the best epoch.
    schedule : callable, optional
        Maps the fraction of all updates that is done, from 0 to below 1, to a factor above 0 on
        ``optimizer.lr``; see `crnn.constant`, `crnn.exponential`, `crnn.cosine`.
    callbacks : sequence of callables
        Each is called with an `Event` after each update and each epoch; when one returns True,
        training stops there.
    checkpoint : str or os.PathLike, optional
        File that is written after each epoch and when training is stopped by a callback or by
        Ctrl-C (the update under way is finished first, then KeyboardInterrupt is raised, with a
        message; a second Ctrl-C raises one without, at once).
    resume : bool
        Go on from the checkpoint: net and optimizer, which must be of the same kind, take its
        content. The result has the same bits as if training had not stopped.
    identity : str
        What the data are, such as a hash of their file. It is kept in the checkpoint, and going on
        with data of another identity is refused.
    seed : int, optional
        For the order of batches.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError, IndexError
        If an argument or the data are not as above.
    FloatingPointError
        If the loss, its gradient or a parameter stops being finite. The parameters are those before
        that update, the checkpoint is the last one written.
    FormatError, OSError
        If the checkpoint cannot be read or written.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = np.arange(40).reshape(20, 2) % 3          # T = 20 steps, B = 2 sequences of tokens
    >>> net = crnn.RNN(3, 8, 3, seed=0)
    >>> history = crnn.fit(net, (x, (x + 1) % 3), crnn.Adam(0.05), epochs=30, truncation=5)
    >>> history["loss"][-1] < 0.1
    True

    References
    ----------
    Williams, R. J. & Peng, J. (1990). An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories. Neural Computation 2.
    """
    checks.option("net", net, Network, "a network")
    checks.option("optimizer", optimizer, Optimizer, "an optimiser such as crnn.Adam(0.001)")
    config = optimizer.config()
    settings = {
        "optimizer": config.pop("name"),
        **config,
        "loss": checks.choice(loss, "loss", LOSSES),
        "truncation": _optional(truncation, "truncation", checks.whole_number),
        "clip_norm": _optional(clip_norm, "clip_norm", checks.positive_number),
        "clip_value": _optional(clip_value, "clip_value", checks.positive_number),
        "patience": _optional(patience, "patience", checks.whole_number),
        "identity": checks.option("identity", identity, str, "a string"),
        "seed": _optional(seed, "seed", lambda value, name: checks.whole_number(value, name, 0)),
    }
    if patience is not None and validation is None:
        raise ValueError("patience watches the validation loss; give validation data too")
    if resume and checkpoint is None:
        raise ValueError("resume goes on from a checkpoint; give its path as checkpoint")
    if checkpoint is not None:
        disk.check_place(checkpoint)
    if callable(callbacks):
        raise TypeError("callbacks is a function; a sequence of functions is wanted")
    data = checked_batches(net, data, loss, truncation)
    training = _Training(
        net,
        data,
        optimizer,
        settings | {"updates_per_epoch": data.chunk_count},
        epochs=checks.whole_number(epochs, "epochs"),
        validation=None if validation is None else checked_batches(
            net, validation, loss, truncation, "validation"
        ),
        schedule=constant() if schedule is None else checks.function(schedule, "schedule"),
        callbacks=[checks.function(each, "a callback") for each in callbacks],
        checkpoint=checkpoint,
    )
    if resume:
        training.progress = checkpoints.restore(checkpoint, net, optimizer, training.settings)
    lr = optimizer.lr
    try:
        with DeferredInterrupt() as interrupted:
            training.run(interrupted)
    finally:
        optimizer.lr = lr
        net._free_memory()
    return training.progress.history


def evaluate(net, data, *, loss="softmax", truncation=None):
    """Return the mean loss over all valid targets, the state carried from chunk to chunk.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    data, loss, truncation
        As for `fit`.

    Returns
    -------
    float

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
    """
    checks.option("net", net, Network, "a network")
    _optional(truncation, "truncation", checks.whole_number)
    return mean_loss(net, checked_batches(net, data, loss, truncation), loss, truncation)


def mean_loss(net, batches, loss, truncation):
    """Return the mean loss over checked batches; see `evaluate`."""
    total, count = 0.0, 0
    for batch in batches:
        state = None
        for chunk in chunks(batch, loss, truncation, 0):
            value, state = net.loss(
                chunk.x, chunk.targets, state, loss=loss, lengths=chunk.lengths
            )
            targets = count_targets(chunk, loss)
            total, count = total + value * targets, count + targets
    return total / max(count, 1)


class _Training:
    """One call of `fit`."""

    def __init__(
        self, net, batches, optimizer, settings, *, epochs, validation, schedule, callbacks,
        checkpoint,
    ):
        self.net, self.batches, self.optimizer, self.settings = net, batches, optimizer, settings
        self.epochs, self.validation, self.schedule = epochs, validation, schedule
        self.callbacks, self.checkpoint = callbacks, checkpoint
        self.loss, self.truncation = settings["loss"], settings["truncation"]
        self.lr = optimizer.lr
        self.updates = epochs * settings["updates_per_epoch"]
        self.progress = Progress(seed=np.random.SeedSequence(settings["seed"]).entropy)
        self.before = np.empty_like(net.vector)  # the parameters, while an update may go wrong
        self.is_finite = kernels(net.backend, net.dtype).is_finite

    def run(self, interrupted):
        progress = self.progress
        while progress.epoch < self.epochs and not progress.stopped_early:
            order = np.random.default_rng([progress.seed, progress.epoch])
            for number in order.permutation(len(self.batches))[progress.batch :]:
                for chunk in chunks(
                    self.batches[number], self.loss, self.truncation, progress.time
                ):
                    if self.update(chunk) or interrupted:
                        return self.stop(interrupted)
                progress.batch, progress.time = progress.batch + 1, 0
                progress.keep_state(None)
            if self.finish_epoch() or interrupted:
                return self.stop(interrupted)
        return None

    def update(self, chunk):
        """Take one step of the optimiser; return whether a callback asks to stop."""
        progress = self.progress
        value, gradients, state = self.net._loss_and_gradients(
            chunk.x, chunk.targets, progress.network_state(), self.loss, "mean", chunk.lengths,
            wants_x=False,
        )
        clip_norm, clip_value = self.settings["clip_norm"], self.settings["clip_value"]
        norm = gradients.norm() if clip_norm is None else gradients.clip_norm(clip_norm)
        self.check_finite(value, norm)
        if clip_value is not None:
            gradients.clip_value(clip_value)
        self.optimizer.lr = self.lr_of(progress.update)
        self.step(gradients)
        targets = count_targets(chunk, self.loss)
        progress.update += 1
        progress.time += len(chunk.x)
        progress.keep_state(state)
        progress.loss_sum += value * targets
        progress.targets += targets
        return self.tell("update", progress.epoch + 1, value, targets)

    def step(self, gradients):
        self.before[...] = self.net.vector
        self.optimizer.step(self.net, gradients)
        if not self.is_finite(self.net.vector):
            self.net.vector = self.before
            raise FloatingPointError(
                f"update {self.progress.update + 1} with lr {self.optimizer.lr} would make"
                " parameters infinite or NaN; they are left as before it. Try a lower learning rate"
            )

    def lr_of(self, update):
        """Return the learning rate of an update; the first is number 0."""
        factor = self.schedule(update / max(self.updates, 1))
        return self.lr * checks.positive_number(factor, "what schedule returned")

    def check_finite(self, loss, norm):
        if math.isfinite(loss) and math.isfinite(norm):
            return
        raise FloatingPointError(
            f"the loss is {loss} and its gradient's norm {norm} in update"
            f" {self.progress.update + 1} (epoch {self.progress.epoch + 1}); the parameters are"
            " those before it. Try a lower learning rate, or clip_norm; if this is the first"
            " update, look for NaN in the data"
        )

    def finish_epoch(self):
        """Validate and write the row of history; return whether a callback asks to stop."""
        progress = self.progress
        loss = progress.loss_sum / max(progress.targets, 1)
        validation_loss = None if self.validation is None else self.validate()
        watched = loss if validation_loss is None else validation_loss
        is_best = progress.best_loss is None or watched < progress.best_loss
        if is_best:
            progress.best_loss, progress.epochs_since_best = watched, 0
        else:
            progress.epochs_since_best += 1
        progress.history.rows.append({
            "epoch": progress.epoch + 1,
            "update": progress.update,
            "lr": self.lr_of(max(progress.update - 1, 0)),
            "loss": loss,
            "validation_loss": validation_loss,
        })
        targets = progress.targets
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.loss_sum, progress.targets = 0.0, 0
        self.watch_patience(is_best)
        stop = self.tell("epoch", progress.epoch, loss, targets, validation_loss, is_best)
        self.save()
        return stop

    def validate(self):
        loss = mean_loss(self.net, self.validation, self.loss, self.truncation)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the validation loss is {loss} after epoch {self.progress.epoch + 1}, though the"
                " training loss is finite; look for NaN in the validation data"
            )
        return loss

    def watch_patience(self, is_best):
        progress, patience = self.progress, self.settings["patience"]
        if patience is None:
            return
        if is_best:
            progress.best_vector = self.net.vector.copy()
        elif progress.epochs_since_best >= patience:
            progress.stopped_early = True
            self.net.vector = progress.best_vector

    def tell(self, kind, epoch, loss, targets, validation_loss=None, is_best=False):
        event = Event(
            kind, self.net, epoch, self.epochs, self.progress.update,
            self.updates, loss, targets, validation_loss, is_best,
            self.lr_of(max(self.progress.update - 1, 0)),
        )
        answers = [callback(event) for callback in self.callbacks]
        return any(isinstance(each, (bool, np.bool_)) and each for each in answers)

    def stop(self, interrupted):
        self.save()
        if interrupted:
            raise KeyboardInterrupt(f"training stopped after update {self.progress.update}")

    def save(self):
        if self.checkpoint is not None:
            checkpoints.save(
                self.checkpoint, self.net, self.optimizer, self.settings, self.progress
            )


def _optional(value, name, check):
    return None if value is None else check(value, name)
