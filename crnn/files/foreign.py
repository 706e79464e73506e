"""What a file that is not crnn's may be, by how it begins."""

BEGINNINGS = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive, as .npz, .keras and PyTorch's .pt files are: see"
     " crnn.from_keras, crnn.from_torch"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file, as Keras's .h5 files are, which crnn.from_keras reads"),
    (b"\x93NUMPY", "an array of NumPy's, .npy"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program"),
    (b"SQLite format", "a database"),
    (b"\xff\xfe", "a text in UTF-16"),
    (b"\xfe\xff", "a text in UTF-16"),
    *((bytes([0x80, protocol]), "a pickle") for protocol in range(2, 6)),
)
ONNX_VERSION, ONNX_PRODUCER = 0x08, 0x12  # the tags that begin its first two fields


def looks_like(start: bytes) -> str | None:
    """Return what a file looks like that begins with these bytes, some hundred; None: like nothing.

    Examples
    --------
    >>> looks_like(b"Once upon a time")
    'a text'
    """
    for beginning, name in BEGINNINGS:
        if start.startswith(beginning):
            return name
    if start[:1] == bytes([ONNX_VERSION]) and start[2:3] == bytes([ONNX_PRODUCER]):
        return "an ONNX model, which crnn.from_onnx reads"
    text = start.decode(errors="ignore")  # at whose end a character may be cut through
    is_text = len(text.encode()) > len(start) - 4
    if is_text and all(each.isprintable() or each.isspace() for each in text):
        return "a text"
    return None
