"""Tensors in other programs' files, as NumPy's arrays."""

import numpy as np

DTYPES = {  # by what safetensors calls them; of BF16 the upper half of a float32 is there
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}
ITEMSIZES = {name: np.dtype(dtype).itemsize for name, dtype in DTYPES.items()}


def numbers(data, dtype, order="<"):
    """Return the numbers in bytes, one after the other.

    Parameters
    ----------
    data : bytes
    dtype : str
        A key of DTYPES.
    order : {"<", ">"}
        Which byte of a number comes first: its lowest or its highest.

    Returns
    -------
    ndarray
        BF16 as float32.
    """
    found = np.frombuffer(data, np.dtype(DTYPES[dtype]).newbyteorder(order))
    if dtype == "BF16":
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found
