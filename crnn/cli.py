"""The command line: ``crnn train``, ``sample``, ``evaluate``, ``info``."""

import argparse
import io
import math
import os
import sys

import crnn
from crnn import cli_train, files, text
from crnn.cli_options import HelpFormatter, count, probability, temperature, whole
from crnn.loading import network_from

DESCRIPTION = "Train a small recurrent network on text and let it write; on a CPU, in a minute."
FAILED, INTERRUPTED = 1, 130


def main(arguments=None):
    """Run the command line and return its exit code.

    0: done; 1: failed, with one line on standard error; 2: usage; 130: Ctrl-C.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this has closed it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(nowhere, "w", closefd=False))  # noqa: SIM115
    options = parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no character can stop the output
            stream.reconfigure(errors="backslashreplace")
    try:
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        print(f"crnn: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone: no more of it, and no complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, ValueError, ArithmeticError, ImportError, MemoryError) as error:
        print(f"crnn: {one_line(error)}", file=sys.stderr)
        return FAILED
    return 0


def one_line(error):
    """Return an exception's message on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def parser():
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(prog="crnn", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"crnn {crnn.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    cli_train.add_command(commands)
    _add_sample(commands)
    _add_evaluate(commands)
    _add_info(commands)
    return top


def _add_command(commands, name, run, summary):
    command = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument("model", metavar="MODEL", help="file that 'crnn train' wrote")
    return command


def _add_sample(commands):
    command = _add_command(commands, "sample", sample, "let a model write text")
    add = command.add_argument
    add("--prime", default="", metavar="TEXT", help="text to go on from; it is printed first")
    add("--length", type=whole, default=500, metavar="N", help="characters to write")
    add("--temperature", type=temperature, default=0.8, metavar="X",
        help="below 1 safer, above 1 wilder; 0 always takes the likeliest character")
    add("--top-k", type=count, metavar="K", help="choose among the K likeliest characters only")
    add("--top-p", type=probability, metavar="P",
        help="choose among the likeliest that together have probability P")
    add("--seed", type=whole, metavar="N", help="the same seed writes the same text")


def sample(options):
    """``crnn sample``."""
    net, vocabulary, _ = text.load_model(options.model)
    characters = text.generate(
        net, vocabulary, prime=options.prime, temperature=options.temperature,
        top_k=options.top_k, top_p=options.top_p, seed=options.seed,
    )
    print(options.prime, end="")
    for _ in range(options.length):
        print(next(characters), end="")
    print()


def _add_evaluate(commands):
    command = _add_command(commands, "evaluate", evaluate, "tell how well a model predicts a text")
    command.add_argument("text", metavar="TEXT", help="UTF-8 text file")


def evaluate(options):
    """``crnn evaluate``."""
    net, vocabulary, _ = text.load_model(options.model)
    x, targets = text.streams(vocabulary.encode(cli_train.read_text(options.text)), batch_size=1)
    loss = crnn.evaluate(net, (x, targets))
    print(f"{loss:.4f} nats and {loss / math.log(2):.4f} bits per character, {len(x):,} characters")


def _add_info(commands):
    _add_command(commands, "info", info, "show what is in a model file")


def info(options):
    """``crnn info``."""
    tensors, metadata = files.read(options.model)
    net = network_from(options.model, tensors, metadata)
    rows = [("part", "shape", "numbers", "bytes")]
    for name, view in net.parameters.items():
        shape = " x ".join(str(size) for size in view.shape)
        rows.append((name, shape, f"{view.size:,}", f"{view.nbytes:,}"))
    rows.append(("together", "", f"{net.num_parameters:,}", f"{net.vector.nbytes:,}"))
    print(f"{options.model}: {net!r}")
    outputs = "no readout" if net.output_size is None else f"{net.output_size} outputs"
    layers = f"{net.num_layers} layer{'s' * (net.num_layers > 1)}"
    directions = " in each of two directions" * net.bidirectional
    print(f"{net.input_size} inputs, {layers} of {net.hidden_size} hidden units{directions},"
          f" {outputs}\n")
    _print_table(rows)
    if "vocabulary" in metadata:
        _, vocabulary, training = text.load_model(options.model)
        print(f"\nvocabulary of {len(vocabulary)} characters: {vocabulary.symbols!r}\n")
        _print_table([(name.replace("_", " "), str(value)) for name, value in training.items()])


def _print_table(rows):
    """Print rows with their columns aligned: the first two to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
