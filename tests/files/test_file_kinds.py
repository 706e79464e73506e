"""The five kinds of files: none is taken for another."""

import json

import numpy as np
import pytest

import crnn
from crnn.files import container, kinds

pytestmark = pytest.mark.no_backend
HEADERS = {
    kinds.NETWORK: {"config": {"cell": "RNN"}},
    kinds.MODEL: {"vocabulary": "ab", "training": {"loss": 0.5}, "config": {"cell": "RNN"}},
    kinds.CHECKPOINT: {"config": {"cell": "RNN"}, "training": {"steps": 3}},
    kinds.STATE: {"state": {"cell": "RNN"}},
    kinds.FORECASTER: {"config": {"cell": "RNN"}, "forecaster": {"lags": [1]}},
}
ALL = tuple(HEADERS)
REFUSALS = {  # by what is wanted
    (kinds.CHECKPOINT,): "a {model}, not a checkpoint of training",
    (kinds.MODEL,): "a {kind}, not a character model: it has no vocabulary",
    (kinds.NETWORK, kinds.MODEL): "a {kind}, not a model",
    (kinds.STATE,): "a {kind}, not the state of a stream",
    (kinds.FORECASTER,): "a {kind}, not a forecaster",
}
TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.mark.parametrize("kind", ALL)
def test_what_is_written_is_read(tmp_path, kind):
    kinds.write(tmp_path / "file", TENSORS, HEADERS[kind])
    content = kinds.read(tmp_path / "file", *ALL)
    assert (content.kind, content.header) == (kind, HEADERS[kind])
    assert content.tensors.keys() == TENSORS.keys()
    assert np.array_equal(content.tensors["a"], TENSORS["a"])


@pytest.mark.parametrize("wanted", REFUSALS, ids=str)
@pytest.mark.parametrize("kind", ALL)
def test_another_kind_is_refused(tmp_path, kind, wanted):
    kinds.write(tmp_path / "file", TENSORS, HEADERS[kind])
    if kind in wanted:
        assert kinds.read(tmp_path / "file", *wanted).kind == kind
        return
    with pytest.raises(crnn.FormatError) as error:
        kinds.read(tmp_path / "file", *wanted)
    model = kind if kind in (kinds.STATE, kinds.FORECASTER) else "model"
    refusal = REFUSALS[wanted].format(kind=kind, model=model)
    if kind == kinds.FORECASTER and kinds.MODEL in wanted:
        refusal = "a forecaster; crnn.Forecaster.load reads it"
    if (kind, wanted) == (kinds.NETWORK, (kinds.MODEL,)):
        refusal += "; crnn.text.save_model writes both in one file"
    assert str(error.value) == f"{tmp_path / 'file'}: {refusal}"


@pytest.mark.parametrize("kind", ALL)
def test_more_texts_are_only_for_networks_and_models(tmp_path, kind):
    kinds.write(tmp_path / "file", TENSORS, HEADERS[kind], {"author": "somebody"})
    assert container.read(tmp_path / "file")[1]["author"] == "somebody"
    if kind in (kinds.NETWORK, kinds.MODEL):
        assert kinds.read(tmp_path / "file", *ALL).metadata == {"author": "somebody"}
        assert kinds.read(tmp_path / "file", *ALL).header == HEADERS[kind]
        return
    with pytest.raises(crnn.FormatError, match="author"):
        kinds.read(tmp_path / "file", *ALL)


@pytest.mark.parametrize("key", [
    "config", "forecaster", "training", "vocabulary", "state", "format", "sha256"])
def test_own_keys_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=key):
        kinds.write(tmp_path / "file", TENSORS, HEADERS[kinds.NETWORK], {key: "mine"})
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(("kind", "key"), [
    (kind, key) for kind, header in HEADERS.items() for key in header])
def test_a_text_that_is_missing_or_no_json_is_refused(tmp_path, kind, key):
    texts = {name: json.dumps(value) for name, value in HEADERS[kind].items()}
    container.write(tmp_path / "file", TENSORS, texts | {key: '{"a": 1, "a": 2}'})
    with pytest.raises(crnn.FormatError, match=kinds.NAMES[key]):
        kinds.read(tmp_path / "file", *ALL)
    del texts[key]
    container.write(tmp_path / "file", TENSORS, texts)
    if (kind, key) == (kinds.MODEL, "vocabulary"):  # which makes it a checkpoint
        assert kinds.read(tmp_path / "file", *ALL).kind == kinds.CHECKPOINT
        return
    if key in ("training", "forecaster") and kind != kinds.MODEL:  # which makes it a network
        assert kinds.read(tmp_path / "file", *ALL).kind == kinds.NETWORK
        return
    with pytest.raises(crnn.FormatError, match=r"configuration|missing"):
        kinds.read(tmp_path / "file", *ALL)
