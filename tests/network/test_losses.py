"""Every loss by its name or with numbers of its own: values, gradients, and what is refused."""

import pickle

import numpy as np
import pytest

import crnn
from crnn.base.losses import LOSSES

T, B, I, H, N = 5, 4, 3, 6, 2  # noqa: E741 - N targets a step
NEW = {
    "mae": "mae", "huber": "huber", "Huber(0.3)": crnn.Huber(0.3), "quantile": "quantile",
    "Quantile(0.2, 0.7)": crnn.Quantile(0.2, 0.7), "Quantile(0.5)": crnn.Quantile(0.5),
    "gaussian": "gaussian",
}
LENGTHS = np.array([2, 5, 0, 3])
each_new = pytest.mark.parametrize("name", NEW)


def spec_of(loss):
    return LOSSES.get(loss, loss) if isinstance(loss, str) else loss


def build(loss, backend=None, dtype="float64", cell="GRU", **options):
    net = getattr(crnn, cell)(I, H, N * spec_of(loss).blocks, dtype=dtype, backend=backend,
                              seed=3, **options)
    net.vector = np.random.default_rng(3).uniform(-0.7, 0.7, net.num_parameters)
    return net


def draw(rng, dtype="float64", last_only=False):
    x = rng.standard_normal((T, B, I)).astype(dtype)
    targets = rng.standard_normal((B, N) if last_only else (T, B, N)).astype(dtype)
    return x, targets, rng.standard_normal((1, B, H)).astype(dtype)


# --- values worked by hand -----------------------------------------------------------------------


BY_HAND = {  # outputs of one step, targets, the loss, and its gradient, all of the sum
    "mae": ("mae", [3.0, -1, 2], [1.0, 1, 2], 2 + 2, [1, -1, 0]),
    "huber": ("huber", [3.0, -1, 2], [1.0, -0.5, 2], 1 * (2 - 0.5) + 0.125, [1, -0.5, 0]),
    "huber at delta": ("huber", [1.0], [0.0], 0.5, [1]),
    "Huber(2)": (crnn.Huber(2), [5.0, 1], [0.0, 0], 2 * (5 - 1) + 0.5, [2, 1]),
    "quantile": ("quantile", [1.0, 10, 2, 20, 3, 30], [2.0, 15], 0.1 * 1 + 0.1 * 5 + 0 + 0.5 * 5
                 + 0.1 * 1 + 0.1 * 15, [-0.1, -0.1, 0, 0.5, 0.1, 0.1]),
    "Quantile(0.25)": (crnn.Quantile(0.25), [1.0, 1], [5.0, -3], 0.25 * 4 + 0.75 * 4,
                       [-0.25, 0.75]),
    "gaussian": ("gaussian", [3.0, 0, np.log(4), 0], [1.0, 0], (np.log(4) + 4 / 4) / 2 + 0,
                 [2 / 4, 0, (1 - 4 / 4) / 2, 0.5]),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_values_and_gradients_worked_by_hand(name, reduction, backend):
    loss, y, targets, value, dy = BY_HAND[name]
    # a readout of zeros puts out its bias, whose gradient is that of y
    net = crnn.RNN(1, 2, len(y), dtype="float64")
    net.vector = np.zeros(net.num_parameters)
    net.parameters["b_y"] = np.array(y)
    count = len(targets) * spec_of(loss).terms if reduction == "mean" else 1
    given = np.zeros((1, 1)), np.array([targets])
    assert net.loss(*given, loss=loss, reduction=reduction)[0] == pytest.approx(
        value / count, rel=1e-14)
    again, grads, _ = net.loss_and_gradients(*given, loss=loss, reduction=reduction)
    assert again == pytest.approx(value / count, rel=1e-14)
    np.testing.assert_allclose(grads.parameters["b_y"], np.array(dy) / count, rtol=1e-14)


def test_blocks_are_as_np_split_has_them(rng):
    x, targets, state = draw(rng)
    net = build("quantile")
    y, _ = net(x, state)
    pinball = [np.maximum(level * (targets - part), (level - 1) * (targets - part))
               for level, part in zip((0.1, 0.5, 0.9), np.split(y, 3, axis=-1), strict=True)]
    assert net.loss(x, targets, state, loss="quantile")[0] == pytest.approx(
        np.mean(pinball), rel=1e-13)
    net = build("gaussian")
    mean, log_variance = np.split(net(x, state)[0], 2, axis=-1)
    wanted = 0.5 * (log_variance + (targets - mean) ** 2 / np.exp(log_variance))
    assert net.loss(x, targets, state, loss="gaussian")[0] == pytest.approx(
        wanted.mean(), rel=1e-13)


# --- derivatives, and the two backends -----------------------------------------------------------


@each_new
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_gradients_are_complex_step_derivatives(rng, name, reduction, last_only, lengths, backend):
    loss = NEW[name]
    x, targets, state = draw(rng, last_only=last_only)
    net = build(loss)
    errors = crnn.gradcheck(
        net, x, targets, state, loss=loss, reduction=reduction, lengths=lengths, max_entries=20)
    assert max(errors.values()) <= 1e-11


@each_new
@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.no_backend
def test_both_backends_agree(rng, name, cell, dtype):
    loss = NEW[name]
    rtol = {"float32": 2e-5, "float64": 1e-12}[dtype]
    for lengths in (None, LENGTHS):
        for last_only in (False, True):
            x, targets, _ = draw(rng, dtype, last_only)
            found = []
            for backend in ("compiled", "reference"):
                net = build(loss, backend, dtype, cell)
                value, grads, _ = net.loss_and_gradients(x, targets, loss=loss, lengths=lengths)
                again, _ = net.loss(x, targets, loss=loss, lengths=lengths)
                found.append((np.array([value, again]), grads.vector, grads.x))
            for ours, theirs in zip(*found, strict=True):
                assert np.abs(ours - theirs).max() <= rtol * np.abs(theirs).max()


TORCH = {"mae": ("L1Loss", {}), "huber": ("HuberLoss", {}),
         "Huber(0.3)": ("HuberLoss", {"delta": 0.3}),
         "gaussian": ("GaussianNLLLoss", {"eps": 1e-300})}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_values_and_gradients_are_pytorchs(rng, name, reduction, backend):
    torch = pytest.importorskip("torch")
    x, targets, state = draw(rng)
    net, loss = build(NEW[name]), NEW[name]
    y, _, cache = net.forward(x, state)
    value, grads, _ = net.loss_and_gradients(x, targets, state, loss=loss, reduction=reduction)
    theirs, wanted = torch.tensor(y, requires_grad=True), torch.tensor(targets)
    kind, options = TORCH[name]
    function = getattr(torch.nn, kind)(reduction=reduction, **options)
    if name == "gaussian":
        mean, log_variance = theirs.chunk(2, dim=-1)
        total = function(mean, wanted, torch.exp(log_variance))
    else:
        total = function(theirs, wanted)
    total.backward()
    assert value == pytest.approx(total.item(), rel=1e-10)
    expected = net.backward(cache, theirs.grad.numpy())
    largest = np.abs(expected.vector).max()
    np.testing.assert_allclose(grads.vector, expected.vector, rtol=0, atol=1e-10 * largest)


# --- numbers at their ends -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("log_variance", "loss"), [(1000, 500), (-1000, np.inf), (-3000, np.inf)])
def test_a_log_variance_at_its_ends_is_finite_or_infinite(dtype, log_variance, loss, backend):
    net = crnn.RNN(1, 2, 2, dtype=dtype)
    net.vector = np.zeros(net.num_parameters)
    net.parameters["b_y"] = np.array([1.0, log_variance], dtype)
    value, grads, _ = net.loss_and_gradients(np.zeros((1, 1)), np.zeros((1, 1)), loss="gaussian")
    assert value == loss
    assert not np.isnan(grads.parameters["b_y"]).any()
    exact = crnn.RNN(1, 2, 2, dtype=dtype)
    exact.vector = net.vector
    exact.parameters["b_y"] = np.array([0.0, -1000], dtype)  # the mean is the target
    assert exact.loss(np.zeros((1, 1)), np.zeros((1, 1)), loss="gaussian")[0] == -500


@each_new
def test_nan_outputs_give_a_nan_loss_and_gradient(name, backend):
    loss = NEW[name]
    net = build(loss)
    net.parameters["b_y"] = np.full(net.output_size, np.nan)
    value, grads, _ = net.loss_and_gradients(np.zeros((2, I)), np.zeros((2, N)), loss=loss)
    assert np.isnan(value)
    assert np.isnan(grads.parameters["b_y"]).all()


# --- names and objects ---------------------------------------------------------------------------


def test_names_are_losses_with_numbers_of_their_own(rng, backend):
    x, targets, _ = draw(rng)
    for name, loss in (("huber", crnn.Huber()), ("huber", crnn.Huber(1)),
                       ("quantile", crnn.Quantile()), ("quantile", crnn.Quantile(0.1, 0.5, 0.9))):
        net = build(name)
        assert net.loss(x, targets, loss=name)[0] == net.loss(x, targets, loss=loss)[0]
        assert LOSSES[name] == loss
        assert hash(LOSSES[name]) == hash(loss)
        assert pickle.loads(pickle.dumps(loss)) == loss
    assert crnn.Huber(0.5) != crnn.Huber()
    assert crnn.Huber() != "huber"
    assert (crnn.Huber(0.5).delta, crnn.Quantile(0.2, 0.7).levels) == (0.5, (0.2, 0.7))
    assert repr([crnn.Huber(0.5), crnn.Quantile(0.2, 0.7)]) == "[Huber(0.5), Quantile(0.2, 0.7)]"


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: crnn.Huber(0), ValueError, "delta is 0.0; wanted a finite number above 0"),
    (lambda: crnn.Huber("1"), TypeError, "delta is '1' "),
    (lambda: crnn.Quantile(0.1, 1.0), ValueError, "level is 1.0; wanted a number between 0 and 1"),
    (lambda: crnn.Quantile([0.1, 0.9]), TypeError, r"level is \[0.1, 0.9\]"),
    (lambda: crnn.Quantile(0.9, 0.1), ValueError, "each must be above the one before"),
    (lambda: crnn.Quantile(0.5, 0.5), ValueError, "each must be above the one before"),
])
def test_numbers_of_losses_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("loss", "targets", "error", "message"), [
    ("hinge", (T, B, 7), ValueError, r"loss is 'hinge'; it can be 'softmax', .*'gaussian', crnn"),
    (3, (T, B, 7), TypeError, r"loss is 3; a name, such as 'softmax', crnn.Huber"),
    (crnn.Huber, (T, B, 7), TypeError, "crnn.Huber(...) or crnn.Quantile"),
    (np.mean, (T, B, 7), TypeError, "a function is a loss of crnn.fit and crnn.evaluate"),
    ("gaussian", (T, B, 7), ValueError, "7 outputs; the loss 'gaussian' takes 2 for each target"),
    ("quantile", (T, B, 7), ValueError, "7 outputs; the loss Quantile.* takes 3 for each target"),
    ("mae", (T, B, 6), ValueError, r"targets have shape \(5, 4, 6\); \(5, 4, 7\)"),
])
def test_what_is_no_loss_here_is_refused(loss, targets, error, message, backend):
    net = crnn.RNN(I, H, 7)
    for call in (net.loss, net.loss_and_gradients):
        with pytest.raises(error, match=message.replace("(...)", r"\(...\)")):
            call(np.zeros((T, B, I)), np.zeros(targets), loss=loss)


def test_targets_of_another_width_do_not_fit_the_plan_of_before(rng, backend):
    net = crnn.RNN(I, H, 6, dtype="float64")
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 6))
    net.loss_and_gradients(x, targets, loss=crnn.Quantile(0.5))
    with pytest.raises(ValueError, match=r"\(5, 4, 3\), one for every step"):
        net.loss_and_gradients(x, targets, loss=crnn.Quantile(0.3, 0.5))


@pytest.mark.parametrize("bad", [1.5, -1e-3, np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_targets_are_from_0_to_1(rng, bad, dtype, backend):
    net = crnn.RNN(I, H, N, dtype=dtype)
    x, targets = rng.standard_normal((T, B, I)).astype(dtype), rng.random((T, B, N)).astype(dtype)
    targets[0, 0, 0], targets[1, 1, 1] = 0, 1
    for call in (net.loss, net.loss_and_gradients):
        first = call(x, targets, loss="sigmoid")[0]
        assert first == call(x, targets, loss="sigmoid")[0]
        wrong = targets.copy()
        wrong[3, 2, 1] = bad
        for _ in range(2):
            with pytest.raises(ValueError, match=f"targets have the number {bad}"[:28]):
                call(x, wrong, loss="sigmoid")
        assert first == call(x, targets, loss="sigmoid")[0]
        assert np.isfinite(call(x, wrong, loss="sigmoid", lengths=[5, 5, 3, 5])[0])  # beyond


@pytest.mark.parametrize("name", ["mae", "huber", "quantile", "gaussian"])
def test_fit_lowers_them(rng, name, backend):
    net = build(name)
    history = crnn.fit(net, draw(rng)[:2], crnn.Adam(0.01), epochs=8, loss=name)
    assert history["loss"][-1] < history["loss"][0]
