"""``crnn convert``: other programs' networks to crnn's files, and crnn's to others."""

import os

from crnn.cli.options import HelpFormatter
from crnn.cli.screen import say
from crnn.files import disk, kinds
from crnn.files.container import is_own, write_tensors
from crnn.network import foreign
from crnn.network.saving import network_from

READERS = {  # by the ends of names; what ends in .safetensors is crnn's own, or PyTorch's
    "from_keras": (".keras", ".h5", ".hdf5"),
    "from_torch": (".safetensors", ".pt", ".pth", ".ckpt", ".bin"),
    "from_onnx": (".onnx",),
    "from_nam": (".nam",),
    "from_rtneural": (".json",),
}
OWN_OPTIONS = {  # which readers take an option
    "layers": ("from_keras", "from_torch", "from_onnx"),
    "activations": ("from_torch",),
    "nonlinearity": ("from_torch",),
    "last": ("from_keras", "from_torch"),
    "dtype": tuple(READERS),
}
WRITTEN = {"crnn": (".safetensors",), "onnx": (".onnx",), "c": (".h",), "torch": (".safetensors",)}
EXAMPLES = """examples:
  crnn convert model.h5 model.safetensors      a network of Keras's, to load with crnn.load
  crnn convert model.keras model.h             the same as a C header
  crnn convert lstm.pt lstm.onnx --layers lstm,fc --activation fc=sigmoid
  crnn convert model.safetensors state.safetensors --to torch
"""


def add_command(subparsers):
    """Add the command to the parser's."""
    command = subparsers.add_parser(
        "convert", help="turn a network's file into another program's",
        description="Read a network from a file of Keras's, PyTorch's, ONNX's, Neural Amp"
        " Modeler's, RTNeural's or crnn's own, and write it as another one. Nothing in a file is"
        " run. What crnn cannot compute exactly is refused by its name.",
        epilog=EXAMPLES, formatter_class=HelpFormatter)
    command.set_defaults(run=convert)
    add = command.add_argument
    add("source", metavar="IN", help=f"a file {', '.join(sum(READERS.values(), ()))}")
    add("output", metavar="OUT", help="a file .safetensors, .onnx, or .h for C")
    add("--to", choices=WRITTEN, help="what OUT is to be, where its name does not say: a"
        " .safetensors is crnn's own without this")
    add_reading(command)
    add("--name", default="net", help="of a C header: what its functions begin with")
    add("--weights", choices=("float", "int8"), default="float", help="of a C header")


def add_reading(command):
    """Add the options that say what a file does not."""
    add = command.add_argument
    add("--layers", metavar="NAME,NAME", type=lambda text: text.split(","),
        help="which layers, modules or nodes to take, from the input up")
    add("--activation", metavar="MODULE=NAME", action="append", dest="activations",
        type=lambda text: tuple(text.split("=", 1)),
        help="of a PyTorch file: what stands after a module, such as fc=sigmoid; can be repeated")
    add("--nonlinearity", choices=("tanh", "relu"),
        help="of a PyTorch file with an RNN, which does not say")
    add("--last", action="store_true", default=None,
        help="the network is to give each sequence's last outputs")
    add("--dtype", choices=("float32", "float64"), help="without this, that of the weights")


def read_network(path, options):
    """Return the network in a file of any kind."""
    reader = reader_of(path)
    arguments = {}
    for name, readers in OWN_OPTIONS.items():
        value = getattr(options, name)
        if value is None:
            continue
        if reader not in readers:
            what = f"which crnn.{reader} reads" if reader else "a file of crnn's own"
            raise ValueError(f"{_option(name)} does not go with {path}, {what}")
        arguments[name] = dict(_pairs(value)) if name == "activations" else value
    if reader is None:
        return network_from(path, kinds.read(path, kinds.NETWORK, kinds.MODEL))
    try:
        return getattr(foreign, reader)(path, **arguments)
    except ValueError as error:
        named = [_option(name) for name in OWN_OPTIONS if f"{name}=" in str(error)]
        if not named:
            raise
        raise type(error)(f"{error}; here by {' and '.join(map(_usage, named))}") from error


def reader_of(path):
    """Return the name of the function that reads a file of another program; None of crnn's own."""
    end = os.path.splitext(path)[1].lower()
    for reader, ends in READERS.items():
        if end in ends and not is_own(path):
            return reader
    return None


def _option(name):
    return "--activation" if name == "activations" else f"--{name}"


def _usage(option):
    return f"{option} NAME,NAME" if option == "--layers" else option


def _pairs(values):
    for pair in values:
        if len(pair) != 2:
            raise ValueError(f"--activation is {pair[0]!r}; MODULE=NAME, such as fc=sigmoid, is"
                             " wanted")
        yield pair


def _kind_of(path, to):
    end = os.path.splitext(path)[1].lower()
    kinds_of_end = [kind for kind, ends in WRITTEN.items() if end in ends]
    if to is None and not kinds_of_end:
        raise ValueError(f"{path} ends in {end!r}; .safetensors, .onnx or .h is wanted")
    if to is not None and end not in WRITTEN[to]:
        raise ValueError(f"{path} ends in {end!r}; for --to {to} {WRITTEN[to][0]} is wanted")
    return to or kinds_of_end[0]


def convert(options):
    """``crnn convert``."""
    kind = _kind_of(options.output, options.to)
    if os.path.realpath(options.source) == os.path.realpath(options.output):
        raise ValueError(f"IN and OUT are the same file, {options.source}; give OUT another name")
    disk.check_place(options.output)
    net = read_network(options.source, options)
    say(f"{options.source}: {net!r}")
    if left_out := net.metadata.get("left_out"):
        say(f"left out: {left_out}")
    if kind == "crnn":
        net.save(options.output)
    elif kind == "onnx":
        net.to_onnx(options.output)
    elif kind == "c":
        net.to_c(options.output, name=options.name, weights=options.weights)
    else:
        write_tensors(options.output, net.to_torch())
    size = os.path.getsize(options.output)
    say(f"{options.output}: {net.num_parameters:,} parameters, {size:,} bytes")
