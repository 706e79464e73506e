"""HDF5 files: as h5py reads them, or refused; nothing is believed that does not lie in the file."""

import io
import random
import struct

import numpy as np
import pytest

from crnn.exchange.hdf5 import Hdf5File
from crnn.files.disk import FormatError

pytestmark = pytest.mark.no_backend
h5py = pytest.importorskip("h5py")


def written(fill, **options):
    """Return the bytes of a file that fill(file) has filled."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", **options) as file:
        fill(file)
    return memory.getvalue()


def opened(data):
    return Hdf5File("x.h5", io.BytesIO(data), len(data))


def compare(group, file, node):
    """Compare a group with what h5py reads."""
    assert sorted(file.names(node)) == sorted(group)
    for name, value in group.attrs.items():
        if isinstance(value, np.ndarray):
            wanted = [each.decode() if isinstance(each, bytes) else each for each in value.tolist()]
            assert file.texts(node, name) == wanted
        else:
            assert file.text(node, name) == (value.decode() if isinstance(value, bytes) else value)
    for name, child in group.items():
        if isinstance(child, h5py.Dataset):
            array = file.array(node, name)
            assert array.dtype == child.dtype.newbyteorder("=")
            np.testing.assert_array_equal(array, child[()])
        else:
            compare(child, file, file.child(node, name))


def usual(file):
    """Fill a file with all that is read."""
    rng = np.random.default_rng(0)
    file.attrs["bytes"] = b"keras"
    file.attrs["text"] = "ä" * 100
    file.attrs["long"] = "x" * 200_000  # more than an object's header holds
    file.attrs["fixed"] = np.array([b"a", b"bcd"])
    file.attrs["variable"] = ["one", "", "three"]
    file.attrs["none"] = np.array([], "S1")
    for number in range(100):  # a tree of more than one level
        file[f"group/in/{number}"] = rng.normal(size=(number % 3, 2)).astype(np.float32)
    for dtype in ("f2", "f4", "f8", ">f2", ">f4", ">f8"):
        file[dtype] = rng.normal(size=(3, 4)).astype(dtype)
    file["scalar"] = 1.5
    file["empty"] = np.zeros((0, 3))
    file.create_group("nothing")


def test_files_are_read_as_h5py_reads_them():
    data = written(usual)
    compare(h5py.File(io.BytesIO(data)), opened(data), opened(data).root)


def test_attributes_in_pieces():
    def fill(file):
        file.attrs["names0"], file.attrs["names1"] = ["a", "b"], ["c"]

    file = opened(written(fill))
    assert file.texts(file.root, "names") == ["a", "b", "c"]


def links(file):
    file["a"] = np.zeros(3)
    file["soft"] = h5py.SoftLink("/a")
    file["out"] = h5py.ExternalLink("/etc/passwd", "/")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (4,))
    file.create_virtual_dataset("a", layout)


REFUSED = {  # how a file is filled, and words of the message
    "compressed": (lambda file: file.create_dataset("a", data=np.zeros(9), compression="gzip"),
                   "compressed"),
    "a bomb": (lambda file: file.create_dataset("a", (2**40,), "f4", chunks=(2**20,),
                                                compression="gzip"), "compressed"),
    "in pieces": (lambda file: file.create_dataset("a", data=np.zeros(9), chunks=(3,)),
                  "in pieces"),
    "in another file": (lambda file: file.create_dataset(
        "a", (9,), "f4", external=[("/etc/passwd", 0, 36)]), "in another file"),
    "virtual": (virtual, "does not write"),
    "never written": (lambda file: file.create_dataset("a", (9,), "f4"), "points beyond"),
    "larger than the file": (lambda file: file.create_dataset("a", (2**50,), "f4"),
                             "does not hold the"),
    "numbers that are whole": (lambda file: file.create_dataset("a", data=[1, 2]), "no floats"),
    "complex numbers": (lambda file: file.create_dataset("a", data=[1j]), "no floats"),
    "long floats": (lambda file: file.create_dataset("a", data=np.zeros(2, np.longdouble)),
                    "no floats"),
    "texts": (lambda file: file.create_dataset("a", data=[b"x"]), "no floats"),
    "no array": (lambda file: file.create_dataset("a", data=h5py.Empty("f4")), "nothing in 'a'"),
    "a group": (lambda file: file.create_group("a"), "of another kind"),
    "nothing": (lambda file: None, "nothing where 'a'"),
    "a link": (lambda file: file.__setitem__("a", h5py.SoftLink("/b")), "link where 'a'"),
    "a link out": (lambda file: file.__setitem__("a", h5py.ExternalLink("b", "/")),
                   "does not write"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_are_refused(case):
    fill, words = REFUSED[case]
    data = written(fill)
    with pytest.raises(FormatError, match=words):
        opened(data).array(opened(data).root, "a")


def test_newer_forms_are_refused():
    for options in ({"libver": "latest"}, {"libver": "v110"}, {"track_order": True}):
        data = written(usual, **options)
        with pytest.raises(FormatError, match="in a form of HDF5 that Keras does not write"):
            compare(h5py.File(io.BytesIO(data)), opened(data), opened(data).root)


def test_what_is_there_by_many_names_is_read_as_often_as_it_fits():
    def fill(file):
        file["a"] = np.zeros(10_000)
        for number in range(50):
            file[f"a{number}"] = file["a"]

    file = opened(written(fill))
    file.array(file.root, "a7")
    with pytest.raises(FormatError, match="does not hold the 80000 bytes of 'a8'"):
        file.array(file.root, "a8")


def test_groups_in_circles():
    def fill(file):
        group = file.create_group("a")
        group["a"] = group  # a group in itself

    file = opened(written(fill))
    assert file.child(file.root, "a/a/a/a") == file.child(file.root, "a")
    data = bytearray(written(lambda file: file.create_group("a")))
    tree = data.index(b"TREE")
    data[tree + 5] = 1  # it has branches, and the first is the tree itself
    data[tree + 32 : tree + 40] = struct.pack("<Q", tree)
    with pytest.raises(FormatError, match="goes in circles"):
        opened(bytes(data)).names(opened(bytes(data)).root)


def small(file):
    file.attrs["texts"] = ["one", "two"]
    file.attrs["fixed"] = np.array([b"a", b"bcd"])
    file["group/a"] = np.arange(6, dtype=np.float32).reshape(2, 3)


def look(data):
    """Read all that a small file has, and return it; a refusal raises FormatError."""
    file = opened(data)
    texts = [file.texts(file.root, name) for name in ("texts", "fixed")]
    return texts, file.array(file.root, "group/a").tolist()


def test_every_truncation_is_refused():
    data = written(small)
    look(data)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            look(data[:length])


def test_damage_is_refused_or_changes_what_is_read():
    """A byte in it may be one of a number or a text: HDF5 has no checksum here."""
    data, rng = written(small), random.Random(0)
    wanted, refused, changed = look(data), 0, 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] = rng.choice([0, 1, 0xFF, damaged[place] ^ 1 << rng.randrange(8)])
        try:
            changed += look(bytes(damaged)) != wanted
        except FormatError:
            refused += 1
    assert refused > 300
    assert changed > 20
