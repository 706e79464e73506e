"""Probabilities and classes: of the loss and the targets that a network was trained with."""

import copy
import pickle

import numpy as np
import pytest

import crnn

T, B, I, H, O = 6, 4, 3, 5, 7  # noqa: E741
LENGTHS = np.array([6, 2, 4, 1])
LOSSES = ("softmax", "sigmoid", "mse")


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


# --- predict -------------------------------------------------------------------------------------


def expected(y, loss):
    """Return the probabilities and the predictions, by their textbook formulas."""
    if loss == "softmax":
        powers = np.exp(y)
        return powers / powers.sum(-1, keepdims=True), y.argmax(-1)
    return (1 / (1 + np.exp(-y)), (y > 0).astype(int)) if loss == "sigmoid" else (None, y)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_step(loss, batch_first, x, backend):
    net = make(loss, batch_first=batch_first)
    given = x.swapaxes(0, 1) if batch_first else x
    beyond = np.arange(T)[:, None] >= LENGTHS
    beyond = beyond.T if batch_first else beyond
    for lengths in (None, LENGTHS):
        y, _ = net(given, lengths=lengths)
        proba, classes = expected(y, loss)
        found = net.predict(given, lengths=lengths)
        if lengths is not None:
            classes = np.where(beyond if loss == "softmax" else beyond[..., None],
                               -1 if loss == "softmax" else 0, classes)
        np.testing.assert_array_equal(found, classes)
        if loss != "mse":
            found = net.predict_proba(given, lengths=lengths)
            if lengths is not None:
                proba = np.where(beyond[..., None], 0, proba)
            np.testing.assert_allclose(found, proba, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("both", [False, True])
def test_last_outputs(loss, both, x, backend):
    net = make(loss, "last", bidirectional=both)
    sequences = [x[:n, b] for b, n in enumerate(LENGTHS)]
    y, _ = net(x, lengths=LENGTHS, last=True)
    proba, classes = expected(y, loss)
    for arguments in ((x, LENGTHS), (sequences, None)):
        np.testing.assert_allclose(
            net.predict(arguments[0], lengths=arguments[1]), classes, rtol=1e-12)
        if loss != "mse":
            found = net.predict_proba(arguments[0], lengths=arguments[1])
            np.testing.assert_allclose(found, proba, rtol=1e-12)


def test_lists_and_one_sequence(x, backend):
    net = make()
    sequences = [x[:n, b] for b, n in enumerate(LENGTHS)]
    found, proba = net.predict(sequences), net.predict_proba(sequences)
    for each, classes, p in zip(sequences, found, proba, strict=True):
        y, _ = net(each)
        np.testing.assert_array_equal(classes, y.argmax(-1))
        np.testing.assert_allclose(p, expected(y, "softmax")[0], rtol=1e-10)
        np.testing.assert_array_equal(net.predict(each), classes)
    shorter = net.predict(x[:, 0], lengths=2)
    assert shorter.tolist() == [*net.predict(x[:2, 0]), -1, -1, -1, -1]


def test_the_states_of_steps_are_left_alone(x, backend):
    net = make()
    net.step(x[0])
    before = net.state.tobytes()
    net.predict(x)
    net.predict_proba(x)
    assert net.state.tobytes() == before


@pytest.mark.parametrize("loss", LOSSES)
def test_no_sequences_have_no_predictions(loss, backend):
    net, last = make(loss), make(loss, "last")
    assert net.predict([]) == []
    assert last.predict([]).shape == ((0,) if loss == "softmax" else (0, O))
    if loss != "mse":
        assert net.predict_proba([]) == []
        assert last.predict_proba([]).shape == (0, O)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_nan_is_no_class(loss, x, backend):
    net, last = make(loss), make(loss, "last")
    x[3, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN, the first at y\[3, 1\], .*look for NaN in x"):
        net.predict(x)
    with pytest.raises(ValueError, match=r"the first at y\[3\],"):
        net.predict(x[:, 1])
    with pytest.raises(ValueError, match=r"the first at y\[1\]\[3\],"):
        net.predict([x[:, 0], x[:, 1]])
    with pytest.raises(ValueError, match=r"the first at y\[1\],"):
        last.predict(x)
    with pytest.raises(ValueError, match=r"the first at y,"):
        last.predict(x[:, 1])
    assert np.isfinite(net.predict(x[:3])).all()
    assert np.isnan(net(x)[0][3:, 1]).all()
    if loss != "mse":
        proba = net.predict_proba(x)
        assert np.isnan(proba[3:, 1]).all()
        assert np.isfinite(proba[:, 0]).all()


def test_numbers_have_no_probabilities(x, backend):
    with pytest.raises(ValueError, match=r"'mse'.*predict"):
        make("mse").predict_proba(x)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_sequence_without_steps_has_no_class(loss, batch_first, x, backend):
    net = make(loss, "last", batch_first=batch_first)
    given, lengths = x.swapaxes(0, 1) if batch_first else x, np.array([6, 0, 4, 0])
    pieces = [x[:n, k] for k, n in enumerate(lengths)]
    beyond = -1 if loss == "softmax" else 0
    wanted = net.predict(given)[:1]
    for found in (net.predict(given, lengths=lengths), net.predict(pieces)):
        assert (found[[1, 3]] == beyond).all()
        np.testing.assert_allclose(found[:1], wanted, rtol=1e-12)
    none = given[:, :0] if batch_first else given[:0]
    assert (net.predict(none) == beyond).all()
    assert (net.predict(np.zeros((0, I))) == beyond).all()
    if loss != "mse":
        for found in (net.predict_proba(given, lengths=lengths), net.predict_proba(pieces)):
            assert (found[[1, 3]] == 0).all()
            assert (found[[0, 2]] > 0).all()
    every = make(loss, batch_first=batch_first)
    assert [len(each) for each in every.predict(pieces)] == lengths.tolist()


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
    found = net.predict(x)
    assert found.shape == ((T, B) if targets == "every" else (B,)) + (
        () if loss == "softmax" else (O,))
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
    for other in (net.copy(), copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.metadata == net.metadata
        other.metadata["loss"] = "mse"
        assert net.metadata["loss"] == "sigmoid"
    loaded.save(tmp_path / "again.safetensors")
    assert crnn.load(tmp_path / "again.safetensors").metadata == loaded.metadata
    crnn.GRU(I, H).save(tmp_path / "plain.safetensors")
    assert crnn.load(tmp_path / "plain.safetensors").metadata == {}


@pytest.mark.parametrize(("value", "kind"), [
    ({"a": 1}, TypeError), ({"config": "x"}, ValueError), ({"scaler": "x"}, ValueError),
], ids=str)
def test_metadata_that_cannot_be_saved(value, kind, tmp_path, backend):
    net = make()
    net.metadata.update(value)
    with pytest.raises(kind, match="metadata"):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
    net.metadata = {}
    net.save(tmp_path / "net.safetensors", metadata=None)


@pytest.mark.parametrize("value", [None, "text", {"a": 1}, {1: "a"}, ["ab"], [("a", "b")]], ids=str)
def test_metadata_maps_texts_to_texts(value, x, backend):
    net = make("mse")
    with pytest.raises(TypeError, match=r"metadata is .*; a dict of str to str is wanted"):
        net.metadata = value
    assert net.metadata == {"loss": "mse", "targets": "every"}
    assert net.predict(x).shape == (T, B, O)
    own = {"loss": "softmax"}
    net.metadata = own
    own["loss"] = "mse"
    assert net.metadata == {"loss": "softmax"}
