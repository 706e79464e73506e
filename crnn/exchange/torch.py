"""Networks of PyTorch's, as descriptions, and back."""

import numpy as np

from crnn.exchange import torch_choice, torch_layers, torch_sources
from crnn.exchange.description import Description, named
from crnn.exchange.torch_parts import listed
from crnn.layers import Dropout


def read(source, *, layers=None, activations=None, nonlinearity=None, initial_state=None,
         last=False, batch_first=None, dtype=None):
    """Return the `Description` of a network of PyTorch's; see `crnn.from_torch`."""
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are read as they are
        return _described(source, layers, activations, nonlinearity, initial_state, last,
                          batch_first, dtype)


def _described(source, layers, activations, nonlinearity, initial_state, last, batch_first, dtype):
    origin = torch_sources.opened(source)
    states = _states(initial_state)
    names = {each for each in states if isinstance(each, str)}
    parts, left_out = torch_choice.choose(origin, layers, names, activations)
    if nonlinearity is not None and all(part.kind != "RNN" for part in parts):
        raise ValueError(f"nonlinearity is {nonlinearity!r}, which is an RNN's, but there is"
                         f" {listed(parts)}")
    arrays = [torch_layers.floats(part, origin) for part in parts]
    steps = []
    for part, own in zip(parts, arrays, strict=True):
        activation = (activations or {}).get(part.name)
        torch_layers.add_steps(steps, part, own, activation, nonlinearity, origin)
    if isinstance(steps[-1].layer, Dropout):  # behind the outputs
        left_out.append(f"dropout of the outputs ({steps.pop().layer.share})")
    if states:
        torch_layers.add_states(steps, states, origin)
    dtype = np.dtype(dtype or max(each.dtype for own in arrays for each in own.values()))
    described = [step.layer for step in steps]
    parameters = named(described, [step.arrays for step in steps])
    input_size = next(part.inputs for part in parts if part.inputs is not None)
    return Description(
        input_size, described,
        {name: np.ascontiguousarray(each, dtype) for name, each in parameters.items()},
        last=last, learn_state=bool(states), left_out=left_out,
        batch_first=origin.batch_first if batch_first is None else batch_first)


def _states(initial_state):
    """Return initial states as a tuple: none, h, or h and c."""
    if initial_state is None:
        return ()
    return tuple(initial_state) if isinstance(initial_state, (tuple, list)) else (initial_state,)
