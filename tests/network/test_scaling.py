"""`crnn.Scaler`: mean 0 and standard deviation 1, kept with the network."""

import json
import pickle

import numpy as np
import pytest

import crnn
from crnn.files import container

I = 3  # noqa: E741
no_backend = pytest.mark.no_backend


def draw(rng, lengths=(4, 1, 6)):
    return [5 + rng.standard_normal((n, I)) * [1, 10, 0.1] for n in lengths]


@no_backend
def test_a_list_by_the_textbook(rng):
    sequences = draw(rng)
    everything = np.concatenate(sequences)
    scaler = crnn.Scaler()
    assert scaler.fit(sequences) is scaler
    np.testing.assert_allclose(scaler.mean, everything.mean(0), rtol=1e-14)
    np.testing.assert_allclose(scaler.std, everything.std(0), rtol=1e-12)
    scaled = scaler.transform(sequences)
    assert [each.shape for each in scaled] == [each.shape for each in sequences]
    together = np.concatenate(scaled)
    np.testing.assert_allclose(together.mean(0), np.zeros(I), atol=1e-12)
    np.testing.assert_allclose(together.std(0), np.ones(I), rtol=1e-12)
    for back, each in zip(scaler.inverse_transform(scaled), sequences, strict=True):
        np.testing.assert_allclose(back, each, rtol=1e-12)


@no_backend
def test_a_step_is_scaled_as_its_sequence_is(rng):
    sequences = draw(rng)
    scaler = crnn.Scaler().fit(sequences)
    step, whole = scaler.transform(sequences[2][3]), scaler.transform(sequences[2])
    assert step.tobytes() == whole[3].tobytes()
    assert scaler.inverse_transform(step).shape == (I,)
    with pytest.raises(ValueError, match=r"4 features.*fitted to 3"):
        scaler.transform(np.ones(4))


@no_backend
@pytest.mark.parametrize("batch_first", [False, True])
def test_arrays_with_lengths_are_their_list(batch_first, rng):
    sequences = draw(rng)
    x, lengths = crnn.pad(sequences, batch_first)
    x[(np.arange(6) >= lengths[:, None]) if batch_first else np.arange(6)[:, None] >= lengths] = 99
    of_list, scaler = crnn.Scaler().fit(sequences), crnn.Scaler(batch_first)
    found = scaler.fit_transform(x, lengths)
    np.testing.assert_allclose(scaler.mean, of_list.mean, rtol=1e-14)
    np.testing.assert_allclose(scaler.std, of_list.std, rtol=1e-12)
    np.testing.assert_allclose(
        found, crnn.pad(of_list.transform(sequences), batch_first)[0], rtol=1e-12, atol=1e-12)
    without = scaler.transform(x)
    valid = without if batch_first else without.swapaxes(0, 1)
    np.testing.assert_allclose(valid[0][:4], of_list.transform(sequences)[0], rtol=1e-12)
    np.testing.assert_allclose(valid[0][4:], (99 - scaler.mean) / scaler.std * np.ones((2, 1)))


@no_backend
def test_what_is_nan_does_not_count_and_stays(rng):
    x = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0]])
    scaler = crnn.Scaler()
    scaled = scaler.fit_transform(x)
    assert (scaler.mean.tolist(), scaler.std.tolist()) == ([2, 5], [1, 1])
    np.testing.assert_array_equal(scaled, [[-1, np.nan], [1, -1], [np.nan, 1]])


@no_backend
def test_a_feature_that_never_changes_is_only_moved():
    x = np.full((10, 2), [0.1, 7.0])
    x[:, 1] += np.arange(10)
    scaler = crnn.Scaler().fit(x)
    assert scaler.std[0] == 1
    np.testing.assert_allclose(scaler.transform(x)[:, 0], 0, atol=1e-15)


@no_backend
def test_dtypes():
    for dtype, wanted in (("f4", "f4"), ("f8", "f8"), ("i8", "f8"), ("f2", "f8")):
        x = np.array([[1, 2], [3, 6]], dtype)
        scaler = crnn.Scaler().fit(x)
        assert scaler.mean.dtype == np.float64
        assert scaler.transform(x).dtype == np.dtype(wanted)
        assert scaler.transform(x.tolist()).dtype == np.float64
    million = np.full((1_000_000, 1), 1000.1, np.float32)
    million[::2] = 1000.3
    assert crnn.Scaler().fit(million).std[0] == pytest.approx(
        np.std([np.float32(1000.1), np.float32(1000.3)], dtype=float), rel=1e-9)


X = np.ones((4, 2, I))
REFUSED = {
    "tokens": (lambda s: s.fit([np.array([0, 1])]), ValueError, "tokens"),
    "one axis": (lambda s: s.fit(np.ones(3)), ValueError, r"x\[:, None\]"),
    "texts": (lambda s: s.fit(["ab"]), TypeError, "x"),
    "complex": (lambda s: s.fit(X * 1j), ValueError, "complex"),
    "infinite": (lambda s: s.fit(X * np.inf), ValueError, "infinite"),
    "all NaN": (lambda s: s.fit(X * np.nan), ValueError, r"no number.*\[0 1 2\]"),
    "no step": (lambda s: s.fit(X[:0]), ValueError, "no number"),
    "features": (lambda s: s.transform(X[..., :2]), ValueError, "2 features.*fitted to 3"),
    "lengths": (lambda s: s.fit(X, lengths=[1]), ValueError, r"\(T, B, I\)"),
    "lengths beyond T": (lambda s: s.fit(X, lengths=[4, 5]), ValueError, "from 0 to T = 4"),
    "lengths below 0": (lambda s: s.transform(X, lengths=[4, -1]), ValueError, "from 0 to T = 4"),
    "lengths of one sequence": (lambda s: s.fit(X[0], lengths=[2]), ValueError, r"\(T, B, I\)"),
    "lengths of a list": (lambda s: s.fit([X[0]], lengths=[1]), TypeError, "own lengths"),
    "weight of one": (lambda s: s.fit(X[0], sample_weight=[1]), ValueError, "only one"),
    "weights": (lambda s: s.fit(X, sample_weight=[1]), ValueError, r"\(1,\); \(2,\)"),
    "weight below 0": (lambda s: s.fit(X, sample_weight=[1, -1]), ValueError, "-1"),
    "weights of 0": (lambda s: s.fit(X, sample_weight=[0, 0]), ValueError, "no number"),
    "a padded array and its lengths": (lambda s: s.fit(crnn.pad([X[:, 0], X[:3, 0]])), TypeError,
                                       r"fit\(\*crnn\.pad\(sequences\)\)"),
    "batches": (lambda s: s.fit(crnn.batches([X[:, 0]], [0])), TypeError, "a list of arrays"),
    "not fitted": (lambda s: crnn.Scaler().transform(X), ValueError, "call fit"),
}


@no_backend
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    action, kind, message = REFUSED[case]
    scaler = crnn.Scaler().fit(X + np.arange(4)[:, None, None])
    before = scaler.as_dict()
    with pytest.raises(kind, match=message):
        action(scaler)
    assert scaler.as_dict() == before


# --- with a network ------------------------------------------------------------------------------


def scaled_network(rng):
    net = crnn.GRU(I, 4, 2, seed=0)
    net.scaler = crnn.Scaler(batch_first=True).fit(draw(rng))
    return net


def test_it_is_kept_with_the_network(rng, tmp_path, backend):
    net = scaled_network(rng)
    path = tmp_path / "net.safetensors"
    net.save(path, metadata={"author": "somebody"})
    for other in (crnn.load(path), net.copy(), pickle.loads(pickle.dumps(net))):
        assert other.scaler.mean.tobytes() == net.scaler.mean.tobytes()
        assert other.scaler.std.tobytes() == net.scaler.std.tobytes()
        assert other.scaler.batch_first is True
        assert other.scaler is not net.scaler
    assert crnn.load(path).metadata == {"author": "somebody"}
    net.scaler = None
    net.save(path)
    assert crnn.load(path).scaler is None
    x = rng.standard_normal((5, I))
    np.testing.assert_array_equal(crnn.load(path)(x)[0], net(x)[0])  # it is not applied by itself


@pytest.mark.parametrize("value", [1, "scaler", crnn.Scaler(), {"mean": [1.0]}], ids=repr)
def test_only_a_fitted_scaler_can_be_kept(value, rng, backend):
    net = scaled_network(rng)
    before = net.scaler
    with pytest.raises(TypeError, match="scaler"):
        net.scaler = value
    assert net.scaler is before


FORGED = {
    "a number": 3, "a list": [1.0], "null": None,
    "no std": {"mean": [1.0], "batch_first": False},
    "more": {"mean": [1.0], "std": [1.0], "batch_first": False, "code": "x"},
    "unequal": {"mean": [1.0, 2.0], "std": [1.0], "batch_first": False},
    "empty": {"mean": [], "std": [], "batch_first": False},
    "std 0": {"mean": [1.0], "std": [0.0], "batch_first": False},
    "std below 0": {"mean": [1.0], "std": [-1.0], "batch_first": False},
    "whole numbers": {"mean": [1], "std": [1.0], "batch_first": False},
    "texts": {"mean": ["1"], "std": [1.0], "batch_first": False},
    "booleans": {"mean": [True], "std": [1.0], "batch_first": False},
    "flag": {"mean": [1.0], "std": [1.0], "batch_first": 0},
    "huge": {"mean": [1.0], "std": [1e400], "batch_first": False},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_scaler_is_a_format_error(case, rng, tmp_path, backend):
    net, path = scaled_network(rng), tmp_path / "net.safetensors"
    container.write(path, net.parameters, {
        "config": json.dumps(net.config()), "scaler": json.dumps(FORGED[case])})
    with pytest.raises(crnn.FormatError, match="scaler"):
        crnn.load(path)


# --- weights -------------------------------------------------------------------------------------


@no_backend
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_weight_is_how_often_a_sequence_counts(batch_first, rng):
    sequences = draw(rng)
    counts = np.arange(len(sequences))
    repeated = [each for each, count in zip(sequences, counts, strict=True) for _ in range(count)]
    expected = crnn.Scaler().fit(repeated)
    x, lengths = crnn.pad(sequences, batch_first)
    for found in (crnn.Scaler().fit(sequences, sample_weight=counts),
                  crnn.Scaler(batch_first).fit(x, lengths, counts)):
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(found.std, expected.std, rtol=1e-12)
    sequences[0][:] = np.nan
    sequences[1][0] = np.nan
    np.testing.assert_allclose(
        crnn.Scaler().fit(sequences, sample_weight=counts).mean,
        np.nanmean(np.concatenate([each for each, count in zip(
            sequences, counts, strict=True) for _ in range(count)]), axis=0))
    scaled = crnn.Scaler().fit_transform(sequences, sample_weight=counts)
    assert len(scaled) == len(sequences)
