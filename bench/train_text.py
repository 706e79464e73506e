"""How long it takes to train a character model, beside PyTorch: the whole of it, on one thread.

    python bench/train_text.py tinyshakespeare.txt              20 epochs, some five minutes
    python bench/train_text.py tinyshakespeare.txt --epochs 2

What ``crnn train`` does by default (H = 128, Adam, cosine, clipping, 64 steps of 32 streams, a
validation after each epoch), and the same in PyTorch: `torch.nn.RNN`, its fused Adam, from the same
initial parameters. After each epoch of one comes one of the other; what is counted is the CPU time
of their thread. PyTorch's second bias, which would double the first one's learning rate, is held at
zero. In the end both have about the same loss: rounding differs, and with it, after thousands of
updates, the third digit.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from run import keep_to_threads

STEPS, STREAMS, HIDDEN, LR, CLIP = 64, 32, 128, 0.004, 1.0


class Peer:
    """The training in PyTorch."""

    def __init__(self, net, training, validation, epochs):
        import torch

        torch.set_num_threads(1)
        self.torch, self.seconds, self.losses = torch, [], []
        symbols = net.input_size
        self.rnn = torch.nn.RNN(symbols, HIDDEN)
        self.readout = torch.nn.Linear(HIDDEN, net.output_size)
        with torch.no_grad():
            for own, name in (
                (self.rnn.weight_ih_l0, "W_xh_l0"), (self.rnn.weight_hh_l0, "W_hh_l0"),
                (self.rnn.bias_ih_l0, "b_h_l0"), (self.readout.weight, "W_hy"),
                (self.readout.bias, "b_y"),
            ):
                own.copy_(torch.from_numpy(net.parameters[name].T.copy()))
            self.rnn.bias_hh_l0.zero_()
        self.parameters = [
            p for name, p in self.rnn.named_parameters() if name != "bias_hh_l0"
        ] + list(self.readout.parameters())
        self.rnn.bias_hh_l0.requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.parameters, lr=LR, fused=True)
        self.training, self.validation = (
            [torch.from_numpy(each) for each in data] for data in (training, validation)
        )
        updates = epochs * len(range(0, len(training[0]), STEPS))
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, updates)

    def loss(self, data, start, state):
        """Return the mean loss of a chunk and the last state."""
        functional = self.torch.nn.functional
        x, targets = (each[start : start + STEPS] for each in data)
        h, state = self.rnn(functional.one_hot(x, self.rnn.input_size).float(), state)
        y = self.readout(h)
        return functional.cross_entropy(y.flatten(0, 1), targets.flatten()), state

    def epoch(self):
        """Train one epoch and validate."""
        start, state = time.thread_time(), None
        for first in range(0, len(self.training[0]), STEPS):
            self.optimizer.zero_grad()
            value, state = self.loss(self.training, first, state)
            value.backward()
            self.torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
            self.optimizer.step()
            self.schedule.step()
            state = state.detach()
        self.losses.append(self.validate())
        self.seconds.append(time.thread_time() - start)

    def validate(self):
        total, state = 0.0, None
        with self.torch.no_grad():
            for first in range(0, len(self.validation[0]), STEPS):
                value, state = self.loss(self.validation, first, state)
                total += value.item() * len(self.validation[0][first : first + STEPS])
        return total / len(self.validation[0])


def main(arguments=None):
    """Train both and print the comparison."""
    parser = argparse.ArgumentParser(
        description="Train a character model with crnn and with PyTorch, on one thread, and compare"
        " time and loss."
    )
    parser.add_argument("text", type=Path, help="UTF-8 text file")
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    options = parser.parse_args(arguments)
    keep_to_threads(1, os.environ)

    import crnn

    crnn.set_num_threads(1)
    content = options.text.read_text(encoding="utf-8")
    vocabulary = crnn.text.Vocabulary.of(content)
    tokens = vocabulary.encode(content)
    border = len(tokens) - int(len(tokens) * 0.1)
    training = crnn.text.streams(tokens[:border], STREAMS)
    validation = crnn.text.streams(tokens[border:], STREAMS)
    net = crnn.RNN(len(vocabulary), HIDDEN, len(vocabulary), seed=0)
    peer = Peer(net, training, validation, options.epochs)
    seconds, start = [], time.thread_time()

    def after_epoch(event):
        nonlocal start
        if event.kind == "epoch":
            seconds.append(time.thread_time() - start)
            peer.epoch()
            print(f"epoch {event.epoch}: crnn {seconds[-1]:.2f} s,"
                  f" {event.validation_loss:.3f} nats; PyTorch {peer.seconds[-1]:.2f} s,"
                  f" {peer.losses[-1]:.3f} nats", flush=True)
            start = time.thread_time()

    history = crnn.fit(
        net, training, crnn.Adam(LR), epochs=options.epochs, truncation=STEPS, clip_norm=CLIP,
        validation=validation, schedule=crnn.cosine(), callbacks=[after_epoch], seed=0,
    )
    ours, theirs = sum(seconds), sum(peer.seconds)
    print(f"crnn {ours:.1f} s, {history['validation_loss'][-1]:.4f} nats; PyTorch {theirs:.1f} s,"
          f" {peer.losses[-1]:.4f} nats; PyTorch takes {theirs / ours:.2f} times as long")
    return 0


if __name__ == "__main__":
    sys.exit(main())
