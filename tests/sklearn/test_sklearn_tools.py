"""scikit-learn's tools over sequences: pipelines, searches, cross-validation, joblib's workers."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
import sklearn
from parallel_probe import Probe
from sequence_data import FEW, ragged, same
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import crnn
from crnn.sklearn import (
    SequenceClassifier,
    SequenceRegressor,
    SequenceScaler,
    SequenceTagger,
)
from crnn.sklearn.ensemble import trained

pytestmark = pytest.mark.no_backend
X, Y, SUMS = ragged(24)
TAGS = [np.repeat(label, len(each)) for label, each in zip(Y, X, strict=True)]
EVERY = {"classifier": (SequenceClassifier, Y), "regressor": (SequenceRegressor, SUMS),
         "tagger": (SequenceTagger, TAGS)}


@pytest.mark.parametrize("name", EVERY)
def test_copies(name):
    kind, y = EVERY[name]
    options = FEW | {"n_estimators": 2, "bidirectional": True, "hidden_size": (4, 3)}
    found = kind(**options).fit(X, y)
    expected = found.predict(X)
    assert clone(found).get_params() == found.get_params()
    assert not hasattr(clone(found), "net_")
    loaded = pickle.loads(pickle.dumps(found))
    assert same(loaded.predict(X), expected)
    assert loaded.net_ is loaded.nets_[0]
    assert loaded.history_["loss"] == found.history_["loss"]
    on = pickle.loads(pickle.dumps(found.partial_fit(X, y)))
    assert same(on.partial_fit(X, y).net_.vector, found.partial_fit(X, y).net_.vector)


def test_texts_are_pickled_with_their_vocabulary():
    texts = ["abc", "ca", "bb"] * 3
    found = SequenceClassifier(**FEW).fit(texts, [0, 1, 2] * 3)
    assert same(pickle.loads(pickle.dumps(found)).predict_proba(texts), found.predict_proba(texts))


def test_the_network_can_be_saved_with_its_scaler(tmp_path):
    found = SequenceClassifier(**FEW).fit(X, Y)
    found.net_.save(tmp_path / "net.safetensors")
    net = crnn.load(tmp_path / "net.safetensors")
    assert found.classes_[net.predict(net.scaler.transform(X))].tolist() == (
        found.predict(X).tolist())
    assert json.loads(net.metadata["classes"]) == ["down", "level", "up"]
    assert "classes" not in SequenceRegressor(**FEW).fit(X, SUMS).net_.metadata


def test_a_pipeline():
    classifier = SequenceClassifier(**FEW, batch_size=24)
    scaled = make_pipeline(SequenceScaler(), clone(classifier)).fit(X, Y)
    plain = classifier.fit(X, Y)
    np.testing.assert_allclose(scaled.predict_proba(X), plain.predict_proba(X), atol=1e-4)
    differences = FunctionTransformer(lambda X: [np.diff(each, axis=0) for each in X])
    assert make_pipeline(differences, SequenceRegressor(**FEW)).fit(X, SUMS).predict(X).shape == (
        24,)


def test_a_search_over_sequences_of_unequal_lengths():
    grid = {"cell": ["gru", "lstm"], "hidden_size": [4, 6], "bidirectional": [False, True]}
    search = GridSearchCV(SequenceClassifier(epochs=2, random_state=0), grid, cv=2,
                          error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_estimator_.net_.hidden_size == search.best_params_["hidden_size"]
    assert 0 <= search.best_score_ <= 1
    for scoring in ("neg_log_loss", "f1_macro", "roc_auc_ovr"):
        GridSearchCV(SequenceClassifier(epochs=2), {"lr": [0.01]}, cv=2, scoring=scoring,
                     error_score="raise").fit(X, Y)
    GridSearchCV(SequenceRegressor(epochs=2), {"lr": [0.01]}, cv=2, error_score="raise",
                 scoring="neg_mean_absolute_error").fit(X, SUMS)
    GridSearchCV(SequenceTagger(epochs=2), {"lr": [0.01]}, cv=2, error_score="raise").fit(X, TAGS)


def test_a_search_over_a_pipeline_of_texts():
    texts, y = ["abab", "ba", "abba", "baa"] * 6, [0, 1, 0, 1] * 6
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(lambda X: [each.upper() for each in X]),
                      SequenceClassifier(epochs=30, random_state=0)),
        {"sequenceclassifier__lr": [0.02, 1e-6]}, cv=KFold(3), error_score="raise").fit(texts, y)
    assert search.best_params_ == {"sequenceclassifier__lr": 0.02}
    assert search.score(texts, y) == 1


def test_groups_stay_together():
    """Each group has a label of its own, which nothing else tells."""
    groups = np.repeat(np.arange(6), 4)
    X = [np.full((3 + k % 4, 2), float(k // 4)) + 0.01 * k for k in range(24)]
    y = np.array(["a", "b", "b", "a", "a", "b"])[groups]
    model = SequenceClassifier(epochs=40, lr=0.05, random_state=0)
    apart = cross_val_score(model, X, y, groups=groups, cv=GroupKFold(6), error_score="raise")
    mixed = cross_val_score(model, X, y, cv=KFold(6, shuffle=True, random_state=0))
    assert len(apart) == 6
    assert mixed.mean() > 0.9 > apart.mean()
    found = cross_val_predict(model, X, y, groups=groups, cv=GroupKFold(6))
    assert apart.mean() == accuracy_score(y, found)


def test_weights_are_routed():
    weights = np.arange(24.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SequenceClassifier(**FEW).set_fit_request(sample_weight=True).set_score_request(
            sample_weight=True)
        search = GridSearchCV(model, {"hidden_size": [5]}, cv=2, error_score="raise").fit(
            X, Y, sample_weight=weights)
        found = search.best_estimator_
    assert same(found.net_.vector, SequenceClassifier(**FEW).fit(X, Y, weights).net_.vector)
    assert not same(found.net_.vector, SequenceClassifier(**FEW).fit(X, Y).net_.vector)


@pytest.mark.parametrize("name", EVERY)
def test_pictures_of_estimators(name):
    kind, y = EVERY[name]
    found = kind(**FEW)
    assert kind.__name__ in found._repr_html_()
    assert kind.__name__ in found.fit(X, y)._repr_html_()
    assert repr(kind(hidden_size=7)) == f"{kind.__name__}(hidden_size=7)"


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_every_parameter_is_described(kind):
    for name in kind().get_params():
        assert f"\n    {name} : " in kind.__doc__
    assert "<" not in kind.__doc__.split("Examples")[0].replace("<=", "")


# --- workers -------------------------------------------------------------------------------------


@pytest.fixture
def own_threads(monkeypatch):
    """Leave the number of threads to joblib, and put this process' own back."""
    monkeypatch.delenv("CRNN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = crnn.get_num_threads()
    yield
    crnn.set_num_threads(before)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_the_same_bits_from_any_number_of_workers(backend, own_threads):
    def fitted(n_jobs):
        return SequenceClassifier(**FEW | {"n_jobs": n_jobs}, n_estimators=3).fit(X, Y)

    one = fitted(None)
    with joblib.parallel_config(backend=backend):
        two = fitted(2)
    for net, other in zip(one.nets_, two.nets_, strict=True):
        assert same(net.vector, other.vector)
    assert same(one.predict_proba(X), two.predict_proba(X))
    assert one.history_["loss"] == two.history_["loss"]


def probed(backend, n_jobs=2, tasks=4):
    with joblib.parallel_config(backend=backend):
        return trained(Probe(), [None] * tasks, [None] * tasks, None, range(tasks), n_jobs)


def test_threads_of_processes(own_threads):
    crnn.set_num_threads(7)
    processes, _, threads = probed("loky")
    assert os.getpid() not in processes
    assert set(threads) == {max(1, joblib.cpu_count() // 2)}
    assert crnn.get_num_threads() == 7


@pytest.mark.parametrize(("given", "each"), [(7, 3), (2, 1), (1, 1)])
def test_threads_of_threads(given, each, own_threads):
    crnn.set_num_threads(given)
    processes, _, threads = probed("threading")
    assert set(processes) == {os.getpid()}
    assert set(threads) == {each}
    assert crnn.get_num_threads() == given
    assert probed("threading", n_jobs=1)[2] == [given] * 4
    assert probed("loky", tasks=1)[0] == [os.getpid()]


# --- without scikit-learn ------------------------------------------------------------------------


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_scikit_learn_is_imported_only_when_asked_for():
    done = run("import crnn, sys; assert 'sklearn' not in sys.modules; assert 'joblib' not in"
               " sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", ["sklearn", "sklearn.utils.validation"])
def test_the_error_without_it_names_the_extra(missing):
    done = run(f"import sys; sys.modules[{missing!r}] = None; import crnn.sklearn")
    assert "ImportError: crnn.sklearn needs scikit-learn" in done.stderr
    assert "pip install 'crnn[sklearn]'" in done.stderr
