"""Networks with the batch first: the results of time first, with the axes changed, to the bit."""

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import B, H, I, O, T, build, each_cell, floats_or_tokens, full_or_ragged

import crnn


def pair(cell="GRU", layers=1, both=False, **options):
    """Return two equal networks, one with time first and one with the batch first."""
    return tuple(build(cell, layers, both, batch_first=first, **options) for first in (False, True))


def swap(array):
    return array.swapaxes(0, 1)


def same_bits(ours, theirs):
    ours, theirs = (np.ascontiguousarray(each) for each in (ours, theirs))
    assert cells.identity(ours) == cells.identity(theirs)


def same_gradients(ours, theirs):
    same_bits(ours.vector, theirs.vector)
    for a, b in zip(cells.arrays(ours.state), cells.arrays(theirs.state), strict=True):
        same_bits(a, b)
    if theirs.x is None:
        assert ours.x is None
    else:
        same_bits(swap(ours.x), theirs.x)


@each_cell
@floats_or_tokens
@full_or_ragged
def test_results_are_those_of_time_first(cell, tokens, lengths, rng, backend):
    plain, net = pair(cell, 2, both=cell == "LSTM")
    data = cells.draw(rng, plain, tokens=tokens, lengths=lengths)
    rest, x, dy = {"lengths": lengths}, swap(data.x), swap(data.dy)
    y, last = plain(data.x, data.state, **rest)
    for ours in (net(x, data.state, **rest), net.forward(x, data.state, **rest)[:2],
                 net(np.ascontiguousarray(x), data.state, **rest),
                 net(x.tolist(), data.state, **rest)):
        assert ours[0].shape == (B, T, O)
        same_bits(swap(ours[0]), y)
        for a, b in zip(cells.arrays(ours[1]), cells.arrays(last), strict=True):
            same_bits(a, b)
    same_gradients(net.backward(net.forward(x, data.state, **rest)[2], dy, data.dstate),
                   plain.backward(plain.forward(data.x, data.state, **rest)[2], data.dy,
                                  data.dstate))
    ends, values = rng.integers(0, O, B), rng.standard_normal((T, B, O))
    for targets, ours, loss in (
        (data.targets, swap(data.targets), "softmax"), (ends, ends, "softmax"),
        (values, swap(values), "mse"), (values[0], values[0], "mse"),
    ):
        expected, grads, _ = plain.loss_and_gradients(
            data.x, targets, data.state, loss=loss, **rest)
        found, own, _ = net.loss_and_gradients(x, ours, data.state, loss=loss, **rest)
        assert found == expected == net.loss(x, ours, data.state, loss=loss, **rest)[0]
        same_gradients(own, grads)


@floats_or_tokens
def test_one_sequence_has_no_batch_to_swap(tokens, rng, backend):
    plain, net = pair()
    x = cells.draw_input(rng, plain, tokens=tokens, shape=(T,))
    targets, dy = rng.integers(0, O, T), rng.standard_normal((T, O))
    same_bits(net(x)[0], plain(x)[0])
    assert net.loss(x, targets)[0] == plain.loss(x, targets)[0]
    same_bits(net.loss(x, dy, loss="mse")[0], plain.loss(x, dy, loss="mse")[0])
    same_bits(net.backward(net.forward(x)[2], dy).vector,
              plain.backward(plain.forward(x)[2], dy).vector)


def test_sizes_that_are_equal_are_not_mixed_up(rng, backend):
    plain, net = pair(sizes=(3, 4, 3))
    x, values = rng.standard_normal((3, 3, 3)), rng.standard_normal((3, 3, 3))
    classes = rng.integers(0, 3, (3, 3))
    for ours, theirs, loss in ((swap(values), values, "mse"), (values[0], values[0], "mse"),
                               (swap(classes), classes, "softmax")):
        expected = plain.loss_and_gradients(x, theirs, loss=loss)
        found = net.loss_and_gradients(swap(x), ours, loss=loss)
        assert found[0] == expected[0]
        same_gradients(found[1], expected[1])


def test_lists_are_the_same_for_both(rng, backend):
    plain, net = pair()
    sequences = [rng.standard_normal((n, I)) for n in (3, 1, 4)]
    targets = [rng.integers(0, O, len(each)) for each in sequences]
    for ours, theirs in zip(net(sequences)[0], plain(sequences)[0], strict=True):
        same_bits(ours, theirs)
    assert net.loss(sequences, targets)[0] == plain.loss(sequences, targets)[0]


def test_steps_and_states_are_the_same_for_both(rng, backend):
    plain, net = pair("LSTM", 2)
    x = rng.standard_normal((B, T, I))
    y, last = net(x)
    stream = net.stream(B)
    steps = np.stack([stream.step(x[:, t]) for t in range(T)], axis=1)
    np.testing.assert_allclose(steps, y, rtol=1e-12)
    same_bits(y, swap(plain(swap(x))[0]))
    assert [each.shape for each in last] == [(2, B, H)] * 2


@pytest.mark.parametrize("last", [False, True], ids=["every step", "last step"])
def test_training_and_evaluation_are_those_of_time_first(last, rng, backend):
    x, targets = rng.standard_normal((T, B, I)), rng.integers(-1, O, (T, B))
    ends, lengths = np.abs(targets[0]), cells.LENGTHS
    results = []
    for net in pair("GRU", 2, dropout=0.3):
        given = swap if net.batch_first else np.array
        batch = given(x), ends if last else given(targets), lengths
        truncation = None if last else 2
        history = crnn.fit(net, [batch, batch[:2]], crnn.Adam(), epochs=2, seed=0,
                           truncation=truncation, validation=batch)
        found = crnn.evaluate(net, batch, truncation=truncation)
        assert found == min(history["validation_loss"])
        results.append((net.vector.tobytes(), history.rows))
    assert results[0] == results[1]


def test_the_analyses_take_the_batch_first(rng, backend):
    plain, net = pair(both=True)
    x, targets, state = (rng.standard_normal((T, B, I)), rng.integers(-1, O, (T, B)),
                         rng.standard_normal((2, B, H)))
    errors = crnn.gradcheck(net, swap(x), swap(targets), state, max_entries=20)
    assert max(errors.values()) < 1e-10
    same_bits(crnn.gradient_flow(net, swap(x), swap(targets), state),
              crnn.gradient_flow(plain, x, targets, state))


def test_it_is_kept(tmp_path, backend):
    net = build("GRU", batch_first=True)
    net.save(tmp_path / "net.safetensors")
    loaded = crnn.load(tmp_path / "net.safetensors")
    for each in (loaded, net.copy()):
        assert each.batch_first is True
        assert each(np.zeros((B, T, I)))[0].shape == (B, T, O)
    assert "batch_first=True" in repr(net)
    assert "batch_first" not in repr(build("GRU"))
    assert build("GRU").batch_first is False
    with pytest.raises(TypeError, match="batch_first"):
        crnn.GRU(I, H, batch_first=1)


REFUSED = {
    "features": (lambda net: net(np.zeros((B, T, I + 1))), r"B = 4 sequences of T = 5 steps.*=3"),
    "one sequence": (lambda net: net(np.zeros((T, I + 1))), r"T = 5 steps.*\(B, T, 3\)"),
    "axes": (lambda net: net(np.zeros((1, B, T, I))), r"\(B, T, 3\)"),
    "lengths": (lambda net: net(np.zeros((B, T, I)), lengths=[1] * T), r"\(5,\).*B = 4"),
    "targets": (lambda net: net.loss(np.zeros((B, T, I)), np.zeros((T, B), int)),
                r"targets.*\(5, 4\); \(4, 5\).*batch_first"),
    "last targets": (lambda net: net.loss(np.zeros((B, T, I)), np.zeros(T, int)), r"\(5,\).*B = 4"),
    "dy": (lambda net: net.backward(net.forward(np.zeros((B, T, I)))[2], np.zeros((T, B, O))),
           r"dy.*\(5, 4\); \(4, 5\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_how_it_was_read(case, backend):
    action, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        action(build("GRU", batch_first=True))
