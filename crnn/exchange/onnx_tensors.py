"""Tensors in ONNX files, as arrays: sizes are checked before memory is taken."""

import math

import numpy as np

from crnn.files.disk import FormatError

TYPES = {  # by their numbers in TensorProto.DataType: the dtype, and the field that may hold them
    1: ("<f4", "float_data"), 2: ("u1", "int32_data"), 3: ("i1", "int32_data"),
    4: ("<u2", "int32_data"), 5: ("<i2", "int32_data"), 6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"), 9: ("?", "int32_data"), 10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"), 12: ("<u4", "uint64_data"), 13: ("<u8", "uint64_data"),
    16: ("<u2", "int32_data"),
}
FLOAT16, BFLOAT16 = 10, 16


def tensor_array(tensor):
    """Return a TensorProto's numbers as an array, or None if it holds no numbers: texts, say.

    Raises
    ------
    FormatError
        If its data lie elsewhere, or are not as many as its shape says.
    """
    refuse_external(tensor)
    if tensor.data_type not in TYPES:
        return None
    dtype, field = TYPES[tensor.data_type]
    shape = tuple(tensor.dims)
    if tensor.HasField("raw_data"):
        size = len(tensor.raw_data) / np.dtype(dtype).itemsize
    else:
        size = len(getattr(tensor, field))
    if any(each < 0 for each in shape) or math.prod(shape) != size:
        raise FormatError(
            f"the tensor {tensor.name!r} has the shape {shape} and {size:g} numbers")
    if tensor.HasField("raw_data"):
        values = np.frombuffer(tensor.raw_data, dtype)
    elif tensor.data_type in (FLOAT16, BFLOAT16):  # bits, as whole numbers
        values = np.array(getattr(tensor, field), np.int64).astype("<u2").view(dtype)
    else:
        values = np.array(getattr(tensor, field)).astype(dtype)
    if tensor.data_type == BFLOAT16:
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(values.dtype.newbyteorder("=")).reshape(shape)


def refuse_external(tensor):
    """Raise FormatError if a tensor's data lie in another file."""
    if tensor.data_location or tensor.external_data:
        raise FormatError(
            f"the data of the tensor {tensor.name!r} are in another file, which crnn does not"
            " open; put all into one file: onnx.save(onnx.load(path), new_path)"
        )
