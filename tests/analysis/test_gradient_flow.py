"""`gradient_flow`: the norm of dL/dh_t at every step, against PyTorch's and against its meaning."""

import numpy as np
import pytest

import crnn

T, B, I, H, O = 7, 4, 3, 5, 2  # noqa: E741
CELLS = [crnn.RNN, crnn.GRU, crnn.LSTM]
X = np.random.default_rng(5).standard_normal((T, B, I))
TOKENS = np.random.default_rng(6).integers(0, I, (T, B))
CLASSES = np.random.default_rng(7).integers(0, O, (T, B))
NUMBERS = np.random.default_rng(8).uniform(0, 1, (T, B, O))
LENGTHS = np.array([7, 1, 4, 6])
cells = pytest.mark.parametrize("cell", CELLS)


def make(cell, **options):
    return cell(I, H, O, **({"dtype": "float64", "seed": 2} | options))


def state_of(net, batch=B):
    """A state that is not zero."""
    rng = np.random.default_rng(4)
    shape = (net.num_layers * (1 + net.bidirectional), batch, H)
    h, c = rng.uniform(-0.5, 0.5, (2, *shape))
    return (h, c) if isinstance(net, crnn.LSTM) else h


def arrays(flow):
    return flow if isinstance(flow, tuple) else (flow,)


def close(found, wanted, rtol=1e-11):
    for each, other in zip(arrays(found), arrays(wanted), strict=True):
        np.testing.assert_allclose(each, other, rtol=rtol, atol=1e-13 * np.max(other, initial=1))


# --- against PyTorch -----------------------------------------------------------------------------


def by_autograd(net, x, state, loss_of_outputs, last_only=False):
    """Run the network in PyTorch, cell by cell, and return the norms that autograd finds.

    ``loss_of_outputs`` maps the outputs (T, B, O) to a number.
    """
    torch = pytest.importorskip("torch")

    def tensor(array):
        return torch.tensor(np.array(array))

    outputs, seen = tensor(x), []
    directions = 1 + net.bidirectional
    for layer in range(net.num_layers):
        halves = []
        for d in range(directions):
            suffix = f"_l{layer}" + "_reverse" * d
            own = {name: tensor(net.parameters[name + suffix]) for name in ("W_xh", "W_hh", "b_h")}
            own["b_hn"] = net.parameters.get("b_hn" + suffix)
            k = layer * directions + d
            carried = [tensor(each[k]) for each in arrays(state)]
            kept = {}
            for t in reversed(range(len(outputs))) if d else range(len(outputs)):
                carried = [each.requires_grad_() for each in step(net, own, outputs[t], carried)]
                for each in carried:
                    each.retain_grad()
                kept[t] = carried
            seen.append([kept[t] for t in range(len(outputs))])
            halves.append(torch.stack([kept[t][0] for t in range(len(outputs))]))
        outputs = torch.cat(halves, dim=2)
    if last_only:  # each direction's own last state
        outputs = torch.cat([outputs[-1, :, :H], outputs[0, :, H:]], dim=1)
    y = outputs @ tensor(net.parameters["W_hy"]) + tensor(net.parameters["b_y"])
    loss_of_outputs(y).backward()

    def norm(each):
        return 0.0 if each.grad is None else float(each.grad.norm())

    return tuple(np.array([[norm(carried[part]) for carried in row] for row in seen])
                 for part in range(len(arrays(state))))


def step(net, own, x, carried):
    """Return the state after a step: h, and for an LSTM c as it is handed on."""
    import torch

    h = carried[0]
    a, recurrent = x @ own["W_xh"] + own["b_h"], h @ own["W_hh"]
    if isinstance(net, crnn.RNN):
        return [torch.tanh(a + recurrent)]
    if isinstance(net, crnn.GRU):
        r, z = torch.sigmoid(a[:, : 2 * H] + recurrent[:, : 2 * H]).chunk(2, 1)
        hidden = recurrent[:, 2 * H :] + torch.tensor(np.array(own["b_hn"]))
        return [(1 - z) * torch.tanh(a[:, 2 * H :] + r * hidden) + z * h]
    i, f, g, o = (a + recurrent).chunk(4, 1)
    c = torch.sigmoid(f) * carried[1] + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c * 1]  # handed on apart from what h_t is made of


@cells
@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"bidirectional": True},
                                     {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_agrees_with_pytorch(cell, options, last_only):
    torch = pytest.importorskip("torch")
    net = make(cell, **options)
    state, classes = state_of(net), CLASSES[-1] if last_only else CLASSES

    def loss(y):
        targets = torch.tensor(classes.ravel())
        return torch.nn.functional.cross_entropy(y.reshape(-1, O), targets)

    wanted = by_autograd(net, X, state, loss, last_only)
    found = crnn.gradient_flow(net, X, classes, state)
    assert [each.shape for each in arrays(found)] == [(len(wanted[0]), T)] * len(wanted)
    close(found, wanted)


# --- against its meaning -------------------------------------------------------------------------


@cells
def test_it_is_the_gradient_of_the_initial_state_of_the_rest(cell):
    """With a target at the end only: cut after each step, the rest starts from that state."""
    net = make(cell)
    state = state_of(net)
    wanted = []
    for t in range(T - 1):
        _, cut = net(X[: t + 1], state)
        _, gradients, _ = net.loss_and_gradients(X[t + 1 :], CLASSES[-1], cut)
        wanted.append([np.linalg.norm(each) for each in arrays(gradients.state)])
    found = crnn.gradient_flow(net, X, CLASSES[-1], state)
    close([each[0, :-1] for each in arrays(found)], list(np.transpose(wanted)))


@cells
def test_lengths_are_as_each_sequence_alone(cell):
    for options, many_to_one in (({}, True), ({"num_layers": 2, "bidirectional": True}, False)):
        net = make(cell, **options)
        targets = CLASSES[0] if many_to_one else CLASSES
        squares = 0
        for b, length in enumerate(LENGTHS):
            own = targets[b] if many_to_one else targets[:length, b]
            flow = crnn.gradient_flow(net, X[:length, b], own, reduction="sum")
            alone = np.zeros((len(arrays(flow)), net.num_layers * (1 + net.bidirectional), T))
            alone[:, :, :length] = arrays(flow)
            squares = squares + alone**2
        found = crnn.gradient_flow(net, X, targets, reduction="sum", lengths=LENGTHS)
        close(tuple(arrays(found)), tuple(np.sqrt(squares)))


@cells
def test_tokens_are_one_hot_rows(cell):
    net = make(cell, num_layers=2)
    found = crnn.gradient_flow(net, TOKENS, CLASSES)
    close(found, crnn.gradient_flow(net, np.eye(I)[TOKENS], CLASSES))


@pytest.mark.parametrize("loss", ["sigmoid", "mse"])
def test_other_losses_without_recurrence(loss):
    """Without recurrent weights dL/dh_t is dL/dy_t @ W_hy.T alone, known by hand."""
    net = make(crnn.RNN)
    net.parameters["W_hh_l0"] = np.zeros((H, H))
    y, _ = net(X)
    count = T * B * O
    dy = {"sigmoid": 1 / (1 + np.exp(-y)) - NUMBERS, "mse": 2 * (y - NUMBERS)}[loss] / count
    wanted = np.linalg.norm((dy @ net.parameters["W_hy"].T).reshape(T, -1), axis=1)
    close(crnn.gradient_flow(net, X, NUMBERS, loss=loss)[0], wanted)
    twice = crnn.gradient_flow(net, X, NUMBERS, loss=loss, reduction="sum")
    close(twice[0], wanted * count)


def test_without_a_readout():
    net = crnn.RNN(I, H, dtype="float64", seed=2)
    net.parameters["W_hh_l0"] = np.zeros((H, H))
    targets = np.random.default_rng(9).standard_normal((T, B, H))
    y, _ = net(X)
    wanted = np.linalg.norm((2 * (y - targets) / y.size).reshape(T, -1), axis=1)
    close(crnn.gradient_flow(net, X, targets, loss="mse")[0], wanted)


@cells
def test_float32_is_near_float64(cell):
    net = make(cell, num_layers=2)
    single = make(cell, num_layers=2, dtype="float32")
    single.vector = net.vector
    close(crnn.gradient_flow(single, X, CLASSES), crnn.gradient_flow(net, X, CLASSES), rtol=1e-4)


def test_weights_above_one_explode_and_below_vanish():
    net = crnn.RNN(I, H, O, nonlinearity="relu", dtype="float64", seed=1)
    for name, scale in (("vanishing", 0.5), ("exploding", 2.0)):
        net.parameters["W_hh_l0"] = scale * np.eye(H)
        net.parameters["W_xh_l0"] = np.full((I, H), 0.1)
        net.parameters["b_h_l0"] = np.full(H, 0.1)
        flow = crnn.gradient_flow(net, np.ones((T, B, I)), CLASSES[0])[0]
        np.testing.assert_allclose(flow[:-1] / flow[1:], scale, rtol=1e-12, err_msg=name)


# --- edges ---------------------------------------------------------------------------------------


@cells
def test_one_sequence_is_a_batch_of_one(cell):
    net = make(cell, num_layers=2)
    one = crnn.gradient_flow(net, X[:, 0], CLASSES[:, 0])
    close(one, crnn.gradient_flow(net, X[:, :1], CLASSES[:, :1]))


@cells
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_no_steps_and_no_sequences(cell, last_only):
    net = make(cell, num_layers=2)
    for steps, batch in ((0, B), (T, 0)):
        targets = np.zeros(batch if last_only else (steps, batch), int)
        flow = crnn.gradient_flow(net, np.zeros((steps, batch, I)), targets)
        for each in arrays(flow):
            assert each.shape == (2, steps)
            assert not each.any()


def test_dropout_is_left_out_and_its_generator_not_touched():
    net, without = make(crnn.LSTM, num_layers=2, dropout=0.5), make(crnn.LSTM, num_layers=2)
    before = net.dropout_state
    close(crnn.gradient_flow(net, X, CLASSES), crnn.gradient_flow(without, X, CLASSES))
    assert net.dropout_state == before


@cells
def test_nothing_is_changed(cell):
    net = make(cell, num_layers=2)
    x, state, before = X.copy(), state_of(net), net.vector.copy()
    first = crnn.gradient_flow(net, x, CLASSES, state)
    _, wanted, _ = make(cell, num_layers=2).loss_and_gradients(X, CLASSES, state)
    assert np.array_equal(net.vector, before)
    assert np.array_equal(x, X)
    assert all(map(np.array_equal, arrays(state), arrays(state_of(net))))
    _, gradients, _ = net.loss_and_gradients(x, CLASSES, state)
    assert np.array_equal(gradients.vector, wanted.vector)
    close(crnn.gradient_flow(net, x, CLASSES, state), first, rtol=0)


@pytest.mark.parametrize(("arguments", "kind"), [
    ({"x": np.ones((T, B, I + 1))}, ValueError), ({"x": TOKENS + I}, IndexError),
    ({"targets": CLASSES + O}, ValueError), ({"targets": CLASSES[:3]}, ValueError),
    ({"loss": "hinge"}, ValueError), ({"reduction": "none"}, ValueError),
    ({"state": np.zeros((1, B, H + 1))}, ValueError), ({"lengths": [T + 1] * B}, ValueError),
    ({"targets": "abc"}, TypeError), ({"net": "a network"}, TypeError),
])
def test_refusals_are_those_of_the_loss(arguments, kind):
    arguments = {"net": make(crnn.RNN), "x": X, "targets": CLASSES} | arguments
    with pytest.raises(kind):
        crnn.gradient_flow(**arguments)
