"""A training on some ranks of MPI: python mpi_ranks.py FOLDER EVENT [CALLBACK]

EVENT is what happens after the second epoch on the last rank: nothing, "raise" or "kill". Rank 0
writes the parameters to FOLDER/SIZE.npy, and all have their checkpoint in FOLDER.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

import crnn

EPOCHS, UPDATES = 12, 108


def data():
    """Two batches of different lengths, some steps without a target on some ranks."""
    rng = np.random.default_rng(1)
    x, targets = rng.standard_normal((21, 6, 3)), rng.integers(0, 4, (21, 6))
    targets[:4, 1::2] = targets[8:12] = -1
    return [(x, targets), (rng.standard_normal((13, 5, 3)), rng.integers(0, 4, (13, 5)))]


def train(all_reduce, batches, **options):
    """Return a trained network and its history."""
    net = crnn.GRU(3, 5, 4, seed=3, dtype="float64")
    history = crnn.fit(
        net, batches, crnn.Adam(0.02), epochs=EPOCHS, truncation=4, clip_norm=0.3, seed=5,
        validation=batches, metrics=["accuracy"], all_reduce=all_reduce, **options)
    return net, history


def main():
    """Train on this rank."""
    from crnn import mpi  # the tests import this file without an MPI, too

    folder, event = Path(sys.argv[1]), sys.argv[2]

    def act(told):
        if mpi.rank == mpi.size - 1 and (told.kind, told.epoch) == ("epoch", 2):
            if event == "raise":
                raise RuntimeError("nobody catches this")
            if event == "kill":
                os.kill(os.getpid(), signal.SIGKILL)

    path = folder / "checkpoint"
    net, history = train(
        mpi.all_reduce, [mpi.share(each, axis=1) for each in data()], callbacks=[act],
        checkpoint=path, resume=path.exists())
    assert history["update"][-1] == UPDATES
    if mpi.rank == 0:
        np.save(folder / f"{mpi.size}.npy", net.vector)


if __name__ == "__main__":
    main()
