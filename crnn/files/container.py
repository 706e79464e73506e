"""The format of model files and checkpoints; it knows nothing about networks.

A crnn file is a safetensors file: 8 bytes with the length of the header, the header in JSON, the
raw tensors. crnn adds to the header's metadata ``"format": "crnn 1"``, or ``"crnn 2"`` where there
are tensors of bfloat16 or int8, which it could not always read; and ``"sha256"``, the SHA-256 of
the whole file with zeros for its own 64 digits: safetensors has no checksum, so most flipped bits
would load without a word as another network.

Nothing in a file is run or followed: no pickle, no eval, no names of code or of other files.
The checksum finds accidents, not malice: everything else is checked as if there were no checksum.
"""

import hashlib
import json
import math
import os
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from crnn.files.disk import FormatError, PathLike, bad, opened, write_bytes
from crnn.files.foreign import looks_like

_FORMAT = "crnn 1"
_NEWER = "crnn 2"  # with weights of fewer bits
_ZEROS = "0" * 64
_ITEMSIZE = {"F32": 4, "F64": 8, "BF16": 2, "I8": 1}
MAX_HEADER = 100_000_000  # safetensors' own limit
_MAX_DIMENSIONS = 64  # NumPy's own limit

_short = reprlib.Repr()  # error messages stay short even if a name in a bad file is 100 MB long
_short.maxlist, _short.maxstring = 50, 100


def write(path: PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and texts as one crnn file, atomically; the same ones give the same bytes.

    Parameters
    ----------
    path : str or os.PathLike
    tensors : mapping of str to numpy.ndarray
        float32 or float64, in any shape, memory order and byte order; or int8; or uint16, the bits
        of bfloat16, for which NumPy has no dtype.
    metadata : mapping of str to str
        Without the keys ``"format"`` and ``"sha256"``.

    Raises
    ------
    TypeError
        Tensors of another kind, or metadata that do not map str to str.
    ValueError
        A name that the format keeps for itself, or names and metadata above 100 MB.
    OSError, FormatError
        See `write_bytes`.
    """
    for key, text in metadata.items():
        if not (isinstance(key, str) and isinstance(text, str)):
            raise TypeError(f"metadata must map str to str, not {key!r} to {_short.repr(text)}")
        if key in ("format", "sha256"):
            raise ValueError(f"the metadata key {key!r} is the file format's own; use another")
    _reserve(3 * sum(each.nbytes for each in tensors.values() if isinstance(each, np.ndarray)))
    data = safetensors.numpy.save({name: _plain(name, array) for name, array in tensors.items()})
    end = 8 + int.from_bytes(data[:8], "little")
    entries = _renamed(json.loads(data[8:end]), "U16", "BF16")
    write_bytes(path, _sealed(_header(entries, metadata), data[end:]))


def _renamed(entries: dict[str, Any], dtype: str, other: str) -> dict[str, Any]:
    """The entries of tensors, with another name for a dtype."""
    return {name: each | {"dtype": other} if each["dtype"] == dtype else each
            for name, each in entries.items()}


def write_tensors(path: PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a plain safetensors file, which is none of crnn's, for other programs."""
    write_bytes(path, safetensors.numpy.save(dict(tensors)))


def _reserve(size: int) -> None:
    """Raise MemoryError if there is no room for so many bytes, where safetensors would crash."""
    np.empty(size, np.uint8)


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    """The array in C order and native bytes, as safetensors wants it."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"tensor {name!r} must be a NumPy array, not {type(array).__name__}")
    native = array.dtype.newbyteorder("=")
    if native not in (np.float32, np.float64, np.uint16, np.int8):
        raise TypeError(f"tensor {name!r} is {array.dtype}; convert it to float32 or float64")
    return np.asarray(array, dtype=native, order="C")  # ascontiguousarray makes 0-d arrays 1-d


def _header(entries: dict[str, Any], metadata: Mapping[str, str]) -> bytes:
    """The header with the metadata, which the library itself would write in a random order."""
    is_newer = any(each["dtype"] in ("BF16", "I8") for each in entries.values())
    own = {"format": _NEWER if is_newer else _FORMAT, "sha256": _ZEROS}
    header = {"__metadata__": own | dict(metadata)} | entries
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors stay aligned
    if len(text) > MAX_HEADER:
        raise ValueError(f"names and metadata take {len(text)} bytes of at most {MAX_HEADER}")
    return text


def _sealed(header: bytes, body: bytes) -> bytes:
    """The bytes of the file, with the checksum in its place."""
    if header.count(_seal(_ZEROS)) != 1:
        raise ValueError(
            "a tensor named '__metadata__' or a metadata key that ends in '\"sha256' "
            "hides the checksum; use another name"
        )
    head = len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(head + body).hexdigest()
    return head.replace(_seal(_ZEROS), _seal(digest)) + body


def _seal(digest: str) -> bytes:
    """The checksum as the header holds it.

    No text in a header contains these bytes, since JSON puts a backslash before quotes in texts;
    only a key that ends in ``"sha256`` does, hence the counting.
    """
    return f'"sha256":"{digest}"'.encode(errors="replace")


def read(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a file that `write` made, checking every byte of it before believing any.

    Returns
    -------
    tensors : dict of str to numpy.ndarray
        Writable arrays that own their memory. Their names and shapes are for the caller to check.
    metadata : dict of str to str
        As given to `write`.

    Raises
    ------
    FormatError
        Not an undamaged crnn file; also a FIFO, socket or device, refused without waiting for it.
    OSError
        It cannot be opened: FileNotFoundError, IsADirectoryError, PermissionError and others.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = _read_head(path, file, size)
        header = _parse_header(path, head[8:])
        metadata = _pop_metadata(path, header)
        body = file.read(size - len(head))  # takes memory only once it is known to be a crnn file
    _check_digest(path, head, body, metadata.pop("sha256", ""))
    spans(path, header, len(body), _ITEMSIZE)
    _reserve(4 * size)
    try:
        entries = json.dumps(_renamed(header, "BF16", "U16")).encode()
        tensors = safetensors.numpy.load(len(entries).to_bytes(8, "little") + entries + body)
    except (safetensors.SafetensorError, ValueError) as error:  # ValueError: shapes beyond NumPy
        raise bad(path, f"cannot be loaded: {error}") from None
    return {name: tensors[name].copy() for name in header}, metadata


def check_kind(path: PathLike) -> None:
    """Refuse a file that does not begin as one that `write` made, whatever else it holds.

    Raises
    ------
    FormatError, OSError
        As `read`.
    """
    with opened(path) as file:
        head = _read_head(path, file, os.fstat(file.fileno()).st_size)
    _pop_metadata(path, _parse_header(path, head[8:]))


def is_own(path: PathLike) -> bool:
    """Return whether a file begins as one that `write` made; OSError if it cannot be read."""
    try:
        check_kind(path)
    except FormatError:
        return False
    return True


def _read_head(path: PathLike, file: BinaryIO, size: int) -> bytes:
    """The length of the header and the header, the length held against the file's size first."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8:
        raise bad(path, f"is not a crnn file: {len(prefix)} bytes are too few")
    if length > min(MAX_HEADER, size - 8):
        start = prefix + file.read(500)
        if not start.startswith(b"{", 8):
            raise _foreign(path, start)
        raise bad(path, f"is cut off or not a crnn file: {size} bytes, with a header of {length}")
    return prefix + file.read(length)


def _foreign(path: PathLike, start: bytes) -> FormatError:
    kind = looks_like(start)
    hint = "" if kind is None else f": it looks like {kind}"
    return bad(path, "is not a crnn file, which are safetensors files" + hint)


def _parse_header(path: PathLike, text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise bad(path, "is not a crnn file: its header is not a JSON object")
    try:
        header: dict[str, Any] = read_json(path, text.decode(), "header")
    except UnicodeDecodeError as error:
        raise bad(path, f"has a bad header, not UTF-8: {error}") from None
    return header


def _pop_metadata(path: PathLike, header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise bad(path, "has bad metadata: they must map texts to texts")
    version = metadata.pop("format", "")
    if version in (_FORMAT, _NEWER):
        return metadata
    if version.startswith("crnn "):
        raise bad(
            path,
            f"was made by a newer crnn (its format is {_short.repr(version)}, this "
            f"crnn reads {_NEWER!r}); upgrade crnn",
        )
    raise bad(path, "is not a crnn file: it looks like a safetensors file of another program, as"
              " its metadata name no crnn format")


def _check_digest(path: PathLike, head: bytes, body: bytes, digest: str) -> None:
    # One replacement is enough: of what else the header says, nothing can contain its own hash.
    unsealed = head.replace(_seal(digest), _seal(_ZEROS), 1) + body
    if hashlib.sha256(unsealed).hexdigest() != digest:
        raise bad(path, "is damaged: its content does not match its SHA-256; use another copy")


def spans(
    path: PathLike, header: dict[str, Any], size: int, itemsizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Return where the data of each tensor of a safetensors header begin and end.

    Parameters
    ----------
    path : str or os.PathLike
    header : dict
        Without its metadata.
    size : int
        Bytes of all data, which the tensors must cover without hole or overlap.
    itemsizes : mapping of str to int
        Bytes of a number of each dtype that may come.

    Raises
    ------
    FormatError
        A tensor's entry is not right in itself, or the entries together are not.
    """
    found = {name: _span(path, name, entry, itemsizes) for name, entry in header.items()}
    end = 0
    for (begin, next_end), name in sorted((span, name) for name, span in found.items()):
        if begin != end:
            raise bad(path, f"has a hole or an overlap before tensor {_short.repr(name)}")
        end = next_end
    if end != size:
        raise bad(path, f"holds {size} bytes of data where its tensors take {end}")
    return found


def _span(
    path: PathLike, name: str, entry: Any, itemsizes: Mapping[str, int]
) -> tuple[int, int]:
    """Where a tensor's data begin and end, if its header entry is right in itself."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            sizes = (*shape, begin, end)
            if (
                len(entry) == 3
                and dtype in itemsizes
                and len(shape) <= _MAX_DIMENSIONS
                and all(type(size) is int and size >= 0 for size in sizes)  # True is no size
                and math.prod(shape) * itemsizes[dtype] == end - begin
            ):
                return begin, end
    raise bad(path, f"has a bad entry for tensor {_short.repr(name)}: {_short.repr(entry)}")


def check_names(path: PathLike, present: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse a file that does not hold exactly the wanted names.

    Raises
    ------
    FormatError
        Lists the missing and the unknown names.
    """
    present, wanted = set(present), set(wanted)
    differences = {"missing": sorted(wanted - present), "unknown": sorted(present - wanted)}
    found = [f"{what} {_short.repr(names)}" for what, names in differences.items() if names]
    if found:
        raise bad(path, f"does not hold the names it should: {', '.join(found)}")


def check_tensors(
    path: PathLike,
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
) -> None:
    """Refuse a file whose tensors are not exactly of these names, shapes and dtype.

    Raises
    ------
    FormatError
        Says which tensor differs and how.
    """
    check_names(path, tensors, shapes)
    for name, shape in shapes.items():
        found = tensors[name]
        if found.shape != tuple(shape) or found.dtype != dtype:
            raise bad(path, f"has {name} as {found.dtype} {found.shape}, not {dtype} {shape}")


def read_json(path: PathLike, text: str, what: str) -> Any:
    """Parse strict JSON from a file: no key twice in an object, no NaN, no infinity.

    Parameters
    ----------
    path, what : str
        The file and the part of it that the text is, for the error message.
    text : str

    Raises
    ------
    FormatError
        Not strict JSON, or nested too deep.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise bad(path, f"has a bad {what}, not strict JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:  # json, like safetensors, would let the last one win
            raise ValueError(f"key {_short.repr(key)} appears twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{_short.repr(text)} is not a finite number")
    return number
