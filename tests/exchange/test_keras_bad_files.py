"""Bad files of Keras's: a FormatError or an OSError, at once."""

import io
import json
import os
import random
import struct
import warnings
import zipfile

import numpy as np
import pytest
from keras_h5 import entries, layer, write

import crnn

pytestmark = pytest.mark.no_backend
h5py = pytest.importorskip("h5py")
H, INPUTS = 2, 3


def layers():
    rng = np.random.default_rng(0)
    shapes = [(INPUTS, 4 * H), (H, 4 * H), (4 * H,)]
    return [layer("LSTM", [rng.normal(size=each).astype("f4") for each in shapes], units=H),
            layer("Dense", [np.ones((H, 1), "f4"), np.ones(1, "f4")], units=1)]


def config(made):
    return {"class_name": "Sequential", "config": {"layers": entries(made)}}


def weights(made):
    """Return a model.weights.h5."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for place, (_, _, arrays) in zip(("lstm/cell", "dense"), made, strict=True):
            for number, array in enumerate(arrays):
                file[f"layers/{place}/vars/{number}"] = array
    return memory.getvalue()


def archive(path, method=zipfile.ZIP_STORED, **members):
    """Write a .keras; members take the place of its own, and None leaves one out."""
    usual = {"metadata.json": json.dumps({"keras_version": "3.15.1"}),
             "config.json": json.dumps(config(layers())), "model.weights.h5": weights(layers())}
    usual |= {name.replace("_json", ".json").replace("_h5", ".weights.h5"): value
              for name, value in members.items()}
    with zipfile.ZipFile(path, "w", method) as file:
        for name, value in usual.items():
            if value is not None:
                file.writestr(name, value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def refused(path, words=None):
    with pytest.raises((crnn.FormatError, OSError), match=words):
        crnn.from_keras(path, backend="reference")


def message(path):
    """Return what is wrong with a file; nothing, if it is read."""
    try:
        crnn.from_keras(path, backend="reference")
    except crnn.FormatError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_good_files_are_read(path, method):
    """If they were not, every refusal below would prove nothing."""
    archive(path, method)
    net = crnn.from_keras(path, backend="reference")
    write(path, layers())
    np.testing.assert_array_equal(crnn.from_keras(path, backend="reference").vector, net.vector)


def test_every_truncation_of_an_archive(path):
    archive(path)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refused(path)


def test_damage_to_a_file(path):
    write(path, layers())
    data, rng = path.read_bytes(), random.Random(0)
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert message(path).isprintable()


def test_damage_to_an_archive_is_found_by_its_checksums(path):
    archive(path)
    data, rng = path.read_bytes(), random.Random(0)
    good = crnn.from_keras(path, backend="reference").vector
    for place in range(0, len(data), 5):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        if not message(path):  # times and attributes of members are not looked at
            again = crnn.from_keras(path, backend="reference").vector
            np.testing.assert_array_equal(again, good)


NOT_JSON = {
    "deep": '{"a":' * 100_000, "not closed": '{"a": 1', "a number": "3", "a list": "[]",
    "no UTF-8": b"\xff\xfe{}", "NaN": '{"config": {"layers": [NaN]}}',
    "a key twice": '{"config": {"layers": []}, "config": {"layers": []}}', "nothing": "",
    "no layers": '{"class_name": "Sequential", "config": {}}',
    "layers that are none": '{"config": {"layers": [1, "a", null]}}',
    "too many layers": json.dumps({"config": {"layers": [{}] * 1001}}),
    "two of a name": json.dumps({"config": {"layers": 2 * [
        {"class_name": "LSTM", "config": {"name": "a"}}]}}),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_bad_configurations(path, case):
    archive(path, config_json=NOT_JSON[case])
    refused(path)
    if isinstance(NOT_JSON[case], str):
        write(path, layers(), config="")
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = NOT_JSON[case]
        refused(path)


def with_setting(number, **settings):
    found = config(layers())
    found["config"]["layers"][number]["config"] |= settings
    return json.dumps(found)


VALUES = [None, True, "a", -1, 0, 1.5, 2**40, 10**400, [], {}, [[]], {"class_name": "x"}, "\x1b[2J"]


@pytest.mark.parametrize("key", ["units", "activation", "recurrent_activation", "use_bias", "name",
                                 "go_backwards", "return_sequences", "time_major"])
def test_settings_of_any_kind(path, key):
    for value in VALUES:
        for number in (0, 1):
            archive(path, config_json=with_setting(number, **{key: value}))
            assert message(path).isprintable()


def test_members_that_are_missing_or_there_twice(path):
    for name in ("config_json", "metadata_json", "model_h5"):
        archive(path, **{name: None})
        refused(path, "has 0 members")
    archive(path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("config.json", "{}")
    refused(path, "has 2 members 'config.json'")


def test_an_archive_that_would_expand(path):
    archive(path, zipfile.ZIP_DEFLATED, model_h5=bytes(10**7))
    refused(path, "compressed in a way that Keras does not write")
    archive(path, zipfile.ZIP_LZMA)
    refused(path, "compressed in a way that Keras does not write")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_says_it_is_longer_than_the_file(path, method):
    archive(path, method)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"config.json") - 46 + 20  # its compressed size in the central directory
    data[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    refused(path, "damaged 'config.json': it is longer than the file")


def test_other_files(path):
    for data, words in (
        (b"", "neither a .h5 nor a .keras"), (b"\x80\x04abc", "a pickle"), (b"hello", "a text"),
        (b"PK\x03\x04", "damaged, or no .keras"), (b"\x89HDF\r\n\x1a\n", "points beyond its end"),
    ):
        path.write_bytes(data)
        refused(path, words)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"")
    refused(path, "looks like a file of PyTorch's")


def test_places_that_are_no_files(tmp_path):
    refused(tmp_path / "nothing.h5")
    refused(tmp_path)
    refused("/dev/zero", "character device")
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "FIFO")


def test_weights_without_a_model(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["lstm"]
    refused(path, "weights alone")


def test_weights_of_another_layer(path):
    memory = io.BytesIO(weights(layers()))
    with h5py.File(memory, "a") as file:
        file["layers/lstm"].create_group("vars").attrs["name"] = "layer_7"
    archive(path, model_h5=memory.getvalue())
    refused(path, "has the weights of 'layer_7' where those of 'layer_0' should be")
