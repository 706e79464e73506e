"""Gradients against things that are not crnn: complex-step derivatives and PyTorch.

The derivative of f along p is Im f(p + ih) / h: no difference is taken, so no digits are lost
however small h is (Squire & Trapp 1998). The twin of every network here is the NumPy reference
with complex numbers; only its forward pass and its losses are used.

Every size is different, no state is zero, and errors are relative to the largest entry of an
array: an entry that is a small difference of large terms has no accuracy of its own.
"""

from typing import NamedTuple

import numpy as np
import pytest

import crnn
from crnn.engine import plans

T, B, I, H, O = 5, 4, 3, 6, 7  # noqa: E741
STEP = 1e-30  # h; its square is lost beside any number here
LENGTHS = (2, 5, 0, 1)
LENGTHS_ABOVE_0 = (2, 5, 3, 1)  # PyTorch does not pack a sequence of no steps


class Problem(NamedTuple):
    """A network with something to learn."""

    net: crnn.RNN
    x: np.ndarray
    state: np.ndarray
    targets: np.ndarray
    options: dict


def case(name, loss="softmax", **options):
    return pytest.param({"loss": loss, **options}, id=name)


LAST = {"last_only": True}
BARE = {"readout": False}
RAGGED = {"lengths": LENGTHS}
CASES = [
    case("softmax"),
    case("softmax-mean", reduction="mean"),
    case("softmax-lengths", **RAGGED),
    case("softmax-mean-lengths", reduction="mean", **RAGGED),
    case("softmax-last", **LAST),
    case("softmax-mean-last-lengths", reduction="mean", **LAST, **RAGGED),
    case("softmax-tokens", tokens=True),
    case("softmax-tokens-mean-lengths", tokens=True, reduction="mean", **RAGGED),
    case("softmax-relu", nonlinearity="relu"),
    case("softmax-relu-tokens-last-lengths", nonlinearity="relu", tokens=True, **LAST, **RAGGED),
    case("softmax-bare", **BARE),
    case("sigmoid", "sigmoid"),
    case("sigmoid-mean", "sigmoid", reduction="mean"),
    case("sigmoid-mean-lengths", "sigmoid", reduction="mean", **RAGGED),
    case("sigmoid-last-lengths", "sigmoid", **LAST, **RAGGED),
    case("sigmoid-relu-tokens", "sigmoid", nonlinearity="relu", tokens=True),
    case("sigmoid-bare-mean-last", "sigmoid", reduction="mean", **BARE, **LAST),
    case("mse", "mse"),
    case("mse-mean", "mse", reduction="mean"),
    case("mse-mean-lengths", "mse", reduction="mean", **RAGGED),
    case("mse-mean-last-lengths", "mse", reduction="mean", **LAST, **RAGGED),
    case("mse-last-tokens", "mse", tokens=True, **LAST),
    case("mse-relu-lengths", "mse", nonlinearity="relu", **RAGGED),
    case("mse-relu-bare-lengths", "mse", nonlinearity="relu", **BARE, **RAGGED),
]


def problem(
    rng, loss, *, reduction="sum", tokens=False, lengths=None, last_only=False,
    nonlinearity="tanh", readout=True, backend=None,
):
    """Draw a float64 network, its input, state and targets."""
    net = crnn.RNN(
        I, H, O if readout else None, nonlinearity=nonlinearity, dtype="float64", seed=rng,
        backend=backend,
    )
    net.vector = rng.uniform(-0.7, 0.7, net.num_parameters)
    x = rng.integers(0, I, (T, B)) if tokens else rng.standard_normal((T, B, I))
    features = O if readout else H
    shape = (B,) if last_only else (T, B)
    if loss == "softmax":
        targets = rng.integers(0 if last_only else -1, features, shape)
    elif loss == "sigmoid":
        targets = rng.uniform(size=(*shape, features))
    else:
        targets = rng.standard_normal((*shape, features))
    options = {"loss": loss, "reduction": reduction, "lengths": lengths}
    return Problem(net, x, rng.standard_normal((1, B, H)), targets, options)


# --- complex-step derivatives --------------------------------------------------------------------


def complex_twin(net):
    """Return the reference's network of complex numbers that is equal to net."""
    return crnn.RNN(
        net.input_size, net.hidden_size, net.output_size, nonlinearity=net.nonlinearity,
        dtype="complex128", backend="reference",
    )


def point_of(net, x, state):
    """Return everything that has a gradient, by name, as complex arrays."""
    point = {"vector": net.vector, "state": state, "x": x}
    return {
        name: np.asarray(value) if np.asarray(value).dtype.kind == "i" else value.astype(complex)
        for name, value in point.items()
    }


def derivatives(function, point, name):
    """Return the derivative of a number, function(point), along each entry of point[name]."""
    exact = np.empty(point[name].shape)
    for entry in np.ndindex(exact.shape):
        moved = point[name].copy()
        moved[entry] += 1j * STEP
        exact[entry] = function(point | {name: moved}).imag / STEP
    return exact


def loss_function(twin, targets, options):
    """Return the loss as a function of a point."""

    def loss(point):
        twin.vector = point["vector"]
        return twin.loss(point["x"], targets, point["state"], **options)[0]

    return loss


def relative_error(actual, expected):
    """Return the largest difference, divided by the largest expected entry."""
    assert actual.shape == expected.shape
    largest = np.abs(expected).max()
    difference = np.abs(actual - expected).max()
    return difference / largest if largest else difference


def check_all(grads, function, point, layout, rtol):
    """Compare gradients with the derivatives of a function, array by array."""
    exact = derivatives(function, point, "vector")
    expected = {name: exact[part] for name, part in layout.items()}
    expected["state"] = derivatives(function, point, "state")
    actual = {name: grads.vector[part] for name, part in layout.items()} | {"state": grads.state}
    if grads.x is not None:
        actual["x"], expected["x"] = grads.x, derivatives(function, point, "x")
    for name, gradient in actual.items():
        assert relative_error(gradient, expected[name]) <= rtol, name


def parts(net):
    """Return where in the vector each parameter lies, found without the package's help."""
    layout, start = {}, 0
    for name, value in net.parameters.items():
        layout[name] = slice(start, start + value.size)
        start += value.size
    assert start == net.num_parameters
    return layout


def check_problem(drawn, rtol=1e-11):
    net, x, state, targets, options = drawn
    loss, grads, _ = net.loss_and_gradients(x, targets, state, **options)
    function = loss_function(complex_twin(net), targets, options)
    point = point_of(net, x, state)
    assert np.isclose(loss, function(point).real, rtol=1e-13, atol=0)
    check_all(grads, function, point, parts(net), rtol)


@pytest.mark.parametrize("options", CASES)
def test_loss_gradients_are_complex_step_derivatives(backend, rng, options):
    check_problem(problem(rng, **options))


@pytest.mark.parametrize("loss", ["softmax", "mse"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("steps", [1, 2], ids=["blocks of a step", "blocks of two steps"])
def test_gradients_across_blocks(backend, rng, monkeypatch, steps, lengths, loss):
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", steps * B * max(H, O))
    check_problem(problem(rng, loss, lengths=lengths))


@pytest.mark.parametrize("steps", [T, 2], ids=["one block", "blocks"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("readout", [True, False], ids=["readout", "bare"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_backward(backend, rng, monkeypatch, nonlinearity, readout, lengths, steps):
    """The function is sum(dy * y) + sum(dstate * state), whose gradients backward returns."""
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", steps * B * max(H, O))
    drawn = problem(rng, "mse", nonlinearity=nonlinearity, readout=readout)
    net, x, state = drawn[:3]
    y, last, cache = net.forward(x, state, lengths=lengths)
    dy, dstate = rng.standard_normal(y.shape), rng.standard_normal(last.shape)
    twin = complex_twin(net)

    def function(point):
        twin.vector = point["vector"]
        y, last = twin(point["x"], point["state"], lengths=lengths)
        return (dy * y).sum() + (dstate * last).sum()

    check_all(
        net.backward(cache, dy, dstate), function, point_of(net, x, state), parts(net), rtol=1e-11
    )


@pytest.mark.parametrize("batched", [True, False], ids=["batch of 1", "unbatched"])
def test_one_sequence(backend, rng, batched):
    net, x, state, targets, options = problem(rng, "softmax")
    x, state, targets = x[:, 1], state[:, 1], targets[:, 1]
    if batched:
        x, state, targets = x[:, None], state[:, None], targets[:, None]
    check_problem(Problem(net, x, state, targets, options))


# --- PyTorch -------------------------------------------------------------------------------------


def torch_twin(torch, net):
    """Return PyTorch's layer and readout with the weights of net; its second bias is zero."""
    kwargs = {"nonlinearity": net.nonlinearity, "dtype": torch.float64}
    layer = torch.nn.RNN(net.input_size, net.hidden_size, **kwargs)
    readout = torch.nn.Identity()
    weights = {name: torch.tensor(value.T.copy()) for name, value in net.parameters.items()}
    with torch.no_grad():
        layer.weight_ih_l0.copy_(weights["W_xh_l0"])
        layer.weight_hh_l0.copy_(weights["W_hh_l0"])
        layer.bias_ih_l0.copy_(weights["b_h_l0"])
        layer.bias_hh_l0.zero_()
        if net.output_size is not None:
            readout = torch.nn.Linear(net.hidden_size, net.output_size, dtype=torch.float64)
            readout.weight.copy_(weights["W_hy"])
            readout.bias.copy_(weights["b_y"])
    return layer, readout


def torch_forward(torch, layer, readout, x, state, lengths):
    """Return y (0 on padding), the last state and the outputs that it gives."""
    if lengths is None:
        h, last = layer(x, state)
        return readout(h), last, readout(last[0])
    packing = torch.nn.utils.rnn
    packed = packing.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    h, last = layer(packed, state)
    h, _ = packing.pad_packed_sequence(h, total_length=len(x))
    mask = torch.arange(len(x))[:, None, None] < torch.tensor(lengths)[None, :, None]
    return readout(h) * mask, last, readout(last[0])


def torch_loss(torch, drawn, y, at_the_end):
    targets, options = torch.tensor(drawn.targets), drawn.options
    last_only = drawn.targets.shape[:1] == (B,)
    if last_only:
        y = at_the_end
    elif options["lengths"] is not None:
        valid = torch.arange(T)[:, None] < torch.tensor(options["lengths"])
        y, targets = y[valid], targets[valid]
    reduction, functional = options["reduction"], torch.nn.functional
    if options["loss"] == "softmax":
        y, targets = y.reshape(-1, y.shape[-1]), targets.reshape(-1)
        return functional.cross_entropy(y, targets, ignore_index=-1, reduction=reduction)
    name = {"sigmoid": "binary_cross_entropy_with_logits", "mse": "mse_loss"}[options["loss"]]
    return getattr(functional, name)(y, targets, reduction=reduction)


@pytest.mark.parametrize("options", CASES)
def test_everything_agrees_with_pytorch(backend, rng, options):
    torch = pytest.importorskip("torch")
    if options.get("lengths") is not None:
        options = options | {"lengths": LENGTHS_ABOVE_0}
    drawn = problem(rng, **options)
    net, x, state, targets, options = drawn
    is_tokens, lengths = x.ndim == 2, options["lengths"]
    ours = dict(zip(("y", "last"), net(x, state, lengths=lengths), strict=True))
    value, grads, after = net.loss_and_gradients(x, targets, state, **options)
    ours |= {"loss": np.array(value), "after": after, "state": grads.state, **grads.parameters}

    layer, readout = torch_twin(torch, net)
    x = torch.tensor(np.eye(I)[x] if is_tokens else x, requires_grad=True)
    state = torch.tensor(state, requires_grad=True)
    y, last, at_the_end = torch_forward(torch, layer, readout, x, state, lengths)
    loss = torch_loss(torch, drawn, y, at_the_end)
    loss.backward()
    theirs = {"y": y, "last": last, "loss": loss, "after": last, "state": state.grad}
    theirs |= {"W_xh_l0": layer.weight_ih_l0.grad.T, "W_hh_l0": layer.weight_hh_l0.grad.T}
    theirs |= {"b_h_l0": layer.bias_ih_l0.grad}
    if net.output_size is not None:
        theirs |= {"W_hy": readout.weight.grad.T, "b_y": readout.bias.grad}
    if not is_tokens:
        ours["x"], theirs["x"] = grads.x, x.grad
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert relative_error(value, theirs[name].detach().numpy()) <= 1e-10, name


# --- float32 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "mse"])
def test_float32_is_float64_rounded(backend, rng, loss):
    """No sum here has more than T * B = 20 terms and no path more than T = 5 steps.

    Roundings of eps / 2 each then add up to less than 20 * 5 * eps / 2, about 6e-6.
    """
    net, x, state, targets, options = problem(rng, loss)
    single = crnn.RNN(I, H, O, dtype="float32")
    single.vector = net.vector
    net.vector, x = single.vector, x.astype(np.float32)
    state = state.astype(np.float32)
    if loss != "softmax":
        targets = targets.astype(np.float32)
    value, expected, _ = net.loss_and_gradients(x, targets, state, **options)
    loss32, grads, last = single.loss_and_gradients(x, targets, state, **options)
    rtol = T * B * T * np.finfo(np.float32).eps / 2
    assert grads.vector.dtype == grads.x.dtype == grads.state.dtype == last.dtype == np.float32
    assert np.isclose(loss32, value, rtol=rtol, atol=0)
    assert relative_error(grads.vector, expected.vector) <= rtol
    assert relative_error(grads.x, expected.x) <= rtol
    assert relative_error(grads.state, expected.state) <= rtol
