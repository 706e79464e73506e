"""Bach's chorales (Boulanger-Lewandowski, Bengio & Vincent 2012): which notes sound next?

    python examples/chorales.py path/to/jsb_chorales.npz --plot chorales.png

A piece is a sequence of steps of a quarter note; at each, each of 88 keys is down or not. From the
steps so far the network says for each key how likely it is to be down at the next step. The figure
is the negative log-likelihood of a step in nats, summed over the keys and averaged over all steps
of all pieces, as Bai, Kolter & Koltun (2018) report it: RNN 8.91, GRU 8.43, LSTM 8.45.

The file has, for each of train, valid and test, the steps of all pieces end to end, 88 bits each as
`numpy.packbits` packs them, and in train_lengths and so on how many steps each piece has.

Boulanger-Lewandowski, N., Bengio, Y. & Vincent, P. (2012). Modeling temporal dependencies in
high-dimensional sequences. ICML. Bai, S., Kolter, J. Z. & Koltun, V. (2018). An empirical
evaluation of generic convolutional and recurrent networks for sequence modeling. arXiv:1803.01271.
"""

import argparse

import numpy as np

import crnn
from crnn import plots

CELLS = {"RNN": crnn.RNN, "GRU": crnn.GRU, "LSTM": crnn.LSTM}
KEYS = 88


def pieces(file, part):
    """Return the pieces of "train", "valid" or "test", each (steps, 88)."""
    rows = np.unpackbits(file[part], axis=1)[:, :KEYS].astype(np.float32)
    return np.split(rows, np.cumsum(file[f"{part}_lengths"])[:-1])


def next_steps(pieces, size):
    """Return batches of pieces of about the same length, each step's target being the next one."""
    return crnn.batches([piece[:-1] for piece in pieces], [piece[1:] for piece in pieces],
                        batch_size=size)


def train(cell, parts, options):
    """Return the history of a training and the test loss of its best epoch, in nats for a step."""
    training, validation, test = parts
    net = CELLS[cell](KEYS, options.hidden, KEYS, num_layers=options.layers,
                      dropout=options.dropout, seed=options.seed)

    def show(event):
        if event.kind == "epoch" and event.epoch % 10 == 0 and not options.quiet:
            print(f"{cell}: epoch {event.epoch}/{event.epochs},"
                  f" validation {KEYS * event.validation_loss:.3f} nats a step", flush=True)

    history = crnn.fit(
        net, training, crnn.Adam(options.lr), epochs=options.epochs, loss="sigmoid", clip_norm=1.0,
        schedule=crnn.cosine(final=0.01), validation=validation, patience=options.patience,
        callbacks=[show], seed=options.seed,
    )
    for row in history:  # the loss is the mean over keys, too
        row["loss"], row["validation_loss"] = KEYS * row["loss"], KEYS * row["validation_loss"]
    return history, KEYS * crnn.evaluate(net, test, loss="sigmoid")


def main(arguments=None):
    """Train the three cells; return the test loss of each, in nats for a step."""
    parser = argparse.ArgumentParser(
        description="Train RNN, GRU and LSTM on Bach's chorales.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("data", help="jsb_chorales.npz")
    add("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="which to train")
    add("--hidden", type=int, default=192, metavar="H", help="hidden units of a layer")
    add("--layers", type=int, default=1, metavar="L", help="layers")
    add("--dropout", type=float, default=0.0, metavar="P", help="between layers")
    add("--batch-size", type=int, default=4, metavar="B", help="pieces in a batch")
    add("--epochs", type=int, default=60, help="times through the training pieces, at most")
    add("--patience", type=int, default=15, help="epochs without a better validation loss")
    add("--lr", type=float, default=0.003, help="learning rate at the start")
    add("--seed", type=int, default=0, help="of the initial parameters and the order of batches")
    add("--plot", metavar="FILE", help="draw the loss curves (PNG, SVG or PDF)")
    add("--quiet", action="store_true", help="print the results only")
    options = parser.parse_args(arguments)
    with np.load(options.data) as file:
        parts = [next_steps(pieces(file, part), options.batch_size)
                 for part in ("train", "valid", "test")]
    histories, losses = {}, {}
    for cell in options.cells:
        histories[cell], losses[cell] = train(cell, parts, options)
    for cell, loss in losses.items():
        print(f"{cell}: {loss:.3f} nats a step on the test pieces")
    if options.plot:
        plots.loss_comparison(
            histories, options.plot, "JSB chorales, validation", "nats per step")
    return losses


if __name__ == "__main__":
    main()
