"""Files of PyTorch's: what ``torch.save`` has written, and safetensors; without PyTorch.

What ``torch.save`` writes is a zip archive with a pickle, ``data.pkl``, and an entry for each
storage, the memory of one or more tensors. Before PyTorch 1.6 it was pickles and storages one after
the other.
"""

import io
import math
import os
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from crnn.exchange import pickles, safetensors_files
from crnn.exchange.tensors import ITEMSIZES, numbers
from crnn.files.disk import FormatError, bad, opened
from crnn.files.foreign import looks_like

SAVE = "torch.save(model.state_dict(), path)"
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of an old file
STORAGES = {  # the classes of storages, and what safetensors calls their numbers
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64",
    "Int": "I32", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL",
}
SHARED = 8  # tensors may share storages, but not take so many times the file's size


@dataclass(frozen=True)
class Storage:
    """Some memory: a key for it, the dtype of its numbers and how many there are."""

    key: str
    dtype: str
    count: int

    @property
    def size(self):
        """In bytes."""
        return self.count * ITEMSIZES[self.dtype]


class Memory:
    """The storages of a file, which are read when they are asked for.

    Parameters
    ----------
    most : int
        How many bytes all tensors may take.

    Attributes
    ----------
    data_of : callable
        Given a storage's key and its size in bytes, returns them.
    order : {"<", ">"}
        Which byte of a number comes first: its lowest or its highest.
    """

    def __init__(self, most):
        self.left, self.order, self.data_of = most, "<", None
        self.described, self.read = {}, {}

    def storage(self, storage):
        """Return a storage that a tensor names, which is the same wherever it is named."""
        if self.described.setdefault(storage.key, storage) != storage:
            raise ValueError("its tensors name one storage with two sizes or types")
        return storage

    def numbers(self, storage):
        """Return all numbers of a storage."""
        if storage.key not in self.read:
            data = self.data_of(storage.key, storage.size)
            self.read[storage.key] = numbers(data, storage.dtype, self.order)
        return self.read[storage.key]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor in a file."""

    memory: Memory
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def __post_init__(self):
        """Raise ValueError if its sizes are none."""
        sizes = (self.offset, *self.shape, *self.strides)
        if not all(type(each) is int and each >= 0 for each in sizes) or len(self.shape) > 32:
            raise ValueError("a tensor's shape and strides are not whole numbers")
        if len(self.shape) != len(self.strides):
            raise ValueError(f"a tensor of shape {self.shape} has strides {self.strides}")

    def array(self):
        """Return the array; ValueError if it is not within its storage, or too much shares that."""
        size = math.prod(self.shape)
        last = self.offset + sum((length - 1) * step for length, step in
                                 zip(self.shape, self.strides, strict=True))
        if size > self.storage.count or (size and last >= self.storage.count):
            raise ValueError(f"a tensor of shape {self.shape} does not fit its storage of"
                             f" {self.storage.count} numbers; save tensors as .contiguous()")
        self.memory.left -= size * ITEMSIZES[self.storage.dtype]
        if self.memory.left < 0:
            raise ValueError("its tensors share so much memory that they are many times larger than"
                             " the file; save them with .clone()")
        flat = self.memory.numbers(self.storage)
        if not size:
            return np.empty(self.shape, flat.dtype)
        flat = flat[self.offset :]
        steps = tuple(step * flat.itemsize * (length > 1) for length, step in
                      zip(self.shape, self.strides, strict=True))
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        return view.astype(flat.dtype.newbyteorder("="))


def read(path):
    """Return what a file holds: a dict of arrays, or what was saved, with `Tensor` for tensors.

    Raises
    ------
    FormatError
        It is no file of PyTorch's, or not whole; or it holds a program.
    OSError
        It cannot be opened.
    """
    with opened(path) as file:
        start = file.read(500)
        is_safetensors = start[8:9] == b"{"
        is_old = start[:1] == b"\x80" and MAGIC.to_bytes(10, "little") in start[:20]
        if not (is_safetensors or is_old or start.startswith(b"PK\x03\x04")):
            raise _foreign(path, start)
        size = os.fstat(file.fileno()).st_size
        data = b"" if is_safetensors else start + file.read(size - len(start))
    if is_safetensors:
        return safetensors_files.read(path)
    try:
        return (_old if is_old else _archive)(data)
    except FormatError:
        raise
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise bad(path, f"is no whole file of PyTorch's: {error}") from None


def _foreign(path, start):
    kind = looks_like(start) if start else "an empty file"
    hint = "" if kind is None else f": it looks like {kind}"
    remedy = ""
    if kind == "a pickle":
        remedy = f"; pickles can run code, and are not read: save with {SAVE}"
    return bad(path, f"is no file of PyTorch's (torch.save, or safetensors){hint}{remedy}")


def _archive(data):
    """Return what a zip archive of ``torch.save`` holds."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("two entries have one name")
    if any("/code/" in name for name in names):
        raise ValueError("it is TorchScript, a program; save the weights with"
                         " torch.save(torch.jit.load(path).state_dict(), new_path)")
    pickled = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickled) != 1:
        raise ValueError("it is a zip archive of another kind, without one data.pkl")
    if sum(entry.file_size for entry in entries) > len(data):
        raise ValueError("its entries are larger than the file: they are compressed, which PyTorch"
                         " never does, or lie over each other")
    folder = pickled[0].removesuffix("data.pkl")
    memory = Memory(SHARED * len(data))

    def data_of(key, size):
        found = _entry(archive, f"{folder}data/{key}")
        if len(found) != size:
            raise ValueError(f"a storage has {len(found)} bytes where its tensors have {size}")
        return found

    memory.data_of = data_of
    if f"{folder}byteorder" in names and _entry(archive, f"{folder}byteorder") != b"little":
        memory.order = ">"
    return _load(io.BytesIO(_entry(archive, pickled[0])), memory)


def _entry(archive, name):
    """Return the bytes of an entry, whose checksum is right."""
    try:
        return archive.read(name)
    except (KeyError, EOFError, NotImplementedError, OSError, RuntimeError, zlib.error,
            zipfile.BadZipFile) as error:
        raise ValueError(f"its entry {name} is not there or damaged: {error}") from None


def _old(data):
    """Return what a file from before PyTorch 1.6 holds."""
    file = io.BytesIO(data)
    memory = Memory(SHARED * len(data))
    _load(file, memory)  # the magic number
    _load(file, memory)  # the version of the format
    system = _load(file, memory)
    if isinstance(system, dict) and system.get("little_endian") is False:
        memory.order = ">"
    content, keys = _load(file, memory), _load(file, memory)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("it has no list of storages")
    if len(set(keys)) < len(keys) or set(keys) != memory.described.keys():
        raise ValueError("its storages are not those of its tensors, each once")
    start = file.tell()
    starts = {}
    for key in keys:
        count, storage = int.from_bytes(data[start : start + 8], "little"), memory.described[key]
        starts[key] = start + 8
        start += 8 + storage.size
        if count != storage.count or start > len(data):
            raise ValueError("it is cut off, or its storages are not those of its tensors")
    if start != len(data):
        raise ValueError(f"it goes on for {len(data) - start} bytes behind its last storage")
    memory.data_of = lambda key, size: data[starts[key] : starts[key] + size]
    return content


def _load(file, memory):
    """Return what the next pickle in a file holds."""

    def tensor(storage, offset, shape, strides, *_):
        if not isinstance(storage, Storage):
            return storage
        return Tensor(memory, storage, offset, tuple(shape), tuple(strides))

    def storage(described):
        kind, of, key, *more = described
        if kind == "module":
            return of  # the class of a whole module in an old file; then its source
        _, count, *view = more
        if kind != "storage" or not isinstance(of, pickles.Named) or not isinstance(key, str):
            raise ValueError("it refers to what is no storage")
        if view not in ([], [None]):
            raise ValueError("it has a view of a storage, as PyTorch wrote before 1.0")
        name = of.name.removeprefix("torch.")
        if name.removesuffix("Storage") not in STORAGES:
            return pickles.Made(f"tensor of {name}")
        if type(count) is not int or count < 0:
            raise ValueError("a storage's size is no whole number")
        return memory.storage(Storage(key, STORAGES[name.removesuffix("Storage")], count))

    calls = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3":
            lambda *arguments: pickles.Made(f"tensor of {getattr(arguments[6], 'name', '?')}"),
        "torch._utils._rebuild_qtensor": lambda *_: pickles.Made("quantised tensor"),
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "collections.OrderedDict": pickles.as_dict,
        "collections.defaultdict": lambda *_: {},
    }
    return pickles.load(file, calls, storage)
