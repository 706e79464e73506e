"""The adding problem (Hochreiter & Schmidhuber 1997): can a network remember for 100 steps?

    python examples/adding.py --plot adding.png

At each step comes a random number from 0 to 1, and beside it a mark, which is 1 at one step in the
first half of the sequence and at one in the second half, and 0 elsewhere. After the last step the
sum of the two marked numbers is wanted. Who ignores the input and always says 1 has a mean squared
error of 1/6 = 0.167; to do better, the first number has to be kept for T/2 steps on average.

Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9. The marks are
placed, and the numbers drawn, as in Le, Jaitly & Hinton (2015), arXiv:1504.00941.
"""

import argparse

import numpy as np

import crnn
from crnn import plots

CELLS = {"RNN": crnn.RNN, "GRU": crnn.GRU, "LSTM": crnn.LSTM}
GUESSING = 1 / 6  # the variance of the sum of two numbers from U(0, 1)


def sequences(rng, steps, count):
    """Return inputs (T, B, 2), numbers and marks, and the sums that are wanted (B, 1)."""
    x = np.zeros((steps, count, 2), np.float32)
    x[:, :, 0] = rng.random((steps, count))
    half, each = steps // 2, np.arange(count)
    marked = rng.integers(0, half, count), rng.integers(half, steps, count)
    for t in marked:
        x[t, each, 1] = 1
    return x, sum(x[t, each, 0] for t in marked)[:, None]


def train(cell, options):
    """Return a network and its `crnn.History`; the validation loss is the mean squared error."""
    rng = np.random.default_rng(options.seed)
    data = [sequences(rng, options.steps, options.batch_size) for _ in range(options.batches)]
    net = CELLS[cell](2, options.hidden, 1, seed=options.seed)

    def show(event):
        if event.kind == "epoch" and not options.quiet:
            print(f"{cell}: epoch {event.epoch}/{event.epochs},"
                  f" squared error {event.validation_loss:.4f}", flush=True)

    history = crnn.fit(
        net, data, crnn.Adam(options.lr), epochs=options.epochs, loss="mse", clip_norm=1.0,
        schedule=crnn.cosine(), validation=sequences(rng, options.steps, 1000), callbacks=[show],
        seed=options.seed,
    )
    return net, history


def main(arguments=None):
    """Train the three cells; return the mean squared error of each on unseen sequences."""
    parser = argparse.ArgumentParser(
        description="Train RNN, GRU and LSTM on the adding problem.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="which to train")
    add("--steps", type=int, default=100, metavar="T", help="length of the sequences")
    add("--hidden", type=int, default=32, metavar="H", help="hidden units")
    add("--batches", type=int, default=200, help="batches of training sequences")
    add("--batch-size", type=int, default=50, metavar="B", help="sequences in a batch")
    add("--epochs", type=int, default=20, help="times through the training sequences")
    add("--lr", type=float, default=0.005, help="learning rate at the start")
    add("--seed", type=int, default=0, help="of the sequences and the initial parameters")
    add("--plot", metavar="FILE", help="draw the loss curves (PNG, SVG or PDF)")
    add("--quiet", action="store_true", help="print the results only")
    options = parser.parse_args(arguments)
    histories = {cell: train(cell, options)[1] for cell in options.cells}
    errors = {cell: history["validation_loss"][-1] for cell, history in histories.items()}
    for cell, error in errors.items():
        print(f"{cell}: squared error {error:.4f}, where guessing has {GUESSING:.4f}")
    if options.plot:
        plots.loss_comparison(
            histories, options.plot, f"adding problem, T = {options.steps}", "mean squared error",
            log=True, levels={"always 1": GUESSING},
        )
    return errors


if __name__ == "__main__":
    main()
