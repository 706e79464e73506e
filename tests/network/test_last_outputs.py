"""Many to one: only each sequence's last outputs, for losses and without."""

import numpy as np
import pytest
from cell_networks import (
    LENGTHS,
    B,
    H,
    I,
    O,
    T,
    arrays,
    build,
    draw,
    each_cell,
    each_shape,
    floats_or_tokens,
    full_or_ragged,
    identity,
)

import crnn


def of_last_states(net, last, lengths):
    """Return last outputs from the last states (L * D, B, H): the readout of the top layer's."""
    ways = 1 + net.bidirectional
    read = np.concatenate(list(arrays(last)[0][-ways:]), axis=1)
    y = read @ net.parameters["W_hy"] + net.parameters["b_y"] if net.output_size else read
    return y if lengths is None else np.where(lengths[:, None] > 0, y, 0)


def check_same(net, y, expected):
    """Check for the same bits, which products of the reference have not in other shapes."""
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)
    assert net.backend == "reference" or identity(y) == identity(expected)


@each_cell
@each_shape
@full_or_ragged
@floats_or_tokens
@pytest.mark.parametrize("sizes", [(I, H, O), (I, H, None)], ids=["readout", "states"])
def test_last_outputs_are_the_readout_of_last_states(
    rng, cell, layers, both, lengths, tokens, sizes
):
    net = build(cell, layers, both, sizes=sizes)
    data = draw(rng, net, tokens=tokens, lengths=lengths)
    y, last = net(data.x, data.state, lengths=lengths, last=True)
    whole, expected = net(data.x, data.state, lengths=lengths)
    assert identity(last) == identity(expected)
    assert y.shape == (B, sizes[2] or H * (1 + both))
    np.testing.assert_allclose(y, of_last_states(net, last, lengths), rtol=1e-12, atol=1e-14)
    if not both:
        ends = [T] * B if lengths is None else lengths
        rows = [whole[n - 1, b] if n else 0 * whole[0, b] for b, n in enumerate(ends)]
        check_same(net, y, np.array(rows))


@each_shape
@full_or_ragged
def test_a_loss_of_last_outputs_is_that_of_what_the_network_gives(rng, layers, both, lengths):
    net = build("GRU", layers, both)
    data, targets = draw(rng, net, lengths=lengths), rng.standard_normal((B, O))
    y, _ = net(data.x, data.state, lengths=lengths, last=True)
    counts = np.ones(B, bool) if lengths is None else lengths > 0
    wanted = ((y - targets)[counts] ** 2).mean()
    rest = (data.x, targets, data.state)
    assert net.loss(*rest, loss="mse", lengths=lengths)[0] == pytest.approx(wanted, rel=1e-12)
    value, grads, _ = net.loss_and_gradients(*rest, loss="mse", lengths=lengths)
    assert value == pytest.approx(wanted, rel=1e-12)
    dy = np.where(counts[:, None], 2 * (y - targets) / (counts.sum() * O), 0)
    np.testing.assert_allclose(grads.parameters["b_y"], dy.sum(axis=0), rtol=1e-12)


def test_the_second_direction_is_read_at_the_first_step():
    # one unit each way with the identity for f: h_t = relu(x_t + h) adds up what is positive
    net = crnn.RNN(1, 1, 2, bidirectional=True, nonlinearity="relu", dtype="float64")
    net.vector = np.zeros(net.num_parameters)
    for name in ("W_xh_l0", "W_hh_l0", "W_xh_l0_reverse"):
        net.parameters[name] = np.ones((1, 1))
    net.parameters["W_hh_l0_reverse"] = np.full((1, 1), 10.0)
    net.parameters["W_hy"] = np.eye(2)
    x = np.array([1.0, 2, 3, 4])[:, None]
    np.testing.assert_array_equal(net(x, last=True)[0], [10, 1 + 20 + 300 + 4000])
    np.testing.assert_array_equal(net(x, lengths=3, last=True)[0], [6, 1 + 20 + 300])
    np.testing.assert_array_equal(net(x)[0][-1], [10, 4])


def test_a_sequence_by_itself_and_a_batch(rng):
    for both in (False, True):
        net = build("LSTM", 2, both)
        data = draw(rng, net)
        y, _ = net(data.x, data.state, last=True)
        for b in range(B):
            state = tuple(each[:, b] for each in data.state)
            alone, last = net(data.x[:, b], state, last=True)
            assert alone.shape == (O,)
            assert last[0].shape == (2 * (1 + both), H)
            check_same(net, alone, y[b])


@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both"])
@pytest.mark.parametrize("outputs", [O, None], ids=["readout", "states"])
def test_where_there_is_no_step_y_is_0(rng, both, outputs):
    net = build("RNN", 1, both, sizes=(I, H, outputs))
    for shape in ((0, B), (T, 0), (0, 0)):
        data = draw(rng, net, shape=shape)
        y, last = net(data.x, data.state, last=True)
        assert y.shape == (shape[1], outputs or H * (1 + both))
        assert not y.any()
        assert shape[0] or identity(last) == identity(data.state)
    data = draw(rng, net)
    y, _ = net(data.x, data.state, lengths=LENGTHS, last=True)
    assert [bool(row.any()) for row in y] == [n > 0 for n in LENGTHS]


@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both"])
def test_a_list_of_sequences(rng, both):
    net = build("GRU", 2, both)
    sequences = [rng.standard_normal((n, I)) for n in (3, 1, 7, 4)]
    y, last = net(sequences, last=True)
    x, lengths = crnn.pad(sequences)
    expected, end = net(x, lengths=lengths, last=True)
    assert (identity(y), identity(last)) == (identity(expected), identity(end))
    for rows, sequence in zip(y, sequences, strict=True):
        check_same(net, rows, net(sequence, last=True)[0])


def test_one_question_after_another_with_and_without_last(rng):
    net, fresh = build("GRU"), build("GRU")
    data = draw(rng, net)
    for last in (False, True, True, False, True):
        found, wanted = (each(data.x, data.state, last=last)[0] for each in (net, fresh))
        fresh = build("GRU")
        assert identity(found) == identity(wanted)


def test_last_is_true_or_false(rng):
    net = build("RNN")
    with pytest.raises(TypeError, match="last is 1; True or False is wanted"):
        net(np.ones((T, I)), last=1)
