"""Layers and states, whatever computes."""

import numpy as np
import pytest

from crnn.base.layers import ReadoutSpec, network_layers, parameter_shapes
from crnn.base.sequences import checked_states, public_state, state_batch_size, state_widths
from crnn.network.configuration import cell_kind

pytestmark = pytest.mark.no_backend
LSTM = cell_kind("LSTM", {})
RNN = cell_kind("RNN", {"nonlinearity": "tanh"})
GRU = cell_kind("GRU", {"reset_after": True, "candidate": "relu"})


def test_layers_of_different_widths():
    layers = network_layers(GRU, 4, (6, 3), directions=2)
    assert [(each.input_size, each.hidden_size, each.output_size) for each in layers] == [
        (4, 6, 12), (12, 3, 6)]
    assert [each.suffixes for each in layers] == [("_l0", "_l0_reverse"), ("_l1", "_l1_reverse")]
    assert state_widths(layers) == [[6, 6, 3, 3]]
    shapes = parameter_shapes(layers, ReadoutSpec(2))
    assert list(shapes) == [
        f"{name}{suffix}" for layer in layers for suffix in layer.suffixes
        for name in ("W_xh", "W_hh", "b_h", "b_hn")] + ["W_hy", "b_y"]
    assert (shapes["W_xh_l1"], shapes["W_hh_l0"], shapes["W_hy"]) == ((12, 9), (6, 18), (6, 2))
    assert "b_hn_l0" not in parameter_shapes(network_layers(LSTM, 4, [6]), None)


@pytest.mark.parametrize("kind", [RNN, LSTM], ids=lambda kind: kind.cell)
@pytest.mark.parametrize("widths", [(5,), (5, 5), (6, 3)], ids=str)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("batch_size", [None, 0, 1, 3])
def test_states_come_back_as_they_came(rng, kind, widths, directions, batch_size):
    layers = network_layers(kind, 4, widths, directions)
    batch = () if batch_size is None else (batch_size,)
    lists = [[rng.standard_normal((*batch, H)) for H in state_widths(layers)[0]]
             for _ in range(kind.num_states)]
    given = lists if widths == (6, 3) else [np.array(part) for part in lists]
    given = tuple(given) if kind.has_c else given[0]
    assert state_batch_size(given, layers) == batch_size
    inside = checked_states(given, batch_size, layers, np.dtype(float))
    for k, states in enumerate(inside):
        for part, each in zip(lists, states, strict=True):
            assert each.shape == (1 if batch_size is None else batch_size, len(part[k].T))
            assert np.array_equal(each.reshape(part[k].shape), part[k])
            assert not np.may_share_memory(each, part[k])
            assert each.flags.c_contiguous
    back = public_state(inside, batch_size is not None)
    for one, other in zip(*(state if kind.has_c else [state] for state in (given, back)),
                          strict=True):
        assert type(one) is type(other)
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    zeros = checked_states(None, batch_size, layers, np.dtype(float))
    assert [[each.shape for each in states] for states in zeros] == [
        [each.shape for each in states] for states in inside]
    assert not any(each.any() for states in zeros for each in states)
