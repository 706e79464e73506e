"""Threads: how many there are, forks, exits, and networks that threads share."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from processes import assert_passes, fresh, run

import crnn
from crnn.base.backends import kernels
from crnn.engine import processors
from crnn.engine.threads import parted

pytestmark = [  # the reference leaves threads to NumPy
    pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split"),
]

T, B, I, H = 5, 9, 3, 17  # noqa: E741
MANY = 8


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


@pytest.mark.parametrize(("environment", "n"), [
    ({}, None), ({"CRNN_NUM_THREADS": ""}, None), ({"CRNN_NUM_THREADS": "1"}, 1),
    ({"CRNN_NUM_THREADS": "3"}, 3), ({"CRNN_NUM_THREADS": "64"}, 64),
    ({"OMP_NUM_THREADS": "5"}, 5), ({"OMP_NUM_THREADS": "7,2"}, 7),
    ({"OMP_NUM_THREADS": " 6 , 2"}, 6), ({"OMP_NUM_THREADS": ""}, None),
    ({"CRNN_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, 3),
    ({"CRNN_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
    ({"OMP_NUM_THREADS": "0"}, None), ({"OMP_NUM_THREADS": "x"}, None),
    ({"OMP_NUM_THREADS": ",2"}, None), ({"OMP_NUM_THREADS": "-1"}, None),
    ({"OMP_NUM_THREADS": "9" * 5000}, None),
], ids=lambda value: str(value)[:60])
def test_the_environment_says_how_many(environment, n):
    process = run("-c", "import crnn; print(crnn.get_num_threads())", **environment)
    assert process.stdout == f"{n or processors.available()}\n"
    assert (process.returncode, process.stderr) == (0, "")


REFUSED = """
import numpy as np
import crnn
from crnn.kernels import pool

pool.set_thresholds(multiplications=0, times_alone=0)
net = crnn.RNN(2, 3, 4, backend="compiled")
for action in (crnn.get_num_threads, lambda: net(np.zeros((5, 9, 2)))):
    try:
        action()
    except ValueError as error:
        print(error)
crnn.set_num_threads(2)
net(np.zeros((5, 9, 2)))
"""


@pytest.mark.parametrize("value", ["0", "x", "-1", "1.5", " ", "4,2", "9" * 5000],
                         ids=lambda value: value[:9])
def test_the_environment_is_refused(value):
    process = run("-c", REFUSED, CRNN_NUM_THREADS=value)
    message = f"CRNN_NUM_THREADS is {value!r}; a whole number of at least 1 is wanted\n"
    assert process.stdout == 2 * message
    assert (process.returncode, process.stderr) == (0, "")


def test_a_block_sets_the_number_for_a_while():
    crnn.set_num_threads(5)
    with crnn.threads(1):
        assert crnn.get_num_threads() == 1
        with crnn.threads(np.int8(3)):
            assert crnn.get_num_threads() == 3
            crnn.set_num_threads(4)
        assert crnn.get_num_threads() == 1
    assert crnn.get_num_threads() == 5


def test_a_block_puts_the_number_back_after_an_exception():
    crnn.set_num_threads(5)
    with pytest.raises(KeyError, match="inside"), crnn.threads(2):
        raise KeyError("inside")
    assert crnn.get_num_threads() == 5


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (1.5, TypeError), (None, TypeError)])
def test_a_block_of_no_number_of_threads_is_refused(n, error):
    crnn.set_num_threads(3)
    with pytest.raises(error, match="n must be"), crnn.threads(n):
        pass
    assert crnn.get_num_threads() == 3


FIRST_BLOCK = """
import numpy as np
import crnn
from crnn.kernels import pool

with crnn.threads(1):
    net = crnn.RNN(2, 3, 4, backend="compiled")
    net(np.zeros((5, 9, 2)))
assert crnn.get_num_threads() == pool.thread_limit() == 3
"""


def test_a_block_before_the_number_was_asked_for():
    """What plans are made inside may use all threads later."""
    fresh(FIRST_BLOCK, OMP_NUM_THREADS="3")


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("multiple", [1, 4, 16])
def test_parts_make_up_the_whole(parts, multiple):
    for size in range(70):
        bounds = parted(size, multiple, parts)
        assert len(bounds) == parts
        assert [i for part in bounds for i in range(*part)] == list(range(size))
        inner = [last for _, last in bounds if last < size]
        assert all(last % multiple == 0 for last in inner)


# --- forks ---------------------------------------------------------------------------------------


TRAIN = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import crnn
from pool_tasks import new_notes, read_notes, rehearse, rehearse_into
from crnn.kernels import pool

pool.set_thresholds(multiplications=0, times_alone=0)
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
    rehearse([2], 2, together=2)    # ends if there is another thread
    return result


def in_background(action):
    threading.Thread(target=action, daemon=True).start()
"""
FORK = TRAIN + """
def fork(wanted):
    child = os.fork()
    if child == 0:
        os._exit(train_in_threads() != wanted)
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        over, status = os.waitpid(child, os.WNOHANG)
        if over:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    print("the child hangs")
    sys.stdout.flush()
    os._exit(1)


def train_for_ever():
    while True:
        train()


def work_for_ever():
    notes = new_notes([1, 2])
    while True:
        for _ in range(1000):
            rehearse_into(notes, [1, 2], 2)


def hold_the_lock_of_packing(seconds=60):
    notes = new_notes([1])
    in_background(lambda: rehearse_into(notes, [1], 1, seconds=seconds, in_turns=True))
    while read_notes(notes)[0, 0] < 0:
        time.sleep(0.001)
    time.sleep(0.05)


wanted, forks = train_in_threads(), 20
if sys.argv[1] == "training":
    in_background(train_for_ever)
elif sys.argv[1] == "in small jobs":    # and so in the pool's own lock, most of the time
    for _ in range(2):
        in_background(work_for_ever)
    forks = 40
elif sys.argv[1] == "packing":
    hold_the_lock_of_packing()
    forks = 2
statuses = [fork(wanted) for _ in range(forks)]
if sys.argv[1] != "packing" and train() != wanted or any(statuses):
    print(statuses)
sys.stdout.flush()
os._exit(0)  # a thread may be at work
"""
PROCESSES = TRAIN + """
if __name__ == "__main__":
    wanted = train_in_threads()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as processes:
        found = [processes.apply_async(train_in_threads) for _ in range(4)]
        if [each.get(timeout=60) for each in found] != [wanted] * 4:
            print("another result")
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
@pytest.mark.parametrize("parent", ["idle", "training", "in small jobs", "packing"])
def test_a_child_of_fork_has_threads_and_locks_of_its_own(parent):
    fresh(FORK, parent)


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_multiprocessing(tmp_path, method):
    script = tmp_path / "script.py"  # spawn imports it
    script.write_text(PROCESSES)
    assert_passes(run(str(script), method))


FORK_IN_A_PASS = TRAIN + """
def fork(*_):
    global child
    child = os.fork()
    if child == 0 and sys.argv[1] == "leaves":
        sys.exit(7)


wanted, notes = train_in_threads(), new_notes([2, 2, 2])
signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    rehearse_into(notes, [2, 2, 2], 2, seconds=0.2)
except RuntimeError as error:
    assert child == 0 and "forked by a signal handler in the middle of a pass" in str(error)
    os._exit(train_in_threads() != wanted or 5)
assert child and (read_notes(notes) >= 0).all() and train() == wanted
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (7 if sys.argv[1] == "leaves" else 5)
"""


@needs_fork
@pytest.mark.parametrize("child", ["leaves", "goes on"])
def test_a_signal_handler_may_fork_in_the_middle_of_a_pass(child):
    fresh(FORK_IN_A_PASS, child)


# --- exits ---------------------------------------------------------------------------------------


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
    fresh(AT_THE_END)


AT_WORK = TRAIN + """
def work():
    while True:
        train()


for _ in range(2):
    in_background(work)
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize("seconds", ["0", "0.01", "0.1"])
def test_a_process_ends_with_work_under_way(seconds):
    fresh(AT_WORK, seconds)


AFTER_THE_END = TRAIN + """
import ctypes

libc = ctypes.CDLL(None)
in_background(lambda: rehearse([2, 2, 2, 2], 2, seconds=1))
while not pool.worker_ids():
    time.sleep(0.001)
libc.on_exit(libc.sleep, None)      # for as many seconds as the status says
sys.exit(1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's on_exit")
def test_a_pass_may_outlive_the_interpreter():
    """The thread that called it does nothing any more that needs the interpreter."""
    process = run("-c", AFTER_THE_END)
    assert (process.returncode, process.stdout, process.stderr) == (1, "", "")


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

PROGRAM = '''
import warnings
warnings.simplefilter("ignore")  # NumPy warns of subinterpreters
try:
    import crnn.kernels.pool
except ImportError as error:
    assert "%s" in str(error), error
else:
    raise SystemError("it was imported")
'''


def refused(message):
    other = interpreters.create()
    execute = getattr(interpreters, "exec", interpreters.run_string)
    error = execute(other, PROGRAM % message)
    assert error is None, error
    interpreters.destroy(other)
"""
IMPORTED_HERE = """
import crnn, numpy as np
refused("")  # by NumPy or by Cython
refused("")
crnn.RNN(2, 3, 4, backend="compiled")(np.zeros((5, 9, 2)))
"""


@pytest.mark.parametrize(
    "rest", ['refused("main interpreter")', IMPORTED_HERE], ids=["not imported", "imported"])
def test_other_interpreters_of_the_process_are_refused(rest):
    fresh(SUBINTERPRETER + rest)


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weight_that_changes_while_it_is_packed_is_packed_again(dtype):
    """The stamp of a packed copy is never newer than what the copy has of the weight."""
    build = kernels("compiled", np.dtype(dtype))
    weight, changes, stamp = np.zeros((2048, 2048), dtype), np.zeros(1, np.int64), np.array([-1])
    packed, wanted = np.zeros_like(weight), np.zeros_like(weight)
    n = in_between = 0
    with ThreadPoolExecutor(1) as pool:
        while in_between < 3:  # so often as it was meant
            n += 1
            assert n < 500
            weight[...] = 2 * n
            changes += 1
            packing = pool.submit(build.repack, packed, weight.T, stamp, changes)
            while packed[0, 0] != 2 * n and not packing.done():
                pass
            weight[0, 0] = 2 * n + 1  # too late for this copy
            changes += 1
            in_between += not packing.done()
            packing.result()
            build.repack(packed, weight.T, stamp, changes)
            build.pack(wanted, weight.T)
            assert np.array_equal(packed, wanted)


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


@pytest.mark.parametrize("n", [1, 2, 3])
def test_64_threads_get_what_one_gets(rng, n):
    """With shapes of their own, of one network."""
    net = crnn.LSTM(I, H, I, seed=0, backend="compiled")
    data = [(rng.standard_normal((steps, batch, I)).astype(np.float32),
             rng.integers(I, size=(steps, batch)))
            for steps, batch in ((T, B), (7, 48), (3, 5), (12, 33))]
    crnn.set_num_threads(1)
    wanted = [results(net, *each) for each in data]
    crnn.set_num_threads(n)
    together = threading.Barrier(64)

    def call(number):
        together.wait(60)
        for k in range(number, number + 4):
            assert_same_bits(results(net, *data[k % 4]), wanted[k % 4])

    with ThreadPoolExecutor(64) as pool:
        for future in [pool.submit(call, number) for number in range(64)]:
            future.result()
