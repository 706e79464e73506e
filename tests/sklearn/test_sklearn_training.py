"""What estimators are trained on and how: weights, order, early stopping, going on, ensembles."""

import copy
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sequence_data import FEW, LABELS, ragged, same
from sklearn.utils.class_weight import compute_sample_weight

import crnn
from crnn.sklearn import SequenceClassifier, SequenceRegressor, SequenceTagger

no_backend = pytest.mark.no_backend
X, Y, SUMS = ragged()
OTHERS, OTHER_Y, OTHER_SUMS = ragged(9, seed=1)
EVERY = {"classifier": (SequenceClassifier, Y), "regressor": (SequenceRegressor, SUMS),
         "tagger": (SequenceTagger, [np.repeat(label, len(each)) for label, each in zip(
             Y, X, strict=True)])}


def vectors(estimator):
    return [net.vector for net in estimator.nets_]


# --- what is predicted ---------------------------------------------------------------------------


def test_labels_are_learned(backend):
    found = SequenceClassifier(epochs=60, hidden_size=8, random_state=0).fit(X, Y)
    assert found.score(X, Y) == 1
    assert found.net_.backend == backend


def test_numbers_are_learned(backend):
    found = SequenceRegressor(epochs=60, hidden_size=8, random_state=0).fit(X, SUMS)
    assert found.score(X, SUMS) > 0.9


@no_backend
def test_probabilities_are_those_of_the_network_over_scaled_features():
    found = SequenceClassifier(**FEW, bidirectional=True, cell="lstm").fit(X, Y)
    rows = np.concatenate(X)
    for number, each in enumerate(X):
        scaled = ((each - rows.mean(0)) / rows.std(0)).astype(np.float32)
        y = found.net_(scaled, last=True)[0].astype(float)
        np.testing.assert_allclose(
            found.predict_proba(X)[number], np.exp(y) / np.exp(y).sum(), rtol=1e-5)
    assert found.predict_proba(X).sum(1) == pytest.approx(1, abs=1e-12)
    assert found.predict(X).tolist() == LABELS[found.predict_proba(X).argmax(1)].tolist()


@no_backend
def test_numbers_are_brought_back_to_their_size():
    found = SequenceRegressor(**FEW).fit(X, SUMS)
    moved = SequenceRegressor(**FEW).fit(X, 1024 * SUMS)
    assert same(found.net_.vector, moved.net_.vector)
    np.testing.assert_allclose(moved.predict(X), 1024 * found.predict(X), rtol=1e-12)
    assert found.target_scaler_.mean == pytest.approx(SUMS.mean())
    scaled = found.net_.scaler.transform([X[0]])[0].astype(np.float32)
    y = found.net_(scaled, last=True)[0].item()
    assert found.predict(X[:1]) == pytest.approx(y * SUMS.std() + SUMS.mean(), rel=1e-6)


@no_backend
def test_several_numbers():
    y = np.column_stack([SUMS, -3 * SUMS, SUMS ** 2])[:, :2]
    found = SequenceRegressor(epochs=60, random_state=0).fit(X, y)
    assert found.predict(X).shape == (12, 2)
    assert found.score(X, y) > 0.9
    assert SequenceRegressor(**FEW).fit(X, y[:, :1]).predict(X).shape == (12, 1)


@no_backend
def test_a_constant_is_predicted_as_it_is():
    found = SequenceRegressor(epochs=60, random_state=0).fit(X, np.full(12, 7.0))
    np.testing.assert_allclose(found.predict(X), 7, atol=0.05)


# --- order, repetition and weights ---------------------------------------------------------------


def fitted(name, numbers, weights=None, **options):
    kind, y = EVERY[name]
    return kind(**(FEW | options)).fit(
        [X[k] for k in numbers], [y[k] for k in numbers], sample_weight=weights)


@no_backend
@pytest.mark.parametrize("options", [{}, {"patience": 2}, {"dropout": 0.3, "num_layers": 2}],
                         ids=repr)
@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_samples_does_not_matter(name, options):
    first, second = (fitted(name, numbers, **options) for numbers in (
        range(12), np.random.default_rng(0).permutation(12)))
    assert same(first.net_.vector, second.net_.vector)
    assert first.net_.scaler.mean.tobytes() == second.net_.scaler.mean.tobytes()


@no_backend
@pytest.mark.parametrize("name", EVERY)
def test_a_weight_is_a_repetition(name):
    counts = np.array([1, 0, 2, 3, 1, 1, 0, 2, 5, 1, 1, 2])
    kept = [k for k in range(12) if counts[k]]
    repeated = fitted(name, np.repeat(np.arange(12), counts))
    for numbers, weights in ((range(12), counts), (kept, 0.5 * counts[kept])):
        weighted = fitted(name, numbers, weights)
        assert same(weighted.net_.vector, repeated.net_.vector)
        assert weighted.history_["update"][-1] == 3  # ten sequences are a batch
    assert not same(fitted(name, kept).net_.vector, repeated.net_.vector)


@no_backend
def test_equal_sequences_with_other_targets_stay_apart():
    found = SequenceRegressor(epochs=200, random_state=0, batch_size=1).fit(
        [X[0], X[0], X[1]], [1.0, 3.0, 7.0])
    assert found.history_["update"][0] == 3
    np.testing.assert_allclose(found.predict(X[:2]), [2, 7], atol=0.5)


@no_backend
def test_equal_weights_are_none():
    for number in range(2, 12):
        assert same(fitted("regressor", range(number), np.full(number, 0.1)).net_.vector,
                    fitted("regressor", range(number)).net_.vector)


@no_backend
def test_features_are_scaled_by_weight():
    weights = np.arange(12.0)
    found = fitted("regressor", range(12), weights)
    steps = np.repeat(weights, [len(each) for each in X])
    np.testing.assert_allclose(
        found.net_.scaler.mean, np.average(np.concatenate(X), axis=0, weights=steps))
    assert found.target_scaler_.mean == pytest.approx(np.average(SUMS, weights=weights))


@no_backend
def test_class_weights_are_weights_of_samples():
    y = np.array(["a"] * 8 + ["b"] * 4)
    own = SequenceClassifier(**FEW, class_weight="balanced").fit(X, y)
    table = SequenceClassifier(**FEW, class_weight={"a": 1, "b": 2}).fit(X, y)
    given = SequenceClassifier(**FEW).fit(X, y)
    np.testing.assert_allclose(own.net_.vector, table.net_.vector, rtol=1e-4, atol=1e-6)
    assert not np.allclose(own.net_.vector, given.net_.vector, rtol=1e-3, atol=1e-4)
    still = SequenceClassifier(
        lr=1e-12, weight_decay=0.0, epochs=1, class_weight="balanced", random_state=0).fit(X, y)
    data = crnn.batches(still.net_.scaler.transform(X), (y == "b").astype(int),
                        compute_sample_weight("balanced", y))
    assert still.history_["loss"][0] == pytest.approx(crnn.evaluate(still.net_, data), rel=1e-5)


@no_backend
def test_balanced_classes_are_those_of_weights():
    """Two thirds of the weight are on one of two labels that are as frequent."""
    y, weights = np.repeat(["a", "b"], 6), np.repeat([1.0, 2.0], 6)
    found = SequenceClassifier(**FEW, class_weight="balanced").fit(X, y, weights)
    table = SequenceClassifier(**FEW, class_weight={"a": 2, "b": 1}).fit(X, y, weights)
    np.testing.assert_allclose(found.net_.vector, table.net_.vector, rtol=1e-4, atol=1e-6)


# --- early stopping, going on --------------------------------------------------------------------


@no_backend
def test_early_stopping_keeps_the_best_epoch():
    found = SequenceClassifier(epochs=80, patience=5, validation_fraction=0.25, random_state=3,
                               lr=0.1).fit(X, Y)
    losses = found.history_["validation_loss"]
    assert found.history_.stopped_by == "patience"
    assert found.n_iter_ == len(losses) == int(np.argmin(losses)) + 1 + 5
    whole = SequenceClassifier(epochs=10, random_state=3).fit(X, Y)
    assert whole.history_["validation_loss"] == [None] * 10


@no_backend
def test_what_is_held_out_is_of_classes_evenly():
    from crnn.sklearn.samples import Samples, held_out

    targets = [np.array(k) for k in [0] * 60 + [1] * 30 + [2] * 10]
    samples = Samples(list(range(100)), targets, list(range(100)))
    rest, kept = held_out(samples, 0.2, seed=5)
    assert np.bincount(kept.targets).tolist() == [12, 6, 2]
    assert sorted(rest.sequences + kept.sequences) == list(range(100))
    assert [targets[k] for k in kept.sequences] == kept.targets
    assert held_out(samples, 0.2, seed=6)[1].sequences != kept.sequences
    assert len(held_out(samples.part(range(2)), 0.99, seed=0)[1].sequences) == 1


@no_backend
def test_warm_start_goes_on():
    once = SequenceClassifier(**FEW).fit(X, Y)
    on = SequenceClassifier(**FEW, warm_start=True)
    assert same(on.fit(X, Y).net_.vector, once.net_.vector)
    before = on.net_
    on.fit(OTHERS, OTHER_Y)
    assert on.net_.scaler.mean.tobytes() == once.net_.scaler.mean.tobytes()
    data = crnn.batches(once.net_.scaler.transform(OTHERS), LABELS.searchsorted(OTHER_Y))
    loss = crnn.evaluate(once.net_, data)  # all are in the first update, whose loss is before it
    assert on.history_["loss"][0] == pytest.approx(loss, rel=1e-5)
    assert before is not on.net_
    assert same(before.vector, once.net_.vector)
    assert same(once.fit(OTHERS, OTHER_Y).net_.vector,
                SequenceClassifier(**FEW).fit(OTHERS, OTHER_Y).net_.vector)


@no_backend
@pytest.mark.parametrize("name", EVERY)
def test_epoch_by_epoch(name):
    kind, y = EVERY[name]
    options = {} if name == "regressor" else {"classes": LABELS}
    found = kind(**FEW | {"epochs": 99}).partial_fit(X[:6], y[:6], **options)
    losses = [found.history_["loss"][0]]
    for _ in range(30):
        before = found.net_
        found.partial_fit(X[6:], y[6:])
        losses.append(found.history_["loss"][-1])
    assert losses[-1] < losses[1]
    assert found.n_iter_ == 31
    assert found.history_["epoch"] == found.history_["update"] == list(range(1, 32))
    assert before is not found.net_
    slow = copy.deepcopy(found).set_params(lr=1e-12).partial_fit(X, y)
    np.testing.assert_allclose(slow.net_.vector, found.net_.vector, atol=1e-6)
    again = kind(**FEW).partial_fit(X[:6], y[:6], **options)
    for _ in range(30):
        again.partial_fit(X[6:], y[6:])
    assert same(again.net_.vector, found.net_.vector)
    found.fit(X, y)  # starts anew
    assert same(found.net_.vector, kind(**FEW | {"epochs": 99}).fit(X, y).net_.vector)


@no_backend
def test_the_optimizer_goes_on_from_epoch_to_epoch():
    found = SequenceRegressor(hidden_size=5, random_state=0, batch_size=12)
    net = None
    for _ in range(3):
        found.partial_fit(X, SUMS)
        if net is None:
            net = crnn.GRU(3, 5, 1, init="orthogonal", seed=0)
            net.vector, optimizer = found.net_.vector, crnn.AdamW(0.02)
            optimizer.restore(1, found._optimizers[0].state())
            data = crnn.batches(found.net_.scaler.transform(X),
                                found.target_scaler_.transform(SUMS[:, None]), batch_size=12)
            crnn.fit(net, data, optimizer, epochs=2, loss="mse", clip_norm=1.0, seed=0)
    np.testing.assert_allclose(found.net_.vector, net.vector, rtol=1e-5, atol=1e-6)


@no_backend
def test_labels_that_come_later():
    found = SequenceClassifier(**FEW).partial_fit(
        X[:3], ["down"] * 3, classes=["up", "level", "down"])
    assert found.classes_.tolist() == LABELS.tolist()
    assert found.partial_fit(X, Y).predict_proba(X).shape == (12, 3)


# --- what is random ------------------------------------------------------------------------------


@no_backend
def test_the_random_state_fixes_everything():
    options = {"epochs": 3, "dropout": 0.5, "num_layers": 2, "patience": 2, "hidden_size": 5}

    def vector(state):
        return SequenceClassifier(**options, random_state=state).fit(X, Y).net_.vector

    assert same(vector(1), vector(1))
    assert same(vector(1), vector(np.random.RandomState(1)))
    assert not same(vector(1), vector(2))
    assert not same(vector(None), vector(None))
    state = np.random.RandomState(1)
    assert not same(vector(state), vector(state))


# --- ensembles -----------------------------------------------------------------------------------


@no_backend
@pytest.mark.parametrize("name", EVERY)
def test_an_ensemble_predicts_the_mean(name):
    kind, y = EVERY[name]
    found = kind(**FEW, n_estimators=3).fit(X, y)
    assert len({net.vector.tobytes() for net in found.nets_}) == 3
    assert found.net_ is found.nets_[0]
    single = []
    for net in found.nets_:
        one = kind(**FEW).fit(X, y)
        one.nets_ = [net]
        single.append(one.predict(X) if name == "regressor" else one.predict_proba(X))
    whole = found.predict(X) if name == "regressor" else found.predict_proba(X)
    if name == "tagger":
        single, whole = [np.concatenate(each) for each in single], np.concatenate(whole)
    np.testing.assert_allclose(whole, np.mean(single, axis=0), rtol=1e-12)
    assert same(kind(**FEW, n_estimators=2).fit(X, y).nets_[1].vector, found.nets_[1].vector)


@no_backend
def test_an_ensemble_goes_on_and_grows():
    found = SequenceClassifier(**FEW, n_estimators=2, warm_start=True).fit(X, Y)
    before = vectors(found)
    found.set_params(n_estimators=3).fit(X, Y)
    assert len(found.nets_) == 3
    assert found.history_["loss"][0] < SequenceClassifier(**FEW).fit(X, Y).history_["loss"][0]
    assert not any(same(one, other) for one, other in zip(before, vectors(found), strict=False))


# --- parameters ----------------------------------------------------------------------------------


@no_backend
def test_parameters_arrive_at_the_network():
    found = SequenceClassifier(
        **FEW | {"hidden_size": (4, 6)}, cell="lstm", bidirectional=True, dropout=0.25).fit(X, Y)
    assert isinstance(found.net_, crnn.LSTM)
    assert found.net_.config()["hidden_size"] == [4, 6] or found.net_.hidden_size == (4, 6)
    assert found.net_.bidirectional
    assert found.net_.dropout == 0.25
    assert isinstance(SequenceClassifier(**FEW, cell="rnn").fit(X, Y).net_, crnn.RNN)
    assert SequenceClassifier(**FEW, num_layers=2).fit(X, Y).net_.num_layers == 2
    assert SequenceClassifier(**FEW, batch_size=5).fit(X, Y).history_["update"] == [3, 6, 9]


@no_backend
@pytest.mark.parametrize("name", ["lr", "weight_decay", "clip_norm"])
def test_parameters_arrive_at_the_training(name):
    other = {"lr": 0.001, "weight_decay": 0.9, "clip_norm": 0.01}[name]
    changed = SequenceClassifier(**FEW, **{name: other}).fit(X, Y)
    assert not same(changed.net_.vector, SequenceClassifier(**FEW).fit(X, Y).net_.vector)
    assert SequenceClassifier(**FEW, clip_norm=None).fit(X, Y).n_iter_ == 3


@no_backend
def test_the_learning_rate_falls_to_zero():
    rates = SequenceClassifier(**FEW | {"epochs": 50}).fit(X, Y).history_["lr"]
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] < 0.001


@no_backend
def test_a_bar_if_wanted(capsys):
    pytest.importorskip("tqdm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of notebooks, where ipywidgets is not there
        SequenceClassifier(**FEW, verbose=1).fit(X, Y)
    assert "epoch 3/3" in capsys.readouterr().err
    SequenceClassifier(**FEW).fit(X, Y)
    assert capsys.readouterr().err == ""
