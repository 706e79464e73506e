"""A character model as char-rnn trains it by default (Karpathy 2015), its way of validation too.

    python examples/char_rnn.py path/to/tinyshakespeare.txt

Two layers of 128 units, 50 streams over the text, 50 steps to an update, RMSprop with a learning
rate of 0.002 that falls by 3 % with each epoch after the tenth, gradients cut off at 5. The text is
cut into 50 streams first, and the last 5 % of each are for validation: parts from all over the
text. `crnn train` keeps the last tenth of the text, which in tinyshakespeare has a play of its own;
what is learnt from the others helps less there, and the losses are higher.

Karpathy, A. (2015). The unreasonable effectiveness of recurrent neural networks.
https://github.com/karpathy/char-rnn
"""

import argparse

import crnn
from crnn import text

CELLS = {"rnn": crnn.RNN, "gru": crnn.GRU, "lstm": crnn.LSTM}
FALL, STEADY_EPOCHS = 0.97, 10


def split(x, targets, steps, share):
    """Return training and validation data: the streams' last chunks are for validation."""
    border = int(len(x) // steps * (1 - share)) * steps
    end = len(x) // steps * steps
    return (x[:border], targets[:border]), (x[border:end], targets[border:end])


def main(arguments=None):
    """Train; return the lowest validation loss, in nats per character."""
    parser = argparse.ArgumentParser(
        description="Train a character model with char-rnn's defaults.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("text", help="UTF-8 text file")
    add("--cell", choices=CELLS, default="lstm", help="what the network is made of")
    add("--hidden", type=int, default=128, metavar="H", help="hidden units of a layer")
    add("--layers", type=int, default=2, metavar="L", help="layers")
    add("--dropout", type=float, default=0.0, metavar="P", help="between layers")
    add("--epochs", type=int, default=12, help="times through the text; char-rnn has 50")
    add("--steps", type=int, default=50, metavar="T", help="characters of an update")
    add("--batch-size", type=int, default=50, metavar="B", help="parallel streams")
    add("--lr", type=float, default=0.002, help="learning rate at the start")
    add("--validation", type=float, default=0.05, help="share of each stream for validation")
    add("--seed", type=int, default=0, help="of the initial parameters")
    options = parser.parse_args(arguments)
    with open(options.text, encoding="utf-8") as file:
        content = file.read()
    vocabulary = text.Vocabulary.of(content)
    symbols = len(vocabulary)
    training, validation = split(
        *text.streams(vocabulary.encode(content), options.batch_size), options.steps,
        options.validation,
    )
    net = CELLS[options.cell](symbols, options.hidden, symbols, num_layers=options.layers,
                              dropout=options.dropout, seed=options.seed)

    def falling(progress):
        return FALL ** max(0, int(progress * options.epochs) + 1 - STEADY_EPOCHS)

    def show(event):
        if event.kind == "epoch":
            print(f"epoch {event.epoch}/{event.epochs}: training {event.loss:.3f}, validation"
                  f" {event.validation_loss:.3f} nats per character", flush=True)

    history = crnn.fit(
        net, training, crnn.RMSprop(options.lr, alpha=0.95), epochs=options.epochs, clip_value=5.0,
        truncation=options.steps, validation=validation, schedule=falling, callbacks=[show],
        seed=options.seed,
    )
    return min(history["validation_loss"])


if __name__ == "__main__":
    main()
