"""Arrays in files .npz: zip archives of NumPy's arrays."""

import io
import math
import zipfile

import numpy as np

from crnn.data.cells import listed, shown
from crnn.data.dataset import Dataset
from crnn.files.disk import FormatError, bad
from crnn.files.printable import shortened

SEQUENCES = ("x", "X", "sequences", "data")
LENGTHS = ("lengths",)
LABELS = ("labels", "label", "y", "target", "targets")
LARGEST, RATIO = 2**30, 100  # bytes of what is unpacked, from so many times fewer
SAVE = "save them with np.savez(path, x=x, lengths=lengths, labels=labels)"


def read_npz(path, data):
    """Return the `Dataset` of a file's bytes."""
    try:
        arrays = _arrays(path, data)
    except (FormatError, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy have a dozen kinds for what is no archive
        raise bad(path, f"is not a whole .npz file: {shortened(str(error), 200)}") from None
    numbered = _numbered(arrays)
    x, labels = _one_of(path, arrays, SEQUENCES), _one_of(path, arrays, LABELS)
    lengths = _one_of(path, arrays, LENGTHS)
    if x is None and numbered:
        sequences = _separate(path, numbered)
    elif x is None:
        raise bad(path, f"has no array x, but {listed(sorted(arrays)) or 'none'}: {SAVE}")
    else:
        sequences = _together(path, x, lengths)
    if labels is not None:
        labels = _checked_labels(path, labels, len(sequences))
    return Dataset(sequences, labels)


def _arrays(path, data):
    """Return the arrays of an archive by name, whose sizes are held against the file's first."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in arrays:
                raise bad(path, f"has two arrays of the name {shown(name)}")
            if entry.file_size > max(LARGEST, RATIO * entry.compress_size):
                raise bad(path, f"has an array {shown(name)} of {entry.file_size:,} bytes in"
                          f" {entry.compress_size:,}; save it with np.savez, not compressed")
            if name in (*SEQUENCES, *LENGTHS, *LABELS) or name.startswith("arr_"):
                with archive.open(entry) as file:
                    arrays[name] = _array(path, name, file, entry.file_size)
            else:
                arrays[name] = None
    return arrays


def _array(path, name, file, size):
    """Return the array in an entry of so many bytes."""
    has = f"has an array {shown(name)}"
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0,
               (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise bad(path, f"{has} in version {version} of NumPy's format, of fields with names; plain"
                  " arrays are wanted")
    shape, is_fortran, dtype = readers[version](file)
    if dtype.kind == "O":
        raise bad(path, f"{has} of Python objects, which could run code and are not read; save"
                  " sequences of unequal lengths with np.savez(path, *sequences, labels=labels)")
    if dtype.kind not in "biufU":
        raise bad(path, f"{has} of dtype {dtype}; numbers or strings are wanted")
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or expected != size - file.tell():
        raise bad(path, f"{has} whose shape {shape} is not its size's")
    content = file.read(expected)
    if file.read(1) or len(content) != expected:  # going on to the end has the CRC checked
        raise bad(path, f"{has} that is cut off")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    if dtype.kind == "U":
        array.tolist()  # raises for what are no characters
    return array


def _numbered(arrays):
    """Return the arrays that np.savez has called arr_0, arr_1, ... in this order."""
    numbers = range(sum(name.startswith("arr_") for name in arrays))
    return [arrays[f"arr_{k}"] for k in numbers if f"arr_{k}" in arrays]


def _one_of(path, arrays, names):
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise bad(path, f"has arrays {found[0]!r} and {found[1]!r}, which could both be meant;"
                  " save one of them only")
    return arrays[found[0]] if found else None


def _separate(path, arrays):
    """Return arrays (T_i, I), or (T_i,), each of them a sequence."""
    forms = {(each.ndim, each.shape[1:]) for each in arrays}
    if len(forms) > 1 or arrays[0].ndim not in (1, 2) or len(arrays) == 1:
        shapes = ", ".join(f"arr_{k} {each.shape}" for k, each in enumerate(arrays[:5]))
        raise bad(path, f"has arrays without names, {shapes}, which are not sequences of equal"
                  f" width; {SAVE}")
    names = [f"arr_{k}" for k in range(len(arrays))]
    return [_floats(path, name, each if each.ndim == 2 else each[:, None])
            for name, each in zip(names, arrays, strict=True)]


def _together(path, x, lengths):
    """Return the sequences of one array."""
    if x.ndim not in (1, 2, 3):
        raise bad(path, f"has x of shape {x.shape}; (n, T, I) is wanted, or (n, T)")
    if lengths is None:
        if x.ndim == 1:
            raise bad(path, f"has x of shape {x.shape} and no lengths, which say where sequences"
                      f" end: {SAVE}")
        return list(_floats(path, "x", x if x.ndim == 3 else x[:, :, None]))
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise bad(path, f"has lengths of shape {lengths.shape} and dtype {lengths.dtype}; a whole"
                  " number for each sequence is wanted")
    lengths = [int(each) for each in lengths]
    if not all(each > 0 for each in lengths):
        raise bad(path, f"has a length of {min(lengths)}; every sequence has a step at least")
    is_padded = x.ndim > 1 and len(x) == len(lengths) and max(lengths, default=0) <= x.shape[1]
    if is_padded:
        whole = _floats(path, "x", x if x.ndim == 3 else x[:, :, None], lengths)
        return [each[:length] for each, length in zip(whole, lengths, strict=True)]
    if x.ndim < 3 and sum(lengths) == len(x):
        whole = _floats(path, "x", x if x.ndim == 2 else x[:, None])
        return np.split(whole, np.cumsum(lengths)[:-1])
    hint = ""
    if x.ndim == 3 and x.shape[1] == len(lengths):
        hint = "; if its batch comes second, as crnn.pad has it, save x.swapaxes(0, 1)"
    raise bad(path, f"has x of shape {x.shape} and {len(lengths)} lengths up to"
              f" {max(lengths, default=0)}, {sum(lengths)} together, which do not fit{hint}")


def _floats(path, name, array, lengths=None):
    """Return an array as floats, all of them finite or NaN within the lengths."""
    if array.dtype.kind == "U":
        raise bad(path, f"has {name} of strings; numbers are wanted")
    if not array.size:
        raise bad(path, f"has {name} of shape {array.shape}, without a number")
    is_float = array.dtype.kind == "f" and array.dtype.itemsize in (4, 8)
    floats = array.astype(array.dtype.newbyteorder("=") if is_float else np.float64)
    infinite = np.isinf(floats)
    if lengths is not None:
        infinite[np.arange(array.shape[1]) >= np.array(lengths)[:, None]] = False
    if infinite.any():
        place = tuple(int(each) for each in np.argwhere(infinite)[0])
        raise bad(path, f"has an infinite number in {name} at {place}; what is missing is NaN")
    return floats


def _checked_labels(path, labels, count):
    if labels.shape != (count,):
        raise bad(path, f"has labels of shape {labels.shape} for {count} sequences; one for each is"
                  " wanted")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise bad(path, "has labels that are not finite")
    return labels.astype(labels.dtype.newbyteorder("="))
