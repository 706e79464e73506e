"""Optimizers: hand-worked steps, the step and its surroundings, exact resuming."""

import copy
import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from optimizer_cases import ALL, BY_HAND, ONE_EACH, FakeNet, gradients, make, random_run, two_steps

from crnn.training import optimizers


def remade(config):
    """Make a new optimizer with the hyperparameters of another."""
    options = dict(config)
    return getattr(optimizers, options.pop("name"))(**options)


@pytest.mark.parametrize(
    ("opt", "w", "g1", "g2", "expected"), BY_HAND,
    ids=lambda value: repr(value) if isinstance(value, optimizers.Optimizer) else "",
)
def test_two_steps_by_hand(opt, w, g1, g2, expected):
    np.testing.assert_allclose(two_steps(opt, w, g1, g2), expected, rtol=1e-14, atol=1e-15)


def test_defaults_are_pytorchs():
    opts = [optimizers.SGD(0.5), optimizers.Adagrad(), optimizers.RMSprop(), optimizers.Adam(),
            optimizers.AdamW()]
    assert [repr(opt) for opt in opts] == [
        "SGD(lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)",
        "Adagrad(lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, "
        "eps=1e-10)",
        "RMSprop(lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0.0, momentum=0.0, centered=False)",
        "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)",
        "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)",
    ]


# The step and its surroundings.


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradient_is_only_read_and_the_network_told_once(name, options):
    net, grads = random_run(steps=3)
    opt = make(name, options)
    before = [grad.vector.copy() for grad in grads]
    for done, grad in enumerate(grads):
        grad.vector.flags.writeable = False
        opt.step(net, grad)
        assert net.writings == opt.steps == done + 1
    for grad, values in zip(grads, before, strict=True):
        np.testing.assert_array_equal(grad.vector, values)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_numpy_numbers_do_not_change_the_arithmetic(name, options):
    as_numpy = {
        key: tuple(np.float64(v) for v in value) if key == "betas"
        else np.float64(value) if isinstance(value, float) else value
        for key, value in options.items()
    }
    (net, grads), (other, _) = random_run(dtype=np.float32), random_run(dtype=np.float32)
    plain, numpy = make(name, options), make(name, as_numpy)
    numpy.lr = np.float64(plain.lr)
    for grad in grads:
        plain.step(net, grad)
        numpy.step(other, grad)
    assert net.vector.tobytes() == other.vector.tobytes()
    assert type(numpy.lr) is float
    assert all(slot.dtype == np.float32 for slot in numpy.state().values())


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_one_step_on_a_vector_is_a_step_on_each_part(name, options):
    net, grads = random_run(steps=5)
    whole = make(name, options)
    parts = [FakeNet(net.vector[:10]), FakeNet(net.vector[10:])]
    opts = [make(name, options), make(name, options)]
    for grad in grads:
        whole.step(net, grad)
        for opt, part, piece in zip(opts, parts, np.split(grad.vector, [10]), strict=True):
            opt.step(part, SimpleNamespace(vector=piece))
    np.testing.assert_allclose(
        net.vector, np.concatenate([part.vector for part in parts]), rtol=1e-15, atol=1e-15
    )


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_overflow_completes_the_step_even_where_warnings_are_errors(name, options):
    net = FakeNet([1.0, 1.0], np.float32)
    opt = make(name, options)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        opt.step(net, gradients([1e30, np.nan], np.float32))
    assert opt.steps == net.writings == 1
    assert np.isnan(net.vector[1])


def test_a_network_without_parameters_is_fine():
    net = FakeNet([])
    opt = optimizers.Adam()
    opt.step(net, gradients([]))
    assert opt.steps == 1


# State.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("stop", [0, 1, 2, 7])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_restored_optimizer_goes_on_bit_for_bit(name, options, stop, dtype):
    (net, grads), (other, _) = random_run(steps=10, dtype=dtype), random_run(steps=10, dtype=dtype)
    opt, first = make(name, options), make(name, options)
    for grad in grads:
        opt.step(net, grad)
    for grad in grads[:stop]:
        first.step(other, grad)
    config = json.loads(json.dumps(first.config()))
    steps, arrays = first.steps, first.state()
    for _ in range(2):  # leave a trace where the copies were not copies
        first.step(FakeNet(other.vector, dtype), grads[0])
    second = remade(config)
    second.restore(steps, arrays)
    for array in arrays.values():
        array[:] = np.nan
    for grad in grads[stop:]:
        second.step(other, grad)
    assert net.vector.tobytes() == other.vector.tobytes()
    assert second.steps == opt.steps == 10
    assert second.config() == opt.config()
    assert {k: v.tobytes() for k, v in second.state().items()} == {
        k: v.tobytes() for k, v in opt.state().items()
    }


@pytest.mark.parametrize(
    ("opt", "names"),
    [
        (optimizers.SGD(0.1), []),
        (optimizers.SGD(0.1, momentum=0.9), ["momentum"]),
        (optimizers.Adagrad(), ["square_sum"]),
        (optimizers.RMSprop(), ["square_average"]),
        (optimizers.RMSprop(centered=True), ["square_average", "gradient_average"]),
        (optimizers.RMSprop(momentum=0.9), ["square_average", "momentum"]),
        (optimizers.Adam(), ["gradient_average", "square_average"]),
        (optimizers.AdamW(), ["gradient_average", "square_average"]),
    ],
    ids=repr,
)
def test_slots_are_made_at_the_first_step(opt, names):
    opt = copy.deepcopy(opt)
    assert opt.state() == {}
    assert opt.steps == 0
    opt.step(FakeNet(np.ones(3), np.float32), gradients(np.ones(3), np.float32))
    assert set(opt.state()) == set(names)
    assert all(v.shape == (3,) and v.dtype == np.float32 for v in opt.state().values())


def sent(opt):
    """An optimizer that an engine such as Dask hands over: in arrays that cannot be written to."""
    buffers = []
    content = pickle.dumps(opt, protocol=5, buffer_callback=buffers.append)
    assert buffers
    return pickle.loads(content, buffers=[bytes(each) for each in buffers])


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda opt: pickle.loads(pickle.dumps(opt)), sent])
def test_copies_are_equal_and_apart(copied):
    (net, grads), (other, _) = random_run(steps=4), random_run(steps=4)
    opt = optimizers.Adam(lr=0.1)
    for grad in grads[:2]:
        opt.step(net, grad)
    before = opt.state()
    twin = copied(opt)
    for grad in grads[2:]:
        twin.step(other, grad)
    assert opt.steps == 2
    assert twin.steps == 4
    for name, slot in opt.state().items():
        np.testing.assert_array_equal(slot, before[name])


@pytest.mark.parametrize(("name", "options"), ALL)
def test_config_round_trip(name, options):
    opt = make(name, options)
    config = opt.config()
    assert json.loads(json.dumps(config)) == config
    twin = remade(config)
    assert type(twin) is type(opt)
    assert twin.config() == config
    assert repr(twin) == repr(opt)


def test_config_has_the_rate_of_now():
    opt = optimizers.Adam()
    opt.lr = 0.25
    assert remade(opt.config()).lr == 0.25
