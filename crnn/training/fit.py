"""Training: truncated backpropagation through time, validation, schedules, checkpoints."""

import os

from crnn.base import checks
from crnn.files import disk
from crnn.network.network import Network
from crnn.training import checkpoints
from crnn.training.advice import EXAMPLE, INSTEAD, with_advice
from crnn.training.bar import ProgressBar
from crnn.training.batches import checked_batches, has_every_step
from crnn.training.interrupts import DeferredInterrupt
from crnn.training.loop import Loop
from crnn.training.metrics import checked_metrics
from crnn.training.objectives import objective
from crnn.training.optimizer import Optimizer
from crnn.training.ranks import Ranks
from crnn.training.settings import Settings


@with_advice(EXAMPLE, INSTEAD)
def fit(
    net, data, optimizer, *, epochs, loss="softmax", truncation=None, clip_norm=None,
    clip_value=None, validation=None, patience=None, schedule=None, callbacks=(), checkpoint=None,
    resume=False, identity="", seed=None, class_weight=None,
    missing="error", metrics=(), warm_up=0, progress=False, all_reduce=None,
):
    """Train a network.

    What `RNN.predict` needs to know of it is then in ``net.metadata``: "loss", and "targets", which
    are "every" or "last".

    Each update takes a chunk of ``truncation`` time steps: forward from the state that the chunk
    before left, backward to the chunk's start (truncated backpropagation through time; Williams &
    Peng 1990). A chunk without a valid target, such as padding, is no update: only the state goes
    on. Each batch starts from a zero state. Batches come in a new random order each epoch.

    Parameters
    ----------
    net : RNN, GRU or LSTM
    data : tuple, dict or sequence of these
        One batch ``(x, targets)`` or ``(x, targets, lengths)``, or a dict with "x", "targets" and
        maybe "lengths" and "sample_weight"; or a sequence of such batches (a list, or anything with
        a length and items), or what `crnn.batches` returns. As for `RNN.loss`: x may be a list of
        sequences of unequal lengths, too (a list: a tuple of tuples is a sequence of batches). One
        batch is one update an epoch, where truncation does not cut it; `crnn.batches` makes many of
        a list.
    optimizer : Optimizer
    epochs : int
    loss : str, crnn.Huber, crnn.Quantile or callable
        As for `RNN.loss`, or a function ``loss(y, targets)`` that returns its value, the mean over
        its targets, and the gradient of the value with respect to y, in y's shape. y is what the
        network gives for a chunk, time first, and targets are that chunk's: integers (T, B) or
        (B,), -1 for none, or numbers with an axis for outputs after these. Beyond a sequence's
        length targets are -1, or NaN, which the function is to leave out; dy is ignored there.
    truncation : int, optional
        Time steps of a chunk. None: whole sequences. Many-to-one targets need whole sequences.
    clip_norm, clip_value : float, optional
        Clip each gradient, see `Gradients`.
    validation : as data, optional
        Its loss is computed after each epoch.
    patience : int, optional
        Stop after this many epochs in a row without a lower validation loss. Whenever `fit`
        returns, be it for patience, the last epoch or a callback, the parameters are then those of
        the best epoch (while callbacks run, and in the checkpoint, those of the last update).
    schedule : {"constant", "exponential", "cosine"} or callable, optional
        Maps the fraction of all updates that is done (of the epochs, and of the updates of the one
        under way), from 0 to below 1, to a factor above 0 on ``optimizer.lr``. A name stands for
        `crnn.constant`, `crnn.exponential` or `crnn.cosine` with its defaults.
    callbacks : sequence of callables
        Each is called with an `Event` after each update and each epoch; when one returns True,
        training stops there.
    checkpoint : str or os.PathLike, optional
        File that is written after each epoch and when training is stopped by a callback or by
        Ctrl-C (the update under way is finished first, then KeyboardInterrupt is raised, with a
        message; a second Ctrl-C raises one without, at once).
    resume : bool
        Go on from the checkpoint, if there is one: net and optimizer, which must be of the same
        kind, take its content. The result has the same bits as if training had not stopped.
        Without a file there, training begins, so that one script does for the first start and all
        others. ``epochs``, ``patience`` and ``callbacks`` may be others than before; a training
        that patience has ended goes on with more of it.
    identity : str
        What the data are, such as a hash of their file. It is kept in the checkpoint, and going on
        with data of another identity is refused.
    seed : int, optional
        For the order of batches.
    class_weight : mapping of int to float, or "balanced", optional
        As for `RNN.loss`, for validation data, too. "balanced" is of all classes in ``data``.
    missing : {"error", "skip"}
        What NaN among targets means; as for `RNN.loss`.
    metrics : sequence of str or callable
        What history shall have beside the loss, of training and of validation: "accuracy" for
        classes (sigmoid: of each output, at a probability of 0.5), "mae" and "mse" for numbers; or
        functions ``metric(y, targets)`` of n valid targets, (n,) or (n, O), and of the outputs for
        them, (n, O), that return a mean over them. (With ``missing="skip"``, a step's numbers can
        be NaN beside others that are not.) Weights do not matter to them, but that a target of
        weight 0 is none. Columns have the names of the metrics or
        functions, and "validation_" before them. An epoch's value is the mean over its chunks,
        weighted by their targets. In training it takes a pass more for each chunk.
    warm_up : int
        Of validation data, the steps at each sequence's start whose outputs do not count; see
        `evaluate`.
    progress : bool
        Show a bar of all updates with the losses, in a terminal or a notebook, by tqdm (the extra
        ``cli``).
    all_reduce : callable, optional
        For a network that several ranks train together, each on data of its own, such as processes
        on several machines: ``all_reduce(vector)`` puts the sum over all ranks' vectors, float64,
        (n,), in the place of each, and returns None. Its attributes ``rank`` and ``size`` say which
        rank this is, from 0, and how many there are. `crnn.mpi.all_reduce` is one. See Notes.

    Returns
    -------
    History
        With a row for each epoch; its ``stopped_by`` says why training ended.

    Raises
    ------
    TypeError, ValueError, IndexError
        If an argument or the data are not as above, or data or validation has no valid target, or
        has NaN or infinity in x, within a sequence's length, or among the targets that count.
    FloatingPointError
        If the loss, its gradient or a parameter stops being finite. Parameters and optimizer are as
        before that update, the checkpoint is the last one written.
    FormatError, OSError
        If the checkpoint cannot be read or written.
    ImportError
        If there is to be a progress bar and tqdm is not there.

    Notes
    -----
    With ``all_reduce`` every rank calls `fit` with the same network and settings and its own share
    of the data. An update is that of one process with the batches of all ranks side by side: chunk
    for chunk, gradients are summed over all ranks, and divided by the number of all ranks' valid
    targets, before they are clipped. A rank without a chunk, or without targets in it, takes part
    with zeros; each has at least one batch, which may have no sequences. Losses, metrics,
    validation, and balanced weights are of all ranks' data, too, and so are events and history.

    Only rank 0 shows progress and writes the checkpoint, after each epoch; what is stopped within
    an epoch goes on from the end of the one before. ``resume`` has every rank read it, and there
    may be more or fewer ranks than before. Callbacks are each rank's own; if one returns True, or
    Ctrl-C comes to one rank, all stop after the same update. Masks of dropout are drawn anew in
    each epoch, for each rank others. A ValueError says what is not the same on all ranks:
    parameters (also after each epoch), optimizers, or settings. Other errors are raised where they
    occur, and ``all_reduce`` has to see to it that then no rank waits for ever.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = np.arange(40).reshape(20, 2) % 3          # T = 20 steps, B = 2 sequences of tokens
    >>> net = crnn.RNN(3, 8, 3, seed=0)
    >>> history = crnn.fit(net, (x, (x + 1) % 3), crnn.Adam(0.05), epochs=30, truncation=5)
    >>> history["loss"][-1] < 0.1
    True

    References
    ----------
    Williams, R. J. & Peng, J. (1990). An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories. Neural Computation 2.
    """
    checks.option("net", net, Network, "a network").parameters.check_trainable()
    _check_optimizer(optimizer)
    minimized = objective(net, loss, class_weight, missing)
    settings = Settings.checked(
        epochs=epochs, truncation=truncation, clip_norm=clip_norm, clip_value=clip_value,
        patience=patience, schedule=schedule, callbacks=callbacks, checkpoint=checkpoint,
        identity=identity, seed=seed, metrics=checked_metrics(metrics, minimized.loss_name),
    )
    if patience is not None and validation is None:
        raise ValueError("patience watches the validation loss; give validation data too")
    if resume and checkpoint is None:
        raise ValueError("resume goes on from a checkpoint; give its path as checkpoint")
    ranks = Ranks(all_reduce)
    if checkpoint is not None and ranks.rank == 0:
        disk.check_place(checkpoint)
    warm_up = checks.whole_number(warm_up, "warm_up", 0)
    ranks.check_same(  # as what is asked for of data, or of their validation, depends on these
        {"class_weight": bytes([minimized.class_weight == "balanced"]),
         "validation": bytes([validation is not None]), "warm_up": str(warm_up).encode()},
        "all give fit the same settings, and all or none give it validation data")
    data = checked_batches(data, minimized, truncation, ranks=ranks)
    if validation is not None:
        validation = checked_batches(
            validation, minimized, truncation, "validation", warm_up, ranks)
    bar = ProgressBar() if checks.flag(progress, "progress") and ranks.rank == 0 else None
    if bar is not None:
        settings.callbacks.append(bar)
    loop = Loop(net, optimizer, data, validation, settings, ranks)
    if resume and os.path.exists(checkpoint):
        loop.progress, loop.account = checkpoints.restore(
            checkpoint, net, optimizer, loop.account, data)
    loop.check_ranks()
    loop.progress.history.loss_name = minimized.loss_name
    targets = "every" if has_every_step(data[0], minimized) else "last"
    net.metadata |= {"loss": minimized.loss_name or "custom", "targets": targets}
    lr = optimizer.lr
    try:
        with DeferredInterrupt() as interrupted:
            loop.run(interrupted)
    finally:
        if bar is not None:
            bar.close()
        optimizer.lr = lr
        net.engine.free_memory()
    return loop.progress.history


def _check_optimizer(optimizer):
    if isinstance(optimizer, (list, tuple)) or hasattr(optimizer, "__array__"):
        raise TypeError(
            f"optimizer is an array; x and its targets are one argument, a tuple: {EXAMPLE}")
    checks.option("optimizer", optimizer, Optimizer, "an optimizer such as crnn.Adam(0.001)")
