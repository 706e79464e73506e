"""The door to the disk: round trips, what cannot be written, names and JSON."""

import hashlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from forged_files import OWN, ZEROS, assert_same, small_file, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crnn.files import container
from crnn.files.disk import FormatError

pytestmark = pytest.mark.no_backend


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
    container.write(tmp_path / "m", {name: ARRAYS[name]}, {})
    tensors, metadata = container.read(tmp_path / "m")
    assert_same(tensors, {name: ARRAYS[name]})
    assert metadata == {}
    assert ARRAYS[name].tobytes() == before


def test_round_trip_of_all(tmp_path):
    metadata = {"b": "", "a": '\0"\\\n é \U0001f600', "sha": "256", "": "empty"}
    container.write(tmp_path / "m", ARRAYS, metadata)
    tensors, found = container.read(tmp_path / "m")
    assert_same(tensors, ARRAYS)
    assert list(found.items()) == list(metadata.items())


def test_empty_file_contents(tmp_path):
    container.write(tmp_path / "m", {}, {})
    assert container.read(tmp_path / "m") == ({}, {})


def test_arrays_are_owned_and_writable(tmp_path):
    container.write(tmp_path / "m", ARRAYS, {})
    tensors, _ = container.read(tmp_path / "m")
    for array in tensors.values():
        assert array.flags.owndata
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.flags.c_contiguous
        array[...] = 7
    assert_same(container.read(tmp_path / "m")[0], ARRAYS)


def test_same_content_same_bytes_same_order(tmp_path):
    metadata = {str(i): "x" for i in range(30)}
    for name in "ab":
        container.write(tmp_path / name, ARRAYS, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    first, second = container.read(tmp_path / "a"), container.read(tmp_path / "b")
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
    container.write(tmp_path / "m", {"sha256": np.ones(2)}, metadata)
    assert container.read(tmp_path / "m")[1] == metadata


def test_a_key_that_ends_like_the_checksum(tmp_path):
    container.write(tmp_path / "m", {}, {'x"sha256': "harmless"})
    before = (tmp_path / "m").read_bytes()
    assert container.read(tmp_path / "m")[1] == {'x"sha256': "harmless"}
    with pytest.raises(ValueError, match="another name"):
        container.write(tmp_path / "m", {}, {'x"sha256': ZEROS})
    assert (tmp_path / "m").read_bytes() == before


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
    container.write(path, tensors, metadata)
    found_tensors, found_metadata = container.read(path)
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
        container.write(tmp_path / "m", {"w": array}, {})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": b"x"}, {"a": {}}])
def test_metadata_other_than_texts_are_refused(tmp_path, metadata):
    with pytest.raises(TypeError, match="str to str"):
        container.write(tmp_path / "m", {}, metadata)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["format", "sha256"])
def test_own_keys_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=key):
        container.write(tmp_path / "m", {}, {key: "x"})
    assert not any(tmp_path.iterdir())


def test_names_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="another name"):
        container.write(tmp_path / "m", {"__metadata__": np.ones(2)}, {})
    with pytest.raises(TypeError):
        container.write(tmp_path / "m", {1: np.ones(2)}, {})
    with pytest.raises(UnicodeEncodeError):
        container.write(tmp_path / "m", {}, {"a": "\ud800"})
    monkeypatch.setattr(container, "MAX_HEADER", 1000)
    with pytest.raises(ValueError, match="at most 1000"):
        container.write(tmp_path / "m", {}, {"a": "x" * 1000})
    assert not any(tmp_path.iterdir())


# ---- names and JSON


def test_check_names():
    container.check_names("m", ["a", "b"], ("b", "a"))
    container.check_names("m", {}, iter(()))
    for present, wanted, message in [
        ("ab", "abdc", r"'m' .*missing \['c', 'd'\]$"),
        ("zaby", "ab", r"'m' .*unknown \['y', 'z'\]$"),
        (["../x", "\0"], ["w"], r"missing \['w'\], unknown \['\\x00', '../x'\]$"),
    ]:
        with pytest.raises(FormatError, match=message):
            container.check_names("m", iter(present), iter(wanted))


def test_check_names_shows_every_missing_name_of_a_real_network():
    wanted = [f"W_hh_l{i}_reverse" for i in range(50)]
    with pytest.raises(FormatError) as caught:
        container.check_names("m", [], wanted)
    assert all(name in str(caught.value) for name in wanted)


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "é", [], {"a": [{"b": None}], "c": 1e300}])
def test_read_json(value):
    assert container.read_json("m", json.dumps(value), "config") == value


@pytest.mark.parametrize("text", [
    "", "{", "nul", "NaN", "[Infinity]", '{"a":-Infinity}', "1e999", "-1e999", "1 2", "{'a':1}",
    '{"a":1,"a":1}', '[{"b":{"a":1,"\\u0061":2}}]', "[" * 100_000, '{"a":' * 100_000, "9" * 5000,
    '"\t"', "[1,]", "\ufeff1", "// 1", "0x10"], ids=lambda text: ascii(text[:20]))  # fmt: skip
def test_read_json_refuses(text):
    with pytest.raises(FormatError, match="'m' has a bad config, not strict JSON"):
        container.read_json(Path("m"), text, "config")


def test_format_error_is_a_value_error():
    assert issubclass(FormatError, ValueError)


# ---- memory


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of the address space")
@pytest.mark.parametrize("act", ["net.save('model')", "crnn.load('model')"])
def test_too_little_memory_is_an_error_and_nothing_else(tmp_path, monkeypatch, act):
    monkeypatch.chdir(tmp_path)
    code = f"""
        import resource
        import crnn

        net = crnn.RNN(60, 1500, 60, seed=0)  # 10 MB
        net.save("model")
        before, ends = open("model", "rb").read(), set()
        for megabytes in (1, 5, 9, 12, 16, 19.5, 21, 25, 29, 39, 300):
            pages = int(open("/proc/self/statm").read().split()[0])
            limit = pages * resource.getpagesize() + int(megabytes * 1e6)
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            try:
                {act}
                ends.add("done")
            except MemoryError:
                ends.add("refused")
            resource.setrlimit(resource.RLIMIT_AS, 2 * (resource.RLIM_INFINITY,))
        print(sorted(ends), open("model", "rb").read() == before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                          text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "['done', 'refused'] True\n"), done.stderr
