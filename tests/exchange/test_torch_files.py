"""Files of PyTorch's: whole ones in every form, damaged and forged ones, and none at all."""

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_archives as forge
from hypothesis import given, settings
from hypothesis import strategies as st

import crnn
from crnn.exchange import pickles, torch_files
from crnn.files.disk import FormatError

pytestmark = pytest.mark.no_backend

ARRAYS = {"rec.weight_ih_l0": np.arange(8, dtype="f4").reshape(4, 2) - 3.5,
          "rec.weight_hh_l0": np.arange(4, dtype="f8").reshape(4, 1) / 3}
OTHERS = {"n": np.array([7, -1], "i8"), "half": np.array([1.5, -2], "f2"),
          "none": np.zeros((0, 3), "f4")}
ONE = {"0": np.arange(6, dtype="f4").tobytes()}  # the storage of forged tensors


def arrays_of(content):
    return {name: each if isinstance(each, np.ndarray) else each.array()
            for name, each in content.items()}


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, each in wanted.items():
        assert found[name].dtype == each.dtype
        np.testing.assert_array_equal(found[name], each)


def read(path, content):
    path.write_bytes(content)
    return arrays_of(torch_files.read(path))


def refused(path, content, message=None):
    """Whether a file, or one of its tensors, is refused in one line."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        arrays_of(torch_files.read(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 5000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pt"


def test_an_archive_by_hand(path):
    arrays = ARRAYS | OTHERS
    assert_equal(read(path, forge.saved(arrays)), arrays)


@pytest.mark.parametrize("is_old", [False, True])
def test_what_torch_saves(path, is_old):
    torch = pytest.importorskip("torch")
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "plain": whole, "transposed": whole.t(), "part": whole[1:3, ::2], "again": whole,
        "double": whole.double() / 7, "half": whole.half(), "short": whole.short(),
        "flag": whole > 3, "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(whole / 3),
    }
    state = {"state": tensors, "brain": whole.bfloat16() / 3, "epoch": 3, "loss": 0.5,
             "score": np.float64(2.5), "names": ["a", ("b", None)]}
    torch.save(state, path, _use_new_zipfile_serialization=not is_old)
    content = torch_files.read(path)
    assert_equal(arrays_of(content["state"]),
                 {name: each.detach().numpy() for name, each in tensors.items()})
    np.testing.assert_array_equal(content["brain"].array(), state["brain"].float().numpy())
    assert (content["epoch"], content["loss"], content["names"]) == (3, 0.5, ["a", ("b", None)])
    assert isinstance(content["score"], pickles.Made)


def test_numbers_with_the_highest_byte_first(path):
    array = np.arange(3, dtype="f4") / 7
    content = forge.archive(
        forge.entries([("a", forge.tensor("0", (3,)))]), {"0": array.astype(">f4").tobytes()},
        more=[("archive/byteorder", b"big")])
    assert_equal(read(path, content), {"a": array})


@pytest.mark.parametrize("kind", ["zip", "safetensors", "old"])
def test_a_file_cut_off_anywhere_is_refused(path, kind):
    content = whole_file(path, kind)
    for length in range(len(content)):
        refused(path, content[:length])


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_any_bit_flipped_is_refused_or_changes_nothing(path, kind):
    """But for values in safetensors files, which have no checksum."""
    content = whole_file(path, kind)
    end = 8 + int.from_bytes(content[:8], "little") if kind == "safetensors" else len(content)
    others = 0
    for place in range(end):  # one bit of each byte: all of them take a minute
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = arrays_of(torch_files.read(path))
        except ValueError:
            continue
        is_same = all(np.array_equal(found.get(name), each) for name, each in ARRAYS.items())
        others += not is_same
        assert is_same or kind == "safetensors"
    assert others < 100  # letters of names, and figures of shapes


def whole_file(path, kind):
    if kind == "zip":
        return forge.saved(ARRAYS)
    if kind == "safetensors":
        import safetensors.numpy
        return safetensors.numpy.save(ARRAYS)
    torch = pytest.importorskip("torch")
    torch.save({name: torch.tensor(each) for name, each in ARRAYS.items()}, path,
               _use_new_zipfile_serialization=False)
    return path.read_bytes()


FORGED = {
    "offset beyond the storage": {"offset": 1},
    "offset below 0": {"offset": -1},
    "shape beyond the storage": {"shape": (7,), "count": 6},
    "shape of 2**80 numbers": {"shape": (2**40, 2**40), "strides": (0, 0), "count": 6},
    "shape below 0": {"shape": (-2, -3)},
    "strides beyond the storage": {"strides": (4, 1)},
    "strides below 0": {"strides": (-3, 1), "offset": 3},
    "strides of one axis": {"strides": (3,)},
    "more numbers than there are": {"shape": (3, 6), "strides": (0, 1), "count": 6},
    "a storage of another size": {"shape": (5,)},
    "no such storage": {"key": "1"},
    "40 axes": {"shape": (1,) * 40, "count": 6},
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_tensor_is_refused(path, what):
    arguments = {"key": "0", "shape": (2, 3)} | FORGED[what]
    key, shape = arguments.pop("key"), arguments.pop("shape")
    value = forge.entries([("a", forge.tensor(key, shape, **arguments))])
    refused(path, forge.archive(value, ONE))


def test_tensors_may_share_memory_but_not_without_end(path):
    shared = [(str(k), forge.tensor("0", (2, 3))) for k in range(3)]
    assert len(read(path, forge.archive(forge.entries(shared), ONE))) == 3
    large = {"0": np.zeros(100_000, "f4").tobytes()}
    shared = [(str(k), forge.tensor("0", (100_000,))) for k in range(9)]
    refused(path, forge.archive(forge.entries(shared), large), "share")


A = forge.entries([("a", forge.tensor("0", (2, 3)))])


@pytest.mark.parametrize(("content", "message"), [
    (forge.archive(A, ONE, compression=zipfile.ZIP_DEFLATED, more=[("z", bytes(10_000))]),
     "compressed"),
    (forge.archive(A, ONE, more=[("archive/code/a.py", b"")]), "TorchScript"),
    (forge.archive(A, ONE, more=[("b/data.pkl", b"")]), "data.pkl"),
    (forge.archive(b"", ONE), "empty|fit"),
    (forge.archive(b"2" * 9, ONE), "fit"),
    (forge.archive(b"h\x07", ONE), "fit"),
    (forge.archive(b"Nu", ONE), "mark"),
    (forge.archive(b"\x82\x07", ONE), "EXT1"),
    (forge.archive(b"\x8e" + b"\xff" * 7 + b"\x7f", ONE), "expected"),
    (forge.archive(forge.storage("0", "Float", -1), ONE), "whole number"),
    (forge.archive(forge.of(forge.storage("0", "Float", 6), forge.storage("0", "Float", 5)), ONE),
     "two sizes"),
    (b"PK\x03\x04" + bytes(100), "whole"),
    (b"", "empty"),
    (b"\x89PNG" + bytes(100), "PNG"),
    (pickle.dumps({"a": 1}), "code"),
    (b"just some text", "text"),
])
def test_a_forged_file_is_refused(path, content, message):
    refused(path, content, message)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(path):
    refused(path, forge.archive(A, ONE, more=[("archive/data/0", bytes(24))]), "one name")


def test_nothing_in_a_pickle_runs(path, tmp_path):
    made = tmp_path / "made"
    value = forge.call("os.mkdir", forge.text(str(made)))
    path.write_bytes(forge.archive(value, {}))
    assert torch_files.read(path).name == "os.mkdir"
    assert not made.exists()


def test_keys_that_would_take_for_ever_to_hash_are_left_out(path):
    nested = b")" + b"2\x86" * 200  # each is a tuple of the one before it, twice
    value = b"}" + nested + b"Ns" + forge.text("a") + b"Ns"
    path.write_bytes(forge.archive(value, {}))
    assert torch_files.read(path) == {"a": None}


def test_what_lies_in_itself_or_very_deep_is_read(path):
    for value in (b"}q\x00" + forge.text("a") + b"h\x00s", b"]" * 100_000 + b"a" * 99_999):
        path.write_bytes(forge.archive(value, {}))
        torch_files.read(path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX file system")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(FormatError):
            torch_files.read(path)
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError):
            torch_files.read(path)


def of_safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize("content", [
    of_safetensors({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)),
    of_safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
    of_safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    of_safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5)),
    of_safetensors({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}),
    of_safetensors({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, bytes(4)),
    of_safetensors({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, bytes(4)),
    of_safetensors(b'{"a": 1, "a": 2}'),
    of_safetensors(b"{" + b"[" * 100_000),
    of_safetensors(b'{"\xff": 1}'),
    (2**63).to_bytes(8, "little") + b"{}",
])
def test_a_forged_safetensors_file_is_refused(path, content):
    refused(path, content)


def test_a_file_of_our_own_is_named_as_such(path):
    crnn.GRU(2, 3).save(path)
    with pytest.raises(FormatError, match=r"crnn\.load"):
        torch_files.read(path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@given(value=plain, protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=100, deadline=None)
def test_plain_values_are_what_pickle_makes_of_them(value, protocol):
    data = pickle.dumps(value, protocol)
    assert pickles.load(io.BytesIO(data), {}, None) == value


@given(data=st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_pickle_or_refused(data):
    with contextlib.suppress(ValueError):
        pickles.load(io.BytesIO(data), {}, lambda described: None)


@pytest.mark.parametrize("loader", ["zip", "old", "safetensors"])
def test_some_inputs_of_the_fuzzer(tmp_path, loader):
    fuzzer = Path(__file__).parents[1] / "fuzz" / "torch_loader.py"
    done = subprocess.run([sys.executable, fuzzer, loader, "--inputs", "300"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert f"{loader}: 300 inputs" in done.stdout


def test_an_old_file_with_a_storage_that_is_not_listed_is_refused(path):
    storage = forge.entries([("a", forge.tensor("0", (2,)))])
    parts = [b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", b"M\xe9\x03", b"}", storage, b"]"]
    refused(path, b"".join(map(forge.pickled, parts)), "not those of its tensors")
