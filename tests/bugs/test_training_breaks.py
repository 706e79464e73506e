"""Bugs planted one by one in copies of training's modules: the checks must catch every one.

They are faults that would be silent: a training goes on, with other numbers.
"""

import importlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from copies import COPY, Bug, fails, imported, planted
from small_training import I, O, batch, make
from thread_ranks import results

import crnn
from crnn.files import container, kinds

pytestmark = pytest.mark.no_backend

FOLDER = Path(crnn.__file__).parent / "training"
SOURCES = {"training": ""} | {
    f"training/{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("__init__", "bucketing")
}


class Training(NamedTuple):
    """Training's modules: fit, evaluate, the optimizers, and a folder for files."""

    fit: object
    evaluate: object
    optimizers: object
    folder: Path

    def trained(self, data, net=None, **options):
        """Return a network that has been trained, and the history."""
        net = net or make()
        settings = {"epochs": 3, "seed": 1} | options
        history = self.fit(net, data, self.optimizers.Adam(0.02), **settings)
        return net, history


def data_for(seed, steps=11):
    return batch(np.random.default_rng(seed), steps)


def check_padding(training):
    """How far a batch is padded changes nothing, and the state goes on through a hole."""
    x, targets = data_for(1)
    found = []
    for steps in (1, 30):
        more = np.ones((steps, *x.shape[1:])), np.zeros((steps, *targets.shape[1:]), int)
        data = np.concatenate([x, more[0]]), np.concatenate([targets, more[1]]), [11, 6]
        net, history = training.trained(data, truncation=6, schedule="cosine")
        found.append((net.vector.tobytes(), history.rows))
    assert found[0] == found[1]
    targets[4:8] = -1
    _, history = training.trained((x, targets), truncation=4)
    assert history["update"] == [2, 4, 6]
    net = make()
    early, _ = net.loss(x[:4], targets[:4])
    late, _ = net.loss(x[8:], targets[8:], net(x[:8])[1])
    whole = training.evaluate(net, (x, targets), truncation=4)
    np.testing.assert_allclose(whole, (8 * early + 6 * late) / 14, rtol=1e-5)


def check_best(training):
    """With patience the parameters are the best epoch's, and the checkpoint has the last ones."""
    data, validation, ends = data_for(1), data_for(2), []

    def keep(event):
        if event.kind == "epoch":
            ends.append(event.net.vector.copy())

    options = {"validation": validation, "patience": 3, "callbacks": [keep]}
    path = training.folder / "checkpoint"
    net, history = training.trained(data, epochs=200, checkpoint=path, **options)
    losses = history["validation_loss"]
    best = losses.index(min(losses))
    assert 0 < best == len(losses) - 4
    assert np.array_equal(net.vector, ends[best])
    tensors = container.read(path)[0]
    last = np.concatenate([tensors[name].ravel() for name in net.parameters])
    assert np.array_equal(last, ends[-1])
    net, _ = training.trained(data, epochs=best + 2, **options)
    assert np.array_equal(net.vector, ends[best])


def check_means(training):
    """An epoch's numbers are means over targets, and metrics are of valid ones."""
    long, short = data_for(1), (*data_for(2, 5), [5, 2])
    net = make()
    found = training.evaluate(net, [long, short], metrics=["accuracy"])
    pairs = [(net(x)[0], t, lengths) for x, t, lengths in ((*long, [11, 11]), short)]
    right = np.concatenate([
        (y.argmax(-1) == t)[np.arange(len(t))[:, None] < lengths] for y, t, lengths in pairs])
    np.testing.assert_allclose(found["accuracy"], right.mean(), rtol=1e-12)
    sums = [net.loss(x, t, lengths=n[0] if n else None, reduction="sum")[0]
            for x, t, *n in (long, short)]
    np.testing.assert_allclose(found["loss"], sum(sums) / 29, rtol=1e-5)
    _, history = training.trained([long, short], epochs=1, metrics=["accuracy"])
    losses, counts = [], []

    def note(event):
        if event.kind == "update":
            losses.append(event.loss)
            counts.append(event.targets)

    training.trained([long, short], epochs=1, callbacks=[note])
    np.testing.assert_allclose(history["loss"], np.average(losses, weights=counts), rtol=1e-12)


def check_warm_up(training):
    """Outputs of the warm-up do not count, and its state goes on."""
    net, (x, targets) = make(), data_for(1)
    wanted, _ = net.loss(x[4:], targets[4:], net(x[:4])[1])
    found = training.evaluate(net, (x, targets), warm_up=4)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def check_resume(training):
    """A training that was stopped goes on as if it had not been, and forged numbers do not."""
    data, path = [data_for(1), data_for(2, 5)], training.folder / "checkpoint"
    options = {"truncation": 4, "validation": data, "metrics": ["accuracy"]}
    wanted, history = training.trained(data, **options)
    for update in (2, 5, 7):
        training.trained(data, checkpoint=path, **options,
                         callbacks=[lambda event, at=update: event.update == at])
        found, rows = training.trained(data, make(seed=9), checkpoint=path, resume=True, **options)
        assert np.array_equal(found.vector, wanted.vector)
        assert rows.rows == history.rows
    training.trained(data, checkpoint=path, **options, callbacks=[lambda e: e.update == 7])
    content = kinds.read(path, kinds.CHECKPOINT)
    tensors, header = content.tensors, content.header
    for name, value in (("update", 8), ("targets", 1), ("time", 1), ("epoch", 2), ("batch", 5)):
        numbers = header["training"]["progress"] | {name: value}
        account = header["training"] | {"progress": numbers}
        kinds.write(path, tensors, header | {"training": account})
        with pytest.raises(crnn.FormatError):
            training.trained(data, make(seed=9), checkpoint=path, resume=True, **options)


def check_overflow(training):
    """An update that overflows leaves the optimizer's slots and count as they were."""
    sizes = 1e-9, 1e-9, 1e33
    for rates, gradients in (((1e5, 1e5, 1e300), (1e-9,) * 3), ((1e5,) * 3, sizes)):
        optimizer, kept = training.optimizers.SGD(1.0, momentum=0.9), []

        def keep(event, optimizer=optimizer, kept=kept):
            kept.append((optimizer.steps, optimizer.state()["momentum"]))

        def loss(y, targets, each=iter(gradients)):  # noqa: B008
            return 1.0, np.full_like(y, next(each))

        with pytest.raises(FloatingPointError, match=r"update 3 .*optimizer"):
            training.fit(make(), data_for(1), optimizer, epochs=3, callbacks=[keep], loss=loss,
                         schedule=lambda done, rates=rates: rates[round(3 * done)])
        assert optimizer.steps == kept[-1][0] == 2
        assert np.array_equal(optimizer.state()["momentum"], kept[-1][1])


def check_epochs(training):
    """Of batches that differ from epoch to epoch, each epoch's updates are known beforehand."""
    rng, path = np.random.default_rng(1), training.folder / "checkpoint"
    lengths = rng.integers(1, 20, 9)
    data = crnn.batches([rng.standard_normal((n, I)) for n in lengths],
                        [rng.integers(-1, O, n) * (n % 3 > 0) - (n % 3 == 0) for n in lengths],
                        batch_size=2, bucket=False)
    options = {"truncation": 4, "schedule": "cosine", "epochs": 4}
    wanted, history = training.trained(data, **options)
    training.trained(data, checkpoint=path, callbacks=[lambda event: event.epoch == 4], **options)
    found, rows = training.trained(data, make(seed=9), checkpoint=path, resume=True, **options)
    assert np.array_equal(found.vector, wanted.vector)
    assert rows.rows == history.rows


def check_ranks(training):
    """Ranks that share the data train as one with all, though only one has a second part of it."""
    x, targets = data_for(1)
    targets[4:8, 0] = -1
    long, short = (x[:, :1], targets[:, :1]), (x[:6, 1:], targets[:6, 1:])
    data = x, np.where(np.arange(11)[:, None] < [11, 6], targets, -1)
    options = {"truncation": 4, "clip_norm": 0.1, "metrics": ["accuracy"], "patience": 2,
               "class_weight": "balanced", "seed": None}
    wanted, history = training.trained(data, validation=data, **options)

    def call(ranks):
        share = [long, short][ranks.rank]
        return training.trained(share, validation=share, all_reduce=ranks, **options)

    for found, rows in results(2, call):
        np.testing.assert_allclose(found.vector, wanted.vector, atol=1e-6)
        for ours, theirs in zip(rows, history, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)
    masks = [], []

    def look(ranks):
        note = masks[ranks.rank].append
        training.trained(long, all_reduce=ranks,
                         callbacks=[lambda event: note(event.net.dropout_state)])

    results(2, look)
    assert masks[0] != masks[1]


CHECKS = {"p": check_padding, "b": check_best, "m": check_means, "w": check_warm_up,
          "r": check_resume, "o": check_overflow, "e": check_epochs, "s": check_ranks}


BUGS = [
    Bug("padding is an update", "loop", "if not is_update:", "if False:", "p"),
    Bug("padding is evaluated as a target", "batches", "valid = valid & (times < batch.lengths)",
        "pass", "p"),
    Bug("the state stops at a hole", "evaluation",
        "state = batches.objective.pass_by(chunk, state)", "pass", "p"),
    Bug("the last epoch's parameters", "loop", "self.net.vector = progress.best_vector", "pass",
        "b"),
    Bug("the last epoch is the best", "loop", "if is_best and self.validation is not None:",
        "if self.validation is not None:", "b"),
    Bug("the checkpoint has the best", "checkpoints", "tensors = dict(net.parameters)",
        "net.vector = net.vector if progress.best_vector is None else progress.best_vector\\n"
        "    tensors = dict(net.parameters)", "b"),
    Bug("an equal epoch is better", "progress", "watched.index(min(watched))",
        "watched[::-1].index(min(watched))", "b"),
    Bug("a mean of means", "progress", "+ mean * targets", "+ mean * self.targets", "m"),
    Bug("a mean of chunks", "evaluation", "sums[name] += value * chunk.count",
        "sums[name] += value * 14.5", "m"),
    Bug("metrics of padding", "evaluation", "valid = valid_targets(chunk, minimized)",
        "valid = valid_targets(chunk._replace(lengths=None), minimized)", "m"),
    Bug("the warm-up counts", "batches", "part.start >= self._warm_up)", "True)", "w"),
    Bug("the last update's mean", "progress", "self.sums.get(name, 0.0)", "0.0", "m"),
    Bug("the state between chunks is lost", "checkpoints",
        "tensors |= _state_arrays(progress.state)", "pass", "r"),
    Bug("any number of targets", "audit", '_check("targets", progress.targets == sum(passed))',
        "pass", "r"),
    Bug("slots stay moved", "loop", "optimizer.restore(steps, slots)", "pass", "o"),
    Bug("no gradient is wild", "loop", "max(norm, optimizer.lr) > WILD", "optimizer.lr > WILD",
        "o"),
    Bug("no rate is wild", "loop", "max(norm, optimizer.lr) > WILD", "norm > WILD", "o"),
    Bug("a chunk counts if all its sequences do", "batches",
        "self._by_sequence[part].any(axis=0)", "self._by_sequence[part].all(axis=0)", "e"),
    Bug("the mean of ranks", "loop", "np.divide(sums[:size], targets,",
        "np.divide(sums[:size], 2 * max(own, 1),", "s"),
    Bug("the loss of one rank", "loop", "return means, gradients, int(targets)",
        "return found, gradients, int(targets)", "s"),
    Bug("validation of one rank", "loop", "self.settings.metrics, self.ranks)",
        "self.settings.metrics, type(self.ranks)())", "s"),
    Bug("classes of one rank", "objectives", "balanced(ranks.total(counts).astype(np.intp))",
        "balanced(counts)", "s"),
    Bug("the same masks on all ranks", "loop", "progress.epoch, self.ranks.rank", "progress.epoch",
        "s"),
]


def copies(folder):
    """Return the copy's functions, and a folder for their files."""
    names = ("fit", "evaluation", "optimizers")
    modules = [importlib.import_module(f"{COPY}.training.{name}") for name in names]
    return Training(modules[0].fit, modules[1].evaluate, modules[2], folder)


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check, tmp_path):
    with imported(SOURCES):
        check(copies(tmp_path))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug, tmp_path):
    sources = planted(bug, "training", SOURCES)
    for letter in bug.caught_by:
        with np.errstate(all="ignore"):
            assert fails(CHECKS[letter], lambda: copies(tmp_path), sources), (
                f"{bug.name} escaped {CHECKS[letter].__name__}")
