"""Every cell's gradients, in layers and both directions, against complex-step derivatives.

Every size is different, no state is zero. Errors are relative to the largest entry of an array.
"""

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import (
    B,
    T,
    arrays,
    build,
    check_close,
    draw,
    each_cell,
    each_shape,
    everything,
    floats_or_tokens,
    full_or_ragged,
    like,
)

import crnn
from crnn.engine import plans

pytestmark = pytest.mark.no_backend
STEP = 1e-30  # its square is lost beside any number here
LOSSES = ["softmax", "sigmoid", "mse"]


def targets_for(rng, loss, net, shape):
    if loss == "softmax":
        return rng.integers(0, cells.outputs_of(net), shape)
    return rng.random((*shape, cells.outputs_of(net)))


@each_cell
@each_shape
@full_or_ragged
def test_losses(rng, cell, layers, both, lengths):
    loss = LOSSES[layers - 1]
    net = build(cell, layers, both, backend="reference")
    for tokens, shape in ((False, (T, B)), (layers > 1, (B,))):
        data = draw(rng, net, lengths=lengths, tokens=tokens)
        targets = targets_for(rng, loss, net, shape)
        check_loss(rng, net, data, targets, {"loss": loss, "lengths": lengths})


@each_cell
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])
def test_losses_entry_by_entry(rng, cell, both):
    net = build(cell, 2, both, backend="reference")
    data = draw(rng, net, lengths=cells.LENGTHS)
    options = {"lengths": cells.LENGTHS, "max_entries": 10}
    errors = crnn.gradcheck(net, data.x, data.targets, data.state, **options)
    assert errors.keys() == point_of(net, data).keys() | {"x"}
    assert max(errors.values()) <= 1e-11, errors


def crnn_backends():
    return "compiled", "reference"


def complex_twin(net):
    config = net.config() | {"dtype": "complex128", "backend": "reference"}
    del config["cell"]
    return type(net)(**config)


def along(rng, function, point):
    """Return, for each array of a point, a direction and the derivative of a function along it."""
    found = {}
    for name, value in point.items():
        direction = rng.standard_normal(value.shape)
        moved = function(point | {name: value + 1j * STEP * direction})
        found[name] = direction, moved.imag / STEP
    return found


def point_of(net, data):
    """Return everything that has a gradient, by the names of `crnn.gradcheck`."""
    point = {name: np.array(value) for name, value in net.parameters.items()}
    point |= dict(zip(("state", "state c"), arrays(data.state), strict=False))
    return point if data.x.ndim == 2 else point | {"x": data.x}


def check_along(rng, net, data, grads, function, rtol):
    """Compare gradients with the derivatives of function(twin, x, state) along directions."""
    twin, point = complex_twin(net), point_of(net, data)

    def at(point):
        for name in twin.parameters:
            twin.parameters[name] = point[name]
        names = [name for name in ("state", "state c") if name in point]
        state = like(data.state, [point[name] for name in names])
        return function(twin, point.get("x", data.x), state)

    ours = dict(grads.parameters) | {"x": grads.x}
    ours |= dict(zip(("state", "state c"), arrays(grads.state), strict=False))
    for name, (direction, exact) in along(rng, at, point).items():
        products = direction * ours[name]
        assert abs(products.sum() - exact) <= rtol * np.abs(products).sum(), name


def check_loss(rng, net, data, targets, options, rtol=1e-11):
    _, grads, _ = net.loss_and_gradients(data.x, targets, data.state, **options)
    check_along(rng, net, data, grads,
                lambda twin, x, state: twin.loss(x, targets, state, **options)[0], rtol)


def check_backward(rng, net, data, rtol=1e-11):
    """The function is sum(dy * y) + sum(dstate * state), whose gradients backward returns."""
    _, _, cache = net.forward(data.x, data.state, lengths=data.lengths)

    def function(twin, x, state):
        y, last = twin(x, state, lengths=data.lengths)
        ends = zip(arrays(data.dstate), arrays(last), strict=True)
        return (data.dy * y).sum() + sum((d * each).sum() for d, each in ends)

    grads = net.backward(cache, data.dy, data.dstate)
    check_along(rng, net, data, grads, function, rtol)


@each_cell
@each_shape
@full_or_ragged
def test_backward(rng, cell, layers, both, lengths):
    sizes = cells.I, cells.H, None if layers == 2 else cells.O
    net = build(cell, layers, both, sizes=sizes, backend="reference")
    check_backward(rng, net, draw(rng, net, lengths=lengths))


@each_cell
@full_or_ragged
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both"])
def test_blocks_of_time_steps(rng, monkeypatch, cell, both, lengths):
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", 2 * B * 4 * cells.H)
    for backend in crnn_backends():
        net = build(cell, 2, both, backend=backend)
        check_backward(rng, net, draw(rng, net, lengths=lengths))
        data = draw(rng, net, lengths=lengths)
        check_loss(rng, net, data, data.targets, {"lengths": lengths})


@each_cell
@each_shape
@full_or_ragged
@floats_or_tokens
def test_compiled_is_the_reference(rng, cell, layers, both, lengths, tokens):
    ours, theirs = (build(cell, layers, both, backend=backend) for backend in crnn_backends())
    data = draw(rng, ours, tokens=tokens, lengths=lengths)
    check_close(everything(ours, data), everything(theirs, data), 1e-12)


@each_cell
@each_shape
def test_float32_is_float64_rounded(rng, cell, layers, both):
    """No path has more than T * layers steps, no sum more than 2 * H + I terms of a gate's."""
    wide = build(cell, layers, both, backend="compiled")
    narrow = build(cell, layers, both, backend="compiled", dtype="float32")
    wide.vector = narrow.vector
    data = draw(rng, narrow)
    ours, theirs = everything(narrow, data), everything(wide, data)
    check_close(ours, theirs, T * layers * 20 * np.finfo(np.float32).eps / 2)


@each_cell
def test_a_wrong_gradient_would_be_seen(rng, monkeypatch, cell):
    net = build(cell, 2, True, backend="reference")
    data = draw(rng, net)
    right = net.backward

    def wrong(*arguments):
        grads = right(*arguments)
        gradient = grads.parameters["W_hh_l1_reverse"]
        gradient[-1, -1] += 1e-6 * np.abs(gradient).max()
        return grads

    monkeypatch.setattr(net, "backward", wrong)
    with pytest.raises(AssertionError, match="W_hh_l1_reverse"):
        check_backward(rng, net, data)
