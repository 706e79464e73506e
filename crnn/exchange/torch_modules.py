"""The modules of a live network of PyTorch's, without PyTorch: by the names of their classes."""

from crnn.exchange.torch_parts import Part, embedding, linear, parts_of_group

RECURRENT = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
ACTIVATIONS = {"ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softmax": "softmax",
               "Hardsigmoid": "hard_sigmoid"}
NOTHING = ("Identity", "loss")  # what computes no outputs
FOREIGN = {"torch.ao.": "quantised module", "torch.jit.": "TorchScript module"}
IN_ORDER = ("Sequential",)
CONTAINERS = ("Module", "ModuleList", "ModuleDict", *IN_ORDER)  # Module: a class of a user's own


def is_module(source):
    """Whether this is a module of PyTorch's."""
    return any(each.__module__ == "torch.nn.modules.module" and each.__name__ == "Module"
               for each in type(source).__mro__)


def parts_of_module(module):
    """Return the parts of a module, in the order in which they were defined.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    parts : list of Part
    batch_first : set of bool
        Of the recurrent ones.
    """
    parts, owned, batch_first = [], set(), set()
    state = dict(module.state_dict())

    def walk(name, module, is_placed):
        kind, before = class_of(module), f"{name}." if name else ""
        own = {key.removeprefix(before): each for key, each in state.items()
               if key.startswith(before)}
        if kind in CONTAINERS and (module._modules or not is_placed):
            for number, (child, each) in enumerate(module._modules.items()):
                walk(before + child, each, kind in IN_ORDER and (number > 0 or is_placed))
            return
        owned.update(before + key for key in own)
        if kind in NOTHING:
            return
        part, *others = leaf(name, kind, module, own)
        part.is_placed = is_placed
        parts.extend([part, *others])
        if part.is_recurrent and hasattr(module, "batch_first"):
            batch_first.add(module.batch_first)

    walk("", module, False)
    loose = [Part(name, "array", {"": each}, trouble="no module of PyTorch's holds it")
             for name, each in state.items() if name not in owned]
    return parts + loose, batch_first


def class_of(module):
    """Return the name of the class of PyTorch's that a module is of; "Module" for a user's own."""
    classes = type(module).__mro__
    for beginning, kind in FOREIGN.items():
        if any(each.__module__.startswith(beginning) for each in classes):
            return kind
    for each in classes:
        if "forward" in vars(each) and not each.__module__.startswith("torch."):
            return "Module"
        if each.__module__ == "torch.nn.modules.loss":
            return "loss"
        if each.__module__.startswith("torch.nn.modules."):
            return each.__name__
    return "Module"


def leaf(name, kind, module, arrays):
    """Return the part that a module without modules of its own is, and arrays beside it."""
    if kind in RECURRENT and arrays:
        part, *others = parts_of_group(name, arrays)
        part.nonlinearity = getattr(module, "nonlinearity", None)
        part.share = float(getattr(module, "dropout", 0.0))
        return [part, *others]
    if kind == "Linear" and arrays.keys() <= {"weight", "bias"} and "weight" in arrays:
        return [linear(name, arrays)]
    if kind == "Embedding" and arrays.keys() == {"weight"}:
        part = embedding(name, arrays)
        if module.max_norm is not None:
            part.trouble = "it has max_norm, which scales its rows, and crnn has not"
        return [part]
    if kind in ACTIVATIONS:
        part = Part(name, "Activation", nonlinearity=ACTIVATIONS[kind])
        if kind == "Softmax" and module.dim != -1:
            part.trouble = (f"it goes over the axis {module.dim}, and crnn's goes over features,"
                            " the axis -1")
        return [part]
    if kind == "Dropout":
        return [Part(name, "Dropout", share=float(module.p))]
    kind = type(module).__name__ if kind == "Module" else kind
    return [Part(name, kind, arrays, trouble=f"crnn does not know what a {kind} computes")]
