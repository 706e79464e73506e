"""PyTorch, eager: its modules, operations with ``out=`` written by hand, autograd for training."""

import itertools

import torch
from rivals import Gauge, Rival, sequence_results, state_results, threads
from torch_cells import CLASSES

VERSION = torch.__version__

torch.set_num_threads(threads())


def step(problem):
    by_hand = _step_addmv if problem.kind == "RNN" else _step_by_hand
    return [_step_module(problem), by_hand(problem)]


def _step_module(problem):
    kind = problem.kind
    cell = _with_parameters(f"{kind}Cell", problem.net)
    x = torch.from_numpy(problem.x)[None]
    state = h = torch.zeros(1, problem.net.hidden_size, dtype=x.dtype)
    if kind == "LSTM":
        state = h, torch.zeros_like(h)

    def step(x):
        nonlocal state
        state = cell(x, state)
        return state

    def results(state):
        return {"y": state_results(state)["h"][0].numpy()}

    return _forward(f"{kind}Cell", "step(x)", {"step": step, "x": x}, results)


def _step_addmv(problem):
    """One product of all weights with [x, h]."""
    W_xh, b = _tensors(problem.net, "W_xh_l0", "b_h_l0")
    (W_hh,) = _tensors(problem.net, "W_hh_l0")
    W, x = torch.cat([W_xh, W_hh]).T.contiguous(), torch.from_numpy(problem.x)
    z, a = torch.zeros(len(W_xh) + len(W_hh), dtype=x.dtype), torch.empty_like(b)
    x_part, h = z[: len(W_xh)], z[len(W_xh) :]

    def step(x):
        x_part.copy_(x)
        torch.addmv(b, W, z, out=a)
        return torch.tanh(a, out=h)

    return _forward("addmv, tanh", "step(x)", {"step": step, "x": x}, lambda h: {"y": h.numpy()})


def _step_by_hand(problem):
    """A product with x and one with h."""
    x, (W_xh, b) = torch.from_numpy(problem.x), _tensors(problem.net, "W_xh_l0", "b_h_l0")
    cell, a = CLASSES[problem.kind](problem.net, 1, x.dtype), torch.empty_like(b)[None]
    W, h = W_xh.T.contiguous(), torch.zeros(1, problem.net.hidden_size, dtype=x.dtype)
    row = a[0]

    def step(x):
        torch.addmv(b, W, x, out=row)
        cell.apply(a, h, h)
        return h

    return _forward("by hand", "step(x)", {"step": step, "x": x}, lambda h: {"y": h[0].numpy()})


def sequence(problem):
    return [_sequence_module(problem), _sequence_by_hand(problem)]


def _sequence_module(problem):
    layer = _with_parameters(problem.kind, problem.net)
    names = {"layer": layer, "x": torch.from_numpy(problem.x)}
    return _forward(problem.kind, "layer(x)", names, sequence_results)


def _sequence_by_hand(problem):
    x, (W_xh, b) = torch.from_numpy(problem.x), _tensors(problem.net, "W_xh_l0", "b_h_l0")
    (T, B, _), H = x.shape, problem.net.hidden_size
    cell = CLASSES[problem.kind](problem.net, B, x.dtype)
    h = torch.zeros(T + 1, B, H, dtype=x.dtype)
    a = h[1:] if problem.kind == "RNN" else torch.empty(T, B, len(b), dtype=x.dtype)
    states, inputs, rows = list(h), list(a), a.view(T * B, -1)

    def run(x):
        torch.addmm(b, x.view(T * B, -1), W_xh, out=rows)
        cell.reset()
        for (before, now), each in zip(itertools.pairwise(states), inputs, strict=True):
            cell.apply(each, before, now)
        return h[1:], cell.state(h[-1:])

    return _forward("by hand", "run(x)", {"run": run, "x": x}, sequence_results)


def training(problem):
    net, kind = problem.net, problem.kind
    layer = _with_parameters(kind, net)
    readout = torch.nn.Linear(net.hidden_size, net.output_size, dtype=_dtype(net))
    _copy(net.parameters["W_hy"].T, readout.weight)
    _copy(net.parameters["b_y"], readout.bias)
    tokens, targets = torch.from_numpy(problem.x), torch.from_numpy(problem.targets).reshape(-1)
    # made once: a gift to PyTorch, whose layers take no tokens
    x = torch.nn.functional.one_hot(tokens, net.input_size).to(_dtype(net))
    parameters = [*layer.parameters(), *readout.parameters()]

    def train():
        for parameter in parameters:
            parameter.grad = None
        h, state = layer(x)
        logits = readout(h).reshape(-1, net.output_size)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        return loss, state

    def results(value):
        loss, state = value
        found = {
            "loss": loss.item(),
            **{name: each.detach().numpy() for name, each in state_results(state).items()},
            "W_xh_l0": layer.weight_ih_l0.grad.T.numpy(),
            "W_hh_l0": layer.weight_hh_l0.grad.T.numpy(),
            "b_h_l0": layer.bias_ih_l0.grad.numpy(),
            "W_hy": readout.weight.grad.T.numpy(),
            "b_y": readout.bias.grad.numpy(),
        }
        if kind == "GRU":
            found["b_hn_l0"] = layer.bias_hh_l0.grad[2 * net.hidden_size :].numpy()
        return found

    names = {"train": train, "set_grad_enabled": torch.set_grad_enabled}
    return [Rival(kind, "train()", names, results, setup="set_grad_enabled(True)")]


def peak(dtype):
    """Return the product of two matrices that fit in the caches."""
    a = torch.ones(512, 512, dtype=getattr(torch, dtype))
    names = {"mm": torch.mm, "a": a, "out": torch.empty_like(a)}
    return [Gauge(Rival("torch.mm", "mm(a, a, out=out)", names, dict), 2 * 512**3)]


def _forward(form, expression, names, results):
    """Return a rival that keeps nothing for gradients: the layers then take faster ways."""
    names["set_grad_enabled"] = torch.set_grad_enabled
    return Rival(form, expression, names, results, setup="set_grad_enabled(False)")


def _tensors(net, *names):
    return [torch.tensor(net.parameters[name]) for name in names]


def _with_parameters(name, net):
    """Return torch's layer or cell of this name with a network's parameters.

    Its second bias is 0, but for a GRU's candidate.
    """
    suffix = "" if name.endswith("Cell") else "_l0"
    module = getattr(torch.nn, name)(net.input_size, net.hidden_size, dtype=_dtype(net))
    _copy(net.parameters["W_xh_l0"].T, getattr(module, f"weight_ih{suffix}"))
    _copy(net.parameters["W_hh_l0"].T, getattr(module, f"weight_hh{suffix}"))
    _copy(net.parameters["b_h_l0"], getattr(module, f"bias_ih{suffix}"))
    second = getattr(module, f"bias_hh{suffix}")
    torch.nn.init.zeros_(second)
    if "b_hn_l0" in net.parameters:
        _copy(net.parameters["b_hn_l0"], second[2 * net.hidden_size :])
    return module


def _copy(array, parameter):
    with torch.no_grad():
        parameter.copy_(torch.tensor(array))


def _dtype(net):
    return getattr(torch, net.dtype.name)
