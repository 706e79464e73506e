"""``crnn train``: train a character model on a text."""

import contextlib
import datetime
import hashlib
import math
import os
import shlex
import shutil
import sys
import time

import crnn
from crnn import cells, configuration, disk, files, plots, text
from crnn.cli_options import HelpFormatter, count, fraction, layers, positive, whole
from crnn.initialisation import METHODS
from crnn.schedules import schedule

DEFAULT_MODEL = "model.safetensors"
CELLS = {name.lower(): cell for name, cell in cells.CELLS.items()}
OPTIMIZERS = {
    "sgd": crnn.SGD,
    "adagrad": crnn.Adagrad,
    "rmsprop": crnn.RMSprop,
    "adam": crnn.Adam,
    "adamw": crnn.AdamW,
}


def add_command(commands):
    """Add ``train`` to the parser's commands."""
    command = commands.add_parser(
        "train",
        help="train a character model on a text",
        description="Train a character model on a text. After each epoch the loss on the last part"
        " of the text, which is not trained on, is printed with a sample of what the model writes;"
        " the best model so far is kept in the model file. Beside it, MODEL.checkpoint holds what"
        " --resume needs.",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=train)
    add = command.add_argument
    add("text", nargs="?", metavar="TEXT",
        help="UTF-8 text file; without one, the language reference that comes with Python")
    add("-o", "--output", default=DEFAULT_MODEL, metavar="MODEL",
        help="model file to write; one that is there is kept as MODEL.old")
    add("--resume", action="store_true",
        help="go on from MODEL.checkpoint; give the same text and options as before")
    add("--plot", metavar="FILE", help="draw the loss curves (PNG, SVG or PDF by the name's end)")

    model = command.add_argument_group("network").add_argument
    model("--cell", choices=CELLS, default="rnn", help="what the network is made of")
    model("--hidden", type=count, default=128, metavar="H", help="hidden units of a layer")
    model("--layers", type=layers, default=1, metavar="N", help="layers, one upon another")
    model("--dropout", type=fraction, default=0.0, metavar="P",
          help="share of what goes from layer to layer that training zeroes; 0 for none")
    model("--nonlinearity", choices=configuration.NONLINEARITIES,
          help="of the hidden units of --cell rnn, which is tanh without this")
    model("--init", choices=METHODS, default="uniform", help="initial recurrent weights")
    model("--dtype", choices=("float32", "float64"), default="float32",
          help="precision of everything")

    training = command.add_argument_group("training").add_argument
    training("--epochs", type=count, default=16, metavar="N", help="times through the text")
    training("--batch-size", type=count, default=32, metavar="B", help="parallel streams")
    training("--steps", type=count, default=64, metavar="T",
             help="characters that gradients go back through")
    training("--optimizer", choices=OPTIMIZERS, default="adam",
             help="with its usual settings")
    training("--lr", type=positive, default=0.004, metavar="X", help="learning rate at the start")
    training("--schedule", choices=("constant", "exponential", "cosine"), default="cosine",
             help="of the learning rate over all epochs")
    training("--clip-norm", type=positive, default=1.0, metavar="X",
             help="largest norm of a gradient")
    training("--validation", type=fraction, default=0.1, metavar="FRACTION",
             help="the last part of the text, kept for validation; 0 for none")
    training("--patience", type=count, metavar="N",
             help="stop after so many epochs without a better validation loss")
    training("--sample-length", type=whole, default=200, metavar="N",
             help="characters to write after each epoch; 0 for none")
    training("--seed", type=whole, default=0, metavar="N",
             help="of the initial parameters; the same seed gives the same model")


def train(options):
    """``crnn train``."""
    content = text.builtin_text() if options.text is None else read_text(options.text)
    vocabulary = text.Vocabulary.of(content)
    training_data, validation_data = split(vocabulary.encode(content), options)
    net = network_of(options, len(vocabulary))
    optimizer = OPTIMIZERS[options.optimizer](lr=options.lr)
    checkpoint = options.output + ".checkpoint"
    check_places(options)
    name = "text that comes with Python" if options.text is None else os.path.basename(options.text)
    print(f"{name}: {len(content):,} characters, {len(vocabulary)} different;"
          f" {net.num_parameters:,} parameters", flush=True)
    watcher = Watcher(options, vocabulary, name, len(content))
    try:
        history = crnn.fit(
            net, training_data, optimizer, epochs=options.epochs, truncation=options.steps,
            clip_norm=options.clip_norm, validation=validation_data, patience=options.patience,
            schedule=schedule(options.schedule), callbacks=[watcher], checkpoint=checkpoint,
            resume=options.resume, seed=options.seed,
            identity=identity(content, options),
        )
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:  # not from fit, which saves first
            raise
        raise KeyboardInterrupt(
            f"stopped, all of it saved in {checkpoint}; go on with: {resume_command(options)}"
        ) from None
    finally:
        watcher.close()
    if options.plot:
        plots.loss_curves(history, options.plot, title=name)
    if watcher.first_update is None:
        print(f"nothing left to do: {checkpoint} has {len(history)} epochs; give more --epochs")
    elif os.path.exists(options.output):
        command = shlex.join(["crnn", "sample", options.output])
        print(f"{options.output}: the model; let it write with: {command}")
    else:
        print(f"{options.output} is not there any more, and no epoch since was better than it")


def network_of(options, symbols):
    """Return the untrained network that the options ask for."""
    own = {} if options.nonlinearity is None else {"nonlinearity": options.nonlinearity}
    if own and options.cell != "rnn":
        raise ValueError(
            f"--nonlinearity is an option of --cell rnn; --cell {options.cell} has its own, leave"
            " it out"
        )
    if options.dropout and options.layers == 1:
        raise ValueError(
            "--dropout zeroes what goes from one layer to the next, and there is one layer; give"
            " --layers 2 or more, or leave it out"
        )
    return CELLS[options.cell](
        symbols, options.hidden, symbols, num_layers=options.layers, dropout=options.dropout,
        init=options.init, dtype=options.dtype, seed=options.seed, **own,
    )


def read_text(path):
    """Return the content of a UTF-8 text file that is not empty."""
    with open(path, encoding="utf-8-sig") as file:
        try:
            content = file.read()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8 text: {error.reason} at byte {error.start}"
            ) from None
    if not content:
        raise ValueError(f"{path} is empty; a text is wanted")
    return content


def identity(content, options):
    """Return what must be the same for --resume and is not seen in the network's settings."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return (f"text {digest[:16]}, validation {options.validation}, batch size {options.batch_size},"
            f" schedule {options.schedule}, init {options.init}")


def split(tokens, options):
    """Return training and validation data; the latter, the text's end, may be None."""
    border = len(tokens) - int(len(tokens) * options.validation)
    if border <= options.batch_size:
        raise ValueError(
            f"the text has {border} characters to train on, too short for {options.batch_size}"
            " streams; take a longer one or a smaller --batch-size"
        )
    training_data = text.streams(tokens[:border], options.batch_size)
    if border == len(tokens):
        if options.patience:
            raise ValueError("--patience watches the validation loss; --validation 0 leaves none")
        return training_data, None
    rest = tokens[border:]
    if len(rest) < 2:
        raise ValueError(
            f"the part of the text for validation is too short, {len(rest)} characters; take a"
            " longer text or --validation 0"
        )
    return training_data, text.streams(rest, max(1, min(options.batch_size, len(rest) - 1)))


def check_places(options):
    """Find out now, not after the training, that what it makes cannot be written."""
    if not options.output:
        raise ValueError("the name of the model file (--output) is empty")
    checkpoint = options.output + ".checkpoint"
    if options.plot:
        plots.picture_format(options.plot)
        disk.check_place(options.plot)
    written = {"--output": options.output, "the checkpoint": checkpoint}
    if not options.resume:
        written |= {f"the old file of {name}": path + ".old" for name, path in written.items()
                    if os.path.exists(path)}
    check_apart({"the text": options.text, "--plot": options.plot} | written)
    for path in written.values():
        disk.check_place(path)
        if os.path.exists(path) and os.path.getsize(path) and not options.resume:
            check_replaceable(path)


def check_replaceable(path):
    """Refuse to train into a file that another program made."""
    try:
        files.check_kind(path)
    except disk.FormatError as error:
        raise ValueError(
            f"{error}; it is not replaced: move it away, or give another --output"
        ) from None


def check_apart(paths):
    """Refuse two names, of a dict by what they are for, that are the same file."""
    seen = {}
    for name, path in paths.items():
        if path is not None:
            other = seen.setdefault(os.path.realpath(path), name)
            if other != name:
                raise ValueError(f"{other} and {name} are the same file, {path}; give another name")


def keep_old(path):
    """Keep a copy of a file that is about to be replaced by another training's."""
    if os.path.exists(path):
        copy = path + ".old.tmp"
        try:
            shutil.copy2(path, copy)
            os.replace(copy, path + ".old")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(copy)
            raise
        print(f"{path} was there; it is kept as {path}.old")


def resume_command(options):
    """Return the command that goes on with this training."""
    words = ["crnn", *options.arguments]
    if "--resume" not in words:
        words.append("--resume")
    return shlex.join(words)


class Watcher:
    """Shows how training goes and saves the model whenever it is the best so far.

    With tqdm, on a terminal, a bar is drawn; elsewhere each epoch is a line.
    """

    def __init__(self, options, vocabulary, text_name, characters):
        self.options, self.vocabulary = options, vocabulary
        self.trained_on = {"text": text_name, "characters": characters}
        self.started = time.monotonic()
        self.seen = 0  # characters since the start
        self.first_update = None
        self.bar = None

    def __call__(self, event):
        if self.first_update is None:
            self.first_update = event.update - 1
            if not self.options.resume:
                keep_old(self.options.output)
                keep_old(self.options.output + ".checkpoint")
            self.bar = progress_bar(event.updates, self.first_update)
        if event.kind == "update":
            self.show_update(event)
        else:
            self.show_epoch(event)

    def show_update(self, event):
        self.seen += event.targets
        if self.bar is not None:
            self.bar.set_description(f"epoch {event.epoch}/{event.epochs}", refresh=False)
            loss = f"{nats_and_bits(event.loss)} per character"
            self.bar.set_postfix_str(f"{loss}, {self.speed():,.0f} characters/s", refresh=False)
            self.bar.update()

    def show_epoch(self, event):
        if event.is_best:
            self.save(event)
        line = f"epoch {event.epoch}/{event.epochs}: training {nats_and_bits(event.loss)}"
        if event.validation_loss is not None:
            line += f", validation {nats_and_bits(event.validation_loss)}"
        line += f" per character; {self.speed():,.0f} characters/s, {self.time_left(event)} left"
        self.print(line)
        if self.options.sample_length:
            written = text.sample(
                event.net, self.vocabulary, self.options.sample_length, temperature=0.8,
                seed=event.epoch,
            )
            self.print("\n".join("    | " + line for line in written.strip().splitlines()))

    def save(self, event):
        now = datetime.datetime.now(datetime.timezone.utc)
        training = self.trained_on | {
            "epochs": event.epoch,
            "updates": event.update,
            "training_loss": event.loss,
            "validation_loss": event.validation_loss,
            "optimizer": self.options.optimizer,
            "crnn": crnn.__version__,
            "instruction_set": crnn.build_info()["instruction_set"],
            "date": now.isoformat(timespec="seconds"),
        }
        text.save_model(self.options.output, event.net, self.vocabulary, training)

    def print(self, line):
        if self.bar is not None:
            self.bar.clear()
        print(line, flush=True)

    def speed(self):
        return self.seen / max(time.monotonic() - self.started, 1e-9)

    def time_left(self, event):
        done = event.update - self.first_update
        seconds = (time.monotonic() - self.started) / done * (event.updates - event.update)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def close(self):
        if self.bar is not None:
            self.bar.close()


def nats_and_bits(loss):
    """Return a loss in nats as text, in nats and in bits."""
    return f"{loss:.3f} nats ({loss / math.log(2):.3f} bits)"


def progress_bar(total, done):
    """Return a tqdm bar, or None without tqdm or a terminal."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=done, unit="update", dynamic_ncols=True, leave=False,
                bar_format="{desc} {bar} {n_fmt}/{total_fmt}{postfix}, {remaining} left")
