"""Metrics of `fit` and `evaluate`, against NumPy on the outputs."""

import numpy as np
import pytest
from small_training import B, I, O, T, batch, make, train

import crnn

LENGTHS = np.array([T, 6])
VALID = np.arange(T)[:, None] < LENGTHS


def largest(y, targets):
    """A metric of one's own."""
    return np.abs(y).max()


def test_accuracy_counts_valid_targets_alone(rng):
    net, (x, targets) = make(), batch(rng)
    targets[2:5, 0] = -1
    valid = VALID & (targets >= 0)
    right = (net(x, lengths=LENGTHS)[0].argmax(-1) == targets)[valid]
    for truncation in (None, 4, 6):
        found = crnn.evaluate(
            net, (x, targets, LENGTHS), metrics=["accuracy"], truncation=truncation)
        assert found.keys() == {"loss", "accuracy"}
        np.testing.assert_allclose(found["accuracy"], right.mean(), rtol=1e-12)
        np.testing.assert_allclose(
            found["loss"], net.loss(x, targets, lengths=LENGTHS)[0], rtol=1e-6)


def test_accuracy_of_sigmoid_is_of_each_output(rng):
    net, (x, targets) = make(), batch(rng, loss="sigmoid")
    found = crnn.evaluate(net, (x, targets, LENGTHS), loss="sigmoid", metrics=("accuracy",))
    right = ((net(x)[0] > 0) == (targets > 0.5))[VALID]
    np.testing.assert_allclose(found["accuracy"], right.mean(), rtol=1e-12)


@pytest.mark.parametrize("last_only", [False, True])
def test_errors_of_numbers(rng, last_only):
    net = make(dtype="float64")
    data = [batch(rng, loss="mse", last_only=last_only), batch(rng, 7, loss="mse",
                                                               last_only=last_only)]
    found = crnn.evaluate(net, data, loss="mse", metrics=["mae", "mse", largest])
    differences = [(net(x)[0][-1] if last_only else net(x)[0]) - targets for x, targets in data]
    flat = np.concatenate([each.ravel() for each in differences])
    np.testing.assert_allclose(found["mae"], np.abs(flat).mean(), rtol=1e-12)
    np.testing.assert_allclose(found["mse"], found["loss"], rtol=1e-12)


@pytest.mark.parametrize("truncation", [None, 3])
def test_errors_of_numbers_some_of_which_are_missing(rng, truncation):
    """A step whose numbers are missing but for one counts with this one."""
    net, (x, targets) = make(dtype="float64"), batch(rng, loss="mse")
    targets[3:7, :, 1:] = np.nan
    targets[8, 0] = np.nan
    found = crnn.evaluate(net, (x, targets), loss="mae", missing="skip", metrics=["mae", "mse"],
                          truncation=truncation)
    differences = net(x)[0] - targets
    np.testing.assert_allclose(found["mae"], np.nanmean(np.abs(differences)), rtol=1e-12)
    np.testing.assert_allclose(found["mae"], found["loss"], rtol=1e-12)
    np.testing.assert_allclose(found["mse"], np.nanmean(differences**2), rtol=1e-12)
    x, targets = batch(rng, loss="sigmoid")
    targets[3:7, :, 1:] = np.nan
    found = crnn.evaluate(net, (x, targets), loss="sigmoid", missing="skip", metrics=["accuracy"],
                          truncation=truncation)
    right = ((net(x)[0] > 0) == (targets > 0.5))[~np.isnan(targets)]
    np.testing.assert_allclose(found["accuracy"], right.mean(), rtol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_many_to_one_is_of_the_last_outputs(rng, bidirectional):
    net = crnn.GRU(I, 5, O, seed=3, bidirectional=bidirectional)
    x, targets = batch(rng, last_only=True)
    seen = []

    def keep(y, targets):
        seen.append((y, targets))
        return 0.5

    found = crnn.evaluate(net, (x, targets, [T, 0]), metrics=["accuracy", keep])
    y, _ = net(x, lengths=[T, 0], last=True)
    assert np.array_equal(seen[0][0], y[:1])
    assert np.array_equal(seen[0][1], targets[:1])
    assert found["accuracy"] == float(y[0].argmax() == targets[0])
    assert found["keep"] == 0.5


@pytest.mark.parametrize("sequences", [(B,), ()], ids=["batch", "one sequence"])
def test_history_has_columns(rng, sequences):
    data, validation = (batch(rng, sequences=sequences) for _ in range(2))
    told = []

    def look(event):
        if event.kind == "epoch":
            told.append(crnn.evaluate(event.net, validation, metrics=["accuracy", largest]))

    net, _, history, *_ = train(data, optimizer=crnn.SGD(1e-30), validation=validation,
                                metrics=("accuracy", largest), callbacks=[look], truncation=4)
    assert list(history.rows[0]) == [
        "epoch", "update", "lr", "loss", "validation_loss", "accuracy", "largest",
        "validation_accuracy", "validation_largest"]
    np.testing.assert_allclose(
        history["validation_accuracy"], [each["accuracy"] for each in told], rtol=1e-12)
    # the rate is so small that nothing changes
    wanted = crnn.evaluate(net, data, metrics=["accuracy", largest], truncation=4)
    for name, value in wanted.items():
        np.testing.assert_allclose(history[name], [value] * 3, rtol=1e-12)


def test_metrics_change_nothing_else(rng):
    data = batch(rng)
    with_metrics, without = (train(data, truncation=4, metrics=each) for each in (["accuracy"], ()))
    assert np.array_equal(with_metrics[0].vector, without[0].vector)
    assert with_metrics[2]["loss"] == without[2]["loss"]
    assert with_metrics[2]["validation_accuracy"] == [None] * 3
    assert list(without[2].rows[0]) == ["epoch", "update", "lr", "loss", "validation_loss"]


@pytest.mark.parametrize("update", range(1, 7))
def test_stopped_and_resumed(rng, tmp_path, update):
    data, path = [batch(rng), batch(rng, 5)], tmp_path / "checkpoint"
    options = {"truncation": 4, "epochs": 2, "validation": data, "metrics": ["accuracy", largest],
               "seed": 1}
    wanted = train(data, **options)
    train(data, **options, checkpoint=path, callbacks=[lambda event: event.update == update])
    with pytest.raises(ValueError, match=r"metrics was \['accuracy', 'largest'\] and is \[\]"):
        train(data, **options | {"metrics": ()}, checkpoint=path, resume=True)
    found = train(data, **options, checkpoint=path, resume=True)
    assert found[2].rows == wanted[2].rows


def test_callbacks_are_told_of_metrics(rng):
    options = {"truncation": 4, "metrics": ["accuracy", largest]}
    _, _, history, updates, epochs = train(batch(rng), validation=batch(rng), **options)
    names = ["accuracy", "largest"]
    assert all([*event.metrics] == names for event in updates)
    values, targets = ([each.metrics["accuracy"] for each in updates[:3]],
                       [each.targets for each in updates[:3]])
    np.testing.assert_allclose(
        epochs[0].metrics["accuracy"], np.average(values, weights=targets), rtol=1e-12)
    for row, event in zip(history, epochs, strict=True):
        wanted = [*names, *(f"validation_{name}" for name in names)]
        assert event.metrics == {name: row[name] for name in wanted}
        assert (event.loss, event.validation_loss) == (row["loss"], row["validation_loss"])
    *_, epochs = train(batch(rng), **options)
    assert [*epochs[0].metrics] == names
    *_, updates, epochs = train(batch(rng), validation=batch(rng))
    assert updates[0].metrics == epochs[0].metrics == {}


def test_a_function_as_a_loss_has_metrics_too(rng):
    def loss(y, targets):
        return np.square(y - targets).mean(), 2 * (y - targets) / y.size

    data = batch(rng, loss="mse")
    found = crnn.evaluate(make(), data, loss=loss, metrics=["mse"])
    np.testing.assert_allclose(found["mse"], found["loss"], rtol=1e-6)


BAD = {
    "a name alone": ("accuracy", TypeError, r"metrics is 'accuracy'; a sequence is wanted"),
    "a function alone": (largest, TypeError, "a sequence is wanted, such as"),
    "another name": (["f1"], ValueError, "a metric is 'f1'; it can be 'accuracy', 'mae', 'mse'"),
    "a number": ([3], TypeError, "a metric is 3"),
    "of another loss": (["mae"], ValueError, "'mae' is for the losses mse.*loss is 'softmax'"),
    "twice": (["accuracy", "accuracy"], ValueError, "another column 'accuracy'"),
}


@pytest.mark.parametrize(("metrics", "error", "match"), BAD.values(), ids=BAD)
def test_refusals(rng, metrics, error, match):
    for call in (lambda: train(batch(rng), metrics=metrics),
                 lambda: crnn.evaluate(make(), batch(rng), metrics=metrics)):
        with pytest.raises(error, match=match):
            call()


@pytest.mark.parametrize(("value", "error"), [(np.nan, ValueError), ("a", TypeError)])
def test_a_metric_that_is_no_finite_number(rng, value, error):
    net, optimizer = make(), crnn.Adam()
    with pytest.raises(error, match=r"value of the metric '.*lambda.*' is .*finite number"):
        crnn.fit(net, batch(rng), optimizer, epochs=1, metrics=[lambda y, targets: value])
    assert np.array_equal(net.vector, make().vector)
