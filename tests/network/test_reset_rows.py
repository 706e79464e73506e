"""Some sequences of a stream's batch go back to the initial state, and the others go on."""

import numpy as np
import pytest

import crnn

I, O, B = 3, 2, 5  # noqa: E741
CELLS = [crnn.RNN, crnn.GRU, crnn.LSTM]
ROWS = {
    "numbers": ([3, 0], [0, 3]), "a number": (2, [2]), "from the end": ([-1], [4]),
    "twice": ([1, 1], [1]), "none": ([], []), "narrow": (np.array([4], np.int8), [4]),
    "mask": ([True, False, False, True, False], [0, 3]),
    "no one": (np.zeros(B, bool), []), "all": (np.ones(B, bool), range(B)),
}


def arrays(state):
    """Return the arrays of a state of layers of different widths."""
    return [each for part in (state if isinstance(state, tuple) else (state,)) for each in part]


@pytest.fixture(params=CELLS, ids=lambda cell: cell.__name__)
def net(request):
    return request.param(I, (6, 4), O, seed=0)


@pytest.mark.parametrize(("rows", "meant"), ROWS.values(), ids=ROWS)
def test_they_are_as_new_and_the_others_as_before(rng, net, rows, meant):
    stream, twin = net.stream(B), net.stream(B)
    x = rng.standard_normal((3, B, I)).astype(np.float32)
    for each in x[:2]:
        stream.step(each)
        twin.step(each)
    wanted = arrays(twin.state)
    for array in wanted:
        array[list(meant)] = 0
    stream.reset(rows=rows)
    for array, each in zip(arrays(stream.state), wanted, strict=True):
        assert array.tobytes() == each.tobytes()
    assert stream.batch_size == B
    fresh = net.stream(B).step(x[2])
    y, others = stream.step(x[2]), twin.step(x[2])
    for b in range(B):
        assert y[b].tobytes() == (fresh if b in meant else others)[b].tobytes()


REFUSED = {
    "too large": ([0, 5], IndexError, r"rows are \[0, 5\]; the batch has 5 sequences"),
    "too small": (-6, IndexError, "the batch has 5 sequences"),
    "a short mask": ([True] * 4, ValueError, r"a mask of shape \(4,\); \(5,\) is wanted"),
    "two axes": ([[0, 1]], ValueError, r"rows has shape \(1, 2\)"),
    "floats": ([1.0], TypeError, "rows has dtype float64; integers are wanted"),
    "text": ("all", TypeError, "rows has dtype"),
}


@pytest.mark.parametrize(("rows", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_others_are_refused_and_nothing_changes(rng, net, rows, error, message):
    net.reset(B)
    net.step(rng.standard_normal((B, I)))
    before = [each.tobytes() for each in arrays(net.state)]
    with pytest.raises(error, match=message):
        net.reset(rows=rows)
    assert [each.tobytes() for each in arrays(net.state)] == before


def test_one_sequence_has_no_rows(net):
    with pytest.raises(ValueError, match=r"one sequence, which has no rows; call reset\(\)"):
        net.reset(rows=[0])
    with pytest.raises(TypeError, match="batch_size or rows, not both"):
        net.reset(3, rows=[0])
    with pytest.raises(AttributeError, match="has no steps"):
        crnn.RNN(I, 4, bidirectional=True).reset(rows=[0])
