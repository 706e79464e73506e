"""How far training is: what a checkpoint holds besides the network and the optimizer."""

import dataclasses

import numpy as np

from crnn.training.history import History


@dataclasses.dataclass
class Progress:
    """How far training is, at the end of some update."""

    seed: int
    epoch: int = 0  # epochs that are over
    batch: int = 0  # batches of this epoch that are over
    time: int = 0  # time steps of this batch that are over
    update: int = 0
    loss_sum: float = 0.0  # over all targets of this epoch
    targets: int = 0  # how many those are
    steps_before: int = 0  # of the optimizer, before the first update
    history: History = dataclasses.field(default_factory=History)
    dropout: dict = dataclasses.field(default_factory=dict)  # the state of its generator
    state: object = None  # of the network, between two chunks of a batch
    best_vector: np.ndarray | None = None  # parameters of the best epoch, with validation data

    ARRAYS = ("state", "best_vector")
    COUNTS = ("epoch", "batch", "time", "update", "targets", "steps_before")

    def pass_by(self, steps, state):
        """Count time steps without an update, and keep the state that they left."""
        self.time, self.state = self.time + steps, state

    def end_update(self, loss, targets, steps, state):
        """Count an update, with its loss, targets and time steps and the state that it left."""
        self.pass_by(steps, state)
        self.update += 1
        self.loss_sum, self.targets = self.loss_sum + loss * targets, self.targets + targets

    def end_batch(self):
        """Count a batch; the next one begins with a zero state."""
        self.batch, self.time, self.state = self.batch + 1, 0, None

    @property
    def updates_of_epochs(self):
        """How many updates the epochs had that are over."""
        return self.history.rows[-1]["update"] if self.history.rows else 0

    def mean_loss(self):
        """Return the mean loss of the epoch under way."""
        return self.loss_sum / self.targets

    def end_epoch(self, lr, validation_loss):
        """Count an epoch and write its row of history; return whether it is the best so far."""
        loss = self.mean_loss()
        self.history.rows.append({
            "epoch": self.epoch + 1,
            "update": self.update,
            "lr": lr,
            "loss": loss,
            "validation_loss": validation_loss,
        })
        self.epoch, self.batch, self.loss_sum, self.targets = self.epoch + 1, 0, 0.0, 0
        return self.epochs_since_best() == 0

    def epochs_since_best(self):
        """Return how many epochs there were since the first one with the lowest loss.

        It is the loss on validation data, where there are any.
        """
        watched = [row["loss"] if row["validation_loss"] is None else row["validation_loss"]
                   for row in self.history]
        return len(watched) - 1 - watched.index(min(watched)) if watched else 0

    def numbers(self):
        """Return all that is not an array, ready for JSON."""
        fields = [each.name for each in dataclasses.fields(self) if each.name not in self.ARRAYS]
        return {name: getattr(self, name) for name in fields} | {"history": self.history.rows}
