"""Chunks without a valid target are no updates, wherever they lie; data without any are refused."""

import numpy as np
import pytest
from small_training import B, I, O, T, batch, make, train

import crnn

OPTIMIZERS = {
    "SGD": lambda: crnn.SGD(0.1, weight_decay=0.1),
    "momentum": lambda: crnn.SGD(0.05, momentum=0.9),
    "Adam": lambda: crnn.Adam(0.01),
    "AdamW": lambda: crnn.AdamW(0.01),
    "RMSprop": lambda: crnn.RMSprop(0.01, momentum=0.5),
    "Adagrad": lambda: crnn.Adagrad(0.1, lr_decay=0.1),
}


def padded(data, steps, loss="softmax"):
    """Return a batch with that many further steps, which its lengths leave out."""
    x, targets = data

    def longer(array):
        return np.concatenate([array, np.ones((steps, *array.shape[1:]), array.dtype)])

    return longer(x), longer(targets), [T, 6]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "mse"])
def test_how_far_a_batch_is_padded_changes_nothing(rng, name, loss):
    data = batch(rng, loss=loss)
    found = []
    for steps in (1, 4, 30):
        net, optimizer, history, updates, _ = train(
            padded(data, steps), optimizer=OPTIMIZERS[name](), truncation=6, loss=loss,
            schedule=crnn.cosine(), validation=padded(data, steps),
        )
        found.append((net.vector.tobytes(), optimizer.steps, history.rows,
                      [event.lr for event in updates]))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == 6  # two chunks of six steps in each epoch


def test_missing_targets_are_as_lengths(rng):
    x, targets = batch(rng)
    missing = targets.copy()
    missing[6:, 1] = -1
    by_lengths, by_targets = (
        train(data, truncation=4)[0].vector for data in ((x, targets, [T, 6]), (x, missing)))
    assert np.array_equal(by_lengths, by_targets)


@pytest.mark.parametrize("hole", [0, 1, 2], ids=["first chunk", "in the middle", "last chunk"])
def test_the_state_goes_on_through_a_chunk_without_targets(rng, hole):
    """Three chunks of four steps, of which one has no targets, are two updates."""
    x, targets = batch(rng, 12)
    targets[4 * hole : 4 * hole + 4] = -1
    net, optimizer, history, updates, _ = train((x, targets), truncation=4)
    by_hand, slots, losses = make(), crnn.SGD(0.1, momentum=0.9), []
    for _ in range(3):
        state = None
        for k in range(3):
            part = slice(4 * k, 4 * k + 4)
            if k == hole:
                _, state = by_hand(x[part], state)
                continue
            loss, gradients, state = by_hand.loss_and_gradients(x[part], targets[part], state)
            slots.step(by_hand, gradients)
            losses.append(loss)
    assert [event.loss for event in updates] == losses
    assert np.array_equal(net.vector, by_hand.vector)
    assert optimizer.steps == history["update"][-1] == 6
    assert {event.updates for event in updates} == {6}
    assert {event.targets for event in updates} == {4 * B}


def test_an_epoch_goes_over_a_batch_without_targets(rng):
    x, targets = batch(rng)
    empty = batch(rng)[0], np.full((T, B), -1)
    alone, both = (train(data)[:3] for data in ((x, targets), [(x, targets), empty]))
    assert np.array_equal(alone[0].vector, both[0].vector)
    assert alone[2].rows == both[2].rows
    assert crnn.evaluate(alone[0], [(x, targets), empty]) == crnn.evaluate(alone[0], (x, targets))


@pytest.mark.parametrize("update", [1, 2, 3, 4, 5, 6, 7])
def test_stopped_beside_a_chunk_without_targets(rng, tmp_path, update):
    x, targets = batch(rng, 12)
    targets[4:8] = -1
    data = [(x, targets), padded(batch(rng), 20)]
    options = {"truncation": 4, "checkpoint": tmp_path / "checkpoint", "seed": 1}
    wanted = train(data, truncation=4, seed=1)
    train(data, **options, callbacks=[lambda event: event.update == update])
    found = train(data, net=make(seed=9), resume=True, **options)
    assert np.array_equal(found[0].vector, wanted[0].vector)
    assert found[2].rows == wanted[2].rows
    assert found[1].steps == wanted[1].steps


X, TARGETS, NONE = np.ones((T, B, I)), np.zeros((T, B), int), np.full((T, B), -1)
NUMBERS = {"loss": "mse"}
NOTHING = {
    "no step": ((X[:0], TARGETS[:0]), {}),
    "no sequence": ((X[:, :0], TARGETS[:, :0]), {}),
    "all missing": ((X, NONE), {}),
    "all missing, in chunks": ((X, NONE), {"truncation": 4}),
    "all missing, many to one": ((X, NONE[0]), {}),
    "all missing, two batches": ([(X, NONE), (X[:3], NONE[:3])], {}),
    "lengths 0": ((X, TARGETS, [0, 0]), {}),
    "lengths 0, many to one": ((X, TARGETS[0], [0, 0]), {}),
    "lengths 0, mse": ((X, np.zeros((T, B, O)), [0, 0]), NUMBERS),
    "missing or over": ((X, np.r_[NONE[:4], TARGETS[4:]], [4, 0]), {}),
    "no step, mse": ((X[:0], np.zeros((0, B, O))), NUMBERS),
}


@pytest.mark.parametrize(("data", "options"), NOTHING.values(), ids=NOTHING)
def test_data_without_a_valid_target_are_refused_before_training(data, options, tmp_path):
    net, optimizer = make(), crnn.Adam()
    before = net.vector.copy()
    good = (X, TARGETS) if options.get("loss") != "mse" else (X, np.zeros((T, B, O)))
    for arguments, name in (({"data": data}, "data"),
                            ({"data": good, "validation": data}, "validation")):
        with pytest.raises(ValueError, match=f"^{name} has no valid target"):
            crnn.fit(net, **arguments, optimizer=optimizer, epochs=2,
                     checkpoint=tmp_path / "checkpoint", **options)
    with pytest.raises(ValueError, match=r"^data has no valid target"):
        crnn.evaluate(net, data, **options)
    assert np.array_equal(net.vector, before)
    assert optimizer.steps == 0
    assert not list(tmp_path.iterdir())


# --- warm-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax", "mse"])
@pytest.mark.parametrize("truncation", [None, 3])
@pytest.mark.parametrize("sequences", [(B,), ()], ids=["batch", "one sequence"])
def test_outputs_of_the_warm_up_do_not_count(rng, loss, truncation, sequences):
    net = make(dtype="float64")
    x, targets = batch(rng, loss=loss, sequences=sequences)
    _, state = net(x[:4])
    wanted, _ = net.loss(x[4:], targets[4:], state, loss=loss)
    found = crnn.evaluate(net, (x, targets), loss=loss, truncation=truncation, warm_up=4)
    np.testing.assert_allclose(found, wanted, rtol=1e-13)
    assert found != crnn.evaluate(net, (x, targets), loss=loss)


def test_the_warm_up_and_lengths(rng):
    net, (x, targets) = make(dtype="float64"), batch(rng)
    _, state = net(x[:7], lengths=[7, 6])
    wanted, _ = net.loss(x[7:], targets[7:], state, lengths=[T - 7, 0])
    np.testing.assert_allclose(
        crnn.evaluate(net, (x, targets, [T, 6]), warm_up=7), wanted, rtol=1e-13)


def test_the_warm_up_of_validation(rng):
    data, validation, told = batch(rng), batch(rng), []

    def look(event):
        if event.kind == "epoch":
            told.append(crnn.evaluate(event.net, validation, warm_up=4, metrics=["accuracy"]))

    net, _, history, *_ = train(data, validation=validation, warm_up=4, metrics=["accuracy"],
                                callbacks=[look])
    assert history["validation_loss"] == [each["loss"] for each in told]
    assert history["validation_accuracy"] == [each["accuracy"] for each in told]
    assert np.array_equal(net.vector, train(data)[0].vector)


def test_a_warm_up_that_cannot_be(rng):
    x, targets = batch(rng)
    both = crnn.RNN(3, 5, O, bidirectional=True, seed=0)
    for net, arguments, error, match in (
        (make(), {"warm_up": T}, ValueError, "no valid target.* after warm_up = 11 steps"),
        (make(), {"warm_up": -1}, ValueError, "warm_up must be at least 0"),
        (make(), {"warm_up": 1.5}, TypeError, "warm_up must be a whole number"),
        (both, {"warm_up": 2}, ValueError, "bidirectional.*leave out warm_up"),
        (make(), {"warm_up": 2, "data": (x, targets[0])}, ValueError, "last.*leave out warm_up"),
    ):
        with pytest.raises(error, match=match):
            crnn.evaluate(net, **({"data": (x, targets)} | arguments))
        with pytest.raises(error, match=match):
            crnn.fit(net, (x, targets), crnn.Adam(), epochs=1, warm_up=arguments["warm_up"],
                     validation=arguments.get("data", (x, targets)))
