"""Files as ``torch.save`` writes them, made without PyTorch: whole ones, and forged ones.

A pickle's instructions are put together here one by one, so that they can also be wrong.
"""

import io
import struct
import zipfile

import numpy as np

STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i1": "Char"}


def number(value):
    size = 1 + value.bit_length() // 8
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def of(*values):
    """A tuple of values that are instructions already."""
    return b"(" + b"".join(values) + b"t"


def numbers(values):
    return of(*map(number, values))


def named(name):
    module, _, own = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + own.encode() + b"\n"


def call(name, *values):
    return named(name) + of(*values) + b"R"


def entries(pairs):
    """A dict of names to values that are instructions already."""
    return b"}(" + b"".join(text(name) + value for name, value in pairs) + b"u"


def storage(key, kind, count):
    return of(text("storage"), named(f"torch.{kind}Storage"), text(key), text("cpu"),
              number(count)) + b"Q"


def tensor(key, shape, *, kind="Float", count=None, offset=0, strides=None, how="_v2"):
    if count is None:
        count = int(np.prod(shape))
    if strides is None:
        strides = [int(np.prod(shape[k + 1 :])) for k in range(len(shape))]
    return call(f"torch._utils._rebuild_tensor{how}", storage(key, kind, count), number(offset),
                numbers(shape), numbers(strides), b"\x89", call("collections.OrderedDict"))


def pickled(value):
    return b"\x80\x02" + value + b"."


def archive(value, data, *, more=(), folder="archive/", compression=zipfile.ZIP_STORED):
    """A file with a pickle of a value, and storages by key; more: further entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        written.writestr(f"{folder}data.pkl", pickled(value))
        for key, content in data.items():
            written.writestr(f"{folder}data/{key}", content)
        for name, content in more:
            written.writestr(name, content)
    return file.getvalue()


def saved(arrays):
    """A whole file with arrays by name."""
    pairs, data = [], {}
    for key, (name, array) in enumerate(arrays.items()):
        kind = STORAGES[array.dtype.str[1:]]
        pairs.append((name, tensor(str(key), array.shape, kind=kind)))
        data[str(key)] = array.tobytes()
    return archive(entries(pairs), data)
