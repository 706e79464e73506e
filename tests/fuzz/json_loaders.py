"""A fuzzer of the loaders of JSON: whatever a file holds, it is read or refused with FormatError.

    python tests/fuzz/json_loaders.py nam --inputs 1000000
    python tests/fuzz/json_loaders.py rtneural --inputs 1000000 --seed 1

Inputs are good files whose values, keys and bytes are changed at random. One that raises anything
else, or takes more than a second, is kept as ``fuzz-LOADER``, and ends the run. The memory
of the process is bounded, so that an allocation beyond the file's size shows. Of the files that are
read, one in ten is made a network, too.
"""

import copy
import json

from fuzzing import change_bytes, main

from crnn.exchange import nam, rtneural

VALUES = [None, True, False, 0, 1, 2, 3, -1, 0.5, 1e38, 1e39, -0.0, 2**31, 2**63, 10**30, "",
          "LSTM", "gru", "tanh", "\x1b[2J", "\ud800", [], [[]], {}, [0], [[0.0, 1.0]], {"a": 1}]
KEYS = ["config", "weights", "layers", "shape", "type", "in_shape", "in_skip", "hidden_size",
        "num_layers", "metadata", "sample_rate", "model_data", "state_dict", "skip", "activation"]
PIECES = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"NaN", b"Infinity", b"1e999", b"\\u0000",
          b"\xff", b"\xef\xbb\xbf", b"null", b"-", b"0" * 5000, b"[" * 3000, b'{"a":' * 1200]

OF_NAM = {
    "version": "0.5.4", "architecture": "LSTM", "sample_rate": 48000, "metadata": {"name": "a"},
    "config": {"input_size": 1, "hidden_size": 1, "num_layers": 1}, "weights": [0.5] * 16,
}
OF_RTNEURAL = {
    "in_shape": [None, None, 1], "in_skip": 1, "layers": [
        {"type": "dense", "shape": [None, 2], "activation": "relu", "weights": [[[1, 2]], [0, 0]]},
        {"type": "lstm", "shape": [1], "activation": "", "weights": [[[1] * 4] * 2, [[1] * 4],
                                                                     [0] * 4]},
        {"type": "gru", "shape": [1], "activation": "tanh", "weights": [[[1] * 3], [[1] * 3],
                                                                        [[0] * 3] * 2]},
        {"type": "activation", "shape": [1], "activation": "sigmoid", "weights": []},
    ],
}
OF_AMPLIFIER = {
    "model_data": {"model": "SimpleRNN", "unit_type": "GRU", "input_size": 1, "hidden_size": 1,
                   "num_layers": 1, "output_size": 1, "skip": 1, "bias_fl": True},
    "state_dict": {
        "rec.weight_ih_l0": [[1]] * 3, "rec.weight_hh_l0": [[1]] * 3, "rec.bias_ih_l0": [0] * 3,
        "rec.bias_hh_l0": [0] * 3, "lin.weight": [[1]], "lin.bias": [0]},
}


def places(value, holder=None, key=None):
    """Yield all (holder, key) of what a value of JSON holds."""
    if holder is not None:
        yield holder, key
    if isinstance(value, dict):
        for name in list(value):
            yield from places(value[name], value, name)
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], value, index)


def change_value(content, rng):
    """Change something in a value of JSON."""
    found = list(places(content))
    if not found:
        return
    holder, key = rng.choice(found)
    action = rng.randrange(5)
    if action == 0:
        del holder[key]
    elif action == 1:
        other, name = rng.choice(found)
        if name in other if isinstance(other, dict) else name < len(other):
            holder[key] = copy.deepcopy(other[name])
    elif action == 2 and isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(rng.choice(VALUES))] * rng.choice([1, 1, 1, 100])
    elif action == 3 and isinstance(holder, dict):
        holder[rng.choice(KEYS)] = holder.pop(key)
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))


def changed(seed, rng):
    """Return the bytes of a file, from those of a good one."""
    if rng.random() < 0.5:
        content = json.loads(seed)
        for _ in range(rng.choice([1, 1, 2, 3])):
            change_value(content, rng)
        seed = json.dumps(content).encode()
    for _ in range(rng.choice([0, 1, 2])):
        seed = change_bytes(seed, rng, PIECES)
    return seed


def making(*contents):
    """Return a function that makes the bytes of a file, given a random generator."""
    seeds = [json.dumps(each).encode() for each in contents]
    return lambda rng: changed(rng.choice(seeds), rng)


LOADERS = {"nam": (nam.read, making(OF_NAM)),
           "rtneural": (rtneural.read, making(OF_RTNEURAL, OF_AMPLIFIER))}

if __name__ == "__main__":
    main(LOADERS)
