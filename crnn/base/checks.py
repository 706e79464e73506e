"""The edge: every argument that comes from outside is looked at here, once.

Each function returns what the code behind it may rely on, or raises: TypeError for a wrong kind,
ValueError for a wrong shape or value, IndexError for a token out of range. The message says what
came, what was wanted and, where it is not plain, what to do.
"""

import math
import numbers
import operator
import reprlib
from typing import NamedTuple

import numpy as np

from crnn.kernels.memory import count_between

INTP = np.dtype(np.intp)
DTYPES = ("float32", "float64", "complex128")


def whole_number(value, name, minimum=1, maximum=None):
    """Return value as an int of at least ``minimum``, and at most ``maximum`` if there is one."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
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
        raise kind(f"{name} is {value!r}; it can be {', '.join(map(repr, allowed))}")
    return str(value)


def finite_number(value, name):
    """Return value as a finite float."""
    return option(name, value, numbers.Real, "a finite number", math.isfinite)


def flag(value, name):
    """Return value if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; True or False is wanted")
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
        raise ValueError(f"{name} is no array: {error}") from error
    if array.dtype.names is not None:
        raise ValueError(f"{name} has the structured dtype {array.dtype}; pass one of its fields")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} has dtype {array.dtype}; numbers are wanted")
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


class Sequence(NamedTuple):
    """A checked input: T steps of B sequences."""

    x: np.ndarray  # (T, B, I) float, or (T, B) tokens
    states: list  # the initial ones (L * D, B, H): h, and of an LSTM c
    lengths: np.ndarray | None  # (B,)
    batched: bool

    @property
    def is_tokens(self):
        return self.x.ndim == 2

    @property
    def steps(self):
        return self.x.shape[0]

    @property
    def batch_size(self):
        return self.x.shape[1]

    def unbatch(self, array, axis):
        """Return the array without the axis of the batch if the input had none."""
        return array if self.batched or array is None else array.squeeze(axis)

    def public(self, states):
        """Return states (L * D, B, H) as a caller gets them."""
        return public([self.unbatch(each, 1) for each in states])


def public(states):
    """Return a state of one array, or a tuple of two."""
    return states[0] if len(states) == 1 else tuple(states)


def sequence(x, state, lengths, weights):
    """Check the arguments of a whole-sequence call.

    Parameters
    ----------
    x : array_like
        (T, B, I) or (T, I) floats, (T, B) or (T,) integer tokens.
    state : array_like, tuple or None
        (L * D, B, H), or (L * D, H) for one sequence, two of them for an LSTM; zeros for None.
    lengths : array_like or None
        (B,), or () for one sequence: integers from 0 to T.
    weights : Weights

    Returns
    -------
    Sequence
    """
    array, input_size, dtype = plain_array(x, "x"), weights.input_size, weights.dtype
    is_tokens = array.dtype.kind in "iu" and array.ndim in (1, 2)
    if is_tokens:
        batched = array.ndim == 2
        array = tokens(array, input_size)
    else:
        batched = array.ndim == 3
        _check_features(array, input_size, batched)
        array = real_array(array, "x", dtype, array.shape)
    if not batched:
        array = np.expand_dims(array, 1)
    steps, batch_size = array.shape[:2]
    initial = states(state, batch_size if batched else None, weights)
    if lengths is not None:
        lengths = _lengths(lengths, steps, batch_size if batched else None)
        if not is_tokens:  # what lies beyond the end must not reach any sum, not even a NaN
            array = np.where(valid_steps(lengths, steps)[:, :, None], array, dtype.type(0))
    return Sequence(array, initial, lengths, batched)


def _check_features(array, input_size, batched):
    if array.ndim not in (2, 3):
        raise ValueError(
            f"x has shape {array.shape}; (T, B, {input_size}) or (T, {input_size}) floats, or"
            " (T, B) or (T,) integer tokens are wanted"
        )
    if array.shape[-1] != input_size:
        hint = "" if batched else " (one sequence; a batch is (T, B, I), tokens are integers)"
        raise ValueError(
            f"x has shape {array.shape}{hint}: {array.shape[-1]} features a step; this network"
            f" was built with input_size={input_size}"
        )


def states(state, batch_size, weights, name="state"):
    """Return a state as a list of new arrays (L * D, B, H); zeros for None.

    Parameters
    ----------
    state : array_like, tuple or None
    batch_size : int or None
        None for one sequence, whose state has no axis for the batch.
    weights : Weights
    name : str
    """
    layers, H, count = len(weights.layers), weights.hidden_size, weights.kind.states
    shape = (layers, H) if batch_size is None else (layers, batch_size, H)
    if state is None:
        whole = (layers, 1 if batch_size is None else batch_size, H)
        return [np.zeros(whole, weights.dtype) for _ in range(count)]
    arrays = []
    for part, each in state_parts(state, count, name):
        array = np.array(real_array(each, part, weights.dtype, shape))
        arrays.append(array[:, None] if batch_size is None else array)
    return arrays


def state_parts(state, count, name="state"):
    """Return the name and the value of each array of a state, of which there are one or two."""
    if count == 1:
        if isinstance(state, tuple) and any(isinstance(each, np.ndarray) for each in state):
            raise TypeError(f"{name} is a tuple; only an LSTM's is, (h, c): an array is wanted")
        return [(name, state)]
    if not isinstance(state, (tuple, list)) or len(state) != count:
        came = f"{type(state).__name__} of {len(state)}" if isinstance(state, (tuple, list)) else (
            type(state).__name__)
        raise TypeError(f"{name} is a {came}; the state of an LSTM is a tuple (h, c)")
    return [(f"{part} of {name}", each) for part, each in zip("hc", state, strict=True)]


def _lengths(lengths, steps, batch_size):
    array = np.array(whole_array(lengths, "lengths"))  # kept, so it must not change with theirs
    shape = () if batch_size is None else (batch_size,)
    if array.shape != shape:
        raise ValueError(f"lengths has shape {array.shape}; {shape}, one a sequence, is wanted")
    if array.size and not (int(array.min()) >= 0 and int(array.max()) <= steps):
        raise ValueError(f"lengths are {array.tolist()}; each must be from 0 to T = {steps}")
    return ready(array, INTP).reshape(-1)


def valid_steps(lengths, steps):
    """Return a (T, B) mask that is True where a sequence is not over."""
    return np.arange(steps)[:, None] < lengths


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
