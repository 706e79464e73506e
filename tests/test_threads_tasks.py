"""The tasks of a pass in several threads: phases, exceptions, and who runs them where."""

import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import crnn
from crnn.engine import threads

pytestmark = [  # the reference leaves threads to NumPy
    pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split"),
]


def test_so_many_tasks_are_under_way_at_a_time():
    crnn.set_num_threads(3)
    together = threading.Barrier(3, timeout=30)
    threads.run([[together.wait] * 3], 3)  # each waits for the two others
    crnn.set_num_threads(1)
    seen = []
    threads.run([[lambda: seen.append(threading.get_ident())] * 3], 3)
    assert seen == [threading.get_ident()] * 3


def test_every_task_runs_once():
    for n, tasks in ((2, 7), (4, 3), (3, 1), (2, 0)):
        crnn.set_num_threads(n)
        seen = []
        threads.run([[partial(seen.append, i) for i in range(tasks)]], tasks)
        assert sorted(seen) == list(range(tasks))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("multiple", [1, 4, 16])
def test_parts_make_up_the_whole(n, multiple):
    crnn.set_num_threads(n)
    for size in range(70):
        parts = [range(size)[slice(*part)] for part in threads.split(size, multiple, work=1)]
        assert [i for part in parts for i in part] == list(range(size))
        assert 1 <= len(parts) <= n
        assert all(len(part) % multiple == 0 for part in parts[:-1])
        assert all(parts) or size == 0


def test_small_work_is_not_split(monkeypatch):
    monkeypatch.setattr(threads, "LEAST_WORK", 1000)
    crnn.set_num_threads(4)
    assert len(threads.split(64, 4, work=999)) == 1
    assert len(threads.split(64, 4, work=1000)) == 4


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_phase_begins_when_the_one_before_is_over(n):
    begun, over = [], []

    def task(phase, i):
        begun.append((phase, len(over)))
        time.sleep(0.002 * (i % 3))
        over.append(phase)

    crnn.set_num_threads(n)
    sizes = [3, 1, 4, 2]
    for _ in range(5):
        begun.clear()
        over.clear()
        threads.run(([partial(task, p, i) for i in range(n)] for p, n in enumerate(sizes)), 4)
        assert over == sorted(over) == [p for p, n in enumerate(sizes) for _ in range(n)]
        assert all(count >= sum(sizes[:phase]) for phase, count in begun)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_in_a_phase_leaves_nobody_waiting(n, failing):
    def task(i):
        time.sleep(0.01 * i)
        if i == failing:
            raise KeyboardInterrupt

    begun, raised, seen = [], [], []

    def both():
        try:
            later = [partial(begun.append, None)] * 3
            threads.run([[partial(task, 0), partial(task, 1)], *[later] * 100], 3)
        except KeyboardInterrupt as error:
            raised.append(error)
        threads.run([[partial(seen.append, i) for i in range(4)]], 4)

    crnn.set_num_threads(n)
    caller = threading.Thread(target=both, daemon=True)
    caller.start()
    caller.join(timeout=30)
    assert not caller.is_alive()
    assert len(raised) == 1
    assert len(begun) < n  # those that waited for the first phase
    assert sorted(seen) == [0, 1, 2, 3]


def test_an_interrupt_before_the_work_leaves_nothing_to_others(monkeypatch):
    seen, over = [], []

    def task(i):
        seen.append(i)
        time.sleep(1e-2)
        over.append(i)

    def interrupted(self, work, number):
        share(self, work, number)
        time.sleep(5e-3)  # another thread begins
        raise KeyboardInterrupt

    crnn.set_num_threads(2)
    with monkeypatch.context() as patch:
        share = threads._Workers.share
        patch.setattr(threads._Workers, "share", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.run([[partial(task, i) for i in range(1000)]], 2)
    assert over == seen
    time.sleep(0.03)
    assert len(seen) < 1000
    assert over == seen
    threads.run([[partial(seen.append, "next")] * 4], 4)
    assert seen.count("next") == 4


def test_a_thread_that_looks_out_is_given_work_once():
    place = threads._Place()
    assert place.give("work")
    assert not place.give("too late")
    assert place.take() == "work"
    place = threads._Place()
    assert place.take() is None
    assert not place.give("too late")


def test_work_that_a_thread_leaves_is_done_by_another():
    crnn.set_num_threads(2)
    threads.run([[int] * 2], 2)  # makes the other thread
    deadline = time.monotonic() + 30
    while threads._pool._looking_out or not threads._pool.numbers:  # until it has come, and left
        assert time.monotonic() < deadline
        time.sleep(1e-3)
    gone = threads._Place()
    gone.take()
    threads._pool._looking_out.append(gone)
    together = threading.Barrier(2, timeout=30)
    threads.run([[together.wait] * 2], 2)


def test_a_thread_that_looks_out_holds_nothing_of_what_it_has_done(monkeypatch):
    held = []

    def work():
        pass

    alive, workers = weakref.ref(work), threads._Workers()
    monkeypatch.setattr(threads._Place, "take", lambda self: held.append(alive()))
    workers._wanted.append(work)
    del work
    workers._attend()
    assert held == [None]
    assert not workers._wanted


def test_a_thread_that_comes_late_takes_what_is_wanted_then(monkeypatch):
    late = threading.Event()

    def attend(self, original=threads._Workers._attend):
        late.wait(30)
        original(self)

    crnn.set_num_threads(1)
    crnn.set_num_threads(2)
    monkeypatch.setattr(threads._Workers, "_attend", attend)
    for _ in range(3):  # it has been called, and these are over before it comes
        threads.run([[int] * 2], 2)
    together = threading.Barrier(2, timeout=30)

    def task():
        late.set()
        together.wait()

    threads.run([[task] * 2], 2)


def test_passes_at_once_do_not_queue_up():
    crnn.set_num_threads(1)
    crnn.set_num_threads(2)
    tasks, most = [partial(time.sleep, 1e-4)] * 2, 0
    with ThreadPoolExecutor(4) as callers:
        for future in [callers.submit(threads.run, [tasks], 2) for _ in range(500)]:
            future.result()
            most = max(most, threads._pool._pool._work_queue.qsize())
    assert most <= 1  # there is one thread
    assert not threads._pool._wanted


def test_an_interrupted_call_does_not_keep_threads_away(monkeypatch):
    crnn.set_num_threads(1)
    crnn.set_num_threads(2)
    threads.run([[int] * 2], 2)
    deadline = time.monotonic() + 30
    while threads._pool._looking_out or not threads._pool.numbers:
        assert time.monotonic() < deadline
        time.sleep(1e-3)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(threads._pool._pool, "submit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                threads.run([[int] * 2], 2)
    together = threading.Barrier(2, timeout=30)
    threads.run([[together.wait] * 2], 2)


def test_an_interrupt_goes_before_the_error_of_another_thread():
    caller = threading.current_thread()
    begun, failed = threading.Event(), threading.Event()

    def task():
        if threading.current_thread() is caller:
            begun.set()
            failed.wait(30)
            raise KeyboardInterrupt
        begun.wait(30)
        failed.set()
        raise ValueError

    crnn.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        threads.run([[task] * 2], 2)


def test_an_error_that_was_dealt_with_holds_nothing():
    class Data:
        pass

    def run():
        data = Data()

        def task():
            raise KeyError(data)

        with pytest.raises(KeyError):
            threads.run([[task] * 3], 3)
        return weakref.ref(data)

    crnn.set_num_threads(2)
    gc.collect()
    gc.disable()
    try:
        alive, deadline = run(), time.monotonic() + 30
        while alive() is not None:  # until the other thread has left its work
            assert time.monotonic() < deadline
            time.sleep(1e-3)
    finally:
        gc.enable()


def test_passes_that_follow_each_other_find_their_thread_awake(monkeypatch):
    submitted = []
    crnn.set_num_threads(2)
    threads.run([[int] * 2], 2)  # makes the other thread
    submit = threads._pool._pool.submit

    def counted(*arguments):
        submitted.append(arguments)
        return submit(*arguments)

    monkeypatch.setattr(threads._pool._pool, "submit", counted)
    tasks = [partial(time.sleep, 1e-4)] * 2
    for _ in range(300):
        threads.run([tasks], 2)
    assert len(submitted) < 300
    deadline = time.monotonic() + 30
    while threads._pool._looking_out:
        assert time.monotonic() < deadline
    threads.run([tasks], 2)
    assert submitted


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs a system that tells processors apart, and two of them",
)
def test_other_threads_run_where_the_caller_does_not(monkeypatch):
    allowed = os.sched_getaffinity(0)
    crnn.set_num_threads(2)
    threads.run([[int] * 2], 2)  # makes the other thread
    deadline = time.monotonic() + 30
    while not threads._pool.numbers:
        assert time.monotonic() < deadline
    (other,) = threads._pool.numbers
    for processor in allowed:
        monkeypatch.setattr("crnn.kernels.cpu.current", lambda processor=processor: processor)
        threads.run([[int] * 2], 2)
        assert os.sched_getaffinity(other) == allowed - {processor}
    assert os.sched_getaffinity(0) == allowed
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {processor})
    threads.run([[int] * 2], 2)  # no other processor is left, and nothing is asked for


def test_nothing_is_split_while_threads_take_turns(monkeypatch):
    monkeypatch.setattr(threads, "ALONE", 1000)
    crnn.set_num_threads(2)
    threads._forget_pool()
    turn = threading.Lock()

    def task():
        with turn:
            end = time.thread_time() + 0.01
            while time.thread_time() < end:
                pass

    for _ in range(2):  # the first waits for threads to be made, and the second is but one
        threads.run([[task] * 2], 2)
        assert len(threads.split(8, 1, work=1)) == 2
    threads.run([[task] * 2], 2)
    assert len(threads.split(8, 1, work=1)) == 1
    with monkeypatch.context() as later:
        later.setattr(time, "perf_counter", lambda: threads._alone_until)
        assert len(threads.split(8, 1, work=1)) == 2
    assert len(threads.split(8, 1, work=1)) == 1
    crnn.set_num_threads(2)  # says that they are wanted, whatever was
    assert len(threads.split(8, 1, work=1)) == 2


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("failing", range(4))
def test_an_exception_is_raised_when_the_other_tasks_are_over(n, failing):
    begun, over = [], []

    def task(i):
        begun.append(i)
        if i != failing:
            time.sleep(0.05)
        over.append(i)
        if i == failing:
            raise KeyError(i)

    crnn.set_num_threads(n)
    with pytest.raises(KeyError) as raised:
        threads.run([[partial(task, i) for i in range(4)]], 4)
    assert raised.value.args == (failing,)
    assert sorted(begun) == sorted(over)
    assert failing in over
    threads.run([[partial(over.append, "next")] * 4], 4)  # nothing is broken
    assert over.count("next") == 4
