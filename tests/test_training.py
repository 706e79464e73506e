"""`fit` and `evaluate`: against a loop written by hand, option by option, and what they refuse."""

import json
import math
import signal
import threading

import numpy as np
import pytest

import crnn

T, B, I, H, O = 11, 2, 3, 5, 4  # noqa: E741
TARGET_MAKERS = {
    "softmax": lambda rng, shape: rng.integers(0, O, shape),
    "sigmoid": lambda rng, shape: rng.integers(0, 2, (*shape, O)).astype(float),
    "mse": lambda rng, shape: rng.standard_normal((*shape, O)),
}


def make(**options):
    return crnn.RNN(I, H, O, **({"seed": 3} | options))


def batch(rng, steps=T, sequences=(B,), loss="softmax", last_only=False):
    targets = TARGET_MAKERS[loss](rng, sequences if last_only else (steps, *sequences))
    return rng.standard_normal((steps, *sequences, I)), targets


def token_batch(rng, steps=T):
    return rng.integers(0, I, (steps, B)), rng.integers(0, O, (steps, B))


def loop_by_hand(net, batches, optimizer, *, truncation=None, loss="softmax", clip=(), rates=()):
    """Train on these batches in this order; return the loss of each update."""
    losses, rates = [], list(rates)
    for x, targets, *lengths in batches:
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


def train(data, *, net=None, optimizer=None, **options):
    """Fit; return the network, the optimiser, the history and the events of updates and epochs."""
    net, optimizer = net or make(), optimizer or crnn.SGD(0.1, momentum=0.9)
    events = []
    callbacks = [events.append, *options.pop("callbacks", ())]
    history = crnn.fit(net, data, optimizer, **({"epochs": 3, "callbacks": callbacks} | options))
    return net, optimizer, history, *(
        [event for event in events if event.kind == kind] for kind in ("update", "epoch")
    )


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


def test_patience_stops_and_leaves_the_parameters_of_the_best_epoch(rng):
    data, validation = batch(rng), batch(rng)  # nothing to be learned but by heart
    vectors = []

    def keep(event):
        if event.is_best and event.kind == "epoch":
            vectors.append(event.net.vector.copy())

    options = {"validation": validation, "epochs": 200, "optimizer": crnn.Adam(0.02)}
    net, _, history, _, epochs = train(data, patience=3, callbacks=[keep], **options)
    losses = history["validation_loss"]
    best = losses.index(min(losses))
    assert 0 < best == len(losses) - 4 < 196
    assert [event.is_best for event in epochs][best:] == [True, False, False, False]
    assert np.array_equal(net.vector, vectors[-1])
    assert crnn.evaluate(net, validation) == losses[best]


def test_an_equal_validation_loss_is_no_better_one(rng):
    """Updates too small to change a parameter: patience runs out two epochs after the first."""
    _, _, history, _, epochs = train(
        batch(rng), validation=batch(rng), patience=2, optimizer=crnn.SGD(1e-30), epochs=9
    )
    assert len(set(history["validation_loss"])) == 1
    assert [event.is_best for event in epochs] == [True, False, False]


def test_patience_that_is_not_lost_changes_nothing(rng):
    data = batch(rng)
    patient, plain = (train(data, validation=data, patience=each)[0] for each in (1, None))
    assert np.array_equal(patient.vector, plain.vector)


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


def test_history(rng, tmp_path):
    _, _, history, _, epochs = train(batch(rng), truncation=4)
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert history["update"] == [3, 6, 9]
    assert history["loss"] == [event.loss for event in epochs]
    assert history["validation_loss"] == [None] * 3
    history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text()) == history.rows
    assert repr(history) == f"History({history.rows!r})"


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


@pytest.mark.parametrize("shape", [(0, B), (T, 0)], ids=["no step", "no sequence"])
def test_nothing_to_train_on(shape):
    nothing = np.zeros(shape, int)
    net, _, history, *_ = train((nothing, nothing), optimizer=crnn.SGD(0.1))
    assert np.array_equal(net.vector, make().vector)
    assert (history["loss"], history["lr"]) == ([0.0] * 3, [0.1] * 3)
    assert crnn.evaluate(net, (nothing, nothing)) == 0.0


X, TARGETS = np.arange(2 * T).reshape(T, B) % I, np.arange(2 * T).reshape(T, B) % O
FLOATS = np.ones((T, B, I))
BAD_DATA = {
    "generator": (lambda: (pair for pair in [(X, TARGETS)]), {}, TypeError, "generator"),
    "dict": (lambda: {"x": X, "targets": TARGETS}, {}, TypeError, "dict"),
    "None": (lambda: None, {}, TypeError, "NoneType"),
    "empty list": (lambda: [], {}, ValueError, "no batch"),
    "x alone": (lambda: X, {}, TypeError, "batch 0 .*ndarray"),
    "x alone in a tuple": (lambda: (X,), {}, TypeError, "batch 0 .*targets"),
    "four parts": (lambda: [(X, TARGETS, [T, T], None)], {}, TypeError, "batch 0 .*lengths"),
    "one item wrong": (lambda: [(X, TARGETS), "two"], {}, TypeError, "batch 1 .*str"),
    "no targets": (lambda: (X, None), {}, TypeError, "targets"),
    "no x": (lambda: (None, TARGETS), {}, TypeError, "x"),
    "token out of range": (lambda: (X + 1, TARGETS), {}, IndexError, "token 3"),
    "class out of range": (lambda: (X, TARGETS + 1), {}, ValueError, "class 4"),
    "features": (lambda: (FLOATS[..., :2], TARGETS), {}, ValueError, "features"),
    "targets too long": (lambda: (X, np.vstack([TARGETS] * 2)), {}, ValueError, "targets"),
    "targets too long, truncation":
        (lambda: (X, np.vstack([TARGETS] * 2)), {"truncation": 4}, ValueError, "targets"),
    "targets too short, truncation":
        (lambda: (X, TARGETS[:9]), {"truncation": 4}, ValueError, "targets"),
    "lengths beyond the end": (lambda: (X, TARGETS, [T, 99]), {}, ValueError, "lengths"),
    "lengths beyond the end, truncation":
        (lambda: (X, TARGETS, [T, 99]), {"truncation": 4}, ValueError, "lengths"),
    "lengths below 0, truncation":
        (lambda: (X, TARGETS, [T, -1]), {"truncation": 4}, ValueError, "lengths"),
    "many to one, truncation": (lambda: (X, TARGETS[0]), {"truncation": 4}, ValueError, "truncat"),
    "validation": (lambda: (X, TARGETS), {"validation": iter([])}, TypeError, "iterator"),
    "mse targets": (lambda: (X, TARGETS), {"loss": "mse"}, ValueError, "targets have shape"),
}
BAD_ARGUMENTS = {
    "epochs 0": ({"epochs": 0}, ValueError, "epochs"),
    "epochs 1.5": ({"epochs": 1.5}, TypeError, "epochs"),
    "loss": ({"loss": "hinge"}, ValueError, "loss is 'hinge'"),
    "truncation 0": ({"truncation": 0}, ValueError, "truncation"),
    "truncation text": ({"truncation": "8"}, TypeError, "truncation"),
    "clip_norm 0": ({"clip_norm": 0}, ValueError, "clip_norm"),
    "clip_norm NaN": ({"clip_norm": math.nan}, ValueError, "clip_norm"),
    "clip_value negative": ({"clip_value": -1.0}, ValueError, "clip_value"),
    "patience 0": ({"patience": 0, "validation": (X, TARGETS)}, ValueError, "patience"),
    "patience alone": ({"patience": 2}, ValueError, "validation"),
    "resume alone": ({"resume": True}, ValueError, "checkpoint"),
    "seed negative": ({"seed": -1}, ValueError, "seed"),
    "seed text": ({"seed": "x"}, TypeError, "seed"),
    "schedule a name": ({"schedule": "cosine"}, TypeError, None),
    "schedule to NaN": ({"schedule": lambda done: math.nan}, ValueError, "lr is nan"),
    "callbacks a function": ({"callbacks": print}, TypeError, None),
    "optimizer a name": ({"optimizer": "adam"}, TypeError, "optimizer"),
    "optimizer a class": ({"optimizer": crnn.Adam}, TypeError, "optimizer"),
    "net": ({"net": "RNN"}, TypeError, "net"),
}


def refused(data, options, error, match):
    net = make()
    before, optimizer = net.vector.copy(), crnn.Adam()
    arguments = {"net": net, "data": data, "optimizer": optimizer, "epochs": 2} | options
    with pytest.raises(error, match=match):
        crnn.fit(**arguments)
    assert np.array_equal(net.vector, before)
    assert (optimizer.steps, optimizer.lr) == (0, 1e-3)


@pytest.mark.parametrize(("data", "options", "error", "match"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data(data, options, error, match):
    refused(data(), options, error, match)


@pytest.mark.parametrize(("options", "error", "match"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(options, error, match):
    refused((X, TARGETS), options, error, match)


@pytest.mark.parametrize("truncation", [0, -4, 2.5])
def test_evaluate_refuses_a_bad_truncation(truncation):
    with pytest.raises((TypeError, ValueError), match="truncation"):
        crnn.evaluate(make(), (X, TARGETS), truncation=truncation)


def test_nan_stops_with_the_parameters_before_it_and_the_last_checkpoint(rng, tmp_path):
    x, targets = batch(rng)
    good, vectors = x.copy(), []

    def spoil(event):
        vectors.append(event.net.vector.copy())
        if event.kind == "epoch" and event.epoch == 2:
            x[5] = np.nan  # the second chunk

    net, optimizer = make(), crnn.Adam(0.01)
    options = {"truncation": 4, "schedule": crnn.cosine(), "checkpoint": tmp_path / "checkpoint"}
    message = r"loss is nan.* update 8 .*epoch 3.*learning rate"
    with pytest.raises(FloatingPointError, match=message):
        crnn.fit(net, (x, targets), optimizer, epochs=5, callbacks=[spoil], **options)
    assert np.isfinite(net.vector).all()
    assert np.array_equal(net.vector, vectors[-1])
    assert (optimizer.steps, optimizer.lr) == (7, 0.01)
    again = make(seed=4)
    history = crnn.fit(again, (good, targets), crnn.Adam(0.01), epochs=2, resume=True, **options)
    assert np.array_equal(again.vector, vectors[-2])
    assert len(history) == 2


def test_a_gradient_that_overflows_under_a_finite_loss_stops():
    net = crnn.RNN(1, 1, 1, nonlinearity="relu")
    net.vector = np.array([1e-25, 1e20, 0, 1e-15, 0])  # W_hh**3 is beyond float32
    before = net.vector.copy()
    data = (np.ones((4, 1, 1)), np.zeros((4, 1, 1)))
    assert np.isfinite(net.loss(*data, loss="mse")[0])
    with pytest.raises(FloatingPointError, match="norm"):
        train(data, net=net, loss="mse")
    assert np.array_equal(net.vector, before)


def test_a_learning_rate_far_too_high_stops_with_finite_parameters(rng):
    net = make(nonlinearity="relu")
    with pytest.raises(FloatingPointError, match="learning rate"):
        train(batch(rng, loss="mse"), net=net, optimizer=crnn.SGD(1e15), loss="mse", epochs=50)
    assert np.isfinite(net.vector).all()


def test_a_step_that_overflows_spoils_neither_network_nor_checkpoint(rng, tmp_path):
    net, path = make(), tmp_path / "checkpoint"
    with pytest.raises(FloatingPointError, match="learning rate"):
        train(batch(rng), net=net, optimizer=crnn.SGD(1e39), checkpoint=path, epochs=3)
    assert np.isfinite(net.vector).all()
    if path.exists():
        again = make()
        train(batch(rng), net=again, optimizer=crnn.SGD(1e39), checkpoint=path, epochs=1,
              resume=True)
        assert np.isfinite(again.vector).all()


def test_nan_in_the_validation_data_stops_and_spoils_no_checkpoint(rng, tmp_path):
    net = make()
    with pytest.raises(FloatingPointError, match="validation loss is nan"):
        train(batch(rng), net=net, validation=(FLOATS * np.nan, TARGETS), checkpoint=tmp_path / "c")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def ctrl_c():
    """Ctrl-C means KeyboardInterrupt, as it does not where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("kind", ["update", "epoch"])
def test_ctrl_c_stops_after_a_whole_update(rng, tmp_path, kind):
    data, told = batch(rng), []

    def interrupt(event):
        if event.kind == kind and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)
            told.append(event.update)  # not interrupted here

    net, optimizer = make(), crnn.SGD(0.1)
    options = {"epochs": 5, "truncation": 4, "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(KeyboardInterrupt):
        crnn.fit(net, data, optimizer, callbacks=[interrupt], **options)
    assert told == [optimizer.steps] == [4 if kind == "update" else 6]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    by_hand = make()
    part = train(data, net=by_hand, optimizer=crnn.SGD(0.1), truncation=4, epochs=5,
                 callbacks=[lambda event: event.update == told[0]])
    assert np.array_equal(net.vector, part[0].vector)
    crnn.fit(net, data, optimizer, resume=True, **options)
    whole = train(data, optimizer=crnn.SGD(0.1), truncation=4, epochs=5)[0]
    assert np.array_equal(net.vector, whole.vector)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_at_any_moment_leaves_a_whole_update(rng):
    vectors, timer = [], threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])

    def keep(event):
        if not vectors:
            timer.start()
        vectors.append(event.net.vector.copy())

    net = make()
    with pytest.raises(KeyboardInterrupt):
        crnn.fit(net, batch(rng, 200), crnn.Adam(), epochs=100_000, callbacks=[keep])
    timer.join()
    assert np.array_equal(net.vector, vectors[-1])


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_does_not_wait(rng):
    def interrupt_twice(event):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was waited with")

    with pytest.raises(KeyboardInterrupt):
        crnn.fit(make(), batch(rng), crnn.SGD(0.1), epochs=2, callbacks=[interrupt_twice])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
def test_a_handler_of_somebody_elses_stays_in_charge(rng):
    came = []

    def own(signum, frame):
        came.append(signum)

    signal.signal(signal.SIGINT, own)
    _, _, history, *_ = train(
        batch(rng), callbacks=[lambda event: signal.raise_signal(signal.SIGINT)]
    )
    assert signal.getsignal(signal.SIGINT) is own
    assert len(came) == 6
    assert len(history) == 3
