"""Every cell that PyTorch has, in layers and both directions, against PyTorch in float64.

What PyTorch has not: a GRU with the reset before the product, or with another candidate.
"""

import cell_networks as cells
import numpy as np
import pytest
from cell_networks import (
    B,
    H,
    I,
    O,
    T,
    arrays,
    build,
    check_close,
    draw,
    each_shape,
    floats_or_tokens,
    like,
    named,
)

import crnn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

LENGTHS = np.array([2, 5, 1, 3])  # PyTorch does not pack a sequence of no steps
each_cell = pytest.mark.parametrize("cell", ["RNN", "RNN, relu", "GRU", "LSTM"])
full_or_ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])


def torch_layers(net):
    """Return PyTorch's layers with the weights of net.

    Its second bias is zero, but for the candidate of a GRU: that one is b_hn.
    """
    kind = type(net).__name__
    options = {"nonlinearity": net.nonlinearity} if kind == "RNN" else {}
    layers = getattr(torch.nn, kind)(
        net.input_size, net.hidden_size, num_layers=net.num_layers,
        bidirectional=net.bidirectional, dtype=torch.float64, **options,
    )
    with torch.no_grad():
        for name, theirs in layers.named_parameters():
            theirs.copy_(torch.tensor(as_torch(net, net.parameters, name)))
    return layers


def as_torch(net, values, name):
    """Return what PyTorch's parameter of this name is in terms of crnn's parameters."""
    what, suffix = name.rsplit("_l", 1)
    names = {"weight_ih": "W_xh", "weight_hh": "W_hh", "bias_ih": "b_h"}
    if what in names:
        return values[f"{names[what]}_l{suffix}"].T.copy()
    second = np.zeros_like(values[f"b_h_l{suffix}"])
    if isinstance(net, crnn.GRU):
        second[2 * net.hidden_size :] = values[f"b_hn_l{suffix}"]
    return second


def torch_gradients(layers):
    """Return PyTorch's gradients by crnn's names."""
    found = {}
    for name, value in layers.named_parameters():
        what, suffix = name.rsplit("_l", 1)
        names = {"weight_ih": "W_xh", "weight_hh": "W_hh", "bias_ih": "b_h"}
        if what in names:
            found[f"{names[what]}_l{suffix}"] = value.grad.numpy().T
        elif isinstance(layers, torch.nn.GRU):
            found[f"b_hn_l{suffix}"] = value.grad[2 * layers.hidden_size :].numpy()
    return found


def torch_forward(layers, x, state, lengths):
    """Return the outputs of the top layer, 0 on padding, and the last state."""
    if lengths is None:
        return layers(x, state)
    packing = torch.nn.utils.rnn
    packed = packing.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    h, last = layers(packed, state)
    return packing.pad_packed_sequence(h, total_length=len(x))[0], last


def as_leaves(state):
    return like(state, [torch.tensor(each, requires_grad=True) for each in arrays(state)])


def numpy_state(state):
    return like(state, [each.detach().numpy() for each in arrays(state)])


@each_cell
@each_shape
@full_or_ragged
@floats_or_tokens
def test_outputs_states_and_gradients(backend, rng, cell, layers, both, lengths, tokens):
    net = build(cell, layers, both, sizes=(I, H, None), backend=backend)
    data = draw(rng, net, lengths=lengths, tokens=tokens)
    y, last, cache = net.forward(data.x, data.state, lengths=lengths)
    grads = net.backward(cache, data.dy, data.dstate)
    ours = {"y": y, **named("last", last), **named("gradient", grads.state), **grads.parameters}
    ours |= {"y without tape": net(data.x, data.state, lengths=lengths)[0]}

    theirs, state = torch_layers(net), as_leaves(data.state)
    x = torch.tensor(np.eye(I)[data.x] if tokens else data.x, requires_grad=True)
    y, last = torch_forward(theirs, x, state, lengths)
    total = (y * torch.tensor(data.dy)).sum()
    for each, d in zip(arrays(last), arrays(data.dstate), strict=True):
        total = total + (each * torch.tensor(d)).sum()
    total.backward()
    wanted = {"y": y.detach().numpy(), "y without tape": y.detach().numpy()}
    wanted |= named("last", numpy_state(last)) | torch_gradients(theirs)
    wanted |= named("gradient", like(state, [each.grad.numpy() for each in arrays(state)]))
    if not tokens:
        ours["x"], wanted["x"] = grads.x, x.grad.numpy()
    check_close(ours, wanted, 1e-10)


@each_cell
@each_shape
@full_or_ragged
@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
def test_a_loss_behind_a_readout(backend, rng, cell, layers, both, lengths, last_only):
    net = build(cell, layers, both, backend=backend)
    data = draw(rng, net, lengths=lengths)
    targets = np.maximum(data.targets[-1], 0) if last_only else data.targets
    loss, grads, last = net.loss_and_gradients(data.x, targets, data.state, lengths=lengths)
    ours = {"loss": loss, **grads.parameters, **named("last", last), "x": grads.x}
    ours |= {"plain loss": net.loss(data.x, targets, data.state, lengths=lengths)[0]}
    if last_only:
        ours |= {"y": net(data.x, data.state, lengths=lengths, last=True)[0]}

    theirs, readout = torch_layers(net), torch.nn.Linear(H * (1 + both), O, dtype=torch.float64)
    with torch.no_grad():
        readout.weight.copy_(torch.tensor(net.parameters["W_hy"].T.copy()))
        readout.bias.copy_(torch.tensor(net.parameters["b_y"]))
    x = torch.tensor(data.x, requires_grad=True)
    h, last = torch_forward(theirs, x, as_leaves(data.state), lengths)
    ends = np.full(B, T) if lengths is None else lengths
    chosen = (torch.arange(T)[:, None] < torch.tensor(ends)).reshape(-1)
    y, wanted = readout(h), torch.tensor(targets)
    if last_only:  # each direction's own last state, side by side
        h_n = arrays(last)[0].reshape(layers, 1 + both, B, H)[-1]
        y = readout(torch.cat(tuple(h_n), dim=1))
    else:
        y, wanted = y.reshape(-1, O)[chosen], wanted.reshape(-1)[chosen]
    value = torch.nn.functional.cross_entropy(y, wanted, ignore_index=-1)
    value.backward()
    found = {"loss": value.item(), "plain loss": value.item(), "x": x.grad.numpy()}
    if last_only:
        found |= {"y": y.detach().numpy()}
    found |= torch_gradients(theirs) | named("last", numpy_state(last))
    found |= {"W_hy": readout.weight.grad.numpy().T, "b_y": readout.bias.grad.numpy()}
    check_close(ours, found, 1e-10)


@each_cell
def test_a_swapped_gate_would_be_seen(rng, cell):
    net = build(cell, 2, True, sizes=(I, H, None))
    data = draw(rng, net)
    theirs = torch_layers(net)
    net.parameters["W_hh_l1_reverse"] = np.roll(net.parameters["W_hh_l1_reverse"], H, axis=1)
    if "RNN" in cell:
        net.parameters["W_hh_l1_reverse"] = net.parameters["W_hh_l1_reverse"].T
    with torch.no_grad():
        y, _ = theirs(torch.tensor(data.x), like(data.state, [
            torch.tensor(each) for each in arrays(data.state)]))
    assert cells.relative_error(net(data.x, data.state)[0], y.numpy()) > 1e-3
