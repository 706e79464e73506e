"""Files of data in an empty folder: what the tests of their readers share."""

import pytest

import crnn


@pytest.fixture
def written(tmp_path):
    """Write a file, of text or bytes, and return its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read_as(written):
    """Write a file and read it."""

    def read(name, content, **options):
        return crnn.data.read(written(name, content), **options)

    return read


@pytest.fixture
def refused(written):
    """Write a file, and return the message that reading it is refused with, without the path."""

    def message(name, content, error=crnn.FormatError, **options):
        path = written(name, content)
        with pytest.raises(error) as caught:
            crnn.data.read(path, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(repr(str(path)), "FILE").replace(str(path), "FILE")

    return message
