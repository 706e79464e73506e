"""``crnn classify``: train a network that says what a sequence is, and have it say so."""

import json
import os
import shlex

import numpy as np

from crnn import plots
from crnn.cli.labelled import (
    VALIDATION,
    add_data,
    check_fits,
    classes_of,
    material,
    read_labelled,
    scaled,
    split,
)
from crnn.cli.options import HelpFormatter, fraction, given_again
from crnn.cli.places import check_picture, check_places
from crnn.cli.screen import counted, say, warn, write
from crnn.cli.training import (
    add_files,
    add_network,
    add_training,
    network_of,
    say_how_it_ended,
    trained,
)
from crnn.cli.watcher import Watcher
from crnn.files import container, disk
from crnn.files.printable import printable, shortened
from crnn.network.saving import load
from crnn.network.scaling import Scaler
from crnn.training.interrupts import terminable
from crnn.training.metrics import confusions

LINES = 20  # that a training shows of its epochs
MOST_CLASSES = 20  # of a table; of more, the most frequent mistakes are listed
MOST_MISTAKES, LONGEST_NAME = 10, 12
CLASSES, COLUMNS = "classes", "features"  # keys of what a model's file says
EXAMPLE = """\
examples:
  crnn classify speech_TRAIN.ts speech_TEST.ts     train, and tell how often it is right
  crnn classify walks.csv --id walk --label kind   keep a fifth of the sequences to tell it with
  crnn classify --model model.safetensors new.csv  say what each sequence is, one a line
"""


def add_command(commands):
    """Add ``classify`` to the parser's commands."""
    command = commands.add_parser(
        "classify",
        help="train a network to classify sequences, or let one do it",
        description="Train a network on sequences with labels, tell how many sequences of another"
        " file it gets right, and which class it takes for which. Files are .ts (of the UCR and UEA"
        " archives), .csv in long form (a row a step, with columns of ids, labels and features) or"
        " .npz. With --model, print the class of each sequence of a file, with its id if it has"
        " one.",
        epilog=EXAMPLE, formatter_class=HelpFormatter,
    )
    add = command.add_argument
    add("file", metavar="TRAIN", help="file to learn from; with --model, the one to classify")
    add("test", nargs="?", metavar="TEST",
        help="file to test with; without it, a part of TRAIN is kept for that")
    add("--model", metavar="MODEL",
        help="model that 'crnn classify' wrote before, which is to classify; nothing is trained")
    add("--plot", metavar="FILE",
        help="draw which class is taken for which (PNG, SVG or PDF by the name's end)")
    add_data(command)
    before = {action.dest for action in command._actions}
    add_files(command, "files")
    network = add_network(command, cell="gru", hidden=32)
    network("--one-way", action="store_true",
            help="read sequences from their start only, as they come in; without this, from both"
            " ends")
    training = add_training(
        command, of_epochs="times through all sequences",
        of_batch_size="sequences that are trained on together",
        epochs=100, batch_size=16, optimizer="adamw", lr=0.01,
    )
    training("--validation", type=fraction, metavar="FRACTION",
             help=f"share of TRAIN that is kept for validation; without this, {VALIDATION} without"
             " TEST, and otherwise 0, none")
    training("--balanced", action="store_true",
             help="have rare classes weigh as much as frequent ones")
    defaults = {action.dest: action.default for action in command._actions
                if action.dest not in before}
    command.set_defaults(run=classify, of_training=defaults)


def classify(options):
    """``crnn classify``."""
    (_learn if options.model is None else _answer)(options)


def _learn(options):
    """Train a network, and tell how it does."""
    with terminable():
        whole = read_labelled(options.file, options)
        classes = classes_of(whole, options.file)
        test = None if options.test is None else _test(options.test, options, whole, classes)
        training, kept = _split(whole, test, options)
        net = network_of(options, whole.width, len(classes), bidirectional=not options.one_way)
        net.scaler = Scaler().fit(training.sequences)
        net.metadata[CLASSES] = json.dumps(classes)
        if whole.columns is not None:
            net.metadata[COLUMNS] = json.dumps(whole.columns)
        data = material(training, kept, classes, net.scaler, options)
        read = [("TRAIN", options.file)] + [("TEST", options.test)] * (test is not None)
        check_places(options, read)
        say(f"{whole.account()}, {len(classes):,} classes; {net.num_parameters:,} parameters")
        if kept is not None:
            say(f"{counted(len(kept.sequences), 'sequence')} of these kept for validation, not"
                " trained on")
        if missing := whole.missing():
            say(f"{counted(missing, 'value')} missing, each taken as its feature's mean")
        watcher = LabelWatcher(options, whole.name)
        history = trained(
            net, data, watcher, _identity(whole, options), options, metrics=["accuracy"],
            class_weight="balanced" if options.balanced else None)
    best = load(options.output) if os.path.exists(options.output) else net
    if kept is not None:
        _tell(best, kept, classes, "sequences kept for validation", options)
    if test is not None:
        _tell(best, test, classes, f"sequences of {test.name}", options)
    command = shlex.join(["crnn", "classify", "--model", options.output, *given_again(
        options, "id", "time", *(["rows"] if options.rows != "steps" else []), "encoding")])
    say_how_it_ended(history, watcher, options, f"let it classify with: {command} FILE")


def _test(path, options, whole, classes):
    """Return the sequences to test with."""
    test = read_labelled(path, options, whole.columns)
    if test.labels is None:
        raise ValueError(f"{path} has no labels to test with; leave it out, and have the model"
                         " classify it afterwards with --model")
    check_fits(test, path, whole.width, classes)
    return test


def _split(whole, test, options):
    """Return what to train on, and what to keep for validation or None."""
    share = options.validation
    if share is None:
        share = VALIDATION if test is None else 0
    if options.patience and not share:
        raise ValueError("--patience watches the validation loss, and nothing is kept for"
                         " validation; give --validation 0.2, for instance")
    return split(whole, share) if share else (whole, None)


def _identity(whole, options):
    """Return what --resume must find unchanged and neither network nor optimizer know."""
    return (f"data {whole.digest()}, validation {options.validation}, batch size"
            f" {options.batch_size}, schedule {options.schedule}, init {options.init}")


class LabelWatcher(Watcher):
    """Of a network that classifies."""

    UNIT = "sequences"

    def __init__(self, options, trained_on):
        super().__init__(options)
        self.trained_on = trained_on

    def save(self, event):
        account = {"trained_on": self.trained_on} | self.account(event)
        event.net.save(self.options.output, {
            name: str(value) for name, value in account.items() if value is not None})

    def losses(self, event):
        line = f"training loss {event.loss:.4f}, accuracy {event.metrics['accuracy']:.3f}"
        if event.validation_loss is not None:
            accuracy = event.metrics["validation_accuracy"]
            line += f"; validation loss {event.validation_loss:.4f}, accuracy {accuracy:.3f}"
        return line

    def show(self, event):
        if event.epoch in (1, event.epochs) or event.epoch % -(-event.epochs // LINES) == 0:
            super().show(event)


def _tell(net, labelled, classes, of, options):
    """Print, and draw if asked, how often a network is right, and which class it takes for which.

    Classes that it does not know come after those that it does.
    """
    predicted = _predicted(net, labelled, classes)
    right = sum(map(str.__eq__, predicted, labelled.labels))
    count = len(predicted)
    say(f"accuracy {right / count:.3f}: {right:,} of {count:,} {of}")
    say()
    for line in (_table if len(classes) <= MOST_CLASSES else _mistakes)(
            *confusions(labelled.labels, predicted, classes)):
        say(line)
    say()
    if options.plot:
        plots.confusion_matrix(
            labelled.labels, predicted, options.plot, labelled.name, classes=classes)


def _predicted(net, labelled, classes):
    """Return the class of each sequence."""
    numbers = net.predict(scaled(labelled.sequences, net.scaler))
    return [classes[each] for each in numbers]


def _table(classes, table):
    """Return the lines of a table with a row a class, and columns of what it was taken for."""
    names = [shortened(printable(each), LONGEST_NAME) for each in classes]
    left = max(len("label"), *map(len, names))
    width = max(len(str(table.max())), *map(len, names))
    rows = [["." if not each else str(each) for each in row] for row in table]
    lines = [("label".ljust(left), names), *zip(
        (each.ljust(left) for each in names), rows, strict=True)]
    return ["taken for".rjust(left + 2 + len("taken for")), *(
        "  ".join([name, *(each.rjust(width) for each in cells)]) for name, cells in lines)]


def _mistakes(classes, table):
    """Return lines with the most frequent mistakes, the table being too large to be read."""
    wrong = table - np.diag(np.diag(table))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MISTAKES]
    pairs = [np.unravel_index(each, wrong.shape) for each in order]
    lines = [f"{wrong[pair]:,} x {classes[pair[0]]} taken for {classes[pair[1]]}"
             for pair in pairs if wrong[pair]]
    return ["the most frequent mistakes:", *lines] if lines else ["no mistakes"]


def _answer(options):
    """Have a model classify the sequences of a file."""
    _check_nothing_to_train(options)
    net = load(options.model)
    classes, columns = _known(net, options.model)
    labelled = read_labelled(options.file, options, columns)
    check_fits(labelled._replace(labels=None), options.file, net.input_size, classes)
    if options.plot:
        if labelled.labels is None:
            raise ValueError(f"--plot draws what labels are taken for, and {options.file} has none")
        check_picture(options.plot, [("--model", options.model), ("the file", options.file)])
    predicted = _predicted(net, labelled, classes)
    for number, name in enumerate(predicted):
        write(name + "\n" if labelled.ids is None else f"{labelled.ids[number]}\t{name}\n")
    if labelled.labels is not None:
        right = sum(map(str.__eq__, predicted, labelled.labels))
        warn(f"accuracy {right / len(predicted):.3f}: {right:,} of {len(predicted):,} labels of"
             f" {labelled.name}")
    if options.plot:
        unknown = sorted(set(labelled.labels) - set(classes))
        plots.confusion_matrix(
            labelled.labels, predicted, options.plot, labelled.name, classes=classes + unknown)


def _check_nothing_to_train(options):
    if options.test is not None:
        raise ValueError("with --model one file is classified, and nothing trained; leave out"
                         f" {options.test}, or --model")
    given = [name for name, value in options.of_training.items() if getattr(options, name) != value]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"with --model nothing is trained; leave out {names}, or --model")


def _known(net, path):
    """Return the classes, and the names of the features or None, that a model's file has."""
    found = [container.read_json(path, net.metadata.get(key, "null"), key)
             for key in (CLASSES, COLUMNS)]
    if CLASSES not in net.metadata or net.scaler is None:
        raise disk.bad(path, "is no model that 'crnn classify' wrote: it does not say which classes"
                             " there are")
    wanted = (net.output_size, "class", False), (net.input_size, "feature", True)
    for names, (count, what, may_be_none) in zip(found, wanted, strict=True):
        if names is None and may_be_none:
            continue
        is_list = isinstance(names, list) and all(isinstance(each, str) for each in names)
        if not is_list or len(names) != count or len(set(names)) != count:
            raise disk.bad(path, f"does not name each {what} once")
    if (net.metadata.get("loss"), net.metadata.get("targets")) != ("softmax", "last"):
        raise disk.bad(path, "is no model that classifies whole sequences")
    return found
