"""What comes in wrong at a door for whole data: the right exception, a remedy, nothing changed.

A case is what is done to a fitted door, the exception, and what its message has to say.
"""

import copy

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sequence_data import FEW, ragged, same
from sklearn.exceptions import NotFittedError

from crnn.sklearn import (
    SequenceClassifier,
    SequenceRegressor,
    SequenceScaler,
    SequenceTagger,
    ensemble,
)

pytestmark = pytest.mark.no_backend
X, Y, SUMS = ragged()
TAGS = [np.repeat(label, len(each)) for label, each in zip(Y, X, strict=True)]
WITH_NAN = [each.copy() for each in X]
WITH_NAN[4][1, 2] = np.nan
INFINITE = [each.copy() for each in X]
INFINITE[4][1, 2] = np.inf
WIDE = [*X[:5], np.ones((4, 2)), *X[6:]]
SERIES = np.ones((12, 5))
TEXTS = ["ab", "ba", "bc"] * 4

X_CASES = {  # every estimator's X, in `fit` and in what comes after it
    "no sequence": ([], ValueError, "no sequence"),
    "no rows": (np.ones((0, 5)), ValueError, r"0 sample\(s\)"),
    "no steps": ([*X[:5], np.ones((0, 3)), *X[6:]], ValueError, r"X\[5\] has no steps.*leave"),
    "no steps, in a list": ([*X[:11], []], ValueError, r"X\[11\] has shape \(0,\)"),
    "no steps of an array": (np.ones((12, 0, 3)), ValueError, "need steps"),
    "NaN": (WITH_NAN, ValueError, r"X\[4\] contains NaN; fill such steps in"),
    "infinity": (INFINITE, ValueError, r"X\[4\] contains infinity"),
    "NaN in an array": (np.full((12, 5, 3), np.nan), ValueError, "Input X contains NaN"),
    "other widths": (WIDE, ValueError, r"X\[5\] has shape \(4, 2\), and X\[0\] has .*steps only"),
    "one sequence without its list": (np.ones(5), ValueError, "Reshape your data"),
    "numbers in a list": ([1.0, 2.0], ValueError, "Reshape your data"),
    "three axes in a list": ([np.ones((2, 3, 4))] * 12, ValueError, r"X\[0\] has shape"),
    "a table of texts": (
        np.array([["ab"]] * 12, object), ValueError, r"convert string.*frame\['text'\]"),
    "four axes": (np.ones((12, 2, 3, 4)), ValueError, "dim 4"),
    "complex": ([each + 1j for each in X], ValueError, "Complex data not supported"),
    "None": (None, ValueError, "None|array"),
    "None in a list": ([*X[:11], None], TypeError, r"X\[11\] is None"),
    "a number in a list": ([*X[:11], 3.0], ValueError, r"X\[11\] has shape \(\)"),
    "texts and arrays": ([*X[:11], "abc"], TypeError, r"X\[0\] is a ndarray; a str"),
    "numbers among texts": ([*TEXTS[:11], 5], TypeError, r"X\[11\] is a int; a str"),
    "numbers among words": ([["a", "b"], ["a", 5]] * 6, TypeError, r"X\[1\]\[1\] is a int"),
    "tokens below 0": (
        [[0, 1], [-1, 2, 0]] * 6, IndexError, r"X\[1\] has the token -1.*passed as floats"),
    "a dict": (dict(enumerate(X)), TypeError, "X is a dict; a list"),
    "a generator": (iter(X), TypeError, "X is a list_iterator; a list"),
    "ragged inside": ([[[1.0, 2.0], [3.0]]] * 12, ValueError, r"X\[0\] is no array"),
}


def doors():
    """Fitted estimators, each with its y, by name."""
    return {
        "classifier": (SequenceClassifier(**FEW).fit(X, Y), Y),
        "regressor": (SequenceRegressor(**FEW).fit(X, SUMS), SUMS),
        "tagger": (SequenceTagger(**FEW).fit(X, TAGS), TAGS),
        "scaler": (SequenceScaler().fit(X), None),
    }


DOORS = doors()


def state(door):
    """What a door predicts, and its attributes."""
    after = door.transform(X) if hasattr(door, "transform") else door.predict(X)
    return after, {name: value for name, value in vars(door).items() if name != "_optimizers"}


@pytest.fixture
def unchanged():
    """Return a function that gives a door, which is then seen not to have changed."""
    given = []

    def give(name):
        door, y = copy.deepcopy(DOORS[name][0]), DOORS[name][1]
        given.append((door, *state(door)))
        return door, y

    yield give
    for door, before, attributes in given:
        after, others = state(door)
        assert same(after, before)
        assert set(others) == set(attributes)
        assert all(others[name] is attributes[name] for name in attributes)


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "predict_proba", "transform",
                                    "inverse_transform"])
@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("case", X_CASES)
def test_wrong_sequences(case, name, method, unchanged):
    bad, error, message = X_CASES[case]
    if not hasattr(DOORS[name][0], method):
        return
    door, y = unchanged(name)
    arguments = (y,) if "fit" in method else ()
    with pytest.raises(error, match=message):
        getattr(door, method)(bad, *arguments)


LONG_TAGS = [*TAGS[:3], np.append(TAGS[3], "up"), *TAGS[4:]]
CASES = {
    # y
    "y too short": ("classifier", lambda d: d.fit(X, Y[:5]), ValueError, r"\[12, 5\]"),
    "y too short, numbers": ("regressor", lambda d: d.fit(X, SUMS[:5]), ValueError, r"\[12, 5\]"),
    "no y": ("regressor", lambda d: d.fit(X, None), ValueError, "requires y to be passed"),
    "one class": ("classifier", lambda d: d.fit(X, ["up"] * 12), ValueError, "one class only"),
    "one class that counts": (
        "classifier", lambda d: d.fit(X, Y, Y == "up"), ValueError, "one class only"),
    "numbers as labels": ("classifier", lambda d: d.fit(X, SUMS), ValueError, "Unknown label type"),
    "labels as numbers": ("regressor", lambda d: d.fit(X, Y), ValueError, "Convert"),
    "None among numbers": (
        "regressor", lambda d: d.fit(X, [*SUMS[:11].tolist(), None]), ValueError, "y contains NaN"),
    "None as label": (
        "classifier", lambda d: d.fit(X, np.array([*Y[:11], None], object)), ValueError,
        "no label in row 11, but None"),
    "NaN among labels": (
        "classifier", lambda d: d.fit(X, [*Y[:11], np.nan]), ValueError, "in row 11, but nan"),
    "NaN among labels, going on": (
        "classifier", lambda d: d.partial_fit(X, np.array([*Y[:11], np.nan], object)), ValueError,
        "in row 11, but nan"),
    "labels of two kinds": (
        "classifier", lambda d: d.fit(X, np.array([*Y[:11], 3], object)), TypeError,
        "strings and others that are not; make all"),
    "None as tags": (
        "tagger", lambda d: d.fit(X, [[None] * len(each) for each in X]), ValueError,
        "no label in row 0"),
    "NaN in y": (
        "regressor", lambda d: d.fit(X, SUMS * np.nan), ValueError, "Input y contains NaN"),
    "a new label": (
        "classifier", lambda d: d.partial_fit(X[:1], ["sideways"]), ValueError,
        r"new, \['sideways'\].*classes in the first call"),
    "a new label, going on": (
        "classifier", lambda d: d.set_params(warm_start=True).fit(X, [*Y[:11], "x"]), ValueError,
        "warm_start"),
    "other classes": (
        "classifier", lambda d: d.partial_fit(X, Y, classes=["up", "x"]), ValueError,
        "those of the first call were"),
    "more outputs": (
        "regressor", lambda d: d.partial_fit(X, np.ones((12, 2))), ValueError, "1 number for"),
    "tags too many": (
        "tagger", lambda d: d.fit(X, LONG_TAGS), ValueError, r"y\[3\] has shape.*steps of X\[3\]"),
    "tags too few": ("tagger", lambda d: d.fit(X, TAGS[:5]), ValueError, r"\[12, 5\]"),
    "one tag a sequence": ("tagger", lambda d: d.fit(X, Y), ValueError, r"y\[0\] has shape"),
    "NaN in tags": (
        "tagger", lambda d: d.fit(X, [each * np.nan for each in X]), ValueError,
        r"y\[0\] contains"),
    "tags of one label": (
        "tagger", lambda d: d.fit(X, [np.ones(len(each), int) for each in X]), ValueError,
        "one class only"),
    "new kind of tags": (
        "tagger", lambda d: d.partial_fit(X, X), ValueError, "labels that are new"),
    # weights
    "weights too few": ("classifier", lambda d: d.fit(X, Y, [1.0]), ValueError, r"\(12,\)"),
    "weights below 0": ("regressor", lambda d: d.fit(X, SUMS, [-1] * 12), ValueError, "at least 0"),
    "weights of 0": ("classifier", lambda d: d.fit(X, Y, [0] * 12), ValueError, "zero for every"),
    "weights of a scaler": (
        "scaler", lambda d: d.fit(X, None, [0] * 12), ValueError, "zero for every"),
    "weights of steps": (
        "tagger", lambda d: d.fit(X, TAGS, [[1.0]] * 12), ValueError, "sample_weight"),
    "class weights": (
        "classifier", lambda d: d.set_params(class_weight={"Up": 3}).fit(X, Y), ValueError,
        r"\['Up'\].*no labels.*nothing for \['down', 'level', 'up'\]"),
    "class weights of 0": (
        "classifier", lambda d: d.set_params(class_weight=dict.fromkeys(set(Y), 0)).fit(X, Y),
        ValueError, "0 for all classes"),
    "class weight's name": (
        "classifier", lambda d: d.set_params(class_weight="even").fit(X, Y), ValueError,
        "balanced"),
    "class weight's type": (
        "classifier", lambda d: d.set_params(class_weight=3).fit(X, Y), TypeError, "dict"),
    "class weights of numbers": (
        "tagger", lambda d: d.set_params(class_weight="balanced").fit(X, X), ValueError,
        "sample_weight"),
    # what was fitted was another
    "other features": (
        "classifier", lambda d: d.predict([each[:, :2] for each in X]), ValueError,
        "2 features, but SequenceClassifier is expecting 3"),
    "a sequence that is no list": (
        "classifier", lambda d: d.predict(X[0]), ValueError, r"passed as \[sequence\]"),
    "texts for numbers": (
        "regressor", lambda d: d.predict(TEXTS), ValueError, "characters.*fitted to numbers"),
    "tokens for numbers": (
        "scaler", lambda d: d.transform([[1, 2]]), ValueError, "tokens.*fitted to numbers"),
    "texts that are scaled": (
        "scaler", lambda d: d.fit(TEXTS), ValueError, "only numbers are scaled"),
    "going on with another network": (
        "classifier", lambda d: d.set_params(warm_start=True, hidden_size=9).fit(X, Y), ValueError,
        "warm_start=False"),
    "huge tokens": (
        "classifier", lambda d: d.fit([[2**62, 1], [2, 3]] * 6, Y), ValueError,
        "4,611,686,018,427,387,904.*at most 1,000,000.*as floats"),
    "tokens beyond int64": (
        "classifier", lambda d: d.fit([np.full(3, 2**63, np.uint64)] * 12, Y), IndexError,
        "as floats"),
    # parameters
    "cell": ("classifier", lambda d: d.set_params(cell="gnu").fit(X, Y), ValueError, "'gru'"),
    "hidden_size": ("regressor", lambda d: d.set_params(hidden_size=0).fit(X, SUMS), ValueError,
                    "hidden_size"),
    "epochs": ("tagger", lambda d: d.set_params(epochs=1.5).fit(X, TAGS), TypeError, "epochs"),
    "lr": ("classifier", lambda d: d.set_params(lr=-1).fit(X, Y), ValueError, "lr"),
    "n_estimators": ("classifier", lambda d: d.set_params(n_estimators=0).fit(X, Y), ValueError,
                     "n_estimators"),
    "fraction": ("classifier", lambda d: d.set_params(
        validation_fraction=2, patience=1).fit(X, Y), ValueError, "validation_fraction.*below 1"),
    "fraction of one": ("regressor", lambda d: d.set_params(patience=1).fit(X[:1], SUMS[:1]),
                        ValueError, "cannot be split"),
    "random_state": ("classifier", lambda d: d.set_params(random_state="x").fit(X, Y), ValueError,
                     "seed"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit(case, unchanged):
    name, action, error, message = CASES[case]
    door, _ = unchanged(name)
    parameters = door.get_params()
    with pytest.raises(error, match=message):
        action(door)
    door.set_params(**parameters)


@pytest.mark.parametrize(("kind", "method"), [
    (SequenceClassifier, "predict"), (SequenceClassifier, "predict_proba"),
    (SequenceRegressor, "predict"), (SequenceTagger, "predict"), (SequenceTagger, "predict_proba"),
    (SequenceScaler, "transform"), (SequenceScaler, "inverse_transform"),
])
def test_before_fit(kind, method):
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        getattr(kind(), method)(X)
    door = kind()
    with pytest.raises((TypeError, ValueError)):
        door.fit(WITH_NAN, Y)
    with pytest.raises(NotFittedError):
        getattr(door, method)(X)
    assert not hasattr(door, "n_features_in_")


def test_nothing_has_changed_after_an_interrupt(unchanged, monkeypatch):
    door, _ = unchanged("classifier")

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ensemble, "fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        door.fit(X[:6], Y[:6])


def test_a_failed_epoch_leaves_the_optimizer(monkeypatch):
    door = SequenceRegressor(**FEW).partial_fit(X, SUMS)
    other = copy.deepcopy(door)
    with pytest.raises(ValueError, match="NaN"):
        door.partial_fit(X, SUMS * np.nan)
    fit = ensemble.fit

    def fail_late(*arguments, **options):
        fit(*arguments, **options)
        raise FloatingPointError

    with monkeypatch.context() as patch:
        patch.setattr(ensemble, "fit", fail_late)
        with pytest.raises(FloatingPointError):
            door.partial_fit(X, SUMS)
    assert same(door.partial_fit(X, SUMS).net_.vector, other.partial_fit(X, SUMS).net_.vector)
