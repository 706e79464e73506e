"""Networks of layers of all kinds in a row, and what goes into them."""

import numpy as np
import pytest

import crnn
from crnn.layers import GRU, LSTM, RNN, Activation, Dense, Dropout, Embedding

T, B, I = 6, 4, 3  # noqa: E741
LENGTHS = np.array([3, 6, 0, 5])
NETWORKS = {  # layers, options, whether x is tokens
    "softmax": ([LSTM(5), Dense(2, "softmax")], {}, False),
    "tokens": ([GRU(5), Dense(4, "relu"), Dense(2, "sigmoid")], {}, True),
    "below": ([Dense(4, "tanh"), RNN(5)], {}, False),
    "tokens below": ([Dense(4, "sigmoid"), RNN(5, nonlinearity="relu"), Dense(2)], {}, True),
    "table": ([Embedding(4), LSTM(5), LSTM(7), Dense(3)], {}, True),
    "table without a readout": ([Embedding(4), GRU(5)], {}, True),
    "table, both ways": ([Embedding(4), GRU(5, bidirectional=True), Dense(2)], {}, True),
    "activation": ([LSTM(5), Activation("relu"), Dense(1, "sigmoid")], {}, False),
    "activations": (
        [GRU(5), Activation("softmax"), LSTM(4), Activation("hard_sigmoid")], {}, False),
    "between": (
        [LSTM(5), Dense(4, "hard_sigmoid_0.2"), LSTM(6), Dense(3, "hard_sigmoid")], {}, False),
    "equal cells around": ([LSTM(5), Dense(4, "relu"), LSTM(5), Dense(3)], {}, False),
    "mixed cells": ([RNN(5), LSTM(5), GRU(5, reset_after=False), LSTM(5), Dense(3)], {}, False),
    "mixed directions": (
        [GRU(5, bidirectional=True), Dense(6, "relu"), LSTM(4), Dense(4, "tanh"),
         Dense(3, "softmax")], {}, False),
    "both ways": (
        [LSTM(5, bidirectional=True), LSTM(3, bidirectional=True), Dense(7, "softmax"),
         Dense(4, "tanh"), Dense(2, "softmax")], {}, False),
    "one way, then both": ([RNN(5), GRU(4, bidirectional=True), Dense(2, "sigmoid")], {}, False),
    "skip": ([LSTM(5), Dense(4, "relu"), Dense(I)], {"skip": True}, False),
    "skip, both ways": ([GRU(5, bidirectional=True), Dense(I)], {"skip": True}, False),
    "skip, no readout": ([RNN(5), LSTM(I)], {"skip": True}, False),
    "learned states": (
        [Dense(4), LSTM(5), GRU(4, bidirectional=True), Dense(2)], {"learn_state": True}, False),
}
DROPPING = {
    "below the readout": ([LSTM(5), Dropout(0.4), Dense(3, "softmax")], {}, False),
    "everywhere": (
        [Dense(4), Dropout(0.2), GRU(5, bidirectional=True), Dropout(0.3), Dense(6, "relu"),
         Dropout(0.4), Dense(3, "softmax")], {}, False),
    "of a table": ([Embedding(4), Dropout(0.5), LSTM(5), Dense(3)], {}, True),
}

each_network = pytest.mark.parametrize("name", NETWORKS)
full_or_ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
every_step_or_last = pytest.mark.parametrize("last", [False, True], ids=["every step", "last"])


def build(name, *, dtype="float64", seed=3, **options):
    """Return one of the networks, with parameters of a fair size."""
    layers, own, _ = (NETWORKS | DROPPING)[name]
    net = crnn.Sequential(I, layers, dtype=dtype, seed=seed, **own, **options)
    net.vector = np.random.default_rng(seed).uniform(-0.7, 0.7, net.num_parameters)
    return net


def input_of(name, rng, steps=T, batch=B):
    """Return an x for one of the networks."""
    if (NETWORKS | DROPPING)[name][2]:
        return rng.integers(0, I, (steps, batch))
    return rng.standard_normal((steps, batch, I))


def losses_of(net):
    """Return the losses that go with a network's last layer."""
    activation = getattr(net.layers[-1], "activation", "linear")
    is_dense = isinstance(net.layers[-1], Dense)
    both = [each for each in ("softmax", "sigmoid")
            if not is_dense or activation in ("linear", each)]
    return [*both, "mse"]


def targets_of(net, loss, rng, steps=T, batch=B, last=False):
    """Return targets for every step, or for the last one of each sequence."""
    shape = (batch,) if last else (steps, batch)
    outputs = net.engine.output_size
    return rng.integers(0, outputs, shape) if loss == "softmax" else rng.random((*shape, outputs))


def state_of(net, rng, batch=(B,)):
    """Return a random state in the public form."""
    _, like = net(np.zeros((0, *batch), int) if net.engine.layers[0].kind.is_table else
                  np.zeros((0, *batch, I)), last=False)
    return filled(like, rng)


def filled(value, rng):
    """Return random numbers in the form of a state."""
    if isinstance(value, np.ndarray):
        return rng.standard_normal(value.shape)
    return type(value)(filled(each, rng) for each in value)


def flat(value):
    """Return all arrays of a state."""
    if isinstance(value, np.ndarray):
        return [value]
    return [array for each in value for array in flat(each)]
