"""Streams: a network run one time step at a time."""

import reprlib
from collections.abc import Iterable

import numpy as np

from crnn.base import checks
from crnn.base.arrangement import BatchFirst
from crnn.base.sequences import (
    check_kind,
    checked_rows,
    checked_states,
    public_state,
    state_batch_size,
)
from crnn.files.disk import FormatError


class Stream:
    """Independent state over a network's weights; made by ``net.stream()``.

    A stream follows its network's parameters: what training changes, the next step uses.

    Parameters
    ----------
    engine : Engine
    batch_size : int, optional
        None for one sequence, whose inputs and outputs have no axis for the batch.
    batch_first : bool
        Whether blocks have the batch before time.

    Notes
    -----
    A stream serves one thread at a time; streams of one network serve as many threads as there are,
    and wait for nothing that they share. A step holds the GIL, which it would take longer to give
    up and get back; a block of `run`, and `step_many`, do not.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.RNN(3, 5, 2, seed=0)
    >>> stream = net.stream()
    >>> x = np.ones((4, 3), np.float32)
    >>> steps = np.stack([stream.step(each) for each in x])
    >>> y, state = net(x)
    >>> bool((steps == y).all() and (stream.state == state).all())
    True
    """

    # a slot, which `step_many` reads of thousands of streams, is found without their dicts
    __slots__ = ("__dict__", "__weakref__", "_stepper")

    def __init__(self, engine, batch_size=None, batch_first=False):
        self._engine, self._batch_first = engine, batch_first
        self._stepper = engine.stepper(_Preparer(engine))
        self.step = self._stepper.step  # nothing stands between the caller and the compiled method
        self.reset(batch_size)

    def reset(self, batch_size=None, rows=None):
        """Go back to the initial state: zeros, or what ``learn_state`` has learned.

        Parameters
        ----------
        batch_size : int, optional
            How many sequences the state is of from now on, whatever it was of: ``reset(1)`` is no
            reset of sequence 1, which is ``reset(rows=[1])``. None for one sequence. While its
            state is the initial one, a step may bring a batch of any size instead.
        rows : array_like, optional
            Which sequences of the batch go back, as a mask (B,) of bool, or as their numbers. The
            others go on. Without batch_size.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an argument is not as above. The state is then unchanged.
        """
        if rows is not None:
            if batch_size is not None:
                raise TypeError("reset takes batch_size or rows, not both")
            self._reset_rows(rows)
            return
        if batch_size is not None:
            batch_size = checks.whole_number(batch_size, "batch_size", minimum=0)
        self._stepper.reset(batch_size)

    def _reset_rows(self, rows):
        rows = checked_rows(rows, self.batch_size)
        if self.is_at_start:
            return
        states = self._stepper.state
        for own, initial in zip(states, self._engine.initial_states(1), strict=True):
            for array, row in zip(own, initial, strict=True):
                array[rows] = row
        self._stepper.reset(self.batch_size, states)

    @property
    def batch_size(self):
        """How many sequences the state is of; None for one without an axis for the batch."""
        return self._stepper.batch_size if self._stepper.batched else None

    @property
    def is_at_start(self):
        """Whether nothing has moved or set the state since a `reset` of all of it."""
        return bool(self._stepper.is_at_start)

    @property
    def state(self):
        """The state, (L, H) or (L, B, H), for an LSTM a tuple (h, c): copies.

        Where the layers have different widths, h and c are lists of arrays, (H,) or (B, H).
        Assignment copies in and sets the batch size.
        """
        return public_state(self._stepper.state, self._stepper.batched)

    @state.setter
    def state(self, value):
        layers, dtype = self._engine.layers, self._engine.parameters.dtype
        batch_size = state_batch_size(value, layers)
        self._stepper.reset(batch_size, checked_states(value, batch_size, layers, dtype))

    def save(self, path):
        """Write the state to a file, whole or not at all, to go on from another time.

        The file is safetensors with a SHA-256 of it all, as `RNN.save` writes; it holds no weights.
        A state that has become NaN is refused: whoever went on from it would get NaN for ever.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        TypeError
            If the dtype is complex128.
        ValueError
            If the state is NaN or infinite.
        OSError
            If it cannot be written. A file that was there is then still there.

        Examples
        --------
        >>> import os, tempfile
        >>> import crnn
        >>> import numpy as np
        >>> net = crnn.GRU(3, 5, 2, seed=0)
        >>> stream, again = net.stream(), net.stream()
        >>> y = stream.step(np.ones(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "state.safetensors")
        ...     stream.save(path)
        ...     again.load(path)
        >>> bool((again.step(np.ones(3)) == stream.step(np.ones(3))).all())
        True
        """
        from crnn.files import kinds

        arrays = [each for states in self._stepper.state for each in states]
        wrong = [row for each in arrays for row in np.flatnonzero(~np.isfinite(each).all(-1))]
        if wrong:
            of_row, rows = "", ""
            if self.batch_size is not None:
                of_row, rows = f" of sequence {min(wrong)}", f"rows=[{min(wrong)}]"
            raise ValueError(
                f"the state{of_row} is NaN or infinite, as it is from the first such x on; have it"
                f" begin anew with reset({rows}), and leave out steps whose x is not finite"
            )
        names = _state_shapes(self._engine.layers, len(arrays[0]))
        kinds.write(path, dict(zip(names, arrays, strict=True)), {"state": self._account()})

    def load(self, path):
        """Take the state from a file that `save` wrote, and its batch size.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        FormatError
            If the file is not whole, or not the state of a network with this one's cell, widths and
            dtype. The stream's own state is then unchanged.
        OSError
            If it cannot be read.
        """
        from crnn.files import container, kinds

        content = kinds.read(path, kinds.STATE)
        found, own = content.header["state"], self._account()
        if not isinstance(found, dict):
            raise FormatError(f"{path}: the account of a state is no object")
        container.check_names(path, found, own)
        batch_size = found["batch_size"]
        if batch_size is not None and (type(batch_size) is not int or batch_size < 0):
            raise FormatError(f"{path}: the state has batch_size {batch_size!r}")
        own["batch_size"] = batch_size
        if found != own:
            raise FormatError(
                f"{path}: the state of {_described(found)}; this stream's is of {_described(own)}")
        shapes = _state_shapes(self._engine.layers, 1 if batch_size is None else batch_size)
        container.check_tensors(path, content.tensors, shapes, self._engine.parameters.dtype)
        arrays = iter([content.tensors[name] for name in shapes])
        states = [[next(arrays) for _ in range(layer.kind.num_states)]
                  for layer in self._engine.layers if layer.kind.has_state]
        self._stepper.reset(batch_size, states)

    def _account(self):
        """Return, ready for JSON, what must be the same where a state is to go on."""
        layers = [layer for layer in self._engine.layers if layer.kind.has_state]
        cells = [layer.kind.cell for layer in layers]
        return {
            "cell": cells[0] if len(set(cells)) == 1 else cells,
            "hidden_sizes": [layer.hidden_size for layer in layers],
            "dtype": self._engine.parameters.dtype.name, "batch_size": self.batch_size,
        }

    def __reduce__(self):
        raise TypeError(
            "a stream is tied to its network and cannot be copied; make another with net.stream()"
            " and set its state"
        )

    def step(self, x, out=None):
        """Return the outputs of one time step and move the state on.

        T steps give the same bits as one call with the whole sequence. A NaN in x makes the state
        NaN, and with it all outputs from then on, until `reset`. While the state of one
        sequence is the initial one, a step may bring a batch of any size; other changes of size
        need `reset`.

        Parameters
        ----------
        x : array_like
            (I,) floats or one integer token; for a batch (B, I) or (B,) tokens.
        out : ndarray, optional
            Where to put the outputs: (O,) or (B, O), of the network's dtype, C-contiguous. With it
            a step allocates nothing.

        Returns
        -------
        ndarray (O,) or (B, O)

        Raises
        ------
        TypeError, ValueError, IndexError
            If x or out is not as above, or a token is out of range. The state is then unchanged.
        RuntimeError
            If another thread is at work on this stream.
        """
        return self._stepper.step(x, out)

    def run(self, x, out=None):
        """Return the outputs of a block of time steps and move the state on.

        The same bits as a `step` for each, in one call, during which other threads may run: as
        sound or sensors bring them, some hundred samples at a time.

        Parameters
        ----------
        x : array_like
            (T, I) floats or (T,) integer tokens; for a batch (T, B, I) or (T, B), or with
            ``batch_first`` (B, T, I) or (B, T). T may be 0.
        out : ndarray, optional
            Where to put the outputs: (T, O) or (T, B, O), of the network's dtype, C-contiguous.
            With it, and an x that need not be converted, nothing is allocated, but for batches
            with ``batch_first``, whose axes are exchanged.

        Returns
        -------
        ndarray (T, O) or (T, B, O)
            With ``batch_first`` (B, T, O).

        Raises
        ------
        TypeError, ValueError, IndexError
            If x or out is not as above, or a token is out of range. The state is then unchanged,
            as it is after Ctrl-C.
        RuntimeError
            If another thread is at work on this stream.

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> net = crnn.LSTM(1, 8, 1, seed=0)
        >>> stream, other = net.stream(), net.stream()
        >>> sound = np.sin(np.arange(1024, dtype=np.float32))[:, None]
        >>> blocks = [stream.run(block) for block in np.split(sound, 4)]
        >>> samples = [other.step(sample) for sample in sound]
        >>> bool((np.concatenate(blocks) == samples).all())
        True
        """
        if not self._batch_first:
            return self._stepper.run_block(x, out)
        given = BatchFirst(x, None, self._engine.layers[0].input_size)
        if not given.is_batch:
            return self._stepper.run_block(given.x, out)
        if out is None:
            return given.public(self._stepper.run_block(given.x))
        steps, batch = given.x.shape[:2]
        checks.output_array(
            out, (batch, steps, self._engine.output_size), self._engine.parameters.dtype, x)
        out[...] = given.public(self._stepper.run_block(given.x))
        return out

    def real_time(self):
        """Return a capsule for ``from crnn.kernels cimport real_time``, which see.

        Raises
        ------
        TypeError
            If its steps are not compiled: with backend="reference", or a mask.
        RuntimeError
            If another thread is at work on this stream.
        """
        if not hasattr(self._stepper, "real_time"):
            raise TypeError(
                "a network with a mask, or with backend='reference', has no steps without Python")
        return self._stepper.real_time()


def step_many(streams, x, out=None):
    """Step many streams of one network at once, each on a state of its own.

    It is for servers whose streams come and go: the same as a `Stream.step` of each, with the same
    bits, but two to four times as fast as many calls. In threads if that pays; all streams have
    moved on afterwards or, after an error or Ctrl-C, none.

    Parameters
    ----------
    streams : list of Stream
        At least one, in any order, all of one network and batch size.
    x : array_like
        What each takes, one after the other: (N, I) floats or (N,) tokens; of streams of a batch
        (N, B, I) or (N, B).
    out : ndarray, optional
        Where to put the outputs, of the network's dtype, C-contiguous.

    Returns
    -------
    ndarray (N, O) or (N, B, O)

    Raises
    ------
    TypeError, ValueError, IndexError
        If an argument is not as above, a stream is there twice, or a token is out of range.
    RuntimeError
        If another thread is at work on one of them.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> net = crnn.GRU(3, 5, 2, seed=0)
    >>> callers = {name: net.stream() for name in ("Ann", "Bob", "Cy")}
    >>> y = crnn.step_many(callers.values(), np.ones((3, 3), np.float32))
    >>> some = [callers["Cy"], callers["Ann"]]
    >>> y = crnn.step_many(some, np.zeros((2, 3), np.float32))
    >>> y.shape
    (2, 2)
    """
    if not isinstance(streams, Iterable):
        raise TypeError(f"streams is a {type(streams).__name__}; a list of streams is wanted")
    streams = list(streams)
    if not streams:
        raise ValueError("there are no streams; at least one is wanted")
    steppers = [each._stepper for each in streams if type(each) is Stream]
    if len(steppers) < len(streams):
        number = next(k for k, each in enumerate(streams) if type(each) is not Stream)
        raise TypeError(
            f"streams[{number}] is a {type(streams[number]).__name__}; a stream, from net.stream(),"
            " is wanted"
        )
    first, engine = streams[0], streams[0]._engine
    batch = () if first.batch_size is None else (first.batch_size,)
    array = _of_many(x, (len(streams), *batch), engine)
    dtype, shape = engine.parameters.dtype, (len(streams), *batch, engine.output_size)
    if out is None:
        out = np.empty(shape, dtype)
    else:
        checks.output_array(out, shape, dtype, checks.plain_array(x, "x"))
    refused = engine.step_together(steppers, array, out)
    if refused >= 0:
        _refuse(streams, refused)
    return out


def _of_many(x, shape, engine):
    """Return x of many streams, ready for the loop."""
    array, input_size = checks.plain_array(x, "x"), engine.layers[0].input_size
    is_tokens = array.dtype.kind in "iu" and array.ndim == len(shape)
    check_kind(is_tokens, engine.layers, engine.skip)
    if array.shape != (shape if is_tokens else (*shape, input_size)):
        raise ValueError(
            f"x has shape {array.shape}; {(*shape, input_size)} floats, or {shape} tokens, which"
            f" are integers, are wanted of {shape[0]} streams"
        )
    if is_tokens:
        return checks.tokens(array, input_size)
    return checks.real_array(array, "x", engine.parameters.dtype, array.shape)


def _refuse(streams, number):
    """Raise what is wrong with the first of some streams that cannot be stepped with them."""
    one, first = streams[number], streams[0]
    if one._engine is not first._engine:
        raise ValueError(f"streams[{number}] is of another network than streams[0]")
    if one.batch_size != first.batch_size:
        raise ValueError(
            f"streams[{number}] has batch_size {one.batch_size}, streams[0] has"
            f" {first.batch_size}; all are to have the same"
        )
    for before, each in enumerate(streams[:number]):
        if each is one:
            raise ValueError(
                f"streams[{number}] is streams[{before}] again; a stream takes one step at a time")
    raise RuntimeError(f"another thread is at work on streams[{number}]")


def _state_shapes(layers, rows):
    """Return names and shapes of the arrays of a state: h, and of an LSTM c, of each layer."""
    return {
        f"{name}{suffix}": (rows, layer.hidden_size)
        for layer in layers for suffix in layer.suffixes
        for name in "hc"[: layer.kind.num_states]
    }


def _described(account):
    """Return which networks a state is of, in words that no file can make long or forge."""
    cell, sizes, dtype = (reprlib.repr(account[name]) for name in ("cell", "hidden_sizes", "dtype"))
    return f"{cell} with hidden sizes {sizes} and dtype {dtype}"


class _Preparer:
    """Checks the arguments of steps. It holds no stream, which would be a reference cycle."""

    def __init__(self, engine):
        self._layers, self._skip = engine.layers, engine.skip
        self._input_size, self._output_size = engine.layers[0].input_size, engine.output_size
        self._dtype, self._initial_states = engine.parameters.dtype, engine.initial_states
        self._lookout = engine.lookout

    def __call__(self, stepper, x, out, of_block):
        """Convert what the loop cannot take as it is; called by the backend's Stepper.

        ``of_block`` says that x is many steps, along its first axis.
        """
        array = given = checks.plain_array(x, "x")
        axis = int(of_block)  # of the batch
        is_tokens = array.dtype.kind in "iu" and axis <= array.ndim <= axis + 1
        check_kind(is_tokens, self._layers, self._skip)
        if is_tokens:
            array = checks.tokens(array, self._input_size)
        else:
            if array.ndim - axis not in (1, 2) or array.shape[-1] != self._input_size:
                raise ValueError(f"x has shape {array.shape}; {self._wanted(of_block)}")
            array = checks.real_array(array, "x", self._dtype, array.shape)
        batched = array.ndim > axis + (not is_tokens)
        batch_size = array.shape[axis] if batched else None
        takes_batch = batched and self._stands_for_any_batch(stepper)
        if is_tokens and takes_batch:
            self._look_at(array, of_block)
        if not takes_batch:
            _check_batch(stepper, batch_size)
        if out is not None:
            each = array.shape[: axis + batched]
            checks.output_array(out, (*each, self._output_size), self._dtype, given)
        if takes_batch:
            stepper.reset(batch_size)
        return array, out

    def _wanted(self, of_block):
        lead, what, tokens = ("T, ", "block", "(T,)") if of_block else ("", "step", "a token,")
        alone = f"({lead}{self._input_size})" if of_block else f"({self._input_size},)"
        batch = "(T, B)" if of_block else "(B,)"
        return (
            f"a {what} of this network, built with input_size={self._input_size}, takes {alone} or"
            f" ({lead}B, {self._input_size}) floats, {tokens} or {batch} tokens, which are integers"
        )

    def _look_at(self, tokens, of_block):
        if of_block:
            self._lookout.look(tokens)
        else:
            self._lookout.look_at_step(tokens)

    def _stands_for_any_batch(self, stepper):
        if stepper.batched:
            return False
        pairs = zip(stepper.state, self._initial_states(1), strict=True)
        return all((h == initial).all() for own, others in pairs
                   for h, initial in zip(own, others, strict=True))


def _check_batch(stepper, batch_size):
    expected = stepper.batch_size if stepper.batched else None
    if batch_size != expected:
        came = "one sequence" if batch_size is None else f"a batch of {batch_size}"
        wanted = "one sequence" if expected is None else f"a batch of {expected}"
        is_row = batch_size is not None and expected is not None and expected < batch_size
        hint = (f" (reset({expected}) has made it one of {expected}; to have sequence {expected}"
                f" alone begin anew call reset(rows=[{expected}]))") * is_row
        raise ValueError(
            f"x is {came}, the state is of {wanted}; call reset(batch_size={batch_size})"
            f" first{hint}"
        )
