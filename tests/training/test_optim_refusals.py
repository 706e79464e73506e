"""What optimizers refuse, and that a refusal changes nothing."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from optimizer_cases import ONE_EACH, SIZE, FakeNet, gradients, make, random_run

from crnn.training import optimizers

pytestmark = pytest.mark.no_backend  # nothing is refused by a kernel

GOOD = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    **{name: {} for name in ("Adagrad", "RMSprop", "Adam", "AdamW")},
}
NUMBERS = {
    "SGD": ["lr", "momentum", "weight_decay"],
    "Adagrad": ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"],
    "RMSprop": ["lr", "alpha", "eps", "weight_decay", "momentum"],
    "Adam": ["lr", "eps", "weight_decay"],
    "AdamW": ["lr", "eps", "weight_decay"],
}
FIELDS = [(name, field) for name, fields in NUMBERS.items() for field in fields]
WRONG_KINDS = [None, "0.1", True, 1j, [0.1], np.array([0.1]), np.bool_(True), {}]
WRONG_VALUES = [math.nan, math.inf, -math.inf, -0.1, -1, 10**400, np.float32(-1)]


@pytest.mark.parametrize(("name", "field"), FIELDS)
@pytest.mark.parametrize(
    ("error", "value"),
    [(TypeError, v) for v in WRONG_KINDS] + [(ValueError, v) for v in WRONG_VALUES],
    ids=lambda v: v.__name__ if isinstance(v, type) else repr(v)[:12],
)
def test_wrong_numbers_are_refused(name, field, error, value):
    with pytest.raises(error, match=f"^{field} is .*; wanted a "):
        make(name, {**GOOD[name], field: value})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("SGD", "lr", 0),
        ("Adam", "lr", 0.0),
        ("SGD", "momentum", 1.0),
        ("RMSprop", "momentum", 9),
        ("RMSprop", "alpha", 1),
        ("Adam", "betas", (0.9,)),
        ("Adam", "betas", (0.9, 0.999, 0.9)),
        ("Adam", "betas", (0.9, 1.0)),
        ("AdamW", "betas", [-0.1, 0.9]),
        ("Adam", "betas", (0.9, math.nan)),
    ],
)
def test_values_at_and_over_the_edge_are_refused(name, field, value):
    with pytest.raises(ValueError, match=rf"^{field}(\[.\])? is .*; wanted "):
        make(name, {**GOOD[name], field: value})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("SGD", "nesterov", 1),
        ("SGD", "nesterov", None),
        ("RMSprop", "centered", "yes"),
        ("Adam", "betas", 0.9),
        ("Adam", "betas", "ab"),
        ("Adam", "betas", (0.9, "0.999")),
        ("AdamW", "betas", {0.9, 0.999}),
    ],
)
def test_wrong_flags_and_pairs_are_refused(name, field, value):
    with pytest.raises(TypeError, match=rf"^{field}(\[.\])? is .*; wanted "):
        make(name, {**GOOD[name], field: value})


def test_edges_of_the_ranges_are_taken():
    optimizers.SGD(5e-324, momentum=0, weight_decay=0)
    optimizers.Adagrad(lr=1000, eps=0)
    optimizers.RMSprop(alpha=0, eps=0)
    assert optimizers.Adam(betas=[0, np.float32(0.5)]).betas == (0.0, 0.5)


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="momentum is 0; wanted momentum above 0"):
        optimizers.SGD(0.1, nesterov=True)


def test_lr_can_be_set_and_is_checked():
    opt = optimizers.SGD(0.5)
    opt.lr = 2
    assert opt.lr == 2.0
    assert type(opt.lr) is float
    net = FakeNet([1.0])
    opt.step(net, gradients([0.25]))
    assert net.vector[0] == 0.5
    for value in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^lr is .*; wanted a finite number above 0"):
            opt.lr = value
    for value in (None, "1", True):
        with pytest.raises(TypeError, match=r"^lr is .*; wanted a finite number above 0"):
            opt.lr = value
    assert opt.lr == 2.0


def test_other_hyperparameters_are_fixed():
    opt = optimizers.SGD(0.5)
    with pytest.raises(AttributeError, match="momentum is fixed"):
        opt.momentum = 0.9
    with pytest.raises(AttributeError):
        opt.steps = 0
    assert opt.config() == optimizers.SGD(0.5).config()


def assert_unchanged_by(action, error, match, opt, net=None):
    """`action` raises, and nothing that can be seen of the optimizer or the network moved."""

    def seen():
        arrays = {name: slot.tobytes() for name, slot in opt.state().items()}
        return opt.steps, opt.config(), arrays, net and (net.writings, net.vector.tobytes())

    before = seen()
    with pytest.raises(error, match=match):
        action()
    assert seen() == before


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_wrong_gradients_change_nothing(name, options, taken):
    net, grads = random_run(steps=taken)
    opt = make(name, options)
    for grad in grads:
        opt.step(net, grad)
    ones = np.ones(SIZE)
    for vector in (ones[1:], np.ones(SIZE + 1), ones[:0], ones[:, None], ones.astype(np.float32),
                   ones.astype(int), ones.astype(ones.dtype.newbyteorder())):
        grad = SimpleNamespace(vector=vector)
        assert_unchanged_by(lambda g=grad: opt.step(net, g), ValueError,
                            "^the gradient is .*network's", opt, net)
    for grad in (ones, None, SimpleNamespace(vector=list(ones)), SimpleNamespace(vector=None)):
        assert_unchanged_by(lambda g=grad: opt.step(net, g), TypeError, "wanted a network and",
                            opt, net)
    assert_unchanged_by(lambda: opt.step(net.vector, gradients(ones)), TypeError,
                        "wanted a network and", opt, net)


@pytest.mark.parametrize(("size", "dtype"), [(SIZE + 1, np.float64), (SIZE, np.float32)])
@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adam", "AdamW"])
def test_another_network_changes_nothing(name, size, dtype):
    net, grads = random_run(steps=2)
    opt = make(name, {})
    opt.step(net, grads[0])
    other = FakeNet(np.ones(size), dtype)
    assert_unchanged_by(lambda: opt.step(other, gradients(np.ones(size), dtype)), ValueError,
                        "^the gradient is .*, the (square|gradient)_", opt, other)
    opt.step(net, grads[1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_network_may_change_where_no_slots_forbid_it(nesterov):
    # Without slots at any step; with them after going back to none.
    options = {"momentum": 0.9, "nesterov": True} if nesterov else {}
    opt = optimizers.SGD(0.1, weight_decay=0.05, **options)
    for size, dtype in ((3, np.float64), (5, np.float64), (5, np.float32)):
        (net, grads), (other, _) = (random_run(steps=1, size=size, dtype=dtype) for _ in range(2))
        opt.restore(0, {})
        opt.step(net, grads[0])
        optimizers.SGD(0.1, weight_decay=0.05, **options).step(other, grads[0])
        assert net.vector.tobytes() == other.vector.tobytes()


def test_a_network_that_refuses_to_be_written_changes_nothing():
    class Locked(FakeNet):
        def _changing(self):
            raise RuntimeError("in use")

    opt = optimizers.Adam()
    net = Locked(np.ones(3))
    assert_unchanged_by(lambda: opt.step(net, gradients(np.ones(3))), RuntimeError, "in use",
                        opt, net)


V = np.ones(SIZE)


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize(
    ("error", "match", "steps", "arrays"),
    [
        (ValueError, "slots are", 1, {}),
        (ValueError, "slots are", 1, {"square_average": V}),
        (ValueError, "slots are", 1, {"square_average": V, "momentum": V}),
        (ValueError, "slots are", 1, {"square_average": V, "gradient_average": V, "momentum": V}),
        (ValueError, "slots are", 0, {"square_average": V, "gradient_average": V}),
        (ValueError, "slots are", 1, {1: V, "gradient_average": V}),
        (ValueError, "slot .* is", 1, {"square_average": V, "gradient_average": V[1:]}),
        (ValueError, "slot .* is", 1, {"square_average": V, "gradient_average": V.astype("f4")}),
        (ValueError, "slot .* is", 1, {"square_average": V[None], "gradient_average": V[None]}),
        (ValueError, "slot .* is", 1, dict.fromkeys(["square_average", "gradient_average"],
                                                    V.astype(int))),
        (ValueError, "slot .* is", 1, dict.fromkeys(["square_average", "gradient_average"],
                                                    V.astype(V.dtype.newbyteorder()))),
        (TypeError, "slot .* is", 1, {"square_average": V, "gradient_average": list(V)}),
        (TypeError, "arrays is", 1, [V, V]),
        (ValueError, "steps is", -1, {"square_average": V, "gradient_average": V}),
        (TypeError, "steps is", 1.0, {"square_average": V, "gradient_average": V}),
        (TypeError, "steps is", True, {"square_average": V, "gradient_average": V}),
        (TypeError, "steps is", None, {}),
    ],
)
def test_wrong_state_changes_nothing(error, match, steps, arrays, taken):
    net, grads = random_run(steps=taken)
    opt = optimizers.Adam()
    for grad in grads:
        opt.step(net, grad)
    assert_unchanged_by(lambda: opt.restore(steps, arrays), error, match, opt)


def test_restored_state_of_another_network_is_refused_at_the_step():
    opt = optimizers.SGD(0.1, momentum=0.9)
    opt.restore(3, {"momentum": np.ones(4)})
    net = FakeNet(np.ones(3))
    assert_unchanged_by(lambda: opt.step(net, gradients(np.ones(3))), ValueError,
                        "the momentum float64 of shape", opt, net)
