"""What `fit` and `evaluate` refuse, and how training ends at NaN and Ctrl-C."""

import inspect
import math
import signal
import threading

import numpy as np
import pytest
from small_training import B, I, O, T, batch, make, train

import crnn
from crnn.training.advice import INSTEAD

X, TARGETS = np.arange(2 * T).reshape(T, B) % I, np.arange(2 * T).reshape(T, B) % O
FLOATS = np.ones((T, B, I))
BAD_DATA = {
    "generator": (lambda: (pair for pair in [(X, TARGETS)]), {}, TypeError, "generator"),
    "dict of other names": (lambda: {"x": X, "y": TARGETS}, {}, ValueError, '"x" and "targets"'),
    "None": (lambda: None, {}, TypeError, "NoneType"),
    "empty list": (lambda: [], {}, ValueError, "no batch"),
    "x alone": (lambda: X, {}, TypeError, "data: .*ndarray"),
    "x alone in a tuple": (lambda: (X,), {}, TypeError, "data: .*targets"),
    "four parts": (lambda: [(X, TARGETS, [T, T], None)], {}, TypeError, "data: .*lengths"),
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
    "sequences in a tuple": (lambda: ((X[:, 0],) * 4, (TARGETS[:, 0],) * 4), {}, TypeError,
                             "a tuple of 4; the sequences of one batch are a list"),
    "sequences in two tuples": (lambda: ((X[:, 0], X[:9, 0]), (TARGETS[:, 0], TARGETS[:9, 0])), {},
                                ValueError, r"read as 2 batches; .* a list: \(\[x_1, x_2\], \["),
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
    "schedule of another name": ({"schedule": "linear"}, ValueError,
                                 "schedule is 'linear'; it can be 'constant', 'exponential', 'cos"),
    "schedule a maker of schedules": ({"schedule": crnn.cosine}, TypeError,
                                      r"give 'cosine' or crnn.cosine\("),
    "schedule a number": ({"schedule": 0.5}, TypeError, "schedule is 0.5; it can be 'constant'"),
    "schedule to NaN": ({"schedule": lambda done: math.nan}, ValueError, "schedule returned.*nan"),
    "callbacks a function": ({"callbacks": print}, TypeError, None),
    "optimizer a name": ({"optimizer": "adam"}, TypeError, "optimizer"),
    "targets for an optimizer": ({"data": X, "optimizer": TARGETS}, TypeError,
                                 r"one argument, a tuple: fit\(net, \(x, targets\), crnn.Adam"),
    "a list for an optimizer": ({"optimizer": [0, 1]}, TypeError, "one argument, a tuple"),
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


OTHERS_CALLS = {
    "x, y": ((X, TARGETS), {}, r"epochs.*a call is fit\(net, \(x, targets\), crnn"),
    "x, y, optimizer": ((X, TARGETS, crnn.Adam()), {"epochs": 1}, "too many.*one argument"),
    "y by name": ((X,), {"y": TARGETS, "epochs": 1}, "one argument"),
    "no epochs": (((X, TARGETS), crnn.Adam()), {}, "'epochs'.*epochs=10"),
    "no name of anybody's": (((X, TARGETS), crnn.Adam()), {"epochs": 1, "foo": 1}, "'foo'"),
    "Keras": (((X, TARGETS), crnn.Adam()), {"epochs": 1, "batch_size": 2, "validation_data": (X,)},
              r"instead of batch_size: .*crnn\.batches\(.*; instead of validation_data: give"),
    "scikit-learn": (((X, TARGETS), crnn.Adam()), {"epochs": 1, "random_state": 0}, "seed="),
    "a rate": (((X, TARGETS), crnn.Adam()), {"epochs": 1, "lr": 0.1}, r"instead of lr: .*Adam\(0"),
}


@pytest.mark.parametrize("case", OTHERS_CALLS)
def test_calls_that_are_meant_for_another_librarys_fit(case):
    arguments, options, message = OTHERS_CALLS[case]
    with pytest.raises(TypeError, match=message):
        crnn.fit(make(), *arguments, **options)


def test_calls_that_are_meant_for_another_librarys_evaluate():
    message = r"^evaluate: too many.*a call is evaluate\(net, \(x, targets\)\): x and its targets"
    with pytest.raises(TypeError, match=message):
        crnn.evaluate(make(), X, TARGETS)
    with pytest.raises(TypeError, match=r"batch_size.*a call is"):
        crnn.evaluate(make(), (X, TARGETS), batch_size=3)


def test_help_shows_the_arguments_of_fit():
    assert [*inspect.signature(crnn.fit).parameters][:4] == ["net", "data", "optimizer", "epochs"]
    assert not set(INSTEAD) & set(inspect.signature(crnn.fit).parameters)


def spoilt(shape, place, value=np.nan):
    array = np.ones(shape)
    array[place] = value
    return array


RAGGED = [np.ones((n, I)) for n in (5, 3, 9, 4, 7)]
NOT_FINITE = {
    "x": (lambda: (spoilt((T, B, I), (4, 1, 2)), TARGETS), {},
          "data: x has nan in step 4 of sequence 1, feature 2; .*float32"),
    "x of one sequence": (lambda: (spoilt((T, I), (4, 1), -np.inf), TARGETS[:, 0]), {},
                          "data: x has -inf in step 4, feature 1;"),
    "x too large for float32": (lambda: (FLOATS * 1e300, TARGETS), {}, "x has 1e.300 in step 0"),
    "x of a later batch": (lambda: [(FLOATS, TARGETS), (spoilt((T, B, I), (9, 1, 0)), TARGETS)], {},
                           "batch 1 of data: x has nan in step 9 of sequence 1, feature 0;"),
    "x of a list": (lambda: ([*RAGGED, spoilt((6, I), (5, 1))], [0] * 6), {},
                    "x has nan in step 5 of sequence 5, feature 1;"),
    "x of crnn.batches": (
        lambda: crnn.batches([*RAGGED, spoilt((6, I), (5, 1)), *RAGGED], [0] * 11, batch_size=3),
        {}, r"batch \d of data: x has nan in step 5 of sequences\[5\], feature 1;"),
    "x late in a long sequence": (
        lambda: (spoilt((70_000, 1, I), (69_999, 0, 1)), np.zeros((70_000, 1), int)), {},
        "x has nan in step 69999 of sequence 0, feature 1;"),
    "targets": (lambda: (FLOATS, spoilt((T, B, O), (6, 1, 3))), {"loss": "mse"},
                "data: targets have nan in step 6 of sequence 1, output 3; with missing='skip'"),
    "targets for last steps": (lambda: (FLOATS, spoilt((B, O), (1, 3))), {"loss": "mae"},
                               "targets have nan in sequence 1, output 3;"),
    "targets of one sequence": (lambda: (FLOATS[:, 0], spoilt((T, O), (6, 3))), {"loss": "huber"},
                                "targets have nan in step 6, output 3;"),
    "an infinite target": (lambda: (FLOATS, spoilt((T, B, O), (6, 1, 3), np.inf)),
                           {"loss": "mse", "missing": "skip"}, "targets have inf in step 6"),
}


@pytest.mark.parametrize("case", NOT_FINITE)
@pytest.mark.parametrize("name", ["data", "validation"])
def test_what_is_not_finite_is_told_before_training(case, name):
    data, options, message = NOT_FINITE[case]
    data, message = data(), message.replace("data", name)
    if name == "data":
        refused(data, options, ValueError, message)
    else:
        good = (FLOATS, np.ones((T, B, O))) if options else (FLOATS, TARGETS)
        refused(good, options | {"validation": data}, ValueError, message)
    with pytest.raises(ValueError, match=message.replace("validation", "data")):
        crnn.evaluate(make(), data, **options)


def test_the_message_says_what_the_network_was_trained_with():
    net, data = make(), (FLOATS, np.full((T, B, O), 0.5))
    crnn.fit(net, data, crnn.SGD(0.1), epochs=1, loss="mse")
    hint = "the network was trained with loss='mse'$"
    for call in (lambda: crnn.evaluate(net, data), lambda: net.loss(*data),
                 lambda: crnn.fit(net, data, crnn.SGD(0.1), epochs=1)):
        with pytest.raises(ValueError, match=hint):
            call()
    for call in (lambda: net.loss(FLOATS[..., :2], data[1]), lambda: make().loss(*data),
                 lambda: net.loss(FLOATS, 1, loss="mse")):
        with pytest.raises(ValueError) as caught:
            call()
        assert "was trained" not in str(caught.value)


EMPTY = np.ones((0, I))


@pytest.mark.parametrize(("data", "which"), [
    (lambda: ([*RAGGED, EMPTY, EMPTY], [0] * 7), "2, the first is sequence 5 of batch 0"),
    (lambda: [(RAGGED, [0] * 5), ([EMPTY, *RAGGED], [0] * 6)],
     "1, the first is sequence 0 of batch 1"),
    (lambda: crnn.batches([*RAGGED, EMPTY], [0] * 6, batch_size=2),
     r"1, the first is sequences\[5\]"),
    (lambda: crnn.batches([np.array([1, 2]), np.array([1])]), r"1, the first is sequences\[1\]"),
], ids=["list", "lists", "crnn.batches", "a single token"])
def test_sequences_without_steps_are_told(data, which):
    with pytest.warns(UserWarning, match=f"^data has sequences without steps, .*: {which}"):
        crnn.fit(make(), data(), crnn.SGD(0.1), epochs=2)
    with pytest.warns(UserWarning, match=which):
        crnn.evaluate(make(), data())


def test_lengths_of_0_in_an_array_are_not_told():
    crnn.evaluate(make(), (X, TARGETS, [T, 0]))


def test_what_does_not_count_may_be_anything(rng, backend):
    x, targets = batch(rng, loss="mse")
    found = []
    for value in (0.0, np.nan, np.inf):
        bad_x, bad = x.copy(), targets.copy()
        bad_x[7:, 1] = value
        bad[7:, 1] = bad[2, 0] = value  # the latter by its weight
        weights = np.ones(bad.shape[:2])
        weights[2, 0] = 0
        data = {"x": bad_x, "targets": bad, "lengths": [len(x), 7], "sample_weight": weights}
        net = make()
        history = crnn.fit(net, data, crnn.Adam(0.01), epochs=2, loss="mse")
        found.append((net.vector.tobytes(), history["loss"]))
    assert found[0] == found[1] == found[2]


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


SLOTTED = {
    "momentum": lambda: crnn.SGD(0.1, momentum=0.9), "adagrad": lambda: crnn.Adagrad(0.1),
    "rmsprop": lambda: crnn.RMSprop(0.1, centered=True, momentum=0.5), "adam": lambda: crnn.Adam(),
    "adamw": lambda: crnn.AdamW(),
}


def assert_left_as_before_update(number, optimizer, data, epochs=4, **options):
    """Check that fit refuses an update, and leaves all as after the one before it."""
    net, rate = make(), optimizer.lr
    found = [(net.vector.copy(), 0, {})]

    def keep(event):
        found.append((net.vector.copy(), optimizer.steps, optimizer.state()))

    with pytest.raises(FloatingPointError, match=f"update {number} .*and the optimizer are left"):
        crnn.fit(net, data, optimizer, epochs=epochs, callbacks=[keep], **options)
    vector, steps, slots = found[-1]
    assert np.array_equal(net.vector, vector)
    assert (optimizer.steps, optimizer.lr) == (number - 1, rate)
    assert steps == number - 1
    assert optimizer.state().keys() == slots.keys()
    assert all(np.array_equal(optimizer.state()[each], slots[each]) for each in slots)


@pytest.mark.parametrize("name", SLOTTED)
@pytest.mark.parametrize("number", [1, 3])
def test_a_rate_that_overflows_leaves_the_optimizer_too(rng, name, number):
    assert_left_as_before_update(
        number, SLOTTED[name](), batch(rng),
        schedule=lambda done: 1.0 if done < (number - 1) / 4 else 1e300)


def test_gradients_that_overflow_leave_the_optimizer_too(rng):
    sizes = iter([1e-9, 1e-9, 1e33])
    assert_left_as_before_update(
        3, crnn.SGD(1e5, momentum=0.9), batch(rng),
        loss=lambda y, targets: (1.0, np.full_like(y, next(sizes))))


def test_parameters_that_grow_until_they_overflow_leave_the_optimizer_too(rng):
    """Weight decay of 100 of them makes each of them 99 times as large."""
    assert_left_as_before_update(
        20, crnn.AdamW(1.0, weight_decay=100.0), batch(rng), epochs=25)


def test_nan_in_the_validation_data_stops_and_spoils_no_checkpoint(rng, tmp_path):
    net, x = make(), FLOATS.copy()

    def spoil(event):
        x[...] = np.nan  # after it has been looked at

    with pytest.raises(FloatingPointError, match="validation loss is nan"):
        train(batch(rng), net=net, validation=(x, TARGETS), checkpoint=tmp_path / "c",
              callbacks=[spoil])
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
