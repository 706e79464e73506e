"""Ranks of MPI: processes that train one network together, here or on many machines (by mpi4py).

    mpiexec -n 4 python program.py

runs four processes of a program such as

    import crnn
    from crnn import mpi

    net = crnn.GRU(3, 64, 5, seed=0)                        # the same on all ranks
    data = mpi.share(crnn.batches(sequences, targets, batch_size=32, seed=0))
    crnn.fit(net, data, crnn.Adam(0.01), epochs=10, all_reduce=mpi.all_reduce)
    if mpi.rank == 0:
        net.save("net.safetensors")

Attributes
----------
rank, size : int
    Which rank this process is, from 0, and how many there are.

Notes
-----
To import this module starts MPI. An exception that nobody catches then ends all ranks, rather than
that others wait for the one that has failed; so does a rank that is killed. Ranks on one machine
share its processors: the number of threads of each is its part of them, unless CRNN_NUM_THREADS or
OMP_NUM_THREADS says how many.

Raises
------
ImportError
    On import, without mpi4py and an MPI; both come with the extra ``mpi``.
"""

import os
import sys
import time

from crnn.engine.threads import get_num_threads, set_num_threads
from crnn.training.bucketing import Batches

try:
    from mpi4py import MPI
except (ImportError, RuntimeError) as error:  # RuntimeError: there is no library of MPI
    raise ImportError(
        "crnn.mpi needs mpi4py and an MPI; install them with: pip install 'crnn[mpi]'"
    ) from error

_OUTPUT_TAKES = 0.3  # seconds: mpiexec drops what it has not read of a rank that aborts
_world = MPI.COMM_WORLD
rank, size = _world.Get_rank(), _world.Get_size()


def all_reduce(vector):
    """Put the sum over all ranks in the place of each one's vector: the argument of `crnn.fit`.

    Parameters
    ----------
    vector : ndarray (n,)
        Of float64; of the same length on all ranks.
    """
    _world.Allreduce(MPI.IN_PLACE, vector)


all_reduce.rank, all_reduce.size = rank, size


def share(data, axis=0):
    """Return this rank's share of data: every size-th sequence, from number ``rank``.

    Parameters
    ----------
    data : list, ndarray, tuple of these, or what `crnn.batches` returns
        Of a tuple, such as ``(x, targets)``, each is shared. Of `crnn.batches` each batch is, so
        that all ranks together train on the same batches as one process alone; every rank gives it
        all sequences.
    axis : int
        That of sequences in arrays: 1 for batches (T, B, ...).

    Returns
    -------
    As data, which has to be the same on all ranks.
    """
    if isinstance(data, Batches):
        return data.share(rank, size)
    if isinstance(data, tuple):
        return tuple(share(each, axis) for each in data)
    own = slice(rank, None, size)
    return data[own] if isinstance(data, list) else data[(slice(None),) * axis + (own,)]


def abort(code=1):
    """End all ranks, with an exit code, whatever they are doing."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(_OUTPUT_TAKES)
    _world.Abort(code)


def _end_all(*error):
    """Show an exception that nobody has caught, and end all ranks."""
    _show(*error)
    abort()


def _share_processors():
    """Have ranks that may run on the same processors use so many threads as they are together."""
    if os.environ.get("CRNN_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
        return
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    here = _world.Split_type(MPI.COMM_TYPE_SHARED).allgather(own)
    part = sum(1 / sum(each in others for others in here) for each in own) / len(own)
    set_num_threads(max(1, int(part * get_num_threads() + 1e-9)))


if size > 1:
    _show, sys.excepthook = sys.excepthook, _end_all
    _share_processors()
