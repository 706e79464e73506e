"""What commands show of a training under way, and when they save the model."""

import datetime
import itertools
import math
import sys
import time

from crnn import text
from crnn._version import __version__
from crnn.base.backends import build_info
from crnn.cli.places import checkpoint_of, keep_old
from crnn.cli.screen import quote, say
from crnn.training.bar import ProgressBar

SAMPLE_LINES = 8  # that a model of lines writes after each epoch


class Watcher:
    """Shows how training goes and saves the model whenever it is the best so far.

    With tqdm, on a terminal, a bar is drawn; elsewhere each epoch is a line.
    """

    UNIT = "targets"  # what event.targets counts

    def __init__(self, options):
        self.options = options
        self.started = time.monotonic()
        self.seen = 0  # targets since the start
        self.first_update = None
        self.epochs = 0  # that have ended
        self.bar = None

    def __call__(self, event):
        if self.first_update is None:
            self.first_update = event.update - 1
            if not self.options.resume:
                keep_old(self.options.output)
                keep_old(checkpoint_of(self.options))
            self.bar = bar_of_terminal()
        if self.bar is not None:
            self.bar(event)
        if event.kind == "update":
            self.seen += event.targets
            return
        self.epochs = event.epoch
        if event.is_best:
            self.save(event)
        self.show(event)

    def save(self, event):
        """Write the model file, after an epoch."""
        raise NotImplementedError

    def losses(self, event):
        """Return what is said of an epoch's losses."""
        raise NotImplementedError

    def show(self, event):
        """Print an epoch's line."""
        if self.bar is not None:
            self.bar.clear()
        say(f"epoch {event.epoch}/{event.epochs}: {self.losses(event)}; {self.speed():,.0f}"
            f" {self.UNIT}/s, {self.time_left(event)} left")

    def account(self, event):
        """Return what the model's file says of its training."""
        now = datetime.datetime.now(datetime.timezone.utc)
        return {
            "epochs": event.epoch,
            "updates": event.update,
            "training_loss": event.loss,
            "validation_loss": event.validation_loss,
            "optimizer": self.options.optimizer,
            "crnn": __version__,
            "instruction_set": build_info()["instruction_set"],
            "date": now.isoformat(timespec="seconds"),
        }

    def speed(self):
        return self.seen / max(time.monotonic() - self.started, 1e-9)

    def time_left(self, event):
        done = event.update - self.first_update
        seconds = (time.monotonic() - self.started) / done * (event.updates - event.update)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def close(self):
        if self.bar is not None:
            self.bar.close()


class TextWatcher(Watcher):
    """Of a model that writes: it writes a little after each epoch."""

    UNIT = "characters"

    def __init__(self, options, vocabulary, trained_on):
        super().__init__(options)
        self.vocabulary, self.trained_on = vocabulary, trained_on

    def save(self, event):
        training = self.trained_on | self.account(event)
        text.save_model(self.options.output, event.net, self.vocabulary, training)

    def losses(self, event):
        line = f"training {nats_and_bits(event.loss)}"
        if event.validation_loss is not None:
            line += f", validation {nats_and_bits(event.validation_loss)}"
        return line + " per character"

    def show(self, event):
        super().show(event)
        for written in self.sample(event):
            quote(written)

    def sample(self, event):
        """Return lines that the model writes now."""
        length, options = self.options.sample_length, {"temperature": 0.8, "seed": event.epoch}
        if not self.options.lines:
            return text.sample(event.net, self.vocabulary, length, **options).strip().splitlines()
        lines = text.generate_lines(event.net, self.vocabulary, longest=length, **options)
        return itertools.islice(lines, SAMPLE_LINES if length else 0)


def nats_and_bits(loss):
    """Return a loss in nats as text, in nats and in bits."""
    return f"{loss:.3f} nats ({loss / math.log(2):.3f} bits)"


def bar_of_terminal():
    """Return a progress bar, or None without a terminal or tqdm."""
    if not sys.stderr.isatty():
        return None
    try:
        return ProgressBar(stays=False)
    except ImportError:
        return None
