"""Weights of samples and classes and missing targets in `fit` and `evaluate`, by hand."""

import numpy as np
import pytest
from small_training import B, I, O, T, batch, make, train

import crnn

LENGTHS = np.array([T, 6])


def by_hand(data, epochs=3, net=None, truncation=None, **options):
    """Train on one batch; ``data`` has x, targets, and maybe lengths and sample_weight."""
    net, optimizer, losses = net or make(), crnn.SGD(0.1, momentum=0.9), []
    x, targets = data["x"], data["targets"]
    weights, lengths = data.get("sample_weight"), data.get("lengths")
    for _ in range(epochs):
        state = None
        for start in range(0, T, truncation or T):
            part = slice(start, start + (truncation or T))
            own = weights[part] if weights is not None and weights.ndim == 2 else weights
            here = None if lengths is None else np.clip(lengths - start, 0, len(x[part]))
            loss, gradients, state = net.loss_and_gradients(
                x[part], targets[part], state, lengths=here, sample_weight=own, **options)
            optimizer.step(net, gradients)
            losses.append(loss)
    return net, losses


def as_dict(data, **more):
    return dict(zip(("x", "targets"), data, strict=True)) | more


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("truncation", [None, 4])
@pytest.mark.parametrize("shape", [(T, B), (B,)], ids=str)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "mse"])
def test_sample_weights_are_those_of_the_loss(rng, loss, shape, truncation, lengths):
    data = as_dict(batch(rng, loss=loss), sample_weight=rng.uniform(0.5, 2, shape))
    data |= {} if lengths is None else {"lengths": lengths}
    net, _, history, updates, _ = train(data, loss=loss, truncation=truncation)
    wanted, losses = by_hand(data, truncation=truncation, loss=loss)
    assert [event.loss for event in updates] == losses
    assert np.array_equal(net.vector, wanted.vector)
    assert not np.array_equal(net.vector, train(batch(rng, loss=loss), loss=loss)[0].vector)
    valid = T * B if lengths is None else T + 6
    assert sum(event.targets for event in updates) == 3 * valid * (1 if loss == "softmax" else O)
    np.testing.assert_allclose(
        crnn.evaluate(net, data, loss=loss, truncation=truncation),
        net.loss(data["x"], data["targets"], loss=loss, lengths=lengths,
                 sample_weight=data["sample_weight"])[0], rtol=1e-5)
    assert len(history) == 3


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_a_weight_of_0_is_no_target(rng, loss):
    """A chunk of such weights is no update, and NaN among its targets reach nothing."""
    x, targets = batch(rng, 12, loss=loss)
    weights = np.ones((12, B))
    weights[4:8] = 0
    if loss == "mse":
        targets[4:8] = np.nan
    found, *_, updates, _ = train(as_dict((x, targets), sample_weight=weights), loss=loss,
                                  truncation=4)
    assert len(updates) == 6
    assert {event.targets for event in updates} == {4 * B * (O if loss == "mse" else 1)}
    assert np.isfinite(found.vector).all()
    if loss == "softmax":
        targets[4:8] = -1
        assert np.array_equal(found.vector, train((x, targets), truncation=4)[0].vector)
    with pytest.raises(ValueError, match="data has no valid target"):
        train(as_dict((x, targets), sample_weight=0 * weights), loss=loss)


def test_lists_and_batches_of_weights(rng):
    lengths = [T, 6, 4]
    xs = [rng.standard_normal((n, I)) for n in lengths]
    targets = [rng.integers(0, O, n) for n in lengths]
    weights = [rng.uniform(0.5, 2, n) for n in lengths]
    data = {"x": xs, "targets": targets, "sample_weight": weights}
    batches = crnn.batches(xs, targets, weights, batch_size=2, shuffle=False, bucket=False)
    net = make(dtype="float64")
    sums, counts = zip(*[
        (net.loss(x, t, sample_weight=w, reduction="sum")[0], len(x))
        for x, t, w in zip(xs, targets, weights, strict=True)], strict=True)
    for each in (data, batches):
        np.testing.assert_allclose(
            crnn.evaluate(net, each), sum(sums) / sum(counts), rtol=1e-12)
        assert train(each, net=make())[2]["loss"][0] > 0


@pytest.mark.parametrize("truncation", [None, 4])
def test_class_weights(rng, truncation):
    data, weight = as_dict(batch(rng)), {0: 0.5, 2: 3.0}
    net, _, _, updates, _ = train(data, class_weight=weight, truncation=truncation)
    wanted, losses = by_hand(data, truncation=truncation, class_weight=weight)
    assert [event.loss for event in updates] == losses
    assert np.array_equal(net.vector, wanted.vector)
    loss, _ = net.loss(data["x"], data["targets"], class_weight=weight)
    assert crnn.evaluate(net, data, class_weight=weight) == pytest.approx(loss, rel=1e-14)


def test_balanced_is_of_all_data(rng):
    """n / (classes * count) of what all batches have, not of each batch."""
    data = [(*batch(rng), LENGTHS), batch(rng, 5)]
    data[1][1][:] = 1
    valid = np.concatenate([
        data[0][1][np.arange(T)[:, None] < LENGTHS], data[1][1].ravel()])
    classes, counts = np.unique(valid, return_counts=True)
    weight = {k: len(valid) / (len(classes) * n) for k, n in zip(classes, counts, strict=True)}
    balanced, mapped = (
        train(data, class_weight=each, seed=1, validation=data) for each in ("balanced", weight))
    np.testing.assert_allclose(balanced[0].vector, mapped[0].vector, rtol=1e-6)
    np.testing.assert_allclose(balanced[2]["loss"], mapped[2]["loss"], rtol=1e-6)
    np.testing.assert_allclose(
        crnn.evaluate(make(), data, class_weight="balanced"),
        crnn.evaluate(make(), data, class_weight=weight), rtol=1e-6)
    assert balanced[2]["loss"][0] != train(data, seed=1)[2]["loss"][0]


def test_missing_numbers_are_skipped_one_by_one(rng):
    x, targets = batch(rng, loss="mse")
    targets[2, 0, 1] = targets[8:] = np.nan
    net, _, _, updates, _ = train((x, targets), loss="mse", missing="skip", truncation=4)
    assert [event.targets for event in updates[:2]] == [4 * B * O - 1, 4 * B * O]
    assert len(updates) == 6  # the third chunk has no target
    wanted, _ = net.loss(x, targets, loss="mse", missing="skip")
    np.testing.assert_allclose(
        crnn.evaluate(net, (x, targets), loss="mse", missing="skip", truncation=4), wanted,
        rtol=1e-5)


def test_metrics_are_of_targets_that_weigh_something(rng):
    net, (x, targets), weights = make(), batch(rng), rng.integers(0, 3, (T, B)).astype(float)
    data = as_dict((x, targets), sample_weight=weights)
    right = (net(x)[0].argmax(-1) == targets)[weights > 0]
    found = crnn.evaluate(net, data, metrics=["accuracy"], truncation=4)
    np.testing.assert_allclose(found["accuracy"], right.mean(), rtol=1e-12)
    x, targets = batch(rng, loss="mse")
    targets[3] = np.nan
    found = crnn.evaluate(net, (x, targets), loss="mse", missing="skip", metrics=["mae"])
    differences = np.delete(net(x)[0] - targets, 3, axis=0)
    np.testing.assert_allclose(found["mae"], np.abs(differences).mean(), rtol=1e-6)


def test_resumed_with_the_same_class_weights_alone(rng, tmp_path):
    data, path = batch(rng), tmp_path / "checkpoint"
    options = {"class_weight": "balanced", "truncation": 4}
    wanted = train(data, **options)
    train(data, **options, checkpoint=path, callbacks=[lambda event: event.update == 4])
    for other in (None, {0: 2}):
        with pytest.raises(ValueError, match="class_weight was"):
            train(data, truncation=4, class_weight=other, checkpoint=path, resume=True)
    found = train(data, **options, checkpoint=path, resume=True)
    assert np.array_equal(found[0].vector, wanted[0].vector)
    assert found[2].rows == wanted[2].rows


@pytest.mark.parametrize("loss", [crnn.Huber(0.5), "mae", "gaussian", crnn.Quantile(0.25, 0.75)],
                         ids=repr)
def test_the_other_losses(rng, loss, tmp_path):
    blocks = 2 if loss == "gaussian" or isinstance(loss, crnn.Quantile) else 1
    x, targets = batch(rng, loss="mse")
    data, path = as_dict((x, targets[..., : O // blocks])), tmp_path / "checkpoint"
    net, *_, updates, _ = train(data, loss=loss, truncation=4)
    wanted, losses = by_hand(data, loss=loss, truncation=4)
    assert [event.loss for event in updates] == losses
    assert np.array_equal(net.vector, wanted.vector)
    train(data, loss=loss, truncation=4, checkpoint=path, callbacks=[lambda e: e.update == 4])
    with pytest.raises(ValueError, match=r"loss was .* and is 'mse'"):
        train(as_dict((x, targets)), loss="mse", truncation=4, checkpoint=path, resume=True)
    found = train(data, loss=loss, truncation=4, checkpoint=path, resume=True)
    assert np.array_equal(found[0].vector, wanted.vector)


BAD = {
    "another name": ({"x": 0, "targets": 0, "weights": 0}, {}, ValueError, '"x" and "targets"'),
    "no targets": ({"x": 0}, {}, ValueError, '"x" and "targets"'),
    "a weight below 0": ({"sample_weight": np.full((T, B), -1.0)}, {}, ValueError, "has -1.0"),
    "weights of another shape": (
        {"sample_weight": np.ones(T)}, {}, ValueError, r"sample_weight has shape \(11,\)"),
    "class_weight of numbers": ({}, {"loss": "mse", "class_weight": {0: 1}}, ValueError, "class"),
    "a class that is not there": ({}, {"class_weight": {4: 1}}, ValueError, "class_weight"),
    "another word": ({}, {"class_weight": "even"}, ValueError, "class_weight is 'even'"),
    "missing": ({}, {"missing": "drop"}, ValueError, "missing is 'drop'"),
    "a function and class_weight": (
        {}, {"loss": print, "class_weight": {0: 1}}, ValueError, "leave out class_weight"),
    "a function and sample_weight": (
        {"sample_weight": np.ones(B)}, {"loss": lambda y, t: None}, ValueError, "leave out sample"),
}


@pytest.mark.parametrize(("entries", "options", "error", "match"), BAD.values(), ids=BAD)
def test_refusals(rng, entries, options, error, match):
    loss = options.get("loss", "softmax")
    data = as_dict(batch(rng, loss=loss if isinstance(loss, str) else "softmax")) | entries
    data = entries if entries.get("x") == 0 else data
    for call in (lambda: train(data, **options), lambda: crnn.evaluate(make(), data, **options)):
        with pytest.raises(error, match=match):
            call()
