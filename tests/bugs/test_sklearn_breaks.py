"""Bugs planted one by one in copies of the estimators' modules: the checks must catch every one.

They are faults that would be silent: estimators learn and predict, but something else.
"""

import importlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("sklearn")

from copies import COPY, Bug, fails, imported, planted
from sequence_data import FEW, LABELS, ragged, same

import crnn

pytestmark = pytest.mark.no_backend
FOLDER = Path(crnn.__file__).parent / "sklearn"
SOURCES = {"sklearn": ""} | {
    f"sklearn/{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.glob("*.py")) if path.stem != "__init__"
}
X, Y, SUMS = ragged(20)


class Doors(NamedTuple):
    """The estimators of a copy."""

    classifier: object
    regressor: object
    tagger: object

    @classmethod
    def of_copies(cls):
        return cls(*(
            getattr(importlib.import_module(f"{COPY}.sklearn.{name}"), f"Sequence{name.title()}")
            for name in cls._fields))


def check_order(doors):
    """Neither the order of samples nor a repetition matters, and a weight is one."""
    counts = np.arange(20) % 4
    y = [each[:, 0] for each in X]
    rows = np.repeat(np.arange(20), counts)
    for kind, targets in ((doors.classifier, Y), (doors.regressor, SUMS), (doors.tagger, y)):
        weighted = kind(**FEW).fit(X, targets, counts)
        for numbers in (rows, rows[::-1]):
            repeated = kind(**FEW).fit([X[k] for k in numbers], [targets[k] for k in numbers])
            assert same(weighted.net_.vector, repeated.net_.vector)


def check_targets(doors):
    """Equal sequences with other targets are samples of their own."""
    found = doors.regressor(**FEW | {"batch_size": 1}).fit([X[0], X[0], X[1]], [1.0, 3.0, 7.0])
    assert found.history_["update"][0] == 3


def check_scales(doors):
    """Features and targets are scaled by weighted moments, and what is predicted is scaled back."""
    weights = np.arange(1.0, 21)
    found = doors.regressor(**FEW).fit(X, SUMS, weights)
    of_steps = np.repeat(weights, [len(each) for each in X])
    mean = np.average(np.concatenate(X), axis=0, weights=of_steps)
    np.testing.assert_allclose(found.net_.scaler.mean, mean)
    np.testing.assert_allclose(found.target_scaler_.mean, np.average(SUMS, weights=weights))
    scaled = ((X[3] - mean) / found.net_.scaler.std).astype(np.float32)
    y = found.net_(scaled, last=True)[0].astype(float)
    np.testing.assert_allclose(
        found.predict(X[3:4]), y * found.target_scaler_.std + found.target_scaler_.mean, rtol=1e-6)


def check_places(doors):
    """Predictions come in the order of X, and labels are those that were given."""
    found = doors.classifier(epochs=60, random_state=0).fit(X, Y)
    assert found.score(X, Y) > 0.9
    assert found.classes_.tolist() == LABELS.tolist()
    many, _, _ = ragged(300, seed=3)
    whole = found.predict_proba(many)
    assert same(whole, np.concatenate([found.predict_proba([each]) for each in many]))


def check_unknown(doors):
    """What is unknown is a step without input, in both directions."""
    found = doors.classifier(**FEW, bidirectional=True).fit(["ab", "ba", "bb"], [0, 1, 1])
    steps = np.zeros((2, 3))
    steps[0, 0] = 1
    expected = crnn.softmax(found.net_(steps, last=True)[0].astype(float))
    np.testing.assert_allclose(found.predict_proba(["ax"])[0], expected, rtol=1e-6)


def check_classes(doors):
    """Rare classes count as much as others if they are to."""
    y = np.array(["a"] * 16 + ["b"] * 4)
    found = doors.classifier(**FEW | {"lr": 1e-12, "epochs": 1, "batch_size": 20},
                             class_weight="balanced", weight_decay=0.0).fit(X, y)
    data = crnn.batches(found.net_.scaler.transform(X), (y == "b").astype(int), batch_size=20)
    loss = crnn.evaluate(found.net_, data, class_weight={0: 0.625, 1: 2.5})
    assert found.history_["loss"][0] == pytest.approx(loss, rel=1e-5)


def check_held_out(doors):
    """Nothing is trained on that is validated on."""
    found = doors.regressor(**FEW | {"batch_size": 1}, patience=3, validation_fraction=0.4).fit(
        X, SUMS)
    assert found.history_["update"][0] == 12


def check_members(doors):
    """Networks of an ensemble differ, and are averaged."""
    found = doors.regressor(**FEW, n_estimators=3).fit(X, SUMS)
    each = []
    for net in found.nets_:
        scaled = [one.astype(np.float32) for one in net.scaler.transform(X)]
        y = net(scaled, last=True)[0].astype(float)
        each.append(found.target_scaler_.inverse_transform(y)[:, 0])
    assert np.ptp(each, axis=0).min() > 1e-6
    np.testing.assert_allclose(found.predict(X), np.mean(each, axis=0), rtol=1e-9)


CHECKS = {"o": check_order, "t": check_targets, "s": check_scales, "p": check_places,
          "u": check_unknown, "c": check_classes, "h": check_held_out, "m": check_members}


BUGS = [
    Bug("the order of samples stays", "samples", "for key in sorted(equals)", "for key in equals",
        "o"),
    Bug("weights of equal samples are lost", "samples", "axis=0).sum(0)", "axis=0).max(0)", "o"),
    Bug("equal sequences are one, whatever their targets", "samples",
        "_digest(sequence) + _digest(target)", "_digest(sequence)", "t"),
    Bug("features by sequences, not weights", "estimator",
        "sample_weight=[each.mean() for each in samples.weights]", "sample_weight=None", "s"),
    Bug("targets without weights", "targets",
        "sample_weight=[each.mean() for each in samples.weights]", "sample_weight=None", "s"),
    Bug("targets stay scaled", "targets", "return self.scaler.inverse_transform(y)", "return y",
        "s"),
    Bug("features are not scaled", "estimator",
        "[each.astype(net.dtype, copy=False) for each in net.scaler.transform(sequences)]",
        "sequences", "s"),
    Bug("predictions in the order of lengths", "ensemble", "found[number] = each",
        "found[list(order).index(number)] = each", "p"),
    Bug("a random step for the unknown", "estimator", "weights[-1] = 0", "pass", "u"),
    Bug("one direction of the unknown", "estimator", 'name.startswith("W_xh_l0")',
        'name == "W_xh_l0"', "u"),
    Bug("classes weigh what they have", "targets", "return balanced(mass)",
        "return dict(enumerate(mass / mass.mean()))", "c"),
    Bug("class weights are not used", "ensemble", "class_weight=self.class_weight",
        "class_weight=None", "c"),
    Bug("what is validated is trained on", "ensemble",
        "samples, kept = held_out(", "_, kept = held_out(", "h"),
    Bug("the first network alone", "estimator", "for net in self.nets_]", "for net in [self.net_]]",
        "m"),
]


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check):
    with imported(SOURCES):
        check(Doors.of_copies())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug):
    sources = planted(bug, "sklearn", SOURCES)
    for letter in bug.caught_by:
        assert fails(CHECKS[letter], Doors.of_copies, sources), (
            f"{bug.name} escaped {CHECKS[letter].__name__}")
