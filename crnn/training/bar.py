"""The progress bar of a training, drawn by tqdm (the extra ``cli``)."""


class ProgressBar:
    """A callback of `fit` that draws one bar for all updates; to be closed.

    In a terminal it is a line that fits 80 columns, in a notebook a bar of its own.

    Parameters
    ----------
    stays : bool
        Whether the bar is still there after it is closed.

    Raises
    ------
    ImportError
        Without tqdm; the message names the extra.
    """

    FORMAT = "{desc}{bar} {n_fmt}/{total_fmt}{postfix}, {remaining} left"

    def __init__(self, stays=True):
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                "progress=True needs tqdm; install it with: pip install 'crnn[cli]'") from error
        self._tqdm, self._stays, self._bar, self._of_epoch = tqdm, stays, None, ""

    def __call__(self, event):
        if self._bar is None:  # training may go on at the end of an epoch, without an update
            self._bar = self._tqdm(
                total=event.updates, initial=event.update - (event.kind == "update"),
                bar_format=self.FORMAT, dynamic_ncols=True, leave=self._stays)
        self._bar.total = event.updates
        if event.validation_loss is not None:
            self._of_epoch = f", validation {event.validation_loss:.3g}"
        self._show(event)
        if event.kind == "update":
            self._bar.update()

    def _show(self, event):
        self._bar.set_description(f"epoch {event.epoch}/{event.epochs}", refresh=False)
        losses = f"loss {event.loss:.3g}{self._of_epoch}"
        self._bar.set_postfix_str(losses, refresh=event.kind == "epoch")

    def clear(self):
        """Make room for a line; the next event draws the bar again."""
        if self._bar is not None:
            self._bar.clear()

    def close(self):
        """Leave the bar as it is, or take it away."""
        if self._bar is not None:
            self._bar.close()
