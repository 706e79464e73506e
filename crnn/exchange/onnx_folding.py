"""Nodes that read nothing but constants, computed with NumPy: a closed list of operators.

Exporters keep weights behind Slice, Concat and Unsqueeze, and compute the shape of states. What is
only laid out anew stays a view, and what would take memory is counted first.
"""

import math

import numpy as np

from crnn.exchange.onnx_tensors import TYPES
from crnn.exchange.onnx_values import Inexpressible

MOST_SIZES = 64  # in a shape


def fold(node, arrays):
    """Return the outputs of a node, a list of arrays.

    Parameters
    ----------
    node : Node
    arrays : list of ndarray or None

    Raises
    ------
    Inexpressible
        If the operator is not in the list, or an output would be too large.
    """
    if node.op not in FOLDS:
        raise Inexpressible("crnn does not compute it")
    found = FOLDS[node.op](node, *arrays)
    return found if isinstance(found, list) else [found]


def whole_numbers(array):
    """Return an array's numbers as a list of Python's.

    Raises
    ------
    Inexpressible
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.size > MOST_SIZES:
        raise Inexpressible("its sizes or places are not known whole numbers")
    return [int(each) for each in array.reshape(-1)]


def compact(array):
    """Return an array with one place along axes along which it only repeats."""
    repeats = [stride == 0 and size > 1
               for stride, size in zip(array.strides, array.shape, strict=True)]
    return array[tuple(slice(0, 1) if each else slice(None) for each in repeats)]


def axes_of(node, arrays, place):
    """Return the axes of a Squeeze and its like, which newer operators take as an input."""
    if len(arrays) > place and arrays[place] is not None:
        return whole_numbers(arrays[place])
    return node.attributes.get("axes")


def slice_of(node, arrays):
    """Return starts, ends, axes and steps of a Slice, four lists."""
    if "starts" in node.attributes:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = [
            None if each is None else whole_numbers(each)
            for each in [*arrays[1:5], None, None][:4]]
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Inexpressible("its starts, ends, axes and steps are not equally many")
    return starts, ends, axes, steps


def split_sizes(node, arrays, size, count):
    """Return the sizes of the parts that a Split makes of one axis."""
    if len(arrays) > 1 and arrays[1] is not None:
        return whole_numbers(arrays[1])
    return list(node.attributes.get("split") or _equal_sizes(size, count))


def _equal_sizes(size, count):
    each = -(-size // count)
    return [each] * (count - 1) + [size - each * (count - 1)]


def _constant(node):
    attributes = node.attributes
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32),
                        ("value_int", np.int64), ("value_ints", np.int64)):
        if name in attributes:
            return np.array(attributes[name], dtype)
    if not isinstance(attributes.get("value"), np.ndarray):
        raise Inexpressible("it holds no numbers")
    return attributes["value"]


def _slice(node, x, *rest):
    places = [slice(None)] * x.ndim
    for start, end, axis, step in zip(*slice_of(node, (x, *rest)), strict=True):
        if step < 0 and end < -x.shape[axis]:
            end = None
        places[axis] = slice(start, end, step)
    return x[tuple(places)]


def _concat(node, *arrays):
    axis = node.attributes.get("axis", 0)
    shape = list(arrays[0].shape)
    shape[axis] = sum(each.shape[axis] for each in arrays)
    small = []
    for each in arrays:  # repeated along the other axes: once will do
        once = compact(each)
        small.append(np.broadcast_to(once, [
            have if place == axis % each.ndim else want
            for place, (have, want) in enumerate(zip(
                each.shape, np.broadcast_shapes(*[_others(compact(one), axis) for one in arrays]),
                strict=True))]))
    node.spend(sum(each.nbytes for each in small))
    return np.broadcast_to(np.concatenate(small, axis), shape)


def _others(array, axis):
    """Return an array's shape with 1 along an axis."""
    return [1 if place == axis % array.ndim else size for place, size in enumerate(array.shape)]


def _reshape(node, x, shape):
    sizes = whole_numbers(shape)
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    small = compact(x)
    if small.size == 1 and -1 not in sizes and math.prod(sizes) == x.size:
        return np.broadcast_to(small.reshape(()), sizes)
    node.spend(0 if x.flags.c_contiguous else x.nbytes)
    return x.reshape(sizes)


def _expand(node, x, shape):
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(whole_numbers(shape))))


def _tile(node, x, repeats):
    sizes = whole_numbers(repeats)
    if x.size != 1 or len(sizes) != x.ndim:
        raise Inexpressible("it repeats more than one number")
    return np.broadcast_to(x.reshape(()), sizes)


def _constant_of_shape(node, shape):
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return np.broadcast_to(value.reshape(()), whole_numbers(shape))


def _cast(node, x):
    to = node.attributes["to"]
    if to not in TYPES or to == 16:
        raise Inexpressible("it makes another kind of numbers")
    small = compact(x)
    node.spend(small.size * 8)
    cast = small.astype(np.dtype(TYPES[to][0]).newbyteorder("="))
    return np.broadcast_to(cast, x.shape)


def _gather(node, x, places):
    axis = node.attributes.get("axis", 0)
    if places.dtype.kind not in "iu":
        raise Inexpressible("its places are not whole numbers")
    if places.ndim == 0:  # a view
        return x[(slice(None),) * (axis % x.ndim) + (int(places),)]
    node.spend(x.nbytes // max(x.shape[axis], 1) * places.size)
    return np.take(x, places, axis)


def _split(node, x, *rest):
    axis = node.attributes.get("axis", 0)
    sizes = split_sizes(node, (x, *rest), x.shape[axis], node.num_outputs)
    if sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise Inexpressible("its parts are not as long as what it splits")
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _squeeze(node, x, *rest):
    axes = axes_of(node, (x, *rest), 1)
    return np.squeeze(x, None if axes is None else tuple(axes))


def _unsqueeze(node, x, *rest):
    return np.expand_dims(x, tuple(axes_of(node, (x, *rest), 1)))


def _shape(node, x):
    return np.array(x.shape, np.int64)[
        node.attributes.get("start", 0):node.attributes.get("end", len(x.shape))]


def _range(node, start, limit, step):
    count = max(0, math.ceil((int(limit) - int(start)) / int(step)))
    node.spend(count * 8)
    return np.arange(count, dtype=start.dtype) * step + start


def _arithmetic(function):
    def folded(node, *arrays):
        small = [compact(each) for each in arrays]
        node.spend(math.prod(np.broadcast_shapes(*[each.shape for each in small])) * 8)
        found = function(*small)
        return np.broadcast_to(found, np.broadcast_shapes(*[each.shape for each in arrays]))
    return folded


def _divide(a, b):
    if a.dtype.kind in "iu":
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return a / b


def _dequantize(node, x, scale, zero_point=None):
    if scale.size == 1:
        scale = scale.reshape(())
    elif scale.ndim == 1:
        shape = [1] * x.ndim
        shape[node.attributes.get("axis", 1)] = -1
        scale = scale.reshape(shape)
        zero_point = None if zero_point is None else zero_point.reshape(shape)
    else:
        raise Inexpressible("it has a scale for each block")
    node.spend(x.size * 16)
    shifted = x.astype(np.int32) - (0 if zero_point is None else zero_point.astype(np.int32))
    return shifted.astype(scale.dtype) * scale


FOLDS = {
    "Constant": _constant,
    "Identity": lambda node, x: x,
    "Dropout": lambda node, x, *rest: [x],
    "Slice": _slice,
    "Concat": _concat,
    "Transpose": lambda node, x: np.transpose(x, node.attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Cast": _cast,
    "Gather": _gather,
    "Split": _split,
    "Shape": _shape,
    "Size": lambda node, x: np.array(x.size, np.int64),
    "Range": _range,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_divide),
    "Neg": _arithmetic(np.negative),
    "Equal": _arithmetic(np.equal),
    "Less": _arithmetic(np.less),
    "Greater": _arithmetic(np.greater),
    "And": _arithmetic(np.logical_and),
    "Or": _arithmetic(np.logical_or),
    "Not": _arithmetic(np.logical_not),
    "Where": _arithmetic(np.where),
    "Sqrt": _arithmetic(np.sqrt),
    "ReduceProd": lambda node, x, *rest: (
        np.prod(x, keepdims=bool(node.attributes.get("keepdims", 1)))
        if axes_of(node, (x, *rest), 1) in (None, [0]) and x.ndim == 1 and x.size <= MOST_SIZES
        else _not_a_vector()),
    "DequantizeLinear": _dequantize,
}


def _not_a_vector():
    raise Inexpressible("crnn computes it of vectors only")
