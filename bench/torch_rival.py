"""PyTorch, eager: RNNCell for a step, RNN for a sequence, autograd for training."""

import torch
from rivals import Rival

VERSION = torch.__version__

torch.set_num_threads(1)


def step(problem):
    cell = _with_parameters(torch.nn.RNNCell, problem.net).requires_grad_(False)
    x = torch.from_numpy(problem.x)[None]
    h = torch.zeros(1, problem.net.hidden_size, dtype=x.dtype)

    def step():
        nonlocal h
        h = cell(x, h)
        return h

    return Rival("step()", {"step": step}, lambda h: {"y": h[0].numpy()})


def sequence(problem):
    rnn = _with_parameters(torch.nn.RNN, problem.net).requires_grad_(False)
    names = {"rnn": rnn, "x": torch.from_numpy(problem.x)}
    return Rival("rnn(x)", names, lambda value: {"y": value[0].numpy(), "state": value[1].numpy()})


def training(problem):
    net = problem.net
    rnn = _with_parameters(torch.nn.RNN, net)
    readout = torch.nn.Linear(net.hidden_size, net.output_size, dtype=_dtype(net))
    _copy(net.parameters["W_hy"].T, readout.weight)
    _copy(net.parameters["b_y"], readout.bias)
    tokens, targets = torch.from_numpy(problem.x), torch.from_numpy(problem.targets).reshape(-1)
    # made once: a gift to PyTorch, whose RNN takes no tokens
    x = torch.nn.functional.one_hot(tokens, net.input_size).to(_dtype(net))
    parameters = [*rnn.parameters(), *readout.parameters()]

    def train():
        for parameter in parameters:
            parameter.grad = None
        h, state = rnn(x)
        logits = readout(h).reshape(-1, net.output_size)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        return loss, state

    def results(value):
        return {
            "loss": value[0].item(),
            "state": value[1].detach().numpy(),
            "W_xh_l0": rnn.weight_ih_l0.grad.T.numpy(),
            "W_hh_l0": rnn.weight_hh_l0.grad.T.numpy(),
            "b_h_l0": rnn.bias_ih_l0.grad.numpy(),
            "W_hy": readout.weight.grad.T.numpy(),
            "b_y": readout.bias.grad.numpy(),
        }

    return Rival("train()", {"train": train}, results)


def _with_parameters(cls, net):
    """Return torch's RNN or RNNCell with a network's parameters; its second bias is 0."""
    suffix = "" if cls is torch.nn.RNNCell else "_l0"
    module = cls(net.input_size, net.hidden_size, dtype=_dtype(net))
    _copy(net.parameters["W_xh_l0"].T, getattr(module, f"weight_ih{suffix}"))
    _copy(net.parameters["W_hh_l0"].T, getattr(module, f"weight_hh{suffix}"))
    _copy(net.parameters["b_h_l0"], getattr(module, f"bias_ih{suffix}"))
    torch.nn.init.zeros_(getattr(module, f"bias_hh{suffix}"))
    return module


def _copy(array, parameter):
    with torch.no_grad():
        parameter.copy_(torch.tensor(array))


def _dtype(net):
    return getattr(torch, net.dtype.name)
