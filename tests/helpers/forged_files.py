"""Good files and forged ones: what the tests of files share.

The checksum stops every careless mutant, so files that are wrong *behind* it are forged here with a
right one (`sealed`, `forged`).
"""

import hashlib
import json
import os

import numpy as np
import pytest
from hypothesis import strategies as st

from crnn.files import container
from crnn.files.disk import FormatError

ZEROS = "0" * 64
OWN = {"format": "crnn 1", "sha256": ZEROS}
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file system")
texts = st.text(max_size=8)


def small_file(path):
    """A file with both dtypes, odd shapes and nested JSON; returns what is in it."""
    tensors = {
        "W": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5,
        "b": np.array(-0.0),
        "none": np.empty((0, 3), np.float32),
    }
    metadata = {"config": json.dumps({"sha256": ZEROS, "n": [1, 2]}), "é": "naïve\n"}
    container.write(path, tensors, metadata)
    return tensors, metadata


def sealed(header, body=b""):
    """A file from header text and data, with a right checksum if the header has a place for it."""
    if isinstance(header, str):
        header = header.encode()
    raw = len(header).to_bytes(8, "little") + header + body
    return raw.replace(ZEROS.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)


def forged(entries, body=b"", metadata=OWN):
    """A sealed file from a header's entries."""
    text = json.dumps({"__metadata__": metadata} | entries, separators=(",", ":"))
    return sealed(text, body)


def entry(shape=(2,), offsets=(0, 8), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)} | more


def assert_refused(path, content, message=None):
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        container.read(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 3000 + len(str(path))


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert found[name].dtype == native.dtype
        assert found[name].dtype.isnative
        assert found[name].shape == array.shape
        assert found[name].tobytes() == native.tobytes(), name


def temporaries(folder):
    return [path for path in folder.iterdir() if path.name.endswith(".tmp")]
