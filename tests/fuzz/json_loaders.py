"""A fuzzer of the loaders of JSON: whatever a file holds, it is read or refused with FormatError.

    python tests/fuzz/json_loaders.py nam --inputs 1000000
    python tests/fuzz/json_loaders.py rtneural --inputs 1000000 --seed 1

Inputs are good files whose values, keys and bytes are changed at random. One that raises anything
else, or takes more than a second, is kept as ``fuzz-LOADER.json``, and ends the run. The memory
of the process is bounded, so that an allocation beyond the file's size shows. Of the files that are
read, one in ten is made a network, too.
"""

import argparse
import copy
import json
import os
import random
import sys
import tempfile
import time

from crnn.exchange import nam, rtneural
from crnn.files.disk import FormatError
from crnn.network.foreign import network_of

VALUES = [None, True, False, 0, 1, 2, 3, -1, 0.5, 1e38, 1e39, -0.0, 2**31, 2**63, 10**30, "",
          "LSTM", "gru", "tanh", "\x1b[2J", "\ud800", [], [[]], {}, [0], [[0.0, 1.0]], {"a": 1}]
KEYS = ["config", "weights", "layers", "shape", "type", "in_shape", "in_skip", "hidden_size",
        "num_layers", "metadata", "sample_rate", "model_data", "state_dict", "skip", "activation"]
PIECES = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"NaN", b"Infinity", b"1e999", b"\\u0000",
          b"\xff", b"\xef\xbb\xbf", b"null", b"-", b"0" * 5000, b"[" * 3000, b'{"a":' * 1200]
LIMIT = 2**30  # bytes of address space above what the process has when it begins

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
LOADERS = {"nam": (nam.read, [OF_NAM]), "rtneural": (rtneural.read, [OF_RTNEURAL, OF_AMPLIFIER])}


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


def change_bytes(data, rng):
    """Return bytes with something changed."""
    at, length = rng.randrange(len(data) + 1), rng.choice([0, 1, 1, 4, 50])
    action = rng.randrange(4)
    if action == 0:
        return data[:at]
    if action == 1:
        return data[:at] + bytes(rng.randrange(256) for _ in range(length)) + data[at + length :]
    if action == 2:
        return data[:at] + rng.choice(PIECES) + data[at + length :]
    return data[:at] + data[max(0, at - 50) : at] + data[at:]


def changed(seed, rng):
    """Return the bytes of a file, from those of a good one."""
    if rng.random() < 0.5:
        content = json.loads(seed)
        for _ in range(rng.choice([1, 1, 2, 3])):
            change_value(content, rng)
        seed = json.dumps(content).encode()
    for _ in range(rng.choice([0, 1, 2])):
        seed = change_bytes(seed, rng)
    return seed


def try_file(read, path, make_network):
    """Read a file; return whether it is a network, or raise what should not be raised."""
    begin, description = time.process_time(), None
    try:
        description = read(path)
    except FormatError as error:
        if not str(error).isprintable():
            raise RuntimeError("a message that cannot be shown") from error
    if time.process_time() - begin > 1:
        raise RuntimeError("it took longer than a second of the processor's time")
    if description is not None and make_network:
        network_of(description, "float32", "compiled")
    return description is not None


def bound_memory():
    """Have an allocation of a gigabyte fail, where the system can do that."""
    try:
        import resource
    except ImportError:
        return
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT, size + LIMIT))


def fuzz(loader, inputs, seed):
    """Try so many inputs; return how many of them were networks."""
    read, seeds = LOADERS[loader]
    seeds = [json.dumps(each).encode() for each in seeds]
    rng, networks = random.Random(seed), 0
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=folder) as folder:
        path = os.path.join(folder, "input")
        for number in range(inputs):
            data = changed(rng.choice(seeds), rng)
            with open(path, "wb") as file:
                file.write(data)
            try:
                networks += try_file(read, path, rng.random() < 0.1)
            except BaseException:
                with open(f"fuzz-{loader}.json", "wb") as file:
                    file.write(data)
                print(f"input {number} of seed {seed} is in fuzz-{loader}.json", file=sys.stderr)
                raise
    return networks


def main():
    parser = argparse.ArgumentParser(description="Fuzz a loader of JSON.")
    parser.add_argument("loader", choices=LOADERS)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bound_memory()
    begin = time.monotonic()
    networks = fuzz(options.loader, options.inputs, options.seed)
    print(f"{options.loader}: {options.inputs} inputs in {time.monotonic() - begin:.0f} s, of which"
          f" {networks} are networks; all others were refused with FormatError")


if __name__ == "__main__":
    main()
