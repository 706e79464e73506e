"""The state of a stream in a file: read back as it was, and refused where it does not fit."""

import json

import numpy as np
import pytest

import crnn
from crnn.files import container, kinds

I, O, B = 3, 2, 4  # noqa: E741
CELLS = [crnn.RNN, crnn.GRU, crnn.LSTM]

each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
one_or_many = pytest.mark.parametrize("batch", [None, 0, B], ids=["one", "none", "batch"])


def moved(net, rng, batch=B):
    """Return a stream that has taken a step."""
    stream = net.stream(batch)
    stream.step(rng.standard_normal((I,) if batch is None else (batch, I)))
    return stream


def bits(state):
    """Return the arrays of a state, of layers of any widths, as what can be compared."""
    parts = state if isinstance(state, tuple) else (state,)
    return [(each.dtype, each.shape, each.tobytes()) for part in parts for each in part]


@each_cell
@each_dtype
@one_or_many
@pytest.mark.parametrize("widths", [5, (5, 6)], ids=str)
def test_it_goes_on_with_the_same_bits(rng, tmp_path, cell, dtype, batch, widths):
    net = cell(I, widths, O, dtype=dtype, seed=0)
    stream, again = moved(net, rng, batch), net.stream(7)
    before = bits(stream.state)
    stream.save(tmp_path / "state")
    again.load(tmp_path / "state")
    assert bits(stream.state) == bits(again.state) == before
    assert again.batch_size == batch
    x = rng.standard_normal((I,) if batch is None else (batch, I))
    assert stream.step(x).tobytes() == again.step(x).tobytes()
    assert bits(again.state) == bits(stream.state) != before or batch == 0


@each_cell
def test_other_weights_and_the_other_backend_take_it(rng, tmp_path, cell):
    stream = moved(cell(I, 5, O, seed=0), rng)
    stream.save(str(tmp_path / "state"))
    for backend in ("compiled", "reference"):
        again = cell(9, 5, None, seed=1, learn_state=True, backend=backend).stream()
        again.load(str(tmp_path / "state"))
        assert bits(again.state) == bits(stream.state)
        assert not again.is_at_start


@each_cell
def test_a_state_that_is_nan_is_not_saved(rng, tmp_path, cell, backend):
    net = cell(I, (5, 6), O, seed=0)
    stream, one = moved(net, rng), moved(net, rng, None)
    stream.save(tmp_path / "state")
    good = (tmp_path / "state").read_bytes()
    x = np.zeros((B, I))
    x[2, 1] = np.nan
    stream.step(x)
    one.step(x[2])
    with pytest.raises(ValueError, match=r"state of sequence 2 is NaN.*reset\(rows=\[2\]\)"):
        stream.save(tmp_path / "state")
    with pytest.raises(ValueError, match=r"the state is NaN.*reset\(\)"):
        one.save(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == good
    stream.reset(rows=[2])
    stream.save(tmp_path / "state")


def test_what_is_in_the_file(rng, tmp_path):
    stream = moved(crnn.LSTM(I, (5, 6), O, seed=0), rng)
    stream.save(tmp_path / "state")
    tensors, metadata = container.read(tmp_path / "state")
    assert {name: array.shape for name, array in tensors.items()} == {
        "h_l0": (B, 5), "c_l0": (B, 5), "h_l1": (B, 6), "c_l1": (B, 6)}
    assert np.array_equal(tensors["c_l1"], stream.state[1][1])
    assert {name: json.loads(text) for name, text in metadata.items() if name == "state"} == {
        "state": {"cell": "LSTM", "hidden_sizes": [5, 6], "dtype": "float32", "batch_size": B}}


OTHERS = {
    "cell": lambda: crnn.GRU(I, (5, 6)), "LSTM": lambda: crnn.LSTM(I, (5, 6)),
    "width": lambda: crnn.RNN(I, (5, 7)), "layers": lambda: crnn.RNN(I, 5),
    "dtype": lambda: crnn.RNN(I, (5, 6), dtype="float64"),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_the_state_of_another_network_is_refused(rng, tmp_path, make):
    moved(crnn.RNN(I, (5, 6), seed=0), rng).save(tmp_path / "state")
    stream = moved(make(), rng, 2)
    before = bits(stream.state)
    with pytest.raises(crnn.FormatError, match=r"of 'RNN' with hidden sizes \[5, 6\]"):
        stream.load(tmp_path / "state")
    assert bits(stream.state) == before
    assert stream.batch_size == 2


FORGED = {
    "no object": ([1], {}),
    "a name too few": ({"cell": "RNN", "hidden_sizes": [5], "dtype": "float32"}, {}),
    "a name too many": ("more", {}),
    "a batch that is none": ("batch_size", -1), "half a batch": ("batch_size", 4.0),
    "a flag for a batch": ("batch_size", True), "a huge batch": ("batch_size", 10**30),
    "another batch": ("batch_size", 5), "one sequence": ("batch_size", None),
    "cells": ("cell", ["RNN"]), "widths": ("hidden_sizes", 5), "no dtype": ("dtype", None),
}


@pytest.mark.parametrize(("what", "value"), FORGED.values(), ids=FORGED)
def test_a_forged_account_is_refused(rng, tmp_path, what, value):
    stream, path = moved(crnn.RNN(I, 5, seed=0), rng), tmp_path / "state"
    stream.save(path)
    tensors, metadata = container.read(path)
    account = json.loads(metadata["state"]) | {what: value} if isinstance(what, str) else what
    container.write(path, tensors, {"state": json.dumps(account)})
    before = bits(stream.state)
    with pytest.raises(crnn.FormatError) as error:
        stream.load(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500
    assert bits(stream.state) == before


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "dtype"])
def test_other_tensors_are_refused(rng, tmp_path, change):
    stream, path = moved(crnn.LSTM(I, 5, seed=0), rng), tmp_path / "state"
    stream.save(path)
    tensors, metadata = container.read(path)
    if change == "missing":
        del tensors["c_l0"]
    elif change == "unknown":
        tensors["c_l1"] = tensors["c_l0"]
    else:
        c = tensors["c_l0"]
        tensors["c_l0"] = c[:, :3] if change == "shape" else c.astype(float)
    container.write(path, tensors, {"state": metadata["state"]})
    with pytest.raises(crnn.FormatError, match="c_l"):
        stream.load(path)


def test_every_damage_is_refused(rng, tmp_path):
    stream, path = moved(crnn.GRU(I, 2, seed=0), rng, 1), tmp_path / "state"
    stream.save(path)
    raw, before = path.read_bytes(), bits(stream.state)
    for k in range(len(raw)):
        for bad in (raw[:k], raw[:k] + bytes([raw[k] ^ 1]) + raw[k + 1 :]):
            path.write_bytes(bad)
            with pytest.raises(crnn.FormatError):
                stream.load(path)
    assert bits(stream.state) == before


def test_neither_kind_is_taken_for_the_other(rng, tmp_path):
    net, path = crnn.RNN(I, 5, O, seed=0), tmp_path / "file"
    net.save(path)
    with pytest.raises(crnn.FormatError, match="a network, not the state of a stream"):
        net.stream().load(path)
    net.stream().save(path)
    with pytest.raises(crnn.FormatError, match="a state of a stream, not a model"):
        crnn.load(path)
    with pytest.raises(FileNotFoundError):
        net.stream().load(tmp_path / "nowhere")
    assert kinds.read(path, kinds.STATE).kind == kinds.STATE


def test_complex_states_have_no_file(tmp_path):
    stream = crnn.reference.RNN(I, 5, dtype="complex128").stream()
    with pytest.raises(TypeError, match="complex128"):
        stream.save(tmp_path / "state")
    assert not (tmp_path / "state").exists()
