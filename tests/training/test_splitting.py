"""What is kept to validate on."""

import numpy as np
import pytest

from crnn.training.splitting import split

pytestmark = pytest.mark.no_backend


def test_every_number_is_in_one_part():
    rest, kept = split(23, 5, seed=3)
    assert (len(rest), len(kept)) == (18, 5)
    assert sorted([*rest, *kept]) == list(range(23))


def test_it_is_drawn_at_random_by_its_seed():
    kept = [split(50, 10, seed)[1].tolist() for seed in (1, 1, 2)]
    assert kept[0] == kept[1] != kept[2]


def test_of_each_class_as_large_a_share_is_kept():
    classes = np.array(["a"] * 40 + ["b"] * 20 + ["c"] * 10)
    _, kept = split(70, 14, seed=5, classes=classes)
    assert dict(zip(*np.unique(classes[kept], return_counts=True), strict=True)) == {
        "a": 8, "b": 4, "c": 2}
