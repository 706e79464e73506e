"""Threads that share the steps of few sequences: one thread's bits, in every network."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from builds import DTYPES, INSTRUCTION_SETS, kernels_of
from layer_networks import DROPPING, NETWORKS, build, input_of
from processes import fresh

import crnn
from crnn.engine import compiled, pass_arrays, plans
from crnn.kernels import pool

pytestmark = [pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split")]

LONG = 150  # steps: 19 blocks of 8, or with little room many more
each_network = pytest.mark.parametrize("name", NETWORKS | DROPPING)
each_room = pytest.mark.parametrize("room", [2**19, 700], ids=["room", "little room"])


def results(name, threads, *, steps=LONG, batch=1, dtype="float32", ragged=False):
    """Return the bytes of all that passes of a network give on so many threads."""
    crnn.set_num_threads(threads)
    net, rng = build(name, dtype=dtype), np.random.default_rng(5)
    x = input_of(name, rng, steps, batch)
    lengths = np.maximum(1, rng.integers(0, steps + 1, batch)) if ragged else None
    state = net(x, lengths=lengths)[1]
    y, end = net(x, state, lengths=lengths)
    found, targets = [y, end], rng.uniform(0.1, 0.9, y.shape)
    if not name.startswith("skip"):
        found.append(net(x, state, lengths=lengths, last=True))
    for chosen in (targets, targets[-1])[: 1 + (len(found) > 2)]:
        found.append(net.loss(x, chosen, state, lengths=lengths, loss="mse"))
        loss, grads = net.loss_and_gradients(x, chosen, state, lengths=lengths, loss="mse")[:2]
        found += [loss, grads.vector, grads.state]
    y, end, tape = net.forward(x, state, lengths=lengths)
    return flat([*found, y, end, net.backward(tape, targets).vector])


def flat(found):
    """Return the bytes of all arrays in lists of lists."""
    if isinstance(found, (tuple, list)):
        return b"".join(flat(each) for each in found)
    return np.asarray(found).tobytes()


@each_network
@each_room
@pytest.mark.parametrize("batch", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, name, room, batch):
    monkeypatch.setattr(plans, "BLOCK_NUMBERS", room)
    wanted = results(name, 1, batch=batch)
    for threads in (2, 3, 8):
        assert results(name, threads, batch=batch) == wanted


@pytest.fixture
def first_goes_ahead():
    """Have blocks that lie in turn be written as early as they may, on any machine."""
    before = pool.set_first_goes_ahead(True)
    yield
    pool.set_first_goes_ahead(before)


@each_network
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("room", [16, 48])
def test_nothing_is_overwritten_before_it_is_read(
    monkeypatch, first_goes_ahead, name, batch, room
):
    wanted = results(name, 1, batch=batch)
    monkeypatch.setattr(plans, "block_steps", lambda _, question: (
        question.steps if question.has_tape else room))
    monkeypatch.setattr(pass_arrays, "INFERENCE_GATES", 0)
    monkeypatch.setattr(pass_arrays, "INFERENCE_ROWS", 16 * batch)
    assert results(name, 2, batch=batch) == wanted


@each_network
@pytest.mark.parametrize("steps", [2, 7, 33])
def test_short_sequences_and_lengths(name, steps):
    options = {"steps": steps, "batch": 4, "ragged": True, "dtype": "float64"}
    assert results(name, 2, **options) == results(name, 1, **options)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_build(monkeypatch, isa, dtype):
    monkeypatch.setattr(compiled, "kernels", lambda _, dtype: kernels_of(isa, dtype))
    for name in ("mixed cells", "both ways"):
        assert results(name, 4, dtype=dtype) == results(name, 1, dtype=dtype)


def test_several_callers_at_once():
    names = ["mixed cells", "both ways", "table", "everywhere"]
    wanted = {name: results(name, 1) for name in names}

    def call(number):
        name = names[number % len(names)]
        return all(results(name, 4) == wanted[name] for _ in range(3))

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(call, range(8)))


def test_layers_are_shared():
    fresh("""
        import numpy as np, crnn
        from crnn.kernels import pool

        crnn.set_num_threads(2)
        pool.set_thresholds(multiplications=0, times_alone=0)
        deep = crnn.GRU(5, 33, num_layers=2, seed=0, backend="compiled")
        deep(np.ones((8, 1, 5), "f4"))          # one block, of one layer after the other
        assert pool.worker_ids() == []
        deep(np.ones((50, 1, 5), "f4"))
        assert len(pool.worker_ids()) == 1
    """)


def test_directions_of_a_single_block_are_shared():
    fresh("""
        import numpy as np, crnn
        from crnn.kernels import pool

        crnn.set_num_threads(2)
        pool.set_thresholds(multiplications=0, times_alone=0)
        crnn.GRU(5, 33, bidirectional=True, seed=0, backend="compiled")(np.ones((8, 1, 5), "f4"))
        assert len(pool.worker_ids()) == 1
    """)
