"""Functions as losses in `fit` and `evaluate`: against the named losses they compute."""

import numpy as np
import pytest
from small_training import B, I, O, T, batch, make, train

import crnn

LENGTHS = np.array([T, 6])


def squares(y, targets):
    """The loss "mse" of a target for every step or for the last one."""
    dy = np.zeros_like(y)
    part = slice(None) if targets.ndim == y.ndim else slice(-1, None)
    difference = y[part] - targets
    dy[part] = 2 * difference / difference.size
    return np.square(difference).mean(), dy


def cross_entropy(y, targets):
    """The loss "softmax" of the targets that are there."""
    shifted = np.exp(y - y.max(-1, keepdims=True))
    p, there = shifted / shifted.sum(-1, keepdims=True), targets >= 0
    rows = np.where(there, targets, 0)[..., None]
    losses = -np.log(np.take_along_axis(p, rows, -1))[..., 0]
    np.put_along_axis(p, rows, np.take_along_axis(p, rows, -1) - 1, -1)
    return losses[there].mean(), p * there[..., None] / there.sum()


def same(found, wanted):
    (net, optimizer, history, updates, _), (other, slots, wanted_history, others, _) = found, wanted
    np.testing.assert_allclose(net.vector, other.vector, rtol=1e-10, atol=1e-12)
    for column in ("loss", "validation_loss"):
        np.testing.assert_allclose(history[column], wanted_history[column], rtol=1e-11)
    assert [(e.update, e.targets) for e in updates] == [(e.update, e.targets) for e in others]
    assert optimizer.steps == slots.steps


@pytest.mark.parametrize("truncation", [None, 4])
@pytest.mark.parametrize(("name", "function"), [("mse", squares), ("softmax", cross_entropy)])
@pytest.mark.parametrize("sequences", [(B,), ()], ids=["batch", "one sequence"])
def test_a_function_is_as_the_loss_that_it_computes(rng, name, function, truncation, sequences):
    data, validation = (batch(rng, sequences=sequences, loss=name) for _ in range(2))
    if name == "softmax":
        data[1][4:8] = -1  # the second chunk is no update
    found, wanted = (
        train(data, net=make(dtype="float64"), loss=loss, truncation=truncation,
              validation=validation)
        for loss in (function, name))
    same(found, wanted)
    np.testing.assert_allclose(
        crnn.evaluate(found[0], data, loss=function, truncation=truncation),
        crnn.evaluate(found[0], data, loss=name, truncation=truncation), rtol=1e-11)


def test_many_to_one(rng):
    data = [batch(rng, loss="mse", last_only=True), batch(rng, 7, loss="mse", last_only=True)]
    found, wanted = (
        train(data, net=make(dtype="float64"), loss=loss, validation=data, seed=1)
        for loss in (squares, "mse"))
    same(found, wanted)
    with pytest.raises(ValueError, match="leave out truncation"):
        train(data, loss=squares, truncation=4)


def test_lengths_and_several_layers(rng):
    """Padding lies in y as zeros, and what dy says of it is ignored."""
    x, targets = batch(rng)
    targets[6:, 1] = -1
    options = {"num_layers": 2, "dtype": "float64"}
    found, wanted = (
        train((x, targets, LENGTHS), net=crnn.LSTM(I, 5, O, seed=3, **options), loss=loss,
              validation=(x, targets, LENGTHS), truncation=5)
        for loss in (cross_entropy, "softmax"))
    same(found, wanted)


def squares_that_are_there(y, targets):
    there = ~np.isnan(targets)
    return np.square(y - targets)[there].mean(), 2 * (y - targets) / there.sum()


@pytest.mark.parametrize("truncation", [None, 4])
@pytest.mark.parametrize("form", ["list", "lengths", "batches"])
@pytest.mark.parametrize(("name", "function"), [
    ("mse", squares_that_are_there), ("softmax", cross_entropy)])
def test_padding_is_no_target(rng, name, function, form, truncation):
    """A function is told what is padding: its mean is over the targets alone."""
    items = [batch(rng, steps, (), loss=name) for steps in (T, 3, 6)]
    x, targets = [list(each) for each in zip(*items, strict=True)]
    data = {
        "list": lambda: (x, targets),
        "lengths": lambda: (crnn.pad(x)[0], crnn.pad(targets)[0], [T, 3, 6]),
        "batches": lambda: crnn.batches(x, targets, batch_size=2, seed=0),
    }[form]()
    found, wanted = (
        train(data, net=make(dtype="float64"), loss=loss, truncation=truncation, validation=data,
              seed=1)
        for loss in (function, name))
    same(found, wanted)


def test_padding_that_a_function_does_not_leave_out_is_an_error(rng):
    x, targets = batch(rng, loss="mse")
    before = targets.copy()
    with pytest.raises(FloatingPointError, match="leave out targets beyond a sequence's length"):
        crnn.evaluate(make(), (x, targets, LENGTHS), loss=squares)
    assert np.array_equal(targets, before)


@pytest.mark.parametrize(("bidirectional", "lengths"), [(False, LENGTHS), (True, None)])
def test_a_function_does_not_find_each_sequences_last_state(rng, bidirectional, lengths):
    net = make(bidirectional=bidirectional)
    x, targets = batch(rng, loss="mse", last_only=True)
    with pytest.raises(ValueError, match=r"cannot know where .* target for every step"):
        crnn.evaluate(net, (x, targets, lengths), loss=squares)
    assert crnn.evaluate(make(), (x, targets, [T, T]), loss=squares) > 0


def test_targets_may_have_another_width_than_the_outputs(rng):
    def of_the_first(y, targets):
        assert targets.shape == (T, B, 1)
        value, dy = squares(y[..., :1], targets)
        return value, np.concatenate([dy, np.zeros((T, B, O - 1))], axis=-1)

    x, targets = batch(rng, loss="mse")
    *_, updates, _ = train((x, targets[..., :1]), loss=of_the_first)
    assert {event.targets for event in updates} == {T * B}
    assert updates[-1].loss < updates[0].loss


def test_stopped_and_resumed(rng, tmp_path):
    data, path = batch(rng, loss="mse"), tmp_path / "checkpoint"
    options = {"loss": squares, "truncation": 4, "epochs": 2}
    wanted = train(data, **options)
    train(data, **options, checkpoint=path, callbacks=[lambda event: event.update == 2])
    with pytest.raises(ValueError, match="loss was 'function squares' and is 'mse'"):
        train(data, **options | {"loss": "mse"}, checkpoint=path, resume=True)
    found = train(data, **options, checkpoint=path, resume=True)
    assert np.array_equal(found[0].vector, wanted[0].vector)
    assert found[2].rows == wanted[2].rows


BAD = {
    "a value alone": (lambda y, targets: 1.0, TypeError, "loss returned a float; a tuple"),
    "three": (lambda y, targets: (1.0, y, y), TypeError, "returned a tuple; a tuple is wanted: i"),
    "no number": (lambda y, targets: ("one", y), TypeError, "value that loss returned is 'one'"),
    "losses, not their mean": (lambda y, targets: (y, y), TypeError, "a number is wanted"),
    "dy of another shape": (
        lambda y, targets: (1.0, y[0]), ValueError, r"dy that loss returned has shape \(2, 4\)"),
    "NaN": (lambda y, targets: (np.nan, y), FloatingPointError, "the loss is nan"),
    "NaN in dy": (lambda y, targets: (1.0, y * np.nan), FloatingPointError, "norm nan"),
}


@pytest.mark.parametrize(("function", "error", "match"), BAD.values(), ids=BAD)
def test_a_function_that_is_no_loss(rng, function, error, match):
    net, optimizer = make(), crnn.Adam()
    with pytest.raises(error, match=match):
        crnn.fit(net, batch(rng, loss="mse"), optimizer, epochs=1, loss=function)
    assert np.array_equal(net.vector, make().vector)
    assert optimizer.steps == 0


@pytest.mark.parametrize("shape", [(T + 1, B, O), (T, O), (T, B), ()])
def test_targets_that_do_not_belong_to_x(rng, shape):
    with pytest.raises(ValueError, match="targets have shape"):
        train((batch(rng)[0], np.zeros(shape)), loss=squares)
