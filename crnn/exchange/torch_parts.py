"""The modules of a network in PyTorch, as the names and shapes of its arrays tell them."""

import itertools
import re
from dataclasses import dataclass, field

import numpy as np

from crnn.exchange import pickles, torch_files
from crnn.files.printable import shortened

CELLS = {1: "RNN", 3: "GRU", 4: "LSTM"}  # by their number of gates
TABLE = "Linear or Embedding"  # a matrix alone may be either, as its neighbours tell
KINDS = (*CELLS.values(), "Linear", "Embedding", TABLE, "Activation", "Dropout")
OF_CELLS = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l([0-9]{1,4})(_reverse)?)?")
MOST_NAMED = 12  # in an error message


@dataclass(eq=False)
class Part:
    """A module, or an array that is no module's.

    Attributes
    ----------
    name : str
    kind : str
        One of KINDS, "array", or something else that crnn has not.
    arrays : dict
        By their names within the module, as they came; see `as_array`.
    trouble : str
        Why it cannot be a layer, if it cannot.
    suffixes : list of tuple of str
        Of a recurrent module: for each layer, the ends of names, one for each direction.
    inputs, outputs : int or None
        The widths of what goes in and comes out, where they are known.
    nonlinearity : str or None
        Of an RNN, if it is known; of an Activation, which one it is.
    share : float
        What is dropped out: of a recurrent module between its layers.
    is_placed : bool
        Whether it is known that it is given what comes before it here.
    """

    name: str
    kind: str
    arrays: dict = field(default_factory=dict)
    trouble: str = ""
    suffixes: list = field(default_factory=list)
    inputs: int | None = None
    outputs: int | None = None
    nonlinearity: str | None = None
    share: float = 0.0
    is_placed: bool = False

    @property
    def is_recurrent(self):
        return self.kind in CELLS.values()

    def __str__(self):
        """The name, and what it is."""
        widths = "" if None in (self.inputs, self.outputs) else f" {self.inputs} to {self.outputs}"
        if self.kind == "array":
            widths = f" of shape {shape_of(self.arrays[''])}"
        elif self.kind == "Activation":
            widths = f" {self.nonlinearity}"
        return f"{shown(self.name)} ({self.kind}{widths})"


def shown(name):
    """Return a name from a file as a short text that is safe to show."""
    return repr(shortened(name, 100))


def listed(parts):
    """Return the names of parts, and what they are, for a message."""
    more = len(parts) - MOST_NAMED
    texts = [str(part) for part in parts[:MOST_NAMED]] + [f"{more} more"] * (more > 0)
    return ", ".join(texts)


def is_tensor(value):
    """Whether a value is an array or a tensor, of a file or of PyTorch's."""
    if isinstance(value, pickles.Made):
        return "tensor" in value.name
    if isinstance(value, (np.ndarray, torch_files.Tensor)):
        return True
    return hasattr(value, "detach") and hasattr(value, "shape")


def shape_of(tensor):
    """Return a tensor's shape; of one that cannot be read ()."""
    return tuple(getattr(tensor, "shape", ()))


def as_array(tensor, name):
    """Return a tensor as an array of floats.

    Raises
    ------
    ValueError
        It holds other numbers, or cannot be read.
    """
    of = f"{shown(name)} is"
    if isinstance(tensor, torch_files.Tensor):
        tensor = tensor.array()
    elif not isinstance(tensor, np.ndarray):
        if getattr(tensor, "is_quantized", False) or getattr(tensor, "is_sparse", False):
            raise ValueError(f"{of} a quantised or sparse tensor; pass it as .dequantize() or"
                             " .to_dense()")
        tensor = tensor.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":  # which NumPy lacks
            tensor = tensor.float()
        tensor = tensor.numpy()
    if tensor.dtype.kind != "f":
        raise ValueError(f"{of} an array of {tensor.dtype}, not of floats: quantised weights are"
                         " not read, save the network as float32")
    if tensor.dtype.itemsize > 4:
        return tensor.astype(np.float64)
    return tensor.astype(np.float32)


def state_of(content):
    """Return the state dict in what somebody has saved: in nested dicts, the one with cells.

    Where there are several, all of them, with the keys they are under before their names.

    Parameters
    ----------
    content : mapping

    Returns
    -------
    dict of str to tensor

    Raises
    ------
    ValueError
        There is none; it says what is there.
    """
    found, opaque, tensors, seen = [], [], [], set()

    def look(content, path, depth):
        if id(content) in seen:
            return
        seen.add(id(content))
        named = {name: value for name, value in content.items()
                 if isinstance(name, str) and is_tensor(value)}
        if any(OF_CELLS.fullmatch(name.rpartition(".")[2]) for name in named):
            found.append((path, named))
            return
        tensors.extend(named)
        for key, value in content.items():
            if isinstance(value, pickles.Made) and not is_tensor(value):
                opaque.append((key, value.name))
            elif hasattr(value, "items") and depth:
                look(value, (*path, str(key)), depth - 1)

    look(content, (), 4)
    if not found:
        raise ValueError(_nothing_found(opaque, tensors))
    if len(found) == 1:
        return found[0][1]
    return {".".join((*path, name)): value for path, named in found
            for name, value in named.items()}


def whole_object(name):
    """Return what is wrong with a file with an object of some class."""
    return (f"holds an object of the class {shown(name)} whole, which only running its code could"
            f" make again; where it is a network, save its weights: {torch_files.SAVE}")


def _nothing_found(opaque, tensors):
    text = "has no weights of PyTorch's RNN, GRU or LSTM, weight_ih_l0 and so on"
    if opaque:
        key, name = opaque[0]
        if name == "torch.ScriptObject":
            return f"{text}, but packed, quantised ones, as {shown(str(key))}; save it as float32"
        return f"{whole_object(name)} (under {shown(str(key))}); it {text}"
    if tensors:
        names = ", ".join(shown(name) for name in tensors[:MOST_NAMED])
        return (f"{text}: it has {names}. Cells that are made of other modules, a Linear for each"
                " gate, are not recognised; put their weights into a crnn.Sequential by name")
    return f"{text}: there is no tensor in it"


def parts_of_state(state):
    """Return the parts of a state dict, in its order."""
    modules = {}
    for name, tensor in state.items():
        module, _, own = name.rpartition(".")
        modules.setdefault(module, {})[own] = tensor
    return list(itertools.chain.from_iterable(
        parts_of_group(name, arrays) for name, arrays in modules.items()))


def parts_of_group(name, arrays):
    """Return the module that arrays of one beginning are, and the arrays that are not its own."""
    for own, each in arrays.items():
        if isinstance(each, pickles.Made):
            return [Part(name, "module", arrays, trouble=f"its {own} is a {each.name}, which crnn"
                         " does not read; save it as float32")]
    cells = {own: each for own, each in arrays.items() if OF_CELLS.fullmatch(own)}
    if cells:
        others = {own: each for own, each in arrays.items() if own not in cells}
        return [recurrent(name, cells), *_loose(name, others)]
    weight = arrays.get("weight")
    if weight is None:
        return _loose(name, arrays)
    if arrays.keys() <= {"weight", "bias"} and len(shape_of(weight)) == 2:
        if 0 in shape_of(weight):
            return [Part(name, TABLE, arrays, "it has a width of 0")]
        return [linear(name, arrays) if "bias" in arrays else Part(name, TABLE, arrays)]
    dimensions = len(shape_of(weight))
    kind = {0: "tensor", 1: "normalisation"}.get(dimensions, "convolution")
    return [Part(name, kind, arrays, trouble=f"it is a {kind}, it seems, which crnn has not")]


def _loose(name, arrays):
    before = f"{name}." if name else ""
    return [Part(before + own, "array", {"": each},
                 trouble="it belongs to no module that crnn knows")
            for own, each in arrays.items()]


def linear(name, arrays):
    """Return the part that is a Linear."""
    outputs, inputs = shape_of(arrays["weight"])
    trouble = "" if inputs and outputs else "it has a width of 0"
    if "bias" in arrays and shape_of(arrays["bias"]) != (outputs,):
        trouble = f"its bias has the shape {shape_of(arrays['bias'])}, its weight {outputs} rows"
    return Part(name, "Linear", arrays, trouble, inputs=inputs, outputs=outputs)


def embedding(name, arrays):
    """Return the part that is an Embedding."""
    tokens, size = shape_of(arrays["weight"])
    trouble = "" if tokens and size else "it has a width of 0"
    return Part(name, "Embedding", arrays, trouble, inputs=tokens, outputs=size)


def recurrent(name, arrays):
    """Return the part that is an RNN, GRU or LSTM, or a cell of one."""
    part = Part(name, "recurrent module", arrays)
    try:
        part.suffixes = _suffixes(arrays)
        _set_widths(part)
    except ValueError as error:
        part.trouble = str(error)
    return part


def _suffixes(arrays):
    """Return the ends of the names of a module's arrays, a tuple for each layer."""
    ends = {re.sub("^(weight|bias)_(ih|hh|hr)", "", own) for own in arrays}
    if any("_hr" in own for own in arrays):
        raise ValueError("it has a projection (proj_size, weight_hr), which crnn has not")
    layers, both = [("",)], ("", "_reverse")[: 1 + any(end.endswith("_reverse") for end in ends)]
    if "" not in ends:
        layers = [tuple(f"_l{number}{end}" for end in both)
                  for number in range(-(-len(ends) // len(both)))]
    stems = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    stems = stems if any(own.startswith("bias") for own in arrays) else stems[:2]
    wanted = [stem + suffix for suffixes in layers for suffix in suffixes for stem in stems]
    lacking = [own for own in wanted if own not in arrays]
    if lacking or len(wanted) != len(arrays):
        others = [own for own in arrays if own not in wanted]
        raise ValueError(f"it has no {lacking[0]}" if lacking else
                         f"it has {others[0]}, which does not go with its other arrays")
    return layers


def _set_widths(part):
    """Find which cell a module is, and how wide, from shapes that fit each other."""
    shapes = {own: shape_of(each) for own, each in part.arrays.items()}
    first = part.suffixes[0][0]
    rows, H = (*shapes[f"weight_hh{first}"], 0, 0)[:2]
    gates = next((gates for gates in CELLS if rows == gates * H and H), None)
    if gates is None:
        raise ValueError(f"its weight_hh{first} has the shape {shapes[f'weight_hh{first}']}; of an"
                         " RNN, GRU or LSTM it has 1, 3 or 4 times as many rows as columns")
    inputs = part.inputs = (*shapes[f"weight_ih{first}"], 0, 0)[1]
    if not inputs:
        raise ValueError(f"its weight_ih{first} has no inputs")
    part.kind, part.outputs = CELLS[gates], len(part.suffixes[0]) * H
    for suffixes in part.suffixes:
        for suffix in suffixes:
            wanted = {"weight_ih": (rows, inputs), "weight_hh": (rows, H), "bias_ih": (rows,),
                      "bias_hh": (rows,)}
            for stem, shape in wanted.items():
                if shapes.get(stem + suffix, shape) != shape:
                    raise ValueError(f"its {stem}{suffix} has the shape {shapes[stem + suffix]},"
                                     f" where {shape} would fit its other arrays")
        inputs = part.outputs
