"""Strands of blocks that threads share: what is ready, and who waits for whom."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pool_tasks import begun, over, rehearse_strands

from crnn.kernels import pool

pytestmark = [pytest.mark.no_backend, pytest.mark.usefixtures("small_work_is_split")]

ALL = 1 << 30  # blocks
TWO_LAYERS = [(True, []), (True, [(0, 1)]), (True, [(1, 1)]), (True, [(2, 1)]), (True, [(3, 1)])]
TWO_DIRECTIONS = [(True, []), (True, [(0, 1)]), (True, []), (True, [(2, 1)]),
                  (False, [(1, ALL), (3, ALL)])]
IN_TURN = [(True, [(1, -1)]), (True, [(0, 1), (2, -2)]), (True, [(1, 1)])]  # room for 2 and for 3
each_graph = pytest.mark.parametrize(
    "strands", [TWO_LAYERS, TWO_DIRECTIONS, IN_TURN, [(True, [])], [(False, [])]],
    ids=["layers", "directions", "in turn", "one", "any order"])


def assert_in_order(strands, notes):
    """Assert that each block ran once, and began when what it needs was over."""
    blocks = notes.shape[1]
    assert sorted(notes[..., :2].ravel()) == list(range(2 * len(strands) * blocks))
    for k, (in_order, needs) in enumerate(strands):
        if in_order:
            assert (notes[k, :-1, over] < notes[k, 1:, begun]).all()
        for strand, ahead in needs:
            for block in range(blocks):
                needed = notes[strand, : max(0, min(block + ahead, blocks)), over]
                assert max(needed, default=-1) < notes[k, block, begun]


@each_graph
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("seconds", [0, 2e-5])
def test_a_block_begins_when_what_it_needs_is_over(strands, threads, seconds):
    for blocks in (1, 2, 30):
        assert_in_order(strands, rehearse_strands(strands, blocks, threads, seconds=seconds))


def test_strands_of_several_callers_at_once():
    def call(number):
        strands = (TWO_LAYERS, TWO_DIRECTIONS, IN_TURN)[number % 3]
        for _ in range(30):
            assert_in_order(strands, rehearse_strands(strands, 9, 1 + number % 4, seconds=1e-6))

    with ThreadPoolExecutor(6) as executor:
        list(executor.map(call, range(6)))


def test_who_waits_for_long_blocks_goes_on_alone_only_when_none_takes_so_long():
    """Of large layers a block takes milliseconds, and one of tokens' rows some microseconds."""
    forever = 10**12
    assert not pool.rehearse_stalling(0, 10**3, forever)  # a first pass: who knows
    assert pool.rehearse_stalling(10**3, 10**3, 10**6)
    for longest in ((10**7, 10**3), (10**3, 10**7), (10**7, 0)):
        assert not pool.rehearse_stalling(*longest, 4 * 10**7)
        assert pool.rehearse_stalling(*longest, 5 * 10**7)


def test_blocks_before_their_turn_are_seen():
    notes = rehearse_strands(TWO_LAYERS, 9, 1)
    notes[2, 4, begun], notes[1, 4, over] = notes[1, 4, over], notes[2, 4, begun]
    with pytest.raises(AssertionError):
        assert_in_order(TWO_LAYERS, notes)
    assert np.array_equal(np.sort(notes[..., :2], axis=None), np.arange(90))
