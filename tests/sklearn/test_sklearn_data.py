"""Estimators on data that people know."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

import crnn.data
from crnn.sklearn import SequenceClassifier

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]


def test_japanese_vowels(shared):
    train, test = (crnn.data.read(shared / f"JapaneseVowels_{part}.ts")
                   for part in ("TRAIN", "TEST"))
    found = [SequenceClassifier(random_state=seed).fit(*train[:2]).score(*test[:2])
             for seed in range(5)]
    assert np.median(found) >= 0.97
    ensemble = SequenceClassifier(random_state=0, n_estimators=5).fit(*train[:2])
    assert ensemble.score(*test[:2]) >= 0.975
