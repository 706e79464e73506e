"""Other programs' safetensors files."""

import os

from crnn.exchange.tensors import ITEMSIZES, numbers
from crnn.files import container
from crnn.files.disk import bad, opened


def read(path):
    """Return the arrays in a safetensors file by name, in the order of the file.

    The header is held against the file's size, and each entry against the header's, before the
    tensors are read.

    Raises
    ------
    FormatError
        It is not whole, has numbers of a kind that NumPy lacks, or is a file of crnn's own.
    OSError
        It cannot be opened.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(container.MAX_HEADER, size - 8):
            raise bad(path, f"is cut off or no safetensors file: {size} bytes, with a header of"
                      f" {length}")
        text, body = file.read(length), file.read(size - 8 - length)
    try:
        header = container.read_json(path, text.decode(), "header")
    except UnicodeDecodeError as error:
        raise bad(path, f"has a bad header, not UTF-8: {error}") from None
    if not isinstance(header, dict):
        raise bad(path, "is no safetensors file: its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if isinstance(metadata, dict) and str(metadata.get("format")).startswith("crnn "):
        raise bad(path, "is a file of crnn's own, which crnn.load reads")
    spans = container.spans(path, header, len(body), ITEMSIZES)
    return {name: numbers(body[begin:end], header[name]["dtype"]).reshape(header[name]["shape"])
            for name, (begin, end) in spans.items()}
