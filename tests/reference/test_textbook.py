"""What is promised of the reference as such: its classes, and that it changes no argument."""

import pickle

import numpy as np
import pytest
from builds import KINDS, each_kind, network_of, parts_of

import crnn
from crnn import reference
from crnn.base.objective import checked_objective
from crnn.base.sequences import checked_sequence

pytestmark = pytest.mark.no_backend
T, B, I, H, O = 5, 4, 3, 6, 7  # noqa: E741


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_its_classes_are_the_public_ones_with_the_same_arguments(name):
    net = getattr(reference, name)(I, H, O, num_layers=2, dtype="float64", seed=3)
    twin = getattr(crnn, name)(I, H, O, num_layers=2, dtype="float64", seed=3, backend="compiled")
    assert isinstance(net, getattr(crnn, name))
    assert (net.backend, net.config()) == ("reference", twin.config())
    x = np.ones((T, B, I))
    np.testing.assert_array_equal(net.vector, twin.vector)
    np.testing.assert_allclose(net(x)[0], twin(x)[0], rtol=1e-13, atol=1e-14)
    for copy in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert type(copy) is type(net)
        np.testing.assert_array_equal(copy(x)[0], net(x)[0])


def test_it_has_what_it_lists_and_nothing_else():
    assert all(hasattr(reference, name) for name in reference.__all__)
    with pytest.raises(AttributeError, match="Layer"):
        reference.Layer  # noqa: B018


def read_only(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def drawn(rng, kind, lengths, loss="mse"):
    """Return the reference's passes, and checked input that cannot be written to."""
    net = network_of(kind, I, H, O, num_layers=2, bidirectional=True, dtype="float64", seed=0)
    x, targets = rng.standard_normal((T, B, I)), rng.random((T, B, O))
    sequence = checked_sequence(x, None, lengths, net.engine.layers, net.dtype)
    passes = reference.Passes(
        [layer._replace(dropout=0.3) for layer in net.engine.layers], net.parameters)
    states = [[read_only(rng.standard_normal(h.shape)) for h in state]
              for state in passes.initial_states(B)]
    objective = checked_objective(loss, targets, sequence, O, "mean", net.dtype)
    return passes, read_only(sequence.x), states, sequence.lengths, objective


@each_kind
@pytest.mark.parametrize("lengths", [None, [5, 0, 2, 3]], ids=["full", "lengths"])
def test_no_argument_is_written_to(rng, kind, lengths):
    passes, x, states, lengths, objective = drawn(rng, kind, lengths)
    masks = [read_only(rng.random((T, B, 2 * H)) < 0.7), None]
    y, last, tape = passes.forward(x, states, lengths, masks)
    dy = read_only(rng.standard_normal(y.shape))
    first, second = (passes.backward(tape, dy, states) for _ in range(2))
    for name, gradient in first.parameters.items():
        np.testing.assert_array_equal(second.parameters[name], gradient)
    objective = objective._replace(targets=read_only(objective.targets))
    passes.loss_and_gradients(x, states, lengths, objective, masks)
    assert len(last) == 4
    assert all(len(state) == 1 + KINDS[kind].has_c for state in last)


def test_flow_is_what_reaches_each_state(rng):
    """Of a network cut after a step: the gradient of the rest with respect to its state."""
    net = crnn.LSTM(I, H, dtype="float64", seed=0, backend="reference")
    x, target = rng.standard_normal((T, B, I)), rng.random((B, H))
    flow = crnn.gradient_flow(net, x, target, loss="mse")
    _, state = net(x[:2])
    _, rest, _ = net.loss_and_gradients(x[2:], target, state, loss="mse")
    for each, gradient in zip(flow, parts_of(rest.state), strict=True):
        np.testing.assert_allclose(each[0, 1], np.linalg.norm(gradient), rtol=1e-12)
