"""What fuzzers of loaders share: try inputs in a bounded memory, and keep the one that fails."""

import argparse
import os
import random
import sys
import tempfile
import time
import warnings

from crnn.files.disk import FormatError
from crnn.files.printable import printable
from crnn.network.foreign import network_of

LIMIT = 2**30  # bytes of address space above what the process has when it begins
PLACES = [0, 1, 1, 4, 50]  # how many bytes are changed at once


def change_bytes(data, rng, pieces=(b"",)):
    """Return bytes with something changed: cut off, overwritten, replaced by a piece, doubled."""
    at, length = rng.randrange(len(data) + 1), rng.choice(PLACES)
    action = rng.randrange(4)
    if action == 0:
        return data[:at]
    if action == 1:
        return data[:at] + bytes(rng.randrange(256) for _ in range(length)) + data[at + length :]
    if action == 2:
        return data[:at] + rng.choice(pieces) + data[at + length :]
    return data[:at] + data[max(0, at - 50) : at] + data[at:]


def try_file(read, path, make_network):
    """Read a file; return whether it is a network, or raise what should not be raised.

    A ValueError that is no FormatError asks for an argument.
    """
    begin, description = time.process_time(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            description = read(path)
    except ValueError as error:
        if not (isinstance(error, FormatError) or "layers=" in str(error)
                or "activations=" in str(error) or "nonlinearity=" in str(error)):
            raise
        if printable(str(error)) != str(error):
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


def fuzz(name, read, make, inputs, seed):
    """Try so many inputs; return how many of them were networks.

    Parameters
    ----------
    name : str
        Of the loader, for the name of the file that an input that fails is kept in.
    read : callable
        The loader, given a path.
    make : callable
        Given a random generator, returns the bytes of a file.
    inputs, seed : int
    """
    rng, networks = random.Random(seed), 0
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=folder) as folder:
        path = os.path.join(folder, "input")
        for number in range(inputs):
            data = make(rng)
            with open(path, "wb") as file:
                file.write(data)
            try:
                networks += try_file(read, path, rng.random() < 0.1)
            except BaseException:
                with open(f"fuzz-{name}", "wb") as file:
                    file.write(data)
                print(f"input {number} of seed {seed} is in fuzz-{name}", file=sys.stderr)
                raise
    return networks


def main(loaders):
    """Run the loader that the command line names, of a dict of names to (read, make)."""
    parser = argparse.ArgumentParser(description="Try changed files on a loader.")
    parser.add_argument("loader", choices=loaders)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bound_memory()
    begin = time.monotonic()
    read, make = loaders[options.loader]
    networks = fuzz(options.loader, read, make, options.inputs, options.seed)
    print(f"{options.loader}: {options.inputs} inputs in {time.monotonic() - begin:.0f} s, of which"
          f" {networks} are networks; all others were refused")
