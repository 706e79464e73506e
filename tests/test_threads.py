"""Threads: how many there are, forks, and networks that threads share."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import crnn

pytestmark = [  # the reference leaves threads to NumPy
    pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split"),
]

T, B, I, H = 5, 9, 3, 17  # noqa: E741
MANY = 8


def fresh(code, *arguments, **environment):
    """Run Python in a process of its own, warnings being errors."""
    inherited = {name: value for name, value in os.environ.items() if name != "CRNN_NUM_THREADS"}
    inherited["PYTHONPATH"] = str(Path(crnn.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-W", "error", *code, *arguments], env=inherited | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )


def assert_passes(process):
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


# --- how many ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, np.int8(3)])
def test_the_number_is_what_was_set(n):
    assert crnn.set_num_threads(n) is None
    assert crnn.get_num_threads() == n
    assert type(crnn.get_num_threads()) is int


@pytest.mark.parametrize(("n", "error", "message"), [
    (0, ValueError, "n must be at least 1, got 0"),
    (-1, ValueError, "n must be at least 1, got -1"),
    (1.5, TypeError, "n must be a whole number, got 1.5"),
    ("2", TypeError, "n must be a whole number, got '2'"),
    (True, TypeError, "n must be a whole number, got True"),
    (None, TypeError, "n must be a whole number, got None"),
])
def test_what_is_no_number_of_threads_is_refused(n, error, message):
    crnn.set_num_threads(3)
    with pytest.raises(error) as refusal:
        crnn.set_num_threads(n)
    assert str(refusal.value) == message
    assert crnn.get_num_threads() == 3


def processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(("environment", "n"), [
    ({}, None), ({"CRNN_NUM_THREADS": ""}, None), ({"CRNN_NUM_THREADS": "1"}, 1),
    ({"CRNN_NUM_THREADS": "3"}, 3), ({"CRNN_NUM_THREADS": "64"}, 64),
], ids=str)
def test_the_environment_says_how_many(environment, n):
    process = fresh(["-c", "import crnn; print(crnn.get_num_threads())"], **environment)
    assert process.stdout == f"{n or processors()}\n"
    assert (process.returncode, process.stderr) == (0, "")


REFUSED = """
import numpy as np
import crnn
from crnn.engine import threads

threads.LEAST_WORK = threads.ALONE = 0
net = crnn.RNN(2, 3, 4, backend="compiled")
for action in (crnn.get_num_threads, lambda: net(np.zeros((5, 9, 2)))):
    try:
        action()
    except ValueError as error:
        print(error)
crnn.set_num_threads(2)
net(np.zeros((5, 9, 2)))
"""


@pytest.mark.parametrize("value", ["0", "x", "-1", "1.5", " "])
def test_the_environment_is_refused(value):
    process = fresh(["-c", REFUSED], CRNN_NUM_THREADS=value)
    message = f"CRNN_NUM_THREADS is {value!r}; a whole number of at least 1 is wanted\n"
    assert process.stdout == 2 * message
    assert (process.returncode, process.stderr) == (0, "")


# --- processes -----------------------------------------------------------------------------------


TRAIN = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import crnn
from crnn.engine import threads

threads.LEAST_WORK = threads.ALONE = 0
crnn.set_num_threads(2)


def train():
    net, rng = crnn.RNN(5, 33, 7, seed=0, backend="compiled"), np.random.default_rng(1)
    x, classes = rng.standard_normal((6, 9, 5)), rng.integers(0, 7, (6, 9))
    optimizer = crnn.SGD(0.1)
    for _ in range(3):
        optimizer.step(net, net.loss_and_gradients(x, classes)[1])
    return net.vector.tobytes()


def train_in_threads():
    result = train()
    assert threading.active_count() > 1, "there was only one thread"
    return result
"""
FORK = TRAIN + """
def fork(wanted):
    child = os.fork()
    if child == 0:
        os._exit(train_in_threads() != wanted)
    limit = time.monotonic() + 5
    while time.monotonic() < limit:
        over, status = os.waitpid(child, os.WNOHANG)
        if over:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    sys.exit("the child hangs")


wanted = train_in_threads()
if sys.argv[1] == "busy":  # a child is born in the midst of work
    threading.Thread(target=lambda: [train() for _ in range(10**6)], daemon=True).start()
statuses = [fork(wanted) for _ in range(20)]
if train() != wanted or any(statuses):
    print(statuses)
sys.stdout.flush()
os._exit(0)  # a thread may be at work
"""
PROCESSES = TRAIN + """
if __name__ == "__main__":
    wanted = train_in_threads()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        found = [pool.apply_async(train_in_threads) for _ in range(4)]
        if [each.get(timeout=60) for each in found] != [wanted] * 4:
            print("another result")
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
@pytest.mark.parametrize("parent", ["idle", "busy"])
def test_a_child_of_fork_has_threads_of_its_own(parent):
    assert_passes(fresh(["-c", FORK], parent))


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_multiprocessing(tmp_path, method):
    script = tmp_path / "script.py"  # spawn imports it
    script.write_text(PROCESSES)
    assert_passes(fresh([str(script)], method))


AT_THE_END = TRAIN + """
import atexit

wanted = train_in_threads()


def late():
    threading.main_thread().join()
    if train() != wanted:
        print("another result")


atexit.register(train)
threading.Thread(target=late).start()
"""


def test_threads_work_until_the_interpreter_is_gone():
    """A thread that outlives the main one, and what is called at exit."""
    assert_passes(fresh(["-c", AT_THE_END]))


# --- networks that threads share -----------------------------------------------------------------


@contextmanager
def readers(action, number=MANY - 1):
    """Let other threads repeat an action; raise what it raises."""
    stop = threading.Event()

    def repeat():
        while not stop.is_set():
            action()

    with ThreadPoolExecutor(number) as pool:
        try:
            futures = [pool.submit(repeat) for _ in range(number)]
            yield
        finally:
            stop.set()
    for future in futures:
        future.result()


def large_network():
    """Weights so large that copying them takes several turns of the threads."""
    return crnn.RNN(64, 384, 64, seed=0, backend="compiled")


def results(net, x, classes):
    """Every pass and a step: all that reads a packed weight."""
    found, stream = [*net(x)], net.stream(x.shape[1])
    for inputs in (x, classes):  # a small pass over tokens has a way of its own
        loss, grads, last = net.loss_and_gradients(inputs, classes)
        found += [loss, grads.vector, grads.state, last]
    return [*found, stream.step(x[0])]


def assert_same_bits(ours, theirs):
    for each, other in zip(ours, theirs, strict=True):
        assert np.asarray(each).tobytes() == np.asarray(other).tobytes()


def assign_vector(net, vector):
    net.vector = vector


def assign_by_name(net, vector):
    other = large_network()
    other.vector = vector
    for name, value in other.parameters.items():
        net.parameters[name] = value


def step(optimizer):
    def assign(net, vector):
        x = np.zeros((1, 1), int)
        _, grads, _ = net.loss_and_gradients(x, x)
        grads.vector[...] = net.vector - vector
        optimizer.step(net, grads)

    return assign


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("assign", [
    pytest.param(assign_vector, id="vector"),
    pytest.param(assign_by_name, id="names"),
    pytest.param(step(crnn.SGD(1.0, momentum=0.9)), id="SGD"),
    pytest.param(step(crnn.AdamW()), id="AdamW"),
])
def test_after_a_change_results_are_of_the_new_parameters(rng, switching, assign, n):
    """While it lasts, others may see some of both; what they packed then must not stay."""
    crnn.set_num_threads(n)
    net, x = large_network(), rng.standard_normal((2, 4, 64)).astype(np.float32)
    classes, stream = rng.integers(0, 64, (2, 4)), net.stream()
    vectors = [scale * net.vector for scale in (1, 0.5)]
    own = threading.local()

    def read():
        if not hasattr(own, "stream"):
            own.stream = net.stream()
        own.stream.step(x[0, 0])
        net(x)
        net.loss_and_gradients(x, classes)
        net.loss_and_gradients(classes, classes)

    with readers(read):
        for i in range(30):
            assign(net, vectors[i % 2])
            stream.reset()
            found = [stream.step(x[0, 0]), *results(net, x, classes)]
            new = large_network()
            new.vector = net.vector
            assert_same_bits(found, [new.step(x[0, 0]), *results(new, x, classes)])


@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
def test_threads_that_share_a_new_network_get_the_same(rng, switching, tokens):
    """All of them pack its weights."""
    x = rng.standard_normal((T, B, 64)).astype(np.float32)
    x = x[..., 0].astype(np.int8) % 64 if tokens else x
    wanted = large_network()(x)
    for n in (1, 2):
        crnn.set_num_threads(n)
        for _ in range(5):
            net = large_network()
            together = threading.Barrier(MANY)

            def call(net=net, together=together):
                together.wait()
                return net(x)

            with ThreadPoolExecutor(MANY) as pool:
                for future in [pool.submit(call) for _ in range(MANY)]:
                    assert_same_bits(future.result(), wanted)


def test_the_number_may_change_while_others_work(rng, switching):
    net = crnn.RNN(I, H, I, seed=0, backend="compiled")
    x, classes = rng.standard_normal((T, B, I)).astype(np.float32), rng.integers(0, I, (T, B))
    wanted = results(net, x, classes)
    with readers(lambda: assert_same_bits(results(net, x, classes), wanted)):
        for i in range(200):
            crnn.set_num_threads(1 + i % 4)
            assert_same_bits(results(net, x, classes), wanted)
