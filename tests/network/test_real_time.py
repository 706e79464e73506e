"""Steps from a user's own Cython, without Python objects; and that steps allocate nothing."""

import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from cython_programs import built, need_compiler, shared
from processes import environment
from small_network import equal
from test_stream_blocks import UNLIKE, B, I, O, T, made, random_state, same_state, source

import crnn

pytestmark = pytest.mark.no_backend

STEPPED, CHANGED, REFUSED = 0, 1, 2
CELLS = ("RNN", "GRU", "LSTM")
PROGRAM = '''
from crnn.kernels cimport (
    STEPPED,
    Number,
    RealTime,
    real_time,
    reset_state,
    step_floats,
    step_tokens,
)


cdef class Steps:
    cdef object stream      # which the pointers are into
    cdef RealTime net

    def __init__(self, stream):
        self.stream = stream
        self.look()

    def look(self):
        self.net = real_time(self.stream)
        return self.net.inputs, self.net.outputs, self.net.rows, self.net.number_size

    def floats(self, const Number[:, :, ::1] x, Number[:, :, ::1] y):
        # T steps; returns what the first one said that was not made
        cdef Py_ssize_t t
        cdef int said
        with nogil:
            for t in range(x.shape[0]):
                said = step_floats(&self.net, &x[t, 0, 0], &y[t, 0, 0])
                if said != STEPPED:
                    break
        return said

    def tokens(self, const Py_ssize_t[:, ::1] x, Number[:, :, ::1] y):
        cdef Py_ssize_t t
        cdef int said
        with nogil:
            for t in range(x.shape[0]):
                said = step_tokens(&self.net, &x[t, 0], &y[t, 0, 0])
                if said != STEPPED:
                    break
        return said

    def reset(self):
        return reset_state(&self.net)
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return built("steps_in_real_time", PROGRAM, tmp_path_factory.mktemp("program"))


def compiled(cell="LSTM", **options):
    return made(cell, backend="compiled", **options)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [None, B])
@pytest.mark.parametrize("is_tokens", [False, True], ids=["floats", "tokens"])
def test_steps_are_those_of_the_stream(program, rng, cell, dtype, batch, is_tokens):
    net = compiled(cell, dtype=dtype)
    x, stream, other = source(rng, batch, is_tokens, dtype), net.stream(batch), net.stream(batch)
    random_state(stream, rng)
    other.state = stream.state
    steps, rows = program.Steps(stream), batch or 1
    assert steps.look() == (I, O, rows, np.dtype(dtype).itemsize)
    y = np.full((T, rows, O), np.nan, dtype)
    if is_tokens:
        assert steps.tokens(x.reshape(T, rows), y) == STEPPED
    else:
        assert steps.floats(x.reshape(T, rows, I), y) == STEPPED
    wanted = other.run(x)
    equal(y.reshape(wanted.shape), wanted)
    same_state(stream, other)


@pytest.mark.parametrize("layers", UNLIKE)
def test_networks_of_unlike_layers(program, rng, layers):
    net = crnn.Sequential(
        I, UNLIKE[layers], skip=layers == "skip", seed=3, backend="compiled")
    stream, x, tokens = net.stream(), source(rng, None, False), source(rng, None, True)
    steps, y = program.Steps(stream), np.full((T, 1, net.output_size), 7, "f4")
    if layers == "table":
        assert steps.floats(x[:, None], y) == REFUSED
        assert (y == 7).all()
        assert steps.tokens(tokens[:, None], y) == STEPPED
        equal(y[:, 0], net.stream().run(tokens))
        return
    if layers == "skip":
        assert steps.tokens(tokens[:, None], y) == REFUSED
        assert (y == 7).all()
    assert steps.floats(x[:, None], y) == STEPPED
    equal(y[:, 0], net.stream().run(x))


def test_what_cannot_be_stepped_is_said_and_nothing_moves(program, rng):
    net = compiled("GRU")
    stream = net.stream()
    steps, x, y = program.Steps(stream), np.zeros((1, 1, I), "f4"), np.full((1, 1, O), 7, "f4")

    def check(action, said):
        before = stream.state
        assert action() == said
        equal(stream.state, before)
        assert (y == 7).all()

    random_state(stream, rng)
    wide = np.full((1, 1, O), 7.0)
    check(lambda: steps.floats(x.astype("f8"), wide), REFUSED)
    assert (wide == 7).all()
    check(lambda: steps.tokens(np.array([[I]]), y), REFUSED)
    check(lambda: steps.tokens(np.array([[-1]]), y), REFUSED)
    stream.reset(2)
    check(lambda: steps.floats(x, y), CHANGED)
    check(steps.reset, CHANGED)
    stream.reset()
    random_state(stream, rng)
    net.vector = net.vector * 2
    check(lambda: steps.floats(x, y), CHANGED)
    steps.look()
    other = net.stream()
    other.state = stream.state
    assert steps.floats(x, y) == STEPPED
    equal(y[0, 0], other.step(x[0, 0]))


def test_a_reset_goes_back_to_what_was_learned(program, rng):
    net = compiled(learn_state=True)
    net.vector = rng.standard_normal(net.num_parameters).astype("f4")
    stream, x, y = net.stream(B), source(rng, B, False), np.empty((T, B, O), "f4")
    begun = np.array(stream.state)
    steps = program.Steps(stream)
    assert begun.any()
    for _ in range(2):  # nobody asks for the state in between, which would set it, too
        assert steps.floats(x, y) == STEPPED
        equal(y, net.stream(B).run(x))
        assert not stream.is_at_start
        assert steps.reset() == STEPPED
        assert stream.is_at_start
    equal(np.array(stream.state), begun)
    plain = compiled().stream()
    steps = program.Steps(plain)
    y, again = np.empty((T, 1, O), "f4"), np.empty((T, 1, O), "f4")
    assert steps.floats(x[:, :1].copy(), y) == STEPPED
    assert steps.reset() == STEPPED
    assert steps.floats(x[:, :1].copy(), again) == STEPPED
    equal(again, y)


def test_threads_without_the_gil(program, rng):
    net = compiled()
    x, found = source(rng, None, False, steps=2000)[:, None], [None] * 4
    wanted = net.stream().run(x[:, 0])

    def serve(k):
        y = np.empty((len(x), 1, O), "f4")
        assert program.Steps(net.stream()).floats(x, y) == STEPPED
        found[k] = y[:, 0]

    threads = [threading.Thread(target=serve, args=[k]) for k in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for each in found:
        equal(each, wanted)


def test_what_is_no_stream_is_refused(program):
    with pytest.raises(AttributeError, match="real_time"):
        program.Steps(compiled())
    with pytest.raises(TypeError, match="backend='reference'"):
        program.Steps(made(backend="reference").stream())


# --- nothing is allocated ------------------------------------------------------------------------

COUNTER = """
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
long counted = 0;
void *malloc(size_t size) { counted++; return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { counted++; return __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { counted++; return __libc_realloc(p, size); }
"""
COUNTING = """
    import ctypes
    import gc
    import itertools
    import numpy as np
    import crnn

    counted = ctypes.c_long.in_dll(ctypes.CDLL(None), "counted")
    gc.disable()

    def count(action, *arguments):
        for _ in range(3):  # what is made only once
            action(*arguments)
        times = itertools.repeat(None, 10_000)
        before = counted.value
        for _ in times:
            action(*arguments)
        return counted.value - before - 1  # which is ``before`` itself

    for make in (crnn.RNN, crnn.GRU, crnn.LSTM):
        for dtype in ("float32", "float64"):
            for batch in (None, 4):
                for is_tokens in (False, True):
                    rows = () if batch is None else (batch,)
                    net = make(3, 5, 2, num_layers=2, dtype=dtype, seed=0)
                    stream = net.stream(batch)
                    x = np.zeros((6, *rows), int) if is_tokens else np.zeros((6, *rows, 3), dtype)
                    y = np.zeros((6, *rows, 2), dtype)
                    row, out = np.array(x[0]), y[0].copy()
                    found = [count(stream.step, row, out), count(stream.run, x, y)]
                    if found != [0, 0]:
                        print(make.__name__, dtype, batch, is_tokens, found)
    stream = crnn.GRU(3, 5, 2).stream()
    print("without out:", count(stream.step, np.zeros(3, "f4")) >= 10_000)  # it would show
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the way of the GNU C library")
def test_ten_thousand_steps_allocate_nothing(tmp_path):
    """All of C and of Python is counted, small objects, too."""
    need_compiler()
    (tmp_path / "counter.c").write_text(COUNTER, encoding="utf-8")
    shared(tmp_path / "counter.c", tmp_path / "counter.so")
    if b"musl" in subprocess.run(["ldd", "--version"], capture_output=True).stderr:
        pytest.skip("another C library")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COUNTING)], capture_output=True, text=True,
        timeout=120, check=False,
        env=environment(LD_PRELOAD=str(tmp_path / "counter.so"), PYTHONMALLOC="malloc"))
    assert (done.returncode, done.stdout) == (0, "without out: True\n"), done.stderr


def test_the_guides_program(rng, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "guide" / "stream.md"
    text = re.search(r"```cython\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL).group(1)
    net = crnn.GRU(1, 16, 1, seed=0, backend="compiled")
    x = rng.standard_normal((2000, 1)).astype("f4")
    y = np.zeros_like(x)
    built("detector", text, tmp_path).Detector(net.stream()).run(x, y)
    equal(y, net(x)[0])
