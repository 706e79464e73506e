"""What commands that train share: their options, the network, and how a training runs and ends."""

import os
import shlex

from crnn.cli.options import count, fraction, layers, positive, whole, widths
from crnn.cli.places import checkpoint_of
from crnn.cli.screen import counted, say
from crnn.network import configuration
from crnn.network.cells import BY_OPTION
from crnn.network.initialization import METHODS
from crnn.training.fit import fit
from crnn.training.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from crnn.training.schedules import schedule

DEFAULT_MODEL = "model.safetensors"
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


def add_files(command, data):
    """Add the options of the files that a training writes, and goes on from."""
    add = command.add_argument
    add("-o", "--output", default=DEFAULT_MODEL, metavar="MODEL",
        help="model file to write; one that is there is kept as MODEL.old")
    add("--resume", action="store_true",
        help=f"go on from MODEL.checkpoint if there is one; give the same {data} and options as"
        " before")


def add_network(command, **defaults):
    """Add the group of options of the network; return its ``add_argument``."""
    add = command.add_argument_group("network").add_argument
    add("--cell", choices=BY_OPTION, help="what the network is made of")
    add("--hidden", type=widths, metavar="H",
        help="hidden units of a layer; with commas, as in 128,64, those of each layer, which also"
        " says how many there are")
    add("--layers", type=layers, metavar="N", help="layers, one upon another")
    add("--dropout", type=fraction, metavar="P",
        help="share of what goes from layer to layer that training zeroes; 0 for none")
    add("--nonlinearity", choices=configuration.NONLINEARITIES,
        help="of the hidden units of --cell rnn, which is tanh without this")
    add("--init", choices=METHODS, help="initial recurrent weights")
    add("--dtype", choices=("float32", "float64"), help="precision of everything")
    command.set_defaults(**NETWORK | defaults)
    return add


def add_training(command, of_epochs, of_batch_size, **defaults):
    """Add the group of options of a training, two of them with these texts of help.

    Returns the group's ``add_argument``.
    """
    add = command.add_argument_group("training").add_argument
    add("--epochs", type=count, metavar="N", help=of_epochs)
    add("--batch-size", type=count, metavar="B", help=of_batch_size)
    add("--optimizer", choices=OPTIMIZERS, help="with its usual settings")
    add("--lr", type=positive, metavar="X", help="learning rate at the start")
    add("--schedule", choices=("constant", "exponential", "cosine"), default="cosine",
        help="of the learning rate over all epochs")
    add("--clip-norm", type=positive, default=1.0, metavar="X",
        help="largest norm of a gradient")
    add("--patience", type=count, metavar="N",
        help="stop after so many epochs without a better validation loss; with --resume, a"
        " larger one goes on")
    add("--seed", type=whole, default=0, metavar="N",
        help="of the initial parameters; the same seed gives the same model")
    command.set_defaults(**defaults)
    return add


def network_of(options, inputs, outputs, **own):
    """Return the untrained network that the options ask for."""
    if options.nonlinearity is not None:
        own["nonlinearity"] = options.nonlinearity
        if options.cell != "rnn":
            raise ValueError(
                f"--nonlinearity is an option of --cell rnn; --cell {options.cell} has its own,"
                " leave it out"
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
    return BY_OPTION[options.cell](
        inputs, options.hidden, outputs, num_layers=options.layers, dropout=options.dropout,
        init=options.init, dtype=options.dtype, seed=options.seed, **own,
    )


def trained(net, data, watcher, identity, options, mpi=None, **how):
    """Train as the options ask; return the history.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    data : Material
    watcher : Watcher
        It is closed at the end.
    identity : str
        What --resume must find unchanged and neither network nor optimizer know.
    options : argparse.Namespace
    mpi : module, optional
        `crnn.mpi`: the ranks share the data.
    **how
        Further arguments of `fit`.
    """
    checkpoint, callbacks = checkpoint_of(options), [watcher]
    training, validation = data.training, data.validation
    if mpi:
        training, validation = (
            None if each is None else mpi.share(each, axis=1) for each in (training, validation))
        callbacks, how["all_reduce"] = [watcher] * (mpi.rank == 0), mpi.all_reduce
    try:
        return fit(
            net, training, OPTIMIZERS[options.optimizer](lr=options.lr), epochs=options.epochs,
            clip_norm=options.clip_norm, validation=validation, patience=options.patience,
            schedule=schedule(options.schedule), callbacks=callbacks, checkpoint=checkpoint,
            resume=options.resume, seed=options.seed, identity=identity, **how,
        )
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:  # not from fit, which saves first
            raise
        raise type(interrupt)(_stopped(interrupt, watcher, options, mpi)) from None
    finally:
        watcher.close()


def _stopped(interrupt, watcher, options, mpi):
    """Return what is said of a training that was stopped, and how it goes on."""
    command = resume_command(options)
    if not mpi or mpi.size == 1:
        return f"stopped, all of it saved in {checkpoint_of(options)}; go on with: {command}"
    if not options.resume and not watcher.epochs:
        return str(interrupt)
    return f"{interrupt}; go on with: mpiexec -n {mpi.size} {command}"


def say_how_it_ended(history, watcher, options, use):
    """Say why it ended before its last epoch, and what the model can be used with."""
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
        say(f"{options.output}: the model; {use}")
    else:
        say(f"{options.output} is not there any more, and no epoch since was better than it")


def resume_command(options):
    """Return the command that goes on with this training."""
    words = ["crnn", *options.arguments]
    if "--resume" not in words:
        words.append("--resume")
    return shlex.join(words)
