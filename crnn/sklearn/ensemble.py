"""Networks that are trained beside each other, and what they give for many sequences."""

from typing import NamedTuple

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from crnn.engine.threads import get_num_threads, threads
from crnn.sklearn.samples import held_out
from crnn.training.bucketing import batches
from crnn.training.fit import fit

AT_ONCE = 256  # sequences of an inference: a padded array of all would be as long as the longest


class Training(NamedTuple):
    """How networks are trained: see `crnn.fit`, and the estimators' parameters."""

    loss: str
    epochs: int
    batch_size: int
    schedule: str
    clip_norm: float | None
    class_weight: dict | None
    validation_fraction: float
    patience: int | None
    verbose: int

    def run(self, net, optimizer, samples, seed):
        """Train a network in place; return it, the optimizer and the history."""
        validation = None
        if self.patience is not None:
            samples, kept = held_out(samples, self.validation_fraction, seed)
            validation = self._batches(kept, seed)
        history = fit(
            net, self._batches(samples, seed), optimizer, epochs=self.epochs, loss=self.loss,
            clip_norm=self.clip_norm, schedule=self.schedule, class_weight=self.class_weight,
            validation=validation, patience=self.patience, seed=seed, progress=bool(self.verbose),
        )
        return net, optimizer, history

    def _batches(self, samples, seed):
        is_plain = all((each == 1).all() for each in samples.weights)
        return batches(samples.sequences, samples.targets, None if is_plain else samples.weights,
                       self.batch_size, seed=seed)


def trained(training, nets, optimizers, samples, seeds, n_jobs):
    """Train networks in place, each with a seed; return them, optimizers and histories, in lists.

    Of several networks ``n_jobs`` are trained at the same time, in joblib's workers. There "in
    place" means a copy that comes back. Threads of this process, if joblib's workers are such, are
    shared among them; other workers are told by joblib how many they may use.
    """
    tasks = list(zip(nets, optimizers, seeds, strict=True))
    workers = min(effective_n_jobs(n_jobs), len(tasks))
    if workers == 1:
        results = [training.run(net, optimizer, samples, seed) for net, optimizer, seed in tasks]
    else:
        with threads(max(1, get_num_threads() // workers)):
            results = Parallel(n_jobs)(
                delayed(training.run)(net, optimizer, samples, seed)
                for net, optimizer, seed in tasks)
    return [list(each) for each in zip(*results, strict=True)]


def outputs(net, sequences, last):
    """Return a network's outputs in float64: (n, O) of the last steps, or a list of (T_i, O)."""
    found = [None] * len(sequences)
    order = np.argsort([len(each) for each in sequences], kind="stable")
    for start in range(0, len(order), AT_ONCE):
        numbers = order[start : start + AT_ONCE]
        y, _ = net([sequences[k] for k in numbers], last=last)
        for number, each in zip(numbers, y, strict=True):
            found[number] = each.astype(np.float64)
    return np.array(found) if last else found
