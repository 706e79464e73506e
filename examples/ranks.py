"""The adding problem on several ranks of MPI, which train one network together.

    mpiexec -n 2 python examples/ranks.py

Two of 100 random numbers are marked, and at the end the network has to give their sum
(Hochreiter & Schmidhuber 1997); always predicting 1 has a mean squared error of 0.167. Each batch
is shared by the ranks, and so is what is validated on. Stop it with Ctrl-C; the same command, with
as many ranks or others, goes on from the end of the last epoch.

Needs mpi4py and an MPI (pip install 'crnn[mpi]').
"""

import argparse

import numpy as np

import crnn


def make_data(count, steps, rng):
    """Return sequences (steps, 2) of numbers and marks, and what the marked ones add up to."""
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = rng.random((count, steps))
    for k in range(count):
        x[k, rng.choice(steps, 2, replace=False), 1] = 1
    return list(x), list((x[..., 0] * x[..., 1]).sum(1, keepdims=True))


def main(arguments=None):
    """Run the command line; return the history."""
    parser = argparse.ArgumentParser(description="The adding problem, on several ranks of MPI.")
    add = parser.add_argument
    add("--steps", type=int, default=100)
    add("--sequences", type=int, default=10000)
    add("--hidden", type=int, default=32)
    add("--batch-size", type=int, default=100, help="of all ranks together")
    add("--epochs", type=int, default=20)
    add("--checkpoint", default="ranks.checkpoint", metavar="FILE")
    add("--seed", type=int, default=0, help="the same on all ranks")
    options = parser.parse_args(arguments)
    from crnn import mpi

    def show(event):
        if event.kind == "epoch" and mpi.rank == 0:
            error = event.validation_loss
            print(f"epoch {event.epoch}: mean squared error {error:.4f}", flush=True)

    rng = np.random.default_rng(options.seed)
    training, validation = (
        crnn.batches(*make_data(count, options.steps, rng), batch_size=options.batch_size)
        for count in (options.sequences, options.sequences // 10))
    net = crnn.GRU(2, options.hidden, 1, seed=options.seed)
    return crnn.fit(
        net, mpi.share(training), crnn.Adam(0.005), epochs=options.epochs, loss="mse",
        clip_norm=1.0, schedule="cosine", seed=options.seed, validation=mpi.share(validation),
        callbacks=[show], all_reduce=mpi.all_reduce, checkpoint=options.checkpoint, resume=True)


if __name__ == "__main__":
    main()
