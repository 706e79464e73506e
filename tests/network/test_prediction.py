"""What outputs mean: softmax, and what a network keeps of its training."""

import copy
import pickle

import numpy as np
import pytest

import crnn

T, B, I, H, O = 6, 4, 3, 5, 7  # noqa: E741


def make(loss="softmax", targets="every", **options):
    net = crnn.GRU(I, H, O, dtype="float64", seed=0, **options)
    net.metadata |= {"loss": loss, "targets": targets}
    return net


@pytest.fixture
def x(rng):
    return 3 * rng.standard_normal((T, B, I))


# --- softmax -------------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_softmax_by_hand():
    found = crnn.softmax(np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    np.testing.assert_allclose(found, [[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]], rtol=1e-15)
    found = crnn.softmax(np.log([[1.0, 2.0], [3.0, 6.0]]), axis=0)
    np.testing.assert_allclose(found, [[0.25, 0.25], [0.75, 0.75]], rtol=1e-15)


@pytest.mark.no_backend
def test_softmax_overflows_nowhere():
    assert crnn.softmax([1e300, -1e300, 1e300]).tolist() == [0.5, 0, 0.5]
    assert crnn.softmax([-np.inf, 0.0]).tolist() == [0, 1]
    small = crnn.softmax(np.array([-800, -800], np.float32))
    assert (small.dtype, small.tolist()) == (np.float32, [0.5, 0.5])
    assert crnn.softmax([[1, 1]]).tolist() == [[0.5, 0.5]]
    assert crnn.softmax(np.zeros((2, 0))).shape == (2, 0)


@pytest.mark.no_backend
@pytest.mark.parametrize(("arguments", "kind"), [
    (("abc",), TypeError), ((None,), TypeError), (([1.0], 1), ValueError),
    (([1.0], 0.5), TypeError), ((1.0,), ValueError),
], ids=str)
def test_softmax_refuses(arguments, kind):
    with pytest.raises(kind):
        crnn.softmax(*arguments)


TRAINED = {
    "softmax, every step": ("softmax", lambda rng: rng.integers(0, O, (T, B)), "every"),
    "softmax, last step": ("softmax", lambda rng: rng.integers(0, O, B), "last"),
    "sigmoid, every step": ("sigmoid", lambda rng: rng.uniform(0, 1, (T, B, O)), "every"),
    "mse, last step": ("mse", lambda rng: rng.uniform(0, 1, (B, O)), "last"),
}


@pytest.mark.parametrize("case", TRAINED)
def test_training_says_what_outputs_mean(case, x, rng, backend):
    loss, draw, targets = TRAINED[case]
    net = crnn.GRU(I, H, O, seed=0)
    net.metadata["author"] = "somebody"
    crnn.fit(net, (x, draw(rng)), crnn.SGD(0.1), epochs=1, loss=loss)
    assert net.metadata == {"author": "somebody", "loss": loss, "targets": targets}
    before = dict(net.metadata)
    with pytest.raises(ValueError, match="targets have shape"):
        crnn.fit(net, (x, np.zeros((T, B + 1, O))), crnn.SGD(0.1), epochs=1, loss="mse")
    assert net.metadata == before


# --- what is kept --------------------------------------------------------------------------------


def test_copies_and_files_keep_metadata(tmp_path, backend):
    net = make("sigmoid", "last")
    net.save(tmp_path / "net.safetensors", metadata={"author": "somebody", "loss": "mse"})
    loaded = crnn.load(tmp_path / "net.safetensors")
    assert loaded.metadata == {"loss": "mse", "targets": "last", "author": "somebody"}
    assert net.metadata == {"loss": "sigmoid", "targets": "last"}
    for other in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.metadata == net.metadata
        other.metadata["loss"] = "mse"
        assert net.metadata["loss"] == "sigmoid"
    loaded.save(tmp_path / "again.safetensors")
    assert crnn.load(tmp_path / "again.safetensors").metadata == loaded.metadata
    crnn.GRU(I, H).save(tmp_path / "plain.safetensors")
    assert crnn.load(tmp_path / "plain.safetensors").metadata == {}


@pytest.mark.parametrize(("value", "kind"), [
    ({"a": 1}, TypeError), ({"config": "x"}, ValueError), ({"scaler": "x"}, ValueError),
    ("text", TypeError), (None, None),
], ids=str)
def test_metadata_that_cannot_be_saved(value, kind, tmp_path, backend):
    net = make()
    net.metadata = value
    if kind is None:
        net.metadata = {}
        net.save(tmp_path / "net.safetensors", metadata=None)
        return
    with pytest.raises(kind, match="metadata"):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
