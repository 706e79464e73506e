"""Training again on arrays of the same shape: what a network keeps from pass to pass must not show.

From the second pass on over tokens of one shape, a small network works in memory of its own and
looks at its arguments in C. Every result and every refusal has to be that of a new network, whose
first pass is the general one.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builds import each_kind, network_of, parts_of, state_of

pytestmark = pytest.mark.no_backend  # the reference has no such pass

T, B, V, H = 7, 3, 5, 19
PASSES = 5
DTYPES = ["float32", "float64"]


def network(kind="rnn-tanh", readout=True, dtype="float32"):
    return network_of(kind, V, H, V if readout else None, dtype=dtype, seed=0)


def trained(net, x, targets, state=None, **options):
    """Return all that a pass gives, as bits, or the error that it raises."""
    try:
        loss, grads, last = net.loss_and_gradients(x, targets, state, **options)
    except Exception as error:
        return type(error), str(error)
    assert type(loss) is float
    arrays = (*grads.parameters.values(), *parts_of(grads.state), *parts_of(last))
    x_bits = None if grads.x is None else grads.x.tobytes()
    return loss, x_bits, *((array.dtype, array.shape, array.tobytes()) for array in arrays)


@pytest.fixture
def tokens(rng):
    return rng.integers(0, V, (PASSES, T, B))


@pytest.fixture
def classes(rng):
    return rng.integers(0, V, (PASSES, T, B))


def used(tokens, classes, **options):
    """Return a network that has had passes enough of one shape."""
    net = network(**options)
    for each in zip(tokens, classes, strict=True):
        net.loss_and_gradients(*each)
    return net


# --- results -------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_all_passes_but_the_first_are_compiled_ones(monkeypatch, tokens, classes, kind, readout):
    net, found = network(kind, readout), []
    quick = net._quick.loss_and_gradients

    def spy(*arguments):
        found.append(quick(*arguments))
        return found[-1]

    monkeypatch.setattr(net._quick, "loss_and_gradients", spy)
    for x, targets in zip(tokens, classes, strict=True):
        net.loss_and_gradients(x, targets)
    assert [each is not None for each in found] == [False] + [True] * (PASSES - 1)


@pytest.mark.parametrize("dtype", DTYPES)
@each_kind
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "one sequence"])
@pytest.mark.parametrize("has_state", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
def test_every_pass_is_like_a_first_one(
    rng, tokens, classes, dtype, kind, batched, has_state, readout
):
    options = {"kind": kind, "readout": readout, "dtype": dtype}
    net, each = network(**options), slice(None) if batched else 0
    for x, targets in zip(tokens[:, :, each], classes[:, :, each], strict=True):
        shape = (1, B, H) if batched else (1, H)
        state = [rng.standard_normal(shape).astype(dtype) for _ in range(1 + (kind == "lstm"))]
        state = state_of(state) if has_state else None
        first = trained(network(**options), x, targets, state)
        assert first[0] is not TypeError
        assert trained(net, x, targets, state) == first


@each_kind
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (131, 1), (40, 33)], ids=str)
def test_other_sizes(rng, kind, shape):
    net = network(kind)
    for _ in range(PASSES):
        x, targets = rng.integers(0, V, (2, *shape))
        assert trained(net, x, targets) == trained(network(kind), x, targets)


def test_shapes_that_alternate(rng):
    net = network()
    for shape in [(3, 2), (3, 2), (3, 2), (4, 2), (3, 2), (4, 2), (4, 2), (4, 2), (3, 2), (6,)] * 2:
        x, targets = rng.integers(0, V, (2, *shape))
        assert trained(net, x, targets) == trained(network(), x, targets)


@each_kind
def test_after_the_parameters_have_changed(rng, tokens, classes, kind):
    net = used(tokens, classes, kind=kind)
    for x, targets in zip(tokens, classes, strict=True):
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        new = network(kind)
        new.vector = net.vector
        assert trained(net, x, targets) == trained(new, x, targets)


@each_kind
def test_results_are_the_callers_own(tokens, classes, kind):
    net, ones = used(tokens, classes, kind=kind), np.ones((1, B, H), np.float32)
    x, targets, state = tokens[0], classes[0], (ones, 2 * ones) if kind == "lstm" else ones
    given = [each.copy() for each in (x, targets, *parts_of(state))]
    _, grads, last = net.loss_and_gradients(x, targets, state)
    results = [grads.vector, *parts_of(grads.state), *parts_of(last)]
    kept = [each.copy() for each in results]
    for each in zip(tokens, classes, strict=True):
        net.loss_and_gradients(*each)
    for after, before in zip(results, kept, strict=True):
        np.testing.assert_array_equal(after, before)
    for after, before in zip((x, targets, *parts_of(state)), given, strict=True):
        np.testing.assert_array_equal(after, before)


# --- arguments -----------------------------------------------------------------------------------


class ArrayLike:
    """What has a shape and can be converted, and is no array."""

    def __init__(self, values):
        self.values, self.shape = np.array(values), np.shape(values)

    def __array__(self, dtype=None, copy=None):
        return self.values.copy()


def broken(array, value):
    array = np.array(array)
    array[1, 2] = value
    return array


STATE = np.random.default_rng(3).standard_normal((1, B, H)).astype(np.float32)
CONVERTED = {
    "int32": lambda x, y: (x.astype(np.int32), y.astype(np.int32), STATE),
    "other bytes": lambda x, y: (x.astype(">i8"), y.astype(">i8"), STATE.astype(">f4")),
    "lists": lambda x, y: (x.tolist(), y.tolist(), STATE.tolist()),
    "a list as x": lambda x, y: (x.tolist(), y),
    "array-likes": lambda x, y: (ArrayLike(x), ArrayLike(y), ArrayLike(STATE)),
    "Fortran order": lambda x, y: (*map(np.asfortranarray, (x, y, STATE)),),
    "strides": lambda x, y: (*(np.repeat(each, 2, axis=1)[:, ::2] for each in (x, y, STATE)),),
    "float64 state": lambda x, y: (x, y, STATE.astype(float)),
    "one-hot x": lambda x, y: (np.eye(V)[x], y, STATE),
    "no targets": lambda x, y: (x, broken(y, -1)),
    "no target at all": lambda x, y: (x, np.full_like(y, -1)),
    "the last targets": lambda x, y: (x, y[-1]),
    "a read-only x": lambda x, y: (np.frombuffer(x.tobytes(), np.intp).reshape(T, B), y),
    "x as targets": lambda x, y: (x, x),
}
REFUSED = {
    "token V": lambda x, y: (broken(x, V), y),
    "token -1": lambda x, y: (broken(x, -1), y),
    "class V": lambda x, y: (x, broken(y, V)),
    "class -2": lambda x, y: (x, broken(y, -2)),
    "token 2**62": lambda x, y: (broken(x, 2**62), y),
    "class -2**63": lambda x, y: (x, broken(y, -(2**63))),
    "no x": lambda x, y: (None, y),
    "no classes": lambda x, y: (x, None),
    "a word": lambda x, y: ("x", y),
    "a number": lambda x, y: (3, y),
    "float targets": lambda x, y: (x, y.astype(float)),
    "fewer targets": lambda x, y: (x, y[1:]),
    "targets of one sequence": lambda x, y: (x, y[:, 0]),
    "targets of another batch": lambda x, y: (x, y[:, :2]),
    "targets with an axis more": lambda x, y: (x, y[..., None]),
    "a state of another batch": lambda x, y: (x, y, STATE[:, :2]),
    "a state of other units": lambda x, y: (x, y, STATE[..., :-1]),
    "a state of one sequence": lambda x, y: (x, y, STATE[:, 0]),
    "a state with an axis less": lambda x, y: (x, y, STATE[0]),
    "two states": lambda x, y: (x, y, np.concatenate([STATE, STATE])),
    "a complex state": lambda x, y: (x, y, STATE.astype(complex)),
}


@pytest.mark.parametrize("case", CONVERTED.values(), ids=CONVERTED)
@pytest.mark.parametrize("times", [0, 1, 2, PASSES])
def test_what_needs_converting(tokens, classes, case, times):
    net, arguments = used(tokens[:times], classes[:times]), case(tokens[0], classes[0])
    first = trained(network(), *arguments)
    assert not isinstance(first[0], type), first
    for _ in range(4):
        assert trained(net, *arguments) == first
    assert trained(net, tokens[1], classes[1]) == trained(network(), tokens[1], classes[1])


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("times", [0, 1, 2, PASSES])
def test_what_is_refused(tokens, classes, case, times):
    net, arguments = used(tokens[:times], classes[:times]), case(tokens[0], classes[0])
    first = trained(network(), *arguments)
    assert issubclass(first[0], (TypeError, ValueError, IndexError))
    for _ in range(4):
        assert trained(net, *arguments) == first
    assert trained(net, tokens[1], classes[1]) == trained(network(), tokens[1], classes[1])


PAIRS = {
    "one array": lambda h: h,
    "an array of two": lambda h: np.stack([h, h]),
    "one in a tuple": lambda h: (h,),
    "three": lambda h: (h, h, h),
    "two of another batch": lambda h: (h, h[:, :2]),
    "two of one sequence": lambda h: (h[:, 0], h[:, 0]),
    "no c": lambda h: (h, None),
    "a dict": lambda h: {0: h, 1: h},
    "a number": lambda h: 3,
    "a word": lambda h: "hc",
}


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("times", [0, 1, 2, PASSES])
def test_what_is_refused_as_the_state_of_an_lstm(tokens, classes, case, times):
    net = used(tokens[:times], classes[:times], kind="lstm")
    arguments = tokens[0], classes[0], case(STATE)
    first = trained(network("lstm"), *arguments)
    assert issubclass(first[0], (TypeError, ValueError))
    for _ in range(4):
        assert trained(net, *arguments) == first


@pytest.mark.parametrize("pair", [list, tuple])
def test_list_and_tuple_as_the_state_of_an_lstm(tokens, classes, pair):
    net, state = used(tokens, classes, kind="lstm"), pair((STATE, 2 * STATE))
    first = trained(network("lstm"), tokens[0], classes[0], state)
    assert not isinstance(first[0], type), first
    assert trained(net, tokens[0], classes[0], state) == first


@pytest.mark.parametrize("options", [
    {"loss": "mse"}, {"reduction": "sum"}, {"lengths": [T, 2, 0]}, {"loss": "hinge"},
    {"reduction": "none"}, {"lengths": [1]},
], ids=str)
def test_other_options(rng, tokens, classes, options):
    net = used(tokens, classes)
    targets = rng.standard_normal((T, B, V)) if options.get("loss") == "mse" else classes[0]
    for _ in range(3):
        assert trained(net, tokens[0], targets, **options) == trained(
            network(), tokens[0], targets, **options)


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm"])
def test_threads_that_share_a_network(rng, switching, kind):
    cases = [tuple(rng.integers(0, V, (2, T, B))) for _ in range(16)]
    wanted = [trained(network(kind), *case) for case in cases]
    for _ in range(10):
        net = network(kind)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda case, net=net: trained(net, *case), cases * 20))
        assert found == wanted * 20
