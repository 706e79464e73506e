"""A whole training in PyTorch, as its users write it: epochs of updates by Adam, clipped."""

import torch
from fits import epoch_of
from rivals import Rival
from torch.nn import functional


def loop(problem, layer, readout):
    """Return the rival whose call is an epoch."""
    settings = problem.settings
    optimizer = torch.optim.Adam(_trained(layer, readout, problem), lr=settings.lr, fused=True)
    parameters = optimizer.param_groups[0]["params"]

    def update(x, targets, lengths, state):
        optimizer.zero_grad()
        if x.ndim == 2:
            x = functional.one_hot(x, layer.input_size).to(layer.weight_ih_l0.dtype)
        h, state = layer(x, state)  # padded: what is beyond a sequence's length does not count
        value = loss(readout, h, targets, lengths, settings.loss)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        return value.item(), detached(state)

    names = {"epoch": epoch_of(problem, torch.from_numpy, update),
             "set_grad_enabled": torch.set_grad_enabled}
    return Rival("loop", "epoch()", names, lambda value: {"loss": [value]},
                 setup="set_grad_enabled(True)")


def _trained(layer, readout, problem):
    """Return the parameters that crnn has, too: of a second bias the candidate's part of a GRU."""
    found = [*readout.parameters()]
    for name, parameter in layer.named_parameters():
        if not name.startswith("bias_hh"):
            found.append(parameter)
        elif problem.kind == "GRU":
            candidate = torch.zeros_like(parameter)
            candidate[2 * problem.net.hidden_size :] = 1
            parameter.register_hook(candidate.mul)
            found.append(parameter)
        else:
            parameter.requires_grad_(False)
    return found


def loss(readout, h, targets, lengths, kind):
    """Return the mean loss."""
    if targets.ndim == 1:  # one for each sequence
        last = h[lengths - 1, torch.arange(len(lengths))]
        return functional.cross_entropy(readout(last), targets)
    y = readout(h)
    if kind == "softmax":
        return functional.cross_entropy(y.flatten(0, 1), targets.flatten())
    valid = (torch.arange(len(y))[:, None] < lengths)[..., None]
    each = functional.binary_cross_entropy_with_logits(y, targets, reduction="none")
    return (each * valid).sum() / (lengths.sum() * y.shape[-1])


def detached(state):
    return tuple(each.detach() for each in state) if isinstance(state, tuple) else state.detach()
