"""Optimisers and schedules: hand-worked steps, PyTorch's trajectories, exact resuming, refusals."""

import copy
import json
import math
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from crnn import optim, schedules

pytestmark = pytest.mark.no_backend  # FakeNet has no kernels

STEPS = 50
SIZE = 37


def remade(config):
    """Make a new optimiser with the hyperparameters of another."""
    options = dict(config)
    return getattr(optim, options.pop("name"))(**options)


# Every option on its own, and the options that meet in one formula together.
CASES = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.05},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.1},
        {"lr": 0.1, "weight_decay": 0.05},
        {"lr": 0.1, "initial_accumulator_value": 0.5},
        {"lr": 0.1, "eps": 0.1},
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.05, "initial_accumulator_value": 0.5},
    ],
    "RMSprop": [
        {},
        {"alpha": 0.8},
        {"eps": 0.1},
        {"weight_decay": 0.05},
        {"momentum": 0.9},
        {"centered": True},
        {"alpha": 0.8, "eps": 0.1, "weight_decay": 0.05, "momentum": 0.9, "centered": True},
    ],
    "Adam": [
        {},
        {"lr": 0.1, "betas": (0.7, 0.9)},
        {"lr": 0.1, "betas": (0.0, 0.9)},
        {"lr": 0.1, "eps": 0.1},
        {"lr": 0.1, "weight_decay": 0.05},
    ],
    "AdamW": [
        {},
        {"lr": 0.1, "weight_decay": 0.0},
        {"lr": 0.1, "betas": (0.7, 0.9), "eps": 0.1, "weight_decay": 0.05},
    ],
}
ALL = [
    pytest.param(name, options, id=f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})")
    for name, cases in CASES.items()
    for options in cases
]
ONE_EACH = [pytest.param(name, cases[-1], id=name) for name, cases in CASES.items()]


class FakeNet:
    """What an optimiser may rely on: a read-only vector, and the same memory for one writing."""

    def __init__(self, values, dtype=np.float64):
        self._memory = np.array(values, dtype)
        self.vector = self._memory.view()
        self.vector.flags.writeable = False
        self.num_parameters = self._memory.size
        self.writings = 0

    def writable_vector(self):
        self.writings += 1
        return self._memory


def gradients(values, dtype=np.float64):
    return SimpleNamespace(vector=np.array(values, dtype))


def random_run(seed=0, steps=STEPS, size=SIZE, dtype=np.float64):
    """A network and one gradient for each step."""
    rng = np.random.default_rng(seed)
    net = FakeNet(rng.standard_normal(size), dtype)
    return net, [gradients(rng.standard_normal(size), dtype) for _ in range(steps)]


def make(name, options):
    return getattr(optim, name)(**options)


# Hand-worked values: a network of one parameter, two steps. Every number is exact in binary or a
# fraction that is given as such, so the tolerance is a few roundings.


def two_steps(opt, w, g1, g2):
    net = FakeNet([w])
    values = []
    for g in (g1, g2):
        opt.step(net, gradients([g]))
        values.append(float(net.vector[0]))
    return values


@pytest.mark.parametrize(
    ("opt", "w", "g1", "g2", "expected"),
    [
        # w = 1 - 0.25*1 = 0.75; w = 0.75 - 0.25*2 = 0.25
        (optim.SGD(0.25), 1, 1, 2, [0.75, 0.25]),
        # g = 1 + 0.5*1 = 1.5, w = 1 - 0.375 = 0.625; g = 2 + 0.3125, w = 0.625 - 0.578125
        (optim.SGD(0.25, weight_decay=0.5), 1, 1, 2, [0.625, 0.046875]),
        # m = 1, w = 1 - 0.25; m = 0.5*1 + 2 = 2.5, w = 0.75 - 0.625
        (optim.SGD(0.25, momentum=0.5), 1, 1, 2, [0.75, 0.125]),
        # m = 1, w = 1 - 0.25*(1 + 0.5*1) = 0.625; m = 2.5, w = 0.625 - 0.25*(2 + 0.5*2.5)
        (optim.SGD(0.25, momentum=0.5, nesterov=True), 1, 1, 2, [0.625, -0.1875]),
        # s = 9, w = 2 - 3/(3 + 1) = 5/4; s = 9 + 16, w = 5/4 - 4/(5 + 1) = 7/12
        (optim.Adagrad(1.0, eps=1.0), 2, 3, 4, [5 / 4, 7 / 12]),
        # the same, the second step at half the rate: w = 5/4 - 1/2 * 4/6 = 11/12
        (optim.Adagrad(1.0, lr_decay=1.0, eps=1.0), 2, 3, 4, [5 / 4, 11 / 12]),
        # s = 16 + 9, w = 2 - 3/(5 + 1) = 3/2; s = 25 + 144, w = 3/2 - 12/(13 + 1) = 9/14
        (optim.Adagrad(1.0, initial_accumulator_value=16.0, eps=1.0), 2, 3, 12, [3 / 2, 9 / 14]),
        # v = 4/4 = 1, w = 2 - 2/(1 + 1) = 1; v = 3/4 + 1/4 = 1, w = 1 + 1/(1 + 1) = 3/2
        (optim.RMSprop(1.0, alpha=0.75, eps=1.0), 2, 2, -1, [1, 3 / 2]),
        # the same u = 1 and -1/2; m = 1, w = 2 - 1 = 1; m = 1/2*1 - 1/2 = 0, w = 1
        (optim.RMSprop(1.0, alpha=0.75, eps=1.0, momentum=0.5), 2, 2, -1, [1, 1]),
        # v = 25/5 = 5, a = 5/5 = 1, v - a*a = 4, w = 2 - 5/(2 + 1) = 1/3
        # v = 4 + 9/5 = 29/5, a = 4/5 - 3/5 = 1/5, v - a*a = 144/25, w = 1/3 + 3/(12/5 + 1)
        (optim.RMSprop(1.0, alpha=0.8, eps=1.0, centered=True), 2, 5, -3, [1 / 3, 1 / 3 + 15 / 17]),
        # b1 = 1/2, b2 = 3/4, eps = 1.
        # m = 3/2, m/(1 - 1/2) = 3; v = 9/4, v/(1 - 3/4) = 9; w = 2 - 3/(3 + 1) = 5/4
        # m = 3/4 + 1/4 = 1, m/(1 - 1/4) = 4/3; v = 27/16 + 1/16 = 7/4, v/(1 - 9/16) = 4;
        # w = 5/4 - (4/3)/(2 + 1) = 29/36
        (optim.Adam(1.0, (0.5, 0.75), eps=1.0), 2, 3, 0.5, [5 / 4, 29 / 36]),
        # gradients that are those above once the decay is added: g = 2 + 1/8 * 8 = 3,
        # w = 8 - 3/4 = 29/4; g = -13/32 + 1/8 * 29/4 = 1/2, w = 29/4 - 4/9
        (optim.Adam(1.0, (0.5, 0.75), eps=1.0, weight_decay=0.125), 8, 2, -13 / 32,
         [29 / 4, 29 / 4 - 4 / 9]),
        # half the same steps, from a w times 1 - 1/2 * 1/2 = 3/4:
        # w = 3/4 * 2 - 1/2 * 3/4 = 9/8; w = 3/4 * 9/8 - 1/2 * 4/9
        (optim.AdamW(0.5, (0.5, 0.75), eps=1.0, weight_decay=0.5), 2, 3, 0.5,
         [9 / 8, 27 / 32 - 2 / 9]),
    ],
    ids=lambda value: repr(value) if isinstance(value, optim.Optimizer) else "",
)
def test_two_steps_by_hand(opt, w, g1, g2, expected):
    opt = copy.deepcopy(opt)  # the list above is made once for all runs
    np.testing.assert_allclose(two_steps(opt, w, g1, g2), expected, rtol=1e-14, atol=1e-15)


def test_defaults_are_pytorchs():
    opts = [optim.SGD(0.5), optim.Adagrad(), optim.RMSprop(), optim.Adam(), optim.AdamW()]
    assert [repr(opt) for opt in opts] == [
        "SGD(lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)",
        "Adagrad(lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, "
        "eps=1e-10)",
        "RMSprop(lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0.0, momentum=0.0, centered=False)",
        "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)",
        "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)",
    ]


# Against PyTorch.


def torch_optimizer(torch, name, options, values):
    # A copy: torch writes in place. One tensor at a time is the documented formula.
    parameter = torch.from_numpy(np.array(values)).requires_grad_()
    return getattr(torch.optim, name)([parameter], foreach=False, **options), parameter


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_trajectory_equals_torch(name, options, dtype):
    torch = pytest.importorskip("torch")
    net, grads = random_run(dtype=dtype)
    opt = make(name, options)
    theirs, parameter = torch_optimizer(torch, name, options, net.vector)
    # A step rounds about 8 times, each time by eps/2 of a value of order 1, in crnn and in torch.
    # Parameters near 0 come from terms of order 1, hence the same absolute tolerance.
    eps = np.finfo(dtype).eps
    for t, grad in enumerate(grads, start=1):
        opt.step(net, grad)
        parameter.grad = torch.from_numpy(grad.vector)
        theirs.step()
        tolerance = 8 * t * eps  # at most 9e-14 in float64
        np.testing.assert_allclose(
            net.vector, parameter.detach().numpy(), rtol=tolerance, atol=tolerance
        )
    assert net.vector.dtype == dtype
    assert opt.steps == STEPS


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_trajectory_with_a_moving_rate_equals_torch(name, options):
    torch = pytest.importorskip("torch")
    net, grads = random_run()
    opt = make(name, options)
    theirs, parameter = torch_optimizer(torch, name, options, net.vector)
    factor = schedules.cosine()
    initial = opt.lr
    for done, grad in enumerate(grads):
        opt.lr = theirs.param_groups[0]["lr"] = initial * factor(done / STEPS)
        opt.step(net, grad)
        parameter.grad = torch.from_numpy(grad.vector)
        theirs.step()
    np.testing.assert_allclose(net.vector, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_defaults_equal_torchs(name):
    torch = pytest.importorskip("torch")
    opt = make(name, {"lr": 1e-3} if name == "SGD" else {})
    theirs, _ = torch_optimizer(torch, name, {"lr": 1e-3} if name == "SGD" else {}, np.ones(2))
    config = opt.config()
    assert config.pop("name") == name
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    assert {key: theirs.defaults[key] for key in config} == config


# The step and its surroundings.


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradient_is_only_read_and_the_network_told_once(name, options):
    net, grads = random_run(steps=3)
    opt = make(name, options)
    before = [grad.vector.copy() for grad in grads]
    for done, grad in enumerate(grads):
        grad.vector.flags.writeable = False
        opt.step(net, grad)
        assert net.writings == opt.steps == done + 1
    for grad, values in zip(grads, before, strict=True):
        np.testing.assert_array_equal(grad.vector, values)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_numpy_numbers_do_not_change_the_arithmetic(name, options):
    as_numpy = {
        key: tuple(np.float64(v) for v in value) if key == "betas"
        else np.float64(value) if isinstance(value, float) else value
        for key, value in options.items()
    }
    (net, grads), (other, _) = random_run(dtype=np.float32), random_run(dtype=np.float32)
    plain, numpy = make(name, options), make(name, as_numpy)
    numpy.lr = np.float64(plain.lr)
    for grad in grads:
        plain.step(net, grad)
        numpy.step(other, grad)
    assert net.vector.tobytes() == other.vector.tobytes()
    assert type(numpy.lr) is float
    assert all(slot.dtype == np.float32 for slot in numpy.state().values())


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_one_step_on_a_vector_is_a_step_on_each_part(name, options):
    net, grads = random_run(steps=5)
    whole = make(name, options)
    parts = [FakeNet(net.vector[:10]), FakeNet(net.vector[10:])]
    opts = [make(name, options), make(name, options)]
    for grad in grads:
        whole.step(net, grad)
        for opt, part, piece in zip(opts, parts, np.split(grad.vector, [10]), strict=True):
            opt.step(part, SimpleNamespace(vector=piece))
    np.testing.assert_allclose(
        net.vector, np.concatenate([part.vector for part in parts]), rtol=1e-15, atol=1e-15
    )


@pytest.mark.parametrize(("name", "options"), ONE_EACH)
def test_overflow_completes_the_step_even_where_warnings_are_errors(name, options):
    net = FakeNet([1.0, 1.0], np.float32)
    opt = make(name, options)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        opt.step(net, gradients([1e30, np.nan], np.float32))
    assert opt.steps == net.writings == 1
    assert np.isnan(net.vector[1])


def test_a_network_without_parameters_is_fine():
    net = FakeNet([])
    opt = optim.Adam()
    opt.step(net, gradients([]))
    assert opt.steps == 1


# State.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("stop", [0, 1, 2, 7])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_restored_optimizer_goes_on_bit_for_bit(name, options, stop, dtype):
    (net, grads), (other, _) = random_run(steps=10, dtype=dtype), random_run(steps=10, dtype=dtype)
    opt, first = make(name, options), make(name, options)
    for grad in grads:
        opt.step(net, grad)
    for grad in grads[:stop]:
        first.step(other, grad)
    config = json.loads(json.dumps(first.config()))
    steps, arrays = first.steps, first.state()
    for _ in range(2):  # leave a trace where the copies were not copies
        first.step(FakeNet(other.vector, dtype), grads[0])
    second = remade(config)
    second.restore(steps, arrays)
    for array in arrays.values():
        array[:] = np.nan
    for grad in grads[stop:]:
        second.step(other, grad)
    assert net.vector.tobytes() == other.vector.tobytes()
    assert second.steps == opt.steps == 10
    assert second.config() == opt.config()
    assert {k: v.tobytes() for k, v in second.state().items()} == {
        k: v.tobytes() for k, v in opt.state().items()
    }


@pytest.mark.parametrize(
    ("opt", "names"),
    [
        (optim.SGD(0.1), set()),
        (optim.SGD(0.1, momentum=0.9), {"momentum"}),
        (optim.Adagrad(), {"square_sum"}),
        (optim.RMSprop(), {"square_average"}),
        (optim.RMSprop(centered=True), {"square_average", "gradient_average"}),
        (optim.RMSprop(momentum=0.9), {"square_average", "momentum"}),
        (optim.Adam(), {"gradient_average", "square_average"}),
        (optim.AdamW(), {"gradient_average", "square_average"}),
    ],
    ids=repr,
)
def test_slots_are_made_at_the_first_step(opt, names):
    opt = copy.deepcopy(opt)
    assert opt.state() == {}
    assert opt.steps == 0
    opt.step(FakeNet(np.ones(3), np.float32), gradients(np.ones(3), np.float32))
    assert set(opt.state()) == names
    assert all(v.shape == (3,) and v.dtype == np.float32 for v in opt.state().values())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
def test_copies_are_equal_and_apart(copied):
    (net, grads), (other, _) = random_run(steps=4), random_run(steps=4)
    opt = optim.Adam(lr=0.1)
    for grad in grads[:2]:
        opt.step(net, grad)
    before = opt.state()
    twin = copied(opt)
    for grad in grads[2:]:
        twin.step(other, grad)
    assert opt.steps == 2
    assert twin.steps == 4
    for name, slot in opt.state().items():
        np.testing.assert_array_equal(slot, before[name])


@pytest.mark.parametrize(("name", "options"), ALL)
def test_config_round_trip(name, options):
    opt = make(name, options)
    config = opt.config()
    assert json.loads(json.dumps(config)) == config
    twin = remade(config)
    assert type(twin) is type(opt)
    assert twin.config() == config
    assert repr(twin) == repr(opt)


def test_config_has_the_rate_of_now():
    opt = optim.Adam()
    opt.lr = 0.25
    assert remade(opt.config()).lr == 0.25


# Refusals.

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
    optim.SGD(5e-324, momentum=0, weight_decay=0)
    optim.Adagrad(lr=1000, eps=0)
    optim.RMSprop(alpha=0, eps=0)
    assert optim.Adam(betas=[0, np.float32(0.5)]).betas == (0.0, 0.5)


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="momentum is 0; wanted momentum above 0"):
        optim.SGD(0.1, nesterov=True)


def test_lr_can_be_set_and_is_checked():
    opt = optim.SGD(0.5)
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
    opt = optim.SGD(0.5)
    with pytest.raises(AttributeError, match="momentum is fixed"):
        opt.momentum = 0.9
    with pytest.raises(AttributeError):
        opt.steps = 0
    assert opt.config() == optim.SGD(0.5).config()


def assert_unchanged_by(action, error, match, opt, net=None):
    """`action` raises, and nothing that can be seen of the optimiser or the network moved."""

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
    # Without slots at any step; with them after going back to none. Scratch memory must follow.
    options = {"momentum": 0.9, "nesterov": True} if nesterov else {}
    opt = optim.SGD(0.1, weight_decay=0.05, **options)
    for size, dtype in ((3, np.float64), (5, np.float64), (5, np.float32)):
        (net, grads), (other, _) = (random_run(steps=1, size=size, dtype=dtype) for _ in range(2))
        opt.restore(0, {})
        opt.step(net, grads[0])
        optim.SGD(0.1, weight_decay=0.05, **options).step(other, grads[0])
        assert net.vector.tobytes() == other.vector.tobytes()


def test_a_network_that_refuses_to_be_written_changes_nothing():
    class Locked(FakeNet):
        def writable_vector(self):
            raise RuntimeError("in use")

    opt = optim.Adam()
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
    opt = optim.Adam()
    for grad in grads:
        opt.step(net, grad)
    assert_unchanged_by(lambda: opt.restore(steps, arrays), error, match, opt)


def test_restored_state_of_another_network_is_refused_at_the_step():
    opt = optim.SGD(0.1, momentum=0.9)
    opt.restore(3, {"momentum": np.ones(4)})
    net = FakeNet(np.ones(3))
    assert_unchanged_by(lambda: opt.step(net, gradients(np.ones(3))), ValueError,
                        "the momentum float64 of shape", opt, net)


# Schedules.


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (schedules.constant(), [1, 1, 1]),
        (schedules.exponential(), [1, 0.1, 0.01]),
        (schedules.exponential(0.25), [1, 0.5, 0.25]),
        (schedules.cosine(), [1, 0.5, 0]),
        (schedules.cosine(0.5), [1, 0.75, 0.5]),
        (schedules.schedule("constant"), [1, 1, 1]),
        (schedules.schedule("exponential"), [1, 0.1, 0.01]),
        (schedules.schedule("cosine"), [1, 0.5, 0]),
    ],
)
def test_schedules_at_start_middle_and_end(factor, expected):
    values = [factor(progress) for progress in (0, 0.5, 1)]
    np.testing.assert_allclose(values, expected, rtol=1e-15, atol=1e-16)
    assert all(type(value) is float for value in values)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        # torch's rate of step k is lr * gamma**k; k/STEPS is the progress
        (schedules.exponential(0.01), ("ExponentialLR", {"gamma": 0.01 ** (1 / STEPS)})),
        (schedules.cosine(), ("CosineAnnealingLR", {"T_max": STEPS})),
        (schedules.cosine(0.1), ("CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.05})),
        (schedules.constant(), ("ConstantLR", {"factor": 1.0})),
    ],
)
def test_schedules_equal_torchs(ours, theirs):
    torch = pytest.importorskip("torch")
    initial = 0.5
    opt = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=initial)
    name, options = theirs
    scheduler = getattr(torch.optim.lr_scheduler, name)(opt, **options)
    for done in range(STEPS + 1):
        expected = opt.param_groups[0]["lr"]
        # torch multiplies from step to step, so its rounding grows with the steps
        assert initial * ours(done / STEPS) == pytest.approx(expected, rel=1e-12, abs=1e-15)
        opt.step()
        scheduler.step()


@pytest.mark.parametrize("name", ["constant", "exponential", "cosine"])
def test_wrong_progress_is_refused(name):
    factor = schedules.schedule(name)
    for value in (-0.001, 1.001, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"progress is .*; wanted a number from 0 to 1"):
            factor(value)
    with pytest.raises(TypeError, match=r"progress is .*; wanted"):
        factor("0.5")


def test_wrong_schedules_are_refused():
    for name in ("linear", "Cosine", "schedule", None, ["cosine"]):
        with pytest.raises(ValueError, match="it can be"):
            schedules.schedule(name)
    for make_schedule, value in ((schedules.exponential, 0), (schedules.exponential, 1.5),
                                 (schedules.cosine, -0.1), (schedules.cosine, math.nan)):
        with pytest.raises(ValueError, match=r"final is .*; wanted a number"):
            make_schedule(value)
    with pytest.raises(TypeError, match=r"final is .*; wanted a number"):
        schedules.cosine("0")
