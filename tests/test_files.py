"""The door to the disk: whole files or none, and nothing believed that was not checked.

The checksum stops every careless mutant, so files that are wrong *behind* it are forged here with a
right one (`sealed`, `forged`), and each check is asked for by its own message: the library below
would refuse some of them too, and then nobody would notice that ours is gone.
"""

import contextlib
import errno
import hashlib
import json
import os
import random
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crnn import files
from crnn.files import FormatError

pytestmark = pytest.mark.no_backend

ZEROS = "0" * 64
OWN = {"format": "crnn 1", "sha256": ZEROS}
HOUR = 3600
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file system")


# ---- helpers


def small_file(path):
    """A file with both dtypes, odd shapes and nested JSON; returns what is in it."""
    tensors = {
        "W": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5,
        "b": np.array(-0.0),
        "none": np.empty((0, 3), np.float32),
    }
    metadata = {"config": json.dumps({"sha256": ZEROS, "n": [1, 2]}), "é": "naïve\n"}
    files.write(path, tensors, metadata)
    return tensors, metadata


def sealed(header, body=b""):
    """A file from header text and data, with a right checksum if the header has a place for it."""
    if isinstance(header, str):
        header = header.encode()
    raw = len(header).to_bytes(8, "little") + header + body
    return raw.replace(ZEROS.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)


def forged(entries, body=b"", metadata=OWN):
    """A sealed file from a header's entries."""
    text = json.dumps({"__metadata__": metadata} | entries, separators=(",", ":"))
    return sealed(text, body)


def entry(shape=(2,), offsets=(0, 8), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)} | more


def assert_refused(path, content, message=None):
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        files.read(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 3000 + len(str(path))


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert found[name].dtype == native.dtype
        assert found[name].dtype.isnative
        assert found[name].shape == array.shape
        assert found[name].tobytes() == native.tobytes(), name


def in_time(function, *arguments, seconds=10):
    """Call a function in a thread that may hang; returns its result or raises its exception."""
    outcome = []

    def call():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no answer in {seconds} s"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def temporaries(folder):
    return [path for path in folder.iterdir() if path.name.endswith(".tmp")]


# ---- round trips


ARRAYS = {
    "float32": np.arange(12, dtype=np.float32).reshape(3, 4),
    "float64": np.arange(5.0) / 7,
    "scalar": np.array(3.5),
    "scalar32": np.array(-1, np.float32),
    "no rows": np.empty((0, 4), np.float32),
    "no columns": np.empty((3, 0, 2)),
    "one": np.ones((1, 1, 1, 1), np.float32),
    "odd": np.arange(105.0).reshape(3, 5, 7),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "strided": np.arange(20.0)[::3],
    "reversed": np.arange(6, dtype=np.float32)[::-1],
    "broadcast": np.broadcast_to(np.float32(2), (3, 2)),
    "big-endian": np.arange(4, dtype=">f4"),
    "big-endian64": np.arange(6, dtype=">f8").reshape(2, 3).T,
    "little-endian": np.arange(4, dtype="<f8"),
    "misaligned": np.frombuffer(bytearray(range(33)), np.float32, count=8, offset=1),
    "special": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]),
    "dim 64": np.ones((1,) * 64),
    "../../etc/passwd": np.ones(1),
    "": np.ones(2),
    '\0\n"\\ é \U0001f600': np.ones(3),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_round_trip_of_one_array(tmp_path, name):
    before = ARRAYS[name].tobytes()
    files.write(tmp_path / "m", {name: ARRAYS[name]}, {})
    tensors, metadata = files.read(tmp_path / "m")
    assert_same(tensors, {name: ARRAYS[name]})
    assert metadata == {}
    assert ARRAYS[name].tobytes() == before


def test_round_trip_of_all(tmp_path):
    metadata = {"b": "", "a": '\0"\\\n é \U0001f600', "sha": "256", "": "empty"}
    files.write(tmp_path / "m", ARRAYS, metadata)
    tensors, found = files.read(tmp_path / "m")
    assert_same(tensors, ARRAYS)
    assert list(found.items()) == list(metadata.items())


def test_empty_file_contents(tmp_path):
    files.write(tmp_path / "m", {}, {})
    assert files.read(tmp_path / "m") == ({}, {})


def test_arrays_are_owned_and_writable(tmp_path):
    files.write(tmp_path / "m", ARRAYS, {})
    tensors, _ = files.read(tmp_path / "m")
    for array in tensors.values():
        assert array.flags.owndata
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.flags.c_contiguous
        array[...] = 7
    assert_same(files.read(tmp_path / "m")[0], ARRAYS)


def test_same_content_same_bytes_same_order(tmp_path):
    metadata = {str(i): "x" for i in range(30)}
    for name in "ab":
        files.write(tmp_path / name, ARRAYS, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    first, second = files.read(tmp_path / "a"), files.read(tmp_path / "b")
    assert list(first[0]) == list(second[0])
    assert_same(first[0], second[0])


def test_file_is_plain_safetensors_with_the_stated_checksum(tmp_path):
    tensors, metadata = small_file(tmp_path / "m")
    raw = (tmp_path / "m").read_bytes()
    assert_same(safetensors.numpy.load(raw), tensors)
    with safetensors.safe_open(tmp_path / "m", framework="np") as file:
        found = file.metadata()
    digest = found.pop("sha256")
    assert found == metadata | {"format": "crnn 1"}
    zeroed = raw.replace(f'"sha256":"{digest}"'.encode(), f'"sha256":"{ZEROS}"'.encode())
    assert hashlib.sha256(zeroed).hexdigest() == digest
    assert (8 + int.from_bytes(raw[:8], "little")) % 8 == 0


@pytest.mark.parametrize("key", ["x", 'sha256"', "sha256:", '"sha256 ', "'sha256", "SHA256"])
def test_nested_texts_cannot_pose_as_the_checksum(tmp_path, key):
    once = json.dumps({"sha256": ZEROS, "deep": {"sha256": ZEROS}}, separators=(",", ":"))
    metadata = {
        key: once,
        "twice": json.dumps({"sha256": ZEROS, "in": once}),
        "plain": ZEROS,
        "raw": f'"sha256":"{ZEROS}"',
        "cut": f'sha256":"{ZEROS}"',
        "end": '"sha256',
    }
    files.write(tmp_path / "m", {"sha256": np.ones(2)}, metadata)
    assert files.read(tmp_path / "m")[1] == metadata


def test_a_key_that_ends_like_the_checksum(tmp_path):
    files.write(tmp_path / "m", {}, {'x"sha256': "harmless"})
    before = (tmp_path / "m").read_bytes()
    assert files.read(tmp_path / "m")[1] == {'x"sha256': "harmless"}
    with pytest.raises(ValueError, match="another name"):
        files.write(tmp_path / "m", {}, {'x"sha256': ZEROS})
    assert (tmp_path / "m").read_bytes() == before


texts = st.text(max_size=8)
float_arrays = hnp.arrays(
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@settings(deadline=None, max_examples=60, database=None)
@given(st.dictionaries(texts, float_arrays, max_size=4), st.dictionaries(texts, texts, max_size=4))
def test_any_round_trip(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "any"
    tensors.pop("__metadata__", None)
    metadata = {key: text for key, text in metadata.items() if key not in OWN}
    files.write(path, tensors, metadata)
    found_tensors, found_metadata = files.read(path)
    assert_same(found_tensors, tensors)
    assert found_metadata == metadata


# ---- what cannot be written


@pytest.mark.parametrize("array", [
    np.ones(2, np.float16), np.ones(2, np.int64), np.ones(2, complex), np.ones(2, bool),
    np.array(["a"]), np.array([None]), np.zeros(2, "f4,f4"), np.zeros(2, [("x", "f4")]),
    np.zeros(1, "M8[s]"), [1.0], 1.0, None, np.float32(1),
], ids=lambda array: str(getattr(array, "dtype", array)))  # fmt: skip
def test_other_tensors_are_refused(tmp_path, array):
    with pytest.raises(TypeError, match="'w'"):
        files.write(tmp_path / "m", {"w": array}, {})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": b"x"}, {"a": {}}])
def test_metadata_other_than_texts_are_refused(tmp_path, metadata):
    with pytest.raises(TypeError, match="str to str"):
        files.write(tmp_path / "m", {}, metadata)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["format", "sha256"])
def test_own_keys_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=key):
        files.write(tmp_path / "m", {}, {key: "x"})
    assert not any(tmp_path.iterdir())


def test_names_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="another name"):
        files.write(tmp_path / "m", {"__metadata__": np.ones(2)}, {})
    with pytest.raises(TypeError):
        files.write(tmp_path / "m", {1: np.ones(2)}, {})
    with pytest.raises(UnicodeEncodeError):
        files.write(tmp_path / "m", {}, {"a": "\ud800"})
    monkeypatch.setattr(files, "_MAX_HEADER", 1000)
    with pytest.raises(ValueError, match="at most 1000"):
        files.write(tmp_path / "m", {}, {"a": "x" * 1000})
    assert not any(tmp_path.iterdir())


# ---- damage


def test_every_truncation(tmp_path):
    small_file(tmp_path / "m")
    raw = (tmp_path / "m").read_bytes()
    for length in range(len(raw)):
        assert_refused(tmp_path / "m", raw[:length])


def test_every_bit_flip(tmp_path):
    small_file(tmp_path / "m")
    raw = bytearray((tmp_path / "m").read_bytes())
    for bit in range(8 * len(raw)):
        raw[bit // 8] ^= 1 << bit % 8
        assert_refused(tmp_path / "m", raw)
        raw[bit // 8] ^= 1 << bit % 8


def test_appended_and_inserted_bytes(tmp_path):
    small_file(tmp_path / "m")
    raw = (tmp_path / "m").read_bytes()
    assert_refused(tmp_path / "m", raw + b"\0", "damaged")
    assert_refused(tmp_path / "m", raw + raw, "damaged")
    assert_refused(tmp_path / "m", b" " + raw)
    # the same header with more padding: another file for the same network is still not the file
    longer = (int.from_bytes(raw[:8], "little") + 1).to_bytes(8, "little")
    assert_refused(tmp_path / "m", longer + raw[8:].replace(b"}}", b"}} ", 1), "damaged")


def test_swapped_data_are_found(tmp_path):
    """No size changes and everything parses: only the checksum can tell."""
    files.write(tmp_path / "m", {"w": np.array([1.0, 2.0])}, {})
    raw = (tmp_path / "m").read_bytes()
    assert_refused(tmp_path / "m", raw[:-16] + raw[-8:] + raw[-16:-8], "damaged.*SHA-256")


# ---- forgeries: the checksum is right, the file is not


def test_the_forge_can_make_a_good_file(tmp_path):
    """If it could not, every refusal below would prove nothing."""
    body = np.arange(6, dtype=np.float32).tobytes()
    entries = {"a": entry([2, 2], [8, 24]), "b": entry([1], [0, 8], "F64"), "c": entry([0], [8, 8])}
    (tmp_path / "m").write_bytes(forged(entries, body, OWN | {"k": "v"}))
    tensors, metadata = files.read(tmp_path / "m")
    assert {name: array.shape for name, array in tensors.items()} == {
        "a": (2, 2), "b": (1,), "c": (0,)}  # fmt: skip
    assert_same({"a": tensors["a"]}, {"a": np.arange(2, 6, dtype=np.float32).reshape(2, 2)})
    assert metadata == {"k": "v"}


@pytest.mark.parametrize("content", [b"", b"\0", b"1234567"])
def test_too_short(tmp_path, content):
    assert_refused(tmp_path / "m", content, f"not a crnn file: {len(content)} bytes are too few")


@pytest.mark.parametrize("length", [10**6, 100_000_001, 2**31, 2**32, 2**63, 2**64 - 1])
def test_header_length_beyond_the_file(tmp_path, length):
    raw = forged({"a": entry()}, bytes(8))
    assert_refused(tmp_path / "m", length.to_bytes(8, "little") + raw[8:], "cut off")


@pytest.mark.parametrize("change", [1, 8])
def test_header_length_just_beyond_the_file(tmp_path, change):
    length = len(forged({})) - 8 + change
    assert_refused(tmp_path / "m", length.to_bytes(8, "little") + forged({})[8:], "cut off")


@pytest.mark.parametrize("length", [0, 1, 7])
def test_header_length_too_small(tmp_path, length):
    raw = forged({"a": entry()}, bytes(8))
    assert_refused(tmp_path / "m", length.to_bytes(8, "little") + raw[8:], "header")


def test_header_above_100_mb_is_refused_in_a_file_that_has_them(tmp_path):
    with open(tmp_path / "m", "wb") as file:
        file.write((100_000_001).to_bytes(8, "little") + b"{")
        file.truncate(200_000_000)
    with pytest.raises(FormatError, match="header of 100000001"):
        files.read(tmp_path / "m")


def test_a_large_foreign_file_is_refused_without_reading_it(tmp_path):
    """4 TB of holes: had they been asked for, there would be a MemoryError."""
    with open(tmp_path / "m", "wb") as file:
        file.write(sealed('{"__metadata__":{"format":"pt"}}'))
        try:
            file.truncate(1 << 42)
        except OSError:
            pytest.skip("the file system has no files of 4 TB")
    with pytest.raises(FormatError, match="not a crnn file"):
        files.read(tmp_path / "m")


BAD_HEADERS = {
    "[]": "not a JSON object",
    ' {"__metadata__":{}}': "not a JSON object",
    "\ufeff{}": "not a JSON object",
    "null": "not a JSON object",
    "{": "not strict JSON",
    "{}x": "not strict JSON",
    "{'a': 1}": "not strict JSON",
    '{"a": NaN}': "not strict JSON.*NaN",
    '{"a": Infinity}': "not strict JSON.*Infinity",
    '{"a": -Infinity}': "not strict JSON.*-Infinity",
    '{"a": 1e999}': "not strict JSON.*1e999",
    '{"a": "\n"}': "not strict JSON",
    '{"a": ' + "1" * 5000 + "}": "not strict JSON",
    "{}": "not a crnn file",
    '{"__metadata__":{}}': "not a crnn file",
    '{"__metadata__":{"format":"pt"}}': "not a crnn file",
    '{"__metadata__":{"format":"crnn"}}': "not a crnn file",
    '{"__metadata__":{"format":"crnn 2"}}': "newer crnn.*'crnn 2'.*'crnn 1'.*upgrade",
    '{"__metadata__":{"format":"crnn 10"}}': "newer crnn",
    '{"__metadata__":[]}': "bad metadata",
    '{"__metadata__":null}': "bad metadata",
    '{"__metadata__":{"format":1}}': "bad metadata",
    '{"__metadata__":{"format":"crnn 1","a":1}}': "bad metadata",
    '{"__metadata__":{"format":"crnn 1","a":{"b":"c"}}}': "bad metadata",
    '{"__metadata__":{"format":"crnn 1"}}': "damaged",
    '{"__metadata__":{"format":"crnn 1","sha256":""}}': "damaged",
    '{"__metadata__":{"format":"crnn 1","sha256":"\\ud800"}}': "damaged",
    '{"__metadata__":{"format":"crnn 1","sha256": "' + ZEROS + '"}}': "damaged",
    '{"__metadata__":{"format":"crnn 1","sha256":"' + "x" * 64 + '"}}': "damaged",
}


@pytest.mark.parametrize("header", BAD_HEADERS, ids=lambda header: ascii(header[:50]))
def test_bad_headers(tmp_path, header):
    assert_refused(tmp_path / "m", sealed(header), BAD_HEADERS[header])


def test_a_checksum_given_twice(tmp_path):
    """A key that ends in '"sha256' and holds the digest too: only one place counts as zeros."""
    metadata = {'x"sha256': ZEROS} | OWN
    text = json.dumps({"__metadata__": metadata}, separators=(",", ":")).encode()
    raw = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(raw).hexdigest().encode()
    assert_refused(tmp_path / "m", raw.replace(ZEROS.encode(), digest), "damaged")


def test_checksum_in_capitals(tmp_path):
    raw = forged({})
    digest = re.search(b'"sha256":"(.*?)"', raw)[1]
    assert digest.upper() != digest
    assert_refused(tmp_path / "m", raw.replace(digest, digest.upper()), "damaged")


def test_header_that_is_not_utf8(tmp_path):
    assert_refused(tmp_path / "m", sealed(b'{"\xff":1}'), "not UTF-8")
    assert_refused(tmp_path / "m", sealed('{"a":1}'.encode("utf-16-le")), "not strict JSON")


OWN_TEXT = f'"__metadata__":{json.dumps(OWN, separators=(",", ":"))}'
ENTRY_TEXT = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


@pytest.mark.parametrize("header", [
    f'{{{OWN_TEXT},"a":{ENTRY_TEXT},"a":{ENTRY_TEXT}}}',
    f'{{{OWN_TEXT},"a":{ENTRY_TEXT},"\\u0061":{ENTRY_TEXT}}}',
    f'{{"__metadata__":{{"format":"crnn 1"}},{OWN_TEXT},"a":{ENTRY_TEXT}}}',
    f'{{"__metadata__":{{"k":"1","k":"2","format":"crnn 1","sha256":"{ZEROS}"}},"a":{ENTRY_TEXT}}}',
    f'{{"__metadata__":{{"format":"x","format":"crnn 1","sha256":"{ZEROS}"}},"a":{ENTRY_TEXT}}}',
    f'{{"__metadata__":{{"sha256":"x","format":"crnn 1","sha256":"{ZEROS}"}},"a":{ENTRY_TEXT}}}',
    f'{{{OWN_TEXT},"a":{{"shape":[3],{ENTRY_TEXT[1:]}}}',
], ids=["tensor", "escaped", "metadata", "key", "format", "sha256", "shape"])  # fmt: skip
def test_duplicate_keys(tmp_path, header):
    assert_refused(tmp_path / "m", sealed(header, bytes(8)), "appears twice")


@pytest.mark.parametrize("nest", ["[", '{"a":'])
def test_deep_json(tmp_path, nest):
    assert_refused(tmp_path / "m", sealed('{"a":' + nest * 100_000), "not strict JSON")


BAD_ENTRIES = {
    "negative": entry([-2]),
    "two negative": entry([-2, -1]),
    "float": entry([2.0]),
    "bool": entry([True, 2]),
    "text": entry(["2"]),
    "null": entry([None]),
    "nested": entry([[2]]),
    "shape not a list": entry() | {"shape": 2},
    "shape a text": entry() | {"shape": "2"},
    "shape an object": entry() | {"shape": {"2": 2}},
    "too small": entry([1]),
    "too large": entry([3]),
    "scalar": entry([]),
    "zero": entry([0]),
    "wraps 64 bits": entry([2**62, 4, 2]),
    "wraps 64 bits to 2": entry([2**63 + 1, 2]),
    "wraps 32 bits": entry([2**32 + 2]),
    "beyond 64 bits": entry([2**64 + 2]),
    "too many dimensions": entry([2] + [1] * 64),
    "very many dimensions": entry([2] + [1] * 100_000),
    "dtype I64": entry([1], dtype="I64"),
    "dtype F16": entry([4], dtype="F16"),
    "dtype BF16": entry([4], dtype="BF16"),
    "dtype f32": entry(dtype="f32"),
    "dtype unknown": entry(dtype="os.system"),
    "dtype list": entry(dtype=["F32"]),
    "dtype null": entry(dtype=None),
    "wrong size": entry(dtype="F64"),
    "one offset": entry(offsets=[8]),
    "three offsets": entry(offsets=[0, 8, 8]),
    "backwards": entry(offsets=[8, 0]),
    "negative offset": entry(offsets=[-8, 0]),
    "float offset": entry(offsets=[0, 8.0]),
    "bool offset": entry([0], [False, False]),
    "text offset": entry(offsets=["0", "8"]),
    "extra": entry(extra=1),
    "no shape": {"dtype": "F32", "data_offsets": [0, 8]},
    "no dtype": {"shape": [2], "data_offsets": [0, 8]},
    "no offsets": {"dtype": "F32", "shape": [2]},
    "instead": {"dtype": "F32", "shape": [2], "offsets": [0, 8]},
    "empty": {},
    "list": [],
    "number": 1,
    "a text": "F32",
    "nothing": None,
}


@pytest.mark.parametrize("bad", BAD_ENTRIES)
def test_bad_entries(tmp_path, bad):
    content = forged({"w": BAD_ENTRIES[bad]}, bytes(8))
    assert_refused(tmp_path / "m", content, "entry for tensor 'w'")


BAD_LAYOUTS = {
    "overlap": ({"a": entry(), "b": entry(offsets=[4, 12])}, 12, "overlap before tensor 'b'"),
    "same bytes": ({"a": entry(), "b": entry()}, 8, "overlap before tensor 'b'"),
    "inside": ({"a": entry([4], [0, 16]), "b": entry(offsets=[4, 12])}, 16, "overlap"),
    "hole first": ({"a": entry(offsets=[4, 12])}, 12, "hole or an overlap before tensor 'a'"),
    "hole between": ({"a": entry(), "b": entry(offsets=[12, 20])}, 20, "before tensor 'b'"),
    "trailing": ({"a": entry()}, 9, "holds 9 bytes of data where its tensors take 8"),
    "trailing only": ({}, 1, "holds 1 bytes of data where its tensors take 0"),
    "missing": ({"a": entry()}, 7, "holds 7 bytes of data where its tensors take 8"),
    "far away": ({"a": entry(offsets=[2**60, 2**60 + 8])}, 8, "before tensor 'a'"),
    "empty far away": ({"a": entry(), "b": entry([0], [16, 16])}, 8, "before tensor 'b'"),
    "empty inside": ({"a": entry(), "b": entry([0], [4, 4])}, 8, "before tensor 'b'"),
    "exabyte": ({"a": entry([2**58], [0, 2**60])}, 8, f"tensors take {2**60}"),
}


@pytest.mark.parametrize("bad", BAD_LAYOUTS)
def test_bad_layouts(tmp_path, bad):
    entries, size, message = BAD_LAYOUTS[bad]
    assert_refused(tmp_path / "m", forged(entries, bytes(size)), message)


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [2**62, 2**62, 0], [0, 2**64], [0, 10**400]])
def test_empty_tensors_with_shapes_beyond_numpy(tmp_path, shape):
    """They take no bytes, so the sizes agree."""
    assert_refused(tmp_path / "m", forged({"w": entry(shape, [0, 0])}), "cannot be loaded")


def test_a_name_that_no_utf8_text_can_hold(tmp_path):
    assert_refused(tmp_path / "m", forged({"\ud800": entry()}, bytes(8)), "cannot be loaded")


def test_messages_stay_short(tmp_path):
    name = "n" * 1_000_000
    assert_refused(tmp_path / "m", forged({name: 1}), "entry for tensor")
    assert_refused(tmp_path / "m", forged({name: entry()}), "tensors take 8")
    assert_refused(tmp_path / "m", forged({}, metadata={"format": "crnn " + name}), "newer")
    with pytest.raises(FormatError) as caught:
        files.check_names("m", (name + str(i) for i in range(60)), [])
    assert len(str(caught.value)) < 10_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["dtype", "shape", "data_offsets"]) | texts
sizes = st.lists(st.integers(0, 9) | st.sampled_from([2**31, 2**62, 2**63, 2**64]), max_size=4)
entries = st.builds(entry, sizes, sizes, st.sampled_from(["F32", "F64", "I8"]))
mutants = st.dictionaries(texts, entries | st.dictionaries(names, json_values) | json_values)


@settings(deadline=None, max_examples=200, database=None)
@given(mutants, st.binary(max_size=40), st.dictionaries(texts, texts, max_size=2))
def test_sealed_mutants_load_or_are_refused(tmp_path_factory, entries, body, metadata):
    path = tmp_path_factory.getbasetemp() / "mutant"
    path.write_bytes(forged(entries, body, metadata | OWN))
    with contextlib.suppress(FormatError):
        tensors, found = files.read(path)
        assert sum(array.nbytes for array in tensors.values()) == len(body)
        assert found == {key: text for key, text in metadata.items() if key not in OWN}


@settings(deadline=None, max_examples=100, database=None)
@given(st.binary(max_size=40), st.booleans())
def test_noise_is_refused(tmp_path_factory, content, prefixed):
    path = tmp_path_factory.getbasetemp() / "noise"
    assert_refused(path, sealed(b"{" + content) if prefixed else content)


# ---- things that are not files


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        files.write_bytes(tmp_path / "no" / "m", b"")


def test_directory(tmp_path):
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path)
    (tmp_path / "d").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_bytes(tmp_path / "d", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@posix
def test_fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FormatError, match="is a FIFO"):
        in_time(files.read, tmp_path / "fifo")
    with pytest.raises(FormatError, match="is a FIFO"):
        in_time(files.write_bytes, tmp_path / "fifo", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


@posix
def test_fifo_that_takes_a_files_place_before_it_is_opened(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    looked_at = os.stat(tmp_path / "file")
    monkeypatch.setattr(files.os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(FormatError, match="is a FIFO"):
        in_time(files.read, tmp_path / "fifo")


@posix
def test_devices_and_sockets(tmp_path, monkeypatch):
    with pytest.raises(FormatError, match="is a character device"):
        in_time(files.read, "/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        listener.bind("s")
        with pytest.raises(FormatError, match="is a socket"):
            in_time(files.read, tmp_path / "s")


@posix
def test_files_that_do_not_say_their_size():
    if not os.path.isfile("/proc/self/status"):
        pytest.skip("no /proc")
    with pytest.raises(FormatError):
        in_time(files.read, "/proc/self/status")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    small_file(tmp_path / "m")
    (tmp_path / "m").chmod(0)
    with pytest.raises(PermissionError):
        files.read(tmp_path / "m")


def test_vanished_file(tmp_path, monkeypatch):
    small_file(tmp_path / "m")
    looked_at = os.stat(tmp_path / "m")
    (tmp_path / "m").unlink()
    monkeypatch.setattr(files.os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "m")


def test_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    small_file(tmp_path / "m")
    parse = files._parse_header

    def shrink_and_parse(path, text):
        os.truncate(path, os.path.getsize(path) - 5)
        return parse(path, text)

    monkeypatch.setattr(files, "_parse_header", shrink_and_parse)

    def open_unbuffered(path, mode, opener):
        return open(path, mode, 0, opener=opener)

    monkeypatch.setattr(files, "open", open_unbuffered, raising=False)
    with pytest.raises(FormatError, match="damaged"):
        files.read(tmp_path / "m")


def test_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    """It is taken as it was when it was opened, or else it might never end."""
    tensors, _ = small_file(tmp_path / "m")
    parse = files._parse_header

    def grow_and_parse(path, text):
        with open(path, "ab") as file:
            file.write(b"more")
        return parse(path, text)

    monkeypatch.setattr(files, "_parse_header", grow_and_parse)
    assert_same(files.read(tmp_path / "m")[0], tensors)


def test_a_descriptor_is_no_path(tmp_path):
    small_file(tmp_path / "m")
    with open(tmp_path / "m", "rb") as file, pytest.raises(TypeError):
        files.read(file.fileno())


@pytest.mark.parametrize("path", [0, 1.5, None, ["m"]])
def test_paths_of_another_kind(path):
    with pytest.raises(TypeError):
        files.read(path)
    with pytest.raises(TypeError):
        files.write_bytes(path, b"")


# ---- names and modes of files


def test_kinds_of_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    up = os.path.join("..", tmp_path.name, "up")
    for path in ("text", Path("pathlike"), str(tmp_path / "absolute"), up):
        files.write(path, {}, {"a": "b"})
        assert files.read(path) == ({}, {"a": "b"})
    assert {path.name for path in tmp_path.iterdir()} == {"text", "pathlike", "absolute", "up"}


@posix
def test_odd_file_names(tmp_path):
    for name in (b"\xff\xfe.crnn", "é (1) [x]*.crnn".encode(), b"-rf", b"a\nb"):
        path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
        try:
            Path(path).touch()
        except OSError:
            continue  # a file system with rules for names
        files.write(path, {}, {"a": "b"})
        assert files.read(path) == ({}, {"a": "b"})
        Path(path).write_bytes(b"")
        with pytest.raises(FormatError) as caught:
            files.read(path)
        assert str(caught.value).encode().count(b"\n") == 0  # one line, and printable
    assert not temporaries(tmp_path)


@posix
def test_symlinks_stay(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "there").symlink_to(Path("real") / "m")
    (tmp_path / "link").symlink_to("there")
    for content in (b"one", b"two"):  # the first through a link to nothing yet
        files.write_bytes(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there").is_symlink()
        assert not (tmp_path / "real" / "m").is_symlink()
        assert (tmp_path / "real" / "m").read_bytes() == content
    small_file(tmp_path / "link")
    assert files.read(tmp_path / "link")[1]


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_of_a_new_file_honours_the_umask(tmp_path, umask, mode):
    old = os.umask(umask)
    try:
        files.write_bytes(tmp_path / "m", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == mode


@posix
def test_a_private_file_stays_private(tmp_path):
    old = os.umask(0)
    try:
        (tmp_path / "m").touch(0o600)
        files.write_bytes(tmp_path / "m", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o600
    assert (tmp_path / "m").read_bytes() == b"new"


# ---- all or nothing


CALLS = ("open", "write", "fsync", "close", "replace")


def record_calls(monkeypatch, before=lambda number: None):
    """Record the calls that change the disk; `before` may make the n-th of them fail."""
    calls = []

    def wrap(name):
        real = getattr(os, name)

        def call(*arguments, **keywords):
            calls.append((name, arguments))
            try:
                before(len(calls))
            except BaseException:
                if name == "close":
                    real(*arguments)
                raise
            return real(*arguments, **keywords)

        monkeypatch.setattr(files.os, name, call)

    for name in CALLS:
        wrap(name)
    return calls


def test_order_of_calls(tmp_path, monkeypatch):
    """Data on the disk before the name, the name on the disk before the return."""
    (tmp_path / "m").write_bytes(b"old")
    calls = record_calls(monkeypatch)
    files.write_bytes(tmp_path / "m", b"new")
    monkeypatch.undo()
    wanted = ["open", "write", "fsync", "close", "replace"]
    wanted += [] if os.name == "nt" else ["open", "fsync", "close"]
    assert [name for name, _ in calls] == wanted
    temporary, flags, mode = calls[0][1]
    assert re.fullmatch(r"\.m\.[0-9a-f]{16}\.tmp", os.path.basename(temporary))
    assert os.path.dirname(temporary) == os.path.realpath(tmp_path)
    assert flags & os.O_CREAT
    assert flags & os.O_EXCL
    assert mode == 0o666 & stat.S_IMODE((tmp_path / "m").stat().st_mode)
    assert calls[1][1][0] == calls[2][1][0] == calls[3][1][0]  # the same descriptor
    assert calls[4][1] == (temporary, os.path.realpath(tmp_path / "m"))
    if os.name != "nt":
        assert calls[5][1][0] == os.path.realpath(tmp_path)
        assert calls[6][1] == calls[7][1]


@pytest.mark.parametrize("fault", [
    OSError(errno.ENOSPC, "disk full"), OSError(errno.EIO, "I/O error"), KeyboardInterrupt(),
    MemoryError()], ids=repr)  # fmt: skip
@pytest.mark.parametrize("ever_after", [False, True], ids=["once", "ever after"])
@pytest.mark.parametrize("old", [None, b"old"], ids=["new file", "old file"])
def test_fault_at_every_call(tmp_path, monkeypatch, fault, ever_after, old):
    """The n-th call fails, n = 1, 2, 3..., until writing succeeds."""
    path = tmp_path / "m"
    for n in range(1, 20):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)

        def before(number, n=n):
            if number == n or (ever_after and number > n):
                raise fault

        with monkeypatch.context() as patch:
            calls = record_calls(patch, before)
            with contextlib.suppress(type(fault)):
                files.write_bytes(path, b"new")
                break
        replaced = [name for name, _ in calls[: n - 1]].count("replace")
        content = path.read_bytes() if path.exists() else None
        assert content == (b"new" if replaced else old), n
        assert not temporaries(tmp_path), n
    else:
        pytest.fail("writing never succeeded")
    assert n == (6 if os.name == "nt" else 9)  # every call had its turn
    assert path.read_bytes() == b"new"


@posix
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_directories_that_cannot_be_synchronised(tmp_path, monkeypatch, code):
    def before(number):
        if number == 7:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        calls = record_calls(patch, before)
        files.write_bytes(tmp_path / "m", b"new")
    assert calls[6][0] == "fsync"
    assert (tmp_path / "m").read_bytes() == b"new"


def test_short_writes(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    files.write_bytes(tmp_path / "m", bytes(range(100)))
    assert (tmp_path / "m").read_bytes() == bytes(range(100))


def test_readers_see_whole_files_while_another_thread_writes(tmp_path):
    path, stop = tmp_path / "m", threading.Event()
    files.write(path, {"w": np.full(1000, 0.0)}, {"step": "0"})

    def keep_writing():
        step = 0
        while not stop.is_set():
            step += 1
            files.write(path, {"w": np.full(1000, float(step))}, {"step": str(step)})

    writers = [threading.Thread(target=keep_writing) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(100):
            tensors, metadata = files.read(path)
            assert (tensors["w"] == float(metadata["step"])).all()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not temporaries(tmp_path)


def test_stale_temporaries_are_swept(tmp_path):
    old = time.time() - HOUR - 60
    stale = tmp_path / ".m.0123456789abcdef.tmp"
    others = [
        *(".n.0123456789abcdef.tmp", ".m.x.0123456789abcdef.tmp", "m.0123456789abcdef.tmp"),
        *(".m.0123456789abcdef.tmp2", ".m.0123456789ABCDEG.tmp", ".m.tmp", ".m.01.tmp", "m.tmp"),
    ]
    kept = [tmp_path / name for name in others]
    for path in (stale, *kept):
        path.write_bytes(b"")
        os.utime(path, (old, old))
    fresh = tmp_path / ".m.fedcba9876543210.tmp"
    fresh.write_bytes(b"")
    os.utime(fresh, (old + 120, old + 120))
    folder = tmp_path / ".m.00000000000000ff.tmp"  # cannot be unlinked: must not matter
    folder.mkdir()
    os.utime(folder, (old, old))
    files.write_bytes(tmp_path / "m", b"new")
    assert not stale.exists()
    assert all(path.exists() for path in (*kept, fresh, folder))


WRITER = """
import sys
import numpy as np
from crnn import files
step = int(sys.argv[2])
while True:
    step += 1
    files.write(sys.argv[1], {"w": np.full(5000, float(step))}, {"step": str(step)})
    print(step, flush=True)
"""


@posix
def test_kill_at_random_moments(tmp_path):
    """A killed writer leaves a whole file, no older than the last step it reported."""
    path, seed = tmp_path / "m", random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    last = 0
    for _ in range(20):
        command = [sys.executable, "-c", WRITER, os.fspath(path), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            reported = process.stdout.readline()
            time.sleep(moments.uniform(0, 0.02))
            process.kill()
            reported += process.stdout.read()
        last = int(reported[: reported.rindex(b"\n")].split()[-1])
        tensors, metadata = files.read(path)
        step = int(metadata["step"])
        assert last <= step <= last + 1
        assert tensors["w"].shape == (5000,)
        assert (tensors["w"] == step).all()
    for temporary in temporaries(tmp_path):
        os.utime(temporary, (0, 0))
    files.write_bytes(path, b"")
    assert not temporaries(tmp_path)


# ---- names and JSON


def test_check_names():
    files.check_names("m", ["a", "b"], ("b", "a"))
    files.check_names("m", {}, iter(()))
    for present, wanted, message in [
        ("ab", "abdc", r"'m' .*missing \['c', 'd'\]$"),
        ("zaby", "ab", r"'m' .*unknown \['y', 'z'\]$"),
        (["../x", "\0"], ["w"], r"missing \['w'\], unknown \['\\x00', '../x'\]$"),
    ]:
        with pytest.raises(FormatError, match=message):
            files.check_names("m", iter(present), iter(wanted))


def test_check_names_shows_every_missing_name_of_a_real_network():
    wanted = [f"W_hh_l{i}_reverse" for i in range(50)]
    with pytest.raises(FormatError) as caught:
        files.check_names("m", [], wanted)
    assert all(name in str(caught.value) for name in wanted)


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "é", [], {"a": [{"b": None}], "c": 1e300}])
def test_read_json(value):
    assert files.read_json("m", json.dumps(value), "config") == value


@pytest.mark.parametrize("text", [
    "", "{", "nul", "NaN", "[Infinity]", '{"a":-Infinity}', "1e999", "-1e999", "1 2", "{'a':1}",
    '{"a":1,"a":1}', '[{"b":{"a":1,"\\u0061":2}}]', "[" * 100_000, '{"a":' * 100_000, "9" * 5000,
    '"\t"', "[1,]", "\ufeff1", "// 1", "0x10"], ids=lambda text: ascii(text[:20]))  # fmt: skip
def test_read_json_refuses(text):
    with pytest.raises(FormatError, match="'m' has a bad config, not strict JSON"):
        files.read_json(Path("m"), text, "config")


def test_format_error_is_a_value_error():
    assert issubclass(FormatError, ValueError)
