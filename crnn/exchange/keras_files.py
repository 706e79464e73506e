"""Keras's files: a configuration, and arrays by layer.

A ``.h5`` is an HDF5 file with the configuration as JSON in an attribute and a group for each layer,
whose attribute ``weight_names`` has the arrays' order. A ``.keras`` is a zip archive of
``config.json``, ``metadata.json`` and ``model.weights.h5``, in which layers are groups that are
named by their class and counted: lstm, lstm_1.

Nothing in a file is run or followed: no class is looked up by its name, and nothing is read, or
takes memory, but what lies in the file.
"""

import contextlib
import io
import itertools
import os
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from crnn.exchange.hdf5 import SIGNATURE, Hdf5File
from crnn.files.container import read_json
from crnn.files.disk import bad, opened
from crnn.files.foreign import looks_like

ZIP = b"PK\x03\x04"
MOST_EXPANSION = 20  # what is deflated in an archive may be so many times the whole archive
PLACES = (  # in a .keras, where a layer's own arrays lie in its group, in the order of its weights
    "", "cell", "layer", "forward_layer/cell", "layer/cell", "backward_layer/cell",
)
OLDER = "_layer_checkpoint_dependencies"  # where Keras 2.12 has the groups of layers
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of compression; Keras stores
DAMAGE = (  # what zipfile raises about an archive that is not whole, or has a password
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error,
)


class SavedModel(NamedTuple):
    """What is in a file, while it is open.

    Attributes
    ----------
    config : dict
        As Keras has it: ``class_name`` and ``config``. Nothing in it has been checked.
    version : str or None
        Of Keras, if the file says so.
    arrays : callable
        Returns the arrays of the layer of a name, in the order of its ``get_weights``.
    """

    config: dict
    version: str | None
    arrays: Callable


@contextlib.contextmanager
def opened_model(path):
    """Open a file of Keras's; yield a `SavedModel`.

    Raises
    ------
    FormatError
        It is no such file, or a damaged one.
    OSError
        It cannot be opened.
    """
    with opened(path) as file, contextlib.ExitStack() as stack:
        size = os.fstat(file.fileno()).st_size
        start = file.read(500)
        file.seek(0)
        if start.startswith(SIGNATURE):
            yield _of_h5(Hdf5File(path, file, size))
        elif start.startswith(ZIP):
            yield _of_archive(path, file, size, stack)
        else:
            kind = looks_like(start)
            hint = "" if kind is None else f": it looks like {kind}"
            raise bad(path, f"is neither a .h5 nor a .keras of Keras's{hint}")


def weights(path, kinds):
    """Return the arrays of a file with weights alone, of one layer after the other.

    Parameters
    ----------
    path : str or os.PathLike
        As ``model.save_weights`` wrote it, in the way of Keras 2 or of Keras 3.
    kinds : list of str
        The classes of Keras's layers that have weights, in their order.

    Raises
    ------
    FormatError, OSError
        As `opened_model`.
    """
    with opened(path) as file:
        file = Hdf5File(path, file, os.fstat(file.fileno()).st_size)
        if file.has(file.root, "model_config"):
            raise bad(path, "is a whole model, which says what its layers are: leave out layers, or"
                      " name those that are to be taken")
        if file.has(file.root, "layer_names"):
            groups = [file.child(file.root, name) for name in file.texts(file.root, "layer_names")]
            return [array for group in groups for array in _named_arrays(file, group)]
        groups = _groups(file, [(kind, number) for number, kind in enumerate(kinds)])
        return [array for number in range(len(kinds)) if number in groups
                for array in _placed_arrays(file, groups[number])]


def _of_h5(file):
    if not file.has(file.root, "model_config"):
        raise bad(file.path, "has weights alone: save the whole model by model.save, or say what"
                  " the layers are, as in layers=[crnn.layers.LSTM(32), crnn.layers.Dense(1)]")
    config = read_json(file.path, file.text(file.root, "model_config"), "configuration")
    has_version = file.has(file.root, "keras_version")
    version = file.text(file.root, "keras_version") if has_version else None
    parent = file.child(file.root, "model_weights")
    present = set(file.texts(parent, "layer_names"))

    def arrays(name):
        if name not in present:
            raise bad(file.path, f"has no weights of the layer {name!r}")
        return _named_arrays(file, file.child(parent, name))

    return SavedModel(config, version, arrays)


def _named_arrays(file, group):
    """The arrays of a layer in a .h5."""
    return [file.array(group, name) for name in file.texts(group, "weight_names")]


def _placed_arrays(file, group):
    """The arrays of a layer in a .keras."""
    places = (file.child(group, f"{place}/vars", is_optional=True) for place in PLACES)
    return [file.array(each, str(number)) for each in places if each is not None
            for number in range(len(file.names(each)))]


def _of_archive(path, file, size, stack):
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
    except DAMAGE as error:
        raise bad(path, f"is damaged, or no .keras: {error}") from None
    config, metadata = (
        read_json(path, _entry(path, archive, name, size).decode(errors="replace"), what)
        for name, what in (("config.json", "configuration"), ("metadata.json", "account of itself"))
    )
    data = _entry(path, archive, "model.weights.h5", size)
    # closing it lets go of the bytes, which the network is not to find in memory beside it
    file = Hdf5File(path, stack.enter_context(io.BytesIO(data)), len(data))
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    groups = _groups(file, _named_layers(config))

    def arrays(name):
        if name not in groups:
            raise bad(path, f"has no weights of the layer {name!r}")
        return _placed_arrays(file, groups[name])

    return SavedModel(config, version if isinstance(version, str) else None, arrays)


def _entry(path, archive, name, size):
    """The bytes of a member of an archive."""
    members = archive.infolist()
    found = [each for each in members if each.filename == name]
    if len(found) != 1:
        is_torch = any(each.filename.endswith("data.pkl") for each in members)
        hint = "; it looks like a file of PyTorch's" if is_torch else ""
        raise bad(path, f"is no .keras: it has {len(found)} members {name!r}{hint}")
    if found[0].file_size > MOST_EXPANSION * size or found[0].compress_type not in METHODS:
        raise bad(path, f"has {name!r} compressed in a way that Keras does not write")
    if found[0].compress_size > size:  # zipfile would take as much memory before it reads
        raise bad(path, f"has a damaged {name!r}: it is longer than the file")
    try:
        return archive.read(found[0])
    except DAMAGE as error:
        raise bad(path, f"has a damaged {name!r}: {error}") from None


def _groups(file, layers):
    """The groups of layers, of which the class and the name are given, by name.

    They are found by class and count. A name that is no text is not compared with that in the file.
    """
    parent = file.child(file.root, "layers", is_optional=True)
    if parent is None:
        parent, numbers = file.child(file.root, OLDER), _counts(file, OLDER)
    else:
        numbers = defaultdict(itertools.count)  # 0, 1, 2 of each class
    present, found = set(file.names(parent)), {}
    for kind, name in layers:
        stem = snake_case(kind)
        count = next(numbers[stem], None)
        wanted = stem if count == 0 else f"{stem}_{count}"
        if wanted in present:
            found[name] = file.child(parent, wanted)
            own = file.child(found[name], "vars", is_optional=True)
            is_named = own is not None and file.has(own, "name") and isinstance(name, str)
            if is_named and file.text(own, "name") != name:
                raise bad(file.path, f"has the weights of {file.text(own, 'name')!r} where those"
                          f" of {name!r} should be")
    return found


def _counts(file, root):
    """The counts of each class that are there, iterators by its name: Keras 2.12 left some out."""
    found = defaultdict(list)
    for name in file.names(file.child(file.root, root)):
        stem, count = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", name, re.DOTALL).groups()
        found[stem].append(int(count or 0))
    return defaultdict(lambda: iter(()), {stem: iter(sorted(counts))
                                          for stem, counts in found.items()})


def _named_layers(config):
    """The classes and names of a model's layers that have both."""
    found = []
    match config:
        case {"config": {"layers": [*entries]}} | {"config": [*entries]}:
            for entry in entries:
                match entry:
                    case {"class_name": str(kind), "config": {"name": str(name)}}:
                        found.append((kind, name))
    return found


def snake_case(name):
    """Return the name of a class as Keras writes it in small letters.

    Examples
    --------
    >>> snake_case("SimpleRNN"), snake_case("LSTM"), snake_case("TimeDistributed")
    ('simple_rnn', 'lstm', 'time_distributed')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
