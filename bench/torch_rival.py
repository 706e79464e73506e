"""PyTorch, eager: its modules, operations with ``out=`` written by hand, autograd for training."""

import itertools

import torch
from rivals import PARAMETERS, Gauge, Rival, sequence_results, threads

VERSION = torch.__version__

torch.set_num_threads(threads())


def step(problem):
    return [_step_module(problem), _step_by_hand(problem)]


def _step_module(problem):
    cell = _with_parameters(torch.nn.RNNCell, problem.net).requires_grad_(False)
    x = torch.from_numpy(problem.x)[None]
    h = torch.zeros(1, problem.net.hidden_size, dtype=x.dtype)

    def step(x):
        nonlocal h
        h = cell(x, h)
        return h

    return Rival("RNNCell", "step(x)", {"step": step, "x": x}, lambda h: {"y": h[0].numpy()})


def _step_by_hand(problem):
    """One product of all weights with [x, h]."""
    W_xh, W_hh, b = _tensors(problem.net)[:3]
    W, x = torch.cat([W_xh, W_hh]).T.contiguous(), torch.from_numpy(problem.x)
    z, a = torch.zeros(len(W_xh) + len(W_hh), dtype=x.dtype), torch.empty_like(b)
    x_part, h = z[: len(W_xh)], z[len(W_xh) :]

    def step(x):
        x_part.copy_(x)
        torch.addmv(b, W, z, out=a)
        return torch.tanh(a, out=h)

    return Rival("addmv, tanh", "step(x)", {"step": step, "x": x}, lambda h: {"y": h.numpy()})


def sequence(problem):
    return [_sequence_module(problem), _sequence_by_hand(problem)]


def _sequence_module(problem):
    rnn = _with_parameters(torch.nn.RNN, problem.net).requires_grad_(False)
    names = {"rnn": rnn, "x": torch.from_numpy(problem.x)}
    return Rival("RNN", "rnn(x)", names, sequence_results)


def _sequence_by_hand(problem):
    x, (W_xh, W_hh, b) = torch.from_numpy(problem.x), _tensors(problem.net)[:3]
    (T, B, _), H = x.shape, len(b)
    h = torch.zeros(T + 1, B, H, dtype=x.dtype)
    states, rows = list(h), h[1:].view(T * B, H)

    def run(x):
        torch.addmm(b, x.view(T * B, -1), W_xh, out=rows)
        for before, now in itertools.pairwise(states):
            now.addmm_(before, W_hh).tanh_()
        return h[1:], h[-1:]

    return Rival("addmm, tanh", "run(x)", {"run": run, "x": x}, sequence_results)


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

    return [Rival("RNN", "train()", {"train": train}, results)]


def peak(dtype):
    """Return the product of two matrices that fit in the caches."""
    a = torch.ones(512, 512, dtype=getattr(torch, dtype))
    names = {"mm": torch.mm, "a": a, "out": torch.empty_like(a)}
    return [Gauge(Rival("torch.mm", "mm(a, a, out=out)", names, dict), 2 * 512**3)]


def _tensors(net):
    return [torch.tensor(net.parameters[name]) for name in PARAMETERS if name in net.parameters]


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
