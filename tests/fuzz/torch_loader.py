"""A fuzzer of `crnn.from_torch`: whatever a file holds, it is read or refused.

    python tests/fuzz/torch_loader.py zip --inputs 1000000
    python tests/fuzz/torch_loader.py old --inputs 1000000 --seed 1
    python tests/fuzz/torch_loader.py safetensors

Inputs are good files in which the instructions of the pickle, entries of the header, numbers, names
or bytes are changed at random; archives then have right checksums, so that what is behind these is
tried. One that raises anything but what a user would be told, or takes longer than a second, is
kept as ``fuzz-LOADER``, and ends the run. The memory of the process is bounded. Of the files that
are read, one in ten is made a network, too.
"""

import copy
import json
import math
import pickletools
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import torch_archives as forge
from fuzzing import change_bytes, main

from crnn.exchange import torch

SIZES = {"rec.weight_ih_l0": (8, 2), "rec.weight_hh_l0": (8, 2), "rec.bias_ih_l0": (8,),
         "rec.bias_hh_l0": (8,), "fc.weight": (1, 2), "fc.bias": (1,)}
NUMBERS = [0, 1, 2, 3, 8, 16, -1, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**63, -2**63, 10**30]
NAMES = [*SIZES, "rec.weight_hr_l0", "rec.weight_ih_l1", "rec.weight_ih_l9999", "state_dict",
         "rec.weight_ih", "rec.weight_ih_l0_reverse", "h0", "", ".", "fc.running_mean", "\ud800",
         "\x1b[2J", "conv.weight", "emb.weight"]
KINDS = ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool",
         "QInt8", "ComplexFloat", "Untyped", "x"]
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I8", "BOOL", "F8_E4M3", "", 3, None]
VALUES = [None, True, "", [], {}, "F32", 1.5, [0, 4], [[1]], *NUMBERS]
CODES = [bytes([ord(each.code)]) if len(each.code) == 1 else each.code.encode("latin-1")
         for each in pickletools.opcodes]
PIECES = [*CODES, forge.named("os.system"), forge.call("collections.OrderedDict"), b"}(", b"(t",
          *map(forge.number, NUMBERS), forge.text("a"), b"\x8e" + b"\xff" * 8, b"2\x86" * 30]


def number_or(value, rng, share=0.03):
    return rng.choice(NUMBERS) if rng.random() < share else value


def tensor(name, shape, key, rng):
    """A tensor's instructions, with numbers that may be wrong."""
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    if rng.random() < 0.05:
        shape, strides = list(shape), strides[::-1]
        rng.choice([shape, strides]).append(rng.choice(NUMBERS))
    kind = rng.choice(KINDS) if rng.random() < 0.03 else "Float"
    return name, forge.tensor(
        key if rng.random() > 0.02 else "0", tuple(number_or(each, rng) for each in shape),
        kind=kind, count=number_or(math.prod(SIZES[name]), rng), offset=number_or(0, rng),
        strides=tuple(number_or(each, rng) for each in strides))


def value(rng):
    """The instructions for a state dict, and its storages by key."""
    pairs, data = [], {}
    for key, (name, shape) in enumerate(SIZES.items()):
        if rng.random() < 0.03:
            continue
        _, made = tensor(name, shape, str(key), rng)
        name = rng.choice(NAMES) if rng.random() < 0.05 else name
        pairs.append((name.encode("utf-8", "surrogatepass").decode("utf-8", "replace"), made))
        size = 4 * math.prod(shape)
        data[str(key)] = bytes(size if rng.random() > 0.02 else rng.randrange(99))
    made = forge.entries(pairs)
    if rng.random() < 0.2:
        made = forge.entries([(rng.choice(["model", "state_dict"]), made), ("epoch", b"N")])
    for _ in range(rng.choice([0, 0, 1, 2])):
        made = change_bytes(made, rng, PIECES)
    return made, data


def archive(rng):
    made, data = value(rng)
    more = [("archive/byteorder", rng.choice([b"big", b"little", b""]))] * (rng.random() < 0.1)
    content = forge.archive(made, data, more=more)
    return change_bytes(content, rng) if rng.random() < 0.3 else content


def old(rng):
    """A file from before PyTorch 1.6."""
    made, data = value(rng)
    magic = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
    keys = list(data)
    if rng.random() < 0.05:
        rng.shuffle(keys)
        keys = keys[:-1] if rng.random() < 0.5 else [*keys, rng.choice(["0", "x"])]
    pickles = [magic, b"M\xe9\x03", b"}", made, b"](" + b"".join(map(forge.text, keys)) + b"e"]
    content = b"".join(map(forge.pickled, pickles))
    for key in keys:
        storage = data.get(key, b"")
        count = number_or(len(storage) // 4, rng) % 2**64
        content += struct.pack("<Q", count) + storage
    return change_bytes(content, rng) if rng.random() < 0.3 else content


def safetensors(rng):
    header, end = {}, 0
    for name, shape in SIZES.items():
        begin, end = end, end + 4 * math.prod(shape)
        entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        if rng.random() < 0.05:
            entry[rng.choice([*entry, "x"])] = copy.deepcopy(rng.choice([*VALUES, *DTYPES]))
        if rng.random() < 0.05 and isinstance(entry["shape"], list):
            entry["shape"].insert(0, copy.deepcopy(rng.choice(VALUES)))
        header[rng.choice(NAMES) if rng.random() < 0.05 else name] = entry
    text = json.dumps(header).encode()
    if rng.random() < 0.3:
        text = change_bytes(text, rng, [b"{", b"[" * 3000, b"NaN", b'"', b"\xff", b"1e999"])
    content = number_or(len(text), rng) % 2**64
    content = struct.pack("<Q", content) + text + bytes(end)
    return change_bytes(content, rng) if rng.random() < 0.3 else content


LOADERS = {"zip": (torch.read, archive), "old": (torch.read, old),
           "safetensors": (torch.read, safetensors)}

if __name__ == "__main__":
    main(LOADERS)
