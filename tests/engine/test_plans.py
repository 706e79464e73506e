"""Plans: what a network keeps from pass to pass must not show, and gives its memory back.

Every result and every refusal has to be that of a new network, whose first pass makes a plan that
the later ones use.
"""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builds import each_dtype, each_kind, network_of, normal, parts_of, state_of

import crnn
from crnn.engine import compiled, pass_arrays, plans

pytestmark = pytest.mark.no_backend  # the reference has no plans

T, B, I, H = 7, 3, 5, 19  # noqa: E741
CALLS = 4
each_readout = pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
batched_or_not = pytest.mark.parametrize("batched", [True, False], ids=["batch", "one sequence"])
NETS = [{"num_layers": 2}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True}]
each_net = pytest.mark.parametrize("options", NETS, ids=str)


def network(kind="rnn-tanh", readout=True, dtype="float32", **options):
    return network_of(kind, I, H, I if readout else None, dtype=dtype, seed=0, **options)


def bits(array):
    return array.dtype, array.shape, array.tobytes()


def inferred(net, x, *state, **options):
    """Return all that inference gives, as bits, or the error that it raises."""
    try:
        y, last = net(x, *state, **options)
    except Exception as error:
        return type(error), str(error)
    return [bits(each) for each in (y, *parts_of(last))]


def lost(net, x, targets, state=None, **options):
    """Return a loss and the last state, as bits, or the error."""
    try:
        loss, last = net.loss(x, targets, state, **options)
    except Exception as error:
        return type(error), str(error)
    assert type(loss) is float
    return loss, *map(bits, parts_of(last))


def trained(net, x, targets, state=None, **options):
    """Return all that a training pass gives, as bits, or the error that it raises."""
    try:
        loss, grads, last = net.loss_and_gradients(x, targets, state, **options)
    except Exception as error:
        return type(error), str(error)
    assert type(loss) is float
    arrays = (*grads.parameters.values(), *parts_of(grads.state), *parts_of(last))
    return loss, None if grads.x is None else bits(grads.x), *map(bits, arrays)


def is_error(found):
    return isinstance(found[0], type)


@pytest.fixture
def x(rng):
    return normal(rng, "float32", T, B, I)


@pytest.fixture
def tokens(rng):
    return rng.integers(0, I, (CALLS, T, B))


@pytest.fixture
def classes(rng):
    return rng.integers(0, I, (CALLS, T, B))


def after_inference(shape, times=CALLS, dtype="float32", **options):
    """Return a network that has had calls with one shape."""
    net = network(dtype=dtype, **options)
    for _ in range(times):
        net(np.ones(shape, dtype))
    return net


def after_training(tokens, classes, **options):
    net = network(**options)
    for each in zip(tokens, classes, strict=True):
        net.loss_and_gradients(*each)
        net.loss(*each)
    return net


# --- which plan is taken -------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """The questions that plans are made for, as they are made."""
    questions, make = [], compiled.Plan

    def spy(kernels, weights, question, *others):
        questions.append(question)
        return make(kernels, weights, question, *others)

    monkeypatch.setattr(compiled, "Plan", spy)
    return questions


@each_kind
@each_readout
def test_all_passes_but_the_first_use_its_plan(made, x, tokens, classes, kind, readout):
    net = network(kind, readout)
    for _ in range(CALLS):
        net(x)
    assert [each.kind for each in made] == ["infer"]
    for _ in range(CALLS):
        net.loss(x, classes[0])
        net.loss_and_gradients(x, classes[0])
    assert [each.kind for each in made] == ["infer", "loss", "train"]
    after_training(tokens, classes, kind=kind)
    assert [each.kind for each in made[3:]] == ["train", "loss"]
    assert len(set(made)) == len(made)


def other_plans(x, tokens, classes):
    """Return training passes that need a plan each."""
    long = np.concatenate([x, x])
    y = np.ones_like(x)
    return [
        (tokens[0], classes[0], {}), (x, classes[0], {}), (x[:-1], classes[0, :-1], {}),
        (x[:, :2], classes[0, :, :2], {}), (x[:, 0], classes[0, :, 0], {}),
        (x[:, :1], classes[0, :, :1], {}), (x, classes[0, -1], {}), (x, y, {"loss": "mse"}),
        (x, y, {"loss": "sigmoid"}), (x, y[-1], {"loss": "mse"}),
        (long, np.concatenate([y, y]), {"loss": "mse"}),
        (long, np.concatenate([y, y]), {"loss": "sigmoid"}),
    ]


@each_net
def test_a_plan_for_something_else_is_not_taken(rng, made, x, tokens, classes, options):
    net, passes = network("gru-after-tanh", **options), other_plans(x, tokens, classes)
    wanted = [trained(network("gru-after-tanh", **options), *each[:2], **each[2])
              for each in passes]
    losses = [lost(network("gru-after-tanh", **options), *each[:2], **each[2]) for each in passes]
    made.clear()
    for n in [*range(len(passes)), *rng.integers(0, len(passes), 60)]:
        *arguments, rest = passes[n]
        assert trained(net, *arguments, **rest) == wanted[n]
        if rng.random() < 0.5:
            assert lost(net, *arguments, **rest) == losses[n]
            assert losses[n][0] == wanted[n][0]
    assert len([each for each in made if each.kind == "train"]) == len(passes)  # and all are kept
    assert len(set(made)) == len(made)


def test_another_dtype_is_converted_for_the_same_plan(made, x):
    net = network()
    for each in (x, x.astype(float), x.tolist(), np.asfortranarray(x), x):
        assert inferred(net, each) == inferred(net, x)
    assert len(made) == 1
    wide = after_inference(x.shape, dtype="float64")
    assert wide(x)[0].dtype == np.float64


def test_the_gradient_of_x_is_another_question(made, x, classes):
    net = network()
    for wants_x in (False, True, False, True):
        _, grads, _ = net.engine.loss_and_gradients(
            x, classes[0], None, "softmax", "mean", None, wants_x=wants_x)
        assert (grads.x is not None) == wants_x
    assert [each.wants_x for each in made] == [False, True]


def test_a_plan_of_last_outputs_refuses_one_step(x):
    net, targets = network(), np.zeros((B, I), np.float32)
    lost(net, x, targets, loss="mse")
    assert lost(net, x, targets[None], loss="mse") == lost(
        network(), x, targets[None], loss="mse")


def test_the_sum_and_the_mean_share_a_plan(made, tokens, classes):
    net = network()
    for reduction in ("mean", "sum", "mean", "sum"):
        new = network()
        assert trained(net, tokens[0], classes[0], reduction=reduction) == trained(
            new, tokens[0], classes[0], reduction=reduction)
    assert len(made) == 1 + 4


# --- tapes ---------------------------------------------------------------------------------------


def gradients_of(net, cache, dy, dstate=None):
    grads = net.backward(cache, dy, dstate)
    x = [] if grads.x is None else [grads.x]
    return [bits(each) for each in (grads.vector, *x, *parts_of(grads.state))]


def forward_and_back(net, x, *state, **options):
    """Return all that both passes give, as bits."""
    y, last, cache = net.forward(x, *state, **options)
    back = gradients_of(net, cache, np.cos(y), last)
    return [bits(each) for each in (y, *parts_of(last))] + back


def kinds_made(made):
    return [each.kind for each in made]


@each_kind
@each_readout
@pytest.mark.parametrize("options", [{}, *NETS], ids=str)
def test_a_plan_serves_the_next_pass_when_its_cache_is_gone(
    made, x, tokens, kind, readout, options
):
    net = network(kind, readout, **options)
    for n in range(CALLS):
        for each in (x + n, tokens[n]):
            new = network(kind, readout, **options)
            assert forward_and_back(net, each) == forward_and_back(new, each)
            new = network(kind, readout, **options)
            lengths = [T - n, 0, 3]
            assert forward_and_back(net, each, lengths=lengths) == forward_and_back(
                new, each, lengths=lengths)
    assert kinds_made(made).count("forward") == 2 + 4 * CALLS
    assert len(plans_of(net)) == 2


@pytest.mark.parametrize("times", [1, 2, 5])
def test_two_plans_take_turns_where_a_cache_lives_until_the_next_one(made, x, times):
    net = network("lstm", num_layers=2)
    for n in range(2 * times):
        each = (x + n).astype("float64")  # which is converted
        y, last, cache = net.forward(each)
        assert gradients_of(net, cache, y, last) == gradients_of(
            *(fresh := network("lstm", num_layers=2), fresh.forward(each)[2]), y, last)
        y, last, cache = net.forward(each)
        net.loss(each, each, loss="mse")
    own = [each for each in plans_of(net) if each.question.kind == "forward"]
    assert len(own) == 2
    assert kinds_made(made).count("forward") == 2 + 2 * times


@each_kind
@pytest.mark.parametrize("options", [{}, *NETS], ids=str)
def test_a_cache_that_lives_is_nobody_elses(x, tokens, kind, options):
    """Any number of them, while the same and other passes go on."""
    net = network(kind, **options)
    inputs = [each for n in range(CALLS) for each in (x + n, tokens[n], x[1:] - n, x[:, 0] * n)]
    wanted = [forward_and_back(network(kind, **options), each) for each in inputs]
    passes = [net.forward(each) for each in inputs]
    for _ in range(2):
        for (y, last, cache), each, all_of_it in zip(passes, inputs, wanted, strict=True):
            assert forward_and_back(net, each) == all_of_it
            assert gradients_of(net, cache, np.cos(y), last) == all_of_it[-len(
                gradients_of(net, cache, y)):]
        del passes[::2], inputs[::2], wanted[::2]


def test_the_way_back_is_made_once_for_a_plan(made, x):
    net = network("lstm", bidirectional=True)
    for n in range(CALLS):
        y, _, cache = net.forward(x + n)
        first = gradients_of(net, cache, y)
        assert gradients_of(net, cache, 2 * y) != first
        assert gradients_of(net, cache, y) == first
        del cache
    assert kinds_made(made) == ["forward"]
    assert len(plans_of(net)) == 1


def test_of_many_caches_few_hold_a_way_back(x):
    """A list of caches is not to grow as backward goes through it."""
    net = network("lstm", num_layers=2)
    passes = [net.forward(x) for _ in range(CALLS)]
    for y, _, cache in passes:
        net.backward(cache, y)
    assert sum(len(cache._tape.plan.ways_back) for *_, cache in passes) <= 2 < CALLS


def test_parameters_that_change_between_tapes(rng, x):
    net = network("gru-before-tanh", num_layers=2)
    y, last, cache = net.forward(x)
    for _ in range(2 * CALLS):
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        with pytest.raises(ValueError, match="call forward again"):
            net.backward(cache, y)
        new = network("gru-before-tanh", num_layers=2)
        new.vector = net.vector
        y, last, cache = net.forward(x)
        assert gradients_of(net, cache, np.cos(y), last) == forward_and_back(new, x)[2:]


def test_a_cache_whose_network_nobody_else_holds(x):
    caches = []
    for n in range(CALLS):
        net = network("lstm")
        y, _, cache = net.forward(x + n)
        caches.append((cache, y, gradients_of(net, cache, y)))
    del net
    gc.collect()
    for cache, y, wanted in caches:
        assert gradients_of(cache._network, cache, y) == wanted


def test_a_cache_that_is_collected_as_garbage_is_refused(x):
    """A destructor may use one when another pass already has its plan."""
    net, found = network("lstm"), []
    y, _, cache = network("lstm").forward(x)
    right = gradients_of(cache._network, cache, y)

    class Keeper:
        def __init__(self):
            (self.y, _, self.cache), self.me = net.forward(x), self

        def __del__(self):
            net.forward(-x)
            try:
                found.append(gradients_of(net, self.cache, self.y))
            except ValueError as error:
                found.append(str(error))

    Keeper()
    gc.collect()  # newer collectors let destructors go first
    assert found in (["cache is being collected as garbage: call forward again"], [right])


@pytest.mark.parametrize("wrong", [
    lambda net, cache, y: net.forward(y[:, :, :2]), lambda net, cache, y: net.forward(y, "state"),
    lambda net, cache, y: net.backward(cache, y[1:]),
    lambda net, cache, y: net.backward(cache, y, "state"),
    lambda net, cache, y: net.backward(cache, None),
], ids=["x", "state", "dy", "dstate", "no dy"])
def test_a_refusal_changes_no_tape(made, x, wrong):
    net = network("lstm")
    y, _, cache = net.forward(x)
    first = gradients_of(net, cache, y)
    for keeps in (True, True, False):
        if not keeps:
            other = net.forward(x)[2]
        with pytest.raises((TypeError, ValueError)):
            wrong(net, cache, y)
        assert gradients_of(net, cache, y) == first
    del cache, other
    net.forward(x)
    assert len(made) == 2


def test_an_interrupt_on_the_way_back_changes_no_tape(monkeypatch, x):
    net = network("lstm", num_layers=2)
    y, _, cache = net.forward(x)
    first = gradients_of(net, cache, y)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(plans.Plan, "_run_by_phases", interrupted)
        for action in (lambda: net.backward(cache, y), lambda: net.forward(x)):
            with pytest.raises(KeyboardInterrupt):
                action()
    assert gradients_of(net, cache, y) == first
    assert forward_and_back(net, x) == forward_and_back(network("lstm", num_layers=2), x)


# --- results -------------------------------------------------------------------------------------


@each_dtype
@each_kind
@batched_or_not
@each_readout
def test_every_call_is_like_a_first_one(rng, dtype, kind, batched, readout):
    options = {"kind": kind, "readout": readout, "dtype": dtype}
    net = network(**options)
    for _ in range(CALLS):
        x = normal(rng, dtype, *((T, B, I) if batched else (T, I)))
        assert inferred(net, x) == inferred(network(**options), x)


@each_dtype
@each_kind
@batched_or_not
@pytest.mark.parametrize("has_state", [True, False], ids=["state", "zeros"])
@each_readout
def test_every_training_pass_is_like_a_first_one(
    rng, tokens, classes, dtype, kind, batched, has_state, readout
):
    options = {"kind": kind, "readout": readout, "dtype": dtype}
    net, each = network(**options), slice(None) if batched else 0
    for x, targets in zip(tokens[:, :, each], classes[:, :, each], strict=True):
        shape = (1, B, H) if batched else (1, H)
        state = [rng.standard_normal(shape).astype(dtype) for _ in range(1 + (kind == "lstm"))]
        state = state_of(state) if has_state else None
        for run in (trained, lost):
            first = run(network(**options), x, targets, state)
            assert not is_error(first), first
            assert run(net, x, targets, state) == first


@each_kind
@each_readout
@pytest.mark.parametrize("shape", [(1, 1), (0, 2), (2, 0), (131, 1), (8, 33), (700, 40)], ids=str)
def test_other_sizes(rng, kind, readout, shape):
    net = network(kind, readout)
    for _ in range(CALLS):
        x = normal(rng, "float32", *shape, I)
        assert inferred(net, x) == inferred(network(kind, readout), x)


@each_kind
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (0, 2), (2, 0), (131, 1), (40, 33)], ids=str)
def test_other_sizes_in_training(rng, kind, shape):
    net = network(kind)
    for _ in range(CALLS):
        x, targets = rng.integers(0, I, (2, *shape))
        assert trained(net, x, targets) == trained(network(kind), x, targets)


@each_kind
@each_net
def test_more_layers_and_directions(x, tokens, classes, kind, options):
    net = network(kind, **options)
    for targets in classes:
        for each in (x, tokens[0]):
            new = network(kind, **options)
            assert inferred(net, each) == inferred(new, each)
            for run in (trained, lost):
                assert run(net, each, targets) == run(new, each, targets)


@pytest.mark.parametrize("widths", [(6, 3), (3, 9, 4)], ids=str)
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])
def test_layers_of_different_widths(x, classes, widths, both):
    def make():
        return crnn.LSTM(I, widths, I, seed=0, bidirectional=both)

    def found(net):
        y, (h, c) = net(x)
        loss, grads, last = net.loss_and_gradients(x, classes[0], (h, c))
        arrays = [y, *h, *c, grads.vector, grads.x, *last[0], *last[1], *grads.state[0]]
        return [loss, *map(bits, arrays)]

    net = make()
    for _ in range(CALLS):
        assert found(net) == found(make())


def test_dropout_chooses_anew_each_time(x, classes):
    options = {"kind": "lstm", "num_layers": 3, "dropout": 0.4}
    net, other = network(**options), network(**options)
    found = [trained(net, x, classes[0]) for _ in range(CALLS)]
    assert len(set(found)) == CALLS
    for each in found:
        other.engine.free_memory()  # so that each pass is a first one
        assert trained(other, x, classes[0]) == each


def test_shapes_that_alternate(rng):
    net = network("lstm")
    for shape in [(3, 2), (3, 2), (3, 2), (4, 2), (3, 2), (4, 2), (4, 2), (4, 2), (3, 2), (6,)] * 2:
        x = normal(rng, "float32", *shape, I)
        assert inferred(net, x) == inferred(network("lstm"), x)
        tokens, targets = rng.integers(0, I, (2, *shape))
        assert trained(net, tokens, targets) == trained(network("lstm"), tokens, targets)


@each_kind
def test_after_the_parameters_have_changed(rng, x, tokens, classes, kind):
    net = after_inference(x.shape, kind=kind)
    for each, targets in zip(tokens, classes, strict=True):
        net.vector = rng.uniform(-0.5, 0.5, net.num_parameters)
        new = network(kind)
        new.vector = net.vector
        assert inferred(net, x) == inferred(new, x)
        assert trained(net, each, targets) == trained(new, each, targets)


def test_nan_and_infinity_go_through(x):
    net = after_inference(x.shape)
    x[2, 1, 0], x[3, 0, 1] = np.nan, np.inf
    assert inferred(net, x) == inferred(network(), x)
    assert inferred(net, np.ones_like(x)) == inferred(network(), np.ones_like(x))


# --- whose memory --------------------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch):
    """All arrays of plans, as they are made or come from a check."""
    arrays, new, own = [], pass_arrays.Memory.new, pass_arrays.Memory.own

    def spy_on_new(self, *shape, **options):
        arrays.append(new(self, *shape, **options))
        return arrays[-1]

    def spy_on_own(self, given, *shape):
        owned = own(self, given, *shape)
        arrays.extend([] if given is None else [owned])
        return owned

    monkeypatch.setattr(pass_arrays.Memory, "new", spy_on_new)
    monkeypatch.setattr(pass_arrays.Memory, "own", spy_on_own)
    return arrays


def all_results(net, x, classes, state=None):
    """Return every array that passes give."""
    y, last, cache = net.forward(x, state)
    found = [y, *parts_of(last)]
    passes = [(net.backward(cache, y, last), None)]
    y, last = net(x, state)
    found += [y, *parts_of(last), *parts_of(net.loss(x, classes, state)[1])]
    passes.append(net.loss_and_gradients(x, classes, state)[1:])
    passes.append(net.loss_and_gradients(x, y, state, loss="mse")[1:])
    for grads, last in passes:
        found += [grads.vector, grads.x, *parts_of(grads.state)]
        found += [] if last is None else parts_of(last)
    return found


@each_kind
@each_readout
@pytest.mark.parametrize("options", [{}, *NETS], ids=str)
def test_results_are_the_callers_own(rng, kept, x, classes, kind, readout, options):
    net = network(kind, readout, **options)
    rows = net.num_layers * (1 + net.bidirectional)
    state = state_of([normal(rng, "float32", rows, B, H) for _ in range(1 + (kind == "lstm"))])
    given = [x, classes[0], *parts_of(state)]
    before, results = [each.copy() for each in given], []
    for _ in range(2):
        results += all_results(net, x, classes[0], state)
    copies = [each.copy() for each in results]
    assert all(each.flags.writeable for each in results)
    assert len(kept) > 3
    for n, each in enumerate(results):
        for other in (*results[:n], *given, *kept):
            assert not np.shares_memory(each, other)
    all_results(net, -x, classes[1])
    for after, copy in zip((*results, *given), (*copies, *before), strict=True):
        np.testing.assert_array_equal(after, copy)
    for each in results:
        each[...] = np.nan
    half = len(results) // 2
    for after, copy in zip(all_results(net, x, classes[0], state), copies[:half], strict=True):
        np.testing.assert_array_equal(after, copy)


@each_kind
def test_outputs_of_one_pass_are_not_what_the_next_one_works_in(x, kind):
    net = network(kind, readout=False)
    y, _ = net(x)
    before = y.copy()
    for other in (-x, x[:-1], 2 * x):
        net(other, lengths=None if len(other) < T else [T] * B)
    np.testing.assert_array_equal(y, before)


def watched(arrays):
    """Return weak references to what owns the memory of arrays."""
    return [weakref.ref(each if each.base is None else each.base) for each in arrays]


@pytest.mark.parametrize("batched", [True, False], ids=["batch", "one sequence"])
@pytest.mark.parametrize("options", [{}, *NETS], ids=str)
@each_readout
def test_no_argument_or_result_is_kept(rng, readout, options, batched):
    """Who drops them has their memory back, though the plan stays."""
    net = network("lstm", readout, **options)
    for _ in range(CALLS):
        x = normal(rng, "float32", *((T, B, I) if batched else (T, I)))
        targets = np.ones((*x.shape[:-1], net.output_size or net(x)[0].shape[-1]), "float32")
        y, last = net(x)
        _, end = net.loss(x, targets, loss="mse")
        _, grads, after = net.loss_and_gradients(x, targets, loss="mse")
        refs = watched([x, targets, y, *last, *end, grads.vector, grads.x, *grads.state, *after])
        del x, targets, y, last, end, grads, after
        gc.collect()
        assert [each() is None for each in refs] == [True] * len(refs)


def test_a_tape_does_not_keep_what_backward_was_given(x):
    net = network("lstm")
    y, _, cache = net.forward(x)
    dy = y.copy()
    grads = net.backward(cache, dy)
    refs = watched([dy, grads.vector, grads.x])
    del dy, grads
    gc.collect()
    assert [each() is None for each in refs] == [True] * len(refs)


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


OTHERS = {
    "float64": lambda x: x.astype(float),
    "other bytes": lambda x: x.astype(">f4"),
    "a list": lambda x: x.tolist(),
    "Fortran order": np.asfortranarray,
    "strides": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "turned round": lambda x: x[::-1],
    "not aligned": lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view("f4").reshape(
        x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), "f4").reshape(x.shape),
    "integers": lambda x: np.ones(x.shape, int),
    "tokens": lambda x: np.ones(x.shape[:2], int),
    "complex": lambda x: x.astype(complex),
    "masked": lambda x: np.ma.masked_array(x),
    "fewer features": lambda x: x[..., 1:].copy(),
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0, 0],
    "a number": lambda x: np.float32(3),
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("times", [0, 1, 2])
def test_what_is_not_ready(x, other, times):
    net, argument = after_inference(x.shape, times), other(x)
    first = inferred(network(), argument)
    for _ in range(CALLS):
        assert inferred(net, argument) == first
    assert inferred(net, x) == inferred(network(), x)


@each_kind
def test_states_and_lengths_given(rng, x, kind):
    net, state = after_inference(x.shape, kind=kind), normal(rng, "float32", 1, B, H)
    state = (state, 2 * state) if kind == "lstm" else state
    for arguments, options in (
        ((state,), {}), ((), {"lengths": [T, 2, 0]}), ((3,), {}), ((), {"lengths": [1]}),
        ((state,), {"lengths": [T, 2, 0]}), ((), {}),
    ):
        for _ in range(CALLS):
            found = inferred(net, x, *arguments, **options)
            assert found == inferred(network(kind), x, *arguments, **options)


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
    "one-hot x": lambda x, y: (np.eye(I)[x], y, STATE),
    "no targets": lambda x, y: (x, broken(y, -1)),
    "no target at all": lambda x, y: (x, np.full_like(y, -1)),
    "the last targets": lambda x, y: (x, y[-1]),
    "a read-only x": lambda x, y: (np.frombuffer(x.tobytes(), np.intp).reshape(T, B), y),
    "x as targets": lambda x, y: (x, x),
}
REFUSED = {
    "token I": lambda x, y: (broken(x, I), y),
    "token -1": lambda x, y: (broken(x, -1), y),
    "class I": lambda x, y: (x, broken(y, I)),
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


@pytest.mark.parametrize("run", [trained, lost])
@pytest.mark.parametrize("case", CONVERTED.values(), ids=CONVERTED)
@pytest.mark.parametrize("times", [0, 1, 2, CALLS])
def test_what_needs_converting(tokens, classes, case, times, run):
    net, arguments = after_training(tokens[:times], classes[:times]), case(tokens[0], classes[0])
    first = run(network(), *arguments)
    assert not is_error(first), first
    for _ in range(4):
        assert run(net, *arguments) == first
    assert run(net, tokens[1], classes[1]) == run(network(), tokens[1], classes[1])


@pytest.mark.parametrize("run", [trained, lost])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("times", [0, 1, 2, CALLS])
def test_what_is_refused(tokens, classes, case, times, run):
    net, arguments = after_training(tokens[:times], classes[:times]), case(tokens[0], classes[0])
    before = net.vector.copy()
    first = run(network(), *arguments)
    assert issubclass(first[0], (TypeError, ValueError, IndexError))
    for _ in range(4):
        assert run(net, *arguments) == first
    assert run(net, tokens[1], classes[1]) == run(network(), tokens[1], classes[1])
    assert net.vector.tobytes() == before.tobytes()


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
@pytest.mark.parametrize("times", [0, 1, 2, CALLS])
def test_what_is_refused_as_the_state_of_an_lstm(tokens, classes, case, times):
    net = after_training(tokens[:times], classes[:times], kind="lstm")
    arguments = tokens[0], classes[0], case(STATE)
    first = trained(network("lstm"), *arguments)
    assert issubclass(first[0], (TypeError, ValueError))
    for _ in range(4):
        assert trained(net, *arguments) == first


@pytest.mark.parametrize("pair", [list, tuple])
def test_list_and_tuple_as_the_state_of_an_lstm(tokens, classes, pair):
    net, state = after_training(tokens, classes, kind="lstm"), pair((STATE, 2 * STATE))
    first = trained(network("lstm"), tokens[0], classes[0], state)
    assert not is_error(first), first
    assert trained(net, tokens[0], classes[0], state) == first


@pytest.mark.parametrize("run", [trained, lost])
@pytest.mark.parametrize("options", [
    {"loss": "mse"}, {"reduction": "sum"}, {"lengths": [T, 2, 0]}, {"loss": "hinge"},
    {"reduction": "none"}, {"lengths": [1]}, {"loss": None}, {"loss": ["softmax"]},
    {"loss": np.array(["softmax", "mse"])}, {"reduction": np.array(["mean", "sum"])},
    {"reduction": ["mean"]}, {"reduction": {}},
], ids=str)
def test_other_options(rng, tokens, classes, options, run):
    net, loss = after_training(tokens, classes), options.get("loss")
    is_mse = isinstance(loss, str) and loss == "mse"
    targets = rng.standard_normal((T, B, I)) if is_mse else classes[0]
    for _ in range(3):
        assert run(net, tokens[0], targets, **options) == run(
            network(), tokens[0], targets, **options)


FLOATS_REFUSED = {
    "fewer steps": lambda y: y[1:],
    "an axis less": lambda y: y[0, 0],
    "an axis more": lambda y: y[None],
    "classes": lambda y: y[..., 0],
    "fewer outputs": lambda y: y[..., 1:],
    "another batch": lambda y: y[:, 1:],
    "complex": lambda y: y.astype(complex),
    "None": lambda y: None,
}


@pytest.mark.parametrize("case", FLOATS_REFUSED.values(), ids=FLOATS_REFUSED)
@pytest.mark.parametrize("run", [trained, lost])
def test_refused_targets_of_floats(x, case, run):
    net = network()
    first = run(network(), x, case(x), loss="mse")
    assert issubclass(first[0], (TypeError, ValueError))
    for _ in range(3):
        assert run(net, x, x, loss="mse") == run(network(), x, x, loss="mse")
        assert run(net, x, case(x), loss="mse") == first


# --- how much is kept ----------------------------------------------------------------------------


def plans_of(net):
    own = net.engine._plans
    return [*own._latest.values(), *own._spare.values()]


def bytes_kept(net):
    return sum(each.bytes for each in plans_of(net))


def test_plans_are_kept_while_there_is_room(monkeypatch, made, x, tokens, classes):
    net, passes = network(), other_plans(x, tokens, classes)
    net(x)
    one, *_ = [each.bytes for each in plans_of(net)]
    monkeypatch.setattr(plans, "SPARE_BYTES", 12 * one)
    for n in range(3 * len(passes)):
        *arguments, options = passes[n % len(passes)]
        net.loss_and_gradients(*arguments, **options)
        assert bytes_kept(net) <= 12 * one
        net.loss(*arguments, **options)
        net(x)
        assert bytes_kept(net) <= 12 * one
    assert len(made) > 2 * len(set(made))  # some had to go
    monkeypatch.setattr(plans, "SPARE_BYTES", one - 1)
    for _ in range(2):
        net.engine.free_memory()
        net(x)
        assert plans_of(net) == []


def test_the_bound_is_64_mebibytes():
    assert plans.SPARE_BYTES == 2**26


@pytest.mark.usefixtures("small_work_is_split")
def test_what_groups_hold_counts(monkeypatch, rng, kept):
    monkeypatch.setattr(plans, "GROUP_WORK", 1)
    net, (tokens, targets) = network("lstm", bidirectional=True), rng.integers(0, I, (2, T, 64))
    sizes = []
    for threads in (1, 3):
        crnn.set_num_threads(threads)
        for loss, wanted in (("softmax", targets), ("mse", rng.random((T, 64, I)))):
            net.engine.free_memory()
            kept.clear()
            net.loss_and_gradients(tokens, wanted, loss=loss)
            (plan,) = plans_of(net)
            assert plan.bytes == sum(each.nbytes for each in kept)
            sizes.append(plan.bytes)
    assert sizes[2] > 1.1 * sizes[0]
    monkeypatch.setattr(plans, "SPARE_BYTES", max(sizes) - 1)
    crnn.set_num_threads(1)
    net.loss_and_gradients(tokens, rng.random((T, 64, I)), loss="mse")
    assert bytes_kept(net) <= plans.SPARE_BYTES


def test_free_memory_gives_all_back(x, tokens, classes):
    net = network("lstm")
    for *arguments, options in other_plans(x, tokens, classes):
        net.loss_and_gradients(*arguments, **options)
        net.loss(*arguments, **options)
    net(x)
    net(x[1:])
    refs = [weakref.ref(each) for each in plans_of(net)]
    assert len(refs) > 20
    gc.collect()
    gc.disable()  # a plan that held itself would stay until the collector comes
    try:
        net.engine.free_memory()
        assert plans_of(net) == []
        assert [each() is None for each in refs] == [True] * len(refs)
    finally:
        gc.enable()
    assert trained(net, tokens[0], classes[0]) == trained(network("lstm"), tokens[0], classes[0])


def test_fit_gives_all_back(tokens, classes):
    net = network()
    data = tokens[0], classes[0]
    crnn.fit(net, data, crnn.SGD(0.1), epochs=2, truncation=3, validation=data)
    assert plans_of(net) == []


@pytest.mark.parametrize("options", [{}, NETS[2]], ids=str)
def test_what_the_way_back_holds_counts(monkeypatch, kept, x, options):
    net = network("lstm", **options)
    y, _, cache = net.forward(x)
    (plan,), arrays = plans_of(net), len(kept)
    forward = plan.bytes
    assert forward == sum(each.nbytes for each in kept)
    net.backward(cache, y)
    assert plans_of(net) == [plan]
    assert forward < plan.bytes == sum(each.nbytes for each in kept)
    net.backward(cache, y)
    assert len(kept) > arrays
    for bound in (plan.bytes - 1, forward - 1):
        net.engine.free_memory()
        monkeypatch.setattr(plans, "SPARE_BYTES", bound)
        _, _, cache = net.forward(x)
        kept.clear()
        net.backward(cache, y)
        once = len(kept)
        net.backward(cache, y)
        assert len(kept) == 2 * once  # as there is no room to keep it
        assert bytes_kept(net) == forward * (forward <= bound)


def test_a_plan_goes_with_the_last_cache_that_needs_it(x):
    net = network("gru-after-tanh", num_layers=2)
    gc.collect()
    gc.disable()
    try:
        y, _, cache = net.forward(x)
        wanted = gradients_of(net, cache, y)
        plan = weakref.ref(cache._tape.plan)
        net.engine.free_memory()
        net.forward(-x)
        assert gradients_of(net, cache, y) == wanted
        del cache
        assert plan() is None
    finally:
        gc.enable()


def test_a_copy_has_plans_of_its_own(x):
    net = network()
    net(x)
    assert plans_of(net.copy()) == []


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn-tanh", "gru-before-tanh", "lstm"])
@each_readout
def test_threads_that_share_a_network(rng, switching, kind, readout):
    cases = normal(rng, "float32", 16, T, B, I)
    wanted = [inferred(network(kind, readout), x) for x in cases]
    for _ in range(10):
        net = network(kind, readout)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda x, net=net: inferred(net, x), list(cases) * 20))
        assert found == wanted * 20


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm"])
def test_threads_that_train_one_network(rng, switching, kind):
    cases = [tuple(rng.integers(0, I, (2, T, B))) for _ in range(16)]
    wanted = [trained(network(kind), *case) for case in cases]
    for _ in range(10):
        net = network(kind)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda case, net=net: trained(net, *case), cases * 20))
        assert found == wanted * 20


@pytest.mark.usefixtures("small_work_is_split")
def test_threads_that_ask_different_questions(rng, switching, x, tokens, classes, monkeypatch):
    """While plans come and go for want of room, and passes share the pool."""
    crnn.set_num_threads(2)
    net, passes = network("lstm", num_layers=2), other_plans(x, tokens, classes)
    net.loss(x, classes[0])
    monkeypatch.setattr(plans, "SPARE_BYTES", 20 * bytes_kept(net))
    cases = [(run, each) for run in (trained, lost) for each in passes]
    cases += [(inferred, (x[:n], {})) for n in (1, 3, T)]

    def ask(net, case):
        run, (*arguments, options) = case
        return run(net, *arguments, **options)

    wanted = [ask(network("lstm", num_layers=2), case) for case in cases]
    order = rng.integers(0, len(cases), 600)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: ask(net, cases[n]), order))
    assert found == [wanted[n] for n in order]
    crnn.set_num_threads(1)
    ask(net, cases[0])
    assert bytes_kept(net) <= plans.SPARE_BYTES


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "dropout": 0.3}, NETS[2]], ids=str)
def test_threads_that_share_a_cache(rng, switching, options):
    net = network("lstm", **options)
    y, _, cache = net.forward(normal(rng, "float32", 100, 30, I))
    gradients = [n * np.ones_like(y) for n in range(4)]

    def back(dy):
        grads = net.backward(cache, dy)
        return [bits(each) for each in (grads.vector, grads.x, *grads.state)]

    wanted = [back(dy) for dy in gradients]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            assert list(pool.map(back, gradients)) == wanted


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "dropout": 0.3}, NETS[2]], ids=str)
def test_threads_with_caches_of_their_own(rng, switching, options):
    """Each goes forward and back, while caches come and go, and shares one with all others."""
    net, passes = network("lstm", **options), []
    cases = normal(rng, "float32", 8, T, B, I)
    shared = net.forward(cases[0])
    wanted_of_shared = gradients_of(net, shared[2], shared[0])
    has_dropout = "dropout" in options

    def run(n):
        y, last, cache = net.forward(cases[n % 8])
        first = gradients_of(net, cache, y, last)
        assert gradients_of(net, shared[2], shared[0]) == wanted_of_shared
        assert gradients_of(net, cache, y, last) == first
        passes.append(cache) if n % 3 == 0 else None
        return first

    wanted = [] if has_dropout else [run(n) for n in range(8)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(run, range(160)))
    assert has_dropout or found == wanted * 20


def test_no_plan_is_taken_twice_while_it_is_put_aside(x):
    """One that is given back while a second thread's is there, and a third comes for that."""
    net, taken = network(), []
    own = net.engine._plans
    net(x)
    mine = own.take_latest("infer")
    net(x)  # of the second thread

    class Meanwhile(dict):
        def __setitem__(self, kind, plan):
            taken.append(own.take_latest(kind))
            super().__setitem__(kind, plan)

    own._latest = Meanwhile(own._latest)
    own.give_back(mine)
    taken += [own.take(mine.question), own.take_latest("infer")]
    found = [id(each) for each in taken if each is not None]
    assert len(found) == len(set(found)) == 2


# --- these checks can fail -----------------------------------------------------------------------


def test_a_result_in_kept_memory_would_be_seen(monkeypatch, kept, x):
    memory, infer = pass_arrays.Memory("float32"), plans.Plan.infer

    def into_kept_memory(plan):
        y, last = infer(plan)
        own = memory.new(*y.shape)
        own[...] = y
        return own, last

    monkeypatch.setattr(plans.Plan, "infer", into_kept_memory)
    y, _ = network()(x)
    assert any(np.shares_memory(y, each) for each in kept)



def test_a_refused_call_keeps_nothing_of_its_arguments(x):
    net = network("gru-after-tanh")
    net(x)
    given = x.copy()
    watched = weakref.ref(given)
    with pytest.raises((TypeError, ValueError)):
        net(given, "no state")
    del given
    gc.collect()
    assert watched() is None
