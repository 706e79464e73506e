"""``crnn sample``, ``evaluate`` and ``info``: what is done with a model file."""

import itertools
import math

from crnn import text
from crnn.cli.convert import add_reading, read_network, reader_of
from crnn.cli.material import lines_in_order
from crnn.cli.options import HelpFormatter, count, encoding, probability, temperature, whole
from crnn.cli.screen import counted, say, write
from crnn.cli.texts import read_texts, warn_of_unknown, with_line_ends
from crnn.files import kinds
from crnn.files.printable import printable, shortened
from crnn.forecasting.calendar import shown
from crnn.forecasting.forecaster import Forecaster
from crnn.forecasting.saving import fitted_from
from crnn.network.saving import network_from
from crnn.training.evaluation import evaluate as mean_loss

LINES = 10  # that sample writes
LONGEST_VOCABULARY, LONGEST_CELL = 10_000, 300  # characters of what info shows
CHUNK = 1000  # characters that evaluate works on at a time: a text of any length fits in memory


def add_commands(subparsers):
    """Add these commands to the parser's."""
    _add_sample(subparsers)
    _add_evaluate(subparsers)
    _add_info(subparsers)


def _add_command(subparsers, name, run, summary):
    command = subparsers.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument("model", metavar="MODEL", help="file that 'crnn train' wrote")
    return command


def _add_sample(subparsers):
    command = _add_command(subparsers, "sample", sample, "let a model write text")
    add = command.add_argument
    add("--prime", default="", metavar="TEXT",
        help="text to go on from; it is printed first. Its line ends, of any system, are taken as"
        " those of texts are")
    add("--length", type=whole, default=500, metavar="N",
        help="characters to write; of a model of lines, at most so many in each")
    add("--lines", type=count, metavar="N",
        help="lines to write, of a model that 'crnn train --lines' made; 10 without this")
    add("--temperature", type=temperature, default=0.8, metavar="X",
        help="below 1 safer, above 1 wilder; 0 always takes the likeliest character")
    add("--top-k", type=count, metavar="K", help="choose among the K likeliest characters only")
    add("--top-p", type=probability, metavar="P",
        help="choose among the likeliest that together have probability P")
    add("--seed", type=whole, metavar="N", help="the same seed writes the same text")


def sample(options):
    """``crnn sample``."""
    net, vocabulary, training = text.load_model(options.model)
    prime = parts(with_line_ends(options.prime), vocabulary)
    how = {"temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p,
           "seed": options.seed}
    if training.get("lines"):
        lines = text.generate_lines(net, vocabulary, prime=prime, longest=options.length, **how)
        for line in itertools.islice(lines, options.lines or LINES):
            write(joined(line) + "\n")
        return
    if options.lines:
        raise ValueError("--lines is for models that 'crnn train --lines' made; give --length")
    symbols = text.generate(net, vocabulary, prime=prime, **how)
    gap = "" if vocabulary.is_of_characters else " "
    write(joined(prime) + gap * bool(prime))
    for symbol in itertools.islice(symbols, options.length):
        write(symbol + gap)
    print()


def parts(content, vocabulary):
    """Return what a text consists of: itself, or its words."""
    return content if vocabulary.is_of_characters else content.split()


def joined(written):
    """Return a text as a string, of words with spaces between them."""
    return written if isinstance(written, str) else " ".join(written)


def _add_evaluate(subparsers):
    summary = "tell how well a model predicts a text"
    command = _add_command(subparsers, "evaluate", evaluate, summary)
    add = command.add_argument
    add("texts", nargs="+", metavar="TEXT", help="text file; - is standard input")
    add("--encoding", type=encoding, metavar="NAME", help="of the text; without this, UTF-8")
    add("--strict", action="store_true",
        help="refuse a text with characters that the model does not know, rather than skip them")


def evaluate(options):
    """``crnn evaluate``."""
    net, vocabulary, training = text.load_model(options.model)
    content = read_texts(options.texts, options.encoding)
    symbols = parts(content, vocabulary)
    unknown = vocabulary.unknown(symbols)
    if training.get("lines"):
        lines = text.lines(content, vocabulary, skip_unknown=not options.strict)
        data, count = lines_in_order(lines), sum(len(line) - 1 for line in lines)
        over = f"{counted(count, vocabulary.unit)} of {counted(len(lines), 'line')}"
    else:
        tokens = vocabulary.encode(
            symbols, skip_unknown=not options.strict, dtype=vocabulary.smallest_dtype)
        if len(tokens) < 2:
            raise ValueError(
                f"the text is too short: it has {counted(len(tokens), vocabulary.unit)}"
                + " that the model knows" * bool(unknown))
        data, count = text.streams(tokens, batch_size=1), len(tokens) - 1
        over = counted(count, vocabulary.unit)
    loss = mean_loss(net, data, truncation=CHUNK)
    say(f"{loss:.4f} nats and {loss / math.log(2):.4f} bits per {vocabulary.unit}, {over}")
    warn_of_unknown(unknown, symbols, vocabulary)


def _add_info(subparsers):
    command = _add_command(subparsers, "info", info, "show what is in a model file")
    command.description += " It may be another program's, too: see 'crnn convert --help'."
    add_reading(command)


def info(options):
    """``crnn info``."""
    if reader_of(options.model):
        net = read_network(options.model, options)
        _info_of_network(options.model, net)
        _print_below(net.metadata.items())
        return
    content = kinds.read(options.model, kinds.NETWORK, kinds.MODEL, kinds.FORECASTER)
    if content.kind == kinds.FORECASTER:
        _info_of_forecaster(options.model, fitted_from(options.model, content))
        return
    net = network_from(options.model, content)
    _info_of_network(options.model, net)
    if content.kind == kinds.MODEL:
        _, vocabulary, training = text.model_from(options.model, content)
        say()
        symbols = vocabulary.joined(list(vocabulary.symbols))
        shown = shortened(repr(symbols), LONGEST_VOCABULARY)
        say(f"vocabulary of {counted(len(vocabulary), vocabulary.unit)}: {shown}")
        _print_below((name.replace("_", " "), str(value)) for name, value in training.items())
    _print_below(content.metadata.items())


def _info_of_network(path, net):
    """Print what a network is made of."""
    rows = [("part", "shape", "numbers", "bytes")]
    arrays = net.stored()
    for name, array in arrays.items():
        shape = " x ".join(str(size) for size in array.shape)
        rows.append((name, shape, f"{array.size:,}", f"{array.nbytes:,}"))
    size = sum(array.nbytes for array in arrays.values())
    rows.append(("together", "", f"{net.num_parameters:,}", f"{size:,}"))
    say(f"{path}: {net!r}")
    outputs = "no readout" if net.output_size is None else f"{net.output_size} outputs"
    layers = f"{net.num_layers} layer{'s' * (net.num_layers > 1)}"
    directions = " in each of two directions" * net.bidirectional
    widths = net.hidden_size if isinstance(net.hidden_size, tuple) else (net.hidden_size,)
    hidden = ", ".join(map(str, widths))
    say(f"{net.input_size} inputs, {layers} of {hidden} hidden units{directions}, {outputs}")
    say()
    _print_table(rows)


def _info_of_forecaster(path, fitted):
    """Print what a forecaster knows."""
    networks, names = fitted.networks, fitted.layout.names
    say(f"{path}: {Forecaster.of(fitted)!r}")
    rows = [
        ("network", repr(networks[0])), ("networks", f"{len(networks):,}"),
        ("numbers in each", f"{networks[0].num_parameters:,}"),
        ("epochs", ", ".join(map(str, fitted.epochs))),
        ("series", f"{len(names):,}: " + ", ".join(map(str, names))),
        ("last time", shown(max(fitted.lasts))),
        ("step", str(fitted.step)), ("differences", str(fitted.preprocessing.lags)),
        ("columns of X", ", ".join(map(str, fitted.layout.columns)) or "none"),
    ]
    _print_below(rows)


def _print_below(rows):
    """Print a table after an empty line, if it has rows."""
    if rows := list(rows):
        say()
        _print_table(rows)


def _print_table(rows):
    """Print rows with their columns aligned: the first two to the left, numbers to the right."""
    rows = [[shortened(printable(cell), LONGEST_CELL) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())
