"""PyTorch, eager: its modules, operations with ``out=`` written by hand, autograd for training."""

import itertools
import warnings

import numpy as np
import torch
from rivals import Gauge, Rival, layers, sequence_results, state_results, threads
from torch_cells import CLASSES
from torch_fit import loop

VERSION = torch.__version__

NAMES = {"weight_ih": "W_xh", "weight_hh": "W_hh", "bias_ih": "b_h", "bias_hh": "b_hn"}

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
    net, kind, lengths = problem.net, problem.kind, problem.lengths
    names = {"layer": _with_parameters(kind, net), "x": torch.from_numpy(problem.x)}
    if net.output_size is not None:
        names["readout"] = _readout(net)

        return [_forward(kind, "[(readout(y[-1]), state) for y, state in [layer(x)]][0]",
                         names, sequence_results)]
    if lengths is None:
        forms = [_forward(kind, "layer(x)", names, sequence_results)]
        return [*forms, _sequence_by_hand(problem)] if problem.simple else forms
    return _unequal(problem, names)


def _unequal(problem, names):
    """Packed; or, where that gives the same, padded, with what is too much cut off untimed."""
    kind, lengths = problem.kind, torch.from_numpy(problem.lengths)
    pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    layer = names["layer"]

    def packed(x):
        y, state = layer(pack(x, lengths, enforce_sorted=False))
        return pad(y, total_length=len(x))[0], state

    names["packed"] = packed
    forms = [_forward("packed", "packed(x)", names, sequence_results)]
    if kind != "LSTM" and not problem.net.bidirectional and problem.net.num_layers == 1:
        def results(value):
            y = np.array(value[0])
            last = y[problem.lengths - 1, np.arange(len(lengths))][None]
            y[np.arange(len(y))[:, None] >= problem.lengths] = 0
            return sequence_results((y, last))

        forms.append(_forward("padded", "layer(x)", names, results))
    return forms


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
    layer, readout = _with_parameters(kind, net), _readout(net)
    x, targets = torch.from_numpy(problem.x), torch.from_numpy(problem.targets).reshape(-1)
    if x.ndim == 2:  # made once: a gift to PyTorch, whose layers take no tokens
        x = torch.nn.functional.one_hot(x, net.input_size).to(_dtype(net))
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
            "W_hy": readout.weight.grad.T.numpy(),
            "b_y": readout.bias.grad.numpy(),
        }
        for name, parameter in layer.named_parameters():
            what, place = name.split("_l")
            found[f"{NAMES[what]}_l{place}"] = parameter.grad.numpy().T
        for name in [name for name in found if name.startswith("b_hn")]:
            found[name] = found[name][2 * net.hidden_size :]
            if kind != "GRU":
                del found[name]  # the second bias, which crnn has not
        return found

    names = {"train": train, "set_grad_enabled": torch.set_grad_enabled}
    return [Rival(kind, "train()", names, results, setup="set_grad_enabled(True)")]


def compressed(problem):
    """All in bfloat16; or in int8, with activations quantized as they come, but no RNN."""
    x = torch.from_numpy(problem.x)
    if problem.settings == "bf16":
        layer = _with_parameters(problem.kind, problem.net).to(torch.bfloat16)
        names = {"layer": layer, "x": x.to(torch.bfloat16)}
        return [_forward(problem.kind, "layer(x)", names, _results)]
    if problem.kind == "RNN":
        return []
    layers_in_float = torch.nn.ModuleList([_with_parameters(problem.kind, problem.net)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a package beside it by now
        (layer,) = torch.ao.quantization.quantize_dynamic(
            layers_in_float, {getattr(torch.nn, problem.kind)}, dtype=torch.qint8)
    return [_forward(problem.kind, "layer(x)", {"layer": layer, "x": x}, _results)]


def streams(problem):
    """All states in one array: those of the streams are taken from it, and put back."""
    kind, (number, chosen) = problem.kind, problem.settings
    cell = _with_parameters(f"{kind}Cell", problem.net)
    x, chosen = torch.from_numpy(problem.x), torch.from_numpy(chosen)
    states = torch.zeros(1 + (kind == "LSTM"), number, problem.net.hidden_size, dtype=x.dtype)

    def step(x):
        before = states[:, chosen]
        state = cell(x, (before[0], before[1]) if kind == "LSTM" else before[0])
        for all_states, now in zip(states, state if kind == "LSTM" else (state,), strict=True):
            all_states[chosen] = now
        return state

    def results(state):
        return {"y": state_results(state)["h"].numpy()}

    return [_forward(f"{kind}Cell", "step(x)", {"step": step, "x": x}, results)]


def writing(problem):
    net, (_, length, temperature) = problem.net, problem.settings
    layer, readout = _with_parameters(problem.kind, net), _readout(net)
    one_hot = torch.eye(net.input_size, dtype=_dtype(net))

    def write():
        token, state, written = 0, None, []
        for _ in range(length):
            h, state = layer(one_hot[token : token + 1], state)
            y = readout(h[0])
            token = int(torch.multinomial(torch.softmax(y / temperature, 0), 1))
            written.append(token)
        return written

    return [_forward(problem.kind, "write()", {"write": write}, lambda all: {"symbols": all})]


def fit(problem):
    layer, readout = _with_parameters(problem.kind, problem.net), _readout(problem.net)
    return [loop(problem, layer, readout)]


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
    cell, options = name.endswith("Cell"), {"dtype": _dtype(net)}
    if not cell:
        options |= {"num_layers": net.num_layers, "bidirectional": net.bidirectional}
    module = getattr(torch.nn, name)(net.input_size, net.hidden_size, **options)
    for number, layer in enumerate(layers(net)):
        for each in layer:
            suffix = "" if cell else f"_l{number}{'_reverse' * each.backwards}"
            _copy(each.W_xh.T, getattr(module, f"weight_ih{suffix}"))
            _copy(each.W_hh.T, getattr(module, f"weight_hh{suffix}"))
            _copy(each.b_h, getattr(module, f"bias_ih{suffix}"))
            second = getattr(module, f"bias_hh{suffix}")
            torch.nn.init.zeros_(second)
            if each.b_hn is not None:
                _copy(each.b_hn, second[2 * net.hidden_size :])
    return module


def _readout(net):
    width = net.hidden_size * (1 + net.bidirectional)
    readout = torch.nn.Linear(width, net.output_size, dtype=_dtype(net))
    _copy(net.parameters["W_hy"].T, readout.weight)
    _copy(net.parameters["b_y"], readout.bias)
    return readout


def _results(value):
    """Return the results of a task "sequence", of any type of numbers, from outputs and state."""
    y, state = value
    parts = tuple(each.float().numpy() for each in (state if isinstance(state, tuple) else [state]))
    return sequence_results((y.float().numpy(), parts))


def _copy(array, parameter):
    with torch.no_grad():
        parameter.copy_(torch.tensor(array))


def _dtype(net):
    return getattr(torch, net.dtype.name)
