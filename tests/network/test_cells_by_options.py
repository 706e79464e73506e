"""Networks of cells with options: gradients, both backends, steps and files.

Of clipped arguments, hard sigmoids, peepholes, coupled gates, and ReLU in an LSTM.
"""

import numpy as np
import pytest
from builds import OTHER_LAYERS, each_instruction_set, kernels_of
from cell_networks import (
    B,
    H,
    I,
    O,
    arrays,
    build,
    check_close,
    draw,
    each_other_cell,
    everything,
    full_or_ragged,
)

import crnn
from crnn.engine import plans
from crnn.layers import LSTM, Dense

one_way_or_both = pytest.mark.parametrize(
    ("layers", "both"), [(1, False), (2, True)], ids=["one layer", "two layers, both ways"])


@pytest.mark.no_backend
@each_other_cell
@full_or_ragged
def test_gradients_are_those_of_complex_steps(rng, cell, lengths):
    net = build(cell, 2, True, backend="reference")
    data = draw(rng, net, lengths=lengths)
    errors = crnn.gradcheck(
        net, data.x, data.targets, data.state, lengths=lengths, max_entries=6)
    if OTHER_LAYERS[cell].kind.peepholes:
        assert "W_ch_l1_reverse" in errors
    assert max(errors.values()) <= 1e-11, errors


@pytest.mark.no_backend
@each_other_cell
@one_way_or_both
@full_or_ragged
@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
def test_compiled_is_the_reference(rng, cell, layers, both, lengths, tokens):
    ours, theirs = (build(cell, layers, both, backend=each) for each in ("compiled", "reference"))
    data = draw(rng, ours, tokens=tokens, lengths=lengths)
    check_close(everything(ours, data), everything(theirs, data), 1e-12)


@pytest.mark.no_backend
@each_instruction_set
@pytest.mark.parametrize("cell", ["gru-before-clip", "lstm-all", "lstm-peepholes-clip"])
def test_every_build_in_blocks_and_in_groups(rng, monkeypatch, isa, cell):
    for name, value in (("BLOCK_NUMBERS", 2 * B * 4 * 37), ("GROUP_WORK", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(plans, name, value)
            patch.setattr(plans, "GROUP_SEQUENCES", 2)
            sizes = I, 37, O
            ours = build(cell, 1, sizes=sizes, functions=kernels_of(isa, "float64"))
            theirs = build(cell, 1, sizes=sizes, backend="reference")
            data = draw(rng, ours, shape=(9, 11), lengths=rng.integers(0, 10, 11))
            check_close(everything(ours, data), everything(theirs, data), 1e-12)


@pytest.mark.no_backend
@pytest.mark.parametrize("cell", ["lstm-peepholes"])
def test_gradients_of_peepholes_are_sums_of_many_rows_in_float32(rng, cell):
    """A plain sum of so many equal numbers would lose two digits."""
    found = []
    for dtype in ("float32", "float64"):
        net = build(cell, 1, sizes=(I, 2, 1), dtype=dtype, backend="compiled")
        net.vector = net.vector.astype("float32")
        x, targets = np.ones((2, 200_000), int), np.ones((2, 200_000, 1))
        found.append(net.loss_and_gradients(x, targets, loss="mse")[1].parameters["W_ch_l0"])
    assert np.abs(found[0] - found[1]).max() <= 2e-5 * np.abs(found[1]).max()


@each_other_cell
def test_files_copies_and_configurations(rng, tmp_path, backend, cell):
    net = build(cell, 1, dtype="float32", backend=backend)
    data = draw(rng, net)
    y, _ = net(data.x, data.state)
    net.save(tmp_path / "net.crnn")
    for other in (crnn.load(tmp_path / "net.crnn"), net.copy()):
        np.testing.assert_array_equal(other(data.x, data.state)[0], y)
        assert other.config() == net.config()


def test_a_learned_state_and_training(rng, backend):
    """Peepholes lie before learned states among the parameters; everything is trained."""
    net = crnn.Sequential(I, [LSTM(H, peepholes=True), Dense(O)], learn_state=True, seed=0,
                          dtype="float64", backend=backend)
    assert list(net.parameters) == [
        "W_xh_l0", "W_hh_l0", "b_h_l0", "W_ch_l0", "h_0_l0", "c_0_l0", "W_hy", "b_y"]
    assert net.parameters["W_ch_l0"].shape == (3, H)
    x, targets = rng.standard_normal((7, B, I)), rng.integers(0, O, (7, B))
    errors = crnn.gradcheck(net, x, targets)
    assert max(errors.values()) <= (1e-11 if backend == "reference" else 1e-6), errors
    before, peepholes = net.loss(x, targets)[0], net.parameters["W_ch_l0"].copy()
    optimizer = crnn.Adam(0.02)
    for _ in range(20):
        optimizer.step(net, net.loss_and_gradients(x, targets)[1])
    assert net.loss(x, targets)[0] < 0.8 * before
    assert (net.parameters["W_ch_l0"] != peepholes).all()


def test_a_step_follows_peepholes_that_change(rng, backend):
    """They are read where they are, not packed."""
    net = build("lstm-peepholes", 1, backend=backend)
    data = draw(rng, net)
    for _ in range(2):
        stream = net.stream(B)
        stream.state = data.state
        stepped = [stream.step(each) for each in data.x]
        y, last = net(data.x, data.state)
        np.testing.assert_array_equal(stepped, y)
        for one, other in zip(arrays(stream.state), arrays(last), strict=True):
            np.testing.assert_array_equal(one, other)
        net.parameters["W_ch_l0"] = -2 * net.parameters["W_ch_l0"]
