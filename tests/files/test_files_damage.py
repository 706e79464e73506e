"""Nothing is believed that was not checked: damaged files, and forged ones with a right checksum.

Each check is asked for by its own message: the library below would refuse some of the forgeries
too, and then nobody would notice that ours is gone.
"""

import contextlib
import hashlib
import json
import pickle
import re

import numpy as np
import pytest
import safetensors.numpy
from forged_files import (
    OWN,
    ZEROS,
    assert_refused,
    assert_same,
    entry,
    forged,
    sealed,
    small_file,
    texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn.files import container
from crnn.files.disk import FormatError
from crnn.files.foreign import looks_like

pytestmark = pytest.mark.no_backend


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
    container.write(tmp_path / "m", {"w": np.array([1.0, 2.0])}, {})
    raw = (tmp_path / "m").read_bytes()
    assert_refused(tmp_path / "m", raw[:-16] + raw[-8:] + raw[-16:-8], "damaged.*SHA-256")


# ---- forgeries: the checksum is right, the file is not


def test_the_forge_can_make_a_good_file(tmp_path):
    """If it could not, every refusal below would prove nothing."""
    body = np.arange(6, dtype=np.float32).tobytes()
    entries = {"a": entry([2, 2], [8, 24]), "b": entry([1], [0, 8], "F64"), "c": entry([0], [8, 8])}
    (tmp_path / "m").write_bytes(forged(entries, body, OWN | {"k": "v"}))
    tensors, metadata = container.read(tmp_path / "m")
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


FOREIGN = {
    "a PNG picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a JPEG picture": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a zip archive, as .npz": b"PK\x03\x04\x14\0\0\0\x08\0",
    "a pickle": pickle.dumps({"weights": [1.5, 2.5]}),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n\0\0\0\0",
    "an array of NumPy's": b"\x93NUMPY\x01\0v\0{'descr'",
    "an ONNX model": b"\x08\x0a\x12\x07pytorch\x1a\x05",
    "a text in UTF-16": "two words".encode("utf-16"),
    "a text": "naïve 文字\n".encode() * 99,
    "safetensors files$": bytes(range(1, 250)),
}


@pytest.mark.parametrize(("kind", "content"), FOREIGN.items(), ids=FOREIGN)
def test_a_foreign_file_is_named(tmp_path, kind, content):
    assert_refused(tmp_path / "m", content, f"is not a crnn file, which are .*{kind}")


@pytest.mark.parametrize("cut", range(4))
def test_a_text_is_seen_though_a_character_is_cut_through(cut):
    start = ("€" * 200).encode()
    assert looks_like(start[: len(start) - cut]) == "a text"


def test_a_safetensors_file_of_another_program_is_named(tmp_path):
    content = safetensors.numpy.save({"w": np.zeros(3)})
    assert_refused(tmp_path / "m", content, "not a crnn file.*safetensors file of another program")


@pytest.mark.parametrize("length", [0, 1, 7])
def test_header_length_too_small(tmp_path, length):
    raw = forged({"a": entry()}, bytes(8))
    assert_refused(tmp_path / "m", length.to_bytes(8, "little") + raw[8:], "header")


def test_header_above_100_mb_is_refused_in_a_file_that_has_them(tmp_path):
    with open(tmp_path / "m", "wb") as file:
        file.write((100_000_001).to_bytes(8, "little") + b"{")
        file.truncate(200_000_000)
    with pytest.raises(FormatError, match="header of 100000001"):
        container.read(tmp_path / "m")


def test_a_large_foreign_file_is_refused_without_reading_it(tmp_path):
    """4 TB of holes: had they been asked for, there would be a MemoryError."""
    with open(tmp_path / "m", "wb") as file:
        file.write(sealed('{"__metadata__":{"format":"pt"}}'))
        try:
            file.truncate(1 << 42)
        except OSError:
            pytest.skip("the file system has no files of 4 TB")
    with pytest.raises(FormatError, match="not a crnn file"):
        container.read(tmp_path / "m")


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
    '{"__metadata__":{"format":"crnn 3"}}': "newer crnn.*'crnn 3'.*'crnn 2'.*upgrade",
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
        container.check_names("m", (name + str(i) for i in range(60)), [])
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
        tensors, found = container.read(path)
        assert sum(array.nbytes for array in tensors.values()) == len(body)
        assert found == {key: text for key, text in metadata.items() if key not in OWN}


@settings(deadline=None, max_examples=100, database=None)
@given(st.binary(max_size=40), st.booleans())
def test_noise_is_refused(tmp_path_factory, content, prefixed):
    path = tmp_path_factory.getbasetemp() / "noise"
    assert_refused(path, sealed(b"{" + content) if prefixed else content)
