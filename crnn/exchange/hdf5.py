"""HDF5 files, read as far as Keras writes them: groups, texts as attributes, arrays of floats.

HDF5 1.6's format, which h5py writes unless it is told otherwise ("HDF5 File Format Specification",
superblock 0, object headers 1). Newer forms are refused, and so are compressed arrays, arrays in
other files, and links: no more is read, or takes memory, than lies in the file, each array once.
HDF5's own library is not used: a damaged file can have it wait for ever, or crash.
"""

import functools
import math
import struct

import numpy as np

from crnn.files.disk import bad

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = 2**64 - 1  # the address of what is nowhere
MOST_DIMENSIONS = 32
SPACE, TYPE, LINK_INFO, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, TABLE = (
    0x1, 0x3, 0x2, 0x6, 0x7, 0x8, 0xB, 0xC, 0x10, 0x11)  # kinds of messages
FLOATING, FIXED_TEXT, VARIABLE = 1, 3, 9  # kinds of types
FLOATS = {  # by offset, bits, place and bits of the exponent and of the mantissa, and the bias
    (0, 16, 10, 5, 0, 10, 15): "f2", (0, 32, 23, 8, 0, 23, 127): "f4",
    (0, 64, 52, 11, 0, 52, 1023): "f8",
}
LINKED = 2  # what a symbol's cache says of a link by a path
STEP = 64  # what a look into the file costs, in bytes


class Hdf5File:
    """An HDF5 file of which no more is believed than lies in it.

    Groups and arrays are called by their addresses; `root` is that of the first group.

    Parameters
    ----------
    path : str or os.PathLike
        For messages.
    file : binary file
    size : int
        Its bytes.

    Raises
    ------
    FormatError
        It is damaged, or in a form that is not read here; so do all methods.
    """

    def __init__(self, path, file, size):
        self.path, self._file, self._size = path, file, size
        self._work, self._left = 4 * size + 2**22, size
        for each in ("_messages", "_members", "_attributes", "_heap"):
            setattr(self, each, functools.cache(getattr(self, each)))
        head = self._bytes(0, 96)
        if not head.startswith(SIGNATURE):
            raise self._damaged("does not begin as one")
        base, _, end, _, _, self.root = self._unpacked("6Q", head, 24)
        if head[8] != 0 or head[13:15] != b"\x08\x08" or base != 0:
            raise self._newer()
        if end > size:
            raise bad(path, f"is cut off: it has {size} bytes of {end}")

    def has(self, node, name):
        """Whether a group has an attribute."""
        return name in self._attributes(node)

    def text(self, node, name):
        """Return an attribute that is one text."""
        dimensions, texts = self._texts(node, name)
        if dimensions != () or len(texts) != 1:
            raise bad(self.path, f"has no text as {name}")
        return texts[0]

    def texts(self, node, name):
        """Return an attribute that is a list of texts, or is cut into name0, name1 and so on."""
        if not self.has(node, name) and self.has(node, f"{name}0"):
            parts = [f"{name}{number}" for number in range(len(self._attributes(node)))]
            return [text for each in parts if self.has(node, each)
                    for text in self.texts(node, each)]
        dimensions, texts = self._texts(node, name)
        if dimensions is None or len(dimensions) != 1:
            raise bad(self.path, f"has no list of texts as {name}")
        return texts

    def names(self, node):
        """Return the names in a group."""
        return list(self._members(node))

    def child(self, node, name, is_optional=False):
        """Return what lies in a group under a name, which may go through groups by slashes.

        None if there is nothing and that is_optional.
        """
        for part in filter(None, name.split("/")):
            members = self._members(node)
            if part not in members:
                if is_optional:
                    return None
                raise bad(self.path, f"has nothing where {name!r} should be")
            node = members[part]
            if node is None:
                raise bad(self.path, f"has a link where {name!r} should be; save the model anew")
        return node

    def array(self, node, name):
        """Return an array of floats, in the byte order of the machine."""
        node = self.child(node, name)
        if self._has(node, FILTERS):
            raise bad(self.path, f"has {name!r} compressed; have Keras load the model and save it")
        if self._has(node, EXTERNAL):
            raise bad(self.path, f"has {name!r} in another file; save the model as one file")
        dimensions = self._dimensions(self._message(node, SPACE))
        dtype = self._float_type(self._message(node, TYPE), name)
        if dimensions is None:
            raise bad(self.path, f"has nothing in {name!r}")
        size = math.prod(dimensions) * dtype.itemsize
        if size > self._left:  # many names of one array could fill the memory
            raise bad(self.path, f"does not hold the {size} bytes of {name!r}, {dimensions}")
        self._left -= size
        data = self._data(self._message(node, LAYOUT), size, name)
        array = np.frombuffer(data, dtype).reshape(dimensions)
        return array.astype(dtype.newbyteorder("="))

    # ---- bytes

    def _damaged(self, what):
        return bad(self.path, f"is damaged, or not a file of Keras's: it {what}")

    def _newer(self):
        return bad(self.path, "is in a form of HDF5 that Keras does not write; have Keras load the"
                   " model and save it")

    def _charge(self, cost):
        """Count work, so that what is in circles comes to an end."""
        self._work -= STEP + cost
        if self._work < 0:
            raise self._damaged("goes in circles")

    def _bytes(self, address, length):
        if address + length > self._size:
            raise self._damaged("points beyond its end")
        self._charge(length)
        self._file.seek(address)
        data = self._file.read(length)
        if len(data) < length:
            raise self._damaged("has become shorter")
        return data

    def _unpacked(self, form, data, offset=0):
        """Return numbers in little order from bytes."""
        try:
            return struct.unpack_from("<" + form, data, offset)
        except struct.error:
            raise self._damaged("ends within a number") from None

    # ---- objects, which have messages

    def _messages(self, node):
        """The messages of an object, a list of kind, flags and data."""
        head = self._bytes(node, 16)
        version, _, count, _, length = self._unpacked("BBHII", head)
        if version != 1:
            raise self._newer() if head.startswith(b"OHDR") else self._damaged("has no object")
        found, blocks = [], [(node + 16, length)]
        while blocks and len(found) < count:
            block, place = self._bytes(*blocks.pop(0)), 0
            while place + 8 <= len(block) and len(found) < count:
                kind, size, flags = self._unpacked("HHB", block, place)
                data = block[place + 8 : place + 8 + size]
                if kind == CONTINUATION:
                    blocks.append(self._unpacked("QQ", data))
                found.append((kind, flags, data))
                place += 8 + size
        return found

    def _has(self, node, wanted):
        return any(kind == wanted for kind, _, _ in self._messages(node))

    def _message(self, node, wanted):
        for kind, flags, data in self._messages(node):
            if kind == wanted:
                if flags & 2:
                    raise self._newer()  # it is kept elsewhere
                return data
        if self._has(node, LINK_INFO) or self._has(node, LINK):
            raise self._newer()
        raise self._damaged("has an object of another kind than it should")

    # ---- groups

    def _members(self, node):
        """The addresses of objects by their names; None for a link."""
        tree, heap = self._unpacked("QQ", self._message(node, TABLE))
        head = self._bytes(heap, 32)
        if not head.startswith(b"HEAP"):
            raise self._damaged("has no names in a group")
        size, _, address = self._unpacked("QQQ", head, 8)
        names, found = self._bytes(address, size), {}
        for offset, address, cache in self._symbols(tree, None, set()):
            end = names.find(b"\0", offset)
            if end < 0:
                raise self._damaged("has a name without an end")
            self._charge(end - offset)
            name = self._decoded(names[offset:end])
            if name in found:
                raise self._damaged("has a name twice in a group")
            found[name] = None if cache == LINKED else address
        return found

    def _symbols(self, address, level, seen):
        """Yield the entries of a tree: offset of the name, address, kind of cache."""
        self._check_new(address, seen)
        head = self._bytes(address, 24)
        kind, own, used = self._unpacked("BBH", head, 4)
        if not head.startswith(b"TREE") or kind != 0 or level not in (None, own):
            raise self._damaged("has no tree of a group")
        children = self._bytes(address + 24, 16 * used + 8)
        for number in range(used):
            child, = self._unpacked("Q", children, 16 * number + 8)
            if own:
                yield from self._symbols(child, own - 1, seen)
            else:
                yield from self._leaf(child, seen)

    def _leaf(self, address, seen):
        self._check_new(address, seen)
        head = self._bytes(address, 8)
        if not head.startswith(b"SNOD"):
            raise self._damaged("has no entries of a group")
        count, = self._unpacked("H", head, 6)
        entries = self._bytes(address + 8, 40 * count)
        for number in range(count):
            yield self._unpacked("QQI", entries, 40 * number)

    def _check_new(self, address, seen):
        if address in seen:
            raise self._damaged("goes in circles")
        seen.add(address)

    # ---- attributes

    def _attributes(self, node):
        """The type, the dimensions and the data of attributes by their names."""
        found = {}
        for kind, flags, message in self._messages(node):
            if kind != ATTRIBUTE:
                continue
            version, shared, *sizes = self._unpacked("BBHHH", message)
            if flags & 2 or version not in (1, 2, 3) or (version > 1 and shared & 3):
                raise self._newer()
            unit, place, parts = 8 if version == 1 else 1, 9 if version == 3 else 8, []
            for size in sizes:
                parts.append(message[place : place + size])
                place += -(-size // unit) * unit
            name = self._decoded(parts[0].partition(b"\0")[0])
            found[name] = parts[1], parts[2], message[place:]
        return found

    def _texts(self, node, name):
        """The dimensions of an attribute and its texts in a list."""
        if not self.has(node, name):
            raise bad(self.path, f"has no {name}")
        kind, space, data = self._attributes(node)[name]
        dimensions = self._dimensions(space)
        count = 0 if dimensions is None else math.prod(dimensions)
        if not count:
            return dimensions, []
        first, flags, _, _, size = self._unpacked("BBBBI", kind)
        is_variable = first & 15 == VARIABLE and flags & 15 == 1
        if size * count > len(data) or not size or not (
                (is_variable and size == 16) or first & 15 == FIXED_TEXT):
            raise bad(self.path, f"has no texts as {name}")
        pieces = [data[place : place + size] for place in range(0, size * count, size)]
        if is_variable:
            return dimensions, [self._variable(each) for each in pieces]
        return dimensions, [self._decoded(each.rstrip(b"\0 ")) for each in pieces]

    def _variable(self, reference):
        """The text that lies in a heap."""
        length, address, index = self._unpacked("IQI", reference)
        if not length:
            return ""
        place, size = self._heap(address).get(index, (0, 0))
        if length > size:
            raise self._damaged("has no text where one should be")
        return self._decoded(self._bytes(place, length).rstrip(b"\0"))

    def _heap(self, address):
        """Where the objects of a heap lie, and their sizes, by their numbers."""
        head = self._bytes(address, 16)
        size, = self._unpacked("Q", head, 8)
        if not head.startswith(b"GCOL"):
            raise self._damaged("has no heap where one should be")
        heap, place, found = self._bytes(address, size), 16, {}
        while place + 16 <= size:
            self._charge(0)
            index, _, _, length = self._unpacked("HHIQ", heap, place)
            if not index or length > size - place - 16:
                break  # the rest is free
            found[index] = address + place + 16, length
            place += 16 + -(-length // 8) * 8
        return found

    def _decoded(self, data):
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._damaged("has a text that is not UTF-8") from None

    # ---- arrays

    def _dimensions(self, space):
        """The dimensions of an array; None if there is none at all."""
        version, rank, _, kind = self._unpacked("BBBB", space)
        if version not in (1, 2) or rank > MOST_DIMENSIONS:
            raise self._damaged("has an array of a form that there is not")
        if version == 2 and kind == 2:
            return None
        return self._unpacked(f"{rank}Q", space, 8 if version == 1 else 4)

    def _float_type(self, kind, name):
        first, flags, sign, _, size = self._unpacked("BBBBI", kind)
        if first & 15 == FLOATING:
            layout = self._unpacked("HHBBBBI", kind, 8)
            dtype = FLOATS.get(layout)
            # one of two orders of bytes, a mantissa that begins with 1, and where the sign is
            is_usual = flags & 0x70 == 0x20 and sign == layout[1] - 1 and size == layout[1] // 8
            if dtype is not None and is_usual:
                return np.dtype("<>"[flags & 1] + dtype)
        raise bad(self.path, f"has no floats of 16, 32 or 64 bits in {name!r}: save the model"
                  " without quantisation")

    def _data(self, layout, size, name):
        version, kind = self._unpacked("BB", layout)
        if version != 3:
            raise self._newer()
        if kind == 0:
            length, = self._unpacked("H", layout, 2)
            data = layout[4 : 4 + length]
        elif kind == 1:
            address, length = self._unpacked("QQ", layout, 2)
            data = self._bytes(address, size) if size else b""
        else:
            raise bad(self.path, f"has {name!r} in pieces; have Keras load the model and save it")
        if len(data) != size or length != size:
            raise bad(self.path, f"does not hold the {size} bytes of {name!r}")
        return data
