"""The edge: every argument that comes from outside is looked at here, once.

Each function returns what the code behind it may rely on, or raises: TypeError for a wrong kind,
ValueError for a wrong shape or value, IndexError for a token out of range. The message says what
came, what was wanted and, where it is not plain, what to do.
"""

import math
import numbers
import operator
import reprlib
import sys
import warnings

import numpy as np

from crnn.kernels.memory import count_between

INTP = np.dtype(np.intp)
DTYPES = ("float32", "float64", "complex128")
_HINTS = {  # what may have been meant by an array of another kind
    "U": "; texts become tokens by vocabulary.encode(text), or crnn.pad(texts,"
         " vocabulary=vocabulary): see crnn.text.Vocabulary",
    "class names": "; names of classes become numbers by np.unique(names, return_inverse=True)",
    "O": "; where sequences may come, an array of arrays comes as list({name})",
}


def whole_number(value, name, minimum=1, maximum=None):
    """Return value as an int of at least ``minimum``, and at most ``maximum`` if there is one."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a whole number, got {reprlib.repr(value)}")
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {number}")
    return number


def option(name, value, kind, wanted, is_wanted=lambda value: True):
    """Return value if it is of a kind and in a range, both said in words by ``wanted``."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        came = f"{reprlib.repr(value)} ({type(value).__name__})"
        raise TypeError(f"{name} is {came}; wanted {wanted}")
    try:  # a Python float, as a NumPy float64 would make float32 arithmetic float64
        value = float(value) if kind is numbers.Real else value
    except OverflowError:
        value = math.inf
    if not is_wanted(value):
        raise ValueError(f"{name} is {reprlib.repr(value)}; wanted {wanted}")
    return value


def positive_number(value, name):
    """Return value as a finite float above 0."""
    wanted = "a finite number above 0"
    return option(name, value, numbers.Real, wanted, lambda each: 0 < each < math.inf)


def function(value, name):
    """Return value if it can be called."""
    if not callable(value):
        raise TypeError(f"{name} is {value!r}; a function is wanted")
    return value


def choice(value, name, allowed):
    """Return value, as a plain str, if it is one of the allowed strings."""
    kind = ValueError if isinstance(value, str) else TypeError
    if kind is TypeError or value not in allowed:
        raise kind(f"{name} is {reprlib.repr(value)}; it can be {', '.join(map(repr, allowed))}")
    return str(value)


def finite_number(value, name):
    """Return value as a finite float."""
    return option(name, value, numbers.Real, "a finite number", math.isfinite)


def flag(value, name):
    """Return value if it is True or False."""
    if value is False or value is True:  # quick, as a call of a network asks for it
        return value
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {reprlib.repr(value)}; True or False is wanted")
    return bool(value)


def generator_state(value, name):
    """Return value, if it is a state of NumPy's default generator, as that generator has it."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {reprlib.repr(value)}; a dict that it was before is wanted")
    generator = np.random.PCG64(0)
    try:
        generator.state = value
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is not a state of a generator: {error!r}") from None
    has_half, increment = value["has_uint32"], value["state"]["inc"]  # NumPy takes any for these
    whole = (has_half, increment, value["uinteger"], value["state"]["state"])
    if not (all(type(each) is int for each in whole) and has_half in (0, 1) and increment % 2):
        raise ValueError(f"{name} is not a state of a generator: {reprlib.repr(value)}")
    return generator.state


def float_dtype(dtype, backend):
    """Return the NumPy dtype of a network."""
    try:
        name = "None" if dtype is None else np.dtype(dtype).name  # NumPy takes None for float64
    except TypeError:
        if not isinstance(dtype, str):
            raise TypeError(f"dtype is {dtype!r}; a NumPy dtype or its name is wanted") from None
        name = repr(dtype)
    allowed = DTYPES if backend == "reference" else DTYPES[:2]
    if name not in allowed:
        hint = "; complex128 is for backend='reference'" if name == "complex128" else ""
        raise ValueError(f"dtype is {name}; it can be {', '.join(allowed)}{hint}")
    return np.dtype(name)


def warn(message):
    """Warn with the place in a user's code that called crnn."""
    frame, level = sys._getframe(), 1
    while frame and frame.f_globals.get("__name__", "").split(".")[0] == "crnn":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def plain_array(value, name):
    """Return value as a base-class ndarray of numbers or booleans, of any dtype and layout."""
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        return value
    if value is None:
        raise TypeError(f"{name} is None; an array is wanted")
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; pass its .filled(...) values, or lengths")
    if isinstance(value, np.matrix) or hasattr(value, "toarray"):
        raise ValueError(f"{name} is a {type(value).__name__}; pass a plain array (np.asarray)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} is no array: {error}") from error
        hint = ""
        if name.startswith(("x", "sequences")):
            hint = (
                ". Sequences of unequal lengths are a list of arrays, each (T, I), or (T,) of"
                " integer tokens: make each one with np.asarray, and (T, 1) of (T,) floats with"
                " [:, None]"
            )
        elif name.startswith("targets"):
            hint = ". Those of sequences of unequal lengths go with an x that is a list of arrays"
        raise ValueError(
            f"{name} is no array, but a {type(value).__name__} whose items have unequal"
            f" lengths{hint}") from error
    if array.dtype.names is not None:
        raise ValueError(f"{name} has the structured dtype {array.dtype}; pass one of its fields")
    if array.dtype.kind == "O" and array.ndim == 0:
        raise TypeError(f"{name} is a {type(value).__name__}; an array, or a list, is wanted")
    if array.dtype.kind not in "biufc":
        kind = array.dtype.kind
        kind = "class names" if kind == "U" and name.startswith("targets") else kind
        hint = _HINTS.get(kind, "").format(name=name)
        raise TypeError(f"{name} has dtype {array.dtype}; numbers are wanted{hint}")
    return array


def ready(array, dtype):
    """Return array as C-contiguous, aligned and native in ``dtype``, copied only if it is not."""
    if array.dtype is dtype and array.flags.c_contiguous and array.flags.aligned:
        return array  # a dtype that is equal may have another number in C, as longlong has
    with np.errstate(over="ignore"):  # too large for float32 becomes inf, and is seen as such
        return np.require(array, dtype, ["C", "A"])


def real_array(value, name, dtype, shape):
    """Return value as an array of exactly this shape that is ready in ``dtype``."""
    array = plain_array(value, name)
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"{name} has dtype {array.dtype}, which does not convert to {dtype} safely")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is wanted")
    return ready(array, dtype)


def sample_weight(value, shape):
    """Return value as an array of weights, float64 of this shape."""
    array = real_array(value, "sample_weight", np.dtype(float), shape)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        worst = array[~(np.isfinite(array) & (array >= 0))][0]
        raise ValueError(
            f"sample_weight has {worst}; weights are finite numbers of at least 0, and 0 means no"
            " target here"
        )
    return array


def whole_array(value, name):
    """Return value as an array of integers of any width."""
    array = plain_array(value, name)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} has dtype {array.dtype}; integers are wanted")
    return array


def tokens(array, input_size, name="x"):
    """Return a copy of integer tokens as intp, every one of them in [0, input_size).

    It is the copy that is checked: the kernels rely on it with the GIL released, while the
    caller's array may change.
    """
    given = np.array(array)
    array = ready(given, INTP)
    if given.dtype != INTP or count_between(array, 0, input_size) < array.size:
        lowest, highest = int(given.min(initial=0)), int(given.max(initial=0))
        if lowest < 0 or highest >= input_size:
            bad = lowest if lowest < 0 else highest
            raise IndexError(
                f"{name} has the token {bad}, known are 0 to {input_size - 1}; integers are tokens,"
                " pass features as floats"
            )
    return array


def output_array(out, shape, dtype, x):
    """Check the ``out`` argument of a step."""
    if type(out) is not np.ndarray:
        raise TypeError(f"out is a {type(out).__name__}; an ndarray is wanted")
    if out.dtype != dtype or out.shape != shape:
        raise ValueError(f"out is {out.dtype} {out.shape}; {dtype} {shape} is wanted")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError("out must be C-contiguous, aligned and writable")
    if np.may_share_memory(out, x):
        raise ValueError("out shares memory with x; pass an array of its own")
    return out
