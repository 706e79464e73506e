"""``crnn train``: train a character model on a text."""

import hashlib
import os
import shlex

from crnn import plots, text
from crnn.cli.material import TRAINING_CHUNKS, material
from crnn.cli.options import HelpFormatter, count, encoding, fraction, whole
from crnn.cli.places import check_places
from crnn.cli.screen import counted, say
from crnn.cli.texts import STDIN, listed, read_texts, warn_of_unknown
from crnn.cli.together import ranks_of
from crnn.cli.training import (
    NETWORK,
    add_files,
    add_network,
    add_training,
    network_of,
    say_how_it_ended,
    trained,
)
from crnn.cli.watcher import SAMPLE_LINES, TextWatcher
from crnn.engine.threads import get_num_threads
from crnn.network.compressed import Compressed
from crnn.training.interrupts import terminable

TRAINING = {"epochs": 16, "batch_size": 32, "optimizer": "adam", "lr": 0.004}


def add_command(commands):
    """Add ``train`` to the parser's commands."""
    command = commands.add_parser(
        "train",
        help="train a character model on a text",
        description="Train a character model on a text. After each epoch the loss on the last part"
        " of the text, which is not trained on, is printed with a sample of what the model writes;"
        " the best model so far is kept in the model file. Beside it, MODEL.checkpoint holds what"
        " --resume needs; it is written after each epoch, and on Ctrl-C and SIGTERM.",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=train)
    add = command.add_argument
    add("texts", nargs="*", metavar="TEXT",
        help="text file; - is standard input; of several, one follows another; without one, the"
        " language reference that comes with Python")
    add("--encoding", type=encoding, metavar="NAME", help="of the text; without this, UTF-8")
    add("--lines", action="store_true",
        help="take each line of the text as a sequence of its own, in random order: for names,"
        " titles, commands; 'crnn sample' then writes lines")
    add("--init-from", metavar="FILE",
        help="go on with the network of a model that was trained before, on this text; characters"
        " that it does not know are skipped; options of the network are left out then")
    add("--strict", action="store_true",
        help="with --init-from, refuse a text with characters that the model does not know, rather"
        " than skip them")
    add("--plot", metavar="FILE", help="draw the loss curves (PNG, SVG or PDF by the name's end)")
    add("--mpi", action="store_true",
        help="train on several processes together: mpiexec -n 4 crnn train TEXT --mpi; each has its"
        " share of the streams or lines, and --resume may have more or fewer of them; the"
        " checkpoint is written after each epoch (pip install 'crnn[mpi]')")
    add_files(command, "text")
    add_network(command)
    training = add_training(
        command, of_epochs="times through the text",
        of_batch_size="parallel streams; fewer where they would be shorter than"
        f" {TRAINING_CHUNKS} times --steps. With --lines, lines that are trained on together",
        **TRAINING,
    )
    training("--truncation", "--steps", type=count, default=64, metavar="T",
             help="characters that gradients go back through")
    training("--validation", type=fraction, default=0.1, metavar="FRACTION",
             help="the last part of the text, or of the shuffled lines, kept for validation; 0 for"
             " none")
    training("--sample-length", type=whole, default=200, metavar="N",
             help="characters to write after each epoch, with --lines at most so many in each"
             f" of {SAMPLE_LINES} lines; 0 for none")


def train(options):
    """``crnn train``."""
    with terminable(), ranks_of(options) as mpi:
        if mpi and STDIN in options.texts:
            raise ValueError("standard input reaches one process only; give a file that all can"
                             " read")
        content, name = text_of(options)
        net, vocabulary = network_and_vocabulary(content, options)
        data = material(content, vocabulary, options)
        if mpi is None or mpi.rank == 0:
            check_places(options, [("the text", path) for path in options.texts if path != STDIN],
                         options.init_from)
        say(f"{name}: {len(content):,} characters, {len(vocabulary)} different;"
            f" {net.num_parameters:,} parameters")
        if data.note:
            say(data.note)
        if mpi:
            say(f"{counted(mpi.size, 'rank')}; {counted(get_num_threads(), 'thread')} of this one")
        watcher = TextWatcher(options, vocabulary, trained_on(content, name, options))
        same = identity(content, options)
        del content  # from here on only the numbers of its characters are needed
        history = trained(
            net, data, watcher, same, options, mpi, truncation=options.truncation)
        if mpi and mpi.rank:
            return
    if options.plot:
        plots.loss_curves(history, options.plot, title=name, unit="nats per character")
    command = shlex.join(["crnn", "sample", options.output])
    say_how_it_ended(history, watcher, options, f"let it write with: {command}")


def text_of(options):
    """Return the text to train on, and what it is called."""
    if not options.texts:
        return text.builtin_text(), "text that comes with Python"
    names = ["standard input" if path == STDIN else os.path.basename(path)
             for path in options.texts]
    return read_texts(options.texts, options.encoding), ", ".join(names)


def trained_on(content, name, options):
    """Return the account of what a model is trained on, which goes into its file."""
    account = {"text": name, "characters": len(content)}
    if options.lines:
        account["lines"] = True
    if options.init_from:
        account["started_from"] = os.path.basename(options.init_from)
    return account


def network_and_vocabulary(content, options):
    """Return the network to train and the vocabulary: new ones, or those of --init-from."""
    if options.strict and not options.init_from:
        raise ValueError("--strict goes with --init-from; a new model knows all of its text")
    if not options.init_from:
        vocabulary = text.Vocabulary.of(content + "\n" * options.lines)
        return network_of(options, len(vocabulary), len(vocabulary)), vocabulary
    given = [name for name, value in NETWORK.items() if getattr(options, name) != value]
    if given:
        raise ValueError(
            f"the network is that of --init-from; leave out {', '.join('--' + n for n in given)}"
        )
    net, vocabulary, training = text.load_model(options.init_from)
    if isinstance(net, Compressed):
        raise ValueError(f"{options.init_from} is compressed to {net.format}, and does not train;"
                         " go on with the model that it was made of")
    if not vocabulary.is_of_characters:
        raise ValueError(f"{options.init_from} is a model of words; one of characters is wanted")
    if options.lines and "\n" not in vocabulary:
        raise ValueError(
            f"{options.init_from} does not know the end of a line, which begins and ends lines;"
            " leave out --lines, or train a new model"
        )
    was_of_lines = bool(training.get("lines"))
    if was_of_lines != options.lines:
        was, now = ("lines", "a running text") if was_of_lines else ("a running text", "lines")
        advice = "; give --lines to go on with lines" * was_of_lines
        say(f"{options.init_from} was trained on {was}, and goes on with {now}{advice}")
    if unknown := vocabulary.unknown(content):
        if options.strict:
            raise ValueError(
                f"the text has what {options.init_from} does not know: {listed(unknown)}; without"
                " --strict it is skipped, and a new model would know it"
            )
        warn_of_unknown(unknown, content, vocabulary)
    return net, vocabulary


def identity(content, options):
    """Return what --resume must find unchanged and neither network nor optimizer know."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return (f"text {digest[:16]}, validation {options.validation}, batch size {options.batch_size},"
            f" schedule {options.schedule}, init {options.init}" + ", lines" * options.lines)
