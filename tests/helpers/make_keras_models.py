"""Run as a program: makes models with Keras, saves them, and what they answer.

It is a process of its own, so that the tests do not wait for Keras where they need none, and what
Keras does to a process (its warnings, the threads of PyTorch) stays there.
"""

import os
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

import crnn

T, B, TOKENS = 5, 4, 9
MASK = 0.5  # the value of masked steps
INPUT = 4  # features of a step


def cases(L):
    """Return by name the layers of models, L being keras.layers, from the input up."""
    def hard(cell, **options):
        return cell(6, recurrent_activation="hard_sigmoid", return_sequences=True, **options)

    return {
        "rnn": [L.SimpleRNN(6)],
        "cells": [L.RNN(L.LSTMCell(6), return_sequences=True), L.RNN(L.GRUCell(4)), L.Dense(2)],
        "rnn_relu": [L.SimpleRNN(6, activation="relu", return_sequences=True), L.Dense(2)],
        "gru": [L.GRU(6, return_sequences=True)],
        "gru_relu_hard": [hard(L.GRU, activation="relu"), L.Dense(1, "sigmoid")],
        "gru_before": [L.GRU(6, reset_after=False), L.Dense(3)],
        "lstm": [L.LSTM(6, return_sequences=True), L.Dense(3, "hard_sigmoid")],
        "lstm_hard_relu": [hard(L.LSTM, activation="relu")],
        "shrinking": [L.LSTM(7, return_sequences=True, name="below"), L.Dropout(0.2),
                      L.LSTM(5, return_sequences=True, name="above"), L.GRU(3), L.Dropout(0.5),
                      L.Dense(8, "relu"), L.Dense(2, "softmax")],
        "directions": [L.Bidirectional(L.GRU(6, return_sequences=True)),
                       L.Bidirectional(L.LSTM(3)), L.Dense(2)],
        "directions_all": [L.Bidirectional(L.SimpleRNN(6, return_sequences=True)),
                           L.TimeDistributed(L.Dense(2, "tanh"))],
        "no_bias": [L.LSTM(6, use_bias=False, return_sequences=True),
                    L.GRU(5, use_bias=False, return_sequences=True),
                    L.Bidirectional(L.GRU(3, use_bias=False, reset_after=False)),
                    L.Dense(2, use_bias=False)],
        "dense_first": [L.Dense(6, "relu"), L.GRU(5, return_sequences=True), L.ReLU(),
                        L.Dense(4, "tanh"), L.SimpleRNN(3), L.Dense(2), L.Activation("softmax")],
        "layer_of_softmax": [L.LSTM(6), L.Dense(4), L.Softmax(), L.Flatten()],
        "normalized": [L.BatchNormalization(), L.Bidirectional(L.LSTM(5, return_sequences=True)),
                       L.BatchNormalization(scale=False), L.GRU(6), L.Dropout(0.1),
                       L.BatchNormalization(center=False), L.Dense(4, use_bias=False),
                       L.BatchNormalization(), L.Activation("relu"), L.Dense(3),
                       L.BatchNormalization()],
        "noises": [L.GaussianNoise(0.1), L.LSTM(6, dropout=0.1, return_sequences=True),
                   L.SpatialDropout1D(0.1), L.GRU(4, recurrent_dropout=0.1), L.Dense(2)],
        "masked": [L.Masking(MASK), L.LSTM(6, return_sequences=True),
                   L.Bidirectional(L.GRU(4)), L.Dense(2)],
        "masked_all": [L.Masking(MASK), L.Bidirectional(L.LSTM(5, return_sequences=True)),
                       L.GRU(4, return_sequences=True), L.Dense(2, "tanh")],
        "masked_normalized": [L.Masking(MASK), L.BatchNormalization(), L.GRU(4), L.Dense(2)],
        "masked_tokens": [L.Embedding(TOKENS, 4, mask_zero=True),
                          L.SimpleRNN(6, return_sequences=True), L.Dense(2)],
        "tokens": [L.Embedding(TOKENS, 4), L.GRU(6), L.Dense(2)],
    }


NAMES = list(cases(MagicMock()))
FUNCTIONAL = ("shrinking", "directions_all", "normalized", "masked_all", "masked_tokens")


def drawn(rng, model):
    """Give a model weights that are all different, and variances above 0."""
    values = []
    for weight in model.weights:
        value = rng.normal(scale=0.5, size=weight.shape)
        values.append(abs(value) + 0.5 if "variance" in weight.path else value)
    model.set_weights(values)


def inputs(rng, name):
    """Return what a model is asked."""
    if "tokens" in name:
        x = rng.integers(1, TOKENS, size=(B, T))
    else:
        x = rng.normal(size=(B, T, INPUT)).astype(np.float32)
    if "masked" in name:  # at the beginning, in the middle, at the end; and all steps of one
        x[0, 0] = x[1, 2] = x[2, 3:] = x[3] = 0 if "tokens" in name else MASK
    return x


def functional(keras, shape, layers):
    """Return a functional model of the layers."""
    x = keras.Input(shape)
    y = x
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


def asked(model, x):
    """Return the outputs of a model in inference."""
    return model(x, training=False).detach().numpy()


def answers(model, x):
    """Return what a model is and answers; and what it does with the arrays that crnn gives back."""
    net = crnn.from_keras(model, backend="reference")
    before = model.get_weights()
    found = {"x": x, "y": asked(model, x), "vector": net.vector}
    found |= {f"weight_{number:02}": each for number, each in enumerate(before)}
    back = net.to_keras()
    if [each.shape for each in back] == [each.shape for each in before]:
        model.set_weights(back)
        found["again"] = asked(model, x)
        model.set_weights(before)
    return found


def weights_of_two(model, path):
    """Save weights alone as Keras 2 did."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def main(folder):
    """Write NAME.keras, NAME.h5 and NAME.npz of all models, and functional ones of some."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    rng = np.random.default_rng(0)
    for name, layers in cases(keras.layers).items():
        shape = (None,) if "tokens" in name else (None, INPUT)
        models = {name: keras.Sequential([keras.Input(shape), *layers])}
        if name in FUNCTIONAL:
            models[f"{name}_functional"] = functional(
                keras, shape, cases(keras.layers)[name])
        for each, model in models.items():
            drawn(rng, model)
            np.savez(folder / f"{each}.npz", **answers(model, inputs(rng, name)))
            for ending in ("keras", "h5"):
                model.save(folder / f"{each}.{ending}")
            model.save_weights(folder / f"{each}.weights.h5")
            weights_of_two(model, folder / f"{each}.two.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
