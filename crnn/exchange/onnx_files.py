"""ONNX files as messages of the package onnx, with what crnn never reads refused."""

import os

from crnn.exchange.onnx_tensors import refuse_external
from crnn.files import disk
from crnn.files.disk import FormatError
from crnn.files.foreign import looks_like

MOST_BYTES = 2**31 - 1  # of a message of protobuf
OLDEST = 7  # the operator set whose RNN, GRU and LSTM are like today's


def package():
    """Return the module onnx, or raise ImportError."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "ONNX files need the package onnx; install it with: pip install 'crnn[onnx]'"
        ) from error
    return onnx


def read_model(source):
    """Return a model's message, and what messages call it.

    Parameters
    ----------
    source : str, os.PathLike, bytes or onnx.ModelProto

    Raises
    ------
    FormatError, OSError, TypeError, ImportError
    """
    onnx = package()
    if isinstance(source, onnx.ModelProto):
        model, name = source, "the model"
    elif isinstance(source, (bytes, bytearray, memoryview)):
        model, name = _parsed(onnx, bytes(source), "the bytes"), "the bytes"
    elif isinstance(source, (str, os.PathLike)):
        name = repr(os.fsdecode(source))
        with disk.opened(source) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise FormatError(f"{name}: {size} bytes, and ONNX files have at most 2 GiB")
            model = _parsed(onnx, file.read(size), name)
    else:
        raise TypeError(
            f"a {type(source).__name__} is no ONNX model; a path, bytes or an onnx.ModelProto is"
            " wanted"
        )
    _check(model)
    return model, name


def operator_sets(message):
    """Return the versions of operators that a model or a function uses, by their domain."""
    return {each.domain.replace("ai.onnx", "", each.domain == "ai.onnx"): each.version
            for each in message.opset_import}


def _parsed(onnx, data, name):
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which the house does not import
        kind = looks_like(data[:512])
        raise FormatError(
            f"{name}: not an ONNX model" + (f" but {kind}" if kind else f" ({error})")
        ) from error
    return model


def _check(model):
    """Refuse what lies in other files, and operators from before `OLDEST`."""
    if not model.HasField("graph") or not (model.graph.node or model.graph.initializer):
        raise FormatError("not an ONNX model: there is no graph in it")
    graphs, nodes = [model.graph], [node for each in model.functions for node in each.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            for tensor in graph.initializer:
                refuse_external(tensor)
            for sparse in graph.sparse_initializer:
                refuse_external(sparse.values)
                refuse_external(sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            for tensor in [attribute.t, *attribute.tensors]:
                refuse_external(tensor)
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                refuse_external(sparse.values)
                refuse_external(sparse.indices)
            graphs += [each for each in [attribute.g, *attribute.graphs]
                       if each.node or each.initializer or each.sparse_initializer]
    version = operator_sets(model).get("")
    if version is None or version < OLDEST:
        raise FormatError(
            f"the operator set is {version}, and crnn reads {OLDEST} and newer ones; convert the"
            " model: onnx.version_converter.convert_version(model, 14)"
        )
