"""Which modules make a network, in which order: as a user says, or where it can be no other."""

import itertools
from collections.abc import Mapping

from crnn.base import checks
from crnn.base.layers import ACTIVATIONS
from crnn.exchange.torch_parts import KINDS, TABLE, embedding, linear, listed, shown
from crnn.exchange.torch_sources import CHOOSE

MOST_ORDERED = 6  # modules, of which all orders are tried


def choose(origin, names, states, activations):
    """Return the parts that make the network, in order.

    Parameters
    ----------
    origin : Source
    names : list of str or None
        Of modules, or of what holds several; None: all of them.
    states : set of str
        The names of arrays that are initial states.
    activations : dict of str to str, or None
        What is applied to the outputs of parts, by their names.

    Returns
    -------
    parts : list of Part
    left_out : list of str
        The others, in words.

    Raises
    ------
    TypeError, ValueError, FormatError
        What to take, or in which order, is not clear; or it cannot be had.
    """
    parts = _all(origin, states) if names is None else _named(origin, names)
    if not any(part.is_recurrent for part in parts):
        raise origin.refused("has no RNN, GRU or LSTM of PyTorch's among the modules"
                             f" {listed(parts)}")
    _check_activations(activations, parts)
    parts = _in_place(parts, origin, activations, names is not None)
    if names is None and not any(part.is_placed for part in parts):
        parts = _in_order(parts, origin)
    parts = [_told(part, parts, activations or {}) for part in parts]
    _check_widths(parts, origin)
    _check_activations_are_said(parts, origin, activations or {})
    used = {part.name for part in parts} | states
    return parts, [str(part) for part in origin.parts if part.name not in used]


def _named(origin, names):
    """Return the parts that a user has named."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"layers is {names!r}; a list of names of modules is wanted")
    parts = []
    for name in names:
        within = [part for part in origin.parts if part.name == name]
        within = within or [part for part in origin.parts if part.name.startswith(f"{name}.")]
        if not within:
            raise ValueError(f"layers has {shown(name)}, but the modules are"
                             f" {listed(origin.modules)}")
        parts += within
    if not parts or len({part.name for part in parts}) < len(parts):
        raise ValueError(f"layers is {names!r}; each module is named once, and one at least")
    _check_known(parts, origin)
    return parts


def _all(origin, states):
    """Return all parts but initial states, if it is clear that they follow each other."""
    parts = [part for part in origin.parts if part.name not in states]
    _check_known(parts, origin)
    recurrent = [part for part in parts if part.is_recurrent]
    if len(recurrent) > 1:
        example = [part.name for part in parts][:12]
        raise origin.unclear(
            f"has {len(recurrent)} recurrent modules, {listed(recurrent)}, and does not say which"
            f" is given what: {CHOOSE}, as in layers={example!r}")
    return parts


def _check_known(parts, origin):
    strangers = [part for part in parts if part.trouble or part.kind not in KINDS]
    if strangers:
        first = strangers[0]
        initial = "; arrays that are initial states are named by initial_state="
        raise origin.refused(
            f"has {first}, and {first.trouble}{initial * (first.kind == 'array')}. To read other"
            f" parts alone, {CHOOSE}: it has {listed(origin.modules)}")


def _check_activations(activations, parts):
    if activations is None:
        return
    computing = [part for part in parts if part.kind not in ("Activation", "Dropout")]
    if not isinstance(activations, Mapping):
        raise TypeError(f"activations is {activations!r}; a dict such as"
                        f" {{{computing[-1].name!r}: 'relu'}} is wanted")
    for name, value in activations.items():
        if name not in {part.name for part in computing}:
            raise ValueError(f"activations has {name!r}, but what computes is {listed(computing)}")
        checks.choice(value, f"activations[{name!r}]", ACTIVATIONS)


def _in_place(parts, origin, activations, by_name):
    """Return the parts without the activations and dropouts whose place is not known."""
    loose = [part for part in parts
             if part.kind in ("Activation", "Dropout") and not (part.is_placed or by_name)]
    functions = [part for part in loose if part.kind == "Activation"]
    if functions and activations is None:
        before = next(part.name for part in parts if part.is_recurrent)
        example = {before: functions[0].nonlinearity}
        raise origin.unclear(
            f"has {listed(functions)}, and where its forward applies it cannot be seen: say after"
            f" which modules by activations={example!r}, or activations={{}} for none")
    return [part for part in parts if part not in loose]


def _in_order(parts, origin):
    """Return parts as they were defined, or in the one order in which they fit each other.

    State dicts have modules in the order of their definition, the recurrent one then before its
    readout, unless they are sorted by name, as in safetensors files.
    """
    first = [part.kind in ("Embedding", TABLE) for part in parts].index(False)
    as_usual = list(origin.tensors) != sorted(origin.tensors) and parts[first].is_recurrent
    if as_usual and first < 2 and _chain(parts):
        return parts
    if len(parts) <= MOST_ORDERED:
        orders = [list(each) for each in itertools.permutations(parts) if _chain(each)]
        if len(orders) == 1:
            return orders[0]
    raise origin.unclear(f"has {listed(parts)}, and does not say in which order they compute,"
                         f" or which of them: {CHOOSE}")


def _chain(parts):
    """Whether each part's outputs fit the inputs of the next."""
    for number, (before, part) in enumerate(itertools.pairwise(parts)):
        inputs = part.inputs or linear(part.name, part.arrays).inputs
        outputs = [before.outputs]
        if before.kind == TABLE:
            either = [linear, embedding] if number == 0 else [linear]
            outputs = [each(before.name, before.arrays).outputs for each in either]
        if part.kind == "Embedding" or inputs not in outputs:
            return False
    return True


def _check_widths(parts, origin):
    """Refuse parts that do not fit each other."""
    wide = [part for part in parts if part.outputs is not None]
    for before, part in itertools.pairwise(wide):
        if part.kind == "Embedding":
            raise origin.refused(f"has {part} behind {before}; an Embedding is given tokens and"
                                 f" comes first: {CHOOSE}")
        if before.outputs != part.inputs:
            raise origin.unclear(f"has {part} behind {before}, whose outputs do not fit: {CHOOSE},"
                                 f" from {listed(origin.modules)}")


def _told(part, parts, activations):
    """Return a matrix as a Linear without a bias, or as an Embedding, which comes first.

    A square one would fit as either. The activation of a Linear there has to be said; so that it is
    an Embedding if there is none. (What is given tokens refuses floats, and the other way round.)
    """
    if part.kind != TABLE:
        return part
    as_linear, as_table = linear(part.name, part.arrays), embedding(part.name, part.arrays)
    following = next((each.inputs for each in parts[1:] if each.inputs), None)
    is_table = part is parts[0] and as_table.outputs == following and part.name not in activations
    return as_table if is_table else as_linear


def _check_activations_are_said(parts, origin, activations):
    """Refuse a Linear that is followed by what may be given more than its outputs."""
    computing = [part for part in parts if part.kind != "Dropout"]
    for part, following in itertools.pairwise(computing):
        is_known = following.kind == "Activation" or (
            following.is_placed and _follow(part, following, origin))
        if part.kind == "Linear" and not is_known and part.name not in activations:
            raise origin.unclear(
                f"does not say what is between {part} and {following}: say it by"
                f" activations={{{part.name!r}: 'relu'}}, or 'linear' for nothing")


def _follow(part, following, origin):
    """Whether nothing but dropout is between two parts in their module."""
    names = [each.name for each in origin.parts if each.kind != "Dropout"]
    return names.index(following.name) == names.index(part.name) + 1
