"""Bad and odd inputs: each is refused with a message that helps, or means what its copy means.

Every nasty value goes into every place that takes an array. A refusal must leave the network, its
state and every cache as they were, and must be the same on both backends.
"""

import tempfile

import numpy as np
import pytest

import crnn

T, B, I, H, O = 4, 2, 3, 5, 6  # noqa: E741
LENGTHS = [2, 4]
no_backend = pytest.mark.no_backend


def values(*shape):
    """Multiples of 1/8 between -2 and 2: exact in every float dtype."""
    return np.random.default_rng(len(shape)).integers(-16, 17, shape) / 8


X, Y, STATE, CLASSES = values(T, B, I), values(T, B, O), values(1, B, H), np.array([[1, 5]] * T)
TOKENS = np.array([[0, 1], [2, 0], [1, 1], [2, 2]])


def make(backend=None, **options):
    net = crnn.RNN(I, H, O, seed=1, backend=backend, **options)
    net.state = STATE
    return net


def numbers(result):
    """The arrays in what a call returned, as a flat list."""
    if isinstance(result, crnn.Gradients):
        result = (result.vector, result.x, result.state)
    if isinstance(result, tuple):
        return [each for part in result for each in numbers(part)]
    return [np.array(result)] if isinstance(result, (float, np.ndarray)) else []


def same_bits(results, others):
    return len(results) == len(others) and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in zip(results, others, strict=True)
    )


def backward(net, dy=Y, dstate=None):
    return net.backward(net.forward(X, STATE)[2], dy, dstate)


def set_state(net, value):
    net.state = value
    return net.step(X[0]), net.state


def set_vector(net, value):
    net.vector = value
    return net.vector, net(X)


def set_parameter(net, value):
    net.parameters["W_hh_l0"] = value
    return net.vector, net(X)


# where a value goes: (a good one, what is done with it, the name that the message gives it)
PLACES = {
    "call-x": (X, lambda net, v: net(v), "x"),
    "call-x-lengths": (X, lambda net, v: net(v, STATE, lengths=LENGTHS), "x"),
    "forward-x": (X, lambda net, v: net.forward(v), "x"),
    "backward-x": (X, lambda net, v: net.backward(net.forward(v)[2], Y), "x"),
    "loss-x": (X, lambda net, v: net.loss(v, CLASSES), "x"),
    "gradients-x": (X, lambda net, v: net.loss_and_gradients(v, CLASSES), "x"),
    "step-x": (X[0], lambda net, v: (net.step(v), net.state), "x"),
    "call-state": (STATE, lambda net, v: net(X, v), "state"),
    "gradients-state": (STATE, lambda net, v: net.loss_and_gradients(X, CLASSES, v), "state"),
    "set-state": (STATE, set_state, "state"),
    "loss-targets": (Y, lambda net, v: net.loss(X, v, loss="mse"), "targets"),
    "gradients-targets": (Y, lambda net, v: net.loss_and_gradients(X, v, loss="mse"), "targets"),
    "backward-dy": (Y, lambda net, v: backward(net, v), "dy"),
    "backward-dstate": (STATE, lambda net, v: backward(net, dstate=v), "dstate"),
    "set-vector": (values(H * (I + H + 1 + O) + O), set_vector, "vector"),
    "set-parameter": (values(H, H), set_parameter, "W_hh_l0"),
}
HAS_DEFAULT = ("call-state", "gradients-state", "backward-dstate")


def check_refused(action, kind, *fragments):
    """Check that both backends refuse alike and are, to the bit, as if nothing had come."""
    refusals = []
    for backend in ("compiled", "reference"):
        net = make(backend)
        cache = net.forward(X, STATE)[2]
        before = numbers((net.vector, net.state, net.backward(cache, Y), net(X)))
        with pytest.raises(kind) as error:
            action(net)
        # the old cache is refused if the network thinks that it has changed
        after = numbers((net.vector, net.state, net.backward(cache, Y), net(X)))
        assert same_bits(before, after)
        refusals.append((error.type, str(error.value)))
    assert refusals[0] == refusals[1]
    for fragment in fragments:
        assert fragment in refusals[0][1]


# --- wrong kinds and shapes ----------------------------------------------------------------------


class Exploding:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array today")


class Sparse:
    def toarray(self):
        return X


BAD_KINDS = {
    "generator": (lambda a: (row for row in a), TypeError, "is a generator"),
    "string": (lambda a: "0.5", TypeError, "<U3"),
    "strings": (lambda a: a.astype("U8"), TypeError, "<U8"),
    "bytes": (lambda a: a.astype("S8"), TypeError, "|S8"),
    "object": (lambda a: a.astype(object), TypeError, "object"),
    "dict": (lambda a: {"x": a}, TypeError, "is a dict"),
    "nested-none": (lambda a: [None] * len(a), TypeError, "object"),
    "datetime": (lambda a: a.astype("M8[s]"), TypeError, "datetime64"),
    "timedelta": (lambda a: a.astype("m8[s]"), TypeError, "timedelta64"),
    "complex": (lambda a: a + 0j, TypeError, "complex128"),
    "complex64": (lambda a: a.astype("c8"), TypeError, "complex64"),
    "void": (lambda a: a.view("V8"), TypeError, "V8"),
    "one-field": (lambda a: a.view([("v", "f8")]), ValueError, "structured"),
    "two-fields": (lambda a: a.view([("v", "f4"), ("w", "f4")]), ValueError, "structured"),
    "masked": (lambda a: np.ma.masked_array(a, mask=a > 0), ValueError, "masked"),
    "unmasked": (np.ma.masked_array, ValueError, "masked"),
    "matrix": (lambda a: np.asmatrix(a.reshape(len(a), -1)), ValueError, "matrix"),
    "sparse": (lambda a: Sparse(), ValueError, "Sparse"),
    "ragged": (lambda a: [[1.0, 2.0], [3.0]], ValueError, "a list whose items have unequal"),
}


@no_backend
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", BAD_KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_kind_is_refused(place, kind):
    good, put, name = PLACES[place]
    spoil, error, fragment = BAD_KINDS[kind]
    check_refused(lambda net: put(net, spoil(good)), error, name, fragment)


@no_backend
@pytest.mark.parametrize("place", [each for each in PLACES if each not in HAS_DEFAULT])
def test_none_is_refused_where_it_has_no_meaning(place):
    _, put, name = PLACES[place]
    check_refused(lambda net: put(net, None), TypeError, name, "None")


@no_backend
@pytest.mark.parametrize("place", PLACES)
def test_an_error_in_the_callers_own_array_method_is_passed_on(place):
    check_refused(lambda net: PLACES[place][1](net, Exploding()), RuntimeError, "no array today")


BAD_SHAPES = {
    "0-d": lambda a: np.float64(0.5),
    "one-more-axis": lambda a: a[None],
    "two-more-axes": lambda a: a[None, None],
    "one-short": lambda a: a[..., :-1],
    "one-long": lambda a: np.concatenate([a, a[..., :1]], axis=-1),
    "no-features": lambda a: a[..., :0],
    "flat": lambda a: a.reshape(1, -1)[0, :-1],
}


@no_backend
@pytest.mark.parametrize("shape", BAD_SHAPES)
@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_shape_is_refused(place, shape):
    good, put, name = PLACES[place]
    bad = BAD_SHAPES[shape](good)
    wanted = {"x": str(I)}.get(name, str(good.shape[-1]))
    check_refused(lambda net: put(net, bad), ValueError, name, str(bad.shape), wanted)


# --- odd values that are fine: the same bits as a plain copy -------------------------------------


def misaligned(a):
    memory = np.zeros(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def memmap(a):
    with tempfile.TemporaryFile() as file:
        file.write(a.tobytes())
        file.flush()
        return np.memmap(file, a.dtype, "r", shape=a.shape)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def every_second(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


class Changing:
    """Another shape each time it is asked for its array."""

    def __init__(self, a):
        self.arrays = iter([a, a[:1], a[:0]])

    def __array__(self, dtype=None, copy=None):
        return next(self.arrays)


class Signal(np.ndarray):
    """A subclass that adds nothing."""


LAYOUTS = {
    "fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "reversed-last": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "every-second": every_second,
    "stride-0": lambda a: np.broadcast_to(a[..., :1], a.shape),
    "stride-0-first": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": misaligned,
    "memmap": memmap,
    "subclass": lambda a: a.view(Signal),
    "list": lambda a: a.tolist(),
    "changing": Changing,
}
DTYPES = ("float16", "float32", "float64", "longdouble", "int8", "int64", "uint16", "bool",
          ">f4", ">f8", ">i2")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", PLACES)
def test_memory_layout_does_not_matter(place, layout, dtype):
    good, put, _ = PLACES[place]
    odd = LAYOUTS[layout](good.astype(dtype))
    plain = np.array(LAYOUTS[layout](good.astype(dtype)), dtype, order="C")
    before = None if isinstance(odd, Changing) else np.array(odd).tobytes()
    result = numbers(put(make(dtype=dtype), odd))
    assert {type(each) for each in result} == {np.ndarray}
    assert same_bits(result, numbers(put(make(dtype=dtype), plain)))
    assert before is None or np.array(odd).tobytes() == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", PLACES)
def test_real_dtypes_are_converted(place, dtype):
    good, put, _ = PLACES[place]
    value = (np.rint(good * 4) if np.dtype(dtype).kind == "i" else good * 2).astype(dtype)
    result = numbers(put(make(), value))
    assert same_bits(result, numbers(put(make(), value.astype(np.float32))))


def test_inputs_are_never_modified(backend):
    x, state, y, vector = (a.astype("f4") for a in (X, STATE, Y, PLACES["set-vector"][0]))
    tokens, classes, lengths = (np.array(a, np.intp) for a in (TOKENS, CLASSES, LENGTHS))
    inputs = (x, state, y, vector, tokens, classes, lengths)
    before = [each.tobytes() for each in inputs]
    net = make()
    net.vector, net.state = vector, state
    for each in (x, tokens):
        net(each, state, lengths=lengths)
        net.backward(net.forward(each, state, lengths=lengths)[2], y, state)
        for loss, targets in (("softmax", classes), ("mse", y)):
            for way in (net.loss, net.loss_and_gradients):
                way(each, targets, state, loss=loss, lengths=lengths)
                way(each, targets[-1], state, loss=loss)
        net.step(each[0])
    assert [each.tobytes() for each in inputs] == before


# --- tokens --------------------------------------------------------------------------------------

PADDED = {"lengths": [T - 1, T - 1]}
TOKEN_PATHS = {
    "call": lambda net, t: net(t),
    "call-one": lambda net, t: net(t[:, -1]),
    "call-padding": lambda net, t: net(t, **PADDED),
    "forward": lambda net, t: net.forward(t),
    "forward-padding": lambda net, t: net.forward(t, **PADDED),
    "loss": lambda net, t: net.loss(t, CLASSES),
    "loss-padding": lambda net, t: net.loss(t, CLASSES, **PADDED),
    "gradients": lambda net, t: net.loss_and_gradients(t, CLASSES),
    "gradients-one": lambda net, t: net.loss_and_gradients(t[:, -1], CLASSES[:, 0]),
    "gradients-padding": lambda net, t: net.loss_and_gradients(t, CLASSES, **PADDED),
    "step": lambda net, t: (net.step(t[-1]), net.state),
    "step-first": lambda net, t: net.stream().step(t[-1]),
    "step-one": lambda net, t: net.stream().step(t[-1, -1]),
    "step-0-d": lambda net, t: net.stream().step(t[-1, -1:].reshape(())),
    "step-int": lambda net, t: net.stream().step(int(t[-1, -1])),
}
WIDTHS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
BAD_TOKENS = sorted(
    {(w, v) for w in WIDTHS for v in (I, np.iinfo(w).max, -1, np.iinfo(w).min)
     if v >= I or (v < 0 and w[0] == "i")}
    | {(w, v) for w in ("int64", "uint64") for v in (2**31, 2**32 + 1, 2**62 + 1)}
    | {("uint64", 2**63), ("uint64", 2**63 + 1)}
)


@no_backend
@pytest.mark.parametrize(("width", "bad"), BAD_TOKENS, ids=str)
@pytest.mark.parametrize("path", TOKEN_PATHS)
def test_a_token_out_of_range_is_refused_even_on_padding(path, width, bad):
    tokens = TOKENS.astype(width)
    tokens[-1, -1] = bad
    check_refused(lambda net: TOKEN_PATHS[path](net, tokens), IndexError, str(bad), str(I - 1))


@pytest.mark.parametrize("width", [*WIDTHS, "longlong", ">i2", ">i8"])
@pytest.mark.parametrize("path", TOKEN_PATHS)
def test_tokens_of_any_width_are_the_same(path, width):
    result = numbers(TOKEN_PATHS[path](make(), TOKENS.astype(width)))
    assert same_bits(result, numbers(TOKEN_PATHS[path](make(), TOKENS)))


# --- lengths, targets, options -------------------------------------------------------------------

BAD_LENGTHS = {
    "negative": ([-1, 2], ValueError, "-1"),
    "too-long": ([T + 1, 2], ValueError, f"T = {T}"),
    "int64-max": ([2**63 - 1, 2], ValueError, str(2**63 - 1)),
    "uint64-max": (np.array([2**64 - 1, 2], np.uint64), ValueError, str(2**64 - 1)),
    "too-few": ([2], ValueError, "(1,)"),
    "too-many": ([2, 2, 2], ValueError, "(3,)"),
    "one-number": (2, ValueError, "()"),
    "two-axes": ([[2, 2]], ValueError, "(1, 2)"),
    "float": ([2.0, 2.0], TypeError, "float64"),
    "bool": ([True, True], TypeError, "bool"),
    "object": ([2, None], TypeError, "object"),
    "string": ("2", TypeError, "<U1"),
    "masked": (np.ma.array([2, 2]), ValueError, "masked"),
}
LENGTHS_PATHS = {
    "call": lambda net, n: net(X, lengths=n),
    "forward": lambda net, n: net.forward(TOKENS, lengths=n),
    "loss": lambda net, n: net.loss(TOKENS, CLASSES, lengths=n),
    "gradients": lambda net, n: net.loss_and_gradients(X, CLASSES, lengths=n),
}


@no_backend
@pytest.mark.parametrize("bad", BAD_LENGTHS)
@pytest.mark.parametrize("path", LENGTHS_PATHS)
def test_bad_lengths_are_refused(path, bad):
    value, kind, fragment = BAD_LENGTHS[bad]
    check_refused(lambda net: LENGTHS_PATHS[path](net, value), kind, "lengths", fragment)


@pytest.mark.parametrize("width", [*WIDTHS, ">i4", "list", "tuple"])
@pytest.mark.parametrize("path", LENGTHS_PATHS)
def test_lengths_of_any_width_are_the_same(path, width):
    lengths = {"list": LENGTHS, "tuple": tuple(LENGTHS)}.get(width)
    lengths = np.array(LENGTHS, width) if lengths is None else lengths
    plain = numbers(LENGTHS_PATHS[path](make(), np.array(LENGTHS, np.intp)))
    assert same_bits(numbers(LENGTHS_PATHS[path](make(), lengths)), plain)


HUGE = np.broadcast_to(np.float32(0), (2**44, 1, I))
REFUSED = {
    "state-of-another-batch": (lambda net: net(X, values(1, 3, H)), ValueError, "(1, 3, 5)"),
    "state-without-batch": (lambda net: net(X, values(1, H)), ValueError, "(1, 5)", "(1, 2, 5)"),
    "state-with-batch": (lambda net: net(X[:, 0], STATE), ValueError, "(1, 2, 5)", "(1, 5)"),
    "state-of-two-layers": (lambda net: net(X, values(2, B, H)), ValueError, "(2, 2, 5)"),
    "set-state-flat": (lambda net: set_state(net, values(H)), ValueError, "(5,)", "(1, B, 5)"),
    "set-state-layers": (lambda net: set_state(net, values(2, B, H)), ValueError, "(2, 2, 5)"),
    "targets-of-another-batch": (lambda net: net.loss(X, CLASSES[:, :1]), ValueError, "(4, 1)"),
    "targets-too-short": (lambda net: net.loss(X, CLASSES[1:]), ValueError, "(3, 2)", "(2,)"),
    "targets-one-hot": (lambda net: net.loss(X, np.eye(T, O)), ValueError, "(4, 6)", "(4, 2)"),
    "targets-classes": (lambda net: net.loss(X, CLASSES, loss="mse"), ValueError, "(4, 2, 6)"),
    "dy-without-batch": (lambda net: backward(net, Y[:, 0]), ValueError, "(4, 6)", "(4, 2, 6)"),
    "dstate-without-batch": (lambda net: backward(net, Y, STATE[0]), ValueError, "(1, 2, 5)"),
    "class-too-large": (lambda net: net.loss(X, CLASSES + 1), ValueError, "6", "0 to 5"),
    "class-below--1": (lambda net: net.loss(X, CLASSES - 3), ValueError, "-2", "0 to 5"),
    "class-wraps": (lambda net: net.loss(X, CLASSES + 2**32), ValueError, str(2**32 + 5)),
    "class-uint64": (lambda net: net.loss(X, np.full((T, B), 2**64 - 1)), ValueError, "-1 means"),
    "class-on-padding": (lambda net: net.loss(X, CLASSES + 1, lengths=[0, 0]), ValueError, "6"),
    "float-classes": (lambda net: net.loss(X, CLASSES * 1.0), TypeError, "float64", "integers"),
    "bool-classes": (lambda net: net.loss(X, CLASSES > 1), TypeError, "bool", "integers"),
    "loss": (lambda net: net.loss(X, CLASSES, loss="nll"), ValueError, "'nll'", "'softmax'"),
    "reduction": (lambda net: net.loss(X, CLASSES, reduction=None), TypeError, "None", "'mean'"),
    "float-tokens": (lambda net: net(TOKENS[:, 0] * 1.0), ValueError, "(4,)", "integer tokens"),
    "length-of-one-in-a-list": (lambda net: net(X[:, 0], lengths=[2]), ValueError, "(1,)", "()"),
    "cache": (lambda net: net.backward(None, Y), TypeError, "NoneType", "forward"),
    "unknown-parameter": (lambda net: net.parameters.__setitem__("W", Y), KeyError, "W_hh_l0"),
    "huge-x": (lambda net: net(HUGE), MemoryError, "192. TiB"),
    "huge-x-forward": (lambda net: net.forward(HUGE), MemoryError, "192. TiB"),
}


@no_backend
@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_meaning_is_refused(case):
    check_refused(*REFUSED[case])


@pytest.mark.parametrize("x", [iter([[1.0, 2.0, 3.0]]), {"x": 1.0}, {1.0, 2.0}],
                         ids=["iterator", "dict", "set"])
def test_what_is_no_array_is_called_by_its_name(x):
    net = crnn.RNN(3, 5, 2, seed=0)
    with pytest.raises(TypeError, match=f"x is a {type(x).__name__}; an array, or a list"):
        net(x)


@pytest.mark.parametrize("shape", [(2, 4), (4,), (2, 0)])
def test_a_step_of_another_width_says_what_the_network_was_built_for(shape):
    net = crnn.RNN(3, 5, 2, seed=0)
    with pytest.raises(ValueError, match=r"input_size=3, takes \(3,\) or \(B, 3\) floats") as error:
        net.step(np.zeros(shape))
    assert f"x has shape {shape}" in str(error.value)
