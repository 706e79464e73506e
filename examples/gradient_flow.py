"""Vanishing and exploding gradients, made visible (Pascanu, Mikolov & Bengio 2013).

    python examples/gradient_flow.py gradient_flow.png

Networks as they are before training read random numbers for T steps; the loss is that of a class
after the last one. `crnn.gradient_flow` says how large the gradient is that reaches the state of
each step before it. In the tanh network it falls by a constant factor with every step back, so what
was read long ago cannot be learnt. Gates make it fall more slowly; how slowly is the forget gate's
choice: with a bias of 3 an LSTM's gradient hardly falls at all, through its cell state c. Recurrent
weights that are too large, here 1.2 times the identity under ReLU, make it grow instead.

Pascanu, R., Mikolov, T. & Bengio, Y. (2013). On the difficulty of training recurrent neural
networks. ICML.
"""

import argparse

import numpy as np

import crnn
from crnn import plots

INPUTS, CLASSES = 3, 2


def networks(hidden, seed):
    """Return untrained networks by name."""
    sizes = INPUTS, hidden, CLASSES
    exploding = crnn.RNN(*sizes, nonlinearity="relu", init="identity", seed=seed)
    exploding.parameters["W_hh_l0"] = 1.2 * np.eye(hidden)
    return {
        "RNN": crnn.RNN(*sizes, seed=seed),
        "GRU": crnn.GRU(*sizes, seed=seed),
        "LSTM": crnn.LSTM(*sizes, seed=seed),
        "LSTM, bias 3": crnn.LSTM(*sizes, forget_bias=3.0, seed=seed),
        "ReLU, W = 1.2 I": exploding,
    }


def main(arguments=None):
    """Draw the picture; return the factor that the gradient changes by with a step, by name."""
    parser = argparse.ArgumentParser(
        description="Draw how gradients vanish and explode over time.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("plot", nargs="?", metavar="FILE", help="the picture (PNG, SVG or PDF); without one, none")
    add("--steps", type=int, default=100, metavar="T", help="length of the sequences")
    add("--hidden", type=int, default=32, metavar="H", help="hidden units")
    add("--batch-size", type=int, default=8, metavar="B", help="sequences")
    add("--seed", type=int, default=0, help="of the input and the initial parameters")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((options.steps, options.batch_size, INPUTS))
    targets = rng.integers(0, CLASSES, options.batch_size)
    flows = {
        name: crnn.gradient_flow(net, x, targets)
        for name, net in networks(options.hidden, options.seed).items()
    }
    factors = {}
    for name, flow in flows.items():
        norms = (flow[1] if isinstance(flow, tuple) else flow)[0]  # an LSTM's memory is c
        first, last = norms[0], norms[-2]
        factors[name] = float((first / last) ** (1 / (options.steps - 2)))
        print(f"{name}: {last:.1e} one step back, {first:.1e} {options.steps - 1} steps back,"
              f" times {factors[name]:.3f} a step")
    if options.plot:
        plots.gradient_flow(flows, options.plot, f"untrained networks, {options.hidden} units")
    return factors


if __name__ == "__main__":
    main()
