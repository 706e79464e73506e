"""``crnn train``: train a character model on a text."""

import hashlib
import os
import shlex

from crnn import plots, text
from crnn.cli.material import TRAINING_CHUNKS, material
from crnn.cli.options import (
    HelpFormatter,
    count,
    encoding,
    fraction,
    layers,
    positive,
    whole,
    widths,
)
from crnn.cli.places import check_places, checkpoint_of
from crnn.cli.screen import counted, say
from crnn.cli.texts import STDIN, listed, read_texts
from crnn.cli.watcher import SAMPLE_LINES, Watcher
from crnn.network import cells, configuration
from crnn.network.initialization import METHODS
from crnn.training.fit import fit
from crnn.training.interrupts import terminable
from crnn.training.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from crnn.training.schedules import schedule

DEFAULT_MODEL = "model.safetensors"
CELLS = {name.lower(): cell for name, cell in cells.CELLS.items()}
NETWORK = {  # what options of the network are by default
    "cell": "rnn", "hidden": 128, "layers": 1, "dropout": 0.0, "nonlinearity": None,
    "init": "uniform", "dtype": "float32",
}
OPTIMIZERS = {
    "sgd": SGD,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


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
        help="go on with the network of a model that was trained before, on this text, which may"
        " have no character that it does not know; options of the network are left out then")
    add("-o", "--output", default=DEFAULT_MODEL, metavar="MODEL",
        help="model file to write; one that is there is kept as MODEL.old")
    add("--resume", action="store_true",
        help="go on from MODEL.checkpoint; give the same text and options as before")
    add("--plot", metavar="FILE", help="draw the loss curves (PNG, SVG or PDF by the name's end)")

    model = command.add_argument_group("network").add_argument
    model("--cell", choices=CELLS, help="what the network is made of")
    model("--hidden", type=widths, metavar="H",
          help="hidden units of a layer; with commas, as in 128,64, those of each layer, which also"
          " says how many there are")
    model("--layers", type=layers, metavar="N", help="layers, one upon another")
    model("--dropout", type=fraction, metavar="P",
          help="share of what goes from layer to layer that training zeroes; 0 for none")
    model("--nonlinearity", choices=configuration.NONLINEARITIES,
          help="of the hidden units of --cell rnn, which is tanh without this")
    model("--init", choices=METHODS, help="initial recurrent weights")
    model("--dtype", choices=("float32", "float64"), help="precision of everything")
    command.set_defaults(**NETWORK)

    training = command.add_argument_group("training").add_argument
    training("--epochs", type=count, default=16, metavar="N", help="times through the text")
    training("--batch-size", type=count, default=32, metavar="B",
             help="parallel streams; fewer where they would be shorter than"
             f" {TRAINING_CHUNKS} times --steps. With --lines, lines that are trained on"
             " together")
    training("--truncation", "--steps", type=count, default=64, metavar="T",
             help="characters that gradients go back through")
    training("--optimizer", choices=OPTIMIZERS, default="adam",
             help="with its usual settings")
    training("--lr", type=positive, default=0.004, metavar="X", help="learning rate at the start")
    training("--schedule", choices=("constant", "exponential", "cosine"), default="cosine",
             help="of the learning rate over all epochs")
    training("--clip-norm", type=positive, default=1.0, metavar="X",
             help="largest norm of a gradient")
    training("--validation", type=fraction, default=0.1, metavar="FRACTION",
             help="the last part of the text, or of the shuffled lines, kept for validation; 0 for"
             " none")
    training("--patience", type=count, metavar="N",
             help="stop after so many epochs without a better validation loss; with --resume, a"
             " larger one goes on")
    training("--sample-length", type=whole, default=200, metavar="N",
             help="characters to write after each epoch, with --lines at most so many in each"
             f" of {SAMPLE_LINES} lines; 0 for none")
    training("--seed", type=whole, default=0, metavar="N",
             help="of the initial parameters; the same seed gives the same model")


def train(options):
    """``crnn train``."""
    with terminable():
        content, name = text_of(options)
        net, vocabulary = network_and_vocabulary(content, options)
        data = material(content, vocabulary, options)
        check_places(options)
        say(f"{name}: {len(content):,} characters, {len(vocabulary)} different;"
            f" {net.num_parameters:,} parameters")
        if data.note:
            say(data.note)
        watcher = Watcher(options, vocabulary, trained_on(content, name, options))
        same = identity(content, options)
        del content  # from here on only the numbers of its characters are needed
        history = _fit(net, data, watcher, same, options)
    if options.plot:
        plots.loss_curves(history, options.plot, title=name)
    _say_how_it_ended(history, watcher, options)


def _fit(net, data, watcher, same, options):
    checkpoint = checkpoint_of(options)
    try:
        return fit(
            net, data.training, OPTIMIZERS[options.optimizer](lr=options.lr),
            epochs=options.epochs, truncation=options.truncation, clip_norm=options.clip_norm,
            validation=data.validation, patience=options.patience,
            schedule=schedule(options.schedule), callbacks=[watcher], checkpoint=checkpoint,
            resume=options.resume, seed=options.seed, identity=same,
        )
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:  # not from fit, which saves first
            raise
        raise type(interrupt)(
            f"stopped, all of it saved in {checkpoint}; go on with: {resume_command(options)}"
        ) from None
    finally:
        watcher.close()


def _say_how_it_ended(history, watcher, options):
    if history.stopped_by == "patience":
        epochs = "more --epochs and " * (len(history) >= options.epochs)
        say(f"patience ended it: {counted(options.patience, 'epoch')} without a better validation"
            f" loss; go on with --resume and {epochs}a larger --patience")
    elif watcher.first_update is None:
        say(f"nothing left to do: {checkpoint_of(options)} has {counted(len(history), 'epoch')};"
            " give more --epochs")
    if watcher.first_update is None:
        return
    if os.path.exists(options.output):
        command = shlex.join(["crnn", "sample", options.output])
        say(f"{options.output}: the model; let it write with: {command}")
    else:
        say(f"{options.output} is not there any more, and no epoch since was better than it")


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
    if not options.init_from:
        vocabulary = text.Vocabulary.of(content + "\n" * options.lines)
        return network_of(options, len(vocabulary)), vocabulary
    given = [name for name, value in NETWORK.items() if getattr(options, name) != value]
    if given:
        raise ValueError(
            f"the network is that of --init-from; leave out {', '.join('--' + n for n in given)}"
        )
    net, vocabulary, _ = text.load_model(options.init_from)
    if not vocabulary.is_of_characters:
        raise ValueError(f"{options.init_from} is a model of words; one of characters is wanted")
    if unknown := vocabulary.unknown(content + "\n" * options.lines):
        raise ValueError(
            f"the text has what {options.init_from} does not know: {listed(unknown)}; leave it out"
            " of the text, or train a new model"
        )
    return net, vocabulary


def network_of(options, symbols):
    """Return the untrained network that the options ask for."""
    own = {} if options.nonlinearity is None else {"nonlinearity": options.nonlinearity}
    if own and options.cell != "rnn":
        raise ValueError(
            f"--nonlinearity is an option of --cell rnn; --cell {options.cell} has its own, leave"
            " it out"
        )
    each = options.hidden if isinstance(options.hidden, tuple) else ()
    if each and options.layers not in (1, len(each)):
        raise ValueError(
            f"--hidden has the widths of {len(each)} layers, and --layers is {options.layers};"
            " leave out --layers"
        )
    if options.dropout and options.layers == 1 and not each:
        raise ValueError(
            "--dropout zeroes what goes from one layer to the next, and there is one layer; give"
            " --layers 2 or more, or leave it out"
        )
    return CELLS[options.cell](
        symbols, options.hidden, symbols, num_layers=options.layers, dropout=options.dropout,
        init=options.init, dtype=options.dtype, seed=options.seed, **own,
    )


def identity(content, options):
    """Return what --resume must find unchanged and neither network nor optimizer know."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return (f"text {digest[:16]}, validation {options.validation}, batch size {options.batch_size},"
            f" schedule {options.schedule}, init {options.init}" + ", lines" * options.lines)


def resume_command(options):
    """Return the command that goes on with this training."""
    words = ["crnn", *options.arguments]
    if "--resume" not in words:
        words.append("--resume")
    return shlex.join(words)
