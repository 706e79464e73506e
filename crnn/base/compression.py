"""The formats of a compressed network's weights: which weights have them, and as what."""

import math

import numpy as np

from crnn.base import checks
from crnn.kernels.memory import TUNING
from crnn.reference.rounding import to_bfloat16, to_int8

FORMATS = ("bf16", "int8")
FAST_NUMBERS = TUNING["L1_BYTES"] // 4  # so many floats stay in L1: fewer bits are no faster there
INT8_INPUTS = TUNING["WHOLE_INPUTS"]  # of more, kernels have no room for a row of x in int8
SCALE = ".scale"  # the end of its name in files


def weight_names(shapes):
    """Return the names of W_xh, W_hh and W_hy of all layers, of parameters' shapes by name."""
    return [name for name in shapes if name.startswith("W_") and not name.startswith("W_ch")]


def compressed_names(shapes, form):
    """Return the names of the weights that have a format, of parameters' shapes by name.

    Not those that are so small that it would make nothing faster, nor in int8 those with more
    inputs than kernels have room for.
    """
    large = [name for name in weight_names(shapes) if math.prod(shapes[name]) > FAST_NUMBERS]
    return [name for name in large if form == "bf16" or shapes[name][0] <= INT8_INPUTS]


def rounded(parameters, form):
    """Return parameters by name as float32 arrays, the weights as the format has them.

    Raises
    ------
    ValueError
        If a parameter is, or becomes, NaN or infinite.
    """
    checks.choice(form, "format", FORMATS)
    with np.errstate(over="ignore"):
        found = {name: np.asarray(each).astype(np.float32) for name, each in parameters.items()}
    shapes = {name: each.shape for name, each in found.items()}
    for name in compressed_names(shapes, form):
        if form == "bf16":
            found[name] = to_bfloat16(found[name])
        else:
            q, scale = to_int8(found[name])
            found[name] = q * scale
    for name, each in found.items():
        if not np.isfinite(each).all():
            raise ValueError(
                f"parameter {name} is NaN or infinite in {form}; compress a network of finite ones")
    return found


def stored(parameters, form):
    """Return the arrays of a file: of rounded parameters, each weight in its format."""
    shapes = {name: each.shape for name, each in parameters.items()}
    names, tensors = compressed_names(shapes, form), {}
    for name, each in parameters.items():
        if name not in names:
            tensors[name] = each
        elif form == "bf16":
            tensors[name] = (each.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        else:
            tensors[name], tensors[name + SCALE] = to_int8(each)
    return tensors


def restored(tensors, weights, form):
    """Return the parameters by name of what `stored` has returned, of weights with these names."""
    whole = dict(tensors)
    for name in weights:
        if form == "bf16":
            whole[name] = (tensors[name].astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            with np.errstate(invalid="ignore", over="ignore"):  # of a damaged file's scales
                whole[name] = tensors[name] * tensors[name + SCALE]
    return whole
