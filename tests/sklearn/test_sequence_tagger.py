"""`SequenceTagger`: labels and numbers for every step."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sequence_data import FEW, ragged, same
from sklearn.metrics import accuracy_score, r2_score

from crnn.sklearn import SequenceTagger

pytestmark = pytest.mark.no_backend
X, _, _ = ragged(20)
LABELS = [np.where(each[:, 0] > 5, "high", "low") for each in X]
NUMBERS = [np.column_stack([each[:, 0] - each[:, 1], 100 * each[:, 2]]) for each in X]


def test_labels_are_learned():
    found = SequenceTagger(random_state=0).fit(X, LABELS)
    assert found.classes_.tolist() == ["high", "low"]
    assert found.score(X, LABELS) > 0.98
    predicted, likely = found.predict(X), found.predict_proba(X)
    for labels, each, probabilities in zip(predicted, X, likely, strict=True):
        assert labels.shape == (len(each),)
        assert probabilities.shape == (len(each), 2)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
        assert labels.tolist() == found.classes_[probabilities.argmax(1)].tolist()
    assert found.score(X, LABELS) == accuracy_score(
        np.concatenate(LABELS), np.concatenate(predicted))


def test_numbers_are_learned():
    found = SequenceTagger(random_state=0).fit(X, NUMBERS)
    assert found.score(X, NUMBERS) > 0.9
    predicted = found.predict(X)
    assert [each.shape for each in predicted] == [each.shape for each in NUMBERS]
    assert found.score(X, NUMBERS) == pytest.approx(
        r2_score(np.concatenate(NUMBERS), np.concatenate(predicted)))
    rows = np.concatenate(NUMBERS)
    np.testing.assert_allclose(found.target_scaler_.mean, rows.mean(0))
    np.testing.assert_allclose(found.target_scaler_.std, rows.std(0))
    assert not hasattr(found, "predict_proba")
    assert not hasattr(found, "classes_")
    assert hasattr(found.fit(X, LABELS), "predict_proba")
    assert not hasattr(found, "target_scaler_")


def test_one_number_a_step_has_no_axis():
    single = [each[:, 0] for each in NUMBERS]
    found = SequenceTagger(**FEW).fit(X, single)
    assert [each.shape for each in found.predict(X)] == [each.shape for each in single]
    assert same(found.net_.vector,
                SequenceTagger(**FEW).fit(X, [each[:, None] for each in single]).net_.vector)


def test_arrays_come_back_for_arrays():
    whole = np.random.default_rng(0).standard_normal((8, 5, 3))
    y = (whole[:, :, 0] > 0).astype(int)
    found = SequenceTagger(**FEW).fit(whole, y)
    of_lists = SequenceTagger(**FEW).fit(list(whole), y.tolist())
    assert same(found.net_.vector, of_lists.net_.vector)
    assert found.predict(whole).shape == (8, 5)
    assert found.predict_proba(whole).shape == (8, 5, 2)
    assert same(list(found.predict_proba(whole)), of_lists.predict_proba(list(whole)))
    assert found.score(whole, y) == of_lists.score(list(whole), list(y))
    assert SequenceTagger(**FEW).fit(whole[:, :, 0], whole).predict(whole[:, :, 0]).shape == (
        8, 5, 3)


def test_texts_can_have_a_character_for_each_of_theirs():
    texts, tags = ["abba", "bab", "aa"], ["1001", "010", "11"]
    found = SequenceTagger(random_state=0).fit(texts, tags)
    assert [each.tolist() for each in found.predict(["ab"])] == [["1", "0"]]


def test_a_step_of_weight_0_has_no_target():
    wrong = [each.copy() for each in LABELS]
    weights = [np.ones(len(each)) for each in LABELS]
    for each, weight in zip(wrong, weights, strict=True):
        each[-1], weight[-1] = "high", 0
    weights[0][:] = 0  # is left out
    found = SequenceTagger(**FEW).fit(X, wrong, weights)
    other = [np.append(each[:-1], "low") for each in LABELS]
    assert same(found.net_.vector, SequenceTagger(**FEW).fit(X, other, weights).net_.vector)
    assert found.score(X, wrong, weights) == found.score(X, other, weights)
    assert found.score(X, wrong) != found.score(X, other)


def test_weights_of_steps_add_up():
    weights = [np.arange(1.0, len(each) + 1) for each in X]
    once = SequenceTagger(**FEW).fit(X, LABELS, [3 * each for each in weights])
    twice = SequenceTagger(**FEW).fit(X * 2, LABELS * 2, weights + [2 * each for each in weights])
    assert same(once.net_.vector, twice.net_.vector)
    equal = SequenceTagger(**FEW).fit(X, LABELS, [np.full(len(each), 2.0) for each in X])
    assert same(equal.net_.vector, SequenceTagger(**FEW).fit(X, LABELS).net_.vector)


def test_class_weights():
    weights = [np.where(each == "low", 4.0, 1.0) for each in LABELS]
    likely = [np.concatenate(SequenceTagger(epochs=20, random_state=0, **options).fit(
        X, LABELS, given).predict_proba(X))[:, 1].mean() for options, given in (
            ({}, None), ({"class_weight": {"low": 4.0, "high": 1.0}}, None), ({}, weights))]
    assert likely[0] < likely[1] == pytest.approx(likely[2], abs=0.02)


def test_what_it_tells_scikit_learn():
    tags = SequenceTagger().__sklearn_tags__()
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required
