"""Sequences and states from outside: checked here, and given back in the form they came in.

Inside, the states of a network are a list with one entry for each layer and direction, in the order
of the flat vector, but for layers without a state; each is a list of arrays (B, H): h, and of an
LSTM c.
"""

from typing import NamedTuple

import numpy as np

from crnn.base import checks

MANY = 8  # tokens of a step that are hardly all 0 or 1 by chance


class Sequence(NamedTuple):
    """A checked input: T steps of B sequences."""

    x: np.ndarray  # (T, B, I) float, or (T, B) tokens
    states: list | None  # the initial ones, inside form: arrays of its own; None: not given
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

    @property
    def batch(self):
        """The axis of the batch as the caller's arrays have it: (B,), or () for one sequence."""
        return (self.batch_size,) if self.batched else ()

    def unbatch(self, array, axis=1):
        """Return the array without the axis of the batch if the input had none."""
        return array if self.batched or array is None else array.squeeze(axis)


def checked_sequence(x, state, lengths, layers, dtype, lookout=None):
    """Check the arguments of a whole-sequence call.

    Parameters
    ----------
    x : array_like
        (T, B, I) or (T, I) floats, (T, B) or (T,) integer tokens.
    state : array_like, sequence or None
        As `checked_states` takes it.
    lengths : array_like or None
        (B,), or () for one sequence: integers from 0 to T.
    layers : list of LayerSpec
    dtype : numpy.dtype
    lookout : Lookout, optional
        Looks at tokens.

    Returns
    -------
    Sequence
    """
    array, input_size = checks.plain_array(x, "x"), layers[0].input_size
    is_tokens = array.dtype.kind in "iu" and array.ndim in (1, 2)
    if is_tokens:
        batched = array.ndim == 2
        array = checks.tokens(array, input_size)
        if lookout is not None and batched and lengths is None:  # lengths say that x is a batch
            lookout.look(array)
    else:
        batched = array.ndim == 3
        check_features(array, input_size)
        array = checks.real_array(array, "x", dtype, array.shape)
    if not batched:
        array = np.expand_dims(array, 1)
    steps, batch_size = array.shape[:2]
    states = None
    try:
        if state is not None:
            states = checked_states(state, batch_size if batched else None, layers, dtype)
        if lengths is not None:
            lengths = checked_lengths(lengths, steps, batch_size if batched else None)
    except ValueError as error:
        raise ValueError(f"{error}{how_read(steps, batch_size, batched)}") from error
    if lengths is not None and not is_tokens:  # no sum may get what lies beyond the end, not a NaN
        array = array.copy()
        array[~valid_steps(lengths, steps)] = 0
    return Sequence(array, states, lengths, batched)


def check_kind(is_tokens, layers, skip):
    """Raise TypeError if a network takes only the other kind of input: tokens or floats."""
    if not is_tokens and layers[0].kind.is_table:
        raise TypeError(
            "x is floats, and the network's first layer is a table with a row for each token;"
            " integers, (T, B) or (T,), are wanted"
        )
    if is_tokens and skip:
        raise TypeError(
            "x is tokens, and the network adds x to its outputs (skip=True); floats are wanted")


def check_last(last_only, skip):
    """Raise ValueError if only last outputs are wanted where the input is added to them."""
    if last_only and skip:
        raise ValueError(
            "only last outputs are wanted, or have targets, and the network adds x to its outputs"
            " (skip=True); ask for every step and take y[-1]"
        )


def check_features(array, input_size, batch_first=False):
    """Check the shape of an input of floats."""
    axes = ("B, T" if batch_first else "T, B"), "T"
    if array.ndim not in (2, 3):
        hint = "; of one feature a step: x[:, None]" if array.ndim == input_size == 1 else ""
        raise ValueError(
            f"x has shape {array.shape}; ({axes[0]}, {input_size}) or (T, {input_size}) floats, or"
            f" ({axes[0]}) or (T,) integer tokens are wanted{hint}"
        )
    if array.shape[-1] == input_size:
        return
    *sizes, features = array.shape
    if array.ndim == 2:
        read = f"one sequence of T = {sizes[0]} steps"
        of_one = ", of one feature x[..., None]" if input_size == 1 else ""
        hint = f" (a batch is ({axes[0]}, {input_size}){of_one}; tokens are integers)"
    elif batch_first:
        read, hint = f"B = {sizes[0]} sequences of T = {sizes[1]} steps", ""
    else:
        read, hint = f"T = {sizes[0]} steps of B = {sizes[1]} sequences", ""
    turned = ""
    if input_size in sizes:
        axis = sizes.index(input_size)
        how = "x.T" if array.ndim == 2 else f"np.moveaxis(x, {axis}, -1)"
        turned = f"; features are the last axis: if they are axis {axis}, pass {how}"
    raise ValueError(
        f"x has shape {array.shape} and was read as {read} with {features} features each{hint};"
        f" this network was built with input_size={input_size}{turned}"
    )


def how_read(steps, batch_size, batched):
    """Return the end of a message of something that does not fit x."""
    if not batched:
        return ""
    return (
        f" (x was read as T = {steps} steps of B = {batch_size} sequences; a network that is built"
        " with batch_first=True takes the batch first)"
    )


class Lookout:
    """Warns, once for each network, of tokens that look like the features of one sequence.

    They do if there are as many in a row as the network has inputs, more than two, all 0 or 1.
    Plans take further arrays of a shape as they are, so that it sees the first one of each shape.

    Parameters
    ----------
    input_size : int
    batch_first : bool
        Whether the network's arrays come with the batch before time.
    """

    def __init__(self, input_size, batch_first):
        self._input_size, self._batch_first, self._has_warned = input_size, batch_first, False

    def look(self, tokens):
        """Look at tokens (T, B)."""
        came = tokens.T if self._batch_first else tokens
        if len(came) > 1 and self._could_be_features(came):
            as_batch = "x[None]" if self._batch_first else "x[:, None]"
            self._warn(came, tokens.shape[1], f", or {as_batch} as a batch of one sequence")

    def look_at_step(self, tokens):
        """Look at tokens (B,); where these are few, only if one of them alone is 1."""
        if self._could_be_features(tokens) and (len(tokens) >= MANY or tokens.sum() == 1):
            self._warn(tokens, len(tokens), "")

    def _could_be_features(self, tokens):
        return (
            not self._has_warned and tokens.shape[-1] == self._input_size > 2
            and tokens.min() == 0 and tokens.max() == 1
        )

    def _warn(self, tokens, batch_size, wanted):
        self._has_warned = True
        checks.warn(
            f"x is integers of shape {tokens.shape} and was read as tokens of {batch_size}"
            f" sequences; but it is 0 and 1 only, input_size = {self._input_size} in a row, as"
            f" features are. If they are, pass floats: x.astype(float){wanted}"
        )


def checked_lengths(lengths, steps, batch_size):
    """Return lengths (B,) of sequences, an array of its own; batch_size is None for one."""
    array = np.array(checks.whole_array(lengths, "lengths"))  # kept: it must not change with theirs
    shape = () if batch_size is None else (batch_size,)
    if array.shape != shape:
        raise ValueError(f"lengths has shape {array.shape}; {shape}, one a sequence, is wanted")
    if array.size and not (int(array.min()) >= 0 and int(array.max()) <= steps):
        raise ValueError(f"lengths are {array.tolist()}; each must be from 0 to T = {steps}")
    return checks.ready(array, checks.INTP).reshape(-1)


def valid_steps(lengths, steps):
    """Return a (T, B) mask that is True where a sequence is not over."""
    return np.arange(steps)[:, None] < lengths


# --- states ------------------------------------------------------------------------------------


def state_widths(layers):
    """Return for h, and for c if there is one, the H of each layer and direction that has it."""
    widths = [
        [layer.hidden_size for layer in layers if layer.kind.num_states > index
         for _ in range(layer.directions)]
        for index in range(2)
    ]
    return widths if widths[1] else widths[:1]


def are_joined(widths):
    """Return whether a state is an array (L * D, B, H), or two, and not lists of arrays.

    It is where all layers have the same width, and all of them c or none.
    """
    return len({tuple(each) for each in widths}) == 1 and len(set(widths[0])) == 1


def checked_states(state, batch_size, layers, dtype, name="state"):
    """Return a state from outside in the inside form, in new arrays; zeros for None.

    Parameters
    ----------
    state : array_like, sequence or None
        Where all widths are equal (L * D, B, H), else, or also, a list of L * D arrays (B, H); of
        an LSTM a tuple (h, c) of two such, and where only some layers are LSTMs, c of these.
    batch_size : int or None
        None for one sequence, whose state has no axis for the batch.
    layers : list of LayerSpec
    dtype : numpy.dtype
    name : str
    """
    widths = state_widths(layers)
    if state is None:
        rows = 1 if batch_size is None else batch_size
        parts = [[np.zeros((rows, H), dtype) for H in each] for each in widths]
    else:
        joined = are_joined(widths)
        parts = [
            _checked_part(each, batch_size, own, joined, dtype, part)
            for (part, each), own in zip(state_parts(state, len(widths), name), widths, strict=True)
        ]
    left = [iter(each) for each in parts]
    return [
        [next(each) for each in left[: layer.kind.num_states]]
        for layer in layers if layer.kind.has_state for _ in range(layer.directions)
    ]


def state_parts(state, count, name="state"):
    """Return the name and the value of h and, where the state is two, of c."""
    if count == 1:
        if isinstance(state, tuple) and any(isinstance(each, np.ndarray) for each in state):
            raise TypeError(
                f"{name} is a tuple; only an LSTM's is, (h, c): an array is wanted, or a list of"
                " arrays where the layers have different widths"
            )
        return [(name, state)]
    if not isinstance(state, (tuple, list)) or len(state) != count:
        came = f"{type(state).__name__} of {len(state)}" if isinstance(state, (tuple, list)) else (
            type(state).__name__)
        raise TypeError(f"{name} is a {came}; the state of an LSTM is a tuple (h, c)")
    return [(f"{part} of {name}", each) for part, each in zip("hc", state, strict=True)]


def _checked_part(value, batch_size, widths, joined, dtype, name):
    """Return h, or c, as a list of new arrays (B, H), one for each layer and direction."""
    batch, rows = ((), 1) if batch_size is None else ((batch_size,), batch_size)
    if joined:
        shape = len(widths), *batch, widths[0]
        own = np.array(checks.real_array(value, name, dtype, shape))
        return list(own.reshape(len(widths), rows, widths[0]))
    _check_list(value, widths, name)
    return [
        np.array(checks.real_array(each, f"{name}[{k}]", dtype, (*batch, H))).reshape(rows, H)
        for k, (each, H) in enumerate(zip(value, widths, strict=True))
    ]


def _check_list(value, widths, name):
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"{name} is a {type(value).__name__}; the layers have different widths, so a list of"
            f" {len(widths)} arrays, of widths {widths}, is wanted"
        )
    if len(value) != len(widths):
        raise ValueError(
            f"{name} has {len(value)} arrays; {len(widths)}, of widths {widths}, are wanted"
        )


def state_batch_size(state, layers):
    """Return the batch size of a state from outside; None if it has no axis for the batch."""
    widths = state_widths(layers)
    joined, own = are_joined(widths), widths[0]
    name, first = state_parts(state, len(widths))[0]
    if not joined:
        _check_list(first, own, name)
        first, name = first[0], f"{name}[0]"
    wanted = (len(own),) if joined else ()
    array = checks.plain_array(first, name)
    if array.ndim not in (len(wanted) + 1, len(wanted) + 2):
        shapes = [str((*wanted, *batch, own[0])).replace("'", "") for batch in ((), ("B",))]
        raise ValueError(f"state has shape {array.shape}; {' or '.join(shapes)} is wanted")
    return array.shape[-2] if array.ndim == len(wanted) + 2 else None


def checked_rows(rows, batch_size):
    """Return which sequences of a state are meant, as an array that indexes its rows.

    Parameters
    ----------
    rows : array_like
        A mask (B,) of bool, or whole numbers.
    batch_size : int or None
        None: the state is of one sequence.
    """
    if batch_size is None:
        raise ValueError("the state is of one sequence, which has no rows; call reset()")
    array = checks.plain_array(rows, "rows")
    if array.dtype.kind == "b":
        if array.shape != (batch_size,):
            raise ValueError(f"rows is a mask of shape {array.shape}; {(batch_size,)} is wanted")
        return array
    array = checks.whole_array(array, "rows")
    if array.ndim > 1:
        raise ValueError(f"rows has shape {array.shape}; numbers of sequences, (n,), are wanted")
    if array.size and not -batch_size <= int(array.min()) <= int(array.max()) < batch_size:
        raise IndexError(f"rows are {array.tolist()}; the batch has {batch_size} sequences")
    return checks.ready(array, checks.INTP)


def public_state(states, batched):
    """Return states of the inside form, which nobody else needs, as a caller gets them.

    See `checked_states` for that form.
    """
    count = max(map(len, states))
    parts = [[each[index] for each in states if len(each) > index] for index in range(count)]
    joined = are_joined([[each.shape[-1] for each in part] for part in parts])
    parts = [_public_part(part, batched, joined) for part in parts]
    return parts[0] if count == 1 else tuple(parts)


def _public_part(arrays, batched, joined):
    """Return h, or c, of all layers and directions as a caller gets it."""
    if not batched:
        arrays = [each[0] for each in arrays]
    if len(arrays) == 1 and joined:
        return arrays[0][None]
    return np.array(arrays) if joined else list(arrays)
