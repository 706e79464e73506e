"""The pool of compiled threads: phases, barriers, who runs what, and backing off."""

import contextlib
import ctypes
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from crnn.kernels.pool import threads_for
from pool_tasks import begun, over, rehearse, thread
from processes import fresh

import crnn
from crnn.kernels import pool

pytestmark = [pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split")]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks what only Linux tells")


# --- tasks and phases ----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize("sizes", [[], [0], [1], [7], [3, 1, 4, 2], [0, 2, 0, 5, 0], [1] * 40])
def test_every_task_runs_once_when_the_phases_before_are_over(threads, sizes):
    for takes in (0, 1e-4):
        notes = rehearse(sizes, threads, seconds=takes)
        events = np.concatenate([notes[:, begun], notes[:, over]])
        assert sorted(events) == list(range(2 * sum(sizes)))
        phase = np.repeat(np.arange(len(sizes)), sizes)
        for k in range(1, len(sizes)):
            before, after = notes[phase < k], notes[phase >= k]
            assert max(before[:, over], default=-1) < min(after[:, begun], default=np.inf)


def test_so_many_tasks_are_under_way_at_a_time():
    notes = rehearse([3], 3, together=3)
    assert max(notes[:, begun]) < min(notes[:, over])
    notes = rehearse([5], 1)
    assert (notes[:, over] == notes[:, begun] + 1).all()


@on_linux
def test_the_caller_takes_tasks_and_so_do_workers():
    assert set(rehearse([4], 1)[:, thread]) == {threading.get_native_id()}
    ids = rehearse([2], 2, together=2)[:, thread]
    assert threading.get_native_id() in ids
    assert len(set(ids) & set(pool.worker_ids())) == 1


@pytest.mark.parametrize("callers", [2, 64, 80])
def test_callers_at_once_have_their_own_tasks_run(callers):
    """There are places for 64 jobs; who finds none works alone."""
    together = threading.Barrier(callers)

    def call(number):
        together.wait(60)
        for _ in range(5):
            notes = rehearse([1 + number % 4, 2], 1 + number % 4, seconds=2e-4 * (number % 3))
            if sorted(notes[:, :2].ravel()) != list(range(2 * len(notes))):
                return False
        return True

    with ThreadPoolExecutor(callers) as executor:
        assert all(executor.map(call, range(callers)))


@pytest.mark.parametrize("seed", range(3))
def test_many_small_jobs_of_several_callers_all_end(seed):
    """Who joins a job while others leave it is counted."""
    def call(_):
        return all((rehearse([1, 2, 1], threads)[:, over] >= 0).all()
                   for threads in (2, 4, 8) for _ in range(400))

    with ThreadPoolExecutor(3) as executor:
        assert all(executor.map(call, range(3)))


# --- workers -------------------------------------------------------------------------------------


def test_no_worker_is_made_where_none_is_needed():
    fresh("""
        import numpy as np, crnn
        from crnn.kernels import pool

        net, wide = crnn.LSTM(64, 128, 8, backend="compiled"), np.zeros((10, 64, 64), "f4")
        crnn.set_num_threads(1)
        net(wide)
        crnn.set_num_threads(4)
        net(np.zeros((1, 64, 64), "f4"))        # too little work
        pool.set_thresholds(multiplications=0)
        net(np.zeros((10, 1), int))             # nothing to share: one step after the other
        assert pool.worker_ids() == []
        crnn.set_num_threads(2)
        net(wide)
        net.loss_and_gradients(wide, np.zeros((10, 64), int))
        assert len(pool.worker_ids()) == 1
    """)


def test_there_are_at_most_so_many_workers():
    fresh("""
        from pool_tasks import rehearse
        from crnn.kernels import pool

        assert (rehearse([300], 1000) >= 0).all()
        assert len(pool.worker_ids()) == 255
        rehearse([256], 1000, together=256)
    """)


@on_linux
def test_where_no_thread_can_be_made_the_caller_works_alone():
    fresh("""
        import resource, threading
        from pathlib import Path
        import numpy as np, crnn
        from crnn.kernels import pool

        pool.set_thresholds(multiplications=0, times_alone=0)
        net, x = crnn.GRU(5, 33, 7, seed=0, backend="compiled"), np.ones((6, 64, 5), "f4")
        crnn.set_num_threads(1)
        wanted = net(x)[0].tobytes()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
        threading.stack_size(2**30)
        crnn.set_num_threads(3)
        for _ in range(3):
            assert net(x)[0].tobytes() == wanted
        assert pool.worker_ids() == []
        threading.stack_size(2**18)
        assert net(x)[0].tobytes() == wanted
        assert len(pool.worker_ids()) == 2
    """)


@on_linux
def test_workers_without_work_are_at_rest():
    rehearse([4], 4)
    tasks, deadline = Path("/proc/self/task"), time.monotonic() + 30

    def fields(worker):
        return (tasks / str(worker) / "stat").read_text().rpartition(")")[2].split()

    workers = pool.worker_ids()
    assert len(workers) >= 3
    while any(fields(worker)[0] != "S" for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = [fields(worker)[11:13] for worker in workers]
    time.sleep(0.2)
    assert [fields(worker)[11:13] for worker in workers] == before  # processor time


@on_linux
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two processors",
)
def test_workers_run_where_the_caller_does_not():
    allowed, here = os.sched_getaffinity(0), ctypes.CDLL(None).sched_getcpu
    for most in (2, 9):  # those that are there and not wanted change nothing
        rehearse([most], most, together=most)
        deadline = time.monotonic() + 30
        while True:
            processor = here()
            rehearse([2], 2)
            if here() == processor:  # it was there all the time
                break
            assert time.monotonic() < deadline
        for worker in pool.worker_ids():
            assert os.sched_getaffinity(worker) == allowed - {processor}
    before = [os.sched_getaffinity(worker) for worker in pool.worker_ids()]
    os.sched_setaffinity(0, {processor})
    try:
        rehearse([2], 2)  # no other processor is left, and nothing is asked for
        assert [os.sched_getaffinity(worker) for worker in pool.worker_ids()] == before
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="these signals are POSIX's")
def test_workers_leave_signals_to_the_main_thread():
    """A program may block a signal in its main thread, to wait for it there."""
    fresh("""
        import os, signal
        from pool_tasks import rehearse

        rehearse([3], 3, together=3)
        signal.signal(signal.SIGUSR1, lambda *_: print("it was handled"))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.SIGUSR1 in signal.sigpending()
        assert signal.sigwait({signal.SIGUSR1}) == signal.SIGUSR1
    """, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")


# --- whether sharing pays ------------------------------------------------------------------------


def test_small_work_is_not_split():
    crnn.set_num_threads(4)
    pool.set_thresholds(multiplications=1000)
    assert threads_for(999) == 1
    assert threads_for(1000) == 4


def test_thresholds_come_back():
    before = pool.set_thresholds(multiplications=5, times_alone=7)
    assert pool.set_thresholds() == (5, 7)
    assert pool.set_thresholds(*before) == (5, 7)


@contextlib.contextmanager
def backing_off():
    """Have passes judged, as tests have not."""
    before = pool.set_thresholds(times_alone=1000)
    try:
        yield
    finally:
        pool.set_thresholds(*before)


@pytest.mark.skipif(sys.platform == "win32", reason="its clock of threads is too coarse")
def test_nothing_is_split_while_threads_take_turns():
    rehearse([2], 2)
    crnn.set_num_threads(2)
    with backing_off():
        for _ in range(2):  # one says little
            assert threads_for(1) == 2
            pool.rehearse_judging(int(1e7), int(1e7))
        assert threads_for(1) == 1
        crnn.set_num_threads(2)  # says that they are wanted, whatever was
        assert threads_for(1) == 2
        for _ in range(2):
            rehearse([2], 2, seconds=0.01, in_turns=True)
        deadline = time.monotonic() + 30
        while threads_for(1) != 2:  # a second at most
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_nothing_is_split_after_a_thread_has_waited():
    """For 40 times as long as was lost, so that a busy neighbour costs 2.5 % at most."""
    crnn.set_num_threads(2)
    with backing_off():
        for took, worked in [(3e7, 5e7), (3e7, 2.9e7), (3e7, 0)]:
            pool.rehearse_judging(int(took), int(worked))
            assert threads_for(1) == 2
            crnn.set_num_threads(2)
        pool.rehearse_judging(int(4e7), int(3e7))
        assert threads_for(1) == 1
    pool.set_thresholds(times_alone=20)
    crnn.set_num_threads(2)
    start = time.monotonic()
    pool.rehearse_judging(int(4e6), int(2e6))
    while threads_for(1) == 1:
        time.sleep(0.001)
    assert time.monotonic() - start > 0.079
    pool.set_thresholds(times_alone=0)


@pytest.mark.skipif(sys.platform == "win32", reason="its clock of threads is too coarse")
def test_the_pass_that_makes_threads_is_not_judged():
    fresh("""
        import crnn
        from pool_tasks import rehearse
        from crnn.kernels import pool

        pool.set_thresholds(multiplications=0, times_alone=1000)
        for threads in (2, 3, 4):
            crnn.set_num_threads(threads)
            rehearse([threads], threads, seconds=0.01, in_turns=True)   # makes one
            pool.rehearse_judging(10**7, 10**7)     # is but one
            assert pool.threads_for(1) == threads
    """)
