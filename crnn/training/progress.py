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
    sums: dict = dataclasses.field(default_factory=dict)  # of loss and metrics, over all targets
    targets: int = 0  # how many those are, in this epoch
    steps_before: int = 0  # of the optimizer, before the first update
    history: History = dataclasses.field(default_factory=History)
    dropout: dict = dataclasses.field(default_factory=dict)  # the state of its generator
    state: object = None  # of the network, between two chunks of a batch
    best_vector: np.ndarray | None = None  # parameters of the best epoch, with validation data

    ARRAYS = ("state", "best_vector")
    COUNTS = ("epoch", "batch", "time", "update", "targets", "steps_before")

    def pass_by(self, steps, state):
        """Count time steps, and keep the state that they left."""
        self.time, self.state = self.time + steps, state

    def end_update(self, means, targets):
        """Count an update, with the means of its loss and metrics over its targets."""
        self.update += 1
        self.targets += targets
        for name, mean in means.items():
            self.sums[name] = self.sums.get(name, 0.0) + mean * targets

    def end_batch(self):
        """Count a batch; the next one begins with a zero state."""
        self.batch, self.time, self.state = self.batch + 1, 0, None

    @property
    def updates_of_epochs(self):
        """How many updates the epochs had that are over."""
        return self.history.rows[-1]["update"] if self.history.rows else 0

    def means(self):
        """Return the mean loss and metrics of the epoch under way, by name."""
        return {name: each / self.targets for name, each in self.sums.items()}

    def end_epoch(self, lr, validation):
        """Count an epoch and write its row of history; return whether it is the best so far.

        ``validation`` has the means of validation data by name, or nothing.
        """
        means = self.means()
        self.history.rows.append({
            "epoch": self.epoch + 1,
            "update": self.update,
            "lr": lr,
            "loss": means.pop("loss"),
            "validation_loss": validation.get("loss"),
            **means,
            **{f"validation_{name}": validation.get(name) for name in means},
        })
        self.epoch, self.batch, self.sums, self.targets = self.epoch + 1, 0, {}, 0
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
