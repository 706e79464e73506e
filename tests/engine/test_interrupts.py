"""Ctrl-C, whenever it comes: the process ends or goes on with right results, and nothing hangs."""

import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pool_tasks import begun, new_notes, over, read_notes, rehearse_into
from processes import command, environment, fresh, run

import crnn

pytestmark = [pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split")]

needs_signals = pytest.mark.skipif(not hasattr(os, "fork"), reason="these signals are POSIX's")


# --- at every call and return --------------------------------------------------------------------


# A child is forked for each point before any pass, so that its first pass is a process's first. It
# tells what it found, one line each, which are all that is left of a child that hangs.
POINTS = """
import hashlib, os, signal, sys, time
import numpy as np
import crnn
from crnn.kernels import pool

task, when, limit = sys.argv[1], sys.argv[2], 20
pool.set_thresholds(times_alone=0)
rng = np.random.default_rng(0)
net = crnn.LSTM(64, 128, 8, seed=0, backend="compiled")
x, targets = rng.standard_normal((4, 32, 64)).astype("f4"), rng.integers(8, size=(4, 32))


def digest(*arrays):
    return hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in arrays)).hexdigest()


def infer(net):
    y, (h, c) = net(x)
    return digest(y, h, c)


def train(net):
    loss, gradients, (h, c) = net.loss_and_gradients(x, targets)
    return digest(loss, gradients.vector, gradients.x, h, c)


def run_back(net):
    y, (h, c), cache = net.forward(x)
    gradients = net.backward(cache, np.ones_like(y))
    return digest(y, h, c, gradients.vector, gradients.x)


ALL = {"infer": infer, "train": train, "run_back": run_back}
go = ALL[task]


class Interrupt:
    def __init__(self, point):
        self.count, self.point, self.where = 0, point, ""

    def __call__(self, frame, event, argument):
        self.count += 1
        if self.count == self.point:
            sys.setprofile(None)
            self.where = f"{event} in {frame.f_code.co_filename}:{frame.f_lineno}"
            raise KeyboardInterrupt


def child(point, tell):
    if point is None:
        crnn.set_num_threads(1)
        return tell("\\n".join(each(net) for each in ALL.values()))
    crnn.set_num_threads(2)
    for _ in range(2 if when == "later" else 0):
        go(net)
    interrupt, result = Interrupt(point), None
    sys.setprofile(interrupt)
    try:
        result = go(net)
        sys.setprofile(None)
    except KeyboardInterrupt:
        pass
    sys.setprofile(None)
    tell(f"{interrupt.count}\\n{interrupt.where}\\n")
    assert result in (None, expected[task]), "the pass itself is wrong"
    for name in (task, *ALL, task):
        assert ALL[name](net) == expected[name], f"{name} is wrong afterwards"
    assert net.vector.tobytes() == before, "the parameters have changed"


def start(point):
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return point, pid, read, time.monotonic() + limit
    status = 1
    try:
        os.close(read)
        child(point, lambda text: os.write(write, text.encode()))
        status = 0
    except BaseException as error:
        os.write(write, repr(error).encode())
    finally:
        os._exit(status)


def end(child):
    # returns the lines that it told
    point, pid, read, limit = child
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > limit:
            break
        time.sleep(0.001)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with os.fdopen(read) as file:
        lines = file.read().splitlines()
    if not ended or status:
        print("hung" if not ended else "wrong", "at", point, *lines)
    return lines


before, under_way = net.vector.tobytes(), []
expected = dict(zip(ALL, end(start(None))))
events = max(int(end(start(0))[0]) for _ in range(3))
assert events > 20, events
for point in range(1, events + 1):
    under_way.append(start(point))
    if len(under_way) > 3:
        end(under_way.pop(0))
for each in under_way:
    end(each)
"""


@needs_signals
@pytest.mark.parametrize("when", ["first", "later"])
@pytest.mark.parametrize("task", ["infer", "train", "run_back"])
def test_an_interrupt_at_any_call_or_return_breaks_nothing(task, when):
    fresh(POINTS, task, when)


# --- real ones, at any time ----------------------------------------------------------------------


EARLY = """
import sys, time
import numpy as np
import crnn

crnn.set_num_threads(2)
net = crnn.LSTM(64, 128, 8, seed=0, backend="compiled")
x, targets = np.zeros((10, 64, 64), "f4"), np.zeros((10, 64), int)
print("ready", flush=True)
while True:
    net(x) if sys.argv[1] == "infer" else net.loss_and_gradients(x, targets)
    time.sleep(0.0008)
"""


def end_of_one(number):
    """Interrupt a process in its first 0.1 s; return its status and the last line of its errors."""
    task = ("infer", "train")[number % 2]
    with subprocess.Popen(
        command("-c", EARLY, task), env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        time.sleep(random.Random(number).uniform(0, 0.1))
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            return task, "it hangs", process.communicate()[1]
    return process.returncode, errors.strip().splitlines()[-1]


def assert_all_end(number):
    with ThreadPoolExecutor(2) as executor:
        ends = set(executor.map(end_of_one, range(number)))
    assert ends == {(-signal.SIGINT, "KeyboardInterrupt")}


@needs_signals
def test_one_ctrl_c_in_the_first_passes_ends_a_process():
    assert_all_end(12)


@needs_signals
@pytest.mark.slow
def test_one_ctrl_c_in_the_first_passes_ends_each_of_300_processes():
    assert_all_end(300)


# --- long passes ---------------------------------------------------------------------------------


LONG = """
import signal, sys, time
import numpy as np
import crnn
from crnn.kernels import pool

task, threads = sys.argv[1], int(sys.argv[2])
pool.set_thresholds(times_alone=0)
crnn.set_num_threads(threads)
rng = np.random.default_rng(0)
net = crnn.LSTM(16, 128, 16, seed=0, backend="compiled")
net.step(np.ones((3, 16), "f4"))
state = np.ones((1, 32, 128), "f4"), np.ones((1, 32, 128), "f4")
short = rng.standard_normal((20, 32, 16)).astype("f4")
some = rng.standard_normal((300, 32, 16)).astype("f4")


def passes(x):
    # a function that makes a pass and returns all that it gives
    targets = np.zeros(x.shape[:2], int)
    if task == "infer":
        return lambda: [net(x, state)[0]]
    if task == "loss":
        return lambda: [net.loss(x, targets, state)[0]]
    if task == "forward":
        return lambda: [net.forward(x, state)[0]]
    if task == "backward":
        y, _, cache = net.forward(x, state)
        return lambda: [(gradients := net.backward(cache, y)).vector, gradients.x]
    return lambda: (found := net.loss_and_gradients(x, targets, state))[:1] + (
        found[1].vector, found[1].x)


def everything(go):
    return [np.asarray(each).tobytes() for each in [*go(), net.vector, *net.state, *state]]


class Interrupted(Exception):
    pass


def interrupt(*_):
    raise Interrupted


def measured(go):
    go()
    begun = time.process_time()
    go()
    return time.process_time() - begun


signal.signal(signal.SIGPROF, interrupt)
times = max(1, round(0.8 / measured(passes(some))))     # a pass of 0.8 s or so
go, go_shortly = passes(np.tile(some, (times, 1, 1))), passes(short)
expected = everything(go), everything(go_shortly)
whole = measured(go)
for share in (0.1, 0.3):
    try:
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, share * whole)     # of processor time, of all threads
        go()
    except Interrupted:
        done = (time.process_time() - begun) / whole
    else:
        done = 1
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(round(done, 2), end=" ")
    assert everything(go_shortly) == expected[1], "a short pass is wrong afterwards"
    assert everything(go) == expected[0], "the same pass is wrong afterwards"
print(round(whole, 2))
"""


@needs_signals
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("task", ["infer", "loss", "train", "forward", "backward"])
def test_a_long_pass_is_interrupted_and_leaves_all_as_it_was(task, threads):
    """Not at once, as a handler runs between blocks, but well before the pass would end."""
    process = run("-c", LONG, task, str(threads))
    assert (process.returncode, process.stderr) == (0, "")
    *shares, whole = map(float, process.stdout.split())
    assert max(shares) < 0.8, f"of a pass that takes {whole} s"


@needs_signals
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_task_is_under_way_when_an_interrupt_is_raised(threads):
    notes = new_notes([2, 3] * 100)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        rehearse_into(notes, [2, 3] * 100, threads, seconds=0.1)
    timer.join()
    found = read_notes(notes).copy()
    assert ((found[:, begun] < 0) == (found[:, over] < 0)).all()
    assert (found[:, begun] < 0).any()
    assert (read_notes(notes) == found).all()


@needs_signals
def test_a_handler_that_returns_lets_a_pass_go_on():
    handled, notes = [], new_notes([2, 2])

    def handle(*_):
        handled.append(crnn.RNN(2, 3, backend="compiled")(np.zeros((5, 9, 2)))[0].shape)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        rehearse_into(notes, [2, 2], 2, seconds=0.15)
        assert handled == [(5, 9, 3)]  # with a pass of its own
        assert (read_notes(notes) >= 0).all()
    finally:
        signal.signal(signal.SIGALRM, before)


@needs_signals
def test_an_interrupt_of_one_caller_leaves_others_alone():
    crnn.set_num_threads(3)
    notes, others = new_notes([3] * 100), [new_notes([3] * 4) for _ in range(4)]
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with ThreadPoolExecutor(4) as executor:
        running = [executor.submit(rehearse_into, each, [3] * 4, 3, 0.1) for each in others]
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            rehearse_into(notes, [3] * 100, 3, seconds=0.1)
        for each in running:
            each.result()
    assert all((read_notes(each) >= 0).all() for each in others)
