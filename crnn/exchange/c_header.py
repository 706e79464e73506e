"""A network as a C header: C99, without allocation, and nothing beyond ``math.h``.

The file has all that a step takes: the weights as constant arrays, a struct with the state, and
two functions, which reset it and step it. (Weights in int8 take ``stdint.h``, too.)
"""

import os
import re
from typing import NamedTuple

import numpy as np

from crnn.base import checks
from crnn.exchange import c_functions
from crnn.exchange.c_arrays import WEIGHTS, constant
from crnn.exchange.c_layers import Place, Writer, for_each
from crnn.files import disk
from crnn.layers import GRU, Activation, Dense, Dropout, Embedding, Masking

LONGEST_NAME = 40
MATRICES = ("W_xh", "W_hh", "W_hn", "W_hy")


class Contents(NamedTuple):
    """What a header is made of.

    Attributes
    ----------
    name : str
    weights : FloatWeights or Int8Weights
    is_of_tokens : bool
    inputs, outputs : int
    places, blocks : list
        Of the layers, from the input up.
    arrays : dict of str to ndarray
        The parameters, in float32, by their names after the header's.
    states : dict of str to int
        What the state holds: names and numbers of floats.
    skip : bool
    mask : float or None
        The token, or all the features, of a step that is none.
    """

    name: str
    weights: type
    is_of_tokens: bool
    inputs: int
    outputs: int
    places: list
    blocks: list
    arrays: dict
    states: dict
    skip: bool
    mask: float | None


def write(path, description, name="net", weights="float", tokens=None):
    """Write the header of a network, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    description : Description
    name : str
        What all names in the header begin with.
    weights : {"float", "int8"}
    tokens : bool, optional
        Whether a step takes a token. Default: whether the first layer is an embedding.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above, or C cannot have such a network.
    OSError, FormatError
        As `disk.write_bytes`.
    """
    contents = contents_of(description, name, weights, tokens)
    text = "\n".join([
        title(contents, os.path.basename(os.fsdecode(path))),
        f"#ifndef CRNN_{name.upper()}_H",
        f"#define CRNN_{name.upper()}_H\n",
        *(f"#include <{each}>" for each in ("math.h", *contents.weights.includes)),
        "",
        *constants(contents),
        "",
        *state(contents),
        "",
        *functions(contents),
        "",
        f"#endif /* CRNN_{name.upper()}_H */\n",
    ])
    disk.write_bytes(path, text.encode("ascii"))


# --- what is written ----------------------------------------------------------------------------


def contents_of(description, name, weights, tokens):
    """Return the `Contents` of the header of a network."""
    check_name(name)
    kind = WEIGHTS[checks.choice(weights, "weights", tuple(WEIGHTS))]
    is_of_tokens = reads_tokens(description, tokens)
    check_layers(description.layers)
    places, blocks = placed(description, Writer(name, kind), "token" if is_of_tokens else "x")
    states = {place.named(name): place.size for place in places if place.layer.kind.has_state
              for name in ("h", "c")[: place.layer.kind.num_states]}
    return Contents(
        name, kind, is_of_tokens, description.input_size, places[-1].size, places, blocks,
        arrays_of(description, places), states, description.skip, mask_of(description.layers[0]))


def reads_tokens(description, tokens):
    """Return whether a step takes a token."""
    first = description.layers[0]
    is_table = isinstance(first, Embedding)
    if tokens is None:
        return is_table
    if is_table and not checks.flag(tokens, "tokens"):
        raise ValueError("tokens is False, but the first layer is an embedding, which reads tokens")
    reasons = {"it compares features (Masking)": isinstance(first, Masking),
               "it adds the input to the outputs (skip)": description.skip}
    for reason, holds in reasons.items():
        if checks.flag(tokens, "tokens") and holds:
            raise ValueError(f"tokens is True, but the network reads floats: {reason}")
    return tokens


def mask_of(first):
    """Return the token, or the value of all features, of a step that is none; or None."""
    if isinstance(first, Masking):
        return first.value
    return 0 if getattr(first, "mask_zero", False) else None


def placed(description, writer, x):
    """Return the `Place` and the `Block` of each layer, two lists; x is what the first reads."""
    layers = [each for each in description.layers if not isinstance(each, (Dropout, Masking))]
    places, blocks, inputs = [], [], description.input_size
    for number, layer in enumerate(layers):
        is_readout = isinstance(layer, Dense) and number == len(layers) - 1
        size = inputs if isinstance(layer, Activation) else layer.size
        places.append(Place(layer, number, is_readout, inputs, size, x, x == "token"))
        blocks.append(writer.block(places[-1]))
        x, inputs = blocks[-1].y, size
    return places, blocks


def check_name(name):
    """Refuse what cannot begin the names of C and C++."""
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}; a text is wanted")
    is_name = re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", name) and "__" not in name
    if not is_name or len(name) > LONGEST_NAME:
        raise ValueError(
            f"name is {name!r}; names in C begin with it: a letter, then letters, digits and single"
            f" underscores, none at the end, {LONGEST_NAME} characters at most")


def check_layers(layers):
    """Refuse layers that have no single steps."""
    for place, layer in enumerate(layers):
        if getattr(layer, "bidirectional", False):
            raise ValueError(
                f"layers[{place}] is bidirectional, and has no single steps: its second direction"
                " begins at the end of a sequence")


def arrays_of(description, places):
    """Return the parameters in float32, by name; a GRU's W_hh in two."""
    arrays = {}
    for name, array in description.parameters.items():
        if np.iscomplexobj(array):
            raise ValueError(f"parameter {name} is complex; C has numbers of float32")
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(np.float32)
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"parameter {name} has a number that is not finite in float32")
    for place in places:
        if isinstance(place.layer, GRU):
            gates = arrays[place.named("W_hh")]
            arrays[place.named("W_hh")], arrays[place.named("W_hn")] = np.split(
                gates, [2 * place.size], axis=1)
    return arrays


# --- its parts ----------------------------------------------------------------------------------


def title(contents, file_name):
    """Return the comment at the top: how it is used, and how large it is."""
    name, arrays = contents.name, contents.arrays
    file_name = file_name if re.fullmatch(r"[\w.-]+", file_name, re.ASCII) else f"{name}.h"
    matrices = {each: array for each, array in arrays.items() if is_matrix(each)}
    weights = sum(map(contents.weights.bytes, matrices.values())) + sum(
        4 * array.size for each, array in arrays.items() if each not in matrices)
    own = sum(place.size for place, block in zip(contents.places, contents.blocks, strict=True)
              if block.y.startswith("y_"))
    stack = 4 * (own + max(block.scratch for block in contents.blocks))
    x = "token" if contents.is_of_tokens else "x"
    declared = "int token; float" if contents.is_of_tokens else f"float x[{contents.inputs}],"
    input_words = (f"a token, from 0 to {contents.inputs - 1}, which is not checked"
                   if contents.is_of_tokens else f"x[{contents.inputs}]")
    lines = [
        f"{file_name}: a recurrent network, one step at a time. Made by crnn.",
        "",
        f'    #include "{file_name}"',
        "",
        f"    {name}_state state;",
        f"    {declared} y[{contents.outputs}];",
        "",
        f"    {name}_reset(&state);",
        f"    {name}_step(&state, {x}, y);",
        "",
        f"A step reads {input_words}, and writes y[{contents.outputs}].",
        "Each stream has a state of its own; all streams share the weights, in any number of",
        "threads. Nothing is allocated, and nothing fails. x and y must not overlap.",
        "",
        *(f"    {block.title}" for block in contents.blocks),
        *["    and the input is added to the outputs"] * contents.skip,
        *mask_words(contents),
        "",
        f"Weights: {weights} bytes, constant ({contents.weights.words}).",
        f"State: {4 * sum(contents.states.values())} bytes. Stack: {stack} bytes and a little.",
        f"Multiplications in a step: about {multiplications(contents, matrices)}.",
    ]
    return "\n".join(["/*", *(f" * {each}".rstrip() for each in lines), " */"])


def mask_words(contents):
    """Return what the comment says of steps that are none."""
    if contents.mask is None:
        return []
    which = "The token 0" if contents.is_of_tokens else f"An x of all {contents.mask:g}"
    return ["", f"{which} is no step: the state stays as it is, and y is read from it."]


def is_matrix(name):
    """Return whether an array is multiplied by, rather than added."""
    return name.startswith(MATRICES)


def multiplications(contents, matrices):
    """Return how many numbers of matrices a step multiplies by."""
    first = contents.places[0].named("W_xh")
    return sum(array.size for name, array in matrices.items()
               if not (contents.is_of_tokens and name == first))


def constants(contents):
    """Return the arrays of weights."""
    texts = []
    for name, array in contents.arrays.items():
        full = f"{contents.name}_{name}"
        texts += (contents.weights.constants(full, array) if is_matrix(name)
                  else [constant("float", full, array)])
    return texts


def state(contents):
    """Return the struct of a state, as lines."""
    return ["/* The state of a stream. */", "typedef struct {",
            *(f"    float {name}[{size}];" for name, size in contents.states.items()),
            f"}} {contents.name}_state;"]


def functions(contents):
    """Return all functions, as texts."""
    own = "\n".join([*reset(contents), "", *step(contents)])
    used = c_functions.used(own, contents.name, contents.weights)
    return ["\n\n".join(used), "", own]


def reset(contents):
    """Return the function that resets a state, as lines."""
    name, lines = contents.name, []
    for each, size in contents.states.items():
        learned = f"{each[0]}_0{each[1:]}"
        if learned in contents.arrays:
            lines.append(f"    {name}_copy(state->{each}, {name}_{learned}, {size});")
        else:
            lines += [f"    for (int j = 0; j < {size}; j++)", f"        state->{each}[j] = 0.0f;"]
    return [f"/* Begins a stream. */\nstatic inline void {name}_reset({name}_state *state)", "{",
            *lines, "}"]


def step(contents):
    """Return the function that makes a step, as lines."""
    name, outputs, top = contents.name, contents.outputs, contents.blocks[-1]
    given = "int token" if contents.is_of_tokens else "const float *x"
    blocks = list(zip(contents.places, contents.blocks, strict=True))
    lines = [f"float {block.y}[{place.size}];" for place, block in blocks
             if block.y.startswith("y_")]
    if contents.mask is None:
        lines += [line for each in blocks for line in commented(*each)]
    else:  # of a step that is none, the outputs are those of the states
        end = 1 + max(k for k, (place, _) in enumerate(blocks) if place.layer.kind.has_state)
        inside = [line for each in blocks[:end] for line in commented(*each)][1:]
        lines += [*is_step(contents), "if (is_step) {", *(f"    {line}" for line in inside), "}",
                  *(line for each in blocks[end:] for line in commented(*each))]
    if top.y != "y":
        lines += ["", f"{name}_copy(y, {top.y}, {outputs});"]
    if contents.skip:
        lines += ["", *for_each(outputs, "y[j] += x[j];")]
    return [f"/* Makes a step: y[{outputs}] of {given.split()[-1].strip('*')}. */",
            f"static inline void {name}_step({name}_state *state, {given}, float *y)",
            "{", *(f"    {line}".rstrip() for line in lines), "}"]


def is_step(contents):
    """Return the statements is_step = whether there is a step, as lines."""
    if contents.is_of_tokens:
        return ["const int is_step = token != 0;"]
    value = np.float32(contents.mask)
    return ["int is_step = 0;", *for_each(contents.inputs, f"is_step |= x[j] != {value!s}f;")]


def commented(place, block):
    """Return a block with its formulas above it, as lines."""
    clip = getattr(place.layer, "clip", None)
    bounds = [f"where sums of x and h are brought into [-{clip:g}, {clip:g}]"] if clip else []
    return ["", f"/* {block.title}, x = {place.x}:",
            *(f" *     {each}" for each in [*block.formulas, *bounds]), " */",
            "{", *(f"    {each}" for each in block.lines), "}"]
