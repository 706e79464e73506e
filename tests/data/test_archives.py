"""Files .npz: the ways in which sequences lie in arrays, and what is refused."""

import io
import os
import pickle
import zipfile

import data_files
import numpy as np
import pytest

import crnn
from crnn.data import archives

pytestmark = pytest.mark.no_backend

# Fixtures, which pytest looks for in this module.
read_as, refused, written = data_files.read_as, data_files.refused, data_files.written

LENGTHS = [2, 4, 1]


def saved(*arrays, save=np.savez, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def zipped(**contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name + ".npy", content)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def sequences(rng):
    return [rng.standard_normal((length, 5)) for length in LENGTHS]


def assert_are(data, sequences):
    assert len(data.sequences) == len(sequences)
    for ours, wanted in zip(data.sequences, sequences, strict=True):
        np.testing.assert_array_equal(ours, wanted, strict=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_sequences_saved_one_by_one(read_as, sequences, save):
    many = sequences * 4  # of which arr_10 comes before arr_2 in the order of names
    labels = np.arange(12)
    data = read_as("a.npz", saved(*many, labels=labels, save=save))
    assert_are(data, many)
    assert data.labels.tolist() == labels.tolist()
    assert_are(read_as("a.npz", saved(*(each[:, 0] for each in many))), [
        each[:, :1] for each in many])


def test_padded_with_lengths(read_as, sequences):
    x, lengths = crnn.pad(sequences, batch_first=True)
    assert_are(read_as("a.npz", saved(x=x, lengths=lengths)), sequences)
    x[1, 4:] = np.inf  # padding may be anything
    assert_are(read_as("a.npz", saved(X=x[:, :, 0], lengths=lengths, y=["a", "b", "a"])), [
        each[:, :1] for each in sequences])


def test_one_after_another_with_lengths(read_as, sequences):
    data = read_as("a.npz", saved(sequences=np.concatenate(sequences), lengths=LENGTHS))
    assert_are(data, sequences)
    flat = np.concatenate(sequences)[:, 0]
    assert_are(read_as("a.npz", saved(data=flat, lengths=LENGTHS)), [
        each[:, :1] for each in sequences])


def test_of_equal_lengths(read_as, rng):
    x = rng.standard_normal((3, 4, 5))
    assert_are(read_as("a.npz", saved(x=x, target=[0.5, 1.5, 2])), list(x))
    assert_are(read_as("a.npz", saved(x=x[:, :, 0], other=x)), list(x[:, :, :1]))
    assert_are(read_as("a.npz", saved(np.asfortranarray(x[0]), np.asfortranarray(x[1]))), x[:2])


@pytest.mark.parametrize(("dtype", "wanted"), [
    ("f4", "f4"), (">f4", "f4"), (">f8", "f8"), ("f2", "f8"), ("i1", "f8"), ("u8", "f8"),
    ("?", "f8"),
])
def test_dtypes(read_as, dtype, wanted):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    labels = np.array([3, 4], ">i4")
    data = read_as("a.npz", saved(x=x, labels=labels))
    assert_are(data, [each[:, None].astype(wanted) for each in x])
    assert data.labels.dtype == np.dtype("i4")


@pytest.mark.parametrize(("arrays", "message"), [
    ({}, "FILE has no array x, but none: save them with np.savez(path, x=x, lengths=lengths, lab"),
    ({"train": [1.0]}, "FILE has no array x, but 'train': save them with np.savez(path, x=x, l"),
    ({"x": [[1.0]], "X": [[1.0]]}, "FILE has arrays 'x' and 'X', which could both be meant; sav"),
    ({"x": [[1.0]], "y": [1], "label": [1]}, "FILE has arrays 'label' and 'y', which could both"),
    ({"x": [1.0, 2.0]}, "FILE has x of shape (2,) and no lengths, which say where sequences end"),
    ({"x": np.ones((1, 1, 1, 1))}, "FILE has x of shape (1, 1, 1, 1); (n, T, I) is wanted, or ("),
    ({"x": np.ones((2, 0, 3))}, "FILE has x of shape (2, 0, 3), without a number"),
    ({"x": [["a", "b"]]}, "FILE has x of strings; numbers are wanted"),
    ({"x": [[1, 2j]]}, "FILE has an array 'x' of dtype complex128; numbers or strings are want"),
    ({"x": [[1, np.inf]]}, "FILE has an infinite number in x at (0, 1, 0); what is missing is N"),
    ({"x": np.ones((3, 2)), "lengths": [1.0, 2, 2]}, "FILE has lengths of shape (3,) and dtype f"),
    ({"x": np.ones((3, 2)), "lengths": [1, 2, 0]}, "FILE has a length of 0; every sequence has"),
    ({"x": np.ones((3, 2, 4)), "lengths": [1, 2, 3]},
     "FILE has x of shape (3, 2, 4) and 3 lengths up to 3, 6 together, which do not fit"),
    ({"x": np.ones((2, 3, 4)), "lengths": [1, 2, 2]},
     "FILE has x of shape (2, 3, 4) and 3 lengths up to 2, 5 together, which do not fit; if its"),
    ({"x": np.ones((3, 2)), "labels": [1, 2]}, "FILE has labels of shape (2,) for 3 sequences;"),
    ({"x": np.ones((2, 2)), "labels": [1, np.nan]}, "FILE has labels that are not finite"),
    ({"arr_0": np.ones((2, 2, 2)), "arr_1": np.ones(2)},
     "FILE has arrays without names, arr_0 (2, 2, 2), arr_1 (2,), which are not sequences of eq"),
    ({"arr_0": np.ones(2), "arr_1": 3.0},
     "FILE has arrays without names, arr_0 (2,), arr_1 (), which are not sequences of equal wi"),
    ({"arr_0": np.ones((2, 2))}, "FILE has arrays without names, arr_0 (2, 2), which are not seq"),
    ({"x": np.array([(1, 2)], "i4,i4")}, "FILE has an array 'x' of dtype [('f0', '<i4'), ('f1',"),
])
def test_what_is_wrong(refused, arrays, message):
    assert refused("a.npz", saved(**arrays)).startswith(message)


def test_objects_are_refused_before_they_could_do_anything(refused, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    content = npy(np.array([Trap()]))
    pickle.loads(content[content.index(b"\n") + 1:])
    (tmp_path / "trapped").rmdir()  # what it would have done
    for name in ("x", "labels", "arr_0"):
        message = refused("a.npz", zipped(**{name: content}))
        assert message.startswith(f"FILE has an array '{name}' of Python objects, which could run")
    assert not (tmp_path / "trapped").exists()


def test_sizes_are_believed_only_if_the_file_has_them(refused, monkeypatch):
    huge = npy(np.ones(3)).replace(b"(3,), }" + b" " * 9, b"(10000000000000,)")
    assert refused("a.npz", zipped(x=huge)).startswith("FILE")
    shape = npy(np.ones(3)).replace(b"(3,)", b"(4,)")
    assert refused("a.npz", zipped(x=shape)) == (
        "FILE has an array 'x' whose shape (4,) is not its size's")
    minus = npy(np.ones((3, 3))).replace(b"(3, 3), }  ", b"(-3, -3), }")
    assert "is not its size's" in refused("a.npz", zipped(x=minus))
    monkeypatch.setattr(archives, "LARGEST", 10_000)
    bomb = saved(x=np.zeros((100, 1000)), save=np.savez_compressed)
    assert refused("a.npz", bomb).startswith("FILE has an array 'x' of 800,128 bytes in ")


def test_two_arrays_of_one_name(refused):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", npy(np.ones((2, 2))))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy(np.zeros((2, 2))))
    assert refused("a.npz", file.getvalue()) == "FILE has two arrays of the name 'x'"


def test_what_is_no_archive(refused):
    message = refused("a.npz", b"1,2\n")
    assert message == "FILE is not a whole .npz file: File is not a zip file"
    assert refused("a.npz", npy(np.ones(3))).startswith("FILE is not a whole .npz file: ")
    assert refused("a.npz", zipped(x=b"hello")).startswith("FILE is not a whole .npz file: ")
