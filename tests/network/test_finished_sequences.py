"""A sequence that is over reaches no sum, whatever its state holds."""

import numpy as np
import pytest

import crnn

CELLS = {
    "RNN": (crnn.RNN, {}),
    "GRU": (crnn.GRU, {}),
    "GRU reset before": (crnn.GRU, {"reset_after": False}),
    "LSTM": (crnn.LSTM, {}),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_huge_state_of_a_finished_sequence_reaches_no_gradient(name, backend):
    cell, options = CELLS[name]
    net = cell(3, 4, 2, seed=0, **options)
    net.vector = 20 * net.vector
    huge = np.zeros((1, 2, 4), np.float32)
    huge[0, 1] = np.float32(3e38) * np.array([1, -1, 1, 1], np.float32)
    state = (huge, np.zeros_like(huge)) if cell is crnn.LSTM else huge
    x = np.ones((3, 2, 3), np.float32)
    targets = np.zeros((3, 2), np.intp)
    loss, gradients, last = net.loss_and_gradients(x, targets, state, lengths=[3, 0])
    assert np.isfinite(loss)
    assert np.isfinite(gradients.vector).all()
    alone = tuple(each[:, :1] for each in state) if cell is crnn.LSTM else state[:, :1]
    expected = net.loss_and_gradients(x[:, :1], targets[:, :1], alone)[1]
    np.testing.assert_allclose(gradients.vector, expected.vector, rtol=1e-5, atol=1e-7)
    first = last[0] if cell is crnn.LSTM else last
    np.testing.assert_array_equal(first[:, 1], huge[:, 1])
