"""`fit` and `evaluate`: against a loop written by hand, option by option."""

import json
import math
import signal
import threading
import tracemalloc

import numpy as np
import pytest
from small_training import B, I, O, T, batch, make, train
from thread_ranks import results

import crnn
from crnn.training import batches
from crnn.training.objectives import objective


def token_batch(rng, steps=T):
    return rng.integers(0, I, (steps, B)), rng.integers(0, O, (steps, B))


def loop_by_hand(net, given, optimizer, *, truncation=None, loss="softmax", clip=(), rates=()):
    """Train on these batches in this order; return the loss of each update."""
    losses, rates = [], list(rates)
    for x, targets, *lengths in given:
        state = None
        for start in range(0, len(x), truncation or len(x)):
            part = slice(start, start + truncation) if truncation else slice(None)
            here = np.clip(lengths[0] - start, 0, len(x[part])) if lengths else None
            value, gradients, state = net.loss_and_gradients(
                x[part], targets[part] if truncation else targets, state, loss=loss, lengths=here
            )
            for name, limit in clip:
                getattr(gradients, name)(limit)
            optimizer.lr = rates.pop(0) if rates else optimizer.lr
            optimizer.step(net, gradients)
            losses.append(value)
    return losses


LENGTHS = np.array([T, 6])
DATA = {
    "features": (batch, {}, None),
    "tokens": (token_batch, {}, None),
    "one sequence": (lambda rng: batch(rng, sequences=()), {}, None),
    "float64": (batch, {}, {"dtype": "float64"}),
    "relu": (batch, {}, {"nonlinearity": "relu"}),
    "sigmoid": (lambda rng: batch(rng, loss="sigmoid"), {"loss": "sigmoid"}, None),
    "mse": (lambda rng: batch(rng, loss="mse"), {"loss": "mse"}, None),
    "lengths": (lambda rng: (*batch(rng), LENGTHS), {}, None),
    "many to one": (lambda rng: batch(rng, last_only=True), {}, None),
    "many to one, mse": (lambda rng: batch(rng, loss="mse", last_only=True), {"loss": "mse"}, None),
    "many to one, lengths": (lambda rng: (*batch(rng, last_only=True), LENGTHS), {}, None),
    "truncation": (batch, {"truncation": 4}, None),  # 4 + 4 + 3 steps
    "truncation to one step": (batch, {"truncation": 1}, None),
    "truncation beyond the end": (batch, {"truncation": T + 2}, None),
    "truncation, tokens": (token_batch, {"truncation": 4}, None),
    "truncation, lengths": (lambda rng: (*batch(rng), LENGTHS), {"truncation": 4}, None),
    "truncation, one sequence": (lambda rng: batch(rng, sequences=()), {"truncation": 4}, None),
    "truncation, mse": (lambda rng: batch(rng, loss="mse"), {"loss": "mse", "truncation": 4}, None),
}


@pytest.mark.parametrize(("maker", "options", "network"), DATA.values(), ids=DATA)
def test_fit_equals_a_loop_by_hand_bit_for_bit(rng, maker, options, network):
    data, network = maker(rng), network or {}
    net, optimizer, history, updates, _ = train(data, net=make(**network), **options)
    by_hand, slots = make(**network), crnn.SGD(0.1, momentum=0.9)
    losses = loop_by_hand(by_hand, [data] * 3, slots, **options)
    assert [event.loss for event in updates] == losses
    assert np.array_equal(net.vector, by_hand.vector)
    assert np.array_equal(optimizer.state()["momentum"], slots.state()["momentum"])
    assert optimizer.steps == slots.steps == len(losses) == history["update"][-1]


@pytest.mark.parametrize("truncation", [None, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.intp, ">i8"])
def test_tokens_and_classes_may_lie_in_any_order_in_any_integers(rng, dtype, truncation):
    x, targets = token_batch(rng)
    wanted = train((x, targets), truncation=truncation)[0].vector
    other = [np.asfortranarray(each.astype(dtype)) for each in (x, targets)]
    assert np.array_equal(train(tuple(other), truncation=truncation)[0].vector, wanted)


@pytest.mark.parametrize("sequences", [(B,), ()], ids=["batch", "one sequence"])
def test_long_data_are_checked_in_parts(rng, monkeypatch, sequences):
    """With the same errors, wherever the fault is, and in little memory."""
    monkeypatch.setattr(batches, "PART", 4)
    x, targets = rng.integers(0, I, (T, *sequences)), rng.integers(0, O, (T, *sequences))
    train((x, targets))
    for step in (0, 5, T - 1):
        for array, wrong in ((x, I), (x, -1), (targets, O), (targets, -2)):
            before, array[step] = array[step].copy(), wrong
            with pytest.raises((IndexError, ValueError), match=f"(token|class) {wrong}"):
                train((x, targets))
            array[step] = before
    with pytest.raises(ValueError, match=rf"targets have shape \({T - 1},"):
        train((x, targets[1:]))


@pytest.mark.parametrize("batch_size", [1, 32])
def test_checking_a_long_text_takes_little_memory(batch_size):
    tokens = np.zeros(1_000_000, np.uint8)
    data = crnn.text.streams(tokens, batch_size)
    tracemalloc.start()
    found = batches.checked_batches(data, objective(make(), "softmax"), 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.updates == -(-(len(tokens) - 1) // batch_size // 64)
    assert peak < 3_000_000  # all of it as intp, x and targets, would be 16


def test_batches_are_all_taken_in_an_order_of_each_epochs_own(rng):
    data = [batch(rng, steps) for steps in (3, 4, 5, 6, 7)]  # told apart by their targets
    net, _, _, updates, _ = train(data, epochs=4, seed=1)
    order = [event.targets // B - 3 for event in updates]
    epochs = [tuple(order[i : i + 5]) for i in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 1
    by_hand = make()
    losses = loop_by_hand(by_hand, [data[i] for i in order], crnn.SGD(0.1, momentum=0.9))
    assert [event.loss for event in updates] == losses
    assert np.array_equal(net.vector, by_hand.vector)


def test_the_seed_decides_the_order(rng):
    data = [batch(rng, steps) for steps in (3, 4, 5, 6, 7)]
    first, again, other = (train(data, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0].vector, again[0].vector)
    assert first[2].rows == again[2].rows
    assert [e.targets for e in first[3]] != [e.targets for e in other[3]]


def test_data_may_be_any_sequence_and_is_not_changed(rng):
    class Lazy:
        def __len__(self):
            return 2

        def __getitem__(self, number):
            return data[number]

    data = [batch(rng), (*batch(rng, 6), [6, 1])]
    copies = [[np.copy(array) for array in item] for item in data]
    vectors = [train(kind, seed=0)[0].vector for kind in (data, tuple(data), Lazy())]
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[0], vectors[2])
    for item, before in zip(data, copies, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(item, before, strict=True))


@pytest.mark.parametrize("size", [1, 2])
def test_each_batch_is_read_once_before_training_and_once_in_each_epoch(rng, size):
    """Reading may take long. The first batch is looked at once more."""
    class Lazy(list):
        reads = 0

        def __getitem__(self, number):
            self.reads += 1
            return super().__getitem__(number)

    items = [batch(rng, steps) for steps in (3, 4, 5)]
    datasets = [Lazy(items) for _ in range(size)]
    results(size, lambda ranks: train(
        datasets[ranks.rank], epochs=4, truncation=2, all_reduce=ranks))
    assert [each.reads for each in datasets] == [3 + 1 + 4 * 3] * size


@pytest.mark.parametrize("truncation", [None, 2])
def test_the_epochs_loss_is_the_mean_over_targets(rng, truncation):
    net = make(dtype="float64")
    x, targets = batch(rng, 3)
    targets[0, 1] = -1
    data = [(x, targets), (*batch(rng, 7), [7, 2])]
    sums = sum(
        net.loss(*item[:2], reduction="sum", lengths=lengths)[0]
        for item, lengths in zip(data, (None, [7, 2]), strict=True)
    )
    # a rate so small that the network stays what it was for all but a few roundings
    _, _, history, updates, epochs = train(
        data, net=net, optimizer=crnn.SGD(1e-14), truncation=truncation
    )
    assert sum(event.targets for event in updates[: len(updates) // 3]) == epochs[0].targets == 14
    np.testing.assert_allclose(history["loss"], [sums / 14] * 3, rtol=1e-12)
    np.testing.assert_allclose(crnn.evaluate(net, data), sums / 14, rtol=1e-12)


@pytest.mark.parametrize(
    "clip",
    [{"clip_norm": 0.05}, {"clip_value": 0.01}, {"clip_norm": 0.05, "clip_value": 0.01}],
    ids="+".join,
)
def test_clipping(rng, clip):
    data = batch(rng)
    clipped, plain, by_hand = train(data, **clip)[0], train(data)[0], make()
    loop_by_hand(by_hand, [data] * 3, crnn.SGD(0.1, momentum=0.9), clip=clip.items())
    assert np.array_equal(clipped.vector, by_hand.vector)
    assert not np.array_equal(clipped.vector, plain.vector)


SCHEDULES = {
    "none": (None, lambda done: 1),
    "exponential": (crnn.exponential(0.1), lambda done: 0.1**done),
    "cosine": (crnn.cosine(), lambda done: (1 + math.cos(math.pi * done)) / 2),
    "cosine by name": ("cosine", lambda done: (1 + math.cos(math.pi * done)) / 2),
    "exponential by name": ("exponential", lambda done: 0.01**done),
    "constant by name": ("constant", lambda done: 1),
    "of one's own": (lambda done: 2 - done, lambda done: 2 - done),
}


@pytest.mark.parametrize(("schedule", "factor"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedule(rng, schedule, factor):
    data, optimizer = batch(rng), crnn.SGD(0.1)
    net, _, history, updates, epochs = train(
        data, optimizer=optimizer, truncation=4, schedule=schedule
    )
    wanted = [0.1 * factor(update / 9) for update in range(9)]
    np.testing.assert_allclose([event.lr for event in updates], wanted, rtol=1e-14)
    assert history["lr"] == [event.lr for event in epochs] == [e.lr for e in updates[2::3]]
    assert optimizer.lr == 0.1
    by_hand = make()
    rates = [event.lr for event in updates]
    loop_by_hand(by_hand, [data] * 3, crnn.SGD(0.1), truncation=4, rates=rates)
    assert np.array_equal(net.vector, by_hand.vector)


def test_the_learning_rate_is_restored_after_an_error(rng):
    def fail(event):
        raise RuntimeError("from a callback")

    optimizer = crnn.SGD(0.1)
    with pytest.raises(RuntimeError, match="from a callback"):
        crnn.fit(make(), batch(rng), optimizer, epochs=2, schedule=lambda done: 0.5,
                 callbacks=[fail])
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("truncation", [None, 4])
def test_validation_is_evaluate_after_each_epoch(rng, truncation):
    validation, seen = [batch(rng), (*batch(rng, 6), [6, 1])], []

    def look(event):
        if event.kind == "epoch":
            seen.append(crnn.evaluate(event.net, validation, truncation=truncation))

    net, _, history, _, epochs = train(
        batch(rng), validation=validation, truncation=truncation, callbacks=[look]
    )
    assert history["validation_loss"] == [event.validation_loss for event in epochs]
    assert crnn.evaluate(net, validation, truncation=truncation) == epochs[-1].validation_loss


def test_evaluate_carries_the_state_between_chunks(rng):
    data, net = batch(rng), make(dtype="float64")
    np.testing.assert_allclose(
        [crnn.evaluate(net, data, truncation=each) for each in (1, 4, T)],
        [net.loss(*data)[0]] * 3, rtol=1e-14,
    )


def by_heart(rng, **options):
    """Train on what can only be learned by heart; return `train`'s results and each epoch's end."""
    data, validation = batch(rng), batch(rng)
    vectors = []

    def keep(event):
        if event.kind == "epoch":
            vectors.append(event.net.vector.copy())
            assert crnn.evaluate(event.net, validation) == event.validation_loss

    options = {"optimizer": crnn.Adam(0.02), "epochs": 200, "validation": validation, **options}
    callbacks = [keep, *options.pop("callbacks", ())]
    found = train(data, callbacks=callbacks, **options)
    losses = found[2]["validation_loss"]
    return found, vectors, losses, losses.index(min(losses))


def test_patience_stops_and_leaves_the_parameters_of_the_best_epoch(rng):
    (net, _, history, _, epochs), vectors, losses, best = by_heart(rng, patience=3)
    assert 0 < best == len(losses) - 4 < 196
    assert [event.is_best for event in epochs][best:] == [True, False, False, False]
    assert np.array_equal(net.vector, vectors[best])
    assert not np.array_equal(net.vector, vectors[-1])
    assert history.stopped_by == "patience"


@pytest.mark.parametrize("how", ["epochs", "callback after an epoch", "callback after an update"])
def test_patience_leaves_the_best_epochs_parameters_whatever_ends_training(rng, how):
    last = len(by_heart(np.random.default_rng(5), patience=3)[2]) - 1  # before patience ends
    kind = how.split()[-1]

    def ends_it(event):
        return event.kind == kind and getattr(event, kind) == last + (kind == "update")

    stop = {"epochs": last} if how == "epochs" else {"callbacks": [ends_it]}
    found, vectors, losses, best = by_heart(np.random.default_rng(5), patience=3, **stop)
    assert 0 < best < len(losses) - 1 == last - 1
    assert np.array_equal(found[0].vector, vectors[best])
    assert found[2].stopped_by == how.split()[0]
    # without patience they are those of the last update
    found, vectors, *_ = by_heart(np.random.default_rng(5), **stop)
    assert np.array_equal(found[0].vector, vectors[-1]) == (kind != "update")
    assert not np.array_equal(found[0].vector, vectors[best])


def test_a_callback_that_stops_before_an_epoch_is_over_leaves_the_last_update(rng):
    options = {"truncation": 4, "validation": batch(rng), "callbacks": [lambda event: True]}
    data = batch(rng)
    patient, plain = (train(data, patience=each, **options)[0] for each in (2, None))
    assert np.array_equal(patient.vector, plain.vector)
    assert not np.array_equal(patient.vector, make().vector)


def test_an_equal_validation_loss_is_no_better_one(rng):
    """Updates too small to change a parameter: patience runs out two epochs after the first."""
    _, _, history, _, epochs = train(
        batch(rng), validation=batch(rng), patience=2, optimizer=crnn.SGD(1e-30), epochs=9
    )
    assert len(set(history["validation_loss"])) == 1
    assert [event.is_best for event in epochs] == [True, False, False]


def test_patience_that_is_not_lost_changes_nothing(rng):
    data = batch(rng)
    (patient, _, history, *_), (plain, *_) = (
        train(data, validation=data, patience=each) for each in (1, None))
    assert np.array_equal(patient.vector, plain.vector)
    assert history.stopped_by == "epochs"


def test_events_tell_where_training_is(rng):
    data = [batch(rng), batch(rng, 6)]
    events = []
    net = make()
    history = crnn.fit(net, data, crnn.SGD(0.1), epochs=2, truncation=4, validation=data[0],
                       callbacks=[events.append])
    kinds = ["update"] * 5 + ["epoch"]
    assert [event.kind for event in events] == kinds * 2
    assert [event.epoch for event in events] == [1] * 6 + [2] * 6
    assert [event.update for event in events] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    assert {(event.net, event.epochs, event.updates, event.lr) for event in events} == {
        (net, 2, 10, 0.1)
    }
    epochs = [event for event in events if event.kind == "epoch"]
    assert [event.loss for event in epochs] == history["loss"]
    assert [event.targets for event in epochs] == [17 * B] * 2
    assert all(event.validation_loss is None and not event.is_best
               for event in events if event.kind == "update")
    assert epochs[0].is_best
    assert epochs[1].is_best == (epochs[1].validation_loss < epochs[0].validation_loss)


@pytest.mark.parametrize("answer", [True, np.True_], ids=["True", "NumPy's"])
@pytest.mark.parametrize(
    ("kind", "number", "steps", "epochs"), [("update", 5, 5, 1), ("epoch", 2, 6, 2)],
    ids=["update", "epoch"],
)
def test_a_callback_that_returns_true_stops(rng, kind, number, steps, epochs, answer):
    def stop(event):
        return answer if event.kind == kind and getattr(event, kind) == number else None

    last = []  # the callbacks after the one that stops are told too
    _, optimizer, history, *_ = train(
        batch(rng), truncation=4, epochs=9, callbacks=[stop, lambda event: last.append(event.kind)]
    )
    assert (last[-1], optimizer.steps, len(history)) == (kind, steps, epochs)
    assert history.stopped_by == "callback"


def test_history(rng, tmp_path):
    _, _, history, _, epochs = train(batch(rng), truncation=4)
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert history["update"] == [3, 6, 9]
    assert history["loss"] == [event.loss for event in epochs]
    assert history["validation_loss"] == [None] * 3
    history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text()) == history.rows
    assert repr(history) == f"<History of {len(history)} epochs, the last: {history.rows[-1]!r}>"


def test_learns_to_repeat_what_came_two_steps_before(rng):
    x = rng.integers(0, I, (50, 6))
    targets = np.vstack([np.full((2, 6), -1), x[:-2]])
    net = crnn.RNN(I, 12, I, seed=0)
    crnn.fit(net, (x, targets), crnn.Adam(0.02), epochs=60, truncation=10, clip_norm=1.0)
    new = rng.integers(0, I, (30, 4))
    y, _ = net(new)
    assert (y.argmax(axis=2)[2:] == new[:-2]).mean() > 0.99


def test_works_outside_the_main_thread(rng):
    data, wanted = batch(rng), []
    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: wanted.append(train(data)[0].vector))
    thread.start()
    thread.join()
    assert np.array_equal(wanted[0], train(data)[0].vector)
    assert signal.getsignal(signal.SIGINT) is handler
