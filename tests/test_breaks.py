"""Bugs planted one by one in copies of some modules: the checks must catch every one.

A check that nothing can fail proves nothing. The bugs are in planted_bugs.py.
"""

import types

import numpy as np
import pytest
from builds import INSTRUCTION_SETS, kernels_of
from planted_bugs import BUGS, SOURCES
from test_gradients import (
    BARE,
    LAST,
    RAGGED,
    B,
    H,
    O,
    complex_twin,
    loss_function,
    point_of,
    problem,
)
from test_handworked import RELU, TANH, check_classes
from test_optim import BY_HAND, two_steps
from test_same_bits import different, draw, everything
from test_twins import (
    activation,
    adagrad_update,
    adam_update,
    assert_close,
    is_finite,
    norm,
    rmsprop_update,
    run,
    sgd_update,
)
from test_twins_passes import after, given_to, loops_over_time, losses, products

import crnn
from crnn import engine, network, optim

pytestmark = pytest.mark.no_backend

STEP = 1e-30


# --- the checks ----------------------------------------------------------------------------------


def check_handworked(module):
    for example in (TANH, RELU):
        check_classes(module, example)


def check_complex_step(module):
    """Gradients against complex-step derivatives, along two random directions of each array.

    Blocks of two time steps, so that gradients are added up over several calls.
    """
    rng = np.random.default_rng(1)
    for options in (
        {"loss": "softmax", "reduction": "mean", **RAGGED},
        {"loss": "softmax", "nonlinearity": "relu", **LAST, **RAGGED},
        {"loss": "sigmoid", "reduction": "mean", "tokens": True, **LAST},
        {"loss": "mse", "reduction": "mean", "nonlinearity": "relu", **BARE, **RAGGED},
        {"loss": "mse"},
    ):
        net, x, state, targets, given = problem(rng, **options, backend="reference")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "BLOCK_NUMBERS", 2 * B * max(H, O))
            _, grads, _ = net.loss_and_gradients(x, targets, state, **given)
        point = point_of(net, x, state)
        function = loss_function(complex_twin(net), targets, given)
        found = {"vector": grads.vector, "state": grads.state, "x": grads.x}
        for name, gradient in found.items():
            for _ in range(0 if gradient is None else 2):
                direction = rng.standard_normal(gradient.shape)
                moved = point | {name: point[name] + 1j * STEP * direction}
                exact = function(moved).imag / STEP
                assert abs((gradient * direction).sum() - exact) <= 1e-11, name


def check_kernels(module):
    """Every function, and every method of a layer and a readout, against its compiled twin."""
    rng = np.random.default_rng(2)
    functions = kernels_of(INSTRUCTION_SETS[-1], "float64")
    cases = [(activation, (17, "tanh")), (activation, (17, "relu"))]
    cases += [(sgd_update, (17, 0.9, nesterov, 0.05)) for nesterov in (False, True)]
    cases += [(sgd_update, (17, 0, False, 0.05)), (adagrad_update, (17, 0.05))]
    cases += [(rmsprop_update, (17, centered, 0.9, 0.05)) for centered in (False, True)]
    cases += [(adam_update, (17, 0.05, 0.99)), (norm, (17,)), (is_finite, (17, 5))]
    for maker, each in cases:
        arguments, outputs, *_ = maker(rng, "float64", *each)
        (ours, our_result), (theirs, their_result) = (
            run(side, maker.__name__, arguments) for side in (functions, module)
        )
        for our, their in zip(ours[:outputs], theirs[:outputs], strict=True):
            assert_close(their, our, rtol=1e-12)
        if isinstance(our_result, bool):
            assert their_result == our_result
        else:
            assert_close(their_result, our_result, rtol=1e-12)
    methods = [*products((1, 7, 3, 5, 3)), *products((2, 3, 5, 37, 5))]  # one panel, several
    methods += [*products((2, 3, 37, 5, 37)), *loops_over_time((4, 5, 3, 3, 2))]
    for case in [*methods, *losses((11, 2, 2, 3, 5))]:
        given = given_to(case, rng, "float64")
        (ours, _), (theirs, _) = (after(case, side, given) for side in (functions, module))
        for name, our in ours.items():
            assert_close(theirs[name], our, rtol=1e-12)


def check_lengths(module):
    """Each sequence of a padded batch against itself alone."""
    rng = np.random.default_rng(3)
    for loss, last_only in (("softmax", False), ("mse", False), ("softmax", True)):
        net, x, state, targets, options = problem(
            rng, loss, **RAGGED, last_only=last_only, backend="reference"
        )
        y, last = net(x, state, lengths=options["lengths"])
        value, grads, _ = net.loss_and_gradients(x, targets, state, **options)
        total, sum_of_parts = 0.0, np.zeros_like(grads.vector)
        for b, n in enumerate(options["lengths"]):
            own_targets = targets[b] if last_only else targets[:n, b]
            y_alone, last_alone = net(x[:n, b], state[:, b])
            part, grads_alone, _ = net.loss_and_gradients(
                x[:n, b], own_targets, state[:, b], loss=loss, reduction="sum"
            )
            total, sum_of_parts = total + part, sum_of_parts + grads_alone.vector
            assert not y[n:, b].any()
            assert not grads.x[n:, b].any()
            assert_close(y[:n, b], y_alone, rtol=1e-12)
            assert_close(last[:, b], last_alone, rtol=1e-12)
            assert_close(grads.x[:n, b], grads_alone.x, rtol=1e-12)
            assert_close(grads.state[:, b], grads_alone.state, rtol=1e-12)
        assert_close(value, total, rtol=1e-12)
        assert_close(grads.vector, sum_of_parts, rtol=1e-12)


def check_steps(module):
    """One step at a time against the whole sequence."""
    rng = np.random.default_rng(4)
    for tokens in (False, True):
        net, x, state, *_ = problem(rng, "mse", tokens=tokens, backend="reference")
        y, last = net(x, state)
        stream = net.stream()
        stream.state = state
        assert_close([stream.step(each) for each in x], y, rtol=1e-12)
        assert_close(stream.state, last, rtol=1e-12)


def check_updates(module):
    """Two steps of each optimiser, worked by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "kernels", lambda backend, dtype: module)
        for opt, w, g1, g2, expected in BY_HAND:
            found = two_steps(opt, w, g1, g2)
            np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


def network_and_data(rng, *, tokens, ragged, readout=True):
    """Return a network with more sequences and units than one thread takes."""
    sizes, data = draw(rng, (5, 9, 3, 33, 17), "float64", tokens=tokens, ragged=ragged,
                       readout=readout)
    return crnn.RNN(*sizes, dtype="float64", seed=rng, backend="reference"), data


def check_packing(module):
    """After each change of the parameters, everything against a network that is new."""
    rng = np.random.default_rng(5)
    for tokens in (False, True):
        net, data = network_and_data(rng, tokens=tokens, ragged=True)
        optimizer = crnn.SGD(0.1)
        for change in ("none", "vector", "name", "optimiser"):
            if change == "vector":
                net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
            elif change == "name":
                net.parameters["W_hh_l0"] = -0.5 * net.parameters["W_hh_l0"]
            elif change == "optimiser":
                optimizer.step(net, net.loss_and_gradients(data.x, data.targets["softmax"])[1])
            new = crnn.RNN(3, 33, 17, dtype="float64", backend="reference")
            new.vector = net.vector
            assert different(everything(net, data), everything(new, data)) == []


def check_threads(module):
    """Three threads against one; their products differ in the last digits, as the parts do."""
    rng = np.random.default_rng(6)
    threads, before = engine.threads, engine.threads.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "LEAST_WORK", 0)
        for options in ({"tokens": False, "ragged": True}, {"tokens": True, "ragged": False},
                        {"tokens": False, "ragged": False, "readout": False}):
            net, data = network_and_data(rng, **options)
            try:
                threads.set_num_threads(1)
                one = everything(net, data)
                threads.set_num_threads(3)
                three = everything(net, data)
            finally:
                threads.set_num_threads(before)
            for name, result in one.items():
                assert_close(three[name], result, 1e-12, name)


CHECKS = {
    "h": check_handworked,
    "c": check_complex_step,
    "k": check_kernels,
    "l": check_lengths,
    "s": check_steps,
    "u": check_updates,
    "p": check_packing,
    "t": check_threads,
}


# --- the tests -----------------------------------------------------------------------------------


def load(name, source):
    module = types.ModuleType(f"copy_of_{name}")
    exec(compile(source, f"copy_of_{name}.py", "exec"), vars(module))
    return module


def fails(check, broken):
    """Return whether a check sees that a module is wrong; a crash counts, as it would in use."""
    with pytest.MonkeyPatch.context() as patch:
        functions = broken.get("reference", crnn.reference)
        patch.setattr(network, "kernels", lambda backend, dtype: functions)
        if "weights" in broken:
            patch.setattr(network, "Weights", broken["weights"].Weights)
        if "threads" in broken:
            patch.setattr(engine, "threads", broken["threads"])
        try:
            check(functions)
        except Exception:
            return True
    return False


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.__name__)
def test_unbroken_copy_passes(check):
    copies = {name: load(name, source) for name, source in SOURCES.items()}
    assert not fails(check, copies)
    assert not fails(check, {})


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug, record_property):
    source = SOURCES[bug.module]
    assert source.count(bug.old) == bug.count, f"{bug.name}: look at the text it replaces"
    copies = {"reference": load("reference", SOURCES["reference"])}
    copies[bug.module] = load(bug.module, source.replace(bug.old, bug.new))
    caught_by = "".join(letter for letter, check in CHECKS.items() if fails(check, copies))
    record_property("caught by", caught_by)
    assert caught_by, f"{bug.name} escaped every check"
    assert set(bug.caught_by) <= set(caught_by), f"{bug.name} was caught by {caught_by} only"


def test_every_check_is_needed_by_some_bug_and_bugs_differ():
    assert set("".join(bug.caught_by for bug in BUGS)) == set(CHECKS)
    changes = {(bug.module, bug.old, bug.new) for bug in BUGS}
    assert len(changes) == len({bug.name for bug in BUGS}) == len(BUGS)
