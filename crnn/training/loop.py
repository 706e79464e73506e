"""The loop over epochs and chunks: one call of `crnn.fit`, and what it tells callbacks."""

import itertools
import json
import math
import os
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.training import checkpoints
from crnn.training.evaluation import means, metric_values
from crnn.training.interrupts import Terminated
from crnn.training.progress import Progress

WILD = 1e6  # while gradients, rates, parameters and slots are below it, updates do not overflow


class Event(NamedTuple):
    """What a callback is told after each update and after each epoch.

    Attributes
    ----------
    kind : {"update", "epoch"}
    net : RNN, GRU or LSTM
    epoch, epochs : int
        The epoch under way or just over, from 1; how many there are to be.
    update, updates : int
        Updates so far; how many all epochs have together (where that differs from epoch to epoch,
        as with `crnn.batches` and truncation: if all to come had as many as this one).
    loss : float
        The loss of this update, or the mean of the epoch.
    targets : int
        How many targets the loss is the mean over.
    validation_loss : float or None
        After an epoch, if there are validation data.
    is_best : bool
        After an epoch: whether its validation loss (or loss, without validation data) is below
        that of all epochs before.
    lr : float
        The learning rate of the last update.
    metrics : dict of str to float
        The metrics that `fit` was asked for, by name: of this update, or their means over the
        epoch, and after an epoch with validation data also theirs, as "validation_accuracy".

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
    metrics: dict


class Loop:
    """One call of `fit`."""

    def __init__(self, net, optimizer, batches, validation, settings, ranks):
        self.net, self.optimizer, self.settings, self.ranks = net, optimizer, settings, ranks
        self.data, self.validation, self.objective = batches, validation, batches.objective
        self.account = settings.account(optimizer, batches, validation is not None, ranks.size)
        self.lr, self.of_epoch = optimizer.lr, batches.updates  # updates of the epoch under way
        self.updates = settings.epochs * batches.updates
        self.progress = Progress(
            seed=np.random.SeedSequence(settings.seed).entropy, steps_before=optimizer.steps)
        self.before = np.empty_like(net.vector)  # the parameters before an update, if it goes wrong
        self.is_wild = False  # whether there has been a number with which an update may overflow
        if ranks.are_several:
            self.sums = np.empty(net.vector.size + 2 + len(settings.metrics))

    def check_ranks(self):
        """Refuse ranks that would not go the same way, and have all draw orders by one seed."""
        if not self.ranks.are_several:
            return
        settings, progress, optimizer = self.settings, self.progress, self.optimizer
        slots = optimizer.state().values()
        things = {
            "the networks": self.net.config(), **self.account, "epochs": settings.epochs,
            "patience": settings.patience, "steps of the optimizer": optimizer.steps,
            "the history so far": progress.history.rows,
        }
        things = {name: json.dumps(each).encode() for name, each in things.items()}
        self.ranks.check_same(
            things | {"parameters": self.net.vector, "slots": b"".join(map(bytes, slots))},
            "all take the same network, with the same seed, optimizer and settings")
        bits = range(0, 128, 32)
        words = self.ranks.gather([progress.seed >> shift & 0xFFFFFFFF for shift in bits])[0]
        if settings.seed is None:
            progress.seed = sum(int(word) << shift for word, shift in zip(words, bits, strict=True))

    def check_parameters(self):
        """Refuse to go on with parameters that are no longer the same on all ranks."""
        self.ranks.check_same(
            {"parameters": self.net.vector},
            "all have lost their way: lr, schedules and callbacks change parameters alike on all"
            " ranks, which run the same version of crnn and instruction set (see crnn.build_info)")

    def run(self, interrupted):
        """Train until patience, the last epoch, a callback or Ctrl-C ends it."""
        progress = self.progress
        self.is_wild = self.has_wild_numbers()
        while not self.is_over():
            for chunk, is_update in self.chunks():
                if not is_update:
                    self.pass_by(chunk)
                    continue
                own = self.pass_over(chunk)
                found, gradients, targets = self.reduced(chunk, *own)
                norm = self.clip(gradients, found["loss"])
                self.optimizer.lr = self.lr_of(progress.update)
                self.step(gradients, norm)
                progress.end_update(found, targets)
                stop = self.tell("update", progress.epoch + 1, found, targets)
                if self.is_stopped(stop, interrupted):
                    return self.stop(interrupted)
            if self.is_stopped(self.end_epoch(), interrupted):
                return self.stop(interrupted)
        return self.finish(self.is_over())

    def is_over(self):
        """Return what ends training here, "patience" or "epochs", or None."""
        settings, progress = self.settings, self.progress
        if settings.patience is not None and progress.epochs_since_best() >= settings.patience:
            return "patience"
        return "epochs" if progress.epoch >= settings.epochs else None

    def chunks(self):
        """Yield the chunks that are left of the epoch under way, in its order of batches.

        With each comes whether there are targets in it, on any rank. A chunk is None where this
        rank has none any more.
        """
        progress, settings, rows = self.progress, self.settings, None
        batches = self.data.in_epoch(progress.epoch, progress.seed)
        self.of_epoch = batches.updates
        if self.ranks.are_several:
            rows = self.ranks.padded_total(self.data.rows_of(progress.epoch, progress.seed))
            self.of_epoch = int((rows > 0).sum())
            seed = progress.seed, progress.epoch, self.ranks.rank
            self.net.dropout_state = np.random.default_rng(seed).bit_generator.state
        self.updates = progress.updates_of_epochs + self.of_epoch * (
            settings.epochs - progress.epoch)
        for number in range(progress.batch, len(batches) if rows is None else len(rows)):
            own = batches.chunks(number, progress.time) if number < len(batches) else ()
            if rows is None:
                yield from ((chunk, chunk.count > 0) for chunk in own)
            else:
                yield from itertools.zip_longest(own, np.trim_zeros(rows[number] > 0, "b").tolist())
            progress.end_batch()

    def pass_by(self, chunk):
        """Have the state go on over a chunk without targets; None is no chunk."""
        if chunk is not None:
            state = self.objective.pass_by(chunk, self.progress.state)
            self.progress.pass_by(len(chunk.x), state)

    def pass_over(self, chunk):
        """Return the means of loss and metrics over a chunk's targets, by name, and gradients.

        The state goes on. Without targets all are 0.
        """
        if chunk is None or not chunk.count:
            self.pass_by(chunk)
            names = "loss", *(name for name, _ in self.settings.metrics)
            return dict.fromkeys(names, 0.0), self.net.parameters.new_gradients()
        loss, gradients, state = self.objective.gradients(chunk, self.progress.state)
        found = {"loss": loss} | self.metric_values(chunk)
        self.progress.pass_by(len(chunk.x), state)
        return found, gradients

    def reduced(self, chunk, found, gradients):
        """Return means and gradients over the targets of all ranks, and how many these are."""
        own = 0 if chunk is None else chunk.count
        if not self.ranks.are_several:
            return found, gradients, own
        sums, size = self.sums, gradients.vector.size
        np.multiply(gradients.vector, own, out=sums[:size], dtype=np.float64)
        sums[size:] = [*(each * own for each in found.values()), own]
        *totals, targets = self.ranks.add(sums)[size:].tolist()
        np.divide(sums[:size], targets, out=gradients.vector, casting="same_kind")
        means = {name: each / targets for name, each in zip(found, totals, strict=True)}
        return means, gradients, int(targets)

    def is_stopped(self, stop, interrupted):
        """Return whether training stops here: a callback has asked for it, or Ctrl-C came.

        ``interrupted`` learns what came to other ranks.
        """
        if not self.ranks.are_several:
            return stop or bool(interrupted)
        errors = KeyboardInterrupt, Terminated
        # what comes to this rank while it waits for others is not among the sums: it is for later
        stop, *came = self.ranks.total([stop, *(interrupted.error is each for each in errors)])
        for error, count in zip(errors, came, strict=True):
            if count and not interrupted:
                interrupted.error = error
        return bool(stop or any(came))

    def metric_values(self, chunk):
        """Return the values of metrics before the update, by name."""
        return metric_values(
            chunk, self.progress.state, self.objective, self.settings.metrics)

    def clip(self, gradients, loss):
        """Clip the gradients as asked, and refuse any that are not finite.

        Returns the largest norm that they can have then.
        """
        clip_norm, clip_value = self.settings.clip_norm, self.settings.clip_value
        norm = gradients.norm() if clip_norm is None else gradients.clip_norm(clip_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise FloatingPointError(
                f"the loss is {loss} and its gradient's norm {norm} in update"
                f" {self.progress.update + 1} (epoch {self.progress.epoch + 1}); the parameters are"
                " those before it. Try a lower learning rate, or clip_norm"
            )
        if clip_value is not None:
            gradients.clip_value(clip_value)
        return norm if clip_norm is None else min(norm, clip_norm)

    def has_wild_numbers(self):
        """Return whether parameters or slots are so large that an update may overflow."""
        return any(map(self.is_wild_vector, [self.net.vector, *self.optimizer.state().values()]))

    def is_wild_vector(self, vector):
        """Return whether a vector is so large that an update may overflow, or NaN."""
        return not self.net.engine.updates.norm(vector) <= WILD

    def step(self, gradients, norm):
        """Take one step of the optimizer; undo and refuse one that leads to infinity or NaN.

        ``norm`` is that of the gradients. A copy of slots takes time: they are copied once a number
        has been wild, and before the first step, when there are none.
        """
        optimizer, steps, slots = self.optimizer, self.optimizer.steps, None
        self.is_wild = self.is_wild or max(norm, optimizer.lr) > WILD
        if self.is_wild or not steps:
            slots = optimizer.state()
        self.before[...] = self.net.vector
        optimizer.step(self.net, gradients)
        if not self.is_wild_vector(self.net.vector):
            return
        self.is_wild = True
        if self.net.engine.updates.is_finite(self.net.vector):
            return
        self.net.vector = self.before
        if slots is not None:
            optimizer.restore(steps, slots)
        raise FloatingPointError(
            f"update {self.progress.update + 1} with lr {optimizer.lr} would make parameters"
            " infinite or NaN; they and the optimizer are left as before it. Try a lower learning"
            " rate"
        )

    def lr_of(self, update):
        """Return the learning rate of an update; the first is number 0."""
        progress, epochs = self.progress, self.settings.epochs
        done = progress.epoch * self.of_epoch + update - progress.updates_of_epochs
        factor = self.settings.schedule(done / (epochs * self.of_epoch))
        return self.lr * checks.positive_number(factor, "what schedule returned")

    def last_lr(self):
        """Return the learning rate of the last update."""
        return self.lr_of(max(self.progress.update - 1, 0))

    def end_epoch(self):
        """Validate, tell and save; return whether a callback asks to stop."""
        progress = self.progress
        found, targets, validation = progress.means(), progress.targets, self.validate()
        is_best = progress.end_epoch(self.last_lr(), validation)
        if is_best and self.validation is not None:
            progress.best_vector = self.net.vector.copy()
        stop = self.tell("epoch", progress.epoch, found, targets, validation, is_best)
        self.check_parameters()
        self.save()
        return stop

    def validate(self):
        """Return the means of validation data, by name; none without such data."""
        if self.validation is None:
            return {}
        found = means(self.validation, self.settings.metrics, self.ranks)
        if not math.isfinite(found["loss"]):
            raise FloatingPointError(
                f"the validation loss is {found['loss']} after epoch {self.progress.epoch + 1},"
                " though the training loss is finite; look for what is unlike the training data in"
                " the validation data, such as features of another size"
            )
        return found

    def tell(self, kind, epoch, found, targets, validation=None, is_best=False):
        """Call the callbacks; return whether one of them asks to stop.

        ``found`` and ``validation`` have the loss and the metrics by name.
        """
        validation = validation or {}
        metrics = found | {f"validation_{name}": value for name, value in validation.items()}
        loss, validation_loss = metrics.pop("loss"), metrics.pop("validation_loss", None)
        event = Event(
            kind, self.net, epoch, self.settings.epochs, self.progress.update, self.updates, loss,
            targets, validation_loss, is_best, self.last_lr(), metrics,
        )
        answers = [callback(event) for callback in self.settings.callbacks]
        return any(isinstance(each, (bool, np.bool_)) and each for each in answers)

    def stop(self, interrupted):
        """Save, and answer Ctrl-C if it came; a callback has asked for it otherwise."""
        saved, path = "", self.settings.checkpoint
        if not self.ranks.are_several:
            self.save()
            saved = "" if path is None else (
                f"; all of it is saved in {os.fspath(path)}, from which the same call goes on with"
                " resume=True")
        elif path is not None:  # which has no states of all ranks
            epoch = self.progress.epoch
            saved = f"; the checkpoint is that of the end of epoch {epoch}" if epoch else (
                "; there is no checkpoint before the end of an epoch")
        if interrupted:
            raise interrupted.error(f"training stopped after update {self.progress.update}{saved}")
        self.finish("callback")

    def finish(self, stopped_by):
        """Say why training ended, and with patience leave the parameters of the best epoch."""
        progress = self.progress
        progress.history.stopped_by = stopped_by
        if self.settings.patience is not None and progress.best_vector is not None:
            self.net.vector = progress.best_vector

    def save(self):
        """Write the checkpoint, if there is to be one."""
        if self.settings.checkpoint is not None and self.ranks.rank == 0:
            checkpoints.save(
                self.settings.checkpoint, self.net, self.optimizer, self.account, self.progress
            )
