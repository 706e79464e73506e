"""Arguments that change while they are looked at, and memory that is given back."""

import contextlib
import gc
import weakref

import numpy as np
import pytest

import crnn
from crnn.engine import compiled, pass_arrays, plans


class Meddler:
    """An argument whose conversion changes something else."""

    def __init__(self, value, action):
        self.value, self.action = np.asarray(value), action

    def __array__(self, dtype=None, copy=None):
        self.action()
        return self.value


def test_tokens_that_change_after_their_check_are_not_used():
    net = crnn.RNN(4, 8, 4, seed=0)
    clean = np.ones((50, 2), np.intp)
    wanted, _ = net(clean)
    x = clean.copy()
    y, _ = net(x, Meddler(np.zeros((1, 2, 8)), lambda: x.fill(10**9)))
    np.testing.assert_array_equal(y, wanted)
    x = clean.copy()
    loss, _ = net.loss(x, Meddler(clean, lambda: x.fill(10**9)))
    assert loss == net.loss(clean, clean)[0]


def test_targets_that_change_after_their_check_are_not_used(monkeypatch):
    net = crnn.RNN(4, 8, 4, seed=0)
    x = np.ones((50, 2), np.intp)
    targets = x.copy()
    wanted = net.loss(x, x)[0]
    objective = compiled.checked_objective

    def late(*arguments):
        found = objective(*arguments)
        targets.fill(10**9)
        return found

    monkeypatch.setattr(compiled, "checked_objective", late)
    assert net.loss(x, targets)[0] == wanted


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, ZeroDivisionError])
def test_a_pass_that_fails_half_way_leaves_a_network_as_it_was(monkeypatch, backend, error):
    """Wherever it fails, in the first call or in a later one."""
    x, targets = np.ones((5, 4, 3)), np.zeros((5, 4), int)

    def passes(net):
        loss, grads, last = net.loss_and_gradients(x, targets)
        y, cache = net(x)[0], net.forward(x)[2]
        return [np.copy(each) for each in (loss, grads.vector, grads.x, last, y,
                                           net.backward(cache, y).vector, net.loss(x, targets)[0])]

    def failing(*arguments, **options):
        raise error("planted")

    wanted = passes(crnn.GRU(3, 8, 4, seed=0))
    places = [(plans.Plan, "_run_by_phases"), (plans.Plan, "_new"), (plans, "threads_for"),
              (plans.Plan, "_refresh_weights"), (plans.Plans, "give_back"), (plans.Plans, "take"),
              (pass_arrays.PassArrays, "_new_pass"), (compiled, "put_states")]
    for place, name in places:
        net = crnn.GRU(3, 8, 4, seed=0)
        for _ in range(2):
            for run in (lambda net=net: net(x), lambda net=net: net.loss(x, targets),
                        lambda net=net: net.loss_and_gradients(x, targets),
                        lambda net=net: net.forward(x)):
                with monkeypatch.context() as patch:
                    patch.setattr(place, name, failing)
                    with contextlib.suppress(error):
                        run()
            for ours, theirs in zip(passes(net), wanted, strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("batch_size", [None, 1, 3000])
def test_a_state_that_is_replaced_during_a_step_is_seen(batch_size, backend):
    def prepare(stepper, x, out, of_block):
        stepper.reset(batch_size)  # as another thread might
        return np.ones((2, 3), np.float32), out

    stepper = crnn.RNN(3, 8, 4, seed=0).engine.stepper(prepare)
    stepper.reset(2)
    for out in (None, np.zeros((2, 4), np.float32)):
        with pytest.raises((ValueError, RuntimeError)):
            stepper.step("something to be converted", out)
    ((state,),) = stepper.state
    assert state.shape == (batch_size or 1, 8)
    assert not state.any()


def test_networks_and_streams_go_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        net = crnn.RNN(3, 8, 4, seed=0)
        stream = net.stream(5)
        stream.step(np.ones((5, 3)))
        net.step([1.0, 2.0, 3.0])
        x, targets = np.ones((7, 64, 3)), np.zeros((7, 64), int)
        for other in (net, crnn.LSTM(3, 8, 4, num_layers=2, bidirectional=True, dropout=0.1)):
            y, _, cache = other.forward(x)
            other.backward(cache, y)
            for _ in range(2):
                other(x)
                other.loss(x, targets)
                other.loss_and_gradients(x, targets)
        watched = [weakref.ref(net), weakref.ref(stream), weakref.ref(net.copy()),
                   weakref.ref(other), weakref.ref(cache)]
        del net, stream, other, cache
        assert [each() for each in watched] == [None] * len(watched)
    finally:
        gc.enable()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.uint64])
def test_lengths_of_any_integer_type_train_alike(dtype):
    x = np.arange(300).reshape(150, 2) % 3
    lengths = np.array([40, 120])
    results = []
    for given in (lengths, lengths.astype(dtype)):
        net = crnn.RNN(3, 5, 3, seed=0)
        history = crnn.fit(net, (x, x, given), crnn.SGD(0.1), epochs=2, truncation=32)
        loss = crnn.evaluate(net, (x, x, given), truncation=32)
        results.append((history["loss"], loss, net.vector.tolist()))
    assert results[0] == results[1]


def test_going_on_with_other_data_is_refused(tmp_path):
    x = np.arange(40).reshape(20, 2) % 3
    options = {"epochs": 1, "checkpoint": tmp_path / "checkpoint"}
    net = crnn.RNN(3, 5, 3, seed=0)
    crnn.fit(net, (x, x), crnn.SGD(0.1), identity="one", **options)
    with pytest.raises(ValueError, match="identity was 'one' and is 'two'"):
        crnn.fit(net, (x, x), crnn.SGD(0.1), identity="two", resume=True, **options)
