"""What `crnn.fit` was asked to do."""

from dataclasses import dataclass

from crnn.base import checks
from crnn.training import schedules


@dataclass(frozen=True)
class Settings:
    """What `fit` was asked to do; see there."""

    epochs: int
    truncation: int | None
    clip_norm: float | None
    clip_value: float | None
    patience: int | None
    schedule: object
    metrics: list
    callbacks: list
    checkpoint: object
    identity: str
    seed: int | None

    # settings that must be the same when training goes on from a checkpoint
    KEPT = ("truncation", "clip_norm", "clip_value", "identity", "seed")

    @classmethod
    def checked(
        cls, *, epochs, truncation, clip_norm, clip_value, patience, schedule, metrics,
        callbacks, checkpoint, identity, seed,
    ):
        """Return the settings, or raise TypeError or ValueError."""
        if callable(callbacks):
            raise TypeError("callbacks is a function; a sequence of functions is wanted")
        return cls(
            epochs=checks.whole_number(epochs, "epochs"),
            truncation=_optional(truncation, "truncation", checks.whole_number),
            clip_norm=_optional(clip_norm, "clip_norm", checks.positive_number),
            clip_value=_optional(clip_value, "clip_value", checks.positive_number),
            patience=_optional(patience, "patience", checks.whole_number),
            schedule=schedules.schedule("constant" if schedule is None else schedule),
            metrics=metrics,
            callbacks=[checks.function(each, "a callback") for each in callbacks],
            checkpoint=checkpoint,
            identity=checks.option("identity", identity, str, "a string"),
            seed=_optional(seed, "seed", lambda value, name: checks.whole_number(value, name, 0)),
        )

    def account(self, optimizer, data, has_validation, ranks):
        """Return, ready for JSON, what must be the same when training goes on."""
        minimized = data.objective
        config = optimizer.config()
        kept = {name: getattr(self, name) for name in self.KEPT}
        return {
            "optimizer": config.pop("name"), **config, "loss": minimized.name, **kept,
            "class_weight": sorted([int(k), float(v)] for k, v in (
                minimized.class_weight or {}).items()),
            "missing": minimized.missing,
            "metrics": [name for name, _ in self.metrics],
            "ranks": ranks, "updates_per_epoch": data.updates if ranks == 1 else None,
            "targets_per_epoch": data.targets, "validation": has_validation,
        }


def _optional(value, name, check):
    return None if value is None else check(value, name)
