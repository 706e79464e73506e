"""The embedded Reber grammar (Hochreiter & Schmidhuber 1997): learn rules from examples.

    python examples/reber.py                          ten trainings, each from another seed

The strings are those of a finite automaton with a choice at most steps: B, then T or P, then a
string of the inner grammar, then the same T or P again, then E. The network reads a string symbol
by symbol and says which may come next. Locally that is soon learnt; the last but one symbol needs
the second one, from before the whole inner string.

A seed solves the task if, for each step of 256 strings that were not trained on, all symbols that
may come next are held likelier than all that may not.

Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9, experiment 1.
"""

import argparse

import numpy as np

import crnn

CELLS = {"rnn": crnn.RNN, "gru": crnn.GRU, "lstm": crnn.LSTM}
SYMBOLS = "BTPSXVE"
INNER = [  # for each state of the inner automaton the symbols that lead on, and where to
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": None},
]


def inner_string(rng):
    """Return a string of the inner grammar and, for each symbol, all that might have been there."""
    string, legal, state = "", [], 0
    while state is not None:
        legal.append("".join(INNER[state]))
        symbol = rng.choice(list(INNER[state]))
        string, state = string + symbol, INNER[state][symbol]
    return string, legal


def string(rng):
    """Return a string of the embedded grammar and what might have been at each place."""
    branch = rng.choice(["T", "P"])
    inner, legal = inner_string(rng)
    return "B" + branch + inner + branch + "E", ["B", "TP", *legal, branch, "E"]


def unseen_strings(rng, count, seen):
    """Return so many strings that were not seen, no two alike, as a dict to what is legal."""
    found = {}
    while len(found) < count:
        key, legal = string(rng)
        if key not in seen:
            found[key] = legal
    return found


def batch(strings):
    """Return tokens (T, B), the next ones as targets (T, B), -1 beyond the end, and lengths."""
    lengths = np.array([len(each) - 1 for each in strings])
    x = np.zeros((lengths.max(), len(strings)), np.intp)
    targets = np.full(x.shape, -1)
    for b, (each, length) in enumerate(zip(strings, lengths, strict=True)):
        tokens = [SYMBOLS.index(symbol) for symbol in each]
        x[:length, b], targets[:length, b] = tokens[:-1], tokens[1:]
    return x, targets, lengths


def wrong_predictions(net, strings):
    """Return how many predictions are wrong, of all and of the last but one symbol."""
    x, _, lengths = batch(list(strings))
    y, _ = net(x, lengths=lengths)
    wrong = late = 0
    for b, legal in enumerate(strings.values()):
        for t, allowed in enumerate(legal[1:]):
            may = np.isin(list(SYMBOLS), list(allowed))
            if y[t, b, may].min() <= y[t, b, ~may].max():
                wrong, late = wrong + 1, late + int(t == lengths[b] - 2)
    return wrong, late


def train(seed, options):
    """Train one network; return the wrong predictions on strings it has not seen."""
    rng = np.random.default_rng(seed)
    strings = [string(rng)[0] for _ in range(options.strings)]
    starts = range(0, options.strings, options.batch_size)
    data = [batch(strings[start : start + options.batch_size]) for start in starts]
    net = CELLS[options.cell](len(SYMBOLS), options.hidden, len(SYMBOLS), seed=seed)
    crnn.fit(net, data, crnn.Adam(options.lr), epochs=options.epochs, clip_norm=1.0,
             schedule=crnn.cosine(final=0.01), seed=seed)
    return wrong_predictions(net, unseen_strings(rng, options.test_strings, set(strings)))


def main(arguments=None):
    """Train once for each seed; return how many seeds solve the task."""
    parser = argparse.ArgumentParser(
        description="Train on the embedded Reber grammar, from several seeds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--cell", choices=CELLS, default="lstm", help="what the network is made of")
    add("--seeds", type=int, default=10, metavar="N", help="how many trainings")
    add("--hidden", type=int, default=24, metavar="H", help="hidden units")
    add("--strings", type=int, default=6000, help="to train on")
    add("--test-strings", type=int, default=256, help="to test on, none of those, no two alike")
    add("--batch-size", type=int, default=10, metavar="B", help="strings in a batch")
    add("--epochs", type=int, default=10, help="times through the strings")
    add("--lr", type=float, default=0.01, help="learning rate at the start")
    options = parser.parse_args(arguments)
    solved = 0
    for seed in range(options.seeds):
        wrong, late = train(seed, options)
        solved += wrong == 0
        print(f"seed {seed}: {wrong} predictions wrong, {late} of them of the last but one symbol",
              flush=True)
    print(f"{options.cell}: {solved} of {options.seeds} seeds solve the task")
    return solved


if __name__ == "__main__":
    main()
