"""A fuzzer of what reads Keras's files: whatever a file holds, it is read or refused.

    python tests/fuzz/keras_loader.py h5 --inputs 1000000
    python tests/fuzz/keras_loader.py keras --inputs 1000000 --seed 1

Inputs are good files whose bytes, or in a ``.keras`` whose configuration or weights, are changed at
random; archives have the right checksums all the same. See `json_loaders` for what counts as a
failure. It takes h5py, to make the good files.
"""

import io
import json
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from fuzzing import main
from json_loaders import change_value

from crnn.exchange import keras

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from keras_h5 import entries, layer, write

H, INPUTS = 2, 3
NUMBERS = (0, 1, 2, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)


def ones(*shapes):
    return [np.ones(shape, np.float32) for shape in shapes]


INNER = {"class_name": "GRU", "config": layer("GRU", units=H, reset_after=True)[1]}
LAYERS = [
    layer("InputLayer"),
    layer("LSTM", ones((INPUTS, 4 * H), (H, 4 * H), (4 * H,)), units=H),
    layer("Dropout", rate=0.5),
    layer("Bidirectional", 2 * ones((H, 3 * H), (H, 3 * H), (2, 3 * H)), merge_mode="concat",
          layer=INNER),
    layer("BatchNormalization", ones(*4 * [(2 * H,)]), axis=-1, scale=True, center=True,
          epsilon=0.1),
    layer("Dense", ones((2 * H, 1), (1,)), units=1),
    layer("Activation", activation="sigmoid"),
]
PLACES = {1: ["lstm/cell"], 3: ["bidirectional/forward_layer/cell",
                                "bidirectional/backward_layer/cell"],
          4: ["batch_normalization"], 5: ["dense"]}
CONFIG = {"class_name": "Sequential", "config": {"layers": entries(LAYERS)}}


def functional():
    """Return the configuration of a functional model of the same layers, as Keras 3 has it."""
    found = entries(LAYERS)
    for number, entry in enumerate(found):
        source = {"class_name": "__keras_tensor__", "config": {
            "shape": [None], "keras_history": [f"layer_{number - 1}", 0, 0]}}
        entry["inbound_nodes"] = [{"args": [source], "kwargs": {}}] if number else []
    return {"class_name": "Functional", "config": {
        "layers": found, "output_layers": [f"layer_{len(found) - 1}", 0, 0]}}


def h5():
    """Return the bytes of a .h5."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "model.h5"), LAYERS)
        return Path(folder, "model.h5").read_bytes()


def weights():
    """Return the bytes of a model.weights.h5."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for number, places in PLACES.items():
            arrays, each = LAYERS[number][2], len(LAYERS[number][2]) // len(places)
            for start, place in enumerate(places):
                for count, array in enumerate(arrays[start * each : (start + 1) * each]):
                    file[f"layers/{place}/vars/{count}"] = array
    return memory.getvalue()


def change_binary(data, rng):
    """Return bytes of which some are others, most often in numbers that lead elsewhere."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data))
        action = rng.randrange(5)
        if action == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            data[at] = rng.randrange(256)
        elif action == 2:
            at, number = at // 8 * 8, rng.choice([*NUMBERS, rng.randrange(len(data))])
            data[at : at + 8] = struct.pack("<Q", number)
        elif action == 3:
            start, length = rng.randrange(len(data)), rng.choice((1, 8, 40))
            data[at : at + length] = data[start : start + length]
        elif rng.random() < 0.2:
            del data[at + 1 :]
    return bytes(data)


def archive(rng, configs, stored):
    """Return the bytes of a .keras with something changed."""
    config = json.loads(rng.choice(configs))
    if rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 2, 3))):
            change_value(config, rng)
    else:
        stored = change_binary(stored, rng)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as file:
        file.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", stored)
    data = memory.getvalue()
    return change_binary(data, rng) if rng.random() < 0.1 else data


def loaders():
    """Return the loaders by name, each with a function that makes the bytes of a file."""
    whole, stored = h5(), weights()
    configs = [json.dumps(each) for each in (CONFIG, functional())]
    return {"h5": (keras.from_file, lambda rng: change_binary(whole, rng)),
            "keras": (keras.from_file, lambda rng: archive(rng, configs, stored))}


if __name__ == "__main__":
    main(loaders())
