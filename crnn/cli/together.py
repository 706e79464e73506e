"""Commands that several ranks of MPI run together: rank 0 speaks for all."""

import contextlib
import os
import sys
import time

SECOND_SPEAKS_AFTER = 1.0  # seconds: what all ranks have to say is said once, by rank 0


@contextlib.contextmanager
def ranks_of(options):
    """A context with `crnn.mpi`, or None without ``--mpi``, where only rank 0 prints."""
    if not options.mpi:
        yield None
        return
    from crnn import mpi

    with contextlib.ExitStack() as stack:
        if mpi.rank:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield mpi


def end(code, line="", all_do=False):
    """Return an exit code, after a line on standard error that says why.

    Of several ranks all are ended, unless ``all_do`` end by themselves.
    """
    mpi = sys.modules.get("crnn.mpi")  # which only a command with --mpi imports
    several, rank = (mpi is not None and mpi.size > 1), 0 if mpi is None else mpi.rank
    if rank and not all_do:
        time.sleep(SECOND_SPEAKS_AFTER)
    if line and not (rank and all_do):
        print(line, file=sys.stderr)
    if several and not all_do:
        mpi.abort(code)
    return code
