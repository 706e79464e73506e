"""Files that a command reads and writes. What is wrong with them shows before the work."""

import os

from crnn import plots
from crnn.cli.screen import say
from crnn.files import container, disk


def check_places(options, read, init_from=None):
    """Raise now, not after the training, if one of its files cannot be written.

    Without a checkpoint to go on from, --resume is taken for not given, which is said.

    Parameters
    ----------
    options : argparse.Namespace
    read : list of (str, str)
        What the training reads: what each file is for, and its path.
    init_from : str, optional
        The model that it starts from.
    """
    if not options.output:
        raise ValueError("the name of the model file (--output) is empty")
    checkpoint = checkpoint_of(options)
    if options.resume and not os.path.exists(checkpoint):
        say(f"there is no {checkpoint} to go on from: training begins")
        options.resume = False
    written = {"--output": options.output, "the checkpoint": checkpoint}
    if not options.resume:
        written |= {f"the old file of {name}": path + ".old" for name, path in written.items()
                    if os.path.exists(path)}
    # a model may be gone on with in its own place: it is kept as the old file of it
    if init_from and not _are_same(init_from, options.output):
        read = [*read, ("--init-from", init_from)]
    read = [*read, *written.items()]
    check_apart(read)
    if options.plot:
        check_picture(options.plot, read)
    for path in written.values():
        disk.check_place(path)
        if os.path.exists(path) and os.path.getsize(path) and not options.resume:
            check_replaceable(path)


def check_picture(path, others):
    """Refuse a picture that cannot be written, or has the place of another file.

    ``others`` are what each of those is for, and its path.
    """
    plots.picture_format(path)
    disk.check_place(path)
    check_apart([*others, ("--plot", path)])


def checkpoint_of(options):
    """Return where the checkpoint of a training is written."""
    return options.output + ".checkpoint"


def check_replaceable(path):
    """Refuse to train into a file that another program made."""
    try:
        container.check_kind(path)
    except disk.FormatError as error:
        raise ValueError(
            f"{error}; it is not replaced: move it away, or give another --output"
        ) from None


def check_apart(paths):
    """Refuse two paths of the same file, given what each is for and the path."""
    seen = {}
    for name, path in paths:
        other = seen.setdefault(os.path.realpath(path), name)
        if other != name:
            raise ValueError(f"{other} and {name} are the same file, {path}; give another name")


def _are_same(path, other):
    return os.path.realpath(path) == os.path.realpath(other)


def keep_old(path):
    """Keep a copy of a file that is about to be replaced by another training's."""
    if os.path.exists(path):
        disk.copy(path, path + ".old")
        say(f"{path} was there; it is kept as {path}.old")
